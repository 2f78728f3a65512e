/* SPDX-License-Identifier: Apache-2.0 */
#include "branch.h"

#include "../hook/driver.h"
#include "../log.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_OUT 24u /* launches after which no reader is waited for any more */

static bool available(void)
{
    return mt_driver.cuStreamGetCaptureInfo_v3 && mt_driver.cuStreamUpdateCaptureDependencies_v2 &&
           mt_driver.cuGraphAddKernelNode_v2 && mt_driver.cuGraphAddDependencies_v2 &&
           mt_driver.cuGraphNodeGetDependencies_v2 && mt_driver.cuGraphNodeGetDependentNodes_v2;
}

struct place {
    cuuint64_t capture;
    CUgraph graph;
    const CUgraphNode *deps;      /* of the stream's next node; the driver's, until its next call */
    const CUgraphEdgeData *edges; /* how it will depend on them; may be NULL: in full */
    size_t count;
};

/* The capture that goes on on a stream. Asked for the edges' data, or the driver refuses where there is any. */
static bool look(CUstream stream, struct place *place)
{
    CUstreamCaptureStatus status;
    place->edges = NULL;
    return mt_driver.cuStreamGetCaptureInfo_v3(stream, &status, &place->capture, &place->graph, &place->deps,
                                               &place->edges, &place->count) == CUDA_SUCCESS &&
           status == CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

/* The one node behind which the stream goes on, all of it: a programmatic edge would let it start earlier. */
static bool one_in_full(const struct place *place)
{
    return place->count == 1 && (!place->edges || place->edges->type == CU_GRAPH_DEPENDENCY_TYPE_DEFAULT);
}

bool mt_branch_open(struct mt_branch *branch, CUstream stream, struct mt_tap_state *state,
                    const struct mt_routing *routing, struct mt_tap_site site, struct mt_occurrences *occurrences,
                    uint8_t width)
{
    struct place place;
    if (!available() || !look(stream, &place) || !one_in_full(&place))
        return false;
    if (branch->capture != place.capture || branch->state != state)
        branch->batch.count = 0; /* of a capture that failed: that graph never came to be */
    branch->state = state;
    branch->capture = place.capture;
    branch->graph = place.graph;
    branch->holder = branch->last = place.deps[0];
    if (occurrences->capture != place.capture)
        *occurrences = (struct mt_occurrences){place.capture, 0};
    uint64_t i = branch->batch.count;
    if (!mt_tap_add_stage(state, branch->graph, branch->holder, routing, site, occurrences->count++, width,
                          &branch->batch.tap[i], &branch->stages[i]))
        return false;
    branch->batch.tap[i].first_block = i ? mt_tap_batch_blocks(&branch->batch) : 0;
    branch->batch.count++;
    branch->open = true;
    branch->ids = (struct mt_branch_holds){mt_range_of(routing), branch->holder, 0};
    branch->weights = (struct mt_branch_holds){mt_weights_range_of(routing), branch->holder, 0};
    branch->launches = 0;
    return true;
}

/* Has the stream gone on by one node, behind `last` and nothing else? */
static bool one_step(const struct mt_branch *branch, CUstream stream, CUgraphNode *node)
{
    struct place place;
    if (!look(stream, &place) || place.capture != branch->capture || !one_in_full(&place))
        return false;
    *node = place.deps[0];
    CUgraphNode dep;
    CUgraphEdgeData edge;
    size_t count = 0;
    if (mt_driver.cuGraphNodeGetDependencies_v2(*node, NULL, NULL, &count) != CUDA_SUCCESS || count != 1)
        return false;
    return mt_driver.cuGraphNodeGetDependencies_v2(*node, &dep, &edge, &count) == CUDA_SUCCESS && dep == branch->last;
}

/* False: it may write there. */
static bool look_at(const struct mt_branch *branch, struct mt_branch_holds *holds,
                    const struct mt_history_entry *launch)
{
    enum mt_use use = mt_use_of(&holds->range, launch);
    if (use == MT_USE_READS) {
        holds->holder = branch->last;
        holds->launches = branch->launches;
    }
    return use != MT_USE_UNKNOWN;
}

bool mt_branch_launched(struct mt_branch *branch, CUstream stream, const struct mt_history_entry *launch)
{
    CUgraphNode node;
    if (++branch->launches > LOOK_OUT || !one_step(branch, stream, &node))
        return false;
    branch->last = node;
    struct mt_branch_holds *ids = &branch->ids, *weights = &branch->weights;
    if (!look_at(branch, ids, launch) || (weights->range.begin && !look_at(branch, weights, launch)))
        return false;
    branch->holder = weights->range.begin && weights->launches < ids->launches ? weights->holder : ids->holder;
    return true;
}

/* Whatever depends on the holder shall depend on the stage. */
static CUresult join_behind_holder(const struct mt_branch *branch, CUgraphNode stage, size_t *joined)
{
    size_t count = 0;
    CUresult result = mt_driver.cuGraphNodeGetDependentNodes_v2(branch->holder, NULL, NULL, &count);
    if (result != CUDA_SUCCESS || !count)
        return result;
    CUgraphNode *nodes = calloc(count, sizeof(CUgraphNode));
    CUgraphEdgeData *edges = calloc(count, sizeof *edges); /* asked for, or programmatic edges are refused */
    result = nodes && edges ? mt_driver.cuGraphNodeGetDependentNodes_v2(branch->holder, nodes, edges, &count)
                            : CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; result == CUDA_SUCCESS && i < count; i++) {
        if (nodes[i] == stage)
            continue;
        result = mt_driver.cuGraphAddDependencies_v2(branch->graph, &stage, &nodes[i], NULL, 1);
        ++*joined;
    }
    free(nodes);
    free(edges);
    return result;
}

static unsigned write_batch(struct mt_branch *branch)
{
    unsigned count = (unsigned) branch->batch.count;
    bool written = !count || mt_tap_add_write(branch->state, branch->graph, branch->stages, &branch->batch);
    branch->batch.count = 0;
    return written ? 0 : count;
}

unsigned mt_branch_settle(struct mt_branch *branch, CUstream stream)
{
    struct place place;
    branch->open = false;
    /* A capture that failed or is over: its graph is not ours to touch, and if it failed it will never run. */
    if (!look(stream, &place) || place.capture != branch->capture)
        return 0;
    bool at_end = false;
    for (size_t i = 0; i < place.count; i++)
        at_end |= place.deps[i] == branch->holder;
    size_t joined = 0;
    CUgraphNode stage = branch->stages[branch->batch.count - 1];
    CUresult result = join_behind_holder(branch, stage, &joined);
    if (result == CUDA_SUCCESS && (at_end || !joined))
        result =
            mt_driver.cuStreamUpdateCaptureDependencies_v2(stream, &stage, NULL, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES);
    unsigned lost = 0;
    if (result != CUDA_SUCCESS) {
        /* Its ids may be wrong, so they are never written. */
        mt_log_once(MT_LOG_PROBLEM, "a tap could not be joined (%s): counted as not captured", mt_driver_error(result));
        branch->batch.count--;
        lost = 1;
    }
    const struct mt_tap_batch *batch = &branch->batch;
    bool full = batch->count == MT_TAP_BATCH || (batch->count && mt_tap_batch_blocks(batch) >= MT_WRITE_BLOCKS_MAX);
    return lost + (full ? write_batch(branch) : 0);
}

unsigned mt_branch_finish(struct mt_branch *branch, CUstream stream)
{
    struct place place;
    if (!branch->batch.count || !look(stream, &place) || place.capture != branch->capture)
        return 0;
    return write_batch(branch);
}
