/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that are rewritten at full rate under their readers, by an owner that may be killed between any two steps: what
 * is handed out as whole is whole. A row's ids follow from its slot, the number of its writing and the layer.
 */
static void table_point(const char *name);
#define MT_TABLE_TESTPOINT(name) table_point(name)
/* The library's own copy has no points. */
#include "../../shm/table.c" /* NOLINT */

#include "rig.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(table_race, .init = rig_enter, .fini = rig_leave, .timeout = 100);

#define LAYERS 7u
#define K 5u
#define SLOTS 3000u /* three chunks */
#define AT_ONCE 16u

static const char *kill_at;
static unsigned kill_after;

static void table_point(const char *name)
{
    if (kill_at && strcmp(kill_at, name) == 0 && kill_after-- == 0)
        kill(getpid(), SIGKILL);
}

static const struct mt_table_spec spec = {.slots = SLOTS, .layers = LAYERS, .k = K, .experts = 200, .source = "race"};

static mt_table *create(void)
{
    mt_table *table;
    struct mt_error error = {""};
    cr_assert_eq(mt_table_create("race", &spec, &table, NULL, &error), 0, "%s", error.text);
    return table;
}

static mt_table *attach(void)
{
    mt_table *table;
    struct mt_error error = {""};
    cr_assert_eq(mt_table_attach("race", &table, &error), 0, "%s", error.text);
    return table;
}

static int32_t id_of(uint64_t slot, uint64_t writing, uint32_t layer, uint32_t i)
{
    return (int32_t) (mt_commit_word(slot + (writing << 24), layer * K + i) % 200);
}

static void put(mt_table *table, uint64_t slot, uint64_t writing)
{
    int32_t ids[LAYERS * K];
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        for (uint32_t i = 0; i < K; i++)
            ids[layer * K + i] = id_of(slot, writing, layer, i);
    }
    const struct mt_table_row about = {.seq = writing, .position = (int32_t) slot, .token = (int32_t) writing};
    cr_assert_eq(mt_table_put(table, (int64_t) slot, &about, ids), 0);
}

struct seen {
    uint64_t whole, torn, never, wrong;
    uint64_t generation[SLOTS];
};

/* Looks 16 rows up, near each other as those of a request are. */
static void look(const mt_table *table, uint64_t random, struct seen *seen)
{
    int64_t slots[AT_ONCE];
    uint8_t ids[AT_ONCE * LAYERS * K];
    struct mt_table_row rows[AT_ONCE];
    for (uint32_t i = 0; i < AT_ONCE; i++)
        slots[i] = (int64_t) ((random + i) % SLOTS);
    mt_table_get(table, slots, AT_ONCE, ids, rows);
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        const struct mt_table_row *row = &rows[i];
        seen->never += row->status == MT_ROW_NEVER;
        seen->torn += row->status == MT_ROW_TORN;
        if (row->status != MT_ROW_OK && row->status != MT_ROW_DOUBT)
            continue;
        seen->whole++;
        bool right = row->position == slots[i] && row->token == (int32_t) row->seq && row->missing == 0 &&
                     row->generation % 2 == 0 && row->generation >= seen->generation[slots[i]];
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            for (uint32_t j = 0; j < K; j++)
                right &= ids[(i * LAYERS + layer) * K + j] == id_of((uint64_t) slots[i], row->seq, layer, j);
        }
        seen->generation[slots[i]] = row->generation;
        seen->wrong += !right;
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void read_for(const mt_table *table, double seconds, struct seen *seen)
{
    uint64_t random = (uint64_t) getpid();
    for (double end = now() + seconds; now() < end;) {
        for (int i = 0; i < 100; i++) {
            random = mt_commit_word(random, 1);
            /* Now and then where the owner is just writing. */
            look(table, i % 4 ? random : __atomic_load_n(&table->header->reserved[0], __ATOMIC_RELAXED), seen);
        }
    }
}

/* All slots over and over, and some of them far more often. Where it is stands in a reserved field. */
static void write_until(mt_table *table, const bool *stop, uint64_t *writings)
{
    uint64_t writing = 1;
    while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
        for (uint64_t slot = 0; slot < SLOTS; slot++) {
            __atomic_store_n(&table->live->reserved[0], slot > 2 ? slot - 2 : 0, __ATOMIC_RELAXED);
            put(table, slot, writing);
            put(table, slot % 8, writing);
            put(table, slot % 8, writing);
        }
        writing++;
    }
    *writings = writing;
}

