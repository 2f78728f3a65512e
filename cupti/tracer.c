/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer.h"

#include "library.h"
#include "subscription.h"

#include <cupti.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct mt_subscription mt_subscription;

static void (*watcher)(const struct mt_launch *);

void mt_tracer_watch(void (*around)(const struct mt_launch *))
{
    __atomic_store_n(&watcher, around, __ATOMIC_RELEASE);
}

/* The launch calls; without them there is no tracing. */
static const CUpti_CallbackId launch_ids[] = {
    CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel,
    CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx,
    CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel,
    CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel_ptsz,
};

static const CUpti_CallbackId other_ids[] = {
    CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch,
    CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture,
    CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuStreamSynchronize,
    CUPTI_DRIVER_TRACE_CBID_cuStreamSynchronize_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuEventRecord,
    CUPTI_DRIVER_TRACE_CBID_cuEventRecord_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuEventRecordWithFlags,
    CUPTI_DRIVER_TRACE_CBID_cuEventRecordWithFlags_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuStreamWaitEvent,
    CUPTI_DRIVER_TRACE_CBID_cuStreamWaitEvent_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuMemcpyAsync,
    CUPTI_DRIVER_TRACE_CBID_cuMemcpyAsync_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuMemcpyDtoHAsync_v2,
    CUPTI_DRIVER_TRACE_CBID_cuMemcpyDtoHAsync_v2_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuMemcpyDtoDAsync_v2,
    CUPTI_DRIVER_TRACE_CBID_cuMemcpyDtoDAsync_v2_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuMemcpyDtoH_v2,
    CUPTI_DRIVER_TRACE_CBID_cuMemcpyDtoH_v2_ptds,
    CUPTI_DRIVER_TRACE_CBID_cuCtxSynchronize,
    CUPTI_DRIVER_TRACE_CBID_cuCtxSynchronize_v2,
    CUPTI_DRIVER_TRACE_CBID_cuModuleUnload,
    CUPTI_DRIVER_TRACE_CBID_cuLibraryUnload,
    CUPTI_DRIVER_TRACE_CBID_cuCtxDestroy_v2,
    CUPTI_DRIVER_TRACE_CBID_cuDevicePrimaryCtxReset_v2,
    CUPTI_DRIVER_TRACE_CBID_cuDevicePrimaryCtxRelease_v2,
};

static void read_kernel(const CUpti_CallbackData *data, bool per_thread, struct mt_launch *launch)
{
    const cuLaunchKernel_params *p = data->functionParams; /* the _ptsz struct is the same */
    *launch = (struct mt_launch){p->f,
                                 data->symbolName,
                                 {p->gridDimX, p->gridDimY, p->gridDimZ},
                                 {p->blockDimX, p->blockDimY, p->blockDimZ},
                                 mt_stream_meant(p->hStream, per_thread),
                                 p->kernelParams,
                                 p->extra};
}

static bool read_kernel_ex(const CUpti_CallbackData *data, bool per_thread, struct mt_launch *launch)
{
    const cuLaunchKernelEx_params *p = data->functionParams;
    const CUlaunchConfig *c = p->config;
    if (!c)
        return false;
    *launch = (struct mt_launch){p->f,
                                 data->symbolName,
                                 {c->gridDimX, c->gridDimY, c->gridDimZ},
                                 {c->blockDimX, c->blockDimY, c->blockDimZ},
                                 mt_stream_meant(c->hStream, per_thread),
                                 p->kernelParams,
                                 p->extra};
    return true;
}

static void read_cooperative(const CUpti_CallbackData *data, bool per_thread, struct mt_launch *launch)
{
    const cuLaunchCooperativeKernel_params *p = data->functionParams;
    *launch = (struct mt_launch){p->f,
                                 data->symbolName,
                                 {p->gridDimX, p->gridDimY, p->gridDimZ},
                                 {p->blockDimX, p->blockDimY, p->blockDimZ},
                                 mt_stream_meant(p->hStream, per_thread),
                                 p->kernelParams,
                                 NULL};
}

static bool read_launch(CUpti_CallbackId id, const CUpti_CallbackData *data, struct mt_launch *launch)
{
    switch (id) {
    case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel:
    case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel_ptsz:
        read_kernel(data, id == CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel_ptsz, launch);
        return true;
    case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx:
    case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx_ptsz:
        return read_kernel_ex(data, id == CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx_ptsz, launch);
    case CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel:
    case CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel_ptsz:
        read_cooperative(data, id == CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel_ptsz, launch);
        return true;
    default:
        return false;
    }
}

