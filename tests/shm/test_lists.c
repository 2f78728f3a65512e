/* SPDX-License-Identifier: Apache-2.0 */
/* The tap of kv_indices over lists that make no sense: the engine's memory ends where it ends, and so does the record.
 */
#include "rig.h"

#include "../../shim/tap/kv_indices.h"

#include <criterion/criterion.h>
#include <stdlib.h>

TestSuite(lists, .init = rig_enter, .fini = rig_leave, .timeout = 100);

enum { SEQUENCES = MT_BLOCKS_SEQUENCES_MAX };

static struct engine {
    int32_t starts[SEQUENCES + 1];
    int64_t index[SEQUENCES];
    struct mt_kv_seen seen[MT_KV_SEEN];
    struct mt_kv_plan plan;
} engine;

static uint32_t *make_slots(uint32_t count)
{
    uint32_t *slots = malloc(count * sizeof *slots);
    for (uint32_t i = 0; i < count; i++)
        slots[i] = i + 1;
    for (int i = 0; i < SEQUENCES; i++)
        engine.index[i] = i;
    return slots;
}

static struct mt_kv_args args_of(const struct rig *rig, const uint32_t *slots, uint32_t count, uint32_t sequences)
{
    return (struct mt_kv_args){.producer = rig->producer,
                               .slots = slots,
                               .starts = engine.starts,
                               .index = engine.index,
                               .seen = engine.seen,
                               .words_max = count,
                               .sequences = sequences};
}

static void begin(const struct mt_kv_args *args)
{
    mt_kv_begin(args, &engine.plan);
    mt_kv_count(args, &engine.plan, 0, 1);
    mt_kv_claim(args, &engine.plan);
}

/* Each is as long as there are slots: more words than 32 bits count. */
Test(lists, overlapping_ones_are_lost_not_cut)
{
    enum { COUNT = 1 << 21 };
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    uint32_t *slots = make_slots(COUNT);
    for (int i = 0; i <= SEQUENCES; i++)
        engine.starts[i] = i % 2 ? COUNT : 0;
    engine.starts[SEQUENCES] = COUNT;
    const struct mt_kv_args args = args_of(&rig, slots, COUNT, SEQUENCES);
    begin(&args);
    cr_assert_eq(engine.plan.blocks.place.status, MT_TAP_LOST);
    cr_assert_eq(rig.segment.counters->lost_too_big, 1);
    free(slots);
    rig_close(&rig);
}

static int count_records(const struct mt_record *record, const void *values, void *user)
{
    (void) values;
    *(uint32_t *) user = record->rows;
    return 0;
}

/* Another stream writes the starts of the next pass while those of this one are read. */
Test(lists, starts_that_change_meanwhile_lead_nowhere_else)
{
    static const int32_t others[][2] = {{7, 8}, {0x70000000, 0x70000008}, {-8, 0}, {8, 0}};
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    mt_reader *reader = rig_attach(&rig);
    uint32_t *slots = make_slots(8);
    const struct mt_kv_args args = args_of(&rig, slots, 8, 1);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        uint32_t words = 0;
        engine.starts[0] = 0;
        engine.starts[1] = 8;
        begin(&args);
        engine.starts[0] = others[i][0];
        engine.starts[1] = others[i][1];
        mt_kv_write(&args, &engine.plan, 0, MT_BLOCKS_LANES);
        mt_kv_end(&args, &engine.plan);
        cr_assert_eq(mt_read(reader, 9, count_records, &words, NULL), 1);
        cr_assert_eq(words, 1 + 3 + 8);
    }
    free(slots);
    mt_detach(reader);
    rig_close(&rig);
}
