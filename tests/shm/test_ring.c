/* SPDX-License-Identifier: Apache-2.0 */
/* The producer's protocol, step by step in one thread. */
#include "rig.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

TestSuite(ring, .init = rig_enter, .fini = rig_leave, .timeout = 60);

Test(ring, a_record_arrives_as_it_was_put)
{
    struct rig rig;
    rig_open(&rig, 0);
    mt_reader *reader = rig_attach(&rig);
    struct rig_tally tally = {.rig = &rig};
    cr_assert_eq(rig_read_all(reader, &tally), 0);
    const uint64_t before = mt_clock();
    rig_put(&rig, 3, 5);
    cr_assert_eq(rig_read_all(reader, &tally), 1);
    cr_assert_eq(tally.wrong, 0);
    cr_assert_eq(tally.last.seq, 0);
    cr_assert_eq(tally.last.step, 0);
    cr_assert_eq(tally.last.lost, 0);
    cr_assert_eq(tally.last.site, 3);
    cr_assert_eq(tally.last.rows, 5);
    cr_assert_eq(tally.last.bytes, 5 * rig_k(3) * 2);
    cr_assert(tally.last.time_ns >= before && tally.last.time_ns <= mt_clock());
    mt_detach(reader);
    rig_close(&rig);
}

Test(ring, no_rows_is_a_record_too)
{
    struct rig rig;
    rig_open(&rig, 0);
    rig.rows_max = 1; /* always 0 rows */
    mt_reader *reader = rig_attach(&rig);
    struct rig_tally tally = {.rig = &rig};
    rig_put(&rig, 0, 0);
    cr_assert_eq(rig_read_all(reader, &tally), 1);
    cr_assert_eq(tally.last.rows, 0);
    cr_assert_eq(tally.last.bytes, 0);
    cr_assert_eq(rig.producer->head, 64);
    mt_detach(reader);
    rig_close(&rig);
}

Test(ring, wraps_many_times)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    mt_reader *reader = rig_attach(&rig);
    struct rig_tally tally = {.rig = &rig};
    unsigned split = 0;
    while (rig.producer->head < 40 * MT_RING_SIZE_MIN) {
        const uint64_t from = rig.producer->head;
        rig_put(&rig, (uint32_t) (from / 64 % RIG_SITES), 0);
        /* Payloads that go round the end are what this is about. */
        split += from / MT_RING_SIZE_MIN != (rig.producer->head - 1) / MT_RING_SIZE_MIN;
        cr_assert_eq(rig_read_all(reader, &tally), 1);
    }
    cr_assert_eq(tally.wrong, 0);
    cr_assert_eq(tally.skipped, 0);
    cr_assert_gt(split, 5);
    cr_assert_eq(tally.records, rig.producer->attempts);
    mt_detach(reader);
    rig_close(&rig);
}

Test(ring, full_drops_and_says_where)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    mt_reader *reader = rig_attach(&rig);
    struct rig_tally tally = {.rig = &rig};
    /* k 1, one byte: 960 rows and the header are 1024 bytes. */
    for (int i = 0; i < 64; i++)
        rig_put(&rig, 0, 960);
    cr_assert_eq(rig.segment.counters->lost_full, 0, "the last byte of the ring can be used");
    for (int i = 0; i < 3; i++)
        rig_put(&rig, 0, 1);
    cr_assert_eq(rig.segment.counters->lost_full, 3);
    cr_assert_eq(rig_read_all(reader, &tally), 64);
    cr_assert_eq(tally.last.lost, 0);
    rig_put(&rig, 0, 1);
    cr_assert_eq(rig_read_all(reader, &tally), 1);
    cr_assert_eq(tally.last.lost, 3);
    cr_assert_eq(tally.last.seq, 67);
    cr_assert_eq(tally.last.step, 67, "a loss must not shift what follows");
    cr_assert_eq(tally.skipped, 3);
    cr_assert_eq(tally.wrong, 0);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    cr_assert_eq(stats.records + stats.lost_full + stats.lost_too_big, rig.producer->attempts);
    cr_assert_eq(stats.lost_torn, 0);
    mt_detach(reader);
    rig_close(&rig);
}

Test(ring, full_again_after_each_lap)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    mt_reader *reader = rig_attach(&rig);
    struct rig_tally tally = {.rig = &rig};
    for (int lap = 0; lap < 20; lap++) {
        for (int i = 0; i < 100; i++)
            rig_put(&rig, 0, 960);
        cr_assert_eq(rig_read_all(reader, &tally), 64);
        cr_assert_eq(rig.segment.counters->lost_full, (lap + 1) * 36u);
    }
    cr_assert_eq(tally.wrong, 0);
    mt_detach(reader);
    rig_close(&rig);
}

Test(ring, too_big_is_counted_apart)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    mt_reader *reader = rig_attach(&rig);
    struct rig_tally tally = {.rig = &rig};
    rig_put(&rig, 0, MT_RING_SIZE_MIN / 2 - 64);
    rig_put(&rig, 0, MT_RING_SIZE_MIN / 2 - 63);
    rig_put(&rig, 0, 1);
    cr_assert_eq(rig_read_all(reader, &tally), 2);
    cr_assert_eq(tally.wrong, 0);
    cr_assert_eq(tally.last.lost, 1);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    cr_assert_eq(stats.lost_too_big, 1);
    cr_assert_eq(stats.lost_full, 0);
    mt_detach(reader);
    rig_close(&rig);
}

