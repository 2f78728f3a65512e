/* SPDX-License-Identifier: Apache-2.0 */
/* The recipes' text format; docs/recipes.md describes it. */
#include "impl.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    const char *file;
    unsigned line;
    char *why;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static int mistake(const struct parser *parser, const char *format, ...)
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

static const char *skip_blanks(const char *c)
{
    while (*c == ' ' || *c == '\t')
        c++;
    return c;
}

static bool take_word(const char **at, const char *word)
{
    const char *c = skip_blanks(*at);
    size_t n = strlen(word);
    if (strncmp(c, word, n) != 0 || isalnum((unsigned char) c[n]) || c[n] == '_')
        return false;
    *at = c + n;
    return true;
}

static bool take_char(const char **at, char wanted)
{
    const char *c = skip_blanks(*at);
    if (*c != wanted)
        return false;
    *at = c + 1;
    return true;
}

static bool take_number(const char **at, uint64_t *number)
{
    const char *c = skip_blanks(*at);
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

static int take_index(const struct parser *parser, const char **at, const char *what, uint64_t limit, uint32_t *index)
{
    uint64_t n;
    if (!take_number(at, &n))
        return mistake(parser, "found '%.80s', expected a number behind '%s'", skip_blanks(*at), what);
    if (n >= limit)
        return mistake(parser, "found %s %llu, expected at most %llu", what, (unsigned long long) n,
                       (unsigned long long) limit - 1);
    *index = (uint32_t) n;
    return 0;
}

static int take_term(const struct parser *parser, const char **at, struct mt_term *term)
{
    uint64_t n;
    *term = (struct mt_term){0};
    term->device = take_word(at, "at");
    if (take_word(at, "param")) {
        term->kind = TERM_PARAM;
        if (take_index(parser, at, "param", MT_KERNEL_PARAMS_MAX, &term->index))
            return -1;
        /* A number behind it is an offset; all else is added to it. */
        const char *behind = *at;
        if (take_char(&behind, '+') && isdigit((unsigned char) *skip_blanks(behind))) {
            *at = behind;
            if (take_index(parser, at, "+", 4096, &term->offset))
                return -1;
        }
        term->bytes = take_word(at, "u8")    ? 1
                      : take_word(at, "u16") ? 2
                      : take_word(at, "u32") ? 4
                      : take_word(at, "u64") ? 8
                                             : 0;
        return 0;
    }
    if (term->device)
        return mistake(parser, "found '%s', expected at param N", skip_blanks(*at));
    if (take_word(at, "template")) {
        term->kind = TERM_TEMPLATE;
        return take_index(parser, at, "template", MT_TEMPLATE_ARGS_MAX, &term->index);
    }
    static const char *const axes[] = {"grid.x", "grid.y", "grid.z"};
    for (uint32_t i = 0; i < 3; i++) {
        if (take_word(at, axes[i])) {
            term->kind = TERM_GRID;
            term->index = i;
            return 0;
        }
    }
    if (take_word(at, "k")) {
        term->kind = TERM_K;
        return 0;
    }
    if (take_word(at, "rows")) {
        term->kind = TERM_ROWS;
        return 0;
    }
    if (take_number(at, &n)) {
        term->kind = TERM_CONSTANT;
        term->value = n;
        return 0;
    }
    return mistake(parser, "found '%.80s', expected param N, template N, grid.x, k, rows or a number",
                   skip_blanks(*at));
}

static int take_expr(const struct parser *parser, const char **at, struct mt_expr *expr)
{
    *expr = (struct mt_expr){.line = parser->line};
    if (take_term(parser, at, &expr->a))
        return -1;
    for (const char *operation = "*/-+"; *operation; operation++) {
        if (take_char(at, *operation)) {
            expr->operation = *operation;
            return take_term(parser, at, &expr->b);
        }
    }
    return 0;
}

static int at_end(const struct parser *parser, const char *at)
{
    at = skip_blanks(at);
    return *at ? mistake(parser, "found '%.80s', expected the end of the line", at) : 0;
}

static int parse_expr(const struct parser *parser, const char *value, struct mt_expr *expr)
{
    if (expr->a.kind != TERM_NONE)
        return mistake(parser, "found this key a second time, expected it once in a recipe");
    return take_expr(parser, &value, expr) || at_end(parser, value) ? -1 : 0;
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
    return mistake(parser, "found '%.80s', expected %s", value, list);
}

static int parse_text(const struct parser *parser, const char *value, char *to, size_t size)
{
    if (!*value || strlen(value) >= size)
        return mistake(parser, "found %zu characters, expected 1 to %zu", strlen(value), size - 1);
    strcpy(to, value);
    return 0;
}

static int parse_kernels(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    while (*(value = skip_blanks(value))) {
        size_t n = strcspn(value, " \t");
        if (n >= sizeof recipe->kernels[0] || recipe->kernel_count == MT_RECIPE_NAMES)
            return mistake(parser, "found too long or too many kernel names, expected at most %d of %zu characters",
                           MT_RECIPE_NAMES, sizeof recipe->kernels[0] - 1);
        memcpy(recipe->kernels[recipe->kernel_count++], value, n);
        value += n;
    }
    return recipe->kernel_count ? 0 : mistake(parser, "found nothing, expected a kernel's name");
}

static int parse_layouts(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    do {
        if (recipe->layout_count == MT_RECIPE_LAYOUTS)
            return mistake(parser, "found more than %d layouts, expected fewer", MT_RECIPE_LAYOUTS);
        __typeof__(&recipe->layouts[0]) layout = &recipe->layouts[recipe->layout_count++];
        uint64_t n;
        while (take_number(&value, &n)) {
            if (n == 0 || n > 4096 || layout->count == MT_KERNEL_PARAMS_MAX)
                return mistake(parser, "found a parameter of %llu bytes, expected 1 to 4096, and at most %d of them",
                               (unsigned long long) n, MT_KERNEL_PARAMS_MAX);
            layout->size[layout->count++] = (uint32_t) n;
        }
        if (strncmp(skip_blanks(value), "..", 2) == 0) {
            layout->open = true;
            value = skip_blanks(value) + 2;
        }
        if (!layout->count)
            return mistake(parser, "found '%.80s', expected the parameters' sizes in bytes", skip_blanks(value));
    } while (take_char(&value, '|'));
    return at_end(parser, value);
}

static int parse_range(const struct parser *parser, const char *value, uint32_t *low, uint32_t *high, uint32_t most)
{
    const char *range = value;
    uint64_t from, to;
    if (!take_number(&value, &from) || strncmp(skip_blanks(value), "..", 2) != 0)
        return mistake(parser, "found '%.80s', expected a range as 1..%u", range, most);
    value = skip_blanks(value) + 2;
    if (!take_number(&value, &to) || from < 1 || from > to || to > most)
        return mistake(parser, "found a range outside of 1..%u, expected it within", most);
    *low = (uint32_t) from;
    *high = (uint32_t) to;
    return at_end(parser, value);
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
    if (take_word(&value, "template")) {
        if (take_index(parser, &value, "template", MT_TEMPLATE_ARGS_MAX, &index))
            return -1;
        recipe->dtype_template = (int) index;
        return at_end(parser, value);
    }
    return mistake(parser, "found '%.80s', expected i32, i64, u32, i16, u16, u8 or template N", value);
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
    if (!take_word(&value, "template"))
        return mistake(parser, "found '%.80s', expected f32, f16, bf16 or template N", value);
    if (take_index(parser, &value, "template", MT_TEMPLATE_ARGS_MAX, &index))
        return -1;
    recipe->weights_template = (int) index;
    return at_end(parser, value);
}

static int parse_require(const struct parser *parser, const char *value, struct mt_recipe *recipe)
{
    if (recipe->require_count == MT_RECIPE_REQUIRES)
        return mistake(parser, "found more than %d conditions, expected fewer", MT_RECIPE_REQUIRES);
    __typeof__(&recipe->require[0]) require = &recipe->require[recipe->require_count++];
    if (take_expr(parser, &value, &require->left))
        return -1;
    require->at_least = strncmp(skip_blanks(value), ">=", 2) == 0;
    if (!require->at_least && strncmp(skip_blanks(value), "==", 2) != 0)
        return mistake(parser, "found '%.80s', expected == or >=", skip_blanks(value));
    value = skip_blanks(value) + 2;
    return take_expr(parser, &value, &require->right) || at_end(parser, value) ? -1 : 0;
}

static int parse_name(const struct parser *parser, const char *value, char *to, size_t size)
{
    size_t n = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (value[n])
        return mistake(parser, "found '%.80s', expected a name of letters, digits, '.', '_' and '-'", value);
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
            return mistake(parser, "found %s a second time, expected it once in a recipe", key);
        recipe->keys_seen |= 1u << i;
    }
    return 0;
}

