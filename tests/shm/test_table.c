/* SPDX-License-Identifier: Apache-2.0 */
/* The live table: what a row can say, and a table's life among owners, readers and left-overs. */
#include "../../shm/table_file.h"
#include "rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(table, .init = rig_enter, .fini = rig_leave, .timeout = 60);

#define LAYERS 3u
#define K 2u

static const struct mt_table_spec usual = {.slots = 5000, .layers = LAYERS, .k = K, .experts = 64, .source = "engine"};

static mt_table *create(const struct mt_table_spec *spec, struct mt_error *note)
{
    mt_table *table;
    struct mt_error error = {""};
    cr_assert_eq(mt_table_create("t", spec, &table, note, &error), 0, "%s", error.text);
    return table;
}

static mt_table *attach(void)
{
    mt_table *table;
    struct mt_error error = {""};
    cr_assert_eq(mt_table_attach("t", &table, &error), 0, "%s", error.text);
    return table;
}

static void put(mt_table *table, int64_t slot, int32_t first, uint64_t seq)
{
    int32_t ids[LAYERS * K];
    for (uint32_t i = 0; i < LAYERS * K; i++)
        ids[i] = first + (int32_t) i;
    const struct mt_table_row about = {.seq = seq, .position = (int32_t) slot, .token = first};
    cr_assert_eq(mt_table_put(table, slot, &about, ids), 0);
}

/* The row's status, and its first id. */
static enum mt_row_status look(const mt_table *table, int64_t slot, int32_t *first)
{
    uint16_t ids[LAYERS * K];
    struct mt_table_row row;
    size_t good = mt_table_get(table, &slot, 1, ids, &row);
    cr_assert_eq(good, row.status == MT_ROW_OK);
    *first = mt_table_id(table, ids, 0);
    return row.status;
}

#define LOOKS(table, slot, status, id)                                                                                 \
    do {                                                                                                               \
        int32_t first_;                                                                                                \
        cr_assert_eq(look(table, slot, &first_), status, "slot %d", (int) (slot));                                     \
        cr_assert_eq(first_, id, "slot %d: %d", (int) (slot), (int) first_);                                           \
    } while (0)

/* An owner that is killed, with rows 0 to 9 stored. */
static void leave_stale(const struct mt_table_spec *spec)
{
    pid_t pid = fork();
    if (pid == 0) {
        mt_table *table = create(spec, NULL);
        for (int64_t slot = 0; slot < 10; slot++)
            put(table, slot, 7, 100 + (uint64_t) slot);
        kill(getpid(), SIGKILL);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status));
}

static void marks(uint32_t experts, uint32_t width, int32_t highest)
{
    struct mt_table_spec spec = usual;
    spec.experts = experts;
    mt_table *table = create(&spec, NULL);
    cr_assert_eq(mt_table_header(table)->width, width);
    const int32_t ids[LAYERS * K] = {0, MT_ID_NEGATIVE, MT_ID_OVERFLOW, highest, MT_ID_MISSING, MT_ID_MISSING};
    const struct mt_table_row about = {.seq = 5, .position = 17, .token = 4711};
    cr_assert_eq(mt_table_put(table, 3, &about, ids), 0);
    mt_table *reader = attach();
    const int64_t slots[] = {3, 4, -1, 5000, 4999};
    struct mt_table_row rows[5];
    uint16_t got[5 * LAYERS * K];
    cr_assert_eq(mt_table_get(reader, slots, 5, got, rows), 1);
    for (size_t i = 0; i < LAYERS * K; i++)
        cr_assert_eq(mt_table_id(reader, got, i), ids[i], "%zu", i);
    cr_assert_eq(rows[0].status, MT_ROW_OK);
    cr_assert_eq(rows[0].generation, 2);
    cr_assert_eq(rows[0].seq, 5);
    cr_assert_eq(rows[0].position, 17);
    cr_assert_eq(rows[0].token, 4711);
    cr_assert_eq(rows[0].missing, 1);
    for (size_t i = 1; i < 5; i++) {
        cr_assert_eq(rows[i].status, MT_ROW_NEVER);
        cr_assert_eq(rows[i].missing, LAYERS);
        cr_assert_eq(rows[i].position, -1);
        cr_assert_eq(mt_table_id(reader, got, i * LAYERS * K), MT_ID_MISSING, "never written is not expert 0");
    }
    /* The first id that a row cannot hold. */
    const int32_t high[LAYERS * K] = {highest + 1, 0, 0, 0, 0, 0};
    cr_assert_eq(mt_table_put(table, 3, &about, high), 0);
    LOOKS(reader, 3, MT_ROW_OK, MT_ID_OVERFLOW);
    mt_table_detach(reader);
    mt_table_detach(table);
}

