/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs: nodes with dependencies, made by hand or by capture, and what can be asked about them. */
#include "device.h"

#include <stdlib.h>
#include <string.h>

void *soft_must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

void soft_deps_set(CUgraphNode **deps, size_t *count, const CUgraphNode *from, size_t n)
{
    CUgraphNode *copy = soft_must(malloc((n + 1) * sizeof(CUgraphNode)));
    for (size_t i = 0; i < n; i++)
        copy[i] = from[i];
    free(*deps);
    *deps = copy;
    *count = n;
}

void soft_deps_add(CUgraphNode **deps, size_t *count, const CUgraphNode *from, size_t n)
{
    CUgraphNode *more = soft_must(realloc(*deps, (*count + n + 1) * sizeof(CUgraphNode)));
    for (size_t i = 0; i < n; i++) {
        bool known = false;
        for (size_t d = 0; d < *count && !known; d++)
            known = more[d] == from[i];
        if (!known)
            more[(*count)++] = from[i];
    }
    *deps = more;
}

CUgraphNode soft_graph_add(CUgraph graph, const struct soft_op *op, const CUgraphNode *deps, size_t dep_count)
{
    CUgraphNode node = soft_must(calloc(1, sizeof *node));
    node->op = *op;
    soft_deps_set(&node->deps, &node->dep_count, deps, dep_count);
    node->graph = graph;
    node->index = (unsigned) graph->count;
    graph->nodes = soft_must(realloc(graph->nodes, (graph->count + 1) * sizeof(CUgraphNode)));
    graph->nodes[graph->count++] = node;
    return node;
}

CUgraphEdgeData soft_edge(CUgraphNode node, size_t dep)
{
    CUgraphEdgeData edge = {0};
    if (dep < node->programmatic) {
        edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
        edge.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
    }
    return edge;
}

bool soft_graph_has(CUgraph graph, const CUgraphNode *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!nodes[i] || nodes[i]->graph != graph)
            return false;
        for (size_t n = 0; n < i; n++) {
            if (nodes[n] == nodes[i])
                return false;
        }
    }
    return true;
}

CUgraph soft_graph_copy(CUgraph graph)
{
    CUgraph copy = soft_must(calloc(1, sizeof *copy));
    for (size_t i = 0; i < graph->count; i++) {
        const struct soft_op op = soft_op_copy(&graph->nodes[i]->op);
        soft_graph_add(copy, &op, NULL, 0)->origin = graph->nodes[i];
    }
    for (size_t i = 0; i < graph->count; i++) {
        for (size_t d = 0; d < graph->nodes[i]->dep_count; d++)
            soft_deps_add(&copy->nodes[i]->deps, &copy->nodes[i]->dep_count,
                          &copy->nodes[graph->nodes[i]->deps[d]->index], 1);
        copy->nodes[i]->programmatic = graph->nodes[i]->programmatic;
    }
    return copy;
}

void soft_graph_free(CUgraph graph)
{
    for (size_t i = 0; i < graph->count; i++) {
        soft_op_free(&graph->nodes[i]->op);
        free(graph->nodes[i]->deps);
        free(graph->nodes[i]->params);
        free(graph->nodes[i]);
    }
    free(graph->nodes);
    free(graph);
}

API CUresult cuGraphCreate(CUgraph *graph, unsigned flags)
{
    ENTER("cuGraphCreate");
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    *graph = soft_must(calloc(1, sizeof **graph));
    return CUDA_SUCCESS;
}

API CUresult cuGraphClone(CUgraph *clone, CUgraph graph)
{
    ENTER("cuGraphClone");
    if (!graph)
        return CUDA_ERROR_INVALID_VALUE;
    *clone = soft_graph_copy(graph);
    return CUDA_SUCCESS;
}

API CUresult cuGraphDestroy(CUgraph graph)
{
    ENTER("cuGraphDestroy");
    if (!graph)
        return CUDA_ERROR_INVALID_VALUE;
    soft_graph_free(graph);
    return CUDA_SUCCESS;
}

static CUresult add(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count, struct soft_op *op)
{
    if (!graph || !node || (count && !deps) || !soft_graph_has(graph, deps, count)) {
        soft_op_free(op);
        return CUDA_ERROR_INVALID_VALUE;
    }
    *node = soft_graph_add(graph, op, deps, count);
    return CUDA_SUCCESS;
}

