/* SPDX-License-Identifier: Apache-2.0 */
/* Passes from made-up records: what belongs together is handed out together, and a loss never ties wrong things. */
#include "../../tools/passes.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SITES_MAX 64u

/* A device that numbers as the producer does, and loses what the test tells it to. */
struct stage {
    struct mt_site sites[SITES_MAX];
    uint64_t steps[SITES_MAX];
    uint32_t counter[SITES_MAX]; /* the site that they count their steps with */
    uint64_t seq, context, lost;
    struct passes *passes;
    char text[1 << 16];
    size_t used;
    unsigned count;
    /* told by the routers' ids: the pass which they are of */
    unsigned mixed, wrong_context;
    uint32_t real_rows; /* those behind are padding, 0: all are real */
    uint64_t layers, contexts, holes, groups;
    uint32_t rows; /* with context */
};

static struct stage stage;

static int take(const struct pass *pass, void *user)
{
    (void) user;
    int32_t of = pass->layer_count && pass->layers[0].rows ? pass->layers[0].ids[0] : -1;
    uint32_t real = pass->slots && stage.real_rows ? stage.real_rows : pass->rows;
    for (uint32_t i = real; i < pass->rows; i++)
        stage.wrong_context += pass->slots[i] != -1;
    for (uint32_t i = 1; i < pass->group_count; i++)
        stage.wrong_context += pass->groups[i].slots[0] != of + 200 * (int32_t) i;
    stage.groups += pass->group_count;
    for (uint32_t i = 0; i < pass->unplaced_rows; i++)
        stage.wrong_context += pass->unplaced[i] % 200 != of;
    stage.count++;
    stage.layers += pass->layer_count;
    stage.holes += pass->hole;
    stage.rows += pass->rows;
    stage.contexts += pass->slots && pass->positions && pass->tokens;
    for (uint32_t i = 0; i < pass->layer_count; i++) {
        const struct pass_layer *layer = &pass->layers[i];
        for (uint32_t j = 0; j < layer->rows * layer->k; j++)
            stage.mixed += layer->ids[j] != of;
        for (uint32_t j = 0; j < i; j++)
            stage.mixed += pass->layers[j].site == layer->site;
    }
    for (uint32_t i = 0; i < pass->rows; i++) {
        stage.wrong_context += pass->slots && i < real && pass->slots[i] % 200 != of;
        stage.wrong_context += pass->positions && pass->positions[i] % 200 != of;
        stage.wrong_context += pass->tokens && pass->tokens[i] % 200 != of;
    }
    if (stage.used < sizeof stage.text - 64)
        stage.used += (size_t) snprintf(stage.text + stage.used, sizeof stage.text - stage.used, "%d:%u%s%s%s%s ", of,
                                        pass->layer_count, pass->slots ? "s" : "", pass->unplaced ? "u" : "",
                                        pass->positions ? "p" : "", pass->tokens ? "t" : "");
    return 0;
}

static void enter(void)
{
    memset(&stage, 0, sizeof stage);
    for (uint32_t i = 0; i < SITES_MAX; i++)
        stage.sites[i] = (struct mt_site){.layer = MT_LAYER_UNKNOWN, .experts = 200, .k = 2, .recipe = "r"};
    for (uint32_t i = 0; i < SITES_MAX; i++)
        stage.counter[i] = i;
    stage.passes = passes_new(take, NULL);
    cr_assert(stage.passes);
}

static void leave(void)
{
    passes_free(stage.passes);
}

TestSuite(passes, .init = enter, .fini = leave, .timeout = 30);

static void run_site(uint32_t site, uint32_t rows, int of, bool lose)
{
    const struct mt_site *s = &stage.sites[site];
    bool router = s->kind == MT_SITE_ROUTER;
    if (!router)
        stage.context++;
    struct mt_record record = {.seq = stage.seq++,
                               .step = stage.steps[stage.counter[site]]++,
                               .lost = stage.lost,
                               .site = site,
                               .rows = rows,
                               .k = router ? (uint16_t) s->k : 1,
                               .width = router ? 1 : 4,
                               .context = stage.context};
    record.bytes = rows * record.k * record.width;
    if (lose) {
        stage.lost++;
        return;
    }
    uint8_t *ids = malloc(record.bytes + 1);
    cr_assert(ids);
    memset(ids, of % 200, record.bytes);
    for (uint32_t i = 0; !router && i < rows; i++)
        memcpy(ids + 4 * i, &of, 4);
    cr_assert_eq(passes_add(stage.passes, s, &record, ids), 0);
    free(ids);
}