static int parse_key(const struct parser *parser, struct mt_recipe *recipe, const char *key, const char *value)
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
    if (strcmp(key, "ids") == 0)
        return parse_ids(parser, value, recipe);
    if (strcmp(key, "once") == 0)
        return parse_once(parser, value, recipe);
    if (strcmp(key, "kernel") == 0)
        return parse_kernels(parser, value, recipe);
    if (strcmp(key, "params") == 0)
        return parse_layouts(parser, value, recipe);
    if (strcmp(key, "dtype") == 0)
        return parse_dtype(parser, value, recipe);
    if (strcmp(key, "weights_dtype") == 0)
        return parse_weights_type(parser, value, recipe);
    if (strcmp(key, "require") == 0)
        return parse_require(parser, value, recipe);
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
        return parse_name(parser, value, recipes[i].name, sizeof recipe->final);
    }
    if (strcmp(key, "note") == 0)
        return parse_text(parser, value, recipe->note, sizeof recipe->note);
    if (strcmp(key, "limit.experts") == 0)
        return parse_range(parser, value, &recipe->experts_min, &recipe->experts_max, 1024);
    if (strcmp(key, "limit.k") == 0)
        return parse_range(parser, value, &recipe->k_min, &recipe->k_max, 32);
    if (strcmp(key, "skip") == 0) {
        if (take_index(parser, &value, "skip", 64, &recipe->skip))
            return -1;
        return at_end(parser, value);
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
    return mistake(
        parser,
        "found key '%s', expected kernel, kind, within, suffix, params, ids, dtype, rows, k, experts, stride, column, "
        "start, skip, input, weights, weights_dtype, weights_stride, mapped, id_space, require, limit.experts, "
        "limit.k, final, once, until, behind, starts, sequences, positions, index, block, groups, apart or note",
        key);
}

