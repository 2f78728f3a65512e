/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layer identity against the truth. Prints a line for each scenario. LAYER_FUZZ=N sets the number of random engines
 * (LAYER_FIRST=M: from the M-th on), LAYER_SEEDS=1 shows those with a wrong label, LAYER_VERBOSE=1 each router that was
 * not labelled right.
 */
#include "model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(layer, .timeout = 280);

/* What most engines look like; each scenario changes something. */
static const struct shape usual = {.layers = 12,
                                   .memory = MEMORY_CACHED,
                                   .sizes = 1,
                                   .tensor_maps = true,
                                   .back = 3,
                                   .workspace = true,
                                   .kv_cache = true,
                                   .norms = true,
                                   .fused_experts = true};

#define SEEDS 8

static void add(struct tally *sum, const struct tally *t)
{
    sum->right += t->right;
    sum->unknown += t->unknown;
    sum->wrong += t->wrong;
    sum->learned_right += t->learned_right;
    sum->learned_all += t->learned_all;
}

static void report(const char *name, const struct tally *t)
{
    fprintf(stderr, "%-40s %8lu routers: wrong %lu, unknown %lu; learned: %.3f %% right\n", name,
            t->right + t->unknown + t->wrong, t->wrong, t->unknown,
            t->learned_all ? 100.0 * (double) t->learned_right / (double) t->learned_all : 100.0);
}

static void start(struct engine *engine, uint64_t seed)
{
    engine_init(engine, seed);
    engine->verbose = getenv("LAYER_VERBOSE") != NULL;
}

/* Nothing is labelled wrong, and what was seen before is recognised. */
static void sane(const char *name, const struct tally *t)
{
    report(name, t);
    cr_expect_eq(t->wrong, 0, "%s: %lu wrong", name, t->wrong);
    cr_expect(t->learned_right * 1000 >= t->learned_all * 999, "%s: %lu of %lu", name, t->learned_right,
              t->learned_all);
}

/* A draft model's passes before the target's first one. */
static int warm_up;

typedef void scenario(struct engine *engine, const struct shape *shape);

static void run(const char *name, scenario *play, const struct shape *shape)
{
    struct tally sum = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct engine engine;
        start(&engine, seed);
        play(&engine, shape);
        add(&sum, &engine.tally);
        engine_free(&engine);
    }
    sane(name, &sum);
}

static const char *const memories[] = {"static", "per size", "cached", "random", "layered"};

/* The scenario with each way to give out memory. */
static void run_memories(const char *name, scenario *play, struct shape shape)
{
    for (int m = MEMORY_STATIC; m <= MEMORY_LAYERED; m++) {
        shape.memory = (enum memory) m;
        char full[96];
        snprintf(full, sizeof full, "%s, %s", name, memories[m]);
        run(full, play, &shape);
    }
}

static void in_turns(struct engine *engine, const struct shape *shape)
{
    struct model model;
    model_init(&model, engine, shape, 0);
    for (int i = 0; i < 60; i++)
        pass_run(engine, &model, 0, i % shape->sizes, shape->layers);
}

Test(layer, sizes_in_turns)
{
    for (int sizes = 1; sizes <= 4; sizes++) {
        struct shape shape = usual;
        shape.sizes = sizes;
        char name[64];
        snprintf(name, sizeof name, "%d sizes", sizes);
        run_memories(name, in_turns, shape);
    }
}

/* One prefill, then many decode steps, again and again. */
static void requests(struct engine *engine, const struct shape *shape)
{
    struct model model;
    model_init(&model, engine, shape, 0);
    for (int request = 0; request < 8; request++) {
        pass_run(engine, &model, 0, 0, shape->layers);
        for (int i = 0; i < 20; i++)
            pass_run(engine, &model, 0, 1 + request % 2, shape->layers);
    }
}

Test(layer, prefill_and_decode)
{
    struct shape shape = usual;
    shape.sizes = 3;
    shape.prefill_kernels = true;
    run_memories("prefill kernels of their own", requests, shape);
}

Test(layer, stages_of_grouped_routing)
{
    struct shape shape = usual;
    shape.stage = true;
    run_memories("a stage ahead of the router", in_turns, shape);
}

