/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include "../hook/driver.h"
#include "../log.h"
#include "tap.h"
#include "kv_indices.h"
#include "image.h"
#include "reach.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define RING_SIZE_SMALL (1u << 20)
#define SCRATCH_EAGER 16384u      /* more than launches in flight, so that two running taps never share one */
#define SLAB (1u << 20)           /* bytes of memory for graph nodes, each of which keeps its own */
#define POSITIONS_MAX (1u << 20)  /* rows of a pass */
#define KV_INDICES_MAX (1u << 24) /* slots listed in a pass; of more none is told */

struct mt_tap_state {
    struct mt_tap_state *next;
    CUcontext context; /* NULL once it is gone */
    CUdevice device;
    bool primary;
    bool off; /* something failed: said once, taps are off here */
    struct mt_segment segment;
    bool has_segment;
    CUmodule module;
    struct kernels {
        CUfunction tap, stage, write;
    } plain, weighted; /* weighted: only where weights are wanted */
    CUfunction blocks, kv_indices;
    CUdeviceptr producer;
    CUdeviceptr scratch_eager;
    CUdeviceptr kv_seen; /* [MT_KV_SEEN] */
    uint32_t next_eager;
    pthread_mutex_t lock; /* what follows */
    CUdeviceptr slab;
    size_t slab_used, slab_size;
    size_t staged; /* bytes of stages given to nodes */
    struct node_memory {
        uint64_t ids, size;
        uint32_t site, rows, occurrence;
        CUdeviceptr stage, scratch;
    } * memories;
    size_t memory_count, memory_room;
};

static struct mt_tap_state *states; /* list, newest first: those that are gone come last. Never freed */
static pthread_mutex_t states_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mt_tap_settings settings;

void mt_tap_configure(const struct mt_tap_settings *s)
{
    settings = *s;
}

bool mt_tap_weights_wanted(void)
{
    return settings.weights;
}

struct mt_segment *mt_tap_segment(struct mt_tap_state *state)
{
    return &state->segment;
}

/* The step of the set-up and what the driver said of it; the engine goes on without us. */
static bool failed(CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS)
        return false;
    mt_log(MT_LOG_PROBLEM, "%s failed (%s): nothing is captured in this context, the engine goes on", what,
           mt_driver_error(result));
    return true;
}

/* Zeroed device memory, on a stream of our own: the legacy stream may be forbidden ground during a capture. */
static CUresult alloc_zeroed(CUdeviceptr *address, size_t size, CUstream stream)
{
    CUresult result = mt_driver.cuMemAlloc_v2(address, size);
    if (result != CUDA_SUCCESS)
        return result;
    result = mt_driver.cuMemsetD8Async(*address, 0, size, stream);
    if (result == CUDA_SUCCESS)
        result = mt_driver.cuStreamSynchronize(stream);
    if (result != CUDA_SUCCESS) {
        CUresult ignored = mt_driver.cuMemFree_v2(*address);
        (void) ignored;
        *address = 0;
    }
    return result;
}

