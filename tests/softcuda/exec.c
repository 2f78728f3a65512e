/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs that run: flat copies, their update, and replays in every order that the dependencies allow. */
#include "device.h"

#include "callbacks.h"

#include <stdlib.h>
#include <string.h>

/* Copies into `out`, children laid open, each node after those that it waits for. False: a circle. */
static bool flatten(CUgraph out, CUgraph graph, const CUgraphNode *entry, size_t entries)
{
    CUgraphNode *image = soft_must(calloc(graph->count + 1, sizeof(CUgraphNode)));
    size_t placed = 0;
    bool more = true, ok = true;
    while (more && ok) {
        more = false;
        for (size_t i = 0; i < graph->count && ok; i++) {
            const CUgraphNode node = graph->nodes[i];
            CUgraphNode *deps = NULL;
            size_t count = 0;
            bool ready = !image[i];
            for (size_t d = 0; ready && d < node->dep_count; d++) {
                ready = image[node->deps[d]->index] != NULL;
                if (ready)
                    soft_deps_add(&deps, &count, &image[node->deps[d]->index], 1);
            }
            if (ready) {
                if (!node->dep_count)
                    soft_deps_set(&deps, &count, entry, entries);
                if (node->op.kind == OP_GRAPH) {
                    size_t first = out->count;
                    const struct soft_op end = {.kind = OP_EMPTY};
                    ok = flatten(out, node->op.graph, deps, count);
                    soft_deps_add(&deps, &count, out->nodes + first, out->count - first);
                    image[i] = soft_graph_add(out, &end, deps, count);
                } else {
                    const struct soft_op op = soft_op_copy(&node->op);
                    image[i] = soft_graph_add(out, &op, deps, count);
                }
                image[i]->origin = node;
                placed++;
                more = true;
            }
            free(deps);
        }
    }
    free(image);
    return ok && placed == graph->count;
}

static CUgraph flat_of(CUgraph graph)
{
    CUgraph flat = soft_must(calloc(1, sizeof *flat));
    if (flatten(flat, graph, NULL, 0))
        return flat;
    soft_graph_free(flat);
    return NULL;
}

static CUresult instantiate(CUgraphExec *exec, CUgraph graph)
{
    CUgraph flat = graph && exec ? flat_of(graph) : NULL;
    if (!flat)
        return CUDA_ERROR_INVALID_VALUE;
    *exec = soft_must(calloc(1, sizeof **exec));
    (*exec)->graph = flat;
    return CUDA_SUCCESS;
}

API CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    ENTER("cuGraphInstantiateWithFlags");
    (void) flags;
    return instantiate(exec, graph);
}

static CUresult instantiate_with_params(const char *name, CUgraphExec *exec, CUgraph graph,
                                        CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
    ENTER(name);
    CUresult result = instantiate(exec, graph);
    params->hErrNode_out = NULL;
    params->result_out =
        result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS : CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
    return result;
}

API CUresult cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
    return instantiate_with_params(__func__, exec, graph, params);
}

API CUresult cuGraphInstantiateWithParams_ptsz(CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
    return instantiate_with_params(__func__, exec, graph, params);
}

API CUresult cuGraphInstantiate_v2(CUgraphExec *exec, CUgraph graph, CUgraphNode *node, char *log, size_t size)
{
    ENTER("cuGraphInstantiate_v2");
    if (node)
        *node = NULL;
    if (log && size)
        *log = '\0';
    return instantiate(exec, graph);
}

API CUresult cuGraphInstantiate(CUgraphExec *exec, CUgraph graph, CUgraphNode *node, char *log, size_t size)
{
    return cuGraphInstantiate_v2(exec, graph, node, log, size);
}

API CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    ENTER("cuGraphExecDestroy");
    if (!exec)
        return CUDA_ERROR_INVALID_VALUE;
    soft_graph_free(exec->graph); /* a replay under way has its own copy */
    free(exec);
    return CUDA_SUCCESS;
}

