/* SPDX-License-Identifier: Apache-2.0 */
/* The sequences of a step, of which a kernel makes slots, or a list of all slots. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#define PLAN_BLOCK 4
#define PLAN_STATES (PLAN_SEQUENCES + 3) /* more requests than run in a step */

/* --plan=tables: what the GPU finds in its memory of each KV cache group. */
struct tables {
    CUdeviceptr states[KV_GROUPS]; /* [PLAN_STATES, stride] */
    int64_t stride[KV_GROUPS];
    int32_t block[KV_GROUPS];
};

/* The table's rows at those of their states, and other blocks for the other group. */
static void launch_tables(struct batch *b, const int32_t *table, long step)
{
    const long sequences = PLAN_SEQUENCES, other_stride = PLAN_STRIDE / 2;
    int32_t *index = must(malloc((size_t) sequences * sizeof *index));
    int32_t *states = must(malloc((size_t) (PLAN_STATES * PLAN_STRIDE) * sizeof *states));
    for (long i = 0; i < PLAN_STATES * PLAN_STRIDE; i++)
        states[i] = (int32_t) (CACHE_SLOTS + i);
    CHECK(cuda.MemcpyHtoD(b->states[1], states, (size_t) (PLAN_STATES * other_stride) * sizeof *states));
    for (long i = 0; i < sequences; i++) {
        index[i] = (int32_t) ((sequences - 1 - i + step) % PLAN_STATES);
        memcpy(states + index[i] * PLAN_STRIDE, table + i * PLAN_STRIDE, PLAN_STRIDE * sizeof *table);
    }
    CHECK(cuda.MemcpyHtoD(b->states[0], states, (size_t) (PLAN_STATES * PLAN_STRIDE) * sizeof *states));
    CHECK(cuda.MemcpyHtoD(b->index, index, (size_t) sequences * sizeof *index));
    const struct tables tables = {
        {b->states[0], b->states[1]}, {PLAN_STRIDE, other_stride}, {PLAN_BLOCK, 2 * PLAN_BLOCK}};
    CHECK(cuda.MemcpyHtoD(b->tables, &tables, sizeof tables));
    free(index);
    free(states);
    int rows = (int) options.tokens;
    CUdeviceptr strides = b->tables + offsetof(struct tables, stride),
                blocks = b->tables + offsetof(struct tables, block);
    void *params[] = {&rows, &b->index, &b->plan, &b->positions, &b->tables, &strides, &blocks, &b->slots, &rows};
    launch_grid(b->stream, kernels.tables, KV_GROUPS, (unsigned) sequences + 1, params);
}

/* One row for each sequence, as SGLang decodes: all of its slots are listed, the row's own as the last one. Padding has
 * the slot 0. In the first step nothing is listed, at no address, as ahead of prompts. */
static void list_rows(struct batch *b, long step)
{
    const long sequences = PLAN_SEQUENCES;
    int32_t *starts = b->sequences_are, *table = starts + sequences + 1;
    int32_t *positions = b->rows_are + options.tokens, *slots = positions + options.tokens;
    int64_t *index = must(calloc((size_t) options.tokens, sizeof *index));
    memset(slots, 0, (size_t) options.tokens * sizeof *slots);
    for (long i = 0; i < sequences; i++) {
        const int32_t length = step ? (int32_t) (2 + (step + i) % 9) : 0;
        starts[i + 1] = starts[i] + length;
        for (long position = 0; position < PLAN_STRIDE; position++)
            table[i * PLAN_STRIDE + position] =
                (int32_t) (b->first_slot + 1 + (i * 13 + position * 7) % (CACHE_SLOTS - 1));
        positions[i] = length ? length - 1 : 0;
        slots[i] = table[i * PLAN_STRIDE + positions[i]];
        index[i] = i;
    }
    CHECK(cuda.MemcpyHtoD(b->plan, starts, (size_t) PLAN_WORDS * sizeof *starts));
    CHECK(cuda.MemcpyHtoD(b->index, index, (size_t) sequences * sizeof *index));
    for (long row = 0; row < options.tokens; row++)
        index[row] = positions[row];
    CHECK(cuda.MemcpyHtoD(b->positions, index, (size_t) options.tokens * sizeof *index));
    for (long row = 0; row < options.tokens; row++)
        index[row] = slots[row];
    CHECK(cuda.MemcpyHtoD(b->slots, index, (size_t) options.tokens * sizeof *index));
    free(index);
    CUdeviceptr table_at = b->plan + (size_t) (sequences + 1) * sizeof *starts;
    CUdeviceptr listed = step ? b->listed : 0;
    void *params[] = {&table_at, &b->index, &b->plan, &b->plan, &listed};
    launch(kernels.lists, (unsigned) sequences, b, params);
}

