/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of each stream of the engine: its number, its recent launches, and a tap that still has to be launched.
 */
#ifndef MOETAP_SHIM_LANE_H
#define MOETAP_SHIM_LANE_H

#include "tap/branch.h"
#include "layer/layer.h"
#include "layer/runs.h"

struct mt_group; /* layer/group.h: the routers of one recipe, E and k on one lane */

#define MT_LANE_ARRAYS 16 /* of slots, in one batch: more groups of layers than any model has */

struct mt_lane {
    CUstream stream;
    uintptr_t thread;  /* for CU_STREAM_PER_THREAD, else 0 */
    CUcontext context; /* for the default streams, whose handles every context shares, else NULL */
    uint32_t locked;   /* mt_lane_lock() */
    int32_t number;    /* in the order in which routers were seen on the streams; -1: none yet */
    struct mt_history history;
    struct mt_runs_seen seen; /* that tells whose layers come next */

    /* A router whose ids a sort may still reorder in place: tapped before whatever comes next on the stream. */
    struct mt_lane_pending {
        bool open;
        bool final; /* the sort is being launched */
        struct mt_group *group;
        CUcontext context;
        struct mt_routing routing;
        const struct mt_kernel *kernel;
        int32_t layer;
    } pending;

    /* A launch that shows what the rows of a batch are, if this batch's launch soon follows. */
    struct mt_lane_waiting {
        const struct mt_recipe *recipe; /* NULL: none */
        const struct mt_kernel *kernel;
        struct mt_routing routing;
        uint32_t launch; /* its number on the stream */
        bool captured;
    } waiting;

    /* The cache that a batch's slots were just written to, until what is read of it was tapped: `once` of both recipes.
     */
    struct mt_lane_written {
        uint64_t cache;  /* 0: none */
        uint32_t launch; /* its number on the stream */
    } written;

    /* The latest batch: the recipe that reads its positions, NULL: none, how many rows it has, whether its cache is yet
     * to be seen, how many look-ups of tokens there had been, and the arrays of slots that were tapped for it. */
    struct mt_lane_batch {
        const struct mt_recipe *positions;
        uint64_t rows;
        bool open;
        uint32_t lookups;
        uint64_t arrays[MT_LANE_ARRAYS];
        unsigned array_count;
    } batch;
    /* The cache that the latest batch left, up to the end of its first sequence, and what that one was made into in
     * another order; 0: nothing. */
    struct mt_lane_left {
        uint64_t begin, end, ordered;
    } left;

    struct mt_branch branch; /* a tap that is not joined yet */

    /* The latest router that was tapped, whose ids a map may turn into others. */
    struct mt_lane_routed {
        struct mt_group *group; /* NULL: none */
        struct mt_routing routing;
        int32_t layer;
    } routed;

    /* Ids that were tapped at a kernel that reads them, and that nobody may have written since: the experts' other
     * launches read the same ones. */
    struct mt_range consumed;

    struct mt_group *groups; /* list, newest first: layer/group.c's */

    /* The two routers before, to tell the stages of grouped routing from the router proper. */
    struct mt_lane_stage {
        struct mt_group *group;
        uint32_t rows, experts;
    } stages[2];
};

/* Finds or makes the lane of a stream, NULL if out of memory or lanes. Thread-safe. */
struct mt_lane *mt_lane_find(CUstream stream);

/* The lane if the stream has one. Thread-safe. */
struct mt_lane *mt_lane_peek(CUstream stream);

/* The i-th lane, NULL behind the last. */
struct mt_lane *mt_lane_get(unsigned index);

/* Uncontended unless two threads launch on one stream, and taken at each launch of the engine: one atomic exchange,
 * where a mutex takes two and two calls. */
void mt_lane_wait(struct mt_lane *lane);
static inline void mt_lane_lock(struct mt_lane *lane)
{
    if (__builtin_expect(__atomic_exchange_n(&lane->locked, 1, __ATOMIC_ACQUIRE), 0))
        mt_lane_wait(lane);
}
static inline void mt_lane_unlock(struct mt_lane *lane)
{
    __atomic_store_n(&lane->locked, 0, __ATOMIC_RELEASE);
}

/* Gives the lane its number if it has none. */
uint32_t mt_lane_number(struct mt_lane *lane);

#endif
