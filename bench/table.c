/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to look a request up in the live table, 4096 tokens of 48 layers x 8, alone and while another process
 * rewrites rows at full rate. Beside it, each on the same slots: a memcpy() of such rows, one by one; and what a reader
 * of a bare int32 array does that shares a lock file with its writer, flock() and copy, while a process writes passes
 * of 64 rows under that lock. The tokens lie in blocks of 16 slots, as a paged KV cache has them, here anywhere in the
 * table.
 *
 * Wall time is what a caller waits. CPU time of the same calls tells what of it is the look-up's own: on a machine with
 * less cores than work, the rest is the scheduler's. One JSON object on stdout, times in microseconds.
 */
#include "../shm/table.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LAYERS 48u
#define K 8u
#define ROW (LAYERS * K)
#define TOKENS 4096u
#define BLOCK 16u
#define SLOTS (1u << 18)
#define PASS 64u
#define RUNS 2000
#define GOAL_US 1000.0

static double us_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

/* Who looks up, and in what. */
struct rig {
    mt_table *table;
    uint8_t *ids;
    struct mt_table_row *rows;
    uint64_t not_ok;
    const uint8_t *bytes; /* SLOTS rows of one byte an id */
    int32_t *bare;        /* SLOTS rows of four, in memory shared with its writer */
    int32_t *copy;
    char lock[64];
};

typedef void look_up(struct rig *rig, const int64_t *slots);

static void in_table(struct rig *rig, const int64_t *slots)
{
    rig->not_ok += TOKENS - mt_table_get(rig->table, slots, TOKENS, rig->ids, rig->rows);
}

static void by_memcpy(struct rig *rig, const int64_t *slots)
{
    for (uint32_t i = 0; i < TOKENS; i++)
        memcpy(rig->ids + i * ROW, rig->bytes + (uint64_t) slots[i] * ROW, ROW);
}

static void under_lock(struct rig *rig, const int64_t *slots)
{
    int fd = open(rig->lock, O_RDWR | O_CLOEXEC); /* each time, as that reader does */
    flock(fd, LOCK_EX);
    for (uint32_t i = 0; i < TOKENS; i++)
        memcpy(rig->copy + i * ROW, rig->bare + (uint64_t) slots[i] * ROW, ROW * sizeof *rig->copy);
    flock(fd, LOCK_UN);
    close(fd);
}

static void pick(int64_t *slots, uint64_t *random)
{
    for (uint32_t i = 0; i < TOKENS; i += BLOCK) {
        *random = mt_commit_word(*random, i);
        for (uint32_t j = 0; j < BLOCK; j++)
            slots[i + j] = (int64_t) (*random % (SLOTS / BLOCK) * BLOCK + j);
    }
}

static void measure(const char *name, look_up *look, struct rig *rig, const char *end)
{
    static double wall[RUNS], cpu[RUNS];
    static int64_t slots[TOKENS];
    uint64_t random = 7, within = 0;
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (int run = 0; run < RUNS; run++) {
        pick(slots, &random);
        double start = us_of(CLOCK_MONOTONIC), own = us_of(CLOCK_THREAD_CPUTIME_ID);
        look(rig, slots);
        cpu[run] = us_of(CLOCK_THREAD_CPUTIME_ID) - own;
        wall[run] = us_of(CLOCK_MONOTONIC) - start;
        within += wall[run] <= GOAL_US;
    }
    getrusage(RUSAGE_SELF, &after);
    qsort(wall, RUNS, sizeof *wall, by_size);
    qsort(cpu, RUNS, sizeof *cpu, by_size);
    printf("  \"%s\":{\"p50\":%.0f,\"p99\":%.0f,\"max\":%.0f,\"cpu_p50\":%.0f,\"cpu_p99\":%.0f,\"cpu_max\":%.0f,"
           "\"within_1ms\":%.4f,\"preempted\":%ld,\"page_faults\":%ld}%s\n",
           name, wall[RUNS / 2], wall[RUNS * 99 / 100], wall[RUNS - 1], cpu[RUNS / 2], cpu[RUNS * 99 / 100],
           cpu[RUNS - 1], (double) within / RUNS, after.ru_nivcsw - before.ru_nivcsw,
           after.ru_minflt - before.ru_minflt, end);
}