static bool make_producer(struct mt_tap_state *state, CUstream stream)
{
    struct mt_segment *segment = &state->segment;
    const struct mt_header *header = segment->header;
    CUdeviceptr base = 0, steps = 0;
    if (failed(mt_driver.cuMemHostRegister_v2(segment->base, header->segment_size,
                                              CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP),
               "cuMemHostRegister of the ring") ||
        failed(mt_driver.cuMemHostGetDevicePointer_v2(&base, segment->base, 0), "cuMemHostGetDevicePointer") ||
        failed(alloc_zeroed(&steps, MT_SITES_MAX * sizeof(uint64_t), stream), "cuMemAlloc") ||
        failed(alloc_zeroed(&state->producer, sizeof(struct mt_producer), stream), "cuMemAlloc") ||
        failed(alloc_zeroed(&state->scratch_eager, SCRATCH_EAGER * sizeof(struct mt_tap_scratch), stream),
               "cuMemAlloc") ||
        failed(alloc_zeroed(&state->kv_seen, MT_KV_SEEN * sizeof(struct mt_kv_seen), stream), "cuMemAlloc"))
        return false;
    struct mt_producer producer = {
        .ring = (uint8_t *) (uintptr_t) (base + header->ring_offset),
        .ring_size = header->ring_size,
        .nonce = header->nonce,
        .counters = (struct mt_counters *) (uintptr_t) (base + header->counters_offset),
        .consumer = (const struct mt_consumer *) (uintptr_t) (base + header->consumer_offset),
        .steps = (uint64_t *) (uintptr_t) steps,
        .wait_ns = settings.wait_ns,
    };
    return !failed(mt_driver.cuMemcpyHtoDAsync_v2(state->producer, &producer, sizeof producer, stream),
                   "cuMemcpyHtoD") &&
           !failed(mt_driver.cuStreamSynchronize(stream), "cuStreamSynchronize");
}

/* The driver has no question for it: retain the device's primary context for a moment and compare. */
static bool is_primary(CUcontext context, CUdevice device)
{
    unsigned flags;
    int active = 0;
    CUcontext primary = NULL;
    if (mt_driver.cuDevicePrimaryCtxGetState(device, &flags, &active) != CUDA_SUCCESS || !active ||
        mt_driver.cuDevicePrimaryCtxRetain(&primary, device) != CUDA_SUCCESS)
        return false;
    return mt_driver.cuDevicePrimaryCtxRelease_v2(device) == CUDA_SUCCESS && primary == context;
}

/* A container may have little shared memory, and the engine's ranks need some of it to talk to each other. */
static uint64_t usual_ring_size(void)
{
    uint64_t size = MT_RING_SIZE_DEFAULT;
    struct statvfs folder;
    if (statvfs(mt_shm_dir(), &folder) != 0 || folder.f_blocks == 0)
        return size;
    const uint64_t spare = (uint64_t) folder.f_bavail * folder.f_frsize;
    while (size > spare / 4 && size > RING_SIZE_SMALL)
        size /= 2;
    if (size < MT_RING_SIZE_DEFAULT)
        mt_log(MT_LOG_PROBLEM, "%s has %llu KiB free: a ring of %llu KiB instead of %u (--ring-size asks for another)",
               mt_shm_dir(), (unsigned long long) spare >> 10, (unsigned long long) size >> 10,
               MT_RING_SIZE_DEFAULT >> 10);
    return size;
}

static bool make_segment(struct mt_tap_state *state)
{
    CUdevice device;
    char name[64] = "";
    if (failed(mt_driver.cuCtxGetDevice(&device), "cuCtxGetDevice") ||
        failed(mt_driver.cuDeviceGetName(name, sizeof name, device), "cuDeviceGetName"))
        return false;
    state->device = device;
    state->primary = is_primary(state->context, device);
    struct mt_error note = {""}, error = {""};
    const uint64_t ring_size = settings.ring_size ? settings.ring_size : usual_ring_size();
    int result = mt_segment_create(&state->segment, settings.session, (int) device, name, ring_size, settings.weights,
                                   &note, &error);
    if (note.text[0])
        mt_log(MT_LOG_PROBLEM, "%s", note.text);
    if (result < 0) {
        mt_log(MT_LOG_PROBLEM, "%s; nothing is captured on device %d, the engine goes on", error.text, (int) device);
        return false;
    }
    state->has_segment = true;
    mt_log(MT_LOG_EXPLAIN, "device %d (%s) writes to %s", (int) device, name, state->segment.path);
    return true;
}

