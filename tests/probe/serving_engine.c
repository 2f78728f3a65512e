/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serving-engine CASE [TRUTH]: prefill, decode and mixed batches through six layers, among all that serving engines
 * write besides the routers' ids. TRUTH gets the ids of each router, a line each.
 */
#include "rig.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 6, STEPS = 12, ROWS_MAX = 3000, DECOYS = 12, VOCABULARY = 32000 };

/* width 0: no router */
static const struct shape {
    const char *name;
    int width, experts, k, columns;
    bool sparse;
} shapes[] = {
    {"moe", 4, 64, 6, 6, false},        {"masked", 4, 64, 6, 6, false},     {"with-shared", 4, 64, 6, 7, false},
    {"own-stages", 4, 64, 8, 8, false}, {"two-models", 4, 64, 6, 6, false}, {"collective", 4, 64, 6, 6, false},
    {"overloads", 4, 64, 6, 6, false},  {"warm-up", 4, 64, 6, 6, false},    {"long", 4, 64, 6, 6, false},
    {"many", 2, 96, 6, 6, false},       {"packed", 0, 64, 6, 6, false},     {"sparse", 0, 0, 0, 0, true},
    {"sparse-moe", 4, 64, 6, 6, true},  {"dense", 0, 0, 0, 0, false},
};

static CUdeviceptr hidden, logits, ids, weights, groups, unused[3], decoys[DECOYS], router_weight[LAYERS],
    norm_weight[LAYERS], expert_weight[LAYERS];

static CUdeviceptr flag;
static CUstream side;

static void decoy(const char *name, int which, int n, int a, int b)
{
    n = n < 1000 ? n : 1000;
    int more = a * 100 + b;
    void *params[] = {&decoys[which], &n, &a, &b, &more};
    launch(name, 1, params);
}

static bool is(const struct shape *s, const char *name)
{
    return strcmp(s->name, name) == 0;
}

static void choose(const char *name, CUdeviceptr *out, int rows, int experts, int k)
{
    void *params[] = {&logits, out, &weights, &rows, &experts, &k};
    launch(name, (unsigned) rows / 4 + 1, params);
}

static void score(CUdeviceptr *weight, int rows, int experts)
{
    long experts_long = experts;
    void *gemm[] = {&hidden, weight, &logits, &rows, &experts_long};
    launch("acme_gemm", 1, gemm);
}

static void route(const struct shape *s, int rows)
{
    int experts = s->experts, k = s->k, eight = 8, four = 4;
    void *packed[] = {&logits, &ids, &rows, &experts, &k};
    void *many[] = {&logits, &unused[0], &weights, &ids, &unused[1], &unused[2], &decoys[0], &rows};
    void *among[] = {&logits, &groups, &weights, &rows, &eight, &four, &experts, &experts};
    void *inside[] = {&logits, &ids, &groups, &rows, &experts, &k, &eight, &four};
    if (is(s, "packed")) {
        launch("srv_packed", 1, packed);
    } else if (is(s, "many")) {
        launch("srv_many", 1, many);
    } else if (is(s, "long")) {
        int room = 8192;
        void *params[] = {&logits, &ids, &weights, &room, &rows, &experts, &k};
        launch("srv_with_room", 1, params);
    } else if (is(s, "own-stages")) {
        choose("srv_in_groups", &unused[0], rows, experts, eight);
        launch("srv_groups", 1, among);
        launch("srv_of_groups", 1, inside);
    } else {
        choose(is(s, "masked")        ? "_ZN3srv6maskedEPKfPiPfiii"
               : is(s, "with-shared") ? "_ZN3srv11with_sharedEPKfPiPfiii"
                                      : "_ZN3srv6chooseEPKfPiPfiii",
               &ids, rows, experts, k);
    }
    if (truth && s->width)
        write_truth(ids, rows, s->columns, s->columns, s->width);
}

static void layer_of(const struct shape *s, int step, int layer, int rows)
{
    int n = rows * 6, at = step * LAYERS + layer, context = 40 + step;
    void *norm[] = {&hidden, &norm_weight[layer], &rows};
    launch("acme_norm", 1, norm);
    if (s->sparse)
        decoy("srv_sparse", 11, rows, context, 16);
    if (s->k) {
        score(&router_weight[layer], rows, s->experts);
        route(s, rows);
    }
    decoy("srv_mask", 1, rows, 64, at);
    decoy("srv_rank", 2, n, 64, at);
    decoy("srv_counts", 3, n, 64, at);
    decoy("srv_offsets", 4, n, 64, at);
    decoy("srv_rows_sorted", 5, n, 6, at);
    decoy("srv_placement", 6, 72, 64, layer);
    void *all[DECOYS];
    for (size_t i = 0; i < DECOYS; i++)
        all[i] = &decoys[i];
    launch("srv_read", 1, all);
    int k = 6;
    CUdeviceptr *read = s->k ? &ids : &decoys[2];
    void *mix[] = {&hidden, read, &expert_weight[layer], &rows, &k};
    launch("acme_mix", 1, mix);
}

