/* SPDX-License-Identifier: Apache-2.0 */
/* A session's engines under `moetap table --session`: they come, go, are killed and come again. */
#include "table_rig.h"

#include <errno.h>
#include <sys/prctl.h>

TestSuite(table_sessions, .init = table_enter, .fini = table_leave, .timeout = 20);

/* An engine in a child that runs one pass and then does as it is told: by a byte each, another pass; by EOF, it exits.
 */
struct engine {
    pid_t pid;
    int to, from;
};

static void be_engine(const struct engine *engine, uint32_t number, const int32_t *slots)
{
    char byte;
    open_engine("s");
    do {
        pass(number++, slots, 2, NOTHING);
        if (write(engine->from, "", 1) != 1)
            _exit(1);
    } while (read(engine->to, &byte, 1) == 1 && byte == 'p');
    mt_segment_close(&segment);
    _exit(0);
}

static struct engine start_engine(uint32_t number, const int32_t *slots)
{
    int to[2], from[2];
    char byte;
    cr_assert_eq(pipe(to), 0);
    cr_assert_eq(pipe(from), 0);
    struct engine engine = {fork(), to[0], from[1]};
    if (engine.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(to[1]);
        close(from[0]);
        be_engine(&engine, number, slots);
    }
    close(to[0]);
    close(from[1]);
    engine.to = to[1];
    engine.from = from[0];
    cr_assert_eq(read(engine.from, &byte, 1), 1);
    return engine;
}

static void next_pass(const struct engine *engine)
{
    char byte;
    cr_assert_eq(write(engine->to, "p", 1), 1);
    cr_assert_eq(read(engine->from, &byte, 1), 1);
}

static void end_engine(const struct engine *engine, int number)
{
    if (number)
        kill(engine->pid, number);
    else
        cr_assert_eq(write(engine->to, "x", 1), 1);
    close(engine->to);
    close(engine->from);
    cr_assert_eq(waitpid(engine->pid, NULL, 0), engine->pid);
}

static mt_table *table_of(const struct engine *engine)
{
    char name[64];
    snprintf(name, sizeof name, "s.%d.0", (int) engine->pid);
    return await_table(name);
}

static void await_closed(const mt_table *table)
{
    /* Its keeper says so first, and lets go of it then. */
    for (int i = 0; i < 5000 && (mt_table_state(table) != MT_TABLE_CLOSED || mt_table_owned(table)); i++)
        usleep(1000);
    cr_assert_eq(mt_table_state(table), MT_TABLE_CLOSED);
    cr_assert_not(mt_table_owned(table));
}

static void expect_empty_folder(void)
{
    command(&o, "ls %s", folder);
    cr_assert_str_eq(o.text, "");
}

static const int32_t low[] = {1, 2}, high[] = {11, 12};

/* A table each, also for one that comes later; one that is killed takes its own along and no other. */
Test(table_sessions, a_table_each)
{
    struct live keeper;
    struct engine first = start_engine(0, low), second = start_engine(10, high);
    live_start(&keeper, "%s table --session s", MOETAP);
    mt_table *one = table_of(&first), *two = table_of(&second);
    await_row(one, 1, 0, MT_ROW_OK, NOTHING);
    await_row(two, 11, 10, MT_ROW_OK, NOTHING);
    look(one, 11);
    cr_assert_eq(row.status, MT_ROW_NEVER);
    struct engine third = start_engine(20, low);
    mt_table *three = table_of(&third);
    await_row(three, 2, 20, MT_ROW_OK, NOTHING);
    next_pass(&first);
    await_row(one, 1, 1, MT_ROW_OK, NOTHING);
    end_engine(&second, SIGKILL);
    await_closed(two);
    look(two, 11);
    cr_assert_eq(row.status, MT_ROW_OK); /* mapped is mapped */
    next_pass(&first);
    await_row(one, 1, 2, MT_ROW_OK, NOTHING);
    cr_assert(mt_table_owned(one));
    end_engine(&first, 0);
    await_closed(one);
    cr_assert_eq(mt_table_state(three), MT_TABLE_OPEN);
    end_engine(&third, 0);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text); /* as all have ended */
    expect_empty_folder();
    mt_table_detach(one);
    mt_table_detach(two);
    mt_table_detach(three);
}

/* With a name that lasts. */
Test(table_sessions, an_engine_that_starts_again)
{
    struct live keeper;
    live_start(&keeper, "%s table --session s --follow -o mine", MOETAP);
    mt_table *before = NULL;
    for (uint32_t i = 0; i < 3; i++) {
        struct engine engine = start_engine(10 * i, i % 2 ? high : low);
        mt_table *table = await_table("mine.0");
        await_row(table, i % 2 ? 12 : 2, 10 * i, MT_ROW_OK, NOTHING);
        look(table, i % 2 ? 2 : 12); /* the one before is another's */
        cr_assert_eq(row.status, MT_ROW_NEVER);
        mt_table_detach(before);
        before = table;
        end_engine(&engine, i == 1 ? SIGKILL : 0);
        await_closed(table);
        usleep(50000);
        cr_assert_eq(waitpid(keeper.pid, NULL, WNOHANG), 0);
    }
    mt_table_detach(before);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    expect_empty_folder();
}

