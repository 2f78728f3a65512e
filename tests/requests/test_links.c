/* SPDX-License-Identifier: Apache-2.0 */
/* Single cases of what may be linked, made by hand: passes of one layer, blocks of four slots. */
#include "../../tools/requests/requests.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define ROWS_MAX 64u
#define BLOCK 4

struct made_pass {
    uint32_t rows;
    int32_t slots[ROWS_MAX], positions[ROWS_MAX], tokens[ROWS_MAX], experts[ROWS_MAX];
    bool hidden, bare, state;        /* layers that keep a state: a group ahead whose slots are all -1 */
    uint32_t sequences, block_words; /* as the engine shows them; 0: not at all */
    int32_t starts[ROWS_MAX + 1], blocks[ROWS_MAX];
};

static struct made_pass made[32];
static uint32_t made_count;
static const struct mt_site site = {.layer = 0, .experts = 256, .k = 1, .recipe = "r"};

static struct made_pass *next_pass(void)
{
    struct made_pass *pass = &made[made_count++];
    memset(pass, 0, sizeof *pass);
    return pass;
}

/* Rows of one sequence whose block at `position` is `block`; tokens from `token` on, experts the same but for `odd`. */
static void rows(struct made_pass *pass, int32_t block, int32_t position, uint32_t count, int32_t token, int32_t odd)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = pass->rows++;
        pass->positions[at] = position + (int32_t) i;
        pass->slots[at] = block * BLOCK + position % BLOCK + (int32_t) i;
        pass->tokens[at] = token + (int32_t) i;
        pass->experts[at] = (token + (int32_t) i + odd) % 256;
    }
}

static int feed(struct requests *r, int (*take)(struct requests *, const struct pass *))
{
    int result = 0;
    int32_t none[ROWS_MAX];
    memset(none, 0xff, sizeof none);
    for (uint32_t i = 0; !result && i < made_count; i++) {
        const struct made_pass *m = &made[i];
        struct pass_layer layer = {.layer = 0, .site = 0, .rows = m->rows, .k = 1, .ids = m->experts};
        struct pass pass = {
            .time_ns = i * 1000, .layers = &layer, .layer_count = 1, .bare = m->bare, .rows = m->hidden ? 0 : m->rows};
        if (!m->hidden) {
            pass.slots = m->slots;
            pass.positions = m->positions;
            pass.tokens = m->tokens;
            pass.starts = m->sequences ? m->starts : NULL;
            pass.sequences = m->sequences;
            if (m->state)
                pass.groups[pass.group_count++] = (struct pass_group){.slots = none};
            pass.groups[pass.group_count++] = (struct pass_group){
                .slots = m->slots, .blocks = m->block_words ? m->blocks : NULL, .block_words = m->block_words};
        }
        result = take(r, &pass);
    }
    return result;
}

static struct requests *link_rows(enum requests_rules rules)
{
    struct requests *r = requests_new(&site, 1, BLOCK, rules);
    cr_assert(r);
    cr_assert_eq(feed(r, requests_survey), 0);
    cr_assert_eq(requests_surveyed(r), 0);
    cr_assert_eq(feed(r, requests_add), 0);
    cr_assert_eq(requests_end(r), 0);
    return r;
}

/* Where the rows begin that are known of the request which ends with this token. */
static uint32_t known_from(struct requests *r, int32_t token)
{
    uint32_t from = UINT32_MAX;
    for (uint32_t i = 0; i < requests_count(r); i++) {
        const struct request *request = requests_get(r, i);
        struct request_row all[ROWS_MAX];
        requests_rows(r, request, all);
        if (all[request->tokens - request->first_position - 1].token == token)
            from = request->first_position;
    }
    return from;
}

static void enter(void)
{
    made_count = 0;
}

TestSuite(links, .init = enter, .timeout = 30);

