/* SPDX-License-Identifier: Apache-2.0 */
/* A step as graphs: as a whole or a graph a layer, and one for each run of the draft model. */
#include "engine.h"

#include <stdlib.h>

static CUgraph capture(struct batch *b, long from, long to)
{
    CUgraph graph;
    CHECK(cuda.StreamBeginCapture(b->stream, options.graph == RELAXED ? CU_STREAM_CAPTURE_MODE_RELAXED
                                                                      : CU_STREAM_CAPTURE_MODE_GLOBAL));
    forward(b, from, to);
    CHECK(cuda.StreamEndCapture(b->stream, &graph));
    return graph;
}

void graph_make(struct batch *b)
{
    CUgraphExec *graphs = must(calloc((size_t) options.layers, sizeof(CUgraphExec)));
    b->graphs[b->turn] = graphs;
    b->graph_count = options.graph == PIECES ? options.layers : 1;
    for (long i = 0; i < b->graph_count; i++) {
        long to = options.graph == PIECES ? i + 1 : options.layers;
        CHECK(cuda.GraphInstantiate(&graphs[i], capture(b, i, to), 0));
        CUgraphExecUpdateResultInfo info;
        if (options.graph == UPDATE)
            CHECK(cuda.GraphExecUpdate(graphs[i], capture(b, i, to), &info));
    }
}

void graph_make_draft(struct batch *b)
{
    b->draft_graphs = must(calloc((size_t) options.draft + 1, sizeof *b->draft_graphs));
    for (long run = 0; run < options.draft; run++) {
        /* Captured twice, as for two batch sizes. */
        for (int i = 0; i < 2; i++) {
            CUgraph graph;
            CHECK(cuda.StreamBeginCapture(b->stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
            forward_draft(b, run);
            CHECK(cuda.StreamEndCapture(b->stream, &graph));
            CHECK(cuda.GraphInstantiate(&b->draft_graphs[run], graph, 0));
        }
    }
}
