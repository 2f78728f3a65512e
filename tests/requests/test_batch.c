/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of sequences with as many rows each, made by hand: passes of one layer. A token says whose row it is. */
#include "../../tools/requests/requests.h"

#include <criterion/criterion.h>
#include <string.h>

#define ROWS_MAX 32u
#define PAD 7

struct made_pass {
    uint32_t batch, rows;
    uint64_t before, after;
    int32_t positions[ROWS_MAX], tokens[ROWS_MAX], slots[ROWS_MAX];
    const int32_t *order;
    bool slotted, lost;
};

static struct made_pass made[16];
static uint32_t made_count;
static const struct mt_site site = {.layer = 0, .experts = 256, .k = 1, .recipe = "r"};

static struct made_pass *next_pass(uint32_t batch, uint64_t before, uint64_t after)
{
    struct made_pass *pass = &made[made_count++];
    memset(pass, 0, sizeof *pass);
    pass->batch = batch;
    pass->before = before;
    pass->after = after;
    return pass;
}

/* The next sequence of the batch: padding, and so many rows from `position` on. */
static void line(struct made_pass *pass, uint32_t padding, int32_t position, uint32_t count, int32_t token)
{
    for (uint32_t i = 0; i < padding + count; i++) {
        pass->positions[pass->rows] = i < padding ? 0 : position + (int32_t) (i - padding);
        pass->tokens[pass->rows] = i < padding ? PAD : token == PAD ? PAD : token + (int32_t) (i - padding);
        pass->rows++;
    }
}

static void feed(struct requests *r, int (*take)(struct requests *, const struct pass *))
{
    for (uint32_t i = 0; i < made_count; i++) {
        const struct made_pass *m = &made[i];
        struct pass_layer layer = {.layer = 0, .site = 0, .rows = m->rows, .k = 1, .ids = m->tokens};
        struct pass pass = {.time_ns = i * 1000, .layers = &layer, .layer_count = 1, .rows = m->lost ? 0 : m->rows};
        if (!m->lost) {
            pass.positions = m->positions;
            pass.tokens = m->tokens;
            pass.slots = m->slotted ? m->slots : NULL;
            pass.groups[0].slots = pass.slots;
            pass.group_count = m->slotted;
            pass.batch = m->batch;
            pass.cache_before = m->before;
            pass.cache_after = m->after;
            pass.order = m->order;
        }
        cr_assert_eq(take(r, &pass), 0);
    }
}

static struct requests *link_rows(void)
{
    struct requests *r = requests_new(&site, 1, 0, REQUESTS_AUTO);
    cr_assert(r);
    feed(r, requests_survey);
    cr_assert_eq(requests_surveyed(r), 0);
    feed(r, requests_add);
    cr_assert_eq(requests_end(r), 0);
    return r;
}

/* The request that ends with this token is there, with its tokens and those of them whose rows are known. */
static void is_listed(const struct requests *r, int32_t last, uint32_t tokens, uint32_t first_position)
{
    for (uint32_t i = 0; i < requests_count(r); i++) {
        const struct request *request = requests_get(r, i);
        struct request_row rows[ROWS_MAX];
        requests_rows(r, request, rows);
        const uint32_t count = request->tokens - request->first_position;
        if (rows[count - 1].token != last)
            continue;
        cr_assert_eq(request->tokens, tokens, "%d: %u tokens", last, request->tokens);
        cr_assert_eq(request->first_position, first_position, "%d: from %u", last, request->first_position);
        for (uint32_t j = 0; j < count; j++)
            cr_assert_eq(rows[j].token / 100, last / 100, "%d: row %u is of %d", last, j, rows[j].token);
        return;
    }
    cr_assert_fail("%d is not listed", last);
}

static void enter(void)
{
    made_count = 0;
}

TestSuite(batch, .init = enter, .timeout = 30);

