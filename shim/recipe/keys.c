/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a recipe, and what the value of each may be. */
#include "parse.h"

#include <stdio.h>
#include <string.h>

static int parse_expr(const struct parser *parser, const char *value, struct mt_expr *expr)
{
    if (expr->a.kind != TERM_NONE)
        return mt_mistake(parser, "found this key a second time, expected it once in a recipe");
    return mt_take_expr(parser, &value, expr) || mt_take_end(parser, value) ? -1 : 0;
}

/* Of a consumer: whichever parameter holds the ids, the kernel only reads them. */
static int parse_ids(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    if (strcmp(value, "any") != 0 || recipe->ids.a.kind != TERM_NONE)
        return parse_expr(parser, value, &recipe->ids);
    recipe->ids = (struct mt_expr){.a = {.kind = TERM_ANY}, .line = parser->line};
    return 0;
}

/* Of row context: what tells one layer from the next. */
static int parse_once(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    const bool pass = strcmp(value, "pass") == 0;
    if ((!pass && strcmp(value, "layer") != 0) || recipe->once.a.kind != TERM_NONE)
        return parse_expr(parser, value, &recipe->once);
    recipe->once = (struct mt_expr){.a = {.kind = pass ? TERM_PASS : TERM_LAYER}, .line = parser->line};
    return 0;
}

static int parse_word(const struct parser *parser, const char *value, const char *const *words, int *index)
{
    for (*index = 0; words[*index]; ++*index) {
        if (strcmp(words[*index], value) == 0)
            return 0;
    }
    char list[192] = "";
    for (int i = 0; words[i]; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s",
                 !i             ? ""
                 : words[i + 1] ? ", "
                                : " or ",
                 words[i]);
    return mt_mistake(parser, "found '%.80s', expected %s", value, list);
}

static int parse_text(const struct parser *parser, const char *value, char *to, size_t size)
{
    if (!*value || strlen(value) >= size)
        return mt_mistake(parser, "found %zu characters, expected 1 to %zu", strlen(value), size - 1);
    strcpy(to, value);
    return 0;
}

static int parse_kernels(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    while (*(value = mt_skip_blanks(value))) {
        size_t n = strcspn(value, " \t");
        if (n >= sizeof recipe->kernels[0] || recipe->kernel_count == MT_RECIPE_NAMES)
            return mt_mistake(parser, "found too long or too many kernel names, expected at most %d of %zu characters",
                              MT_RECIPE_NAMES, sizeof recipe->kernels[0] - 1);
        memcpy(recipe->kernels[recipe->kernel_count++], value, n);
        value += n;
    }
    return recipe->kernel_count ? 0 : mt_mistake(parser, "found nothing, expected a kernel's name");
}

static int parse_layouts(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    do {
        if (recipe->layout_count == MT_RECIPE_LAYOUTS)
            return mt_mistake(parser, "found more than %d layouts, expected fewer", MT_RECIPE_LAYOUTS);
        __typeof__(&recipe->layouts[0]) layout = &recipe->layouts[recipe->layout_count++];
        uint64_t n;
        while (mt_take_number(&value, &n)) {
            if (n == 0 || n > 4096 || layout->count == MT_KERNEL_PARAMS_MAX)
                return mt_mistake(parser, "found a parameter of %llu bytes, expected 1 to 4096, and at most %d of them",
                                  (unsigned long long) n, MT_KERNEL_PARAMS_MAX);
            layout->size[layout->count++] = (uint32_t) n;
        }
        if (strncmp(mt_skip_blanks(value), "..", 2) == 0) {
            layout->open = true;
            value = mt_skip_blanks(value) + 2;
        }
        if (!layout->count)
            return mt_mistake(parser, "found '%.80s', expected the parameters' sizes in bytes", mt_skip_blanks(value));
    } while (mt_take_char(&value, '|'));
    return mt_take_end(parser, value);
}

