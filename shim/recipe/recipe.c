/* SPDX-License-Identifier: Apache-2.0 */
#include "impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* * and ? as in a shell, nothing else; never worse than length times length, whatever a user's file asks for. */
static bool glob_fits(const char *pattern, const char *name)
{
    const char *star = NULL, *retry = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            retry = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

/* A user's recipe may name a built-in one, which is only known at the end. */
static bool is_there(const struct mt_recipes *recipes, const struct mt_recipe *recipe,
                     bool (*is)(const struct mt_recipe *recipe, const struct mt_recipe *named))
{
    bool found = false;
    for (size_t i = 0; !found && i < recipes->count; i++)
        found = is(recipe, &recipes->all[i]);
    return found;
}

static bool has_as_final(const struct mt_recipe *recipe, const struct mt_recipe *named)
{
    return mt_recipe_is_final_of(named, recipe);
}

/* The first recipe that names one which is not there; `line`, `key`, `name` and `kind`: what it names. */
static const struct mt_recipe *lacks(const struct mt_recipes *recipes, unsigned *line, const char **key,
                                     const char **name, const char **kind)
{
    for (size_t i = 0; i < recipes->count; i++) {
        const struct mt_recipe *recipe = &recipes->all[i];
        const struct {
            const char *key, *name, *kind;
            unsigned line;
            bool (*is)(const struct mt_recipe *recipe, const struct mt_recipe *named);
        } named[] = {{"final", recipe->final, "final", recipe->final_line, has_as_final},
                     {"until", recipe->until, "batch", recipe->until_line, mt_recipe_waits_for},
                     {"behind", recipe->behind, "positions", recipe->behind_line, mt_recipe_needs}};
        for (size_t n = 0; n < sizeof named / sizeof *named; n++) {
            if (!named[n].name[0] || is_there(recipes, recipe, named[n].is))
                continue;
            *line = named[n].line;
            *key = named[n].key;
            *name = named[n].name;
            *kind = named[n].kind;
            return recipe;
        }
    }
    return NULL;
}

static struct mt_recipes *load(const char *file, const char *user_text, size_t *users, char *why, size_t size)
{
    static const char builtin[] = "built-in recipes";
    struct mt_recipes *recipes = calloc(1, sizeof *recipes);
    if (!recipes) {
        snprintf(why, size, "out of memory");
        return NULL;
    }
    /* The user's come first: they are tried first. */
    if (user_text && mt_recipes_parse(recipes, file, user_text, why, size))
        goto fail;
    *users = recipes->count;
    if (mt_recipes_parse(recipes, builtin, mt_builtin_recipes, why, size))
        goto fail;
    unsigned line;
    const char *key, *name, *kind;
    const struct mt_recipe *lacking = lacks(recipes, &line, &key, &name, &kind);
    if (!lacking)
        return recipes;
    snprintf(why, size, "%s:%u: found %s = %s, expected the name of a recipe of kind %s",
             (size_t) (lacking - recipes->all) < *users ? file : builtin, line, key, name, kind);
fail:
    mt_recipes_free(recipes);
    return NULL;
}

struct mt_recipes *mt_recipes_load(const char *file, const char *user_text, char *why, size_t size)
{
    size_t users;
    return load(file, user_text, &users, why, size);
}

bool mt_recipes_check(const char *file, const char *text, size_t *count, char *why, size_t size)
{
    struct mt_recipes *recipes = load(file, text, count, why, size);
    bool good = recipes != NULL;
    mt_recipes_free(recipes);
    return good;
}

void mt_recipes_free(struct mt_recipes *recipes)
{
    if (recipes)
        free(recipes->all);
    free(recipes);
}

size_t mt_recipes_count(const struct mt_recipes *recipes)
{
    return recipes->count;
}

const struct mt_recipe *mt_recipes_get(const struct mt_recipes *recipes, size_t index)
{
    return &recipes->all[index];
}

const char *mt_recipe_name(const struct mt_recipe *recipe)
{
    return recipe->name;
}

const char *const mt_recipe_kind_names[] = {
    [MT_RECIPE_ROUTER] = "router",     [MT_RECIPE_FINAL] = "final",     [MT_RECIPE_NO_IDS] = "no-ids",
    [MT_RECIPE_CONSUMER] = "consumer", [MT_RECIPE_SLOTS] = "slots",     [MT_RECIPE_POSITIONS] = "positions",
    [MT_RECIPE_TOKENS] = "tokens",     [MT_RECIPE_STARTS] = "starts",   [MT_RECIPE_BLOCKS] = "blocks",
    [MT_RECIPE_MAP] = "map",           [MT_RECIPE_BATCH] = "batch",     [MT_RECIPE_CACHE] = "cache",
    [MT_RECIPE_READS] = "reads",       [MT_RECIPE_LENGTHS] = "lengths", [MT_RECIPE_KV_INDICES] = "kv_indices",
    [MT_RECIPE_ORDER] = "order",       [MT_RECIPE_ORDER + 1] = NULL};

enum mt_recipe_kind mt_recipe_kind(const struct mt_recipe *recipe)
{
    return recipe->kind;
}

const char *mt_recipe_note(const struct mt_recipe *recipe)
{
    return recipe->note;
}

enum mt_id_space mt_recipe_id_space(const struct mt_recipe *recipe)
{
    return recipe->kind == MT_RECIPE_MAP && !recipe->id_space ? MT_IDS_PHYSICAL : recipe->id_space;
}

const char *mt_recipe_kernel(const struct mt_recipe *recipe, unsigned index)
{
    return index < recipe->kernel_count ? recipe->kernels[index] : NULL;
}

enum mt_site_kind mt_recipe_site_kind(const struct mt_recipe *recipe)
{
    switch (recipe->kind) {
    case MT_RECIPE_SLOTS:
        return MT_SITE_SLOTS;
    case MT_RECIPE_POSITIONS:
        return MT_SITE_POSITIONS;
    case MT_RECIPE_TOKENS:
        return MT_SITE_TOKENS;
    case MT_RECIPE_STARTS:
        return MT_SITE_STARTS;
    case MT_RECIPE_BLOCKS:
        return MT_SITE_BLOCKS;
    case MT_RECIPE_BATCH:
        return MT_SITE_BATCH;
    case MT_RECIPE_CACHE:
        return MT_SITE_CACHE;
    case MT_RECIPE_READS:
        return MT_SITE_READS;
    case MT_RECIPE_LENGTHS:
        return MT_SITE_LENGTHS;
    case MT_RECIPE_KV_INDICES:
        return MT_SITE_KV_INDICES;
    case MT_RECIPE_ORDER:
        return MT_SITE_ORDER;
    default:
        return MT_SITE_ROUTER;
    }
}

bool mt_recipe_once_by_layer(const struct mt_recipe *recipe)
{
    return recipe->once.a.kind == TERM_LAYER;
}

bool mt_recipe_waits(const struct mt_recipe *recipe)
{
    return recipe->until[0] != '\0';
}

bool mt_recipe_waits_for(const struct mt_recipe *recipe, const struct mt_recipe *batch)
{
    return batch->kind == MT_RECIPE_BATCH && glob_fits(recipe->until, batch->name);
}

bool mt_recipe_needs_batch(const struct mt_recipe *recipe)
{
    return recipe->behind[0] != '\0';
}

bool mt_recipe_needs(const struct mt_recipe *recipe, const struct mt_recipe *positions)
{
    return positions->kind == MT_RECIPE_POSITIONS && strcmp(positions->name, recipe->behind) == 0;
}

bool mt_recipe_once_a_pass(const struct mt_recipe *recipe)
{
    return recipe->once.a.kind == TERM_PASS;
}

bool mt_recipe_tells_shape(const struct mt_recipe *recipe)
{
    return recipe->rows.a.kind != TERM_NONE || recipe->kind == MT_RECIPE_CACHE || recipe->kind == MT_RECIPE_BATCH;
}

bool mt_kernel_only_reads(const struct mt_kernel_info *kernel, const struct mt_recipe *recipe, unsigned i)
{
    if (i < MT_KERNEL_PARAMS_MAX && kernel->const_pointers >> i & 1)
        return true;
    if (!recipe || recipe->kind != MT_RECIPE_CONSUMER)
        return false;
    return recipe->ids.a.kind == TERM_ANY || (recipe->ids.a.index == i && recipe->ids.a.offset == 0);
}

bool mt_recipe_has_final(const struct mt_recipe *recipe)
{
    return recipe->final[0] != '\0';
}

bool mt_recipe_is_final_of(const struct mt_recipe *final, const struct mt_recipe *router)
{
    return final->kind == MT_RECIPE_FINAL && strcmp(final->name, router->final) == 0;
}

enum mt_dtype mt_dtype_of_cpp(const char *name)
{
    static const struct {
        const char *name;
        enum mt_dtype dtype;
    } types[] = {{"int", MT_DTYPE_I32},          {"long", MT_DTYPE_I64},  {"long long", MT_DTYPE_I64},
                 {"unsigned int", MT_DTYPE_U32}, {"short", MT_DTYPE_I16}, {"unsigned short", MT_DTYPE_U16},
                 {"unsigned char", MT_DTYPE_U8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, name) == 0)
            return types[i].dtype;
    }
    return MT_DTYPE_NONE;
}