/* The slots of the real rows, by the GPU from a block table, as vLLM does. Sequences of several lengths, many of them
 * where a block begins; their blocks as they come. */
static void plan_rows(struct batch *b, long step)
{
    const long sequences = PLAN_SEQUENCES, real = options.tokens - options.tokens / 5;
    int32_t *starts = b->sequences_are, *table = starts + sequences + 1;
    int32_t *positions = b->rows_are + options.tokens, *slots = positions + options.tokens;
    int64_t *wide = must(calloc((size_t) options.tokens, sizeof *wide));
    const long blocks = CACHE_SLOTS / PLAN_BLOCK;
    for (long i = 0; i < sequences * PLAN_STRIDE; i++)
        table[i] = (int32_t) (b->first_slot / PLAN_BLOCK + (i * 7 + step * 5) % blocks);
    for (long i = 0; i <= sequences; i++)
        starts[i] = (int32_t) (i * real / sequences);
    for (long i = 0; i < sequences; i++) {
        for (long row = starts[i]; row < starts[i + 1]; row++) {
            long position = (step + i) % 9 * 3 + row - starts[i];
            positions[row] = (int32_t) position;
            slots[row] =
                table[i * PLAN_STRIDE + position / PLAN_BLOCK] * PLAN_BLOCK + (int32_t) (position % PLAN_BLOCK);
        }
    }
    for (long row = 0; row < options.tokens; row++)
        wide[row] = positions[row];
    CHECK(cuda.MemcpyHtoD(b->positions, wide, (size_t) options.tokens * sizeof *wide));
    CHECK(cuda.MemcpyHtoD(b->plan, starts, (size_t) PLAN_WORDS * sizeof *starts));
    free(wide);
    if (options.plan == TABLES) {
        launch_tables(b, table, step);
        return;
    }
    CUdeviceptr table_at = b->plan + (size_t) (sequences + 1) * sizeof *starts;
    int rows = (int) options.tokens, stride = PLAN_STRIDE, block = PLAN_BLOCK;
    void *params[] = {&b->plan, &b->positions, &table_at, &b->slots, &rows, &stride, &block};
    launch(kernels.plan, (unsigned) sequences + 1, b, params);
}

void plan_next(struct batch *b, long step)
{
    if (options.plan == LISTS)
        list_rows(b, step);
    else
        plan_rows(b, step);
}

void plan_make(struct batch *b)
{
    b->plan = device_alloc((size_t) PLAN_WORDS * sizeof(int32_t));
    b->index = device_alloc((size_t) PLAN_SEQUENCES * sizeof(int64_t));
    b->listed = device_alloc((size_t) (PLAN_SEQUENCES * PLAN_STRIDE) * sizeof(int64_t));
    for (int i = 0; i < KV_GROUPS; i++)
        b->states[i] = device_alloc((size_t) (PLAN_STATES * PLAN_STRIDE) * sizeof(int32_t));
    b->tables = device_alloc(sizeof(struct tables));
    b->sequences_are = must(calloc((size_t) PLAN_WORDS, sizeof *b->sequences_are));
}
