/* SPDX-License-Identifier: Apache-2.0 */
#include "library.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loaded {
    char cupti[PATH_MAX];
    char runtime[PATH_MAX]; /* folder of libcudart */
};

static int look(struct dl_phdr_info *info, size_t size, void *user)
{
    (void) size;
    struct loaded *loaded = user;
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *name = slash ? slash + 1 : info->dlpi_name;
    if (strncmp(name, "libcupti.so", 11) == 0)
        snprintf(loaded->cupti, sizeof loaded->cupti, "%s", info->dlpi_name);
    else if (slash && strncmp(name, "libcudart", 9) == 0)
        snprintf(loaded->runtime, sizeof loaded->runtime, "%.*s", (int) (slash - info->dlpi_name), info->dlpi_name);
    return 0;
}

static void *open_in(const char *folder)
{
    static const char *const names[] = {"libcupti.so.13", "libcupti.so.12", "libcupti.so"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_MAX + 32];
        snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", names[i]);
        void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
        if (library)
            return library;
    }
    return NULL;
}

void *mt_cupti_open(char *why, size_t size)
{
    const char *wanted = getenv("MOETAP_CUPTI");
    if (wanted && *wanted) {
        void *library = dlopen(wanted, RTLD_LAZY | RTLD_LOCAL);
        if (!library)
            snprintf(why, size, "MOETAP_CUPTI: %s", dlerror());
        return library;
    }
    struct loaded loaded = {"", ""};
    dl_iterate_phdr(look, &loaded);
    if (loaded.cupti[0]) {
        void *library = dlopen(loaded.cupti, RTLD_LAZY | RTLD_NOLOAD);
        if (library)
            return library;
    }
    void *library = open_in("");
    if (!library && loaded.runtime[0]) {
        /* PyTorch's wheels: nvidia/cu13/lib holds both, nvidia/cuda_runtime/lib has a sister folder. */
        char sister[PATH_MAX + 32];
        library = open_in(loaded.runtime);
        snprintf(sister, sizeof sister, "%s/../../cuda_cupti/lib", loaded.runtime);
        if (!library)
            library = open_in(sister);
    }
    const char *home = getenv("CUDA_HOME");
    const char *const roots[] = {home && *home ? home : "/usr/local/cuda", "/usr/local/cuda"};
    static const char *const folders[] = {"extras/CUPTI/lib64", "lib64"};
    for (size_t i = 0; !library && i < 4; i++) {
        char folder[PATH_MAX];
        snprintf(folder, sizeof folder, "%s/%s", roots[i / 2], folders[i % 2]);
        library = open_in(folder);
    }
    if (!library)
        snprintf(why, size, "no libcupti.so.13 or .12 found: set MOETAP_CUPTI to its path");
    return library;
}
