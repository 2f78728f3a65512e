/* SPDX-License-Identifier: Apache-2.0 */
#include "blocks.h"

/* `weighted`: the same arguments, if there are weights to be read. */
static __device__ __forceinline__ void tap(const mt_tap_args &args, const mt_tap_weighted_args *weighted, int staged,
                                           uint32_t weights, uint32_t block, uint32_t blocks)
{
    __shared__ mt_tap_place place;
    if (threadIdx.x == 0)
        mt_tap_begin(&args, staged, weights, blocks, &place);
    __syncthreads();
    mt_tap_copy(&args, &place, staged, weights, block * blockDim.x + threadIdx.x, blocks * blockDim.x);
    if (weighted)
        mt_tap_weights(weighted, &place, block * blockDim.x + threadIdx.x, blocks * blockDim.x);
    __syncthreads();
    if (threadIdx.x == 0)
        mt_tap_end(&args, blocks, &place);
}

/* A capturing stream may have programmatic edges pending, which the tap then has instead of the engine's next kernel.
 * It has to end behind the kernels that these come from, for that one will only wait for the tap. */
static __device__ __forceinline__ void wait_for_edges()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

extern "C" __global__ void __launch_bounds__(MT_TAP_THREADS) moetap_tap(const __grid_constant__ mt_tap_args args)
{
    wait_for_edges();
    tap(args, nullptr, 0, MT_WEIGHT_NONE, blockIdx.x, gridDim.x);
}

extern "C" __global__ void __launch_bounds__(MT_TAP_THREADS) moetap_stage(const __grid_constant__ mt_tap_args args)
{
    mt_tap_stage(&args, MT_WEIGHT_NONE, blockIdx.x * blockDim.x + threadIdx.x, gridDim.x * blockDim.x);
}

extern "C" __global__ void __launch_bounds__(MT_TAP_THREADS) moetap_write(const __grid_constant__ mt_tap_batch batch)
{
    const mt_tap_args &args = *mt_tap_of_block(&batch, blockIdx.x);
    tap(args, nullptr, 1, MT_WEIGHT_NONE, blockIdx.x - args.first_block, mt_write_blocks(&args, MT_WEIGHT_NONE));
}

extern "C" __global__ void __launch_bounds__(MT_TAP_THREADS)
    moetap_tap_weighted(const __grid_constant__ mt_tap_weighted_args args)
{
    wait_for_edges();
    tap(args.tap, &args, 0, args.tap.weights, blockIdx.x, gridDim.x);
}

extern "C" __global__ void __launch_bounds__(MT_TAP_THREADS)
    moetap_stage_weighted(const __grid_constant__ mt_tap_weighted_args args)
{
    const uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
    mt_tap_stage(&args.tap, args.tap.weights, thread, threads);
    mt_tap_weights(&args, nullptr, thread, threads);
}

/* Of stages of both kinds. */
extern "C" __global__ void __launch_bounds__(MT_TAP_THREADS)
    moetap_write_weighted(const __grid_constant__ mt_tap_batch batch)
{
    const mt_tap_args &args = *mt_tap_of_block(&batch, blockIdx.x);
    tap(args, nullptr, 1, args.weights, blockIdx.x - args.first_block, mt_write_blocks(&args, args.weights));
}

extern "C" __global__ void __launch_bounds__(MT_TAP_THREADS) moetap_blocks(const __grid_constant__ mt_blocks_args args)
{
    __shared__ mt_blocks_plan plan;
    wait_for_edges();
    if (threadIdx.x == 0)
        mt_blocks_begin(&args, &plan);
    __syncthreads();
    mt_blocks_count(&args, &plan, threadIdx.x, blockDim.x);
    __syncthreads();
    if (threadIdx.x == 0)
        mt_blocks_claim(&args, &plan);
    __syncthreads();
    mt_blocks_write(&args, &plan, threadIdx.x, blockDim.x);
    __syncthreads();
    if (threadIdx.x == 0)
        mt_blocks_end(&args, &plan);
}
