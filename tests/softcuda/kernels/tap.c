/* SPDX-License-Identifier: Apache-2.0 */
/* The tap on the software device: the GPU's own source, a block's threads as a loop between the barriers. */
#include "../softcuda.h"

#include "../../../shim/tap.h"

static void run_tap(const struct softcuda_block *block)
{
    const struct mt_tap_args *args = block->params[0];
    struct mt_tap_place place;
    mt_tap_begin(args, block->grid.x, &place);
    for (uint32_t thread = 0; thread < block->block.x; thread++) {
        softcuda_midst(block, thread, block->block.x);
        mt_tap_copy(args, &place, block->index.x * block->block.x + thread, block->grid.x * block->block.x);
    }
    mt_tap_end(args, block->grid.x, &place);
}

static const struct softcuda_param tap_params[] = {{0, sizeof(struct mt_tap_args)}};

extern const struct softcuda_kernel softcuda_tap_kernels[];
const struct softcuda_kernel softcuda_tap_kernels[] = {
    {MT_TAP_KERNEL, run_tap, 1, tap_params},
    {NULL, NULL, 0, NULL},
};
