/* SPDX-License-Identifier: Apache-2.0 */
#include "symbols.h"

#include "../../cupti/tracer.h"
#include "../log.h"
#include "preload.h"

#include <dlfcn.h>
#include <string.h>

/* The library has both ABIs, cuda.h would rename the older into the newer. */
#undef cuGetProcAddress
#undef cuGraphAddKernelNode
#undef cuGraphAddNode

#define EXPORT __attribute__((visibility("default")))

void *(*mt_real_dlsym)(void *, const char *);

static const struct mt_sink *report_to;

void mt_symbols_report_to(const struct mt_sink *sink)
{
    __atomic_store_n(&report_to, sink, __ATOMIC_RELEASE);
}

/*
 * The table. X(symbol, base name as cuGetProcAddress knows it, lowest cudaVersion that means this ABI).
 * The second list answers in the per-thread-default-stream flavour.
 */
#define HOOKS(X)                                                                                                       \
    X(cuInit, "cuInit", 0)                                                                                             \
    X(cuGetProcAddress, "cuGetProcAddress", 0)                                                                         \
    X(cuGetProcAddress_v2, "cuGetProcAddress", 12000)                                                                  \
    X(cuLaunchKernel, "cuLaunchKernel", 0)                                                                             \
    X(cuLaunchKernelEx, "cuLaunchKernelEx", 0)                                                                         \
    X(cuLaunchCooperativeKernel, "cuLaunchCooperativeKernel", 0)                                                       \
    X(cuGraphLaunch, "cuGraphLaunch", 0)                                                                               \
    X(cuGraphAddKernelNode, "cuGraphAddKernelNode", 0)                                                                 \
    X(cuGraphAddKernelNode_v2, "cuGraphAddKernelNode", 12000)                                                          \
    X(cuGraphAddNode, "cuGraphAddNode", 0)                                                                             \
    X(cuGraphAddNode_v2, "cuGraphAddNode", 12030)                                                                      \
    X(cuStreamEndCapture, "cuStreamEndCapture", 0)                                                                     \
    X(cuStreamSynchronize, "cuStreamSynchronize", 0)                                                                   \
    X(cuEventRecord, "cuEventRecord", 0)                                                                               \
    X(cuEventRecordWithFlags, "cuEventRecordWithFlags", 0)                                                             \
    X(cuStreamWaitEvent, "cuStreamWaitEvent", 0)                                                                       \
    X(cuMemcpyAsync, "cuMemcpyAsync", 0)                                                                               \
    X(cuMemcpyDtoHAsync_v2, "cuMemcpyDtoHAsync", 3020)                                                                 \
    X(cuMemcpyDtoDAsync_v2, "cuMemcpyDtoDAsync", 3020)                                                                 \
    X(cuMemcpyDtoH_v2, "cuMemcpyDtoH", 3020)                                                                           \
    X(cuCtxSynchronize_v2, "cuCtxSynchronize", 13000)                                                                  \
    X(cuCtxSynchronize, "cuCtxSynchronize", 0)                                                                         \
    X(cuModuleUnload, "cuModuleUnload", 0)                                                                             \
    X(cuLibraryUnload, "cuLibraryUnload", 0)                                                                           \
    X(cuCtxDestroy_v2, "cuCtxDestroy", 4000)                                                                           \
    X(cuDevicePrimaryCtxReset_v2, "cuDevicePrimaryCtxReset", 11000)                                                    \
    X(cuDevicePrimaryCtxRelease_v2, "cuDevicePrimaryCtxRelease", 11000)
#define HOOKS_PER_THREAD(X)                                                                                            \
    X(cuLaunchKernel_ptsz, "cuLaunchKernel", 0)                                                                        \
    X(cuLaunchKernelEx_ptsz, "cuLaunchKernelEx", 0)                                                                    \
    X(cuLaunchCooperativeKernel_ptsz, "cuLaunchCooperativeKernel", 0)                                                  \
    X(cuGraphLaunch_ptsz, "cuGraphLaunch", 0)                                                                          \
    X(cuStreamEndCapture_ptsz, "cuStreamEndCapture", 0)                                                                \
    X(cuStreamSynchronize_ptsz, "cuStreamSynchronize", 0)                                                              \
    X(cuEventRecord_ptsz, "cuEventRecord", 0)                                                                          \
    X(cuEventRecordWithFlags_ptsz, "cuEventRecordWithFlags", 0)                                                        \
    X(cuStreamWaitEvent_ptsz, "cuStreamWaitEvent", 0)                                                                  \
    X(cuMemcpyAsync_ptsz, "cuMemcpyAsync", 0)                                                                          \
    X(cuMemcpyDtoHAsync_v2_ptsz, "cuMemcpyDtoHAsync", 3020)                                                            \
    X(cuMemcpyDtoDAsync_v2_ptsz, "cuMemcpyDtoDAsync", 3020)                                                            \
    X(cuMemcpyDtoH_v2_ptds, "cuMemcpyDtoH", 3020)