/* One ends with a block, and one that finds other blocks in the cache begins there in its place: no rule can tell. */
Test(links, one_in_the_place_of_another)
{
    rows(next_pass(), 1, 0, 4, 10, 0);
    struct made_pass *both = next_pass();
    rows(both, 2, 0, 3, 20, 0);
    rows(next_pass(), 2, 3, 1, 23, 0);
    rows(next_pass(), 3, 4, 1, 30, 0); /* behind 13 or behind 23 */
    struct requests *r = link_rows(REQUESTS_PROVEN);
    cr_assert_eq(known_from(r, 30), 4);
    cr_assert_eq(known_from(r, 23), 0);
    requests_free(r);
}

Test(links, the_only_block_that_can_be_ahead)
{
    rows(next_pass(), 1, 0, 4, 10, 0);
    rows(next_pass(), 2, 0, 2, 20, 0);
    rows(next_pass(), 3, 4, 1, 30, 0);
    rows(next_pass(), 4, 4, 2, 40, 0);
    struct requests *r = link_rows(REQUESTS_PROVEN);
    cr_assert_eq(known_from(r, 30), 0);
    cr_assert_eq(known_from(r, 41), 0);
    requests_free(r);
}

Test(links, a_group_without_slots)
{
    for (int32_t i = 0; i < 3; i++) {
        struct made_pass *pass = next_pass();
        rows(pass, 1, i, 1, 10 + i, 0);
        pass->state = true;
    }
    struct requests *r = link_rows(REQUESTS_PROVEN);
    cr_assert_eq(requests_count(r), 1);
    cr_assert_eq(known_from(r, 12), 0);
    requests_free(r);
}

/* The other block is taken while the request still runs: it was not its. */
Test(links, a_block_that_is_taken_is_nobodys)
{
    rows(next_pass(), 1, 0, 4, 10, 0);
    rows(next_pass(), 2, 0, 4, 20, 0);
    rows(next_pass(), 3, 4, 1, 30, 0);
    struct made_pass *pass = next_pass();
    rows(pass, 3, 5, 1, 31, 0);
    rows(pass, 1, 0, 1, 50, 0);
    struct requests *r = link_rows(REQUESTS_PROVEN);
    cr_assert_eq(known_from(r, 31), 0);
    struct request_row found[6];
    const int32_t tokens[] = {20, 21, 22, 23, 30, 31};
    cr_assert_eq(requests_match(r, tokens, 6, found), 6);
    cr_assert_eq(found[0].pass, 1);
    requests_free(r);
}

/* In the same pass as the request's last row it may be taken: no, but behind it it may. */
Test(links, a_block_that_is_taken_later_may_have_been_its)
{
    rows(next_pass(), 1, 0, 4, 10, 0);
    rows(next_pass(), 2, 0, 4, 20, 0);
    rows(next_pass(), 3, 4, 2, 30, 0);
    rows(next_pass(), 1, 0, 1, 50, 0);
    struct requests *r = link_rows(REQUESTS_PROVEN);
    cr_assert_eq(known_from(r, 31), 4);
    requests_free(r);
}

/* Two blocks with the same tokens: the same if their experts are, too. */
Test(links, copies)
{
    for (int32_t odd = 0; odd < 2; odd++) {
        made_count = 0;
        rows(next_pass(), 1, 0, 4, 10, 0);
        rows(next_pass(), 2, 0, 4, 10, odd);
        rows(next_pass(), 3, 4, 1, 30, 0);
        struct requests *r = link_rows(REQUESTS_PROVEN);
        cr_assert_eq(known_from(r, 30), odd ? 4 : 0);
        struct request_row found[5];
        const int32_t tokens[] = {10, 11, 12, 13, 30};
        cr_assert_eq(requests_match(r, tokens, 5, found), odd ? 1 : 5);
        requests_free(r);
    }
}

/* What was ahead of a cached block for the one that wrote it is not what is ahead of it for the one that found it. */
Test(links, another_copy_two_blocks_ahead)
{
    rows(next_pass(), 1, 0, 4, 10, 0);
    rows(next_pass(), 2, 4, 4, 14, 0);
    rows(next_pass(), 1, 0, 1, 50, 0); /* the first block is taken, */
    rows(next_pass(), 3, 0, 4, 10, 1); /* and computed again */
    rows(next_pass(), 4, 8, 1, 60, 0); /* finds 3 and 2 */
    struct requests *r = link_rows(REQUESTS_PROVEN);
    cr_assert_eq(known_from(r, 60), 4);
    struct request_row found[9];
    const int32_t tokens[] = {10, 11, 12, 13, 14, 15, 16, 17, 60};
    cr_assert_eq(requests_match(r, tokens, 9, found), 9);
    cr_assert_eq(found[0].pass, 3);
    cr_assert_eq(found[4].pass, 1);
    requests_free(r);
}

