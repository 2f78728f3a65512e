/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs: nodes with dependencies; a replay runs them in some order that these allow, each time another. */
#include "device.h"

#include <cupti.h>
#include <stdlib.h>
#include <string.h>

#define ENTER(name)                                                                                                    \
    CUresult injected = soft_enter(name);                                                                              \
    if (injected)                                                                                                      \
    return injected

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

void soft_deps_set(struct soft_node ***deps, size_t *count, struct soft_node *const *from, size_t n)
{
    struct soft_node **copy = must(malloc((n + 1) * sizeof *copy));
    for (size_t i = 0; i < n; i++)
        copy[i] = from[i];
    free(*deps);
    *deps = copy;
    *count = n;
}

void soft_deps_add(struct soft_node ***deps, size_t *count, struct soft_node *const *from, size_t n)
{
    struct soft_node **more = must(realloc(*deps, (*count + n + 1) * sizeof *more));
    for (size_t i = 0; i < n; i++)
        more[(*count)++] = from[i];
    *deps = more;
}

struct soft_node *soft_graph_add(CUgraph graph, const struct soft_op *op, struct soft_node *const *deps,
                                 size_t dep_count)
{
    struct soft_node *node = must(calloc(1, sizeof *node));
    node->op = *op;
    soft_deps_set(&node->deps, &node->dep_count, deps, dep_count);
    node->index = (unsigned) graph->count;
    graph->nodes = must(realloc(graph->nodes, (graph->count + 1) * sizeof(struct soft_node *)));
    graph->nodes[graph->count++] = node;
    return node;
}

API CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    ENTER("cuGraphInstantiateWithFlags");
    (void) flags;
    *exec = must(calloc(1, sizeof **exec));
    for (size_t i = 0; i < graph->count; i++) {
        const struct soft_node *node = graph->nodes[i];
        struct soft_op op = soft_op_copy(&node->op);
        struct soft_node *copy = soft_graph_add(&(*exec)->graph, &op, NULL, 0);
        for (size_t d = 0; d < node->dep_count; d++)
            soft_deps_add(&copy->deps, &copy->dep_count, &(*exec)->graph.nodes[node->deps[d]->index], 1);
    }
    return CUDA_SUCCESS;
}

/* New parameters for the same topology. */
API CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info)
{
    ENTER("cuGraphExecUpdate_v2");
    bool same = exec->graph.count == graph->count;
    for (size_t i = 0; same && i < graph->count; i++) {
        same = exec->graph.nodes[i]->op.kind == graph->nodes[i]->op.kind &&
               exec->graph.nodes[i]->dep_count == graph->nodes[i]->dep_count;
        for (size_t d = 0; same && d < graph->nodes[i]->dep_count; d++)
            same = exec->graph.nodes[i]->deps[d]->index == graph->nodes[i]->deps[d]->index;
    }
    memset(info, 0, sizeof *info);
    info->result = same ? CU_GRAPH_EXEC_UPDATE_SUCCESS : CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    if (!same)
        return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    for (size_t i = 0; i < graph->count; i++) {
        soft_op_free(&exec->graph.nodes[i]->op);
        exec->graph.nodes[i]->op = soft_op_copy(&graph->nodes[i]->op);
    }
    return CUDA_SUCCESS;
}

static CUresult launch(CUgraphExec exec, CUstream stream, bool per_thread)
{
    ENTER("cuGraphLaunch");
    CUstream s = soft_stream(stream, per_thread);
    if (!s || !exec)
        return CUDA_ERROR_INVALID_HANDLE;
    static unsigned seed;
    unsigned random = __atomic_add_fetch(&seed, 1, __ATOMIC_RELAXED) * 2654435761u;
    size_t count = exec->graph.count;
    struct soft_op op = {.kind = OP_GRAPH, .count = count, .list = must(calloc(count + 1, sizeof *op.list))};
    bool *done = must(calloc(count + 1, sizeof *done));
    for (size_t placed = 0; placed < count; placed++) {
        /* Any node whose dependencies are done; start looking somewhere. */
        random = random * 1664525u + 1013904223u;
        for (size_t n = 0; n < count; n++) {
            size_t i = (n + random) % count;
            bool free_now = !done[i];
            for (size_t d = 0; free_now && d < exec->graph.nodes[i]->dep_count; d++)
                free_now = done[exec->graph.nodes[i]->deps[d]->index];
            if (free_now) {
                done[i] = true;
                op.list[placed] = soft_op_copy(&exec->graph.nodes[i]->op);
                break;
            }
        }
    }
    free(done);
    CUresult result = soft_submit(s, &op);
    if (result != CUDA_SUCCESS)
        soft_op_free(&op);
    return result;
}

API CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    cuGraphLaunch_params params = {exec, stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch, __func__, &params, NULL, launch(exec, stream, false));
}

API __typeof__(cuGraphLaunch) cuGraphLaunch_ptsz;
API CUresult cuGraphLaunch_ptsz(CUgraphExec exec, CUstream stream)
{
    cuGraphLaunch_ptsz_params params = {exec, stream};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch_ptsz, __func__, &params, NULL, launch(exec, stream, true));
}
