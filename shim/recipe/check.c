/* SPDX-License-Identifier: Apache-2.0 */
/* A recipe as a whole: the keys that its kind needs and may have, and parameters that its layouts have. */
#include "parse.h"

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
            return mt_mistake(parser, "found no %s in [%s], expected %s = ...", needed[i].key, recipe->name,
                              needed[i].key);
    }
    if (!ids_alone && !dtype && !told)
        return mt_mistake(parser, "found no dtype in [%s], expected dtype = i32 or the like", recipe->name);
    if (recipe->ids.a.kind == TERM_ANY) {
        parser->line = recipe->ids.line;
        return ids_alone ? 0
                         : mt_mistake(parser,
                                      "found ids = any in [%s], expected it only in a consumer without rows, k "
                                      "and dtype",
                                      recipe->name);
    }
    if (!recipe->layout_count)
        return mt_mistake(parser,
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
            return mt_mistake(parser, "found something else, expected %s = param N or param N + OFFSET",
                              addresses[i].key);
    }
    parser->line = recipe->k.line;
    if (names_early(&recipe->k, true))
        return mt_mistake(parser, "found k by k or rows, expected a parameter or the like");
    parser->line = recipe->rows.line;
    if (names_early(&recipe->rows, false))
        return mt_mistake(parser, "found rows by rows, expected a parameter or the like");
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
            return mt_mistake(parser,
                              "found 'at', expected it alone and only in ids, stride and block of a block table");
        if (!fits(recipe, &all[i]->a, bytes) || !fits(recipe, &all[i]->b, 0))
            return mt_mistake(parser, "found a parameter that params does not have, or a smaller one, expected one of "
                                      "params, as wide as what is read of it");
    }
    for (unsigned i = 0; i < recipe->require_count; i++) {
        const struct mt_expr *left = &recipe->require[i].left, *right = &recipe->require[i].right;
        parser->line = left->line;
        if (read_by_gpu(left) || read_by_gpu(right))
            return mt_mistake(parser, "found 'at' in a condition, expected what the launch itself tells");
        if (!fits(recipe, &left->a, 0) || !fits(recipe, &left->b, 0) || !fits(recipe, &right->a, 0) ||
            !fits(recipe, &right->b, 0))
            return mt_mistake(parser,
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
        return mt_mistake(parser, "found %s in [%s], expected it only in routers and consumers", foreign[i].key,
                          recipe->name);
    }
    if (recipe->final[0]) {
        parser->line = recipe->final_line;
        return mt_mistake(parser, "found final in [%s], expected it only in routers", recipe->name);
    }
    if (recipe->dtype == MT_DTYPE_I16 || recipe->dtype == MT_DTYPE_U16 || recipe->dtype == MT_DTYPE_U8)
        return mt_mistake(parser, "found a narrow dtype in [%s], expected i32, i64, u32 or template N", recipe->name);
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
        return mt_mistake(parser,
                          found ? "found %s in [%s], expected it only in %s" : "found no %s in [%s], expected it in %s",
                          keys[i].key, recipe->name, keys[i].where);
    }
    if (lists && (recipe->dtype != MT_DTYPE_NONE || recipe->dtype_template >= 0))
        return mt_mistake(parser, "found dtype in [%s], expected none: kv_indices are i32 or i64, the GPU finds it out",
                          recipe->name);
    if (blocks && recipe->dtype != MT_DTYPE_I32)
        return mt_mistake(parser, "found another dtype in [%s], expected i32 for a block table", recipe->name);
    if (blocks && recipe->ids.a.device && (recipe->skip || recipe->start.a.kind != TERM_NONE))
        return mt_mistake(parser,
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
        return mt_mistake(parser, "found until in [%s], expected it only in slots, positions or tokens", recipe->name);
    }
    if (recipe->behind[0] && !rows && !cache) {
        parser->line = recipe->behind_line;
        return mt_mistake(parser, "found behind in [%s], expected it only in slots, positions, tokens or cache",
                          recipe->name);
    }
    if (recipe->once.a.kind == TERM_PASS && !batch) {
        parser->line = recipe->once.line;
        return mt_mistake(parser, "found once = pass in [%s], expected it only in a batch", recipe->name);
    }
    if ((recipe->kind == MT_RECIPE_READS || order) && recipe->once.a.kind != TERM_PARAM)
        return mt_mistake(parser, "found no once in [%s], expected once = the address of the cache that is %s",
                          recipe->name, order ? "written" : "read");
    if (order && recipe->input.a.kind == TERM_NONE)
        return mt_mistake(parser, "found no input in [%s], expected input = the cache that is put in order",
                          recipe->name);
    if (batch && recipe->stride.a.kind == TERM_NONE)
        return mt_mistake(parser, "found no stride in [%s], expected stride = the rows of each sequence", recipe->name);
    if (cache && recipe->input.a.kind == TERM_NONE)
        return mt_mistake(parser, "found no input in [%s], expected input = the cache that the pass goes on with",
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
        return mt_mistake(parser, "found %s in [%s], expected it not in a %s", keys[i].key, recipe->name,
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
        return mt_mistake(parser, "found weights in [%s], expected them only in routers", recipe->name);
    if (!given)
        return mt_mistake(parser, "found no weights in [%s], expected weights = param N beside their dtype or stride",
                          recipe->name);
    if (!type)
        return mt_mistake(parser, "found no weights_dtype in [%s], expected weights_dtype = f32 or the like",
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
        return mt_mistake(parser, "found %s in [%s], expected it not in a map: its shape is the router's",
                          foreign[i].key, recipe->name);
    }
    if (recipe->mapped.a.kind == TERM_NONE)
        return mt_mistake(parser, "found no mapped in [%s], expected mapped = ...", recipe->name);
    if (recipe->ids.a.kind == TERM_ANY)
        return mt_mistake(parser, "found ids = any in [%s], expected ids = param N in a map", recipe->name);
    return 0;
}

int mt_check_recipe(struct parser *parser, struct mt_recipe *recipe)
{
    parser->line = recipe->line;
    if (!recipe->kernel_count)
        return mt_mistake(parser, "found no kernel in [%s], expected kernel = NAME", recipe->name);
    if (mt_recipe_site_kind(recipe) == MT_SITE_ROUTER && recipe->once.a.kind != TERM_NONE) {
        parser->line = recipe->once.line;
        return mt_mistake(parser, "found once in [%s], expected it only in row context", recipe->name);
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
        return mt_mistake(parser, "found mapped in [%s], expected it only in maps", recipe->name);
    }
    if (check_blocks(parser, recipe) || check_batch(parser, recipe))
        return -1;
    if (check_needed(parser, recipe))
        return -1;
    return recipe->ids.a.kind == TERM_ANY ? 0 : check_exprs(parser, recipe);
}
