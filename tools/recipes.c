/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "../shim/recipe/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES (1 << 20)

static int list(void)
{
    char why[256];
    struct mt_recipes *recipes = mt_recipes_load(NULL, NULL, why, sizeof why);
    if (!recipes)
        return say_failed("%s", why);
    printf("%-32s %-9s  %s\n", "recipe", "kind", "kernels");
    for (size_t i = 0; i < mt_recipes_count(recipes); i++) {
        const struct mt_recipe *recipe = mt_recipes_get(recipes, i);
        printf("%-32s %-9s ", mt_recipe_name(recipe), mt_recipe_kind_names[mt_recipe_kind(recipe)]);
        for (unsigned n = 0; mt_recipe_kernel(recipe, n); n++)
            printf(" %s", mt_recipe_kernel(recipe, n));
        printf("\n");
        if (*mt_recipe_note(recipe))
            printf("%-43s  note: %s\n", "", mt_recipe_note(recipe));
    }
    mt_recipes_free(recipes);
    return EXIT_OK;
}

static size_t lines(const char *text)
{
    size_t n = 1;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static int check(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return say_failed("%s: %s", path, strerror(errno));
    char *text = malloc(FILE_MAX_BYTES + 1);
    size_t n = text ? fread(text, 1, FILE_MAX_BYTES, file) : 0;
    int error = ferror(file) ? errno : 0;
    bool more = getc(file) != EOF;
    fclose(file);
    int status = EXIT_OK;
    if (!text) {
        status = say_failed("out of memory");
    } else if (error || more) {
        status = say_failed("%s: %s", path, error ? strerror(error) : "too big for recipes");
    } else {
        text[n] = '\0';
        size_t count;
        char why[512];
        if (strlen(text) != n)
            status = say_failed("%s:%zu: found a zero byte, expected text", path, lines(text));
        else if (!mt_recipes_check(path, text, &count, why, sizeof why))
            status = say_failed("%s", why);
        else
            printf("%s: %zu recipe%s\n", path, count, count == 1 ? "" : "s");
    }
    free(text);
    return status;
}

int verb_recipes(int argc, char **argv)
{
    if (argc == 1)
        return list();
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check(argv[2]);
    return say_usage("moetap recipes, or moetap recipes check FILE");
}
