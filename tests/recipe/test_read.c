/* SPDX-License-Identifier: Apache-2.0 */
/* Reading launches: what comes out of kernelParams and of a packed buffer, and what is refused. */
#include "rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(read, .timeout = 60);

static const char plain[] = "[plain]\nkernel = f\nparams = 8 8 4 4 4\ninput = param 0\nids = param 1\ndtype = i32\n"
                            "rows = param 2\nk = param 3\nexperts = param 4\n";

/* The reason, NULL if it was read. */
static const char *attempt(const char *text, struct rig *rig, struct mt_routing *routing)
{
    struct mt_recipes *recipes = recipes_of(text);
    char reason[256];
    const char *why = NULL;
    const struct mt_recipe *recipe = mt_recipes_match(recipes, &rig->kernel, reason, sizeof reason);
    cr_assert(recipe, "%s", reason);
    cr_assert_eq(recipe, mt_recipes_get(recipes, 0));
    memset(routing, 0xee, sizeof *routing);
    bool is = mt_recipe_read(recipe, &rig->kernel, &rig->launch, routing, &why);
    cr_assert(is ? !why : why && *why);
    mt_recipes_free(recipes);
    return why;
}

static void plain_rig(struct rig *rig, uint64_t ids, uint32_t rows, uint32_t k, uint32_t experts)
{
    rig_make(rig, "f", "8 8 4 4 4");
    arg(rig, 0, 0xa000);
    arg(rig, 1, ids);
    arg(rig, 2, rows);
    arg(rig, 3, k);
    arg(rig, 4, experts);
}

Test(read, both_ways_of_passing)
{
    for (int packed = 0; packed < 2; packed++) {
        struct rig rig;
        struct mt_routing r;
        plain_rig(&rig, 0x7f0012345678, 512, 8, 128);
        if (packed)
            rig_pack(&rig);
        cr_assert_null(attempt(plain, &rig, &r));
        cr_assert_eq(r.ids, 0x7f0012345678);
        cr_assert_eq(r.input, 0xa000);
        cr_assert_eq(r.rows, 512);
        cr_assert_eq(r.k, 8);
        cr_assert_eq(r.experts, 128);
        cr_assert_eq(r.stride, 8);
        cr_assert_eq(r.dtype, MT_DTYPE_I32);
    }
}

