/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where taps go: for each CUDA context in which a router was seen, the segment, the loaded tap kernel and the
 * producer's memory on the GPU. Made at the context's first router, kept until the context or the process is gone.
 */
#ifndef MOETAP_SHIM_TAP_STATE_H
#define MOETAP_SHIM_TAP_STATE_H

#include "../../shm/segment.h"
#include "../recipe/recipe.h"
#include "tap.h"

#include <cuda.h>
#include <stdbool.h>

#define MT_STAGE_SIZE_DEFAULT (64u << 20)

struct mt_tap_settings {
    const char *session;
    uint64_t ring_size;  /* 0: nobody asked for one */
    uint64_t wait_ns;    /* --on-full=wait:TIME, 0 drop */
    bool weights;        /* --weights: those that recipes describe are recorded as well */
    uint64_t stage_size; /* bytes of GPU memory for the stages of all graphs of a context; 0: no stages */
};
void mt_tap_configure(const struct mt_tap_settings *settings);

/* Are weights recorded? */
bool mt_tap_weights_wanted(void);

struct mt_tap_state;

/* Where a record belongs. Sites of one layer on one stream, for kernels that take turns, count their steps together. */
struct mt_tap_site {
    uint32_t index;
    uint32_t counter; /* index of the first of them */
};

/* Of the current context. NULL if there is none or taps are off there: the reason was logged once. Thread-safe. */
struct mt_tap_state *mt_tap_state_current(void);
struct mt_segment *mt_tap_segment(struct mt_tap_state *state);

/*
 * Launches the tap on `stream` behind what is there; while the stream captures it becomes a node of the graph. False if
 * the driver refused (logged once).
 */
bool mt_tap_launch(struct mt_tap_state *state, CUstream stream, const struct mt_routing *routing,
                   struct mt_tap_site site, uint8_t width, bool capturing);

/*
 * Adds to a graph, behind `dep`, the stage of a tap, and says in `args` what its write will need. `occurrence`: how
 * often this site was seen before in the same capture. A later capture of the same step gets the same memory again: two
 * graphs that route into the same ids do not run at the same time. False: no memory left for stages, or the driver
 * refused (logged once).
 */
bool mt_tap_add_stage(struct mt_tap_state *state, CUgraph graph, CUgraphNode dep, const struct mt_routing *routing,
                      struct mt_tap_site site, uint32_t occurrence, uint8_t width, struct mt_tap_args *args,
                      CUgraphNode *node);
/* Adds what writes the records of these stages. False if the driver refused (logged once). */
bool mt_tap_add_write(const struct mt_tap_state *state, CUgraph graph, const CUgraphNode *stages,
                      struct mt_tap_batch *batch);

/* Context destroyed or reset; NULL: a primary context, found out by asking the driver. */
void mt_tap_context_gone(CUcontext context);

/* Process exit: marks the segments closed. No CUDA. */
void mt_tap_close_all(void);

#endif