/* A sequence of all rows. */
static void run_starts(uint32_t site, uint32_t rows)
{
    const int32_t starts[2] = {0, (int32_t) rows};
    struct mt_record record = {.seq = stage.seq++,
                               .step = stage.steps[site]++,
                               .lost = stage.lost,
                               .site = site,
                               .rows = 2,
                               .k = 1,
                               .width = 4,
                               .bytes = sizeof starts,
                               .context = ++stage.context};
    cr_assert_eq(passes_add(stage.passes, &stage.sites[site], &record, starts), 0);
}

/* Sites 60, 61, 62 are slots, positions, tokens. */
static void context_sites(void)
{
    for (uint32_t i = 0; i < 3; i++) {
        stage.sites[60 + i].kind = (uint8_t) (MT_SITE_SLOTS + i);
        stage.sites[60 + i].k = 1;
    }
}

/* 63 and 62: slots, and where sequences begin, by a kernel that makes them. */
static void maker_sites(void)
{
    context_sites();
    for (uint32_t site = 63; site > 61; site--) {
        stage.sites[site] = stage.sites[60];
        strcpy(stage.sites[site].recipe, site == 63 ? "maker" : "maker.starts");
        strcpy(stage.sites[site].kernel, "make");
    }
    stage.sites[62].kind = MT_SITE_STARTS;
}

static void run_context(uint32_t rows, int of)
{
    for (uint32_t i = 0; i < 3; i++)
        run_site(60 + i, rows, of, false);
}

static void run_layers(uint32_t first, uint32_t count, uint32_t rows, int of)
{
    for (uint32_t i = 0; i < count; i++)
        run_site(first + i, rows, of, false);
}

static void expect(const char *text)
{
    cr_assert_eq(passes_flush(stage.passes), 0);
    cr_assert_str_eq(stage.text, text);
    cr_assert_eq(stage.mixed, 0);
    cr_assert_eq(stage.wrong_context, 0);
}

Test(passes, a_site_that_comes_again_starts_a_pass)
{
    for (int i = 0; i < 3; i++)
        run_layers(0, 4, 5, i);
    expect("0:4 1:4 2:4 ");
}

Test(passes, context_goes_with_its_pass)
{
    context_sites();
    for (int i = 0; i < 3; i++) {
        run_context(5, i);
        run_layers(0, 4, 5, i);
    }
    expect("0:4spt 1:4spt 2:4spt ");
}

Test(passes, context_of_other_rows_is_missing)
{
    context_sites();
    run_context(5, 0);
    run_layers(0, 2, 8, 0);
    run_site(60, 9, 1, false); /* more than the routers' rows */
    run_site(61, 8, 1, false);
    run_site(62, 8, 1, false);
    run_layers(0, 2, 8, 1);
    run_context(8, 2); /* layers that differ */
    run_site(0, 8, 2, false);
    run_site(1, 7, 2, false);
    expect("0:2u 1:2upt 2:2u ");
}

/* The routers' graph is padded to 8 rows, as is what the model is given; the cache's kernel is given the real ones. */
Test(passes, slots_of_a_padded_batch)
{
    context_sites();
    stage.real_rows = 5;
    for (int i = 0; i < 3; i++) {
        run_site(60, 5, i, false);
        if (i != 1)
            run_site(61, 8, i, false);
        if (i != 2)
            run_site(62, 8, i, false);
        run_layers(0, 2, 8, i);
    }
    /* A batch in two parts: which rows the second part's are nothing tells. */
    run_site(62, 8, 3, false);
    run_site(60, 3, 3, false);
    run_site(60, 5, 3, false);
    run_layers(0, 2, 8, 3);
    expect("0:2spt 1:2st 2:2sp 3:2ut ");
}

/* A model with two kinds of cache: the second kind's slots come in the midst of a pass, and neither cut it nor are its
 * rows' slots. */
