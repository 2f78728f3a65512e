/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routers that no recipe knows, in the shapes that engines have, and what else of their kernels writes small integers:
 * a plugin of the software device. One block does it all unless rows are in the grid.
 */
#include "kernels.h"

#include "../softcuda/softcuda.h"

#include <stdbool.h>
#include <stddef.h>

#define P(type, i) (*(type *) b->params[i])

static uint32_t mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

/* The k largest of a row, in the order of their scores or of their ids. */
static void top_k(const float *scores, int experts, int k, int *ids, bool by_id)
{
    for (int slot = 0; slot < k; slot++) {
        int best = -1;
        for (int e = 0; e < experts; e++) {
            bool used = false;
            for (int n = 0; n < slot; n++)
                used |= ids[n] == e;
            if (!used && (best < 0 || scores[e] > scores[best]))
                best = e;
        }
        ids[slot] = best;
    }
    for (int i = 1; by_id && i < k; i++) {
        for (int j = i; j > 0 && ids[j] < ids[j - 1]; j--) {
            int swapped = ids[j];
            ids[j] = ids[j - 1];
            ids[j - 1] = swapped;
        }
    }
}

#define ROUTE(name, T, BY_ID)                                                                                          \
    static void name(const float *logits, T *ids, int first, int rows, int experts, int k, int stride)                 \
    {                                                                                                                  \
        for (int row = first; row < first + rows; row++) {                                                             \
            int chosen[64];                                                                                            \
            top_k(logits + (size_t) row * (size_t) experts, experts, k, chosen, BY_ID);                                \
            for (int slot = 0; slot < k; slot++)                                                                       \
                ids[(size_t) row * (size_t) stride + (size_t) slot] = (T) chosen[slot];                                \
        }                                                                                                              \
    }
ROUTE(route_i32, int32_t, false)
ROUTE(route_i64, int64_t, false)
ROUTE(route_i16, int16_t, false)
ROUTE(route_u8, uint8_t, false)
ROUTE(route_by_id, int32_t, true)

/* logits, ids, weights, rows, experts, k */
#define PLAIN(name, route, T)                                                                                          \
    static void name(const struct softcuda_block *b)                                                                   \
    {                                                                                                                  \
        if (b->index.x == 0)                                                                                           \
            route(P(const float *, 0), P(T *, 1), 0, P(int, 3), P(int, 4), P(int, 5), P(int, 5));                      \
    }
PLAIN(run_i32, route_i32, int32_t)
PLAIN(run_i64, route_i64, int64_t)
PLAIN(run_i16, route_i16, int16_t)
PLAIN(run_u8, route_u8, uint8_t)
PLAIN(run_by_id, route_by_id, int32_t)

static void run_struct(const struct softcuda_block *b)
{
    const struct router_params *p = b->params[0];
    if (b->index.x == 0)
        route_i32(p->logits, p->ids, 0, p->rows, p->experts, p->k, p->k);
}

/* A row of ids for every row of logits. */
static void run_stride(const struct softcuda_block *b)
{
    if (b->index.x == 0)
        route_i32(P(const float *, 0), P(int32_t *, 1), 0, P(int, 3), P(int, 4), P(int, 5), P(int, 4));
}

static void run_grid(const struct softcuda_block *b)
{
    route_i32(P(const float *, 0), P(int32_t *, 1), (int) b->index.x, 1, P(int, 2), P(int, 3), P(int, 3));
}

static void run_template(const struct softcuda_block *b)
{
    if (b->index.x == 0)
        route_i64(P(const float *, 0), P(int64_t *, 1), 0, P(int, 2), TEMPLATE_EXPERTS, TEMPLATE_K, TEMPLATE_K);
}

/* How many logits there are, not how many rows. */
static void run_quotient(const struct softcuda_block *b)
{
    if (b->index.x == 0)
        route_i32(P(const float *, 0), P(int32_t *, 1), 0, P(int, 2) / P(int, 3), P(int, 3), P(int, 4), P(int, 4));
}

