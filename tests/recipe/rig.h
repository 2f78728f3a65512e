/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels and launches made up for a test. */
#ifndef MOETAP_TEST_RECIPE_RIG_H
#define MOETAP_TEST_RECIPE_RIG_H

#include "../../cupti/launch.h"
#include "../../shim/recipe/recipe.h"

/* A kernel with parameters of these sizes ("8 8 4"), each at its natural alignment. */
void kernel_make(struct mt_kernel_info *kernel, const char *mangled, const char *sizes);

/* A launch of it; all parameters are zero bytes until arg_*() says more. */
struct rig {
    struct mt_kernel_info kernel;
    struct mt_launch launch;
    char bytes[4096];
    void *params[MT_KERNEL_PARAMS_MAX];
    size_t size;
    void *extra[5];
};
void rig_make(struct rig *rig, const char *mangled, const char *sizes);
void rig_pack(struct rig *rig); /* the same launch, by CU_LAUNCH_PARAM_BUFFER_POINTER */
void arg_at(struct rig *rig, unsigned param, unsigned offset, uint64_t value, unsigned bytes);
void arg(struct rig *rig, unsigned param, uint64_t value); /* the whole parameter */

/* Loads `text` on top of the built-in recipes; fails the test if that does not work. */
struct mt_recipes *recipes_of(const char *text);

#endif