Test(passes, slots_of_another_space_are_left_out)
{
    context_sites();
    stage.sites[63] = stage.sites[60];
    strcpy(stage.sites[63].recipe, "other");
    for (int i = 0; i < 12; i++) {
        run_context(5, i);
        run_layers(0, 1, 5, i);
        run_site(63, 5, i + 77, false);
        run_layers(1, 2, 5, i);
        run_site(63, 5, i + 77, false);
        run_layers(3, 1, 5, i);
    }
    expect("0:4spt 1:4spt 2:4spt 3:4spt 4:4spt 5:4spt 6:4spt 7:4spt 8:4spt 9:4spt 10:4spt 11:4spt ");
    cr_assert_eq(stage.holes, 0);
}

/* A lost one looks like any lost context: a hole, and no guess. */
Test(passes, lost_slots_of_another_space_are_a_hole)
{
    context_sites();
    stage.sites[63] = stage.sites[60];
    strcpy(stage.sites[63].recipe, "other");
    for (int i = 0; i < 3; i++) {
        run_context(5, i);
        run_layers(0, 1, 5, i);
        run_site(63, 5, i + 77, i == 1);
        run_layers(1, 3, 5, i);
    }
    expect("0:4spt 1:1spt 1:3 2:4spt ");
    cr_assert_eq(stage.holes, 1);
}

/* Who begins to read in the midst of a pass sees the second space first, and knows of the other's site. */
Test(passes, the_space_is_that_of_the_first_site)
{
    context_sites();
    stage.sites[63] = stage.sites[60];
    strcpy(stage.sites[63].recipe, "other");
    passes_know_slots(stage.passes, 63, &stage.sites[63]);
    passes_know_slots(stage.passes, 60, &stage.sites[60]);
    stage.context = 3;
    run_site(63, 5, 77, false);
    run_layers(1, 3, 5, 0);
    for (int i = 1; i < 3; i++) {
        run_context(5, i);
        run_layers(0, 1, 5, i);
        run_site(63, 5, i + 77, false);
        run_layers(1, 3, 5, i);
    }
    expect("0:3 1:4spt 2:4spt ");
}

/* A padded graph: slots are stored outside of it, of its real rows alone. */
Test(passes, slots_of_the_first_rows)
{
    context_sites();
    for (int i = 0; i < 4; i += 2) {
        run_site(60, 5, i, false);
        run_site(61, 8, i, false);
        run_site(62, i ? 5 : 8, i, false);
        run_layers(0, 2, 8, i);
        run_context(5, i + 1);
        run_layers(0, 2, 5, i + 1);
    }
    expect("0:2spt 1:2spt 2:2spt 3:2spt ");
    cr_assert_eq(stage.rows, 4 * 5);
}

/* The routers were given rows of other ranks as well, and these may come first. */
Test(passes, slots_of_fewer_rows_than_the_model_ran)
{
    context_sites();
    for (int i = 0; i < 3; i++) {
        run_context(5, i);
        run_layers(0, 2, 12, i);
    }
    expect("0:2u 1:2u 2:2u ");
}

/* One whose layers are not tapped, but whose embedding is: its tokens and positions are no rows of the model's. */
Test(passes, a_dense_draft_model_is_no_hole)
{
    context_sites();
    for (int i = 0; i < 20; i++) {
        run_context(5, i);
        run_layers(0, 2, 5, i);
        run_site(61, 3, i + 100, false);
        run_site(62, 3, i + 100, false);
    }
    cr_assert_eq(passes_flush(stage.passes), 0);
    cr_assert_eq(stage.contexts, 20);
    cr_assert_eq(stage.wrong_context, 0);
    cr_assert_eq(stage.holes, 0);
}

Test(passes, of_several_contexts_the_one_on_the_routers_stream)
{
    context_sites();
    stage.sites[50] = stage.sites[60];
    stage.sites[50].stream = 3;
    for (int i = 0; i < 3; i++) {
        run_context(5, i);
        run_site(50, 5, i + 50, false);
        run_layers(0, 2, 5, i);
    }
    expect("0:2spt 1:2spt 2:2spt ");
    cr_assert_eq(stage.holes, 3);
}

