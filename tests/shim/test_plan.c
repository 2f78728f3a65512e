/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the sequences of a pass are: the sample engine with --plan, whose kernel makes slots from a block table as
 * vLLM's does. Where each sequence begins, and the blocks ahead of those that begin at a block's start, against what
 * the engine was given.
 */
#include "command.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

TestSuite(plan, .fini = scratch_remove, .timeout = 120);

enum { STRIDE = 12, BLOCK = 4, STEPS = 9 }; /* engine/plan.c */

struct truth {
    int tokens, sequences, passes, streams;
    int32_t *words; /* a pass: [3, tokens] what the rows are, starts, table */
};

static void read_truth(struct truth *truth, int tokens, int passes, int streams)
{
    *truth = (struct truth){tokens, tokens / 4, passes, streams, NULL};
    const size_t words = (size_t) passes * (size_t) (3 * tokens + tokens / 4 * (STRIDE + 1) + 1);
    char path[128];
    snprintf(path, sizeof path, "%s/truth.context", scratch());
    FILE *file = fopen(path, "rb");
    truth->words = malloc(words * sizeof *truth->words);
    cr_assert(file && truth->words);
    cr_assert_eq(fread(truth->words, sizeof *truth->words, words, file), words);
    cr_assert_eq(fgetc(file), EOF);
    fclose(file);
}

static const int32_t *starts_of(const struct truth *truth, long pass)
{
    const long words = 3 * truth->tokens + truth->sequences * (STRIDE + 1) + 1;
    return truth->words + pass * words + 3 * truth->tokens;
}

static int32_t value(const json_t *values, size_t i)
{
    cr_assert_lt(i, json_array_size(values));
    return (int32_t) json_integer_value(json_array_get(values, i));
}

static void check_starts(const struct truth *truth, long pass, const json_t *values)
{
    cr_assert_eq((int) json_array_size(values), truth->sequences + 1);
    for (int i = 0; i <= truth->sequences; i++)
        cr_assert_eq(value(values, (size_t) i), starts_of(truth, pass)[i], "pass %ld, sequence %d", pass, i);
}

/* The other group's tables hold numbers as they come, of blocks twice as large. */
static int32_t other_block(const struct truth *truth, long pass, int sequence, int32_t n)
{
    const long states = truth->sequences + 3,
               state = (truth->sequences - 1 - sequence + pass / truth->streams) % states;
    return 2 * truth->tokens + (int32_t) state * (STRIDE / 2) + n;
}

static void check_other_slots(const struct truth *truth, long pass, const json_t *values)
{
    const int32_t *starts = starts_of(truth, pass), *positions = starts - 2 * truth->tokens;
    cr_assert_eq((int) json_array_size(values), starts[truth->sequences]);
    for (int i = 0; i < truth->sequences; i++) {
        for (int32_t row = starts[i]; row < starts[i + 1]; row++)
            cr_assert_eq(value(values, (size_t) row),
                         other_block(truth, pass, i, positions[row] / (2 * BLOCK)) * 2 * BLOCK +
                             positions[row] % (2 * BLOCK));
    }
}

/* Sequences that begin a block, and are not at their position 0. */
static int begin_a_block(const struct truth *truth, long pass, int block)
{
    const int32_t *starts = starts_of(truth, pass), *positions = starts - 2 * truth->tokens;
    int count = 0;
    for (int i = 0; i < truth->sequences; i++)
        count += positions[starts[i]] > 0 && positions[starts[i]] % block == 0;
    return count;
}

/* Every element is a sequence that begins a block, with the blocks of its table, and none of these is missing. */
static void check_blocks(const struct truth *truth, long pass, bool other, const json_t *values)
{
    const int block = other ? 2 * BLOCK : BLOCK;
    const int32_t *starts = starts_of(truth, pass), *positions = starts - 2 * truth->tokens;
    const int32_t *table = starts + truth->sequences + 1;
    int elements = 0;
    cr_assert_eq(value(values, 0), block);
    for (size_t at = 1; at < json_array_size(values); elements++) {
        const int32_t row = value(values, at), ahead = value(values, at + 1);
        int i = 0;
        while (i < truth->sequences && starts[i] != row)
            i++;
        cr_assert_lt(i, truth->sequences, "pass %ld: no sequence begins at row %d", pass, row);
        cr_assert_eq(ahead * block, positions[row]);
        for (int32_t n = 0; n < ahead; n++)
            cr_assert_eq(value(values, at + 2 + (size_t) n),
                         other ? other_block(truth, pass, i, n) : table[i * STRIDE + n], "pass %ld, row %d", pass, row);
        at += 2 + (size_t) ahead;
    }
    cr_assert_eq(elements, begin_a_block(truth, pass, block), "pass %ld", pass);
}

