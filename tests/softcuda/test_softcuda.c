/* SPDX-License-Identifier: Apache-2.0 */
/* The software device itself: what the driver promises of streams, captures and graphs, so that tests may lean on it.
 */
#include "kernels/log.h"

#include <criterion/criterion.h>
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OK(call) cr_assert_eq((call), CUDA_SUCCESS, "%s", #call)
#define REFUSED(code, call)                                                                                            \
    do {                                                                                                               \
        CUresult refused_ = (call);                                                                                    \
        cr_assert_eq(refused_, (code), "%s: %d, not %s", #call, (int) refused_, #code);                                \
    } while (0)

static CUmodule module;
static CUfunction log_order, log_side, log_meet;
static struct order *order; /* device memory is the process's own */
static CUstream a, b;

static CUcontext context_on(int device)
{
    CUcontext context;
    OK(cuDevicePrimaryCtxRetain(&context, device));
    OK(cuCtxSetCurrent(context));
    return context;
}

static struct order *new_order(void)
{
    CUdeviceptr memory;
    OK(cuMemAlloc_v2(&memory, sizeof(struct order)));
    memset((void *) (uintptr_t) memory, 0, sizeof(struct order));
    return (struct order *) (uintptr_t) memory;
}

static void setup(void)
{
    setenv("SOFTCUDA_KERNELS", LOG_KERNELS, 1);
    OK(cuInit(0));
    context_on(0);
    OK(cuModuleLoadData(&module, "//"));
    OK(cuModuleGetFunction(&log_order, module, "log_order"));
    OK(cuModuleGetFunction(&log_side, module, "log_side"));
    OK(cuModuleGetFunction(&log_meet, module, "log_meet"));
    order = new_order();
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
}

TestSuite(softcuda, .init = setup, .timeout = 30);

static CUresult put(CUfunction f, CUstream stream, uint32_t value)
{
    void *params[] = {&order, &value};
    return cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL);
}

static void slow(const char *rules)
{
    setenv("SOFTCUDA_SLOW", rules, 1);
}

static void expect(size_t n, const uint32_t *values)
{
    cr_assert_eq(order->count, n, "%u kernels ran, not %zu", order->count, n);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(order->at[i], values[i], "place %zu: %u, not %u", i, order->at[i], values[i]);
}
#define EXPECT(...) expect(sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (const uint32_t[]){__VA_ARGS__})

/* Doors */

#define SYMBOLS(X)                                                                                                     \
    X(cuLaunchKernel, "cuLaunchKernel", 4000, 0)                                                                       \
    X(cuLaunchKernel_ptsz, "cuLaunchKernel", 7000, 1)                                                                  \
    X(cuLaunchKernelEx, "cuLaunchKernelEx", 11060, 0)                                                                  \
    X(cuLaunchKernelEx_ptsz, "cuLaunchKernelEx", 11060, 1)                                                             \
    X(cuLaunchCooperativeKernel, "cuLaunchCooperativeKernel", 9000, 0)                                                 \
    X(cuLaunchCooperativeKernel_ptsz, "cuLaunchCooperativeKernel", 9000, 1)                                            \
    X(cuStreamGetCaptureInfo, "cuStreamGetCaptureInfo", 10010, 0)                                                      \
    X(cuStreamGetCaptureInfo_v2, "cuStreamGetCaptureInfo", 12000, 0)                                                   \
    X(cuStreamGetCaptureInfo_v2_ptsz, "cuStreamGetCaptureInfo", 11030, 1)                                              \
    X(cuStreamGetCaptureInfo_v3, "cuStreamGetCaptureInfo", 12030, 0)                                                   \
    X(cuStreamGetCaptureInfo_v3_ptsz, "cuStreamGetCaptureInfo", 13000, 1)                                              \
    X(cuStreamUpdateCaptureDependencies, "cuStreamUpdateCaptureDependencies", 11030, 0)                                \
    X(cuStreamUpdateCaptureDependencies_v2, "cuStreamUpdateCaptureDependencies", 13000, 0)                             \
    X(cuStreamUpdateCaptureDependencies_v2_ptsz, "cuStreamUpdateCaptureDependencies", 13000, 1)                        \
    X(cuStreamBeginCapture_v2, "cuStreamBeginCapture", 13000, 0)                                                       \
    X(cuStreamBeginCaptureToGraph, "cuStreamBeginCaptureToGraph", 12030, 0)                                            \
    X(cuStreamEndCapture, "cuStreamEndCapture", 10000, 0)                                                              \
    X(cuStreamEndCapture_ptsz, "cuStreamEndCapture", 10000, 1)                                                         \
    X(cuGraphAddKernelNode, "cuGraphAddKernelNode", 11080, 0)                                                          \
    X(cuGraphAddKernelNode_v2, "cuGraphAddKernelNode", 12000, 0)                                                       \
    X(cuGraphAddNode, "cuGraphAddNode", 12020, 0)                                                                      \
    X(cuGraphAddNode_v2, "cuGraphAddNode", 13000, 0)                                                                   \
    X(cuGraphAddDependencies, "cuGraphAddDependencies", 12000, 0)                                                      \
    X(cuGraphAddDependencies_v2, "cuGraphAddDependencies", 12030, 0)                                                   \
    X(cuGraphKernelNodeGetParams_v2, "cuGraphKernelNodeGetParams", 12000, 0)                                           \
    X(cuGraphKernelNodeSetParams, "cuGraphKernelNodeSetParams", 11000, 0)                                              \
    X(cuGraphExecUpdate, "cuGraphExecUpdate", 10020, 0)                                                                \
    X(cuGraphExecUpdate_v2, "cuGraphExecUpdate", 13000, 0)                                                             \
    X(cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags", 11040, 0)                                            \
    X(cuGraphInstantiateWithFlags, "cuGraphInstantiate", 12000, 0)                                                     \
    X(cuGraphInstantiateWithParams_ptsz, "cuGraphInstantiateWithParams", 12000, 1)                                     \
    X(cuGraphClone, "cuGraphClone", 10000, 1)                                                                          \
    X(cuMemcpyDtoH_v2_ptds, "cuMemcpyDtoH", 7000, 1)                                                                   \
    X(cuMemcpyDtoHAsync_v2_ptsz, "cuMemcpyDtoHAsync", 7000, 1)                                                         \
    X(cuEventRecordWithFlags_ptsz, "cuEventRecordWithFlags", 11010, 1)                                                 \
    X(cuStreamWaitEvent_ptsz, "cuStreamWaitEvent", 7000, 1)                                                            \
    X(cuCtxCreate_v2, "cuCtxCreate", 4000, 0)                                                                          \
    X(cuCtxCreate_v4, "cuCtxCreate", 13000, 0)

Test(softcuda, three_doors)
{
    void *library = dlopen(SOFTCUDA, RTLD_NOW | RTLD_NOLOAD);
    cr_assert(library);
#define CHECK(symbol, base, version, per_thread)                                                                       \
    do {                                                                                                               \
        void *linked = (void *) symbol, *found = NULL;                                                                 \
        CUdriverProcAddressQueryResult status;                                                                         \
        cr_assert_eq(dlsym(library, #symbol), linked, "dlsym %s", #symbol);                                            \
        OK(cuGetProcAddress_v2(                                                                                        \
            base, &found, version,                                                                                     \
            per_thread ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM : CU_GET_PROC_ADDRESS_DEFAULT, &status));       \
        cr_assert_eq(found, linked, "cuGetProcAddress %s for %d", #symbol, version);                                   \
    } while (0);
    SYMBOLS(CHECK)
    void *found = (void *) 1;
    CUdriverProcAddressQueryResult status;
    REFUSED(CUDA_ERROR_NOT_FOUND, cuGetProcAddress_v2("cuNoSuchThing", &found, 13000, 0, &status));
    cr_assert_null(found);
    REFUSED(CUDA_ERROR_NOT_FOUND, cuGetProcAddress_v2("cuStreamGetCaptureInfo", &found, 9000, 0, &status));
    cr_assert_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

/* Streams and events */

Test(softcuda, a_stream_keeps_its_order)
{
    uint32_t wanted[64];
    for (uint32_t i = 0; i < 64; i++) {
        OK(put(log_order, a, i));
        wanted[i] = i;
    }
    OK(cuStreamSynchronize(a));
    expect(64, wanted);
}

Test(softcuda, streams_do_not_wait_for_each_other)
{
    OK(put(log_meet, a, 2));
    OK(put(log_meet, b, 2));
    OK(cuStreamSynchronize(a));
    OK(cuStreamSynchronize(b));
    cr_assert_eq(order->met, 2);
}

Test(softcuda, events_order_streams)
{
    CUevent event;
    slow("log_order:20000");
    OK(cuEventCreate(&event, 0));
    OK(cuEventQuery(event));
    OK(put(log_order, a, 1));
    OK(cuEventRecord(event, a));
    REFUSED(CUDA_ERROR_NOT_READY, cuEventQuery(event));
    REFUSED(CUDA_ERROR_NOT_READY, cuStreamQuery(a));
    OK(cuStreamWaitEvent(b, event, 0));
    OK(put(log_side, b, 2));
    OK(cuEventSynchronize(event));
    cr_assert_geq(__atomic_load_n(&order->count, __ATOMIC_SEQ_CST), 1);
    OK(cuStreamSynchronize(b));
    OK(cuStreamQuery(b));
    EXPECT(1, 2);
    OK(cuEventDestroy_v2(event));
}

/* The legacy stream and the blocking ones wait for each other, in both directions; non-blocking ones do not. */
Test(softcuda, legacy_stream)
{
    CUstream blocking;
    OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    slow("log_order:10000,log_meet:30000");
    OK(put(log_order, blocking, 1));
    OK(put(log_side, NULL, 2));
    OK(put(log_order, CU_STREAM_LEGACY, 3));
    OK(put(log_side, blocking, 4));
    OK(cuCtxSynchronize());
    EXPECT(1, 2, 3, 4);
    OK(put(log_meet, a, 2)); /* would never end if the legacy stream had to wait for it */
    OK(put(log_meet, NULL, 2));
    OK(cuStreamSynchronize(NULL));
    OK(cuStreamSynchronize(a));
    cr_assert_eq(order->met, 2);
}

static void *on_own_stream(void *user)
{
    CUcontext context = user;
    void *params[] = {&order, &(uint32_t){2}};
    OK(cuCtxSetCurrent(context));
    OK(cuLaunchKernel_ptsz(log_meet, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    OK(cuStreamSynchronize_ptsz(NULL));
    return NULL;
}

/* NULL means another stream in each thread, for the per-thread flavour. */
Test(softcuda, per_thread_streams)
{
    pthread_t threads[2];
    CUcontext context;
    OK(cuCtxGetCurrent(&context));
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, on_own_stream, context);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(order->met, 2);
    order->met = 0;
    OK(put(log_meet, CU_STREAM_PER_THREAD, 1));
    void *params[] = {&order, &(uint32_t){1}};
    OK(cuLaunchKernel_ptsz(log_order, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
    cr_assert_eq(order->count, 1);
}

Test(softcuda, every_launch_call)
{
    uint32_t one = 1, two = 2, three = 3;
    void *params[] = {&order, &one}, *params2[] = {&order, &two};
    CUlaunchConfig config = {
        .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 1, .blockDimY = 1, .blockDimZ = 1, .hStream = a};
    OK(cuLaunchKernelEx(&config, log_order, params, NULL));
    OK(cuLaunchCooperativeKernel(log_order, 1, 1, 1, 1, 1, 1, 0, a, params2));
    unsigned char packed[16] = {0};
    size_t size = 12;
    memcpy(packed, &order, 8);
    memcpy(packed + 8, &three, 4);
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    OK(cuLaunchKernel(log_order, 1, 1, 1, 1, 1, 1, 0, a, NULL, extra));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(log_order, 1, 1, 1, 1, 1, 1, 0, a, params, extra));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(log_order, 0, 1, 1, 1, 1, 1, 0, a, params, NULL));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, a, params, NULL));
    OK(cuStreamSynchronize(a));
    EXPECT(1, 2, 3);
}

/* Capture */

static CUstreamCaptureStatus status_of(CUstream stream)
{
    CUstreamCaptureStatus status;
    OK(cuStreamIsCapturing(stream, &status));
    return status;
}

static void replay(CUgraph graph)
{
    CUgraphExec exec;
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cuGraphLaunch(exec, a));
    OK(cuStreamSynchronize(a));
    OK(cuGraphExecDestroy(exec));
}

Test(softcuda, capture_and_replay)
{
    CUgraph graph;
    CUgraphExec exec;
    uint32_t value = 1;
    void *params[] = {&order, &value};
    REFUSED(CUDA_ERROR_ILLEGAL_STATE, cuStreamEndCapture(a, &graph)); /* never begun */
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    REFUSED(CUDA_ERROR_ILLEGAL_STATE, cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cuLaunchKernel(log_order, 1, 1, 1, 1, 1, 1, 0, a, params, NULL));
    value = 7; /* arguments are taken at launch */
    OK(put(log_order, a, 2));
    cr_assert_eq(status_of(a), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    cr_assert_eq(status_of(b), CU_STREAM_CAPTURE_STATUS_NONE);
    OK(cuStreamEndCapture(a, &graph));
    cr_assert_eq(status_of(a), CU_STREAM_CAPTURE_STATUS_NONE);
    REFUSED(CUDA_ERROR_ILLEGAL_STATE, cuStreamEndCapture(a, &graph));
    cr_assert_eq(order->count, 0, "capturing runs nothing");
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cuGraphDestroy(graph)); /* the executable one is a copy */
    OK(cuGraphLaunch(exec, a));
    OK(cuGraphLaunch(exec, a));
    OK(cuGraphExecDestroy(exec)); /* also of replays under way */
    OK(cuStreamSynchronize(a));
    EXPECT(1, 2, 1, 2);
}

static CUresult allocate(void)
{
    CUdeviceptr memory;
    return cuMemAlloc_v2(&memory, 64);
}

static void *allocate_elsewhere(void *user)
{
    CUcontext context = user;
    OK(cuCtxSetCurrent(context));
    return (void *) (uintptr_t) allocate();
}

static CUresult allocate_on_thread(void)
{
    pthread_t thread;
    CUcontext context;
    void *result;
    OK(cuCtxGetCurrent(&context));
    pthread_create(&thread, NULL, allocate_elsewhere, context);
    pthread_join(thread, &result);
    return (CUresult) (uintptr_t) result;
}

/* What a call that may wait does to a capture: by the capture's mode, the thread, and the thread's mode. */
Test(softcuda, capture_modes)
{
    CUgraph graph;
    static const struct {
        CUstreamCaptureMode mode, thread_mode;
        bool elsewhere, refused;
    } cases[] = {
        {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_GLOBAL, false, true},
        {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_GLOBAL, true, true},
        {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_RELAXED, false, false},
        {CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_GLOBAL, false, true},
        {CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_GLOBAL, true, false},
        {CU_STREAM_CAPTURE_MODE_RELAXED, CU_STREAM_CAPTURE_MODE_GLOBAL, false, false},
        {CU_STREAM_CAPTURE_MODE_RELAXED, CU_STREAM_CAPTURE_MODE_GLOBAL, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CUstreamCaptureMode mode = cases[i].thread_mode;
        OK(cuStreamBeginCapture_v2(a, cases[i].mode));
        OK(cuThreadExchangeStreamCaptureMode(&mode));
        CUresult result = cases[i].elsewhere ? allocate_on_thread() : allocate();
        OK(cuThreadExchangeStreamCaptureMode(&mode));
        cr_assert_eq(result, cases[i].refused ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS, "case %zu", i);
        cr_assert_eq(status_of(a),
                     cases[i].refused ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE);
        if (cases[i].refused)
            REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, put(log_order, a, 1));
        REFUSED(cases[i].refused ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS, cuStreamEndCapture(a, &graph));
        cr_assert_eq(!graph, cases[i].refused);
        cr_assert_eq(status_of(a), CU_STREAM_CAPTURE_STATUS_NONE);
    }
}

static CUresult synchronize_a(void)
{
    return cuStreamSynchronize(a);
}
static CUresult query_a(void)
{
    return cuStreamQuery(a);
}
static CUresult free_nothing_known(void)
{
    return cuMemFree_v2((CUdeviceptr) (uintptr_t) order);
}
static CUresult copy_and_wait(void)
{
    uint32_t word;
    return cuMemcpyDtoH_v2(&word, (CUdeviceptr) (uintptr_t) order, 4);
}
static CUresult load_module(void)
{
    CUmodule other;
    return cuModuleLoadData(&other, "//");
}

Test(softcuda, calls_that_a_capture_forbids)
{
    static CUresult (*const calls[])(void) = {synchronize_a, query_a,     cuCtxSynchronize,  allocate,
                                              copy_and_wait, load_module, free_nothing_known};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        CUgraph graph;
        OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
        cr_assert_eq(calls[i](), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "call %zu", i);
        REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &graph));
    }
    /* An event that belongs to the capture is not asked about, and that does no harm. */
    CUgraph graph;
    CUevent event;
    OK(cuEventCreate(&event, 0));
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cuEventRecord(event, a));
    REFUSED(CUDA_ERROR_CAPTURED_EVENT, cuEventQuery(event));
    OK(cuStreamEndCapture(a, &graph));
}