/* `kern` only counts where there is no func; func is no place for a CUkernel, other than in a launch. */
static CUresult kernel_op(struct soft_op *op, const CUDA_KERNEL_NODE_PARAMS *p)
{
    const struct soft_function *function = (const struct soft_function *) (p->func ? (void *) p->func : p->kern);
    if (!function || function->magic != (p->func ? SOFT_FUNCTION : SOFT_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    const unsigned grid[] = {p->gridDimX, p->gridDimY, p->gridDimZ},
                   block[] = {p->blockDimX, p->blockDimY, p->blockDimZ};
    return soft_kernel_op(op, function, grid, block, p->sharedMemBytes, p->kernelParams, p->extra);
}

static CUDA_KERNEL_NODE_PARAMS newer(const CUDA_KERNEL_NODE_PARAMS_v1 *old)
{
    CUDA_KERNEL_NODE_PARAMS params = {0};
    memcpy(&params, old, sizeof *old);
    return params;
}

static CUresult add_kernel(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                           const CUDA_KERNEL_NODE_PARAMS *params)
{
    struct soft_op op;
    CUresult result = kernel_op(&op, params);
    return result ? result : add(node, graph, deps, count, &op);
}

API CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                     const CUDA_KERNEL_NODE_PARAMS *params)
{
    ENTER("cuGraphAddKernelNode_v2");
    return add_kernel(node, graph, deps, count, params);
}

API CUresult cuGraphAddKernelNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                  const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
    ENTER("cuGraphAddKernelNode");
    const CUDA_KERNEL_NODE_PARAMS all = newer(params);
    return add_kernel(node, graph, deps, count, &all);
}

static CUresult add_empty(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count)
{
    struct soft_op op = {.kind = OP_EMPTY};
    return add(node, graph, deps, count, &op);
}

API CUresult cuGraphAddEmptyNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count)
{
    ENTER("cuGraphAddEmptyNode");
    return add_empty(node, graph, deps, count);
}

/* The child is copied now: later changes of it are not seen. */
static CUresult add_child(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count, CUgraph child)
{
    if (!child)
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_op op = {.kind = OP_GRAPH, .graph = soft_graph_copy(child)};
    return add(node, graph, deps, count, &op);
}

API CUresult cuGraphAddChildGraphNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                      CUgraph child)
{
    ENTER("cuGraphAddChildGraphNode");
    return add_child(node, graph, deps, count, child);
}

static CUresult add_node(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count, CUgraphNodeParams *p)
{
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    switch (p->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: {
        CUDA_KERNEL_NODE_PARAMS params = {0};
        memcpy(&params, &p->kernel, sizeof params < sizeof p->kernel ? sizeof params : sizeof p->kernel);
        return add_kernel(node, graph, deps, count, &params);
    }
    case CU_GRAPH_NODE_TYPE_EMPTY:
        return add_empty(node, graph, deps, count);
    case CU_GRAPH_NODE_TYPE_GRAPH:
        return add_child(node, graph, deps, count, p->graph.graph);
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

API CUresult cuGraphAddNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                            CUgraphNodeParams *params)
{
    ENTER("cuGraphAddNode");
    return add_node(node, graph, deps, count, params);
}

API CUresult cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, const CUgraphEdgeData *edges,
                               size_t count, CUgraphNodeParams *params)
{
    ENTER("cuGraphAddNode_v2");
    (void) edges;
    return add_node(node, graph, deps, count, params);
}

static CUresult add_edges(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count)
{
    if (!graph)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        if (!soft_graph_has(graph, &from[i], 1) || !soft_graph_has(graph, &to[i], 1) || from[i] == to[i])
            return CUDA_ERROR_INVALID_VALUE;
        for (size_t d = 0; d < to[i]->dep_count; d++) {
            if (to[i]->deps[d] == from[i])
                return CUDA_ERROR_INVALID_VALUE; /* an edge that is there already */
        }
    }
    for (size_t i = 0; i < count; i++)
        soft_deps_add(&to[i]->deps, &to[i]->dep_count, &from[i], 1);
    return CUDA_SUCCESS;
}

API CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count)
{
    ENTER("cuGraphAddDependencies");
    return add_edges(graph, from, to, count);
}

API CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                       const CUgraphEdgeData *edges, size_t count)
{
    ENTER("cuGraphAddDependencies_v2");
    (void) edges;
    return add_edges(graph, from, to, count);
}

