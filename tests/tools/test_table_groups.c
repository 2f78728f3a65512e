/* SPDX-License-Identifier: Apache-2.0 */
/* `moetap table` of a model whose KV cache has groups: by which group's slots, and what is there before that is known.
 */
#include "table_rig.h"

#include "../../tools/passes.h"
#include "../../tools/trace/reader.h"

#include <errno.h>

TestSuite(table_groups, .init = table_enter, .fini = table_leave, .timeout = 20);

/* A recorded engine runs again, as fast as it is drained. */
#define SLOTS 65536
static struct passes *passes;
static const struct trace *trace;
static struct wanted {
    uint64_t seq;
    int32_t position, token;
    int32_t ids[LAYERS_MAX * 4];
} wanted[SLOTS]; /* of a trace, by the slots of the group whose layers attend to everything */
static uint32_t full_group, replayed_layers, replayed_rows;

static int want(const struct pass *pass, void *user)
{
    (void) user;
    if (full_group >= pass->group_count)
        return 0;
    for (uint32_t i = 0; i < pass->rows; i++) {
        const int32_t slot = pass->groups[full_group].slots[i];
        if (slot < 0)
            continue;
        cr_assert_lt(slot, SLOTS);
        wanted[slot] =
            (struct wanted){.seq = pass->first_seq, .position = pass->positions[i], .token = pass->tokens[i]};
        for (uint32_t j = 0; j < pass->layer_count; j++)
            memcpy(wanted[slot].ids + pass->layers[j].layer * 4, pass->layers[j].ids + i * 4, 16);
        replayed_rows++;
    }
    return 0;
}

static int follow(uint32_t of, const struct mt_record *record, const void *ids, void *user)
{
    const struct mt_site *site = &trace->segments[of].sites[record->site];
    struct mt_record again = *record;
    again.seq = (*(uint64_t *) user)++;
    if (site->kind == MT_SITE_ROUTER && (uint32_t) site->layer >= replayed_layers)
        replayed_layers = (uint32_t) site->layer + 1;
    return passes_add(passes, site, &again, ids);
}

static int replay(uint32_t of, const struct mt_record *record, const void *ids, void *user)
{
    const bool context = trace->segments[of].sites[record->site].kind != MT_SITE_ROUTER;
    struct mt_producer *producer = user;
    struct mt_claim claim;
    producer->context = record->context - context;
    producer->steps[record->site] = record->step;
    if (!mt_ring_claim(producer, record->site, record->bytes, context, &claim))
        return -ENOSPC;
    mt_ring_fill(producer, &claim, record->site, record->rows, record->k, record->width);
    for (uint32_t i = 0; i < record->bytes; i++)
        producer->ring[(claim.position + sizeof *record + i) & (producer->ring_size - 1)] = ((const uint8_t *) ids)[i];
    mt_ring_commit(producer, claim.position);
    return 0;
}

static void run_engine(struct trace_reader *reader)
{
    cr_assert_eq(mt_segment_create(&segment, "t", 0, "fake device", 1 << 20, false, NULL, NULL), 0);
    for (uint32_t i = 0; i < trace->segments[0].site_count; i++)
        mt_segment_add_site(&segment, &trace->segments[0].sites[i]);
    struct mt_producer *producer = rig_producer(&segment);
    producer->wait_ns = 5000000000u;
    const int result = trace_reader_records(reader, replay, producer, NULL);
    mt_segment_close(&segment);
    _exit(result != 0);
}