/* A model of its own, with other experts, that drafts: the same kernel, or that for wider ids. */
static void draft(int rows, bool wide)
{
    for (int layer = 0; layer < 2; layer++) {
        void *norm[] = {&hidden, &expert_weight[layer], &rows};
        launch("acme_norm", 1, norm);
        score(&norm_weight[layer + 2], rows, 16);
        choose(wide ? "_ZN3srv6chooseEPKfPlPfiii" : "_ZN3srv6chooseEPKfPiPfiii", &ids, rows, 16, 2);
        if (truth)
            write_truth(ids, rows, 2, 2, wide ? 8 : 4);
        int k = 2;
        void *mix[] = {&hidden, &ids, &router_weight[layer + 2], &rows, &k};
        launch("acme_mix", 1, mix);
    }
}

/* What runs on the other stream ends only when this one has got to its end: whoever waits for it here waits in vain. */
static void collective(const char *name, CUstream on, int step)
{
    CUstream main_stream = stream;
    int value = step + 1;
    void *params[] = {&flag, &value};
    stream = on;
    launch(name, 1, params);
    stream = main_stream;
}

static void forward(const struct shape *s, int step)
{
    int rows = step == 0 ? 24 : step % 4 == 3 ? 17 : 4, vocabulary = VOCABULARY;
    if (is(s, "long") && step < 10) /* more than is read of it */
        rows = ROWS_MAX - step;
    decoy("srv_block_table", 7, rows, step, 0);
    decoy("srv_mrope", 8, rows, step * 24, 0);
    decoy("srv_beams", 9, rows, 4, step);
    decoy("srv_tree", 10, rows, step, 0);
    if (is(s, "collective"))
        collective("srv_wait", side, step);
    for (int layer = 0; layer < LAYERS; layer++)
        layer_of(s, step, layer, rows);
    if (is(s, "collective"))
        collective("srv_set", stream, step);
    if (is(s, "two-models") || is(s, "overloads"))
        draft(rows, is(s, "overloads"));
    void *sample[] = {&decoys[0], &rows, &vocabulary, &step};
    launch("acme_sample", 1, sample);
}

int main(int argc, char **argv)
{
    const struct shape *s = shapes, *end = shapes + sizeof shapes / sizeof *shapes;
    while (argc > 1 && s < end && !is(s, argv[1]))
        s++;
    if (argc < 2 || s == end) {
        fprintf(stderr, "serving-engine: which case?\n");
        return 2;
    }
    rig_open(argc > 2 ? argv[2] : NULL);
    CUdeviceptr *all[] = {&hidden, &logits, &ids, &weights, &groups, &unused[0], &unused[1], &unused[2]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = device_memory();
    for (size_t i = 0; i < DECOYS; i++)
        decoys[i] = device_memory();
    static uint32_t start[ROWS_MAX];
    for (uint32_t i = 0; i < ROWS_MAX; i++)
        start[i] = i * 2654435761u + 17;
    OK(cuda.MemcpyHtoD(hidden, start, sizeof start));
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        uint32_t weight = layer * 7919 + 3, other = layer * 104729 + 11;
        router_weight[layer] = device_memory();
        norm_weight[layer] = device_memory();
        expert_weight[layer] = device_memory();
        OK(cuda.MemcpyHtoD(router_weight[layer], &weight, sizeof weight));
        OK(cuda.MemcpyHtoD(norm_weight[layer], &other, sizeof other));
    }
    int32_t none = 0;
    flag = device_memory();
    OK(cuda.MemcpyHtoD(flag, &none, sizeof none));
    OK(cuda.StreamCreate(&side, CU_STREAM_NON_BLOCKING));
    for (int i = 0; is(s, "warm-up") && i < 6; i++)
        choose("_ZN3srv6chooseEPKfPiPfiii", &ids, 0, 64, 6);
    for (int step = 0; step < STEPS; step++)
        forward(s, step);
    return rig_close(s->name, hidden, 24);
}
