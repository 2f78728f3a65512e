/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live table of an engine that nobody changed: the sample engine with --context under the preloaded library, and
 * `moetap table` beside it. At the end each slot's row is what the engine itself says it routed the token there to, or
 * says that it is not.
 */
#include "../../shm/table.h"
#include "command.h"

#include <criterion/criterion.h>

TestSuite(table, .fini = scratch_remove, .timeout = 250);

struct shape {
    const char *environment, *mode; /* of the engine, and its options */
    int layers, tokens, steps, streams;
};

#define K 6 /* moe-demo's own */

struct truth {
    const struct shape *shape;
    int32_t *ids;  /* [steps, streams, layers, tokens, K] */
    int32_t *rows; /* [steps, streams, 3, tokens]: token ids, positions, slots */
};

static int32_t *load(const char *name, const char *suffix, size_t count)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s%s", scratch(), name, suffix);
    int32_t *values = malloc(count * sizeof *values);
    FILE *file = fopen(path, "rb");
    cr_assert(values && file, "%s", path);
    cr_assert_eq(fread(values, sizeof *values, count, file), count, "%s", path);
    cr_assert_eq(fgetc(file), EOF);
    fclose(file);
    return values;
}

static struct truth load_truth(const struct shape *s, const char *name)
{
    const size_t rows = (size_t) s->steps * (size_t) s->streams * (size_t) s->tokens;
    return (struct truth){s, load(name, "", rows * (size_t) s->layers * K), load(name, ".context", 3 * rows)};
}

/* In which pass a slot was written last, with this position if it is not -1; -1: in none. */
static long writer_of(const struct truth *truth, int64_t slot, int32_t position, int *row)
{
    const struct shape *s = truth->shape;
    for (long pass = (long) s->steps * s->streams - 1; pass >= 0; pass--) {
        const int32_t *positions = truth->rows + (pass * 3 + 1) * s->tokens, *slots = positions + s->tokens;
        for (*row = 0; *row < s->tokens; ++*row) {
            if (slots[*row] == slot && (position == -1 || positions[*row] == position))
                return pass;
        }
    }
    return -1;
}

struct seen {
    long good, doubtful, never;
    long missing, untold; /* layers of rows; rows whose position or token nothing told */
};

static void check_ids(const struct truth *truth, const mt_table *table, const uint16_t *ids,
                      const struct mt_table_row *row, long pass, int at, struct seen *seen)
{
    const struct shape *s = truth->shape;
    const int32_t *about = truth->rows + pass * 3 * s->tokens + at;
    if (row->position != -1)
        cr_assert_eq(row->position, about[s->tokens], "slot %d: position %d", about[2 * s->tokens], row->position);
    if (row->token != -1)
        cr_assert_eq(row->token, about[0], "slot %d: token %d", about[2 * s->tokens], row->token);
    seen->untold += row->position == -1 || row->token == -1;
    for (int layer = 0; layer < s->layers; layer++) {
        const int32_t *wanted = truth->ids + ((pass * s->layers + layer) * s->tokens + at) * K;
        const size_t first = (size_t) (layer * K);
        if (mt_table_id(table, ids, first) == MT_ID_MISSING) {
            seen->missing++;
            continue;
        }
        for (int i = 0; i < K; i++)
            cr_assert_eq(mt_table_id(table, ids, first + (size_t) i), wanted[i], "slot %d of pass %ld, layer %d",
                         about[2 * s->tokens], pass, layer);
    }
}

static void check_table(const char *name, const struct truth *truth, struct seen *seen)
{
    const struct shape *s = truth->shape;
    char path[200];
    struct mt_error error = {""};
    mt_table *table;
    snprintf(path, sizeof path, "%s/moetap-table.%s", scratch(), name);
    cr_assert_eq(mt_table_attach(path, &table, &error), 0, "%s", error.text);
    cr_assert_eq(mt_table_header(table)->layers, (uint32_t) s->layers);
    cr_assert_eq(mt_table_header(table)->k, K);
    cr_assert_eq(mt_table_state(table), MT_TABLE_CLOSED);
    uint16_t *ids = malloc((size_t) (s->layers * K) * sizeof *ids);
    cr_assert(ids);
    *seen = (struct seen){0};
    for (int64_t slot = -1; slot <= 2 * s->tokens * s->streams; slot++) {
        struct mt_table_row row;
        int at;
        long pass = writer_of(truth, slot, -1, &at);
        mt_table_get(table, &slot, 1, ids, &row);
        if (slot < 0 || row.status == MT_ROW_NEVER) {
            cr_assert_eq(row.status, MT_ROW_NEVER);
            seen->never += pass >= 0 && slot >= 0;
            continue;
        }
        cr_assert_geq(pass, 0, "slot %d was never the engine's", (int) slot);
        if (row.status == MT_ROW_DOUBT) { /* then it may be an older one, which its position tells */
            seen->doubtful++;
            if (row.position == -1)
                continue;
            pass = writer_of(truth, slot, row.position, &at);
            cr_assert_geq(pass, 0, "slot %d: no token of position %d was there", (int) slot, row.position);
        } else {
            cr_assert_eq(row.status, MT_ROW_OK);
            seen->good++;
        }
        check_ids(truth, table, ids, &row, pass, at, seen);
    }
    free(ids);
    mt_table_detach(table);
}

