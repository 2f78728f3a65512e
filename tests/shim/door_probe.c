/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine that routes by every way into the driver. door_probe LIBCUDA TRUTH DOOR WHAT; DOOR: dlsym, getproc (then
 * the per-thread flavours come by the flag), around (launches by libc's own dlsym, past all that is preloaded). TRUTH
 * gets the ids of each launch, a line each.
 */
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXPERTS = 256, K = 8 };

typedef CUresult create_context(CUcontext *, unsigned, CUdevice);

#define CALLS(X)                                                                                                       \
    X(cuInit, "cuInit", 2000)                                                                                          \
    X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", 7000)                                                      \
    X(cuDevicePrimaryCtxReset_v2, "cuDevicePrimaryCtxReset", 11000)                                                    \
    X(cuCtxSetCurrent, "cuCtxSetCurrent", 4000)                                                                        \
    X(cuCtxDestroy_v2, "cuCtxDestroy", 4000)                                                                           \
    X(cuCtxSynchronize, "cuCtxSynchronize", 2000)                                                                      \
    X(cuMemAlloc_v2, "cuMemAlloc", 3020)                                                                               \
    X(cuMemcpyHtoD_v2, "cuMemcpyHtoD", 3020)                                                                           \
    X(cuMemcpyDtoH_v2, "cuMemcpyDtoH", 3020)                                                                           \
    X(cuModuleLoadData, "cuModuleLoadData", 2000)                                                                      \
    X(cuModuleGetFunction, "cuModuleGetFunction", 2000)                                                                \
    X(cuModuleUnload, "cuModuleUnload", 2000)                                                                          \
    X(cuLibraryLoadData, "cuLibraryLoadData", 12000)                                                                   \
    X(cuLibraryGetKernel, "cuLibraryGetKernel", 12000)                                                                 \
    X(cuLibraryUnload, "cuLibraryUnload", 12000)                                                                       \
    X(cuStreamCreate, "cuStreamCreate", 2000)                                                                          \
    X(cuLaunchKernel, "cuLaunchKernel", 4000)                                                                          \
    X(cuLaunchKernelEx, "cuLaunchKernelEx", 11060)                                                                     \
    X(cuLaunchCooperativeKernel, "cuLaunchCooperativeKernel", 9000)                                                    \
    X(cuGraphCreate, "cuGraphCreate", 10000)                                                                           \
    X(cuGraphAddKernelNode_v2, "cuGraphAddKernelNode", 12000)                                                          \
    X(cuGraphAddNode_v2, "cuGraphAddNode", 12030)

static struct {
#define FIELD(symbol, base, version) __typeof__(&(symbol)) symbol;
    CALLS(FIELD)
#undef FIELD
    __typeof__(&cuLaunchKernel) cuLaunchKernel_ptsz;
    __typeof__(&cuLaunchKernelEx) cuLaunchKernelEx_ptsz;
    __typeof__(&cuLaunchCooperativeKernel) cuLaunchCooperativeKernel_ptsz;
    create_context *cuCtxCreate_v2;
} cuda;

static FILE *truth;
static pthread_mutex_t truth_lock = PTHREAD_MUTEX_INITIALIZER;
static const char image[] = ".version 8.0";

static void ok(int result, const char *what)
{
    if (result) {
        fprintf(stderr, "%s: error %d\n", what, result);
        exit(3);
    }
}
#define OK(call) ok((int) (call), #call)

typedef CUresult get_proc(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *);

enum door { DLSYM, GETPROC, AROUND };

static void *look_up(void *library, enum door door, const char *symbol, const char *base, int version, bool per_thread)
{
    void *found = NULL;
    if (door == AROUND && strncmp(symbol, "cuLaunch", 8) == 0) {
        void *(*own)(void *, const char *);
        found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
        if (!found)
            found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.17"); /* not on x86-64 */
        ok(!found, "libc's dlsym");
        memcpy(&own, &found, sizeof own);
        found = own(library, symbol);
    } else if (door != GETPROC) {
        found = dlsym(library, symbol);
    } else {
        get_proc *proc = (get_proc *) dlsym(library, "cuGetProcAddress_v2");
        OK(proc(base, &found, version,
                per_thread ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM : CU_GET_PROC_ADDRESS_LEGACY_STREAM, NULL));
    }
    ok(!found, symbol);
    return found;
}

static void open_driver(const char *path, enum door door)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL), *found;
    if (!library)
        ok(1, dlerror());
