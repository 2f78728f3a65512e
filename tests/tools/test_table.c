/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an engine's records, by `moetap table`, to those who look rows up. The engine is this process or a child of it;
 * what a token is routed to follows from its KV slot and its pass.
 */
#include "../../shm/table.h"
#include "../shim/command.h"
#include "../shm/device.h"
#include "live.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/stat.h>

#define LAYERS 4u
#define K 2u
#define EXPERTS 64u
#define ROUTER 3u /* the first one's site; before it slots, positions, tokens */

static char folder[64];
static struct outcome o;

static void enter(void)
{
    strcpy(folder, "/dev/shm/moetap-test-XXXXXX");
    cr_assert(mkdtemp(folder));
    setenv("MOETAP_SHM_DIR", folder, 1);
    setenv("TMPDIR", folder, 1);
}

static void leave(void)
{
    command(&o, "rm -rf %s", folder);
}

TestSuite(table, .init = enter, .fini = leave, .timeout = 60);

static struct mt_segment segment;
static struct mt_producer *producer;

static const char *segment_name(void)
{
    return strrchr(segment.path, '/') + 1;
}

static void open_engine(const char *session)
{
    struct mt_error error = {""};
    cr_assert_eq(mt_segment_create(&segment, session, 0, "fake device", 1 << 20, false, NULL, &error), 0, "%s",
                 error.text);
    for (uint32_t i = 0; i < ROUTER + LAYERS; i++) {
        struct mt_site site = {.layer = i < ROUTER ? MT_LAYER_UNKNOWN : (int32_t) (i - ROUTER),
                               .experts = i < ROUTER ? 0 : EXPERTS,
                               .k = i < ROUTER ? 1 : K,
                               .dtype = MT_DTYPE_I32,
                               .kind = (uint8_t) (i < ROUTER ? MT_SITE_SLOTS + i : MT_SITE_ROUTER),
                               .recipe = "fake"};
        mt_segment_add_site(&segment, &site);
    }
    producer = rig_producer(&segment);
    cr_assert(producer);
    producer->wait_ns = 5000000000u;
}

static void close_engine(void)
{
    rig_producer_free(producer);
    mt_segment_destroy(&segment, true);
}

static int32_t id_of(int32_t slot, uint32_t pass, uint32_t layer, uint32_t i)
{
    return (int32_t) (((uint32_t) slot + 3 * pass + 5 * layer + i) % EXPERTS);
}

/* A record of `width` bytes a value; lost: it gets its numbers and no place. */
static void put(uint32_t site, const int32_t *values, uint32_t rows, uint32_t k, uint32_t width, bool lost)
{
    struct mt_claim claim;
    const uint32_t bytes = rows * k * width;
    if (!mt_ring_claim(producer, site, lost ? MT_RING_PAYLOAD_MAX : bytes, site < ROUTER, &claim)) {
        cr_assert(lost);
        return;
    }
    mt_ring_fill(producer, &claim, site, rows, k, width);
    for (uint32_t i = 0; i < bytes; i++) {
        uint64_t at = (claim.position + sizeof(struct mt_record) + i) & (producer->ring_size - 1);
        producer->ring[at] = (uint8_t) ((uint32_t) values[i / width] >> i % width * 8);
    }
    mt_ring_commit(producer, claim.position);
}

#define NOTHING (-1)

/* Tokens at positions 100, 101... whose ids are 1000, 1001...; `lost`: the site whose record is. */
static void pass(uint32_t number, const int32_t *slots, uint32_t rows, int lost)
{
    static int32_t values[4096 * K];
    for (uint32_t site = 0; site < ROUTER + LAYERS; site++) {
        const uint32_t k = site < ROUTER ? 1 : K;
        for (uint32_t row = 0; row < rows; row++) {
            for (uint32_t i = 0; i < k; i++)
                values[row * k + i] = site == 0   ? slots[row]
                                      : site == 1 ? (int32_t) (100 + row)
                                      : site == 2 ? (int32_t) (1000 + row)
                                                  : id_of(slots[row], number, site - ROUTER, i);
        }
        put(site, values, rows, k, site < ROUTER ? 4 : 1, lost == (int) site);
    }
}

