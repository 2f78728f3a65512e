/* SPDX-License-Identifier: Apache-2.0 */
/* The lines that probing writes for `moetap probe`; probe.h says what they mean. Not thread-safe. */
#ifndef MOETAP_SHIM_PROBE_FILE_H
#define MOETAP_SHIM_PROBE_FILE_H

#include "sample.h"

/* `folder`/PID. False: errno. */
bool mt_probe_file_open(const char *folder);
bool mt_probe_file_is_open(void);
void mt_probe_file_flush(void);

/* `recipe`: NULL if it is to be looked at as if none knew it. */
void mt_probe_put_kernel(unsigned id, const struct mt_kernel *kernel, const struct mt_recipe *recipe);
void mt_probe_put_sample(unsigned id, unsigned number, int32_t layers, const struct mt_sample *sample,
                         const struct mt_launch *launch);

/* False: nothing was written there, or nothing like ids. `end`: behind what was written. */
bool mt_probe_put_memory(const struct mt_region *region, uint32_t *end);

/* Somebody names what a sampled launch had written. `bytes`: what is there now, NULL if it is as it was. */
struct mt_probe_use {
    unsigned id;     /* of the kernel that names it */
    uint32_t named;  /* at this offset of its params */
    unsigned sample; /* that had written it */
    uint32_t offset; /* through the pointer there */
    unsigned behind; /* launches later on the same stream; 0: on another one */
    const char *how;
    const void *bytes;
    uint32_t size;
};
void mt_probe_put_use(const struct mt_probe_use *use);

void mt_probe_put_total(unsigned id, uint64_t eager, uint64_t captured);

#endif