/* The legacy stream would wait for a blocking stream that captures. */
Test(softcuda, implicit_dependency)
{
    CUstream blocking;
    CUgraph graph;
    CUstreamCaptureStatus status;
    OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamBeginCapture_v2(NULL, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cuStreamBeginCapture_v2(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, cuStreamIsCapturing(NULL, &status));
    cr_assert_eq(status_of(blocking), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, put(log_order, NULL, 1));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(blocking, &graph));
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(put(log_order, NULL, 1));
    OK(cuStreamEndCapture(a, &graph));
}

static void fork_to(CUstream from, CUstream to)
{
    CUevent event;
    OK(cuEventCreate(&event, 0));
    OK(cuEventRecord(event, from));
    OK(cuStreamWaitEvent(to, event, 0));
}

Test(softcuda, fork_and_join)
{
    CUgraph graph;
    slow("log_side:2000");
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 1));
    fork_to(a, b);
    cr_assert_eq(status_of(b), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    OK(put(log_side, b, 2));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, cuStreamEndCapture(b, &graph));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &graph));
    cr_assert_eq(status_of(b), CU_STREAM_CAPTURE_STATUS_NONE);

    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 1));
    fork_to(a, b);
    OK(put(log_side, b, 2));
    fork_to(b, a);
    OK(put(log_order, a, 3));
    OK(cuStreamEndCapture(a, &graph));
    cr_assert_eq(status_of(b), CU_STREAM_CAPTURE_STATUS_NONE);
    replay(graph);
    EXPECT(1, 2, 3);
}

