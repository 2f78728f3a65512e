/* SPDX-License-Identifier: Apache-2.0 */
/* A writer is killed between any two steps of the protocol: the reader finishes, and every record is accounted for. */
#include "rig.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(death, .init = rig_enter, .fini = rig_leave, .timeout = 60);

/* What the dead engine's device knew, and the path of its segment. */
static struct rig *shared_rig(void)
{
    struct rig *rig = mmap(NULL, sizeof *rig, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(rig != MAP_FAILED);
    return rig;
}

/* It goes with the test, should that fail. */
static pid_t fork_engine(void)
{
    pid_t pid = fork();
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static void reap(pid_t pid, int signal)
{
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (signal)
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == signal, "status %x", status);
    else
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

/* One stream's tap dies at a step; the others of the same engine go on. */
static void die_in_tap(struct rig *rig, const char *point, uint32_t rows)
{
    pid_t pid = fork();
    if (pid == 0) {
        rig_kill_at = point;
        rig_put(rig, 1, rows);
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
        _exit(1); /* the point was never reached */
}

struct story {
    const char *point;
    uint32_t rows;   /* of the records that die */
    unsigned dying;  /* one after the other */
    unsigned behind; /* records after them */
    unsigned full;   /* lost at the end */
};

static void tell(const struct story *story, struct mt_stats *stats, uint64_t *produced, unsigned *gaps)
{
    struct rig *rig = shared_rig();
    /* The producer's memory must outlive the engine for the test to compare with. */
    uint64_t *attempts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t engine = fork_engine();
    if (engine == 0) {
        rig_open(rig, MT_RING_SIZE_MIN);
        for (int i = 0; i < 3; i++)
            rig_put(rig, 0, 10);
        for (unsigned i = 0; i < story->dying; i++)
            die_in_tap(rig, story->point, story->rows);
        for (unsigned i = 0; i < story->behind; i++)
            rig_put(rig, 2, 10);
        for (unsigned i = 0; i < story->full; i++)
            rig_put(rig, 2, 1 << 20);
        *attempts = rig->producer->attempts;
        kill(getpid(), SIGKILL);
    }
    reap(engine, SIGKILL);
    mt_reader *reader = rig_attach(rig);
    cr_assert_eq(mt_ended(reader), MT_END_DIED);
    struct rig_tally tally = {.rig = rig};
    *gaps = 0;
    cr_assert_geq(rig_read_all(reader, &tally), 0);
    while (mt_skip_torn(reader)) {
        ++*gaps;
        cr_assert_gt(rig_read_all(reader, &tally), 0, "skipping must lead to a record");
    }
    cr_assert_eq(tally.wrong, 0);
    mt_stats(reader, stats);
    cr_assert_eq(stats->records, tally.records);
    *produced = *attempts;
    mt_detach(reader);
}

static const char *const points[] = {"numbered", "claimed", "filled", "copied", "fenced"};

Test(death, one_stream_dies_at_each_step)
{
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        struct story story = {points[i], 20, 1, 2, 0};
        struct mt_stats stats;
        uint64_t produced;
        unsigned gaps;
        tell(&story, &stats, &produced, &gaps);
        cr_assert_eq(produced, 6);
        cr_assert_eq(stats.records, 5, "%s", points[i]);
        cr_assert_eq(stats.lost_torn, 1, "%s: %llu", points[i], (unsigned long long) stats.lost_torn);
        cr_assert_eq(gaps, i > 0, "%s", points[i]);
        rig_leave();
        rig_enter();
    }
}

Test(death, after_the_commit_nothing_is_lost)
{
    struct story story = {"committed", 20, 1, 2, 0};
    struct mt_stats stats;
    uint64_t produced;
    unsigned gaps;
    tell(&story, &stats, &produced, &gaps);
    cr_assert_eq(stats.records, 6);
    cr_assert_eq(stats.lost_torn, 0);
    cr_assert_eq(produced, 6);
}

Test(death, a_loss_that_was_not_told_is_not_forgotten)
{
    struct story story = {"counted", 1 << 20, 1, 2, 0};
    struct mt_stats stats;
    uint64_t produced;
    unsigned gaps;
    tell(&story, &stats, &produced, &gaps);
    cr_assert_eq(stats.lost_too_big, 0, "killed before it was mirrored");
    cr_assert_eq(stats.records + stats.lost_torn, produced);
}

Test(death, several_in_one_gap)
{
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        struct story story = {points[i], 20, 3, 2, 0};
        struct mt_stats stats;
        uint64_t produced;
        unsigned gaps;
        tell(&story, &stats, &produced, &gaps);
        cr_assert_eq(produced, 8);
        cr_assert_eq(stats.records, 5);
        cr_assert_eq(stats.lost_torn, 3, "%s", points[i]);
        rig_leave();
        rig_enter();
    }
}

Test(death, losses_behind_do_not_hide_a_gap)
{
    struct story story = {"copied", 20, 1, 2, 5};
    struct mt_stats stats;
    uint64_t produced;
    unsigned gaps;
    tell(&story, &stats, &produced, &gaps);
    cr_assert_eq(stats.lost_too_big, 5);
    cr_assert_eq(stats.lost_torn, 1);
    cr_assert_eq(stats.records + stats.lost_too_big + stats.lost_torn, produced);
}

Test(death, nothing_behind_ends_the_stream)
{
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        struct story story = {points[i], 20, 1, 0, 0};
        struct mt_stats stats;
        uint64_t produced;
        unsigned gaps;
        tell(&story, &stats, &produced, &gaps);
        cr_assert_eq(stats.records, 3);
        cr_assert_eq(gaps, 0);
        rig_leave();
        rig_enter();
    }
}

