/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of each kernel that was ever launched: its parameter layout, and the recipe that reads it, if any. The
 * driver is asked at a kernel's first launch; afterwards a look-up is one probe of a table, without a lock.
 */
#ifndef MOETAP_SHIM_KERNELS_H
#define MOETAP_SHIM_KERNELS_H

#include "../cupti/launch.h"
#include "recipe/recipe.h"

#define MT_KERNEL_OTHERS 3
#define MT_KERNEL_ALSO 8

struct mt_kernel {
    const struct mt_recipe *recipe;    /* NULL: none of ours */
    const struct mt_kernel_info *info; /* NULL unless there is a recipe or all are kept */
    unsigned param_count;
    uint32_t bytes;      /* of the flat parameter buffer */
    bool routes;         /* the recipe is a router's */
    uint64_t only_reads; /* bit i: does not write where parameter i points */
    /* How to keep a launch's arguments for layer.c, as far as they may be addresses: words to clear come first (size
     * 0), then parameters to copy. NULL if that is not all of the flat buffer's words. */
    const struct mt_kernel_move {
        uint16_t word, param;
        uint32_t size;
    } * moves;
    unsigned move_count;
    /* Fit its fingerprint too and are of `recipe`'s kind: tried in turn where that does not read a launch. One without
     * ids may end them. NULL behind the last. */
    const struct mt_recipe *others[MT_KERNEL_OTHERS];
    /* Row context of other kinds that the same launch shows: of each kind, the first one that reads it. */
    const struct mt_recipe *also[MT_KERNEL_ALSO];
    struct mt_kernel_param {
        uint32_t offset, size;
    } param[]; /* param_count of them */
};

/* `keep`: what every kernel with a name is called, also those without a recipe. */
void mt_kernels_start(const struct mt_recipes *recipes, bool keep);

/* Never NULL; immutable and valid for the life of the process. Thread-safe. */
const struct mt_kernel *mt_kernels_find(const struct mt_launch *launch);

/* Names a router whose ids cannot be recorded. */
void mt_kernels_say_no_ids(const struct mt_recipe *recipe, const struct mt_kernel_info *info);

/* A module goes: its function handles may come back as other kernels. */
void mt_kernels_forget(void);

/*
 * Copies the launch's arguments, as laid out in the flat parameter buffer, up to `size` bytes; returns how many.
 * Padding is left as it is in `bytes`.
 */
uint32_t mt_kernel_copy_params(const struct mt_kernel *kernel, const struct mt_launch *launch, void *bytes,
                               uint32_t size);

#endif
