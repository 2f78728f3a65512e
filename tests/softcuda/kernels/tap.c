/* SPDX-License-Identifier: Apache-2.0 */
/* The tap on the software device: the GPU's own source, a block's threads as a loop between the barriers. */
#include "../softcuda.h"

#include "../../../shim/tap/blocks.h"

static void tap(const struct softcuda_block *b, const struct mt_tap_args *args,
                const struct mt_tap_weighted_args *weighted, int staged, uint32_t weights, uint32_t block,
                uint32_t blocks)
{
    struct mt_tap_place place;
    mt_tap_begin(args, staged, weights, blocks, &place);
    for (uint32_t t = 0; t < b->block.x; t++) {
        const uint32_t thread = block * b->block.x + t, threads = blocks * b->block.x;
        softcuda_midst(b, t, b->block.x);
        mt_tap_copy(args, &place, staged, weights, thread, threads);
        if (weighted)
            mt_tap_weights(weighted, &place, thread, threads);
    }
    mt_tap_end(args, blocks, &place);
}

static void run_tap(const struct softcuda_block *b)
{
    tap(b, b->params[0], NULL, 0, MT_WEIGHT_NONE, b->index.x, b->grid.x);
}

static void run_tap_weighted(const struct softcuda_block *b)
{
    const struct mt_tap_weighted_args *args = b->params[0];
    tap(b, &args->tap, args, 0, args->tap.weights, b->index.x, b->grid.x);
}

static void stage(const struct softcuda_block *b, const struct mt_tap_args *args,
                  const struct mt_tap_weighted_args *weighted, uint32_t weights)
{
    for (uint32_t t = 0; t < b->block.x; t++) {
        const uint32_t thread = b->index.x * b->block.x + t, threads = b->grid.x * b->block.x;
        softcuda_midst(b, t, b->block.x);
        mt_tap_stage(args, weights, thread, threads);
        if (weighted)
            mt_tap_weights(weighted, NULL, thread, threads);
    }
}

static void run_stage(const struct softcuda_block *b)
{
    stage(b, b->params[0], NULL, MT_WEIGHT_NONE);
}

static void run_stage_weighted(const struct softcuda_block *b)
{
    const struct mt_tap_weighted_args *args = b->params[0];
    stage(b, &args->tap, args, args->tap.weights);
}

static void run_write(const struct softcuda_block *b)
{
    const struct mt_tap_args *args = mt_tap_of_block(b->params[0], b->index.x);
    tap(b, args, NULL, 1, MT_WEIGHT_NONE, b->index.x - args->first_block, mt_write_blocks(args, MT_WEIGHT_NONE));
}

static void run_write_weighted(const struct softcuda_block *b)
{
    const struct mt_tap_args *args = mt_tap_of_block(b->params[0], b->index.x);
    tap(b, args, NULL, 1, args->weights, b->index.x - args->first_block, mt_write_blocks(args, args->weights));
}

static void run_blocks(const struct softcuda_block *b)
{
    const struct mt_blocks_args *args = b->params[0];
    static _Thread_local struct mt_blocks_plan plan;
    mt_blocks_begin(args, &plan);
    for (uint32_t thread = 0; thread < b->block.x; thread++)
        mt_blocks_count(args, &plan, thread, b->block.x);
    mt_blocks_claim(args, &plan);
    for (uint32_t thread = 0; thread < b->block.x; thread++) {
        softcuda_midst(b, thread, b->block.x);
        mt_blocks_write(args, &plan, thread, b->block.x);
    }
    mt_blocks_end(args, &plan);
}

static const struct softcuda_param tap_params[] = {{0, sizeof(struct mt_tap_args)}};
static const struct softcuda_param weighted_params[] = {{0, sizeof(struct mt_tap_weighted_args)}};
static const struct softcuda_param blocks_params[] = {{0, sizeof(struct mt_blocks_args)}};
static const struct softcuda_param batch_params[] = {{0, sizeof(struct mt_tap_batch)}};

extern const struct softcuda_kernel softcuda_tap_kernels[];
const struct softcuda_kernel softcuda_tap_kernels[] = {
    {MT_TAP_KERNEL, run_tap, 1, tap_params},
    {MT_STAGE_KERNEL, run_stage, 1, tap_params},
    {MT_WRITE_KERNEL, run_write, 1, batch_params},
    {MT_TAP_WEIGHTED_KERNEL, run_tap_weighted, 1, weighted_params},
    {MT_STAGE_WEIGHTED_KERNEL, run_stage_weighted, 1, weighted_params},
    {MT_WRITE_WEIGHTED_KERNEL, run_write_weighted, 1, batch_params},
    {MT_BLOCKS_KERNEL, run_blocks, 1, blocks_params},
    {NULL, NULL, 0, NULL},
};