/* The next reader knows what the first one stepped over. */
Test(death, torn_records_survive_the_reader)
{
    struct rig *rig = shared_rig();
    pid_t engine = fork_engine();
    if (engine == 0) {
        rig_open(rig, MT_RING_SIZE_MIN);
        rig_put(rig, 0, 10);
        die_in_tap(rig, "filled", 5);
        rig_put(rig, 0, 10);
        rig_put(rig, 0, 1 << 20);
        kill(getpid(), SIGKILL);
    }
    reap(engine, SIGKILL);
    mt_reader *reader = rig_attach(rig);
    struct rig_tally tally = {.rig = rig};
    rig_read_all(reader, &tally);
    cr_assert(mt_skip_torn(reader));
    rig_read_all(reader, &tally);
    cr_assert_eq(tally.records, 2);
    mt_detach(reader);
    reader = rig_attach(rig);
    cr_assert_eq(rig_read_all(reader, &tally), 0);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    cr_assert_eq(stats.records, 0);
    cr_assert_eq(stats.lost_torn, 1);
    mt_detach(reader);
}

Test(death, exit_is_not_death)
{
    struct rig *rig = shared_rig();
    int go[2];
    cr_assert_eq(pipe(go), 0);
    pid_t engine = fork_engine();
    if (engine == 0) {
        rig_open(rig, MT_RING_SIZE_MIN);
        rig_put(rig, 0, 10);
        mt_segment_close(&rig->segment);
        if (write(go[1], "", 1) != 1)
            _exit(1);
        pause();
    }
    char byte;
    cr_assert_eq(read(go[0], &byte, 1), 1);
    mt_reader *reader = rig_attach(rig);
    cr_assert_eq(mt_ended(reader), MT_END_NOT, "closed, but the GPU may still write");
    kill(engine, SIGKILL);
    siginfo_t info;
    cr_assert_eq(waitid(P_PID, (id_t) engine, &info, WEXITED | WNOWAIT), 0);
    cr_assert_eq(mt_ended(reader), MT_END_CLOSED, "a zombie writes no more");
    reap(engine, SIGKILL);
    cr_assert_eq(mt_ended(reader), MT_END_CLOSED);
    struct rig_tally tally = {.rig = rig};
    cr_assert_eq(rig_read_all(reader, &tally), 1);
    mt_detach(reader);
}

/* From another pid namespace the pid says nothing; the lock does. */
Test(death, seen_from_another_pid_namespace)
{
    struct rig *rig = shared_rig();
    int go[2];
    cr_assert_eq(pipe(go), 0);
    pid_t engine = fork_engine();
    if (engine == 0) {
        rig_open(rig, MT_RING_SIZE_MIN);
        rig->segment.header->pid_namespace ^= 1;
        rig->segment.header->writer_pid = 1;
        if (write(go[1], "", 1) != 1)
            _exit(1);
        pause();
    }
    char byte;
    cr_assert_eq(read(go[0], &byte, 1), 1);
    mt_reader *reader = rig_attach(rig);
    cr_assert_eq(mt_ended(reader), MT_END_NOT);
    kill(engine, SIGKILL);
    reap(engine, SIGKILL);
    cr_assert_eq(mt_ended(reader), MT_END_DIED);
    mt_detach(reader);
}