enum mt_weight_type mt_weight_type_of_cpp(const char *name)
{
    static const struct {
        const char *name;
        enum mt_weight_type type;
    } types[] = {{"float", MT_WEIGHT_F32},         {"__half", MT_WEIGHT_F16},         {"half", MT_WEIGHT_F16},
                 {"c10::Half", MT_WEIGHT_F16},     {"__nv_bfloat16", MT_WEIGHT_BF16}, {"nv_bfloat16", MT_WEIGHT_BF16},
                 {"c10::BFloat16", MT_WEIGHT_BF16}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    }
    return MT_WEIGHT_NONE;
}

uint32_t mt_dtype_size(enum mt_dtype dtype)
{
    static const uint32_t sizes[] = {0, 4, 8, 4, 2, 2, 1};
    return sizes[dtype];
}

static bool name_fits(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel)
{
    for (unsigned i = 0; i < recipe->kernel_count; i++) {
        if (glob_fits(recipe->kernels[i], kernel->base))
            return !recipe->within[0] || strstr(kernel->demangled, recipe->within) != NULL;
    }
    return false;
}

static bool layout_fits(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel)
{
    if (!recipe->layout_count)
        return true;
    for (unsigned i = 0; i < recipe->layout_count; i++) {
        __typeof__(&recipe->layouts[0]) layout = &recipe->layouts[i];
        bool same = layout->open ? kernel->param_count >= layout->count : kernel->param_count == layout->count;
        for (uint32_t p = 0; same && p < layout->count; p++)
            same = kernel->param[p].size == layout->size[p];
        if (same)
            return true;
    }
    return false;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool has_template(const struct mt_expr *expr, const struct mt_kernel_info *kernel)
{
    return (expr->a.kind != TERM_TEMPLATE || expr->a.index < kernel->template_count) &&
           (expr->b.kind != TERM_TEMPLATE || expr->b.index < kernel->template_count);
}

static bool has_templates(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel)
{
    if (recipe->dtype_template >= 0 && ((unsigned) recipe->dtype_template >= kernel->template_count ||
                                        !mt_dtype_of_cpp(kernel->template_args[recipe->dtype_template])))
        return false;
    const struct mt_expr *all[] = {&recipe->rows,   &recipe->k,      &recipe->experts,
                                   &recipe->stride, &recipe->column, &recipe->start};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!has_template(all[i], kernel))
            return false;
    }
    for (unsigned i = 0; i < recipe->require_count; i++) {
        if (!has_template(&recipe->require[i].left, kernel) || !has_template(&recipe->require[i].right, kernel))
            return false;
    }
    return true;
}