Test(passes, what_lies_behind_a_lost_context_is_missing)
{
    context_sites();
    for (int lost = 0; lost < 3; lost++) {
        run_context(5, 2 * lost);
        run_layers(0, 2, 5, 2 * lost);
        for (int i = 0; i < 3; i++)
            run_site(60 + (uint32_t) i, 5, 2 * lost + 1, i == lost);
        run_layers(0, 2, 5, 2 * lost + 1);
    }
    expect("0:2spt 1:2pt 2:2spt 3:2t 4:2spt 5:2 ");
    cr_assert_eq(stage.holes, 3);
}

Test(passes, a_pass_without_its_routers_is_a_hole)
{
    context_sites();
    run_context(5, 0);
    run_layers(0, 2, 5, 0);
    run_context(5, 1);
    run_site(0, 5, 1, true);
    run_site(1, 5, 1, true);
    run_context(5, 2);
    run_layers(0, 2, 5, 2);
    run_context(5, 3);
    run_layers(0, 2, 5, 3);
    expect("0:2spt 2:2spt 3:2spt ");
    cr_assert_eq(stage.holes, 1);
}

Test(passes, a_pass_without_a_kind_does_not_take_the_one_before)
{
    context_sites();
    run_context(5, 0);
    run_layers(0, 2, 5, 0);
    run_site(60, 5, 1, false);
    run_layers(0, 2, 5, 1);
    run_layers(0, 2, 5, 2); /* no context of its own */
    expect("0:2spt 1:2s 2:2 ");
}

Test(passes, passes_of_another_kind_of_site)
{
    for (uint32_t i = 4; i < 8; i++)
        stage.sites[i].flags = MT_SITE_GRAPH;
    run_layers(0, 4, 5, 0); /* eager */
    run_layers(4, 4, 5, 1); /* graph */
    run_layers(8, 4, 6, 2); /* other sites, other rows */
    run_layers(0, 4, 5, 3);
    run_layers(4, 4, 5, 4);
    expect("0:4 1:4 2:4 3:4 4:4 ");
}

Test(passes, a_draft_model_is_a_pass_of_its_own)
{
    context_sites();
    for (uint32_t i = 10; i < 12; i++)
        stage.sites[i].experts = 16;
    for (int i = 0; i < 4; i += 2) {
        run_context(5, i);
        run_layers(0, 4, 5, i);
        run_layers(10, 2, 5, i + 1); /* no context of its own, and it does not take the target's */
    }
    expect("0:4spt 1:2 2:4spt 3:2 ");
}

Test(passes, streams_that_interleave_do_not_mix)
{
    stage.sites[10].stream = stage.sites[11].stream = 1;
    for (int i = 0; i < 4; i += 2) {
        run_site(0, 5, i, false);
        run_site(10, 5, i + 1, false);
        run_site(1, 5, i, false);
        run_site(11, 5, i + 1, false);
    }
    cr_assert_eq(passes_flush(stage.passes), 0);
    cr_assert_eq(stage.count, 4);
    cr_assert_eq(stage.layers, 8);
    cr_assert_eq(stage.mixed, 0);
}

Test(passes, context_of_streams_that_interleave_is_missing_where_it_is_not_plain)
{
    context_sites();
    stage.sites[10].stream = stage.sites[11].stream = 1;
    for (int i = 0; i < 40; i += 2) {
        run_context(5, i);
        run_site(0, 5, i, false);
        run_context(5, i + 1);
        run_site(10, 5, i + 1, false);
        run_site(1, 5, i, false);
        run_site(11, 5, i + 1, false);
    }
    cr_assert_eq(passes_flush(stage.passes), 0);
    cr_assert_eq(stage.layers, 80);
    cr_assert_eq(stage.mixed, 0);
    cr_assert_eq(stage.wrong_context, 0);
    cr_assert_eq(stage.contexts, 20);
}

