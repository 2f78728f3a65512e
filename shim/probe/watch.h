/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who uses what a sampled launch has written: are these the final ids, or does another launch reorder them in place
 * before anybody reads them? Memory is watched from the sample until it is read. Not thread-safe.
 */
#ifndef MOETAP_SHIM_PROBE_WATCH_H
#define MOETAP_SHIM_PROBE_WATCH_H

#include "sample.h"

#define MT_PROBE_HITS 4u

/* A launch names watched memory. */
struct mt_watch_hit {
    unsigned watch;
    uint64_t generation; /* of the watch: it may be another one by now */
    uint32_t offset;     /* of the word that names it */
    uint64_t address;    /* of the watched memory */
};

bool mt_watch_any(void);

/* Kernel `id`, as sample `number` on that stream, has written the first `size` bytes of the region. */
void mt_watch_open(unsigned id, unsigned number, CUstream stream, const struct mt_region *region, uint32_t size);

/* What the launch of this sample names; how many. */
unsigned mt_watch_find(const struct mt_sample *sample, struct mt_watch_hit hits[MT_PROBE_HITS]);

/* That launch, of kernel `id`, is done. `region`: the watched memory before and behind it, NULL if it was not read. */
void mt_watch_hit(const struct mt_watch_hit *hit, unsigned id, const struct mt_sample *sample,
                  const struct mt_region *region);

/* One more launch on that stream, or something behind which a tap no longer waits for a sort. NULL: on all. */
void mt_watch_tick(CUstream stream);

#endif
