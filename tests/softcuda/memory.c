/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory is the process's own; copies wait their turn on a stream. */
#include "device.h"

#include "callbacks.h"

#include <stdlib.h>
#include <string.h>

static struct block {
    char *base;
    size_t size;
    CUmemorytype type;
    CUcontext context;
    struct block *next;
} * blocks;
static pthread_mutex_t blocks_lock = PTHREAD_MUTEX_INITIALIZER;

static bool remember(void *base, size_t size, CUmemorytype type)
{
    struct block *block = malloc(sizeof *block);
    if (!block)
        return false;
    pthread_mutex_lock(&blocks_lock);
    *block = (struct block){base, size, type, soft_context(), blocks};
    blocks = block;
    pthread_mutex_unlock(&blocks_lock);
    return true;
}

static bool forget(void *base, CUmemorytype type)
{
    pthread_mutex_lock(&blocks_lock);
    struct block **at = &blocks;
    while (*at && !((*at)->base == base && (*at)->type == type))
        at = &(*at)->next;
    struct block *found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&blocks_lock);
    free(found);
    return found != NULL;
}

static bool known(const void *address, CUmemorytype type)
{
    bool found = false;
    pthread_mutex_lock(&blocks_lock);
    for (struct block *b = blocks; b && !found; b = b->next)
        found = b->type == type && (const char *) address >= b->base && (const char *) address < b->base + b->size;
    pthread_mutex_unlock(&blocks_lock);
    return found;
}

void soft_forget_all(CUcontext context)
{
    pthread_mutex_lock(&blocks_lock);
    for (struct block **at = &blocks; *at;) {
        struct block *block = *at;
        if (block->context != context) {
            at = &block->next;
            continue;
        }
        *at = block->next;
        if (block->type == CU_MEMORYTYPE_DEVICE)
            free(block->base);
        free(block);
    }
    pthread_mutex_unlock(&blocks_lock);
}

API CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size)
{
    ENTER("cuMemAlloc_v2");
    if (soft_current_device() < 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (soft_forbidden())
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    void *memory = NULL;
    if (!size || posix_memalign(&memory, 512, size))
        return size ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
    memset(memory, 0xa5, size); /* nobody may count on zeroes */
    if (!remember(memory, size, CU_MEMORYTYPE_DEVICE)) {
        free(memory);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *address = (CUdeviceptr) (uintptr_t) memory;
    return CUDA_SUCCESS;
}

API CUresult cuMemFree_v2(CUdeviceptr address)
{
    ENTER("cuMemFree_v2");
    if (!address)
        return CUDA_SUCCESS;
    if (soft_forbidden())
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    soft_drain_all(soft_context(), false);
    if (!forget((void *) (uintptr_t) address, CU_MEMORYTYPE_DEVICE))
        return CUDA_ERROR_INVALID_VALUE;
    free((void *) (uintptr_t) address);
    return CUDA_SUCCESS;
}

API CUresult cuMemHostRegister_v2(void *memory, size_t size, unsigned flags)
{
    ENTER("cuMemHostRegister_v2");
    (void) flags;
    if (soft_forbidden())
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (((uintptr_t) memory | size) & 4095)
        return CUDA_ERROR_INVALID_VALUE;
    if (soft_current_device() < 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (known(memory, CU_MEMORYTYPE_HOST))
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    return remember(memory, size, CU_MEMORYTYPE_HOST) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuMemHostUnregister(void *memory)
{
    ENTER("cuMemHostUnregister");
    return forget(memory, CU_MEMORYTYPE_HOST) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *memory, unsigned flags)
{
    ENTER("cuMemHostGetDevicePointer_v2");
    (void) flags;
    if (!known(memory, CU_MEMORYTYPE_HOST))
        return CUDA_ERROR_INVALID_VALUE;
    *address = (CUdeviceptr) (uintptr_t) memory;
    return CUDA_SUCCESS;
}

API CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address)
{
    ENTER("cuPointerGetAttribute");
    struct block found = {0};
    pthread_mutex_lock(&blocks_lock);
    for (struct block *b = blocks; b && !found.base; b = b->next) {
        if ((char *) (uintptr_t) address >= b->base && (char *) (uintptr_t) address < b->base + b->size)
            found = *b;
    }
    pthread_mutex_unlock(&blocks_lock);
    if (!found.base)
        return CUDA_ERROR_INVALID_VALUE;
    if (attribute == CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
        *(unsigned *) data = found.type;
    else if (attribute == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR)
        *(CUdeviceptr *) data = (CUdeviceptr) (uintptr_t) found.base;
    else if (attribute == CU_POINTER_ATTRIBUTE_RANGE_SIZE)
        *(size_t *) data = found.size;
    else
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

static CUresult copy(const char *name, uintptr_t to, uintptr_t from, size_t size, CUstream stream, bool per_thread,
                     bool wait)
{
    ENTER(name);
    const struct soft_op op = {.kind = OP_COPY, .to = (void *) to, .from = (const void *) from, .size = size};
    CUstream s = soft_stream(stream, per_thread);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    if (wait && soft_forbidden())
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    CUresult result = soft_submit(s, &op);
    if (result == CUDA_SUCCESS && wait)
        soft_drain(s);
    return result;
}

API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size)
{
    return copy(__func__, to, (uintptr_t) from, size, NULL, false, true);
}

API CUresult cuMemcpyHtoD_v2_ptds(CUdeviceptr to, const void *from, size_t size)
{
    return copy(__func__, to, (uintptr_t) from, size, NULL, true, true);
}

API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    return copy(__func__, to, (uintptr_t) from, size, stream, false, false);
}

API CUresult cuMemcpyHtoDAsync_v2_ptsz(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    return copy(__func__, to, (uintptr_t) from, size, stream, true, false);
}

#define TO_HOST(symbol, per_thread)                                                                                    \
    API CUresult symbol(void *to, CUdeviceptr from, size_t size)                                                       \
    {                                                                                                                  \
        cuMemcpyDtoH_v2_params params = {to, from, size};                                                              \
        TRACED(CUPTI_DRIVER_TRACE_CBID_##symbol, #symbol, &params, NULL,                                               \
               copy(#symbol, (uintptr_t) to, from, size, NULL, per_thread, true));                                     \
    }
TO_HOST(cuMemcpyDtoH_v2, false)
TO_HOST(cuMemcpyDtoH_v2_ptds, true)

#define TO_HOST_ASYNC(symbol, per_thread)                                                                              \
    API CUresult symbol(void *to, CUdeviceptr from, size_t size, CUstream stream)                                      \
    {                                                                                                                  \
        cuMemcpyDtoHAsync_v2_params params = {to, from, size, stream};                                                 \
        TRACED(CUPTI_DRIVER_TRACE_CBID_##symbol, #symbol, &params, NULL,                                               \
               copy(#symbol, (uintptr_t) to, from, size, stream, per_thread, false));                                  \
    }
TO_HOST_ASYNC(cuMemcpyDtoHAsync_v2, false)
TO_HOST_ASYNC(cuMemcpyDtoHAsync_v2_ptsz, true)

#define ON_DEVICE_ASYNC(symbol, per_thread)                                                                            \
    API CUresult symbol(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)                                \
    {                                                                                                                  \
        cuMemcpyDtoDAsync_v2_params params = {to, from, size, stream};                                                 \
        TRACED(CUPTI_DRIVER_TRACE_CBID_##symbol, #symbol, &params, NULL,                                               \
               copy(#symbol, to, from, size, stream, per_thread, false));                                              \
    }
ON_DEVICE_ASYNC(cuMemcpyDtoDAsync_v2, false)
ON_DEVICE_ASYNC(cuMemcpyDtoDAsync_v2_ptsz, true)
ON_DEVICE_ASYNC(cuMemcpyAsync, false)
ON_DEVICE_ASYNC(cuMemcpyAsync_ptsz, true)

static CUresult set(const char *name, CUdeviceptr to, unsigned char value, size_t size, CUstream stream,
                    bool per_thread)
{
    ENTER(name);
    const struct soft_op op = {.kind = OP_SET, .to = (void *) (uintptr_t) to, .value = value, .size = size};
    CUstream s = soft_stream(stream, per_thread);
    return s ? soft_submit(s, &op) : CUDA_ERROR_INVALID_HANDLE;
}

API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t size, CUstream stream)
{
    return set(__func__, to, value, size, stream, false);
}

API CUresult cuMemsetD8Async_ptsz(CUdeviceptr to, unsigned char value, size_t size, CUstream stream)
{
    return set(__func__, to, value, size, stream, true);
}
