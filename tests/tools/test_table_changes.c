/* SPDX-License-Identifier: Apache-2.0 */
/* `moetap table` where things change or run short: layers that come late, losses that no record tells, padded batches,
 * no room. */
#include "table_rig.h"

#include <errno.h>

TestSuite(table_changes, .init = table_enter, .fini = table_leave, .timeout = 20);

static const int32_t few[] = {5, 900, -1, 7};

static void await_state(const mt_table *table, enum mt_table_state state)
{
    for (int i = 0; i < 5000 && mt_table_state(table) != state; i++)
        usleep(1000);
    cr_assert_eq(mt_table_state(table), state);
}

/* Rows stay, who is attached is told to attach again. */
Test(table_changes, a_late_layer_grows_the_table)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "%s table -o mine %s", MOETAP, segment_name());
    pass(0, few, 4, NOTHING);
    mt_table *early = await_table("mine");
    await_row(early, 7, 0, MT_ROW_OK, NOTHING);
    add_layer();
    const int32_t other[] = {8, 5};
    pass(1, other, 2, NOTHING);
    await_state(early, MT_TABLE_REPLACED);
    mt_table *late = await_table("mine");
    cr_assert_eq(mt_table_header(late)->layers, LAYERS + 1);
    await_row(late, 8, 1, MT_ROW_OK, NOTHING);
    await_row(late, 5, 1, MT_ROW_OK, NOTHING);
    await_row(late, 7, 0, MT_ROW_OK, LAYERS); /* which was not there then */
    look(early, 7);
    cr_assert_eq(row.status, MT_ROW_OK);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "mine: has 5 layers now, not 4"), "%s", keeper.text);
    cr_assert(strstr(keeper.text, "stored 5 rows, 5 layers,"), "%s", keeper.text);
    cr_assert_eq(mt_table_state(late), MT_TABLE_CLOSED);
    mt_table_detach(early);
    mt_table_detach(late);
    command(&o, "ls %s | grep table", folder);
    cr_assert_str_eq(o.text, "");
    close_engine();
}

/* A draft model of the same shape has slots of its own passes, and its layers' numbers behind: it does not write over
 * ours. */
Test(table_changes, a_draft_models_passes_are_left_out)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "%s table -o mine %s", MOETAP, segment_name());
    pass(0, few, 4, NOTHING);
    mt_table *table = await_table("mine");
    await_row(table, 7, 0, MT_ROW_OK, NOTHING);
    add_layer();
    draft_pass(1, few, 4);
    draft_pass(2, few, 4);
    usleep(300000);
    await_row(table, 7, 0, MT_ROW_OK, NOTHING);
    cr_assert_eq(mt_table_state(table), MT_TABLE_OPEN);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "stored 3 rows, 4 layers,"), "%s", keeper.text);
    cr_assert(strstr(keeper.text, "of other layers alone 2 ->"), "%s", keeper.text);
    mt_table_detach(table);
    close_engine();
}

/* One that looked like one more of our layers, until it ran more often: what it had in our rows is taken back. */
Test(table_changes, a_draft_that_is_told_late)
{
    struct live keeper;
    open_engine("t");
    add_layer();
    live_start(&keeper, "%s table -o mine %s", MOETAP, segment_name());
    pass(0, few, 4, NOTHING);
    mt_table *table = await_table("mine");
    await_row(table, 7, 0, MT_ROW_OK, NOTHING);
    const uint64_t generation = row.generation;
    for (uint32_t number = 1; number < 20; number++)
        draft_pass(number, (const int32_t[]){50}, 1);
    await_row(table, 7, 0, MT_ROW_OK, LAYERS);
    cr_assert_gt(row.generation, generation);
    cr_assert_eq(row.position, 103);
    look(table, 50);
    cr_assert_eq(row.missing, LAYERS + 1);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "some layers are another model's: their ids are missing now in 4 rows"), "%s",
              keeper.text);
    mt_table_detach(table);
    close_engine();
}