/* A parameter that is read must exist in every layout, with room for what is read of it. */
static bool fits(const struct mt_recipe *recipe, const struct mt_term *term, uint32_t bytes)
{
    if (term->kind != TERM_PARAM)
        return true;
    for (unsigned i = 0; i < recipe->layout_count; i++) {
        uint32_t size = term->index < recipe->layouts[i].count ? recipe->layouts[i].size[term->index] : 0;
        uint32_t need = bytes ? bytes : term->bytes ? term->bytes : term->offset ? 4 : size;
        if (term->device ? size != 8 : !size || term->offset + need > size)
            return false;
    }
    return true;
}

static bool read_by_gpu(const struct mt_expr *expr)
{
    return expr->a.device || expr->b.device;
}

/* All else is needed before the launch of a tap. */
static bool may_be_read_by_gpu(const struct mt_recipe *recipe, const struct mt_expr *expr)
{
    return recipe->kind == MT_RECIPE_BLOCKS && expr->b.kind == TERM_NONE && expr->a.bytes != 1 && expr->a.bytes != 2 &&
           (expr == &recipe->ids || expr == &recipe->stride || expr == &recipe->block);
}

/* rows and k may only be named by what is read after them. */
static bool names_early(const struct mt_expr *expr, bool rows_too)
{
    const struct mt_term *terms[] = {&expr->a, &expr->b};
    for (size_t i = 0; i < 2; i++) {
        if (terms[i]->kind == TERM_ROWS || (rows_too && terms[i]->kind == TERM_K))
            return true;
    }
    return false;
}

