/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

void kernel_make(struct mt_kernel_info *kernel, const char *mangled, const char *sizes)
{
    memset(kernel, 0, sizeof *kernel);
    mt_kernel_info_set_name(kernel, mangled);
    uint32_t at = 0;
    for (char *end; *sizes; sizes = end) {
        uint32_t size = (uint32_t) strtoul(sizes, &end, 10);
        if (end == sizes)
            break;
        uint32_t align = size % 8 == 0 ? 8 : size % 4 == 0 ? 4 : size % 2 == 0 ? 2 : 1;
        at = (at + align - 1) / align * align;
        kernel->param[kernel->param_count].offset = at;
        kernel->param[kernel->param_count++].size = size;
        at += size;
    }
}

void rig_make(struct rig *rig, const char *mangled, const char *sizes)
{
    memset(rig, 0, sizeof *rig);
    kernel_make(&rig->kernel, mangled, sizes);
    for (unsigned i = 0; i < rig->kernel.param_count; i++) {
        rig->params[i] = rig->bytes + rig->kernel.param[i].offset;
        rig->size = rig->kernel.param[i].offset + rig->kernel.param[i].size;
    }
    cr_assert_leq(rig->size, sizeof rig->bytes);
    rig->launch = (struct mt_launch){.grid = {1, 1, 1}, .block = {1, 1, 1}, .params = rig->params};
}

void rig_pack(struct rig *rig)
{
    rig->launch.params = NULL;
    rig->extra[0] = CU_LAUNCH_PARAM_BUFFER_POINTER;
    rig->extra[1] = rig->bytes;
    rig->extra[2] = CU_LAUNCH_PARAM_BUFFER_SIZE;
    rig->extra[3] = &rig->size;
    rig->extra[4] = CU_LAUNCH_PARAM_END;
    rig->launch.extra = rig->extra;
}

void arg_at(struct rig *rig, unsigned param, unsigned offset, uint64_t value, unsigned bytes)
{
    cr_assert_leq(offset + bytes, rig->kernel.param[param].size);
    memcpy(rig->bytes + rig->kernel.param[param].offset + offset, &value, bytes);
}

void arg(struct rig *rig, unsigned param, uint64_t value)
{
    arg_at(rig, param, 0, value, rig->kernel.param[param].size < 8 ? rig->kernel.param[param].size : 8);
}

struct mt_recipes *recipes_of(const char *text)
{
    char why[256] = "";
    struct mt_recipes *recipes = mt_recipes_load("user.recipe", text, why, sizeof why);
    cr_assert(recipes, "%s", why);
    return recipes;
}
