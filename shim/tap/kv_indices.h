/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tap of kv_indices: for engines that list the KV slots of each sequence, one sequence behind the other, anew in
 * each pass. All of a list would be far more than the ids of a pass. A sequence that decodes has one slot more than
 * last time; so all of it is told where that is not so, and in the second and fourth pass from there (a cache may put
 * other slots that hold the same tokens into a list, up to a pass after its prompt ran), and else the last two: an
 * element of MT_SITE_KV_INDICES (layout.h).
 *
 * One block of threads, phases as in blocks.h.
 */
#ifndef MOETAP_SHIM_TAP_KV_INDICES_H
#define MOETAP_SHIM_TAP_KV_INDICES_H

#include "blocks.h"

#define MT_KV_INDICES_KERNEL "moetap_kv_indices"
#define MT_KV_SEEN 8192u   /* power of two; sequences that share a place are told in full */
#define MT_KV_LOOK 128u    /* words that show how wide a slot is */
#define MT_KV_LOADS 8u     /* of a thread at once: it waits for memory that often less */
#define MT_KV_COUNT_MAX 6u /* passes that are told apart; the last ones are told in part */

/* A sequence as it was seen last, by its index. */
struct mt_kv_seen {
    uint32_t slot, length; /* its last slot, how many there were */
    uint32_t passes;       /* in which it grew by one */
};

/* The only parameter, by value. Addresses are the engine's, read as its own kernel has just used them. */
struct mt_kv_args {
    struct mt_producer *producer;
    const uint32_t *slots;   /* as int32, or as int64 */
    const int32_t *starts;   /* [sequences + 1]: of each list */
    const int64_t *index;    /* [sequences]: what stays a sequence's own while it runs */
    struct mt_kv_seen *seen; /* [MT_KV_SEEN] */
    uint64_t words_max;      /* of `slots`: so many int32 lie in memory, whatever `starts` says */
    uint32_t sequences;
    uint32_t site;
};

/* Shared by the threads. */
struct mt_kv_plan {
    struct mt_blocks_plan blocks; /* of it: words, place, at */
    uint32_t wide;                /* 2: a slot has 8 bytes; 1; 0: padding alone, or no lists */
    uint32_t total;               /* slots */
    uint32_t told[MT_BLOCKS_SEQUENCES_MAX];
};

MT_FN uint32_t mt_kv_length(const struct mt_kv_args *args, const struct mt_kv_plan *plan, uint32_t sequence)
{
    const uint32_t start = (uint32_t) args->starts[sequence], end = (uint32_t) args->starts[sequence + 1];
    return end > plan->total || end < start ? 0 : end - start;
}

/* Of a list that starts there the slot at this position; 0 where there is none, whatever `starts` says meanwhile. */
MT_FN uint32_t mt_kv_slot(const struct mt_kv_args *args, const struct mt_kv_plan *plan, uint32_t start,
                          uint32_t position)
{
    const uint64_t slot = (uint64_t) start + position;
    return slot < plan->total ? args->slots[slot * plan->wide] : 0;
}

/*
 * The launch does not tell how wide a slot is. The slot 0 is that of padding: int64 have a zero in every second word,
 * and int32 do not. As many words as there are slots can be read either way.
 */
MT_FN void mt_kv_begin(const struct mt_kv_args *args, struct mt_kv_plan *plan)
{
    const int32_t total = args->starts[args->sequences];
    plan->blocks.words = 1;
    plan->wide = 0;
    plan->total = total < 1 || (uint64_t) total > args->words_max ? 0 : (uint32_t) total;
    if (!plan->total || args->slots[0] == 0)
        return;
    uint32_t upper = total == 1;
    for (uint32_t i = 1; i < plan->total && i < MT_KV_LOOK; i += 2)
        upper |= args->slots[i];
    plan->wide = upper ? 1 : 2;
    if ((uint64_t) plan->total * plan->wide > args->words_max)
        plan->wide = 0;
}

