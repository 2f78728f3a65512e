/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: a worker thread each, work in order; events; and what a capturing stream does instead. */
#include "device.h"

#include <cupti.h>
#include <stdlib.h>

static CUstream all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static CUstream legacy;
static __thread CUstream per_thread_stream;
static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
static unsigned long long captures;

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
    stream->device = soft_current_device();
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

CUstream soft_stream(CUstream stream, bool per_thread)
{
    if (soft_current_device() < 0 && (!stream || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD))
        return NULL;
    if (stream == CU_STREAM_PER_THREAD || (!stream && per_thread))
        return per_thread_stream ? per_thread_stream : (per_thread_stream = make_stream(CU_STREAM_DEFAULT));
    if (stream && stream != CU_STREAM_LEGACY)
        return stream;
    if (!legacy) {
        CUstream made = make_stream(CU_STREAM_DEFAULT);
        if (!__sync_bool_compare_and_swap(&legacy, NULL, made))
            return legacy; /* the other is idle for ever */
    }
    return legacy;
}

void soft_drain(CUstream stream)
{
    pthread_mutex_lock(&stream->lock);
    while (stream->head || stream->busy)
        pthread_cond_wait(&stream->changed, &stream->lock);
    pthread_mutex_unlock(&stream->lock);
}

void soft_drain_all(bool only_blocking)
{
    pthread_mutex_lock(&all_lock);
    CUstream first = all;
    pthread_mutex_unlock(&all_lock);
    for (CUstream s = first; s; s = s->next) { /* streams are never taken out */
        if (!only_blocking || !(s->flags & CU_STREAM_NON_BLOCKING))
            soft_drain(s);
    }
}

bool soft_forbidden(void)
{
    bool forbidden = false;
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
        return false;
    pthread_mutex_lock(&all_lock);
    for (CUstream s = all; s; s = s->next) {
        if (s->status != CU_STREAM_CAPTURE_STATUS_ACTIVE || s->mode == CU_STREAM_CAPTURE_MODE_RELAXED)
            continue;
        bool mine = pthread_equal(s->capturer, pthread_self());
        if (mine || (s->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL)) {
            s->status = CU_STREAM_CAPTURE_STATUS_INVALIDATED;
            forbidden = true;
        }
    }
    pthread_mutex_unlock(&all_lock);
    return forbidden;
}

CUresult soft_submit(CUstream stream, const struct soft_op *op)
{
    if (stream->status == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->status == CU_STREAM_CAPTURE_STATUS_ACTIVE) {
        struct soft_node *node = soft_graph_add(stream->graph, op, stream->deps, stream->dep_count);
        soft_deps_set(&stream->deps, &stream->dep_count, &node, 1);
        return CUDA_SUCCESS;
    }
    /* The legacy stream waits for the blocking ones and they for it: here the caller does the waiting. */
    if (stream == legacy)
        soft_drain_all(true);
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
    *stream = make_stream(flags);
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuStreamDestroy_v2(CUstream stream)
{
    ENTER("cuStreamDestroy_v2");
    if (!stream || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD)
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&stream->lock);
    stream->dead = true; /* the worker ends; the struct stays, a late look at it does no harm */
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    return CUDA_SUCCESS;
}

static CUresult synchronize(const char *name, CUstream stream, bool per_thread)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    if (s->status != CU_STREAM_CAPTURE_STATUS_NONE) {
        s->status = CU_STREAM_CAPTURE_STATUS_INVALIDATED;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    soft_drain(s);
    return CUDA_SUCCESS;
}

API CUresult cuStreamSynchronize(CUstream stream)
{
    cuStreamSynchronize_params params = {stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuStreamSynchronize, __func__, &params, NULL,
           synchronize("cuStreamSynchronize", stream, false));
}

API __typeof__(cuStreamSynchronize) cuStreamSynchronize_ptsz;
API CUresult cuStreamSynchronize_ptsz(CUstream stream)
{
    cuStreamSynchronize_ptsz_params params = {stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuStreamSynchronize_ptsz, __func__, &params, NULL,
           synchronize("cuStreamSynchronize_ptsz", stream, true));
}

API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    ENTER("cuThreadExchangeStreamCaptureMode");
    CUstreamCaptureMode old = thread_mode;
    thread_mode = *mode;
    *mode = old;
    return CUDA_SUCCESS;
}

API CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
    ENTER("cuStreamBeginCapture_v2");
    CUstream s = soft_stream(stream, false);
    if (!s || s == legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (s->status != CU_STREAM_CAPTURE_STATUS_NONE)
        return CUDA_ERROR_ILLEGAL_STATE;
    s->graph = calloc(1, sizeof *s->graph);
    if (!s->graph)
        return CUDA_ERROR_OUT_OF_MEMORY;
    s->mode = mode;
    s->capturer = pthread_self();
    s->origin = true;
    s->capture_id = __atomic_add_fetch(&captures, 1, __ATOMIC_RELAXED);
    soft_deps_set(&s->deps, &s->dep_count, NULL, 0);
    s->status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

/* Marks a node and what it depends on, all the way back. */
static void mark(const struct soft_node *node, bool *marked)
{
    if (marked[node->index])
        return;
    marked[node->index] = true;
    for (size_t i = 0; i < node->dep_count; i++)
        mark(node->deps[i], marked);
}

/* Is every node that a forked stream ended with ordered before the end of the origin? */
static bool joined(CUstream origin, CUstream fork)
{
    bool *marked = calloc(origin->graph->count + 1, sizeof *marked), every = true;
    if (!marked)
        return false;
    for (size_t i = 0; i < origin->dep_count; i++)
        mark(origin->deps[i], marked);
    for (size_t n = 0; n < fork->dep_count; n++)
        every &= marked[fork->deps[n]->index];
    free(marked);
    return every;
}

static CUresult end_capture(CUstream stream, CUgraph *graph)
{
    ENTER("cuStreamEndCapture");
    CUstream s = soft_stream(stream, false);
    if (!s || s->status == CU_STREAM_CAPTURE_STATUS_NONE || !s->origin)
        return CUDA_ERROR_ILLEGAL_STATE;
    CUresult result =
        s->status == CU_STREAM_CAPTURE_STATUS_INVALIDATED ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
    pthread_mutex_lock(&all_lock);
    for (CUstream f = all; f; f = f->next) {
        if (f == s || f->status == CU_STREAM_CAPTURE_STATUS_NONE || f->graph != s->graph)
            continue;
        if (result == CUDA_SUCCESS && !joined(s, f))
            result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
        f->status = CU_STREAM_CAPTURE_STATUS_NONE;
        f->graph = NULL;
    }
    pthread_mutex_unlock(&all_lock);
    *graph = result == CUDA_SUCCESS ? s->graph : NULL;
    s->graph = NULL;
    s->origin = false;
    s->status = CU_STREAM_CAPTURE_STATUS_NONE;
    return result;
}

API CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    cuStreamEndCapture_params params = {stream, graph};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture, __func__, &params, NULL, end_capture(stream, graph));
}

API CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    ENTER("cuStreamIsCapturing");
    CUstream s = soft_stream(stream, false);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    *status = s->status;
    return CUDA_SUCCESS;
}

API __typeof__(cuStreamGetCaptureInfo) cuStreamGetCaptureInfo_v3;
API CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                                       const CUgraphNode **deps, const CUgraphEdgeData **edges, size_t *count)
{
    ENTER("cuStreamGetCaptureInfo_v3");
    CUstream s = soft_stream(stream, false);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    *status = s->status;
    if (s->status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
        return CUDA_SUCCESS;
    if (id)
        *id = s->capture_id;
    if (graph)
        *graph = s->graph;
    if (deps)
        *deps = (const CUgraphNode *) s->deps;
    if (edges)
        *edges = NULL;
    if (count)
        *count = s->dep_count;
    return CUDA_SUCCESS;
}

API __typeof__(cuStreamUpdateCaptureDependencies) cuStreamUpdateCaptureDependencies_v2;
API CUresult cuStreamUpdateCaptureDependencies_v2(CUstream stream, CUgraphNode *deps, const CUgraphEdgeData *edges,
                                                  size_t count, unsigned flags)
{
    ENTER("cuStreamUpdateCaptureDependencies_v2");
    (void) edges;
    CUstream s = soft_stream(stream, false);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    if (s->status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES)
        soft_deps_set(&s->deps, &s->dep_count, (struct soft_node *const *) deps, count);
    else
        soft_deps_add(&s->deps, &s->dep_count, (struct soft_node *const *) deps, count);
    return CUDA_SUCCESS;
}

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

static CUresult record(CUevent event, CUstream stream)
{
    ENTER("cuEventRecord");
    CUstream s = soft_stream(stream, false);
    if (!s || !event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (s->status == CU_STREAM_CAPTURE_STATUS_ACTIVE) {
        event->graph = s->graph;
        event->capture_id = s->capture_id;
        soft_deps_set(&event->deps, &event->dep_count, s->deps, s->dep_count);
        return CUDA_SUCCESS;
    }
    event->graph = NULL;
    const struct soft_op op = {.kind = OP_RECORD, .event = event, .ticket = ++event->recorded};
    return soft_submit(s, &op);
}

API CUresult cuEventRecord(CUevent event, CUstream stream)
{
    cuEventRecord_params params = {event, stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuEventRecord, __func__, &params, NULL, record(event, stream));
}

API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    ENTER("cuStreamWaitEvent");
    (void) flags;
    CUstream s = soft_stream(stream, false);
    if (!s || !event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (event->graph) {
        if (s->status == CU_STREAM_CAPTURE_STATUS_NONE) {
            s->graph = event->graph;
            s->capture_id = event->capture_id;
            s->origin = false;
            s->capturer = pthread_self();
            s->status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
            soft_deps_set(&s->deps, &s->dep_count, NULL, 0);
        } else if (s->graph != event->graph) {
            return CUDA_ERROR_STREAM_CAPTURE_MERGE;
        }
        soft_deps_add(&s->deps, &s->dep_count, event->deps, event->dep_count);
        return CUDA_SUCCESS;
    }
    const struct soft_op op = {.kind = OP_WAIT, .event = event, .ticket = event->recorded};
    return soft_submit(s, &op);
}