/* Triton: what is constant is not in the launch. E is a constant, too. */
static void run_triton(const struct softcuda_block *b)
{
    if (b->index.x == 0)
        route_i32(P(const float *, 0), P(int32_t *, 2), 0, P(int, 3), 64, TRITON_K, TRITON_K);
}

/* ids, rows, k: reverses each row */
static void run_reorder(const struct softcuda_block *b)
{
    int k = P(int, 2);
    for (int row = 0; row < P(int, 1) && b->index.x == 0; row++) {
        int32_t *ids = P(int32_t *, 0) + (size_t) row * (size_t) k;
        for (int i = 0; i < k / 2; i++) {
            int32_t swapped = ids[i];
            ids[i] = ids[k - 1 - i];
            ids[k - 1 - i] = swapped;
        }
    }
}

/* hidden, weight, logits, rows, experts */
static void run_gemm(const struct softcuda_block *b)
{
    const uint32_t *hidden = P(const uint32_t *, 0), *weight = P(const uint32_t *, 1);
    for (int row = 0; row < P(int, 3) && b->index.x == 0; row++) {
        for (int e = 0; e < P(int, 4); e++)
            P(float *, 2)
        [(size_t) row * P(size_t, 4) + (size_t) e] =
            (float) mix(hidden[row] ^ mix(weight[0] + (uint32_t) e)) / 4294967296.0f;
    }
}

/* hidden, weight, rows */
static void run_norm(const struct softcuda_block *b)
{
    for (int row = 0; row < P(int, 2) && b->index.x == 0; row++)
        P(uint32_t *, 0)[row] = mix(P(uint32_t *, 0)[row]);
}

/* hidden, ids, weight, rows, k */
static void run_mix(const struct softcuda_block *b)
{
    const uint8_t *ids = P(const uint8_t *, 1);
    for (int row = 0; row < P(int, 3) && b->index.x == 0; row++)
        P(uint32_t *, 0)[row] = mix(P(uint32_t *, 0)[row] + ids[row] + 1);
}

/* from i32, to i64, count */
static void run_cast(const struct softcuda_block *b)
{
    for (int i = 0; i < P(int, 2) && b->index.x == 0; i++)
        P(int64_t *, 1)[i] = P(const int32_t *, 0)[i];
}

/* to, count, start: positions */
static void run_arange(const struct softcuda_block *b)
{
    for (int i = 0; i < P(int, 1) && b->index.x == 0; i++)
        P(int64_t *, 0)[i] = P(int, 2) + i;
}

/* slots, rows, step: a KV cache's slot of each token, in blocks of 16 that are anywhere */
static void run_slots(const struct softcuda_block *b)
{
    for (int i = 0; i < P(int, 1) && b->index.x == 0; i++)
        P(int64_t *, 0)[i] = (int64_t) (((uint32_t) (i / 16 + P(int, 2)) * 37u) % 61u * 16u + (uint32_t) i % 16u);
}

/* tokens, rows, vocabulary, step */
static void run_sample(const struct softcuda_block *b)
{
    for (int i = 0; i < P(int, 1) && b->index.x == 0; i++)
        P(int32_t *, 0)[i] = (int32_t) (mix((uint32_t) (P(int, 3) * 977 + i)) % P(uint32_t, 2));
}

/* indices, rows, columns, step: each row a permutation */
static void run_argsort(const struct softcuda_block *b)
{
    uint32_t n = P(uint32_t, 2);
    for (uint32_t row = 0; row < P(uint32_t, 1) && b->index.x == 0; row++) {
        int32_t *to = P(int32_t *, 0) + row * n;
        for (uint32_t i = 0; i < n; i++)
            to[i] = (int32_t) i;
        for (uint32_t i = n - 1; i > 0; i--) {
            uint32_t j = mix(P(uint32_t, 3) * 131u + row * 17u + i) % (i + 1);
            int32_t swapped = to[i];
            to[i] = to[j];
            to[j] = swapped;
        }
    }
}

