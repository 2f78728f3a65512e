/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole runs: the sample engine, unmodified, under `moetap record`, on the software CUDA device; every id compared with
 * what the engine itself copied.
 */
#include "command.h"

#include <criterion/criterion.h>
#include <stdbool.h>

TestSuite(run, .fini = scratch_remove, .timeout = 120);

struct shape {
    const char *door; /* how the engine comes to the driver */
    const char *source;
    const char *extra;
    int layers, experts, topk, tokens, steps, streams;
};

static void check(const struct shape *s)
{
    struct outcome o;
    bool direct = strcmp(s->door, "direct") == 0;
    char door[64] = "";
    if (!direct)
        snprintf(door, sizeof door, "--door %s", s->door);
    command(
        &o,
        "cd %s && rm -f t truth; %s record -q --source=%s -o t -- %s %s --layers %d --experts %d --topk %d --tokens %d "
        "--steps %d --streams %d %s --truth truth",
        scratch(), MOETAP, s->source, direct ? MOE_DEMO_DIRECT : MOE_DEMO, door, s->layers, s->experts, s->topk,
        s->tokens, s->steps, s->streams, s->extra);
    cr_assert_eq(o.status, 0, "record (%s, %s, %s) exited %d: %s", s->door, s->source, s->extra, o.status, o.text);
    command(&o,
            "cd %s && %s dump --format=jsonl t | %s truth --layers %d --experts %d --topk %d --tokens %d --steps %d "
            "--streams %d",
            scratch(), MOETAP, TRUTH_COMPARE, s->layers, s->experts, s->topk, s->tokens, s->steps, s->streams);
    cr_assert_eq(o.status, 0, "%s %s %s: %s", s->door, s->source, s->extra, o.text);
    char match[96];
    long ids = (long) s->layers * s->topk * s->tokens * s->steps * s->streams;
    snprintf(match, sizeof match, "match: %ld of %ld ids", ids, ids);
    cr_assert(strstr(o.text, match), "%s", o.text);
}

/* Every door, with every source, eager and as a graph. */
Test(run, doors_and_sources)
{
    static const char *const doors[] = {"dlsym", "getproc", "direct"};
    static const char *const sources[] = {"auto", "cupti", "preload"};
    static const char *const modes[] = {"", "--graph"};
    for (int d = 0; d < 3; d++) {
        for (int s = 0; s < 3; s++) {
            for (int m = 0; m < 2; m++) {
                struct shape shape = {doors[d], sources[s], modes[m], 3, 64, 6, 16, 5, 1};
                check(&shape);
            }
        }
    }
}

Test(run, dtypes)
{
    static const char *const extras[] = {"--dtype i32", "--dtype i64", "--dtype u32", "--dtype i64 --graph",
                                         "--dtype u32 --graph"};
    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++) {
        struct shape shape = {"dlsym", "preload", extras[i], 3, 128, 8, 33, 4, 1};
        check(&shape);
    }
}