/* Slots that the engine wrote at all. */
static long count_slots(const struct truth *truth)
{
    long count = 0;
    int row;
    for (int64_t slot = 0; slot < 2 * truth->shape->tokens * truth->shape->streams; slot++)
        count += writer_of(truth, slot, -1, &row) >= 0;
    return count;
}

static void free_truth(struct truth *truth)
{
    free(truth->ids);
    free(truth->rows);
}

/* Words for a shell: the engine in the scratch folder, with its truth. */
static const char *engine(const struct shape *s, const char *name, const char *truth)
{
    static char line[2048];
    snprintf(line, sizeof line,
             "%s LD_PRELOAD=%s bash -c 'exec -a \"%s\" %s --context %s --layers %d --tokens %d --steps %d --streams %d "
             "--truth %s >/dev/null'",
             s->environment, SHIM, name, MOE_DEMO, s->mode, s->layers, s->tokens, s->steps, s->streams, truth);
    return line;
}

#define SET_UP "cd %s && rm -f moetap* truth*; export MOETAP_SHM_DIR=$PWD MOETAP_SESSION=c; "

static void run(const struct shape *s, struct outcome *o, struct seen *seen)
{
    command(o, SET_UP "%s table --session c -o live --keep & %s; wait $!", scratch(), MOETAP,
            engine(s, "engine", "truth"));
    cr_assert_eq(o->status, 0, "%s: %s", s->mode, o->text);
    struct truth truth = load_truth(s, "truth");
    check_table("live.0", &truth, seen);
    free_truth(&truth);
}

/* Nothing was lost: every slot that the engine wrote has the last token's row, all layers of it. */
static void check(const struct shape *s)
{
    struct outcome o;
    struct seen seen;
    char words[64];
    run(s, &o, &seen);
    struct truth truth = load_truth(s, "truth");
    const long real = s->tokens - s->tokens / 5;
    cr_assert_eq(seen.good, count_slots(&truth), "%s %s: %ld good, %ld in doubt: %s", s->environment, s->mode,
                 seen.good, seen.doubtful, o.text);
    cr_assert_eq(seen.missing + seen.never + seen.untold, 0);
    free_truth(&truth);
    snprintf(words, sizeof words, "stored %ld rows, %d layers", real * s->steps, s->layers); /* and no padding */
    cr_assert(strstr(o.text, words), "%s: %s", words, o.text);
    cr_assert(strstr(o.text, "records lost 0; not captured 0; rows left out 0,"), "%s", o.text);
}

Test(table, every_mode)
{
    static const char *const modes[] = {"", "--graph", "--graph=pieces", "--graph=update", "--graph --scrub"};
    static const char *const orders[] = {"SOFTCUDA_ORDER=late", "SOFTCUDA_ORDER=early"};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
            struct shape shape = {orders[i], modes[m], 5, 16, 40, 1};
            check(&shape);
        }
    }
}

Test(table, shapes)
{
    static const struct shape shapes[] = {
        {"", "", 1, 1, 5, 1},
        {"", "", 48, 9, 8, 1},
        {"", "--graph", 48, 9, 8, 1},
        {"", "--graph", 2, 3000, 3, 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check(&shapes[i]);
}

/* Two streams at once: rows whose context is not plain are missing or in doubt; none is another's. */
Test(table, streams)
{
    static const char *const modes[] = {"", "--graph"};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        struct outcome o;
        struct seen seen;
        struct shape shape = {"", modes[m], 4, 16, 30, 2};
        run(&shape, &o, &seen);
        cr_assert_gt(seen.good + seen.doubtful, 0, "%s", o.text);
    }
}

/* Of the target's E and k, with the target's slots: neither a layer of the table nor rows. Live, or where only counting
 * tells, the layers are given: which are the draft's is learnt from some passes. */
Test(table, a_draft_model)
{
    static const char *const modes[] = {"--draft 1", "--draft 1 --graph=update", "--draft 2",
                                        "--draft 3 --graph=pieces"};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        for (int live = 0; live < 2; live++) {
            struct shape shape = {"", modes[m], 5, 16, 40, 1};
            struct outcome o;
            struct seen seen;
            if (live || m == 3)
                command(&o, SET_UP "%s table --session c -o live --keep --layers 5 & %s; wait $!", scratch(), MOETAP,
                        engine(&shape, "engine", "truth"));
            else
                command(&o, SET_UP "%s; %s table -o live.0 --keep moetap.c.*", scratch(),
                        engine(&shape, "engine", "truth"), MOETAP);
            cr_assert_eq(o.status, 0, "%s: %s", modes[m], o.text);
            struct truth truth = load_truth(&shape, "truth");
            check_table("live.0", &truth, &seen);
            if (!live && m < 3)
                cr_assert_eq(seen.good, count_slots(&truth), "%s: %ld good: %s", modes[m], seen.good, o.text);
            cr_assert_eq(seen.missing + seen.never, 0, "%s: %ld missing, %ld never: %s", modes[m], seen.missing,
                         seen.never, o.text);
            cr_assert_gt(seen.good, count_slots(&truth) / 2, "%s: %ld good: %s", modes[m], seen.good, o.text);
            free_truth(&truth);
        }
    }
}

