/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels' names, mangled as compilers of the engines do it. */
#include "rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(name, .timeout = 60);

static const struct {
    const char *mangled, *base, *within;
    const char *args[MT_TEMPLATE_ARGS_MAX];
} names[] = {
    {"_ZN4vllm3moe10topkGatingILi4ELi128ELi4ELi8ELi32Ei13__nv_bfloat16LNS0_11ScoringFuncE0EEEvPKT5_PKbPfiPT4_"
     "PiiiibPKfdS8_",
     "topkGating",
     "vllm::moe::",
     {"4", "128", "4", "8", "32", "int", "__nv_bfloat16", "(vllm::moe::ScoringFunc)0"}},
    {"_ZN4vllm3moe7moeTopKILi256ElEEvPKfPKbPfPT0_PiiiiibS3_d", "moeTopK", "vllm::moe::", {"256", "long"}},
    {"_ZN4vllm3moe27moe_align_block_size_kernelIiEEvPKT_PiS5_S5_S5_iiiimS5_iib",
     "moe_align_block_size_kernel",
     "vllm::moe::",
     {"int"}},
    {"_Z17topkGatingSoftmaxI13__nv_bfloat16Li4ELi128ELi4ELi8EEvPKT_PKbPfiPiiiibfPKf",
     "topkGatingSoftmax",
     "topkGatingSoftmax",
     {"__nv_bfloat16", "4", "128", "4", "8"}},
    {"_ZN36_GLOBAL__N__5e0bbb2b_4_k_cu_8dd0a2d117topkGatingSoftmaxI13__nv_bfloat16Li4ELi128ELi4ELi8EEEvPKT_"
     "PKbPfiPiiiibf"
     "PKf",
     "topkGatingSoftmax",
     "(anonymous namespace)::",
     {"__nv_bfloat16", "4", "128", "4", "8"}},
    {"_ZN2at6native6sbtopk10gatherTopKIfjLi2ELb0EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bS8_S8_NS5_IS6_S8_EES8_"
     "NS5_IlS8_EES8_PS6_",
     "gatherTopK",
     "at::native::sbtopk::",
     {"float", "unsigned int", "2", "false"}},
    {"_ZN12tensorrt_llm7kernels23deepseek_v3_topk_kernelIfffiLi256ELb1EEEvPT_PT1_PT2_PT0_lllllldPs",
     "deepseek_v3_topk_kernel",
     "tensorrt_llm::kernels::",
     {"float", "float", "float", "int", "256", "true"}},
    {"_Z13topk_moe_cudaILi128ELb0EEvPKfPfPiS2_iiff15topk_moe_config",
     "topk_moe_cuda",
     "topk_moe_cuda",
     {"128", "false"}},
    {"_Z17k_argsort_f32_i32IL15ggml_sort_order1EEvPKfPiii", "k_argsort_f32_i32", "", {"(ggml_sort_order)1"}},
    /* an unsigned long argument keeps its suffix; a number is read up to it */
    {"_Z13topk_moe_cudaILm128ELb0EEvPKfPfPiii", "topk_moe_cuda", "", {"128ul", "false"}},
    /* templates in templates count as one argument, and so do function types */
    {"_Z1fI3gooIiLi3EEPFviiELi7EEvv", "f", "", {"goo<int, 3>", "void (*)(int, int)", "7"}},
    /* Triton, extern "C" */
    {"_topk_forward", "_topk_forward", "_topk_forward", {NULL}},
    {"_router_triton_kernel", "_router_triton_kernel", "", {NULL}},
    {"triton_per_fused_topk_0", "triton_per_fused_topk_0", "", {NULL}},
    {"moe_demo_topk_i32", "moe_demo_topk_i32", "", {NULL}},
    /* no template, a scope */
    {"_ZN2at6native20bitonicSortKVInPlaceEv", "bitonicSortKVInPlace", "at::native::", {NULL}},
    /* a member of a template: the arguments are the last component's */
    {"_ZN1aI3fooE1bIiEEvv", "b", "a<foo>::", {"int"}},
    {"_ZN1aI3fooE1bEv", "b", "a<foo>::", {NULL}},
    /* not mangled after all */
    {"_Zwhatever", "_Zwhatever", "_Zwhatever", {NULL}},
    {"", "", "", {NULL}},
    {"_Z", "_Z", "_Z", {NULL}},
};