static void put(mt_table *table, uint64_t slot, uint64_t seq)
{
    static int32_t ids[ROW];
    ids[seq % ROW] = (int32_t) (seq % 128);
    const struct mt_table_row about = {.seq = seq, .position = 1, .token = 2};
    if (mt_table_put(table, (int64_t) slot, &about, ids) != 0)
        exit(1);
}

static void write_table(const struct rig *rig, mt_table *table)
{
    (void) rig;
    uint64_t random = 3;
    for (uint64_t seq = 2;; seq++) {
        random = mt_commit_word(random, seq);
        put(table, random % SLOTS, seq);
    }
}

static void write_bare(const struct rig *rig, mt_table *table)
{
    (void) table;
    static int32_t ids[ROW];
    uint64_t random = 3;
    int fd = open(rig->lock, O_RDWR | O_CLOEXEC);
    for (;;) {
        flock(fd, LOCK_EX);
        for (uint32_t i = 0; i < PASS; i++) {
            random = mt_commit_word(random, i);
            memcpy(rig->bare + random % SLOTS * ROW, ids, sizeof ids);
        }
        flock(fd, LOCK_UN);
    }
}

static pid_t start(void (*writer)(const struct rig *, mt_table *), const struct rig *rig, mt_table *table)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        writer(rig, table);
    }
    usleep(100000);
    return pid;
}

static void stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void *shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        exit(1);
    memset(memory, 1, size);
    return memory;
}

int main(void)
{
    char name[64];
    snprintf(name, sizeof name, "bench-%d", (int) getpid());
    const struct mt_table_spec spec = {.slots = SLOTS, .layers = LAYERS, .k = K, .experts = 128};
    struct mt_error error = {""};
    struct rig rig = {0};
    mt_table *table;
    if (mt_table_create(name, &spec, &table, NULL, &error) != 0 || mt_table_attach(name, &rig.table, &error) != 0) {
        fprintf(stderr, "table: %s\n", error.text);
        return 1;
    }
    for (uint64_t slot = 0; slot < SLOTS; slot++)
        put(table, slot, 1);
    rig.ids = shared((size_t) TOKENS * ROW);
    rig.rows = shared(TOKENS * sizeof *rig.rows);
    rig.copy = shared((size_t) TOKENS * ROW * sizeof *rig.copy);
    rig.bytes = shared((size_t) SLOTS * ROW);
    rig.bare = shared((size_t) SLOTS * ROW * sizeof *rig.bare);
    snprintf(rig.lock, sizeof rig.lock, "/tmp/moetap-bench-%d.lock", (int) getpid());
    close(open(rig.lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600));

    printf("{\"tokens\":%u,\"layers\":%u,\"k\":%u,\"runs\":%d,\"goal_us\":%.0f,\n \"alone\":{\n", TOKENS, LAYERS, K,
           RUNS, GOAL_US);
    measure("table", in_table, &rig, ",");
    measure("memcpy", by_memcpy, &rig, ",");
    measure("flock", under_lock, &rig, "");
    printf(" },\n \"written\":{\n");
    pid_t writer = start(write_table, &rig, table);
    uint64_t before = mt_table_header(rig.table)->written;
    double began = us_of(CLOCK_MONOTONIC);
    measure("table", in_table, &rig, ",");
    double rate = (double) (mt_table_header(rig.table)->written - before) / (us_of(CLOCK_MONOTONIC) - began);
    measure("memcpy", by_memcpy, &rig, ",");
    stop(writer);
    writer = start(write_bare, &rig, table);
    measure("flock", under_lock, &rig, "");
    stop(writer);
    printf(" },\n \"writer_Mrows_per_s\":%.2f,\"rows_not_ok\":%llu}\n", rate, (unsigned long long) rig.not_ok);
    unlink(rig.lock);
    mt_table_unlink(table, &error);
    mt_table_detach(rig.table);
    mt_table_detach(table);
    return 0;
}
