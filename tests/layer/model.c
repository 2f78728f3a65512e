/* SPDX-License-Identifier: Apache-2.0 */
#include "model.h"

#include "../../shim/hook/driver.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mt_driver mt_driver;

#define DEVICE_BEGIN 0x7f2000000000ull
#define DEVICE_END 0x7f4000000000ull
#define STACK 0x7ffc12340000ull
#define POOL_BLOCKS 64u

static CUresult pointer_attribute(void *data, CUpointer_attribute attribute, CUdeviceptr address)
{
    (void) attribute;
    if (address < DEVICE_BEGIN || address >= DEVICE_END)
        return CUDA_ERROR_INVALID_VALUE;
    *(unsigned *) data = CU_MEMORYTYPE_DEVICE;
    return CUDA_SUCCESS;
}

/* In place of kernels.c: a launch's only "parameter" is the flat buffer. */
uint32_t mt_kernel_copy_params(const struct mt_kernel *kernel, const struct mt_launch *launch, void *bytes,
                               uint32_t size)
{
    uint32_t n = kernel->bytes < size ? kernel->bytes : size;
    memcpy(bytes, launch->extra[0], n);
    return n;
}

uint64_t engine_random(struct engine *engine, uint64_t below)
{
    engine->random = engine->random * 6364136223846793005u + 1442695040888963407u;
    return (engine->random >> 24) % below;
}

static uint64_t fresh(struct engine *engine, uint64_t size)
{
    uint64_t address = engine->next_address;
    engine->next_address += (size + 511) & ~511ull;
    return address;
}

void engine_init(struct engine *engine, uint64_t seed)
{
    memset(engine, 0, sizeof *engine);
    mt_driver.cuPointerGetAttribute = pointer_attribute;
    engine->layers = mt_layers_new();
    engine->rotary = mt_layers_new();
    cr_assert(engine->layers && engine->rotary);
    engine->random = seed * 2654435761u + 1;
    engine->next_address = DEVICE_BEGIN + (engine_random(engine, 1 << 20) << 9);
    engine->workspace = fresh(engine, 32 << 20);
    for (unsigned i = 0; i < POOL_BLOCKS; i++)
        engine->pool[engine->pool_count++] = fresh(engine, 1 << 16);
    for (int i = 0; i < 1024; i++)
        engine->number[i] = -1;
}

void engine_free(struct engine *engine)
{
    free(engine->layers); /* the shim never frees it */
    free(engine->rotary);
}

void engine_recompile(struct engine *engine)
{
    engine->generation++;
}

static bool is_dense(const struct shape *shape, int layer)
{
    return layer < shape->first_dense || (shape->dense_every && layer % shape->dense_every == shape->dense_every - 1);
}

void model_init(struct model *model, struct engine *engine, const struct shape *shape, int base)
{
    memset(model, 0, sizeof *model);
    model->shape = *shape;
    model->base = base;
    for (int i = 0; i < shape->layers; i++) {
        uint64_t *word = &model->weights[i].qkv;
        for (unsigned w = 0; w < sizeof model->weights[i] / sizeof *word; w++)
            word[w] = fresh(engine, 2048 + (engine_random(engine, 1 << 12) << 9));
    }
}

int model_routers(const struct model *model)
{
    int n = 0;
    for (int i = 0; i < model->shape.layers; i++)
        n += !is_dense(&model->shape, i);
    return n;
}

/* Kernels, by name; each generation and each GEMM for prefill is a kernel of its own. */
enum name {
    EMBED,
    NORM,
    GEMM_QKV,
    ROPE,
    ATTENTION,
    GEMM_OUT,
    GEMM_ROUTER,
    CAST,
    SOFTMAX,
    ROUTER,
    ALIGN,
    GEMM_UP,
    ACT,
    GEMM_DOWN,
    SUM,
    HEAD,
    NAMES
};