static int check_needed(struct parser *parser, const struct mt_recipe *recipe)
{
    const struct {
        const char *key;
        const struct mt_expr *expr;
    } needed[] = {{"ids", &recipe->ids}, {"rows", &recipe->rows}, {"k", &recipe->k}};
    /* Of kv_indices the GPU finds it out. */
    bool dtype = recipe->dtype != MT_DTYPE_NONE || recipe->dtype_template >= 0 || recipe->kind == MT_RECIPE_KV_INDICES;
    /* A consumer may say no more than where the ids are. */
    bool ids_alone = recipe->kind == MT_RECIPE_CONSUMER && recipe->rows.a.kind == TERM_NONE &&
                     recipe->k.a.kind == TERM_NONE && !dtype;
    /* What a launch tells itself has no elements. */
    const bool told = recipe->kind == MT_RECIPE_BATCH || recipe->kind == MT_RECIPE_CACHE;
    const bool batch = recipe->kind == MT_RECIPE_BATCH;
    const bool no_shape = ids_alone || recipe->kind == MT_RECIPE_MAP || recipe->kind == MT_RECIPE_CACHE;
    for (size_t i = 0; !batch && i < (no_shape ? 1 : sizeof needed / sizeof *needed); i++) {
        if (needed[i].expr->a.kind == TERM_NONE)
            return mistake(parser, "found no %s in [%s], expected %s = ...", needed[i].key, recipe->name,
                           needed[i].key);
    }
    if (!ids_alone && !dtype && !told)
        return mistake(parser, "found no dtype in [%s], expected dtype = i32 or the like", recipe->name);
    if (recipe->ids.a.kind == TERM_ANY) {
        parser->line = recipe->ids.line;
        return ids_alone ? 0
                         : mistake(parser,
                                   "found ids = any in [%s], expected it only in a consumer without rows, k "
                                   "and dtype",
                                   recipe->name);
    }
    if (!recipe->layout_count)
        return mistake(parser,
                       "found no params in [%s], expected params = the sizes of the kernel's parameters in bytes",
                       recipe->name);
    return 0;
}

static int check_exprs(struct parser *parser, const struct mt_recipe *recipe)
{
    const struct {
        const char *key;
        const struct mt_expr *expr;
    } addresses[] = {{"ids", &recipe->ids},       {"input", &recipe->input},         {"once", &recipe->once},
                     {"starts", &recipe->starts}, {"positions", &recipe->positions}, {"weights", &recipe->weights},
                     {"mapped", &recipe->mapped}, {"index", &recipe->index}};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        const struct mt_expr *expr = addresses[i].expr;
        parser->line = expr->line;
        if (expr->a.kind != TERM_NONE && expr->a.kind != TERM_LAYER && expr->a.kind != TERM_PASS &&
            (expr->a.kind != TERM_PARAM || expr->a.bytes || expr->b.kind != TERM_NONE))
            return mistake(parser, "found something else, expected %s = param N or param N + OFFSET", addresses[i].key);
    }
    parser->line = recipe->k.line;
    if (names_early(&recipe->k, true))
        return mistake(parser, "found k by k or rows, expected a parameter or the like");
    parser->line = recipe->rows.line;
    if (names_early(&recipe->rows, false))
        return mistake(parser, "found rows by rows, expected a parameter or the like");
    const struct mt_expr *all[] = {&recipe->ids,     &recipe->rows,           &recipe->k,         &recipe->input,
                                   &recipe->experts, &recipe->stride,         &recipe->column,    &recipe->start,
                                   &recipe->once,    &recipe->starts,         &recipe->positions, &recipe->block,
                                   &recipe->weights, &recipe->weights_stride, &recipe->mapped,    &recipe->sequences,
                                   &recipe->index,   &recipe->groups,         &recipe->apart};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool address = false;
        for (size_t n = 0; n < sizeof addresses / sizeof *addresses; n++)
            address |= all[i] == addresses[n].expr;
        uint32_t bytes = address ? 8 : 0;
        parser->line = all[i]->line;
        if (read_by_gpu(all[i]) && !may_be_read_by_gpu(recipe, all[i]))
            return mistake(parser, "found 'at', expected it alone and only in ids, stride and block of a block table");
        if (!fits(recipe, &all[i]->a, bytes) || !fits(recipe, &all[i]->b, 0))
            return mistake(parser, "found a parameter that params does not have, or a smaller one, expected one of "
                                   "params, as wide as what is read of it");
    }
    for (unsigned i = 0; i < recipe->require_count; i++) {
        const struct mt_expr *left = &recipe->require[i].left, *right = &recipe->require[i].right;
        parser->line = left->line;
        if (read_by_gpu(left) || read_by_gpu(right))
            return mistake(parser, "found 'at' in a condition, expected what the launch itself tells");
        if (!fits(recipe, &left->a, 0) || !fits(recipe, &left->b, 0) || !fits(recipe, &right->a, 0) ||
            !fits(recipe, &right->b, 0))
            return mistake(parser,
                           "found a condition on a parameter that params does not have, expected one of params");
    }
    return 0;
}