/* One row to many blocks, one expert to 1024, one layer to 61. */
Test(run, shapes)
{
    static const struct shape shapes[] = {
        {"dlsym", "preload", "", 1, 8, 2, 1, 6, 1},           {"dlsym", "preload", "--graph", 1, 8, 2, 1, 6, 1},
        {"dlsym", "preload", "", 2, 1, 1, 3, 4, 1},           {"dlsym", "preload", "", 61, 256, 8, 4, 3, 1},
        {"dlsym", "preload", "--graph", 61, 256, 8, 4, 3, 1}, {"dlsym", "preload", "", 2, 1024, 32, 7, 3, 1},
        {"dlsym", "preload", "", 2, 240, 7, 129, 3, 1},       {"dlsym", "preload", "", 2, 241, 7, 129, 3, 1},
        {"dlsym", "preload", "", 2, 16, 3, 4096, 2, 1},       {"dlsym", "preload", "--graph", 2, 32, 10, 2000, 2, 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check(&shapes[i]);
}

Test(run, streams)
{
    static const char *const extras[] = {"", "--graph"};
    static const char *const sources[] = {"preload", "cupti", "auto"};
    for (int e = 0; e < 2; e++) {
        for (int s = 0; s < 3; s++) {
            struct shape shape = {"getproc", sources[s], extras[e], 4, 64, 6, 16, 6, 4};
            check(&shape);
        }
    }
}

/* auto keeps CUPTI until the symbols have proved to miss no launch, and then not a launch is lost or told twice. */
Test(run, cupti_is_given_up)
{
    struct outcome o;
    static const char *const sources[] = {"auto", "cupti"};
    for (int s = 0; s < 2; s++) {
        command(&o,
                "cd %s && MOETAP_LOG=2 %s record -q --force --source=%s -o t -- %s --layers 30 --steps 60 --tokens 4",
                scratch(), MOETAP, sources[s], MOE_DEMO);
        cr_assert_eq(o.status, 0, "%s", o.text);
        cr_assert(strstr(o.text, "launches come from CUPTI"), "%s", o.text);
        cr_assert_eq(strstr(o.text, "CUPTI is given up") != NULL, s == 0, "%s", o.text);
        cr_assert(strstr(o.text, "captured 1800 records, 7200 rows"), "%s", o.text);
    }
    struct shape shape = {"dlsym", "auto", "", 30, 64, 6, 4, 60, 1};
    check(&shape);
}

static void checksum(const char *text, char *out, size_t size)
{
    const char *found = strstr(text, "checksum");
    cr_assert(found, "no checksum in: %s", text);
    snprintf(out, size, "%.40s", found);
    out[strcspn(out, "\n")] = '\0';
}

/* The engine computes the same bits with moetap as without. */
Test(run, engine_unchanged)
{
    struct outcome o;
    char bare[64], taped[64];
    for (int graph = 0; graph < 2; graph++) {
        const char *args = graph ? "--graph --seed 3" : "--seed 3";
        command(&o, "%s %s", MOE_DEMO, args);
        checksum(o.text, bare, sizeof bare);
        command(&o, "cd %s && rm -f t; %s record -q -o t -- %s %s", scratch(), MOETAP, MOE_DEMO, args);
        checksum(o.text, taped, sizeof taped);
        cr_assert_str_eq(bare, taped);
    }
}

/* Each CUDA call of ours may fail: the engine still runs through, and a line says why nothing was captured. */
Test(run, every_call_may_fail)
{
    static const char *const calls[] = {"cuMemHostRegister_v2",   "cuMemHostGetDevicePointer_v2",
                                        "cuStreamCreate:2",       "cuModuleLoadData:2",
                                        "cuModuleGetFunction",    "cuThreadExchangeStreamCaptureMode",
                                        "cuMemcpyHtoDAsync_v2:2", "cuStreamIsCapturing",
                                        "cuPointerGetAttribute",  "cuCtxGetCurrent"};
    struct outcome o;
    char bare[64], taped[64];
    command(&o, "%s", MOE_DEMO);
    checksum(o.text, bare, sizeof bare);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char call[64];
        int nth = 1;
        snprintf(call, sizeof call, "%s", calls[i]);
        char *colon = strchr(call, ':');
        if (colon) {
            nth = atoi(colon + 1);
            *colon = '\0';
        }
        /* The engine itself makes some of these calls: it may be refused, but then without moetap just the same. */
        command(&o, "SOFTCUDA_FAIL=%s:999:%d %s", call, nth, MOE_DEMO);
        if (o.status != 0)
            continue;
        command(&o, "cd %s && rm -f t; SOFTCUDA_FAIL=%s:999:%d %s record -q --source=preload -o t -- %s", scratch(),
                call, nth, MOETAP, MOE_DEMO);
        cr_assert_eq(o.status, 0, "%s: %s", call, o.text);
        checksum(o.text, taped, sizeof taped);
        cr_assert_str_eq(bare, taped, "%s", call);
    }
    command(&o, "cd %s && rm -f t; SOFTCUDA_FAIL=cuMemHostRegister_v2:801 %s record -q -o t -- %s", scratch(), MOETAP,
            MOE_DEMO);
    cr_assert(strstr(o.text, "cuMemHostRegister of the ring failed"), "%s", o.text);
}

/* A ring that is too small for the records: everything lost is counted, by cause, and nothing else changes. */
Test(run, loss_is_counted)
{
    struct outcome o;
    command(&o,
            "cd %s && rm -f t; %s record -q --ring-size=64K -o t -- %s --layers 2 --tokens 16384 --steps 2 --topk 8 "
            "--experts 16",
            scratch(), MOETAP, MOE_DEMO);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(strstr(o.text, "too big 4"), "%s", o.text);
}

Test(run, settings_that_make_no_sense)
{
    struct outcome o;
    command(&o,
            "cd %s && export MOETAP_SHM_DIR=$PWD && MOETAP_SESSION=t%d MOETAP_RING_SIZE=banana MOETAP_ON_FULL=never "
            "MOETAP_SOURCE=magic "
            "LD_PRELOAD=%s %s; %s clean",
            scratch(), (int) getpid(), SHIM, MOE_DEMO, MOETAP);
    cr_assert(strstr(o.text, "MOETAP_RING_SIZE=banana"), "%s", o.text);
    cr_assert(strstr(o.text, "MOETAP_ON_FULL=never"), "%s", o.text);
    cr_assert(strstr(o.text, "MOETAP_SOURCE=magic"), "%s", o.text);
    cr_assert(strstr(o.text, "checksum"), "%s", o.text);
}

/* LD_PRELOAD and nothing else; the trace is drained afterwards. */
Test(run, by_hand)
{
    struct outcome o;
    command(&o,
            "cd %s && export MOETAP_SHM_DIR=$PWD && MOETAP_SESSION=hand%d LD_PRELOAD=%s %s --layers 3 --experts 32 "
            "--topk 4 --tokens 8 --steps 4 "
            "--truth truth",
            scratch(), (int) getpid(), SHIM, MOE_DEMO);
    cr_assert_eq(o.status, 0, "%s", o.text);
    command(&o,
            "cd %s && export MOETAP_SHM_DIR=$PWD && %s drain $(%s ls | grep -o 'moetap.hand%d[^ ]*' | head -1) -o t",
            scratch(), MOETAP, MOETAP, (int) getpid());
    cr_assert_eq(o.status, 0, "%s", o.text);
    command(&o, "cd %s && %s dump --format=jsonl t | %s truth --layers 3 --experts 32 --topk 4 --tokens 8 --steps 4",
            scratch(), MOETAP, TRUTH_COMPARE);
    cr_assert(strstr(o.text, "match: 384 of 384 ids"), "%s", o.text);
}

Test(run, disabled)
{
    struct outcome o;
    command(&o, "cd %s && export MOETAP_SHM_DIR=$PWD && MOETAP_DISABLE=1 MOETAP_SESSION=off%d LD_PRELOAD=%s %s; %s ls",
            scratch(), (int) getpid(), SHIM, MOE_DEMO, MOETAP);
    char name[32];
    snprintf(name, sizeof name, "moetap.off%d", (int) getpid());
    cr_assert(!strstr(o.text, name), "%s", o.text);
}

/* The page for a bug report: source, recipe, refusals, sites, loss, and the command's own status. */
Test(run, doctor)
{
    struct outcome o;
    command(&o, "%s doctor --source=preload -- %s --layers 3 --graph", MOETAP, MOE_DEMO);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(strstr(o.text, "launches come from preloaded symbols"), "%s", o.text);
    cr_assert(strstr(o.text, "recipe moe-demo.i32 reads moe_demo_topk_i32"), "%s", o.text);
    cr_assert(strstr(o.text, "24 records, 384 rows, 3 layers, 8 steps"), "%s", o.text);
    cr_assert(!strstr(o.text, "advice:"), "%s", o.text);
    command(&o,
            "cd %s && printf '[old]\\nkernel = moe_demo_router_gemm\\nparams = 8\\nids = param 0\\nrows = 1\\nk = "
            "1\\ndtype = i32\\n' > old.recipe; %s doctor --recipe old.recipe -o page -- %s; cat page",
            scratch(), MOETAP, MOE_DEMO);
    cr_assert(strstr(o.text, "looks like [old]"), "%s", o.text);
    cr_assert(strstr(o.text, "advice: a known router has other parameters"), "%s", o.text);
    command(&o, "%s doctor -- sh -c 'exit 7'", MOETAP);
    cr_assert_eq(o.status, 7, "%s", o.text);
    cr_assert(strstr(o.text, "no process got as far as cuInit()"), "%s", o.text);
    command(&o, "%s doctor -- /no/such/engine", MOETAP);
    cr_assert_eq(o.status, 127, "%s", o.text);
    command(&o, "%s doctor -o /no/such/folder/page -- true", MOETAP);
    cr_assert_eq(o.status, 1, "%s", o.text);
}

/* Where no recipe fits the router, the ids come from who reads them, once for each layer though two kernels read them
 * (--scrub: the second is moe_demo_keep). As soon as a router is known its consumers are not tapped. */
Test(run, consumers_of_an_unknown_router)
{
    static const char *const hide =
        "[hidden]\\nkernel = moe_demo_topk_i32\\nkind = final\\nparams = 8 8 8 4 4 4\\nids = param 1\\n";
    /* Of two that fit the experts' kernel the first one's condition never holds. */
    static const char *const consumers = "[never]\\nkind = consumer\\nkernel = moe_demo_experts\\nparams = 8 8 8 8 8 "
                                         "4 4 4\\nids = param 1\\ndtype = i32\\nrows = param 5\\n"
                                         "k = param 7\\nrequire = param 5 == 9999\\n"
                                         "[experts]\\nkind = consumer\\nkernel = moe_demo_experts\\nparams = 8 8 8 8 8 "
                                         "4 4 4\\nids = param 1\\ndtype = i32\\nrows = param 5\\n"
                                         "k = param 7\\n[keep]\\nkind = consumer\\nkernel = moe_demo_keep\\nparams = 8 "
                                         "8 4\\nids = param 0\\ndtype = i32\\nk = 6\\n"
                                         "rows = param 2 / k\\n";
    /* --fork: they run on another stream than the router, and the ids change behind their back. */
    static const char *const modes[] = {"",       "--scrub",        "--scrub --graph",     "--scrub --graph=pieces",
                                        "--fork", "--fork --scrub", "--graph=fork --scrub"};
    struct outcome o;
    for (int hidden = 0; hidden < 2; hidden++) {
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            command(&o,
                    "cd %s && rm -f t truth; printf '%s%s' > c.recipe; SOFTCUDA_ORDER=late %s record -q "
                    "--source=preload --recipe c.recipe -o t -- %s %s --layers 7 --steps 5 --truth truth",
                    scratch(), hidden ? hide : "", consumers, MOETAP, MOE_DEMO, modes[m]);
            cr_assert_eq(o.status, 0, "%s", o.text);
            command(&o, "cd %s && %s dump --format=jsonl t | %s truth --layers 7 --steps 5; %s info t", scratch(),
                    MOETAP, TRUTH_COMPARE, MOETAP);
            cr_assert(strstr(o.text, "match: 3360 of 3360 ids"), "%d %s: %s", hidden, modes[m], o.text);
            cr_assert(strstr(o.text, " 35 records, 560 rows, 7 layers"), "%d %s: %s", hidden, modes[m], o.text);
            cr_assert_eq(strstr(o.text, "moe-demo.i32") == NULL, hidden, "%s", o.text);
            cr_assert_eq(strstr(o.text, " experts\n") != NULL, hidden, "%s", o.text);
        }
    }
}