Test(read, limits)
{
    static const struct {
        uint64_t ids;
        uint32_t rows, k, experts;
        const char *why;
    } cases[] = {
        {0x100, 1, 1, 1, NULL},
        {0x100, INT32_MAX, 32, 1024, NULL},
        {0x100, 4, 8, 8, NULL},
        {0, 1, 1, 8, "null ids"},
        {0x100, 0, 1, 8, "no rows"},
        {0x100, 0x80000000, 1, 8, "no rows"},
        {0x100, 0xffffffff, 1, 8, "no rows"},
        {0x100, 1, 0, 8, "k is out of limits"},
        {0x100, 1, 33, 64, "k is out of limits"},
        {0x100, 1, 0xffffffff, 64, "k is out of limits"},
        {0x100, 1, 4, 3, "the number of experts is out of limits (a sampler's top-k?)"},
        {0x100, 1, 4, 0, "the number of experts is out of limits (a sampler's top-k?)"},
        {0x100, 1, 4, 1025, "the number of experts is out of limits (a sampler's top-k?)"},
        {0x100, 1, 20, 32000, "the number of experts is out of limits (a sampler's top-k?)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig rig;
        struct mt_routing r;
        plain_rig(&rig, cases[i].ids, cases[i].rows, cases[i].k, cases[i].experts);
        const char *why = attempt(plain, &rig, &r);
        cr_assert(cases[i].why ? why && strcmp(why, cases[i].why) == 0 : !why, "case %zu: %s", i, why ? why : "read");
    }
}

Test(read, limits_of_the_recipe)
{
    char text[512];
    snprintf(text, sizeof text, "%slimit.k = 2..4\nlimit.experts = 16..64\n", plain);
    for (uint32_t k = 1; k < 6; k++) {
        for (uint32_t experts = 8; experts <= 128; experts *= 2) {
            struct rig rig;
            struct mt_routing r;
            plain_rig(&rig, 0x100, 3, k, experts);
            bool good = k >= 2 && k <= 4 && experts >= 16 && experts <= 64;
            cr_assert_eq(!attempt(text, &rig, &r), good, "k %u, %u experts", k, experts);
        }
    }
}

Test(read, structs_quotients_and_other_widths)
{
    static const char text[] = "[s]\nkernel = f\nparams = 64 8\nids = param 0 + 24\ninput = param 0 + 8\ndtype = i16\n"
                               "rows = param 0 + 40 / k\nk = param 0 + 44 u8\nexperts = param 0 + 48 u64\n"
                               "stride = param 0 + 56\n";
    for (int packed = 0; packed < 2; packed++) {
        struct rig rig;
        struct mt_routing r;
        rig_make(&rig, "f", "64 8");
        memset(rig.bytes, 0xff, 72);
        arg_at(&rig, 0, 8, 0xb000, 8);
        arg_at(&rig, 0, 24, 0xc000, 8);
        arg_at(&rig, 0, 40, 6 * 7, 4);
        arg_at(&rig, 0, 44, 6, 1);
        arg_at(&rig, 0, 48, 160, 8);
        arg_at(&rig, 0, 56, 10, 4);
        if (packed)
            rig_pack(&rig);
        const char *why = attempt(text, &rig, &r);
        cr_assert(!why, "%s", why);
        cr_assert_eq(r.ids, 0xc000);
        cr_assert_eq(r.input, 0xb000);
        cr_assert_eq(r.rows, 7);
        cr_assert_eq(r.k, 6);
        cr_assert_eq(r.experts, 160);
        cr_assert_eq(r.stride, 10);
        cr_assert_eq(r.dtype, MT_DTYPE_I16);
        arg_at(&rig, 0, 40, 6 * 7 + 1, 4); /* does not divide */
        cr_assert_str_eq(attempt(text, &rig, &r), "no rows");
        arg_at(&rig, 0, 40, 6 * 7, 4);
        arg_at(&rig, 0, 56, 5, 4);
        cr_assert_str_eq(attempt(text, &rig, &r), "rows overlap");
    }
}

Test(read, templates_grid_and_constants)
{
    static const struct {
        const char *type;
        enum mt_dtype dtype;
    } types[] = {{"i", MT_DTYPE_I32}, {"l", MT_DTYPE_I64}, {"x", MT_DTYPE_I64}, {"j", MT_DTYPE_U32},
                 {"s", MT_DTYPE_I16}, {"t", MT_DTYPE_U16}, {"h", MT_DTYPE_U8}};
    static const char text[] = "[t]\nkernel = f\nparams = 8 8\nids = param 1\ndtype = template 1\n"
                               "rows = grid.y\nk = 4\nexperts = template 0\nstride = template 0\n";
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct rig rig;
        struct mt_routing r;
        char mangled[64];
        snprintf(mangled, sizeof mangled, "_Z1fILm96E%sEvv", types[i].type);
        rig_make(&rig, mangled, "8 8");
        arg(&rig, 1, 0x10);
        rig.launch.grid[1] = 77;
        const char *why = attempt(text, &rig, &r);
        cr_assert(!why, "%s: %s", mangled, why);
        cr_assert_eq(r.dtype, types[i].dtype);
        cr_assert_eq(r.rows, 77);
        cr_assert_eq(r.k, 4);
        cr_assert_eq(r.experts, 96);
        cr_assert_eq(r.stride, 96);
    }
}

Test(read, a_template_argument_that_is_no_number)
{
    struct rig rig;
    struct mt_routing r;
    rig_make(&rig, "_Z1fIfEvv", "8 8");
    arg(&rig, 1, 0x10);
    cr_assert_str_eq(
        attempt("[t]\nkernel = f\nparams = 8 8\nids = param 1\ndtype = i32\nrows = template 0\nk = 4\n", &rig, &r),
        "no rows");
}

Test(read, conditions)
{
    char text[512];
    snprintf(text, sizeof text, "%srequire = param 2 == grid.x\nrequire = param 4 / param 3 == 16\n", plain);
    struct rig rig;
    struct mt_routing r;
    plain_rig(&rig, 0x100, 5, 8, 128);
    rig.launch.grid[0] = 5;
    cr_assert_null(attempt(text, &rig, &r));
    rig.launch.grid[0] = 6;
    cr_assert_str_eq(attempt(text, &rig, &r), "a condition of the recipe does not hold");
    rig.launch.grid[0] = 5;
    arg(&rig, 4, 64);
    cr_assert_str_eq(attempt(text, &rig, &r), "a condition of the recipe does not hold");
}

