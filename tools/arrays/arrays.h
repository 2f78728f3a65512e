/* SPDX-License-Identifier: Apache-2.0 */
/* Named arrays and words about them, in one file: what trainers load. A file for each format. */
#ifndef MOETAP_TOOLS_ARRAYS_H
#define MOETAP_TOOLS_ARRAYS_H

#include "../../shm/reader.h"

struct element {
    const char *name;        /* --dtype */
    const char *npy;         /* in an .npy header */
    const char *safetensors; /* in a .safetensors header */
    uint32_t size;
    bool is_signed;
};

enum element_type {
    ELEMENT_INT32,
    ELEMENT_INT16,
    ELEMENT_UINT16,
    ELEMENT_UINT8,
    ELEMENT_BOOL,
    ELEMENT_FLOAT32,
    ELEMENTS
};

extern const struct element elements[ELEMENTS];

struct array {
    char name[64];
    enum element_type type;
    uint32_t dims;
    uint64_t shape[3];
    void *data; /* row-major, from malloc() */
};

size_t array_size(const struct array *array);

struct word {
    const char *key;
    char value[4096];
};

/* Writes a whole file or none. 0, or -errno with a line in `error`. */
typedef int arrays_write(const char *path, const struct array *arrays, size_t count, const struct word *words,
                         size_t word_count, struct mt_error *error);
arrays_write npz_write, safetensors_write;

#endif
