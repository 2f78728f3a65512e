/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to look a request up in the live table, 4096 tokens of 48 layers x 8, alone and while another process
 * rewrites rows at full rate; beside it a memcpy() of as many bytes. The tokens lie in blocks of 16 slots, as a paged
 * KV cache has them, here anywhere in the table. One JSON object on stdout, times in microseconds.
 */
#include "../shm/table.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LAYERS 48u
#define K 8u
#define TOKENS 4096u
#define BLOCK 16u
#define SLOTS (1u << 18)
#define RUNS 400

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static void put(mt_table *table, uint64_t slot, uint64_t seq)
{
    static int32_t ids[LAYERS * K];
    ids[seq % (LAYERS * K)] = (int32_t) (seq % 128);
    const struct mt_table_row about = {.seq = seq, .position = 1, .token = 2};
    if (mt_table_put(table, (int64_t) slot, &about, ids) != 0)
        exit(1);
}

static void pick(int64_t *slots, uint64_t *random)
{
    for (uint32_t i = 0; i < TOKENS; i += BLOCK) {
        *random = mt_commit_word(*random, i);
        for (uint32_t j = 0; j < BLOCK; j++)
            slots[i + j] = (int64_t) (*random % (SLOTS / BLOCK) * BLOCK + j);
    }
}

struct result {
    double median, p99, worst;
};

static struct result of(double *us)
{
    qsort(us, RUNS, sizeof *us, by_size);
    return (struct result){us[RUNS / 2], us[RUNS * 99 / 100], us[RUNS - 1]};
}

static struct result look_up(const mt_table *table, uint8_t *ids, struct mt_table_row *rows, uint64_t *not_ok)
{
    static double us[RUNS];
    static int64_t slots[TOKENS];
    uint64_t random = 7;
    *not_ok = 0;
    for (int run = 0; run < RUNS; run++) {
        pick(slots, &random);
        double start = now_us();
        *not_ok += TOKENS - mt_table_get(table, slots, TOKENS, ids, rows);
        us[run] = now_us() - start;
    }
    return of(us);
}

static struct result copy(const uint8_t *from, size_t room, uint8_t *to, size_t bytes)
{
    static double us[RUNS];
    uint64_t random = 7;
    for (int run = 0; run < RUNS; run++) {
        random = mt_commit_word(random, 1);
        const uint8_t *at = from + random % (room - bytes);
        double start = now_us();
        memcpy(to, at, bytes);
        us[run] = now_us() - start;
    }
    return of(us);
}

int main(void)
{
    char name[64];
    snprintf(name, sizeof name, "bench-%d", (int) getpid());
    const struct mt_table_spec spec = {.slots = SLOTS, .layers = LAYERS, .k = K, .experts = 128};
    struct mt_error error = {""};
    mt_table *table, *reader;
    if (mt_table_create(name, &spec, &table, NULL, &error) != 0 || mt_table_attach(name, &reader, &error) != 0) {
        fprintf(stderr, "table: %s\n", error.text);
        return 1;
    }
    for (uint64_t slot = 0; slot < SLOTS; slot++)
        put(table, slot, 1);
    const size_t bytes = (size_t) TOKENS * LAYERS * K, room = (size_t) SLOTS * LAYERS * K;
    uint8_t *ids = malloc(bytes);
    struct mt_table_row *rows = malloc(TOKENS * sizeof *rows);
    uint8_t *plain = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!ids || !rows || plain == MAP_FAILED)
        return 1;
    memset(ids, 1, bytes);
    memset(rows, 1, TOKENS * sizeof *rows);
    memset(plain, 1, room);
    uint64_t torn, torn_alone;
    struct result alone = look_up(reader, ids, rows, &torn_alone), copied = copy(plain, room, ids, bytes);

    pid_t writer = fork();
    if (writer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        uint64_t random = 3;
        for (uint64_t seq = 2;; seq++) {
            random = mt_commit_word(random, seq);
            put(table, random % SLOTS, seq);
        }
    }
    usleep(100000);
    uint64_t before = mt_table_header(reader)->written;
    double start = now_us();
    struct result busy = look_up(reader, ids, rows, &torn);
    double rate = (double) (mt_table_header(reader)->written - before) / (now_us() - start);
    struct result copied_busy = copy(plain, room, ids, bytes);
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    printf("{\"tokens\":%u,\"layers\":%u,\"k\":%u,\"bytes\":%zu,\"writer_Mrows_per_s\":%.2f,\"not_ok\":%llu,\n", TOKENS,
           LAYERS, K, bytes, rate, (unsigned long long) (torn + torn_alone));
    printf(" \"alone\":{\"median\":%.0f,\"p99\":%.0f,\"worst\":%.0f,\"memcpy\":%.0f,\"ratio\":%.2f},\n", alone.median,
           alone.p99, alone.worst, copied.median, alone.median / copied.median);
    printf(" \"written\":{\"median\":%.0f,\"p99\":%.0f,\"worst\":%.0f,\"memcpy\":%.0f,\"ratio\":%.2f}}\n", busy.median,
           busy.p99, busy.worst, copied_busy.median, busy.median / copied_busy.median);
    mt_table_unlink(table, &error);
    mt_table_detach(reader);
    mt_table_detach(table);
    return 0;
}