Test(links, a_cache_that_is_filled_from_elsewhere)
{
    rows(next_pass(), 1, 0, 4, 10, 0);
    rows(next_pass(), 3, 4, 1, 30, 0);
    rows(next_pass(), 5, 6, 1, 40, 0); /* nobody wrote positions 4 and 5 of its block */
    struct requests *r = link_rows(REQUESTS_AUTO);
    cr_assert(requests_foreign(r));
    cr_assert_eq(known_from(r, 30), 4);
    requests_free(r);
}

Test(links, passes_that_show_nothing)
{
    for (int late = 0; late < 2; late++) {
        made_count = 0;
        struct made_pass *warm_up = next_pass();
        rows(warm_up, 0, 0, 4, 0, 0);
        warm_up->hidden = true;
        warm_up->bare = !late;
        rows(next_pass(), 1, 0, 4, 10, 0);
        rows(next_pass(), 3, 4, 1, 30, 0);
        struct requests *r = link_rows(REQUESTS_PROVEN);
        cr_assert_eq(known_from(r, 30), late ? 4 : 0);
        requests_free(r);
    }
}

Test(links, a_hit_makes_links_proven)
{
    for (int hit = 0; hit < 2; hit++) {
        made_count = 0;
        rows(next_pass(), 1, 0, 4, 10, 0);
        rows(next_pass(), 2, 4, 1, 14, 0);
        if (hit)
            rows(next_pass(), 3, 4, 2, 30, 0);
        struct requests *r = link_rows(REQUESTS_AUTO);
        cr_assert_eq(requests_proven(r), hit);
        cr_assert(!requests_foreign(r));
        requests_free(r);
    }
}

/* All rows of a pass are one sequence, ahead of which the engine shows `count` blocks. */
static void show_blocks(struct made_pass *pass, uint32_t count, const int32_t *blocks)
{
    pass->sequences = 1;
    pass->starts[1] = (int32_t) pass->rows;
    pass->blocks[pass->block_words++] = BLOCK;
    if (!count)
        return;
    pass->blocks[pass->block_words++] = 0;
    pass->blocks[pass->block_words++] = (int32_t) count;
    for (uint32_t i = 0; i < count; i++)
        pass->blocks[pass->block_words++] = blocks[i];
}

/*
 * What is ahead of a window is given back and taken by others, while the table goes on to name it; or a block is filled
 * from elsewhere. That it holds the same position says nothing: the tokens are others. If it is the one ahead of the
 * last, that may be another's, too.
 */
Test(links, block_that_was_given_back)
{
    static const uint32_t expected[] = {0, 4, 12};
    for (int32_t taken = 0; taken < 3; taken++) {
        made_count = 0;
        struct made_pass *pass = next_pass();
        for (int32_t i = 0; i < 3; i++)
            rows(pass, 1 + i, 4 * i, 4, 10 + 4 * i, 0);
        show_blocks(pass, 0, NULL);
        pass = next_pass();
        rows(pass, taken ? taken : 5, taken ? 4 * (taken - 1) : 0, 4, 50, 0);
        pass->sequences = 1;
        pass->starts[1] = 4;
        pass = next_pass();
        rows(pass, 4, 12, 1, 22, 0);
        show_blocks(pass, 3, (int32_t[]){1, 2, 3});
        struct requests *r = link_rows(REQUESTS_PROVEN);
        cr_assert_eq(known_from(r, 22), expected[taken]);
        requests_free(r);
    }
}

/* Padded rows that are all sent to one slot. */
Test(links, padding)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct made_pass *pass = next_pass();
        rows(pass, 2, (int32_t) i, 1, 10 + (int32_t) i, 0);
        rows(pass, 0, 0, 1, 0, 0);
        if (i == 2)
            rows(pass, 0, 0, 1, 0, 0);
    }
    struct requests *r = link_rows(REQUESTS_AUTO);
    cr_assert_eq(requests_count(r), 1);
    cr_assert_eq(known_from(r, 12), 0);
    requests_free(r);
}