/* cuda.h declares the per-thread flavours only to programs compiled for them. */
EXPORT __typeof__(cuLaunchKernel) cuLaunchKernel_ptsz;
EXPORT __typeof__(cuLaunchKernelEx) cuLaunchKernelEx_ptsz;
EXPORT __typeof__(cuLaunchCooperativeKernel) cuLaunchCooperativeKernel_ptsz;
EXPORT __typeof__(cuGraphLaunch) cuGraphLaunch_ptsz;
EXPORT __typeof__(cuStreamEndCapture) cuStreamEndCapture_ptsz;
EXPORT __typeof__(cuStreamSynchronize) cuStreamSynchronize_ptsz;
EXPORT __typeof__(cuEventRecord) cuEventRecord_ptsz;
EXPORT __typeof__(cuEventRecordWithFlags) cuEventRecordWithFlags_ptsz;
EXPORT __typeof__(cuStreamWaitEvent) cuStreamWaitEvent_ptsz;
EXPORT __typeof__(cuMemcpyAsync) cuMemcpyAsync_ptsz;
EXPORT __typeof__(cuMemcpyDtoHAsync_v2) cuMemcpyDtoHAsync_v2_ptsz;
EXPORT __typeof__(cuMemcpyDtoDAsync_v2) cuMemcpyDtoDAsync_v2_ptsz;
EXPORT __typeof__(cuMemcpyDtoH_v2) cuMemcpyDtoH_v2_ptds;
/* cuda.h names only the newest ABI, the library keeps both. */
typedef CUresult get_proc_address_v1(const char *symbol, void **pfn, int version, cuuint64_t flags);
EXPORT CUresult cuGetProcAddress(const char *symbol, void **pfn, int version, cuuint64_t flags);

EXPORT CUresult cuGraphAddKernelNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                     const CUDA_KERNEL_NODE_PARAMS_v1 *params);
EXPORT CUresult cuCtxSynchronize_v2(CUcontext context); /* cudart's of CUDA 13; cuda.h does not name it */
EXPORT CUresult cuGraphAddNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                               CUgraphNodeParams *params);

enum hook_index {
#define INDEX(symbol, base, version) HOOK_##symbol,
    HOOKS(INDEX) HOOKS_PER_THREAD(INDEX)
#undef INDEX
        HOOK_COUNT
};

static const struct hook {
    const char *symbol;
    const char *base;
    int version;
    bool per_thread;
    void *wrapper;
} hooks[HOOK_COUNT] = {
#define ROW(symbol, base, version) {#symbol, base, version, false, (void *) symbol},
#define ROW_PER_THREAD(symbol, base, version) {#symbol, base, version, true, (void *) symbol},
    HOOKS(ROW) HOOKS_PER_THREAD(ROW_PER_THREAD)
#undef ROW
#undef ROW_PER_THREAD
};

/* What each wrapper passes on to: the entry point that the engine would have got, the latest one seen. */
static void *reals[HOOK_COUNT];

/* Somebody else wants CUPTI's only subscription: these two are looked up through us as well. */
EXPORT int cuptiSubscribe(void **subscriber, void *callback, void *user);
EXPORT int cuptiSubscribe_v2(void **subscriber, void *callback, void *user, void *params);

static int find_hook(const char *name)
{
    for (int i = 0; i < HOOK_COUNT; i++) {
        if (strcmp(hooks[i].symbol, name) == 0)
            return i;
    }
    return -1;
}

static bool object_is(const void *address, const char *soname)
{
    Dl_info info;
    if (!address || !dladdr(address, &info) || !info.dli_fname)
        return false;
    const char *slash = strrchr(info.dli_fname, '/');
    return strncmp(slash ? slash + 1 : info.dli_fname, soname, strlen(soname)) == 0;
}

