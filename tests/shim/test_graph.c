/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taps beside the engine's kernels. The engine destroys its ids right behind their last reader (--scrub), and the
 * device puts side branches off to the last moment that their joins allow: a join that is missing or too late shows as
 * wrong ids.
 */
#include "command.h"

#include <criterion/criterion.h>

TestSuite(graph, .fini = scratch_remove, .timeout = 120);

static const char *const modes[] = {"plain", "pieces", "fork", "update", "relaxed"};

/* Runs the engine under `moetap record`, compares every id and layer; what was said is in `o`. */
static void run_keeping(struct outcome *o, const char *environment, const char *mode, const char *shape)
{
    struct outcome compared;
    command(o, "cd %s && rm -f t truth; %s %s record -q -o t -- %s --graph=%s %s --truth truth", scratch(), environment,
            MOETAP, MOE_DEMO, mode, shape);
    cr_assert_eq(o->status, 0, "%s %s: %s", environment, mode, o->text);
    command(&compared, "cd %s && %s dump --format=jsonl t | %s truth %s", scratch(), MOETAP, TRUTH_COMPARE, shape);
    cr_assert_eq(compared.status, 0, "%s %s %s: %s", environment, mode, shape, compared.text);
    cr_assert(strstr(o->text, "lost 0 "), "%s", o->text);
    cr_assert(strstr(o->text, "not captured 0"), "%s", o->text);
}

static void run(struct outcome *o, const char *environment, const char *mode, const char *shape)
{
    char scrubbing[96];
    snprintf(scrubbing, sizeof scrubbing, "%s --scrub", mode);
    run_keeping(o, environment, scrubbing, shape);
}

static void every_mode(const char *environment)
{
    static const char *const shapes[] = {"", "--layers 37 --tokens 9 --topk 8", "--layers 5 --tokens 1400 --topk 7",
                                         "--streams 3 --layers 20", "--dtype i64 --tokens 33"};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            struct outcome o;
            run(&o, environment, modes[m], shapes[s]);
        }
    }
}

Test(graph, taps_that_come_as_late_as_they_may)
{
    every_mode("SOFTCUDA_ORDER=late");
}

Test(graph, taps_that_come_early)
{
    every_mode("SOFTCUDA_ORDER=early");
}

Test(graph, any_order)
{
    every_mode("SOFTCUDA_ORDER=random");
}

/* The routers' stream shows the same two hidden states again and again, and the experts that make them run on another
 * one: only the events between the two tell these from weights. */
Test(graph, experts_out_of_sight)
{
    static const char *const sources[] = {"preload", "cupti", "auto"};
    for (size_t s = 0; s < sizeof sources / sizeof *sources; s++) {
        struct outcome o;
        char environment[64];
        snprintf(environment, sizeof environment, "SOFTCUDA_ORDER=late MOETAP_SOURCE=%s", sources[s]);
        run_keeping(&o, environment, "fork", "--layers 7");
        run_keeping(&o, environment, "fork", "--layers 20 --streams 3 --steps 3");
        run_keeping(&o, environment, "fork --pdl", "--layers 7 --steps 3");
        run(&o, environment, "pieces --fork", "--layers 7 --steps 3");
    }
}

/* The ids are destroyed on the stream of their readers, where no router was seen. */
Test(graph, readers_on_another_stream)
{
    struct outcome o;
    run(&o, "SOFTCUDA_ORDER=late", "eager --fork", "--layers 7");
    run(&o, "SOFTCUDA_ORDER=late", "eager --fork", "--streams 3 --dtype i64");
    run(&o, "SOFTCUDA_ORDER=parallel SOFTCUDA_SLOW=moetap_tap:2000", "eager --fork", "--steps 3");
    run(&o, "SOFTCUDA_ORDER=parallel SOFTCUDA_SLOW=moetap_stage:2000", "fork", "--steps 3");
}

