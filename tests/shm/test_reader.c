/* SPDX-License-Identifier: Apache-2.0 */
/* The read side: one at a time, resuming where the last one stopped, and looking without taking. */
#include "rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(reader, .init = rig_enter, .fini = rig_leave, .timeout = 60);

Test(reader, a_second_one_resumes_after_a_killed_one)
{
    struct rig rig;
    rig_open(&rig, 0);
    for (int i = 0; i < 10; i++)
        rig_put(&rig, 2, 0);
    pid_t first = fork();
    if (first == 0) {
        mt_reader *reader;
        struct rig_tally tally = {.rig = &rig};
        if (mt_attach(rig.segment.path, rig_flags(), &reader, NULL) != 0 ||
            mt_read(reader, 4, rig_take, &tally, NULL) != 4 || tally.wrong)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(first, &status, 0);
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(rig.segment.consumer->reader_pid, first, "it had no time to say good-bye");

    mt_reader *reader = rig_attach(&rig);
    cr_assert_eq(rig.segment.consumer->reader_pid, getpid());
    struct rig_tally tally = {.rig = &rig, .next_step[2] = 4};
    cr_assert_eq(rig_read_all(reader, &tally), 6);
    cr_assert_eq(tally.wrong, 0);
    cr_assert_eq(tally.skipped, 0);
    cr_assert_eq(rig.segment.consumer->records, 10);
    mt_detach(reader);
    cr_assert_eq(rig.segment.consumer->reader_pid, 0);
    rig_close(&rig);
}

Test(reader, two_cannot_drain_but_anyone_may_look)
{
    struct rig rig;
    rig_open(&rig, 0);
    rig_put(&rig, 0, 3);
    mt_reader *first = rig_attach(&rig), *second;
    struct mt_error error = {""};
    cr_assert_eq(mt_attach(rig.segment.path, MT_ATTACH_DRAIN, &second, &error), -EBUSY);
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int) getpid());
    cr_assert(strstr(error.text, pid), "must say who: %s", error.text);
    cr_assert_null(second);

    cr_assert_eq(mt_attach(rig.segment.path, 0, &second, &error), 0);
    struct rig_tally tally = {.rig = &rig};
    cr_assert_eq(mt_read(second, 1, rig_take, &tally, &error), -EPERM);
    cr_assert_eq(mt_unlink(second, &error), -EPERM);
    cr_assert_not(mt_skip_torn(second));
    cr_assert(mt_wait(second, 0), "there is one that nobody has taken yet");
    cr_assert_eq(rig_read_all(first, &tally), 1);
    cr_assert_not(mt_wait(second, 0));
    cr_assert_eq(mt_ended(second), MT_END_NOT);
    mt_detach(second);
    mt_detach(first);
    first = rig_attach(&rig);
    cr_assert_eq(mt_unlink(first, &error), 0);
    cr_assert_eq(access(rig.segment.path, F_OK), -1);
    mt_detach(first);
    rig_close(&rig);
}

static int stop_at_once(const struct mt_record *record, const void *ids, void *user)
{
    ++*(int *) user;
    return 1;
}

Test(reader, take_can_stop)
{
    struct rig rig;
    rig_open(&rig, 0);
    for (int i = 0; i < 3; i++)
        rig_put(&rig, 0, 2);
    mt_reader *reader = rig_attach(&rig);
    int calls = 0;
    cr_assert_eq(mt_read(reader, 9, stop_at_once, &calls, NULL), 1);
    cr_assert_eq(calls, 1);
    cr_assert_eq(mt_read(reader, 0, stop_at_once, &calls, NULL), 0);
    struct rig_tally tally = {.rig = &rig, .next_step[0] = 1};
    cr_assert_eq(rig_read_all(reader, &tally), 2);
    cr_assert_eq(tally.wrong, 0);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    cr_assert_eq(stats.records, 3);
    cr_assert_eq(stats.rows, 6);
    mt_detach(reader);
    rig_close(&rig);
}

