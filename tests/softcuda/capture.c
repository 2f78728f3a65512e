/* SPDX-License-Identifier: Apache-2.0 */
/* Stream capture: a capturing stream adds nodes to a graph instead of work to its queue. */
#include "device.h"

#include "callbacks.h"

#include <stdlib.h>

static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
static struct soft_capture *captures; /* the newest first, ended ones too */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

CUstreamCaptureStatus soft_capture_status(CUstream stream)
{
    struct soft_capture *capture = __atomic_load_n(&stream->capture, __ATOMIC_ACQUIRE);
    return capture ? __atomic_load_n(&capture->status, __ATOMIC_ACQUIRE) : CU_STREAM_CAPTURE_STATUS_NONE;
}

void soft_invalidate(struct soft_capture *capture)
{
    CUstreamCaptureStatus active = CU_STREAM_CAPTURE_STATUS_ACTIVE;
    __atomic_compare_exchange_n(&capture->status, &active, CU_STREAM_CAPTURE_STATUS_INVALIDATED, false,
                                __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

bool soft_forbidden(void)
{
    bool forbidden = false;
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
        return false;
    pthread_mutex_lock(&lock);
    for (struct soft_capture *c = captures; c; c = c->next) {
        if (__atomic_load_n(&c->status, __ATOMIC_ACQUIRE) != CU_STREAM_CAPTURE_STATUS_ACTIVE ||
            c->mode == CU_STREAM_CAPTURE_MODE_RELAXED)
            continue;
        bool mine = pthread_equal(c->thread, pthread_self());
        if (mine || (c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL)) {
            soft_invalidate(c);
            forbidden = true;
        }
    }
    pthread_mutex_unlock(&lock);
    return forbidden;
}

API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    ENTER("cuThreadExchangeStreamCaptureMode");
    if (*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    CUstreamCaptureMode old = thread_mode;
    thread_mode = *mode;
    *mode = old;
    return CUDA_SUCCESS;
}

static CUresult begin(const char *name, CUstream stream, bool per_thread, CUgraph into, const CUgraphNode *deps,
                      size_t count, CUstreamCaptureMode mode)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s || s->dead)
        return CUDA_ERROR_INVALID_HANDLE;
    if (soft_is_legacy(s))
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (soft_capture_status(s))
        return CUDA_ERROR_ILLEGAL_STATE;
    if (mode > CU_STREAM_CAPTURE_MODE_RELAXED || (into && !soft_graph_has(into, deps, count)))
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_capture *capture = soft_must(calloc(1, sizeof *capture));
    capture->status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
    capture->mode = mode;
    capture->thread = pthread_self();
    capture->origin = s;
    capture->graph = into ? into : soft_must(calloc(1, sizeof *capture->graph));
    capture->graph_is_users = into != NULL;
    soft_deps_set(&s->deps, &s->dep_count, deps, count);
    __atomic_store_n(&s->capture, capture, __ATOMIC_RELEASE);
    pthread_mutex_lock(&lock);
    capture->id = captures ? captures->id + 1 : 1;
    capture->next = captures;
    captures = capture;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

API CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
    return begin(__func__, stream, false, NULL, NULL, 0, mode);
}

API CUresult cuStreamBeginCapture_v2_ptsz(CUstream stream, CUstreamCaptureMode mode)
{
    return begin(__func__, stream, true, NULL, NULL, 0, mode);
}

