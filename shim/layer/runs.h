/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose layers are they? A draft model may route to as many of as many experts as its target, and then its layers are
 * numbered among the target's. Two things tell them apart, where an engine shows them:
 *
 *   - Token ids are looked up in the vocabulary's table where a pass begins, so also where a draft's begins.
 *   - A graph of a whole step has the layers of one model; the draft's are captured by themselves.
 *
 * Either counts only where it is the same each time. What neither tells are layers of one model.
 */
#ifndef MOETAP_SHIM_LAYER_RUNS_H
#define MOETAP_SHIM_LAYER_RUNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define MT_RUNS_LAYERS 512 /* more than any model has */
#define MT_RUNS_LANES 32

/* What a stream has shown so far. */
struct mt_runs_seen {
    uint32_t lookups; /* of token ids */
    uint64_t table;   /* the latest one's, and its rows */
    uint32_t rows;
};

/* Of all routers to k of E experts in the process. Zero before the first use, but for the lock. */
struct mt_runs {
    pthread_mutex_t lock;
    int32_t count;    /* of layers seen */
    uint32_t version; /* of the answers of mt_runs_model() */
    struct mt_runs_layer {
        uint64_t table; /* of the look-up ahead of it */
        int32_t head;   /* the first layer behind the look-up ahead of it, + 1; 0: none yet, -1: not always the same */
        uint32_t heads; /* how often */
        uint32_t captured;
        bool whole;     /* of the graphs with most layers */
        uint32_t model; /* what is told */
    } layers[MT_RUNS_LAYERS];
    uint32_t wholes; /* graphs with most layers */
    bool differ;     /* which layers these have */
    struct mt_runs_lane {
        const void *lane; /* NULL: none */
        struct mt_runs_seen seen;
        struct mt_run {
            bool on, broken; /* broken: a layer twice, or one that is not known */
            uint64_t table;
            uint32_t count;
            int16_t layers[MT_RUNS_LAYERS];
        } looked_up, captured;
    } * lanes[MT_RUNS_LANES];
};

/* A router on that lane. Returns the version of what mt_runs_model() answers now. Thread-safe. */
uint32_t mt_runs_note(struct mt_runs *runs, const void *lane, const struct mt_runs_seen *seen, bool capturing,
                      int32_t layer, uint32_t rows);

/* A capture of that lane is over. Returns the same. Thread-safe. */
uint32_t mt_runs_captured(struct mt_runs *runs, const void *lane);

/* Of the layer; 0: the first one's, or not told. Thread-safe. */
uint32_t mt_runs_model(struct mt_runs *runs, int32_t layer);

#endif