/* Lists that the driver would refuse, or that say less than the kernel has. */
Test(read, packed_lists)
{
    struct rig rig;
    struct mt_routing r;
    plain_rig(&rig, 0x100, 5, 8, 128);
    rig_pack(&rig);
    rig.size -= 4; /* the last parameter is not in it */
    cr_assert(attempt(plain, &rig, &r));
    rig.extra[0] = CU_LAUNCH_PARAM_END;
    cr_assert(attempt(plain, &rig, &r));
    rig.extra[0] = (void *) 0x55;
    cr_assert(attempt(plain, &rig, &r));
    rig.launch.extra = NULL;
    cr_assert(attempt(plain, &rig, &r));
    cr_assert_null(mt_launch_param(&rig.kernel, &rig.launch, 0));
    cr_assert_null(mt_launch_param(&rig.kernel, &rig.launch, 5));
    /* the order of the list does not matter */
    plain_rig(&rig, 0x100, 5, 8, 128);
    rig_pack(&rig);
    void *swapped[] = {rig.extra[2], rig.extra[3], rig.extra[0], rig.extra[1], CU_LAUNCH_PARAM_END};
    rig.launch.extra = swapped;
    cr_assert_null(attempt(plain, &rig, &r));
    cr_assert_eq(mt_launch_param(&rig.kernel, &rig.launch, 2), rig.bytes + 16);
}

/* A launch without weights is a router's as well, and says why it has none. */
Test(read, weights)
{
    static const char typed[] = "[w]\nkernel = foo\nparams = 8 8 4 4\nids = param 0\ndtype = i32\nrows = param 2\n"
                                "k = param 3\nweights = param 1\nweights_dtype = template 0\n";
    static const struct {
        const char *mangled;
        enum mt_weight_type type;
    } types[] = {{"_Z3fooIfEvPvS0_ii", MT_WEIGHT_F32},
                 {"_Z3fooI6__halfEvPvS1_ii", MT_WEIGHT_F16},
                 {"_Z3fooIN3c104HalfEEvPvS2_ii", MT_WEIGHT_F16},
                 {"_Z3fooIN3c108BFloat16EEvPvS2_ii", MT_WEIGHT_BF16},
                 {"_Z3fooI13__nv_bfloat16EvPvS1_ii", MT_WEIGHT_BF16},
                 {"_Z3fooIdEvPvS0_ii", MT_WEIGHT_NONE},
                 {"foo", MT_WEIGHT_NONE}};
    struct rig rig;
    struct mt_routing r;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        rig_make(&rig, types[i].mangled, "8 8 4 4");
        arg(&rig, 0, 0x1000);
        arg(&rig, 1, 0x2000);
        arg(&rig, 2, 5);
        arg(&rig, 3, 4);
        cr_assert_null(attempt(typed, &rig, &r));
        cr_assert_eq(r.weights_type, types[i].type, "%s: %u", types[i].mangled, r.weights_type);
        cr_assert_eq(r.weights, types[i].type ? 0x2000 : 0);
        cr_assert_eq(r.no_weights == NULL, types[i].type != MT_WEIGHT_NONE);
        cr_assert_eq(r.ids, 0x1000);
    }
    char text[512];
    static const struct {
        const char *stride;
        uint64_t address, read;
    } strides[] = {{"", 0, 0},
                   {"weights_stride = k * 2\n", 8, 8},
                   {"weights_stride = 3\n", 8, 0},
                   {"weights_stride = param 2\n", 8, 5},
                   {"weights_stride = param 1\n", 1ull << 40, 0}};
    for (size_t i = 0; i < sizeof strides / sizeof *strides; i++) {
        snprintf(text, sizeof text,
                 "[w]\nkernel = f\nparams = 8 8 4 4\nids = param 0\ndtype = i32\nrows = param 2\nk = param 3\n"
                 "weights = param 1\nweights_dtype = f16\n%s",
                 strides[i].stride);
        rig_make(&rig, "f", "8 8 4 4");
        arg(&rig, 0, 0x1000);
        arg(&rig, 1, strides[i].address);
        arg(&rig, 2, 5);
        arg(&rig, 3, 4);
        cr_assert_null(attempt(text, &rig, &r));
        cr_assert_eq(r.weights, strides[i].read ? strides[i].address : 0, "%s", strides[i].stride);
        cr_assert(!strides[i].read || (r.weights_stride == strides[i].read && !r.no_weights));
        cr_assert_eq(r.no_weights == NULL, strides[i].read != 0);
    }
}

