/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write_samples TRACE EXPERTS [shared|gap]: a small rollout as a trace, and on stdout, as JSON, the samples as a
 * trainer has them. shared: routers append the id of a fused shared expert. gap: one record of a router is lost.
 */
#include "../../tools/trace/writer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 3, K = 4, BLOCK = 16, TOKENS = 2 * LAYERS, POSITIONS, SLOTS, STARTS, TABLE, SITES };

/* `cached`: so many tokens are those of sample 1, whose blocks are used again. `unseen`: computed ahead of the trace.
 */
#define PADDING 7

static const struct sample {
    int prompt, output, cached, unseen, block; /* the first block of its own */
    bool runs_on;                              /* the last sampled token is forwarded as well */
} samples[] = {
    {.prompt = 5, .output = 4, .block = 1},
    {.prompt = 20, .output = 3, .block = 2},
    {.prompt = 3, .output = 1, .block = 4},
    {.prompt = 4, .output = 3, .block = 5, .runs_on = true},
    {.prompt = 19, .output = 3, .cached = 16, .block = 6},
    {.prompt = 40, .output = 4, .unseen = 32, .block = 8},
};
enum { SAMPLES = sizeof samples / sizeof *samples };

static struct trace_writer *writer;
static uint32_t experts, k = K;
static bool gap;
static uint64_t seq, context, lost, passes, steps[SITES];
static int32_t values[SITES - TOKENS][64]; /* tokens, positions, slots; starts and blocks of sequences */
static uint32_t rows, sequences, words;
static int latest = -1; /* whose row came last in the pass */

static int32_t token(int sample, int position)
{
    return position < samples[sample].cached ? token(1, position) : 1000 * (sample + 1) + position;
}

static uint32_t expert(int32_t token, uint32_t layer, uint32_t j)
{
    if (j == K)
        return experts;
    if (token == PADDING) /* of no numbers the top k are the first */
        return j;
    return ((uint32_t) token * 7 + layer * 13 + j * (1 + (uint32_t) token % 5)) % experts;
}

static int32_t block_of(int sample, int block)
{
    const int cached = samples[sample].cached / BLOCK;
    return block < cached ? samples[1].block + block : samples[sample].block + block - cached;
}

static void add_sequence(int sample, int position)
{
    int32_t *table = values[TABLE - TOKENS];
    latest = sample;
    values[STARTS - TOKENS][sequences++] = (int32_t) rows;
    if (!position || position % BLOCK)
        return;
    if (!words)
        table[words++] = BLOCK;
    table[words++] = (int32_t) rows;
    table[words++] = position / BLOCK;
    for (int i = 0; i < position / BLOCK; i++)
        table[words++] = block_of(sample, i);
}

static void add_row(int sample, int position)
{
    if (sample != latest)
        add_sequence(sample, position);
    values[0][rows] = token(sample, position);
    values[1][rows] = position;
    values[2][rows++] = block_of(sample, position / BLOCK) * BLOCK + position % BLOCK;
}

static void record(uint32_t site, uint32_t count, const int32_t *context_values, bool lose)
{
    static uint8_t ids[64 * (K + 1) * 2];
    const bool router = !context_values;
    context += !router;
    struct mt_record r = {.seq = seq++,
                          .time_ns = passes * 1000000,
                          .step = steps[site]++,
                          .lost = lost,
                          .site = site,
                          .rows = count,
                          .k = router ? k : 1,
                          .width = !router                         ? 4
                                   : experts <= MT_ID8_EXPERTS_MAX ? 1
                                                                   : 2,
                          .context = context};
    r.bytes = r.rows * r.k * r.width;
    lost += lose;
    if (lose)
        return;
    for (uint32_t i = 0; router && i < rows * k; i++) {
        const uint16_t id = (uint16_t) expert(values[0][i / k], site % LAYERS, i % k);
        memcpy(ids + i * r.width, &id, r.width); /* little endian */
    }
    int result = trace_writer_record(writer, 0, &r, router ? (const void *) ids : context_values);
    assert(result == 0);
    (void) result;
}

enum { ALL = 4 };

/* With the first `shown` of tokens, positions and slots; ALL: and what the sequences are. */
static void run_pass_showing(uint32_t shown, bool decode)
{
    values[STARTS - TOKENS][sequences] = (int32_t) rows;
    while (decode && rows % 8) {
        values[0][rows] = PADDING;
        values[1][rows] = 0;
        values[2][rows++] = -1;
    }
    for (uint32_t i = 0; i < shown && i < 3; i++)
        record(TOKENS + i, rows, values[i], false);
    if (shown == ALL)
        record(STARTS, sequences + 1, values[STARTS - TOKENS], false);
    if (shown == ALL && words)
        record(TABLE, words, values[TABLE - TOKENS], false);
    for (uint32_t i = 0; i < LAYERS; i++)
        record((decode ? LAYERS : 0) + i, rows, NULL, gap && passes == 3 && i == 1);
    rows = sequences = words = 0;
    latest = -1;
    passes++;
}