static bool find_kernels(CUmodule module, const char *tap, const char *stage, const char *write,
                         struct kernels *kernels)
{
    return !failed(mt_driver.cuModuleGetFunction(&kernels->tap, module, tap), "cuModuleGetFunction") &&
           !failed(mt_driver.cuModuleGetFunction(&kernels->stage, module, stage), "cuModuleGetFunction") &&
           !failed(mt_driver.cuModuleGetFunction(&kernels->write, module, write), "cuModuleGetFunction");
}

static bool make(struct mt_tap_state *state)
{
    /* The engine may be capturing on some stream right now: our set-up must neither break that nor be refused. */
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    if (failed(mt_driver.cuThreadExchangeStreamCaptureMode(&mode), "cuThreadExchangeStreamCaptureMode"))
        return false;
    CUstream stream = NULL;
    bool made = make_segment(state) &&
                !failed(mt_driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate") &&
                !failed(mt_driver.cuModuleLoadData(&state->module, mt_tap_image), "loading the tap kernel") &&
                find_kernels(state->module, MT_TAP_KERNEL, MT_STAGE_KERNEL, MT_WRITE_KERNEL, &state->plain) &&
                (!settings.weights || find_kernels(state->module, MT_TAP_WEIGHTED_KERNEL, MT_STAGE_WEIGHTED_KERNEL,
                                                   MT_WRITE_WEIGHTED_KERNEL, &state->weighted)) &&
                !failed(mt_driver.cuModuleGetFunction(&state->blocks, state->module, MT_BLOCKS_KERNEL),
                        "cuModuleGetFunction") &&
                !failed(mt_driver.cuModuleGetFunction(&state->kv_indices, state->module, MT_KV_INDICES_KERNEL),
                        "cuModuleGetFunction") &&
                make_producer(state, stream);
    if (stream)
        failed(mt_driver.cuStreamDestroy_v2(stream), "cuStreamDestroy");
    failed(mt_driver.cuThreadExchangeStreamCaptureMode(&mode), "cuThreadExchangeStreamCaptureMode");
    if (!made && state->has_segment) {
        /* Nobody will ever write there: not a segment that a reader should wait on. */
        if (mt_driver.cuMemHostUnregister(state->segment.base) != CUDA_SUCCESS)
            mt_log(MT_LOG_EXPLAIN, "the ring was not registered");
        mt_segment_destroy(&state->segment, true);
        state->has_segment = false;
    }
    return made;
}

static struct mt_tap_state *find(CUcontext context)
{
    struct mt_tap_state *state = __atomic_load_n(&states, __ATOMIC_ACQUIRE);
    while (state && __atomic_load_n(&state->context, __ATOMIC_RELAXED) != context)
        state = state->next;
    return state;
}

struct mt_tap_state *mt_tap_state_current(void)
{
    CUcontext context = NULL;
    if (mt_driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS || !context)
        return NULL;
    struct mt_tap_state *state = find(context);
    if (!state) {
        pthread_mutex_lock(&states_lock);
        state = find(context);
        if (!state && (state = calloc(1, sizeof *state))) {
            state->next = states;
            state->context = context;
            pthread_mutex_init(&state->lock, NULL);
            state->off = !make(state);
            __atomic_store_n(&states, state, __ATOMIC_RELEASE);
        }
        pthread_mutex_unlock(&states_lock);
    }
    return state && !state->off ? state : NULL;
}

/* Zeroed memory also in the midst of a capture. */
static CUdeviceptr new_slab(size_t size)
{
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    CUstream stream = NULL;
    CUdeviceptr slab = 0;
    CUresult result = mt_driver.cuThreadExchangeStreamCaptureMode(&mode);
    if (result == CUDA_SUCCESS) {
        result = mt_driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
        if (result == CUDA_SUCCESS)
            result = alloc_zeroed(&slab, size, stream);
        if (stream && mt_driver.cuStreamDestroy_v2(stream) != CUDA_SUCCESS)
            mt_log_once(MT_LOG_PROBLEM, "cuStreamDestroy failed");
        if (mt_driver.cuThreadExchangeStreamCaptureMode(&mode) != CUDA_SUCCESS)
            mt_log_once(MT_LOG_PROBLEM, "the thread's capture mode could not be restored");
    }
    if (result != CUDA_SUCCESS)
        mt_log_once(MT_LOG_PROBLEM, "no memory for the taps of a graph (%s)", mt_driver_error(result));
    return slab;
}

/* A graph's node keeps what it gets for ever: nobody tells when the last graph that holds it is gone. The state is
 * locked. */
static CUdeviceptr memory_for_node(struct mt_tap_state *state, size_t size)
{
    size = (size + 255) & ~(size_t) 255;
    if (!state->slab || size > state->slab_size - state->slab_used) {
        size_t slab_size = size > SLAB ? size : SLAB;
        CUdeviceptr slab = new_slab(slab_size);
        if (!slab)
            return 0;
        state->slab = slab;
        state->slab_size = slab_size;
        state->slab_used = 0;
    }
    CUdeviceptr memory = state->slab + state->slab_used;
    state->slab_used += size;
    return memory;
}

static CUdeviceptr scratch_for_node(struct mt_tap_state *state)
{
    pthread_mutex_lock(&state->lock);
    CUdeviceptr scratch = memory_for_node(state, sizeof(struct mt_tap_scratch));
    pthread_mutex_unlock(&state->lock);
    return scratch;
}

/* Where only the GPU knows how many of the rows there are, most of them are not. */
static uint32_t grid_of(const struct mt_routing *routing)
{
    return routing->count ? 1 : mt_tap_blocks((uint64_t) routing->rows * routing->k);
}

/* Finds or makes what a stage and its write need. The state is locked. NULL: none, the engine needs its memory more. */
static const struct node_memory *memory_for_tap(struct mt_tap_state *state, const struct mt_routing *routing,
                                                const struct mt_tap_args *args, uint32_t occurrence)
{
    const size_t size = mt_tap_stage_size((uint64_t) args->rows * args->k, args->width, args->weights);
    /* Only captures come here, and they are slow: no need for more than a walk. */
    for (size_t i = 0; i < state->memory_count; i++) {
        const struct node_memory *m = &state->memories[i];
        if (m->site == args->site && m->ids == routing->ids && m->rows == args->rows && m->size == size &&
            m->occurrence == occurrence)
            return m;
    }
    if (state->memory_count == state->memory_room) {
        size_t room = state->memory_room ? state->memory_room * 2 : 256;
        struct node_memory *more = realloc(state->memories, room * sizeof *more);
        if (!more)
            return NULL;
        state->memories = more;
        state->memory_room = room;
    }
    if (size > settings.stage_size || state->staged > settings.stage_size - size)
        return NULL;
    struct node_memory memory = {routing->ids, size, args->site, args->rows, occurrence, 0, 0};
    memory.stage = memory_for_node(state, size);
    if (!memory.stage)
        return NULL;
    /* One block writes without it. */
    if ((grid_of(routing) > 1 || mt_write_blocks(args, args->weights) > 1) &&
        !(memory.scratch = memory_for_node(state, sizeof(struct mt_tap_scratch))))
        return NULL;
    state->staged += size;
    state->memories[state->memory_count] = memory;
    return &state->memories[state->memory_count++];
}

/* For a kernel of either kind: those without weights take what stands first. */
static struct mt_tap_weighted_args args_of(const struct mt_tap_state *state, const struct mt_routing *routing,
                                           struct mt_tap_site site, uint8_t width)
{
    const bool weighted = routing->weights != 0;
    return (struct mt_tap_weighted_args){
        .tap = {.producer = (struct mt_producer *) (uintptr_t) state->producer,
                .ids = (const void *) (uintptr_t) routing->ids,
                .count = (const int32_t *) (uintptr_t) routing->count,
                .stride = routing->stride,
                .rows = routing->rows,
                .k = routing->k,
                .column = (uint32_t) routing->column,
                .site = (uint16_t) site.index,
                .counter = (uint16_t) site.counter,
                .dtype = (uint8_t) routing->dtype,
                .width = width,
                .context = width == MT_CONTEXT_WIDTH,
                .weights = weighted ? (uint8_t) routing->weights_type : MT_WEIGHT_NONE},
        .weights = (const void *) (uintptr_t) (weighted ? routing->weights : 0),
        .stride = routing->weights_stride,
    };
}

static const struct kernels *kernels_for(const struct mt_tap_state *state, bool weighted)
{
    return weighted ? &state->weighted : &state->plain;
}

static bool launched(CUresult result)
{
    if (result != CUDA_SUCCESS)
        mt_log_once(MT_LOG_PROBLEM, "launching a tap failed (%s): counted as not captured", mt_driver_error(result));
    return result == CUDA_SUCCESS;
}

static bool too_many_sequences(const struct mt_routing *routing)
{
    if (routing->rows > MT_BLOCKS_SEQUENCES_MAX)
        mt_log_once(MT_LOG_PROBLEM, "a block table of %u sequences, more than %u: counted as not captured",
                    routing->rows, MT_BLOCKS_SEQUENCES_MAX);
    return routing->rows > MT_BLOCKS_SEQUENCES_MAX;
}

static bool launch_kv_indices(const struct mt_tap_state *state, CUstream stream, const struct mt_routing *routing,
                              uint32_t site)
{
    if (too_many_sequences(routing))
        return false;
    struct mt_kv_args args = {
        .producer = (struct mt_producer *) (uintptr_t) state->producer,
        .slots = (const uint32_t *) (uintptr_t) routing->ids,
        .starts = (const int32_t *) (uintptr_t) routing->starts,
        .index = (const int64_t *) (uintptr_t) routing->index,
        .words_max = routing->ids ? mt_reach(routing->ids, KV_INDICES_MAX * sizeof(int64_t)) / sizeof(uint32_t) : 0,
        .seen = (struct mt_kv_seen *) (uintptr_t) state->kv_seen,
        .sequences = routing->rows,
        .site = site,
    };
    void *params[] = {&args};
    return launched(
        mt_driver.cuLaunchKernel(state->kv_indices, 1, 1, 1, MT_TAP_THREADS, 1, 1, 0, stream, params, NULL));
}

static bool launch_blocks(const struct mt_tap_state *state, CUstream stream, const struct mt_routing *routing,
                          uint32_t site)
{
    if (too_many_sequences(routing))
        return false;
    struct mt_blocks_args args = {
        .producer = (struct mt_producer *) (uintptr_t) state->producer,
        .table = {routing->ids, routing->ids_at},
        .stride = {routing->stride, routing->stride_at},
        .block = {routing->block, routing->block_at},
        .starts = (const int32_t *) (uintptr_t) routing->starts,
        .positions = (const int64_t *) (uintptr_t) routing->positions,
        .index = (const int32_t *) (uintptr_t) routing->index,
        .sequences = routing->rows,
        .site = site,
        .positions_max = (uint32_t) (mt_reach(routing->positions, POSITIONS_MAX * sizeof(int64_t)) / sizeof(int64_t)),
    };
    void *params[] = {&args};
    return launched(mt_driver.cuLaunchKernel(state->blocks, 1, 1, 1, MT_TAP_THREADS, 1, 1, 0, stream, params, NULL));
}

bool mt_tap_launch(struct mt_tap_state *state, CUstream stream, const struct mt_routing *routing,
                   struct mt_tap_site site, uint8_t width, bool capturing)
{
    if (routing->block)
        return launch_blocks(state, stream, routing, site.index);
    if (routing->index)
        return launch_kv_indices(state, stream, routing, site.index);
    struct mt_tap_weighted_args args = args_of(state, routing, site, width);
    void *params[] = {&args};
    if (grid_of(routing) > 1) {
        CUdeviceptr scratch =
            capturing
                ? scratch_for_node(state)
                : state->scratch_eager + (__atomic_fetch_add(&state->next_eager, 1, __ATOMIC_RELAXED) % SCRATCH_EAGER) *
                                             sizeof(struct mt_tap_scratch);
        if (!scratch)
            return false;
        args.tap.scratch = (struct mt_tap_scratch *) (uintptr_t) scratch;
    }
    return launched(mt_driver.cuLaunchKernel(kernels_for(state, args.tap.weights)->tap, grid_of(routing), 1, 1,
                                             MT_TAP_THREADS, 1, 1, 0, stream, params, NULL));
}

static bool add_node(CUgraph graph, const CUgraphNode *deps, size_t count, CUfunction kernel, uint32_t blocks,
                     void *args, CUgraphNode *node)
{
    void *params[] = {args};
    const CUDA_KERNEL_NODE_PARAMS node_params = {.func = kernel,
                                                 .gridDimX = blocks,
                                                 .gridDimY = 1,
                                                 .gridDimZ = 1,
                                                 .blockDimX = MT_TAP_THREADS,
                                                 .blockDimY = 1,
                                                 .blockDimZ = 1,
                                                 .kernelParams = params};
    return launched(mt_driver.cuGraphAddKernelNode_v2(node, graph, deps, count, &node_params));
}

bool mt_tap_add_stage(struct mt_tap_state *state, CUgraph graph, CUgraphNode dep, const struct mt_routing *routing,
                      struct mt_tap_site site, uint32_t occurrence, uint8_t width, struct mt_tap_args *args,
                      CUgraphNode *node)
{
    struct mt_tap_weighted_args all = args_of(state, routing, site, width);
    pthread_mutex_lock(&state->lock);
    const struct node_memory *memory = memory_for_tap(state, routing, &all.tap, occurrence);
    if (memory) {
        all.tap.stage = (uint8_t *) (uintptr_t) memory->stage;
        all.tap.scratch = (struct mt_tap_scratch *) (uintptr_t) memory->scratch;
    }
    pthread_mutex_unlock(&state->lock);
    *args = all.tap;
    return args->stage &&
           add_node(graph, &dep, 1, kernels_for(state, args->weights)->stage, grid_of(routing), &all, node);
}

bool mt_tap_add_write(const struct mt_tap_state *state, CUgraph graph, const CUgraphNode *stages,
                      struct mt_tap_batch *batch)
{
    bool weighted = false;
    for (uint64_t i = 0; i < batch->count; i++)
        weighted |= batch->tap[i].weights != MT_WEIGHT_NONE;
    CUgraphNode node;
    return add_node(graph, stages, batch->count, kernels_for(state, weighted)->write, mt_tap_batch_blocks(batch), batch,
                    &node);
}

void mt_tap_context_gone(CUcontext context)
{
    pthread_mutex_lock(&states_lock);
    for (struct mt_tap_state *state = states; state; state = state->next) {
        if (!state->context)
            continue;
        bool gone = context == state->context;
        if (!context && state->primary) {
            unsigned flags;
            int active = 1;
            gone = mt_driver.cuDevicePrimaryCtxGetState(state->device, &flags, &active) == CUDA_SUCCESS && !active;
        }
        if (gone) {
            /* Its memory, module and registration went with it; the segment stays for its reader. */
            __atomic_store_n(&state->context, NULL, __ATOMIC_RELAXED);
            state->off = true;
            if (state->has_segment)
                mt_segment_close(&state->segment);
        }
    }
    pthread_mutex_unlock(&states_lock);
}

void mt_tap_close_all(void)
{
    for (struct mt_tap_state *state = __atomic_load_n(&states, __ATOMIC_ACQUIRE); state; state = state->next) {
        if (state->has_segment)
            mt_segment_close(&state->segment);
    }
}
