/* SPDX-License-Identifier: Apache-2.0 */
/* The command on programs whose router no recipe knows: what it finds, and that what it writes records the truth. */
#include "../shim/command.h"

#include <criterion/criterion.h>
#include <stdbool.h>

TestSuite(probe, .fini = scratch_remove, .timeout = 120);

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

static void expect(const struct outcome *o, const char *name, const char *what)
{
    cr_assert(strstr(o->text, what), "%s: no '%s' in: %s", name, what, o->text);
}

/* A program, and how often its routers run. */
struct program {
    const char *path, *name;
    unsigned calls;
};

/* The program's own output is what it is without us. */
static void check_unchanged(const struct outcome *o, const struct program *p)
{
    struct outcome bare;
    command(&bare, "%s %s", p->path, p->name);
    cr_assert_eq(bare.status, 0, "%s", bare.text);
    expect(o, p->name, bare.text);
}

/* Of the records that the recipe makes, `equal` are what the program's experts used. */
static void check_recording(const struct program *p, unsigned equal)
{
    struct outcome o;
    char want[64];
    command(&o, "cd %s && %s recipes check recipe", scratch(), MOETAP);
    cr_assert_eq(o.status, 0, "%s: %s", p->name, o.text);
    command(&o, "cd %s && %s record -q --strict --recipe recipe -o t -- %s %s truth", scratch(), MOETAP, p->path,
            p->name);
    cr_assert_eq(o.status, 0, "%s: %s", p->name, o.text);
    command(&o,
            "cd %s && %s dump --format=jsonl t | sed -E 's/.*\"ids\":(.*)\\}$/\\1/' | sort > got; sort truth > want; "
            "wc -l < got; wc -l < want; comm -12 got want | wc -l",
            scratch(), MOETAP);
    snprintf(want, sizeof want, "%u\n%u\n%u\n", p->calls, p->calls, equal);
    cr_assert_str_eq(o.text, want, "%s: records, calls, equal: %s", p->name, o.text);
}

/* `lines`: of the report, ended by NULL. */
static void check_report(const struct program *p, const char *const *lines)
{
    struct outcome o;
    command(&o, "cd %s && rm -f recipe t; %s probe --all -o recipe -- %s %s", scratch(), MOETAP, p->path, p->name);
    cr_assert_eq(o.status, 0, "%s: status %d: %s", p->name, o.status, o.text);
    for (; *lines; lines++)
        expect(&o, p->name, *lines);
    cr_assert_eq(count(o.text, "certain: ") + count(o.text, "likely: "), 1, "%s: not one: %s", p->name, o.text);
    check_unchanged(&o, p);
}

static void check(const char *path, const char *name, unsigned calls, const char *const *lines)
{
    const struct program p = {path, name, calls};
    check_report(&p, lines);
    check_recording(&p, p.calls);
}

#define FOUND(test, name, ...)                                                                                         \
    Test(probe, test)                                                                                                  \
    {                                                                                                                  \
        check(ENGINE, name, 40, (const char *const[]){__VA_ARGS__, NULL});                                             \
    }

FOUND(i32, "i32", "certain: choose\n", "ids      param 1, i32\n", "k        6, from param 5\n",
      "ids up to 63, from param 4\n", "rows     2 to 24, from param 3\n", "; 5 layers\n")
FOUND(i64, "i64", "certain: choose\n", "ids      param 1, i64\n", "k        8, from param 5\n",
      "rows     2 to 24, from")
FOUND(i16, "i16", "certain: choose\n", "ids      param 1, i16\n", "k        6, from param 5\n",
      "rows     2 to 24, from")
FOUND(u8, "u8", "certain: choose\n", "ids      param 1, u8\n", "k        4, from param 5\n", "rows     2 to 24, from")
FOUND(ids_in_order, "in-order", "certain: acme_choose_in_order\n", "ids      param 1, i32\n",
      "k        4, from param 5\n")
FOUND(by_struct, "struct", "certain: choose_struct\n", "ids      param 0 + 24, i32\n",
      "k        6, from param 0 + 32 u32\n", "rows     2 to 24, from param 0 + 16 u32\n")
