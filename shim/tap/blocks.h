/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tap of a block table. Where a sequence begins this pass at the start of a KV block, only the table tells which
 * slots hold what is ahead of it: the blocks of a prefix that the engine found in its cache, or the one it filled last.
 * A whole table would be more than the ids of a pass, so only these sequences are written: an element of MT_SITE_BLOCKS
 * (layout.h).
 *
 * One block of threads, phases with a barrier behind each: begin (one thread), count (all), claim (one), write (all).
 */
#ifndef MOETAP_SHIM_TAP_BLOCKS_H
#define MOETAP_SHIM_TAP_BLOCKS_H

#include "tap.h"

#define MT_BLOCKS_KERNEL "moetap_blocks"
#define MT_BLOCKS_SEQUENCES_MAX 4096u /* of a pass: their places are in shared memory */
#define MT_BLOCKS_LANES 32u           /* threads that write one sequence */

/* A value, or where it lies in the engine's memory and how many bytes it has there: 4 or 8. */
struct mt_blocks_word {
    uint64_t value;
    uint64_t at;
};

/* The only parameter, by value. Addresses are the engine's, read as its own kernel has just read them. */
struct mt_blocks_args {
    struct mt_producer *producer;
    struct mt_blocks_word table;  /* address of int32 [sequences, stride] */
    struct mt_blocks_word stride; /* blocks */
    struct mt_blocks_word block;  /* slots of a KV block */
    const int32_t *starts;        /* [sequences + 1]: rows */
    const int64_t *positions;     /* of each row */
    const int32_t *index;         /* [sequences]: each one's row of the table; NULL: in order */
    uint32_t sequences;
    uint32_t site;
    uint32_t positions_max; /* so many lie in memory, whatever `starts` says */
};

/* Shared by the threads. */
struct mt_blocks_plan {
    const int32_t *table;
    uint64_t stride;
    uint32_t block; /* 0: no table */
    uint64_t words; /* of the record. Tables that make no sense may add up to more than there can be: lost, then */
    struct mt_tap_place place;
    uint32_t at[MT_BLOCKS_SEQUENCES_MAX]; /* word of each sequence's element, 0: it has none */
};

MT_FN uint64_t mt_blocks_value(const struct mt_blocks_word *word)
{
    return !word->at ? word->value : word->at == 4 ? *(const uint32_t *) word->value : *(const uint64_t *) word->value;
}

MT_FN void mt_blocks_begin(const struct mt_blocks_args *args, struct mt_blocks_plan *plan)
{
    const uint64_t block = mt_blocks_value(&args->block);
    plan->table = (const int32_t *) mt_blocks_value(&args->table);
    plan->stride = mt_blocks_value(&args->stride);
    plan->block = plan->table && block < 1u << 31 ? (uint32_t) block : 0;
    plan->words = 1;
}

MT_FN uint64_t mt_blocks_row(const struct mt_blocks_args *args, uint32_t sequence)
{
    return args->index ? (uint32_t) args->index[sequence] : sequence;
}

/*
 * Blocks ahead of the sequence's first row; 0: it begins at 0, within a block, or not at all. The engine's kernel has
 * read the block behind them in the same row of the table, or there would be no slot for that first row: so these are
 * there to be read.
 */
MT_FN uint32_t mt_blocks_ahead(const struct mt_blocks_args *args, const struct mt_blocks_plan *plan, uint32_t sequence)
{
    const int32_t start = args->starts[sequence];
    if (start < 0 || (uint32_t) start >= args->positions_max || args->starts[sequence + 1] <= start || !plan->block ||
        mt_blocks_row(args, sequence) >> 31)
        return 0;
    const uint64_t position = (uint64_t) args->positions[start];
    return position >> 31 || position % plan->block || position / plan->block > plan->stride
               ? 0
               : (uint32_t) position / plan->block;
}

MT_FN uint32_t mt_blocks_take(struct mt_blocks_plan *plan, uint32_t words)
{
    return (uint32_t) mt_add(&plan->words, words);
}

MT_FN void mt_blocks_count(const struct mt_blocks_args *args, struct mt_blocks_plan *plan, uint32_t thread,
                           uint32_t threads)
{
    for (uint32_t i = thread; i < args->sequences; i += threads) {
        const uint32_t ahead = mt_blocks_ahead(args, plan, i);
        plan->at[i] = ahead ? mt_blocks_take(plan, 2 + ahead) : 0;
    }
}

/* Nothing to tell: no record. */
MT_FN void mt_blocks_claim(const struct mt_blocks_args *args, struct mt_blocks_plan *plan)
{
    struct mt_claim claim;
    plan->place.status = MT_TAP_LOST;
    if (plan->words == 1 || !mt_ring_claim(args->producer, args->site, plan->words * 4, 1, &claim))
        return;
    mt_ring_fill(args->producer, &claim, args->site, (uint32_t) plan->words, 1, MT_CONTEXT_WIDTH);
    plan->place.position = claim.position;
    plan->place.status = MT_TAP_CLAIMED;
}

MT_FN void mt_blocks_put(const struct mt_blocks_args *args, const struct mt_blocks_plan *plan, uint32_t word,
                         uint32_t value)
{
    *(uint32_t *) mt_ring_payload(args->producer, plan->place.position, (uint64_t) word * 4) = value;
}

MT_FN void mt_blocks_write(const struct mt_blocks_args *args, const struct mt_blocks_plan *plan, uint32_t thread,
                           uint32_t threads)
{
    if (plan->place.status != MT_TAP_CLAIMED)
        return;
    const uint32_t words = (uint32_t) plan->words;
    const uint32_t end = (uint32_t) ((mt_record_size((uint64_t) words * 4) - sizeof(struct mt_record)) / 4);
    if (thread == 0)
        mt_blocks_put(args, plan, 0, plan->block);
    for (uint32_t word = words + thread; word < end; word += threads)
        mt_blocks_put(args, plan, word, 0);
    const uint32_t lane = thread % MT_BLOCKS_LANES;
    for (uint32_t i = thread / MT_BLOCKS_LANES; i < args->sequences; i += threads / MT_BLOCKS_LANES) {
        const uint32_t at = plan->at[i];
        if (!at)
            continue;
        const uint32_t row = (uint32_t) args->starts[i], ahead = (uint32_t) args->positions[row] / plan->block;
        if (lane == 0) {
            mt_blocks_put(args, plan, at, row);
            mt_blocks_put(args, plan, at + 1, ahead);
        }
        const int32_t *blocks = plan->table + mt_blocks_row(args, i) * plan->stride;
        for (uint32_t n = lane; n < ahead; n += MT_BLOCKS_LANES)
            mt_blocks_put(args, plan, at + 2 + n, (uint32_t) blocks[n]);
    }
}

MT_FN void mt_blocks_end(const struct mt_blocks_args *args, const struct mt_blocks_plan *plan)
{
    if (plan->place.status == MT_TAP_CLAIMED)
        mt_ring_commit(args->producer, plan->place.position);
}

#endif