/* What a map makes of a router's ids: of their shape, of its own type and number of experts. */
Test(read, maps)
{
    static const char text[] = "[m]\nkernel = f\nkind = map\nparams = 8 8 4 4\nids = param 0\nmapped = param 1\n"
                               "dtype = i64\nexperts = param 2\nrequire = param 3 == rows * k\n";
    const struct mt_routing router = {.ids = 0x1000,
                                      .dtype = MT_DTYPE_I32,
                                      .rows = 7,
                                      .k = 6,
                                      .experts = 96,
                                      .stride = 6,
                                      .column = 1,
                                      .weights = 0x5000,
                                      .weights_type = MT_WEIGHT_F32};
    struct mt_recipes *recipes = recipes_of(text);
    const struct mt_recipe *recipe = mt_recipes_get(recipes, 0);
    cr_assert_eq(mt_recipe_id_space(recipe), MT_IDS_PHYSICAL);
    cr_assert_not(mt_recipe_tells_shape(recipe));
    static const struct {
        uint64_t ids, mapped, numel, stride;
        const char *why;
    } cases[] = {{0x1000, 0x2000, 42, 6, NULL},
                 {0x1000, 0x1000, 42, 6, NULL}, /* in place */
                 {0x1008, 0x2000, 42, 6, "it does not read the ids of the router before it, or these are not dense"},
                 {0x1000, 0x2000, 42, 8, "it does not read the ids of the router before it, or these are not dense"},
                 {0x1000, 0x2000, 41, 6, "a condition of the recipe does not hold"},
                 {0x1000, 0, 42, 6, "null ids"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig rig;
        struct mt_routing from = router, r = {0};
        const char *why = "";
        from.stride = cases[i].stride;
        rig_make(&rig, "f", "8 8 4 4");
        arg(&rig, 0, cases[i].ids);
        arg(&rig, 1, cases[i].mapped);
        arg(&rig, 2, 144);
        arg(&rig, 3, cases[i].numel);
        bool is = mt_recipe_read_map(recipe, &rig.kernel, &rig.launch, &from, &r, &why);
        cr_assert_eq(is, !cases[i].why, "case %zu: %s", i, why);
        cr_assert(is ? !why : strcmp(why, cases[i].why) == 0, "case %zu: %s", i, why);
        if (!is)
            continue;
        cr_assert_eq(r.ids, cases[i].mapped);
        cr_assert_eq(r.dtype, MT_DTYPE_I64);
        cr_assert_eq(r.experts, 144);
        cr_assert(r.rows == 7 && r.k == 6 && r.stride == 6 && r.column == 1);
        cr_assert(!r.weights && r.weights_type == MT_WEIGHT_NONE);
    }
    mt_recipes_free(recipes);
}

/* Ids that are packed with weights, [k, rows], and columns of wider rows. */
Test(read, spread)
{
    static const char packed[] = "[p]\nkernel = f\nparams = 8 8 4 4\nids = param 1\ndtype = i16\nrows = param 2\n"
                                 "k = param 3\ncolumn = 2\nstride = k * 2\nskip = 2\n",
                      across[] = "[p]\nkernel = f\nparams = 8 8 4 4\nids = param 1\ndtype = i32\n"
                                 "rows = param 2 * 3\nk = param 3\ncolumn = rows\nstride = 1\n";
    struct rig rig;
    struct mt_routing r;
    rig_make(&rig, "f", "8 8 4 4");
    arg(&rig, 1, 0x1000);
    arg(&rig, 2, 5);
    arg(&rig, 3, 4);
    const char *texts[] = {packed, across};
    for (int i = 0; i < 2; i++) {
        cr_assert_null(attempt(texts[i], &rig, &r));
        cr_assert_eq(r.ids, i ? 0x1000 : 0x1002);
        cr_assert_eq(r.rows, i ? 15 : 5);
        cr_assert_eq(r.column, i ? 15 : 2);
        cr_assert_eq(r.stride, i ? 1 : 8);
    }
    static const char inside[] = "[p]\nkernel = f\nparams = 8 8 4 4\nids = param 1\ndtype = i64\nrows = param 2\n"
                                 "k = 2\nstride = param 3\nstart = param 3 / k\n";
    arg(&rig, 3, 6);
    cr_assert_null(attempt(inside, &rig, &r));
    cr_assert_eq(r.ids, 0x1000 + 3 * 8);
    cr_assert_eq(r.stride, 6);
    arg(&rig, 3, 7);
    cr_assert_str_eq(attempt(inside, &rig, &r), "no telling where the ids start");
    arg(&rig, 3, 4);
    static const char overlap[] = "[p]\nkernel = f\nparams = 8 8 4 4\nids = param 1\ndtype = i32\n"
                                  "rows = param 2\nk = param 3\ncolumn = 2\nstride = 6\n";
    cr_assert_str_eq(attempt(overlap, &rig, &r), "rows overlap");
    arg(&rig, 3, 3);
    cr_assert_null(attempt(overlap, &rig, &r));
}

Test(read, products_do_not_overflow)
{
    static const char text[] = "[p]\nkernel = f\nparams = 8 8\nids = param 1\ndtype = i32\nk = 2\n"
                               "rows = param 0 * param 0\n";
    struct rig rig;
    struct mt_routing r;
    rig_make(&rig, "f", "8 8");
    arg(&rig, 1, 0x1000);
    arg(&rig, 0, UINT64_C(1) << 32);
    cr_assert_str_eq(attempt(text, &rig, &r), "no rows");
    arg(&rig, 0, 9);
    cr_assert_null(attempt(text, &rig, &r));
    cr_assert_eq(r.rows, 81);
}

Test(read, who_only_reads)
{
    static const char text[] = "[one]\nkind = consumer\nkernel = f\nparams = 8 8 4\nids = param 1\n"
                               "[any]\nkind = consumer\nkernel = g\nids = any\n";
    struct mt_recipes *recipes = recipes_of(text);
    const struct mt_recipe *one = mt_recipes_get(recipes, 0), *any = mt_recipes_get(recipes, 1);
    struct mt_kernel_info kernel;
    kernel_make(&kernel, "f", "8 8 4");
    cr_assert(mt_kernel_only_reads(&kernel, one, 1));
    cr_assert(!mt_kernel_only_reads(&kernel, one, 0));
    cr_assert(!mt_kernel_only_reads(&kernel, NULL, 1));
    cr_assert(mt_kernel_only_reads(&kernel, any, 0));
    cr_assert(!mt_recipe_tells_shape(one) && !mt_recipe_tells_shape(any));
    /* from the signature alone: ids are const, the others are not */
    kernel_make(&kernel, "_ZN4vllm3moe27moe_align_block_size_kernelIiEEvPKT_PiS5_S5_S5_iiiimS5_iib",
                "8 8 8 8 8 4 4 4 4 8 8 4 4 1");
    cr_assert_eq(kernel.const_pointers, 1);
    cr_assert(mt_kernel_only_reads(&kernel, NULL, 0));
    cr_assert(!mt_kernel_only_reads(&kernel, NULL, 64));
    kernel_make(
        &kernel,
        "_ZN4vllm3moe10topkGatingILi4ELi128ELi4ELi8ELi32Ei13__nv_bfloat16LNS0_11ScoringFuncE0EEEvPKT5_PKbPfiPT4_"
        "PiiiibPKfdS8_",
        "8");
    cr_assert_eq(kernel.const_pointers, 1 | 1 << 1 | 1 << 10 | 1 << 12, "%lx", kernel.const_pointers);
    /* a const inside of template arguments, a const struct by value, a pointer to a const pointer's target */
    kernel_make(&kernel, "_Z1gIPKiEvT_P3fooIKiEPPKi", "8");
    cr_assert_eq(kernel.const_pointers, 1);
    kernel_make(&kernel, "_topk_forward", "8");
    cr_assert_eq(kernel.const_pointers, 0);
    mt_recipes_free(recipes);
}