/* A row has one value, and there is no more to say of it. */
static int check_context(struct parser *parser, struct mt_recipe *recipe)
{
    const struct {
        const char *key;
        const struct mt_expr *expr;
    } foreign[] = {{"k", &recipe->k}, {"column", &recipe->column}, {"input", &recipe->input}};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (foreign[i].expr->a.kind == TERM_NONE ||
            ((recipe->kind == MT_RECIPE_CACHE || recipe->kind == MT_RECIPE_ORDER) && foreign[i].expr == &recipe->input))
            continue;
        parser->line = foreign[i].expr->line;
        return mistake(parser, "found %s in [%s], expected it only in routers and consumers", foreign[i].key,
                       recipe->name);
    }
    if (recipe->final[0]) {
        parser->line = recipe->final_line;
        return mistake(parser, "found final in [%s], expected it only in routers", recipe->name);
    }
    if (recipe->dtype == MT_DTYPE_I16 || recipe->dtype == MT_DTYPE_U16 || recipe->dtype == MT_DTYPE_U8)
        return mistake(parser, "found a narrow dtype in [%s], expected i32, i64, u32 or template N", recipe->name);
    recipe->k = (struct mt_expr){.a = {.kind = TERM_CONSTANT, .value = 1}, .line = recipe->line};
    return 0;
}

/*
 * A block table is read by sequences and positions. Of the sequences other row context only says, if it does, how many
 * rows they have.
 */
static int check_blocks(struct parser *parser, const struct mt_recipe *recipe)
{
    const bool blocks = recipe->kind == MT_RECIPE_BLOCKS, lists = recipe->kind == MT_RECIPE_KV_INDICES;
    const bool rows =
        recipe->kind == MT_RECIPE_SLOTS || recipe->kind == MT_RECIPE_POSITIONS || recipe->kind == MT_RECIPE_TOKENS;
    const bool slots = recipe->kind == MT_RECIPE_SLOTS, groups = recipe->groups.a.kind != TERM_NONE;
    const bool counted = rows && (recipe->sequences.a.kind != TERM_NONE || recipe->starts.a.kind != TERM_NONE);
    const struct {
        const char *key, *where;
        const struct mt_expr *expr;
        bool wanted, allowed;
    } keys[] = {{"starts",
                 rows    ? "slots, positions or tokens beside sequences"
                 : lists ? "kv_indices"
                         : "blocks",
                 &recipe->starts, blocks || lists || counted, false},
                {"sequences", "slots, positions or tokens beside starts", &recipe->sequences, counted, false},
                {"positions", "blocks", &recipe->positions, blocks, false},
                {"block", "blocks", &recipe->block, blocks, false},
                {"index", lists ? "kv_indices" : "blocks", &recipe->index, lists, blocks},
                {"groups", "slots and blocks", &recipe->groups, false, slots || blocks},
                /* What the GPU reads lies side by side for the groups. */
                {"apart", "slots and blocks beside groups, but for ids = at param N", &recipe->apart,
                 groups && !recipe->ids.a.device, false}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const bool found = keys[i].expr->a.kind != TERM_NONE;
        if (found == keys[i].wanted || (found && keys[i].allowed))
            continue;
        parser->line = found ? keys[i].expr->line : recipe->line;
        return mistake(parser,
                       found ? "found %s in [%s], expected it only in %s" : "found no %s in [%s], expected it in %s",
                       keys[i].key, recipe->name, keys[i].where);
    }
    if (lists && (recipe->dtype != MT_DTYPE_NONE || recipe->dtype_template >= 0))
        return mistake(parser, "found dtype in [%s], expected none: kv_indices are i32 or i64, the GPU finds it out",
                       recipe->name);
    if (blocks && recipe->dtype != MT_DTYPE_I32)
        return mistake(parser, "found another dtype in [%s], expected i32 for a block table", recipe->name);
    if (blocks && recipe->ids.a.device && (recipe->skip || recipe->start.a.kind != TERM_NONE))
        return mistake(parser,
                       "found start or skip in [%s], expected none where the table's address is read by the GPU",
                       recipe->name);
    return 0;
}

