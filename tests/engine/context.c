/* SPDX-License-Identifier: Apache-2.0 */
/* What serving engines do around their routers: rows have tokens, positions and slots, of which kernels take notice. */
#include "engine.h"

#include <stdlib.h>

static void lookup(struct batch *b, CUdeviceptr *index, CUdeviceptr *table, int table_rows)
{
    int rows = (int) options.tokens, dim = MOE_DEMO_DIM;
    void *params[] = {index, table, &b->looked_up, &rows, &dim, &table_rows};
    launch(kernels.lookup, (unsigned) rows, b, params);
}

/* The same look-up also serves a table that is no vocabulary, before it, and rows of activations, behind it. */
void context_of_layer(struct batch *b, long layer)
{
    int rows = (int) options.tokens, dim = MOE_DEMO_DIM;
    if (layer == 0) {
        lookup(b, &b->tokens, &weights.cos_sin, ROTARY_ROWS);
        lookup(b, &b->tokens, &weights.vocabulary, MOE_DEMO_VOCABULARY);
    }
    void *gemm[] = {&b->hidden[layer % 2], &weights.qkv[layer], &b->q, &rows, &dim, &dim};
    launch(kernels.gemm, (unsigned) rows, b, gemm);
    void *rotary[] = {&b->positions, &b->q, &rows, &dim};
    launch(kernels.rotary, (unsigned) rows, b, rotary);
    void *cache[] = {&b->q, &weights.caches[layer], &b->slots, &rows, &dim};
    launch(kernels.cache, (unsigned) rows, b, cache);
    if (layer == options.layers - 1)
        lookup(b, &b->tokens, &b->q, (int) options.tokens + MOE_DEMO_VOCABULARY);
}

/* A fifth of the rows is padding. */
void context_next(struct batch *b, long step)
{
    size_t n = (size_t) options.tokens;
    int32_t *tokens = b->rows_are, *positions = tokens + n, *slots = positions + n;
    int64_t *wide = must(malloc(n * sizeof *wide));
    for (size_t i = 0; i < n; i++) {
        tokens[i] = (int32_t) ((random_float() + 1) / 2 * (MOE_DEMO_VOCABULARY - 1));
        positions[i] = (int32_t) (step + 3 * (long) i);
        slots[i] = i >= n - n / 5 ? -1 : (int32_t) (b->first_slot + ((long) i * 2 + step) % CACHE_SLOTS);
    }
    CHECK(cuda.MemcpyHtoD(b->tokens, tokens, n * sizeof *tokens));
    for (size_t i = 0; i < n; i++)
        wide[i] = positions[i];
    CHECK(cuda.MemcpyHtoD(b->positions, wide, n * sizeof *wide));
    for (size_t i = 0; i < n; i++)
        wide[i] = slots[i];
    CHECK(cuda.MemcpyHtoD(b->slots, wide, n * sizeof *wide));
    free(wide);
    if (options.plan)
        plan_next(b, step);
}

void context_make(struct batch *b)
{
    size_t rows = (size_t) options.tokens;
    b->tokens = device_alloc(rows * sizeof(int32_t));
    b->positions = device_alloc(rows * sizeof(int64_t));
    b->slots = device_alloc(KV_GROUPS * rows * sizeof(int64_t));
    b->looked_up = device_alloc(rows * MOE_DEMO_DIM * sizeof(float));
    /* As large as the vocabulary: the last look-up reads it by token ids. */
    b->q = device_alloc((rows + MOE_DEMO_VOCABULARY) * MOE_DEMO_DIM * sizeof(float));
    b->rows_are = must(calloc(3 * rows, sizeof *b->rows_are));
    if (options.plan)
        plan_make(b);
}