Test(softcuda, unjoined_fork)
{
    CUgraph graph;
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 1));
    fork_to(a, b);
    OK(put(log_side, b, 2));
    OK(put(log_order, a, 3));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, cuStreamEndCapture(a, &graph));
    cr_assert_null(graph);
    /* A fork with nothing of its own on it needs no join. */
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 1));
    fork_to(a, b);
    OK(cuStreamEndCapture(a, &graph));
}

Test(softcuda, captures_keep_to_themselves)
{
    CUgraph graph;
    CUevent outside, inside;
    OK(cuEventCreate(&outside, 0));
    OK(cuEventCreate(&inside, 0));
    OK(cuEventRecord(outside, b));
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, cuStreamWaitEvent(a, outside, 0));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &graph));

    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cuStreamBeginCapture_v2(b, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cuEventRecord(inside, a));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_MERGE, cuStreamWaitEvent(b, inside, 0));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &graph));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(b, &graph));
    /* An event of a capture that has ended does not draw a stream into it. */
    REFUSED(CUDA_ERROR_CAPTURED_EVENT, cuStreamWaitEvent(b, inside, 0));
    cr_assert_eq(status_of(b), CU_STREAM_CAPTURE_STATUS_NONE);
}

static void *end_elsewhere(void *user)
{
    CUgraph graph;
    return (void *) (uintptr_t) cuStreamEndCapture(user, &graph);
}