/* Sanitizers look their own functions up through us, before there is a shadow to check a byte in. */
#define BEFORE_SANITIZERS __attribute__((no_sanitize_address, no_sanitize_thread))

BEFORE_SANITIZERS static void find_real_dlsym(void)
{
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"};
    void *found = NULL;
    for (size_t i = 0; i < sizeof versions / sizeof *versions && !found; i++)
        found = dlvsym(RTLD_NEXT, "dlsym", versions[i]);
    memcpy(&mt_real_dlsym, &found, sizeof found);
}

struct answer {
    void *handled; /* NULL: pass the question on */
    void *address;
};
struct answer mt_dlsym_answer(void *handle, const char *name, void *caller);

/* Called by the stub in dlsym.S for every look-up in the process: anything that is not ours leaves at once. */
BEFORE_SANITIZERS struct answer mt_dlsym_answer(void *handle, const char *name, void *caller)
{
    const struct answer pass_on = {NULL, NULL};
    if (__builtin_expect(!mt_real_dlsym, 0))
        find_real_dlsym();
    if (!name || name[0] != 'c' || name[1] != 'u')
        return pass_on;
    bool cupti = strncmp(name, "cuptiSubscribe", 14) == 0;
    int hook = cupti ? -1 : find_hook(name);
    if ((hook < 0 && !cupti) || mt_preload_disabled())
        return pass_on;
    /* libcuda and libcupti look each other up: a wrapper there would call itself. RTLD_NEXT asks for what comes after
     * the caller, and that is not us. */
    if (handle == RTLD_NEXT || object_is(caller, "libcuda.so") || object_is(caller, "libcupti.so") || mt_is_quiet())
        return pass_on;
    /* Our own names must not make a program believe that it has a libcuda. */
    void *real = mt_real_dlsym(handle == RTLD_DEFAULT ? RTLD_NEXT : handle, name);
    if (!real)
        return handle == RTLD_DEFAULT ? (struct answer){(void *) hooks, NULL} : pass_on;
    if (cupti)
        return object_is(real, "libcupti.so")
                   ? (struct answer){real, name[14] ? (void *) cuptiSubscribe_v2 : (void *) cuptiSubscribe}
                   : pass_on;
    if (real == hooks[hook].wrapper)
        return pass_on;
    __atomic_store_n(&reals[hook], real, __ATOMIC_RELEASE);
    return (struct answer){real, hooks[hook].wrapper};
}

void *mt_symbols_libcuda(void)
{
    static const enum hook_index seen[] = {HOOK_cuInit, HOOK_cuGetProcAddress_v2, HOOK_cuGetProcAddress,
                                           HOOK_cuLaunchKernel, HOOK_cuLaunchKernelEx};
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++) {
        Dl_info info;
        void *real = __atomic_load_n(&reals[seen[i]], __ATOMIC_ACQUIRE);
        if (real && dladdr(real, &info) && info.dli_fname) {
            void *library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
            if (library)
                return library;
        }
    }
    return dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
}

/* The engine came by our exported name (it links libcuda): who is next after us, else the libcuda that is loaded. */
static void *find_real(enum hook_index hook)
{
    if (!mt_real_dlsym)
        find_real_dlsym();
    void *real = mt_real_dlsym(RTLD_NEXT, hooks[hook].symbol);
    if (!real) {
        void *library = mt_symbols_libcuda();
        real = library ? mt_real_dlsym(library, hooks[hook].symbol) : NULL;
    }
    if (real)
        __atomic_store_n(&reals[hook], real, __ATOMIC_RELEASE);
    return real;
}

static inline void *real_of(enum hook_index hook)
{
    void *real = __atomic_load_n(&reals[hook], __ATOMIC_ACQUIRE);
    return __builtin_expect(real != NULL, 1) ? real : find_real(hook);
}

