/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torch-engine CASE [TRUTH [EXPERTS K]]: routing as transformers does it on PyTorch. Two prefills of 72 rows and eleven
 * decode steps of 3 through 6 layers; memory comes from a caching allocator, so that addresses go from hand to hand,
 * and unused parts of by-value structs hold what was on the stack. TRUTH gets the ids of each router as the experts use
 * them.
 */
#include "kernels.h"
#include "rig.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 6, PREFILLS = 2, STEPS = 13, PREFILL_ROWS = 72, DECODE_ROWS = 3, VOCABULARY = 2000 };

/* sorted: torch.topk's default; radix: long prefills are sorted by another kernel; late: something comes between topk
 * and its sort; moved: the ids are replaced in place; grouped: DeepSeek-V3; sampler: top-k of the vocabulary. */
static const struct shape {
    const char *name;
    int experts, k;
    bool sorted, radix, late, moved, grouped, sampler;
} shapes[] = {
    {"sorted", 128, 8, .sorted = true},
    {"k2", 8, 2, .sorted = true},
    {"k4", 60, 4, .sorted = true},
    {"k3", 16, 3, .sorted = true},
    {"unsorted", 64, 8},
    {"two-sorts", 64, 8, .sorted = true, .radix = true},
    {"late", 64, 8, .sorted = true, .late = true},
    {"moved", 64, 8, .moved = true},
    {"grouped", 64, 8, .grouped = true},
    {"sampler", 128, 8, .sorted = true, .sampler = true},
    {"k1", 16, 1, .sorted = true},
    {"e512", 512, 10, .sorted = true},
};

static CUdeviceptr hidden, router_weight[LAYERS], norm_weight[LAYERS], expert_weight[LAYERS], head;

/* A caching allocator: one large block, freed pieces are handed out again, the last one first. */
static struct piece {
    CUdeviceptr address;
    size_t size;
} pieces[256];
static size_t piece_count;
static CUdeviceptr pool, pool_used;

static CUdeviceptr take(size_t bytes)
{
    size_t size = (bytes + 511) / 512 * 512;
    for (size_t i = piece_count; i-- > 0;) {
        if (pieces[i].size >= size && pieces[i].size <= 4 * size) {
            CUdeviceptr address = pieces[i].address;
            memmove(&pieces[i], &pieces[i + 1], (--piece_count - i) * sizeof *pieces);
            return address;
        }
    }
    if (!pool)
        OK(cuda.MemAlloc(&pool, 32 << 20));
    pool_used += size;
    return pool + pool_used - size;
}

static void give(CUdeviceptr address, size_t bytes)
{
    if (piece_count < 256)
        pieces[piece_count++] = (struct piece){address, (bytes + 511) / 512 * 512};
}

/* Its unused part is what other calls left on the stack: addresses. */
static struct tensor_info info_of(CUdeviceptr data, int rows, int columns)
{
    static uint64_t stack[26] = {0};
    struct tensor_info info;
    memcpy((char *) &info, stack, sizeof info < sizeof stack ? sizeof info : sizeof stack);
    info.data = data;
    info.sizes[0] = (uint32_t) rows;
    info.sizes[1] = (uint32_t) columns;
    info.strides[0] = (uint32_t) columns;
    info.strides[1] = 1;
    info.dims = 2;
    memmove(stack + 6, stack + 3, 20 * sizeof *stack);
    stack[5] = data;
    stack[20] = data;
    return info;
}

static void elementwise(const char *name, int n, int number, CUdeviceptr out, CUdeviceptr in, int by)
{
    struct {
        uint64_t out, in, by;
    } pointers = {out, in, (uint64_t) by};
    void *params[] = {&n, &number, &pointers};
    launch(name, 1, params);
}

static void sort(const char *name, CUdeviceptr keys, CUdeviceptr values, int rows, int columns, unsigned blocks)
{
    struct tensor_info k = info_of(keys, rows, columns), v = info_of(values, rows, columns);
    unsigned n = (unsigned) rows, length = (unsigned) columns, one = 1;
    bool descending = strcmp(name, TORCH_RADIX) != 0 || rows > 1;
    void *params[] = {&k, &n, &length, &one, &v, &one, &descending};
    launch(name, blocks, params);
}

static void topk(const struct shape *s, CUdeviceptr scores, int rows, int experts, int k, CUdeviceptr values,
                 CUdeviceptr indices, bool sorted)
{
    unsigned n = (unsigned) rows, e = (unsigned) experts, count = (unsigned) k, one = 1;
    bool largest = true;
    CUdeviceptr none = 0;
    struct tensor_info in = info_of(scores, rows, experts), out = info_of(values, rows, k),
                       ids = info_of(indices, rows, k);
    void *params[] = {&in, &e, &count, &largest, &n, &one, &out, &one, &ids, &one, &none};
    launch(TORCH_GATHER, n, params);
    if (!sorted || rows * k <= 1)
        return;
    int few = 1;
    void *norm[] = {&hidden, &norm_weight[0], &few};
    if (s->late)
        launch("acme_norm", 1, norm);
    if (s->radix && rows > 16)
        sort(TORCH_RADIX, values, indices, rows, k, n);
    else if (k > 1)
        sort(TORCH_BITONIC, values, indices, rows, k, (n + 15) / 16);
}