Test(softcuda, end_on_another_thread)
{
    CUgraph graph;
    pthread_t thread;
    void *result;
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    pthread_create(&thread, NULL, end_elsewhere, a);
    pthread_join(thread, &result);
    cr_assert_eq((CUresult) (uintptr_t) result, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    OK(cuStreamEndCapture(a, &graph));
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    pthread_create(&thread, NULL, end_elsewhere, a);
    pthread_join(thread, &result);
    cr_assert_eq((CUresult) (uintptr_t) result, CUDA_SUCCESS);
}

/* The capture as a graph */

static CUgraphNode add_by_hand(CUgraph graph, const CUgraphNode *deps, size_t count, CUfunction f, uint32_t value)
{
    CUgraphNode node;
    void *params[] = {&order, &value};
    CUDA_KERNEL_NODE_PARAMS kernel = {.func = f,
                                      .gridDimX = 1,
                                      .gridDimY = 1,
                                      .gridDimZ = 1,
                                      .blockDimX = 1,
                                      .blockDimY = 1,
                                      .blockDimZ = 1,
                                      .kernelParams = params};
    OK(cuGraphAddKernelNode_v2(&node, graph, deps, count, &kernel));
    return node;
}

Test(softcuda, capture_info)
{
    CUstreamCaptureStatus status;
    cuuint64_t id, first, second;
    CUgraph graph, ended;
    const CUgraphNode *deps;
    const CUgraphEdgeData *edges;
    size_t count = 99;
    OK(cuStreamGetCaptureInfo_v2(a, &status, &id, &graph, &deps, &count));
    cr_assert_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cuStreamGetCaptureInfo_v3(a, &status, &first, &graph, &deps, &edges, &count));
    cr_assert_eq(count, 0);
    OK(put(log_order, a, 1));
    OK(cuStreamGetCaptureInfo_v3(a, &status, &id, NULL, &deps, &edges, &count));
    cr_assert(status == CU_STREAM_CAPTURE_STATUS_ACTIVE && id == first && count == 1 && edges[0].type == 0);
    OK(cuStreamGetCaptureInfo(a, &status, &id));
    cr_assert_eq(id, first);
    fork_to(a, b);
    OK(put(log_order, b, 2));
    fork_to(b, a);
    OK(cuStreamGetCaptureInfo_v2(b, &status, &id, NULL, &deps, &count));
    cr_assert(id == first && count == 1);
    OK(cuStreamGetCaptureInfo_v2(a, &status, NULL, NULL, &deps, &count));
    cr_assert_eq(count, 2);
    CUgraphNodeType type;
    OK(cuGraphNodeGetType(deps[0], &type));
    cr_assert_eq(type, CU_GRAPH_NODE_TYPE_KERNEL);
    OK(cuStreamEndCapture(a, &ended));
    cr_assert_eq(ended, graph);
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cuStreamGetCaptureInfo(a, &status, &second));
    cr_assert_neq(second, first);
    OK(cuStreamEndCapture(a, &graph));
}