Test(batch, each_sequence_keeps_its_place)
{
    struct made_pass *pass = next_pass(3, 0, 1000);
    line(pass, 2, 0, 2, 100);
    line(pass, 0, 0, 4, 200);
    line(pass, 3, 0, 1, 300);
    for (int32_t i = 0; i < 2; i++) {
        pass = next_pass(3, 1000 + (uint64_t) i, 1001 + (uint64_t) i);
        line(pass, 0, 2 + i, 1, 102 + i);
        line(pass, 0, 4 + i, 1, 204 + i);
        line(pass, 0, 1 + i, 1, 301 + i);
    }
    struct requests *r = link_rows();
    cr_assert(requests_batches(r));
    cr_assert_eq(requests_count(r), 3);
    is_listed(r, 103, 4, 0);
    is_listed(r, 205, 6, 0);
    is_listed(r, 302, 3, 0);
    cr_assert_eq(requests_blind_rows(r), 0);
    requests_free(r);
}

/* In one place of memory, one batch after another. */
Test(batch, another_batch_begins_anew)
{
    for (int32_t i = 0; i < 2; i++) {
        struct made_pass *pass = next_pass(2, 1000, 1000);
        line(pass, 0, 0, 2, 100 + i * 1000);
        line(pass, 1, 0, 1, 200 + i * 1000);
        pass = next_pass(2, 1000, 1000);
        line(pass, 0, 2, 1, 102 + i * 1000);
        line(pass, 0, 1, 1, 201 + i * 1000);
    }
    struct requests *r = link_rows();
    cr_assert_eq(requests_count(r), 4);
    for (int32_t i = 0; i < 2; i++) {
        is_listed(r, 102 + i * 1000, 3, 0);
        is_listed(r, 201 + i * 1000, 2, 0);
    }
    requests_free(r);
}

/* Beams: one is gone, two go on from another, and what they have in front of them is the same. Who is gone is listed,
 * too. */
Test(batch, each_beam_goes_on_from_the_place_it_had)
{
    static const int32_t order[] = {1, 2, 1}, nonsense[] = {0, 3, -1};
    struct made_pass *pass = next_pass(3, 0, 1000);
    for (int32_t i = 1; i <= 3; i++)
        line(pass, 0, 0, 2, i * 100);
    pass = next_pass(3, 1000, 2000);
    pass->order = order;
    line(pass, 0, 2, 1, 202);
    line(pass, 0, 2, 1, 302);
    line(pass, 0, 2, 1, 203);
    pass = next_pass(3, 2000, 3000);
    pass->order = nonsense;
    for (int32_t i = 1; i <= 3; i++)
        line(pass, 0, 3, 1, i == 1 ? 204 : i * 1000);
    struct requests *r = link_rows();
    cr_assert_eq(requests_count(r), 6);
    is_listed(r, 101, 2, 0);
    is_listed(r, 204, 4, 0);
    is_listed(r, 302, 3, 0);
    is_listed(r, 203, 3, 0);
    is_listed(r, 2000, 4, 3);
    is_listed(r, 3000, 4, 3);
    requests_free(r);
}

/* The prompt is run by kernels that show rows, what comes behind it in graphs of compiled ones. */
Test(batch, a_compiled_model_goes_on_unseen)
{
    static const struct mt_site graph[] = {{.layer = 0, .experts = 256, .k = 1, .recipe = "r"},
                                           {.layer = 0, .experts = 256, .k = 1, .recipe = "r", .flags = MT_SITE_GRAPH}};
    struct made_pass *pass = next_pass(1, 0, 1000);
    line(pass, 0, 0, 2, 100);
    struct requests *r = requests_new(graph, 2, 0, REQUESTS_AUTO);
    const int32_t chosen[] = {3};
    const struct pass_layer layer = {.layer = 0, .site = 1, .rows = 1, .k = 1, .ids = chosen};
    const struct pass replay = {.layers = &layer, .layer_count = 1};
    feed(r, requests_survey);
    cr_assert_eq(requests_survey(r, &replay), 0);
    cr_assert_eq(requests_surveyed(r), 0);
    feed(r, requests_add);
    cr_assert_eq(requests_add(r, &replay), 0);
    cr_assert_eq(requests_end(r), 0);
    is_listed(r, 101, 2, 0);
    cr_assert_eq(requests_blind_rows(r), 1);
    cr_assert_eq(requests_blind_graph_rows(r), 1);
    requests_free(r);
}

