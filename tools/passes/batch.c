/* SPDX-License-Identifier: Apache-2.0 */
/* A pass shown as a batch of sequences with as many rows each: its cache, and the order in which they stood in it. */
#include "impl.h"

static uint64_t address(const int32_t *halves)
{
    return (uint32_t) halves[0] | (uint64_t) (uint32_t) halves[1] << 32;
}

void batch_show(struct pass *pass, struct context *const *of_kind)
{
    const struct context *batch = of_kind[MT_SITE_BATCH], *cache = of_kind[MT_SITE_CACHE];
    if (!batch || batch->rows != 2 || batch->values[0] < 1 || batch->values[1] < 1 ||
        (uint64_t) batch->values[0] * (uint64_t) batch->values[1] != pass->rows)
        return;
    pass->batch = (uint32_t) batch->values[0];
    if (!cache || cache->rows != 4 || cache->number < batch->number)
        return;
    pass->cache_before = address(cache->values);
    pass->cache_after = address(cache->values + 2);
    if (!(pass->cache_before & 1))
        return;
    const struct context *order = of_kind[MT_SITE_ORDER];
    const bool told = order && order->rows == pass->batch && order->number < batch->number;
    pass->order = told ? order->values : NULL;
    pass->cache_before = told ? pass->cache_before - 1 : 0;
}