/* A side branch as the tap's: a node by hand after what the stream has, joined two launches later. */
static CUgraph with_side_branch(void)
{
    CUstreamCaptureStatus status;
    CUgraph graph;
    const CUgraphNode *deps;
    size_t count;
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 1));
    OK(cuStreamGetCaptureInfo_v2(a, &status, NULL, &graph, &deps, &count));
    CUgraphNode side = add_by_hand(graph, deps, count, log_side, 100);
    OK(put(log_order, a, 2));
    OK(put(log_order, a, 3));
    OK(cuStreamUpdateCaptureDependencies_v2(a, &side, NULL, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
    OK(cuStreamGetCaptureInfo_v2(a, &status, NULL, NULL, &deps, &count));
    cr_assert_eq(count, 2);
    OK(cuStreamUpdateCaptureDependencies(a, &side, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES)); /* twice is once */
    OK(cuStreamGetCaptureInfo_v2(a, &status, NULL, NULL, &deps, &count));
    cr_assert_eq(count, 2);
    OK(put(log_order, a, 4));
    OK(put(log_order, a, 5));
    OK(cuStreamEndCapture(a, &graph));
    return graph;
}

Test(softcuda, side_branch_late)
{
    setenv("SOFTCUDA_ORDER", "late", 1);
    replay(with_side_branch());
    EXPECT(1, 2, 3, 100, 4, 5);
}

Test(softcuda, side_branch_early)
{
    setenv("SOFTCUDA_ORDER", "early", 1);
    replay(with_side_branch());
    EXPECT(1, 100, 2, 3, 4, 5);
}

/* Each place that the dependencies allow turns up, and no other. */
Test(softcuda, side_branch_random)
{
    CUgraph graph = with_side_branch();
    bool seen[6] = {false};
    for (int i = 0; i < 200; i++) {
        order->count = 0;
        replay(graph);
        for (unsigned n = 0; n < 6; n++)
            seen[n] |= order->at[n] == 100;
    }
    cr_assert(!seen[0] && seen[1] && seen[2] && seen[3] && !seen[4] && !seen[5]);
}

Test(softcuda, side_branch_parallel)
{
    setenv("SOFTCUDA_ORDER", "parallel", 1);
    slow("log_side:30000");
    replay(with_side_branch());
    EXPECT(1, 2, 3, 100, 4, 5);
}

Test(softcuda, parallel_branches_run_at_once)
{
    CUgraph graph;
    setenv("SOFTCUDA_ORDER", "parallel", 1);
    OK(cuGraphCreate(&graph, 0));
    for (int i = 0; i < 4; i++)
        add_by_hand(graph, NULL, 0, log_meet, 4);
    replay(graph);
    cr_assert_eq(order->met, 4);
}

/* Never joined by hand: allowed, and it runs. Part of a forked stream's set: unjoined. Taken out again: excused. */
Test(softcuda, nodes_by_hand_and_the_end)
{
    CUstreamCaptureStatus status;
    CUgraph graph;
    CUgraphNode side;
    const CUgraphNode *deps;
    size_t count;
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 1));
    OK(cuStreamGetCaptureInfo_v2(a, &status, NULL, &graph, &deps, &count));
    add_by_hand(graph, deps, count, log_side, 100);
    OK(cuStreamEndCapture(a, &graph));
    replay(graph);
    EXPECT(1, 100);

    for (int excused = 0; excused < 2; excused++) {
        OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(put(log_order, a, 1));
        fork_to(a, b);
        OK(cuStreamGetCaptureInfo_v2(b, &status, NULL, &graph, &deps, &count));
        CUgraphNode before = deps[0];
        side = add_by_hand(graph, deps, count, log_side, 100);
        OK(cuStreamUpdateCaptureDependencies(b, &side, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
        if (excused)
            OK(cuStreamUpdateCaptureDependencies(b, &before, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES));
        REFUSED(excused ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNJOINED, cuStreamEndCapture(a, &graph));
    }
}

Test(softcuda, edges_that_carry_data)
{
    uint32_t one = 1;
    void *params[] = {&order, &one};
    CUlaunchAttribute overlap = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                 .value = {.programmaticStreamSerializationAllowed = 1}};
    CUlaunchConfig config = {.gridDimX = 1,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 1,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .hStream = a,
                             .attrs = &overlap,
                             .numAttrs = 1};
    CUgraph graph;
    CUgraphNode from, to, found;
    CUgraphEdgeData edge;
    const CUgraphNode *deps;
    CUstreamCaptureStatus status;
    size_t count = 1;
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 1));
    OK(cuStreamGetCaptureInfo_v2(a, &status, NULL, NULL, &deps, &count));
    from = deps[0];
    OK(cuLaunchKernelEx(&config, log_order, params, NULL));
    OK(cuStreamGetCaptureInfo_v2(a, &status, NULL, NULL, &deps, &count));
    to = deps[0];
    REFUSED(CUDA_ERROR_LOSSY_QUERY, cuGraphNodeGetDependencies(to, &found, &count));
    REFUSED(CUDA_ERROR_LOSSY_QUERY, cuGraphNodeGetDependentNodes_v2(from, &found, NULL, &count));
    OK(cuGraphNodeGetDependencies_v2(to, &found, &edge, &count));
    cr_assert(found == from && count == 1 && edge.type == CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC);
    OK(cuGraphNodeGetDependentNodes_v2(from, &found, &edge, &count));
    cr_assert(found == to && count == 1 && edge.from_port == CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC);
    OK(cuStreamEndCapture(a, &graph));
    replay(graph);
    OK(cuGraphDestroy(graph));
    EXPECT(1, 1);
}

