/* SPDX-License-Identifier: Apache-2.0 */
/* The manual's example, on a segment whose records are known. */
#include "../shm/rig.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(example, .init = rig_enter, .fini = rig_leave, .timeout = 60);

#define STEPS 20

/* An engine: writes what the rig says at the sites 0 to 7, then leaves, or dies in the midst of a record. */
static pid_t engine(const char *dies_at, unsigned pause_us)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct rig rig;
    rig_open(&rig, 0);
    for (int step = 0; step < STEPS; step++) {
        for (uint32_t site = 0; site < RIG_SITES; site++)
            rig_put(&rig, site, 0);
        usleep(pause_us);
    }
    rig_kill_at = dies_at;
    if (dies_at)
        rig_put(&rig, 0, 0);
    mt_segment_close(&rig.segment);
    _exit(0);
}

static void follow(char *out, size_t size)
{
    char line[512];
    struct mt_segment_name *names = NULL;
    size_t count = 0;
    for (int i = 0; i < 5000 && count == 0; i++) {
        cr_assert_eq(mt_discover(RIG_SESSION, &names, &count, NULL), 0);
        mt_reader *reader;
        if (count && mt_attach(names[0].name, 0, &reader, NULL) == 0)
            mt_detach(reader);
        else
            count = 0;
        if (!count)
            usleep(1000);
    }
    cr_assert_eq(count, 1);
    snprintf(line, sizeof line, "%s %s 2>&1", FOLLOW, names[0].name);
    free(names);
    FILE *pipe = popen(line, "r");
    cr_assert(pipe);
    size_t used = 0, n;
    while ((n = fread(out + used, 1, size - 1 - used, pipe)) > 0)
        used += n;
    out[used] = '\0';
    cr_assert_eq(pclose(pipe), 0, "%s", out);
}

static void expect(char *out, size_t size, const char *last)
{
    const struct rig rig = {.rows_max = 40};
    static unsigned chosen[1024];
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t site = 0; site < RIG_SITES; site++) {
        memset(chosen, 0, sizeof chosen);
        for (uint64_t step = 0; step < STEPS; step++) {
            for (uint64_t i = 0; i < (uint64_t) rig_rows(&rig, site, step) * rig_k(site); i++) {
                uint32_t id = rig_id(site, step, i);
                if (id < 1024)
                    chosen[id]++;
            }
        }
        for (unsigned expert = 0; expert < 1024; expert++) {
            if (chosen[expert])
                used += (size_t) snprintf(out + used, size - used, "layer %u expert %u: %u\n", site, expert,
                                          chosen[expert]);
        }
    }
    snprintf(out + used, size - used, "%s\n", last);
}

static char seen[1 << 18], wanted[1 << 18];

Test(example, an_engine_that_has_left)
{
    int status;
    waitpid(engine(NULL, 0), &status, 0);
    follow(seen, sizeof seen);
    expect(wanted, sizeof wanted, "records 160, lost 0, not captured 0");
    cr_assert_str_eq(seen, wanted);
}

Test(example, an_engine_that_still_writes)
{
    pid_t pid = engine(NULL, 5000);
    follow(seen, sizeof seen);
    int status;
    waitpid(pid, &status, 0);
    expect(wanted, sizeof wanted, "records 160, lost 0, not captured 0");
    cr_assert_str_eq(seen, wanted);
}

Test(example, an_engine_that_is_killed)
{
    int status;
    waitpid(engine("fenced", 0), &status, 0);
    cr_assert(WIFSIGNALED(status));
    follow(seen, sizeof seen);
    expect(wanted, sizeof wanted, "records 160, lost 0, not captured 0");
    cr_assert_str_eq(seen, wanted);
}

Test(example, no_such_segment)
{
    char line[256], out[512] = "";
    snprintf(line, sizeof line, "%s moetap.none.1.0 2>&1", FOLLOW);
    FILE *pipe = popen(line, "r");
    cr_assert(fgets(out, sizeof out, pipe));
    cr_assert_neq(pclose(pipe), 0);
    cr_assert(strstr(out, "no such segment"), "%s", out);
}
