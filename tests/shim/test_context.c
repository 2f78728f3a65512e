/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rows are: the sample engine with --context under `moetap record`; every slot, position and token id compared
 * with what the engine was given, and the number that ties them to the routers of their pass.
 */
#include "command.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

TestSuite(context, .fini = scratch_remove, .timeout = 120);

static const char *const kinds[] = {"tokens", "positions", "slots"}; /* in the order of a pass */
enum { KINDS = 3, STREAMS_MAX = 4 };

struct shape {
    const char *environment, *options, *mode; /* of record, of the engine */
    int layers, tokens, steps, streams;
};

struct found {
    long context[KINDS], routers; /* records */
    long values;                  /* compared */
};

static long field(const json_t *record, const char *name)
{
    const json_t *value = json_object_get(record, name);
    cr_assert(json_is_integer(value), "no %s", name);
    return (long) json_integer_value(value);
}

static int32_t *read_truth(const struct shape *s)
{
    char path[128];
    const size_t count = (size_t) s->steps * (size_t) s->streams * KINDS * (size_t) s->tokens;
    int32_t *truth = malloc(count * sizeof *truth);
    snprintf(path, sizeof path, "%s/truth.context", scratch());
    FILE *file = fopen(path, "rb");
    cr_assert(truth && file);
    cr_assert_eq(fread(truth, sizeof *truth, count, file), count);
    cr_assert_eq(fgetc(file), EOF);
    fclose(file);
    return truth;
}

static void check_values(const struct shape *s, const json_t *record, int kind, const int32_t *truth,
                         struct found *found)
{
    const json_t *values = json_object_get(record, "values");
    long step = field(record, "step"), stream = field(record, "stream");
    cr_assert(step < s->steps && stream < s->streams && field(record, "rows") == s->tokens);
    cr_assert_eq((int) json_array_size(values), s->tokens);
    truth += ((step * s->streams + stream) * KINDS + kind) * s->tokens;
    for (int row = 0; row < s->tokens; row++, found->values++)
        cr_assert_eq((int32_t) json_integer_value(json_array_get(values, (size_t) row)), truth[row],
                     "%s of step %ld, row %d", kinds[kind], step, row);
    found->context[kind]++;
}

/* Reads the dump; whatever is there must be right, what is missing the caller judges. */
static void check_dump(const struct shape *s, struct found *found)
{
    int32_t *truth = read_truth(s);
    long latest[STREAMS_MAX][KINDS];
    memset(latest, -1, sizeof latest);
    char path[128], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/dump", scratch());
    FILE *dump = fopen(path, "r");
    cr_assert(dump);
    *found = (struct found){0};
    while (getline(&line, &room, dump) > 0) {
        json_error_t error;
        json_t *record = json_loads(line, 0, &error);
        cr_assert(record, "%s: %s", error.text, line);
        const char *name = json_string_value(json_object_get(record, "kind"));
        long step = field(record, "step"), stream = field(record, "stream"), context = field(record, "context");
        int kind = 0;
        while (name && kind < KINDS && strcmp(name, kinds[kind]) != 0)
            kind++;
        cr_assert_lt(kind, KINDS, "%s", name);
        if (name) {
            check_values(s, record, kind, truth, found);
            latest[stream][kind] = step;
            /* Numbers count lost records, too. */
            if (s->streams == 1)
                cr_assert_eq(context, step * KINDS + kind + 1, "%s of step %ld: %ld", name, step, context);
        } else {
            found->routers++;
            if (s->streams == 1)
                cr_assert_eq(context, (step + 1) * KINDS, "router of step %ld: %ld", step, context);
            else
                for (int i = 0; i < KINDS; i++)
                    cr_assert_eq(latest[stream][i], step, "%s before step %ld of stream %ld", kinds[i], step, stream);
        }
        json_decref(record);
    }
    free(line);
    free(truth);
    fclose(dump);
}

static void dump(void)
{
    struct outcome o;
    command(&o, "cd %s && %s dump --context --format=jsonl t > dump", scratch(), MOETAP);
    cr_assert_eq(o.status, 0, "%s", o.text);
}