Test(softcuda, wrong_dependencies)
{
    CUgraph graph, other;
    CUgraphNode foreign, node;
    OK(cuGraphCreate(&other, 0));
    foreign = add_by_hand(other, NULL, 0, log_order, 1);
    REFUSED(CUDA_ERROR_ILLEGAL_STATE,
            cuStreamUpdateCaptureDependencies(a, &foreign, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    REFUSED(CUDA_ERROR_INVALID_VALUE,
            cuStreamUpdateCaptureDependencies(a, &foreign, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuStreamUpdateCaptureDependencies(a, NULL, 0, 2));
    OK(cuStreamEndCapture(a, &graph));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuGraphAddEmptyNode(&node, graph, &foreign, 1));
    CUgraphNode twice[] = {foreign, foreign};
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuGraphAddEmptyNode(&node, other, twice, 2));
}

Test(softcuda, capture_into_a_graph)
{
    CUgraph graph, ended;
    OK(cuGraphCreate(&graph, 0));
    CUgraphNode first = add_by_hand(graph, NULL, 0, log_order, 1);
    OK(cuStreamBeginCaptureToGraph(a, graph, &first, NULL, 1, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 2));
    OK(cuStreamEndCapture(a, &ended));
    cr_assert_eq(ended, graph);
    replay(graph);
    EXPECT(1, 2);
}

/* Graphs by hand */

Test(softcuda, graph_by_hand)
{
    CUgraph graph;
    CUgraphNode nodes[4], from, to, got[8], join;
    size_t count = 8;
    OK(cuGraphCreate(&graph, 0));
    nodes[0] = add_by_hand(graph, NULL, 0, log_order, 1);
    nodes[1] = add_by_hand(graph, nodes, 1, log_order, 2);
    OK(cuGraphAddEmptyNode(&join, graph, &nodes[1], 1));
    CUgraphNodeParams p = {.type = CU_GRAPH_NODE_TYPE_KERNEL};
    uint32_t value = 3;
    void *params[] = {&order, &value};
    p.kernel.func = log_order;
    p.kernel.gridDimX = p.kernel.gridDimY = p.kernel.gridDimZ = 1;
    p.kernel.blockDimX = p.kernel.blockDimY = p.kernel.blockDimZ = 1;
    p.kernel.kernelParams = params;
    OK(cuGraphAddNode_v2(&nodes[2], graph, &join, NULL, 1, &p));
    value = 4;
    OK(cuGraphAddNode(&nodes[3], graph, NULL, 0, &p));
    OK(cuGraphAddDependencies_v2(graph, &nodes[2], &nodes[3], NULL, 1));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuGraphAddDependencies(graph, &nodes[2], &nodes[3], 1));
    OK(cuGraphGetNodes(graph, got, &count));
    cr_assert(count == 5 && got[0] == nodes[0] && got[4] == nodes[3]);
    count = 8;
    OK(cuGraphGetRootNodes(graph, got, &count));
    cr_assert(count == 1 && got[0] == nodes[0]);
    OK(cuGraphGetEdges_v2(graph, NULL, NULL, NULL, &count));
    cr_assert_eq(count, 4);
    count = 1;
    OK(cuGraphGetEdges(graph, &from, &to, &count));
    cr_assert(from == nodes[0] && to == nodes[1]);
    count = 1;
    OK(cuGraphNodeGetDependencies(nodes[3], &from, &count));
    cr_assert_eq(from, nodes[2]);
    replay(graph);
    EXPECT(1, 2, 3, 4);

    /* What a node holds can be asked for and set; an executable graph made before keeps what it had. */
    CUgraphExec exec;
    CUDA_KERNEL_NODE_PARAMS kernel;
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cuGraphKernelNodeGetParams_v2(nodes[1], &kernel));
    cr_assert(kernel.func == log_order && kernel.gridDimX == 1 && *(uint32_t *) kernel.kernelParams[1] == 2);
    value = 20;
    kernel.kernelParams = params;
    OK(cuGraphKernelNodeSetParams_v2(nodes[1], &kernel));
    order->count = 0;
    OK(cuGraphLaunch(exec, a));
    OK(cuStreamSynchronize(a));
    EXPECT(1, 2, 3, 4);
    value = 30;
    OK(cuGraphExecKernelNodeSetParams_v2(exec, nodes[2], &kernel));
    order->count = 0;
    OK(cuGraphLaunch(exec, a));
    OK(cuStreamSynchronize(a));
    EXPECT(1, 2, 30, 4);

    CUDA_GRAPH_INSTANTIATE_PARAMS how = {0};
    OK(cuGraphInstantiateWithParams(&exec, graph, &how));
    cr_assert_eq(how.result_out, CUDA_GRAPH_INSTANTIATE_SUCCESS);
    OK(cuGraphAddDependencies(graph, &nodes[3], &nodes[0], 1));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuGraphInstantiateWithParams(&exec, graph, &how));
    cr_assert_eq(how.result_out, CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE);
}

