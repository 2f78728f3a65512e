/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#ifdef MOE_DEMO_DIRECT

const char *cuda_open(struct cuda *cuda, const char *door, const char *fallback)
{
    (void) door;
    (void) fallback;
#define LINKED(field, symbol, base, version) cuda->field = symbol;
    MOE_DEMO_CALLS(LINKED)
#undef LINKED
    int devices = 0;
    if (cuda->Init(0) != CUDA_SUCCESS || cuda->DeviceGetCount(&devices) != CUDA_SUCCESS || !devices)
        return "no CUDA device";
    return NULL;
}

#else

typedef CUresult get_proc_address(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *);

static const char *look_up(struct cuda *cuda, void *library, int by_address)
{
    get_proc_address *ask = (get_proc_address *) dlsym(library, "cuGetProcAddress_v2");
    if (by_address && !ask)
        return "this libcuda has no cuGetProcAddress_v2";
    void *found;
    CUdriverProcAddressQueryResult status;
#define LOOK_UP(field, symbol, base, version)                                                                          \
    found = NULL;                                                                                                      \
    if (!by_address)                                                                                                   \
        found = dlsym(library, #symbol);                                                                               \
    else if (ask(base, &found, version, CU_GET_PROC_ADDRESS_DEFAULT, &status) != CUDA_SUCCESS)                         \
        found = NULL;                                                                                                  \
    if (!found)                                                                                                        \
        return "this libcuda has no " #symbol;                                                                         \
    memcpy(&cuda->field, &found, sizeof found);
    MOE_DEMO_CALLS(LOOK_UP)
#undef LOOK_UP
    return NULL;
}

static const char *try_library(struct cuda *cuda, const char *path, int by_address)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return "there is no libcuda.so.1";
    int devices = 0;
    const char *why = look_up(cuda, library, by_address);
    if (!why && cuda->Init(0) == CUDA_SUCCESS && cuda->DeviceGetCount(&devices) == CUDA_SUCCESS && devices > 0)
        return NULL;
    dlclose(library);
    return why ? why : "no CUDA device";
}

const char *cuda_open(struct cuda *cuda, const char *door, const char *fallback)
{
    int by_address = strcmp(door, "getproc") == 0;
    const char *wanted = getenv("MOE_DEMO_LIBCUDA");
    if (wanted && *wanted)
        return try_library(cuda, wanted, by_address);
    if (!try_library(cuda, "libcuda.so.1", by_address))
        return NULL;
    return try_library(cuda, fallback, by_address);
}

#endif