static void run(const struct shape *s, struct outcome *o, struct found *found)
{
    command(o,
            "cd %s && rm -f t truth*; %s %s record -q %s -o t -- %s --context %s --layers %d --tokens %d --steps %d "
            "--streams %d --truth truth",
            scratch(), s->environment, MOETAP, s->options, MOE_DEMO, s->mode, s->layers, s->tokens, s->steps,
            s->streams);
    cr_assert_eq(o->status, 0, "%s: %s", s->mode, o->text);
    dump();
    check_dump(s, found);
}

/* All is there, once a pass however many layers, and the routers are there as without. */
static void check(const struct shape *s)
{
    struct outcome o;
    struct found found;
    char words[96];
    run(s, &o, &found);
    const long passes = (long) s->steps * s->streams;
    for (int kind = 0; kind < KINDS; kind++)
        cr_assert_eq(found.context[kind], passes, "%s %s: %ld records of %s, expected %ld", s->environment, s->mode,
                     found.context[kind], kinds[kind], passes);
    cr_assert_eq(found.routers, passes * s->layers);
    snprintf(words, sizeof words, "captured %ld records, %ld rows", found.routers, found.routers * s->tokens);
    cr_assert(strstr(o.text, words), "%s is not in: %s", words, o.text);
    cr_assert(strstr(o.text, "lost 0 ") && strstr(o.text, "not captured 0"), "%s", o.text);
    command(&o, "cd %s && %s dump --format=jsonl t | %s truth --layers %d --tokens %d --steps %d --streams %d",
            scratch(), MOETAP, TRUTH_COMPARE, s->layers, s->tokens, s->steps, s->streams);
    cr_assert_eq(o.status, 0, "%s", o.text);
}

Test(context, every_mode)
{
    static const char *const modes[] = {"",
                                        "--graph",
                                        "--graph=pieces",
                                        "--graph=update",
                                        "--graph=relaxed",
                                        "--graph --scrub",
                                        "--graph=pieces --scrub"};
    static const char *const orders[] = {"SOFTCUDA_ORDER=late", "SOFTCUDA_ORDER=early", "MOETAP_GRAPH_TAP=inline"};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
            struct shape shape = {orders[i], "", modes[m], 5, 16, 6, 1};
            check(&shape);
        }
    }
}

