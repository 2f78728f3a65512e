/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's side of a segment's life: create, publish sites, close. Used by the shim inside the engine's process;
 * CPU only, no CUDA, prints nothing. Thread-safe where said.
 */
#ifndef MOETAP_SHM_SEGMENT_H
#define MOETAP_SHM_SEGMENT_H

#include "reader.h"

struct mt_segment {
    int fd;
    char path[512];
    uint8_t *base; /* header.segment_size bytes, page aligned */
    struct mt_header *header;
    struct mt_counters *counters;
    struct mt_consumer *consumer;
    struct mt_site *sites;
    uint8_t *ring;
};

/*
 * Creates moetap.<session>.<pid>.<device> under a lock on the folder, 0600, with fallocate() (a full /dev/shm is an
 * error here, not a SIGBUS later). A segment of that name whose writer is dead, or that is damaged or of another
 * version, is removed, and *note (may be NULL) says so; one that an earlier program of this very process left behind
 * (exec) is left to its reader and the new one gets a suffix. ring_size is rounded up to a power of two. `weights`: its
 * records may hold some.
 */
int mt_segment_create(struct mt_segment *segment, const char *session, int device, const char *device_name,
                      uint64_t ring_size, bool weights, struct mt_error *note, struct mt_error *error);

/* Appends a site and publishes it. Returns its index, or -ENOSPC. Not thread-safe: the caller holds its own lock. */
int mt_segment_add_site(struct mt_segment *segment, const struct mt_site *site);

/* Changes a live field. Thread-safe. */
void mt_segment_set_layer(struct mt_segment *segment, uint32_t site, int32_t layer);
void mt_segment_add_flags(struct mt_segment *segment, uint32_t site, uint32_t flags);
void mt_segment_set_model(struct mt_segment *segment, uint32_t site, uint32_t model);
void mt_segment_set_weights(struct mt_segment *segment, uint32_t site, enum mt_weight_type type);
void mt_segment_count_not_captured(struct mt_segment *segment);

/* state = CLOSED; the mapping stays: the GPU may still write. No CUDA. Safe at exit, thread-safe. */
void mt_segment_close(struct mt_segment *segment);

/* For an error path and for tests: unmaps, closes and, if asked, unlinks. */
void mt_segment_destroy(struct mt_segment *segment, bool unlink);

#endif