static const struct mt_kernel *kernel_of(struct engine *engine, enum name name, unsigned variant)
{
    static const struct mt_kernel *all[NAMES][2][16];
    const struct mt_kernel **place = &all[name][variant][engine->generation % 16];
    if (*place)
        return *place;
    /* The router's: PyTorch's top-k, three by-value structs of 216 bytes. */
    static const uint32_t router[] = {0, 216, 220, 224, 228, 232, 240, 456, 464, 680, 688};
    bool is_router = name == ROUTER;
    unsigned count = is_router ? sizeof router / sizeof *router : 1;
    struct mt_kernel *kernel = calloc(1, sizeof *kernel + count * sizeof kernel->param[0]);
    cr_assert(kernel);
    kernel->param_count = count;
    kernel->routes = is_router;
    for (unsigned i = 0; i < count; i++)
        kernel->param[i].offset = is_router ? router[i] : 0;
    bool gemm = name == HEAD || name == GEMM_QKV || name == GEMM_OUT || name == GEMM_ROUTER || name == GEMM_UP ||
                name == GEMM_DOWN;
    kernel->bytes = is_router ? 696 : gemm ? 1000 : 120;
    return *place = kernel;
}

struct args {
    uint64_t words[MT_HISTORY_BYTES / 8];
};

static void launch(struct engine *engine, unsigned stream, enum name name, unsigned variant, struct args *args)
{
    void *params[] = {args->words};
    const struct mt_launch launch = {.extra = params}; /* as one piece */
    mt_history_add(&engine->streams[stream].history, kernel_of(engine, name, variant), &launch);
    /* The stack keeps what was passed. */
    for (unsigned i = 0; i < 128; i++) {
        if (args->words[i] >= DEVICE_BEGIN)
            engine->stale[engine_random(engine, 16)] = args->words[i];
    }
}

/* Up to four pointers, sizes, and a pointer to the host's stack. */
static void plain(struct pass *pass, enum name name, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct engine *engine = pass->engine;
    struct args args = {.words = {a, b, c, d, (uint64_t) pass->size << 32 | 4096, STACK + 16 * (uint64_t) name}};
    if (pass->model->shape.blind && name != CAST && name != SOFTMAX && name != ALIGN)
        memset(&args, 0, sizeof args);
    if (pass->model->shape.stale_stack && engine_random(engine, 64) == 0)
        args.words[8] = engine->stale[engine_random(engine, 16)];
    launch(engine, pass->lane, name, 0, &args);
}

/* in * weight = out, plain or with tensor maps at the offsets seen on Hopper. */
static void gemm(struct pass *pass, enum name name, uint64_t in, uint64_t weight, uint64_t out)
{
    const struct shape *shape = &pass->model->shape;
    struct args args = {{0}};
    if (shape->blind) {
        args.words[0] = 1;
    } else if (shape->tensor_maps) {
        args.words[48 / 8] = in;
        args.words[176 / 8] = weight;
        args.words[432 / 8] = weight;
        args.words[560 / 8] = out;
        args.words[816 / 8] = in;
        args.words[64 / 8] = 0x2000000000020000ull | (uint64_t) pass->size << 8;
    } else {
        args.words[0] = in;
        args.words[1] = weight;
        args.words[2] = out;
    }
    if (shape->workspace)
        args.words[944 / 8] = pass->engine->workspace;
    launch(pass->engine, pass->lane, name, shape->prefill_kernels && pass->size == 0, &args);
}

enum buffer { HIDDEN, NORMED, QKV, ATTN, LOGITS, CASTED, PROBS, WEIGHTS, IDS, SORTED, UPPED, ACTED, PARTS, BUFFERS };

static uint64_t take(struct pass *pass, enum buffer buffer)
{
    struct engine *engine = pass->engine;
    const uint64_t area = DEVICE_END - (1ull << 36);
    uint64_t parity = pass->layer & 1, size = (uint64_t) pass->size, layer = (uint64_t) pass->layer;
    switch (pass->model->shape.memory) {
    case MEMORY_STATIC:
        return area + (((uint64_t) pass->stream * BUFFERS + buffer) * 2 + parity) * 65536;
    case MEMORY_PER_SIZE:
        return area + (((size * STREAMS_MAX + pass->stream) * BUFFERS + buffer) * 2 + parity) * 65536;
    case MEMORY_LAYERED:
        /* 257 is prime: another order of the same places for each size */
        return area + ((layer * BUFFERS + buffer + 1) * (size + 1) % 257 * STREAMS_MAX + pass->stream) * 65536;
    case MEMORY_CACHED:
    case MEMORY_RANDOM:
        break;
    }
    cr_assert_gt(engine->pool_count, 0);
    if (pass->model->shape.memory == MEMORY_RANDOM) {
        unsigned i = (unsigned) engine_random(engine, engine->pool_count);
        uint64_t swapped = engine->pool[i];
        engine->pool[i] = engine->pool[engine->pool_count - 1];
        engine->pool[engine->pool_count - 1] = swapped;
    }
    return engine->pool[--engine->pool_count];
}

