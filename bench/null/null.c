/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libcuda whose calls do nothing and return at once, for bench/hook.c: what is left of a launch is moetap's part. As
 * much of the driver as the shim asks for; a CUfunction is a struct null_kernel.
 */
#include "null.h"

#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))

static CUcontext current = (CUcontext) &current;

API CUresult cuInit(unsigned flags)
{
    return CUDA_SUCCESS;
}
API CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                            unsigned shared, CUstream stream, void **params, void **extra)
{
    return CUDA_SUCCESS;
}
API __typeof__(cuLaunchKernel) *null_launch(void)
{
    return cuLaunchKernel;
}
API CUresult cuCtxGetCurrent(CUcontext *context)
{
    *context = current;
    return CUDA_SUCCESS;
}
API CUresult cuCtxGetDevice(CUdevice *device)
{
    *device = 0;
    return CUDA_SUCCESS;
}
API CUresult cuCtxPushCurrent_v2(CUcontext context)
{
    return CUDA_SUCCESS;
}
API CUresult cuCtxPopCurrent_v2(CUcontext *context)
{
    return CUDA_SUCCESS;
}
API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    *flags = 0;
    *active = 1;
    return CUDA_SUCCESS;
}
API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    *context = current;
    return CUDA_SUCCESS;
}
API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    return CUDA_SUCCESS;
}
API CUresult cuDeviceGetName(char *name, int size, CUdevice device)
{
    strncpy(name, "driver that does nothing", (size_t) size);
    return CUDA_SUCCESS;
}
API CUresult cuDriverGetVersion(int *version)
{
    *version = 13000;
    return CUDA_SUCCESS;
}
API CUresult cuGetErrorName(CUresult error, const char **name)
{
    *name = "CUDA_ERROR";
    return CUDA_SUCCESS;
}
API CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size)
{
    *address = (CUdeviceptr) (uintptr_t) calloc(1, size);
    return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
API CUresult cuMemFree_v2(CUdeviceptr address)
{
    free((void *) (uintptr_t) address);
    return CUDA_SUCCESS;
}
API CUresult cuMemHostRegister_v2(void *memory, size_t size, unsigned flags)
{
    return CUDA_SUCCESS;
}
API CUresult cuMemHostUnregister(void *memory)
{
    return CUDA_SUCCESS;
}
API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *memory, unsigned flags)
{
    *address = (CUdeviceptr) (uintptr_t) memory;
    return CUDA_SUCCESS;
}
API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    return CUDA_SUCCESS;
}
API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t size, CUstream stream)
{
    return CUDA_SUCCESS;
}
API CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    *module = (CUmodule) &current;
    return CUDA_SUCCESS;
}
API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    static struct null_kernel tap = {"moetap", 0, {0}};
    *function = (CUfunction) &tap;
    return CUDA_SUCCESS;
}
/* Engines' buffers lie in pools. */
API CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address)
{
    enum { POOL = 1 << 30 };
    if (attribute == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR)
        *(CUdeviceptr *) data = address - address % POOL;
    else if (attribute == CU_POINTER_ATTRIBUTE_RANGE_SIZE)
        *(size_t *) data = POOL;
    else
        *(unsigned *) data = CU_MEMORYTYPE_DEVICE;
    return CUDA_SUCCESS;
}
API CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    *stream = (CUstream) &current;
    return CUDA_SUCCESS;
}
API CUresult cuStreamDestroy_v2(CUstream stream)
{
    return CUDA_SUCCESS;
}
API CUresult cuStreamSynchronize(CUstream stream)
{
    return CUDA_SUCCESS;
}
API CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
}
API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    return CUDA_SUCCESS;
}
API CUresult cuFuncGetName(const char **name, CUfunction function)
{
    *name = ((const struct null_kernel *) function)->name;
    return CUDA_SUCCESS;
}
API CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t *offset, size_t *size)
{
    const struct null_kernel *kernel = (const struct null_kernel *) function;
    if (index >= kernel->count)
        return CUDA_ERROR_INVALID_VALUE;
    size_t end = 0;
    for (size_t i = 0; i <= index; i++) {
        size_t align = kernel->sizes[i] % 8 == 0 ? 8 : kernel->sizes[i] % 4 == 0 ? 4 : 1;
        *offset = (end + align - 1) / align * align;
        end = *offset + kernel->sizes[i];
    }
    *size = kernel->sizes[index];
    return CUDA_SUCCESS;
}
