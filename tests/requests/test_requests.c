/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences from a scheduler's trace, against what the scheduler knows: each row is right or missing. */
#include "../../tools/requests/sequences.h"
#include "engine.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct score {
    uint64_t links, known, wrong, rejected, requests, whole, rows, kept, matched, unsure, exact, in_front;
};

static uint32_t steps(void)
{
    const char *text = getenv("MOETAP_TEST_STEPS");
    return text ? (uint32_t) strtoul(text, NULL, 10) : 16000;
}

/* Which of the engine's passes each of the trace's is. */
struct numbers {
    uint32_t *of;
    uint32_t count, room;
};

static int number_pass(uint32_t segment, const struct pass *pass, void *user)
{
    struct numbers *numbers = user;
    (void) segment;
    if (numbers->count == numbers->room) {
        numbers->room = numbers->room ? numbers->room * 2 : 1024;
        numbers->of = realloc(numbers->of, numbers->room * sizeof *numbers->of);
        cr_assert(numbers->of);
    }
    numbers->of[numbers->count++] = (uint32_t) (pass->time_ns / 1000000);
    return 0;
}

/* Of each finished request, by its tokens. */
static void match(struct requests *r, const struct numbers *numbers, const struct engine_truth *truth,
                  struct score *score)
{
    struct request_row *rows = NULL;
    for (uint32_t i = 0; i < truth->finished; i++) {
        uint64_t from = i ? truth->said_to[i - 1] : 0;
        uint32_t count = (uint32_t) (truth->said_to[i] - from);
        rows = realloc(rows, (count + 1) * sizeof *rows);
        cr_assert(rows);
        int known = requests_match(r, truth->said + from, count, rows);
        cr_assert(known >= 0);
        score->matched += (uint32_t) known;
        for (uint32_t j = 0; j < count; j++) {
            if (rows[j].pass == UINT32_MAX)
                continue;
            known--;
            const struct engine_row *t = &truth->rows[truth->first[numbers->of[rows[j].pass]] + rows[j].row];
            if (t->experts != truth->rows[truth->said_rows[from + j]].experts && score->wrong++ < 5)
                fprintf(stderr, "finished %u: position %u, pass %u\n", i, j, rows[j].pass);
        }
        cr_assert_eq(known, 0);
    }
    free(rows);
}

/*
 * Each finished request is there, with exactly the rows that it attended to. Now and then in front of another one,
 * which began in the next pass with all that it had said: that looks like one that goes on. `one_more`: a row more may
 * be behind it.
 */
static void check_finished(struct requests *r, const struct numbers *numbers, const struct engine_truth *truth,
                           bool one_more, struct score *score)
{
    uint32_t *by_row = calloc(truth->row_count + 1u, sizeof *by_row),
             *by_last = calloc(truth->row_count + 1u, sizeof *by_last);
    cr_assert(by_row && by_last);
    struct request_row *rows = NULL;
    for (uint32_t i = 0; i < requests_count(r); i++) {
        const struct request *request = requests_get(r, i);
        uint32_t count = request->tokens - request->first_position;
        rows = realloc(rows, count * sizeof *rows);
        cr_assert(rows);
        requests_rows(r, request, rows);
        for (uint32_t j = 0; j < count; j++) {
            uint32_t row = truth->first[numbers->of[rows[j].pass]] + rows[j].row;
            by_row[row] = i + 1;
            /* Behind its confirmed tokens any may be its last one. */
            const int32_t end = rows[j].position + 1;
            if (end >= (int32_t) request->confirmed ||
                (one_more && !by_last[row] && end + 1 == (int32_t) request->tokens))
                by_last[row] = i + 1;
        }
    }
    for (uint32_t i = 0; i < truth->finished; i++) {
        uint64_t from = i ? truth->said_to[i - 1] : 0, end = truth->said_to[i];
        uint32_t last = truth->said_rows[end - 1], at = by_last[last] ? by_last[last] : by_row[last];
        if (!at)
            continue;
        const struct request *request = requests_get(r, at - 1);
        uint32_t count = request->tokens - request->first_position;
        rows = realloc(rows, count * sizeof *rows);
        cr_assert(rows);
        requests_rows(r, request, rows);
        bool same = request->tokens >= end - from;
        for (uint32_t j = 0; same && j + request->first_position < end - from; j++)
            same = truth->first[numbers->of[rows[j].pass]] + rows[j].row ==
                   truth->said_rows[from + request->first_position + j];
        score->wrong += !same && by_last[last];
        score->exact += same && request->first_position == 0;
        score->in_front += same && !by_last[last];
    }
    free(rows);
    free(by_row);
    free(by_last);
}

