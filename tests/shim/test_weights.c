/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `moetap record --weights`: every bit of the router's weights, compared with what the sample engine kept of them, also
 * where a kernel behind the router changes them in place (--rescale) or they are destroyed behind their last reader
 * (--scrub), and the device puts side branches off as far as their joins allow.
 */
#include "command.h"

#include <criterion/criterion.h>

TestSuite(weights, .fini = scratch_remove, .timeout = 280);

static void record(struct outcome *o, const char *environment, const char *with, const char *engine)
{
    command(o, "cd %s && rm -f t truth*; %s %s record -q %s -o t -- %s %s --truth truth", scratch(), environment,
            MOETAP, with, MOE_DEMO, engine);
    cr_assert_eq(o->status, 0, "%s %s: %s", environment, engine, o->text);
    cr_assert(strstr(o->text, "lost 0 ") && strstr(o->text, "not captured 0"), "%s", o->text);
}

static void expect_all(const char *environment, const char *engine, const char *shape)
{
    struct outcome o, compared;
    char both[256];
    snprintf(both, sizeof both, "--weights %s %s", engine, shape);
    record(&o, environment, "--weights", both);
    command(&compared, "cd %s && %s dump --format=jsonl t | %s truth --weights %s", scratch(), MOETAP, TRUTH_COMPARE,
            shape);
    cr_assert_eq(compared.status, 0, "%s %s: %s", environment, both, compared.text);
}

static const char *const shapes[] = {"", "--layers 37 --tokens 9 --topk 8", "--layers 3 --tokens 1400 --topk 7",
                                     "--experts 300 --topk 1 --tokens 5", "--dtype i64 --tokens 33 --topk 5"};

Test(weights, eager)
{
    static const char *const engines[] = {"", "--rescale", "--scrub", "--scrub --rescale", "--pdl --rescale"};
    for (size_t e = 0; e < sizeof engines / sizeof *engines; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            expect_all("MOETAP_SOURCE=preload", engines[e], shapes[s]);
    expect_all("MOETAP_SOURCE=cupti", "--rescale", "");
    expect_all("MOETAP_SOURCE=preload", "--fork --scrub", "");
}

Test(weights, graphs)
{
    static const char *const engines[] = {"--graph",
                                          "--graph --rescale",
                                          "--graph --scrub --rescale",
                                          "--graph=pieces",
                                          "--graph=update --scrub",
                                          "--graph --pdl",
                                          "--graph --rescale --pdl",
                                          "--graph=relaxed --scrub"};
    static const char *const orders[] = {"late", "early", "random", "parallel"};
    for (size_t e = 0; e < sizeof engines / sizeof *engines; e++)
        for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
            char environment[64];
            snprintf(environment, sizeof environment, "SOFTCUDA_ORDER=%s", orders[o]);
            expect_all(environment, engines[e], shapes[(e + o) % (sizeof shapes / sizeof *shapes)]);
        }
    expect_all("SOFTCUDA_ORDER=parallel SOFTCUDA_SLOW=moetap_stage:2000", "--graph --rescale", "--steps 3");
    expect_all("SOFTCUDA_ORDER=late", "--graph=fork --rescale", "");
    expect_all("SOFTCUDA_ORDER=late", "--graph=fork --scrub", ""); /* five launches on the experts' stream */
    expect_all("SOFTCUDA_ORDER=late", "--graph --routers=turns --rescale", "");
    expect_all("MOETAP_GRAPH_TAP=inline", "--graph --rescale", "--steps 3");
}

/* All of the above would pass with taps in line: where nobody changes the weights, each of 4 is joined behind a reader
 * of both. */
Test(weights, taps_are_beside)
{
    struct outcome o;
    record(&o, "SOFTCUDA_LOG=1 MOETAP_SOURCE=preload", "--weights", "--weights --scrub --graph --steps 2");
    cr_assert_geq(occurrences(o.text, "cuGraphAddDependencies_v2"), 4u, "%s", o.text);
}

