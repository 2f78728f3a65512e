/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taps beside the engine's kernels: in a graph that is being captured, the stage of a tap depends on the router, and
 * the engine's next kernel does not depend on the stage.
 *
 * It is joined where it must be. Let the holder be the router, or the last launch R behind it that only reads the ids.
 * Until R has run the engine itself needs the ids intact, so whatever may destroy them is ordered behind R; so every
 * node that depends on the holder is made to depend on the stage, too. Nobody reads the ids: the router is the holder,
 * and the stage is in line.
 *
 * R is a launch on the same stream, one of whose parameters is the ids' address and declared a pointer to const by its
 * mangled name, or read-only by a recipe. It counts only while all that came between is known: kernels none of whose
 * arguments points into the ids, one behind the other. Edges are added at the end of that look-out, so no guess is ever
 * made about launches that have not come yet.
 *
 * Are weights recorded, they must be intact as well, and the holder is the earlier one of the last launches that only
 * read the ids and that only read the weights.
 *
 * Every MT_TAP_BATCH stages, and at the end of the capture, a node that writes their records hangs on them; nothing
 * depends on it.
 */
#ifndef MOETAP_SHIM_TAP_BRANCH_H
#define MOETAP_SHIM_TAP_BRANCH_H

#include "tap.h"
#include "state.h"
#include "../use.h"

/* How often a site was seen in the capture that goes on; zero at the start. */
struct mt_occurrences {
    cuuint64_t capture;
    uint32_t count;
};

/* Of one stream; zero at the start. Guarded by the lane's lock. */
struct mt_branch {
    struct mt_tap_state *state;
    cuuint64_t capture; /* the driver's id of the capture */
    CUgraph graph;
    bool open; /* the latest stage is not joined yet; it and what follows are about that one */
    CUgraphNode holder;
    CUgraphNode last;        /* the stream's latest node */
    struct mt_branch_holds { /* memory that the stage reads, and who was the last to prove it intact */
        struct mt_range range;
        CUgraphNode holder;
        unsigned launches; /* between the stage and that one */
    } ids, weights;
    unsigned launches; /* since the stage */
    /* not written yet */
    struct mt_tap_batch batch;
    CUgraphNode stages[MT_TAP_BATCH];
};

/* Adds a stage behind what is on the capturing stream. False: not to be had, tap in line. */
bool mt_branch_open(struct mt_branch *branch, CUstream stream, struct mt_tap_state *state,
                    const struct mt_routing *routing, struct mt_tap_site site, struct mt_occurrences *occurrences,
                    uint8_t width);

/* The engine launched something on that stream. False: the look-out is over, settle. */
bool mt_branch_launched(struct mt_branch *branch, CUstream stream, const struct mt_history_entry *launch);

/* Joins the open stage. Returns how many taps the driver refused: they are not captured. */
unsigned mt_branch_settle(struct mt_branch *branch, CUstream stream);

/* The capture on `stream` is about to end: writes what waits, if it is of that capture. Returns as settle() does. */
unsigned mt_branch_finish(struct mt_branch *branch, CUstream stream);

#endif
