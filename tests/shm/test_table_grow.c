/* SPDX-License-Identifier: Apache-2.0 */
/* A table that gets more layers: its rows, its readers, no room for it, an owner that is killed between two steps. */
static void grow_point(const char *name);
#define MT_TABLE_TESTPOINT(name) grow_point(name)
/* The library's own copy has no points. */
#include "../../shm/table_grow.c" /* NOLINT */

#include "rig.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

TestSuite(table_grow, .init = rig_enter, .fini = rig_leave, .timeout = 60);

#define K 2u
#define SLOTS 5000u
#define LAYERS 3u
#define MORE 5u

static const char *kill_at;

static void grow_point(const char *name)
{
    if (kill_at && strcmp(kill_at, name) == 0)
        kill(getpid(), SIGKILL);
}

static mt_table *create(uint32_t experts)
{
    const struct mt_table_spec spec = {.slots = SLOTS, .layers = LAYERS, .k = K, .experts = experts, .source = "e"};
    mt_table *table;
    struct mt_error error = {""};
    cr_assert_eq(mt_table_create("t", &spec, &table, NULL, &error), 0, "%s", error.text);
    return table;
}

static mt_table *attach(void)
{
    mt_table *table;
    struct mt_error error = {""};
    cr_assert_eq(mt_table_attach("t", &table, &error), 0, "%s", error.text);
    return table;
}

static int32_t id_of(int64_t slot, uint32_t i)
{
    return (int32_t) ((slot * 7 + i) % 60);
}

/* Of one row the second layer is missing, of another an id is negative. */
static int put(mt_table *table, int64_t slot)
{
    const uint32_t count = mt_table_header(table)->layers * K;
    int32_t ids[MORE * K];
    for (uint32_t i = 0; i < count; i++)
        ids[i] = slot == 2 && i / K == 1 ? MT_ID_MISSING : slot == 3 && i == 0 ? MT_ID_NEGATIVE : id_of(slot, i);
    const struct mt_table_row about = {.seq = 100 + (uint64_t) slot, .position = (int32_t) slot + 1, .token = 9};
    return mt_table_put(table, slot, &about, ids);
}

/* `grown`: it was stored when there were fewer layers. */
static void check(const mt_table *table, int64_t slot, enum mt_row_status status, bool grown)
{
    const uint32_t layers = mt_table_header(table)->layers;
    uint16_t ids[MORE * K];
    struct mt_table_row row;
    mt_table_get(table, &slot, 1, ids, &row);
    cr_assert_eq(row.status, status, "slot %d: %u", (int) slot, row.status);
    if (status == MT_ROW_NEVER)
        return;
    cr_assert_eq(row.seq, 100 + (uint64_t) slot);
    cr_assert_eq(row.position, slot + 1);
    cr_assert_eq(row.token, 9);
    cr_assert_eq(row.missing, (slot == 2) + (grown ? layers - LAYERS : 0));
    for (uint32_t i = 0; i < layers * K; i++) {
        bool missing = (slot == 2 && i / K == 1) || (grown && i / K >= LAYERS);
        int32_t wanted = missing ? MT_ID_MISSING : slot == 3 && i == 0 ? MT_ID_NEGATIVE : id_of(slot, i);
        cr_assert_eq(mt_table_id(table, ids, i), wanted, "slot %d, id %u", (int) slot, i);
    }
}

static const int64_t stored[] = {0, 2, 3, 1023, 1024, 4999};
#define STORED (sizeof stored / sizeof *stored)

static void fill(mt_table *table)
{
    for (size_t i = 0; i < STORED; i++)
        cr_assert_eq(put(table, stored[i]), 0);
    mt_table_lost(table, 103); /* rows of slots 0 and 2 */
}

static void check_all(const mt_table *table, bool grown)
{
    for (size_t i = 0; i < STORED; i++)
        check(table, stored[i], stored[i] < 3 ? MT_ROW_DOUBT : MT_ROW_OK, grown);
    check(table, 1, MT_ROW_NEVER, grown);
    check(table, 3000, MT_ROW_NEVER, grown);
}