/* Each stream has sites of its own for what its rows are. */
Test(passes, context_of_another_stream_is_not_taken)
{
    context_sites();
    for (uint32_t i = 0; i < 3; i++) {
        stage.sites[50 + i] = stage.sites[60 + i];
        stage.sites[50 + i].stream = 1;
    }
    stage.sites[10].stream = stage.sites[11].stream = 1;
    for (int i = 0; i < 40; i += 2) {
        run_site(62, 5, i, i == 20);
        run_site(52, 5, i + 1, false);
        run_site(61, 5, i, false);
        run_site(60, 5, i, false);
        run_site(0, 5, i, false);
        run_site(1, 5, i, false);
        run_site(51, 5, i + 1, false);
        run_site(50, 5, i + 1, false);
        run_site(10, 5, i + 1, false);
        run_site(11, 5, i + 1, false);
    }
    cr_assert_eq(passes_flush(stage.passes), 0);
    cr_assert_eq(stage.count, 40);
    cr_assert_eq(stage.layers, 80);
    cr_assert_eq(stage.mixed, 0);
    cr_assert_eq(stage.wrong_context, 0);
    cr_assert_eq(stage.contexts, 19, "%u", (unsigned) stage.contexts); /* of the first stream's, but one */
}

Test(passes, losses_are_told)
{
    run_layers(0, 2, 5, 0);
    run_site(0, 5, 1, false);
    run_site(1, 5, 1, true);
    run_layers(0, 2, 5, 2);
    expect("0:2 1:1 2:2 ");
    cr_assert_eq(stage.lost, 1);
}

/* Where whole halves of passes are lost, no site repeats: the steps tell. */
Test(passes, a_loss_from_the_middle_to_the_middle)
{
    run_layers(0, 4, 5, 0);
    run_layers(0, 2, 5, 1);
    run_site(2, 5, 1, true);
    run_site(3, 5, 1, true);
    run_site(0, 5, 2, true);
    run_site(1, 5, 2, true);
    run_layers(2, 2, 5, 2);
    run_layers(0, 4, 5, 3);
    expect("0:4 1:2 2:2 3:4 ");
}

/* Sites 0 to 7 and 8 to 15 are the same layers, for two kernels. */
static void two_kernels(void)
{
    for (uint32_t i = 0; i < 16; i++) {
        stage.sites[i].layer = (int32_t) (i % 8);
        stage.counter[i] = i % 8;
    }
    for (uint32_t i = 8; i < 16; i++)
        strcpy(stage.sites[i].recipe, "other");
}

Test(passes, kernels_that_take_turns)
{
    two_kernels();
    run_layers(8, 8, 9, 0); /* prefill */
    run_layers(0, 8, 5, 1);
    run_layers(0, 8, 5, 2);
    run_layers(8, 8, 5, 3);
    run_layers(0, 8, 5, 4);
    expect("0:8 1:8 2:8 3:8 4:8 ");
}

Test(passes, kernels_with_layers_each)
{
    two_kernels();
    for (int i = 0; i < 3; i++) {
        run_layers(8, 3, 5, i);
        run_layers(3, 5, 5, i);
    }
    expect("0:8 1:8 2:8 ");
}

/* What is known by order alone does not go with another kernel's layers. */
Test(passes, unknown_layers_of_another_kernel)
{
    two_kernels();
    stage.sites[11].layer = MT_LAYER_UNKNOWN;
    stage.counter[11] = 11;
    run_layers(0, 8, 5, 0);
    run_site(11, 5, 1, false);
    run_layers(0, 8, 5, 2);
    cr_assert_eq(passes_flush(stage.passes), 0);
    cr_assert_eq(stage.mixed, 0);
    cr_assert_eq(stage.count, 3);
}

static unsigned random_below(unsigned n)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned) (state >> 33) % n;
}

