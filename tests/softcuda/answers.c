/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answers LIBCUDA: asks a driver what the software device says of captures and graphs, a line each. To see where it
 * differs from a real one: diff <(answers libcuda.so.1) <(answers .../tests/softcuda/libcuda.so.1)
 */
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *library;

static void *look_up(const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        printf("no %s\n", name);
        exit(1);
    }
    return found;
}
#define CALL(f) ((__typeof__(&(f))) look_up(#f))
#define SAY(what, call) printf("%s: %d\n", what, (int) (call))

/* moe_demo_embed(const float *, const float *, float *, int, int): the software device's layout of that name. */
static const char ptx[] =
    ".version 7.0\n.target sm_75\n.address_size 64\n"
    ".visible .entry moe_demo_embed(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 d, .param .u32 e)\n"
    "{ ret; }\n";

static CUstream a, b, blocking;
static CUfunction function;
static CUkernel kernel;
static CUdeviceptr zero;
static int none;
static void *params[] = {&zero, &zero, &zero, &none, &none};

static CUresult launch(CUstream stream)
{
    return CALL(cuLaunchKernel)(function, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL);
}

static CUresult begin(CUstream stream, CUstreamCaptureMode mode)
{
    return CALL(cuStreamBeginCapture_v2)(stream, mode);
}

static CUresult end(CUstream stream)
{
    CUgraph graph = NULL;
    return CALL(cuStreamEndCapture)(stream, &graph);
}

static CUevent record(CUstream stream)
{
    CUevent event;
    CALL(cuEventCreate)(&event, 0);
    SAY("  record", CALL(cuEventRecord)(event, stream));
    return event;
}

static void fork_to(CUstream from, CUstream to)
{
    SAY("  wait", CALL(cuStreamWaitEvent)(to, record(from), 0));
}

static size_t dep_count(CUstream stream, CUgraph *graph, const CUgraphNode **deps)
{
    CUstreamCaptureStatus status;
    cuuint64_t id;
    size_t count = 99;
    CUresult (*info)(CUstream, CUstreamCaptureStatus *, cuuint64_t *, CUgraph *, const CUgraphNode **, size_t *) =
        (__typeof__(info)) look_up("cuStreamGetCaptureInfo_v2");
    SAY("  info", info(stream, &status, &id, graph, deps, &count));
    return count;
}

static CUresult update(CUstream stream, CUgraphNode *nodes, size_t count, unsigned flags)
{
    CUresult (*f)(CUstream, CUgraphNode *, size_t, unsigned) =
        (__typeof__(f)) look_up("cuStreamUpdateCaptureDependencies");
    return f(stream, nodes, count, flags);
}

static CUresult by_hand(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count, CUfunction f,
                        CUkernel k)
{
    CUDA_KERNEL_NODE_PARAMS p = {.func = f,
                                 .gridDimX = 1,
                                 .gridDimY = 1,
                                 .gridDimZ = 1,
                                 .blockDimX = 1,
                                 .blockDimY = 1,
                                 .blockDimZ = 1,
                                 .kernelParams = params,
                                 .kern = k};
    return CALL(cuGraphAddKernelNode_v2)(node, graph, deps, count, &p);
}

static void *end_elsewhere(void *user)
{
    SAY("end on another thread", end(user));
    return NULL;
}