/* Two recipes fit the router, and only the second one's conditions hold, eager and in graphs; where neither's do, the
 * built-in one is tried behind them. */
Test(run, next_recipe_where_the_first_does_not_hold)
{
    static const char *const form = "kernel = moe_demo_topk_i32\\nparams = 8 8 8 4 4 4\\nids = param 1\\ndtype = i32\\n"
                                    "rows = param 3\\nexperts = param 4\\nk = param 5\\nrequire = param 3";
    static const char *const modes[] = {"", "--graph", "--scrub --graph=pieces"};
    struct outcome o;
    for (int third = 0; third < 2; third++) {
        for (int m = 0; m < 3; m++) {
            command(&o,
                    "cd %s && rm -f t truth; printf '[first]\\n%s == 1\\n[second]\\n%s >= %d\\n' > n.recipe; %s record "
                    "-q --source=preload --recipe n.recipe -o t -- %s %s --layers 7 --steps 5 --truth truth",
                    scratch(), form, form, third ? 1000 : 2, MOETAP, MOE_DEMO, modes[m]);
            cr_assert_eq(o.status, 0, "%s", o.text);
            command(&o, "cd %s && %s dump --format=jsonl t | %s truth --layers 7 --steps 5; %s info t", scratch(),
                    MOETAP, TRUTH_COMPARE, MOETAP);
            cr_assert(strstr(o.text, "match: 3360 of 3360 ids"), "%s: %s", modes[m], o.text);
            cr_assert(strstr(o.text, " 35 records, 560 rows, 7 layers"), "%s: %s", modes[m], o.text);
            cr_assert(strstr(o.text, third ? "moe-demo.i32" : " second"), "%s: %s", modes[m], o.text);
            cr_assert(!strstr(o.text, " first"), "%s: %s", modes[m], o.text);
        }
    }
}

