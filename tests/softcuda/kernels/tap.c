/* SPDX-License-Identifier: Apache-2.0 */
/* The tap on the software device: the GPU's own source, a block's threads as a loop between the barriers. */
#include "../softcuda.h"

#include "../../../shim/tap_blocks.h"

static void tap(const struct softcuda_block *b, const struct mt_tap_args *args, int staged, uint32_t block,
                uint32_t blocks)
{
    struct mt_tap_place place;
    mt_tap_begin(args, staged, blocks, &place);
    for (uint32_t thread = 0; thread < b->block.x; thread++) {
        softcuda_midst(b, thread, b->block.x);
        mt_tap_copy(args, &place, staged, block * b->block.x + thread, blocks * b->block.x);
    }
    mt_tap_end(args, blocks, &place);
}

static void run_tap(const struct softcuda_block *b)
{
    tap(b, b->params[0], 0, b->index.x, b->grid.x);
}

static void run_stage(const struct softcuda_block *b)
{
    for (uint32_t thread = 0; thread < b->block.x; thread++) {
        softcuda_midst(b, thread, b->block.x);
        mt_tap_stage(b->params[0], b->index.x * b->block.x + thread, b->grid.x * b->block.x);
    }
}

static void run_write(const struct softcuda_block *b)
{
    const struct mt_tap_args *args = mt_tap_of_block(b->params[0], b->index.x);
    tap(b, args, 1, b->index.x - args->first_block, mt_write_blocks(args));
}

static void run_blocks(const struct softcuda_block *b)
{
    const struct mt_blocks_args *args = b->params[0];
    static _Thread_local struct mt_blocks_plan plan;
    plan.words = 1;
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
static const struct softcuda_param blocks_params[] = {{0, sizeof(struct mt_blocks_args)}};
static const struct softcuda_param batch_params[] = {{0, sizeof(struct mt_tap_batch)}};

extern const struct softcuda_kernel softcuda_tap_kernels[];
const struct softcuda_kernel softcuda_tap_kernels[] = {
    {MT_TAP_KERNEL, run_tap, 1, tap_params},
    {MT_STAGE_KERNEL, run_stage, 1, tap_params},
    {MT_WRITE_KERNEL, run_write, 1, batch_params},
    {MT_BLOCKS_KERNEL, run_blocks, 1, blocks_params},
    {NULL, NULL, 0, NULL},
};