static void give(struct pass *pass, uint64_t address)
{
    enum memory memory = pass->model->shape.memory;
    if (memory == MEMORY_CACHED || memory == MEMORY_RANDOM)
        pass->engine->pool[pass->engine->pool_count++] = address;
}

void pass_begin(struct pass *pass, struct engine *engine, const struct model *model, unsigned stream, int size)
{
    *pass = (struct pass){engine, model, stream, stream, size, 0, 0};
    pass->hidden = take(pass, HIDDEN);
    /* the embedding's table: behind the weights of the last layer */
    uint64_t tokens = take(pass, SORTED);
    plain(pass, EMBED, tokens, model->weights[model->shape.layers - 1].kv + 512, pass->hidden, 0);
    give(pass, tokens);
}

static void judge(struct pass *pass, int truth)
{
    struct engine *engine = pass->engine;
    struct stream *stream = &engine->streams[pass->stream];
    int32_t layer = mt_layers_identify(engine->layers, &stream->history, stream->history.count - stream->last);
    stream->last = stream->history.count;
    struct tally *tally = &engine->tally;
    bool learned = engine->learned[truth];
    engine->learned[truth] = true;
    if (layer != MT_LAYER_UNKNOWN && engine->number[truth] < 0)
        engine->number[truth] = engine->numbered++;
    bool right = layer != MT_LAYER_UNKNOWN && layer == engine->number[truth];
    if (engine->verbose && !right)
        fprintf(stderr, "  truth %d: %d for %d, size %d, stream %u, router %lu\n", truth, layer, engine->number[truth],
                pass->size, pass->stream, tally->right + tally->wrong + tally->unknown);
    tally->right += right;
    tally->unknown += layer == MT_LAYER_UNKNOWN;
    tally->wrong += !right && layer != MT_LAYER_UNKNOWN;
    tally->learned_all += learned;
    tally->learned_right += learned && right;
}

static void route(struct pass *pass, uint64_t normed, uint64_t ids)
{
    struct engine *engine = pass->engine;
    const struct shape *shape = &pass->model->shape;
    const struct weights *weights = &pass->model->weights[pass->layer];
    uint64_t logits = take(pass, LOGITS);
    gemm(pass, GEMM_ROUTER, normed, weights->router, logits);
    uint64_t at = logits;
    for (int i = 1; i < shape->back; i++) {
        uint64_t next = take(pass, i & 1 ? CASTED : PROBS);
        plain(pass, i & 1 ? CAST : SOFTMAX, at, next, 0, 0);
        give(pass, at);
        at = next;
    }
    if (shape->stage) {
        const uint64_t scores = take(pass, WEIGHTS), groups = take(pass, IDS), masked = take(pass, PROBS);
        struct args first = {{0}};
        first.words[0] = at;
        first.words[216 / 8] = 8ull << 32 | 4;
        first.words[240 / 8] = scores;
        first.words[464 / 8] = groups;
        launch(engine, pass->stream, ROUTER, 0, &first);
        plain(pass, ALIGN, groups, at, masked, 0);
        give(pass, scores);
        give(pass, groups);
        give(pass, at);
        at = masked;
    }
    uint64_t chosen = take(pass, WEIGHTS);
    struct args args = {{0}};
    args.words[0] = at;
    args.words[216 / 8] = 128ull << 32 | 8;
    args.words[240 / 8] = chosen;
    args.words[464 / 8] = ids;
    if (shape->stale_stack) {
        args.words[96 / 8] = weights->router;
        for (unsigned i = 0; i < 4; i++)
            args.words[(296 + 40 * i) / 8] = engine->stale[engine_random(engine, 16)];
    }
    launch(engine, pass->stream, ROUTER, 0, &args);
    int truth = pass->model->base;
    for (int i = 0; i < pass->layer; i++)
        truth += !is_dense(shape, i);
    judge(pass, truth);
    give(pass, at);
    give(pass, chosen);
}