/* Ids of eight bytes at a multiple of four: a load of them would end the engine. */
Test(run, ids_that_the_gpu_could_not_load)
{
    struct outcome o;
    command(&o,
            "cd %s && rm -f t; printf '[mine]\\nkernel = moe_demo_topk_i64\\nparams = 8 8 8 4 4 4\\nids = param 1\\n"
            "skip = 4\\ndtype = i64\\nrows = 2\\nk = param 5\\n' > n.recipe; %s record -q --recipe n.recipe -o t -- %s "
            "--dtype i64 && %s info t",
            scratch(), MOETAP, MOE_DEMO, MOETAP);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(strstr(o.text, " moe-demo.i64") && !strstr(o.text, " mine"), "%s", o.text);
}

/* A model's layers are one, whichever kernel routes: in turns, as for prefill and decode, or a layer each. */
Test(run, two_router_kernels)
{
    static const char *const modes[] = {"",
                                        "--graph",
                                        "--scrub --graph=pieces",
                                        "--scrub --graph=fork",
                                        "--graph=update --streams 3",
                                        "--dtype i64 --context --streams 2"};
    static const char *const routers[] = {"turns", "mixed"};
    struct outcome o;
    for (size_t r = 0; r < 2; r++) {
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            const char *streams = strstr(modes[m], "--streams");
            command(&o,
                    "cd %s && rm -f t truth; %s record -q --source=preload -o t -- %s %s --routers=%s --layers 7 "
                    "--steps 6 --truth truth",
                    scratch(), MOETAP, MOE_DEMO, modes[m], routers[r]);
            cr_assert_eq(o.status, 0, "%s", o.text);
            /* By layer and step, each of which must be there once. */
            command(&o, "cd %s && %s dump --format=jsonl t | %s truth --layers 7 --steps 6 %s; %s info t", scratch(),
                    MOETAP, TRUTH_COMPARE, streams ? streams : "", MOETAP);
            cr_assert(strstr(o.text, "match: ") && !strstr(o.text, "not expected") && !strstr(o.text, "twice"),
                      "%s %s: %s", routers[r], modes[m], o.text);
            cr_assert(strstr(o.text, " 7 layers, 6 steps"), "%s %s: %s", routers[r], modes[m], o.text);
            cr_assert(strstr(o.text, "moe-demo.route"), "%s %s: %s", routers[r], modes[m], o.text);
            long ids = 7 * 6 * 16 * 6 * (streams ? strtol(streams + 9, NULL, 10) : 1);
            char match[64];
            snprintf(match, sizeof match, "match: %ld of %ld ids", ids, ids);
            cr_assert(strstr(o.text, match), "%s %s: %s", routers[r], modes[m], o.text);
        }
    }
}

/* Nobody reads standard error any more: a line of ours does not end the engine. */
Test(run, standard_error_is_gone)
{
    struct outcome o;
    command(&o,
            "cd %s && rm -f t; { MOETAP_LOG=2 %s record -q -o t -- sh -c 'sleep 0.2; exec %s --steps 3 >said'; echo $? "
            ">status; } 2>&1 | true; cat status said",
            scratch(), MOETAP, MOE_DEMO);
    cr_assert(strncmp(o.text, "0\n", 2) == 0 && strstr(o.text, "checksum"), "%s", o.text);
}

Test(run, bad_recipe_is_named_with_its_line)
{
    struct outcome o;
    command(&o,
            "cd %s && printf '[mine]\\nkernel = x\\nids = banana\\n' > bad.recipe; rm -f t; %s record -q --recipe "
            "bad.recipe -o t -- %s",
            scratch(), MOETAP, MOE_DEMO);
    cr_assert(strstr(o.text, "bad.recipe:3:"), "%s", o.text);
    cr_assert(strstr(o.text, "checksum"), "the engine did not run: %s", o.text);
}