/* `real` with its type, or the wrapper's early return: a libcuda that lacks the entry point. */
#define REAL(symbol)                                                                                                   \
    __typeof__(symbol) *real = (__typeof__(symbol) *) real_of(HOOK_##symbol);                                          \
    if (!real)                                                                                                         \
    return CUDA_ERROR_NOT_FOUND

static inline const struct mt_sink *sink_now(void)
{
    const struct mt_sink *sink = __atomic_load_n(&report_to, __ATOMIC_ACQUIRE);
    if (mt_is_quiet())
        return NULL;
    if (__builtin_expect(sink != NULL, 1))
        return sink;
    mt_preload_start(); /* a door that showed no cuInit */
    return __atomic_load_n(&report_to, __ATOMIC_ACQUIRE);
}

/*
 * CUPTI costs every launch of the engine some tenths of a microsecond, the symbols next to nothing. So once so many
 * launches that CUPTI told of came by a symbol, and none came by another way, CUPTI has done its work. A program with
 * another way to launch keeps it.
 */
#define VERIFIED_AFTER 2048u
static bool verifying;
static uint64_t covered; /* launches that CUPTI told of while one of our symbols was being called */

static void came_around(const struct mt_launch *launch)
{
    if (__atomic_exchange_n(&verifying, false, __ATOMIC_ACQ_REL))
        mt_log(MT_LOG_EXPLAIN, "%s came by no preloaded symbol: launches come from CUPTI to the end",
               launch->symbol ? launch->symbol : "a launch");
    mt_tracer_watch(NULL);
}

void mt_symbols_verify(void)
{
    __atomic_store_n(&verifying, true, __ATOMIC_RELEASE);
    mt_tracer_watch(came_around);
}

static void cover(uint64_t reports)
{
    uint64_t sum = __atomic_add_fetch(&covered, reports, __ATOMIC_ACQ_REL);
    if (sum < VERIFIED_AFTER || !__atomic_exchange_n(&verifying, false, __ATOMIC_ACQ_REL))
        return;
    mt_log(MT_LOG_EXPLAIN,
           "the preloaded symbols saw each of %llu launches: CUPTI is given up, launches come from them",
           (unsigned long long) sum);
    mt_tracer_yield();
}

/*
 * Reports a launch that the tracer did not. before() may come from both: it only closes what an earlier launch left
 * open.
 */
#define LAUNCH(launch, call)                                                                                           \
    const struct mt_sink *sink = sink_now();                                                                           \
    if (!sink)                                                                                                         \
        return (call);                                                                                                 \
    uint64_t told = mt_tracer_reported();                                                                              \
    if (__atomic_load_n(sink->waiting, __ATOMIC_RELAXED))                                                              \
        sink->before(&(launch));                                                                                       \
    mt_launch_thread.hooked++;                                                                                         \
    CUresult result = (call);                                                                                          \
    mt_launch_thread.hooked--;                                                                                         \
    told = mt_tracer_reported() - told;                                                                                \
    if (result == CUDA_SUCCESS && !told)                                                                               \
        sink->after(&(launch));                                                                                        \
    if (told && __atomic_load_n(&verifying, __ATOMIC_RELAXED))                                                         \
        cover(told);                                                                                                   \
    return result

#define LAUNCH_KERNEL(symbol, per_thread)                                                                              \
    EXPORT CUresult symbol(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, \
                           unsigned shared, CUstream stream, void **params, void **extra)                              \
    {                                                                                                                  \
        REAL(symbol);                                                                                                  \
        const struct mt_launch launch = {                                                                              \
            f, NULL, {gx, gy, gz}, {bx, by, bz}, mt_stream_meant(stream, per_thread), params, extra};                  \
        LAUNCH(launch, real(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra));                                \
    }
LAUNCH_KERNEL(cuLaunchKernel, false)
LAUNCH_KERNEL(cuLaunchKernel_ptsz, true)

#define LAUNCH_EX(symbol, per_thread)                                                                                  \
    EXPORT CUresult symbol(const CUlaunchConfig *config, CUfunction f, void **params, void **extra)                    \
    {                                                                                                                  \
        REAL(symbol);                                                                                                  \
        if (!config)                                                                                                   \
            return real(config, f, params, extra);                                                                     \
        const struct mt_launch launch = {f,                                                                            \
                                         NULL,                                                                         \
                                         {config->gridDimX, config->gridDimY, config->gridDimZ},                       \
                                         {config->blockDimX, config->blockDimY, config->blockDimZ},                    \
                                         mt_stream_meant(config->hStream, per_thread),                                 \
                                         params,                                                                       \
                                         extra};                                                                       \
        LAUNCH(launch, real(config, f, params, extra));                                                                \
    }
LAUNCH_EX(cuLaunchKernelEx, false)
LAUNCH_EX(cuLaunchKernelEx_ptsz, true)

#define LAUNCH_COOPERATIVE(symbol, per_thread)                                                                         \
    EXPORT CUresult symbol(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, \
                           unsigned shared, CUstream stream, void **params)                                            \
    {                                                                                                                  \
        REAL(symbol);                                                                                                  \
        const struct mt_launch launch = {                                                                              \
            f, NULL, {gx, gy, gz}, {bx, by, bz}, mt_stream_meant(stream, per_thread), params, NULL};                   \
        LAUNCH(launch, real(f, gx, gy, gz, bx, by, bz, shared, stream, params));                                       \
    }
LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel, false)
LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel_ptsz, true)

