/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moe-demo: a little Mixture-of-Experts decoder loop on the CUDA driver API. Like real engines it re-uses one ids
 * buffer for all layers of a stream, and like them it knows nothing of who may be watching.
 */
#include "driver.h"
#include "kernels.h"
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct cuda cuda;

static void check(CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS)
        return;
    const char *name = NULL;
    if (!cuda.GetErrorName || cuda.GetErrorName(result, &name) != CUDA_SUCCESS || !name)
        name = "unknown error";
    fprintf(stderr, "moe-demo: %s: %s\n", what, name);
    exit(1);
}
#define CHECK(call) check((call), #call)

static void *must(void *memory)
{
    if (!memory) {
        fputs("moe-demo: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static CUdeviceptr device_alloc(size_t size)
{
    CUdeviceptr address;
    CHECK(cuda.MemAlloc(&address, size));
    return address;
}

static uint64_t random_state;
static float random_float(void) /* -1 to 1 */
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (float) ((double) (random_state >> 33) / (double) (1u << 30) - 1.0);
}

static CUdeviceptr random_matrix(size_t elements)
{
    float *values = must(malloc(elements * sizeof *values));
    for (size_t i = 0; i < elements; i++)
        values[i] = random_float();
    CUdeviceptr address = device_alloc(elements * sizeof *values);
    CHECK(cuda.MemcpyHtoD(address, values, elements * sizeof *values));
    free(values);
    return address;
}

static struct {
    CUfunction gemm, topk, route, experts, keep, scrub, keep_weights, scrub_weights, rescale, remap, embed, lookup,
        rotary, cache, plan, tables, lists;
} kernels;

static struct {
    CUdeviceptr *router, *experts, embedding;
    CUdeviceptr copies;                             /* --eplb: [experts, MOE_DEMO_COPIES] physical ids */
    CUdeviceptr *qkv, vocabulary, cos_sin, *caches; /* --context; all batches have their slots in one cache */
    struct {
        CUdeviceptr router, experts, qkv, cache;
    } draft;
} weights;

/* --plan=tables: what the GPU finds in its memory of each KV cache group. */
#define KV_GROUPS 2
struct tables {
    CUdeviceptr states[KV_GROUPS]; /* [PLAN_STATES, stride] */
    int64_t stride[KV_GROUPS];
    int32_t block[KV_GROUPS];
};

struct batch {
    CUstream stream, side;
    CUevent routed, mixed; /* from one to the other and back */
    CUdeviceptr hidden[2], logits, ids, topk_weights, truth, weights_truth;
    CUdeviceptr physical, physical_truth; /* --eplb: ids as the experts take them; without it, or in place, `ids` */
    void *truth_host, *physical_host, *weights_host; /* of all layers; --weights: their bits as the router wrote them */
    bool turn;                                       /* --routers=turns: the other kernel's */
    CUgraphExec *graphs[2];                          /* a step, by turn: one after the other */
    long graph_count;
    CUgraphExec *draft_graphs; /* --draft, each run's */
    CUdeviceptr draft_hidden;
    /* --context: what the rows of a step are, put there ahead of it */
    CUdeviceptr tokens, positions, slots, looked_up, q;
    long first_slot;
    int32_t *rows_are; /* [3, tokens]: tokens, positions, slots */
    /* --plan: the sequences of a step; starts [PLAN_SEQUENCES + 1] and the table [PLAN_SEQUENCES, PLAN_STRIDE] behind
     * them */
    CUdeviceptr plan;
    int32_t *sequences_are;
    CUdeviceptr index, states[KV_GROUPS], tables; /* --plan=tables; tables: struct tables */
    CUdeviceptr listed;                           /* --plan=lists */
};
#define PLAN_SEQUENCES (options.tokens / 4)
#define PLAN_STRIDE MOE_DEMO_LIST
#define PLAN_BLOCK 4
#define PLAN_STATES (PLAN_SEQUENCES + 3) /* more requests than run in a step */
#define PLAN_WORDS (PLAN_SEQUENCES + 1 + PLAN_SEQUENCES * PLAN_STRIDE)
#define CACHE_SLOTS (2 * options.tokens)
#define ROTARY_ROWS 512

/* What --dtype may be; the letter stands for it in mangled names. */
static const struct dtype {
    const char *name;
    size_t size;
    char letter;
} dtypes[] = {{"i32", 4, 'i'}, {"i64", 8, 'l'}, {"u32", 4, 'j'}, {"u16", 2, 't'}, {"u8", 1, 'h'}, {NULL, 0, 0}};

static const struct dtype *dtype(void)
{
    const struct dtype *d = dtypes;
    while (d->name && strcmp(d->name, options.dtype) != 0)
        d++;
    return d;
}

static size_t id_size(void)
{
    return dtype()->size;
}

static size_t ids_per_layer(void)
{
    return (size_t) options.tokens * (size_t) options.topk;
}

/* Of all layers. */
static size_t weights_size(void)
{
    return (size_t) options.layers * ids_per_layer() * sizeof(float);
}

static void launch_grid(CUstream stream, CUfunction kernel, unsigned blocks, unsigned columns, void **params)
{
    CUlaunchAttribute overlap = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                 .value = {.programmaticStreamSerializationAllowed = 1}};
    const CUlaunchConfig config = {.gridDimX = blocks,
                                   .gridDimY = columns,
                                   .gridDimZ = 1,
                                   .blockDimX = MOE_DEMO_THREADS,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .hStream = stream,
                                   .attrs = &overlap,
                                   .numAttrs = 1};
    if (options.pdl)
        CHECK(cuda.LaunchKernelEx(&config, kernel, params, NULL));
    else
        CHECK(cuda.LaunchKernel(kernel, blocks, columns, 1, MOE_DEMO_THREADS, 1, 1, 0, stream, params, NULL));
}

static void launch_on(CUstream stream, CUfunction kernel, unsigned blocks, void **params)
{
    launch_grid(stream, kernel, blocks, 1, params);
}

static void launch(CUfunction kernel, unsigned blocks, struct batch *batch, void **params)
{
    launch_on(batch->stream, kernel, blocks, params);
}

/* One thread an id or a weight. */
static void launch_flat(CUstream stream, CUfunction kernel, void **params)
{
    launch_on(stream, kernel, ((unsigned) ids_per_layer() + MOE_DEMO_THREADS - 1) / MOE_DEMO_THREADS, params);
}

static void keep_ids(CUstream stream, CUdeviceptr ids, CUdeviceptr truth, long layer)
{
    int count = (int) ids_per_layer();
    CUdeviceptr kept = truth + (size_t) layer * ids_per_layer() * id_size();
    void *keep[] = {&ids, &kept, &count};
    launch_flat(stream, kernels.keep, keep);
}

/* As soon as nobody in the engine needs them any more. */
static void scrub(CUstream stream, CUfunction kernel, CUdeviceptr ids)
{
    int count = (int) ids_per_layer();
    void *params[] = {&ids, &count};
    launch_flat(stream, kernel, params);
}

static void remap(struct batch *b)
{
    int k = (int) options.topk, count = (int) ids_per_layer(), experts = (int) options.experts * MOE_DEMO_COPIES;
    void *params[] = {&b->ids, &b->physical, &weights.copies, &k, &count, &experts};
    launch_flat(b->stream, kernels.remap, params);
}

/* By a kernel, which only reads them: a copy would end what the stream is known to do with them. */
static void keep_weights(struct batch *b, CUstream stream, long layer)
{
    int count = (int) ids_per_layer();
    CUdeviceptr kept = b->weights_truth + (size_t) layer * ids_per_layer() * sizeof(float);
    void *keep[] = {&b->topk_weights, &kept, &count};
    launch_flat(stream, kernels.keep_weights, keep);
}

static void rescale(struct batch *b)
{
    int count = (int) ids_per_layer();
    float factor = 1.25f;
    void *params[] = {&b->topk_weights, &factor, &count};
    launch_flat(b->stream, kernels.rescale, params);
}

static void keep_and_scrub(struct batch *b, CUstream stream, CUdeviceptr truth, long layer, bool weights_kept)
{
    if (options.weights && !weights_kept)
        keep_weights(b, stream, layer);
    if (options.weights)
        scrub(stream, kernels.scrub_weights, b->topk_weights);
    keep_ids(stream, b->physical, truth, layer);
    scrub(stream, kernels.scrub, b->physical);
    if (options.eplb == APART)
        scrub(stream, kernels.scrub, b->ids);
}

static void lookup(struct batch *b, CUdeviceptr *index, CUdeviceptr *table, int table_rows)
{
    int rows = (int) options.tokens, dim = MOE_DEMO_DIM;
    void *params[] = {index, table, &b->looked_up, &rows, &dim, &table_rows};
    launch(kernels.lookup, (unsigned) rows, b, params);
}

/* What serving engines do around their routers. The same look-up also serves a table that is no vocabulary, before it,
 * and rows of activations, behind it. */
static void context_of_layer(struct batch *b, long layer)
{
    int rows = (int) options.tokens, dim = MOE_DEMO_DIM;
    if (layer == 0) {
        lookup(b, &b->tokens, &weights.cos_sin, ROTARY_ROWS);
        lookup(b, &b->tokens, &weights.vocabulary, MOE_DEMO_VOCABULARY);
    }
    void *gemm[] = {&b->hidden[layer % 2], &weights.qkv[layer], &b->q, &rows, &dim, &dim};
    launch(kernels.gemm, (unsigned) rows, b, gemm);
    void *rotary[] = {&b->positions, &b->q, &rows, &dim};
    launch(kernels.rotary, (unsigned) rows, b, rotary);
    void *cache[] = {&b->q, &weights.caches[layer], &b->slots, &rows, &dim};
    launch(kernels.cache, (unsigned) rows, b, cache);
    if (layer == options.layers - 1)
        lookup(b, &b->tokens, &b->q, (int) options.tokens + MOE_DEMO_VOCABULARY);
}

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
            keep_ids(b->stream, b->ids, b->truth, layer);
        remap(b);
    }
    const bool keep_early = options.weights && (options.rescale || !options.scrub);
    if (keep_early)
        keep_weights(b, b->stream, layer);
    if (options.rescale)
        rescale(b);
    CUstream stream = options.fork ? b->side : b->stream;
    if (stream != b->stream) {
        CHECK(cuda.EventRecord(b->routed, b->stream));
        CHECK(cuda.StreamWaitEvent(stream, b->routed, 0));
    }
    void *mix[] = {in, &b->physical, &b->topk_weights, &weights.experts[layer], out, &rows, &dim, &k};
    launch_on(stream, kernels.experts, row_blocks, mix);
    CUdeviceptr truth = options.eplb ? b->physical_truth : b->truth;
    if (options.scrub)
        keep_and_scrub(b, stream, truth, layer, keep_early);
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