/* Killed and started again, it goes on with the table that grew. */
Test(table_changes, a_table_that_grew_is_taken_over)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "%s table -o mine %s", MOETAP, segment_name());
    pass(0, few, 4, NOTHING);
    mt_table_detach(await_table("mine"));
    add_layer();
    pass(1, &few[3], 1, NOTHING);
    mt_table *table = NULL;
    for (int i = 0; i < 5000; i++) {
        table = await_table("mine");
        if (mt_table_header(table)->layers == LAYERS + 1)
            break;
        mt_table_detach(table);
        usleep(1000);
    }
    await_row(table, 7, 1, MT_ROW_OK, NOTHING);
    kill(keeper.pid, SIGKILL);
    live_end(&keeper);
    live_start(&keeper, "%s table -o mine %s", MOETAP, segment_name());
    const int32_t other[] = {8};
    pass(2, other, 1, NOTHING);
    await_row(table, 8, 2, MT_ROW_OK, NOTHING);
    await_row(table, 7, 1, MT_ROW_DOUBT, NOTHING);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "going on with it"), "%s", keeper.text);
    mt_table_detach(table);
    close_engine();
}

/* Nothing comes behind them that could tell. */
Test(table_changes, the_last_records_are_lost)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "%s table -o mine %s", MOETAP, segment_name());
    pass(0, few, 4, NOTHING);
    mt_table *table = await_table("mine");
    await_row(table, 7, 0, MT_ROW_OK, NOTHING);
    lose_a_pass();
    await_row(table, 7, 0, MT_ROW_DOUBT, NOTHING);
    pass(1, &few[3], 1, NOTHING);
    await_row(table, 7, 1, MT_ROW_OK, NOTHING);
    await_row(table, 5, 0, MT_ROW_DOUBT, NOTHING);
    mt_table_detach(table);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    close_engine();
}

/* 2 of 4 rows are real, which the tokens' number tells; then it does not, and what was in those slots is not theirs. */
Test(table_changes, padded_batches)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "%s table --strict -o mine %s", MOETAP, segment_name());
    const int32_t slots[] = {1, 2, 3, 4};
    pass(0, slots, 4, NOTHING);
    mt_table *table = await_table("mine");
    await_row(table, 4, 0, MT_ROW_OK, NOTHING);
    padded_pass(1, slots, 2, 4, 4);
    await_row(table, 1, 1, MT_ROW_OK, NOTHING);
    await_row(table, 2, 1, MT_ROW_OK, NOTHING);
    cr_assert_eq(row.position, 101);
    await_row(table, 3, 0, MT_ROW_OK, NOTHING); /* padding has no slot */
    padded_pass(2, slots, 2, 2, 4);
    for (int i = 0; i < 5000; i++) {
        look(table, 1);
        if (row.missing == LAYERS)
            break;
        usleep(1000);
    }
    for (int slot = 1; slot <= 2; slot++) {
        look(table, slot);
        cr_assert_eq(row.status, MT_ROW_OK);
        cr_assert_eq(row.missing, LAYERS);
        cr_assert_eq(row.position, -1);
        for (uint32_t i = 0; i < LAYERS * K; i++)
            cr_assert_eq(got[i], MT_ID_MISSING);
    }
    await_row(table, 3, 0, MT_ROW_OK, NOTHING);
    mt_table_detach(table);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 3, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "of which nothing told the slot 2;"), "%s", keeper.text);
    close_engine();
}

/* Rows that there is no room for are counted and left out, and nobody gets a signal. (The suites of shm/ do so in a
 * folder that is full.) */
Test(table_changes, no_room)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "bash -c 'ulimit -f 1000; exec %s table --strict -o mine %s'", MOETAP, segment_name());
    const int32_t slots[] = {1, 4000000};
    pass(0, slots, 2, NOTHING);
    mt_table *table = await_table("mine");
    await_row(table, 1, 0, MT_ROW_OK, NOTHING);
    look(table, 4000000);
    cr_assert_eq(row.status, MT_ROW_NEVER);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 3, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "mine: no memory for slot 4000000"), "%s", keeper.text);
    cr_assert(strstr(keeper.text, "rows left out 1,"), "%s", keeper.text);
    mt_table_detach(table);
    /* The view's memory is taken at once, or not at all. */
    pass(1, slots, 1, NOTHING);
    command(&o, "bash -c 'ulimit -f 1000; exec %s table -o mine --vllm x:0 --slots 100000 --vllm-layers 4 %s'", MOETAP,
            segment_name());
    cr_assert_eq(o.status, 1, "%s", o.text);
    cr_assert(strstr(o.text, "no room for"), "%s", o.text);
    command(&o, "ls %s", folder);
    cr_assert_null(strstr(o.text, "table"), "%s", o.text);
    cr_assert_null(strstr(o.text, "vllm"), "%s", o.text);
    close_engine();
}