/* New parameters for the same topology. */
static CUgraphExecUpdateResult update(CUgraphExec exec, CUgraph graph, CUgraphNode *error)
{
    *error = NULL;
    CUgraph flat = graph ? flat_of(graph) : NULL;
    if (!flat || !exec)
        return CU_GRAPH_EXEC_UPDATE_ERROR;
    CUgraphExecUpdateResult result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
    if (exec->graph->count != flat->count)
        result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    for (size_t i = 0; !result && i < flat->count; i++) {
        const CUgraphNode was = exec->graph->nodes[i], is = flat->nodes[i];
        if (was->dep_count != is->dep_count)
            result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        for (size_t d = 0; !result && d < is->dep_count; d++) {
            if (was->deps[d]->index != is->deps[d]->index)
                result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        }
        if (!result && was->op.kind != is->op.kind)
            result = CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
        if (result)
            *error = is->origin;
    }
    if (result) {
        soft_graph_free(flat);
        return result;
    }
    /* The old graph's nodes stay the names by which single nodes are updated. */
    for (size_t i = 0; i < flat->count; i++)
        flat->nodes[i]->origin = exec->graph->nodes[i]->origin;
    soft_graph_free(exec->graph);
    exec->graph = flat;
    return result;
}

API CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info)
{
    ENTER("cuGraphExecUpdate_v2");
    memset(info, 0, sizeof *info);
    info->result = update(exec, graph, &info->errorNode);
    return info->result ? CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE : CUDA_SUCCESS;
}

API CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode *error, CUgraphExecUpdateResult *result)
{
    ENTER("cuGraphExecUpdate");
    *result = update(exec, graph, error);
    return *result ? CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE : CUDA_SUCCESS;
}

static CUresult upload(const char *name, CUgraphExec exec, CUstream stream, bool per_thread)
{
    ENTER(name);
    return exec && soft_stream(stream, per_thread) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGraphUpload(CUgraphExec exec, CUstream stream)
{
    return upload(__func__, exec, stream, false);
}

API CUresult cuGraphUpload_ptsz(CUgraphExec exec, CUstream stream)
{
    return upload(__func__, exec, stream, true);
}

static CUresult launch(const char *name, CUgraphExec exec, CUstream stream, bool per_thread)
{
    ENTER(name);
    CUstream s = soft_stream(stream, per_thread);
    if (!s || !exec)
        return CUDA_ERROR_INVALID_HANDLE;
    struct soft_op op = {.kind = OP_GRAPH, .graph = soft_graph_copy(exec->graph)};
    CUresult result = soft_submit(s, &op);
    if (result != CUDA_SUCCESS)
        soft_op_free(&op);
    return result;
}

API CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    cuGraphLaunch_params params = {exec, stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch, __func__, &params, NULL,
           launch("cuGraphLaunch", exec, stream, false));
}

API CUresult cuGraphLaunch_ptsz(CUgraphExec exec, CUstream stream)
{
    cuGraphLaunch_ptsz_params params = {exec, stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch_ptsz, __func__, &params, NULL,
           launch("cuGraphLaunch_ptsz", exec, stream, true));
}

