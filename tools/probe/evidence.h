/* SPDX-License-Identifier: Apache-2.0 */
/* What the preloaded library saw while it probed, read back from its files (shim/probe.h says how they look). */
#ifndef MOETAP_TOOLS_PROBE_EVIDENCE_H
#define MOETAP_TOOLS_PROBE_EVIDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARAMS_MAX 64
#define TEMPLATES_MAX 24

struct kernel {
    unsigned process, id;
    char *line; /* the strings below lie in it */
    const char *recipe, *kind, *mangled, *demangled, *base, *template_args[TEMPLATES_MAX];
    unsigned template_count, param_count;
    struct {
        uint32_t offset, size;
    } param[PARAMS_MAX];
    uint64_t eager, captured; /* launches */
    unsigned samples;
};

struct sample {
    size_t kernel;
    unsigned process, number;
    int layers; /* that the kernel was seen in so far */
    uint32_t grid[3];
    uint8_t *params;
    size_t params_size;
};

/* Memory that a sampled launch changed. */
struct memory {
    size_t sample;
    uint32_t offset; /* of the pointer in the flat parameters */
    uint64_t address;
    uint32_t first, end, room; /* bytes */
    uint8_t *bytes;
    size_t size;
};

/* A later launch that names what a sampled one had written. */
struct use {
    size_t kernel;   /* whose launch it is */
    uint32_t named;  /* offset in its params */
    size_t sample;   /* that had written it */
    uint32_t offset; /* through the pointer there */
    unsigned behind; /* launches later on the same stream; 0: on another one */
    enum { USE_SAME, USE_CHANGED, USE_OTHER, USE_UNREAD } how;
    uint8_t *bytes; /* if changed, or other than it was: what is there now */
    size_t size;
};

struct evidence {
    struct kernel *kernels;
    struct sample *samples;
    struct memory *memories;
    struct use *uses;
    size_t kernel_count, sample_count, memory_count, use_count;
    size_t kernel_room, sample_room, memory_room, use_room;
};

/* Adds a process's file. False: out of memory, or errno says why. */
bool evidence_read(struct evidence *evidence, const char *path, unsigned process);
void evidence_free(struct evidence *evidence);

#endif