#define LOOK_UP(symbol, base, version)                                                                                 \
    found = look_up(library, door, #symbol, base, version, false);                                                     \
    memcpy(&cuda.symbol, &found, sizeof found);
#define LOOK_UP_PER_THREAD(symbol, base, version)                                                                      \
    found = look_up(library, door, #symbol, base, version, true);                                                      \
    memcpy(&cuda.symbol, &found, sizeof found);
    CALLS(LOOK_UP)
    LOOK_UP(cuCtxCreate_v2, "cuCtxCreate", 11000)
    LOOK_UP_PER_THREAD(cuLaunchKernel_ptsz, "cuLaunchKernel", 7000)
    LOOK_UP_PER_THREAD(cuLaunchKernelEx_ptsz, "cuLaunchKernelEx", 11060)
    LOOK_UP_PER_THREAD(cuLaunchCooperativeKernel_ptsz, "cuLaunchCooperativeKernel", 9000)
}

/* Functions that kept their name and got other parameters: one that is known, one that nobody knows yet. */
static void new_parameters(const char *path, CUcontext context)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *found = look_up(library, true, "cuCtxSynchronize", "cuCtxSynchronize", 13000, false);
    CUresult (*synchronize)(CUcontext);
    memcpy(&synchronize, &found, sizeof found);
    OK(synchronize(context));
    CUresult (*record)(long, long, long, long);
    found = look_up(library, true, "cuEventRecord", "cuEventRecord", 90000, false);
    memcpy(&record, &found, sizeof found);
    OK(record(11, 22, 33, 44));
}

static CUcontext context_on(int device)
{
    CUcontext context;
    OK(cuda.cuDevicePrimaryCtxRetain(&context, device));
    OK(cuda.cuCtxSetCurrent(context));
    return context;
}

static CUfunction load(CUmodule *module, const char *name)
{
    CUfunction function;
    OK(cuda.cuModuleLoadData(module, image));
    OK(cuda.cuModuleGetFunction(&function, *module, name));
    return function;
}

enum way { PLAIN, EX, COOPERATIVE, EXTRA, PLAIN_PTSZ, EX_PTSZ, COOPERATIVE_PTSZ, WAYS };

/* One router with scores of its own, by one way; its ids go to the truth. */
static void route(CUfunction f, CUstream stream, enum way way)
{
    CUdeviceptr logits, ids, weights;
    float scores[EXPERTS];
    int32_t got[K];
    int rows = 1, experts = EXPERTS, k = K;
    OK(cuda.cuMemAlloc_v2(&logits, sizeof scores));
    OK(cuda.cuMemAlloc_v2(&ids, sizeof got));
    OK(cuda.cuMemAlloc_v2(&weights, K * sizeof(float)));
    for (int i = 0; i < EXPERTS; i++)
        scores[i] = (float) random();
    OK(cuda.cuMemcpyHtoD_v2(logits, scores, sizeof scores));
    void *params[] = {&logits, &ids, &weights, &rows, &experts, &k};
    const CUlaunchConfig config = {.gridDimX = 1,
                                   .gridDimY = 1,
                                   .gridDimZ = 1,
                                   .blockDimX = 32,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .hStream = stream};
    struct {
        CUdeviceptr logits, ids, weights;
        int rows, experts, k;
    } packed = {logits, ids, weights, rows, experts, k};
    size_t size = sizeof packed;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    switch (way) {
    case PLAIN:
        OK(cuda.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL));
        break;
    case PLAIN_PTSZ:
        OK(cuda.cuLaunchKernel_ptsz(f, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL));
        break;
    case EX:
        OK(cuda.cuLaunchKernelEx(&config, f, params, NULL));
        break;
    case EX_PTSZ:
        OK(cuda.cuLaunchKernelEx_ptsz(&config, f, params, NULL));
        break;
    case COOPERATIVE:
        OK(cuda.cuLaunchCooperativeKernel(f, 1, 1, 1, 32, 1, 1, 0, stream, params));
        break;
    case COOPERATIVE_PTSZ:
        OK(cuda.cuLaunchCooperativeKernel_ptsz(f, 1, 1, 1, 32, 1, 1, 0, stream, params));
        break;
    default:
        OK(cuda.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, stream, NULL, extra));
        break;
    }
    OK(cuda.cuCtxSynchronize());
    OK(cuda.cuMemcpyDtoH_v2(got, ids, sizeof got));
    pthread_mutex_lock(&truth_lock);
    for (int i = 0; i < K; i++)
        fprintf(truth, "%s%d", i ? "," : "[[", got[i]);
    fputs("]]\n", truth);
    fflush(truth);
    pthread_mutex_unlock(&truth_lock);
}