FOUND(rows_apart, "wide", "certain: acme_choose_wide\n", "k        5, from param 5\n", "stride   from param 4\n",
      "stride  = param 4\n")
FOUND(rows_in_grid, "grid", "certain: acme_choose_grid\n", "rows     2 to 24, from grid.x\n")
FOUND(template_arguments, "template", "certain: choose_t\n", "k        8, from template 0\n", "experts = template 1\n",
      "dtype   = template 2\n")
FOUND(rows_by_division, "quotient", "certain: acme_choose_flat\n", "rows     2 to 24, from param 2 / param 3\n")
FOUND(constants, "triton", "likely: _acme_choose_kernel\n", "ids      param 2, i32\n", "k        4, a constant\n",
      "nothing in the launch says how many experts there are; ids up to 63\n")
FOUND(with_a_sampler, "shared", "certain: choose\n", "shared   with a sampler", "limit.experts = 2..1024\n")
FOUND(reordered, "reordered", "certain: choose\n", "final   = probe.choose.final\n", "kind    = final\n")
FOUND(copied, "copied", "certain: choose\n", "ids      param 1, i32\n")
FOUND(stages, "grouped", "certain: choose\n", "k        8, from param 5\n", "ids up to 63, from param 4\n",
      "k       = param 5\n")
FOUND(switch_routing, "k1", "likely: choose\n", "but      k is 1", "k       = 1\n")
FOUND(two_of_eight, "k2", "certain: choose\n", "k        2, from param 5\n", "ids up to 7, from param 4\n")
FOUND(one_row, "one-row", "likely: choose\n", "k        6, from param 5\n", "always 1 row")