Test(graph, branches_run_at_the_same_time)
{
    struct outcome o;
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
        run(&o, "SOFTCUDA_ORDER=parallel", modes[m], "");
    run(&o, "SOFTCUDA_ORDER=parallel SOFTCUDA_SLOW=moetap_stage:2000", "plain", "--steps 3");
    run(&o, "SOFTCUDA_ORDER=parallel SOFTCUDA_SLOW=moetap_write:2000", "plain", "--steps 3");
}

/* Programmatic edges: who asks for a node's neighbours without the edges' data is refused. */
Test(graph, kernels_that_overlap)
{
    struct outcome o;
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        char mode[32];
        snprintf(mode, sizeof mode, "%s --pdl", modes[m]);
        run(&o, "SOFTCUDA_ORDER=late", mode, "");
        run(&o, "SOFTCUDA_ORDER=parallel MOETAP_SOURCE=preload", mode, "--layers 37 --tokens 9 --topk 8");
    }
}

/* All of the above would pass with taps in line: 4 layers, of which each is joined behind a reader. */
Test(graph, taps_are_beside)
{
    struct outcome o;
    run(&o, "SOFTCUDA_LOG=1 MOETAP_SOURCE=preload", "plain", "--steps 2");
    cr_assert_geq(occurrences(o.text, "cuGraphAddDependencies_v2"), 4u, "%s", o.text);
    run(&o, "SOFTCUDA_LOG=1 MOETAP_SOURCE=preload", "plain --pdl", "--steps 2");
    cr_assert_geq(occurrences(o.text, "cuGraphAddDependencies_v2"), 4u, "%s", o.text);
    run(&o, "SOFTCUDA_LOG=1 MOETAP_GRAPH_TAP=inline MOETAP_SOURCE=preload", "plain", "--steps 2");
    cr_assert_eq(occurrences(o.text, "cuGraphAddDependencies_v2"), 0u, "%s", o.text);
}

/* An engine may capture its step again and again: the second time takes no more of the GPU's memory. */
Test(graph, captured_again)
{
    struct outcome o;
    run(&o, "SOFTCUDA_LOG=1 MOETAP_SOURCE=preload", "plain",
        "--layers 12 --tokens 16384 --topk 8 --steps 1 --experts 16");
    unsigned once = occurrences(o.text, "cuMemAlloc_v2");
    run(&o, "SOFTCUDA_LOG=1 MOETAP_SOURCE=preload", "update",
        "--layers 12 --tokens 16384 --topk 8 --steps 1 --experts 16");
    cr_assert_eq(occurrences(o.text, "cuMemAlloc_v2"), once, "%u, not %u", occurrences(o.text, "cuMemAlloc_v2"), once);
}

/* What may fail of it, fails: the tap goes in line or is counted as not captured, and the engine computes the same. */
Test(graph, every_call_may_fail)
{
    static const char *const calls[] = {"cuStreamGetCaptureInfo_v3",        "cuStreamUpdateCaptureDependencies_v2",
                                        "cuGraphAddKernelNode_v2",          "cuGraphAddDependencies_v2",
                                        "cuGraphNodeGetDependencies_v2",    "cuGraphNodeGetDependentNodes_v2",
                                        "cuThreadExchangeStreamCaptureMode"};
    struct outcome o, compared;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (int from = 1; from < 6; from += 2) {
            command(&o,
                    "cd %s && rm -f t truth; SOFTCUDA_ORDER=late SOFTCUDA_FAIL=%s:999:%d %s record -q --source=preload "
                    "-o t -- %s --scrub --graph --layers 6 --steps 3 --truth truth",
                    scratch(), calls[i], from, MOETAP, MOE_DEMO);
            cr_assert_eq(o.status, 0, "%s: %s", calls[i], o.text);
            /* Whatever was captured is right, though it may be less than all. */
            command(&compared, "cd %s && %s dump --format=jsonl t | %s truth --layers 6 --steps 3 ", scratch(), MOETAP,
                    TRUTH_COMPARE);
            cr_assert(!strstr(compared.text, "wrong"), "%s from the %dth on: %s", calls[i], from, compared.text);
        }
    }
}