/* A child is what it was when it was added; a clone what it was when it was made. */
Test(softcuda, child_and_clone)
{
    CUgraph graph, child, clone, inside;
    CUgraphNode first, node, found, inner;
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphCreate(&child, 0));
    inner = add_by_hand(child, NULL, 0, log_order, 2);
    first = add_by_hand(graph, NULL, 0, log_order, 1);
    OK(cuGraphAddChildGraphNode(&node, graph, &first, 1, child));
    add_by_hand(child, &inner, 1, log_order, 99);
    OK(cuGraphDestroy(child));
    add_by_hand(graph, &node, 1, log_order, 3);
    OK(cuGraphChildGraphNodeGetGraph(node, &inside));
    size_t count;
    OK(cuGraphGetNodes(inside, NULL, &count));
    cr_assert_eq(count, 1);
    OK(cuGraphClone(&clone, graph));
    OK(cuGraphNodeFindInClone(&found, first, clone));
    cr_assert_neq(found, first);
    add_by_hand(graph, &first, 1, log_order, 99);
    OK(cuGraphDestroy(graph));
    replay(clone);
    EXPECT(1, 2, 3);
}

/* A graph launched into a capturing stream becomes a child. */
Test(softcuda, graph_launch_in_a_capture)
{
    CUgraph small, graph;
    CUgraphExec exec;
    OK(cuGraphCreate(&small, 0));
    add_by_hand(small, NULL, 0, log_order, 2);
    OK(cuGraphInstantiateWithFlags(&exec, small, 0));
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 1));
    OK(cuGraphLaunch(exec, a));
    OK(put(log_order, a, 3));
    OK(cuStreamEndCapture(a, &graph));
    replay(graph);
    EXPECT(1, 2, 3);
}

static CUgraph chain(uint32_t from, uint32_t count)
{
    CUgraph graph;
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    for (uint32_t i = 0; i < count; i++)
        OK(put(log_order, a, from + i));
    OK(cuStreamEndCapture(a, &graph));
    return graph;
}

Test(softcuda, exec_update)
{
    CUgraphExec exec;
    CUgraphExecUpdateResultInfo info;
    OK(cuGraphInstantiateWithFlags(&exec, chain(1, 3), 0));
    OK(cuGraphExecUpdate_v2(exec, chain(11, 3), &info));
    cr_assert_eq(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
    OK(cuGraphLaunch(exec, a));
    OK(cuStreamSynchronize(a));
    EXPECT(11, 12, 13);
    REFUSED(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate_v2(exec, chain(1, 4), &info));
    cr_assert_eq(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    CUgraph other;
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(put(log_order, a, 1));
    OK(cuMemsetD8Async((CUdeviceptr) (uintptr_t) &order->met, 0, 4, a));
    OK(put(log_order, a, 1));
    OK(cuStreamEndCapture(a, &other));
    REFUSED(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate_v2(exec, other, &info));
    cr_assert_eq(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
    order->count = 0; /* a refused update changes nothing */
    OK(cuGraphLaunch(exec, a));
    OK(cuStreamSynchronize(a));
    EXPECT(11, 12, 13);
}

/* Memory, devices, contexts, modules */

Test(softcuda, host_registration)
{
    void *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CUdeviceptr address;
    unsigned type = 0;
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemHostGetDevicePointer_v2(&address, memory, 0));
    REFUSED(CUDA_ERROR_INVALID_VALUE,
            cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t) memory));
    OK(cuMemHostRegister_v2(memory, 8192, CU_MEMHOSTREGISTER_DEVICEMAP));
    REFUSED(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister_v2(memory, 8192, 0));
    OK(cuMemHostGetDevicePointer_v2(&address, memory, 0));
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address));
    cr_assert_eq(type, CU_MEMORYTYPE_HOST);
    OK(cuMemHostUnregister(memory));
    REFUSED(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(memory));
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t) order));
    cr_assert_eq(type, CU_MEMORYTYPE_DEVICE);
}