/* Calls through which the work so far is seen from elsewhere. PARAMS and ARGS carry their own parentheses. */
#define TELL(what, symbol, stream, PARAMS, ARGS)                                                                       \
    EXPORT CUresult symbol PARAMS                                                                                      \
    {                                                                                                                  \
        REAL(symbol);                                                                                                  \
        const struct mt_sink *sink = sink_now();                                                                       \
        if (sink)                                                                                                      \
            sink->what(stream);                                                                                        \
        return real ARGS;                                                                                              \
    }
#define FENCE(symbol, stream, PARAMS, ARGS) TELL(fence, symbol, stream, PARAMS, ARGS)
#define BOTH(symbol, variant, PARAMS, ARGS)                                                                            \
    FENCE(symbol, mt_stream_meant(s, false), PARAMS, ARGS) FENCE(variant, mt_stream_meant(s, true), PARAMS, ARGS)

BOTH(cuGraphLaunch, cuGraphLaunch_ptsz, (CUgraphExec g, CUstream s), (g, s))
TELL(capture_ends, cuStreamEndCapture, mt_stream_meant(s, false), (CUstream s, CUgraph *g), (s, g))
TELL(capture_ends, cuStreamEndCapture_ptsz, mt_stream_meant(s, true), (CUstream s, CUgraph *g), (s, g))
BOTH(cuStreamSynchronize, cuStreamSynchronize_ptsz, (CUstream s), (s))
BOTH(cuMemcpyAsync, cuMemcpyAsync_ptsz, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s), (to, from, n, s))
BOTH(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync_v2_ptsz, (void *to, CUdeviceptr from, size_t n, CUstream s),
     (to, from, n, s))
BOTH(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync_v2_ptsz, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s),
     (to, from, n, s))
FENCE(cuMemcpyDtoH_v2, NULL, (void *to, CUdeviceptr from, size_t n), (to, from, n))
FENCE(cuMemcpyDtoH_v2_ptds, NULL, (void *to, CUdeviceptr from, size_t n), (to, from, n))
FENCE(cuCtxSynchronize, NULL, (void), ())
FENCE(cuCtxSynchronize_v2, NULL, (CUcontext context), (context))

#define RECORD(symbol, per_thread, PARAMS, ARGS)                                                                       \
    EXPORT CUresult symbol PARAMS                                                                                      \
    {                                                                                                                  \
        REAL(symbol);                                                                                                  \
        const struct mt_sink *sink = sink_now();                                                                       \
        if (sink) {                                                                                                    \
            sink->fence(mt_stream_meant(s, per_thread));                                                               \
            sink->recorded(e, mt_stream_meant(s, per_thread));                                                         \
        }                                                                                                              \
        return real ARGS;                                                                                              \
    }
RECORD(cuEventRecord, false, (CUevent e, CUstream s), (e, s))
RECORD(cuEventRecord_ptsz, true, (CUevent e, CUstream s), (e, s))
RECORD(cuEventRecordWithFlags, false, (CUevent e, CUstream s, unsigned f), (e, s, f))
RECORD(cuEventRecordWithFlags_ptsz, true, (CUevent e, CUstream s, unsigned f), (e, s, f))

#define WAIT(symbol, per_thread)                                                                                       \
    EXPORT CUresult symbol(CUstream s, CUevent e, unsigned flags)                                                      \
    {                                                                                                                  \
        REAL(symbol);                                                                                                  \
        const struct mt_sink *sink = sink_now();                                                                       \
        if (sink)                                                                                                      \
            sink->waits(mt_stream_meant(s, per_thread), e);                                                            \
        return real(s, e, flags);                                                                                      \
    }
WAIT(cuStreamWaitEvent, false)
WAIT(cuStreamWaitEvent_ptsz, true)