struct replay {
    CUgraph graph;
    unsigned *waits; /* dependencies, or successors, that are still to come */
    bool *placed;
    size_t left;
    unsigned random;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static unsigned next_random(struct replay *r)
{
    r->random = r->random * 1664525u + 1013904223u;
    return r->random >> 8;
}

/* Of the nodes that may go now: the least by `rank`, or any. graph->count: none may. */
static size_t pick(struct replay *r, const unsigned *rank)
{
    size_t count = r->graph->count, best = count, start = rank ? 0 : next_random(r) % count;
    for (size_t n = 0; n < count; n++) {
        size_t i = (n + start) % count;
        if (r->placed[i] || r->waits[i])
            continue;
        if (!rank)
            return i;
        if (best == count || rank[i] < rank[best])
            best = i;
    }
    return best;
}

static void release(struct replay *r, size_t done)
{
    for (size_t i = done + 1; i < r->graph->count; i++) {
        for (size_t d = 0; d < r->graph->nodes[i]->dep_count; d++)
            r->waits[i] -= r->graph->nodes[i]->deps[d]->index == done;
    }
}

static void *branch(void *user)
{
    struct replay *r = user;
    pthread_mutex_lock(&r->lock);
    while (r->left) {
        size_t i = pick(r, NULL);
        if (i == r->graph->count) {
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        r->placed[i] = true;
        r->left--;
        pthread_mutex_unlock(&r->lock);
        soft_run(&r->graph->nodes[i]->op);
        pthread_mutex_lock(&r->lock);
        release(r, i);
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void run_parallel(struct replay *r)
{
    pthread_t threads[7];
    size_t started = 0;
    while (started < 7 && started + 1 < r->graph->count && pthread_create(&threads[started], NULL, branch, r) == 0)
        started++;
    branch(r);
    while (started)
        pthread_join(threads[--started], NULL);
}

/* From the end: of the nodes that nobody placed waits for, the one that could have run earliest comes last. */
static void run_late(struct replay *r)
{
    size_t count = r->graph->count;
    size_t *order = soft_must(calloc(count, sizeof *order));
    unsigned *depth = soft_must(calloc(count, sizeof *depth));
    memset(r->waits, 0, count * sizeof *r->waits);
    for (size_t i = 0; i < count; i++) {
        for (size_t d = 0; d < r->graph->nodes[i]->dep_count; d++) {
            unsigned from = r->graph->nodes[i]->deps[d]->index;
            r->waits[from]++;
            depth[i] = depth[i] > depth[from] ? depth[i] : depth[from] + 1;
        }
    }
    for (size_t n = count; n-- > 0;) {
        size_t i = pick(r, depth);
        order[n] = i;
        r->placed[i] = true;
        for (size_t d = 0; d < r->graph->nodes[i]->dep_count; d++)
            r->waits[r->graph->nodes[i]->deps[d]->index]--;
    }
    for (size_t n = 0; n < count; n++)
        soft_run(&r->graph->nodes[order[n]]->op);
    free(order);
    free(depth);
}

/* `rank`: how much comes after a node; the side branch, with little behind it, goes first. NULL: any order. */
static void run_forward(struct replay *r, const unsigned *rank)
{
    for (size_t n = 0; n < r->graph->count; n++) {
        size_t i = pick(r, rank);
        r->placed[i] = true;
        soft_run(&r->graph->nodes[i]->op);
        release(r, i);
    }
}

static void run_early(struct replay *r)
{
    size_t count = r->graph->count;
    unsigned *tail = soft_must(calloc(count, sizeof *tail));
    for (size_t i = count; i-- > 0;) {
        for (size_t d = 0; d < r->graph->nodes[i]->dep_count; d++) {
            unsigned from = r->graph->nodes[i]->deps[d]->index;
            tail[from] = tail[from] > tail[i] ? tail[from] : tail[i] + 1;
        }
    }
    run_forward(r, tail);
    free(tail);
}

/* SOFTCUDA_ORDER: random (each replay another), late (what need not run yet, does not), early, parallel (threads). */
void soft_replay(CUgraph graph)
{
    static unsigned seed;
    const char *order = getenv("SOFTCUDA_ORDER");
    if (!graph->count)
        return;
    struct replay r = {.graph = graph,
                       .waits = soft_must(calloc(graph->count, sizeof *r.waits)),
                       .placed = soft_must(calloc(graph->count, sizeof *r.placed)),
                       .left = graph->count,
                       .random = __atomic_add_fetch(&seed, 1, __ATOMIC_RELAXED) * 2654435761u};
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.changed, NULL);
    for (size_t i = 0; i < graph->count; i++)
        r.waits[i] = (unsigned) graph->nodes[i]->dep_count;
    if (order && strcmp(order, "parallel") == 0)
        run_parallel(&r);
    else if (order && strcmp(order, "late") == 0)
        run_late(&r);
    else if (order && strcmp(order, "early") == 0)
        run_early(&r);
    else if (!order || !*order || strcmp(order, "random") == 0)
        run_forward(&r, NULL);
    else
        abort(); /* a test that meant something else */
    free(r.waits);
    free(r.placed);
}