/* Other conversations, a pass that was lost: their cache is not the one that was left. */
Test(batch, another_cache_is_not_followed)
{
    static const struct made_pass others[] = {{.batch = 2, .before = 2000, .after = 3000},
                                              {.batch = 1, .before = 1000, .after = 3000}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        enter();
        struct made_pass *pass = next_pass(2, 0, 1000);
        line(pass, 0, 0, 2, 100);
        line(pass, 0, 0, 2, 200);
        pass = next_pass(others[i].batch, others[i].before, others[i].after);
        for (uint32_t n = 0; n < pass->batch; n++)
            line(pass, 0, 2, 1, 300 + 100 * (int32_t) n);
        struct requests *r = link_rows();
        cr_assert_eq(requests_count(r), 2 + others[i].batch);
        is_listed(r, 101, 2, 0);
        is_listed(r, 201, 2, 0);
        is_listed(r, 300, 3, 2);
        requests_free(r);
    }
}

Test(batch, a_lost_pass_is_missing)
{
    struct made_pass *pass = next_pass(1, 0, 1000);
    line(pass, 0, 0, 2, 100);
    pass = next_pass(1, 1000, 2000);
    line(pass, 0, 2, 1, 102);
    pass->lost = true;
    pass = next_pass(1, 2000, 3000);
    line(pass, 0, 3, 1, 203);
    struct requests *r = link_rows();
    is_listed(r, 101, 2, 0);
    is_listed(r, 203, 4, 3);
    cr_assert_eq(requests_blind_rows(r), 1);
    requests_free(r);
}

/* Who is done before others gets padding: those rows are listed as unsure. */
Test(batch, padding_behind_the_end_is_unsure)
{
    struct made_pass *pass = next_pass(2, 0, 1000);
    line(pass, 1, 0, 2, 100);
    line(pass, 0, 0, 3, 200);
    for (int32_t i = 0; i < 2; i++) {
        pass = next_pass(2, 1000, 1000);
        line(pass, 0, 2 + i, 1, PAD);
        line(pass, 0, 3 + i, 1, 203 + i);
    }
    struct requests *r = link_rows();
    cr_assert_eq(requests_count(r), 2);
    uint32_t unsure = 0;
    for (uint32_t i = 0; i < 2; i++)
        unsure += requests_get(r, i)->tokens - requests_get(r, i)->confirmed;
    cr_assert_eq(unsure, 2);
    is_listed(r, 204, 5, 0);
    requests_free(r);
}

/* A prompt in parts: the first part of a short one is all padding, which looks like a prompt of one token. */
Test(batch, a_prompt_in_parts)
{
    struct made_pass *pass = next_pass(2, 0, 1000);
    line(pass, 3, 0, 0, 0);
    line(pass, 0, 0, 3, 200);
    pass = next_pass(2, 1000, 2000);
    line(pass, 1, 0, 2, 100);
    line(pass, 0, 3, 3, 203);
    struct requests *r = link_rows();
    cr_assert_eq(requests_count(r), 2);
    is_listed(r, 101, 2, 0);
    is_listed(r, 205, 6, 0);
    requests_free(r);
}

/* Several sequences behind each other in what looks like one; no cache is shown; slots tell more. */
Test(batch, what_is_no_batch)
{
    struct made_pass *pass = next_pass(1, 0, 1000);
    line(pass, 0, 0, 3, 100);
    line(pass, 0, 0, 2, 200);
    pass = next_pass(1, 0, 0);
    line(pass, 0, 0, 3, 100);
    struct requests *r = link_rows();
    cr_assert_eq(requests_count(r), 0);
    cr_assert_eq(requests_blind_rows(r), 8);
    requests_free(r);

    enter();
    pass = next_pass(1, 1000, 1000);
    line(pass, 0, 0, 3, 100);
    pass = next_pass(1, 1000, 1000);
    line(pass, 0, 0, 2, 200);
    pass->slotted = true;
    for (int32_t i = 0; i < 2; i++)
        pass->slots[i] = i;
    r = link_rows();
    cr_assert(!requests_batches(r));
    cr_assert_eq(requests_count(r), 1);
    is_listed(r, 201, 2, 0);
    cr_assert_eq(requests_blind_rows(r), 3);
    requests_free(r);
}