/* Kept tables of the same name are replaced, which who is attached sees. */
Test(table_sessions, a_kept_table_is_replaced_by_the_next_engine)
{
    struct live keeper;
    live_start(&keeper, "%s table --session s --follow --keep -o mine", MOETAP);
    struct engine engine = start_engine(0, low);
    mt_table *old = await_table("mine.0");
    await_row(old, 2, 0, MT_ROW_OK, NOTHING);
    end_engine(&engine, SIGKILL);
    await_closed(old);
    engine = start_engine(1, high);
    for (int i = 0; i < 5000 && mt_table_state(old) != MT_TABLE_REPLACED; i++)
        usleep(1000);
    cr_assert_eq(mt_table_state(old), MT_TABLE_REPLACED);
    look(old, 2);
    cr_assert_eq(row.status, MT_ROW_OK);
    mt_table *table = await_table("mine.0");
    await_row(table, 12, 1, MT_ROW_OK, NOTHING);
    end_engine(&engine, 0);
    await_closed(table);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "replaced what a process that is gone had left"), "%s", keeper.text);
    mt_table_detach(old);
    mt_table_detach(table);
}

/* Two that would have one name: the second waits, a line says for whom. */
Test(table_sessions, one_name_is_one_engines)
{
    struct live keeper;
    struct engine first = start_engine(0, low);
    live_start(&keeper, "%s table --session s -o mine", MOETAP);
    mt_table *table = await_table("mine.0");
    await_row(table, 2, 0, MT_ROW_OK, NOTHING);
    struct engine second = start_engine(5, high);
    live_await(&keeper, "has the name mine.0");
    next_pass(&second);
    look(table, 12);
    cr_assert_eq(row.status, MT_ROW_NEVER);
    end_engine(&first, 0);
    await_closed(table);
    mt_table_detach(table);
    table = await_table("mine.0");
    await_row(table, 12, 6, MT_ROW_OK, NOTHING); /* what its ring kept */
    end_engine(&second, 0);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    mt_table_detach(table);
    expect_empty_folder();
}

/* The keeper of several is killed; the next one goes on with all of them. */
Test(table_sessions, a_killed_keeper_of_several)
{
    struct live keeper;
    struct engine first = start_engine(0, low), second = start_engine(10, high);
    live_start(&keeper, "%s table --session s", MOETAP);
    mt_table *one = table_of(&first), *two = table_of(&second);
    await_row(one, 2, 0, MT_ROW_OK, NOTHING);
    await_row(two, 12, 10, MT_ROW_OK, NOTHING);
    kill(keeper.pid, SIGKILL);
    live_end(&keeper);
    live_start(&keeper, "%s table --session s", MOETAP);
    next_pass(&first);
    next_pass(&second);
    await_row(one, 2, 1, MT_ROW_OK, NOTHING);
    await_row(two, 12, 11, MT_ROW_OK, NOTHING);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    await_closed(one);
    await_closed(two);
    end_engine(&first, 0);
    end_engine(&second, 0);
    mt_table_detach(one);
    mt_table_detach(two);
}

/* SGLang with data-parallel attention: the second group's lowest rank is 2; ranks come in any order. The engines tell
 * no slots: who is read is seen by what is said. */
Test(table_sessions, the_lowest_rank_of_a_group)
{
    struct live keeper, engines[4];
    static const char *const titles[] = {"DP1_TP3", "DP0_TP1", "DP1_TP2", "DP0_TP0"};
    setenv("MOETAP_SESSION", "s", 1);
    live_start(&keeper, "%s table --session s -o mine", MOETAP);
    for (uint32_t i = 0; i < 4; i++) {
        live_start(&engines[i], "bash -c 'exec -a sglang::scheduler_%s %s --wait-after 2'", titles[i], ENGINE);
        live_await(&engines[i], "ready");
    }
    live_await(&keeper, "repeats");
    live_await(&keeper, "repeats");
    usleep(200000);
    for (int i = 0; i < 4; i++) {
        kill(engines[i].pid, SIGTERM);
        live_end(&engines[i]);
    }
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert(strstr(keeper.text, "rank 3 repeats what rank 2 routes"), "%s", keeper.text);
    cr_assert(strstr(keeper.text, "rank 1 repeats what rank 0 routes"), "%s", keeper.text);
    cr_assert(strstr(keeper.text, "mine.0: no table: no pass told its rows' KV slots"), "%s", keeper.text);
    cr_assert(strstr(keeper.text, "mine.1: no table: no pass told its rows' KV slots"), "%s", keeper.text);
}