/* A record whose commit word is right and whose header no writer writes. */
Test(reader, nonsense_in_the_ring_is_refused)
{
    static const struct {
        size_t offset;
        uint32_t value;
    } wrong[] = {
        {offsetof(struct mt_record, site), RIG_SITES},    {offsetof(struct mt_record, site), ~0u},
        {offsetof(struct mt_record, rows), 11},           {offsetof(struct mt_record, rows), ~0u},
        {offsetof(struct mt_record, bytes), 0},           {offsetof(struct mt_record, bytes), ~0u},
        {offsetof(struct mt_record, k), 1u << 16},        {offsetof(struct mt_record, k), 0xFF0001},
        {offsetof(struct mt_record, k), 2u | (1u << 16)},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct rig rig;
        rig_open(&rig, MT_RING_SIZE_MIN);
        rig_put(&rig, 0, 10);
        rig_put(&rig, 0, 10);
        memcpy(rig.segment.ring + 128 + wrong[i].offset, &wrong[i].value, 4);
        mt_reader *reader = rig_attach(&rig);
        struct rig_tally tally = {.rig = &rig};
        struct mt_error error = {""};
        cr_assert_eq(mt_read(reader, 9, rig_take, &tally, &error), 1, "the good one comes first");
        cr_assert_eq(mt_read(reader, 9, rig_take, &tally, &error), -EBADMSG, "case %zu", i);
        cr_assert(error.text[0]);
        cr_assert_eq(tally.records, 1);
        mt_detach(reader);
        rig_close(&rig);
    }
}

struct place {
    struct rig *rig;
    const uint8_t *ids;
    bool spoil;
};

static int look_where(const struct mt_record *record, const void *ids, void *user)
{
    struct place *place = user;
    place->ids = ids;
    if (place->spoil) /* as a broken writer would */
        memset(place->rig->segment.ring + 128 * record->seq, 0xAB, 128);
    return 0;
}

Test(reader, in_place_is_in_the_ring_and_what_changes_there_is_found_out)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    for (int i = 0; i < 3; i++)
        rig_put(&rig, 0, 10);
    mt_reader *reader;
    struct mt_error error = {""};
    cr_assert_eq(mt_attach(rig.segment.path, MT_ATTACH_DRAIN | MT_ATTACH_IN_PLACE, &reader, &error), 0);
    struct place first = {&rig, NULL, false}, second = {&rig, NULL, true};
    cr_assert_eq(mt_read(reader, 1, look_where, &first, &error), 1);
    cr_assert_eq(mt_read(reader, 9, look_where, &second, &error), -EBADMSG);
    cr_assert(strstr(error.text, "changed while it was read"), "%s", error.text);
    cr_assert_eq(second.ids - first.ids, 128, "one behind the other");
    struct mt_stats stats;
    mt_stats(reader, &stats);
    cr_assert_eq(stats.records, 1, "what changed does not count as read");
    mt_detach(reader);
    rig_close(&rig);
}

Test(reader, wait)
{
    struct rig rig;
    rig_open(&rig, 0);
    mt_reader *reader = rig_attach(&rig);
    const uint64_t start = mt_clock();
    cr_assert_not(mt_wait(reader, 20));
    cr_assert_geq(mt_clock() - start, 19000000);
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    cr_assert_not(mt_wait(reader, 500));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    const double used = (double) (after.tv_sec - before.tv_sec) + (double) (after.tv_nsec - before.tv_nsec) / 1e9;
    cr_assert_lt(used, 0.2, "%.3f s of CPU in 0.5 s of idling", used);
    rig_put(&rig, 0, 1);
    cr_assert(mt_wait(reader, 0));
    mt_detach(reader);
    rig_close(&rig);
}