/* As all these answer: how many with NULL, else as many as there is room for, the rest of the room is cleared. */
static CUresult give(CUgraphNode *out, size_t *room, const CUgraphNode *nodes, size_t count)
{
    for (size_t i = 0; out && i < *room; i++)
        out[i] = i < count ? nodes[i] : NULL;
    if (!out || *room > count)
        *room = count;
    return CUDA_SUCCESS;
}

API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count)
{
    ENTER("cuGraphGetNodes");
    return graph ? give(nodes, count, graph->nodes, graph->count) : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGraphGetRootNodes(CUgraph graph, CUgraphNode *nodes, size_t *count)
{
    ENTER("cuGraphGetRootNodes");
    if (!graph)
        return CUDA_ERROR_INVALID_VALUE;
    CUgraphNode *roots = NULL;
    size_t found = 0;
    for (size_t i = 0; i < graph->count; i++) {
        if (!graph->nodes[i]->dep_count)
            soft_deps_add(&roots, &found, &graph->nodes[i], 1);
    }
    give(nodes, count, roots, found);
    free(roots);
    return CUDA_SUCCESS;
}

static CUresult get_edges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *edges, size_t *room)
{
    if (!graph || !from != !to)
        return CUDA_ERROR_INVALID_VALUE;
    size_t count = 0;
    for (size_t i = 0; i < graph->count; i++) {
        for (size_t d = 0; d < graph->nodes[i]->dep_count; d++, count++) {
            if (!from || count >= *room)
                continue;
            from[count] = graph->nodes[i]->deps[d];
            to[count] = graph->nodes[i];
            if (edges)
                edges[count] = soft_edge(graph->nodes[i], d);
            else if (d < graph->nodes[i]->programmatic)
                return CUDA_ERROR_LOSSY_QUERY;
        }
    }
    for (size_t i = count; from && i < *room; i++)
        from[i] = to[i] = NULL;
    if (!from || *room > count)
        *room = count;
    return CUDA_SUCCESS;
}

API CUresult cuGraphGetEdges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, size_t *count)
{
    ENTER("cuGraphGetEdges");
    return get_edges(graph, from, to, NULL, count);
}

API CUresult cuGraphGetEdges_v2(CUgraph graph, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *edges,
                                size_t *count)
{
    ENTER("cuGraphGetEdges_v2");
    return get_edges(graph, from, to, edges, count);
}

static CUresult dependencies(CUgraphNode node, CUgraphNode *deps, CUgraphEdgeData *edges, size_t *count)
{
    if (!node)
        return CUDA_ERROR_INVALID_VALUE;
    if (deps && !edges && node->programmatic)
        return CUDA_ERROR_LOSSY_QUERY;
    for (size_t i = 0; edges && i < *count; i++)
        edges[i] = soft_edge(node, i);
    return give(deps, count, node->deps, node->dep_count);
}

API CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode *deps, size_t *count)
{
    ENTER("cuGraphNodeGetDependencies");
    return dependencies(node, deps, NULL, count);
}

API CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode *deps, CUgraphEdgeData *edges, size_t *count)
{
    ENTER("cuGraphNodeGetDependencies_v2");
    return dependencies(node, deps, edges, count);
}

static CUresult dependents(CUgraphNode node, CUgraphNode *nodes, CUgraphEdgeData *edges, size_t *count)
{
    if (!node)
        return CUDA_ERROR_INVALID_VALUE;
    CUgraphNode *found = NULL;
    size_t n = 0;
    bool lossy = false;
    for (size_t i = 0; edges && i < *count; i++)
        edges[i] = (CUgraphEdgeData){0};
    for (size_t i = 0; i < node->graph->count; i++) {
        const CUgraphNode other = node->graph->nodes[i];
        for (size_t d = 0; d < other->dep_count; d++) {
            if (other->deps[d] != node)
                continue;
            lossy |= d < other->programmatic;
            if (edges && n < *count)
                edges[n] = soft_edge(other, d);
            soft_deps_add(&found, &n, &node->graph->nodes[i], 1);
        }
    }
    CUresult result = nodes && !edges && lossy ? CUDA_ERROR_LOSSY_QUERY : give(nodes, count, found, n);
    free(found);
    return result;
}

API CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode *nodes, size_t *count)
{
    ENTER("cuGraphNodeGetDependentNodes");
    return dependents(node, nodes, NULL, count);
}

API CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode *nodes, CUgraphEdgeData *edges,
                                             size_t *count)
{
    ENTER("cuGraphNodeGetDependentNodes_v2");
    return dependents(node, nodes, edges, count);
}

API CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *type)
{
    ENTER("cuGraphNodeGetType");
    static const CUgraphNodeType types[] = {
        [OP_KERNEL] = CU_GRAPH_NODE_TYPE_KERNEL,   [OP_COPY] = CU_GRAPH_NODE_TYPE_MEMCPY,
        [OP_SET] = CU_GRAPH_NODE_TYPE_MEMSET,      [OP_RECORD] = CU_GRAPH_NODE_TYPE_EVENT_RECORD,
        [OP_WAIT] = CU_GRAPH_NODE_TYPE_WAIT_EVENT, [OP_EMPTY] = CU_GRAPH_NODE_TYPE_EMPTY,
        [OP_GRAPH] = CU_GRAPH_NODE_TYPE_GRAPH,
    };
    if (!node)
        return CUDA_ERROR_INVALID_VALUE;
    *type = types[node->op.kind];
    return CUDA_SUCCESS;
}

API CUresult cuGraphNodeFindInClone(CUgraphNode *found, CUgraphNode node, CUgraph clone)
{
    ENTER("cuGraphNodeFindInClone");
    for (size_t i = 0; clone && i < clone->count; i++) {
        if (clone->nodes[i]->origin == node) {
            *found = clone->nodes[i];
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *graph)
{
    ENTER("cuGraphChildGraphNodeGetGraph");
    if (!node || node->op.kind != OP_GRAPH)
        return CUDA_ERROR_INVALID_VALUE;
    *graph = node->op.graph;
    return CUDA_SUCCESS;
}

static CUresult get_params(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *p)
{
    if (!node || node->op.kind != OP_KERNEL)
        return CUDA_ERROR_INVALID_VALUE;
    const struct soft_op *op = &node->op;
    if (!node->params) {
        node->params = soft_must(calloc(op->kernel->param_count + 1, sizeof(void *)));
        for (unsigned i = 0; i < op->kernel->param_count; i++)
            node->params[i] = op->args + op->kernel->params[i].offset;
    }
    *p = (CUDA_KERNEL_NODE_PARAMS){.gridDimX = op->grid.x,
                                   .gridDimY = op->grid.y,
                                   .gridDimZ = op->grid.z,
                                   .blockDimX = op->block.x,
                                   .blockDimY = op->block.y,
                                   .blockDimZ = op->block.z,
                                   .sharedMemBytes = op->shared,
                                   .kernelParams = node->params};
    if (op->function->magic == SOFT_KERNEL)
        p->kern = (CUkernel) op->function;
    else
        p->func = (CUfunction) op->function;
    return CUDA_SUCCESS;
}

API CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *params)
{
    ENTER("cuGraphKernelNodeGetParams_v2");
    return get_params(node, params);
}

API CUresult cuGraphKernelNodeGetParams(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
    ENTER("cuGraphKernelNodeGetParams");
    CUDA_KERNEL_NODE_PARAMS all;
    CUresult result = get_params(node, &all);
    if (result == CUDA_SUCCESS)
        memcpy(params, &all, sizeof *params);
    return result;
}

static CUresult set_params(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params)
{
    if (!node || node->op.kind != OP_KERNEL)
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_op op;
    CUresult result = kernel_op(&op, params);
    if (result != CUDA_SUCCESS)
        return result;
    soft_op_free(&node->op);
    free(node->params);
    node->params = NULL;
    node->op = op;
    return CUDA_SUCCESS;
}

API CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params)
{
    ENTER("cuGraphKernelNodeSetParams_v2");
    return set_params(node, params);
}

API CUresult cuGraphKernelNodeSetParams(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
    ENTER("cuGraphKernelNodeSetParams");
    const CUDA_KERNEL_NODE_PARAMS all = newer(params);
    return set_params(node, &all);
}

static CUresult exec_set_params(CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params)
{
    for (size_t i = 0; exec && i < exec->graph->count; i++) {
        if (exec->graph->nodes[i]->origin == node)
            return set_params(exec->graph->nodes[i], params);
    }
    return CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                               const CUDA_KERNEL_NODE_PARAMS *params)
{
    ENTER("cuGraphExecKernelNodeSetParams_v2");
    return exec_set_params(exec, node, params);
}

API CUresult cuGraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                            const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
    ENTER("cuGraphExecKernelNodeSetParams");
    const CUDA_KERNEL_NODE_PARAMS all = newer(params);
    return exec_set_params(exec, node, &all);
}
