/* SPDX-License-Identifier: Apache-2.0 */
/* From an engine's records, by `moetap table`, to those who look rows up: one engine, and the view for vLLM's readers.
 */
#include "table_rig.h"

#include <errno.h>
#include <sys/stat.h>

TestSuite(table, .init = table_enter, .fini = table_leave, .timeout = 60);

static const int32_t few[] = {5, 900, -1, 7};

Test(table, rows_are_there_before_the_next_pass)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "%s table -o mine %s", MOETAP, segment_name());
    pass(0, few, 4, NOTHING);
    mt_table *table = await_table("mine");
    const struct mt_table_header *header = mt_table_header(table);
    cr_assert_eq(header->layers, LAYERS);
    cr_assert_eq(header->k, K);
    cr_assert_eq(header->experts, EXPERTS);
    cr_assert_eq(header->width, 1);
    cr_assert_str_eq(header->source, segment_name());
    await_row(table, 5, 0, MT_ROW_OK, NOTHING);
    await_row(table, 7, 0, MT_ROW_OK, NOTHING);
    cr_assert_eq(row.position, 103);
    cr_assert_eq(row.token, 1003);
    for (uint32_t number = 1; number < 50; number++) {
        pass(number, few, 4, NOTHING);
        await_row(table, 900, number, MT_ROW_OK, NOTHING);
    }
    look(table, 6);
    cr_assert_eq(row.status, MT_ROW_NEVER);
    cr_assert_eq(header->written, 150);
    command(&o, "%s ls", MOETAP);
    cr_assert(strstr(o.text, "moetap-table.mine"), "%s", o.text);
    cr_assert(strstr(o.text, "alive"), "%s", o.text);
    command(&o, "%s table -o mine %s", MOETAP, segment_name());
    cr_assert_eq(o.status, 1);
    cr_assert(strstr(o.text, "already being drained"), "%s", o.text);
    command(&o, "%s clean moetap-table.mine", MOETAP);
    cr_assert_eq(o.status, 1);
    cr_assert(strstr(o.text, "already kept by process"), "%s", o.text);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "stored 150 rows, 4 layers, in 901 slots; records lost 0;"), "%s", keeper.text);
    cr_assert_eq(mt_table_state(table), MT_TABLE_CLOSED);
    mt_table_detach(table);
    cr_assert_eq(mt_table_attach("mine", &table, NULL), -ENOENT, "the owner takes its name along");
    close_engine();
}

Test(table, what_was_lost_is_missing_or_in_doubt)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "%s table --strict -o mine %s", MOETAP, segment_name());
    const int32_t early[] = {1, 2}, late[] = {3};
    pass(0, early, 2, NOTHING);
    mt_table *table = await_table("mine");
    await_row(table, 2, 0, MT_ROW_OK, NOTHING);
    for (int layer = 0; layer < (int) LAYERS; layer++) {
        pass(1 + (uint32_t) layer, late, 1, (int) ROUTER + layer);
        pass(9, early, 2, NOTHING);
        await_row(table, 3, 1 + (uint32_t) layer, layer + 1 < (int) LAYERS ? MT_ROW_OK : MT_ROW_DOUBT, layer);
        await_row(table, 2, 9, MT_ROW_OK, NOTHING);
    }
    /* Slots that nobody knows: all that was there before may be another token's. */
    pass(20, early, 2, 0);
    pass(21, late, 1, NOTHING);
    await_row(table, 3, 21, MT_ROW_OK, NOTHING);
    await_row(table, 1, 9, MT_ROW_DOUBT, NOTHING);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 3, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "records lost 5;"), "%s", keeper.text);
    mt_table_detach(table);
    close_engine();
}

/* The next owner goes on; who is attached stays so; `clean` takes what nobody goes on with. */
Test(table, a_killed_keeper_leaves_nothing_for_long)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "%s table -o mine %s", MOETAP, segment_name());
    pass(0, few, 4, NOTHING);
    mt_table *table = await_table("mine");
    await_row(table, 5, 0, MT_ROW_OK, NOTHING);
    kill(keeper.pid, SIGKILL);
    cr_assert_eq(live_end(&keeper), 128 + SIGKILL);
    cr_assert_not(mt_table_owned(table));
    command(&o, "%s ls", MOETAP);
    cr_assert(strstr(o.text, " dead "), "%s", o.text);
    live_start(&keeper, "%s table -o mine %s", MOETAP, segment_name());
    const int32_t other[] = {8};
    pass(1, other, 1, NOTHING);
    await_row(table, 8, 1, MT_ROW_OK, NOTHING);
    await_row(table, 5, 0, MT_ROW_DOUBT, NOTHING);
    kill(keeper.pid, SIGKILL);
    cr_assert_eq(live_end(&keeper), 128 + SIGKILL);
    cr_assert(strstr(keeper.text, "going on with it"), "%s", keeper.text);
    mt_table_detach(table);
    command(&o, "%s clean", MOETAP);
    cr_assert(strstr(o.text, "removed moetap-table.mine"), "%s", o.text);
    cr_assert_eq(mt_table_attach("mine", &table, NULL), -ENOENT);
    close_engine();
}

