/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tap kernel: its arguments, and its body in three phases that tap.cu (a block of GPU threads) and the software
 * device (a loop) both run.
 */
#ifndef MOETAP_SHIM_TAP_H
#define MOETAP_SHIM_TAP_H

#include "../shm/ring.h"

#define MT_TAP_KERNEL "moetap_tap" /* extern "C" name in the module image */
#define MT_TAP_THREADS 128u        /* a block; one big block would take an SM's slot from the engine's kernel */
#define MT_TAP_IDS_PER_BLOCK 4096u
#define MT_TAP_BLOCKS_MAX 64u

/* Blocks of one launch meet here. Device memory, zero before the first use; the last block leaves it zero. */
struct mt_tap_scratch {
    uint32_t arrived; /* first block claims */
    uint32_t claimed; /* 1: position valid, 2: lost */
    uint32_t done;    /* last block commits */
    uint32_t reserved;
    uint64_t position;
    uint64_t reserved1;
};

/* The kernel's only parameter, by value. */
struct mt_tap_args {
    struct mt_producer *producer;
    struct mt_tap_scratch *scratch; /* unused (may be NULL) with one block */
    const void *ids;
    uint64_t stride; /* elements between rows */
    uint32_t rows;
    uint32_t k;
    uint32_t site;
    uint8_t dtype; /* enum mt_dtype */
    uint8_t width; /* 1 or 2 */
    uint8_t reserved[2];
};

static inline uint32_t mt_tap_blocks(uint64_t ids)
{
    uint64_t n = (ids + MT_TAP_IDS_PER_BLOCK - 1) / MT_TAP_IDS_PER_BLOCK;
    return n < 1 ? 1 : n > MT_TAP_BLOCKS_MAX ? MT_TAP_BLOCKS_MAX : (uint32_t) n;
}

#endif