static int parse_range(const struct parser *parser, const char *value, uint32_t *low, uint32_t *high, uint32_t most)
{
    const char *range = value;
    uint64_t from, to;
    if (!mt_take_number(&value, &from) || strncmp(mt_skip_blanks(value), "..", 2) != 0)
        return mt_mistake(parser, "found '%.80s', expected a range as 1..%u", range, most);
    value = mt_skip_blanks(value) + 2;
    if (!mt_take_number(&value, &to) || from < 1 || from > to || to > most)
        return mt_mistake(parser, "found a range outside of 1..%u, expected it within", most);
    *low = (uint32_t) from;
    *high = (uint32_t) to;
    return mt_take_end(parser, value);
}

static int parse_dtype(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    static const struct {
        const char *name;
        enum mt_dtype dtype;
    } types[] = {{"i32", MT_DTYPE_I32}, {"i64", MT_DTYPE_I64}, {"u32", MT_DTYPE_U32},
                 {"i16", MT_DTYPE_I16}, {"u16", MT_DTYPE_U16}, {"u8", MT_DTYPE_U8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, value) == 0) {
            recipe->dtype = types[i].dtype;
            return 0;
        }
    }
    uint32_t index;
    if (mt_take_word(&value, "template")) {
        if (mt_take_index(parser, &value, "template", MT_TEMPLATE_ARGS_MAX, &index))
            return -1;
        recipe->dtype_template = (int) index;
        return mt_take_end(parser, value);
    }
    return mt_mistake(parser, "found '%.80s', expected i32, i64, u32, i16, u16, u8 or template N", value);
}

static int parse_weights_type(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    static const struct {
        const char *name;
        enum mt_weight_type type;
    } types[] = {{"f32", MT_WEIGHT_F32}, {"f16", MT_WEIGHT_F16}, {"bf16", MT_WEIGHT_BF16}};
    recipe->weights_type_line = parser->line;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, value) == 0) {
            recipe->weights_type = types[i].type;
            return 0;
        }
    }
    uint32_t index;
    if (!mt_take_word(&value, "template"))
        return mt_mistake(parser, "found '%.80s', expected f32, f16, bf16 or template N", value);
    if (mt_take_index(parser, &value, "template", MT_TEMPLATE_ARGS_MAX, &index))
        return -1;
    recipe->weights_template = (int) index;
    return mt_take_end(parser, value);
}

static int parse_require(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    if (recipe->require_count == MT_RECIPE_REQUIRES)
        return mt_mistake(parser, "found more than %d conditions, expected fewer", MT_RECIPE_REQUIRES);
    __typeof__(&recipe->require[0]) require = &recipe->require[recipe->require_count++];
    if (mt_take_expr(parser, &value, &require->left))
        return -1;
    require->at_least = strncmp(mt_skip_blanks(value), ">=", 2) == 0;
    if (!require->at_least && strncmp(mt_skip_blanks(value), "==", 2) != 0)
        return mt_mistake(parser, "found '%.80s', expected == or >=", mt_skip_blanks(value));
    value = mt_skip_blanks(value) + 2;
    return mt_take_expr(parser, &value, &require->right) || mt_take_end(parser, value) ? -1 : 0;
}

int mt_parse_name(const struct parser *parser, const char *value, char *to, size_t size)
{
    size_t n = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (value[n])
        return mt_mistake(parser, "found '%.80s', expected a name of letters, digits, '.', '_' and '-'", value);
    return parse_text(parser, value, to, size);
}

/* Only conditions may be many. */
static int once(const struct parser *parser, struct mt_recipe *recipe, const char *key)
{
    static const char *const keys[] = {"kernel", "params",   "dtype",         "within",  "suffix",
                                       "final",  "note",     "limit.experts", "limit.k", "kind",
                                       "skip",   "id_space", "weights_dtype", "until",   "behind"};
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(keys[i], key) != 0)
            continue;
        if (recipe->keys_seen & 1u << i)
            return mt_mistake(parser, "found %s a second time, expected it once in a recipe", key);
        recipe->keys_seen |= 1u << i;
    }
    return 0;
}