/* Of a request that is listed, rows whose experts are not of those that it attended to. */
static uint32_t strange(const struct engine_truth *truth, const struct numbers *numbers, uint32_t finished,
                        const struct request_row *rows, uint32_t count)
{
    uint64_t from = finished ? truth->said_to[finished - 1] : 0;
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct engine_row *t = &truth->rows[truth->first[numbers->of[rows[i].pass]] + rows[i].row];
        wrong += t->experts != truth->rows[truth->said_rows[from + (uint32_t) rows[i].position]].experts;
    }
    return wrong;
}

static bool shows_sequences(const struct engine_options *options)
{
    return options->sequences || options->reads;
}

static void compare(const char *path, const struct engine_options *options, enum requests_rules rules,
                    const struct engine_truth *truth, struct score *score)
{
    struct mt_error error = {""};
    struct trace_reader *reader;
    struct requests **requests;
    struct numbers numbers = {NULL, 0, 0};
    cr_assert_eq(trace_reader_open(path, &reader, &error), 0, "%s", error.text);
    cr_assert_eq(sequences_assemble(reader, 0, rules, &requests, &error), 0, "%s", error.text);
    cr_assert_eq(sequences_passes(reader, number_pass, &numbers, &error), 0, "%s", error.text);
    cr_assert_eq(requests_layers(requests[0]), ENGINE_LAYERS);
    struct requests *r = requests[0];
    uint8_t *seen = calloc(truth->row_count + 1u, 1);
    for (uint32_t i = 0; i < requests_count(r); i++) {
        const struct request *request = requests_get(r, i);
        uint32_t count = request->tokens - request->first_position;
        struct request_row *rows = malloc(count * sizeof *rows);
        cr_assert(rows && seen);
        requests_rows(r, request, rows);
        score->requests++;
        score->unsure += request->tokens - request->confirmed;
        score->whole += request->first_position == 0;
        const struct engine_row *before = NULL;
        for (uint32_t j = 0; j < count; j++) {
            uint32_t row = truth->first[numbers.of[rows[j].pass]] + rows[j].row;
            const struct engine_row *t = &truth->rows[row];
            bool first = j == 0 && request->first_position > 0;
            if (rows[j].position != t->position || (uint32_t) t->position != request->first_position + j ||
                (rows[j].token != t->token && rows[j].token != MT_CONTEXT_OVERFLOW) ||
                (!first && (shows_sequences(options) ? t->said_before != (before ? before->said : 0)
                                                     : t->parent != (before ? before->chain : 0)))) {
                if (score->wrong++ < 5)
                    fprintf(stderr, "request %u: row %u at %d; pass %u\n", i, row, t->position, rows[j].pass);
            }
            score->rejected += t->rejected && (uint32_t) t->position < request->confirmed;
            score->links += !seen[row] && t->position > 0;
            score->known += !seen[row] && t->position > 0 && j > 0;
            seen[row] = 1;
            score->rows += t->ends ? j + 1 : 0;
            score->wrong +=
                t->ends && !shows_sequences(options) ? strange(truth, &numbers, t->ends - 1, rows, j + 1) : 0;
            before = t;
        }
        free(rows);
    }
    /* Where records are lost, another copy may be found of what was lost, that went another way. */
    if (!options->loss || !options->noise)
        match(r, &numbers, truth, score);
    if (shows_sequences(options) && !options->window_alone) /* that cache may have found another copy */
        check_finished(r, &numbers, truth, options->lists, score);
    free(seen);
    free(numbers.of);
    sequences_free(reader, requests);
    trace_reader_close(reader);
}