/* Slots of a second kind of cache, told in the last layer, in the midst of each pass. */
Test(table, another_slot_space)
{
    static const char *const modes[] = {"", "--graph"};
    struct outcome o;
    command(&o,
            "cd %s && printf '[other]\\nkind = slots\\nkernel = moe_demo_lookup\\nparams = 8 8 8 4 4 4\\n"
            "ids = param 0\\ndtype = i32\\nrows = param 3\\nrequire = param 5 == 1016\\n' > my.recipe",
            scratch());
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        struct shape shape = {"MOETAP_RECIPE=my.recipe", modes[m], 5, 16, 40, 1};
        check(&shape);
    }
}

/* The ring is full after some steps and stays so. All that there is may be older than what the engine wrote since, and
 * no record tells so. */
Test(table, what_the_end_lost_is_in_doubt)
{
    static const char *const modes[] = {"", "--graph"};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        struct shape shape = {"MOETAP_RING_SIZE=64K", modes[m], 4, 100, 60, 1};
        struct outcome o;
        struct seen seen;
        command(&o, SET_UP "%s; %s table -o live --keep moetap.c.*", scratch(), engine(&shape, "engine", "truth"),
                MOETAP);
        cr_assert_eq(o.status, 0, "%s", o.text);
        cr_assert_null(strstr(o.text, "records lost 0;"), "%s", o.text);
        struct truth truth = load_truth(&shape, "truth");
        check_table("live", &truth, &seen);
        free_truth(&truth);
        cr_assert_eq(seen.good, 0, "%ld rows", seen.good);
        cr_assert_gt(seen.doubtful, 50);
    }
}

/*
 * With a reader that is stopped while the engine does some steps (its truth grows), again and again, losses come and
 * go. What is shown without doubt is never stale.
 */
Test(table, losses_leave_nothing_stale)
{
    static const char *const modes[] = {"", "--graph"};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        struct shape shape = {"MOETAP_RING_SIZE=64K", modes[m], 4, 100, 300, 1};
        struct outcome o;
        struct seen seen;
        const int step = 4 * 100 * K * 4;
        command(&o,
                SET_UP "%s table --session c -o live --keep --strict & table=$!; %s & engine=$!; "
                       "size() { stat -c %%s truth 2>/dev/null || echo 0; }; "
                       "grow() { end=$(($(size) + $1)); while [ $(size) -lt $end ] && kill -0 $engine 2>/dev/null; "
                       "do sleep 0.005; done; }; "
                       "while kill -0 $engine 2>/dev/null; do kill -STOP $table; grow %d; kill -CONT $table; grow %d; "
                       "done; wait $table",
                scratch(), MOETAP, engine(&shape, "engine", "truth"), 40 * step, 20 * step);
        cr_assert_eq(o.status, 3, "%s", o.text);
        struct truth truth = load_truth(&shape, "truth");
        check_table("live.0", &truth, &seen);
        free_truth(&truth);
        cr_assert_gt(seen.good + seen.doubtful, 50, "%s", o.text);
    }
}

/* Ranks of one model: a table for each data-parallel one; of tensor-parallel ones the first speaks for all. */
Test(table, ranks)
{
    struct shape shape = {"", "--graph", 3, 16, 20, 1}, other = {"", "--graph --seed 2", 3, 16, 20, 1};
    char lines[3][2048];
    snprintf(lines[0], sizeof lines[0], "%s", engine(&shape, "VLLM::Worker_DP0_TP0_EP0", "truth0"));
    snprintf(lines[1], sizeof lines[1], "%s", engine(&shape, "VLLM::Worker_DP0_TP1_EP1", "truth1"));
    snprintf(lines[2], sizeof lines[2], "%s", engine(&other, "VLLM::Worker_DP1_TP0_EP2", "truth2"));
    struct outcome o;
    command(&o,
            SET_UP
            "%s table --session c -o live --keep --follow & table=$!; %s & %s & %s & wait %%2 %%3 %%4; sleep 0.5; "
            "kill $table; wait $table",
            scratch(), MOETAP, lines[1], lines[0], lines[2]);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(strstr(o.text, "no table: tensor-parallel rank 1 repeats what rank 0 routes"), "%s", o.text);
    static const char *const names[] = {"live.0", "live.1"}, *const truths[] = {"truth0", "truth2"};
    for (int i = 0; i < 2; i++) {
        struct truth truth = load_truth(&shape, truths[i]);
        struct seen seen;
        check_table(names[i], &truth, &seen);
        cr_assert_eq(seen.good, count_slots(&truth), "%s", o.text);
        free_truth(&truth);
    }
    command(&o, "ls %s | grep -c moetap-table", scratch());
    cr_assert_str_eq(o.text, "2\n");
}
