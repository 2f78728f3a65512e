/* SPDX-License-Identifier: Apache-2.0 */
/* The driver as the engine uses it: memory, launches, and an end with a line where it fails. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>

struct cuda cuda;

void device_check(CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS)
        return;
    const char *name = NULL;
    if (!cuda.GetErrorName || cuda.GetErrorName(result, &name) != CUDA_SUCCESS || !name)
        name = "unknown error";
    fprintf(stderr, "moe-demo: %s: %s\n", what, name);
    exit(1);
}

void *must(void *memory)
{
    if (!memory) {
        fputs("moe-demo: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

CUdeviceptr device_alloc(size_t size)
{
    CUdeviceptr address;
    CHECK(cuda.MemAlloc(&address, size));
    return address;
}

void launch_grid(CUstream stream, CUfunction kernel, unsigned blocks, unsigned columns, void **params)
{
    CUlaunchAttribute overlap = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                 .value = {.programmaticStreamSerializationAllowed = 1}};
    const CUlaunchConfig config = {.gridDimX = blocks,
                                   .gridDimY = columns,
                                   .gridDimZ = 1,
                                   .blockDimX = MOE_DEMO_THREADS,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .hStream = stream,
                                   .attrs = &overlap,
                                   .numAttrs = 1};
    if (options.pdl)
        CHECK(cuda.LaunchKernelEx(&config, kernel, params, NULL));
    else
        CHECK(cuda.LaunchKernel(kernel, blocks, columns, 1, MOE_DEMO_THREADS, 1, 1, 0, stream, params, NULL));
}

void launch_on(CUstream stream, CUfunction kernel, unsigned blocks, void **params)
{
    launch_grid(stream, kernel, blocks, 1, params);
}

void launch(CUfunction kernel, unsigned blocks, struct batch *batch, void **params)
{
    launch_on(batch->stream, kernel, blocks, params);
}

void launch_flat(CUstream stream, CUfunction kernel, void **params)
{
    launch_on(stream, kernel, ((unsigned) ids_per_layer() + MOE_DEMO_THREADS - 1) / MOE_DEMO_THREADS, params);
}