static void captures(void)
{
    SAY("end without begin", end(a));
    SAY("begin on the legacy stream", begin(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL));
    SAY("begin", begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    SAY("begin again", begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    SAY("end", end(a));

    static const char *const names[] = {"stream synchronize", "stream query", "context synchronize",
                                        "allocate",           "free",         "event query",
                                        "synchronize another"};
    for (int i = 0; i < 7; i++) {
        CUdeviceptr memory = 0, old = 0;
        CUevent event = record(b);
        CALL(cuMemAlloc_v2)(&old, 64);
        begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
        CUresult result = i == 0   ? CALL(cuStreamSynchronize)(a)
                          : i == 1 ? CALL(cuStreamQuery)(a)
                          : i == 2 ? CALL(cuCtxSynchronize)()
                          : i == 3 ? CALL(cuMemAlloc_v2)(&memory, 64)
                          : i == 4 ? CALL(cuMemFree_v2)(old)
                          : i == 5 ? CALL(cuEventQuery)(event)
                                   : CALL(cuStreamSynchronize)(b);
        SAY(names[i], result == CUDA_ERROR_NOT_READY ? CUDA_SUCCESS : result);
        SAY("  launch then", launch(a));
        SAY("  end then", end(a));
    }

    begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CUevent event = record(a);
    SAY("query of a captured event", CALL(cuEventQuery)(event));
    SAY("  end then", end(a));
    SAY("wait for an event of an ended capture", CALL(cuStreamWaitEvent)(b, event, 0));

    event = record(b);
    begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SAY("wait for an event from outside", CALL(cuStreamWaitEvent)(a, event, 0));
    SAY("  end then", end(a));

    begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
    begin(b, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SAY("wait for another capture's event", CALL(cuStreamWaitEvent)(b, record(a), 0));
    SAY("  end of the one", end(a));
    SAY("  end of the other", end(b));

    CUstreamCaptureStatus status = 9;
    begin(blocking, CU_STREAM_CAPTURE_MODE_RELAXED);
    SAY("is the legacy stream capturing beside a blocking one", CALL(cuStreamIsCapturing)(NULL, &status));
    SAY("launch on the legacy stream beside a blocking one", launch(NULL));
    SAY("  end then", end(blocking));
    begin(a, CU_STREAM_CAPTURE_MODE_RELAXED);
    SAY("launch on the legacy stream beside a non-blocking one", launch(NULL));
    SAY("  end then", end(a));

    pthread_t thread;
    begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
    pthread_create(&thread, NULL, end_elsewhere, a);
    pthread_join(thread, NULL);
    SAY("  end then", end(a));
}

static void forks(void)
{
    begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
    launch(a);
    fork_to(a, b);
    SAY("end with an empty fork", end(a));
    begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
    launch(a);
    fork_to(a, b);
    launch(b);
    SAY("end with an unjoined fork", end(a));
    begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
    launch(a);
    fork_to(a, b);
    launch(b);
    SAY("end on the fork", end(b));
    SAY("  end on the origin then", end(a));

    for (int how = 0; how < 3; how++) {
        CUgraph graph;
        CUgraphNode side, before;
        const CUgraphNode *deps;
        begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
        launch(a);
        if (how)
            fork_to(a, b);
        size_t count = dep_count(how ? b : a, &graph, &deps);
        before = deps[0];
        printf("  dependencies %zu\n", count);
        SAY("add by hand", by_hand(&side, graph, deps, count, function, NULL));
        if (how)
            SAY("  add to the fork's set", update(b, &side, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
        if (how == 2)
            SAY("  and out of it", update(b, &before, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES));
        SAY("  end with it unjoined", end(a));
    }

    CUgraph graph;
    CUgraphNode side;
    const CUgraphNode *deps;
    begin(a, CU_STREAM_CAPTURE_MODE_GLOBAL);
    launch(a);
    size_t count = dep_count(a, &graph, &deps);
    by_hand(&side, graph, deps, count, function, NULL);
    SAY("add to the set", update(a, &side, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
    printf("  dependencies %zu\n", dep_count(a, &graph, &deps));
    SAY("add it again", update(a, &side, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
    printf("  dependencies %zu\n", dep_count(a, &graph, &deps));
    SAY("  end then", end(a));
    SAY("update without a capture", update(a, &side, 0, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
}

static void graphs(void)
{
    CUgraph graph, other;
    CUgraphNode first, second, node;
    CUgraphExec exec;
    CUDA_KERNEL_NODE_PARAMS p;
    CUgraphExecUpdateResultInfo info;
    CALL(cuGraphCreate)(&graph, 0);
    CALL(cuGraphCreate)(&other, 0);
    by_hand(&first, graph, NULL, 0, function, NULL);
    SAY("a dependency of another graph", by_hand(&node, other, &first, 1, function, NULL));
    CUgraphNode twice[] = {first, first};
    SAY("a dependency twice", by_hand(&node, graph, twice, 2, function, NULL));
    SAY("a CUkernel for func", by_hand(&node, other, NULL, 0, (CUfunction) kernel, NULL));
    SAY("a CUkernel for kern", by_hand(&node, other, NULL, 0, NULL, kernel));
    memset(&p, 0, sizeof p);
    SAY("  its parameters", CALL(cuGraphKernelNodeGetParams_v2)(node, &p));
    printf("  func %s, kern %s\n", p.func ? "set" : "none", p.kern ? "set" : "none");
    by_hand(&second, graph, &first, 1, function, NULL);
    SAY("an edge that is there", CALL(cuGraphAddDependencies_v2)(graph, &first, &second, NULL, 1));
    SAY("a circle", CALL(cuGraphAddDependencies_v2)(graph, &second, &first, NULL, 1));
    SAY("  instantiate it", CALL(cuGraphInstantiateWithFlags)(&exec, graph, 0));
    CALL(cuGraphInstantiateWithFlags)(&exec, other, 0);
    CALL(cuGraphAddEmptyNode)(&second, other, &node, 1);
    SAY("update to more nodes", CALL(cuGraphExecUpdate_v2)(exec, other, &info));
    printf("  result %d\n", (int) info.result);
    CALL(cuGraphCreate)(&graph, 0);
    CALL(cuGraphAddEmptyNode)(&first, graph, NULL, 0);
    SAY("update to another type", CALL(cuGraphExecUpdate_v2)(exec, graph, &info));
    printf("  result %d\n", (int) info.result);
}

static void the_rest(void)
{
    const char *name;
    size_t offset, size;
    CUdeviceptr address;
    void *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SAY("cuFuncGetName of a CUkernel", CALL(cuFuncGetName)(&name, (CUfunction) kernel));
    SAY("cuFuncGetParamInfo of a CUkernel", CALL(cuFuncGetParamInfo)((CUfunction) kernel, 0, &offset, &size));
    SAY("a parameter too many", CALL(cuKernelGetParamInfo)(kernel, 5, &offset, &size));
    SAY("host memory that is not registered", CALL(cuMemHostGetDevicePointer_v2)(&address, memory, 0));
    SAY("unregister it", CALL(cuMemHostUnregister)(memory));
    SAY("register", CALL(cuMemHostRegister_v2)(memory, 8192, CU_MEMHOSTREGISTER_DEVICEMAP));
    SAY("register again", CALL(cuMemHostRegister_v2)(memory, 8192, CU_MEMHOSTREGISTER_DEVICEMAP));
    void *found = (void *) 1;
    CUdriverProcAddressQueryResult status = 9;
    SAY("an unknown name", CALL(cuGetProcAddress_v2)("cuNoSuchThing", &found, 12000, 0, &status));
    printf("  status %d, %s\n", (int) status, found ? "an address" : "none");
    SAY("a name before its time", CALL(cuGetProcAddress_v2)("cuStreamGetCaptureInfo", &found, 9000, 0, &status));
    printf("  status %d, %s\n", (int) status, found ? "an address" : "none");
}

int main(int argc, char **argv)
{
    CUcontext context;
    CUmodule module;
    CUlibrary lib;
    library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!library || CALL(cuInit)(0) != CUDA_SUCCESS) {
        fprintf(stderr, "answers LIBCUDA: no driver there\n");
        return 2;
    }
    if (CALL(cuDevicePrimaryCtxRetain)(&context, 0) || CALL(cuCtxSetCurrent)(context) ||
        CALL(cuModuleLoadData)(&module, ptx) || CALL(cuModuleGetFunction)(&function, module, "moe_demo_embed") ||
        CALL(cuLibraryLoadData)(&lib, ptx, NULL, NULL, 0, NULL, NULL, 0) ||
        CALL(cuLibraryGetKernel)(&kernel, lib, "moe_demo_embed") || CALL(cuStreamCreate)(&a, CU_STREAM_NON_BLOCKING) ||
        CALL(cuStreamCreate)(&b, CU_STREAM_NON_BLOCKING) || CALL(cuStreamCreate)(&blocking, CU_STREAM_DEFAULT)) {
        fprintf(stderr, "answers: the driver does not start\n");
        return 2;
    }
    captures();
    forks();
    graphs();
    the_rest();
    return 0;
}
