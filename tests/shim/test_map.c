/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load balancing: a kernel behind the router makes physical ids of its logical ones (--eplb), in place as well. Both
 * are recorded, every one compared with what the sample engine kept, each at its layer and run.
 */
#include "../../shm/table.h"
#include "command.h"

#include <criterion/criterion.h>

TestSuite(map, .fini = scratch_remove, .timeout = 280);

static void record(const char *environment, const char *with, const char *engine)
{
    struct outcome o;
    command(&o, "cd %s && rm -f t truth*; %s %s record -q %s -o t -- %s %s --truth truth", scratch(), environment,
            MOETAP, with, MOE_DEMO, engine);
    cr_assert_eq(o.status, 0, "%s %s: %s", environment, engine, o.text);
    cr_assert(strstr(o.text, "lost 0 ") && strstr(o.text, "not captured 0"), "%s", o.text);
}

static void expect(const char *dump, const char *truth, const char *shape, const char *what)
{
    struct outcome o;
    command(&o, "cd %s && %s dump --format=jsonl %s t | %s %s %s", scratch(), MOETAP, dump, TRUTH_COMPARE, truth,
            shape);
    cr_assert_eq(o.status, 0, "%s, dump %s: %s", what, dump, o.text);
}

static void expect_both(const char *environment, const char *engine, const char *shape)
{
    char both[256];
    snprintf(both, sizeof both, "%s %s", engine, shape);
    record(environment, "", both);
    expect("", "truth", shape, both);
    expect("--ids=logical", "truth", shape, both);
    expect("--ids=physical", "truth.physical", shape, both);
}

static const char *const shapes[] = {"",
                                     "--layers 37 --tokens 9 --topk 8",
                                     "--layers 3 --tokens 1400 --topk 7",
                                     "--experts 200 --topk 1 --tokens 5",
                                     "--dtype i64 --tokens 33 --topk 5",
                                     "--dtype u32 --tokens 3"};

Test(map, eager)
{
    static const char *const engines[] = {"--eplb", "--eplb=inplace", "--eplb --scrub", "--eplb=inplace --pdl"};
    for (size_t e = 0; e < sizeof engines / sizeof *engines; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            expect_both("MOETAP_SOURCE=preload", engines[e], shapes[s]);
    expect_both("MOETAP_SOURCE=preload", "--eplb=inplace", "--streams 2");
}

Test(map, graphs)
{
    static const char *const engines[] = {"--eplb --graph",         "--eplb=inplace --graph",
                                          "--eplb --graph --scrub", "--eplb=inplace --graph=pieces --scrub",
                                          "--eplb --graph --pdl",   "--eplb=inplace --graph=update --scrub"};
    static const char *const orders[] = {"late", "early", "random", "parallel"};
    for (size_t e = 0; e < sizeof engines / sizeof *engines; e++)
        for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
            char environment[64];
            snprintf(environment, sizeof environment, "SOFTCUDA_ORDER=%s", orders[o]);
            expect_both(environment, engines[e], shapes[(e + o) % (sizeof shapes / sizeof *shapes)]);
        }
    expect_both("SOFTCUDA_ORDER=parallel SOFTCUDA_SLOW=moetap_stage:2000", "--eplb=inplace --graph", "--steps 3");
}

/* Where two kernels route in turns, or a layer each, steps are the layer's, of its mapped ids as of its own. */
Test(map, two_router_kernels)
{
    static const char *const engines[] = {"--eplb --routers=turns", "--eplb=inplace --routers=mixed",
                                          "--eplb=inplace --routers=turns --graph", "--eplb --routers=mixed --graph"};
    for (size_t e = 0; e < sizeof engines / sizeof *engines; e++)
        expect_both("MOETAP_SOURCE=preload", engines[e], "--layers 7 --steps 6");
}

/* All of the above would pass with taps in line: of 4 layers, the first is joined ahead of the map, the second behind
 * who reads the physical ids. */
Test(map, taps_are_beside)
{
    struct outcome o;
    command(&o,
            "cd %s && SOFTCUDA_LOG=1 MOETAP_SOURCE=preload %s record -q -o t -- %s --eplb --scrub --graph --steps 2",
            scratch(), MOETAP, MOE_DEMO);
    cr_assert_geq(occurrences(o.text, "cuGraphAddDependencies_v2"), 8u, "%s", o.text);
}