Test(table, marks_are_no_experts)
{
    marks(64, 1, 252);
}

Test(table, marks_are_no_experts_in_two_bytes)
{
    marks(241, 2, 65532);
}

Test(table, two_bytes_if_the_engine_does_not_tell)
{
    marks(0, 2, 65532);
}

Test(table, a_second_owner_is_refused)
{
    mt_table *table = create(&usual, NULL), *second;
    struct mt_error error = {""};
    cr_assert_eq(mt_table_create("t", &usual, &second, NULL, &error), -EBUSY);
    cr_assert(strstr(error.text, "already kept by process"), "%s", error.text);
    cr_assert_eq(mt_table_remove("t", &error), -EBUSY);
    pid_t pid = fork();
    if (pid == 0)
        _exit(mt_table_create("t", &usual, &second, NULL, NULL) == -EBUSY ? 0 : 1);
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
    /* A reader that comes and goes does not open the door. */
    mt_table_detach(attach());
    cr_assert_eq(mt_table_create("t", &usual, &second, NULL, &error), -EBUSY);
    mt_table *reader = attach();
    cr_assert(mt_table_owned(reader));
    int32_t ids[LAYERS * K] = {0};
    cr_assert_eq(mt_table_put(reader, 0, &(struct mt_table_row){0}, ids), -EPERM);
    cr_assert_eq(mt_table_lost(reader, 0), -EPERM);
    cr_assert_eq(mt_table_unlink(reader, &error), -EPERM);
    mt_table_detach(table);
    cr_assert_not(mt_table_owned(reader));
    cr_assert_eq(mt_table_state(reader), MT_TABLE_CLOSED);
    mt_table_detach(reader);
}

Test(table, a_dead_owners_table_is_taken_over)
{
    leave_stale(&usual);
    mt_table *reader = attach();
    cr_assert_not(mt_table_owned(reader));
    cr_assert_eq(mt_table_state(reader), MT_TABLE_OPEN);
    LOOKS(reader, 3, MT_ROW_OK, 7);
    struct mt_error note;
    mt_table *table = create(&usual, &note);
    cr_assert(strstr(note.text, "going on with it"), "%s", note.text);
    LOOKS(reader, 3, MT_ROW_DOUBT, 7);
    put(table, 5, 9, 200);
    LOOKS(reader, 3, MT_ROW_DOUBT, 7);
    LOOKS(reader, 5, MT_ROW_OK, 9);
    LOOKS(reader, 11, MT_ROW_NEVER, MT_ID_MISSING);
    mt_table_detach(table);
    mt_table_detach(reader);
}

static void replaced(const struct mt_table_spec *spec)
{
    leave_stale(&usual);
    mt_table *old = attach();
    struct mt_error note;
    mt_table *table = create(spec, &note);
    cr_assert(strstr(note.text, "replaced"), "%s", note.text);
    cr_assert_eq(mt_table_state(old), MT_TABLE_REPLACED);
    LOOKS(old, 3, MT_ROW_OK, 7); /* what it mapped is still there */
    mt_table *reader = attach();
    LOOKS(reader, 3, MT_ROW_NEVER, MT_ID_MISSING);
    mt_table_detach(reader);
    mt_table_detach(old);
    mt_table_detach(table);
}