static bool shape_fits(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel)
{
    return layout_fits(recipe, kernel) && has_templates(recipe, kernel) &&
           (!recipe->suffix[0] || ends_with(kernel->mangled, recipe->suffix));
}

const struct mt_recipe *mt_recipes_next(const struct mt_recipes *recipes, const struct mt_kernel_info *kernel,
                                        const struct mt_recipe *recipe)
{
    const enum mt_recipe_kind kind = recipe->kind;
    while (++recipe < recipes->all + recipes->count) {
        const bool instead = kind == MT_RECIPE_ROUTER && recipe->kind == MT_RECIPE_NO_IDS;
        if ((recipe->kind == kind || instead) && name_fits(recipe, kernel) && shape_fits(recipe, kernel))
            return recipe;
    }
    return NULL;
}

unsigned mt_recipes_also(const struct mt_recipes *recipes, const struct mt_kernel_info *kernel,
                         const struct mt_recipe *recipe, const struct mt_recipe **also, unsigned room)
{
    const enum mt_recipe_kind first = recipe->kind;
    unsigned count = 0;
    if (mt_recipe_site_kind(recipe) == MT_SITE_ROUTER)
        return 0;
    for (; recipe < recipes->all + recipes->count; recipe++) {
        if (count < room && mt_recipe_site_kind(recipe) != MT_SITE_ROUTER && recipe->kind != first &&
            name_fits(recipe, kernel) && shape_fits(recipe, kernel))
            also[count++] = recipe;
    }
    return count;
}

/* Kernels that are there for more than a model's rows, in any engine. */
static bool does_other_things(const struct mt_recipe *recipe)
{
    return recipe->kind == MT_RECIPE_CONSUMER || recipe->kind == MT_RECIPE_BATCH || recipe->kind == MT_RECIPE_CACHE ||
           recipe->kind == MT_RECIPE_READS || recipe->kind == MT_RECIPE_ORDER || mt_recipe_waits(recipe) ||
           mt_recipe_needs_batch(recipe);
}

const struct mt_recipe *mt_recipes_match(const struct mt_recipes *recipes, const struct mt_kernel_info *kernel,
                                         char *why, size_t size)
{
    const struct mt_recipe *by_name = NULL;
    if (size)
        why[0] = '\0';
    for (size_t i = 0; i < recipes->count; i++) {
        const struct mt_recipe *recipe = &recipes->all[i];
        if (!name_fits(recipe, kernel))
            continue;
        if (shape_fits(recipe, kernel))
            return recipe;
        if (!does_other_things(recipe)) /* one that is not known loses nothing */
            by_name = recipe;
    }
    if (by_name) {
        int n = snprintf(why, size, "looks like [%s], but its parameters are", by_name->name);
        for (unsigned i = 0; n > 0 && (size_t) n < size && i < kernel->param_count; i++)
            n += snprintf(why + n, size - (size_t) n, " %u", kernel->param[i].size);
        if (n > 0 && (size_t) n < size)
            snprintf(why + n, size - (size_t) n, " bytes: another release? see `--recipe`");
    }
    return NULL;
}
