/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: a worker thread each, work in order. */
#include "device.h"

#include "callbacks.h"

#include <stdlib.h>

static CUstream all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;

static void *work(void *user)
{
    CUstream stream = user;
    pthread_mutex_lock(&stream->lock);
    for (;;) {
        while (!stream->head && !stream->dead)
            pthread_cond_wait(&stream->changed, &stream->lock);
        if (!stream->head)
            break;
        struct soft_op *op = stream->head;
        stream->head = op->next;
        if (!stream->head)
            stream->tail = NULL;
        stream->busy = true;
        pthread_mutex_unlock(&stream->lock);
        soft_run(op);
        soft_op_free(op);
        free(op);
        pthread_mutex_lock(&stream->lock);
        stream->busy = false;
        pthread_cond_broadcast(&stream->changed);
    }
    pthread_mutex_unlock(&stream->lock);
    return NULL;
}

static CUstream make_stream(unsigned flags)
{
    CUstream stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->flags = flags;
    stream->context = soft_context();
    pthread_mutex_init(&stream->lock, NULL);
    pthread_cond_init(&stream->changed, NULL);
    if (pthread_create(&stream->worker, NULL, work, stream) != 0) {
        free(stream);
        return NULL;
    }
    pthread_detach(stream->worker);
    pthread_mutex_lock(&all_lock);
    stream->next = all;
    all = stream;
    pthread_mutex_unlock(&all_lock);
    return stream;
}

