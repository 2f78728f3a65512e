/* SPDX-License-Identifier: Apache-2.0 */
/* Modules: any image of a known kind holds every kernel that there is a C function for. */
#include "device.h"

#include "callbacks.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct softcuda_kernel softcuda_tap_kernels[], softcuda_engine_kernels[], softcuda_router_kernels[];

struct CUmod_st {
    struct soft_function *functions;
};
struct CUlib_st {
    struct soft_function *functions;
};

/* Unloaded functions come back as others, on purpose: the real driver does so too. */
static struct soft_function *recycled;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const struct softcuda_kernel *find_in(const struct softcuda_kernel *table, const char *name)
{
    for (; table && table->name; table++) {
        if (strcmp(table->name, name) == 0)
            return table;
    }
    return NULL;
}

static const struct softcuda_kernel *find_kernel(const char *name)
{
    const char *plugins = getenv("SOFTCUDA_KERNELS");
    const struct softcuda_kernel *found = NULL;
    char path[1024];
    for (const char *at = plugins; at && *at && !found;) {
        size_t n = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s", (int) n, at);
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        const struct softcuda_kernel *(*find)(const char *) = NULL;
        void *symbol = library ? dlsym(library, "softcuda_find") : NULL;
        memcpy(&find, &symbol, sizeof find);
        found = find ? find(name) : library ? find_in(dlsym(library, "softcuda_kernels"), name) : NULL;
        at += n + (at[n] == ':');
    }
    if (!found)
        found = find_in(softcuda_tap_kernels, name);
    if (!found)
        found = find_in(softcuda_engine_kernels, name);
    return found ? found : find_in(softcuda_router_kernels, name);
}

static bool is_image(const void *image)
{
    if (!image)
        return false;
    if (strncmp(image, "//", 2) == 0 || strncmp(image, ".ver", 4) == 0)
        return true; /* PTX: text, maybe a short one */
    unsigned magic;
    memcpy(&magic, image, sizeof magic);
    return magic == 0xba55ed50u || magic == 0x466243b1u || magic == 0x464c457fu;
}

static struct soft_function *make(struct soft_function **list, const struct softcuda_kernel *kernel, unsigned magic)
{
    pthread_mutex_lock(&lock);
    struct soft_function *function = recycled;
    if (function)
        recycled = function->next;
    else
        function = malloc(sizeof *function);
    if (function) {
        *function = (struct soft_function){magic, kernel, *list};
        *list = function;
    }
    pthread_mutex_unlock(&lock);
    return function;
}

static void recycle(struct soft_function *list)
{
    pthread_mutex_lock(&lock);
    while (list) {
        struct soft_function *next = list->next;
        list->magic = SOFT_GONE;
        list->next = recycled;
        recycled = list;
        list = next;
    }
    pthread_mutex_unlock(&lock);
}

API CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    ENTER("cuModuleLoadData");
    if (soft_forbidden())
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (!is_image(image))
        return CUDA_ERROR_INVALID_IMAGE;
    *module = calloc(1, sizeof **module);
    return *module ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    ENTER("cuModuleGetFunction");
    const struct softcuda_kernel *kernel = find_kernel(name);
    if (!kernel)
        return CUDA_ERROR_NOT_FOUND;
    *function = (CUfunction) make(&module->functions, kernel, SOFT_FUNCTION);
    return *function ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult unload_module(CUmodule module)
{
    ENTER("cuModuleUnload");
    soft_drain_all(soft_context(), false);
    recycle(module->functions);
    free(module);
    return CUDA_SUCCESS;
}

API CUresult cuModuleUnload(CUmodule module)
{
    cuModuleUnload_params params = {module};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuModuleUnload, __func__, &params, NULL, unload_module(module));
}

API CUresult cuLibraryLoadData(CUlibrary *library, const void *image, CUjit_option *jit, void **jit_values,
                               unsigned jit_count, CUlibraryOption *options, void **values, unsigned count)
{
    ENTER("cuLibraryLoadData");
    (void) jit, (void) jit_values, (void) jit_count, (void) options, (void) values, (void) count;
    if (!is_image(image))
        return CUDA_ERROR_INVALID_IMAGE;
    *library = calloc(1, sizeof **library);
    return *library ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    ENTER("cuLibraryGetKernel");
    const struct softcuda_kernel *found = find_kernel(name);
    if (!found)
        return CUDA_ERROR_NOT_FOUND;
    *kernel = (CUkernel) make(&library->functions, found, SOFT_KERNEL);
    return *kernel ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult unload_library(CUlibrary library)
{
    ENTER("cuLibraryUnload");
    soft_drain_all(soft_context(), false);
    recycle(library->functions);
    free(library);
    return CUDA_SUCCESS;
}

API CUresult cuLibraryUnload(CUlibrary library)
{
    cuLibraryUnload_params params = {library};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuLibraryUnload, __func__, &params, NULL, unload_library(library));
}

static CUresult name_of(const void *handle, unsigned magic, const char **name)
{
    const struct soft_function *function = handle;
    if (!function || function->magic != magic)
        return CUDA_ERROR_INVALID_HANDLE; /* a CUkernel in a CUfunction's place: only launches take it */
    *name = function->kernel->name;
    return CUDA_SUCCESS;
}

static CUresult param_of(const void *handle, unsigned magic, size_t index, size_t *offset, size_t *size)
{
    const struct soft_function *function = handle;
    if (!function || function->magic != magic)
        return CUDA_ERROR_INVALID_HANDLE;
    if (index >= function->kernel->param_count)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = function->kernel->params[index].offset;
    if (size)
        *size = function->kernel->params[index].size;
    return CUDA_SUCCESS;
}

API CUresult cuFuncGetName(const char **name, CUfunction function)
{
    ENTER("cuFuncGetName");
    return name_of(function, SOFT_FUNCTION, name);
}

API CUresult cuKernelGetName(const char **name, CUkernel kernel)
{
    ENTER("cuKernelGetName");
    return name_of(kernel, SOFT_KERNEL, name);
}

API CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t *offset, size_t *size)
{
    ENTER("cuFuncGetParamInfo");
    return param_of(function, SOFT_FUNCTION, index, offset, size);
}

API CUresult cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *size)
{
    ENTER("cuKernelGetParamInfo");
    return param_of(kernel, SOFT_KERNEL, index, offset, size);
}
