/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver as we call it ourselves: entry points of the very libcuda that the engine uses, taken from that library
 * and not from the public names, which are hooked.
 */
#ifndef MOETAP_SHIM_HOOK_DRIVER_H
#define MOETAP_SHIM_HOOK_DRIVER_H

#include <cuda.h>
#include <stdbool.h>

/* Without these nothing can be tapped. */
#define MT_DRIVER_REQUIRED(X)                                                                                          \
    X(cuLaunchKernel)                                                                                                  \
    X(cuCtxGetCurrent)                                                                                                 \
    X(cuCtxGetDevice)                                                                                                  \
    X(cuCtxPushCurrent_v2)                                                                                             \
    X(cuCtxPopCurrent_v2)                                                                                              \
    X(cuDevicePrimaryCtxGetState)                                                                                      \
    X(cuDevicePrimaryCtxRetain)                                                                                        \
    X(cuDevicePrimaryCtxRelease_v2)                                                                                    \
    X(cuDeviceGetName)                                                                                                 \
    X(cuDriverGetVersion)                                                                                              \
    X(cuGetErrorName)                                                                                                  \
    X(cuMemAlloc_v2)                                                                                                   \
    X(cuMemFree_v2)                                                                                                    \
    X(cuMemHostRegister_v2)                                                                                            \
    X(cuMemHostUnregister)                                                                                             \
    X(cuMemHostGetDevicePointer_v2)                                                                                    \
    X(cuMemcpyHtoDAsync_v2)                                                                                            \
    X(cuMemsetD8Async)                                                                                                 \
    X(cuModuleLoadData)                                                                                                \
    X(cuModuleGetFunction)                                                                                             \
    X(cuPointerGetAttribute)                                                                                           \
    X(cuStreamCreate)                                                                                                  \
    X(cuStreamDestroy_v2)                                                                                              \
    X(cuStreamSynchronize)                                                                                             \
    X(cuStreamIsCapturing)                                                                                             \
    X(cuThreadExchangeStreamCaptureMode)

/* NULL on drivers before 12.4: kernels' names and parameter layouts cannot be asked for, taps of graphs go in line. The
 * first two: only probing needs them. */
#define MT_DRIVER_OPTIONAL(X)                                                                                          \
    X(cuMemcpyDtoHAsync_v2)                                                                                            \
    X(cuStreamQuery)                                                                                                   \
    X(cuFuncGetName)                                                                                                   \
    X(cuKernelGetName)                                                                                                 \
    X(cuFuncGetParamInfo)                                                                                              \
    X(cuKernelGetParamInfo)                                                                                            \
    X(cuStreamGetCaptureInfo_v3)                                                                                       \
    X(cuStreamUpdateCaptureDependencies_v2)                                                                            \
    X(cuGraphAddKernelNode_v2)                                                                                         \
    X(cuGraphAddDependencies_v2)                                                                                       \
    X(cuGraphNodeGetDependencies_v2)                                                                                   \
    X(cuGraphNodeGetDependentNodes_v2)

struct mt_driver {
#define MT_DRIVER_FIELD(name) __typeof__(&(name)) name;
    MT_DRIVER_REQUIRED(MT_DRIVER_FIELD)
    MT_DRIVER_OPTIONAL(MT_DRIVER_FIELD)
#undef MT_DRIVER_FIELD
};

extern struct mt_driver mt_driver;

/* `library`: a handle of libcuda. False with the missing name if it lacks a required entry point. */
bool mt_driver_resolve(void *library, void *(*resolve)(void *, const char *), const char **missing);

/* "CUDA_ERROR_..." */
const char *mt_driver_error(CUresult result);

#endif
