/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the recipes' text format, nobody else's: parse.c, keys.c, terms.c and check.c. */
#ifndef MOETAP_SHIM_RECIPE_PARSE_H
#define MOETAP_SHIM_RECIPE_PARSE_H

#include "impl.h"

/* Where it is, and where to say what is wrong there. */
struct parser {
    const char *file;
    unsigned line;
    char *why;
    size_t size;
};

/* All that return an int: 0, or -1 with the reason said. */
__attribute__((format(printf, 2, 3))) int mt_mistake(const struct parser *parser, const char *format, ...);

/* keys.c: `key = value`, into the recipe. */
int mt_parse_key(const struct parser *parser, struct mt_recipe *recipe, const char *key, const char *value);
int mt_parse_name(const struct parser *parser, const char *value, char *to, size_t size);

/* terms.c: takes one thing from a value, and moves on if it is there. */
const char *mt_skip_blanks(const char *c);
bool mt_take_word(const char **at, const char *word);
bool mt_take_char(const char **at, char wanted);
bool mt_take_number(const char **at, uint64_t *number);
int mt_take_index(const struct parser *parser, const char **at, const char *what, uint64_t limit, uint32_t *index);
int mt_take_expr(const struct parser *parser, const char **at, struct mt_expr *expr);
int mt_take_end(const struct parser *parser, const char *at);

/* check.c: do a recipe's keys go together? Adds what its kind implies. */
int mt_check_recipe(struct parser *parser, struct mt_recipe *recipe);

#endif