/* Rows of a session's engine that ends by itself; the table then has nobody's KV slots. */
Test(table, ends_with_its_engine)
{
    struct live keeper;
    live_start(&keeper, "%s table --session s --keep --slots 1000", MOETAP);
    pid_t engine = fork();
    if (engine == 0) {
        open_engine("s");
        for (uint32_t number = 0; number < 300; number++)
            pass(number, few, 4, NOTHING);
        mt_segment_close(&segment);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(engine, &status, 0), engine);
    cr_assert_eq(status, 0);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "stored 900 rows"), "%s", keeper.text);
    char name[64];
    snprintf(name, sizeof name, "s.%d.0", (int) engine);
    mt_table *table = await_table(name);
    await_row(table, 900, 299, MT_ROW_OK, NOTHING);
    cr_assert_eq(mt_table_state(table), MT_TABLE_CLOSED);
    mt_table_detach(table);
    command(&o, "%s ls", MOETAP);
    cr_assert(strstr(o.text, " closed "), "%s", o.text);
    command(&o, "%s clean", MOETAP);
    command(&o, "ls %s", folder);
    cr_assert_str_eq(o.text, "");
}

Test(table, slots_and_layers_beyond_are_counted)
{
    struct live keeper;
    open_engine("t");
    live_start(&keeper, "%s table --strict -o mine --slots 100 --layers 2 %s", MOETAP, segment_name());
    pass(0, few, 4, NOTHING);
    mt_table *table = await_table("mine");
    cr_assert_eq(mt_table_header(table)->layers, 2);
    for (int i = 0; i < 5000 && mt_table_header(table)->written < 2; i++)
        usleep(1000);
    usleep(20000);
    kill(keeper.pid, SIGINT);
    cr_assert_eq(live_end(&keeper), 3, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "mine: no slot 900 in it: ask for more with --slots"), "%s", keeper.text);
    cr_assert(strstr(keeper.text, "mine: layer 3 is beyond its 2 layers: ask for more with --layers"), "%s",
              keeper.text);
    cr_assert(strstr(keeper.text, "rows left out 1, of layers beyond the table 8, of which nothing told the slot 0;"),
              "%s", keeper.text);
    mt_table_detach(table);
    close_engine();
}

Test(table, wrong_words_are_one_line)
{
    static const struct {
        const char *words, *said;
    } wrong[] = {
        {"", "a table of which segment?"},
        {"a b", "a table of which segment?"},
        {"--session s a", "a table of which segment?"},
        {"--slots 0 a", "--slots takes a number"},
        {"--slots 5x a", "--slots takes a number"},
        {"--layers -1 a", "--layers takes a number"},
        {"--vllm x: a", "--vllm takes INSTANCE_ID or INSTANCE_ID:DP_RANK"},
        {"--vllm ../x:0 --slots 5 a", "--vllm takes INSTANCE_ID or INSTANCE_ID:DP_RANK"},
        {"--vllm x:0 a", "--vllm needs --slots and --vllm-layers"},
        {"--vllm x:0 --slots 5 a", "--vllm needs --slots and --vllm-layers"},
        {"--vllm x:0 --vllm-layers 5 a", "--vllm needs --slots and --vllm-layers"},
        {"--follow a", "--follow is for --session"},
        {"--vllm-layers 4 a", "--vllm-layers is for --vllm"},
        {"--vllm-layers 4:5 a", "--vllm-layers takes N or N:LIST"},
        {"--vllm-layers 4:2-1 a", "--vllm-layers takes N or N:LIST"},
        {"--vllm-layers 4:1,1 a", "--vllm-layers takes N or N:LIST"},
        {"--nothing a", "no such option"},
        {"-o", "needs a value"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        command(&o, "%s table %s", MOETAP, wrong[i].words);
        cr_assert_eq(o.status, 2, "%s: %d %s", wrong[i].words, o.status, o.text);
        cr_assert(strstr(o.text, wrong[i].said), "%s: %s", wrong[i].words, o.text);
        cr_assert_eq(strchr(o.text, '\n'), strrchr(o.text, '\n'));
    }
    command(&o, "%s table moetap.none.1.0", MOETAP);
    cr_assert_eq(o.status, 1);
    cr_assert(strstr(o.text, "no such segment"), "%s", o.text);
}
