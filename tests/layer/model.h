/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A made-up engine: the launches of Mixture-of-Experts models, with the addresses that they would carry, handed to
 * shim/layer.c as shim/capture.c would. It knows the truth about each router and keeps count.
 */
#ifndef MOETAP_TESTS_LAYER_MODEL_H
#define MOETAP_TESTS_LAYER_MODEL_H

#include "../../shim/layer/layer.h"

#include <stdbool.h>

#define LAYERS_MAX 128
#define STREAMS_MAX 4

/* How activations get their memory. */
enum memory {
    MEMORY_STATIC,   /* two buffers of each kind for all layers, as engines with graphs have */
    MEMORY_PER_SIZE, /* those, and other ones for each batch size */
    MEMORY_CACHED,   /* a pool, last freed first taken, as PyTorch's; what a layer gets depends on what came before */
    MEMORY_RANDOM,   /* any free block of a pool */
    MEMORY_LAYERED, /* each layer its own, the same in each pass of one batch size; other sizes take them in other order
                     */
};

struct shape {
    int layers;      /* all, dense ones among them */
    int first_dense; /* layers at the beginning that have no router */
    int dense_every; /* every n-th layer is dense, 0: none */
    enum memory memory;
    int sizes;            /* batch sizes that take turns */
    bool prefill_kernels; /* the first size has GEMM kernels of its own */
    bool tensor_maps;     /* the router's GEMM holds its addresses in tensor maps, else plain pointers */
    int back;             /* launches between the router's GEMM and the router */
    bool stale_stack;     /* left-over bytes in by-value structs: router weights, activations of the past */
    bool workspace;       /* GEMMs share one */
    bool kv_cache;        /* a cache for each layer */
    bool norms;           /* norms have a weight: without, the router's GEMM is the only witness near it */
    bool blind;           /* no launch shows its arguments but those between the logits and the router */
    bool stage;           /* grouped routing: a top-k chooses groups first, and nobody reads their scores */
    bool fused_experts;   /* one launch for all experts' work instead of several */
    bool beside;          /* attention and experts run on a second stream, with events between the two */
};

struct weights {
    uint64_t qkv, out, router, up, down, norm1, norm2, kv;
};

struct model {
    struct shape shape;
    struct weights weights[LAYERS_MAX];
    int base; /* truth of its first router: models of one recipe, E and k are numbered together */
};

struct tally {
    unsigned long right, unknown, wrong;
    unsigned long learned_right, learned_all; /* behind the pass in which a layer was seen first */
};

/* A process: one numbering of layers, some streams. */
struct engine {
    struct mt_layers *layers;
    struct mt_layers *rotary; /* the layers of rotary embeddings, of which only layer 0 is wanted */
    unsigned long rotary_passes, rotary_hits, rotary_wrong;
    uint64_t random;
    uint64_t next_address;
    struct stream {
        struct mt_history history;
        uint32_t last, rotary_last;
    } streams[2 * STREAMS_MAX]; /* behind the first ones: what runs beside them */
    uint64_t pool[64];          /* free activations, the last freed is at the end */
    unsigned pool_count;
    uint64_t workspace;
    uint64_t stale[16];  /* what lies on the stack */
    unsigned generation; /* of kernels: recompiled ones are others */
    int number[1024];    /* truth -> the number that it must get, -1: not seen yet */
    bool learned[1024];
    int numbered;
    struct tally tally;
    bool verbose;
};

void engine_init(struct engine *engine, uint64_t seed);
void engine_free(struct engine *engine);
uint64_t engine_random(struct engine *engine, uint64_t below);
void engine_recompile(struct engine *engine);

/* Weights at fresh addresses. `base`: truth of its first router. */
void model_init(struct model *model, struct engine *engine, const struct shape *shape, int base);
int model_routers(const struct model *model);

/* A cursor over one forward pass: so that passes can interleave. */
struct pass {
    struct engine *engine;
    const struct model *model;
    unsigned stream;
    unsigned lane; /* the stream, or the one beside it */
    int size;
    int layer;
    uint64_t hidden;
};
void pass_begin(struct pass *pass, struct engine *engine, const struct model *model, unsigned stream, int size);
/* `to` waits for what was launched on `from`. */
void engine_join(struct engine *engine, unsigned to, unsigned from);
/* One layer's launches. False at the end. */
bool pass_layer(struct pass *pass);
/* Cuts it short. */
void pass_end(struct pass *pass);
void pass_run(struct engine *engine, const struct model *model, unsigned stream, int size, int layers);

#endif