static void checksum(const char *text, char *sum, size_t size)
{
    const char *at = strstr(text, "checksum ");
    cr_assert(at, "%s", text);
    snprintf(sum, size, "%.27s", at);
}

/* Nobody asked: nothing of them is anywhere, and the segment is one that older readers read. */
Test(weights, only_for_who_asks)
{
    struct outcome o;
    char without[32], with[32];
    record(&o, "", "", "--steps 3");
    checksum(o.text, without, sizeof without);
    command(&o, "cd %s && %s dump -f jsonl t; %s dump -f csv t | head -1; %s info t", scratch(), MOETAP, MOETAP,
            MOETAP);
    cr_assert(!strstr(o.text, "weights") && !strstr(o.text, ",w0"), "%s", o.text);
    record(&o, "", "--weights", "--steps 3");
    checksum(o.text, with, sizeof with);
    cr_assert_str_eq(without, with);
    command(&o, "cd %s && %s dump -f jsonl t | head -1; %s dump -f csv t | head -2; %s info t", scratch(), MOETAP,
            MOETAP, MOETAP);
    cr_assert(strstr(o.text, "\"weights\":[["), "%s", o.text);
    cr_assert(strstr(o.text, ",e5,w0,w1,w2,w3,w4,w5\n"), "%s", o.text);
    cr_assert(strstr(o.text, " int32  logical  f32     eager "), "%s", o.text);
    for (int weights = 0; weights < 2; weights++) {
        command(&o,
                "cd %s && export MOETAP_SHM_DIR=$PWD && MOETAP_WEIGHTS=%d MOETAP_SESSION=w LD_PRELOAD=%s %s >out; %s "
                "info moetap.w.*; %s drain moetap.w.* -o t; %s info t",
                scratch(), weights, SHIM, MOE_DEMO, MOETAP, MOETAP, MOETAP);
        cr_assert(strstr(o.text, weights ? ": layout 2.2," : ": layout 1.2,"), "%s", o.text);
        cr_assert_eq(strstr(o.text, " int32  logical  f32     eager ") != NULL, weights, "%s", o.text);
    }
    command(&o, "cd %s && MOETAP_WEIGHTS=yes MOETAP_SHM_DIR=$PWD LD_PRELOAD=%s %s", scratch(), SHIM, MOE_DEMO);
    cr_assert(strstr(o.text, "MOETAP_WEIGHTS=yes"), "%s", o.text);
}

/* A recipe that tells none: one line for the kernel, and its ids go on; absent is not 0. */
Test(weights, of_a_router_that_tells_none)
{
    static const struct {
        const char *keys, *says;
    } cases[] = {
        {"", "no weights of moe_demo_topk_i32: its recipe does not describe them"},
        {"weights = param 2\\nweights_dtype = template 0\\n", "their type is neither f32, f16 nor bf16"},
        {"weights = param 2\\nweights_dtype = f32\\nweights_stride = 5\\n", "their rows overlap"},
    };
    struct outcome o;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        command(
            &o,
            "cd %s && rm -f t truth; printf '[mine]\\nkernel = moe_demo_topk_i32\\nparams = 8 8 8 4 4 4\\nids = "
            "param 1\\ndtype = i32\\nrows = param 3\\nexperts = param 4\\nk = param 5\\n%s' > my.recipe; %s record -q "
            "--weights --recipe my.recipe -o t -- %s --graph --truth truth",
            scratch(), cases[i].keys, MOETAP, MOE_DEMO);
        cr_assert_eq(o.status, 0, "%s", o.text);
        cr_assert_eq(occurrences(o.text, "no weights of"), 1u, "%s", o.text);
        cr_assert(strstr(o.text, cases[i].says), "%s", o.text);
        command(&o, "cd %s && %s dump -f jsonl t | %s truth && %s dump -f jsonl t", scratch(), MOETAP, TRUTH_COMPARE,
                MOETAP);
        cr_assert_eq(o.status, 0, "%s", o.text);
        cr_assert(!strstr(o.text, "weights"), "%s", o.text);
    }
}