/* A kernel that comes once a layer, and of which the pass's first is wanted (`once = layer`). */
Test(layer, first_of_a_pass)
{
    for (int m = MEMORY_STATIC; m <= MEMORY_LAYERED; m++)
        for (int dense = 0; dense < 2; dense++) {
            struct shape shape = usual;
            unsigned long passes = 0, hits = 0, wrong = 0;
            shape.sizes = 3;
            shape.memory = (enum memory) m;
            shape.prefill_kernels = true;
            shape.first_dense = dense;
            for (uint64_t seed = 1; seed <= SEEDS; seed++) {
                struct engine engine;
                start(&engine, seed);
                requests(&engine, &shape);
                passes += engine.rotary_passes;
                hits += engine.rotary_hits;
                wrong += engine.rotary_wrong;
                engine_free(&engine);
            }
            fprintf(stderr, "first of a pass, %s%s: %lu of %lu found, %lu others taken for it\n", memories[m],
                    dense ? ", dense" : "", hits, passes, wrong);
            cr_expect_eq(wrong, 0);
            cr_expect(hits * 1000 >= passes * 995, "%lu of %lu", hits, passes);
        }
}

Test(layer, dense_layers)
{
    struct shape shape = usual;
    shape.layers = 27;
    shape.first_dense = 1;
    shape.sizes = 2;
    run_memories("first layer dense", in_turns, shape);
    shape.first_dense = 3;
    run_memories("first three dense", in_turns, shape);
    shape.first_dense = 0;
    shape.dense_every = 2;
    run_memories("every other layer dense", in_turns, shape);
}

/* Nothing but the router's GEMM tells layers apart; in other shapes other things are missing. */
Test(layer, little_to_see)
{
    struct shape shape = usual;
    shape.sizes = 2;
    shape.norms = shape.kv_cache = shape.workspace = false;
    run_memories("no norms, no cache", in_turns, shape);
    shape = usual;
    shape.tensor_maps = false;
    shape.sizes = 2;
    run_memories("plain pointers", in_turns, shape);
    shape.back = 1;
    run_memories("logits straight to the router", in_turns, shape);
    shape.back = 13;
    run_memories("thirteen launches to the router", in_turns, shape);
    shape.fused_experts = false;
    run_memories("and experts one by one", in_turns, shape);
}

Test(layer, stale_stack)
{
    struct shape shape = usual;
    shape.stale_stack = true;
    shape.sizes = 2;
    run_memories("left-over stack", in_turns, shape);
}

Test(layer, numbers)
{
    static const int layers[] = {1, 2, 61, 94};
    for (int i = 0; i < 4; i++) {
        struct shape shape = usual;
        shape.layers = layers[i];
        shape.first_dense = layers[i] == 61 ? 3 : 0;
        shape.sizes = 2;
        char name[64];
        snprintf(name, sizeof name, "%d layers", layers[i]);
        run_memories(name, in_turns, shape);
    }
}

static void many_steps(struct engine *engine, const struct shape *shape)
{
    struct model model;
    model_init(&model, engine, shape, 0);
    for (int i = 0; i < 3000; i++)
        pass_run(engine, &model, 0, (int) engine_random(engine, (uint64_t) shape->sizes), shape->layers);
}

Test(layer, thousands_of_steps)
{
    struct shape shape = usual;
    shape.layers = 8;
    shape.sizes = 16;
    run_memories("3000 steps, 16 sizes", many_steps, shape);
}

/* Two or four micro-batches, each on a stream of its own, a layer of each in turn or in any order. */
static bool synced; /* each waits for the layer of the one ahead */

static void micro_batches(struct engine *engine, const struct shape *shape)
{
    struct model model;
    model_init(&model, engine, shape, 0);
    for (int step = 0; step < 40; step++) {
        struct pass pass[STREAMS_MAX];
        bool on[STREAMS_MAX];
        unsigned count = shape->sizes > 2 ? 4 : 2, left = count;
        for (unsigned i = 0; i < count; i++) {
            pass_begin(&pass[i], engine, &model, i, step % shape->sizes);
            on[i] = true;
        }
        for (unsigned turn = 0; left; turn++) {
            unsigned i = step & 1 ? turn % count : (unsigned) engine_random(engine, count);
            if (synced)
                engine_join(engine, i, (i + 1) % count);
            if (on[i] && !(on[i] = pass_layer(&pass[i])))
                left--;
        }
    }
}