/* Weights are the router's: with its own ids. */
Test(map, weights_stay_with_the_routers_ids)
{
    static const char shape[] = "--layers 5 --steps 4";
    struct outcome o;
    record("SOFTCUDA_ORDER=late", "--weights", "--eplb=inplace --weights --rescale --graph --layers 5 --steps 4");
    expect("", "truth --weights", shape, "");
    expect("--ids=physical", "truth.physical", shape, "");
    command(&o, "cd %s && %s dump --ids=physical --format=jsonl t | grep -c weights", scratch(), MOETAP);
    cr_assert_eq(atoi(o.text), 0, "%s", o.text);
}

/* Which ids a site holds is in the trace, and what is not there cannot be had. */
Test(map, who_has_what)
{
    struct outcome o;
    record("", "", "--eplb --layers 2 --steps 3");
    command(&o, "cd %s && %s info t", scratch(), MOETAP);
    cr_assert(
        strstr(o.text, "      0      0       0      64   6 int32  logical  eager        3         48  moe-demo.i32"),
        "%s", o.text);
    cr_assert(strstr(o.text, "      1      0       0     128   6 int32  physical eager        3         48  "
                             "moe-demo.remap.i32"),
              "%s", o.text);
    cr_assert(
        strstr(o.text, "  6 records, 96 rows, 2 layers, 3 steps\n  6 records of ids that a kernel made of these\n"),
        "%s", o.text);
    record("", "", "--layers 2 --steps 3");
    static const char *const verbs[] = {"dump", "export --passes -o x.npz"};
    for (size_t i = 0; i < 2; i++) {
        command(&o, "cd %s && %s %s --ids=physical t", scratch(), MOETAP, verbs[i]);
        cr_assert_eq(o.status, 1, "%s", o.text);
        cr_assert(strstr(o.text, "no physical ids in it"), "%s", o.text);
        command(&o, "cd %s && %s %s --ids=both t", scratch(), MOETAP, verbs[i]);
        cr_assert_eq(o.status, 2, "%s", o.text);
    }
}

/* The live table keeps the router's own, also where as many experts are said to be behind the map: no id is beyond
 * these, as half of the physical ones are. */
Test(map, the_live_table_is_of_the_routers_ids)
{
    struct outcome o;
    command(&o,
            "cd %s && printf '[same]\\nkind = map\\nkernel = moe_demo_remap\\nparams = 8 8 8 4 4 4\\nids = param "
            "0\\nmapped = param 1\\ndtype = i32\\nexperts = 64\\n' > same.recipe; export MOETAP_SHM_DIR=$PWD "
            "MOETAP_RECIPE=$PWD/same.recipe MOETAP_SOURCE=preload MOETAP_SESSION=t; LD_PRELOAD=%s %s --context "
            "--eplb --layers 3 --steps 4 >out; %s table moetap.t.* -o eplb --strict --keep",
            scratch(), SHIM, MOE_DEMO, MOETAP);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(strstr(o.text, "stored 52 rows, 3 layers,"), "%s", o.text);
    struct mt_error error = {""};
    mt_table *table;
    setenv("MOETAP_SHM_DIR", scratch(), 1);
    cr_assert_eq(mt_table_attach("eplb", &table, &error), 0, "%s", error.text);
    cr_assert_eq(mt_table_header(table)->experts, 64);
    unsigned rows = 0;
    for (int64_t slot = 0; slot < 64; slot++) {
        uint8_t ids[3 * 6 * 2];
        struct mt_table_row row;
        rows += (unsigned) mt_table_get(table, &slot, 1, ids, &row);
        for (size_t i = 0; row.status == MT_ROW_OK && i < 3 * 6; i++) {
            int32_t id = mt_table_id(table, ids, i);
            cr_assert(id >= 0 && id < 64, "slot %d: %d", (int) slot, id);
        }
    }
    cr_assert_gt(rows, 20u);
    mt_table_detach(table);
    unsetenv("MOETAP_SHM_DIR");
}

/* A map whose ids no router was seen to write is nobody's, and says so; the routers' go on. */
Test(map, of_a_router_that_is_not_known)
{
    struct outcome o;
    command(
        &o,
        "cd %s && rm -f t truth*; printf '[far]\\nkind = map\\nkernel = moe_demo_remap\\nparams = 8 8 8 4 4 4\\nids = "
        "param "
        "2\\nmapped = param 1\\ndtype = i32\\n' > far.recipe; MOETAP_LOG=2 %s record -q --recipe far.recipe -o t -- %s "
        "--eplb --truth truth",
        scratch(), MOETAP, MOE_DEMO);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(strstr(o.text, "mapped ids are not recorded here: moe_demo_remap: it does not read"), "%s", o.text);
    expect("", "truth", "", "far");
    command(&o, "cd %s && %s info t", scratch(), MOETAP);
    cr_assert(!strstr(o.text, "physical"), "%s", o.text);
}
