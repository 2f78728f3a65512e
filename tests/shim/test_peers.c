/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong in engines' own captures (docs/peer_bugs.md), tried on whole runs. */
#include "command.h"

#include <criterion/criterion.h>
#include <stdbool.h>

TestSuite(peers, .fini = scratch_remove, .timeout = 120);

/* In the scratch folder, which is also the folder of segments. */
#define RUN(wanted, format, ...)                                                                                       \
    do {                                                                                                               \
        command(&o, "cd %s || exit 1; export MOETAP_SHM_DIR=$PWD; " format, scratch(), __VA_ARGS__);                   \
        cr_assert_eq(o.status, wanted, "exited %d: %s", o.status, o.text);                                             \
    } while (0)
#define SAYS(words) cr_assert(strstr(o.text, words), "not a word of '%s' in: %s", words, o.text)
#define SAYS_NOT(words) cr_assert(!strstr(o.text, words), "'%s' in: %s", words, o.text)

static struct outcome o;

/* The engine's last line when nobody records it. */
static const char *bare(const char *options)
{
    static char line[160];
    RUN(0, "%s %s", MOE_DEMO, options);
    const char *found = strstr(o.text, "moe-demo: ");
    cr_assert(found, "%s", o.text);
    snprintf(line, sizeof line, "%s", found);
    return line;
}

static void nothing_is_left(void)
{
    RUN(0, "ls -d moetap.* *.lock /dev/shm/moetap.r%d-* 2>/dev/null; true", (int) getpid());
    cr_assert_str_eq(o.text, "");
}

static unsigned long long number_behind(const char *words)
{
    const char *found = strstr(o.text, words);
    cr_assert(found, "no '%s' in: %s", words, o.text);
    return strtoull(found + strlen(words), NULL, 10);
}

#define HIDDEN "[hidden]\\nkernel = moe_demo_topk_i32\\nkind = final\\nparams = 8 8 8 4 4 4\\nids = param 1\\n"

/* A capturer that asks a dense model for its top k ends the engine after all its loading. */
Test(peers, a_model_without_routers)
{
    const char *line = bare("--steps 3");
    RUN(0, "printf '" HIDDEN "' > r && %s record -o t --recipe r -- %s --steps 3", MOETAP, MOE_DEMO);
    SAYS(line);
    SAYS("nothing was captured");
    SAYS("captured 0 records");
    nothing_is_left();
}

/* Where a kernel routes and stores no ids, other captures hand out zeros: expert 0 for all. */
Test(peers, a_kernel_that_keeps_its_ids_is_named)
{
    static const char *const modes[] = {"", "--graph"};
    for (int m = 0; m < 2; m++) {
        RUN(0,
            "printf '[all-in-one]\\nkernel = moe_demo_topk_i32\\nkind = no-ids\\nnote = choose another backend\\n' > r "
            "&& %s record --force -o t --recipe r -- %s %s && %s dump t | head -3",
            MOETAP, MOE_DEMO, modes[m], MOETAP);
        SAYS(
            "not captured: moe_demo_topk_i32 routes inside and stores no ids that can be read: choose another backend");
        SAYS("captured 0 records, 0 rows");
        SAYS_NOT("top 6 of 64\n");
    }
}

/* Segments that do not fit into /dev/shm ended engines, or had them write out of bounds. */
Test(peers, no_room_for_a_segment)
{
    const char *line = bare("--steps 3 --graph");
    RUN(0, "ulimit -f 64; LD_PRELOAD=%s %s --steps 3 --graph", SHIM, MOE_DEMO);
    SAYS(line);
    SAYS("moetap[");
    command(&o,
            "unshare -m sh -c 'cd %s && mkdir -p small && mount -t tmpfs -o size=1m none small && touch small/mounted "
            "&& MOETAP_SHM_DIR=small LD_PRELOAD=%s %s --steps 3 --graph; ls small'",
            scratch(), SHIM, MOE_DEMO);
    if (!strstr(o.text, "mounted"))
        cr_skip_test("may not mount here");
    SAYS(line);
    SAYS("No space left on device");
    SAYS_NOT("moetap.local");
}