Test(layer, micro_batches)
{
    struct shape shape = usual;
    shape.sizes = 2;
    run_memories("two micro-batches", micro_batches, shape);
    shape.sizes = 4;
    run_memories("four micro-batches", micro_batches, shape);
    synced = true;
    run_memories("that wait for each other", micro_batches, shape);
    shape.prefill_kernels = true;
    run_memories("of two kinds of kernels", micro_batches, shape);
}

/* The routers' stream shows their GEMM and nothing else; all the rest is behind events. */
Test(layer, experts_beside)
{
    struct shape shape = usual;
    shape.beside = true;
    run_memories("attention and experts beside", in_turns, shape);
    shape.sizes = 3;
    run_memories("3 sizes", in_turns, shape);
    shape.tensor_maps = shape.workspace = false;
    shape.back = 1;
    run_memories("logits straight to the router", in_turns, shape);
    shape.prefill_kernels = true;
    run_memories("requests", requests, shape);
}

/* A small model of the same E and k proposes, the large one checks: on one stream, or on two. */
static void draft(struct engine *engine, const struct shape *shape)
{
    struct shape small = *shape;
    small.layers = 2;
    small.first_dense = 0;
    struct model target, drafter;
    model_init(&target, engine, shape, 0);
    model_init(&drafter, engine, &small, model_routers(&target));
    for (int i = 0; i < warm_up; i++)
        pass_run(engine, &drafter, 0, 0, small.layers);
    for (int step = 0; step < 40; step++) {
        for (int i = 0; i < 3; i++)
            pass_run(engine, &drafter, shape->sizes > 1, 0, small.layers);
        pass_run(engine, &target, 0, shape->sizes > 1, shape->layers);
    }
}

Test(layer, draft_model)
{
    struct shape shape = usual;
    run_memories("draft model, one stream", draft, shape);
    shape.sizes = 2;
    run_memories("draft model, two streams", draft, shape);
    warm_up = 100;
    run_memories("draft model first", draft, shape);
}

/* A draft layer behind the target's last one, as in multi-token prediction. */
static void draft_behind(struct engine *engine, const struct shape *shape)
{
    struct shape small = *shape;
    small.layers = 1;
    small.first_dense = 0;
    struct model target, drafter;
    model_init(&target, engine, shape, 0);
    model_init(&drafter, engine, &small, model_routers(&target));
    for (int step = 0; step < 60; step++) {
        pass_run(engine, &target, 0, step % shape->sizes, shape->layers);
        pass_run(engine, &drafter, 0, step % shape->sizes, 1);
    }
}

Test(layer, draft_layer)
{
    struct shape shape = usual;
    shape.sizes = 2;
    run_memories("draft layer behind", draft_behind, shape);
}

/* The first router that a stream shows is any layer's. */
static void from_the_middle(struct engine *engine, const struct shape *shape)
{
    struct model model;
    model_init(&model, engine, shape, 0);
    for (int step = 0; step < 40; step++) {
        struct pass pass;
        pass_begin(&pass, engine, &model, (unsigned) step % STREAMS_MAX, step % shape->sizes);
        if (step < STREAMS_MAX)
            pass.layer = 3 * step + 2;
        while (pass_layer(&pass)) {
        }
    }
}

Test(layer, first_seen_in_the_middle)
{
    struct shape shape = usual;
    shape.layers = 16;
    run_memories("first seen in the middle", from_the_middle, shape);
}

static void cut_short(struct engine *engine, const struct shape *shape)
{
    struct model model;
    model_init(&model, engine, shape, 0);
    for (int step = 0; step < 60; step++) {
        bool whole = step < 1 || engine_random(engine, 2);
        pass_run(engine, &model, 0, step % shape->sizes,
                 whole ? shape->layers : 1 + (int) engine_random(engine, (uint64_t) shape->layers));
    }
}

Test(layer, passes_cut_short)
{
    struct shape shape = usual;
    run_memories("passes cut short", cut_short, shape);
    shape.sizes = 3;
    run_memories("passes cut short, 3 sizes", cut_short, shape);
}