static mt_table *await_table(const char *name)
{
    mt_table *table = NULL;
    for (int i = 0; i < 5000 && !table; i++) {
        mt_table_attach(name, &table, NULL);
        usleep(1000);
    }
    cr_assert(table, "no table");
    return table;
}

static struct mt_table_row row;
static int32_t got[LAYERS * K];

static void look(const mt_table *table, int64_t slot)
{
    uint16_t ids[LAYERS * K];
    mt_table_get(table, &slot, 1, ids, &row);
    for (uint32_t i = 0; i < LAYERS * K; i++)
        got[i] = mt_table_id(table, ids, i);
}

/* Once the pass is there: its ids, `missing` a layer without. */
static void await_row(const mt_table *table, int32_t slot, uint32_t number, enum mt_row_status status, int missing)
{
    for (int i = 0; i < 5000; i++) {
        look(table, slot);
        if (row.status == (uint32_t) status && got[(missing == 0) * K] == id_of(slot, number, missing == 0, 0))
            break;
        usleep(1000);
    }
    cr_assert_eq(row.status, status, "slot %d: status %u", slot, row.status);
    for (uint32_t i = 0; i < LAYERS * K; i++) {
        int32_t wanted = (int) (i / K) == missing ? MT_ID_MISSING : id_of(slot, number, i / K, i % K);
        cr_assert_eq(got[i], wanted, "slot %d layer %u: %d, not %d", slot, i / K, got[i], wanted);
    }
    cr_assert_eq(row.missing, missing >= 0);
}

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
    cr_assert(strstr(keeper.text, "rows left out 1, of layers beyond the table 8;"), "%s", keeper.text);
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
        {"--vllm x a", "--vllm takes INSTANCE_ID:DP_RANK"},
        {"--vllm ../x:0 --slots 5 a", "--vllm takes INSTANCE_ID:DP_RANK"},
        {"--vllm x:0 a", "--vllm needs --slots"},
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

/* ---- the view: Python's shared_memory knows /dev/shm only */

static char instance[64];

static void enter_view(void)
{
    enter();
    setenv("MOETAP_SHM_DIR", "/dev/shm", 1);
    snprintf(instance, sizeof instance, "moetap-test-%d", (int) getpid());
}

static void leave_view(void)
{
    command(&o, "rm -f /dev/shm/*%s*", instance);
    leave();
}

TestSuite(view, .init = enter_view, .fini = leave_view, .timeout = 60);

static void start_view(struct live *keeper, const char *more)
{
    live_start(keeper, "%s table -o %s --vllm %s:1 %s %s", MOETAP, instance, instance, more, segment_name());
}

static bool has_view(void)
{
    char path[128];
    snprintf(path, sizeof path, "/dev/shm/vllm_routed_experts_buffer_%s_1", instance);
    return access(path, F_OK) == 0;
}

