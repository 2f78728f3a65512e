/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe-engine CASE [TRUTH [EXPERTS K]]: a prefill of 24 rows and some decode steps through layers with a router that
 * no recipe knows, among kernels that write other small integers. TRUTH gets the ids of each router, a line each.
 */
#include "kernels.h"

#include "rig.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 5, STEPS = 8, ROWS_MAX = 64, VOCABULARY = 32000 };

static const struct shape {
    const char *name, *kernel;
    int width, experts, k;
} shapes[] = {
    {"i32", "_ZN4acme6chooseEPKfPiPfiii", 4, 64, 6},
    {"i64", "_ZN4acme6chooseEPKfPlPfiii", 8, 128, 8},
    {"i16", "_ZN4acme6chooseEPKfPsPfiii", 2, 96, 6},
    {"u8", "_ZN4acme6chooseEPKfPhPfiii", 1, 60, 4},
    {"in-order", "acme_choose_in_order", 4, 32, 4},
    {"struct", "_ZN4acme13choose_structENS_6ParamsE", 4, 72, 6},
    {"wide", "acme_choose_wide", 4, 48, 5},
    {"grid", "acme_choose_grid", 4, 60, 4},
    {"template", "_ZN4acme8choose_tILi8ELi128ElEEvPKfPT1_i", 8, TEMPLATE_EXPERTS, TEMPLATE_K},
    {"quotient", "acme_choose_flat", 4, 64, 8},
    {"triton", "_acme_choose_kernel", 4, 64, TRITON_K},
    {"shared", "_ZN4acme6chooseEPKfPiPfiii", 4, 64, 6},
    {"reordered", "_ZN4acme6chooseEPKfPiPfiii", 4, 64, 6},
    {"copied", "_ZN4acme6chooseEPKfPiPfiii", 4, 64, 6},
    {"k1", "_ZN4acme6chooseEPKfPiPfiii", 4, 16, 1},
    {"one-row", "_ZN4acme6chooseEPKfPiPfiii", 4, 64, 6},
    {"k2", "_ZN4acme6chooseEPKfPiPfiii", 4, 8, 2},
    {"grouped", "_ZN4acme6chooseEPKfPiPfiii", 4, 64, 8},
    {"dense", NULL, 4, 64, 6},
};

static CUdeviceptr hidden, logits, ids, copied, weights, decoys[7], router_weight[LAYERS], norm_weight[LAYERS],
    expert_weight[LAYERS];

static void route(const struct shape *s, int layer, int rows)
{
    int experts = s->experts, k = s->k, all = rows * experts, count = rows * k;
    long experts_long = experts;
    void *norm[] = {&hidden, &norm_weight[layer], &rows};
    launch("acme_norm", 1, norm);
    void *gemm[] = {&hidden, &router_weight[layer], &logits, &rows, &experts_long};
    launch("acme_gemm", 1, gemm);
    struct router_params one = {.logits = (const float *) logits,
                                .weights = (void *) weights,
                                .rows = rows,
                                .experts = experts,
                                .ids = (int32_t *) ids,
                                .k = k};
    void *plain[] = {&logits, &ids, &weights, &rows, &experts, &k};
    void *by_struct[] = {&one};
    void *grid[] = {&logits, &ids, &experts, &k};
    void *fixed[] = {&logits, &ids, &rows};
    void *flat[] = {&logits, &ids, &all, &experts, &k};
    void *triton[] = {&logits, &weights, &ids, &rows};
    const struct {
        const char *name;
        void **params;
        unsigned blocks;
    } ways[] = {{"struct", by_struct, 2},
                {"grid", grid, (unsigned) rows},
                {"template", fixed, 2},
                {"quotient", flat, 3},
                {"triton", triton, 2}};
    void **params = plain;
    unsigned blocks = ((unsigned) rows + 3) / 4;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(s->name, ways[i].name) == 0) {
            params = ways[i].params;
            blocks = ways[i].blocks;
        }
    }
    if (strcmp(s->name, "grouped") == 0) { /* two of each group of 8, then four groups of 8 */
        int in_groups = rows * 8, group = 8, two = 2, four = 4;
        void *inside[] = {&logits, &decoys[6], &weights, &in_groups, &group, &two};
        launch(s->kernel, 1, inside);
        void *among[] = {&logits, &decoys[6], &weights, &rows, &group, &four};
        launch(s->kernel, 1, among);
    }
    launch(s->kernel, blocks, params);
    if (strcmp(s->name, "reordered") == 0) {
        void *reorder[] = {&ids, &rows, &k};
        launch("acme_reorder", 1, reorder);
    }
    if (truth)
        write_truth(ids, rows, k, strcmp(s->name, "wide") == 0 ? experts : k, s->width);
    if (strcmp(s->name, "copied") == 0) {
        void *cast[] = {&ids, &copied, &count};
        launch("acme_cast", 1, cast);
    }
    void *mix[] = {&hidden, &ids, &expert_weight[layer], &rows, &k};
    launch("acme_mix", 1, mix);
}