/* torch.topk as transformers calls it: a sort in place as the next launch, which never moves the last of the k. */
#define TORCH_FOUND(test, name, ...)                                                                                   \
    Test(probe, torch_##test)                                                                                          \
    {                                                                                                                  \
        check(TORCH, name, 78, (const char *const[]){__VA_ARGS__, NULL});                                              \
    }
#define BITONIC "final    bitonicSortKVInPlace reorders them in place\n"

TORCH_FOUND(sorted, "sorted", "certain: gatherTopK\n", "ids      param 8, i64\n", "k        8, from param 2\n",
            "rows     3 to 72, from param 4\n", BITONIC, "final   = probe.gatherTopK.final\n",
            "kernel  = bitonicSortKVInPlace\n")
TORCH_FOUND(k3, "k3", "certain: gatherTopK\n", BITONIC)
TORCH_FOUND(k4, "k4", "certain: gatherTopK\n", "k        4, from param 2\n", BITONIC)
TORCH_FOUND(of_512, "e512", "certain: gatherTopK\n", "ids up to 511, from param 1\n", BITONIC)
/* Two are sorted by topk itself: the sort has nothing to do. */
TORCH_FOUND(k2, "k2", "certain: gatherTopK\n", "k        2, from param 2\n")
TORCH_FOUND(k1, "k1", "likely: gatherTopK\n", "but      k is 1")
TORCH_FOUND(unsorted, "unsorted", "certain: gatherTopK\n", "k        8, from param 2\n")
TORCH_FOUND(grouped, "grouped", "certain: gatherTopK\n", "k        8, from param 2\n",
            "rows     3 to 72, from param 4\n")
TORCH_FOUND(two_sorts, "two-sorts", "certain: gatherTopK\n", BITONIC,
            "kernel  = radixSortKVInPlace bitonicSortKVInPlace\n")
TORCH_FOUND(sampler, "sampler", "certain: gatherTopK\n", "shared   with a sampler", BITONIC)
TORCH_FOUND(moved, "moved", "likely: gatherTopK\n", "final    torch_add replaces them in place\n",
            "but      torch_add puts other ids in their place\n")

/* No recipe can say it, so it is not certain, and the report says why. */
Test(probe, torch_sorted_too_late)
{
    const struct program p = {TORCH, "late", 78};
    check_report(&p, (const char *const[]){"likely: gatherTopK\n",
                                           "but      bitonicSortKVInPlace changes the ids in place, "
                                           "not always in the next launch",
                                           NULL});
    check_recording(&p, 0);
}

/* Among masks, ranks, counts, offsets, sorted rows, block tables, beams, trees, positions, a fixed placement. */
#define SERVING_FOUND(test, name, calls, ...)                                                                          \
    Test(probe, serving_##test)                                                                                        \
    {                                                                                                                  \
        check(SERVING, name, calls, (const char *const[]){__VA_ARGS__, NULL});                                         \
    }

SERVING_FOUND(router, "moe", 72, "certain: choose\n", "rows     4 to 24, from param 3\n")
/* What another rank has is -1. */
SERVING_FOUND(masked, "masked", 72, "likely: masked\n", "k        6, from param 5\n", "only ids up to 31\n")
/* A shared expert ends each row: its number is above all others, and never changes. */
SERVING_FOUND(shared_expert, "with-shared", 72, "certain: with_shared\n", "k        7, a constant\n",
              "ids up to 63, from param 4\n")
/* Grouped routing of three kernels. */
SERVING_FOUND(own_stages, "own-stages", 72, "certain: srv_of_groups\n", "k        8, from param 5\n")
SERVING_FOUND(two_models, "two-models", 96, "certain: choose\n", "k        6, from param 5\n")
/* A launch that ends only when a later one of the same thread has run: sampling it is given up, nothing hangs. */
SERVING_FOUND(collective, "collective", 72, "certain: choose\n")
/* Its first launches, a warm-up without rows, write nothing. */
SERVING_FOUND(after_warm_up, "warm-up", 72, "certain: choose\n")
/* Of most launches only the first rows are read; another number of the launch is larger than the rows. */
SERVING_FOUND(long_prefills, "long", 72, "certain: srv_with_room\n", "rows     4 to 3000, from param 4\n")

/* Two routers of one name and layout, for ids of 4 and of 8 bytes: each has its own recipe. */
Test(probe, serving_overloads)
{
    const struct program p = {SERVING, "overloads", 96};
    struct outcome o;
    command(&o, "cd %s && %s probe --all -o recipe -- %s %s", scratch(), MOETAP, p.path, p.name);
    cr_assert_eq(count(o.text, "certain: choose\n"), 2, "%s", o.text);
    expect(&o, p.name, "[probe.choose.2]\n");
    expect(&o, p.name, "within  = choose(float const*, long*, float*, int, int, int)\n");
    check_recording(&p, p.calls);
}

SERVING_FOUND(many_pointers, "many", 72, "likely: srv_many\n", "ids      param 3, i16\n", "k        6, a constant\n")
/* Sparse attention picks k blocks of a context that grows. */
SERVING_FOUND(sparse_attention, "sparse-moe", 72, "certain: choose\n", "possible: srv_sparse\n",
              "the largest number keeps growing")

/* Programs without a router, or with one whose ids are packed with something else: nothing that is at least likely. */
Test(probe, no_router)
{
    static const struct {
        struct program p;
        const char *says;
    } programs[] = {{{ENGINE, "dense", 0}, "a whole permutation: an argsort"},
                    {{SERVING, "dense", 0}, "possible: srv_block_table\n"},
                    {{SERVING, "sparse", 0}, "possible: srv_sparse\n"},
                    {{SERVING, "packed", 0}, "each column holds one number"}};
    struct outcome o;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        const struct program *p = &programs[i].p;
        command(&o, "cd %s && rm -f recipe; %s probe --all -v -o recipe -- %s %s; echo status $?; ls recipe", scratch(),
                MOETAP, p->path, p->name);
        expect(&o, p->name, "status 1\n");
        expect(&o, p->name, "no router was found\n");
        expect(&o, p->name, "rises from one end to the other");
        if (strcmp(p->path, ENGINE) == 0)
            expect(&o, p->name, "no id comes twice: a list of indices");
        expect(&o, p->name, programs[i].says);
        cr_assert_eq(count(o.text, "certain: ") + count(o.text, "likely: "), 0, "%s: %s", p->name, o.text);
        expect(&o, p->name, "recipe': No such file");
        check_unchanged(&o, p);
    }
}

Test(probe, known_recipes)
{
    struct outcome o;
    command(&o, "%s probe -- %s", MOETAP, MOE_DEMO);
    cr_assert_eq(o.status, 1, "%s", o.text);
    expect(&o, "moe-demo", "known: recipe moe-demo");
    cr_assert(!strstr(o.text, "likely: "), "%s", o.text);
    command(&o, "%s probe --all -- %s", MOETAP, MOE_DEMO);
    cr_assert_eq(o.status, 0, "%s", o.text);
    expect(&o, "moe-demo", "likely: moe_demo_topk_i32\n");
    expect(&o, "moe-demo", "but      always 16 rows\n");
    cr_assert(!strstr(o.text, "known: "), "%s", o.text);
    command(&o, "cd %s && %s probe --keep kept -- %s --eplb --plan >&2; grep -rh ^kernel kept | cut -f3,4", scratch(),
            MOETAP, MOE_DEMO);
    static const char *const kinds[] = {"moe-demo.i32\trouter\n", "moe-demo.remap.i32\tmap\n",
                                        "moe-demo.starts\tstarts\n"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        expect(&o, "kinds", kinds[i]);
}

/* Allocations of the sample engine end with the ids, and only the low bytes of wide ones change. */
Test(probe, sample_engine)
{
    static const char *const dtypes[] = {"i32", "i64", "u16", "u8"};
    static const struct {
        unsigned layers, experts, k, rows;
    } shapes[] = {{12, 128, 8, 64}, {5, 8, 2, 7}, {4, 64, 6, 1}};
    struct outcome o;
    char line[64];
    for (size_t i = 0; i < 12; i++) {
        const char *dtype = dtypes[i / 3];
        unsigned experts = shapes[i % 3].experts, k = shapes[i % 3].k;
        command(&o, "%s probe --all -- %s --dtype %s --layers %u --experts %u --topk %u --tokens %u", MOETAP, MOE_DEMO,
                dtype, shapes[i % 3].layers, experts, k, shapes[i % 3].rows);
        cr_assert_eq(o.status, 0, "%s, %u of %u: %s", dtype, k, experts, o.text);
        snprintf(line, sizeof line, "ids      param 1, %s\n", strcmp(dtype, "u16") == 0 ? "i16" : dtype);
        expect(&o, dtype, line);
        snprintf(line, sizeof line, "k        %u, from param 5\n", k);
        expect(&o, dtype, line);
        cr_assert_eq(count(o.text, "certain: ") + count(o.text, "likely: "), 1, "%s: %s", dtype, o.text);
    }
}

Test(probe, every_source)
{
    static const char *const sources[] = {"auto", "cupti", "preload"};
    struct outcome o;
    for (size_t i = 0; i < 3; i++) {
        command(&o, "%s probe --source=%s -- %s i32", MOETAP, sources[i], ENGINE);
        cr_assert_eq(o.status, 0, "%s: %s", sources[i], o.text);
        expect(&o, sources[i], "certain: choose\n");
        expect(&o, sources[i], "launches 40 eager, 0 captured");
    }
}

/* Nothing is read while a stream captures: the graph is what it would be, and the report says what to do. */
Test(probe, graphs)
{
    struct outcome o, bare;
    command(&bare, "%s --graph --layers 40", MOE_DEMO);
    command(&o, "%s probe --all -- %s --graph --layers 40", MOETAP, MOE_DEMO);
    cr_assert_eq(o.status, 1, "%s", o.text);
    expect(&o, "graph", bare.text);
    expect(&o, "graph", "most launches were captured");
    expect(&o, "graph", ", 0 of them sampled");
}

/* Calls of ours that fail cost samples, nothing else. */
Test(probe, failing_calls)
{
    static const char *const calls[] = {"cuPointerGetAttribute", "cuStreamIsCapturing", "cuStreamQuery"};
    struct outcome o;
    for (size_t i = 0; i < 3; i++) {
        command(&o, "SOFTCUDA_FAIL=%s:1 %s probe -- %s i32", calls[i], MOETAP, ENGINE);
        cr_assert_eq(o.status, 1, "%s: %d %s", calls[i], o.status, o.text);
        expect(&o, calls[i], "no router was found\n");
        check_unchanged(&o, &(struct program){ENGINE, "i32", 0});
    }
}

/* A recording below a probe, or in a shell where its settings are left over, records all the same. */
Test(probe, no_probe_in_a_recording)
{
    struct outcome o;
    command(&o, "cd %s && mkdir left && MOETAP_PROBE=$PWD/left MOETAP_PROBE_ALL=1 %s record -o t -- %s && ls left",
            scratch(), MOETAP, MOE_DEMO);
    cr_assert_eq(o.status, 0, "%d %s", o.status, o.text);
    expect(&o, "left over", "captured 32 records");
    cr_assert_str_eq(o.text + strlen(o.text) - strlen("-> t\n"), "-> t\n", "something was probed: %s", o.text);
    command(&o, "cd %s && %s probe -- %s record --force -o t -- %s", scratch(), MOETAP, MOETAP, MOE_DEMO);
    expect(&o, "below", "captured 32 records");
}

/* What was kept tells the same again, without the program. */
Test(probe, kept_samples)
{
    struct outcome o, again;
    command(&o, "cd %s && %s probe --all --keep kept -o recipe -- %s struct >report", scratch(), MOETAP, ENGINE);
    cr_assert_eq(o.status, 0, "%d %s", o.status, o.text);
    command(&o, "cd %s && grep -v ^probe-engine report", scratch());
    command(&again, "cd %s && %s probe --from kept -o recipe2 && cmp recipe recipe2 >&2", scratch(), MOETAP);
    cr_assert_str_eq(o.text, again.text);
    command(&o, "cd %s && %s probe --keep kept -- %s struct", scratch(), MOETAP, ENGINE);
    cr_assert_eq(o.status, 1, "%d %s", o.status, o.text);
    expect(&o, "keep", "kept: File exists: name a folder that is not there yet\n");
    command(&o, "cd %s && %s probe --from kept -- %s struct", scratch(), MOETAP, ENGINE);
    cr_assert_eq(o.status, 2, "%d %s", o.status, o.text);
    command(&o, "cd %s && %s probe --from nowhere", scratch(), MOETAP);
    cr_assert_eq(o.status, 1, "%d %s", o.status, o.text);
    expect(&o, "from", "nowhere: No such file");
}

Test(probe, statuses)
{
    struct outcome o;
    command(&o, "%s probe", MOETAP);
    cr_assert_eq(o.status, 2, "%d %s", o.status, o.text);
    command(&o, "%s probe --source=nonsense -- true", MOETAP);
    cr_assert_eq(o.status, 2, "%d %s", o.status, o.text);
    command(&o, "%s probe -- /nonexistent/command", MOETAP);
    cr_assert_eq(o.status, 127, "%d %s", o.status, o.text);
    command(&o, "%s probe -- sh -c 'exit 5'", MOETAP);
    cr_assert_eq(o.status, 5, "%d %s", o.status, o.text);
    command(&o, "%s probe -- sh -c 'kill -9 $$'", MOETAP);
    cr_assert_eq(o.status, 137, "%d %s", o.status, o.text);
    command(&o, "%s probe -o /nonexistent/recipe -- %s i32", MOETAP, ENGINE);
    cr_assert_eq(o.status, 1, "%d %s", o.status, o.text);
    expect(&o, "unwritable", "moetap: /nonexistent/recipe: cannot write it: No such file");
    /* Nothing is left behind. */
    command(&o, "cd %s; %s probe -- sh -c 'echo $MOETAP_PROBE > where; test -d $MOETAP_PROBE || exit 9'; cat where",
            scratch(), MOETAP);
    expect(&o, "folder", "/tmp/moetap-probe-");
    command(&o, "cd %s; test -s where && ! test -e $(cat where) && echo gone", scratch());
    cr_assert_str_eq(o.text, "gone\n", "left behind: %s", o.text);
}