int mt_parse_key(const struct parser *parser, struct mt_recipe *recipe, const char *key, const char *value)
{
    if (once(parser, recipe, key))
        return -1;
    const struct {
        const char *key;
        struct mt_expr *expr;
    } exprs[] = {
        {"column", &recipe->column},   {"rows", &recipe->rows},           {"k", &recipe->k},
        {"experts", &recipe->experts}, {"stride", &recipe->stride},       {"input", &recipe->input},
        {"starts", &recipe->starts},   {"positions", &recipe->positions}, {"block", &recipe->block},
        {"start", &recipe->start},     {"weights", &recipe->weights},     {"weights_stride", &recipe->weights_stride},
        {"mapped", &recipe->mapped},   {"sequences", &recipe->sequences}, {"index", &recipe->index},
        {"groups", &recipe->groups},   {"apart", &recipe->apart}};
    for (size_t i = 0; i < sizeof exprs / sizeof *exprs; i++) {
        if (strcmp(exprs[i].key, key) == 0)
            return parse_expr(parser, value, exprs[i].expr);
    }
    static const struct {
        const char *key;
        int (*parse)(const struct parser *parser, const char *value, struct mt_recipe *recipe);
    } others[] = {{"ids", parse_ids},        {"once", parse_once},   {"kernel", parse_kernels},
                  {"params", parse_layouts}, {"dtype", parse_dtype}, {"weights_dtype", parse_weights_type},
                  {"require", parse_require}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (strcmp(others[i].key, key) == 0)
            return others[i].parse(parser, value, recipe);
    }
    if (strcmp(key, "within") == 0)
        return parse_text(parser, value, recipe->within, sizeof recipe->within);
    if (strcmp(key, "suffix") == 0)
        return parse_text(parser, value, recipe->suffix, sizeof recipe->suffix);
    const struct {
        const char *key;
        char *name;
        unsigned *line;
    } recipes[] = {{"final", recipe->final, &recipe->final_line},
                   {"until", recipe->until, &recipe->until_line},
                   {"behind", recipe->behind, &recipe->behind_line}};
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        if (strcmp(recipes[i].key, key) != 0)
            continue;
        *recipes[i].line = parser->line;
        if (recipes[i].name == recipe->until)
            return parse_text(parser, value, recipe->until, sizeof recipe->until);
        return mt_parse_name(parser, value, recipes[i].name, sizeof recipe->final);
    }
    if (strcmp(key, "note") == 0)
        return parse_text(parser, value, recipe->note, sizeof recipe->note);
    if (strcmp(key, "limit.experts") == 0)
        return parse_range(parser, value, &recipe->experts_min, &recipe->experts_max, 1024);
    if (strcmp(key, "limit.k") == 0)
        return parse_range(parser, value, &recipe->k_min, &recipe->k_max, 32);
    if (strcmp(key, "skip") == 0) {
        if (mt_take_index(parser, &value, "skip", 64, &recipe->skip))
            return -1;
        return mt_take_end(parser, value);
    }
    int word;
    if (strcmp(key, "kind") == 0) {
        if (parse_word(parser, value, mt_recipe_kind_names, &word))
            return -1;
        recipe->kind = (enum mt_recipe_kind) word;
        return 0;
    }
    if (strcmp(key, "id_space") == 0) {
        static const char *const spaces[] = {"unknown", "logical", "physical", NULL};
        if (parse_word(parser, value, spaces, &word))
            return -1;
        recipe->id_space = (enum mt_id_space) word;
        return 0;
    }
    return mt_mistake(
        parser,
        "found key '%s', expected kernel, kind, within, suffix, params, ids, dtype, rows, k, experts, stride, column, "
        "start, skip, input, weights, weights_dtype, weights_stride, mapped, id_space, require, limit.experts, "
        "limit.k, final, once, until, behind, starts, sequences, positions, index, block, groups, apart or note",
        key);
}
