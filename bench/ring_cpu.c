/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring on a CPU against a well-known one, Concurrency Kit's ck_ring (Debian: libck-dev): one thread produces
 * records, one reads them, each on a core of its own, as fast as they can and with nothing lost. Both rings have as
 * many bytes, both copy a record in and out, and either side waits by sched_yield(). moetap's claims are those of many
 * producers, so its match is ck's mpmc; spsc is what ck does for one producer alone. A measurement of this CPU; in real
 * use a GPU produces. A line of JSON for each size of payload.
 */
#include "../shm/ring.h"
#include "../shm/segment.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_SIZE (16u << 20)
#define ROUNDS 15
#define BYTES_A_ROUND (128u << 20)
#define RECORDS_MAX 200000u

#ifdef HAVE_CK
#include <ck_ring.h>
#define SIZES(X) X(64) X(512) X(4096) X(32768)
#define MESSAGE(n)                                                                                                     \
    struct message_##n {                                                                                               \
        struct mt_record head;                                                                                         \
        uint8_t payload[n];                                                                                            \
    };                                                                                                                 \
    CK_RING_PROTOTYPE(m##n, message_##n)
SIZES(MESSAGE)
#endif

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

enum kind { MOETAP, MOETAP_IN_PLACE, CK_MPMC, CK_SPSC, KINDS };
static const char *const names[KINDS] = {"moetap", "moetap_in_place", "ck_mpmc", "ck_spsc"};

static struct {
    unsigned payload, records;
    const uint8_t *source;
    struct mt_segment segment;
    struct mt_producer *producer;
#ifdef HAVE_CK
    ck_ring_t ring;
    void *buffer;
    bool spsc;
#endif
} run;

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* without it, it is only slower */
}

static void put(unsigned n)
{
    struct mt_producer *p = run.producer;
    struct mt_claim claim;
    if (!mt_ring_claim(p, 0, run.payload, 0, &claim)) {
        fputs("ring_cpu: a record was lost\n", stderr);
        exit(1);
    }
    mt_ring_fill(p, &claim, 0, run.payload / 8, 8, 1);
    uint64_t at = (claim.position + sizeof(struct mt_record)) & (p->ring_size - 1), rest = p->ring_size - at;
    const uint8_t *from = run.source + n % 64 * 64;
    memcpy(p->ring + at, from, run.payload < rest ? run.payload : rest);
    if (run.payload > rest)
        memcpy(p->ring, from + rest, run.payload - rest);
    mt_ring_commit(p, claim.position);
}

static uint64_t sum;

static int take(const struct mt_record *record, const void *ids, void *user)
{
    sum += record->rows + ((const uint8_t *) ids)[record->bytes / 2];
    return 0;
}

static void *produce(void *user)
{
    pin(1);
    for (unsigned n = 0; n < run.records; n++)
        put(n);
    return NULL;
}

static double moetap(bool in_place)
{
    struct mt_error note, error = {""};
    mt_reader *reader;
    uint64_t *steps = calloc(MT_SITES_MAX, sizeof *steps);
    struct mt_producer *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    struct mt_site site = {.k = 8, .dtype = MT_DTYPE_I32};
    if (!steps || !p || mt_segment_create(&run.segment, "ring_cpu", 0, "CPU", RING_SIZE, false, &note, &error) != 0 ||
        mt_segment_add_site(&run.segment, &site) != 0 ||
        mt_attach(run.segment.path, MT_ATTACH_DRAIN | (in_place ? MT_ATTACH_IN_PLACE : 0), &reader, &error) != 0) {
        fprintf(stderr, "ring_cpu: %s\n", error.text);
        exit(1);
    }
    *p = (struct mt_producer){.ring = run.segment.ring,
                              .ring_size = run.segment.header->ring_size,
                              .nonce = run.segment.header->nonce,
                              .counters = run.segment.counters,
                              .consumer = run.segment.consumer,
                              .steps = steps,
                              .wait_ns = 10000000000u};
    run.producer = p;
    memset(run.segment.ring, 0, RING_SIZE); /* no page faults in what is measured */
    pthread_t thread;
    double begin = now_s();
    pthread_create(&thread, NULL, produce, NULL);
    for (int64_t left = run.records, n; left; left -= n) {
        n = mt_read(reader, 64, take, NULL, &error);
        if (n < 0) {
            fprintf(stderr, "ring_cpu: %s\n", error.text);
            exit(1);
        }
        if (!n)
            sched_yield();
    }
    double took = now_s() - begin;
    pthread_join(thread, NULL);
    mt_detach(reader);
    mt_segment_destroy(&run.segment, true);
    free(steps);
    free(p);
    return took;
}