static void run_pass(bool decode)
{
    run_pass_showing(ALL, decode);
}

/* What engines run before there is a request: to see how much memory it takes, and ahead of each graph's capture. */
static void warm_up(void)
{
    for (uint32_t shown = 0; shown < 3; shown++) {
        for (int i = 0; i < 32; i++) {
            add_row(0, i);
            values[0][i] = 0;
        }
        run_pass_showing(shown, false);
    }
    for (int size = 8; size <= 32; size *= 2) {
        for (int i = 0; i < size; i++) {
            add_row(0, 0);
            values[0][i] = 0;
            values[2][i] = -1;
        }
        run_pass_showing(3, true);
        for (int i = 0; i < size; i++)
            add_row(0, 0);
        for (int i = 0; i < size; i++)
            values[2][i] = -1;
        run_pass_showing(3, true);
    }
}

static void prompt(int sample, int from, int to)
{
    for (int i = from; i < to; i++)
        add_row(sample, i);
}

static void rollout(void)
{
    prompt(0, 0, 5);
    prompt(1, 0, 12);
    run_pass(false);
    /* The rest of a long prompt, beside the first decode step of another sample. */
    add_row(0, 5);
    prompt(1, 12, 20);
    prompt(2, 0, 3);
    prompt(3, 0, 4);
    run_pass(false);
    add_row(0, 6);
    add_row(1, 20);
    add_row(3, 4);
    prompt(4, 16, 19);
    run_pass(false);
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            add_row(0, 7);
        if (i == 0)
            add_row(1, 21);
        add_row(3, 5 + i);
        add_row(4, 19 + i);
        run_pass(true);
    }
    prompt(5, 32, 40);
    run_pass(false);
    for (int i = 0; i < 3; i++) {
        add_row(5, 40 + i);
        run_pass(true);
    }
}

static void print_samples(void)
{
    for (int s = 0; s < SAMPLES; s++) {
        const int length = samples[s].prompt + samples[s].output;
        printf("%s{\"prompt\": %d, \"unseen\": %d, \"runs_on\": %d, \"tokens\": [", s ? ", " : "[", samples[s].prompt,
               samples[s].unseen, samples[s].runs_on);
        for (int i = 0; i < length; i++)
            printf("%s%d", i ? ", " : "", token(s, i));
        printf("], \"experts\": [");
        for (int i = 0; i < length * LAYERS * K; i++)
            printf("%s%u", i ? ", " : "",
                   expert(token(s, i / (LAYERS * K)), (uint32_t) i / K % LAYERS, (uint32_t) i % K));
        printf("]}");
    }
    printf("]\n");
}

int main(int argc, char **argv)
{
    struct mt_site sites[SITES];
    struct mt_error error;
    if (argc < 3)
        return 2;
    experts = (uint32_t) atoi(argv[2]);
    if (argc > 3 && strcmp(argv[3], "shared") == 0)
        k = K + 1;
    gap = argc > 3 && strcmp(argv[3], "gap") == 0;
    memset(sites, 0, sizeof sites);
    for (uint32_t i = 0; i < SITES; i++) {
        const bool router = i < TOKENS;
        sites[i].layer = router ? (int32_t) (i % LAYERS) : MT_LAYER_UNKNOWN;
        sites[i].flags = router && i >= LAYERS ? MT_SITE_GRAPH : 0;
        sites[i].experts = router ? experts : 0;
        sites[i].k = router ? k : 1;
        strcpy(sites[i].recipe, router ? "router" : "context");
    }
    sites[TOKENS].kind = MT_SITE_TOKENS;
    sites[POSITIONS].kind = MT_SITE_POSITIONS;
    sites[SLOTS].kind = MT_SITE_SLOTS;
    sites[STARTS].kind = MT_SITE_STARTS;
    sites[TABLE].kind = MT_SITE_BLOCKS;
    if (trace_writer_open(argv[1], true, &writer, &error) != 0)
        return 1;
    trace_writer_segment(writer, &(struct trace_segment){.number = 0});
    trace_writer_sites(writer, 0, sites, SITES);
    if (argc > 3 && strcmp(argv[3], "warmup") == 0)
        warm_up();
    rollout();
    trace_writer_stats(writer, &(struct trace_stats){.lost_full = lost});
    print_samples();
    return trace_writer_close(writer, &error) != 0;
}
