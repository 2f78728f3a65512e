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
    fprintf(stderr, "%s: %u rows: %s", name, replayed_rows, keeper.text);
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
    fprintf(stderr, "found %u, others %u\n", found, others);
    cr_assert_eq(others, 0);
    cr_assert_gt(found, 500);
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