static void forward(struct batch *b, long from, long to)
{
    for (long layer = from; layer < to; layer++)
        forward_layer(b, layer);
    if (to == options.layers)
        forward_end(b);
}

/* A draft model proposes tokens behind the target's step. It has the target's E and k, its vocabulary and its slots,
 * and routes into the same memory. */
static void draft(struct batch *b, long run)
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

static void make_draft_graphs(struct batch *b)
{
    b->draft_graphs = must(calloc((size_t) options.draft + 1, sizeof *b->draft_graphs));
    for (long run = 0; run < options.draft; run++) {
        /* Captured twice, as for two batch sizes. */
        for (int i = 0; i < 2; i++) {
            CUgraph graph;
            CHECK(cuda.StreamBeginCapture(b->stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
            draft(b, run);
            CHECK(cuda.StreamEndCapture(b->stream, &graph));
            CHECK(cuda.GraphInstantiate(&b->draft_graphs[run], graph, 0));
        }
    }
}

static CUgraph capture(struct batch *b, long from, long to)
{
    CUgraph graph;
    CHECK(cuda.StreamBeginCapture(b->stream, options.graph == RELAXED ? CU_STREAM_CAPTURE_MODE_RELAXED
                                                                      : CU_STREAM_CAPTURE_MODE_GLOBAL));
    forward(b, from, to);
    CHECK(cuda.StreamEndCapture(b->stream, &graph));
    return graph;
}

static void make_graphs(struct batch *b)
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

/* The table's rows at those of their states, and other blocks for the other group. */
static void launch_tables(struct batch *b, const int32_t *table, long step)
{
    const long sequences = PLAN_SEQUENCES, other_stride = PLAN_STRIDE / 2;
    int32_t *index = must(malloc((size_t) sequences * sizeof *index));
    int32_t *states = must(malloc((size_t) (PLAN_STATES * PLAN_STRIDE) * sizeof *states));
    for (long i = 0; i < PLAN_STATES * PLAN_STRIDE; i++)
        states[i] = (int32_t) (CACHE_SLOTS + i);
    CHECK(cuda.MemcpyHtoD(b->states[1], states, (size_t) (PLAN_STATES * other_stride) * sizeof *states));
    for (long i = 0; i < sequences; i++) {
        index[i] = (int32_t) ((sequences - 1 - i + step) % PLAN_STATES);
        memcpy(states + index[i] * PLAN_STRIDE, table + i * PLAN_STRIDE, PLAN_STRIDE * sizeof *table);
    }
    CHECK(cuda.MemcpyHtoD(b->states[0], states, (size_t) (PLAN_STATES * PLAN_STRIDE) * sizeof *states));
    CHECK(cuda.MemcpyHtoD(b->index, index, (size_t) sequences * sizeof *index));
    const struct tables tables = {
        {b->states[0], b->states[1]}, {PLAN_STRIDE, other_stride}, {PLAN_BLOCK, 2 * PLAN_BLOCK}};
    CHECK(cuda.MemcpyHtoD(b->tables, &tables, sizeof tables));
    free(index);
    free(states);
    int rows = (int) options.tokens;
    CUdeviceptr strides = b->tables + offsetof(struct tables, stride),
                blocks = b->tables + offsetof(struct tables, block);
    void *params[] = {&rows, &b->index, &b->plan, &b->positions, &b->tables, &strides, &blocks, &b->slots, &rows};
    launch_grid(b->stream, kernels.tables, KV_GROUPS, (unsigned) sequences + 1, params);
}

/* One row for each sequence, as SGLang decodes: all of its slots are listed, the row's own as the last one. Padding has
 * the slot 0. In the first step nothing is listed, at no address, as ahead of prompts. */
static void list_rows(struct batch *b, long step)
{
    const long sequences = PLAN_SEQUENCES;
    int32_t *starts = b->sequences_are, *table = starts + sequences + 1;
    int32_t *positions = b->rows_are + options.tokens, *slots = positions + options.tokens;
    int64_t *index = must(calloc((size_t) options.tokens, sizeof *index));
    memset(slots, 0, (size_t) options.tokens * sizeof *slots);
    for (long i = 0; i < sequences; i++) {
        const int32_t length = step ? (int32_t) (2 + (step + i) % 9) : 0;
        starts[i + 1] = starts[i] + length;
        for (long position = 0; position < PLAN_STRIDE; position++)
            table[i * PLAN_STRIDE + position] =
                (int32_t) (b->first_slot + 1 + (i * 13 + position * 7) % (CACHE_SLOTS - 1));
        positions[i] = length ? length - 1 : 0;
        slots[i] = table[i * PLAN_STRIDE + positions[i]];
        index[i] = i;
    }
    CHECK(cuda.MemcpyHtoD(b->plan, starts, (size_t) PLAN_WORDS * sizeof *starts));
    CHECK(cuda.MemcpyHtoD(b->index, index, (size_t) sequences * sizeof *index));
    for (long row = 0; row < options.tokens; row++)
        index[row] = positions[row];
    CHECK(cuda.MemcpyHtoD(b->positions, index, (size_t) options.tokens * sizeof *index));
    for (long row = 0; row < options.tokens; row++)
        index[row] = slots[row];
    CHECK(cuda.MemcpyHtoD(b->slots, index, (size_t) options.tokens * sizeof *index));
    free(index);
    CUdeviceptr table_at = b->plan + (size_t) (sequences + 1) * sizeof *starts;
    CUdeviceptr listed = step ? b->listed : 0;
    void *params[] = {&table_at, &b->index, &b->plan, &b->plan, &listed};
    launch(kernels.lists, (unsigned) sequences, b, params);
}

/* The slots of the real rows, by the GPU from a block table, as vLLM does. Sequences of several lengths, many of them
 * where a block begins; their blocks as they come. */
static void plan_rows(struct batch *b, long step)
{
    const long sequences = PLAN_SEQUENCES, real = options.tokens - options.tokens / 5;
    int32_t *starts = b->sequences_are, *table = starts + sequences + 1;
    int32_t *positions = b->rows_are + options.tokens, *slots = positions + options.tokens;
    int64_t *wide = must(calloc((size_t) options.tokens, sizeof *wide));
    const long blocks = CACHE_SLOTS / PLAN_BLOCK;
    for (long i = 0; i < sequences * PLAN_STRIDE; i++)
        table[i] = (int32_t) (b->first_slot / PLAN_BLOCK + (i * 7 + step * 5) % blocks);
    for (long i = 0; i <= sequences; i++)
        starts[i] = (int32_t) (i * real / sequences);
    for (long i = 0; i < sequences; i++) {
        for (long row = starts[i]; row < starts[i + 1]; row++) {
            long position = (step + i) % 9 * 3 + row - starts[i];
            positions[row] = (int32_t) position;
            slots[row] =
                table[i * PLAN_STRIDE + position / PLAN_BLOCK] * PLAN_BLOCK + (int32_t) (position % PLAN_BLOCK);
        }
    }
    for (long row = 0; row < options.tokens; row++)
        wide[row] = positions[row];
    CHECK(cuda.MemcpyHtoD(b->positions, wide, (size_t) options.tokens * sizeof *wide));
    CHECK(cuda.MemcpyHtoD(b->plan, starts, (size_t) PLAN_WORDS * sizeof *starts));
    free(wide);
    if (options.plan == TABLES) {
        launch_tables(b, table, step);
        return;
    }
    CUdeviceptr table_at = b->plan + (size_t) (sequences + 1) * sizeof *starts;
    int rows = (int) options.tokens, stride = PLAN_STRIDE, block = PLAN_BLOCK;
    void *params[] = {&b->plan, &b->positions, &table_at, &b->slots, &rows, &stride, &block};
    launch(kernels.plan, (unsigned) sequences + 1, b, params);
}

/* A fifth of the rows is padding. */
static void next_rows(struct batch *b, long step)
{
    size_t n = (size_t) options.tokens;
    int32_t *tokens = b->rows_are, *positions = tokens + n, *slots = positions + n;
    int64_t *wide = must(malloc(n * sizeof *wide));
    for (size_t i = 0; i < n; i++) {
        tokens[i] = (int32_t) ((random_float() + 1) / 2 * (MOE_DEMO_VOCABULARY - 1));
        positions[i] = (int32_t) (step + 3 * (long) i);
        slots[i] = i >= n - n / 5 ? -1 : (int32_t) (b->first_slot + ((long) i * 2 + step) % CACHE_SLOTS);
    }
    CHECK(cuda.MemcpyHtoD(b->tokens, tokens, n * sizeof *tokens));
    for (size_t i = 0; i < n; i++)
        wide[i] = positions[i];
    CHECK(cuda.MemcpyHtoD(b->positions, wide, n * sizeof *wide));
    for (size_t i = 0; i < n; i++)
        wide[i] = slots[i];
    CHECK(cuda.MemcpyHtoD(b->slots, wide, n * sizeof *wide));
    free(wide);
    if (options.plan == LISTS)
        list_rows(b, step);
    else if (options.plan)
        plan_rows(b, step);
}

static void load_kernels(void)
{
    extern const unsigned char moe_demo_image[];
    CUmodule module;
    CHECK(cuda.ModuleLoadData(&module, moe_demo_image));
    char name[64];
    CHECK(cuda.ModuleGetFunction(&kernels.gemm, module, "moe_demo_router_gemm"));
    CHECK(cuda.ModuleGetFunction(&kernels.embed, module, "moe_demo_embed"));
    if (options.context) {
        CHECK(cuda.ModuleGetFunction(&kernels.lookup, module, "moe_demo_lookup"));
        CHECK(cuda.ModuleGetFunction(&kernels.rotary, module, "moe_demo_rotary"));
        CHECK(cuda.ModuleGetFunction(&kernels.cache, module, "moe_demo_cache"));
        CHECK(cuda.ModuleGetFunction(&kernels.plan, module, "moe_demo_plan"));
        CHECK(cuda.ModuleGetFunction(&kernels.tables, module, "moe_demo_tables"));
        CHECK(cuda.ModuleGetFunction(&kernels.lists, module, "moe_demo_lists"));
    }
    snprintf(name, sizeof name, "moe_demo_topk_%s", options.dtype);
    CHECK(cuda.ModuleGetFunction(&kernels.topk, module, name));
    snprintf(name, sizeof name, "moe_demo_route_%s", options.dtype);
    CHECK(cuda.ModuleGetFunction(&kernels.route, module, name));
    /* A C++ kernel, as most are: moe_demo_experts(float const*, int const*, ...) */
    char mangled = dtype()->letter;
    snprintf(name, sizeof name, "_Z16moe_demo_expertsPKfPK%cS0_S0_Pfiii", mangled);
    CHECK(cuda.ModuleGetFunction(&kernels.experts, module, name));
    snprintf(name, sizeof name, "_Z13moe_demo_keepPK%cP%ci", mangled, mangled);
    CHECK(cuda.ModuleGetFunction(&kernels.keep, module, name));
    snprintf(name, sizeof name, "_Z14moe_demo_scrubP%ci", mangled);
    CHECK(cuda.ModuleGetFunction(&kernels.scrub, module, name));
    /* The mangled name refers back to a type that came before. */
    if (mangled == 'i')
        snprintf(name, sizeof name, "_Z14moe_demo_remapPKiPiS0_iii");
    else
        snprintf(name, sizeof name, "_Z14moe_demo_remapPK%cP%cPKiiii", mangled, mangled);
    CHECK(cuda.ModuleGetFunction(&kernels.remap, module, name));
    /* Weights' bits are integers of their size. */
    CHECK(cuda.ModuleGetFunction(&kernels.keep_weights, module, "_Z13moe_demo_keepPKjPji"));
    CHECK(cuda.ModuleGetFunction(&kernels.scrub_weights, module, "_Z14moe_demo_scrubPji"));
    CHECK(cuda.ModuleGetFunction(&kernels.rescale, module, "_Z16moe_demo_rescalePffi"));
}

/* Copies lie anywhere. */
static CUdeviceptr random_copies(void)
{
    size_t count = (size_t) options.experts * MOE_DEMO_COPIES;
    int *map = must(malloc(count * sizeof *map));
    for (size_t i = 0; i < count; i++) {
        size_t j = (size_t) ((random_float() + 1) / 2 * (float) i);
        if (j != i)
            map[i] = map[j];
        map[j] = (int) i;
    }
    CUdeviceptr address = device_alloc(count * sizeof *map);
    CHECK(cuda.MemcpyHtoD(address, map, count * sizeof *map));
    free(map);
    return address;
}

static void make_model(void)
{
    random_state = (uint64_t) options.seed * 2654435761u + 12345;
    weights.router = must(calloc((size_t) options.layers, sizeof *weights.router));
    weights.experts = must(calloc((size_t) options.layers, sizeof *weights.experts));
    for (long layer = 0; layer < options.layers; layer++) {
        weights.router[layer] = random_matrix((size_t) options.experts * MOE_DEMO_DIM);
        weights.experts[layer] =
            random_matrix((size_t) options.experts * (options.eplb ? MOE_DEMO_COPIES : 1) * MOE_DEMO_DIM);
    }
    weights.embedding = random_matrix(MOE_DEMO_DIM * MOE_DEMO_DIM);
    if (options.eplb)
        weights.copies = random_copies();
    if (options.draft) {
        weights.draft.router = random_matrix((size_t) options.experts * MOE_DEMO_DIM);
        weights.draft.experts = random_matrix((size_t) options.experts * MOE_DEMO_DIM);
        weights.draft.qkv = random_matrix(MOE_DEMO_DIM * MOE_DEMO_DIM);
        weights.draft.cache = device_alloc((size_t) (CACHE_SLOTS * options.streams) * MOE_DEMO_DIM * sizeof(float));
    }
    if (!options.context)
        return;
    weights.qkv = must(calloc((size_t) options.layers, sizeof *weights.qkv));
    for (long layer = 0; layer < options.layers; layer++)
        weights.qkv[layer] = random_matrix(MOE_DEMO_DIM * MOE_DEMO_DIM);
    weights.caches = must(calloc((size_t) options.layers, sizeof *weights.caches));
    for (long layer = 0; layer < options.layers; layer++)
        weights.caches[layer] = device_alloc((size_t) (CACHE_SLOTS * options.streams) * MOE_DEMO_DIM * sizeof(float));
    weights.cos_sin = random_matrix((size_t) ROTARY_ROWS * MOE_DEMO_DIM);
    weights.vocabulary = random_matrix((size_t) MOE_DEMO_VOCABULARY * MOE_DEMO_DIM);
}

static void make_context(struct batch *b)
{
    size_t rows = (size_t) options.tokens;
    b->tokens = device_alloc(rows * sizeof(int32_t));
    b->positions = device_alloc(rows * sizeof(int64_t));
    b->slots = device_alloc(KV_GROUPS * rows * sizeof(int64_t));
    b->looked_up = device_alloc(rows * MOE_DEMO_DIM * sizeof(float));
    /* As large as the vocabulary: the last look-up reads it by token ids. */
    b->q = device_alloc((rows + MOE_DEMO_VOCABULARY) * MOE_DEMO_DIM * sizeof(float));
    b->rows_are = must(calloc(3 * rows, sizeof *b->rows_are));
    if (options.plan) {
        b->plan = device_alloc((size_t) PLAN_WORDS * sizeof(int32_t));
        b->index = device_alloc((size_t) PLAN_SEQUENCES * sizeof(int64_t));
        b->listed = device_alloc((size_t) (PLAN_SEQUENCES * PLAN_STRIDE) * sizeof(int64_t));
        for (int i = 0; i < KV_GROUPS; i++)
            b->states[i] = device_alloc((size_t) (PLAN_STATES * PLAN_STRIDE) * sizeof(int32_t));
        b->tables = device_alloc(sizeof(struct tables));
        b->sequences_are = must(calloc((size_t) PLAN_WORDS, sizeof *b->sequences_are));
    }
}

static void make_batch(struct batch *b)
{
    size_t hidden = (size_t) options.tokens * MOE_DEMO_DIM;
    CHECK(cuda.StreamCreate(&b->stream, CU_STREAM_NON_BLOCKING));
    b->hidden[0] = random_matrix(hidden);
    b->hidden[1] = random_matrix(hidden);
    b->logits = device_alloc((size_t) options.tokens * (size_t) options.experts * sizeof(float));
    b->ids = device_alloc(ids_per_layer() * 8);
    b->physical = options.eplb == APART ? device_alloc(ids_per_layer() * 8) : b->ids;
    b->topk_weights = device_alloc(ids_per_layer() * sizeof(float));
    size_t truth = (size_t) options.layers * ids_per_layer() * id_size();
    b->truth = device_alloc(truth);
    b->truth_host = must(malloc(truth));
    b->physical_truth = device_alloc(truth);
    b->physical_host = must(malloc(truth));
    b->weights_truth = device_alloc(weights_size());
    b->weights_host = must(malloc(weights_size()));
    if (options.fork) {
        CHECK(cuda.StreamCreate(&b->side, CU_STREAM_NON_BLOCKING));
        CHECK(cuda.EventCreate(&b->routed, CU_EVENT_DISABLE_TIMING));
        CHECK(cuda.EventCreate(&b->mixed, CU_EVENT_DISABLE_TIMING));
    }
    b->draft_hidden = device_alloc(hidden * sizeof(float));
    if (options.context)
        make_context(b);
    for (int turn = 0; options.graph && turn < (options.routers == TURNS ? 2 : 1); turn++) {
        b->turn = turn;
        make_graphs(b);
    }
    if (options.graph)
        make_draft_graphs(b);
}

/* FILE of --truth, and those beside it. */
static FILE *truth_open(const char *suffix)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s%s", options.truth, suffix);
    FILE *file = fopen(path, "wb");
    if (!file) {
        fprintf(stderr, "moe-demo: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return file;
}

static void truth_put(FILE *file, const void *bytes, size_t size)
{
    if (fwrite(bytes, 1, size, file) != size) {
        fprintf(stderr, "moe-demo: %s: %s\n", options.truth, strerror(errno));
        exit(1);
    }
}

static struct {
    FILE *ids, *physical, *weights, *rows;
} truth;

static void open_truth(void)
{
    truth.ids = options.truth ? truth_open("") : NULL;
    truth.physical = options.truth && options.eplb ? truth_open(".physical") : NULL;
    truth.weights = options.truth && options.weights ? truth_open(".weights") : NULL;
    truth.rows = options.truth && options.context ? truth_open(".context") : NULL;
}

static bool close_truth(void)
{
    return !(truth.ids && fclose(truth.ids)) && !(truth.physical && fclose(truth.physical)) &&
           !(truth.weights && fclose(truth.weights)) && !(truth.rows && fclose(truth.rows));
}

static void put_rows(const struct batch *b)
{
    truth_put(truth.rows, b->rows_are, 3 * (size_t) options.tokens * sizeof *b->rows_are);
    if (options.plan)
        truth_put(truth.rows, b->sequences_are, (size_t) PLAN_WORDS * sizeof *b->sequences_are);
}

/* Ids as int32, whatever type the engine keeps them in. */
static void put_ids(FILE *file, const void *from)
{
    size_t count = (size_t) options.layers * ids_per_layer();
    int32_t *ids = must(malloc(count * sizeof *ids));
    for (size_t i = 0; i < count; i++) {
        uint64_t id = 0; /* no id is negative */
        memcpy(&id, (const char *) from + i * id_size(), id_size());
        ids[i] = (int32_t) id;
    }
    truth_put(file, ids, count * sizeof *ids);
    free(ids);
}

static void run(struct batch *batches)
{
    for (long step = 0; step < options.steps; step++) {
        for (long i = 0; i < options.streams; i++) {
            struct batch *b = &batches[i];
            b->turn = options.routers == TURNS && step % 2;
            if (options.context)
                next_rows(b, step);
            if (truth.rows)
                put_rows(b);
            for (long n = 0; n < b->graph_count; n++)
                CHECK(cuda.GraphLaunch(b->graphs[b->turn][n], b->stream));
            if (!options.graph)
                forward(b, 0, options.layers);
            for (long n = 0; n < options.draft; n++) {
                if (options.graph)
                    CHECK(cuda.GraphLaunch(b->draft_graphs[n], b->stream));
                else
                    draft(b, n);
            }
            size_t size = (size_t) options.layers * ids_per_layer() * id_size();
            if (truth.ids)
                CHECK(cuda.MemcpyDtoHAsync(b->truth_host, b->truth, size, b->stream));
            if (truth.physical)
                CHECK(cuda.MemcpyDtoHAsync(b->physical_host, b->physical_truth, size, b->stream));
            if (truth.weights)
                CHECK(cuda.MemcpyDtoHAsync(b->weights_host, b->weights_truth, weights_size(), b->stream));
        }
        for (long i = 0; i < options.streams; i++) {
            CHECK(cuda.StreamSynchronize(batches[i].stream));
            if (truth.ids)
                put_ids(truth.ids, batches[i].truth_host);
            if (truth.physical)
                put_ids(truth.physical, batches[i].physical_host);
            if (truth.weights)
                truth_put(truth.weights, batches[i].weights_host, weights_size());
        }
    }
}

static uint64_t checksum(struct batch *batches)
{
    size_t size = (size_t) options.tokens * MOE_DEMO_DIM * sizeof(float);
    unsigned char *bytes = must(malloc(size));
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (long i = 0; i < options.streams; i++) {
        CHECK(cuda.MemcpyDtoHAsync(bytes, batches[i].hidden[0], size, batches[i].stream));
        CHECK(cuda.StreamSynchronize(batches[i].stream));
        for (size_t n = 0; n < size; n++)
            hash = (hash ^ bytes[n]) * 1099511628211u;
    }
    free(bytes);
    return hash;
}

int main(int argc, char **argv)
{
    const char *problem = options_parse(argc, argv);
    if (problem)
        return options_usage(problem);
    char software[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", software, sizeof software - 64);
    software[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(software, '/');
    strcpy(slash ? slash : software, "/../softcuda/libcuda.so.1");
    problem = cuda_open(&cuda, options.door, software);
    if (problem) {
        fprintf(stderr, "moe-demo: %s\n", problem);
        return 1;
    }
    CUdevice device;
    CUcontext context;
    char name[128];
    CHECK(cuda.DeviceGet(&device, (int) options.device));
    CHECK(cuda.DeviceGetName(name, sizeof name, device));
    printf("device: %s\n", name);
    fflush(stdout);
    CHECK(cuda.PrimaryCtxRetain(&context, device));
    CHECK(cuda.CtxSetCurrent(context));
    load_kernels();
    make_model();
    open_truth();
    struct batch *batches = must(calloc((size_t) options.streams, sizeof *batches));
    for (long i = 0; i < options.streams; i++) {
        batches[i].first_slot = i * CACHE_SLOTS;
        make_batch(&batches[i]);
    }
    run(batches);
    uint64_t sum = checksum(batches);
    printf("moe-demo: %ld layers x %ld steps x %ld tokens, top %ld of %ld, checksum 0x%016llx\n", options.layers,
           options.steps, options.tokens, options.topk, options.experts, (unsigned long long) sum);
    if (!close_truth()) {
        fprintf(stderr, "moe-demo: %s: %s\n", options.truth, strerror(errno));
        return 1;
    }
    free(batches);
    return 0;
}