/* A launch that is no router, of a function that may have a router's handle. */
static void embed(CUfunction f)
{
    CUdeviceptr memory;
    int rows = 1, dim = 32;
    OK(cuda.cuMemAlloc_v2(&memory, 4096));
    void *params[] = {&memory, &memory, &memory, &rows, &dim};
    OK(cuda.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
    OK(cuda.cuCtxSynchronize());
}

static const char router_name[] = "moe_demo_topk_i32";

static void ways(void)
{
    CUmodule module;
    CUstream stream;
    CUfunction f = load(&module, router_name);
    OK(cuda.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (int round = 0; round < 3; round++) {
        for (enum way way = 0; way < WAYS; way++) {
            route(f, stream, way);
            route(f, NULL, way);
            route(f, CU_STREAM_PER_THREAD, way);
        }
    }
}

static CUcontext shared_context;
static CUfunction shared_function;

static void *thread_of_its_own(void *user)
{
    (void) user;
    OK(cuda.cuCtxSetCurrent(shared_context));
    for (int i = 0; i < 20; i++)
        route(shared_function, NULL, PLAIN_PTSZ);
    return NULL;
}

static void per_thread(void)
{
    CUmodule module;
    pthread_t threads[3];
    shared_context = context_on(0);
    shared_function = load(&module, router_name);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, thread_of_its_own, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

static void kernel_in_disguise(void)
{
    CUlibrary library;
    CUkernel kernel;
    OK(cuda.cuLibraryLoadData(&library, image, NULL, NULL, 0, NULL, NULL, 0));
    OK(cuda.cuLibraryGetKernel(&kernel, library, router_name));
    for (int i = 0; i < 3; i++) {
        route((CUfunction) kernel, NULL, PLAIN);
        route((CUfunction) kernel, NULL, EX);
        route((CUfunction) kernel, NULL, EXTRA);
    }
    OK(cuda.cuLibraryUnload(library));
    CUmodule module;
    CUfunction f = load(&module, "moe_demo_embed");
    ok((void *) f != (void *) kernel, "the handle comes back");
    embed(f);
}

static void unload(void)
{
    CUmodule module;
    CUfunction f = load(&module, "moe_demo_embed"), was = f;
    embed(f);
    OK(cuda.cuModuleUnload(module));
    f = load(&module, router_name);
    ok(f != was, "the handle comes back");
    route(f, NULL, PLAIN);
    OK(cuda.cuModuleUnload(module));
    f = load(&module, "moe_demo_embed");
    ok(f != was, "the handle comes back again");
    embed(f);
}

static void reload(void)
{
    for (int i = 0; i < 5; i++) {
        CUmodule module;
        route(load(&module, router_name), NULL, PLAIN);
        OK(cuda.cuModuleUnload(module));
        embed(load(&module, "moe_demo_embed"));
        OK(cuda.cuModuleUnload(module));
    }
}

static void contexts(void)
{
    CUmodule module;
    CUcontext first = context_on(0), second;
    CUfunction in_first = load(&module, router_name);
    route(in_first, NULL, PLAIN);
    OK(cuda.cuCtxCreate_v2(&second, 0, 0));
    CUfunction in_second = load(&module, router_name);
    for (int i = 0; i < 4; i++) {
        OK(cuda.cuCtxSetCurrent(second));
        route(in_second, NULL, PLAIN);
        OK(cuda.cuCtxSetCurrent(first));
        route(in_first, NULL, PLAIN);
    }
    OK(cuda.cuCtxDestroy_v2(second));
    route(in_first, NULL, PLAIN);
}

/* More than live at any one time, and more than a small table would hold. */
static void contexts_in_turn(void)
{
    for (int i = 0; i < 70; i++) {
        CUmodule module;
        CUcontext context;
        OK(cuda.cuCtxCreate_v2(&context, 0, 0));
        route(load(&module, router_name), NULL, PLAIN);
        OK(cuda.cuCtxDestroy_v2(context));
    }
}

static void many_streams(void)
{
    CUmodule module;
    CUfunction f = load(&module, router_name);
    for (int i = 0; i < 1100; i++) {
        CUstream stream;
        OK(cuda.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        route(f, stream, PLAIN);
    }
}

static void reset(void)
{
    CUmodule module;
    for (int i = 0; i < 3; i++) {
        context_on(0);
        route(load(&module, router_name), NULL, PLAIN);
        OK(cuda.cuDevicePrimaryCtxReset_v2(0));
    }
}

static void devices(void)
{
    CUmodule module;
    CUfunction f[3];
    CUcontext context[3];
    for (int i = 0; i < 3; i++) {
        context[i] = context_on(i);
        f[i] = load(&module, router_name);
    }
    for (int n = 0; n < 5; n++) {
        for (int i = 0; i < 3; i++) {
            OK(cuda.cuCtxSetCurrent(context[i]));
            route(f[i], NULL, PLAIN);
        }
    }
}

/* CUDA is dead in the child, and we with it: what the child launches all the same must not get a tap. */
static void fork_late(const char *path)
{
    CUmodule module;
    CUfunction f = load(&module, router_name);
    route(f, NULL, PLAIN);
    pid_t child = fork();
    if (child == 0) {
        CUdeviceptr none = 0;
        int zero = 0;
        Dl_info info;
        void *params[] = {&none, &none, &none, &zero, &zero, &zero};
        void *found = dlsym(dlopen(path, RTLD_NOW | RTLD_NOLOAD), "cuLaunchKernel");
        setenv("MOETAP_LOG", "2", 1);
        CUresult result = cuda.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL);
        (void) result;
        exit(found && dladdr(found, &info) && strstr(info.dli_fname, "moetap-shim") ? 7 : 0);
    }
    int status;
    ok(waitpid(child, &status, 0) != child || !WIFEXITED(status), "the child");
    ok(WEXITSTATUS(status), "the child is not left alone");
    route(f, NULL, PLAIN);
}

/* Graphs made node by node: no launch to see, so these are not captured, and counted. */
static void nodes(void)
{
    CUmodule module;
    CUfunction f = load(&module, router_name);
    route(f, NULL, PLAIN);
    CUgraph graph;
    CUgraphNode node;
    CUdeviceptr memory;
    int rows = 1, experts = EXPERTS, k = K;
    OK(cuda.cuMemAlloc_v2(&memory, EXPERTS * sizeof(float)));
    void *params[] = {&memory, &memory, &memory, &rows, &experts, &k};
    const CUDA_KERNEL_NODE_PARAMS by_kind = {.func = f,
                                             .gridDimX = 1,
                                             .gridDimY = 1,
                                             .gridDimZ = 1,
                                             .blockDimX = 32,
                                             .blockDimY = 1,
                                             .blockDimZ = 1,
                                             .kernelParams = params};
    CUgraphNodeParams any = {.type = CU_GRAPH_NODE_TYPE_KERNEL};
    any.kernel.func = f;
    any.kernel.gridDimX = any.kernel.gridDimY = any.kernel.gridDimZ = 1;
    any.kernel.blockDimX = 32;
    any.kernel.blockDimY = any.kernel.blockDimZ = 1;
    any.kernel.kernelParams = params;
    CUgraphNodeParams empty = {.type = CU_GRAPH_NODE_TYPE_EMPTY};
    OK(cuda.cuGraphCreate(&graph, 0));
    OK(cuda.cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &by_kind));
    OK(cuda.cuGraphAddNode_v2(&node, graph, &node, NULL, 1, &any));
    if (cuda.cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &empty) == CUDA_SUCCESS && !node)
        ok(1, "an empty node");
    ok(cuda.cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, NULL) == CUDA_SUCCESS, "a node of nothing");
}

