/* SPDX-License-Identifier: Apache-2.0 */
/* Events: work on streams that record or wait; in a capture they only pass dependencies on. */
#include "device.h"

#include "callbacks.h"

#include <stdlib.h>

API CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    ENTER("cuEventCreate");
    (void) flags;
    *event = calloc(1, sizeof **event);
    if (!*event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_init(&(*event)->lock, NULL);
    pthread_cond_init(&(*event)->done, NULL);
    return CUDA_SUCCESS;
}

API CUresult cuEventDestroy_v2(CUevent event)
{
    ENTER("cuEventDestroy_v2");
    return event ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; /* work on a stream may still name it */
}

static CUresult record(const char *name, CUevent event, CUstream stream, unsigned flags, bool per_thread)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s || !event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (flags)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (soft_capture_status(s) == CU_STREAM_CAPTURE_STATUS_ACTIVE) {
        event->capture = s->capture;
        soft_deps_set(&event->deps, &event->dep_count, s->deps, s->dep_count);
        return CUDA_SUCCESS;
    }
    const struct soft_op op = {.kind = OP_RECORD, .event = event, .ticket = event->recorded + 1};
    CUresult result = soft_submit(s, &op);
    if (result == CUDA_SUCCESS) {
        event->capture = NULL;
        event->recorded++;
    }
    return result;
}

API CUresult cuEventRecord(CUevent event, CUstream stream)
{
    cuEventRecord_params params = {event, stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuEventRecord, __func__, &params, NULL,
           record("cuEventRecord", event, stream, 0, false));
}

API CUresult cuEventRecord_ptsz(CUevent event, CUstream stream)
{
    cuEventRecord_ptsz_params params = {event, stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuEventRecord_ptsz, __func__, &params, NULL,
           record("cuEventRecord_ptsz", event, stream, 0, true));
}

API CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags)
{
    cuEventRecordWithFlags_params params = {event, stream, flags};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuEventRecordWithFlags, __func__, &params, NULL,
           record("cuEventRecordWithFlags", event, stream, flags, false));
}

API CUresult cuEventRecordWithFlags_ptsz(CUevent event, CUstream stream, unsigned flags)
{
    cuEventRecordWithFlags_ptsz_params params = {event, stream, flags};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuEventRecordWithFlags_ptsz, __func__, &params, NULL,
           record("cuEventRecordWithFlags_ptsz", event, stream, flags, true));
}

static CUresult wait_event(const char *name, CUstream stream, CUevent event, unsigned flags, bool per_thread)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s || !event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (flags)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (event->capture || soft_capture_status(s))
        return soft_capture_wait(s, event);
    const struct soft_op op = {.kind = OP_WAIT, .event = event, .ticket = event->recorded};
    return soft_submit(s, &op);
}

API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    cuStreamWaitEvent_params params = {stream, event, flags};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuStreamWaitEvent, __func__, &params, NULL,
           wait_event("cuStreamWaitEvent", stream, event, flags, false));
}

API CUresult cuStreamWaitEvent_ptsz(CUstream stream, CUevent event, unsigned flags)
{
    cuStreamWaitEvent_ptsz_params params = {stream, event, flags};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuStreamWaitEvent_ptsz, __func__, &params, NULL,
           wait_event("cuStreamWaitEvent_ptsz", stream, event, flags, true));
}

static CUresult look(const char *name, CUevent event, bool wait)
{
    ENTER(name);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (event->capture)
        return CUDA_ERROR_CAPTURED_EVENT;
    if (soft_forbidden())
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    pthread_mutex_lock(&event->lock);
    while (wait && event->reached < event->recorded)
        pthread_cond_wait(&event->done, &event->lock);
    bool done = event->reached >= event->recorded;
    pthread_mutex_unlock(&event->lock);
    return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API CUresult cuEventQuery(CUevent event)
{
    return look(__func__, event, false);
}

API CUresult cuEventSynchronize(CUevent event)
{
    return look(__func__, event, true);
}