Test(context, shapes)
{
    static const struct shape shapes[] = {
        {"", "", "", 1, 1, 5, 1},         {"", "", "--graph", 1, 1, 5, 1},
        {"", "", "", 48, 9, 4, 1},        {"", "", "", 3, 33, 5, 1},
        {"", "", "--graph", 48, 9, 4, 1}, {"", "", "", 2, 5000, 2, 1},
        {"", "", "", 6, 16, 5, 3},        {"", "", "--graph", 3, 5000, 2, 1},
        {"", "", "--graph", 6, 16, 5, 3}, {"", "--source=cupti", "", 4, 16, 5, 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check(&shapes[i]);
}

/* The ring is full after some steps: what is there still says where it belongs. */
Test(context, loss_shifts_nothing)
{
    static const char *const modes[] = {"", "--graph"};
    for (int m = 0; m < 2; m++) {
        struct outcome o;
        struct found found;
        struct shape shape = {"", "", modes[m], 4, 100, 60, 1};
        command(&o,
                "cd %s && rm -f t truth*; export MOETAP_SHM_DIR=$PWD MOETAP_SESSION=c; MOETAP_RING_SIZE=64K "
                "LD_PRELOAD=%s %s --context %s --tokens 100 --steps 60 --truth truth && %s drain -q -o t moetap.c.*",
                scratch(), SHIM, MOE_DEMO, modes[m], MOETAP);
        cr_assert_eq(o.status, 0, "%s", o.text);
        cr_assert_null(strstr(o.text, "lost 0 "), "%s", o.text);
        dump();
        check_dump(&shape, &found);
        cr_assert(found.context[2] > 2 && found.context[2] < 60 && found.routers > 8, "%ld", found.context[2]);
        /* With a reader, losses come and go. */
        shape.options = "--ring-size=64K";
        run(&shape, &o, &found);
    }
}

Test(context, dump_and_info)
{
    struct outcome o;
    struct found found;
    struct shape shape = {"", "", "", 2, 4, 3, 1};
    run(&shape, &o, &found);
    command(&o, "cd %s && %s info t", scratch(), MOETAP);
    cr_assert(
        strstr(o.text, "      0    0    tokens    1000   1 int32  -        eager        3         12  moe-demo.tokens"),
        "%s", o.text);
    cr_assert(strstr(o.text, " positions ") && strstr(o.text, " slots "), "%s", o.text);
    cr_assert(strstr(o.text, "6 records, 24 rows, 2 layers, 3 steps\n  9 records of what the rows are\n"), "%s",
              o.text);
    command(&o, "cd %s && for f in text jsonl csv; do %s dump --format=$f t; done", scratch(), MOETAP);
    cr_assert_null(strstr(o.text, "slots"), "%s", o.text);
    cr_assert_null(strstr(o.text, "context"), "%s", o.text);
    command(&o, "cd %s && %s dump --context t && %s dump --context --format=csv t", scratch(), MOETAP, MOETAP);
    cr_assert(strstr(o.text, " slots: context 3, 4 rows\n"), "%s", o.text);
    cr_assert(strstr(o.text, "layer 1: context 9, 4 rows, top 6 of 64\n"), "%s", o.text);
    cr_assert(strstr(o.text, "\n2,positions,1,5,,,,,\n"), "%s", o.text);
}

/* The engine's output is the same, a line says why, and what is missing is counted. */
Test(context, a_tap_that_fails)
{
    struct outcome o;
    char bare[64];
    command(&o, "%s --context --graph --layers 2 --tokens 5000", MOE_DEMO);
    const char *sum = strstr(o.text, "checksum");
    cr_assert(sum);
    snprintf(bare, sizeof bare, "%.27s", sum);
    /* The engine's stream, ours for the set-up, then ours for the memory of a node of several blocks. */
    command(&o,
            "cd %s && rm -f t; SOFTCUDA_FAIL=cuStreamCreate:999:3 %s record -q -o t -- %s --context --graph --layers 2 "
            "--tokens 5000",
            scratch(), MOETAP, MOE_DEMO);
    cr_assert(strstr(o.text, "no memory for the taps of a graph"), "%s", o.text);
    cr_assert(strstr(o.text, "captured 0 records"), "%s", o.text);
    cr_assert(strstr(o.text, "not captured 5 "), "%s", o.text); /* three of context, two routers */
    cr_assert(strstr(o.text, bare), "%s", o.text);
}

/* A recipe for other parameters is refused by a line, and the rest is captured. */
Test(context, another_release)
{
    struct outcome o;
    command(&o,
            "cd %s && printf '[mine]\\nkind = slots\\nkernel = moe_demo_embed\\nparams = 8 8\\nids = param 0\\ndtype = "
            "i32\\nrows = grid.x\\n' > my.recipe; rm -f t; %s record -q --recipe my.recipe -o t -- %s --context",
            scratch(), MOETAP, MOE_DEMO);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(strstr(o.text, "moe_demo_embed: looks like [mine], but its parameters are 8 8 8 4 4 bytes"), "%s",
              o.text);
    cr_assert(strstr(o.text, "captured 32 records, 512 rows"), "%s", o.text);
}

/* Without `once` every launch is tapped; a table that is no vocabulary is not. */
Test(context, without_once)
{
    struct outcome o;
    command(
        &o,
        "cd %s && printf '[mine]\\nkind = slots\\nkernel = moe_demo_cache\\nparams = 8 8 8 4 4\\nids = param 2\\n"
        "dtype = i64\\nrows = param 3\\n[tokens]\\nkind = tokens\\nkernel = moe_demo_lookup\\nparams = 8 8 8 4 4 4\\n"
        "ids = param 0\\ndtype = i32\\nrows = param 3\\nrequire = param 5 == 1000\\n' > my.recipe; rm -f t; "
        "%s record -q --recipe my.recipe -o t -- %s --context && %s info t",
        scratch(), MOETAP, MOE_DEMO, MOETAP);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(strstr(o.text, "      32        512  mine\n"), "%s", o.text);
    cr_assert(strstr(o.text, "       8        128  tokens\n"), "%s", o.text);
}