/* A server that forks its workers before CUDA starts: each is an engine. */
static void fork_early(void)
{
    CUmodule module;
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0) {
            OK(cuda.cuInit(0));
            context_on(0);
            srandom((unsigned) i + 100);
            CUfunction f = load(&module, router_name);
            for (int n = 0; n < 3; n++)
                route(f, NULL, PLAIN);
            exit(0);
        }
        int status;
        ok(waitpid(child, &status, 0) != child || status, "the child");
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    const char *what = argv[4];
    truth = fopen(argv[2], "w");
    if (!truth)
        return 1;
    open_driver(argv[1], strcmp(argv[3], "getproc") == 0 ? GETPROC : strcmp(argv[3], "around") == 0 ? AROUND : DLSYM);
    if (strcmp(what, "fork-early") == 0) {
        fork_early();
        return 0;
    }
    OK(cuda.cuInit(0));
    CUcontext context = context_on(0);
    if (strcmp(what, "new-parameters") == 0)
        new_parameters(argv[1], context);
    else if (strcmp(what, "ways") == 0)
        ways();
    else if (strcmp(what, "per-thread") == 0)
        per_thread();
    else if (strcmp(what, "kernel") == 0)
        kernel_in_disguise();
    else if (strcmp(what, "unload") == 0)
        unload();
    else if (strcmp(what, "reload") == 0)
        reload();
    else if (strcmp(what, "nodes") == 0)
        nodes();
    else if (strcmp(what, "contexts") == 0)
        contexts();
    else if (strcmp(what, "contexts-in-turn") == 0)
        contexts_in_turn();
    else if (strcmp(what, "streams") == 0)
        many_streams();
    else if (strcmp(what, "reset") == 0)
        reset();
    else if (strcmp(what, "devices") == 0)
        devices();
    else if (strcmp(what, "fork-late") == 0)
        fork_late(argv[1]);
    else
        return 2;
    return fclose(truth) ? 1 : 0;
}