Test(table, another_size_is_replaced)
{
    struct mt_table_spec spec = usual;
    spec.slots++;
    replaced(&spec);
}

Test(table, another_engines_rows_are_replaced)
{
    struct mt_table_spec spec = usual;
    spec.source_id = 1;
    replaced(&spec);
}

Test(table, left_over_bytes_are_replaced)
{
    char path[300];
    snprintf(path, sizeof path, "%s/" MT_TABLE_PREFIX "t", mt_shm_dir());
    for (int i = 0; i < 3; i++) {
        FILE *file = fopen(path, "w");
        /* not a table; an empty one; one whose creator died before the version */
        if (i == 0)
            fprintf(file, "%5000s", "what is this");
        else if (i == 2)
            cr_assert_eq(ftruncate(fileno(file), 8192), 0);
        fclose(file);
        mt_table *reader;
        cr_assert_eq(mt_table_attach("t", &reader, NULL), i == 0 ? -EINVAL : -EAGAIN);
        mt_table *table = create(&usual, NULL);
        put(table, 1, 1, 1);
        LOOKS(table, 1, MT_ROW_OK, 1);
        struct mt_error error = {""};
        cr_assert_eq(mt_table_unlink(table, &error), 0);
        mt_table_detach(table);
        cr_assert_eq(mt_table_attach("t", &reader, &error), -ENOENT);
        cr_assert(strstr(error.text, "no such table"), "%s", error.text);
    }
}

Test(table, bad_names_and_shapes)
{
    mt_table *table;
    struct mt_error error = {""};
    char longer[400];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    const char *const names[] = {"", "a b", "a\n", longer};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_assert_eq(mt_table_create(names[i], &usual, &table, NULL, &error), -EINVAL, "%s", names[i]);
    struct mt_table_spec spec = usual;
    spec.layers = 0;
    cr_assert_eq(mt_table_create("t", &spec, &table, NULL, &error), -EINVAL);
    spec = usual;
    spec.k = MT_TABLE_K_MAX + 1;
    cr_assert_eq(mt_table_create("t", &spec, &table, NULL, &error), -EINVAL);
    spec = usual;
    spec.source = longer;
    cr_assert_eq(mt_table_create("t", &spec, &table, NULL, &error), -EINVAL);
    cr_assert(error.text[0]);
}

static void damage(size_t offset, uint64_t value, size_t size, int wanted)
{
    mt_table *table = create(&usual, NULL), *reader;
    put(table, 4000, 1, 1);
    mt_table_detach(table);
    char path[300];
    snprintf(path, sizeof path, "%s/" MT_TABLE_PREFIX "t", mt_shm_dir());
    int fd = open(path, O_RDWR);
    if (size)
        cr_assert_eq(pwrite(fd, &value, size, (off_t) offset), (ssize_t) size);
    else
        cr_assert_eq(ftruncate(fd, (off_t) offset), 0);
    close(fd);
    struct mt_error error = {""};
    cr_assert_eq(mt_table_attach("t", &reader, &error), wanted, "offset %zu: %s", offset, error.text);
    cr_assert(error.text[0] && !strchr(error.text, '\n'));
    cr_assert_eq(mt_table_remove("t", &error), 0, "%s", error.text);
}

Test(table, damaged_ones_are_refused)
{
#define FIELD(name) offsetof(struct mt_table_header, name), 0xFFFFFFFF, sizeof((struct mt_table_header *) 0)->name
    damage(FIELD(magic), -EINVAL);
    damage(FIELD(abi_major), -EPROTO);
    damage(FIELD(endian), -EPROTO);
    damage(FIELD(header_size), -EINVAL);
    damage(FIELD(slots), -EINVAL);
    damage(FIELD(layers), -EINVAL);
    damage(FIELD(k), -EINVAL);
    damage(FIELD(width), -EINVAL);
    damage(FIELD(stride), -EINVAL);
    damage(FIELD(ids_offset), -EINVAL);
    damage(FIELD(chunk_slots), -EINVAL);
    damage(FIELD(chunks_offset), -EINVAL);
    damage(FIELD(rows_offset), -EINVAL);
    damage(100, 0, 0, -EINVAL);
    damage(70000, 0, 0, -EINVAL); /* rows that have a chunk */
}

