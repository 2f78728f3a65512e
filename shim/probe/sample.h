/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that a launch may write, read before and behind it, on the launch's own stream: nobody else's order changes.
 */
#ifndef MOETAP_SHIM_PROBE_SAMPLE_H
#define MOETAP_SHIM_PROBE_SAMPLE_H

#include "../kernels.h"
#include "common.h"

#define MT_PROBE_REGIONS 24u
#define MT_PROBE_PARAM_BYTES 4096u

/* Behind one pointer of the launch. */
struct mt_region {
    uint32_t offset; /* of the pointer in the flat parameters */
    uint32_t size;   /* 0: could not be read */
    uint64_t address;
    unsigned char *was, *is; /* before and behind */
};

struct mt_sample {
    CUfunction function;
    CUstream stream;
    const struct mt_kernel *kernel;
    uint32_t bytes;
    uint64_t params[MT_PROBE_PARAM_BYTES / 8];
    unsigned count;
    struct mt_region regions[MT_PROBE_REGIONS];
    unsigned char memory[2 * MT_PROBE_REGIONS * MT_PROBE_WINDOW];
};

/* Also if it cannot be told: then nothing may be asked of the stream either. */
bool mt_stream_captures(CUstream stream);

/* Starts a sample: which launch, its arguments, no regions. */
void mt_sample_begin(struct mt_sample *sample, const struct mt_kernel *kernel, const struct mt_launch *launch);

/* Memory that the word at `offset` leads into, from `address` on. NULL: it is no device memory, or there is no room. */
struct mt_region *mt_sample_add(struct mt_sample *sample, uint32_t offset, uint64_t address);

/* All memory that the kernel may write. */
void mt_sample_add_all(struct mt_sample *sample);

/*
 * Reads all regions. False: not within a second; no more patience, as what runs there may wait for another launch of
 * this very thread.
 */
bool mt_sample_read(struct mt_sample *sample, bool behind);

#endif