/* How many of its slots are to be told: all, or the last two. */
MT_FN uint32_t mt_kv_tell(const struct mt_kv_args *args, const struct mt_kv_plan *plan, uint32_t sequence)
{
    const uint32_t length = plan->wide ? mt_kv_length(args, plan, sequence) : 0;
    const uint32_t start = (uint32_t) args->starts[sequence];
    struct mt_kv_seen *seen = &args->seen[(uint64_t) args->index[sequence] % MT_KV_SEEN];
    const struct mt_kv_seen before = *seen;
    if (!length) {
        seen->length = 0;
        return 0;
    }
    uint32_t passes = 0;
    if (length > 1 && before.length && before.length + 1 == length &&
        mt_kv_slot(args, plan, start, length - 2) == before.slot)
        passes = before.passes < MT_KV_COUNT_MAX ? before.passes + 1 : MT_KV_COUNT_MAX;
    seen->slot = mt_kv_slot(args, plan, start, length - 1);
    seen->length = length;
    seen->passes = passes;
    return length <= 2 || (passes & (passes + 1)) == 0 ? length : 2;
}

MT_FN void mt_kv_count(const struct mt_kv_args *args, struct mt_kv_plan *plan, uint32_t thread, uint32_t threads)
{
    for (uint32_t i = thread; i < args->sequences; i += threads) {
        plan->told[i] = mt_kv_tell(args, plan, i);
        plan->blocks.at[i] = plan->told[i] ? mt_blocks_take(&plan->blocks, 3 + plan->told[i]) : 0;
    }
}

MT_FN void mt_kv_claim(const struct mt_kv_args *args, struct mt_kv_plan *plan)
{
    struct mt_claim claim;
    plan->blocks.place.status = MT_TAP_LOST;
    if (!mt_ring_claim(args->producer, args->site, plan->blocks.words * 4, 1, &claim))
        return;
    mt_ring_fill(args->producer, &claim, args->site, (uint32_t) plan->blocks.words, 1, MT_CONTEXT_WIDTH);
    plan->blocks.place.position = claim.position;
    plan->blocks.place.status = MT_TAP_CLAIMED;
}

/* `to`: where the ring is; copied, as a store might be one to the producer for all that the compiler knows. */
MT_FN void mt_kv_put(const struct mt_producer *to, uint64_t position, uint32_t word, uint32_t value)
{
    *(uint32_t *) mt_ring_payload(to, position, (uint64_t) word * 4) = value;
}

MT_FN void mt_kv_write(const struct mt_kv_args *args, const struct mt_kv_plan *plan, uint32_t thread, uint32_t threads)
{
    if (plan->blocks.place.status != MT_TAP_CLAIMED)
        return;
    const struct mt_producer to = {.ring = args->producer->ring, .ring_size = args->producer->ring_size};
    const uint64_t position = plan->blocks.place.position;
    const uint32_t words = (uint32_t) plan->blocks.words;
    const uint32_t end = (uint32_t) ((mt_record_size((uint64_t) words * 4) - sizeof(struct mt_record)) / 4);
    if (thread == 0)
        mt_kv_put(&to, position, 0, args->sequences);
    for (uint32_t word = words + thread; word < end; word += threads)
        mt_kv_put(&to, position, word, 0);
    const uint32_t lane = thread % MT_BLOCKS_LANES;
    for (uint32_t i = thread / MT_BLOCKS_LANES; i < args->sequences; i += threads / MT_BLOCKS_LANES) {
        const uint32_t at = plan->blocks.at[i], told = plan->told[i];
        if (!at)
            continue;
        const uint32_t length = mt_kv_length(args, plan, i);
        if (lane == 0) {
            mt_kv_put(&to, position, at, i);
            mt_kv_put(&to, position, at + 1, length);
            mt_kv_put(&to, position, at + 2, told);
        }
        const uint32_t start = (uint32_t) args->starts[i] + (length - told);
        for (uint32_t n = lane; n < told; n += MT_KV_LOADS * MT_BLOCKS_LANES) {
            uint32_t slots[MT_KV_LOADS];
            MT_UNROLL
            for (uint32_t j = 0; j < MT_KV_LOADS; j++)
                slots[j] = mt_kv_slot(args, plan, start, n + j * MT_BLOCKS_LANES);
            MT_UNROLL
            for (uint32_t j = 0; j < MT_KV_LOADS; j++)
                if (n + j * MT_BLOCKS_LANES < told)
                    mt_kv_put(&to, position, at + 3 + n + j * MT_BLOCKS_LANES, slots[j]);
        }
    }
}

MT_FN void mt_kv_end(const struct mt_kv_args *args, const struct mt_kv_plan *plan)
{
    if (plan->blocks.place.status == MT_TAP_CLAIMED)
        mt_ring_commit(args->producer, plan->blocks.place.position);
}

#endif