Test(table, grows_under_its_readers)
{
    struct mt_table_spec spec = usual;
    spec.slots = MT_TABLE_SLOTS_DEFAULT;
    mt_table *table = create(&spec, NULL), *reader = attach();
    struct stat before, after;
    cr_assert_eq(stat(reader->path, &before), 0);
    LOOKS(reader, 16000000, MT_ROW_NEVER, MT_ID_MISSING);
    put(table, 16000000, 3, 1);
    LOOKS(reader, 16000000, MT_ROW_OK, 3);
    put(table, 2, 4, 2);
    LOOKS(reader, 2, MT_ROW_OK, 4);
    LOOKS(reader, 8000000, MT_ROW_NEVER, MT_ID_MISSING);
    cr_assert_eq(mt_table_header(reader)->used, 16000001);
    cr_assert_eq(stat(reader->path, &after), 0);
    cr_assert_gt(after.st_size, before.st_size);
    /* In a table of 760 MB two chunks are there, and looking at the rest took no memory. */
    cr_assert_lt((after.st_blocks - before.st_blocks) * 512, 1 << 18, "%lld", (long long) after.st_blocks * 512);
    mt_table_detach(reader);
    mt_table_detach(table);
}

Test(table, no_memory_is_an_error_and_no_signal)
{
    struct mt_table_spec spec = usual;
    spec.slots = 1000000;
    mt_table *table = create(&spec, NULL);
    put(table, 0, 1, 1);
    struct rlimit limit, less;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    less = limit;
    less.rlim_cur = 1 << 20;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &less), 0);
    const int32_t ids[LAYERS * K] = {0};
    cr_assert_eq(mt_table_put(table, 900000, &(struct mt_table_row){0}, ids), -EFBIG);
    cr_assert_eq(mt_table_put(table, 1000000, &(struct mt_table_row){0}, ids), -ERANGE);
    cr_assert_eq(mt_table_put(table, -5, &(struct mt_table_row){0}, ids), -ERANGE);
    cr_assert_eq(mt_table_header(table)->refused, 3);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    LOOKS(table, 900000, MT_ROW_NEVER, MT_ID_MISSING);
    put(table, 900000, 1, 1);
    mt_table_detach(table);
}

/* In a folder of 1 MiB of its own, where the kernel lets us have one. */
static int fill_a_small_folder(void)
{
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return 77;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", mt_shm_dir(), "tmpfs", 0, "size=1m") != 0)
        return 77;
    struct mt_table_spec spec = usual;
    spec.slots = 1000000;
    mt_table *table = create(&spec, NULL), *reader = attach();
    const int32_t ids[LAYERS * K] = {5, 5, 5, 5, 5, 5};
    int64_t slot = 0;
    int result;
    while ((result = mt_table_put(table, slot, &(struct mt_table_row){0}, ids)) == 0)
        slot++;
    cr_assert_eq(result, -ENOSPC);
    cr_assert_gt(slot, 10000);
    LOOKS(reader, slot - 1, MT_ROW_OK, 5);
    for (; slot < 1000000; slot += 500)
        LOOKS(reader, slot, MT_ROW_NEVER, MT_ID_MISSING);
    mt_table *second;
    struct mt_error error = {""};
    cr_assert_eq(mt_table_create("second", &spec, &second, NULL, &error), -ENOSPC);
    cr_assert(strstr(error.text, "no room"), "%s", error.text);
    return 0;
}

Test(table, a_full_folder_is_an_error_and_no_signal)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(fill_a_small_folder());
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        cr_skip_test("no folder of its own can be mounted here");
    cr_assert_eq(status, 0, "status %x", (unsigned) status);
}

