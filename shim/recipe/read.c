/* SPDX-License-Identifier: Apache-2.0 */
/* Reading one launch by a recipe: the only part that knows the driver's types. */
#include "impl.h"

#include "../../cupti/launch.h"

#include <stdlib.h>
#include <string.h>

const void *mt_launch_packed(const struct mt_launch *launch, size_t *size)
{
    const void *buffer = NULL;
    *size = 0;
    for (void *const *e = launch->extra; e && e[0] != CU_LAUNCH_PARAM_END; e += 2) {
        if (e[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = e[1];
        else if (e[0] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            *size = *(const size_t *) e[1];
        else
            return NULL;
    }
    return buffer;
}

const void *mt_launch_param(const struct mt_kernel_info *kernel, const struct mt_launch *launch, unsigned i)
{
    if (i >= kernel->param_count)
        return NULL;
    if (launch->params)
        return launch->params[i];
    size_t size;
    const char *buffer = mt_launch_packed(launch, &size);
    return buffer && kernel->param[i].offset + kernel->param[i].size <= size ? buffer + kernel->param[i].offset : NULL;
}

/* What later terms may name. */
struct known {
    uint64_t k, rows;
};

static bool read_term(const struct mt_term *term, const struct mt_kernel_info *kernel, const struct mt_launch *launch,
                      const struct known *known, uint64_t *value)
{
    switch (term->kind) {
    case TERM_CONSTANT:
        *value = term->value;
        return true;
    case TERM_GRID:
        *value = launch->grid[term->index];
        return true;
    case TERM_K:
        *value = known->k;
        return known->k != 0;
    case TERM_ROWS:
        *value = known->rows;
        return known->rows != 0;
    case TERM_TEMPLATE: {
        char *end;
        *value = strtoull(kernel->template_args[term->index], &end, 10);
        return end != kernel->template_args[term->index];
    }
    case TERM_PARAM: {
        const char *at = mt_launch_param(kernel, launch, term->index);
        uint32_t size = kernel->param[term->index].size;
        if (term->device) { /* where it is */
            if (!at || size != sizeof *value)
                return false;
            memcpy(value, at, sizeof *value);
            const bool null = !*value;
            *value += term->offset;
            return !null;
        }
        uint32_t bytes = term->bytes ? term->bytes : term->offset ? 4 : size;
        if (!at || term->offset + bytes > size)
            return false;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        switch (bytes) {
        case 1:
            *value = (uint8_t) at[term->offset];
            return true;
        case 2:
            memcpy(&u16, at + term->offset, sizeof u16);
            *value = u16;
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
                      const struct known *known, uint64_t *value)
{
    uint64_t b;
    if (!read_term(&expr->a, kernel, launch, known, value))
        return false;
    if (expr->b.kind == TERM_NONE)
        return true;
    if (!read_term(&expr->b, kernel, launch, known, &b))
        return false;
    if (expr->operation == '*')
        return !__builtin_mul_overflow(*value, b, value);
    if (expr->operation == '-')
        return !__builtin_sub_overflow(*value, b, value);
    if (expr->operation == '+')
        return !__builtin_add_overflow(*value, b, value);
    if (b == 0 || *value % b)
        return false;
    *value /= b;
    return true;
}

/* An address, from a pointer parameter or from inside a struct. */
static uint64_t read_address(const struct mt_expr *expr, const struct mt_kernel_info *kernel,
                             const struct mt_launch *launch)
{
    uint64_t address = 0;
    if (expr->a.device)
        return read_term(&expr->a, kernel, launch, NULL, &address) ? address : 0;
    const char *at = expr->a.kind == TERM_PARAM ? mt_launch_param(kernel, launch, expr->a.index) : NULL;
    if (at && expr->a.offset + sizeof address <= kernel->param[expr->a.index].size)
        memcpy(&address, at + expr->a.offset, sizeof address);
    return address;
}

static bool conditions_hold(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel,
                            const struct mt_launch *launch, const struct known *known)
{
    for (unsigned i = 0; i < recipe->require_count; i++) {
        uint64_t left, right;
        if (!read_expr(&recipe->require[i].left, kernel, launch, known, &left) ||
            !read_expr(&recipe->require[i].right, kernel, launch, known, &right) ||
            (recipe->require[i].at_least ? left < right : left != right))
            return false;
    }
    return true;
}

/* A launch is a router's without them, too. */
static void read_weights(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel,
                         const struct mt_launch *launch, const struct known *known, struct mt_routing *routing)
{
    routing->weights = 0;
    routing->weights_type = recipe->weights_type;
    routing->no_weights = NULL;
    if (recipe->weights_template >= 0)
        routing->weights_type = (unsigned) recipe->weights_template < kernel->template_count
                                    ? mt_weight_type_of_cpp(kernel->template_args[recipe->weights_template])
                                    : MT_WEIGHT_NONE;
    routing->weights_stride = known->k;
    uint64_t address = read_address(&recipe->weights, kernel, launch);
    if (recipe->weights.a.kind == TERM_NONE)
        routing->no_weights = "its recipe does not describe them";
    else if (!address)
        routing->no_weights = "a launch has none";
    else if (routing->column != 1)
        routing->no_weights = "the ids of a row do not lie side by side, so nothing tells that these do";
    else if (!mt_weight_size(routing->weights_type))
        routing->no_weights = "their type is neither f32, f16 nor bf16";
    else if ((recipe->weights_stride.a.kind != TERM_NONE &&
              !read_expr(&recipe->weights_stride, kernel, launch, known, &routing->weights_stride)) ||
             routing->weights_stride < known->k || routing->weights_stride > INT32_MAX)
        routing->no_weights = "their rows overlap";
    else
        routing->weights = address;
    if (!routing->weights)
        routing->weights_type = MT_WEIGHT_NONE;
}

/* Bytes of what the GPU is to read, 0 if the launch tells it. */
static uint8_t bytes_at(const struct mt_expr *expr, uint32_t usual)
{
    return (uint8_t) (!expr->a.device ? 0 : expr->a.bytes ? expr->a.bytes : usual);
}

static bool read_groups(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel,
                        const struct mt_launch *launch, const struct known *known, struct mt_routing *routing)
{
    uint64_t groups = 1, apart = 0;
    if (recipe->groups.a.kind != TERM_NONE && !read_expr(&recipe->groups, kernel, launch, known, &groups))
        return false;
    if (recipe->apart.a.kind != TERM_NONE &&
        (!read_expr(&recipe->apart, kernel, launch, known, &apart) || !apart || apart > INT32_MAX))
        return false;
    routing->groups = (uint32_t) groups;
    routing->apart = apart * mt_dtype_size(routing->dtype);
    return groups >= 1 && groups <= MT_GROUPS_MAX;
}

void mt_routing_of_group(struct mt_routing *routing, uint32_t group)
{
    routing->ids += group * (routing->ids_at ? routing->ids_at : routing->apart);
    routing->stride += (uint64_t) group * routing->stride_at;
    routing->block += (uint64_t) group * routing->block_at;
}

/* What is there for row context alone. */
static bool read_sequences(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel,
                           const struct mt_launch *launch, const struct known *known, struct mt_routing *routing,
                           const char **why)
{
    routing->count = routing->starts = routing->positions = routing->index = routing->block = 0;
    routing->ids_at = bytes_at(&recipe->ids, 8);
    routing->stride_at = bytes_at(&recipe->stride, 4);
    routing->block_at = bytes_at(&recipe->block, 4);
    uint64_t sequences;
    if (recipe->starts.a.kind != TERM_NONE)
        routing->starts = read_address(&recipe->starts, kernel, launch);
    if (recipe->sequences.a.kind != TERM_NONE) {
        if (!read_expr(&recipe->sequences, kernel, launch, known, &sequences) || sequences > INT32_MAX ||
            !routing->starts) {
            *why = "no telling how many rows its sequences have";
            return false;
        }
        routing->count = routing->starts + sequences * sizeof(int32_t);
    }
    routing->index = read_address(&recipe->index, kernel, launch);
    if (mt_recipe_site_kind(recipe) == MT_SITE_KV_INDICES && (!routing->starts || !routing->index)) {
        *why = "no kv_indices without where each sequence's begin, and which sequences they are";
        return false;
    }
    if (mt_recipe_site_kind(recipe) != MT_SITE_BLOCKS)
        return true;
    routing->positions = read_address(&recipe->positions, kernel, launch);
    if (!read_expr(&recipe->block, kernel, launch, known, &routing->block) || !routing->block ||
        (!routing->block_at && routing->block > INT32_MAX) || !routing->starts || !routing->positions ||
        (recipe->index.a.kind != TERM_NONE && !routing->index)) {
        *why = "no block table without its sequences, their positions and the size of a block";
        return false;
    }
    return true;
}

/* What a launch tells itself: of a batch its sequences and the rows of each, of a cache where it is. */
static bool read_told(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel,
                      const struct mt_launch *launch, struct mt_routing *routing, const char **why)
{
    const struct known known = {0};
    uint64_t rows = 0, stride = 0;
    *routing = (struct mt_routing){.k = 1, .column = 1, .groups = 1, .no_weights = "it is no router"};
    if (recipe->rows.a.kind != TERM_NONE &&
        (!read_expr(&recipe->rows, kernel, launch, &known, &rows) || !rows || rows > INT32_MAX)) {
        *why = "no rows";
        return false;
    }
    if (recipe->stride.a.kind != TERM_NONE &&
        (!read_expr(&recipe->stride, kernel, launch, &known, &stride) || !stride || stride > INT32_MAX)) {
        *why = "no rows of a sequence";
        return false;
    }
    if (!conditions_hold(recipe, kernel, launch, &known)) {
        *why = "a condition of the recipe does not hold";
        return false;
    }
    routing->rows = (uint32_t) rows;
    routing->stride = stride;
    routing->input = read_address(&recipe->input, kernel, launch);
    routing->ids = read_address(&recipe->ids, kernel, launch);
    *why = recipe->kind == MT_RECIPE_CACHE && !routing->ids ? "no cache" : NULL;
    return !*why;
}

bool mt_recipe_read(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel, const struct mt_launch *launch,
                    struct mt_routing *routing, const char **why)
{
    if (recipe->kind == MT_RECIPE_BATCH || recipe->kind == MT_RECIPE_CACHE)
        return read_told(recipe, kernel, launch, routing, why);
    struct known known = {0};
    uint64_t k, rows, experts = 0, stride, column = 1, start = 0;
    if (!read_expr(&recipe->k, kernel, launch, &known, &k) || k < recipe->k_min || k > recipe->k_max) {
        *why = "k is out of limits";
        return false;
    }
    known.k = k;
    if (!read_expr(&recipe->rows, kernel, launch, &known, &rows) || rows == 0 || rows > INT32_MAX) {
        *why = "no rows";
        return false;
    }
    known.rows = rows;
    const bool router = mt_recipe_site_kind(recipe) == MT_SITE_ROUTER;
    if (recipe->experts.a.kind != TERM_NONE) {
        const bool told = read_expr(&recipe->experts, kernel, launch, &known, &experts);
        if (router && (!told || experts < recipe->experts_min || experts > recipe->experts_max || experts < k)) {
            *why = "the number of experts is out of limits (a sampler's top-k?)";
            return false;
        }
        if (!told || experts > UINT32_MAX)
            experts = 0;
    }
    stride = k;
    const bool told = !recipe->stride.a.device;
    if ((recipe->stride.a.kind != TERM_NONE && !read_expr(&recipe->stride, kernel, launch, &known, &stride)) ||
        (recipe->column.a.kind != TERM_NONE && !read_expr(&recipe->column, kernel, launch, &known, &column)) ||
        stride == 0 || (told && stride > INT32_MAX) || column == 0 || column > INT32_MAX ||
        (told && stride <= (k - 1) * column && column <= (rows - 1) * stride)) {
        *why = "rows overlap";
        return false;
    }
    if (!conditions_hold(recipe, kernel, launch, &known)) {
        *why = "a condition of the recipe does not hold";
        return false;
    }
    routing->ids = read_address(&recipe->ids, kernel, launch);
    /* PyTorch gives a list of nothing no address: no sequence of the pass has anything ahead of it. */
    if (!routing->ids && recipe->kind != MT_RECIPE_KV_INDICES) {
        *why = "null ids";
        return false;
    }
    routing->input = read_address(&recipe->input, kernel, launch);
    routing->once = read_address(&recipe->once, kernel, launch);
    if (!read_sequences(recipe, kernel, launch, &known, routing, why))
        return false;
    if (recipe->once.a.kind == TERM_PARAM && !routing->once) {
        *why = "null where a layer's address should be";
        return false;
    }
    routing->dtype =
        recipe->dtype_template >= 0 ? mt_dtype_of_cpp(kernel->template_args[recipe->dtype_template]) : recipe->dtype;
    if (recipe->start.a.kind != TERM_NONE &&
        (!read_expr(&recipe->start, kernel, launch, &known, &start) || start > UINT32_MAX)) {
        *why = "no telling where the ids start";
        return false;
    }
    routing->ids += recipe->skip + start * mt_dtype_size(routing->dtype);
    if (!read_groups(recipe, kernel, launch, &known, routing)) {
        *why = "no telling how many groups of the KV cache it is for, or where theirs is";
        return false;
    }
    if (!router && recipe->kind != MT_RECIPE_KV_INDICES && routing->dtype != MT_DTYPE_I32 &&
        routing->dtype != MT_DTYPE_I64 && routing->dtype != MT_DTYPE_U32) {
        *why = "its values are neither i32, i64 nor u32";
        return false;
    }
    routing->rows = (uint32_t) rows;
    routing->k = (uint32_t) k;
    routing->experts = (uint32_t) experts;
    routing->stride = stride;
    routing->column = column;
    read_weights(recipe, kernel, launch, &known, routing);
    return true;
}

bool mt_recipe_read_map(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel,
                        const struct mt_launch *launch, const struct mt_routing *router, struct mt_routing *mapped,
                        const char **why)
{
    const struct known known = {router->k, router->rows};
    uint64_t experts = 0;
    if (read_address(&recipe->ids, kernel, launch) != router->ids || router->stride != router->k ||
        router->column != 1) {
        *why = "it does not read the ids of the router before it, or these are not dense";
        return false;
    }
    if (!conditions_hold(recipe, kernel, launch, &known)) {
        *why = "a condition of the recipe does not hold";
        return false;
    }
    if (recipe->experts.a.kind != TERM_NONE &&
        (!read_expr(&recipe->experts, kernel, launch, &known, &experts) || experts > UINT16_MAX))
        experts = 0;
    *mapped = *router;
    mapped->ids = read_address(&recipe->mapped, kernel, launch);
    mapped->dtype =
        recipe->dtype_template >= 0 ? mt_dtype_of_cpp(kernel->template_args[recipe->dtype_template]) : recipe->dtype;
    mapped->experts = (uint32_t) experts;
    mapped->weights = 0;
    mapped->weights_type = MT_WEIGHT_NONE;
    mapped->input = mapped->once = 0;
    *why = mapped->ids ? NULL : "null ids";
    return mapped->ids != 0;
}