API CUresult cuStreamBeginCapture(CUstream stream)
{
    return begin(__func__, stream, false, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

API CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const CUgraphNode *deps,
                                         const CUgraphEdgeData *edges, size_t count, CUstreamCaptureMode mode)
{
    (void) edges;
    return graph ? begin(__func__, stream, false, graph, deps, count, mode) : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuStreamBeginCaptureToGraph_ptsz(CUstream stream, CUgraph graph, const CUgraphNode *deps,
                                              const CUgraphEdgeData *edges, size_t count, CUstreamCaptureMode mode)
{
    (void) edges;
    return graph ? begin(__func__, stream, true, graph, deps, count, mode) : CUDA_ERROR_INVALID_VALUE;
}

CUresult soft_capture_wait(CUstream s, CUevent event)
{
    CUstreamCaptureStatus status = soft_capture_status(s);
    struct soft_capture *from = event->capture;
    if (status == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!from) {
        if (!event->recorded)
            return CUDA_SUCCESS; /* nothing to wait for */
        soft_invalidate(s->capture);
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    CUstreamCaptureStatus from_status = __atomic_load_n(&from->status, __ATOMIC_ACQUIRE);
    if (from_status == CU_STREAM_CAPTURE_STATUS_NONE) {
        if (status)
            soft_invalidate(s->capture);
        return CUDA_ERROR_CAPTURED_EVENT;
    }
    if (from_status == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!status) {
        if (soft_is_legacy(s))
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        soft_deps_set(&s->deps, &s->dep_count, NULL, 0);
        __atomic_store_n(&s->capture, from, __ATOMIC_RELEASE);
    } else if (s->capture != from) {
        soft_invalidate(s->capture);
        soft_invalidate(from);
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    soft_deps_add(&s->deps, &s->dep_count, event->deps, event->dep_count);
    return CUDA_SUCCESS;
}

static void mark(bool *seen, CUgraphNode node)
{
    if (seen[node->index])
        return;
    seen[node->index] = true;
    for (size_t i = 0; i < node->dep_count; i++)
        mark(seen, node->deps[i]);
}

/* Is all that the forked streams ended with ordered before the origin's end? Nodes added by hand are nobody's end. */
static bool joined(const struct soft_capture *capture)
{
    bool *seen = soft_must(calloc(capture->graph->count + 1, sizeof *seen)), all = true;
    for (size_t i = 0; i < capture->origin->dep_count; i++)
        mark(seen, capture->origin->deps[i]);
    for (CUstream f = soft_streams(); f; f = f->next) {
        for (size_t n = 0; f != capture->origin && f->capture == capture && n < f->dep_count; n++)
            all = all && (seen[f->deps[n]->index] || f->deps[n]->excused);
    }
    free(seen);
    return all;
}

static CUresult end_capture(const char *name, CUstream stream, bool per_thread, CUgraph *graph)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!soft_capture_status(s))
        return CUDA_ERROR_ILLEGAL_STATE;
    struct soft_capture *capture = s->capture;
    if (capture->origin != s) {
        soft_invalidate(capture);
        return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    }
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && !pthread_equal(capture->thread, pthread_self()))
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    CUresult result = CUDA_SUCCESS;
    if (soft_capture_status(s) == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
        result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    else if (!joined(capture))
        result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    pthread_mutex_lock(&lock);
    __atomic_store_n(&capture->status, CU_STREAM_CAPTURE_STATUS_NONE,
                     __ATOMIC_RELEASE); /* for all streams that took part */
    pthread_mutex_unlock(&lock);
    if (result != CUDA_SUCCESS && !capture->graph_is_users)
        soft_graph_free(capture->graph);
    if (graph)
        *graph = result == CUDA_SUCCESS ? capture->graph : NULL;
    capture->graph = NULL;
    return result;
}

API CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    cuStreamEndCapture_params params = {stream, graph};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture, __func__, &params, NULL,
           end_capture("cuStreamEndCapture", stream, false, graph));
}

API CUresult cuStreamEndCapture_ptsz(CUstream stream, CUgraph *graph)
{
    cuStreamEndCapture_ptsz_params params = {stream, graph};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture_ptsz, __func__, &params, NULL,
           end_capture("cuStreamEndCapture_ptsz", stream, true, graph));
}

static CUresult is_capturing(const char *name, CUstream stream, bool per_thread, CUstreamCaptureStatus *status)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    if (soft_implicit(s, false))
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    *status = soft_capture_status(s);
    return CUDA_SUCCESS;
}

API CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    return is_capturing(__func__, stream, false, status);
}