/* Rows in the order of their experts, as grouped GEMMs take them: copies, sequences, permutations, row numbers. */
static void sort_by_expert(const struct shape *s, CUdeviceptr ids, int rows)
{
    int n = rows * s->k, zero = 0;
    size_t bytes = (size_t) n * 8;
    CUdeviceptr keys = take(bytes), order = take(bytes), which = take(bytes);
    elementwise("torch_to_float", n, 0, keys, ids, 0);
    void *arange[] = {&order, &n, &zero};
    launch("acme_arange", 1, arange);
    sort(TORCH_RADIX, keys, order, 1, n, 1);
    elementwise("torch_div_floor", n, s->k, which, order, 0);
    give(keys, bytes);
    give(which, bytes);
    give(order, bytes);
}

static void layer_of(const struct shape *s, int layer, int rows)
{
    int experts = s->experts, k = s->k;
    long experts_long = experts;
    size_t all = (size_t) (rows * experts) * 4, some = (size_t) (rows * k) * 8;
    void *norm[] = {&hidden, &norm_weight[layer], &rows};
    launch("acme_norm", 1, norm);
    CUdeviceptr logits = take(all), scores = take(all);
    void *gemm[] = {&hidden, &router_weight[layer], &logits, &rows, &experts_long};
    launch("acme_gemm", 1, gemm);
    int count = rows * experts;
    void *softmax[] = {&scores, &logits, &count};
    launch("torch_softmax", 1, softmax);
    give(logits, all);
    if (s->grouped) { /* the two best of each group of 8, then four groups */
        CUdeviceptr best = take(some), unused = take(some * 4), sums = take(some), groups = take(some);
        topk(s, scores, rows * 8, experts / 8, 2, best, unused, true);
        give(unused, some * 4);
        topk(s, scores, rows, 8, 4, sums, groups, false);
        give(best, some);
        give(sums, some);
        give(groups, some);
    }
    CUdeviceptr values = take(some), ids = take(some);
    topk(s, scores, rows, experts, k, values, ids, s->sorted);
    if (s->moved)
        elementwise("torch_add", rows * k, 1, ids, ids, experts);
    if (truth)
        write_truth(ids, rows, k, k, 8);
    give(scores, all);
    CUdeviceptr mask = take(all * 2);
    elementwise("torch_one_hot", rows * k, experts, mask, ids, k);
    if (rows > DECODE_ROWS)
        sort_by_expert(s, ids, rows);
    void *mix[] = {&hidden, &ids, &expert_weight[layer], &rows, &k};
    launch("acme_mix", 1, mix);
    give(layer % 2 ? ids : values, some);
    give(mask, all * 2);
    give(layer % 2 ? values : ids, some);
}

static void sample(const struct shape *s, int rows)
{
    int tokens = VOCABULARY, k = 20;
    long tokens_long = tokens;
    size_t all = (size_t) (rows * tokens) * 4, some = (size_t) (rows * k) * 8;
    CUdeviceptr logits = take(all), values = take(some), ids = take(some);
    void *gemm[] = {&hidden, &head, &logits, &rows, &tokens_long};
    launch("acme_gemm", 1, gemm);
    topk(s, logits, rows, tokens, k, values, ids, true);
    give(ids, some);
    give(values, some);
    give(logits, all);
}

int main(int argc, char **argv)
{
    const struct shape *s = shapes, *end = shapes + sizeof shapes / sizeof *shapes;
    while (argc > 1 && s < end && strcmp(s->name, argv[1]) != 0)
        s++;
    if (argc < 2 || s == end) {
        fprintf(stderr, "torch-engine: which case?\n");
        return 2;
    }
    struct shape other = *s;
    if (argc > 4) {
        other.experts = atoi(argv[3]);
        other.k = atoi(argv[4]);
        s = &other;
    }
    rig_open(argc > 2 ? argv[2] : NULL);
    uint32_t start[PREFILL_ROWS];
    for (uint32_t i = 0; i < PREFILL_ROWS; i++)
        start[i] = i * 2654435761u + 17;
    hidden = device_memory();
    head = device_memory();
    OK(cuda.MemcpyHtoD(hidden, start, sizeof start));
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        uint32_t weight = layer * 7919 + 3;
        router_weight[layer] = device_memory();
        norm_weight[layer] = device_memory();
        expert_weight[layer] = device_memory();
        OK(cuda.MemcpyHtoD(router_weight[layer], &weight, sizeof weight));
    }
    for (int step = 0; step < STEPS; step++) {
        int rows = step < PREFILLS ? PREFILL_ROWS : DECODE_ROWS;
        for (int layer = 0; layer < LAYERS; layer++)
            layer_of(s, layer, rows);
        if (s->sampler)
            sample(s, DECODE_ROWS);
    }
    return rig_close(s->name, hidden, PREFILL_ROWS);
}
