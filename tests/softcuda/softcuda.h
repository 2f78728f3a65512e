/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The software CUDA device: kernels as C functions. A kernel is found by its mangled name when a module image (any
 * fatbin, cubin or PTX: its bytes are checked for a known magic, never read) is asked for it. Test device: nothing
 * measured on it says anything about a GPU.
 */
#ifndef MOETAP_TESTS_SOFTCUDA_H
#define MOETAP_TESTS_SOFTCUDA_H

#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

struct softcuda_dim {
    unsigned x, y, z;
};

/* One block of a running grid. `params[i]` points at a copy of the i-th argument taken at launch. */
struct softcuda_block {
    const struct softcuda_kernel *kernel;
    struct softcuda_dim grid, block, index;
    void *const *params;
    unsigned pause_us; /* SOFTCUDA_SLOW */
};

/* In the midst of a block that was asked to be slow: thread `t` of `n` is next. */
static inline void softcuda_midst(const struct softcuda_block *block, unsigned t, unsigned n)
{
    if (block->pause_us && t == n / 2)
        usleep(block->pause_us);
}

struct softcuda_param {
    size_t offset, size;
};

struct softcuda_kernel {
    const char *name; /* mangled */
    /* Runs all threads of one block; blocks may run concurrently. NULL: it does nothing, in however large a grid. */
    void (*run)(const struct softcuda_block *block);
    unsigned param_count;
    const struct softcuda_param *params;
};

/*
 * A plugin (SOFTCUDA_KERNELS=a.so:b.so) exports `const struct softcuda_kernel softcuda_kernels[]`, ended by name ==
 * NULL, or a function that finds its kernels by what a module is asked for. A kernel of a plugin goes before a built-in
 * one of the same name.
 */
extern const struct softcuda_kernel softcuda_kernels[];
const struct softcuda_kernel *softcuda_find(const char *name);

#endif
