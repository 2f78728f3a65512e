/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the sample engine: what a step is made of. A step is a batch of rows for each stream, through all layers of
 * one model.
 */
#ifndef MOE_DEMO_ENGINE_H
#define MOE_DEMO_ENGINE_H

#include "driver.h"
#include "kernels.h"
#include "options.h"

#include <stddef.h>
#include <stdint.h>

#define CACHE_SLOTS (2 * options.tokens)
#define ROTARY_ROWS 512
#define KV_GROUPS 2
#define PLAN_SEQUENCES (options.tokens / 4)
#define PLAN_STRIDE MOE_DEMO_LIST
#define PLAN_WORDS (PLAN_SEQUENCES + 1 + PLAN_SEQUENCES * PLAN_STRIDE)

extern struct cuda cuda;

extern struct kernels {
    CUfunction gemm, topk, route, experts, keep, scrub, keep_weights, scrub_weights, rescale, remap, embed, lookup,
        rotary, cache, plan, tables, lists;
} kernels;

extern struct weights {
    CUdeviceptr *router, *experts, embedding;
    CUdeviceptr copies;                             /* --eplb: [experts, MOE_DEMO_COPIES] physical ids */
    CUdeviceptr *qkv, vocabulary, cos_sin, *caches; /* --context; all batches have their slots in one cache */
    struct {
        CUdeviceptr router, experts, qkv, cache;
    } draft;
} weights;

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

/* device.c: the driver, its memory and launches. Whatever goes wrong ends the engine with a line. */
void device_check(CUresult result, const char *what);
#define CHECK(call) device_check((call), #call)
void *must(void *memory);
CUdeviceptr device_alloc(size_t size);
void launch_grid(CUstream stream, CUfunction kernel, unsigned blocks, unsigned columns, void **params);
void launch_on(CUstream stream, CUfunction kernel, unsigned blocks, void **params);
void launch(CUfunction kernel, unsigned blocks, struct batch *batch, void **params);
/* One thread an id or a weight. */
void launch_flat(CUstream stream, CUfunction kernel, void **params);

/* model.c: kernels and weights. */
void model_load(void);
void model_make(void);
float random_float(void); /* -1 to 1 */
CUdeviceptr random_matrix(size_t elements);

/* ids.c: what a router wrote, and what is done to it behind the router. */
struct dtype {
    const char *name;
    size_t size;
    char letter; /* in mangled names */
};
const struct dtype *ids_dtype(void);
size_t id_size(void);
size_t ids_per_layer(void);
size_t weights_size(void); /* of all layers */
void ids_keep(CUstream stream, CUdeviceptr ids, CUdeviceptr truth, long layer);
void ids_remap(struct batch *b);
void weights_keep(struct batch *b, CUstream stream, long layer);
void weights_rescale(struct batch *b);
void ids_keep_and_scrub(struct batch *b, CUstream stream, CUdeviceptr truth, long layer, bool weights_kept);

/* context.c: --context, what the rows of a step are. */
void context_make(struct batch *b);
void context_next(struct batch *b, long step);
void context_of_layer(struct batch *b, long layer);

/* plan.c: --plan, the sequences of a step. */
void plan_make(struct batch *b);
void plan_next(struct batch *b, long step);

/* forward.c: layers `from` to `to` of a step, and a run of the draft model behind it. */
void forward(struct batch *b, long from, long to);
void forward_draft(struct batch *b, long run);

/* graph.c: the same, captured. */
void graph_make(struct batch *b);
void graph_make_draft(struct batch *b);

/* truth.c: --truth, what the engine itself knows of its routing. */
void truth_open(void);
void truth_put_rows(const struct batch *b);
/* Of the step that is under way on its stream; to be put once that is done. */
void truth_fetch(struct batch *b);
void truth_put(struct batch *b);
bool truth_close(void);

#endif
