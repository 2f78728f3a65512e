/* SPDX-License-Identifier: Apache-2.0 */
/* The software device's CUPTI: one subscriber, callbacks in pairs, only for what it asked for. */
#include <criterion/criterion.h>
#include <cuda.h>
#include <cupti.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define OK(call) cr_assert_eq((int) (call), 0, "%s", #call)

static __typeof__(cuptiSubscribe) *subscribe;
static __typeof__(cuptiSubscribe_v2) *subscribe_v2;
static __typeof__(cuptiUnsubscribe) *unsubscribe;
static __typeof__(cuptiEnableCallback) *enable;
static CUstream stream;
static CUfunction function;

static void setup(void)
{
    void *library = dlopen(SOFTCUPTI, RTLD_NOW);
    cr_assert(library, "%s", dlerror());
    *(void **) &subscribe = dlsym(library, "cuptiSubscribe");
    *(void **) &subscribe_v2 = dlsym(library, "cuptiSubscribe_v2");
    *(void **) &unsubscribe = dlsym(library, "cuptiUnsubscribe");
    *(void **) &enable = dlsym(library, "cuptiEnableCallback");
    CUcontext context;
    CUmodule module;
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuModuleLoadData(&module, "//"));
    OK(cuModuleGetFunction(&function, module, "moe_demo_embed"));
}

TestSuite(softcupti, .init = setup, .timeout = 30);

static struct {
    int enters, exits, wrong;
    CUpti_CallbackId id;
    CUresult result;
    char name[64];
} seen;

static void CUPTIAPI callback(void *user, CUpti_CallbackDomain domain, CUpti_CallbackId id, const void *argument)
{
    const CUpti_CallbackData *data = argument;
    seen.wrong += user != &seen || domain != CUPTI_CB_DOMAIN_DRIVER_API;
    seen.id = id;
    if (data->callbackSite == CUPTI_API_ENTER) {
        seen.wrong += seen.enters++ != seen.exits;
        *data->correlationData = (uint64_t) seen.enters;
    } else {
        seen.exits++;
        seen.wrong += seen.enters != seen.exits || *data->correlationData != (uint64_t) seen.exits;
        seen.result = *(const CUresult *) data->functionReturnValue;
        snprintf(seen.name, sizeof seen.name, "%s", data->symbolName ? data->symbolName : "");
    }
}

static CUresult launch(void)
{
    int rows = 0;
    CUdeviceptr nothing = 0;
    void *params[] = {&nothing, &nothing, &nothing, &rows, &rows};
    return cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL);
}

Test(softcupti, one_subscriber)
{
    CUpti_SubscriberHandle first, second;
    char holder[64] = "";
    CUpti_SubscriberParams params = {0};
    params.structSize = CUpti_SubscriberParams_STRUCT_SIZE;
    params.subscriberName = "a test";
    OK(subscribe_v2(&first, callback, &seen, &params));
    params.subscriberName = "another";
    params.oldSubscriberName = holder;
    params.oldSubscriberSize = sizeof holder;
    cr_assert_eq(subscribe_v2(&second, callback, &seen, &params), CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED);
    cr_assert(strstr(holder, "a test"), "%s", holder);
    cr_assert_eq(subscribe(&second, callback, &seen), CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED);
    OK(unsubscribe(first));
    cr_assert_neq((int) unsubscribe(first), 0);
    OK(subscribe(&second, callback, &seen));
    OK(unsubscribe(second));
}

Test(softcupti, enter_and_exit_of_what_is_enabled)
{
    CUpti_SubscriberHandle handle;
    OK(subscribe(&handle, callback, &seen));
    OK(launch());
    cr_assert_eq(seen.enters, 0, "nothing is enabled");
    OK(enable(1, handle, CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel));
    OK(launch());
    OK(cuStreamSynchronize(stream));
    cr_assert(seen.enters == 1 && seen.exits == 1 && seen.id == CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel);
    cr_assert(seen.result == CUDA_SUCCESS && strcmp(seen.name, "moe_demo_embed") == 0);
    cr_assert_neq((int) cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL), 0);
    cr_assert(seen.exits == 2 && seen.result == CUDA_ERROR_INVALID_HANDLE, "a refused call is told with its result");
    OK(enable(0, handle, CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel));
    OK(launch());
    cr_assert_eq(seen.exits, 2);
    OK(enable(1, handle, CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel));
    OK(unsubscribe(handle));
    OK(launch());
    cr_assert_eq(seen.exits, 2);
    cr_assert_neq((int) enable(1, handle, CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel), 0);
    OK(subscribe(&handle, callback, &seen)); /* a new subscriber starts with nothing enabled */
    OK(launch());
    cr_assert(seen.exits == 2 && seen.wrong == 0);
}

/* A replay calls nobody back for its kernels, nor does a node that is added by hand. */
Test(softcupti, graphs_report_no_launches)
{
    CUpti_SubscriberHandle handle;
    CUgraph graph;
    CUgraphExec exec;
    OK(subscribe(&handle, callback, &seen));
    OK(enable(1, handle, CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel));
    OK(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(launch());
    cr_assert_eq(seen.exits, 1);
    OK(cuStreamEndCapture(stream, &graph));
    CUgraphNode node;
    int rows = 0;
    CUdeviceptr nothing = 0;
    void *params[] = {&nothing, &nothing, &nothing, &rows, &rows};
    CUDA_KERNEL_NODE_PARAMS kernel = {.func = function,
                                      .gridDimX = 1,
                                      .gridDimY = 1,
                                      .gridDimZ = 1,
                                      .blockDimX = 1,
                                      .blockDimY = 1,
                                      .blockDimZ = 1,
                                      .kernelParams = params};
    OK(cuGraphAddKernelNode(&node, graph, NULL, 0, &kernel));
    OK(cuGraphInstantiate(&exec, graph, 0));
    OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    cr_assert_eq(seen.exits, 1);
}