static void decoy_layer(const struct shape *s, int step, int rows)
{
    int count = rows * s->k, block = 4;
    void *align[] = {&decoys[0], &decoys[1], &decoys[2], &count, (void *) &s->experts, &block, &step};
    launch("acme_align", 1, align);
    void *permute[] = {&decoys[3], &count, &step};
    launch("acme_permute", 1, permute);
}

static void forward(const struct shape *s, int step)
{
    int rows = strcmp(s->name, "one-row") == 0 ? 1 : step == 0 ? 24 : step < 4 ? 3 : step == 4 ? 5 : 2;
    int start = step * 24, vocabulary = VOCABULARY, columns = 16;
    void *arange[] = {&decoys[4], &rows, &start};
    launch("acme_arange", 1, arange);
    void *slots[] = {&decoys[5], &rows, &step};
    launch("acme_slots", 1, slots);
    for (int layer = 0; layer < LAYERS; layer++) {
        if (s->kernel)
            route(s, layer, rows);
        decoy_layer(s, step * LAYERS + layer, rows);
    }
    if (strcmp(s->name, "shared") == 0) { /* the same kernel picks tokens */
        int k = 4, tokens = 2000;
        long tokens_long = tokens;
        void *gemm[] = {&hidden, &weights, &logits, &rows, &tokens_long};
        launch("acme_gemm", 1, gemm);
        void *top[] = {&logits, &decoys[6], &weights, &rows, &tokens, &k};
        launch(s->kernel, 1, top);
    }
    void *sample[] = {&decoys[6], &rows, &vocabulary, &step};
    launch("acme_sample", 1, sample);
    void *argsort[] = {&decoys[3], &rows, &columns, &step};
    launch("acme_argsort", 1, argsort);
}

int main(int argc, char **argv)
{
    const struct shape *s = shapes;
    while (argc > 1 && s->name && strcmp(s->name, argv[1]) != 0) {
        if (++s == shapes + sizeof shapes / sizeof *shapes) {
            fprintf(stderr, "probe-engine: no case %s\n", argv[1]);
            return 2;
        }
    }
    struct shape other = *s;
    if (argc > 4) {
        other.experts = atoi(argv[3]);
        other.k = atoi(argv[4]);
        s = &other;
    }
    if (argc < 2) {
        fprintf(stderr, "probe-engine: which case?\n");
        return 2;
    }
    rig_open(argc > 2 ? argv[2] : NULL);
    CUdeviceptr *all[] = {&hidden, &logits, &ids, &copied, &weights};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = device_memory();
    for (size_t i = 0; i < 7; i++)
        decoys[i] = device_memory();
    uint32_t start[ROWS_MAX];
    for (uint32_t i = 0; i < ROWS_MAX; i++)
        start[i] = i * 2654435761u + 17;
    OK(cuda.MemcpyHtoD(hidden, start, sizeof start));
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        uint32_t weight = layer * 7919 + 3;
        router_weight[layer] = device_memory();
        norm_weight[layer] = device_memory();
        expert_weight[layer] = device_memory();
        OK(cuda.MemcpyHtoD(router_weight[layer], &weight, sizeof weight));
    }
    for (int step = 0; step < STEPS; step++)
        forward(s, step);
    return rig_close(s->name, hidden, 24);
}