/* ---- threads: also under the thread sanitizer */

static bool stop_writer;

static void *writer_thread(void *table)
{
    uint64_t writings;
    write_until(table, &stop_writer, &writings);
    return NULL;
}

struct reader_thread {
    const mt_table *table;
    struct seen seen;
};

static void *reader_thread(void *user)
{
    struct reader_thread *reader = user;
    read_for(reader->table, 1.0, &reader->seen);
    return NULL;
}

Test(table_race, threads_of_one_process)
{
    static struct reader_thread readers[3];
    mt_table *table = create(), *attached = attach();
    pthread_t writer, threads[3];
    stop_writer = false;
    cr_assert_eq(pthread_create(&writer, NULL, writer_thread, table), 0);
    for (int i = 0; i < 3; i++) {
        readers[i].table = i == 0 ? table : attached;
        cr_assert_eq(pthread_create(&threads[i], NULL, reader_thread, &readers[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    __atomic_store_n(&stop_writer, true, __ATOMIC_RELAXED);
    pthread_join(writer, NULL);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(readers[i].seen.wrong, 0);
        cr_assert_gt(readers[i].seen.whole, 1000);
    }
    mt_table_detach(attached);
    mt_table_detach(table);
}

/* ---- processes, readers attached before there is anything */

Test(table_race, processes)
{
    struct seen *seen = mmap(NULL, 3 * sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool *stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mt_table *table = create();
    pid_t pids[3];
    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            read_for(attach(), 2.0, &seen[i]);
            if (i == 0)
                *stop = true;
            _exit(0);
        }
    }
    uint64_t writings;
    write_until(table, stop, &writings);
    for (int i = 0; i < 3; i++) {
        int status;
        cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
        cr_assert_eq(status, 0);
        cr_assert_eq(seen[i].wrong, 0);
        cr_assert_gt(seen[i].whole, 1000);
    }
    cr_assert_gt(writings, 2);
    mt_table_detach(table);
}

/* ---- an owner that is killed */

static void write_and_die(const char *point, unsigned after)
{
    pid_t pid = fork();
    if (pid == 0) {
        mt_table *table = create();
        for (uint64_t slot = 0; slot < 20; slot++)
            put(table, slot, 1);
        kill_at = point;
        kill_after = after;
        for (uint64_t slot = 0; slot < SLOTS; slot++)
            put(table, slot, 2);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status), "%s was never reached", point);
}

Test(table_race, killed_between_any_two_steps)
{
    static const char *const points[] = {"backed", "begin", "odd", "half", "stored", "even"};
    static const unsigned torn[] = {0, 0, 1, 1, 1, 0};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        write_and_die(points[i], strcmp(points[i], "backed") == 0 ? 0 : 10);
        static struct seen seen;
        memset(&seen, 0, sizeof seen);
        mt_table *reader = attach();
        for (uint64_t slot = 0; slot < SLOTS; slot += AT_ONCE)
            look(reader, slot, &seen);
        cr_assert_eq(seen.wrong, 0, "%s", points[i]);
        cr_assert_eq(seen.torn, torn[i], "%s: %llu", points[i], (unsigned long long) seen.torn);
        /* The next owner's row is whole again. */
        mt_table *table = create();
        for (uint64_t slot = 0; slot < SLOTS; slot++)
            put(table, slot, 3);
        memset(&seen, 0, sizeof seen);
        for (uint64_t slot = 0; slot + AT_ONCE <= SLOTS; slot += AT_ONCE)
            look(reader, slot, &seen);
        cr_assert_eq(seen.wrong + seen.torn + seen.never, 0, "%s", points[i]);
        mt_table_detach(reader);
        cr_assert_eq(mt_table_unlink(table, NULL), 0);
        mt_table_detach(table);
    }
}

/* At any moment at all, and the same reader stays attached through a row of owners. */
Test(table_race, owners_come_and_go)
{
    static struct seen seen;
    mt_table_detach(create());
    mt_table *reader = attach();
    const bool never = false;
    for (unsigned i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            uint64_t writings;
            write_until(create(), &never, &writings);
        }
        read_for(reader, 0.01 + 0.001 * (double) i, &seen);
        kill(pid, SIGKILL);
        int status;
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", status);
        cr_assert_eq(mt_table_state(reader) == MT_TABLE_REPLACED, false);
    }
    cr_assert_eq(seen.wrong, 0);
    cr_assert_gt(seen.whole, 1000);
    mt_table_detach(reader);
}