/* A sequence that grows by one slot is told in full in its first, second and fourth pass, else its last two slots. */
static void check_lists(const struct truth *truth, long pass, const json_t *values)
{
    const int32_t *starts = starts_of(truth, pass), *table = starts + truth->sequences + 1;
    int elements = 0;
    cr_assert_eq(value(values, 0), truth->sequences);
    for (size_t at = 1; at < json_array_size(values); elements++) {
        const int32_t i = value(values, at), length = value(values, at + 1), told = value(values, at + 2);
        cr_assert(i >= 0 && i < truth->sequences);
        cr_assert_eq(length, starts[i + 1] - starts[i]);
        /* engine/plan.c: from two on, a slot a pass, and none in the first. */
        const long passes = length - 2 < pass - 1 ? length - 2 : pass - 1;
        const bool all = length <= 2 || passes == 0 || passes == 1 || passes == 3;
        cr_assert_eq(told, all ? length : 2, "pass %ld, sequence %d of %d: told %d", pass, i, length, told);
        for (int32_t n = 0; n < told; n++)
            cr_assert_eq(value(values, at + 3 + (size_t) n), table[i * STRIDE + length - told + n]);
        at += 3 + (size_t) told;
    }
    cr_assert_eq(elements, pass ? truth->sequences : 0);
}

static void check(const char *environment, const char *mode, int tokens, int streams, const char *record_options,
                  bool all)
{
    struct outcome o;
    struct truth truth;
    char path[128], *line = NULL;
    size_t room = 0;
    const bool tables = strstr(mode, "tables");
    int starts = 0, blocks = 0, others = 0, other_passes = 0, other_slots = 0;
    long latest[8] = {0}; /* pass of each stream: there are two tables of each */
    command(&o,
            "cd %s && rm -f t truth*; %s %s record -q %s -o t -- %s --plan%s --layers 3 --tokens %d --steps %d "
            "--streams %d "
            "--truth truth && %s dump --context --format=jsonl t > dump",
            scratch(), environment, MOETAP, record_options, MOE_DEMO, mode, tokens, STEPS, streams, MOETAP);
    cr_assert_eq(o.status, 0, "%s: %s", mode, o.text);
    read_truth(&truth, tokens, STEPS * streams, streams);
    snprintf(path, sizeof path, "%s/dump", scratch());
    FILE *dump = fopen(path, "r");
    cr_assert(dump);
    while (getline(&line, &room, dump) > 0) {
        json_error_t error;
        json_t *record = json_loads(line, 0, &error);
        cr_assert(record, "%s: %s", error.text, line);
        const char *kind = json_string_value(json_object_get(record, "kind"));
        const json_t *values = json_object_get(record, "values");
        long pass = (long) json_integer_value(json_object_get(record, "step")) * streams +
                    (long) json_integer_value(json_object_get(record, "stream"));
        if (kind && strcmp(kind, "starts") == 0) {
            check_starts(&truth, pass, values);
            latest[pass % streams] = pass;
            starts++;
        } else if (tables && kind && strcmp(kind, "slots") == 0 && value(values, 0) >= 2 * tokens * 2 * BLOCK) {
            check_other_slots(&truth, latest[pass % streams], values);
            other_slots++;
        } else if (kind && strcmp(kind, "blocks") == 0) {
            const bool other = value(values, 0) != BLOCK;
            check_blocks(&truth, tables ? latest[pass % streams] : pass, other, values);
            others += other;
            blocks += !other;
        } else if (kind && strcmp(kind, "kv_indices") == 0) {
            check_lists(&truth, pass, values);
            starts++;
            blocks++;
        }
        json_decref(record);
    }
    for (int pass = 0; tables && pass < truth.passes; pass++)
        other_passes += begin_a_block(&truth, pass, 2 * BLOCK) > 0;
    free(line);
    free(truth.words);
    fclose(dump);
    /* Each of these steps has such sequences. */
    cr_assert_eq(other_slots, tables ? STEPS * streams : 0);
    if (all)
        cr_assert(starts == STEPS * streams && blocks == STEPS * streams && others == other_passes,
                  "%d starts, %d and %d block tables", starts, blocks, others);
    else
        cr_assert(starts && blocks);
}

Test(plan, every_mode)
{
    static const char *const modes[] = {"",        " --graph",        " --graph=pieces", " --graph --scrub",
                                        "=tables", "=tables --graph", "=lists",          "=lists --graph"};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        /* One kernel's tables take both ways through the device, the others by turns. */
        const bool both = modes[m][0] != '=';
        if (both || m % 2 == 0)
            check("", modes[m], 32, 1, "", true);
        if (both || m % 2)
            check("SOFTCUDA_ORDER=late", modes[m], 48, 1, "--source=preload", true);
    }
}

Test(plan, shapes)
{
    check("", "", 36, 3, "", true);
    check("", "=tables", 36, 3, "", true);
    check("", "=tables", 4000, 1, "", true);
    check("", "=lists", 4000, 1, "", true);
    check("", " --graph", 4000, 1, "", true); /* 1000 sequences, more than a block of threads */
}

/* Lost tables are records like others: what is there is right. */
Test(plan, losses)
{
    check("", "", 2000, 1, "--ring-size=64K", false);
}

Test(plan, more_sequences_than_there_is_room_for)
{
    struct outcome o;
    command(&o, "cd %s && %s record -q -o t -- %s --plan --layers 1 --tokens 16400 --steps 2", scratch(), MOETAP,
            MOE_DEMO);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(strstr(o.text, "a block table of 4100 sequences, more than 4096: counted as not captured"), "%s", o.text);
    cr_assert(strstr(o.text, "not captured 2 "), "%s", o.text);
}