/* Of a thousand rows of finished requests, how many are at least known, and how many if their tokens are. */
static void run_rules(struct engine_options options, enum requests_rules rules, uint32_t seeds, uint32_t known,
                      uint32_t by_tokens)
{
    char path[] = "/tmp/moetap-requests-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    struct score score = {0};
    struct engine_truth truth;
    uint32_t finished = 0, preempted = 0, hits = 0, rewritten = 0;
    for (uint32_t seed = 1; seed <= seeds; seed++) {
        options.seed = seed;
        options.steps = steps() / seeds;
        engine_run(path, &options, &truth);
        compare(path, &options, rules, &truth, &score);
        finished += truth.finished;
        preempted += truth.preempted;
        hits += truth.hits;
        rewritten += truth.rewritten;
        score.kept += truth.kept;
        engine_truth_free(&truth);
    }
    unlink(path);
    fprintf(stderr,
            "block %u: %llu requests, %llu whole, links %llu, known %.4f, rows %.4f, by tokens %.4f, wrong %llu, "
            "rejected %llu, unsure %llu; %u finished, %u preempted, %u hits, %u rewritten\n",
            options.block, (unsigned long long) score.requests, (unsigned long long) score.whole,
            (unsigned long long) score.links, (double) score.known / (double) score.links,
            (double) score.rows / (double) score.kept, (double) score.matched / (double) score.kept,
            (unsigned long long) score.wrong, (unsigned long long) score.rejected, (unsigned long long) score.unsure,
            finished, preempted, hits, rewritten);
    cr_assert(options.lists == (rewritten > 0));
    /* A block from elsewhere may have held another one behind the same tokens: nothing tells. */
    cr_assert(options.filled ? score.wrong * 300 <= score.requests : score.wrong == 0);
    const bool others = options.lists && options.window; /* lists of other slots show no sequences */
    if (shows_sequences(&options) && !options.loss && !options.window_alone && !options.filled && !others)
        cr_assert(score.exact == finished && score.in_front * 500 <= finished, "%llu, %llu in front of others",
                  (unsigned long long) score.exact, (unsigned long long) score.in_front);
    cr_assert_eq(score.rejected, 0);
    /* With blocks of one slot any block may be taken back, but for lists. */
    if (options.draft || options.block > 1 || (options.lists && !options.loss && !options.window))
        cr_assert(options.draft ? score.unsure > 0 : score.unsure == 0);
    cr_assert_geq(score.rows * 1000, score.kept * known);
    cr_assert_geq(score.matched * 1000, score.kept * by_tokens);
}

static void run(struct engine_options options, uint32_t seeds, uint32_t known, uint32_t by_tokens)
{
    run_rules(options, REQUESTS_AUTO, seeds, known, by_tokens);
}

static const struct engine_options usual = {
    .block = 16, .blocks = 600, .batch = 24, .budget = 128, .prompt_max = 200, .output_max = 100};

TestSuite(requests, .timeout = 7200);
TestSuite(shown, .timeout = 7200);
TestSuite(reads, .timeout = 7200);

Test(requests, continuous_batching)
{
    run(usual, 4, 800, 999);
}

Test(requests, holes_are_filled)
{
    struct engine_options o = usual;
    o.fill_holes = true;
    run(o, 4, 800, 999);
}

Test(requests, prompts_apart)
{
    struct engine_options o = usual;
    o.apart = true;
    o.budget = 1000;
    run(o, 4, 750, 999);
}

Test(requests, prefix_hits)
{
    struct engine_options o = usual;
    o.prefix_cache = o.turns = true;
    run(o, 4, 30, 999);
}

Test(requests, prefix_hits_apart)
{
    struct engine_options o = usual;
    o.prefix_cache = o.turns = o.apart = o.fill_holes = true;
    run(o, 4, 30, 999);
}

