/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs: nodes with dependencies; a replay runs them in some order that these allow, each time another. */
#include "device.h"

#include <cupti.h>
#include <stdlib.h>
#include <string.h>

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
    node->graph = graph;
    graph->nodes = must(realloc(graph->nodes, (graph->count + 1) * sizeof(struct soft_node *)));
    graph->nodes[graph->count++] = node;
    return node;
}

API __typeof__(cuGraphAddKernelNode) cuGraphAddKernelNode_v2;
API CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                     const CUDA_KERNEL_NODE_PARAMS *params)
{
    ENTER("cuGraphAddKernelNode_v2");
    const unsigned grid[] = {params->gridDimX, params->gridDimY, params->gridDimZ};
    const unsigned block[] = {params->blockDimX, params->blockDimY, params->blockDimZ};
    struct soft_op op;
    CUresult result = soft_kernel_op(params->func, grid, block, params->kernelParams, params->extra, &op);
    if (result == CUDA_SUCCESS)
        *node = (CUgraphNode) soft_graph_add(graph, &op, (struct soft_node *const *) deps, count);
    return result;
}

static bool depends(const struct soft_node *node, const struct soft_node *on)
{
    for (size_t i = 0; i < node->dep_count; i++) {
        if (node->deps[i] == on)
            return true;
    }
    return false;
}

API __typeof__(cuGraphAddDependencies) cuGraphAddDependencies_v2;
API CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                       const CUgraphEdgeData *edges, size_t count)
{
    ENTER("cuGraphAddDependencies_v2");
    (void) graph;
    (void) edges;
    for (size_t i = 0; i < count; i++) {
        struct soft_node *node = (struct soft_node *) to[i], *on = (struct soft_node *) from[i];
        if (depends(node, on))
            return CUDA_ERROR_INVALID_VALUE; /* there is such an edge already */
        soft_deps_add(&node->deps, &node->dep_count, &on, 1);
    }
    return CUDA_SUCCESS;
}

/* As the driver does: without an array only the number, with one as many as fit, the rest of it NULL. */
static void hand_out(struct soft_node *node, size_t *found, CUgraphNode *nodes, size_t room)
{
    if (nodes && *found < room)
        nodes[*found] = (CUgraphNode) node;
    ++*found;
}

static void finish(size_t found, CUgraphNode *nodes, CUgraphEdgeData *edges, size_t *count)
{
    for (size_t i = 0; nodes && i < *count; i++) {
        if (i >= found)
            nodes[i] = NULL;
        if (edges)
            memset(&edges[i], 0, sizeof edges[i]);
    }
    *count = found;
}

API __typeof__(cuGraphNodeGetDependencies) cuGraphNodeGetDependencies_v2;
API CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode *deps, CUgraphEdgeData *edges, size_t *count)
{
    ENTER("cuGraphNodeGetDependencies_v2");
    const struct soft_node *n = (const struct soft_node *) node;
    size_t found = 0;
    for (size_t i = 0; i < n->dep_count; i++)
        hand_out(n->deps[i], &found, deps, *count);
    finish(found, deps, edges, count);
    return CUDA_SUCCESS;
}

API __typeof__(cuGraphNodeGetDependentNodes) cuGraphNodeGetDependentNodes_v2;
API CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode *nodes, CUgraphEdgeData *edges,
                                             size_t *count)
{
    ENTER("cuGraphNodeGetDependentNodes_v2");
    const struct soft_node *n = (const struct soft_node *) node;
    size_t found = 0;
    for (size_t i = 0; i < n->graph->count; i++) {
        if (depends(n->graph->nodes[i], n))
            hand_out(n->graph->nodes[i], &found, nodes, *count);
    }
    finish(found, nodes, edges, count);
    return CUDA_SUCCESS;
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

/* Longest way from each node to an end of the graph; nodes come after what they depend on, or were joined later. */
static void measure(const struct CUgraph_st *graph, size_t *height)
{
    memset(height, 0, graph->count * sizeof *height);
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = graph->count; i-- > 0;) {
            const struct soft_node *node = graph->nodes[i];
            for (size_t d = 0; d < node->dep_count; d++) {
                size_t *on = &height[node->deps[d]->index];
                if (*on < height[i] + 1) {
                    *on = height[i] + 1;
                    changed = true;
                }
            }
        }
    }
}

/*
 * An order that the dependencies allow. SOFTCUDA_ORDER=late puts every side branch off to the last moment, early draws
 * it to the first, else each replay has another one at random.
 */
static void choose_order(const struct CUgraph_st *graph, size_t *order)
{
    static unsigned seed;
    const char *wanted = getenv("SOFTCUDA_ORDER");
    bool late = wanted && strcmp(wanted, "late") == 0, early = wanted && strcmp(wanted, "early") == 0;
    unsigned random = __atomic_add_fetch(&seed, 1, __ATOMIC_RELAXED) * 2654435761u;
    size_t count = graph->count;
    size_t *height = must(malloc((count + 1) * sizeof *height));
    bool *done = must(calloc(count + 1, sizeof *done));
    measure(graph, height);
    for (size_t placed = 0; placed < count; placed++) {
        random = random * 1664525u + 1013904223u;
        size_t best = count;
        for (size_t n = 0; n < count; n++) {
            size_t i = late ? count - 1 - n : early ? n : (n + (random >> 8)) % count;
            bool ready = !done[i];
            for (size_t d = 0; ready && d < graph->nodes[i]->dep_count; d++)
                ready = done[graph->nodes[i]->deps[d]->index];
            bool better = best == count || (late && height[i] > height[best]) || (early && height[i] < height[best]);
            if (ready && better)
                best = i;
            if (best < count && !late && !early)
                break;
        }
        done[best] = true;
        order[placed] = best;
    }
    free(height);
    free(done);
}

static CUresult launch(CUgraphExec exec, CUstream stream, bool per_thread)
{
    ENTER("cuGraphLaunch");
    CUstream s = soft_stream(stream, per_thread);
    if (!s || !exec)
        return CUDA_ERROR_INVALID_HANDLE;
    size_t count = exec->graph.count;
    struct soft_op op = {.kind = OP_GRAPH, .count = count, .list = must(calloc(count + 1, sizeof *op.list))};
    size_t *order = must(malloc((count + 1) * sizeof *order));
    choose_order(&exec->graph, order);
    for (size_t i = 0; i < count; i++)
        op.list[i] = soft_op_copy(&exec->graph.nodes[order[i]]->op);
    free(order);
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
