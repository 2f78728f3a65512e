/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

/* With --pdl the kernel ahead may still be running. */
static __device__ void overlap()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

extern "C" __global__ void moe_demo_router_gemm(const float *hidden, const float *weight, float *logits, int rows,
                                                int dim, int experts)
{
    overlap();
    body_gemm(hidden, weight, logits, blockIdx.x, threadIdx.x, blockDim.x, dim, experts);
}

#define KERNELS(suffix, T)                                                                                             \
    extern "C" __global__ void moe_demo_topk_##suffix(const float *logits, T *ids, float *weights, int rows,           \
                                                      int experts, int k)                                              \
    {                                                                                                                  \
        overlap();                                                                                                     \
        int row = blockIdx.x * blockDim.x + threadIdx.x;                                                               \
        if (row < rows)                                                                                                \
            body_topk_##suffix(logits, ids, weights, row, experts, k);                                                 \
    }                                                                                                                  \
    /* --routers: the same by another kernel, as engines have them for other numbers of rows */                        \
    extern "C" __global__ void moe_demo_route_##suffix(T *ids, float *weights, const float *logits, int experts,       \
                                                       int k, int rows)                                                \
    {                                                                                                                  \
        overlap();                                                                                                     \
        int row = blockIdx.x * blockDim.x + threadIdx.x;                                                               \
        if (row < rows)                                                                                                \
            body_topk_##suffix(logits, ids, weights, row, experts, k);                                                 \
    }                                                                                                                  \
    __global__ void moe_demo_experts(const float *in, const T *ids, const float *weights, const float *table,          \
                                     float *out, int rows, int dim, int k)                                             \
    {                                                                                                                  \
        overlap();                                                                                                     \
        body_experts_##suffix(in, ids, weights, table, out, blockIdx.x, threadIdx.x, blockDim.x, dim, k);              \
    }                                                                                                                  \
    __global__ void moe_demo_keep(const T *ids, T *kept, int count)                                                    \
    {                                                                                                                  \
        overlap();                                                                                                     \
        int i = blockIdx.x * blockDim.x + threadIdx.x;                                                                 \
        if (i < count)                                                                                                 \
            body_keep_##suffix(ids, kept, i);                                                                          \
    }                                                                                                                  \
    __global__ void moe_demo_scrub(T *ids, int count)                                                                  \
    {                                                                                                                  \
        overlap();                                                                                                     \
        int i = blockIdx.x * blockDim.x + threadIdx.x;                                                                 \
        if (i < count)                                                                                                 \
            body_scrub_##suffix(ids, i);                                                                               \
    }                                                                                                                  \
    __global__ void moe_demo_remap(const T *ids, T *out, const int *map, int k, int count, int experts)                \
    {                                                                                                                  \
        overlap();                                                                                                     \
        int i = blockIdx.x * blockDim.x + threadIdx.x;                                                                 \
        if (i < count)                                                                                                 \
            body_remap_##suffix(ids, out, map, k, i);                                                                  \
    }
KERNELS(i32, int32_t)
KERNELS(i64, int64_t)
KERNELS(u32, uint32_t)
KERNELS(u16, uint16_t)
KERNELS(u8, uint8_t)

__global__ void moe_demo_rescale(float *weights, float factor, int count)
{
    overlap();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        body_rescale(weights, factor, i);
}

extern "C" __global__ void moe_demo_embed(const float *in, const float *table, float *out, int rows, int dim)
{
    overlap();
    body_embed(in, table, out, blockIdx.x, threadIdx.x, blockDim.x, rows, dim);
}

extern "C" __global__ void moe_demo_lookup(const int32_t *index, const float *table, float *out, int rows, int dim,
                                           int table_rows)
{
    body_lookup(index, table, out, blockIdx.x, threadIdx.x, blockDim.x, dim, table_rows);
}

extern "C" __global__ void moe_demo_rotary(const int64_t *positions, float *q, int rows, int dim)
{
    body_rotary(positions, q, blockIdx.x, threadIdx.x, blockDim.x, dim);
}

extern "C" __global__ void moe_demo_plan(const int32_t *starts, const int64_t *positions, const int32_t *table,
                                         int64_t *slots, int rows, int stride, int block)
{
    body_plan(starts, positions, table, slots, blockIdx.x, gridDim.x - 1, threadIdx.x, blockDim.x, stride, block, rows);
}

extern "C" __global__ void moe_demo_tables(int most, const int32_t *index, const int32_t *starts,
                                           const int64_t *positions, const int32_t *const *tables,
                                           const int64_t *strides, const int32_t *blocks, int64_t *slots,
                                           int slots_stride)
{
    body_tables(most, index, starts, positions, tables, strides, blocks, slots, blockIdx.x, blockIdx.y, gridDim.y - 1,
                threadIdx.x, blockDim.x, slots_stride);
}

extern "C" __global__ void moe_demo_cache(const float *k, float *cache, const int64_t *slots, int rows, int dim)
{
    body_cache(k, cache, slots, blockIdx.x, threadIdx.x, blockDim.x, dim);
}