API CUresult cuStreamIsCapturing_ptsz(CUstream stream, CUstreamCaptureStatus *status)
{
    return is_capturing(__func__, stream, true, status);
}

static CUresult info(const char *name, CUstream stream, bool per_thread, CUstreamCaptureStatus *status, cuuint64_t *id,
                     CUgraph *graph, const CUgraphNode **deps, const CUgraphEdgeData **edges, size_t *count)
{
    CUresult result = is_capturing(name, stream, per_thread, status);
    if (result != CUDA_SUCCESS || *status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
        return result;
    CUstream s = soft_stream(stream, per_thread);
    if (id)
        *id = s->capture->id;
    if (graph)
        *graph = s->capture->graph;
    /* The driver's own arrays: good until the next call about this stream. */
    if (deps)
        *deps = s->deps;
    if (edges) {
        free(s->edges);
        *edges = s->edges = soft_must(calloc(s->dep_count + 1, sizeof *s->edges));
    }
    if (count)
        *count = s->dep_count;
    return CUDA_SUCCESS;
}

API CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id)
{
    return info(__func__, stream, false, status, id, NULL, NULL, NULL, NULL);
}

API CUresult cuStreamGetCaptureInfo_ptsz(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id)
{
    return info(__func__, stream, true, status, id, NULL, NULL, NULL, NULL);
}

API CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                                       const CUgraphNode **deps, size_t *count)
{
    return info(__func__, stream, false, status, id, graph, deps, NULL, count);
}

API CUresult cuStreamGetCaptureInfo_v2_ptsz(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                            CUgraph *graph, const CUgraphNode **deps, size_t *count)
{
    return info(__func__, stream, true, status, id, graph, deps, NULL, count);
}

API CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                                       const CUgraphNode **deps, const CUgraphEdgeData **edges, size_t *count)
{
    return info(__func__, stream, false, status, id, graph, deps, edges, count);
}

API CUresult cuStreamGetCaptureInfo_v3_ptsz(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                            CUgraph *graph, const CUgraphNode **deps, const CUgraphEdgeData **edges,
                                            size_t *count)
{
    return info(__func__, stream, true, status, id, graph, deps, edges, count);
}

static CUresult update(const char *name, CUstream stream, bool per_thread, const CUgraphNode *deps, size_t count,
                       unsigned flags)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    CUstreamCaptureStatus status = soft_capture_status(s);
    if (status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
        return status ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_ERROR_ILLEGAL_STATE;
    if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES || (count && !deps) ||
        !soft_graph_has(s->capture->graph, deps, count))
        return CUDA_ERROR_INVALID_VALUE;
    if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES) {
        for (size_t i = 0; i < s->dep_count; i++)
            s->deps[i]->excused = true;
        for (size_t i = 0; i < count; i++)
            deps[i]->excused = false;
        soft_deps_set(&s->deps, &s->dep_count, deps, count);
    } else {
        soft_deps_add(&s->deps, &s->dep_count, deps, count);
    }
    return CUDA_SUCCESS;
}

API CUresult cuStreamUpdateCaptureDependencies(CUstream stream, CUgraphNode *deps, size_t count, unsigned flags)
{
    return update(__func__, stream, false, deps, count, flags);
}

API CUresult cuStreamUpdateCaptureDependencies_ptsz(CUstream stream, CUgraphNode *deps, size_t count, unsigned flags)
{
    return update(__func__, stream, true, deps, count, flags);
}

API CUresult cuStreamUpdateCaptureDependencies_v2(CUstream stream, CUgraphNode *deps, const CUgraphEdgeData *edges,
                                                  size_t count, unsigned flags)
{
    (void) edges;
    return update(__func__, stream, false, deps, count, flags);
}

API CUresult cuStreamUpdateCaptureDependencies_v2_ptsz(CUstream stream, CUgraphNode *deps, const CUgraphEdgeData *edges,
                                                       size_t count, unsigned flags)
{
    (void) edges;
    return update(__func__, stream, true, deps, count, flags);
}
