/* SPDX-License-Identifier: Apache-2.0 */
/* Several writers and a reader at once. Meant to be run with -Db_sanitize=thread, too. */
#include "rig.h"

#include "../../shm/attached.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/mman.h>

#define WRITERS 4
#define RECORDS 20000u

TestSuite(stress, .init = rig_enter, .fini = rig_leave, .timeout = 110);

struct writer {
    struct rig *rig;
    uint32_t site; /* its own, so that its steps are in order */
    unsigned records;
    int *running;
};

static void *write_records(void *user)
{
    struct writer *writer = user;
    for (unsigned i = 0; i < writer->records; i++)
        rig_put(writer->rig, writer->site, 0);
    __atomic_fetch_sub(writer->running, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* Lets writers and reader use the same addresses: a sanitizer cannot know that two of them are one place. */
static void share_addresses(struct rig *rig, mt_reader *reader)
{
    cr_assert_eq(mprotect(reader->ring, rig->producer->ring_size, PROT_READ | PROT_WRITE), 0);
    rig->producer->ring = reader->ring;
    rig->producer->consumer = reader->consumer;
}

static void write_and_read(uint64_t wait_ns, unsigned every)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    rig.producer->wait_ns = wait_ns;
    mt_reader *reader = rig_attach(&rig);
    share_addresses(&rig, reader);
    struct rig_tally tally = {.rig = &rig};
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];
    int running = WRITERS;
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){&rig, i, RECORDS, &running};
        pthread_create(&threads[i], NULL, write_records, &writers[i]);
    }
    uint64_t calls = 0;
    for (;;) {
        const int left = __atomic_load_n(&running, __ATOMIC_ACQUIRE);
        const int64_t n = rig_read_all(reader, &tally);
        cr_assert_geq(n, 0);
        if (!left && n == 0)
            break;
        if (++calls % every == 0)
            mt_wait(reader, 1);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    cr_log_info("%llu read, %llu lost", (unsigned long long) stats.records, (unsigned long long) stats.lost_full);
    cr_assert_eq(tally.wrong, 0, "%llu wrong", (unsigned long long) tally.wrong);
    cr_assert_eq(rig.producer->attempts, WRITERS * RECORDS);
    cr_assert_eq(stats.lost_full, rig.producer->lost_full, "the mirror must end on the counter's value");
    cr_assert_eq(stats.records + stats.lost_full + stats.lost_too_big, rig.producer->attempts);
    /* What no step was read for is what was counted as lost. */
    uint64_t skipped = tally.skipped;
    for (int i = 0; i < WRITERS; i++)
        skipped += RECORDS - tally.next_step[i];
    cr_assert_eq(skipped, stats.lost_full);
    if (wait_ns)
        cr_assert_eq(stats.lost_full, 0);
    mt_detach(reader);
    rig_close(&rig);
}

Test(stress, drop)
{
    write_and_read(0, 1);
}

Test(stress, wait_loses_nothing)
{
    write_and_read(60000000000, 3);
}

Test(stress, nobody_reads)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    rig.rows_max = 4000; /* sometimes too big for half the ring */
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];
    int running = WRITERS;
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){&rig, 4 + i, 2000, &running};
        pthread_create(&threads[i], NULL, write_records, &writers[i]);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    mt_reader *reader = rig_attach(&rig);
    struct rig_tally tally = {.rig = &rig};
    cr_assert_gt(rig_read_all(reader, &tally), 0);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    cr_assert_eq(tally.wrong, 0);
    cr_assert_gt(stats.lost_full, 0);
    cr_assert_gt(stats.lost_too_big, 0);
    cr_assert_eq(stats.lost_full, rig.producer->lost_full);
    cr_assert_eq(stats.lost_too_big, rig.producer->lost_too_big);
    cr_assert_eq(stats.records + stats.lost_full + stats.lost_too_big, WRITERS * 2000u);
    mt_detach(reader);
    rig_close(&rig);
}

static void *count_losses(void *user)
{
    struct writer *writer = user;
    for (unsigned i = 0; i < writer->records; i++)
        mt_ring_count_loss(&writer->rig->producer->lost_full, &writer->rig->producer->counters->lost_full);
    return NULL;
}

/* Mirrors may land in any order; short runs, so that the last ones meet often. */
Test(stress, mirror_ends_exact)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    for (unsigned run = 1; run <= 500; run++) {
        pthread_t threads[WRITERS];
        struct writer writer = {&rig, 0, 20, NULL};
        for (int i = 0; i < WRITERS; i++)
            pthread_create(&threads[i], NULL, count_losses, &writer);
        for (int i = 0; i < WRITERS; i++)
            pthread_join(threads[i], NULL);
        cr_assert_eq(rig.segment.counters->lost_full, run * WRITERS * 20u);
    }
    rig_close(&rig);
}
