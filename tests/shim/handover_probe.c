/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine that launches routers on several threads while a profiler comes to the same process.
 * handover_probe LIBCUDA LIBCUPTI THREADS LAUNCHES WHEN HOW TRUTH
 * WHEN: never, early (before cuInit), midst, twice (in the midst, gone again and back). HOW: v1, v2. Built twice:
 * linked against libcupti, and asking dlsym. TRUTH gets the ids of each launch, a line each, thread by thread.
 */
#include <cuda.h>
#include <cupti.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXPERTS = 256, K = 8 };

#define CALLS(X)                                                                                                       \
    X(cuInit)                                                                                                          \
    X(cuDevicePrimaryCtxRetain)                                                                                        \
    X(cuCtxSetCurrent)                                                                                                 \
    X(cuMemAlloc_v2)                                                                                                   \
    X(cuMemcpyHtoDAsync_v2)                                                                                            \
    X(cuMemcpyDtoHAsync_v2)                                                                                            \
    X(cuModuleLoadData)                                                                                                \
    X(cuModuleGetFunction)                                                                                             \
    X(cuLaunchKernel)                                                                                                  \
    X(cuStreamCreate)                                                                                                  \
    X(cuStreamSynchronize)

static struct {
#define FIELD(name) __typeof__(&(name)) name;
    CALLS(FIELD)
#undef FIELD
} cuda;

static int launches;
static CUcontext context;
static CUfunction router;
static int subscribed;
static bool settled;                      /* the profiler has done all that it came for */
static unsigned long progress, told, due; /* launches done; told by the callback; begun after the subscription */

static void ok(int result, const char *what)
{
    if (result) {
        fprintf(stderr, "%s: error %d\n", what, result);
        exit(3);
    }
}
#define OK(call) ok((int) (call), #call)

struct worker {
    pthread_t thread;
    int number;
    float *logits;
    int32_t *ids;
};

static void *route(void *user)
{
    struct worker *w = user;
    CUstream stream;
    CUdeviceptr logits, ids, weights;
    int rows = 1, experts = EXPERTS, k = K;
    OK(cuda.cuCtxSetCurrent(context));
    OK(cuda.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuda.cuMemAlloc_v2(&logits, EXPERTS * sizeof(float)));
    OK(cuda.cuMemAlloc_v2(&ids, K * sizeof(int32_t)));
    OK(cuda.cuMemAlloc_v2(&weights, K * sizeof(float)));
    void *params[] = {&logits, &ids, &weights, &rows, &experts, &k};
    for (int i = 0; i < launches; i++) {
        while (i >= launches * 3 / 4 && !__atomic_load_n(&settled, __ATOMIC_SEQ_CST))
            usleep(50); /* a late profiler still meets some launches */
        OK(cuda.cuMemcpyHtoDAsync_v2(logits, w->logits + (size_t) i * EXPERTS, EXPERTS * sizeof(float), stream));
        if (__atomic_load_n(&subscribed, __ATOMIC_SEQ_CST) == 1)
            __atomic_fetch_add(&due, 1, __ATOMIC_SEQ_CST);
        OK(cuda.cuLaunchKernel(router, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL));
        OK(cuda.cuMemcpyDtoHAsync_v2(w->ids + (size_t) i * K, ids, K * sizeof(int32_t), stream));
        __atomic_fetch_add(&progress, 1, __ATOMIC_SEQ_CST);
    }
    OK(cuda.cuStreamSynchronize(stream));
    return NULL;
}

static void CUPTIAPI profile(void *user, CUpti_CallbackDomain domain, CUpti_CallbackId id, const void *argument)
{
    const CUpti_CallbackData *data = argument;
    (void) user, (void) domain, (void) id;
    if (data->callbackSite == CUPTI_API_EXIT && data->symbolName && strcmp(data->symbolName, "moe_demo_topk_i32") == 0)
        __atomic_fetch_add(&told, 1, __ATOMIC_SEQ_CST);
}

static void *cupti_call(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(3);
    }
    return found;
}

static CUpti_SubscriberHandle subscribe(const char *path, bool newer, void **library)
{
    CUpti_SubscriberHandle handle;
    CUpti_SubscriberParams params = {0};
    params.structSize = CUpti_SubscriberParams_STRUCT_SIZE;
    params.subscriberName = "profiler";
    *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!*library)
        ok(1, dlerror());