static int look_as_nobody(void)
{
    mt_table *table;
    struct mt_error error = {""};
    if (setresuid(65534, 65534, 65534) != 0)
        return 2;
    int result = mt_table_attach("t", &table, &error);
    if (result)
        return strstr(error.text, "Permission denied") ? -result : 3;
    int32_t first;
    return look(table, 1, &first) == MT_ROW_OK && first == 6 ? 0 : 4;
}

static int as_nobody(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(look_as_nobody());
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

Test(table, the_right_to_read_is_enough)
{
    mt_table *table = create(&usual, NULL);
    put(table, 1, 6, 1);
    if (geteuid() == 0) {
        cr_assert_eq(chmod(mt_shm_dir(), 0755), 0);
        cr_assert_eq(as_nobody(), EACCES);
        cr_assert_eq(chmod(table->path, 0444), 0);
        cr_assert_eq(as_nobody(), 0);
    } else {
        cr_assert_eq(chmod(table->path, 0400), 0);
        mt_table *reader = attach();
        LOOKS(reader, 1, MT_ROW_OK, 6);
        mt_table_detach(reader);
    }
    mt_table_detach(table);
}

Test(table, losses_put_older_rows_in_doubt)
{
    mt_table *table = create(&usual, NULL);
    put(table, 1, 1, 10);
    put(table, 2, 2, 20);
    cr_assert_eq(mt_table_lost(table, 20), 0);
    LOOKS(table, 1, MT_ROW_DOUBT, 1);
    LOOKS(table, 2, MT_ROW_OK, 2);
    put(table, 1, 3, 30);
    LOOKS(table, 1, MT_ROW_OK, 3);
    mt_table_detach(table);
}

static unsigned files(void)
{
    struct mt_segment_name *names;
    size_t count;
    cr_assert_eq(mt_table_discover(&names, &count, NULL), 0);
    free(names);
    return (unsigned) count;
}

/* An owner that is killed; -EINVAL if the view is not to be had. */
static int leave_with_view(const char *view, bool forge)
{
    pid_t pid = fork();
    if (pid == 0) {
        mt_table *table = create(&usual, NULL);
        int result = mt_table_set_view(table, view);
        if (forge)
            strcpy(table->live->view, view);
        _exit(-result);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return -WEXITSTATUS(status);
}

static const char *touched(const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", mt_shm_dir(), name);
    fclose(fopen(path, "w"));
    return path;
}

Test(table, a_view_goes_with_its_table_and_nothing_else_does)
{
    struct mt_error error = {""};
    const char *view = MT_TABLE_VIEW_PREFIX "x_0", *path = touched(view);
    cr_assert_eq(leave_with_view(view, false), 0);
    cr_assert_eq(files(), 1);
    cr_assert_eq(mt_table_remove("t", &error), 0, "%s", error.text);
    cr_assert_eq(files(), 0);
    cr_assert_neq(access(path, F_OK), 0);
    cr_assert_eq(mt_table_remove("t", &error), -ENOENT);
    /* The next owner has another. */
    path = touched(view);
    cr_assert_eq(leave_with_view(view, false), 0);
    mt_table *table = create(&usual, NULL);
    cr_assert_str_eq(mt_table_header(table)->view, view);
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(mt_table_set_view(table, MT_TABLE_VIEW_PREFIX "y_0"), 0);
    cr_assert_neq(access(path, F_OK), 0);
    mt_table_detach(table);
    path = touched("precious");
    const char *const views[] = {"precious", "../precious", MT_TABLE_VIEW_PREFIX "/../precious"};
    for (size_t i = 0; i < 2 * sizeof views / sizeof *views; i++) {
        cr_assert_eq(leave_with_view(views[i / 2], i % 2), -EINVAL);
        cr_assert_eq(mt_table_remove("t", &error), 0, "%s", error.text);
        cr_assert_eq(access(path, F_OK), 0, "%s", views[i / 2]);
    }
}
