/* SPDX-License-Identifier: Apache-2.0 */
/* The sample engine's kernels, one body for the GPU (kernels.cu) and for the software device
 * (softcuda/kernels/engine.c). */
#ifndef MOE_DEMO_KERNELS_H
#define MOE_DEMO_KERNELS_H

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define BODY static __device__ inline
#else
#define BODY static inline
#endif

#define MOE_DEMO_DIM 64
#define MOE_DEMO_VOCABULARY 1000
#define MOE_DEMO_THREADS 64 /* a block; a row each for the top-k, a block each row for the others */

/* logits[row][expert] = hidden[row] . weight[expert] */
BODY void body_gemm(const float *hidden, const float *weight, float *logits, int row, int thread, int threads, int dim,
                    int experts)
{
    for (int e = thread; e < experts; e += threads) {
        float sum = 0;
        for (int d = 0; d < dim; d++)
            sum += hidden[row * dim + d] * weight[e * dim + d];
        logits[row * experts + e] = sum;
    }
}

/* The k largest of a row, larger first, ties to the lower id; weights are the softmax over the chosen. */
#define BODY_TOPK(name, T)                                                                                             \
    BODY void name(const float *logits, T *ids, float *weights, int row, int experts, int k)                           \
    {                                                                                                                  \
        const float *scores = logits + (long) row * experts;                                                           \
        float last = INFINITY, sum = 0;                                                                                \
        int last_id = -1;                                                                                              \
        for (int slot = 0; slot < k; slot++) {                                                                         \
            int best = -1;                                                                                             \
            for (int e = 0; e < experts; e++) {                                                                        \
                int behind = scores[e] < last || (scores[e] == last && e > last_id);                                   \
                if (behind && (best < 0 || scores[e] > scores[best]))                                                  \
                    best = e;                                                                                          \
            }                                                                                                          \
            last = scores[best];                                                                                       \
            last_id = best;                                                                                            \
            ids[(long) row * k + slot] = (T) best;                                                                     \
            weights[(long) row * k + slot] = expf(last - scores[(long) ids[(long) row * k]]);                          \
            sum += weights[(long) row * k + slot];                                                                     \
        }                                                                                                              \
        for (int slot = 0; slot < k; slot++)                                                                           \
            weights[(long) row * k + slot] /= sum;                                                                     \
    }
BODY_TOPK(body_topk_i32, int32_t)
BODY_TOPK(body_topk_i64, int64_t)
BODY_TOPK(body_topk_u32, uint32_t)
BODY_TOPK(body_topk_u16, uint16_t)
BODY_TOPK(body_topk_u8, uint8_t)

/* The experts read the ids: what they choose changes all that follows. */
#define BODY_EXPERTS(name, T)                                                                                          \
    BODY void name(const float *in, const T *ids, const float *weights, const float *table, float *out, int row,       \
                   int thread, int threads, int dim, int k)                                                            \
    {                                                                                                                  \
        for (int d = thread; d < dim; d += threads) {                                                                  \
            float sum = in[row * dim + d];                                                                             \
            for (int slot = 0; slot < k; slot++)                                                                       \
                sum += weights[(long) row * k + slot] * table[(long) ids[(long) row * k + slot] * dim + d];            \
            out[row * dim + d] = 2 * sum / (1 + fabsf(sum));                                                           \
        }                                                                                                              \
    }
BODY_EXPERTS(body_experts_i32, int32_t)
BODY_EXPERTS(body_experts_i64, int64_t)
BODY_EXPERTS(body_experts_u32, uint32_t)
BODY_EXPERTS(body_experts_u16, uint16_t)
BODY_EXPERTS(body_experts_u8, uint8_t)

/* The engine's own copy of the ids, and what becomes of their memory when nobody needs them any more. */
#define BODY_KEEP(name, T)                                                                                             \
    BODY void name(const T *ids, T *kept, int i)                                                                       \
    {                                                                                                                  \
        kept[i] = ids[i];                                                                                              \
    }
BODY_KEEP(body_keep_i32, int32_t)
BODY_KEEP(body_keep_i64, int64_t)
BODY_KEEP(body_keep_u32, uint32_t)
BODY_KEEP(body_keep_u16, uint16_t)
BODY_KEEP(body_keep_u8, uint8_t)
#define BODY_SCRUB(name, T)                                                                                            \
    BODY void name(T *ids, int i)                                                                                      \
    {                                                                                                                  \
        ids[i] = (T) -7;                                                                                               \
    }