/* p: any of the driver's structs for a kernel node; the oldest has no `kern`. */
#define TELL_NODE(p, function)                                                                                         \
    if (result == CUDA_SUCCESS && sink) {                                                                              \
        const struct mt_launch launch = {function,                                                                     \
                                         NULL,                                                                         \
                                         {(p)->gridDimX, (p)->gridDimY, (p)->gridDimZ},                                \
                                         {(p)->blockDimX, (p)->blockDimY, (p)->blockDimZ},                             \
                                         NULL,                                                                         \
                                         (p)->kernelParams,                                                            \
                                         (p)->extra};                                                                  \
        sink->node(&launch);                                                                                           \
    }
#define FUNCTION_OF(p) ((p)->func ? (p)->func : (CUfunction) (p)->kern)

EXPORT CUresult cuGraphAddKernelNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                     const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
    REAL(cuGraphAddKernelNode);
    const struct mt_sink *sink = sink_now();
    CUresult result = real(node, graph, deps, count, params);
    TELL_NODE(params, params->func);
    return result;
}

EXPORT CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                        const CUDA_KERNEL_NODE_PARAMS *params)
{
    REAL(cuGraphAddKernelNode_v2);
    const struct mt_sink *sink = sink_now();
    CUresult result = real(node, graph, deps, count, params);
    TELL_NODE(params, FUNCTION_OF(params));
    return result;
}

EXPORT CUresult cuGraphAddNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                               CUgraphNodeParams *params)
{
    REAL(cuGraphAddNode);
    const struct mt_sink *sink = params && params->type == CU_GRAPH_NODE_TYPE_KERNEL ? sink_now() : NULL;
    CUresult result = real(node, graph, deps, count, params);
    TELL_NODE(&params->kernel, FUNCTION_OF(&params->kernel));
    return result;
}

EXPORT CUresult cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps,
                                  const CUgraphEdgeData *edges, size_t count, CUgraphNodeParams *params)
{
    REAL(cuGraphAddNode_v2);
    const struct mt_sink *sink = params && params->type == CU_GRAPH_NODE_TYPE_KERNEL ? sink_now() : NULL;
    CUresult result = real(node, graph, deps, edges, count, params);
    TELL_NODE(&params->kernel, FUNCTION_OF(&params->kernel));
    return result;
}

#define UNLOAD(symbol, type)                                                                                           \
    EXPORT CUresult symbol(type handle)                                                                                \
    {                                                                                                                  \
        REAL(symbol);                                                                                                  \
        const struct mt_sink *sink = sink_now();                                                                       \
        if (sink)                                                                                                      \
            sink->unload();                                                                                            \
        return real(handle);                                                                                           \
    }
UNLOAD(cuModuleUnload, CUmodule)
UNLOAD(cuLibraryUnload, CUlibrary)

EXPORT CUresult cuCtxDestroy_v2(CUcontext context)
{
    REAL(cuCtxDestroy_v2);
    const struct mt_sink *sink = sink_now();
    if (sink)
        sink->context_gone(context);
    return real(context);
}

/* Which context a device's primary one is, the sink finds out itself: NULL means "ask after each you know". */
#define PRIMARY_GONE(symbol)                                                                                           \
    EXPORT CUresult symbol(CUdevice device)                                                                            \
    {                                                                                                                  \
        REAL(symbol);                                                                                                  \
        const struct mt_sink *sink = sink_now();                                                                       \
        CUresult result = real(device);                                                                                \
        if (sink && result == CUDA_SUCCESS)                                                                            \
            sink->context_gone(NULL);                                                                                  \
        return result;                                                                                                 \
    }
PRIMARY_GONE(cuDevicePrimaryCtxReset_v2)
PRIMARY_GONE(cuDevicePrimaryCtxRelease_v2)

EXPORT CUresult cuInit(unsigned flags)
{
    REAL(cuInit);
    CUresult result = real(flags);
    if (result == CUDA_SUCCESS && !mt_is_quiet())
        mt_preload_start();
    return result;
}

/* The hooks' prototypes are those of this CUDA version. */
#define KNOWN_VERSION 13000

