/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What PyTorch's kernels around torch.topk leave in memory, on the software device, in the order that the real ones
 * leave it in (aten/src/ATen/native/cuda/TensorTopK.cu, Sort.cu): topk writes those above the k-th value by index, the
 * k-th itself last, so that a sort behind it never moves the last one. A plugin.
 */
#include "kernels.h"

#include "../softcuda/softcuda.h"

#include <stdbool.h>
#include <stddef.h>

#define P(type, i) (*(type *) b->params[i])

static float kth_of(const float *scores, uint32_t experts, uint32_t k)
{
    for (uint32_t e = 0; e < experts; e++) {
        uint32_t above = 0, same = 0;
        for (uint32_t other = 0; other < experts; other++) {
            above += scores[other] > scores[e];
            same += scores[other] == scores[e];
        }
        if (above < k && above + same >= k)
            return scores[e];
    }
    return 0;
}

static void run_gather(const struct softcuda_block *b)
{
    const struct tensor_info *in = b->params[0], *values = b->params[6], *indices = b->params[8];
    uint32_t experts = P(uint32_t, 1), k = P(uint32_t, 2), row = b->index.x, n = 0;
    if (row >= P(uint32_t, 4))
        return;
    const float *scores = (const float *) in->data + (size_t) row * experts;
    float *value = (float *) values->data + (size_t) row * k, kth = kth_of(scores, experts, k);
    int64_t *id = (int64_t *) indices->data + (size_t) row * k;
    for (int last = 0; last < 2; last++) {
        for (uint32_t e = 0; e < experts && n < k; e++) {
            if (last ? scores[e] == kth : scores[e] > kth) {
                id[n] = e;
                value[n++] = scores[e];
            }
        }
    }
}

/* One row, by its keys; both move. */
static void sort_row(float *keys, int64_t *values, uint32_t n, bool descending)
{
    for (uint32_t i = 1; i < n; i++) {
        for (uint32_t j = i; j > 0 && (descending ? keys[j] > keys[j - 1] : keys[j] < keys[j - 1]); j--) {
            float key = keys[j];
            int64_t value = values[j];
            keys[j] = keys[j - 1];
            values[j] = values[j - 1];
            keys[j - 1] = key;
            values[j - 1] = value;
        }
    }
}

/* keys, slices, slice size, stride, values, stride, comparator: 16 rows a block */
static void run_bitonic(const struct softcuda_block *b)
{
    const struct tensor_info *keys = b->params[0], *values = b->params[4];
    uint32_t rows = P(uint32_t, 1), n = P(uint32_t, 2);
    for (uint32_t row = b->index.x * 16; row < rows && row < b->index.x * 16 + 16; row++)
        sort_row((float *) keys->data + (size_t) row * n, (int64_t *) values->data + (size_t) row * n, n, true);
}

/* keys, slices, slice size, stride, values, stride, descending: a row a block */
static void run_radix(const struct softcuda_block *b)
{
    const struct tensor_info *keys = b->params[0], *values = b->params[4];
    uint32_t n = P(uint32_t, 2);
    sort_row((float *) keys->data + (size_t) b->index.x * n, (int64_t *) values->data + (size_t) b->index.x * n, n,
             P(bool, 6));
}

/* n, {out, in, by}: elementwise kernels take their pointers in an array */
struct pointers {
    uint64_t out, in, by;
};

static void run_add(const struct softcuda_block *b)
{
    const struct pointers *p = b->params[2];
    for (int i = 0; i < P(int, 0) && b->index.x == 0; i++)
        ((int64_t *) p->out)[i] = (((const int64_t *) p->in)[i] + P(int, 1)) % (int) p->by;
}

static void run_div(const struct softcuda_block *b)
{
    const struct pointers *p = b->params[2];
    for (int i = 0; i < P(int, 0) && b->index.x == 0; i++)
        ((int64_t *) p->out)[i] = ((const int64_t *) p->in)[i] / P(int, 1);
}

static void run_to_float(const struct softcuda_block *b)
{
    const struct pointers *p = b->params[2];
    for (int i = 0; i < P(int, 0) && b->index.x == 0; i++)
        ((float *) p->out)[i] = (float) ((const int64_t *) p->in)[i];
}

/* n, columns, {out, ids}: a one for each id of a row of k */
static void run_one_hot(const struct softcuda_block *b)
{
    const struct pointers *p = b->params[2];
    int columns = P(int, 1), k = (int) p->by, rows = P(int, 0) / k;
    for (int i = 0; i < rows * columns && b->index.x == 0; i++)
        ((int64_t *) p->out)[i] = 0;
    for (int i = 0; i < rows * k && b->index.x == 0; i++)
        ((int64_t *) p->out)[i / k * columns + ((const int64_t *) p->in)[i]] = 1;
}

static void run_softmax(const struct softcuda_block *b)
{
    for (int i = 0; i < P(int, 2) && b->index.x == 0; i++)
        P(float *, 0)[i] = P(const float *, 1)[i];
}

static const struct softcuda_param gather[] = {{0, 216},   {216, 4}, {220, 4},   {224, 1}, {228, 4}, {232, 4},
                                               {240, 216}, {456, 4}, {464, 216}, {680, 4}, {688, 8}};
static const struct softcuda_param sort[] = {{0, 216}, {216, 4}, {220, 4}, {224, 4}, {232, 216}, {448, 4}, {452, 1}};
static const struct softcuda_param elementwise[] = {{0, 4}, {4, 4}, {8, 24}};
static const struct softcuda_param copy[] = {{0, 8}, {8, 8}, {16, 4}};

__attribute__((visibility("default"))) const struct softcuda_kernel softcuda_kernels[] = {
    {TORCH_GATHER, run_gather, 11, gather},
    {TORCH_BITONIC, run_bitonic, 7, sort},
    {TORCH_RADIX, run_radix, 7, sort},
    {"torch_add", run_add, 3, elementwise},
    {"torch_div_floor", run_div, 3, elementwise},
    {"torch_to_float", run_to_float, 3, elementwise},
    {"torch_one_hot", run_one_hot, 3, elementwise},
    {"torch_softmax", run_softmax, 3, copy},
    {NULL, NULL, 0, NULL},
};
