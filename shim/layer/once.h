/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels that come with every layer and tell the same each time (the rows' KV slots): which launch stands for its
 * pass? The one with the first address that was seen. Memory moves, though (an engine measures with a small cache
 * before it makes the real one), and a draft model has layers of its own: an address that comes again, without any
 * first one in between, begins passes, too.
 */
#ifndef MOETAP_SHIM_LAYER_ONCE_H
#define MOETAP_SHIM_LAYER_ONCE_H

#include <stdbool.h>
#include <stdint.h>

#define MT_ONCE_LAYERS 512 /* more than any model has */

/* The first addresses of a kernel in one CUDA context, for all its streams. Zero before the first use. */
struct mt_firsts {
    unsigned count; /* only grows; the newest are kept when there are too many */
    uint64_t address[16];
};

/* What one stream saw. Zero before the first use; guarded by the stream's lock. */
struct mt_once {
    uint64_t latest; /* first address that was seen last */
    uint32_t pass;   /* first addresses seen so far */
    uint32_t count;
    unsigned known; /* count of the firsts that `others` are not among */
    struct {
        uint64_t address;
        uint32_t pass; /* in which it was seen last */
    } others[MT_ONCE_LAYERS];
};

/* Does a launch with this address stand for its pass? `moves`: the memory is no model's weights, so it may have moved.
 */
bool mt_once_first(struct mt_once *once, struct mt_firsts *firsts, uint64_t address, bool moves);

#endif
