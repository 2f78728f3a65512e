/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe_impl.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mt_recipes *mt_recipes_load(const char *file, const char *user_text, char *why, size_t size)
{
    struct mt_recipes *recipes = calloc(1, sizeof *recipes);
    if (!recipes) {
        snprintf(why, size, "out of memory");
        return NULL;
    }
    /* The user's come first: they are tried first. */
    if ((user_text && mt_recipes_parse(recipes, file, user_text, why, size)) ||
        mt_recipes_parse(recipes, "built-in recipes", mt_builtin_recipes, why, size)) {
        mt_recipes_free(recipes);
        return NULL;
    }
    return recipes;
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

enum mt_recipe_kind mt_recipe_kind(const struct mt_recipe *recipe)
{
    return recipe->kind;
}

const char *mt_recipe_note(const struct mt_recipe *recipe)
{
    return recipe->note;
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

static bool name_fits(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel)
{
    for (unsigned i = 0; i < recipe->kernel_count; i++) {
        if (fnmatch(recipe->kernels[i], kernel->base, 0) == 0)
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

static bool has_templates(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel)
{
    if (recipe->dtype_template >= 0 && ((unsigned) recipe->dtype_template >= kernel->template_count ||
                                        !mt_dtype_of_cpp(kernel->template_args[recipe->dtype_template])))
        return false;
    const struct mt_expr *all[] = {&recipe->rows, &recipe->k, &recipe->experts, &recipe->stride};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i]->a.kind == TERM_TEMPLATE && all[i]->a.index >= kernel->template_count)
            return false;
    }
    return true;
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
        if (layout_fits(recipe, kernel) && has_templates(recipe, kernel) &&
            (!recipe->suffix[0] || ends_with(kernel->mangled, recipe->suffix)))
            return recipe;
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

const void *mt_launch_param(const struct mt_kernel_info *kernel, const struct mt_launch *launch, unsigned i)
{
    if (i >= kernel->param_count)
        return NULL;
    if (launch->params)
        return launch->params[i];
    const char *buffer = NULL;
    size_t size = 0;
    for (void *const *e = launch->extra; e && e[0] != CU_LAUNCH_PARAM_END; e += 2) {
        if (e[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = e[1];
        else if (e[0] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            size = *(const size_t *) e[1];
        else
            return NULL;
    }
    return buffer && kernel->param[i].offset + kernel->param[i].size <= size ? buffer + kernel->param[i].offset : NULL;
}

static bool read_term(const struct mt_term *term, const struct mt_kernel_info *kernel, const struct mt_launch *launch,
                      uint32_t k, uint64_t *value)
{
    switch (term->kind) {
    case TERM_CONSTANT:
        *value = term->value;
        return true;
    case TERM_GRID:
        *value = launch->grid[term->index];
        return true;
    case TERM_K:
        *value = k;
        return true;
    case TERM_TEMPLATE: {
        char *end;
        *value = strtoull(kernel->template_args[term->index], &end, 10);
        return end != kernel->template_args[term->index];
    }
    case TERM_PARAM: {
        const char *at = mt_launch_param(kernel, launch, term->index);
        uint32_t size = kernel->param[term->index].size;
        uint32_t bytes = term->bytes ? term->bytes : term->offset ? 4 : size;
        if (!at || term->offset + bytes > size)
            return false;
        uint32_t u32;
        uint64_t u64;
        switch (bytes) {
        case 1:
            *value = (uint8_t) at[term->offset];
            return true;
        case 4:
            memcpy(&u32, at + term->offset, sizeof u32);
            *value = u32;
            return true;
        case 8:
            memcpy(&u64, at + term->offset, sizeof u64);
            *value = u64;
            return true;
        default:
            return false;
        }
    }
    default:
        return false;
    }
}

static bool read_expr(const struct mt_expr *expr, const struct mt_kernel_info *kernel, const struct mt_launch *launch,
                      uint32_t k, uint64_t *value)
{
    uint64_t divisor;
    if (!read_term(&expr->a, kernel, launch, k, value))
        return false;
    if (expr->b.kind == TERM_NONE)
        return true;
    if (!read_term(&expr->b, kernel, launch, k, &divisor) || divisor == 0 || *value % divisor)
        return false;
    *value /= divisor;
    return true;
}

/* An address, from a pointer parameter or from inside a struct. */
static uint64_t read_address(const struct mt_expr *expr, const struct mt_kernel_info *kernel,
                             const struct mt_launch *launch)
{
    uint64_t address = 0;
    const char *at = expr->a.kind == TERM_PARAM ? mt_launch_param(kernel, launch, expr->a.index) : NULL;
    if (at && expr->a.offset + sizeof address <= kernel->param[expr->a.index].size)
        memcpy(&address, at + expr->a.offset, sizeof address);
    return address;
}

bool mt_recipe_read(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel, const struct mt_launch *launch,
                    struct mt_routing *routing, const char **why)
{
    uint64_t rows, k, experts = 0, stride;
    if (!read_expr(&recipe->k, kernel, launch, 0, &k) || k < recipe->k_min || k > recipe->k_max) {
        *why = "k is out of limits";
        return false;
    }
    if (!read_expr(&recipe->rows, kernel, launch, (uint32_t) k, &rows) || rows == 0 || rows > INT32_MAX) {
        *why = "no rows";
        return false;
    }
    if (recipe->experts.a.kind != TERM_NONE &&
        (!read_expr(&recipe->experts, kernel, launch, (uint32_t) k, &experts) || experts < recipe->experts_min ||
         experts > recipe->experts_max || experts < k)) {
        *why = "the number of experts is out of limits (a sampler's top-k?)";
        return false;
    }
    stride = k;
    if (recipe->stride.a.kind != TERM_NONE &&
        (!read_expr(&recipe->stride, kernel, launch, (uint32_t) k, &stride) || stride < k || stride > INT32_MAX)) {
        *why = "rows overlap";
        return false;
    }
    for (unsigned i = 0; i < recipe->require_count; i++) {
        uint64_t left, right;
        if (!read_expr(&recipe->require[i].left, kernel, launch, (uint32_t) k, &left) ||
            !read_expr(&recipe->require[i].right, kernel, launch, (uint32_t) k, &right) || left != right) {
            *why = "a condition of the recipe does not hold";
            return false;
        }
    }
    routing->ids = read_address(&recipe->ids, kernel, launch);
    if (!routing->ids) {
        *why = "null ids";
        return false;
    }
    routing->input = read_address(&recipe->input, kernel, launch);
    routing->dtype =
        recipe->dtype_template >= 0 ? mt_dtype_of_cpp(kernel->template_args[recipe->dtype_template]) : recipe->dtype;
    routing->rows = (uint32_t) rows;
    routing->k = (uint32_t) k;
    routing->experts = (uint32_t) experts;
    routing->stride = stride;
    return true;
}