static void rows_go_along(uint32_t experts)
{
    struct mt_error error = {""};
    mt_table *table = create(experts), *early = attach();
    fill(table);
    cr_assert_eq(chmod(table->path, 0644), 0);
    cr_assert_eq(mt_table_set_view(table, MT_TABLE_VIEW_PREFIX "x"), 0);
    cr_assert_eq(mt_table_grow(table, MORE, &error), 0, "%s", error.text);
    cr_assert_eq(mt_table_header(table)->layers, MORE);
    cr_assert_eq(mt_table_header(table)->written, STORED);
    cr_assert_eq(mt_table_header(table)->used, 5000);
    check_all(table, true);
    /* Who is attached is told, and finds what was there. */
    cr_assert_eq(mt_table_state(early), MT_TABLE_REPLACED);
    check_all(early, false);
    mt_table *late = attach();
    cr_assert_eq(mt_table_state(late), MT_TABLE_OPEN);
    cr_assert(mt_table_owned(late));
    cr_assert_str_eq(mt_table_header(late)->view, MT_TABLE_VIEW_PREFIX "x");
    struct stat status;
    cr_assert_eq(stat(late->path, &status), 0);
    cr_assert_eq(status.st_mode & 0777, 0644);
    check_all(late, true);
    cr_assert_eq(put(table, 3000), 0);
    check(late, 3000, MT_ROW_OK, false);
    struct mt_segment_name *names;
    size_t count;
    cr_assert_eq(mt_table_discover(&names, &count, NULL), 0);
    cr_assert_eq(count, 1);
    free(names);
    mt_table_detach(early);
    mt_table_detach(late);
    mt_table_detach(table);
}

Test(table_grow, rows_go_along)
{
    rows_go_along(64);
}

Test(table_grow, rows_of_two_bytes_go_along)
{
    rows_go_along(0);
}

Test(table_grow, what_cannot_be_is_refused)
{
    struct mt_error error = {""};
    mt_table *table = create(64), *reader = attach();
    fill(table);
    cr_assert_eq(mt_table_grow(reader, MORE, &error), -EPERM);
    cr_assert_eq(mt_table_grow(table, LAYERS, &error), -EINVAL);
    cr_assert_eq(mt_table_grow(table, MT_TABLE_LAYERS_MAX + 1, &error), -EINVAL);
    cr_assert(error.text[0]);
    check_all(table, false);
    cr_assert_eq(mt_table_state(reader), MT_TABLE_OPEN);
    mt_table_detach(reader);
    mt_table_detach(table);
}

/* In a folder of 1 MiB of its own, where the kernel lets us have one. */
static int grow_in_a_small_folder(void)
{
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return 77;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", mt_shm_dir(), "tmpfs", 0, "size=300k") != 0)
        return 77;
    struct mt_error error = {""};
    mt_table *table = create(64), *reader = attach();
    fill(table); /* three chunks of 40 KiB and 64 KiB before them: there is no room for a second time as much */
    cr_assert_eq(mt_table_grow(table, MORE, &error), -ENOSPC, "%s", error.text);
    cr_assert(strstr(error.text, "cannot grow to 5 layers: No space left"), "%s", error.text);
    cr_assert_eq(mt_table_state(reader), MT_TABLE_OPEN);
    check_all(reader, false);
    cr_assert_eq(put(table, 1), 0);
    check(reader, 1, MT_ROW_DOUBT, false);
    return 0;
}

Test(table_grow, a_full_folder_leaves_it_as_it_was)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(grow_in_a_small_folder());
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        cr_skip_test("no folder of its own can be mounted here");
    cr_assert_eq(status, 0, "status %x", (unsigned) status);
}

static void grow_and_die(const char *point)
{
    pid_t pid = fork();
    if (pid == 0) {
        mt_table *table = create(64);
        fill(table);
        kill_at = point;
        mt_table_grow(table, MORE, NULL);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status), "%s was never reached", point);
}

static size_t count_tables(void)
{
    struct mt_segment_name *names;
    size_t count;
    cr_assert_eq(mt_table_discover(&names, &count, NULL), 0);
    free(names);
    return count;
}

Test(table_grow, killed_between_any_two_steps)
{
    static const struct {
        const char *point;
        uint32_t layers;
        size_t files; /* that its death leaves */
    } deaths[] = {{"copied", LAYERS, 1}, {"linked", LAYERS, 2}, {"renamed", MORE, 1}};
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
        struct mt_error error = {""};
        grow_and_die(deaths[i].point);
        mt_table *reader = attach();
        cr_assert_eq(mt_table_header(reader)->layers, deaths[i].layers, "%s", deaths[i].point);
        check_all(reader, deaths[i].layers == MORE);
        cr_assert_eq(count_tables(), deaths[i].files, "%s", deaths[i].point);
        mt_table_detach(reader);
        /* The next owner can do the same. */
        mt_table *table = create(64);
        cr_assert_eq(put(table, 3), 0);
        cr_assert_eq(mt_table_grow(table, MORE, &error), 0, "%s", error.text);
        check(table, 3, MT_ROW_OK, true);
        cr_assert_eq(count_tables(), 1, "%s", deaths[i].point);
        cr_assert_eq(mt_table_unlink(table, NULL), 0);
        mt_table_detach(table);
    }
}