/* What a launch tells of a batch and its cache is all that there is of these; only what rows are waits for it. */
static int check_batch(struct parser *parser, const struct mt_recipe *recipe)
{
    const bool batch = recipe->kind == MT_RECIPE_BATCH, cache = recipe->kind == MT_RECIPE_CACHE;
    const bool order = recipe->kind == MT_RECIPE_ORDER;
    const bool rows =
        recipe->kind == MT_RECIPE_SLOTS || recipe->kind == MT_RECIPE_POSITIONS || recipe->kind == MT_RECIPE_TOKENS;
    if (recipe->until[0] && !rows) {
        parser->line = recipe->until_line;
        return mistake(parser, "found until in [%s], expected it only in slots, positions or tokens", recipe->name);
    }
    if (recipe->behind[0] && !rows && !cache) {
        parser->line = recipe->behind_line;
        return mistake(parser, "found behind in [%s], expected it only in slots, positions, tokens or cache",
                       recipe->name);
    }
    if (recipe->once.a.kind == TERM_PASS && !batch) {
        parser->line = recipe->once.line;
        return mistake(parser, "found once = pass in [%s], expected it only in a batch", recipe->name);
    }
    if ((recipe->kind == MT_RECIPE_READS || order) && recipe->once.a.kind != TERM_PARAM)
        return mistake(parser, "found no once in [%s], expected once = the address of the cache that is %s",
                       recipe->name, order ? "written" : "read");
    if (order && recipe->input.a.kind == TERM_NONE)
        return mistake(parser, "found no input in [%s], expected input = the cache that is put in order", recipe->name);
    if (batch && recipe->stride.a.kind == TERM_NONE)
        return mistake(parser, "found no stride in [%s], expected stride = the rows of each sequence", recipe->name);
    if (cache && recipe->input.a.kind == TERM_NONE)
        return mistake(parser, "found no input in [%s], expected input = the cache that the pass goes on with",
                       recipe->name);
    const struct {
        const char *key;
        const struct mt_expr *expr;
        bool foreign;
    } keys[] = {{"ids", &recipe->ids, batch},
                {"experts", &recipe->experts, batch || cache},
                {"start", &recipe->start, batch || cache},
                {"once", &recipe->once, (batch && recipe->once.a.kind != TERM_PASS) || cache}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!keys[i].foreign || keys[i].expr->a.kind == TERM_NONE)
            continue;
        parser->line = keys[i].expr->line;
        return mistake(parser, "found %s in [%s], expected it not in a %s", keys[i].key, recipe->name,
                       batch ? "batch" : "cache");
    }
    return 0;
}

/* Three keys that go together, for who writes weights. */
static int check_weights(struct parser *parser, const struct mt_recipe *recipe)
{
    const bool given = recipe->weights.a.kind != TERM_NONE, type = recipe->weights_type_line != 0;
    const bool stride = recipe->weights_stride.a.kind != TERM_NONE;
    if (!given && !type && !stride)
        return 0;
    parser->line = given ? recipe->weights.line : type ? recipe->weights_type_line : recipe->weights_stride.line;
    if (recipe->kind != MT_RECIPE_ROUTER)
        return mistake(parser, "found weights in [%s], expected them only in routers", recipe->name);
    if (!given)
        return mistake(parser, "found no weights in [%s], expected weights = param N beside their dtype or stride",
                       recipe->name);
    if (!type)
        return mistake(parser, "found no weights_dtype in [%s], expected weights_dtype = f32 or the like",
                       recipe->name);
    return 0;
}