/* A container's /dev/shm as it is by default. The engine's ranks need it to talk to each other: most of it is left. */
Test(peers, little_room_for_segments)
{
    command(
        &o,
        "unset MOETAP_RING_SIZE; unshare -m sh -c 'cd %s && mkdir -p small && mount -t tmpfs -o size=64m none small "
        "&& touch small/mounted && export MOETAP_SHM_DIR=small && for i in 1 2 3 4; do LD_PRELOAD=%s MOETAP_SESSION=s "
        "%s; done; df "
        "--output=avail small; for s in small/moetap.*; do %s drain -q --force -o t $s; done; ls small'",
        scratch(), SHIM, MOE_DEMO, MOETAP);
    if (!strstr(o.text, "mounted"))
        cr_skip_test("may not mount here");
    SAYS("small has 65536 KiB free: a ring of 16384 KiB instead of 65536 (--ring-size asks for another)");
    SAYS("a ring of 4096 KiB instead of 65536");
    cr_assert_gt(number_behind("Avail\n"), 65536u / 4, "%s", o.text);
    const unsigned captured = occurrences(o.text, "captured 32 records, 512 rows from 1 segment; lost 0");
    cr_assert_eq(captured, 4u, "%s", o.text);
}

/* Locks that readers hold: whoever stops with one stops the engine. Here the reader stops for good, and the ring fills.
 */
Test(peers, a_reader_that_stops)
{
    const char *line = bare("--tokens 200 --steps 100 --layers 6");
    RUN(0,
        "SOFTCUDA_SLOW=moe_demo_topk_i32:2000 %s record -q --ring-size=64K -o t -- sh -c 'exec %s --tokens 200 --steps "
        "100 --layers 6 --truth truth > out' & until ls moetap.* >/dev/null 2>&1; do sleep 0.01; done; kill -STOP $!; "
        "for i in $(seq 600); do grep -q checksum out && break; sleep 0.1; done; cat out; "
        "grep State: /proc/$!/status; kill -CONT $!; wait $!",
        MOETAP, MOE_DEMO);
    SAYS(line);
    SAYS("(stopped)");
    cr_assert_gt(number_behind("(full "), 0u, "%s", o.text);
    cr_assert_eq(number_behind("captured ") + number_behind("; lost "), 600u, "%s", o.text);
    RUN(1, "%s dump --format=jsonl t | %s truth --tokens 200 --steps 100 --layers 6", MOETAP, TRUTH_COMPARE);
    SAYS_NOT("wrong");
    SAYS_NOT("not expected");
    nothing_is_left();
}

/* SIGKILL for the reader: the engine goes on, the next reader goes on, and nothing stays. */
Test(peers, a_reader_that_is_killed)
{
    const char *line = bare("--steps 60");
    RUN(0,
        "SOFTCUDA_SLOW=moe_demo_topk_i32:10000 %s record -q -o t1 -- sh -c 'exec %s --steps 60 --truth truth > out "
        "2>&1' & "
        "until ls moetap.* >/dev/null 2>&1; do sleep 0.01; done; sleep 0.1; kill -9 $!; wait $!; "
        "for i in $(seq 600); do grep -q checksum out && break; sleep 0.1; done; cat out; %s drain -o t moetap.*",
        MOETAP, MOE_DEMO, MOETAP);
    SAYS(line);
    SAYS("lost 0 ");
    const unsigned long long rest = number_behind("captured ");
    cr_assert(rest > 0 && rest <= 240, "%s", o.text);
    RUN(rest < 240, "%s dump --format=jsonl t | %s truth --steps 60", MOETAP, TRUTH_COMPARE);
    SAYS_NOT("wrong");
    nothing_is_left();
}

/* SIGKILL for the engine, and for both. */
Test(peers, an_engine_that_is_killed)
{
    RUN(137,
        "SOFTCUDA_SLOW=moe_demo_topk_i32:3000 %s record -o t -- sh -c 'echo $$ > pid; exec %s --steps 600' & "
        "until ls moetap.* >/dev/null 2>&1; do sleep 0.01; done; sleep 0.2; kill -9 $(cat pid); wait $!",
        MOETAP, MOE_DEMO);
    cr_assert_gt(number_behind("captured "), 0u, "%s", o.text);
    nothing_is_left();
    RUN(0,
        "SOFTCUDA_SLOW=moe_demo_topk_i32:3000 %s record --force -q -o t -- sh -c 'echo $$ > pid; exec %s --steps 600 "
        ">out "
        "2>&1' & until ls moetap.* >/dev/null 2>&1; do sleep 0.01; done; kill -9 $!; kill -9 $(cat pid); "
        "wait; %s record --force -o t -- %s --steps 2; %s clean",
        MOETAP, MOE_DEMO, MOETAP, MOE_DEMO, MOETAP);
    SAYS("captured 8 records");
    SAYS("removed moetap.r");
    nothing_is_left();
}

