/* SPDX-License-Identifier: Apache-2.0 */
/* A step: router and experts of each layer, and the draft model's behind it. */
#include "engine.h"

static void forward_layer(struct batch *b, long layer)
{
    if (options.context)
        context_of_layer(b, layer);
    int rows = (int) options.tokens, dim = MOE_DEMO_DIM, experts = (int) options.experts, k = (int) options.topk;
    unsigned row_blocks = (unsigned) rows;
    CUdeviceptr *in = &b->hidden[layer % 2], *out = &b->hidden[(layer + 1) % 2];
    void *gemm[] = {in, &weights.router[layer], &b->logits, &rows, &dim, &experts};
    launch(kernels.gemm, row_blocks, b, gemm);
    bool other = b->turn || (options.routers == MIXED && layer % 2);
    void *topk[] = {&b->logits, &b->ids, &b->topk_weights, &rows, &experts, &k};
    void *route[] = {&b->ids, &b->topk_weights, &b->logits, &experts, &k, &rows};
    launch(other ? kernels.route : kernels.topk, (row_blocks + MOE_DEMO_THREADS - 1) / MOE_DEMO_THREADS, b,
           other ? route : topk);
    if (options.eplb) {
        if (options.truth)
            ids_keep(b->stream, b->ids, b->truth, layer);
        ids_remap(b);
    }
    const bool keep_early = options.weights && (options.rescale || !options.scrub);
    if (keep_early)
        weights_keep(b, b->stream, layer);
    if (options.rescale)
        weights_rescale(b);
    CUstream stream = options.fork ? b->side : b->stream;
    if (stream != b->stream) {
        CHECK(cuda.EventRecord(b->routed, b->stream));
        CHECK(cuda.StreamWaitEvent(stream, b->routed, 0));
    }
    void *mix[] = {in, &b->physical, &b->topk_weights, &weights.experts[layer], out, &rows, &dim, &k};
    launch_on(stream, kernels.experts, row_blocks, mix);
    CUdeviceptr truth = options.eplb ? b->physical_truth : b->truth;
    if (options.scrub)
        ids_keep_and_scrub(b, stream, truth, layer, keep_early);
    if (stream != b->stream) {
        CHECK(cuda.EventRecord(b->mixed, stream));
        CHECK(cuda.StreamWaitEvent(b->stream, b->mixed, 0));
    }
    if (options.truth && !options.scrub)
        CHECK(cuda.MemcpyDtoDAsync(truth + (size_t) layer * ids_per_layer() * id_size(), b->physical,
                                   ids_per_layer() * id_size(), b->stream));
}

/* The next step starts where this one's layers started: a replayed graph has its addresses baked in. */
static void forward_end(struct batch *b)
{
    int rows = (int) options.tokens, dim = MOE_DEMO_DIM;
    if (options.layers % 2 == 0) {
        void *copy[] = {&b->hidden[0], &weights.embedding, &b->hidden[1], &rows, &dim};
        launch(kernels.embed, (unsigned) rows, b, copy);
    }
    void *embed[] = {&b->hidden[1], &weights.embedding, &b->hidden[0], &rows, &dim};
    launch(kernels.embed, (unsigned) rows, b, embed);
}

void forward(struct batch *b, long from, long to)
{
    for (long layer = from; layer < to; layer++)
        forward_layer(b, layer);
    if (to == options.layers)
        forward_end(b);
}

/* A draft model proposes tokens behind the target's step. It has the target's E and k, its vocabulary and its slots,
 * and routes into the same memory. */
void forward_draft(struct batch *b, long run)
{
    int rows = (int) (run ? (options.tokens + 3) / 4 : options.tokens), dim = MOE_DEMO_DIM, k = (int) options.topk;
    int experts = (int) options.experts, table_rows = MOE_DEMO_VOCABULARY;
    CUdeviceptr *in = &b->hidden[1], *out = &b->draft_hidden;
    if (options.context) {
        void *find[] = {&b->tokens, &weights.vocabulary, &b->looked_up, &rows, &dim, &table_rows};
        launch(kernels.lookup, (unsigned) rows, b, find);
        void *gemm[] = {in, &weights.draft.qkv, &b->q, &rows, &dim, &dim};
        launch(kernels.gemm, (unsigned) rows, b, gemm);
        void *cache[] = {&b->q, &weights.draft.cache, &b->slots, &rows, &dim};
        launch(kernels.cache, (unsigned) rows, b, cache);
    }
    void *gemm[] = {in, &weights.draft.router, &b->logits, &rows, &dim, &experts};
    launch(kernels.gemm, (unsigned) rows, b, gemm);
    void *topk[] = {&b->logits, &b->ids, &b->topk_weights, &rows, &experts, &k};
    launch(kernels.topk, ((unsigned) rows + MOE_DEMO_THREADS - 1) / MOE_DEMO_THREADS, b, topk);
    void *mix[] = {in, &b->ids, &b->topk_weights, &weights.draft.experts, out, &rows, &dim, &k};
    launch(kernels.experts, (unsigned) rows, b, mix);
}
