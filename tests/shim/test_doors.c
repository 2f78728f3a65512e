/* SPDX-License-Identifier: Apache-2.0 */
/* Every way by which an engine's launch comes to the driver, with every source: each router once, nothing else. */
#include "command.h"

#include <criterion/criterion.h>

TestSuite(doors, .fini = scratch_remove, .timeout = 120);

static const char *const doors[] = {"dlsym", "getproc"};
static const char *const sources[] = {"preload", "cupti", "auto"};

/* Runs it and compares the ids with the truth, in no order. `segments`: as the summary says it. */
static void check_one(struct outcome *o, const char *what, const char *door, const char *source, const char *segments,
                      int launches)
{
    struct outcome dump;
    command(o, "cd %s && rm -f t truth; MOETAP_LOG=2 %s record -q --source=%s -o t -- %s %s truth %s %s", scratch(),
            MOETAP, source, DOOR_PROBE, SOFTCUDA, door, what);
    cr_assert_eq(o->status, 0, "%s %s %s: status %d: %s", what, door, source, o->status, o->text);
    cr_assert(strstr(o->text, segments), "%s %s %s: not %s: %s", what, door, source, segments, o->text);
    cr_assert(strstr(o->text, "not captured 0"), "%s %s %s: %s", what, door, source, o->text);
    command(&dump,
            "cd %s && %s dump --format=jsonl t | sed -E 's/.*\"ids\":(.*)\\}$/\\1/' | sort > got; sort truth > want; "
            "wc -l < got; diff got want | head -5",
            scratch(), MOETAP);
    char count[32];
    snprintf(count, sizeof count, "%d\n", launches);
    cr_assert_str_eq(dump.text, count, "%s %s %s: %s, not %s", what, door, source, dump.text, count);
}

static void check(const char *what, const char *segments, int launches)
{
    struct outcome o;
    for (int d = 0; d < 2; d++) {
        for (int s = 0; s < 3; s++)
            check_one(&o, what, doors[d], sources[s], segments, launches);
    }
}

/* cuLaunchKernel, ...Ex, cooperative, packed parameters; per-thread flavours; on a stream, NULL, per-thread. */
Test(doors, ways)
{
    check("ways", "from 1 segment;", 3 * 7 * 3);
}

/* Launches that no symbol sees come from CUPTI, and `auto` says why it keeps it. */
Test(doors, around)
{
    struct outcome o;
    check_one(&o, "ways", "around", "auto", "from 1 segment;", 3 * 7 * 3);
    cr_assert(strstr(o.text, "came by no preloaded symbol"), "%s", o.text);
    check_one(&o, "ways", "dlsym", "auto", "from 1 segment;", 3 * 7 * 3);
    cr_assert(!strstr(o.text, "came by no preloaded symbol"), "%s", o.text);
}

Test(doors, per_thread)
{
    check("per-thread", "from 1 segment;", 60);
}

Test(doors, kernel_in_a_functions_place)
{
    check("kernel", "from 1 segment;", 9);
}

/* The handle of an unloaded function comes back as another kernel: neither is taken for the other. */
Test(doors, unload)
{
    check("unload", "from 1 segment;", 1);
}

/* A kernel that comes again and again is captured each time; that its recipe is outdated, or tells no weights, is one
 * line all the same. */
Test(doors, reload)
{
    static const struct {
        const char *options, *recipe, *says;
    } cases[] = {
        {"", "kernel = moe_demo_embed\nparams = 8 8 8 4 4 4\nids = param 1\ndtype = i32\nrows = param 3\nk = param 5",
         "not captured: moe_demo_embed: looks like [mine]"},
        {"--weights",
         "kernel = moe_demo_topk_i32\nparams = 8 8 8 4 4 4\nids = param 1\ndtype = i32\nrows = param 3\nk = param 5",
         "no weights of moe_demo_topk_i32: "},
    };
    struct outcome o;
    check_one(&o, "reload", "dlsym", "auto", "from 1 segment;", 5);
    for (size_t i = 0; i < 2; i++) {
        command(&o,
                "cd %s && printf '[mine]\n%s\n' >mine && rm -f t truth; %s record -q %s "
                "--recipe mine -o t -- %s %s truth dlsym reload",
                scratch(), cases[i].recipe, MOETAP, cases[i].options, DOOR_PROBE, SOFTCUDA);
        cr_assert_eq(o.status, 0, "%s", o.text);
        const char *said = strstr(o.text, cases[i].says);
        cr_assert(said && !strstr(said + 1, cases[i].says) && strstr(o.text, "captured 5 records"), "%s", o.text);
    }
}

Test(doors, graph_made_by_hand_is_counted)
{
    struct outcome o;
    for (int d = 0; d < 2; d++) {
        command(&o, "cd %s && rm -f t truth; %s record -q --source=preload -o t -- %s %s truth %s nodes", scratch(),
                MOETAP, DOOR_PROBE, SOFTCUDA, doors[d]);
        cr_assert_eq(o.status, 0, "%s: %s", doors[d], o.text);
        cr_assert(strstr(o.text, "captured 1 records"), "%s: %s", doors[d], o.text);
        cr_assert(strstr(o.text, "not captured 2"), "%s: %s", doors[d], o.text);
        cr_assert(strstr(o.text, "made node by node"), "%s: %s", doors[d], o.text);
    }
    /* So are those without ids, there and where they are launched. */
    command(
        &o,
        "cd %s && rm -f t truth; printf '[mine]\\nkind = no-ids\\nkernel = moe_demo_topk_i32\\n' >mine; %s record -q "
        "--source=preload --recipe mine -o t -- %s %s truth %s nodes",
        scratch(), MOETAP, DOOR_PROBE, SOFTCUDA, doors[0]);
    cr_assert(strstr(o.text, "captured 0 records") && strstr(o.text, "not captured 3"), "%s", o.text);
}