/* Its shape is the router's: it tells no more than where the ids are, before and after. */
static int check_map(struct parser *parser, const struct mt_recipe *recipe)
{
    const struct {
        const char *key;
        const struct mt_expr *expr;
    } foreign[] = {{"rows", &recipe->rows},     {"k", &recipe->k},         {"stride", &recipe->stride},
                   {"column", &recipe->column}, {"input", &recipe->input}, {"once", &recipe->once}};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (foreign[i].expr->a.kind == TERM_NONE)
            continue;
        parser->line = foreign[i].expr->line;
        return mistake(parser, "found %s in [%s], expected it not in a map: its shape is the router's", foreign[i].key,
                       recipe->name);
    }
    if (recipe->mapped.a.kind == TERM_NONE)
        return mistake(parser, "found no mapped in [%s], expected mapped = ...", recipe->name);
    if (recipe->ids.a.kind == TERM_ANY)
        return mistake(parser, "found ids = any in [%s], expected ids = param N in a map", recipe->name);
    return 0;
}

static int finish(struct parser *parser, struct mt_recipe *recipe)
{
    parser->line = recipe->line;
    if (!recipe->kernel_count)
        return mistake(parser, "found no kernel in [%s], expected kernel = NAME", recipe->name);
    if (mt_recipe_site_kind(recipe) == MT_SITE_ROUTER && recipe->once.a.kind != TERM_NONE) {
        parser->line = recipe->once.line;
        return mistake(parser, "found once in [%s], expected it only in row context", recipe->name);
    }
    if (check_weights(parser, recipe))
        return -1;
    parser->line = recipe->line;
    if (recipe->kind == MT_RECIPE_FINAL || recipe->kind == MT_RECIPE_NO_IDS)
        return 0;
    if (mt_recipe_site_kind(recipe) != MT_SITE_ROUTER && check_context(parser, recipe))
        return -1;
    if (recipe->kind == MT_RECIPE_MAP && check_map(parser, recipe))
        return -1;
    if (recipe->kind != MT_RECIPE_MAP && recipe->mapped.a.kind != TERM_NONE) {
        parser->line = recipe->mapped.line;
        return mistake(parser, "found mapped in [%s], expected it only in maps", recipe->name);
    }
    if (check_blocks(parser, recipe) || check_batch(parser, recipe))
        return -1;
    if (check_needed(parser, recipe))
        return -1;
    return recipe->ids.a.kind == TERM_ANY ? 0 : check_exprs(parser, recipe);
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
    if (!close || close == line + 1 || *skip_blanks(close + 1))
        return mistake(parser, "found '%.80s', expected [name]", line);
    *close = '\0';
    for (size_t i = first; i < recipes->count; i++) {
        if (strcmp(recipes->all[i].name, line + 1) == 0)
            return mistake(parser, "found a second recipe [%s], expected each name once", line + 1);
    }
    struct mt_recipe *recipe = add(recipes);
    if (!recipe)
        return mistake(parser, "out of memory");
    recipe->line = parser->line;
    return parse_name(parser, line + 1, recipe->name, sizeof recipe->name);
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
            return mistake(&parser, "found a line of %zu characters, expected less than %zu", n, sizeof line);
        memcpy(line, at, n);
        line[n] = '\0';
        at += n + (at[n] == '\n');
        line[strcspn(line, "#")] = '\0';
        for (n = strlen(line); n && isspace((unsigned char) line[n - 1]);)
            line[--n] = '\0';
        char *begin = (char *) skip_blanks(line);
        if (!*begin)
            continue;
        if (*begin == '[') {
            unsigned here = parser.line;
            if (recipes->count > first && finish(&parser, &recipes->all[recipes->count - 1]))
                return -1;
            parser.line = here;
            if (start_recipe(&parser, recipes, first, begin))
                return -1;
            continue;
        }
        char *equals = strchr(begin, '=');
        if (!equals)
            return mistake(&parser, "found '%.80s', expected key = value", begin);
        if (recipes->count == first)
            return mistake(&parser, "found '%.80s' before any recipe, expected [name] first", begin);
        *equals = '\0';
        for (char *end = equals; end > begin && isspace((unsigned char) end[-1]);)
            *--end = '\0';
        if (parse_key(&parser, &recipes->all[recipes->count - 1], begin, skip_blanks(equals + 1)))
            return -1;
    }
    return recipes->count > first && finish(&parser, &recipes->all[recipes->count - 1]) ? -1 : 0;
}