/* Eager passes and graphs of two sizes, in any order within a graph, losses of any length at any place. */
static void storm(bool context, unsigned passes)
{
    if (context)
        context_sites();
    for (uint32_t i = 8; i < 24; i++)
        stage.sites[i].flags = MT_SITE_GRAPH;
    int losing = 0;
    for (unsigned pass = 0; pass < passes; pass++) {
        uint32_t kind = random_below(3), rows = kind == 0 ? 4 : kind == 1 ? 8 : 1 + random_below(9);
        uint32_t order[8];
        for (uint32_t i = 0; i < 8; i++)
            order[i] = i;
        for (uint32_t i = 7; kind < 2 && i > 0; i--) {
            uint32_t j = random_below(i + 1), t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        uint32_t base = kind == 2 ? 0 : 8 + 8 * kind;
        for (uint32_t i = context ? 0 : 3; i < 11; i++) {
            if (losing)
                losing--;
            else if (pass > 30 && random_below(40) == 0)
                losing = (int) random_below(30);
            run_site(i < 3 ? 60 + i : base + order[i - 3], rows, (int) (pass % 200), losing > 0);
        }
    }
    cr_assert_eq(passes_flush(stage.passes), 0);
    cr_assert_eq(stage.mixed, 0);
    cr_assert_eq(stage.wrong_context, 0);
    cr_assert_eq(stage.seq - stage.lost - (context ? stage.context : 0) <= stage.layers, 1);
}

Test(passes, a_storm_of_losses_without_context)
{
    storm(false, 20000);
    cr_assert_lt(stage.count, 20000);
    cr_assert_gt(stage.count, 15000);
}

Test(passes, a_storm_of_losses_with_two_kernels)
{
    two_kernels();
    int losing = 0;
    for (unsigned pass = 0; pass < 20000; pass++) {
        uint32_t kind = random_below(3), rows = kind ? 5 : 9;
        for (uint32_t i = 0; i < 8; i++) {
            if (losing)
                losing--;
            else if (pass > 30 && random_below(40) == 0)
                losing = (int) random_below(30);
            run_site(kind == 2 ? i + 8 * (i % 2) : i + 8 * kind, rows, (int) (pass % 200), losing > 0);
        }
    }
    cr_assert_eq(passes_flush(stage.passes), 0);
    cr_assert_eq(stage.mixed, 0);
    cr_assert_eq(stage.seq - stage.lost, stage.layers);
    cr_assert_gt(stage.count, 15000);
    cr_assert_lt(stage.count, 20000);
}

Test(passes, a_storm_of_losses_with_context)
{
    storm(true, 20000);
    cr_assert_lt(stage.count, 20000);
    cr_assert_gt(stage.contexts, 10000);
}

/*
 * One kernel makes the slots and shows the sequences, another stores by them, as in vLLM, where the second one was seen
 * first, as the engine warmed up. The first pass has its slots, too; of slots that are others the makers' are the
 * pass's.
 */
Test(passes, slots_that_are_made_and_used)
{
    maker_sites();
    strcpy(stage.sites[60].kernel, "store");
    run_site(60, 5, 7, false);
    run_layers(0, 2, 5, 7);
    for (int i = 0; i < 3; i++) {
        run_site(63, 5, i, false);
        run_starts(62, 5);
        run_site(60, 5, i == 2 ? 99 : i, false);
        run_layers(0, 2, 5, i);
    }
    expect("7:2s 0:2s 1:2s 2:2s ");
    cr_assert_eq(stage.wrong_context, 0);
}

/*
 * A hybrid model's layers store by the slots of their groups in turn, in the midst of the pass; the kernel that makes
 * them runs for each group, and shows the sequences once. A pass of which a group was lost has no slots.
 */
Test(passes, groups_of_a_hybrid_model)
{
    maker_sites();
    strcpy(stage.sites[60].kernel, "store");
    for (int i = 0; i < 5; i++) {
        run_site(63, 5, i, false);
        run_starts(62, 5);
        run_site(63, 5, i + 200, i == 3);
        for (uint32_t layer = 0; layer < 4; layer++) {
            run_site(60, 5, layer % 2 ? i : i + 200, false);
            run_site(layer, 5, i, false);
        }
    }
    expect("0:4s 1:4s 2:4s 3:4 4:4s ");
    cr_assert_eq(stage.groups, 8);
    cr_assert_eq(stage.holes, 1);
}

/* The slots of the first group are lost: those of the second one are not taken for them. */
Test(passes, a_group_that_was_lost_is_no_other)
{
    maker_sites();
    for (int i = 0; i < 5; i++) {
        run_site(63, 5, i, i == 3);
        run_starts(62, 5);
        run_site(63, 5, i + 200, false);
        run_layers(0, 2, 5, i);
    }
    expect("0:2s 1:2s 2:2s 3:2 4:2s ");
    cr_assert_eq(stage.groups, 8);
}

/* The group of layers that keep a state has no slots, and the next one's are the pass's. */
Test(passes, a_group_without_slots)
{
    maker_sites();
    for (int i = 0; i < 5; i++) {
        run_site(63, 5, -1, false);
        run_starts(62, 5);
        run_site(63, 5, i + 200, false);
        run_layers(0, 2, 5, i);
    }
    expect("0:2s 1:2s 2:2s 3:2s 4:2s ");
    cr_assert_eq(stage.wrong_context, 0);
}

/*
 * A batch's arrays of slots come layer by layer: a window's with the first layer, and with the second one those that
 * tell, and what is attended to. Whichever record of a pass is lost, no row gets slots of the window, or of another
 * pass.
 */
Test(passes, arrays_of_slots_that_come_layer_by_layer)
{
    enum { RECORDS = 8, READS = 58, BATCH = 59, SLOTS = 60, POSITIONS = 61, TOKENS = 62 };
    static const uint32_t sites[RECORDS] = {TOKENS, POSITIONS, BATCH, SLOTS, 0, SLOTS, READS, 1};
    for (int lost = -1; lost < RECORDS; lost++) {
        leave();
        enter();
        context_sites();
        stage.sites[READS].kind = MT_SITE_READS;
        stage.sites[BATCH].kind = MT_SITE_BATCH;
        stage.sites[READS].k = stage.sites[BATCH].k = 1;
        for (int i = 0; i < 6; i++) {
            for (int n = 0; n < RECORDS; n++) {
                if (i != 4 || sites[n] != READS) /* of new sequences alone nothing is read */
                    run_site(sites[n], sites[n] == BATCH ? 2 : 5, n == 3 ? i + 100 : i, i == 3 && n == lost);
            }
        }
        cr_assert_eq(passes_flush(stage.passes), 0);
        cr_assert_eq(stage.wrong_context + stage.mixed, 0, "%d: %s", lost, stage.text);
        cr_assert_geq(stage.contexts, lost < 0 ? 6 : 5, "%d: %s", lost, stage.text);
        cr_assert_eq(stage.layers, lost == 4 || lost == 7 ? 11 : 12, "%d: %s", lost, stage.text);
    }
}

/* Of two batches that run at once each has its own array. */
Test(passes, an_array_of_another_stream_does_not_join)
{
    context_sites();
    for (uint32_t i = 50; i < 60; i += 9) {
        stage.sites[i].kind = MT_SITE_BATCH;
        stage.sites[i].k = 1;
    }
    stage.sites[51] = stage.sites[60];
    stage.sites[50].stream = stage.sites[51].stream = 1;
    for (int i = 0; i < 4; i++) {
        run_site(62, 5, i, false);
        run_site(61, 5, i, false);
        run_site(59, 2, i, false);
        run_site(50, 2, i + 100, false);
        run_site(60, 5, i, false);
        run_site(51, 5, i + 100, false);
        run_layers(0, 2, 5, i);
    }
    expect("0:2spt 1:2spt 2:2spt 3:2spt ");
    cr_assert_eq(stage.wrong_context, 0);
}

/* Two streams, each with slots and sequences of its own; the second one's come between the first one's and its routers.
 */
Test(passes, sequences_of_another_stream_are_not_taken)
{
    for (uint32_t stream = 0; stream < 2; stream++) {
        for (uint32_t i = 0; i < 2; i++) {
            struct mt_site *site = &stage.sites[50 + 2 * stream + i];
            site->kind = i ? MT_SITE_STARTS : MT_SITE_SLOTS;
            site->k = 1;
            site->stream = stream;
            strcpy(site->kernel, "make");
            stage.sites[10 * stream + i].stream = stream;
        }
    }
    for (int i = 0; i < 4; i++) {
        run_site(50, 5, i, false);
        run_starts(51, 5);
        run_site(52, 5, i + 100, false);
        run_starts(53, 5);
        run_layers(0, 2, 5, i);
        run_site(52, 5, i + 100, false);
        run_starts(53, 5);
        run_layers(10, 2, 5, i + 100);
    }
    cr_assert_eq(passes_flush(stage.passes), 0);
    cr_assert_eq(stage.wrong_context, 0, "%s", stage.text);
}