#ifdef DIRECT
    OK(newer ? cuptiSubscribe_v2(&handle, profile, NULL, &params) : cuptiSubscribe(&handle, profile, NULL));
#else
    __typeof__(&cuptiSubscribe) v1 = (__typeof__(v1)) cupti_call(*library, "cuptiSubscribe");
    __typeof__(&cuptiSubscribe_v2) v2 = (__typeof__(v2)) cupti_call(*library, "cuptiSubscribe_v2");
    OK(newer ? v2(&handle, profile, NULL, &params) : v1(&handle, profile, NULL));
#endif
    __typeof__(&cuptiEnableCallback) enable = (__typeof__(enable)) cupti_call(*library, "cuptiEnableCallback");
    OK(enable(1, handle, CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel));
    __atomic_store_n(&subscribed, 1, __ATOMIC_SEQ_CST);
    return handle;
}

static void wait_for(unsigned long wanted)
{
    while (__atomic_load_n(&progress, __ATOMIC_SEQ_CST) < wanted)
        usleep(50);
}

static void start(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL), *found;
    if (!library)
        ok(1, dlerror());
#define LOOK_UP(name)                                                                                                  \
    found = dlsym(library, #name);                                                                                     \
    memcpy(&cuda.name, &found, sizeof found);
    CALLS(LOOK_UP)
#undef LOOK_UP
}

int main(int argc, char **argv)
{
    if (argc != 8)
        return 2;
    int threads = atoi(argv[3]);
    const char *when = argv[5];
    bool newer = strcmp(argv[6], "v2") == 0;
    void *library;
    launches = atoi(argv[4]);
    start(argv[1]);
    if (strcmp(when, "early") == 0)
        subscribe(argv[2], newer, &library);
    CUmodule module;
    OK(cuda.cuInit(0));
    OK(cuda.cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuda.cuCtxSetCurrent(context));
    OK(cuda.cuModuleLoadData(&module, ".version 8.0"));
    OK(cuda.cuModuleGetFunction(&router, module, "moe_demo_topk_i32"));

    struct worker *workers = calloc((size_t) threads, sizeof *workers);
    srandom(1);
    for (int i = 0; i < threads; i++) {
        workers[i].number = i;
        workers[i].logits = malloc((size_t) launches * EXPERTS * sizeof(float));
        workers[i].ids = calloc((size_t) launches, K * sizeof(int32_t));
        for (int n = 0; n < launches * EXPERTS; n++)
            workers[i].logits[n] = (float) random();
    }
    for (int i = 0; i < threads; i++)
        pthread_create(&workers[i].thread, NULL, route, &workers[i]);
    unsigned long all = (unsigned long) threads * (unsigned long) launches;
    if (strcmp(when, "midst") == 0 || strcmp(when, "twice") == 0) {
        wait_for(all / 4);
        CUpti_SubscriberHandle handle = subscribe(argv[2], newer, &library);
        if (strcmp(when, "twice") == 0) {
            __typeof__(&cuptiUnsubscribe) end = (__typeof__(end)) cupti_call(library, "cuptiUnsubscribe");
            wait_for(all / 2);
            __atomic_store_n(&subscribed, 2, __ATOMIC_SEQ_CST);
            OK(end(handle));
            wait_for(all * 5 / 8);
            subscribe(argv[2], newer, &library);
        }
    }
    __atomic_store_n(&settled, true, __ATOMIC_SEQ_CST);
    for (int i = 0; i < threads; i++)
        pthread_join(workers[i].thread, NULL);

    FILE *truth = fopen(argv[7], "w");
    if (!truth)
        return 1;
    for (int i = 0; i < threads; i++) {
        for (int n = 0; n < launches; n++) {
            for (int k = 0; k < K; k++)
                fprintf(truth, "%s%d", k ? "," : "[[", workers[i].ids[n * K + k]);
            fputs("]]\n", truth);
        }
    }
    fclose(truth);
    /* Launches that were under way as the subscription went may be untold. */
    bool good = (due > 0) == (strcmp(when, "never") != 0) &&
                told + (strcmp(when, "twice") == 0 ? (unsigned long) threads : 0) >= due && told <= all;
    printf("profiler: %lu of %lu: %s\n", told, due, good ? "ok" : "not what was launched");
    return 0;
}