static void recompiled(struct engine *engine, const struct shape *shape)
{
    struct model model;
    model_init(&model, engine, shape, 0);
    for (int step = 0; step < 60; step++) {
        if (step % 10 == 9)
            engine_recompile(engine);
        pass_run(engine, &model, 0, step % shape->sizes, shape->layers);
    }
}

Test(layer, recompiled_kernels)
{
    struct shape shape = usual;
    shape.sizes = 2;
    run_memories("recompiled kernels", recompiled, shape);
}

/* The engine frees what it worked with, and a second model's weights come to lie there. */
static void addresses_used_again(struct engine *engine, const struct shape *shape)
{
    struct shape plain = *shape, small = *shape;
    struct model model, second;
    model_init(&model, engine, &plain, 0);
    for (int step = 0; step < 20; step++)
        pass_run(engine, &model, 0, step % shape->sizes, shape->layers);
    small.layers = 3;
    model_init(&second, engine, &small, model_routers(&model));
    for (int i = 0; i < small.layers; i++) {
        uint64_t *word = &second.weights[i].qkv;
        for (unsigned w = 0; w < sizeof second.weights[i] / sizeof *word && engine->pool_count > 40; w++)
            word[w] = engine->pool[--engine->pool_count];
    }
    for (int step = 0; step < 40; step++) {
        pass_run(engine, &model, 0, step % shape->sizes, shape->layers);
        pass_run(engine, &second, 1, step % shape->sizes, small.layers);
    }
}

Test(layer, addresses_used_again)
{
    struct shape shape = usual;
    shape.sizes = 2;
    run_memories("memory becomes weights", addresses_used_again, shape);
}

/* Weights that move become new layers or unknown ones: none gets the label of another one. */
Test(layer, moved_weights)
{
    for (int m = MEMORY_STATIC; m <= MEMORY_LAYERED; m++) {
        struct engine engine;
        struct model model, moved;
        struct shape shape = usual;
        shape.memory = (enum memory) m;
        start(&engine, 1);
        model_init(&model, &engine, &shape, 0);
        model_init(&moved, &engine, &shape, model_routers(&model));
        for (int step = 0; step < 20; step++)
            pass_run(&engine, &model, 0, 0, shape.layers);
        for (int step = 0; step < 20; step++)
            pass_run(&engine, &moved, 0, 0, shape.layers);
        char name[64];
        snprintf(name, sizeof name, "moved weights, %s", memories[m]);
        report(name, &engine.tally);
        cr_expect_eq(engine.tally.wrong, 0);
        engine_free(&engine);
    }
}

/* A known limit, for the record: where no launch shows a weight, static buffers look like layers. */
Test(layer, blind)
{
    for (int m = MEMORY_STATIC; m <= MEMORY_LAYERED; m++) {
        struct engine engine;
        struct model model;
        struct shape shape = usual;
        shape.memory = (enum memory) m;
        shape.blind = true;
        shape.workspace = false;
        shape.sizes = 2;
        start(&engine, 1);
        model_init(&model, &engine, &shape, 0);
        for (int step = 0; step < 60; step++)
            pass_run(&engine, &model, 0, step % 2, shape.layers);
        char name[64];
        snprintf(name, sizeof name, "blind, %s", memories[m]);
        report(name, &engine.tally);
        engine_free(&engine);
    }
}

/* Where the router's weight is the only witness, left-over bytes of the stack stand beside it. */
Test(layer, stale_stack_beside)
{
    for (int m = MEMORY_STATIC; m <= MEMORY_LAYERED; m++) {
        struct engine engine;
        struct model model;
        struct shape shape = usual;
        shape.memory = (enum memory) m;
        shape.stale_stack = shape.beside = true;
        start(&engine, 1);
        model_init(&model, &engine, &shape, 0);
        for (int step = 0; step < 60; step++)
            pass_run(&engine, &model, 0, 0, shape.layers);
        char name[64];
        snprintf(name, sizeof name, "left-over stack and beside, %s", memories[m]);
        report(name, &engine.tally);
        cr_expect_eq(engine.tally.wrong, 0);
        engine_free(&engine);
    }
}

