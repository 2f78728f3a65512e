/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin of kernels that write down in what order they ran. */
#include "log.h"

#include "../softcuda.h"

static void run_log(const struct softcuda_block *block)
{
    struct order *order = *(struct order **) block->params[0];
    uint32_t value = *(uint32_t *) block->params[1];
    softcuda_midst(block, 1, 2);
    order->at[__atomic_fetch_add(&order->count, 1, __ATOMIC_SEQ_CST) % ORDER_MAX] = value;
}

/* Waits until so many others have written: only parallel branches get past it. */
static void run_meet(const struct softcuda_block *block)
{
    struct order *order = *(struct order **) block->params[0];
    uint32_t wanted = *(uint32_t *) block->params[1];
    __atomic_fetch_add(&order->met, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2000 && __atomic_load_n(&order->met, __ATOMIC_SEQ_CST) < wanted; i++)
        usleep(1000);
}

static const struct softcuda_param params[] = {{0, 8}, {8, 4}};

__attribute__((visibility("default"))) const struct softcuda_kernel softcuda_kernels[] = {
    {"log_order", run_log, 2, params},
    {"log_side", run_log, 2, params},
    {"log_meet", run_meet, 2, params},
    {NULL, NULL, 0, NULL},
};