Test(doors, second_context)
{
    check("contexts", "from 2 segments;", 10);
}

Test(doors, contexts_in_turn)
{
    struct outcome o;
    setenv("MOETAP_RING_SIZE", "1M", 1);
    check_one(&o, "contexts-in-turn", "dlsym", "auto", "from 70 segments;", 70);
}

/* More streams than there are lanes for: what is not tapped there is counted, and said once. */
Test(doors, many_streams)
{
    struct outcome o;
    unsigned captured = 0, not_captured = 0;
    command(&o, "cd %s && rm -f t truth; %s record -q -o t -- %s %s truth dlsym streams", scratch(), MOETAP, DOOR_PROBE,
            SOFTCUDA);
    cr_assert_eq(o.status, 0, "%s", o.text);
    const char *account = strstr(o.text, "moetap: captured "), *not_all = strstr(o.text, "; not captured ");
    cr_assert(account && not_all && sscanf(account, "moetap: captured %u", &captured) == 1 &&
                  sscanf(not_all, "; not captured %u", &not_captured) == 1,
              "%s", o.text);
    cr_assert(captured + not_captured == 1100 && not_captured > 0, "%s", o.text);
    const char *line = strstr(o.text, "routers on later ones are counted as not captured");
    cr_assert(line && !strstr(line + 1, "routers on later ones"), "%s", o.text);
}

Test(doors, device_reset)
{
    check("reset", "from 3 segments;", 3);
}

Test(doors, devices)
{
    struct outcome o;
    setenv("SOFTCUDA_DEVICES", "3", 1);
    check("devices", "from 3 segments;", 15);
    check_one(&o, "devices", "dlsym", "auto", "from 3 segments;", 15);
    cr_assert(strstr(o.text, "device 0 (") && strstr(o.text, "device 1 (") && strstr(o.text, "device 2 ("), "%s",
              o.text);
}

Test(doors, fork_without_exec)
{
    check("fork-late", "from 1 segment;", 2);
    /* Three launches are the engine's, one of them the child's, and two are taps. */
    struct outcome o;
    setenv("SOFTCUDA_LOG", "1", 1);
    check_one(&o, "fork-late", "dlsym", "preload", "from 1 segment;", 2);
    const unsigned launches = occurrences(o.text, "softcuda: cuLaunchKernel\n");
    cr_assert_eq(launches, 5u, "%u: %s", launches, o.text);
}

Test(doors, fork_before_cuda)
{
    check("fork-early", "from 2 segments;", 6);
}

/* Programs without CUDA are left in peace. */
Test(doors, no_libcuda)
{
    struct outcome o;
    command(&o, "export MOETAP_SHM_DIR=%s; MOETAP_LOG=2 LD_PRELOAD=%s sh -c 'echo \"$0\"; true' said", scratch(), SHIM);
    cr_assert(o.status == 0 && strcmp(o.text, "said\n") == 0, "%s", o.text);
    command(&o, "cd %s; LD_PRELOAD=%s %s /nonexistent/libcuda.so.1 truth dlsym ways", scratch(), SHIM, DOOR_PROBE);
    cr_assert_eq(o.status, 3);
    cr_assert(strstr(o.text, "No such file") && !strstr(o.text, "moetap["), "%s", o.text);
    command(&o, "cd %s; rm -f t; %s record -q -o t -- sh -c 'exit 5'", scratch(), MOETAP);
    cr_assert_eq(o.status, 5, "%d %s", o.status, o.text);
}

/* A driver before 12.4 tells no parameter layouts: one line, the engine runs. */
Test(doors, old_driver)
{
    struct outcome o;
    for (int s = 0; s < 3; s++) {
        command(&o, "cd %s && rm -f t; %s record -q --source=%s -o t -- %s %s truth dlsym ways", scratch(), MOETAP,
                sources[s], DOOR_PROBE, SOFTCUDA_OLD);
        cr_assert_eq(o.status, 0, "%s: %s", sources[s], o.text);
        const char *line = strstr(o.text, "the driver cannot tell kernels' parameter layouts");
        cr_assert(line, "%s: %s", sources[s], o.text);
        cr_assert(!strstr(line + 1, "the driver cannot tell"), "%s", o.text);
        cr_assert(!strstr(o.text, "another release"), "%s", o.text);
    }
}

/* A name that means other parameters since a later CUDA: ours must pass them on, or leave the function alone. */
Test(doors, new_parameters)
{
    struct outcome o;
    for (int s = 0; s < 3; s++) {
        command(&o, "cd %s && rm -f t truth; %s record -q --source=%s -o t -- %s %s truth getproc new-parameters",
                scratch(), MOETAP, sources[s], DOOR_PROBE, SOFTCUDA);
        cr_assert(strstr(o.text, "error") == NULL, "%s: %s", sources[s], o.text);
        cr_assert_eq(o.status, 0, "%s: %s", sources[s], o.text);
        if (s == 0)
            cr_assert(strstr(o.text, "cuEventRecord of CUDA 90.0 is not known here"), "%s", o.text);
    }
}