/* sorted ids, expert of each block, tokens of each expert; count, experts, block, step: vLLM's moe_align_block_size */
static void run_align(const struct softcuda_block *b)
{
    int count = P(int, 3), experts = P(int, 4), block = P(int, 5), at = 0;
    if (b->index.x)
        return;
    for (int e = 0; e < experts; e++) {
        int begin = at;
        for (int i = 0; i < count; i++) {
            if ((int) (mix((uint32_t) (P(int, 6) * 7919 + i)) % (uint32_t) experts) == e)
                P(int32_t *, 0)[at++] = i;
        }
        P(int32_t *, 2)[e] = at - begin;
        while (at % block)
            P(int32_t *, 0)[at++] = count;
        for (int i = begin / block; i < at / block; i++)
            P(int32_t *, 1)[i] = e;
    }
}

/* indices, count, step: where each chosen row goes, a permutation of all */
static void run_permute(const struct softcuda_block *b)
{
    static const uint32_t primes[] = {7, 11, 13, 17};
    uint32_t n = P(uint32_t, 1), step = primes[P(uint32_t, 2) % 4];
    for (uint32_t i = 0; i < n && b->index.x == 0; i++)
        P(int32_t *, 0)[i] = (int32_t) (n % step ? (i * step + P(uint32_t, 2)) % n : n - 1 - i);
}

static const struct softcuda_param plain[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 4}};
static const struct softcuda_param one_struct[] = {{0, sizeof(struct router_params)}};
static const struct softcuda_param grid[] = {{0, 8}, {8, 8}, {16, 4}, {20, 4}};
static const struct softcuda_param two[] = {{0, 8}, {8, 8}, {16, 4}};
static const struct softcuda_param quotient[] = {{0, 8}, {8, 8}, {16, 4}, {20, 4}, {24, 4}};
static const struct softcuda_param triton[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}};
static const struct softcuda_param gemm[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {32, 8}};
static const struct softcuda_param grow[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}};
static const struct softcuda_param counted[] = {{0, 8}, {8, 4}, {12, 4}};
static const struct softcuda_param counted4[] = {{0, 8}, {8, 4}, {12, 4}, {16, 4}};
static const struct softcuda_param align[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 4}, {36, 4}};

__attribute__((visibility("default"))) const struct softcuda_kernel softcuda_kernels[] = {
    {"_ZN4acme6chooseEPKfPiPfiii", run_i32, 6, plain},
    {"_ZN4acme6chooseEPKfPlPfiii", run_i64, 6, plain},
    {"_ZN4acme6chooseEPKfPsPfiii", run_i16, 6, plain},
    {"_ZN4acme6chooseEPKfPhPfiii", run_u8, 6, plain},
    {"acme_choose_in_order", run_by_id, 6, plain},
    {"_ZN4acme13choose_structENS_6ParamsE", run_struct, 1, one_struct},
    {"acme_choose_wide", run_stride, 6, plain},
    {"acme_choose_grid", run_grid, 4, grid},
    {"_ZN4acme8choose_tILi8ELi128ElEEvPKfPT1_i", run_template, 3, two},
    {"acme_choose_flat", run_quotient, 5, quotient},
    {"_acme_choose_kernel", run_triton, 4, triton},
    {"acme_reorder", run_reorder, 3, counted},
    {"acme_gemm", run_gemm, 5, gemm},
    {"acme_norm", run_norm, 3, two},
    {"acme_mix", run_mix, 5, grow},
    {"acme_cast", run_cast, 3, two},
    {"acme_arange", run_arange, 3, counted},
    {"acme_slots", run_slots, 3, counted},
    {"acme_sample", run_sample, 4, counted4},
    {"acme_argsort", run_argsort, 4, counted4},
    {"acme_align", run_align, 7, align},
    {"acme_permute", run_permute, 3, counted},
    {NULL, NULL, 0, NULL},
};