Test(links, what_is_refused)
{
    rows(next_pass(), 1, 0, 4, 10, 0);
    struct requests *r = requests_new(&site, 1, 3, REQUESTS_AUTO);
    cr_assert(r);
    cr_assert_eq(feed(r, requests_survey), 0);
    cr_assert_eq(requests_surveyed(r), -EDOM);
    requests_free(r);
    for (int i = 0; i < 2; i++) {
        made[0].slots[2] = i ? 6 : INT32_MAX;
        made[0].positions[2] = i ? INT32_MAX : 2;
        r = requests_new(&site, 1, BLOCK, REQUESTS_AUTO);
        cr_assert(r);
        cr_assert_eq(feed(r, requests_survey), -ERANGE);
        requests_free(r);
    }
}

static uint32_t below(uint32_t n)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t) (state >> 33) % n;
}

/* What no engine would show: nothing is written or read where it should not be. */
static void any_sequences(struct made_pass *pass, uint32_t block)
{
    while (pass->starts[pass->sequences] < (int32_t) pass->rows) {
        int32_t next = pass->starts[pass->sequences] + (int32_t) below(4);
        pass->starts[++pass->sequences] = next < (int32_t) pass->rows ? next : (int32_t) pass->rows;
        if (pass->sequences == ROWS_MAX - 1)
            pass->starts[++pass->sequences] = (int32_t) pass->rows;
    }
    pass->block_words = below(3) ? 1 + below(24) : 0;
    pass->blocks[0] = (int32_t) (below(8) ? block : below(40));
    for (uint32_t i = 1; i < pass->block_words; i++)
        pass->blocks[i] = (int32_t) below(12) - (below(30) == 0) * 1000;
}

/* A trace is a file from anywhere: rows that no engine writes make no sense, and no harm. */
static void any_rows(bool shown)
{
    for (uint32_t round = 0; round < 3000; round++) {
        made_count = 0;
        uint32_t places = 1 + below(40), block = round % 3 ? BLOCK : 1;
        for (uint32_t i = 0; i < 20; i++) {
            struct made_pass *pass = next_pass();
            pass->rows = 1 + below(12);
            pass->hidden = below(30) == 0;
            for (uint32_t j = 0; j < pass->rows; j++) {
                uint32_t slot = below(places);
                pass->slots[j] = (int32_t) slot - (below(20) == 0) * 50;
                pass->positions[j] = (int32_t) (slot % block + block * below(4));
                pass->tokens[j] = (int32_t) below(2);
                pass->experts[j] = (int32_t) below(2);
            }
            if (shown && below(10))
                any_sequences(pass, block);
        }
        struct requests *r = requests_new(&site, 1, 0, (enum requests_rules)(round % 3));
        cr_assert(r);
        cr_assert_eq(feed(r, requests_survey), 0);
        cr_assert_eq(requests_surveyed(r), 0);
        cr_assert_eq(feed(r, requests_add), 0);
        cr_assert_eq(requests_end(r), 0);
        for (uint32_t i = 0; i < requests_count(r); i++) {
            const struct request *request = requests_get(r, i);
            struct request_row all[ROWS_MAX];
            cr_assert_leq(request->first_position, request->confirmed);
            cr_assert_leq(request->confirmed, request->tokens);
            requests_rows(r, request, all);
            for (uint32_t j = 0; j < request->tokens - request->first_position; j++)
                cr_assert_eq(all[j].position, request->first_position + j);
        }
        int32_t tokens[12];
        struct request_row found[12];
        for (uint32_t i = 0; i < 12; i++)
            tokens[i] = (int32_t) below(2);
        int known = requests_match(r, tokens, 12, found);
        cr_assert(known >= 0 && known <= 12);
        requests_free(r);
    }
}

Test(links, any_rows)
{
    any_rows(false);
}

Test(links, any_sequences)
{
    any_rows(true);
}