/* The stream that a fence call names; NULL, all of them, where the call has none. */
static bool read_fence(CUpti_CallbackId id, const void *params, CUstream *stream)
{
#define FENCE(name)                                                                                                    \
    case CUPTI_DRIVER_TRACE_CBID_##name:                                                                               \
        *stream = mt_stream_meant(((const name##_params *) params)->hStream, false);                                   \
        return true;
#define FENCE_PER_THREAD(name)                                                                                         \
    case CUPTI_DRIVER_TRACE_CBID_##name:                                                                               \
        *stream = mt_stream_meant(((const name##_params *) params)->hStream, true);                                    \
        return true;
    switch (id) {
        FENCE(cuGraphLaunch)
        FENCE_PER_THREAD(cuGraphLaunch_ptsz)
        FENCE(cuStreamSynchronize)
        FENCE_PER_THREAD(cuStreamSynchronize_ptsz)
        FENCE(cuEventRecord)
        FENCE_PER_THREAD(cuEventRecord_ptsz)
        FENCE(cuEventRecordWithFlags)
        FENCE_PER_THREAD(cuEventRecordWithFlags_ptsz)
        FENCE(cuMemcpyAsync)
        FENCE_PER_THREAD(cuMemcpyAsync_ptsz)
        FENCE(cuMemcpyDtoHAsync_v2)
        FENCE_PER_THREAD(cuMemcpyDtoHAsync_v2_ptsz)
        FENCE(cuMemcpyDtoDAsync_v2)
        FENCE_PER_THREAD(cuMemcpyDtoDAsync_v2_ptsz)
    case CUPTI_DRIVER_TRACE_CBID_cuMemcpyDtoH_v2:
    case CUPTI_DRIVER_TRACE_CBID_cuMemcpyDtoH_v2_ptds:
    case CUPTI_DRIVER_TRACE_CBID_cuCtxSynchronize:
    case CUPTI_DRIVER_TRACE_CBID_cuCtxSynchronize_v2:
        *stream = NULL;
        return true;
    default:
        return false;
    }
#undef FENCE
#undef FENCE_PER_THREAD
}

static bool read_record(CUpti_CallbackId id, const void *params, CUevent *event)
{
    switch (id) {
    case CUPTI_DRIVER_TRACE_CBID_cuEventRecord:
    case CUPTI_DRIVER_TRACE_CBID_cuEventRecord_ptsz:
    case CUPTI_DRIVER_TRACE_CBID_cuEventRecordWithFlags:
    case CUPTI_DRIVER_TRACE_CBID_cuEventRecordWithFlags_ptsz:
        *event = *(const CUevent *) params; /* the first field of them all */
        return true;
    default:
        return false;
    }
}

static void on_other(CUpti_CallbackId id, const CUpti_CallbackData *data)
{
    const struct mt_sink *sink = mt_subscription.sink;
    CUstream stream;
    bool enter = data->callbackSite == CUPTI_API_ENTER;
    if (id == CUPTI_DRIVER_TRACE_CBID_cuModuleUnload || id == CUPTI_DRIVER_TRACE_CBID_cuLibraryUnload) {
        if (enter)
            sink->unload();
    } else if (id == CUPTI_DRIVER_TRACE_CBID_cuCtxDestroy_v2) {
        if (enter)
            sink->context_gone(((const cuCtxDestroy_v2_params *) data->functionParams)->ctx);
    } else if (id == CUPTI_DRIVER_TRACE_CBID_cuDevicePrimaryCtxReset_v2 ||
               id == CUPTI_DRIVER_TRACE_CBID_cuDevicePrimaryCtxRelease_v2) {
        if (!enter)
            sink->context_gone(NULL);
    } else if (id == CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture) {
        if (enter)
            sink->capture_ends(
                mt_stream_meant(((const cuStreamEndCapture_params *) data->functionParams)->hStream, false));
    } else if (id == CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture_ptsz) {
        if (enter)
            sink->capture_ends(
                mt_stream_meant(((const cuStreamEndCapture_ptsz_params *) data->functionParams)->hStream, true));
    } else if (enter && read_fence(id, data->functionParams, &stream)) {
        CUevent event;
        sink->fence(stream);
        if (read_record(id, data->functionParams, &event))
            sink->recorded(event, stream);
    } else if (enter && (id == CUPTI_DRIVER_TRACE_CBID_cuStreamWaitEvent ||
                         id == CUPTI_DRIVER_TRACE_CBID_cuStreamWaitEvent_ptsz)) {
        const cuStreamWaitEvent_params *p = data->functionParams; /* the _ptsz struct is the same */
        bool per_thread = id == CUPTI_DRIVER_TRACE_CBID_cuStreamWaitEvent_ptsz;
        sink->waits(mt_stream_meant(p->hStream, per_thread), p->hEvent);
    }
}

/* On the engine's thread, inside its call: no allocation, no look-up, no lock of ours that another thread may hold
 * long. */
static void CUPTIAPI callback(void *user, CUpti_CallbackDomain domain, CUpti_CallbackId id, const void *argument)
{
    (void) user;
    if (domain != CUPTI_CB_DOMAIN_DRIVER_API || mt_is_quiet() || !mt_subscription_enter())
        return;
    const CUpti_CallbackData *data = argument;
    struct mt_launch launch;
    if (!read_launch(id, data, &launch)) {
        on_other(id, data);
    } else if (data->callbackSite == CUPTI_API_ENTER) {
        mt_subscription.sink->before(&launch);
    } else {
        void (*around)(const struct mt_launch *) = __atomic_load_n(&watcher, __ATOMIC_ACQUIRE);
        mt_launch_thread.reported++;
        if (around && !mt_launch_thread.hooked)
            around(&launch);
        const CUresult *result = data->functionReturnValue;
        if (result && *result == CUDA_SUCCESS)
            mt_subscription.sink->after(&launch);
    }
    mt_subscription_leave();
}

typedef CUptiResult subscribe(CUpti_SubscriberHandle *, CUpti_CallbackFunc, void *);
typedef CUptiResult subscribe_v2(CUpti_SubscriberHandle *, CUpti_CallbackFunc, void *, CUpti_SubscriberParams *);
typedef CUptiResult enable(uint32_t, CUpti_SubscriberHandle, CUpti_CallbackDomain, CUpti_CallbackId);
typedef CUptiResult unsubscribe(CUpti_SubscriberHandle);
typedef CUptiResult version(uint32_t *);

static CUptiResult take_slot(void *library, void *(*resolve)(void *, const char *), char *holder, size_t size)
{
    subscribe_v2 *newer = (subscribe_v2 *) resolve(library, "cuptiSubscribe_v2");
    if (newer) {
        CUpti_SubscriberParams params = {0};
        params.structSize = CUpti_SubscriberParams_STRUCT_SIZE;
        params.subscriberName = "moetap";
        params.oldSubscriberName = holder;
        params.oldSubscriberSize = size;
        CUptiResult result = newer(&mt_subscription.handle, callback, NULL, &params);
        if (result != CUPTI_ERROR_INVALID_PARAMETER)
            return result;
        holder[0] = '\0'; /* another release's struct */
    }
    subscribe *older = (subscribe *) resolve(library, "cuptiSubscribe");
    return older ? older(&mt_subscription.handle, callback, NULL) : CUPTI_ERROR_NOT_SUPPORTED;
}

static int start(void *library, void *(*resolve)(void *, const char *), char *why, size_t size)
{
    enable *set = (enable *) resolve(library, "cuptiEnableCallback");
    mt_subscription.unsubscribe = (unsubscribe *) resolve(library, "cuptiUnsubscribe");
    if (!set || !mt_subscription.unsubscribe) {
        snprintf(why, size, "that libcupti has no callback API");
        return -ENOENT;
    }
    char holder[128] = "";
    CUptiResult result = take_slot(library, resolve, holder, sizeof holder);
    if (result == CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED) {
        snprintf(why, size, "CUPTI is held by %s", holder[0] ? holder : "another tool in this process");
        return -EBUSY;
    }
    if (result != CUPTI_SUCCESS) {
        snprintf(why, size, "cuptiSubscribe failed (%d)", (int) result);
        return -EIO;
    }
    for (size_t i = 0; i < sizeof launch_ids / sizeof *launch_ids; i++) {
        result = set(1, mt_subscription.handle, CUPTI_CB_DOMAIN_DRIVER_API, launch_ids[i]);
        if (result != CUPTI_SUCCESS) {
            snprintf(why, size, "that libcupti does not tell of launches (%d)", (int) result);
            mt_subscription_end();
            return -EIO;
        }
    }
    /* What an older libcupti does not know, an older driver does not have. */
    for (size_t i = 0; i < sizeof other_ids / sizeof *other_ids; i++)
        result = set(1, mt_subscription.handle, CUPTI_CB_DOMAIN_DRIVER_API, other_ids[i]);
    mt_subscription_begin();
    return 0;
}

int mt_tracer_start(const struct mt_sink *sink, void *(*resolve)(void *, const char *), char *why, size_t size)
{
    void *library = mt_cupti_open(why, size);
    if (!library)
        return -ENOENT;
    mt_subscription.sink = sink;
    mt_subscription_lock();
    int result = start(library, resolve, why, size);
    mt_subscription_unlock();
    return result;
}