Test(ring, sizes_that_no_record_can_say_are_too_big)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    struct mt_tap_args args = {.producer = rig.producer, .dtype = MT_DTYPE_I32, .width = 2};
    static const struct {
        uint32_t rows, k;
    } huge[] = {{0xFFFFFFFF, 0xFFFF}, {0x80000000, 1}, {0, 0x10000}, {1, 0x10001}, {5, 0}};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        args.rows = huge[i].rows;
        args.k = huge[i].k;
        struct mt_tap_place place;
        mt_tap_begin(&args, 0, MT_WEIGHT_NONE, 1, &place);
        mt_tap_copy(&args, &place, 0, MT_WEIGHT_NONE, 0, 1); /* must not touch ids: there are none */
        mt_tap_end(&args, 1, &place);
        cr_assert_eq(place.status, MT_TAP_LOST);
        cr_assert_eq(rig.segment.counters->lost_too_big, i + 1);
    }
    cr_assert_eq(rig.producer->head, 0);
    rig_close(&rig);
}

static void *drain_later(void *user)
{
    mt_reader *reader = user;
    nanosleep(&(struct timespec){0, 30000000}, NULL);
    struct rig_tally tally = {0};
    rig_read_all(reader, &tally);
    return NULL;
}

Test(ring, wait_mode_waits_for_the_reader_and_no_longer_than_asked)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    rig.producer->wait_ns = 20000000;
    mt_reader *reader = rig_attach(&rig);
    for (int i = 0; i < 64; i++)
        rig_put(&rig, 0, 960);
    uint64_t start = mt_clock();
    rig_put(&rig, 0, 960);
    cr_assert_geq(mt_clock() - start, 20000000);
    cr_assert_eq(rig.segment.counters->lost_full, 1);

    rig.producer->wait_ns = 30000000000;
    pthread_t thread;
    pthread_create(&thread, NULL, drain_later, reader);
    start = mt_clock();
    rig_put(&rig, 0, 960);
    cr_assert_lt(mt_clock() - start, 20000000000);
    pthread_join(thread, NULL);
    cr_assert_eq(rig.segment.counters->lost_full, 1);
    struct rig_tally tally = {.rig = &rig};
    rig_read_all(reader, &tally);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    cr_assert_eq(stats.records, 65);
    mt_detach(reader);
    rig_close(&rig);
}

Test(ring, bytes_of_an_earlier_lap_never_pass)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    mt_reader *reader = rig_attach(&rig);
    struct rig_tally tally = {.rig = &rig};
    for (int i = 0; i < 64; i++)
        rig_put(&rig, 0, 960);
    cr_assert_eq(rig_read_all(reader, &tally), 64);
    /* The tail is where it was a lap ago: a whole record of that lap lies there. */
    cr_assert_eq(rig_read_all(reader, &tally), 0);
    struct mt_claim claim;
    cr_assert(mt_ring_claim(rig.producer, 0, 960, 0, &claim));
    cr_assert_eq(claim.position, MT_RING_SIZE_MIN);
    cr_assert_eq(rig_read_all(reader, &tally), 0, "claimed");
    mt_ring_fill(rig.producer, &claim, 0, 960, 1, 1);
    cr_assert_eq(rig_read_all(reader, &tally), 0, "filled");
    /* One that is committed behind it has to wait for it. */
    rig_put(&rig, 0, 960);
    cr_assert_eq(rig_read_all(reader, &tally), 0, "out of order");
    mt_ring_commit(rig.producer, claim.position);
    cr_assert_eq(rig_read_all(reader, &tally), 2);
    mt_detach(reader);
    rig_close(&rig);
}

Test(ring, a_stray_tail_does_no_harm)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    for (int i = 0; i < 64; i++)
        rig_put(&rig, 0, 960);
    static const uint64_t stray[] = {~0ull, 1ull << 63, MT_RING_SIZE_MIN + 64};
    for (int i = 0; i < 3; i++) {
        rig.segment.consumer->tail = stray[i];
        rig_put(&rig, 0, 960);
        cr_assert_eq(rig.segment.counters->lost_full, i + 1u, "ahead of the head: not believed");
    }
    rig.segment.consumer->tail = 0;
    rig_put(&rig, 0, 960);
    cr_assert_eq(rig.segment.counters->lost_full, 4);
    cr_assert_eq(rig.producer->head, MT_RING_SIZE_MIN);
    mt_reader *reader = rig_attach(&rig);
    struct rig_tally tally = {.rig = &rig};
    cr_assert_eq(rig_read_all(reader, &tally), 64);
    rig_put(&rig, 0, 960);
    cr_assert_eq(rig_read_all(reader, &tally), 1, "and it goes on");
    cr_assert_eq(tally.wrong, 0);
    mt_detach(reader);
    rig_close(&rig);
}

static struct mt_producer *counting;

/* Another thread's loss, from count to mirror, while this one's is counted and not mirrored yet. */
static void overtake(const char *name)
{
    if (strcmp(name, "counted") != 0)
        return;
    rig_at = NULL;
    mt_ring_count_loss(&counting->lost_full, &counting->counters->lost_full);
}

Test(ring, a_late_mirror_does_not_turn_the_counter_back)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    counting = rig.producer;
    rig_at = overtake;
    mt_ring_count_loss(&counting->lost_full, &counting->counters->lost_full);
    cr_assert_eq(counting->lost_full, 2);
    cr_assert_eq(rig.segment.counters->lost_full, 2);
    rig_close(&rig);
}

Test(ring, commit_words_differ)
{
    for (uint64_t i = 0; i < 100000; i++) {
        cr_assert_neq(mt_commit_word(1, i * 64), mt_commit_word(1, i * 64 + 64));
        cr_assert_neq(mt_commit_word(1, i * 64), mt_commit_word(2, i * 64));
        cr_assert_neq(mt_commit_word(1, i * 64), 0);
    }
}