Test(requests, preemption_and_slots_used_again)
{
    struct engine_options o = usual;
    o.blocks = 120;
    o.prefix_cache = o.turns = true;
    run(o, 4, 80, 999);
}

Test(requests, rejected_draft_tokens)
{
    struct engine_options o = usual;
    o.draft = 3;
    run(o, 4, 400, 999);
}

/* A draft model of the same E and k adds no layer and no row, wherever its layer stands in the numbering. */
Test(requests, draft_model)
{
    struct engine_options o = usual;
    o.draft = 2;
    o.draft_runs = 2;
    run(o, 2, 400, 999);
    o.draft = 0;
    o.draft_first = true;
    o.loss = 500;
    run(o, 2, 400, 700);
}

Test(requests, rejected_draft_tokens_and_prefix_hits)
{
    struct engine_options o = usual;
    o.draft = 1;
    o.blocks = 200;
    o.prefix_cache = o.turns = true;
    run(o, 4, 50, 999);
}

Test(requests, losses)
{
    struct engine_options o = usual;
    o.loss = 500;
    o.fill_holes = true;
    run(o, 4, 500, 750);
}

Test(requests, losses_with_everything)
{
    struct engine_options o = usual;
    o.loss = 1000;
    o.prefix_cache = o.turns = true;
    o.draft = 2;
    o.blocks = 200;
    run(o, 4, 20, 50);
}

Test(requests, small_blocks)
{
    struct engine_options o = usual;
    o.block = 4;
    o.blocks = 1200;
    o.prefix_cache = o.turns = true;
    run(o, 4, 10, 999);
}

/* Blocks that hold the same tokens behind different ones, rows that go another way in another batch. */
Test(requests, few_words)
{
    struct engine_options o = usual;
    o.block = 4;
    o.blocks = 1200;
    o.prefix_cache = o.turns = o.fill_holes = true;
    o.words = 2;
    o.noise = 1000;
    run(o, 4, 10, 300);
}

Test(requests, few_words_and_preemption)
{
    struct engine_options o = usual;
    o.blocks = 120;
    o.draft = 1;
    o.prefix_cache = o.turns = true;
    o.words = 2;
    o.noise = 300;
    run(o, 4, 30, 900);
}

Test(requests, slots_one_by_one)
{
    struct engine_options o = usual;
    o.block = 1;
    o.blocks = 8000;
    o.batch = 8;
    o.apart = true;
    o.budget = 1000;
    run(o, 4, 50, 999);
}

/* With the engine's own sequences and block tables nothing is left to find out: all is known, but what was lost. */
static void run_shown(struct engine_options o)
{
    o.sequences = true;
    run(o, 4, 1000, 1000);
}

Test(shown, continuous_batching)
{
    run_shown(usual);
}

Test(shown, prefix_hits)
{
    struct engine_options o = usual;
    o.prefix_cache = o.turns = true;
    run_shown(o);
    o.apart = o.fill_holes = true;
    run_shown(o);
}

Test(shown, preemption)
{
    struct engine_options o = usual;
    o.blocks = 120;
    o.prefix_cache = o.turns = true;
    run_shown(o);
}

Test(shown, drafts)
{
    struct engine_options o = usual;
    o.draft = 3;
    run_shown(o);
    o.draft = 1;
    o.blocks = 200;
    o.prefix_cache = o.turns = true;
    run_shown(o);
}

Test(shown, draft_model)
{
    struct engine_options o = usual;
    o.draft = 3;
    o.draft_runs = 3;
    run_shown(o);
}

Test(shown, small_blocks)
{
    struct engine_options o = usual;
    o.block = 4;
    o.blocks = 1200;
    o.prefix_cache = o.turns = true;
    run_shown(o);
}

/* The slots that a pass attends to tell the same. */
static void run_reads(struct engine_options o, uint32_t listed)
{
    o.reads = true;
    run(o, 4, listed, listed);
}

Test(reads, continuous_batching)
{
    struct engine_options o = usual;
    run_reads(o, 1000);
    o.apart = true;
    run_reads(o, 1000);
}