/* Each context has its own legacy stream, and each thread one of its own in each context. */
CUstream soft_stream(CUstream stream, bool per_thread)
{
    static __thread CUstream own[16];
    CUcontext context = soft_context();
    if (stream && stream != CU_STREAM_LEGACY && stream != CU_STREAM_PER_THREAD)
        return stream;
    if (!context)
        return NULL;
    if (stream == CU_STREAM_PER_THREAD || (!stream && per_thread)) {
        for (size_t i = 0; i < 16; i++) {
            if (!own[i])
                own[i] = make_stream(CU_STREAM_DEFAULT);
            if (own[i] && own[i]->context == context)
                return own[i];
        }
        return NULL;
    }
    CUstream legacy = __atomic_load_n(&context->legacy, __ATOMIC_ACQUIRE);
    if (!legacy) {
        CUstream made = make_stream(CU_STREAM_DEFAULT);
        if (!__atomic_compare_exchange_n(&context->legacy, &legacy, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return legacy; /* the other is idle for ever */
        legacy = made;
    }
    return legacy;
}

bool soft_is_legacy(CUstream stream)
{
    return stream == __atomic_load_n(&stream->context->legacy, __ATOMIC_ACQUIRE);
}

void soft_drain(CUstream stream)
{
    pthread_mutex_lock(&stream->lock);
    while (stream->head || stream->busy)
        pthread_cond_wait(&stream->changed, &stream->lock);
    pthread_mutex_unlock(&stream->lock);
}

CUstream soft_streams(void)
{
    pthread_mutex_lock(&all_lock);
    CUstream first = all;
    pthread_mutex_unlock(&all_lock);
    return first;
}

void soft_drain_all(CUcontext context, bool only_blocking)
{
    for (CUstream s = soft_streams(); s; s = s->next) { /* streams are never taken out */
        if ((!context || s->context == context) && (!only_blocking || !(s->flags & CU_STREAM_NON_BLOCKING)))
            soft_drain(s);
    }
}

bool soft_implicit(CUstream legacy, bool invalidate)
{
    bool found = false;
    if (!soft_is_legacy(legacy))
        return false;
    for (CUstream s = soft_streams(); s; s = s->next) {
        if (s->context == legacy->context && !(s->flags & CU_STREAM_NON_BLOCKING) && soft_capture_status(s)) {
            if (invalidate)
                soft_invalidate(s->capture);
            found = true;
        }
    }
    return found;
}

CUresult soft_submit(CUstream stream, const struct soft_op *op)
{
    if (stream->dead)
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->context->gone)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    CUstreamCaptureStatus status = soft_capture_status(stream);
    if (status == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (status == CU_STREAM_CAPTURE_STATUS_ACTIVE) {
        CUgraphNode node = soft_graph_add(stream->capture->graph, op, stream->deps, stream->dep_count);
        bool overlaps = op->overlaps;
        for (size_t i = 0; i < node->dep_count; i++)
            overlaps = overlaps && node->deps[i]->op.kind == OP_KERNEL;
        node->programmatic = overlaps ? node->dep_count : 0;
        soft_deps_set(&stream->deps, &stream->dep_count, &node, 1);
        return CUDA_SUCCESS;
    }
    if (soft_implicit(stream, true))
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    /* The legacy stream waits for the blocking ones and they for it: here the caller does the waiting. */
    CUstream legacy = __atomic_load_n(&stream->context->legacy, __ATOMIC_ACQUIRE);
    if (stream == legacy)
        soft_drain_all(stream->context, true);
    else if (legacy && !(stream->flags & CU_STREAM_NON_BLOCKING))
        soft_drain(legacy);
    struct soft_op *queued = malloc(sizeof *queued);
    if (!queued)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *queued = *op;
    queued->next = NULL;
    pthread_mutex_lock(&stream->lock);
    if (stream->tail)
        stream->tail->next = queued;
    else
        stream->head = queued;
    stream->tail = queued;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    return CUDA_SUCCESS;
}

API CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    ENTER("cuStreamCreate");
    if (soft_current_device() < 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (flags > CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    *stream = make_stream(flags);
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority)
{
    ENTER("cuStreamCreateWithPriority");
    (void) priority;
    return cuStreamCreate(stream, flags);
}

API CUresult cuStreamDestroy_v2(CUstream stream)
{
    ENTER("cuStreamDestroy_v2");
    if (!stream || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD || stream->dead)
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&stream->lock);
    stream->dead = true; /* the worker ends; the struct stays, a late look at it does no harm */
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    return CUDA_SUCCESS;
}

static CUresult get_context(const char *name, CUstream stream, bool per_thread, CUcontext *context)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    *context = s->context;
    return CUDA_SUCCESS;
}

API CUresult cuStreamGetCtx(CUstream stream, CUcontext *context)
{
    return get_context(__func__, stream, false, context);
}

API CUresult cuStreamGetCtx_ptsz(CUstream stream, CUcontext *context)
{
    return get_context(__func__, stream, true, context);
}

/* Asking a stream that captures, or waiting for it, ends its capture. */
static CUresult not_while_capturing(CUstream stream)
{
    if (soft_capture_status(stream)) {
        soft_invalidate(stream->capture);
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return soft_implicit(stream, true) ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

static CUresult synchronize(const char *name, CUstream stream, bool per_thread)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s || s->dead)
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult result = not_while_capturing(s);
    if (result == CUDA_SUCCESS)
        soft_drain(s);
    return result;
}

API CUresult cuStreamSynchronize(CUstream stream)
{
    cuStreamSynchronize_params params = {stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuStreamSynchronize, __func__, &params, NULL,
           synchronize("cuStreamSynchronize", stream, false));
}

API CUresult cuStreamSynchronize_ptsz(CUstream stream)
{
    cuStreamSynchronize_ptsz_params params = {stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuStreamSynchronize_ptsz, __func__, &params, NULL,
           synchronize("cuStreamSynchronize_ptsz", stream, true));
}

static CUresult query(const char *name, CUstream stream, bool per_thread)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s || s->dead)
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult result = not_while_capturing(s);
    if (result != CUDA_SUCCESS)
        return result;
    pthread_mutex_lock(&s->lock);
    bool idle = !s->head && !s->busy;
    pthread_mutex_unlock(&s->lock);
    return idle ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API CUresult cuStreamQuery(CUstream stream)
{
    return query(__func__, stream, false);
}

API CUresult cuStreamQuery_ptsz(CUstream stream)
{
    return query(__func__, stream, true);
}