Test(view, the_same_arrays)
{
    struct live keeper;
    open_engine(instance);
    start_view(&keeper, "--slots 1000 --vllm-layers 7:1,3-5");
    pass(0, few, 4, NOTHING);
    mt_table *table = await_table(instance);
    await_row(table, 7, 0, MT_ROW_OK, NOTHING);
    pass(1, few, 1, ROUTER + 2);
    pass(2, &few[1], 1, NOTHING);
    await_row(table, 900, 2, MT_ROW_OK, NOTHING);
    command(&o, "python3 %s %s 1 1000 7 2 900 5 6", VLLM_READER, instance);
    char wanted[512];
    snprintf(wanted, sizeof wanted,
             "900 [[0, 0], [%d, %d], [0, 0], [%d, %d], [%d, %d], [%d, %d], [0, 0]]\n"
             "5 [[0, 0], [%d, %d], [0, 0], [%d, %d], [-1, -1], [%d, %d], [0, 0]]\n"
             "6 [[-1, -1], [-1, -1], [-1, -1], [-1, -1], [-1, -1], [-1, -1], [-1, -1]]\n",
             id_of(900, 2, 0, 0), id_of(900, 2, 0, 1), id_of(900, 2, 1, 0), id_of(900, 2, 1, 1), id_of(900, 2, 2, 0),
             id_of(900, 2, 2, 1), id_of(900, 2, 3, 0), id_of(900, 2, 3, 1), id_of(5, 1, 0, 0), id_of(5, 1, 0, 1),
             id_of(5, 1, 1, 0), id_of(5, 1, 1, 1), id_of(5, 1, 3, 0), id_of(5, 1, 3, 1));
    cr_assert_str_eq(o.text, wanted);
    cr_assert_eq(o.status, 0);
    mt_table_detach(table);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert_not(has_view());
    command(&o, "ls $TMPDIR");
    cr_assert_str_eq(o.text, "", "the lock file stayed");
    close_engine();
}

Test(view, rows_are_whole_while_they_are_written)
{
    struct live keeper, reader;
    open_engine(instance);
    start_view(&keeper, "--slots 64");
    int32_t slots[64];
    for (int32_t i = 0; i < 64; i++)
        slots[i] = i;
    pass(0, slots, 64, NOTHING);
    mt_table_detach(await_table(instance));
    while (!has_view())
        usleep(1000);
    live_start(&reader, "python3 %s %s 1 64 4 2 --watch 300", VLLM_READER, instance);
    int status;
    uint32_t number = 1;
    for (; waitid(P_PID, (id_t) reader.pid, &(siginfo_t){0}, WEXITED | WNOWAIT | WNOHANG) == 0; number++) {
        siginfo_t info = {0};
        waitid(P_PID, (id_t) reader.pid, &info, WEXITED | WNOWAIT | WNOHANG);
        if (info.si_pid)
            break;
        pass(number, slots, 64, NOTHING);
    }
    status = live_end(&reader);
    cr_assert_eq(status, 0, "%s", reader.text);
    cr_assert_str_eq(reader.text, "torn 0, written some\n");
    cr_assert_gt(number, 100);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    close_engine();
}

Test(view, left_ones_are_taken_over_and_others_are_not)
{
    struct live keeper;
    open_engine(instance);
    command(&o, "echo precious >/dev/shm/vllm_routed_experts_buffer_%s_1", instance);
    pass(0, few, 4, NOTHING);
    command(&o, "%s table -o %s --vllm %s:1 --slots 100 %s", MOETAP, instance, instance, segment_name());
    cr_assert_eq(o.status, 1);
    cr_assert(strstr(o.text, "is there already"), "%s", o.text);
    command(&o, "cat /dev/shm/vllm_routed_experts_buffer_%s_1; rm /dev/shm/vllm_routed_experts_buffer_%s_1", instance,
            instance);
    cr_assert_str_eq(o.text, "precious\n");
    for (uint32_t number = 1; number < 3; number++) {
        start_view(&keeper, "--slots 1000");
        pass(number, few, 4, NOTHING);
        mt_table *table = await_table(instance);
        for (int i = 0; i < 5000 && mt_table_header(table)->written < 3 * number; i++)
            usleep(1000);
        mt_table_detach(table);
        cr_assert(has_view());
        kill(keeper.pid, SIGKILL);
        live_end(&keeper);
        cr_assert(has_view());
    }
    cr_assert(strstr(keeper.text, "going on with it"), "%s", keeper.text);
    command(&o, "%s clean moetap-table.%s", MOETAP, instance);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert_not(has_view());
    close_engine();
}