/* Is it layer 0, and is it known for it? */
static void judge_rotary(struct pass *pass)
{
    struct engine *engine = pass->engine;
    struct stream *stream = &engine->streams[pass->stream];
    bool first = pass->layer == 0;
    bool found = mt_layers_identify(engine->rotary, &stream->history, stream->history.count - stream->rotary_last) == 0;
    stream->rotary_last = stream->history.count;
    engine->rotary_passes += first;
    engine->rotary_hits += first && found;
    engine->rotary_wrong += !first && found;
}

void engine_join(struct engine *engine, unsigned to, unsigned from)
{
    const struct mt_history *history = &engine->streams[from].history;
    for (uint32_t i = MT_HISTORY_WAITED; i; i--) {
        struct mt_history_entry entry;
        if (mt_history_get(history, history->count - i, &entry))
            mt_history_join(&engine->streams[to].history, &entry);
    }
}

/* Goes on with what runs beside the routers, or comes back from there. */
static void cross(struct pass *pass, bool over)
{
    if (!pass->model->shape.beside)
        return;
    unsigned to = over ? pass->stream + STREAMS_MAX : pass->stream;
    engine_join(pass->engine, to, pass->lane);
    pass->lane = to;
}

bool pass_layer(struct pass *pass)
{
    const struct shape *shape = &pass->model->shape;
    const struct weights *w = &pass->model->weights[pass->layer];
    uint64_t normed = take(pass, NORMED), qkv, attn, out;
    cross(pass, true);
    plain(pass, NORM, pass->hidden, shape->norms ? w->norm1 : 0, normed, 0);
    gemm(pass, GEMM_QKV, normed, w->qkv, qkv = take(pass, QKV));
    give(pass, normed);
    plain(pass, ROPE, qkv, qkv + 4096, 0, 0);
    judge_rotary(pass);
    attn = take(pass, ATTN);
    plain(pass, ATTENTION, qkv, attn, shape->kv_cache ? w->kv : 0, 0);
    give(pass, qkv);
    out = take(pass, PARTS);
    gemm(pass, GEMM_OUT, attn, w->out, out);
    give(pass, attn);
    normed = take(pass, NORMED);
    plain(pass, NORM, out, shape->norms ? w->norm2 : 0, normed, pass->hidden);
    give(pass, out);
    cross(pass, false);
    bool dense = is_dense(shape, pass->layer);
    uint64_t ids = take(pass, IDS), sorted = take(pass, SORTED);
    if (!dense) {
        route(pass, normed, ids);
        plain(pass, ALIGN, ids, sorted, 0, 0);
    }
    cross(pass, true);
    uint64_t up = take(pass, UPPED), acted = take(pass, ACTED), hidden = take(pass, HIDDEN);
    int groups = dense || shape->fused_experts ? 1 : 3; /* experts one after another: their weights lie apart */
    for (int i = 0; i < groups; i++) {
        gemm(pass, GEMM_UP, normed, w->up + 512 * (uint64_t) i, up);
        plain(pass, ACT, up, acted, dense ? 0 : sorted, 0);
        gemm(pass, GEMM_DOWN, acted, w->down + 512 * (uint64_t) i, hidden);
    }
    plain(pass, SUM, hidden, pass->hidden, 0, 0);
    cross(pass, false);
    give(pass, ids);
    give(pass, sorted);
    give(pass, up);
    give(pass, acted);
    give(pass, normed);
    give(pass, hidden);
    if (++pass->layer < shape->layers)
        return true;
    gemm(pass, HEAD, pass->hidden, w->kv + 1024, out);
    give(pass, pass->hidden);
    return false;
}

void pass_end(struct pass *pass)
{
    give(pass, pass->hidden);
}

void pass_run(struct engine *engine, const struct model *model, unsigned stream, int size, int layers)
{
    struct pass pass;
    pass_begin(&pass, engine, model, stream, size);
    while (layers-- > 0 && pass_layer(&pass)) {
    }
    if (pass.layer < model->shape.layers)
        pass_end(&pass);
}