Test(softcuda, devices)
{
    int count;
    CUdevice device;
    CUcontext first, second, of_stream;
    CUstream on_second;
    OK(cuDeviceGetCount(&count));
    cr_assert_eq(count, 1);
    setenv("SOFTCUDA_DEVICES", "3", 1);
    OK(cuDeviceGetCount(&count));
    cr_assert_eq(count, 3);
    REFUSED(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&device, 3));
    OK(cuCtxGetCurrent(&first));
    second = context_on(2);
    OK(cuCtxGetDevice(&device));
    cr_assert(device == 2 && first != second);
    OK(cuStreamCreate(&on_second, 0));
    OK(cuStreamGetCtx(on_second, &of_stream));
    cr_assert_eq(of_stream, second);
    OK(cuCtxPushCurrent_v2(first));
    OK(cuCtxGetDevice(&device));
    cr_assert_eq(device, 0);
    OK(cuCtxPopCurrent_v2(NULL));
    OK(cuCtxGetDevice(&device));
    cr_assert_eq(device, 2);
}

/* Legacy streams are per context; what was made in a context goes with it. */
Test(softcuda, second_context)
{
    CUcontext context, other;
    CUdeviceptr memory;
    unsigned type;
    slow("log_order:20000");
    OK(cuCtxGetCurrent(&context));
    OK(cuCtxCreate_v4(&other, NULL, 0, 0));
    OK(put(log_meet, NULL, 2));
    OK(cuMemAlloc_v2(&memory, 64));
    OK(cuCtxPopCurrent_v2(NULL));
    OK(put(log_meet, NULL, 2)); /* waits for nobody: another context's legacy stream */
    OK(cuCtxSynchronize());
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, memory));
    OK(cuCtxDestroy_v2(other));
    cr_assert_eq(order->met, 2);
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, memory));
    REFUSED(CUDA_ERROR_INVALID_CONTEXT, cuCtxDestroy_v2(other));
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t) order));
}

/* A CUkernel goes into a launch in a CUfunction's place, and nowhere else. */
Test(softcuda, kernels_and_functions)
{
    CUlibrary library;
    CUkernel kernel;
    const char *name;
    size_t offset, size;
    uint32_t value = 5;
    void *params[] = {&order, &value};
    OK(cuLibraryLoadData(&library, "//", NULL, NULL, 0, NULL, NULL, 0));
    OK(cuLibraryGetKernel(&kernel, library, "log_order"));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuFuncGetName(&name, (CUfunction) kernel));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuFuncGetParamInfo((CUfunction) kernel, 0, &offset, &size));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuKernelGetName(&name, (CUkernel) log_order));
    OK(cuKernelGetName(&name, kernel));
    cr_assert_str_eq(name, "log_order");
    OK(cuKernelGetParamInfo(kernel, 1, &offset, &size));
    cr_assert(offset == 8 && size == 4);
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuKernelGetParamInfo(kernel, 2, &offset, &size));
    OK(cuLaunchKernel((CUfunction) kernel, 1, 1, 1, 1, 1, 1, 0, a, params, NULL));
    OK(cuStreamSynchronize(a));
    EXPECT(5);
    CUgraph graph;
    CUgraphNode node;
    CUDA_KERNEL_NODE_PARAMS p = {.func = (CUfunction) kernel,
                                 .gridDimX = 1,
                                 .gridDimY = 1,
                                 .gridDimZ = 1,
                                 .blockDimX = 1,
                                 .blockDimY = 1,
                                 .blockDimZ = 1,
                                 .kernelParams = params};
    OK(cuGraphCreate(&graph, 0));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &p));
    p.func = NULL;
    p.kern = kernel;
    OK(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &p));
    OK(cuGraphKernelNodeGetParams_v2(node, &p));
    cr_assert(p.kern == kernel && !p.func);
    OK(cuLibraryUnload(library));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel((CUfunction) kernel, 1, 1, 1, 1, 1, 1, 0, a, params, NULL));
}

/* An unloaded function's handle comes back as another kernel. */
Test(softcuda, handles_are_given_out_again)
{
    CUmodule one, two;
    CUfunction was, is;
    const char *name;
    OK(cuModuleLoadData(&one, "//"));
    OK(cuModuleGetFunction(&was, one, "log_order"));
    OK(cuModuleUnload(one));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuFuncGetName(&name, was));
    OK(cuModuleLoadData(&two, "//"));
    OK(cuModuleGetFunction(&is, two, "log_side"));
    cr_assert_eq(was, is);
    OK(cuFuncGetName(&name, is));
    cr_assert_str_eq(name, "log_side");
    REFUSED(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&one, "no image"));
    REFUSED(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&was, two, "no_such_kernel"));
}

/* Failures on demand: the settings are read at the first call. */
static void setup_failing(void)
{
    setenv("SOFTCUDA_FAIL", "cuGraphCreate:999,cuStreamCreate:2:3", 1);
    setup();
}

TestSuite(softcuda_fail, .init = setup_failing, .timeout = 30);

Test(softcuda_fail, injected)
{
    CUgraph graph;
    CUstream stream;
    REFUSED(CUDA_ERROR_UNKNOWN, cuGraphCreate(&graph, 0));
    REFUSED(CUDA_ERROR_OUT_OF_MEMORY, cuStreamCreate(&stream, 0)); /* the third: setup made two */
    REFUSED(CUDA_ERROR_OUT_OF_MEMORY, cuStreamCreate(&stream, 0));
    OK(put(log_order, a, 1));
}