Test(reader, sites)
{
    struct rig rig;
    rig_open(&rig, 0);
    mt_reader *reader = rig_attach(&rig);
    cr_assert_eq(mt_site_count(reader), RIG_SITES);
    struct mt_site site;
    cr_assert_eq(mt_site(reader, RIG_SITES, &site), -ENOENT);
    cr_assert_eq(mt_site(reader, 5, &site), 0);
    cr_assert_str_eq(site.kernel, "router5");
    cr_assert_eq(site.layer, 5);
    cr_assert_eq(site.k, rig_k(5));
    mt_segment_set_layer(&rig.segment, 5, 17);
    mt_segment_add_flags(&rig.segment, 5, MT_SITE_GRAPH);
    mt_segment_add_flags(&rig.segment, 5, MT_SITE_RETRACTED);
    mt_segment_count_not_captured(&rig.segment);
    cr_assert_eq(mt_site(reader, 5, &site), 0);
    cr_assert_eq(site.layer, 17);
    cr_assert_eq(site.flags, MT_SITE_GRAPH | MT_SITE_RETRACTED);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    cr_assert_eq(stats.not_captured, 1);
    while (mt_segment_add_site(&rig.segment, &site) >= 0) {
    }
    cr_assert_eq(mt_site_count(reader), MT_SITES_MAX);
    rig.segment.header->site_count = ~0u;
    cr_assert_eq(mt_site_count(reader), MT_SITES_MAX, "not believed beyond the table");
    mt_detach(reader);
    rig_close(&rig);
}

Test(reader, discover)
{
    struct rig rig;
    rig_open(&rig, 0);
    char path[600];
    static const char *const others[] = {"moetap.test2.1.0", "moetap.a.1.0", "other.test.1.0", "moetap.tes"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", mt_shm_dir(), others[i]);
        FILE *file = fopen(path, "w");
        cr_assert(file);
        fclose(file);
    }
    struct mt_segment_name *names;
    size_t count;
    cr_assert_eq(mt_discover(RIG_SESSION, &names, &count, NULL), 0);
    cr_assert_eq(count, 1);
    cr_assert(strstr(rig.segment.path, names[0].name));
    mt_reader *reader;
    cr_assert_eq(mt_attach(names[0].name, 0, &reader, NULL), 0, "by its name alone");
    cr_assert_str_eq(mt_name(reader), names[0].name);
    cr_assert_str_eq(mt_header(reader)->session, RIG_SESSION);
    mt_detach(reader);
    free(names);
    cr_assert_eq(mt_discover(NULL, &names, &count, NULL), 0);
    cr_assert_eq(count, 4);
    for (size_t i = 1; i < count; i++)
        cr_assert_lt(strcmp(names[i - 1].name, names[i].name), 0);
    free(names);
    setenv("MOETAP_SHM_DIR", "/no/such/folder", 1);
    struct mt_error error = {""};
    cr_assert_eq(mt_discover(NULL, &names, &count, &error), -ENOENT);
    cr_assert(strstr(error.text, "/no/such/folder"));
    cr_assert_eq(count, 0);
    mt_segment_destroy(&rig.segment, true);
}

Test(reader, decode)
{
    static const uint8_t one[] = {0, 253, 254, 255};
    static const uint16_t two[] = {0, 65533, 65534, 65535};
    cr_assert_eq(mt_decode_id(one, 1, 0), 0);
    cr_assert_eq(mt_decode_id(one, 1, 1), 253);
    cr_assert_eq(mt_decode_id(one, 1, 2), MT_ID_OVERFLOW);
    cr_assert_eq(mt_decode_id(one, 1, 3), MT_ID_NEGATIVE);
    cr_assert_eq(mt_decode_id(two, 2, 0), 0);
    cr_assert_eq(mt_decode_id(two, 2, 1), 65533);
    cr_assert_eq(mt_decode_id(two, 2, 2), MT_ID_OVERFLOW);
    cr_assert_eq(mt_decode_id(two, 2, 3), MT_ID_NEGATIVE);
}
