/* SPDX-License-Identifier: Apache-2.0 */
#include "use.h"

enum mt_use mt_use_of(const struct mt_range *range, const struct mt_history_entry *launch)
{
    const struct mt_kernel *kernel = launch->kernel;
    bool reads = false;
    if (!kernel->param_count || kernel->bytes > launch->bytes)
        return MT_USE_UNKNOWN;
    for (unsigned i = 0; i < kernel->param_count; i++) {
        uint32_t offset = kernel->param[i].offset, size = kernel->param[i].size;
        for (uint32_t at = (offset + 7) & ~7u; at + 8 <= offset + size; at += 8) {
            uint64_t word = launch->words[at / 8];
            if (word < range->begin || word >= range->end)
                continue;
            bool only_reads = size == 8 && kernel->only_reads >> i & 1;
            if (!only_reads || word != range->begin)
                return MT_USE_UNKNOWN;
            reads = true;
        }
    }
    return reads ? MT_USE_READS : MT_USE_NONE;
}

/* Elements up to 2^63, of a recipe that took something else for a number, may lie behind the end of all addresses. */
static struct mt_range range_of(uint64_t begin, uint64_t elements, uint32_t size)
{
    return (struct mt_range){begin, elements > (UINT64_MAX - begin) / size ? UINT64_MAX : begin + elements * size};
}

struct mt_range mt_range_of(const struct mt_routing *routing)
{
    uint64_t last = (routing->rows - 1) * routing->stride + (routing->k - 1) * routing->column;
    return range_of(routing->ids, last + 1, mt_dtype_size(routing->dtype));
}

struct mt_range mt_weights_range_of(const struct mt_routing *routing)
{
    if (!routing->weights)
        return (struct mt_range){0};
    uint64_t weights = (uint64_t) (routing->rows - 1) * routing->weights_stride + routing->k;
    return range_of(routing->weights, weights, mt_weight_size(routing->weights_type));
}
