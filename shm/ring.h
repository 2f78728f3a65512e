/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer's protocol, one source for CUDA and C11. (Prose of the algorithm goes here.)
 */
#ifndef MOETAP_SHM_RING_H
#define MOETAP_SHM_RING_H

#include "layout.h"

/* Lives in the GPU's own memory; the CPU fills it once, before the first tap runs. One per segment. */
struct mt_producer {
    /* GPU-owned, atomics at device scope. Zero at the start. */
    uint64_t head;         /* next free stream position */
    uint64_t tail;         /* the consumer's tail as last seen; re-read only when the ring looks full */
    uint64_t attempts;     /* next seq */
    uint64_t lost_full;    /* mirrored into mt_counters */
    uint64_t lost_too_big; /* mirrored into mt_counters */
    uint64_t reserved0[3];
    /* Constant. Addresses as the GPU sees them. */
    uint8_t *ring;
    uint64_t ring_size;
    uint64_t nonce;
    struct mt_counters *counters;
    const struct mt_consumer *consumer;
    uint64_t *steps;  /* [MT_SITES_MAX], GPU-owned: runs of each site */
    uint64_t wait_ns; /* how long a full ring is waited for; 0: drop at once */
    uint64_t reserved1;
};

#endif
