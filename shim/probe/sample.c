/* SPDX-License-Identifier: Apache-2.0 */
#include "sample.h"

#include "../hook/driver.h"
#include "../log.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS 1000000000ull

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

bool mt_stream_captures(CUstream stream)
{
    CUstreamCaptureStatus status;
    return mt_driver.cuStreamIsCapturing(stream, &status) != CUDA_SUCCESS || status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* No plain synchronise: see mt_sample_read(). */
static bool wait_for(CUstream stream)
{
    uint64_t until = now_ns() + PATIENCE_NS;
    CUresult result;
    while ((result = mt_driver.cuStreamQuery(stream)) == CUDA_ERROR_NOT_READY && now_ns() < until)
        usleep(20);
    return result == CUDA_SUCCESS;
}

void mt_sample_begin(struct mt_sample *sample, const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    sample->function = launch->function;
    sample->stream = launch->stream;
    sample->kernel = kernel;
    sample->count = 0;
    memset(sample->params, 0, sizeof sample->params);
    sample->bytes = mt_kernel_copy_params(kernel, launch, sample->params, sizeof sample->params);
}

/* Bytes of the window behind an address of device memory; 0: it is none. */
static uint32_t room_behind(uint64_t address)
{
    unsigned type = 0;
    CUdeviceptr start = 0;
    size_t size = 0;
    if (address < 4096 || address >> 48 ||
        mt_driver.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address) != CUDA_SUCCESS ||
        type != CU_MEMORYTYPE_DEVICE ||
        mt_driver.cuPointerGetAttribute(&start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, address) != CUDA_SUCCESS ||
        mt_driver.cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, address) != CUDA_SUCCESS ||
        address < start || address - start >= size)
        return 0;
    uint64_t room = size - (address - start);
    return room < MT_PROBE_WINDOW ? (uint32_t) room : MT_PROBE_WINDOW;
}

/* It ends where the next pointer begins. */
static void bound(const struct mt_sample *sample, struct mt_region *region)
{
    for (uint32_t w = 0; w < sample->bytes / 8; w++) {
        uint64_t other = sample->params[w];
        if (other > region->address && other - region->address < region->size)
            region->size = (uint32_t) (other - region->address);
    }
}

struct mt_region *mt_sample_add(struct mt_sample *sample, uint32_t offset, uint64_t address)
{
    for (unsigned i = 0; i < sample->count; i++) {
        if (sample->regions[i].address == address)
            return &sample->regions[i];
    }
    uint32_t room = sample->count < MT_PROBE_REGIONS ? room_behind(address) : 0;
    if (!room)
        return NULL;
    unsigned char *memory = sample->memory + 2 * MT_PROBE_WINDOW * sample->count;
    struct mt_region *region = &sample->regions[sample->count++];
    *region = (struct mt_region){offset, room, address, memory, memory + MT_PROBE_WINDOW};
    bound(sample, region);
    return region;
}

/* Pointers that the kernel may write through, in parameters (`begin`) or further inside of them. */
static void add_pointers(struct mt_sample *sample, bool begin)
{
    const struct mt_kernel *kernel = sample->kernel;
    for (unsigned i = 0; i < kernel->param_count; i++) {
        uint32_t start = kernel->param[i].offset, end = start + kernel->param[i].size;
        if ((kernel->info->const_pointers >> i & 1) || start % 8)
            continue;
        if (begin && start + 8 <= end && start + 8 <= sample->bytes)
            mt_sample_add(sample, start, sample->params[start / 8]);
        for (uint32_t at = start + 8; !begin && at + 8 <= end && at + 8 <= sample->bytes; at += 8)
            mt_sample_add(sample, at, sample->params[at / 8]);
    }
}

void mt_sample_add_all(struct mt_sample *sample)
{
    add_pointers(sample, true); /* first: the rest of a struct may hold left-over copies of the same addresses */
    add_pointers(sample, false);
}

bool mt_sample_read(struct mt_sample *sample, bool behind)
{
    /* Some other stream may be capturing in a mode that forbids waits and copies meanwhile: ours are none of its
     * business. */
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    if (mt_driver.cuThreadExchangeStreamCaptureMode(&mode) != CUDA_SUCCESS)
        return false;
    bool idle = wait_for(sample->stream);
    for (unsigned i = 0; idle && i < sample->count; i++) {
        struct mt_region *region = &sample->regions[i];
        if (region->size && mt_driver.cuMemcpyDtoHAsync_v2(behind ? region->is : region->was, region->address,
                                                           region->size, sample->stream) != CUDA_SUCCESS)
            region->size = 0;
    }
    bool read = idle && wait_for(sample->stream);
    if (mt_driver.cuThreadExchangeStreamCaptureMode(&mode) != CUDA_SUCCESS)
        mt_log_once(MT_LOG_PROBLEM, "the thread's capture mode could not be restored");
    return read;
}