static void run_again(const char *name)
{
    struct live keeper;
    struct trace_reader *reader;
    struct mt_error error = {""};
    uint64_t seq = 0;
    char path[512];
    snprintf(path, sizeof path, TRACES "/%s.moetap", name);
    cr_assert_eq(trace_reader_open(path, &reader, &error), 0, "%s", error.text);
    trace = trace_reader_trace(reader);
    live_start(&keeper, "%s table --session t --keep -o mine", MOETAP);
    const pid_t engine = fork();
    if (engine == 0)
        run_engine(reader);
    passes = passes_new(want, NULL);
    memset(wanted, 0, sizeof wanted);
    replayed_layers = replayed_rows = 0;
    int status;
    cr_assert_eq(waitpid(engine, &status, 0), engine);
    cr_assert_eq(status, 0);
    trace_reader_close(reader);
    cr_assert_eq(trace_reader_open(path, &reader, &error), 0, "%s", error.text);
    trace = trace_reader_trace(reader);
    cr_assert_eq(trace_reader_records(reader, follow, &seq, &error), 0, "%s", error.text);
    cr_assert_eq(passes_flush(passes), 0);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    mt_table *table = await_table("mine.0");
    uint32_t found = 0, others = 0;
    cr_assert_eq(mt_table_header(table)->layers, replayed_layers);
    for (int64_t slot = 0; slot < SLOTS; slot++) {
        struct mt_table_row about;
        uint16_t ids[LAYERS_MAX * 4];
        mt_table_get(table, &slot, 1, ids, &about);
        if (about.status == MT_ROW_NEVER)
            continue;
        found++;
        bool same = about.status == MT_ROW_OK && about.seq == wanted[slot].seq &&
                    about.position == wanted[slot].position && about.token == wanted[slot].token;
        for (uint32_t i = 0; i < replayed_layers * 4; i++)
            same &= mt_table_id(table, ids, i) == wanted[slot].ids[i];
        others += !same;
    }
    cr_assert_eq(others, 0, "%u of %u rows are others: %s", others, found, keeper.text);
    const char *said = strstr(keeper.text, "moetap: stored "),
               *group = strstr(keeper.text, "by KV cache group 2 of 2:");
    unsigned stored, held;
    cr_assert(said && sscanf(said, "moetap: stored %u", &stored) == 1, "%s", keeper.text);
    cr_assert(group && sscanf(group, "by KV cache group 2 of 2: rows held back %u, taken back 0", &held) == 1, "%s",
              keeper.text);
    cr_assert_eq(stored + held, replayed_rows, "each is there or counted: %s", keeper.text);
    cr_assert_lt(held, replayed_rows / 10);
    cr_assert_gt(found, stored / 2);
    mt_table_detach(table);
    passes_free(passes);
    trace_reader_close(reader);
    command(&o, "%s clean", MOETAP);
}

Test(table_groups, a_window_beside_full_attention)
{
    full_group = 1;
    run_again("vllm-0.24-windows");
    run_again("vllm-0.24-v2-windows");
}

/* A sequence's rows, as the kernel shows them that runs for each group; `blocks` of them, with their number ahead. */
enum { STARTS = ROUTER + LAYERS, BLOCKS };

static void open_groups(struct live *keeper, const char *more)
{
    open_engine("t");
    add_site(MT_SITE_STARTS, MT_LAYER_UNKNOWN);
    add_site(MT_SITE_BLOCKS, MT_LAYER_UNKNOWN);
    live_start(keeper, "%s table -o mine %s %s", MOETAP, more, segment_name());
}

struct group {
    const int32_t *slots, *blocks;
    bool lost;
};

/* Its rows' experts follow from the slots of the group `by`; routers have `more` rows behind them. */
static void padded_groups(uint32_t number, int32_t position, uint32_t rows, uint32_t more, const struct group groups[2],
                          uint32_t by)
{
    int32_t starts[] = {0, (int32_t) rows}, values[8 * K] = {0};
    for (uint32_t g = 0; g < 2; g++) {
        put_record(0, groups[g].slots, rows, 1, 4, groups[g].lost);
        for (int32_t i = 0; i < (int32_t) rows; i++)
            values[i] = position + i;
        if (g == 0) {
            put_record(1, values, rows, 1, 4, false);
            put_record(STARTS, starts, 2, 1, 4, false);
        }
        if (groups[g].blocks)
            put_record(BLOCKS, groups[g].blocks + 1, (uint32_t) groups[g].blocks[0], 1, 4, false);
    }
    put_record(2, values, rows, 1, 4, false);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        for (uint32_t i = 0; i < rows * K; i++)
            values[i] = id_of(groups[by].slots[i / K], number, layer, i % K);
        put_record(ROUTER + layer, values, rows + more, K, 1, false);
    }
}

static void groups_pass(uint32_t number, int32_t position, uint32_t rows, const struct group groups[2], uint32_t by)
{
    padded_groups(number, position, rows, 0, groups, by);
}

static void await_missing(const mt_table *table, int64_t slot)
{
    for (int i = 0; i < 5000; i++) {
        look(table, slot);
        if (row.missing == LAYERS)
            break;
        usleep(1000);
    }
    cr_assert_eq(row.missing, LAYERS);
    cr_assert_eq(row.position, -1);
    for (uint32_t i = 0; i < LAYERS * K; i++)
        cr_assert_eq(got[i], MT_ID_MISSING);
}

static int32_t in_view(int64_t slot)
{
    int32_t id = 0;
    char path[128];
    snprintf(path, sizeof path, "%s/vllm_routed_experts_buffer_x_0", folder);
    FILE *file = fopen(path, "r");
    cr_assert(file);
    fseek(file, slot * (long) (LAYERS * K * sizeof id), SEEK_SET);
    cr_assert_eq(fread(&id, sizeof id, 1, file), 1);
    fclose(file);
    return id;
}

