/* SPDX-License-Identifier: Apache-2.0 */
/* The recipes' text format, which docs/recipes.md describes: its lines and sections. */
#include "parse.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mt_mistake(const struct parser *parser, const char *format, ...)
{
    int n = snprintf(parser->why, parser->size, "%s:%u: ", parser->file, parser->line);
    if (n >= 0 && (size_t) n < parser->size) {
        va_list args;
        va_start(args, format);
        vsnprintf(parser->why + n, parser->size - (size_t) n, format, args);
        va_end(args);
    }
    return -1;
}

static struct mt_recipe *add(struct mt_recipes *recipes)
{
    if (recipes->count == recipes->room) {
        size_t room = recipes->room ? recipes->room * 2 : 32;
        struct mt_recipe *all = realloc(recipes->all, room * sizeof *all);
        if (!all)
            return NULL;
        recipes->all = all;
        recipes->room = room;
    }
    struct mt_recipe *recipe = &recipes->all[recipes->count++];
    memset(recipe, 0, sizeof *recipe);
    recipe->dtype_template = recipe->weights_template = -1;
    recipe->experts_min = recipe->k_min = 1;
    recipe->experts_max = 1024;
    recipe->k_max = 32;
    return recipe;
}

static int start_recipe(const struct parser *parser, struct mt_recipes *recipes, size_t first, char *line)
{
    char *close = strchr(line, ']');
    if (!close || close == line + 1 || *mt_skip_blanks(close + 1))
        return mt_mistake(parser, "found '%.80s', expected [name]", line);
    *close = '\0';
    for (size_t i = first; i < recipes->count; i++) {
        if (strcmp(recipes->all[i].name, line + 1) == 0)
            return mt_mistake(parser, "found a second recipe [%s], expected each name once", line + 1);
    }
    struct mt_recipe *recipe = add(recipes);
    if (!recipe)
        return mt_mistake(parser, "out of memory");
    recipe->line = parser->line;
    return mt_parse_name(parser, line + 1, recipe->name, sizeof recipe->name);
}

int mt_recipes_parse(struct mt_recipes *recipes, const char *file, const char *text, char *why, size_t size)
{
    struct parser parser = {file, 0, why, size};
    size_t first = recipes->count;
    for (const char *at = text; *at;) {
        char line[1024];
        size_t n = strcspn(at, "\n");
        parser.line++;
        if (n >= sizeof line)
            return mt_mistake(&parser, "found a line of %zu characters, expected less than %zu", n, sizeof line);
        memcpy(line, at, n);
        line[n] = '\0';
        at += n + (at[n] == '\n');
        line[strcspn(line, "#")] = '\0';
        for (n = strlen(line); n && isspace((unsigned char) line[n - 1]);)
            line[--n] = '\0';
        char *begin = (char *) mt_skip_blanks(line);
        if (!*begin)
            continue;
        if (*begin == '[') {
            unsigned here = parser.line;
            if (recipes->count > first && mt_check_recipe(&parser, &recipes->all[recipes->count - 1]))
                return -1;
            parser.line = here;
            if (start_recipe(&parser, recipes, first, begin))
                return -1;
            continue;
        }
        char *equals = strchr(begin, '=');
        if (!equals)
            return mt_mistake(&parser, "found '%.80s', expected key = value", begin);
        if (recipes->count == first)
            return mt_mistake(&parser, "found '%.80s' before any recipe, expected [name] first", begin);
        *equals = '\0';
        for (char *end = equals; end > begin && isspace((unsigned char) end[-1]);)
            *--end = '\0';
        if (mt_parse_key(&parser, &recipes->all[recipes->count - 1], begin, mt_skip_blanks(equals + 1)))
            return -1;
    }
    return recipes->count > first && mt_check_recipe(&parser, &recipes->all[recipes->count - 1]) ? -1 : 0;
}