/* Anything of the above together, by chance: a few may be unknown. */
Test(layer, fuzz)
{
    const char *rounds = getenv("LAYER_FUZZ"), *first = getenv("LAYER_FIRST");
    struct tally sum = {0}, worst = {0};
    unsigned long worst_seed = 0, bad = 0, all = rounds ? strtoul(rounds, NULL, 10) : 400;
    for (unsigned long seed = first ? strtoul(first, NULL, 10) : 1; seed <= all; seed++) {
        struct engine engine;
        start(&engine, seed + 1000);
        struct shape shape = usual;
        shape.layers = 1 + (int) engine_random(&engine, 64);
        shape.first_dense = engine_random(&engine, 3) ? 0 : (int) engine_random(&engine, (uint64_t) shape.layers);
        shape.dense_every = engine_random(&engine, 4) || shape.layers < 4 ? 0 : 2 + (int) engine_random(&engine, 3);
        shape.memory = (enum memory) engine_random(&engine, 5);
        shape.sizes = 1 + (int) engine_random(&engine, 5);
        shape.prefill_kernels = engine_random(&engine, 2);
        shape.tensor_maps = engine_random(&engine, 2);
        shape.back = 1 + (int) engine_random(&engine, 13);
        shape.stale_stack = engine_random(&engine, 3) == 0;
        shape.workspace = engine_random(&engine, 2);
        shape.kv_cache = engine_random(&engine, 4) != 0;
        shape.norms = engine_random(&engine, 4) != 0;
        shape.fused_experts = engine_random(&engine, 2);
        shape.beside = engine_random(&engine, 4) == 0;
        struct model model;
        model_init(&model, &engine, &shape, 0);
        unsigned streams = 1 + (unsigned) engine_random(&engine, STREAMS_MAX);
        bool cuts = engine_random(&engine, 3) == 0, recompiles = engine_random(&engine, 4) == 0;
        for (int step = 0; step < 40; step++) {
            if (recompiles && engine_random(&engine, 8) == 0)
                engine_recompile(&engine);
            struct pass pass[STREAMS_MAX];
            bool on[STREAMS_MAX] = {false};
            unsigned left = 0;
            for (unsigned i = 0; i < streams; i++) {
                if (engine_random(&engine, 2)) {
                    pass_begin(&pass[i], &engine, &model, i, (int) engine_random(&engine, (uint64_t) shape.sizes));
                    on[i] = true;
                    left++;
                }
            }
            while (left) {
                unsigned i = (unsigned) engine_random(&engine, streams);
                if (!on[i])
                    continue;
                on[i] = pass_layer(&pass[i]);
                if (on[i] && cuts && step > 0 && engine_random(&engine, 64) == 0) {
                    pass_end(&pass[i]);
                    on[i] = false;
                }
                left -= !on[i];
            }
        }
        const struct tally *t = &engine.tally;
        add(&sum, t);
        if (t->wrong) {
            bad++;
            if (getenv("LAYER_SEEDS"))
                fprintf(stderr,
                        "seed %lu: wrong %lu unknown %lu of %lu; %d layers (%d, %d) %s, %d sizes, back %d, streams %u"
                        "%s%s%s%s%s%s%s%s%s%s\n",
                        seed, t->wrong, t->unknown, t->right + t->wrong + t->unknown, shape.layers, shape.first_dense,
                        shape.dense_every, memories[shape.memory], shape.sizes, shape.back, streams,
                        shape.prefill_kernels ? " prefill" : "", shape.tensor_maps ? " maps" : "",
                        shape.stale_stack ? " stale" : "", shape.workspace ? " workspace" : "",
                        shape.kv_cache ? "" : " no-kv", shape.norms ? "" : " no-norms",
                        shape.fused_experts ? "" : " unfused", shape.beside ? " beside" : "", cuts ? " cuts" : "",
                        recompiles ? " recompiles" : "");
        }
        if (t->wrong > worst.wrong) {
            worst = *t;
            worst_seed = seed;
        }
        engine_free(&engine);
    }
    report("fuzz", &sum);
    fprintf(stderr, "fuzz: %lu of %lu engines with a wrong label; the worst, %lu: %lu wrong\n", bad, all, worst_seed,
            worst.wrong);
    cr_expect_eq(sum.wrong, 0);
    cr_expect(sum.learned_right * 1000 >= sum.learned_all * 999);
}
