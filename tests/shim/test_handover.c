/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CUPTI has one subscriber. A profiler that comes gets the subscription, from us, and no launch is lost or told twice.
 */
#include "command.h"

#include <criterion/criterion.h>
#include <stdbool.h>

TestSuite(handover, .fini = scratch_remove, .timeout = 120);

static void run(struct outcome *o, const char *probe, const char *source, int threads, int launches, const char *when,
                const char *how)
{
    command(o, "cd %s && rm -f t truth; MOETAP_LOG=2 %s record -q --source=%s -o t -- %s %s %s %d %d %s %s truth",
            scratch(), MOETAP, source, probe, SOFTCUDA, SOFTCUPTI, threads, launches, when, how);
    cr_assert_eq(o->status, 0, "%s %s %s %s: status %d: %s", probe, source, when, how, o->status, o->text);
    cr_assert(strstr(o->text, ": ok"), "%s %s %s %s: %s", probe, source, when, how, o->text);
}

/* Every launch once: its ids are as good as a name, 8 of 256. One thread's launches in their order, too. */
static void all_there(int threads, int launches)
{
    struct outcome o;
    command(&o,
            "cd %s && %s dump --format=jsonl t | sed -E 's/.*\"ids\":(.*)\\}$/\\1/' | %s > got; %s truth > want; "
            "wc -l < got; diff got want | head -5",
            scratch(), MOETAP, threads > 1 ? "sort" : "cat", threads > 1 ? "sort" : "cat");
    char count[32];
    snprintf(count, sizeof count, "%d\n", threads * launches);
    cr_assert_str_eq(o.text, count);
}

static void hand_over(const char *probe, const char *when, const char *how)
{
    struct outcome o;
    for (int threads = 1; threads <= 4; threads += 3) {
        run(&o, probe, "auto", threads, 2000, when, how);
        cr_assert(strstr(o.text, "launches come from CUPTI"), "%s", o.text);
        all_there(threads, 2000);
    }
}

Test(handover, nobody_comes)
{
    struct outcome o;
    run(&o, HANDOVER_PROBE, "auto", 4, 500, "never", "v1");
    all_there(4, 500);
}

Test(handover, by_dlsym)
{
    hand_over(HANDOVER_PROBE, "midst", "v1");
}

Test(handover, by_dlsym_v2)
{
    hand_over(HANDOVER_PROBE, "midst", "v2");
}

Test(handover, linked)
{
    hand_over(HANDOVER_PROBE_DIRECT, "midst", "v1");
}

Test(handover, linked_v2)
{
    hand_over(HANDOVER_PROBE_DIRECT, "midst", "v2");
}

Test(handover, profiler_leaves_and_comes_back)
{
    hand_over(HANDOVER_PROBE, "twice", "v2");
    hand_over(HANDOVER_PROBE_DIRECT, "twice", "v1");
}

/* Where the second comes at a bad moment, it comes at each sooner or later. */
Test(handover, again_and_again)
{
    struct outcome o;
    for (int i = 0; i < 30; i++) {
        run(&o, i % 2 ? HANDOVER_PROBE : HANDOVER_PROBE_DIRECT, "auto", 4, 60 + i, "midst", i % 3 ? "v1" : "v2");
        all_there(4, 60 + i);
    }
}

Test(handover, somebody_was_there_before)
{
    struct outcome o;
    run(&o, HANDOVER_PROBE, "auto", 2, 300, "early", "v2");
    cr_assert(strstr(o.text, "launches come from preloaded symbols: CUPTI is held by"), "%s", o.text);
    all_there(2, 300);
    run(&o, HANDOVER_PROBE_DIRECT, "auto", 2, 300, "early", "v1");
    all_there(2, 300);
}

/* Who asked for CUPTI and nothing else is told, once, and gets nothing from elsewhere. */
Test(handover, cupti_forced_and_held)
{
    struct outcome o;
    run(&o, HANDOVER_PROBE, "cupti", 2, 100, "early", "v2");
    const char *line = strstr(o.text, "CUPTI was asked for and cannot be had: CUPTI is held by");
    cr_assert(line, "%s", o.text);
    cr_assert(!strstr(line + 1, "CUPTI was asked for"), "%s", o.text);
    command(&o, "cd %s && test -e t && %s dump --format=jsonl t | wc -l", scratch(), MOETAP);
    cr_assert(!strstr(o.text, "ids") && atoi(o.text) == 0, "%s", o.text);
}

Test(handover, cupti_forced_and_taken_away)
{
    struct outcome o;
    run(&o, HANDOVER_PROBE, "cupti", 2, 1000, "midst", "v1");
    cr_assert(strstr(o.text, "nothing more is captured"), "%s", o.text);
}

Test(handover, no_libcupti)
{
    struct outcome o;
    setenv("MOETAP_CUPTI", "/nonexistent", 1);
    run(&o, HANDOVER_PROBE, "auto", 2, 300, "never", "v1");
    cr_assert(strstr(o.text, "launches come from preloaded symbols: MOETAP_CUPTI"), "%s", o.text);
    all_there(2, 300);
    run(&o, HANDOVER_PROBE, "auto", 2, 300, "midst", "v1"); /* the profiler has one */
    all_there(2, 300);
    run(&o, HANDOVER_PROBE, "cupti", 2, 100, "never", "v1");
    cr_assert(strstr(o.text, "CUPTI was asked for and cannot be had: MOETAP_CUPTI"), "%s", o.text);
}