Test(name, of_engines)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct mt_kernel_info info;
        memset(&info, 0xee, sizeof info);
        mt_kernel_info_set_name(&info, names[i].mangled);
        cr_assert_eq(info.mangled, names[i].mangled);
        cr_assert_str_eq(info.base, names[i].base, "%s: base '%s'", names[i].mangled, info.base);
        cr_assert(strstr(info.demangled, names[i].within), "%s", info.demangled);
        unsigned count = 0;
        while (names[i].args[count])
            count++;
        cr_assert_eq(info.template_count, count, "%s has %u", names[i].mangled, info.template_count);
        for (unsigned a = 0; a < count; a++)
            cr_assert_str_eq(info.template_args[a], names[i].args[a], "%s: '%s'", names[i].mangled,
                             info.template_args[a]);
    }
}

Test(name, none)
{
    struct mt_kernel_info info;
    memset(&info, 0xee, sizeof info);
    mt_kernel_info_set_name(&info, NULL);
    cr_assert_null(info.mangled);
    cr_assert_str_eq(info.base, "");
    cr_assert_str_eq(info.demangled, "");
    cr_assert_eq(info.template_count, 0);
}

/* Name lengths around every buffer, demangled or not; more template arguments than there is room for. */
Test(name, very_long)
{
    static char mangled[70000];
    struct mt_kernel_info info;
    for (size_t n = 1; n < 60000; n = n < 700 ? n + 1 : n * 3 / 2) {
        int at = sprintf(mangled, "_Z%zu", n);
        memset(mangled + at, 'q', n);
        strcpy(mangled + (size_t) at + n, "ILi5EEvv");
        mt_kernel_info_set_name(&info, mangled);
        cr_assert_lt(strlen(info.base), sizeof info.base);
        cr_assert_lt(strlen(info.demangled), sizeof info.demangled);
        if (n < sizeof info.base)
            cr_assert_eq(strlen(info.base), n);
        if (n < 2000) {
            cr_assert_eq(info.template_count, 1, "at %zu", n);
            cr_assert_str_eq(info.template_args[0], "5");
        }
    }
    strcpy(mangled, "_Z1fI");
    for (int i = 0; i < 400; i++)
        strcat(mangled, "Li5E");
    strcat(mangled, "EvT_");
    mt_kernel_info_set_name(&info, mangled);
    cr_assert_str_eq(info.base, "f");
    cr_assert_eq(info.template_count, MT_TEMPLATE_ARGS_MAX);
    /* one argument longer than its room is cut */
    strcpy(mangled, "_Z1fI100");
    memset(mangled + 8, 'z', 100);
    strcpy(mangled + 108, "Evv");
    mt_kernel_info_set_name(&info, mangled);
    cr_assert_eq(info.template_count, 1);
    cr_assert_eq(strlen(info.template_args[0]), sizeof info.template_args[0] - 1);
}

Test(name, random)
{
    static const char *const parts[] = {"_Z",
                                        "N",
                                        "E",
                                        "I",
                                        "Li",
                                        "4",
                                        "3foo",
                                        "S_",
                                        "T_",
                                        "P",
                                        "K",
                                        "v",
                                        "J",
                                        "(",
                                        ")",
                                        "<",
                                        ">",
                                        "::",
                                        ",",
                                        " ",
                                        "(anonymous namespace)",
                                        "12_GLOBAL__N_1",
                                        "operator<"};
    uint32_t seed = 7;
    for (int i = 0; i < 100000; i++) {
        char mangled[512] = "_Z";
        for (unsigned n = (seed >> 8) % 30; n; n--) {
            seed = seed * 1664525 + 1013904223;
            strcat(mangled, parts[(seed >> 16) % (sizeof parts / sizeof *parts)]);
        }
        seed = seed * 1664525 + 1013904223;
        struct mt_kernel_info info;
        mt_kernel_info_set_name(&info, mangled + ((seed >> 20) & 1 ? 2 : 0));
        cr_assert_lt(strlen(info.base), sizeof info.base);
        cr_assert_leq(info.template_count, MT_TEMPLATE_ARGS_MAX);
    }
}
