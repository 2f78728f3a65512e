/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layer identity. No router kernel carries a layer number, and counting launches breaks with micro-batches, draft
 * layers and captured pieces. What is fixed for a layer is the address of its router's weight, and that address stands
 * in the arguments of the launch that made the logits (inside a tensor map, for cuBLAS on Hopper); other weights of the
 * layer stand in the launches before. But activations stand there too, and nothing says which word is which.
 *
 * So the launches between two routers on a stream bear witness. A word that two of them share is an activation (its
 * producer and its consumer); the others vote, each known one for its layer, each new one for a layer never seen. A
 * vote counts the more, the more often its place (kernel, distance from the router, offset) agreed with the decision so
 * far, which places of weights do and places of activations soon do not; and the less, the further from the router it
 * stands, as behind this layer's launches come the experts of the one before. What launches of other streams name that
 * this stream waited for in between (join.h) has no vote; it only shows that a word is an activation. Where two have
 * about as many votes, the layer is unknown: no label is guessed. Layers are numbered in the order of their first
 * appearance.
 */
#ifndef MOETAP_SHIM_LAYER_H
#define MOETAP_SHIM_LAYER_H

#include "../kernels.h"

#define MT_HISTORY_LAUNCHES                                                                                            \
    24u /* grouped routing in PyTorch: about 13 launches from the logits' GEMM to the last top-k */
#define MT_HISTORY_BYTES 2048u /* cuBLAS' Hopper kernels take up to 1.5 KiB of tensor maps */

struct mt_history_entry {
    const struct mt_kernel *kernel;
    uint32_t bytes;
    uint64_t words[MT_HISTORY_BYTES / sizeof(uint64_t)];
};

#define MT_HISTORY_JOINED 32u /* launches of other streams */
#define MT_HISTORY_WAITED 8u  /* of them by one wait: the latest, back to the experts */

/* The latest launches on one stream. */
struct mt_history {
    uint32_t count; /* launches so far; the i-th is at [i % MT_HISTORY_LAUNCHES] */
    uint32_t joined_count;
    struct mt_history_entry entries[MT_HISTORY_LAUNCHES];
    struct mt_history_joined { /* the i-th at [i % MT_HISTORY_JOINED] */
        uint32_t count;        /* launches of this stream ahead of it */
        struct mt_history_entry entry;
    } joined[MT_HISTORY_JOINED];
};

void mt_history_add(struct mt_history *history, const struct mt_kernel *kernel, const struct mt_launch *launch);

/* Copies the i-th launch; false if it is not there, or no more. */
bool mt_history_get(const struct mt_history *history, uint32_t i, struct mt_history_entry *entry);

/* A launch of another stream that is over before what comes now on this one. */
void mt_history_join(struct mt_history *history, const struct mt_history_entry *entry);

static inline const struct mt_history_entry *mt_history_latest(const struct mt_history *history)
{
    return &history->entries[(history->count - 1) % MT_HISTORY_LAUNCHES];
}

/* The layers of one model: routers of the same E and k. */
struct mt_layers;
struct mt_layers *mt_layers_new(void); /* NULL: out of memory */

/*
 * Layer of the router launch that is the newest entry of `history`. `launches`: how many entries came since the router
 * before it on that stream, itself included. Returns MT_LAYER_UNKNOWN if nothing tells. Thread-safe.
 */
int32_t mt_layers_identify(struct mt_layers *layers, const struct mt_history *history, uint32_t launches);

/* The same where the newest entry is no router but a reader of its ids: it may name the experts' weights itself. */
int32_t mt_layers_identify_reader(struct mt_layers *layers, const struct mt_history *history, uint32_t launches);

#endif