/* A later CUDA may have given a function other parameters under the same name: that one is none of ours. */
static bool is_known(const char *name, int version, cuuint64_t flags, const void *pfn)
{
    if (version <= KNOWN_VERSION)
        return true;
    void *known = NULL;
    CUdriverProcAddressQueryResult status;
    __typeof__(cuGetProcAddress_v2) *real = (__typeof__(cuGetProcAddress_v2) *) real_of(HOOK_cuGetProcAddress_v2);
    if (real && real(name, &known, KNOWN_VERSION, flags, &status) == CUDA_SUCCESS && known == pfn)
        return true;
    mt_log_once(MT_LOG_PROBLEM, "%s of CUDA %d.%d is not known here: launches may be missed, use --source=cupti", name,
                version / 1000, version % 1000 / 10);
    return false;
}

/* The real one answers first: status, versions and missing names stay its own business. */
static void substitute(const char *name, int version, cuuint64_t flags, void **pfn)
{
    if (!name || !pfn || !*pfn || mt_is_quiet() || mt_preload_disabled())
        return;
    bool per_thread = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    int best = -1;
    for (int i = 0; i < HOOK_COUNT; i++) {
        if (strcmp(hooks[i].base, name) != 0 || version < hooks[i].version)
            continue;
        /* A function without a per-thread flavour answers to both. */
        if (hooks[i].per_thread && !per_thread)
            continue;
        if (best < 0 || hooks[i].per_thread || hooks[i].version > hooks[best].version)
            best = i;
    }
    if (best < 0 || *pfn == hooks[best].wrapper || !is_known(name, version, flags, *pfn))
        return;
    __atomic_store_n(&reals[best], *pfn, __ATOMIC_RELEASE);
    *pfn = hooks[best].wrapper;
}

EXPORT CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, cuuint64_t flags,
                                    CUdriverProcAddressQueryResult *status)
{
    REAL(cuGetProcAddress_v2);
    CUresult result = real(symbol, pfn, version, flags, status);
    if (result == CUDA_SUCCESS)
        substitute(symbol, version, flags, pfn);
    return result;
}

EXPORT CUresult cuGetProcAddress(const char *symbol, void **pfn, int version, cuuint64_t flags)
{
    get_proc_address_v1 *real = (get_proc_address_v1 *) real_of(HOOK_cuGetProcAddress);
    if (!real)
        return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(symbol, pfn, version, flags);
    if (result == CUDA_SUCCESS)
        substitute(symbol, version, flags, pfn);
    return result;
}

/* The libcupti that the caller means: the one that its own library links or has loaded, not the one that we use. */
static void *real_cupti(const char *name, void *caller)
{
    Dl_info info;
    if (!mt_real_dlsym)
        find_real_dlsym();
    if (dladdr(caller, &info) && info.dli_fname) {
        void *library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
        void *real = library ? mt_real_dlsym(library, name) : NULL;
        if (real && object_is(real, "libcupti.so"))
            return real;
    }
    static const char *const names[] = {"libcupti.so.13", "libcupti.so.12", "libcupti.so"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *library = dlopen(names[i], RTLD_LAZY | RTLD_NOLOAD);
        void *real = library ? mt_real_dlsym(library, name) : NULL;
        if (real)
            return real;
    }
    return mt_real_dlsym(RTLD_NEXT, name);
}

/* Somebody else subscribes: the slot is theirs. */
static void give_way(void)
{
    if (mt_is_quiet() || !mt_tracer_yield())
        return;
    if (__atomic_load_n(&report_to, __ATOMIC_ACQUIRE))
        mt_log(MT_LOG_EXPLAIN, "CUPTI goes to another tool: launches come from preloaded symbols");
    else
        mt_log(MT_LOG_PROBLEM, "another tool takes CUPTI, the one source that was asked for: nothing more is captured");
}

#define CUPTI_ERROR_NOT_SUPPORTED 27

EXPORT int cuptiSubscribe(void **subscriber, void *callback, void *user)
{
    int (*real)(void **, void *, void *) =
        (int (*)(void **, void *, void *)) real_cupti("cuptiSubscribe", __builtin_return_address(0));
    give_way();
    return real ? real(subscriber, callback, user) : CUPTI_ERROR_NOT_SUPPORTED;
}

EXPORT int cuptiSubscribe_v2(void **subscriber, void *callback, void *user, void *params)
{
    int (*real)(void **, void *, void *, void *) =
        (int (*)(void **, void *, void *, void *)) real_cupti("cuptiSubscribe_v2", __builtin_return_address(0));
    give_way();
    return real ? real(subscriber, callback, user, params) : CUPTI_ERROR_NOT_SUPPORTED;
}