#ifdef HAVE_CK
#define CK_RUN(size)                                                                                                   \
    static void *produce_##size(void *user)                                                                            \
    {                                                                                                                  \
        struct message_##size *ring = run.buffer, message = {.head = {.rows = size / 8, .bytes = size}};               \
        pin(1);                                                                                                        \
        for (unsigned n = 0; n < run.records; n++) {                                                                   \
            message.head.time_ns = mt_clock();                                                                         \
            memcpy(message.payload, run.source + n % 64 * 64, size);                                                   \
            while (!(run.spsc ? ck_ring_enqueue_spsc_m##size(&run.ring, ring, &message)                                \
                              : ck_ring_enqueue_mpmc_m##size(&run.ring, ring, &message)))                              \
                sched_yield();                                                                                         \
        }                                                                                                              \
        return NULL;                                                                                                   \
    }                                                                                                                  \
    static void consume_##size(void)                                                                                   \
    {                                                                                                                  \
        struct message_##size *ring = run.buffer, message;                                                             \
        for (unsigned n = 0; n < run.records; n++) {                                                                   \
            while (!(run.spsc ? ck_ring_dequeue_spsc_m##size(&run.ring, ring, &message)                                \
                              : ck_ring_dequeue_mpmc_m##size(&run.ring, ring, &message)))                              \
                sched_yield();                                                                                         \
            sum += message.head.rows + message.payload[size / 2];                                                      \
        }                                                                                                              \
    }
SIZES(CK_RUN)

static double ck(bool spsc)
{
    unsigned count = 1;
    while (2 * count * (run.payload + sizeof(struct mt_record)) <= RING_SIZE)
        count *= 2;
    run.spsc = spsc;
    run.buffer = aligned_alloc(64, RING_SIZE);
    if (!run.buffer)
        exit(1);
    memset(run.buffer, 0, RING_SIZE);
    ck_ring_init(&run.ring, count);
    pthread_t thread;
    double begin = now_s();
#define START(size)                                                                                                    \
    if (run.payload == size) {                                                                                         \
        pthread_create(&thread, NULL, produce_##size, NULL);                                                           \
        consume_##size();                                                                                              \
    }
    SIZES(START)
    double took = now_s() - begin;
    pthread_join(thread, NULL);
    free(run.buffer);
    return took;
}
#endif

static int by_value(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

int main(void)
{
    static const unsigned sizes[] = {64, 512, 4096, 32768};
    static uint8_t source[65536 + 4096];
    memset(source, 3, sizeof source);
    run.source = source;
    pin(0);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        double rate[KINDS][ROUNDS];
        run.payload = sizes[s];
        run.records = BYTES_A_ROUND / run.payload < RECORDS_MAX ? BYTES_A_ROUND / run.payload : RECORDS_MAX;
#ifdef HAVE_CK
        const int kinds = KINDS;
#else
        const int kinds = CK_MPMC;
#endif
        for (int round = -1; round < ROUNDS; round++) {
            for (int i = 0; i < kinds; i++) {
                int kind = (i + round + 1) % kinds;
                double took;
#ifdef HAVE_CK
                took = kind >= CK_MPMC ? ck(kind == CK_SPSC) : moetap(kind == MOETAP_IN_PLACE);
#else
                took = moetap(kind == MOETAP_IN_PLACE);
#endif
                if (round >= 0)
                    rate[kind][round] = run.records / took;
            }
        }
        printf("{\"payload\":%u", run.payload);
        for (int kind = 0; kind < kinds; kind++) {
            qsort(rate[kind], ROUNDS, sizeof(double), by_value);
            double median = rate[kind][ROUNDS / 2];
            printf(",\"%s\":{\"records_s\":%.0f,\"gbs\":%.3f}", names[kind], median, median * run.payload / 1e9);
        }
        printf("}\n");
        fflush(stdout);
    }
    return sum == 0;
}