BODY_SCRUB(body_scrub_i32, int32_t)
BODY_SCRUB(body_scrub_i64, int64_t)
BODY_SCRUB(body_scrub_u32, uint32_t)
BODY_SCRUB(body_scrub_u16, uint16_t)
BODY_SCRUB(body_scrub_u8, uint8_t)

/* --eplb: each expert has two copies; which one serves a row goes by the row. In place where ids and out are the same.
 */
#define MOE_DEMO_COPIES 2
#define BODY_REMAP(name, T)                                                                                            \
    BODY void name(const T *ids, T *out, const int *map, int k, int i)                                                 \
    {                                                                                                                  \
        out[i] = (T) map[(long) ids[i] * MOE_DEMO_COPIES + i / k % MOE_DEMO_COPIES];                                   \
    }
BODY_REMAP(body_remap_i32, int32_t)
BODY_REMAP(body_remap_i64, int64_t)
BODY_REMAP(body_remap_u32, uint32_t)
BODY_REMAP(body_remap_u16, uint16_t)
BODY_REMAP(body_remap_u8, uint8_t)

/* --rescale: in place, as some engines do between router and experts. */
BODY void body_rescale(float *weights, float factor, int i)
{
    weights[i] *= factor;
}

/* --context. Rows of a table, by index. */
BODY void body_lookup(const int32_t *index, const float *table, float *out, int row, int thread, int threads, int dim,
                      int table_rows)
{
    for (int d = thread; d < dim; d += threads)
        out[row * dim + d] = table[(long) (index[row] % table_rows) * dim + d];
}

/* A caricature of rotary embedding. */
BODY void body_rotary(const int64_t *positions, float *q, int row, int thread, int threads, int dim)
{
    for (int d = thread; d < dim; d += threads)
        q[row * dim + d] *= 1.0f / (float) (1 + positions[row] % 7);
}

/* Keys into the KV cache; rows that are padding have no place there. */
BODY void body_cache(const float *k, float *cache, const int64_t *slots, int row, int thread, int threads, int dim)
{
    for (int d = thread; slots[row] >= 0 && d < dim; d += threads)
        cache[slots[row] * dim + d] = k[row * dim + d];
}

/* Slots from the block table, a sequence each; behind the last one the rows that pad the batch. */
BODY void body_plan(const int32_t *starts, const int64_t *positions, const int32_t *table, int64_t *slots, int sequence,
                    int sequences, int thread, int threads, int stride, int block, int rows)
{
    int end = sequence < sequences ? starts[sequence + 1] : rows;
    for (int row = starts[sequence] + thread; row < end; row += threads)
        slots[row] = sequence < sequences
                         ? (int64_t) table[sequence * stride + positions[row] / block] * block + positions[row] % block
                         : -1;
}

/* The same where each KV cache group has a table of all states, at an address that stands in an array; the rest of the
 * slots is for padding. */
BODY void body_tables(int most, const int32_t *index, const int32_t *starts, const int64_t *positions,
                      const int32_t *const *tables, const int64_t *strides, const int32_t *blocks, int64_t *slots,
                      int group, int sequence, int sequences, int thread, int threads, int slots_stride)
{
    int end = sequence < sequences ? starts[sequence + 1] : most;
    for (int row = starts[sequence] + thread; row < end; row += threads)
        slots[(long) group * slots_stride + row] =
            sequence < sequences
                ? (int64_t) tables[group][index[sequence] * strides[group] + positions[row] / blocks[group]] *
                          blocks[group] +
                      positions[row] % blocks[group]
                : -1;
}

/* The next token's embedding, from the last hidden state: its largest element picks a row. */
BODY void body_embed(const float *in, const float *table, float *out, int row, int thread, int threads, int rows,
                     int dim)
{
    int best = 0;
    for (int d = 1; d < dim; d++)
        best = in[row * dim + d] > in[row * dim + best] ? d : best;
    for (int d = thread; d < dim; d += threads)
        out[row * dim + d] = table[best * dim + d] + 0.5f * in[row * dim + (d + 1 + row % rows) % dim];
}

#endif