Test(reads, prefix_hits_and_preemption)
{
    struct engine_options o = usual;
    o.prefix_cache = o.turns = o.fill_holes = true;
    run_reads(o, 1000);
    o.blocks = 120;
    run_reads(o, 1000);
}

Test(reads, few_words_and_noise)
{
    struct engine_options o = usual;
    o.block = 4;
    o.blocks = 1200;
    o.prefix_cache = o.turns = o.fill_holes = o.reads = true;
    o.words = 2;
    o.noise = 300;
    run(o, 4, 1000, 800);
}

Test(reads, losses)
{
    struct engine_options o = usual;
    o.loss = 1000;
    o.prefix_cache = o.turns = o.reads = true;
    o.draft = 2;
    o.blocks = 200;
    run(o, 4, 300, 50);
}

/* Layers in two groups, of which the one that is shown first lets go of what is ahead of its window. */
Test(shown, windows)
{
    struct engine_options o = usual;
    o.window = 40;
    run_shown(o);
    o.prefix_cache = o.turns = true;
    run_shown(o);
    o.blocks = 120;
    run_shown(o);
    o.draft = 2;
    run_shown(o);
}

/* Nothing but what is in the window is shown of a prefix that was found: what lies ahead is missing. */
Test(shown, windows_alone)
{
    struct engine_options o = usual;
    o.window = 40;
    o.window_alone = o.sequences = true;
    run(o, 4, 900, 900);
    o.prefix_cache = o.turns = true;
    run(o, 4, 300, 300);
    o.blocks = 120;
    run(o, 4, 300, 300);
}

/* Of blocks that come from elsewhere no pass tells; what they held before is seldom taken for their rows. */
Test(shown, blocks_from_elsewhere)
{
    struct engine_options o = usual;
    o.prefix_cache = o.turns = o.sequences = true;
    o.filled = 10;
    run(o, 4, 900, 850);
    o.blocks = 120;
    run(o, 4, 900, 850);
}

/* As SGLang lists its slots. Noise: rows that are twice in the cache are not the same. */
Test(shown, lists)
{
    struct engine_options o = usual;
    o.block = 1;
    o.batch = 8;
    o.blocks = 4000;
    o.prefix_cache = o.turns = o.apart = o.lists = true;
    o.words = 50;
    o.noise = 100;
    o.sequences = true;
    run(o, 4, 1000, 800);
    o.blocks = 600;
    o.fill_holes = true;
    run(o, 4, 1000, 750);
    o.loss = 1000;
    run(o, 4, 550, 0);
}

Test(shown, lists_of_pages)
{
    struct engine_options o = usual;
    o.batch = 8;
    o.blocks = 50;
    o.prefix_cache = o.turns = o.lists = o.sequences = true; /* prompts and decoding in one pass */
    o.words = 50;
    o.noise = 100;
    run(o, 2, 1000, 800);
    o.apart = true;
    run(o, 2, 1000, 800);
}

/* The layers whose slots are shown attend to a window, and have slots of their own: the lists are not about these. */
Test(shown, lists_of_other_slots)
{
    struct engine_options o = usual;
    o.block = 1;
    o.batch = 8;
    o.blocks = 600;
    o.window = 100;
    o.prefix_cache = o.turns = o.apart = o.lists = o.sequences = true;
    o.words = 50;
    o.noise = 100;
    run(o, 1, 0, 0);
}

/* The same tokens twice in the cache, routed in two ways: which of them a request found, its table says. */
Test(shown, few_words_and_noise)
{
    struct engine_options o = usual;
    o.block = 4;
    o.blocks = 1200;
    o.prefix_cache = o.turns = o.fill_holes = o.sequences = true;
    o.words = 2;
    o.noise = 300;
    run(o, 4, 1000, 800);
}

Test(shown, losses)
{
    struct engine_options o = usual;
    o.loss = 1000;
    o.prefix_cache = o.turns = o.sequences = true;
    o.draft = 2;
    o.blocks = 200;
    run(o, 4, 300, 50);
}