/* Ranks of one engine, or two engines of one name: each its segment, none writes into another's or over its layers. */
Test(peers, two_at_once)
{
    RUN(0,
        "%s record -q -o t -- sh -c '%s --seed 1 --layers 3 --steps 50 --truth a & %s --seed 2 --layers 2 --steps 50 "
        "--truth b & wait'",
        MOETAP, MOE_DEMO, MOE_DEMO);
    SAYS("from 2 segments");
    SAYS("lost 0 ");
    RUN(0,
        "%s dump --format=jsonl t > d; first=$(grep '\"layer\":2,' d | grep -o '\"segment\":.' | sort -u); "
        "echo $first; grep $first d | %s a --layers 3 --steps 50; grep -v $first d | %s b --layers 2 --steps 50",
        MOETAP, TRUTH_COMPARE, TRUTH_COMPARE);
    SAYS("match: 14400 of 14400 ids");
    SAYS("match: 9600 of 9600 ids");
    nothing_is_left();
}

/* A rank that dies takes nothing of the others along. */
Test(peers, one_of_two_is_killed)
{
    RUN(0,
        "export SOFTCUDA_SLOW=moe_demo_topk_i32:3000; %s record -q -o t -- sh -c '%s --seed 2 --steps 600 & echo $! > "
        "pid; %s "
        "--steps 50 --truth b; kill -9 $(cat pid); wait'; %s info t | grep -c 'was killed or crashed'; "
        "%s dump --format=jsonl t > d; wc -l < d",
        MOETAP, MOE_DEMO, MOE_DEMO, MOETAP, MOETAP);
    SAYS("from 2 segments");
    SAYS("\n1\n");
    int whole = 0;
    for (int s = 0; s < 2; s++) {
        command(&o, "cd %s && grep '\"segment\":%d,' d | %s b --steps 50", scratch(), s, TRUTH_COMPARE);
        whole += strstr(o.text, "match: 19200 of 19200 ids") && o.status == 0;
    }
    cr_assert_eq(whole, 1);
    nothing_is_left();
}

static int calls_of(const char *environment, int steps, const char *mode)
{
    RUN(0,
        "SOFTCUDA_LOG=1 %s %s --steps %d %s 2>&1 | grep -cE '^softcuda: "
        "cu(StreamSynchronize|CtxSynchronize|EventSynchronize|StreamQuery|EventQuery|Memcpy.*|LaunchHostFunc|"
        "StreamAddCallback|StreamWaitValue.*)'",
        environment, MOE_DEMO, steps, mode);
    return atoi(o.text);
}

/* Copies to the host and waits for them were the cost of engines' own captures: a step has none of ours. */
Test(peers, no_copy_and_no_wait)
{
    static const char *const modes[] = {"--truth /dev/null", "--graph --truth /dev/null", "--context"};
    char preload[256];
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s MOETAP_SOURCE=preload", SHIM);
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        const int alone = calls_of("", 30, modes[m]) - calls_of("", 3, modes[m]);
        const int recorded = calls_of(preload, 30, modes[m]) - calls_of(preload, 3, modes[m]);
        cr_assert_gt(alone, 0);
        cr_assert_eq(recorded, alone, "%s: %d calls in 27 steps, %d without moetap", modes[m], recorded, alone);
    }
}

/* Capturing a graph and updating it runs nothing: there is a record for each replay and no more. */
Test(peers, captures_are_no_steps)
{
    static const char *const modes[] = {"plain", "pieces", "fork", "update", "relaxed"};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        RUN(0, "%s record --force -q -o t -- %s --graph=%s --steps 7", MOETAP, MOE_DEMO, modes[m]);
        SAYS("captured 28 records, 448 rows");
    }
}

/* Engines that balance experts by moving them store ids of places: a recipe says so, and the export hands it on. */
Test(peers, ids_of_places_are_labelled)
{
    static const char *const spaces[] = {"physical", "logical"};
    for (int i = 0; i < 2; i++) {
        RUN(0,
            "printf '[mine]\\nkernel = moe_demo_topk_i32\\nparams = 8 8 8 4 4 4\\nids = param 1\\ndtype = i32\\n"
            "rows = param 3\\nexperts = param 4\\nk = param 5\\nid_space = %s\\n' > r && "
            "%s record --force -q -o t --recipe r -- %s && %s export t --passes -o x.safetensors && head -c 4096 "
            "x.safetensors | grep -ao '\"id_space\":\"[a-z]*\"'",
            spaces[i], MOETAP, MOE_DEMO, MOETAP);
        char words[64];
        snprintf(words, sizeof words, "\"id_space\":\"%s\"", spaces[i]);
        SAYS(words);
    }
}
