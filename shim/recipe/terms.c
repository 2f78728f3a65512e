/* SPDX-License-Identifier: Apache-2.0 */
/* The words and numbers of a value, and the expressions that are made of them. */
#include "parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *mt_skip_blanks(const char *c)
{
    while (*c == ' ' || *c == '\t')
        c++;
    return c;
}

bool mt_take_word(const char **at, const char *word)
{
    const char *c = mt_skip_blanks(*at);
    size_t n = strlen(word);
    if (strncmp(c, word, n) != 0 || isalnum((unsigned char) c[n]) || c[n] == '_')
        return false;
    *at = c + n;
    return true;
}

bool mt_take_char(const char **at, char wanted)
{
    const char *c = mt_skip_blanks(*at);
    if (*c != wanted)
        return false;
    *at = c + 1;
    return true;
}

bool mt_take_number(const char **at, uint64_t *number)
{
    const char *c = mt_skip_blanks(*at);
    if (!isdigit((unsigned char) *c))
        return false;
    char *end;
    errno = 0;
    bool hex = c[0] == '0' && (c[1] == 'x' || c[1] == 'X');
    unsigned long long n = strtoull(c, &end, hex ? 16 : 10);
    if (errno || isalnum((unsigned char) *end))
        return false;
    *number = n;
    *at = end;
    return true;
}

int mt_take_index(const struct parser *parser, const char **at, const char *what, uint64_t limit, uint32_t *index)
{
    uint64_t n;
    if (!mt_take_number(at, &n))
        return mt_mistake(parser, "found '%.80s', expected a number behind '%s'", mt_skip_blanks(*at), what);
    if (n >= limit)
        return mt_mistake(parser, "found %s %llu, expected at most %llu", what, (unsigned long long) n,
                          (unsigned long long) limit - 1);
    *index = (uint32_t) n;
    return 0;
}

static int take_term(const struct parser *parser, const char **at, struct mt_term *term)
{
    uint64_t n;
    *term = (struct mt_term){0};
    term->device = mt_take_word(at, "at");
    if (mt_take_word(at, "param")) {
        term->kind = TERM_PARAM;
        if (mt_take_index(parser, at, "param", MT_KERNEL_PARAMS_MAX, &term->index))
            return -1;
        /* A number behind it is an offset; all else is added to it. */
        const char *behind = *at;
        if (mt_take_char(&behind, '+') && isdigit((unsigned char) *mt_skip_blanks(behind))) {
            *at = behind;
            if (mt_take_index(parser, at, "+", 4096, &term->offset))
                return -1;
        }
        term->bytes = mt_take_word(at, "u8")    ? 1
                      : mt_take_word(at, "u16") ? 2
                      : mt_take_word(at, "u32") ? 4
                      : mt_take_word(at, "u64") ? 8
                                                : 0;
        return 0;
    }
    if (term->device)
        return mt_mistake(parser, "found '%s', expected at param N", mt_skip_blanks(*at));
    if (mt_take_word(at, "template")) {
        term->kind = TERM_TEMPLATE;
        return mt_take_index(parser, at, "template", MT_TEMPLATE_ARGS_MAX, &term->index);
    }
    static const char *const axes[] = {"grid.x", "grid.y", "grid.z"};
    for (uint32_t i = 0; i < 3; i++) {
        if (mt_take_word(at, axes[i])) {
            term->kind = TERM_GRID;
            term->index = i;
            return 0;
        }
    }
    if (mt_take_word(at, "k")) {
        term->kind = TERM_K;
        return 0;
    }
    if (mt_take_word(at, "rows")) {
        term->kind = TERM_ROWS;
        return 0;
    }
    if (mt_take_number(at, &n)) {
        term->kind = TERM_CONSTANT;
        term->value = n;
        return 0;
    }
    return mt_mistake(parser, "found '%.80s', expected param N, template N, grid.x, k, rows or a number",
                      mt_skip_blanks(*at));
}

int mt_take_expr(const struct parser *parser, const char **at, struct mt_expr *expr)
{
    *expr = (struct mt_expr){.line = parser->line};
    if (take_term(parser, at, &expr->a))
        return -1;
    for (const char *operation = "*/-+"; *operation; operation++) {
        if (mt_take_char(at, *operation)) {
            expr->operation = *operation;
            return take_term(parser, at, &expr->b);
        }
    }
    return 0;
}

int mt_take_end(const struct parser *parser, const char *at)
{
    at = mt_skip_blanks(at);
    return *at ? mt_mistake(parser, "found '%.80s', expected the end of the line", at) : 0;
}