/* Blocks of 2 slots. First both groups have all of them; then the second one lacks one, and then the first one two. */
Test(table_groups, another_choice_takes_rows_back)
{
    struct live keeper;
    open_groups(&keeper, "--strict --vllm x:0 --slots 100 --vllm-layers 4");
    groups_pass(0, 0, 4, (struct group[]){{(int32_t[]){4, 5, 6, 7}}, {(int32_t[]){10, 11, 12, 13}}}, 0);
    mt_table *table = await_table("mine");
    groups_pass(1, 4, 1,
                (struct group[]){{(int32_t[]){8}, (int32_t[]){5, 2, 0, 2, 2, 3}},
                                 {(int32_t[]){14}, (int32_t[]){5, 2, 0, 2, 5, 1}}},
                0);
    await_row(table, 8, 1, MT_ROW_OK, NOTHING);
    cr_assert_eq(row.position, 4);
    cr_assert_eq(in_view(8), id_of(8, 1, 0, 0));
    for (int64_t slot = 4; slot < 16; slot++) {
        look(table, slot);
        cr_assert_eq(row.status, slot == 8 ? MT_ROW_OK : MT_ROW_NEVER, "slot %d", (int) slot);
    }
    const uint64_t generation = (look(table, 8), row.generation);
    groups_pass(2, 5, 1, (struct group[]){{(int32_t[]){9}}, {(int32_t[]){15}}}, 0);
    await_row(table, 9, 2, MT_ROW_OK, NOTHING);
    groups_pass(3, 6, 1,
                (struct group[]){{(int32_t[]){20}, (int32_t[]){6, 2, 0, 3, 1, 1, 4}},
                                 {(int32_t[]){16}, (int32_t[]){6, 2, 0, 3, 5, 6, 7}}},
                1);
    await_row(table, 16, 3, MT_ROW_OK, NOTHING);
    await_missing(table, 9);
    await_missing(table, 8);
    cr_assert_gt(row.generation, generation);
    cr_assert_eq(in_view(8), -1);
    cr_assert_eq(in_view(16), id_of(16, 3, 0, 0));
    /* One group's slots are lost: whose the others are nothing tells, and the pass has none. */
    groups_pass(4, 7, 1, (struct group[]){{(int32_t[]){21}, .lost = true}, {(int32_t[]){17}}}, 1);
    await_row(table, 16, 3, MT_ROW_DOUBT, NOTHING);
    look(table, 17);
    cr_assert_eq(row.status, MT_ROW_NEVER);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 3, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "by KV cache group 2 of 2: rows held back 4, taken back 2 ->"), "%s", keeper.text);
    mt_table_detach(table);
    close_engine();
}

/* Layers that keep a state have a group without slots: the other one is known at once. */
Test(table_groups, a_state_is_no_choice)
{
    struct live keeper;
    open_groups(&keeper, "--strict");
    groups_pass(0, 0, 2, (struct group[]){{(int32_t[]){-1, -1}}, {(int32_t[]){10, 11}}}, 1);
    mt_table *table = await_table("mine");
    await_row(table, 10, 0, MT_ROW_OK, NOTHING);
    await_row(table, 11, 0, MT_ROW_OK, NOTHING);
    /* Nothing tells which of the routers' rows these are: it is that group's slots of which nothing is known now. */
    padded_groups(1, 0, 2, 2, (struct group[]){{(int32_t[]){-1, -1}}, {(int32_t[]){11, 12}}}, 1);
    await_missing(table, 11);
    await_row(table, 10, 0, MT_ROW_OK, NOTHING);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 3, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "of which nothing told the slot 2;"), "%s", keeper.text);
    cr_assert(strstr(keeper.text, "by KV cache group 2 of 2: rows held back 0, taken back 0 ->"), "%s", keeper.text);
    mt_table_detach(table);
    close_engine();
}

/* What nothing tells apart is not guessed. */
Test(table_groups, groups_that_are_alike)
{
    struct live keeper;
    open_groups(&keeper, "--strict");
    groups_pass(0, 0, 2, (struct group[]){{(int32_t[]){4, 5}}, {(int32_t[]){10, 11}}}, 1);
    mt_table *table = await_table("mine");
    groups_pass(
        1, 2, 1,
        (struct group[]){{(int32_t[]){6}, (int32_t[]){4, 2, 0, 1, 2}}, {(int32_t[]){12}, (int32_t[]){4, 2, 0, 1, 5}}},
        1);
    usleep(300000);
    cr_assert_eq(mt_table_header(table)->written, 0);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 3, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "; nothing told which of 2 KV cache groups keeps all blocks: rows held back 3, taken "
                                  "back 0 ->"),
              "%s", keeper.text);
    mt_table_detach(table);
    close_engine();
}
