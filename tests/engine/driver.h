/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's way to the CUDA driver: the calls that it makes, behind one of the three doors that real engines use. */
#ifndef MOE_DEMO_DRIVER_H
#define MOE_DEMO_DRIVER_H

#include <cuda.h>

/* X(field, exported name, base name, version) */
#define MOE_DEMO_CALLS(X)                                                                                              \
    X(Init, cuInit, "cuInit", 2000)                                                                                    \
    X(DeviceGetCount, cuDeviceGetCount, "cuDeviceGetCount", 2000)                                                      \
    X(DeviceGet, cuDeviceGet, "cuDeviceGet", 2000)                                                                     \
    X(DeviceGetName, cuDeviceGetName, "cuDeviceGetName", 2000)                                                         \
    X(PrimaryCtxRetain, cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", 7000)                                    \
    X(CtxSetCurrent, cuCtxSetCurrent, "cuCtxSetCurrent", 4000)                                                         \
    X(MemAlloc, cuMemAlloc_v2, "cuMemAlloc", 3020)                                                                     \
    X(MemcpyHtoD, cuMemcpyHtoD_v2, "cuMemcpyHtoD", 3020)                                                               \
    X(MemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, "cuMemcpyDtoHAsync", 3020)                                                \
    X(MemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, "cuMemcpyDtoDAsync", 3020)                                                \
    X(ModuleLoadData, cuModuleLoadData, "cuModuleLoadData", 2000)                                                      \
    X(ModuleGetFunction, cuModuleGetFunction, "cuModuleGetFunction", 2000)                                             \
    X(LaunchKernel, cuLaunchKernel, "cuLaunchKernel", 4000)                                                            \
    X(LaunchKernelEx, cuLaunchKernelEx, "cuLaunchKernelEx", 11060)                                                     \
    X(StreamCreate, cuStreamCreate, "cuStreamCreate", 2000)                                                            \
    X(StreamSynchronize, cuStreamSynchronize, "cuStreamSynchronize", 2000)                                             \
    X(StreamBeginCapture, cuStreamBeginCapture_v2, "cuStreamBeginCapture", 10010)                                      \
    X(StreamEndCapture, cuStreamEndCapture, "cuStreamEndCapture", 10000)                                               \
    X(GraphInstantiate, cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags", 11040)                             \
    X(GraphLaunch, cuGraphLaunch, "cuGraphLaunch", 10000)                                                              \
    X(GraphExecUpdate, cuGraphExecUpdate_v2, "cuGraphExecUpdate", 12000)                                               \
    X(EventCreate, cuEventCreate, "cuEventCreate", 2000)                                                               \
    X(EventRecord, cuEventRecord, "cuEventRecord", 2000)                                                               \
    X(StreamWaitEvent, cuStreamWaitEvent, "cuStreamWaitEvent", 3020)                                                   \
    X(GetErrorName, cuGetErrorName, "cuGetErrorName", 6000)

struct cuda {
#define FIELD(field, symbol, base, version) __typeof__(&(symbol)) field;
    MOE_DEMO_CALLS(FIELD)
#undef FIELD
};

/*
 * door: "dlsym", "getproc" (cuGetProcAddress, as the CUDA runtime does) or "direct" (linked). Takes the system's
 * libcuda.so.1 if it works, else `fallback`. NULL, or what went wrong.
 */
const char *cuda_open(struct cuda *cuda, const char *door, const char *fallback);

#endif
