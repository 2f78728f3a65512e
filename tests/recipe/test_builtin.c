/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every built-in recipe against kernels of real releases: a mangled name and its parameters' sizes, the recipe that
 * must take it, and what it must read from a launch made of known arguments. "wheel": name and sizes are from that
 * release's binary; otherwise from source.
 */
#include "../../shim/kernels.h"
#include "rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(builtin, .timeout = 60);

#define GATING "_ZN4vllm3moe10topkGatingILi10ELi320ELi4ELi4ELi32E"
#define GATHER "TopKIfjLi2ELb0EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bS8_S8_NS5_IS6_S8_EES8_NS5_IlS8_EES8_PS6_"
#define GATHER_MB                                                                                                      \
    "TopKIfmLi1EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bjS8_NS5_IS6_S8_EES8_NS5_IlS8_EES8_jjPS6_PjSC_j"
#define V "_ZN4vllm3moe"
#define ROPE "_ZN39_GLOBAL__N__92eb8872_7_cuda_cu_04260703"
#define SCORING "LNS0_11ScoringFuncE"

static const struct {
    const char *recipe; /* NULL: none, and a reason must be given */
    const char *mangled, *sizes;
    const char *args; /* PARAM=VALUE or PARAM+OFFSET:BYTES=VALUE; ids are at 0x1000, 7 rows, k 6, 96 experts */
    enum mt_dtype dtype;
    uint32_t rows, k, experts;
    uint64_t stride;
    const char *weights;   /* their parameter and type; NULL: the recipe does not tell */
    uint64_t column, skip; /* 0: 1, and none */
} kernels[] = {
    /* clang-format off */
    {"moe-demo.i32", "moe_demo_topk_i32", "8 8 8 4 4 4", "1=0x1000 3=7 4=96 5=6", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"moe-demo.i64", "moe_demo_topk_i64", "8 8 8 4 4 4", "1=0x1000 3=7 4=96 5=6", MT_DTYPE_I64, 7, 6, 96, 6, "2 f32"},
    {"moe-demo.u32", "moe_demo_topk_u32", "8 8 8 4 4 4", "1=0x1000 3=7 4=96 5=6", MT_DTYPE_U32, 7, 6, 96, 6, "2 f32"},
    {"moe-demo.route.i32", "moe_demo_route_i32", "8 8 8 4 4 4", "0=0x1000 3=96 4=6 5=7", MT_DTYPE_I32, 7, 6, 96, 6, "1 f32"},
    {"moe-demo.route.i64", "moe_demo_route_i64", "8 8 8 4 4 4", "0=0x1000 3=96 4=6 5=7", MT_DTYPE_I64, 7, 6, 96, 6, "1 f32"},
    {"moe-demo.route.u32", "moe_demo_route_u32", "8 8 8 4 4 4", "0=0x1000 3=96 4=6 5=7", MT_DTYPE_U32, 7, 6, 96, 6, "1 f32"},
    /* torch 2.15.0, wheel */
    {"torch.topk", "_ZN2at6native6sbtopk10gather" GATHER, "216 4 4 1 4 4 216 4 216 4 8",
     "1=96 2=6 3=1 4=7 5=1 8=0x1000 9=1", MT_DTYPE_I64, 7, 6, 96, 6, "6 f32"},
    {"torch.topk.64bit", "_ZN2at6native6sbtopk10gatherTopKIfmLi1ELb0EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bS8_S8_"
     "NS5_IS6_S8_EES8_NS5_IlS8_EES8_PS6_", "416 8 8 1 8 8 416 8 416 8 8",
     "1=96 2=6 3=1 4=7 5=1 8=0x1000 9=1", MT_DTYPE_I64, 7, 6, 96, 6, "6 f32"},
    {"torch.topk.multiblock", "_ZN2at6native6mbtopk10gatherTopKIN3c104HalfEjLi1EEEvNS_4cuda6detail10TensorInfoIKT_T0_EESA_SA_"
     "bjSA_NS7_IS8_SA_EESA_NS7_IlSA_EESA_jjPS8_PjSF_j", "216 4 4 1 4 4 216 4 216 4 4 4 8 8 8 4",
     "1=1000 2=6 3=1 4=7 5=1 8=0x1000 9=1", MT_DTYPE_I64, 7, 6, 1000, 6, "6 f16"},
    {"torch.topk.multiblock.64bit", "_ZN2at6native6mbtopk10gather" GATHER_MB, "416 8 8 1 4 8 416 8 416 8 4 4 8 8 8 4",
     "1=1000 2=6 3=1 4=7 5=1 8=0x1000 9=1", MT_DTYPE_I64, 7, 6, 1000, 6, "6 f32"},
    {"torch.sort", "_ZN2at6native20bitonicSortKVInPlaceILi2ELin1ELi16ELi16EN3c104HalfElNS0_4GTOpIS3_Lb1EEEjEEvNS_4cuda6detail"
     "10TensorInfoIT3_T6_EESA_SA_SA_NS8_IT4_SA_EESA_T5_", "216 4 4 4 216 4 1", NULL, 0, 0, 0, 0, 0},
    {"torch.sort", "_ZN2at6native22warpMergeSortKVInPlaceILi2ELin1ELi128ELi16EflNS0_4GTOpIfLb1EEEjLi32EEEvNS_4cuda6detail"
     "10TensorInfoIT3_T6_EES8_S8_S8_NS6_IT4_S8_EES8_T5_S7_", "216 4 4 4 216 4 1 4", NULL, 0, 0, 0, 0, 0},
    {"torch.sort", "_ZN2at6native18radixSortKVInPlaceILi2ELin1ELi128ELi32EN3c104HalfEljEEvNS_4cuda6detail10TensorInfoIT3_T5_"
     "EES8_S8_S8_NS6_IT4_S8_EES8_b", "216 4 4 4 216 4 1", NULL, 0, 0, 0, 0, 0},
    /* vLLM 0.6.6, 0.8.5, wheels: no IndType */
    {"vllm.topkGatingSoftmax.old", V "17topkGatingSoftmaxILi1ELi1ELi4ELi4EEEvPKfPKbPfiPiS7_iii", "8 8 8 4 8 8 4 4 4",
     "3=7 4=0x1000 5=0x2000 6=6 8=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"vllm.moeTopK.old", V "7moeTopKILi256EEEvPKfPKbPfPiS7_iiii", "8 8 8 8 8 4 4 4 4", "3=0x1000 4=0x2000 5=96 6=6 x=7",
     MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    /* from source */
    {"vllm.topkGatingSoftmax.indtype", V "17topkGatingSoftmaxILi4ELi128ELi4ELi16ElEEvPKfPKbPfiPT3_Piiii", "8 8 8 4 8 8 4 4 4",
     "3=7 4=0x1000 6=6 8=96", MT_DTYPE_I64, 7, 6, 96, 6, "2 f32"},
    /* 0.10.2, 0.12.0, wheels */
    {"vllm.topkGatingSoftmax", V "17topkGatingSoftmaxILi10ELi320ELi4ELi8ELi32EiEEvPKfPKbPfiPT4_Piiii", "8 8 8 4 8 8 4 4 4",
     "3=7 4=0x1000 5=0x2000 6=6 8=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"vllm.topkGatingSoftmax", V "17topkGatingSoftmaxILi10ELi320ELi4ELi4ELi32El13__nv_bfloat16EEvPKT5_PKbPfiPT4_Piiiib",
     "8 8 8 4 8 8 4 4 4 1", "3=7 4=0x1000 5=0x2000 6=6 8=96", MT_DTYPE_I64, 7, 6, 96, 6, "2 f32"},
    {"vllm.moeTopK", V "7moeTopKILi256EjEEvPKfPKbPfPT0_Piiiii", "8 8 8 8 8 4 4 4 4", "3=0x1000 5=96 6=6 x=7", MT_DTYPE_U32,
     7, 6, 96, 6, "2 f32"},
    {"vllm.moeTopK", V "7moeTopKILi256ElEEvPKfPKbPfPT0_Piiiiib", "8 8 8 8 8 4 4 4 4 1", "3=0x1000 5=96 6=6 x=7",
     MT_DTYPE_I64, 7, 6, 96, 6, "2 f32"},
    {"vllm.group_idx_and_topk_idx.old", V "29group_idx_and_topk_idx_kernelI13__nv_bfloat16iEEvPT_PKS3_S4_PT0_S4_llllllbd",
     "8 8 8 8 8 8 8 8 8 8 8 1 8", "3=0x1000 5=7 6=8 7=4 8=6 9=96 10=12", MT_DTYPE_I32, 7, 6, 96, 6, "2 bf16"},
    {"vllm.group_idx_and_topk_idx", V "29group_idx_and_topk_idx_kernelI13__nv_bfloat16iEEvPT_PKS3_PfPT0_S6_llllllbdi",
     "8 8 8 8 8 8 8 8 8 8 8 1 8 4", "3=0x1000 5=7 6=8 7=4 8=6 9=96 10=12", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    /* 0.16.0, wheel */
    {"vllm.topkGating", GATING "i13__nv_bfloat16" SCORING "0EEEvPKT5_PKbPfiPT4_PiiiibPKf", "8 8 8 4 8 8 4 4 4 1 8",
     "3=7 4=0x1000 5=0x2000 6=6 8=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"vllm.moeTopK", V "7moeTopKILi256EiEEvPKfPKbPfPT0_PiiiiibS3_", "8 8 8 8 8 4 4 4 4 1 8", "3=0x1000 5=96 6=6 x=7",
     MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"vllm.grouped_topk", V "25grouped_topk_fused_kernelI13__nv_bfloat166__halfi" SCORING "0EEEvPT_PfPT1_PKT0_lllllbd",
     "8 8 8 8 8 8 8 8 8 1 8", "2=0x1000 4=7 5=96 6=8 7=4 8=6", MT_DTYPE_I32, 7, 6, 96, 6, "1 f32"},
    {"vllm.align", V "27moe_align_block_size_kernelIiEEvPKT_PiS5_S5_S5_iiiimS5_iib", "8 8 8 8 8 4 4 4 4 8 8 4 4 1",
     "0=0x1000 5=96 6=96 7=4 8=64 9=42 11=99 12=6", MT_DTYPE_I32, 7, 6, 96, 6},
    {"vllm.align.small_batch", V "46moe_align_block_size_small_batch_expert_kernelIlLi256EEEvPKT_PiS5_S5_S5_iimiib",
     "8 8 8 8 8 4 4 8 4 4 1", "0=0x1000 5=96 6=64 7=42 8=99 9=6", MT_DTYPE_I64, 7, 6, 96, 6},
    {"vllm.count_and_sort", V "35count_and_sort_expert_tokens_kernelIiEEvPKT_PiS5_S5_miiib", "8 8 8 8 8 4 4 4 1",
     "0=0x1000 4=42 5=96 6=99 7=6", MT_DTYPE_I32, 7, 6, 96, 6},
    /* 0.33.0, wheel */
    {"vllm.topkGating", GATING "i13__nv_bfloat16" SCORING "0EEEvPKT5_PKbPfiPT4_PiiiibPKfdS8_", "8 8 8 4 8 8 4 4 4 1 8 8 8",
     "3=7 4=0x1000 5=0x2000 6=6 8=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"vllm.topkGating", GATING "l13__nv_bfloat16" SCORING "1EEEvPKT5_PKbPfiPT4_PiiiibPKfd", "8 8 8 4 8 8 4 4 4 1 8 8",
     "3=7 4=0x1000 5=0x2000 6=6 8=96", MT_DTYPE_I64, 7, 6, 96, 6, "2 f32"},
    {"vllm.topkGatingSoftplusSqrt", V "22topkGatingSoftplusSqrtILi10ELi320ELi4ELi4ELi32ELb0Eli13__nv_bfloat16EEvPKT7_PKbPfiPT5_"
     "PiiiibdPKfPKT6_SG_S7_SD_l", "8 8 8 4 8 8 4 4 4 1 8 8 8 8 8 8 8", "3=7 4=0x1000 5=0x2000 6=6 8=96", MT_DTYPE_I64, 7, 6, 96,
     6, "2 f32"},
    {"vllm.dsv4HashTopk", V "24dsv4HashTopkSoftplusSqrtIjiEEvPKfPfPT_iifPKT0_S9_PKbS3_l", "8 8 8 4 4 4 8 8 8 8 8",
     "2=0x1000 3=7 4=96", MT_DTYPE_U32, 7, 6, 96, 6, "1 f32"},
    {"vllm.moeTopK", V "7moeTopKILi256EiEEvPKfPKbPfPT0_PiiiiibS3_dS5_", "8 8 8 8 8 4 4 4 4 1 8 8 8",
     "3=0x1000 5=96 6=6 x=7", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"vllm.grouped_topk_small", V "44grouped_topk_fused_small_expert_count_kernelI13__nv_bfloat166__halfi" SCORING
     "0ELi128ELb0ELi8EEEvPT_PfPT1_PKT0_llllllbd", "8 8 8 8 8 8 8 8 8 8 1 8", "2=0x1000 4=7 5=8 6=4 7=6 8=96 9=12",
     MT_DTYPE_I32, 7, 6, 96, 6, "1 f32"},
    {"vllm.single_group_topk.warp", V "17single_group_topk6detail29single_group_topk_warp_kernelI13__nv_bfloat166__halfi" SCORING
     "0ELi1024ELi16EEEvPKT_PfPT1_PKT0_lllbfb", "8 8 8 8 8 8 8 1 4 1", "2=0x1000 4=7 5=96 6=6", MT_DTYPE_I32, 7, 6, 96, 6, "1 f32"},
    {"vllm.single_group_topk.block", V "17single_group_topk6detail30single_group_topk_block_kernelI13__nv_bfloat166__halfi"
     SCORING "0ELi1024ELi16EEEvPKT_PfPT1_PKT0_llbfb", "8 8 8 8 8 8 1 4 1", "2=0x1000 4=96 5=6 x=7", MT_DTYPE_I32, 7, 6, 96, 6, "1 f32"},
    {"vllm.topkGating", "_ZN9aphrodite3moe10topkGatingILi10ELi320ELi4ELi4ELi32Ei13__nv_bfloat16" SCORING "0EEEvPKT5_PKbPfiPT4_"
     "PiiiibPKfdS8_", "8 8 8 4 8 8 4 4 4 1 8 8 8", "3=7 4=0x1000 5=0x2000 6=6 8=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"vllm.align.small_batch", V "46moe_align_block_size_small_batch_expert_kernelIiLi256EEEvPKT_PiS5_S5_S5_iimiibS5_",
     "8 8 8 8 8 4 4 8 4 4 1 8", "0=0x1000 5=96 6=64 7=42 8=99 9=6", MT_DTYPE_I32, 7, 6, 96, 6},
    {"vllm.count_and_sort", V "35count_and_sort_expert_tokens_kernelIiEEvPKT_PiS5_S5_miiibS5_", "8 8 8 8 8 4 4 4 1 8",
     "0=0x1000 4=42 5=96 6=99 7=6", MT_DTYPE_I32, 7, 6, 96, 6},
    {"vllm.align.old", V "27moe_align_block_size_kernelIaiEEvPT_PiS4_S4_iim", "8 8 8 8 4 4 8", NULL, 0, 0, 0, 0, 0},
    {"vllm.align.old", V "31sgl_moe_align_block_size_kernelIaEEvPT_PiS4_S4_iimS4_", "8 8 8 8 4 4 8 8", NULL, 0, 0, 0, 0, 0},
    /* Triton: names and order from the wheel's Python */
    {"vllm.muse_spark", "_routing_kernel", "8 8 8 8 4 4 4 4 4 4 4 4 4 8 8", "3=0x1000 5=7 6=96 7=96 8=6 9=6 x=7", MT_DTYPE_I32, 7, 6, 96,
     6, "2 f32"},
    {"vllm.muse_spark.one_row", "_routing_kernel", "8 8 8 8 4 4 4 4 4 4 4 4 8 8", "3=0x1000 5=96 6=96 7=6 8=6 x=1", MT_DTYPE_I32, 1, 6,
     96, 6, "2 f32"},
    {"vllm.inkling", "_inkling_gate_select_kernel", "8 8 8 8 8 4 4 4 8 8", NULL, 0, 0, 0, 0, 0},
    {"vllm.dsv4_topk", "_dsv4_topk_kernel", "8 8 8 8 4 8 8", NULL, 0, 0, 0, 0, 0},
    {"triton_kernels.topk", "_topk_forward", "8 4 8 8 4 8 4 4 8 4 8 8", "1=96 3=0x1000 4=6 6=7 7=96", MT_DTYPE_I16, 7, 6, 96,
     6},
    {"triton_kernels.topk.one_row", "_topk_forward", "8 4 8 8 4 8 4 8 4", "1=96 3=0x1000 4=6 6=96", MT_DTYPE_I16, 1, 6, 96, 6},
    {"triton_kernels.topk.k1", "_topk_forward", "8 4 8 8 8 4 4 8 8 8", "1=96 3=0x1000 5=7 6=96", MT_DTYPE_I16, 7, 1, 96, 1},
    {"triton_kernels.topk.k1_one_row", "_topk_forward", "8 4 8 8 8 4 8 8 8", "1=96 3=0x1000 5=96", MT_DTYPE_I16, 1, 1, 96, 1},
    {"triton.fused_moe", "fused_moe_kernel", "8 8 8 8 8 8 8 4 4 4", NULL, 0, 0, 0, 0, 0},
    {"vllm.eplb_map", "_eplb_map_and_record_i32_kernel", "8 8 8 8 8 8 4 4 4 4", NULL, 0, 0, 0, 0, 0},
    {"triton_kernels.consumers", "_combined_routing_compute", "8 8 8 4", NULL, 0, 0, 0, 0, 0},
    /* SGLang: sgl-kernel 0.1.0, 0.2.9, 0.3.21, sglang-kernel 0.4.10, wheels */
    {"sglang.topkGatingSoftmax.old", "_Z17topkGatingSoftmaxILi1ELi1ELi4ELi4EEvPKfPKbPfiPiS5_iii", "8 8 8 4 8 8 4 4 4",
     "3=7 4=0x1000 5=0x2000 6=6 8=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.moeTopK.old", "_Z7moeTopKILi256EEvPKfPKbPfPiS5_iiii", "8 8 8 8 8 4 4 4 4", "3=0x1000 4=0x2000 5=96 6=6 x=7",
     MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.topkGatingSoftmax", "_Z17topkGatingSoftmaxI13__nv_bfloat16Li1ELi1ELi4ELi2EEvPKT_PKbPfiPiiiib",
     "8 8 8 4 8 4 4 4 1", "3=7 4=0x1000 5=6 7=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.topkGatingSoftmax", "_Z17topkGatingSoftmaxI13__nv_bfloat16Li1ELi1ELi4ELi2EEvPKT_PKbPfiPiiiibfPKf",
     "8 8 8 4 8 4 4 4 1 4 8", "3=7 4=0x1000 5=6 7=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.topkGatingSigmoid", "_Z17topkGatingSigmoidI13__nv_bfloat16Li1ELi1ELi4ELi2EEvPKT_PKbPfiPiiiibPKf",
     "8 8 8 4 8 4 4 4 1 8", "3=7 4=0x1000 5=6 7=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.moeTopK", "_Z7moeTopKILi256EEvPKfPKbPfPiiiiib", "8 8 8 8 4 4 4 4 1", "3=0x1000 4=96 5=6 x=7", MT_DTYPE_I32, 7, 6,
     96, 6, "2 f32"},
    {"sglang.moeTopK", "_Z7moeTopKILi256EEvPKfPKbPfPiiiiibS1_", "8 8 8 8 4 4 4 4 1 8", "3=0x1000 4=96 5=6 x=7", MT_DTYPE_I32,
     7, 6, 96, 6, "2 f32"},
    {"sglang.moeTopK", "_Z11moeTopKFastILi256EEvPfPKbS0_Piiiiib", "8 8 8 8 4 4 4 4 1", "3=0x1000 4=96 5=6 x=7", MT_DTYPE_I32,
     7, 6, 96, 6, "2 f32"},
    {"sglang.moe_fused_gate", "_Z21moe_fused_gate_kernelIN7cutlass10bfloat16_tELi32ELi256ELi8ELi4ELi24ELi6EEvPvS2_PfPilllld",
     "8 8 8 8 8 8 8 8 8", "3=0x1000 4=7 5=4 6=6", MT_DTYPE_I32, 7, 6, 256, 6, "2 f32"},
    {"sglang.moe_fused_gate", "_Z21moe_fused_gate_kernelIfLi16ELi256ELi16ELi2ELi12ELi6EEvPvS0_PfPilllldb",
     "8 8 8 8 8 8 8 8 8 1", "3=0x1000 4=7 5=4 6=6", MT_DTYPE_I32, 7, 6, 256, 6, "2 f32"},
    {"sglang.moe_fused_gate_dynamic", "_Z29moe_fused_gate_kernel_dynamicIfEvPvS0_PfPilllllld", "8 8 8 8 8 8 8 8 8 8 8",
     "3=0x1000 4=7 5=96 6=8 7=4 8=6", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.moe_fused_gate_dynamic", "_Z29moe_fused_gate_kernel_dynamicIfEvPvS0_PfPilllllldb", "8 8 8 8 8 8 8 8 8 8 8 1",
     "3=0x1000 4=7 5=96 6=8 7=4 8=6", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    /* 0.4.4, wheel */
    {"sglang.kimi_k2_gate.experts", "_Z29kimi_k2_moe_fused_gate_kernelILi256EEvPfS0_S0_Pillbdb", "8 8 8 8 8 8 1 8 1",
     "3=0x1000 4=7 5=6", MT_DTYPE_I32, 7, 6, 256, 6, "2 f32"},
    {"sglang.kimi_k2_gate", "_Z29kimi_k2_moe_fused_gate_kernelPfS_S_Pillbdb", "8 8 8 8 8 8 1 8 1", "3=0x1000 4=7 5=6",
     MT_DTYPE_I32, 7, 6, 384, 6, "2 f32"},
    {"sglang.kimi_k2_gate", "_Z41kimi_k2_moe_fused_gate_kernel_small_tokenPfS_S_Pillbdb", "8 8 8 8 8 8 1 8 1",
     "3=0x1000 4=7 5=6", MT_DTYPE_I32, 7, 6, 384, 6, "2 f32"},
    /* JIT and Triton, from source */
    {"sglang.topkGatingSoftmax", "_ZN36_GLOBAL__N__5e0bbb2b_4_k_cu_8dd0a2d117topkGatingSoftmaxI13__nv_bfloat16Li4ELi128ELi4E"
     "Li8EEEvPKT_PKbPfiPiiiibfPKf", "8 8 8 4 8 4 4 4 1 4 8", "3=7 4=0x1000 5=6 7=96", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.topkGatingSigmoid.shared", "_ZN12_GLOBAL__N_117topkGatingSigmoidI13__nv_bfloat16Li4ELi128ELi4ELi8EEEvPKT_PKbPfiPiiiibPKfdi",
     "8 8 8 4 8 4 4 4 1 8 8 4", "3=7 4=0x1000 5=5 7=96 11=1", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.moeTopK.shared", "_ZN12_GLOBAL__N_17moeTopKILi256EEEvPKfPKbPfPiiiiibS2_di", "8 8 8 8 4 4 4 4 1 8 8 4",
     "3=0x1000 4=96 5=5 11=1 x=7", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.topkGatingSoftmaxPack", "_ZN12_GLOBAL__N_121topkGatingSoftmaxPackIfLi8ELi128ELi4ELi16EEEvPKT_PfiPiS5_PKiib", "8 8 4 8 8 8 4 1",
     "2=7 3=0x1000 6=6", MT_DTYPE_I32, 7, 6, 128, 6, "1 f32"},
    {"sglang.kimi_k2_gate.experts", "_ZN12_GLOBAL__N_129kimi_k2_moe_fused_gate_kernelILi256Ef13__nv_bfloat16EEvPKT0_PKT1_PfPillbdb",
     "8 8 8 8 8 8 1 8 1", "3=0x1000 4=7 5=6", MT_DTYPE_I32, 7, 6, 256, 6, "2 f32"},
    {"sglang.front_epilogue", "_ZN6sglang27fused_front_epilogue_kernelILb1ELj224ELj8ELb0EEEvNS_14MoEFrontParamsE", "96",
     "0+24:8=0x1000 0+32:4=7 0+40:8=16 0+48:8=16", MT_DTYPE_I32, 7, 16, 896, 16, "0+16 f32"},
    {"sglang.route_quant", "_ZN6sglang24route_quant_fused_kernelILb1Ef13__nv_bfloat16EEvNS_21RouteQuantFusedParamsE", "176",
     "0+24:8=0x1000 0+40:4=7 0+56:8=16 0+64:8=16", MT_DTYPE_I32, 7, 16, 896, 16, "0+16 f32"},
    {"sglang.muse_spark", "_ZN6sglang10muse_spark14routing_kernelINS0_12RoutingTraitILi8ELi8ELi0ELi1EEELb1EEEvNS0_13RoutingParamsE", "112",
     "0+24:8=0x1000 0+56:4=7 0+60:4=96 0+72:8=6 0+80:8=6", MT_DTYPE_I32, 7, 6, 96, 6, "0+16 f32"},
    {"sglang.eplb_map", "_eplb_map_record_hist_kernel", "8 8 8 8 8 4 4 4 8 8", NULL, 0, 0, 0, 0, 0},
    {"sglang.k_compiled_in", "fused_moe_router_cudacore_kernel", "8 8 8 8 8 8", NULL, 0, 0, 0, 0, 0},
    {"sglang.router_triton", "_router_triton_kernel", "8 8 8 8 4 4 4 4 4 4 8 8", "3=0x1000 4=7 7=96 8=6 9=6", MT_DTYPE_I32, 7,
     6, 96, 6, "2 f32"},
    /* sglang 0.5.23, wheel, compiled by Triton 3.6 for sm_90 */
    {"sglang.router_triton.packed", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=7 11=96 12=6 13=6", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.router_triton.packed.bias", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=7 6=0x40200000 10=96 11=6 12=6 x=7", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.router_triton.packed.bias", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=7 6=0x40200000 10=8 11=6 12=6 x=2", MT_DTYPE_I32, 7, 6, 8, 6, "2 f32"},
    {"sglang.router_triton.packed.no_bias_one_row", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=0x40200000 10=96 11=6 12=6 x=1", MT_DTYPE_I32, 1, 6, 96, 6, "2 f32"},
    {"sglang.router_triton.packed.no_bias_one_row", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=0x3f800000 6=0x41200000 10=96 11=6 12=6 x=1", MT_DTYPE_I32, 1, 6, 96, 6, "2 f32"},
    {"sglang.router_triton.packed.k1", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=7 6=0x40200000 11=16 x=2", MT_DTYPE_I32, 7, 1, 16, 1, "2 f32"},
    {"sglang.router_triton.packed.k1_bias", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=7 6=0x40200000 10=16 x=2", MT_DTYPE_I32, 7, 1, 16, 1, "2 f32"},
    {"sglang.router_triton.packed.k1_no_bias_one_row", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=0x40200000 10=16 x=1", MT_DTYPE_I32, 1, 1, 16, 1, "2 f32"},
    {"sglang.router_triton.packed.k1_one_row", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=0x40200000 9=16 x=1", MT_DTYPE_I32, 1, 1, 16, 1, "2 f32"},
    {"sglang.router_triton.packed.one_row", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 9=96 10=6 11=6 x=1", MT_DTYPE_I32, 1, 6, 96, 6, "2 f32"},
    {"sglang.router_triton.packed_too", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=7 6=0x40200000 11=96 12=6 13=6 14=6 x=7", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.router_triton.packed_too.bias", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=7 6=0x40200000 10=96 11=6 12=6 13=6 x=7", MT_DTYPE_I32, 7, 6, 96, 6, "2 f32"},
    {"sglang.router_triton.packed_too.no_bias_one_row", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=0x40200000 10=96 11=6 12=6 13=6 x=1", MT_DTYPE_I32, 1, 6, 96, 6, "2 f32"},
    {"sglang.router_triton.packed_too.one_row", "_router_triton_kernel", "8 8 8 8 8 4 4 4 4 4 4 4 4 8 8",
     "3=0x1000 5=0x40200000 9=96 10=6 11=6 12=6 x=1", MT_DTYPE_I32, 1, 6, 96, 6, "2 f32"},
    {"sglang.router_triton.masked", "_router_triton_kernel", "8 8 8 8 8 8 4 4 4 4 4 4 4 4 4 4 8 8",
     "4=0x1000 6=7 7=0x40200000 11=96 12=6 13=6 x=7", MT_DTYPE_I32, 7, 6, 96, 6, "3 f32"},
    {"sglang.router_triton.masked.one_row", "_router_triton_kernel", "8 8 8 8 8 8 4 4 4 4 4 4 4 4 4 8 8",
     "4=0x1000 6=0x40200000 10=96 11=6 12=6 x=1", MT_DTYPE_I32, 1, 6, 96, 6, "3 f32"},
    {"sglang.router_triton.masked_packed_too", "_router_triton_kernel", "8 8 8 8 8 8 4 4 4 4 4 4 4 4 4 8 8",
     "4=0x1000 6=7 7=0x40200000 11=96 12=6 13=6 14=6 x=7", MT_DTYPE_I32, 7, 6, 96, 6, "3 f32"},
    {"sglang.router_triton.masked_packed_too.one_row", "_router_triton_kernel", "8 8 8 8 8 8 4 4 4 4 4 4 4 4 8 8",
     "4=0x1000 6=0x40200000 10=96 11=6 12=6 13=6 x=1", MT_DTYPE_I32, 1, 6, 96, 6, "3 f32"},
    {"sglang.router_triton.k1", "_router_triton_kernel", "8 8 8 8 4 4 4 4 8 8", "3=0x1000 4=7 5=0x40200000 7=96 x=2",
     MT_DTYPE_I32, 7, 1, 96, 1, "2 f32"},
    {"sglang.router_triton.k1_one_row", "_router_triton_kernel", "8 8 8 8 4 4 4 8 8", "3=0x1000 4=0x40200000 6=96 x=1",
     MT_DTYPE_I32, 1, 1, 96, 1, "2 f32"},
    {"sglang.router_triton.one_row", "_router_triton_kernel", "8 8 8 8 4 4 4 4 4 8", "3=0x1000 6=96 7=6 8=6 x=1",
     MT_DTYPE_I32, 1, 6, 96, 6, "2 f32"},
    {NULL, "_ZN12_GLOBAL__N_118route_radix_kernelILi1EEEvi", "120", NULL, 0, 0, 0, 0, 0},
    /* TensorRT-LLM and FlashInfer, from source */
    {"trtllm.deepseek_v3_topk", "_ZN12tensorrt_llm7kernels23deepseek_v3_topk_kernelIfffiLi256ELb1EEEvPT_PT1_PT2_PT0_llllllld",
     "8 8 8 8 8 8 8 8 8 8 8", "2=0x1000 4=7 5=8 6=4 7=6 8=96 9=12", MT_DTYPE_I32, 7, 6, 96, 6, "1 f32"},
    {"trtllm.deepseek_v3_topk", "_ZN12tensorrt_llm7kernels23deepseek_v3_topk_kernelIfffiLi256ELb1EEEvPT_PT1_PT2_PT0_lllllldPs",
     "8 8 8 8 8 8 8 8 8 8 8 8", "2=0x1000 4=7 5=8 6=4 7=6 8=96 9=12", MT_DTYPE_I32, 7, 6, 96, 6, "1 f32"},
    {"trtllm.customMoeRouting", "_ZN12tensorrt_llm7kernels22customMoeRoutingKernelI13__nv_bfloat16fiLi128ELi8ELb1EEEvPT_PT0_"
     "PT1_iii", "8 8 8 4 4 4", "2=0x1000 3=7 4=96 5=6", MT_DTYPE_I32, 7, 6, 96, 6, "1 f32"},
    {"trtllm.gate_forward", "_ZN12tensorrt_llm3_v17kernels19gate_forward_kernelILi384ELi6ELb1EEEvPKfS4_PKiS6_PfPiif", "8 8 8 8 8 8 4 4",
     "5=0x1000 6=7", MT_DTYPE_I32, 7, 6, 384, 6, "4 f32"},
    {"flashinfer.cake_deepseek_routing", "kernel_cake_deepseek_routing_grouped_k8g4_bf16_f32", "8 8 8 8 8 4 4 4 4 4 4 4",
     "3=0x1000 5=7 6=96 7=6", MT_DTYPE_I32, 7, 6, 96, 6},
    {"flashinfer.hash_topk", "_ZN10flashinfer19moe_hash_topk_fusedILb1EEEvNS_17MoEHashTopKParamsE", "64",
     "0+24:8=0x1000 0+40:4=7 0+44:4=5 0+48:4=96 0+52:4=1", MT_DTYPE_I32, 7, 6, 96, 6, "0+32 f32"},
    {"flashinfer.hash_topk", "_ZN6sglang19moe_hash_topk_fusedIXadL_ZNS_3actEfEELb1EEEvNS_17MoEHashTopKParamsE", "64",
     "0+24:8=0x1000 0+40:4=7 0+44:4=6 0+48:4=96", MT_DTYPE_I32, 7, 6, 96, 6, "0+32 f32"},
    {"deepep.dispatch_layout", "_ZN7deep_ep6legacy6layout19get_dispatch_layoutILi256ELi4ELi8EEEvPKlPiS5_S5_Pbiiii", "8 8 8 8 8 4 4 4 4",
     "0=0x1000 5=7 6=6 7=8 8=96", MT_DTYPE_I64, 7, 6, 96, 6},
    {"cutlass.min_latency", "_ZN12tensorrt_llm7kernels15cutlass_kernels37buildMinLatencyActiveExpertMapsKernelILi256EEEvPiPfS3_PlPKiPKflii"
     "iibiii", "8 8 8 8 8 8 8 4 4 4 4 1 4 4 4", "4=0x1000 6=7 7=6", MT_DTYPE_I32, 7, 6, 0, 6},
    {"vllm.softplus_sqrt_fast", V "30topk_softplus_sqrt_fast_kernelILi256ELi6ELb0EEEvPKfS3_PKiS5_PfPiif", "8 8 8 8 8 8 4 4",
     "5=0x1000 6=7", MT_DTYPE_I32, 7, 6, 256, 6, "4 f32"},
    {"vllm.minimax_m2", V "36_GLOBAL__N__a4a9a764_4_m_cu_3aa0405a36minimax_m2_topk_sigmoid_quant_kernelI13__nv_bfloat16EEvPKT_PKfS8_PfPi"
     "P13__nv_fp8_e4m3S9_llllllii", "8 8 8 8 8 8 8 8 8 8 8 8 8 4 4", "4=0x1000 10=8 11=8 x=7", MT_DTYPE_I32, 7, 8, 256, 8, "3 f32"},
    {"gemma4.routing", "_gemma4_routing_kernel", "8 8 8 8 4 8 8", NULL, 0, 0, 0, 0, 0},
    {"sglang.moe_fused_gate.jit", "_ZN12_GLOBAL__N_133moe_fused_gate_kernel_small_tokenILj8ELNS_11ScoringFuncE0EEEvNS_18MoEFusedGateParamsE",
     "64", "0+24:8=0x1000 0+32:4=7 0+36:4=96 0+40:4=6", MT_DTYPE_I32, 7, 6, 96, 6, "0+16 f32"},
    {"sglang.route_radix.flat", "_ZN6sglang18route_radix_kernelILi896ELi16EEEvPK13__nv_bfloat16PKfPfPiixxxfii", "8 8 8 8 4 8 8 8 4 4 4",
     "3=0x1000 4=7 6=16 7=16", MT_DTYPE_I32, 7, 16, 896, 16, "2 f32"},
    {"sglang.route_radix", "_ZN6sglang18route_radix_kernelILb1EEEvNS_16RouteRadixParamsE", "80",
     "0+24:8=0x1000 0+32:4=7 0+48:8=16 0+56:8=16", MT_DTYPE_I32, 7, 16, 896, 16, "0+16 f32"},
    {"sglang.route_radix.packed", "_ZN6sglang18route_radix_kernelILb1EfEEvNS_16RouteRadixParamsE", "96",
     "0+24:8=0x1000 0+40:4=7 0+56:8=16 0+64:8=16", MT_DTYPE_I32, 7, 16, 896, 16, "0+16 f32"},
    {"sglang.inkling", "_ZN6sglang31inkling_gate_topk_renorm_kernelILi4ELb0EEEvPKfS2_S2_PfS3_PlPillf", "8 8 8 8 8 8 8 8 8 4",
     "5=0x1000 7=7", MT_DTYPE_I64, 7, 6, 256, 6, "3 f32"},
    {"sglang.inkling.packed", "_ZN6sglang31inkling_gate_topk_renorm_kernelILi1ELb1EEEvPKfS2_S2_PfS3_PlPillf", "8 8 8 8 8 8 8 8 8 4",
     "6=0x1000 7=7", MT_DTYPE_I16, 7, 6, 256, 12, NULL, 2, 2},
    {"sglang.inkling_gemv", "_ZN6sglang24inkling_gate_gemv_kernelILi1ELb1ELb0ELb1EEEvPK13__nv_bfloat16S3_PKfS5_PfS6_PiS7_S6_S7_lf",
     "8 8 8 8 8 8 8 8 8 8 8 4", "6=0x1000 10=7", MT_DTYPE_I32, 7, 6, 256, 6, "5 f32"},
    {"sglang.inkling_gemv.packed", "_ZN6sglang24inkling_gate_gemv_kernelILi1ELb1ELb1ELb0EEEvPK13__nv_bfloat16S3_PKfS5_PfS6_PiS7_S6_S7_lf",
     "8 8 8 8 8 8 8 8 8 8 8 4", "7=0x1000 10=7", MT_DTYPE_I16, 7, 6, 256, 12, NULL, 2, 2},
    {"sglang.inkling_v2", "_ZN6sglang34inkling_gate_topk_renorm_v2_kernelILi4ELb0ELb1EEEvPKfS2_S2_PfPiS4_S3_llf", "8 8 8 8 8 8 8 8 8 4",
     "4=0x1000 7=7", MT_DTYPE_I32, 7, 6, 256, 6, "3 f32"},
    {"sglang.inkling_v2.packed", "_ZN6sglang34inkling_gate_topk_renorm_v2_kernelILi4ELb1ELb0EEEvPKfS2_S2_PfPiS4_S3_llf",
     "8 8 8 8 8 8 8 8 8 4", "5=0x1000 7=7", MT_DTYPE_I16, 7, 6, 256, 12, NULL, 2, 2},
    {"trtllm.routing.replay", "_ZN3moe3dev7routing13routingCustom25routingIndicesBlockKernelI1PEEvT_", "184",
     "0+88:8=0x2000 0+96:4=7 0+100:4=96 0+144:8=0x1000 0+176:4=6", MT_DTYPE_I16, 7, 6, 96, 6},
    {"trtllm.routing.replay_deepseek", "_ZN3moe3dev7routing15routingDeepSeek17routingMainKernelI1PEEvT_", "224",
     "0+88:8=0x2000 0+96:4=7 0+100:4=96 0+144:8=0x1000 0+200:4=6", MT_DTYPE_I16, 7, 6, 96, 6},
    {"trtllm.routing.replay_llama4", "_ZN3moe3dev7routing13routingLlama424routingIndicesWarpKernelI1PEEvT_", "184",
     "0+88:8=0x2000 0+96:4=7 0+100:4=96 0+144:8=0x1000", MT_DTYPE_I16, 7, 1, 96, 1},
    {"trtllm.permute", "_ZN3moe3dev7routing13routingCustom24routingIndicesCoopKernelI1PEEvT_", "184", NULL, 0, 0, 0, 0, 0},
    {"trtllm.permute_deepseek", "_ZN3moe3dev7routing15routingDeepSeek27routingIndicesClusterKernelI1PEEvT_", "224", NULL, 0, 0, 0, 0, 0},
    {"trtllm.routing", "_ZN3moe3dev7routing15routingDeepSeek17routingMainKernelI1PEEvT_", "336", NULL, 0, 0, 0, 0, 0},
    {"trtllm.routing", "_ZN3moe3dev7routing13routingCustom25routingIndicesBlockKernelI1PEEvT_", "336", NULL, 0, 0, 0, 0, 0},
    {"flashinfer.monomoe", "_ZN7monomoe15moe_kernel_topkILi8EEEvi", "8 8", NULL, 0, 0, 0, 0, 0},
    {"cutlass.build_expert_maps", "_ZN12tensorrt_llm7kernels15cutlass_kernels40fusedBuildExpertMapsSortFirstTokenKernelILi256E"
     "Li6ELi5EEEvPKiPiS4_Pliiiii", "8 8 8 8 8 4 4 4 4", "0=0x1000 4=7 5=6", MT_DTYPE_I32, 7, 6, 0, 6},
    {"cutlass.expert_prefix_sum", "_ZN12tensorrt_llm7kernels15cutlass_kernels26blockExpertPrefixSumKernelILi256EEEvPKiPiS4_lli",
     "8 8 8 8 8 4", "0=0x1000 3=7 4=6", MT_DTYPE_I32, 7, 6, 0, 6},
    /* llama.cpp, from source: rows are as long as there are experts */
    {"llama.topk_moe", "_Z13topk_moe_cudaILi128ELb0EEvPKfPfPiS2_iiff15topk_moe_config", "8 8 8 8 4 4 4 4 3",
     "2=0x1000 4=7 5=6", MT_DTYPE_I32, 7, 6, 128, 128, "1 f32"},
    {"llama.topk_moe", "_Z13topk_moe_cudaILi128ELb0EEvPKfPfPiS2_iiff15topk_moe_config", "8 8 8 8 4 4 4 4 4",
     "2=0x1000 4=7 5=6", MT_DTYPE_I32, 7, 6, 128, 128, "1 f32"},
    {"llama.topk_moe", "_Z13topk_moe_cudaILi128ELb1EEvPKfPfPiS2_iiff15topk_moe_config", "8 8 8 8 4 4 4 4 20",
     "2=0x1000 4=7 5=6", MT_DTYPE_I32, 7, 6, 128, 128, "1 f32"},
    {"ik_llama.topk_moe", "_Z13topk_moe_cudaILm128ELb1EEvPKfPfPiS1_ii", "8 8 8 8 4 4", "2=0x1000 4=7 5=6", MT_DTYPE_I32, 7, 6, 128,
     128, "1 f32"},
    {"ik_llama.argsort_biased", "_ZL28k_argsort_biased_f32_f32_i32IL15ggml_sort_order1EEvPKfS2_PfPiiiim", "8 8 8 8 4 4 4 8",
     "3=0x1000 4=96 5=128 6=6 7=384 x=7", MT_DTYPE_I32, 7, 6, 96, 96, "2 f32"},
    {"ik_llama.argsort_grouped", "_ZL21k_argsort_f32_f32_i32IL15ggml_sort_order1EEvPKfS2_PKhPfPiiiimii", "8 8 8 8 8 4 4 4 8 4 4",
     "4=0x1000 5=96 6=128 7=6 8=384 9=12 10=8 x=7", MT_DTYPE_I32, 7, 6, 96, 96, "3 f32"},
    {"ik_llama.openai", "_ZL20k_openai_f32_f32_i32IL15ggml_sort_order1EEvPKfPfPiiiim", "8 8 8 4 4 4 8",
     "2=0x1000 3=96 4=128 5=6 6=384 x=7", MT_DTYPE_I32, 7, 6, 96, 96, "1 f32"},
    {"llama.topk_moe.old", "_Z13topk_moe_cudaILm128ELb0EEvPKfPfPiii", "8 8 8 4 4", "2=0x1000 3=7 4=6", MT_DTYPE_I32, 7, 6, 128,
     128, "1 f32"},
    {"llama.topk_moe.old", "_Z13topk_moe_cudaILi64ELb0ELb1EEvPKfPfPiiif", "8 8 8 4 4 4", "2=0x1000 3=7 4=6", MT_DTYPE_I32, 7,
     6, 64, 64, "1 f32"},
    {"llama.mm_ids_helper", "_Z13mm_ids_helperILi8EEvPKiPiS2_S2_iiiii", "8 8 8 8 4 4 4 4 4", "0=0x1000 4=7 5=6 7=96 x=96",
     MT_DTYPE_I32, 7, 6, 96, 96},
    {"llama.mul_mat_vec_q_moe", "_Z17mul_mat_vec_q_moeIL9ggml_type2ELi4EEvPKvS2_PKiPfj5uint3jjjjjjjjj",
     "8 8 8 8 4 12 4 4 4 4 4 4 4 4 4", "2=0x1000 13=7 14=96 y=6", MT_DTYPE_I32, 7, 6, 0, 96},
    /* LMDeploy 0.18.0: the wheel's binary, and its Triton from source */
    {"lmdeploy.turbomind", "_ZN9turbomind16MoeGateKernel_v8ILi128ELi8ELi16ELi256ELi4ELb1ELb0EiEEvPfPT6_PiPKfPKbiiiiiibbf",
     "8 8 8 8 8 4 4 4 4 4 4 1 1 4", NULL, 0, 0, 0, 0, 0},
    {"lmdeploy.turbomind", "_ZN9turbomind23MoeGateNoAuxTCKernel_V2ILi160ELi8ELi10ELi256ELi2ELb1ELb0EiEEvPfPT6_PiPKfPKbS6_"
     "iiiiiibbf", "8 8 8 8 8 8 4 4 4 4 4 4 1 1 4", NULL, 0, 0, 0, 0, 0},
    {"lmdeploy.single_group", "_single_group_topk_router_kernel", "8 8 8 8 4 4 4 4 4", "3=0x1000 4=96 5=6 6=6 7=7 x=7",
     MT_DTYPE_I64, 7, 6, 96, 6},
    {"lmdeploy.noaux_tc", "_fused_noaux_tc_kernel", "8 8 8 8 4 4 4", NULL, 0, 0, 0, 0, 0},
    /* exllamav3, from source */
    {"exllamav3.ds3", "_Z31routing_ds3_nogroup_topk_kernelPK6__halfS1_PlPS_fiii", "8 8 8 8 4 4 4 4", "2=0x1000 5=96 6=6 7=7",
     MT_DTYPE_I64, 7, 6, 96, 6, "3 f16"},
    {"exllamav3.ds3_group", "_Z29routing_ds3_group_topk_kernelPKfS0_PlP6__halffiiii", "8 8 8 8 4 4 4 4 4",
     "2=0x1000 5=96 6=6 x=7", MT_DTYPE_I64, 7, 6, 96, 6, "3 f16"},
    {"exllamav3.std_topk", "_Z23routing_std_topk_kernelPK6__halfPlPS_PK13__nv_bfloat16S1_iii", "8 8 8 8 8 4 4 4",
     "1=0x1000 5=96 6=6 7=7", MT_DTYPE_I64, 7, 6, 96, 6, "2 f16"},
    {"exllamav3.std", "_Z18routing_std_kernelPK6__halfPlPS_PK13__nv_bfloat16iii", "8 8 8 8 4 4 4", "1=0x1000 4=96 5=6 6=7",
     MT_DTYPE_I64, 7, 6, 96, 6, "2 f16"},
    /* mistral.rs, from source */
    {"mistralrs.router", "_Z22moe_router_topk_kernelI13__nv_bfloat16Li128ELb0ELb0EEvPKT_PfPjPKfS7_iiiibbffff",
     "8 8 8 8 8 4 4 4 4 1 1 4 4 4 4", "2=0x1000 5=7 6=6", MT_DTYPE_U32, 7, 6, 128, 6, "1 f32"},
    {"mistralrs.topk", "_Z11topk_kernelI6__halfEvPKT_PS0_Pjiii", "8 8 8 4 4 4", "2=0x1000 3=7 4=96 5=6", MT_DTYPE_U32, 7, 6, 96, 6,
     "1 f16"},
    /* What the rows are, from source: one value each */
    /* Their shape is the router's: test_read.c */
    {"moe-demo.remap.i32", "_Z14moe_demo_remapPKiPiS0_iii", "8 8 8 4 4 4", NULL, 0, 0, 0, 0, 0},
    {"moe-demo.remap.i64", "_Z14moe_demo_remapPKlPlPKiiii", "8 8 8 4 4 4", NULL, 0, 0, 0, 0, 0},
    {"moe-demo.remap.u32", "_Z14moe_demo_remapPKjPjPKiiii", "8 8 8 4 4 4", NULL, 0, 0, 0, 0, 0},
    {"moe-demo.tokens", "moe_demo_lookup", "8 8 8 4 4 4", "0=0x1000 1=0x5000 3=7 5=1000", MT_DTYPE_I32, 7, 1, 1000, 1},
    {"moe-demo.positions", "moe_demo_rotary", "8 8 4 4", "0=0x1000 2=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"moe-demo.slots", "moe_demo_cache", "8 8 8 4 4", "1=0x5000 2=0x1000 3=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"torch.embedding", "_ZN2at6native24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb", "8 8 8 4 8 8 8 8 1",
     "1=0x5000 2=0x1000 3=7 4=4096 5=151936", MT_DTYPE_I64, 7, 1, 151936, 1},
    {"torch.embedding", "_ZN2at6native24vectorized_gather_kernelILi16EiEEvPcS2_PT0_illllb", "8 8 8 4 8 8 8 8 1",
     "1=0x5000 2=0x1000 3=7 4=4096 5=32000", MT_DTYPE_I32, 7, 1, 32000, 1},
    /* torch 2.11.0, wheel: a cast of int64 (param 5, the first byte) to float; [3, 7, 64] and [3, 4, 9, 64] */
    {"torch.positions", "_ZN2at6native27unrolled_elementwise_kernelIZZZNS0_23direct_copy_kernel_cudaERNS_18TensorIteratorBaseEENKUlvE1_clEvENKUlvE5_clEvEUlfE_St5arrayIPcLm2EELi4E23TrivialOffsetCalculatorILi1EjESB_NS0_6memory12LoadWithCastILi1EEENSC_13StoreWithCastILi1EEEEEviT_T0_T2_T3_T4_T5_",
     "4 1 16 1 1 8 8", "0=7 2+8:8=0x1000 5+0:1=4", MT_DTYPE_I64, 7, 1, 0, 1},
    {"torch.batch.rotary", "_ZN2at6native12_GLOBAL__N_119CatArrayBatchedCopyINS1_10OpaqueTypeILj4EEEjLi3ELi64ELi64EEEvPT_NS1_25CatArrInputTensorMetadataIS5_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     "8 3392 32 4 4", "1+0:8=0x5000 1+8:8=0x5000 2+0:4=7 2+4:4=5 3=2", MT_DTYPE_NONE, 7, 1, 0, 5},
    {"torch.batch.rotary", "_ZN2at6native12_GLOBAL__N_130CatArrayBatchedCopy_vectorizedINS1_10OpaqueTypeILj4EEEjLi3ELi128ELi1ELi16ELi4EEEvPcNS1_25CatArrInputTensorMetadataIT_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     "8 2720 32 4 4", "1+0:8=0x5000 1+8:8=0x5000 2+0:4=7 2+4:4=5 3=2 4=1", MT_DTYPE_NONE, 7, 1, 0, 5},
    /* [7, 4, 9, 64] of which 5 rows are new: the 4-byte one as well, and side by side in elements of 16 bytes */
    {"torch.batch.cache", "_ZN2at6native12_GLOBAL__N_119CatArrayBatchedCopyINS1_10OpaqueTypeILj2EEEjLi4ELi64ELi64EEEvPT_NS1_25CatArrInputTensorMetadataIS5_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     "8 3392 32 4 4", "0=0x1000 1+0:8=0x5000 1+772:4=5 2+0:4=7 2+16:4=2304 3=2", MT_DTYPE_NONE, 7, 1, 0, 5},
    {"torch.batch.cache.contiguous", "_ZN2at6native12_GLOBAL__N_126CatArrayBatchedCopy_contigINS1_10OpaqueTypeILj4EEEjLi4ELi128ELi1EEEvPT_NS1_25CatArrInputTensorMetadataIS5_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     "8 2720 32 4 4", "0=0x1000 1+0:8=0x5000 1+1540:4=5 2+0:4=7 2+16:4=2304 3=2", MT_DTYPE_NONE, 7, 1, 0, 5},
    {"torch.batch.cache.aligned", "_ZN2at6native12_GLOBAL__N_130CatArrayBatchedCopy_vectorizedINS1_10OpaqueTypeILj2EEEjLi3ELi128ELi1ELi16ELi8EEEvPcNS1_25CatArrInputTensorMetadataIT_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     "8 2720 32 4 4", "0=0x1000 1+0:8=0x5000 1+1540:4=5 2+0:4=7 2+16:4=288 3=2 4=64", MT_DTYPE_NONE, 7, 1, 0, 5},
    {"torch.batch.cache.aligned", "_ZN2at6native12_GLOBAL__N_130CatArrayBatchedCopy_vectorizedINS1_10OpaqueTypeILj4EEEjLi3ELi128ELi1ELi16ELi4EEEvPcNS1_25CatArrInputTensorMetadataIT_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     "8 2720 32 4 4", "0=0x1000 1+0:8=0x5000 1+1540:4=5 2+0:4=7 2+16:4=576 3=2 4=64", MT_DTYPE_NONE, 7, 1, 0, 5},
    {"torch.cache", "_ZN2at6native12_GLOBAL__N_119CatArrayBatchedCopyINS1_10OpaqueTypeILj2EEEjLi4ELi64ELi64EEEvPT_NS1_25CatArrInputTensorMetadataIS5_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     "8 3392 32 4 4", "0=0x1000 1+0:8=0x5000 2+16:4=2304 3=2", MT_DTYPE_NONE, 0, 1, 0, 4608},
    {"torch.cache.f32", "_ZN2at6native12_GLOBAL__N_126CatArrayBatchedCopy_contigINS1_10OpaqueTypeILj4EEEjLi4ELi128ELi1EEEvPT_NS1_25CatArrInputTensorMetadataIS5_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     "8 2720 32 4 4", "0=0x1000 1+0:8=0x5000 2+16:4=2304 3=2", MT_DTYPE_NONE, 0, 1, 0, 9216},
    {"torch.cache.aligned", "_ZN2at6native12_GLOBAL__N_130CatArrayBatchedCopy_vectorizedINS1_10OpaqueTypeILj2EEEjLi3ELi128ELi1ELi16ELi8EEEvPcNS1_25CatArrInputTensorMetadataIT_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     "8 2720 32 4 4", "0=0x1000 1+0:8=0x5000 2+16:4=288 3=2 4=64", MT_DTYPE_NONE, 0, 1, 0, 4608},
    {"torch.positions.i32", "_ZN2at6native27unrolled_elementwise_kernelIZZZNS0_23direct_copy_kernel_cudaERNS_18TensorIteratorBaseEENKUlvE1_clEvENKUlvE5_clEvEUlfE_St5arrayIPcLm2EELi4E23TrivialOffsetCalculatorILi1EjESB_NS0_6memory12LoadWithCastILi1EEENSC_13StoreWithCastILi1EEEEEviT_T0_T2_T3_T4_T5_",
     "4 1 16 1 1 8 8", "0=7 2+8:8=0x1000 5+0:1=3", MT_DTYPE_I32, 7, 1, 0, 1},
    /* slots of [4 * 64], of [4, 64] and one alone; what of them is read again */
    {"torch.slots", "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_",
     "8 648", "0=1792 1+0:4=2 1+4:4=256 1+16:4=7 1+320:4=8 1+608:8=0x5000 1+616:8=0x1000 1+640:8=256", MT_DTYPE_I64, 7, 1, 0, 1},
    {"torch.slots.heads", "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_",
     "8 648", "0=1792 1+0:4=3 1+4:4=64 1+16:4=4 1+28:4=7 1+332:4=8 1+608:8=0x5000 1+616:8=0x1000 1+640:8=256", MT_DTYPE_I64, 7,
     1, 0, 1},
    {"torch.slots.one", "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_",
     "8 648", "0=256 1+0:4=1 1+4:4=256 1+608:8=0x5000 1+616:8=0x1000 1+640:8=256", MT_DTYPE_I64, 1, 1, 0, 1},
    {"torch.reads", "_ZN2at6native24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb", "8 8 8 4 8 8 8 8 1",
     "1=0x5000 2=0x1000 3=7 4=512 5=1608", MT_DTYPE_I64, 7, 1, 0, 1},
    {"torch.reads.small", "_ZN2at6native21indexSelectSmallIndexIN3c108BFloat16EljLi2ELi2ELin2EEEvNS_4cuda6detail10TensorInfoIT_T1_EE"
     "NS6_IKS7_S8_EENS6_IKT0_S8_EEiiS8_l", "216 216 216 4 4 4 8", "1+0:8=0x5000 2+0:8=0x1000 2+8:4=7 5=256 6=1608",
     MT_DTYPE_I64, 7, 1, 0, 1},
    /* places of [3, 1, .., 64], of [3, 4, .., 64], and of one row, alone and of each */
    {"torch.batch.places.one", "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_",
     "8 648", "0=256 1+0:4=1 1+4:4=256 1+320:4=8 1+616:8=0x5000", MT_DTYPE_NONE, 0, 1, 0, 1},
    {"torch.batch.places", "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_",
     "8 648", "0=960 1+0:4=3 1+4:4=64 1+16:4=5 1+28:4=3 1+320:4=8 1+616:8=0x5000", MT_DTYPE_NONE, 0, 1, 0, 5},
    {"torch.batch.places.heads", "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_",
     "8 648", "0=3840 1+0:4=4 1+4:4=64 1+16:4=4 1+28:4=5 1+40:4=3 1+332:4=8 1+616:8=0x5000", MT_DTYPE_NONE, 0, 1, 0, 5},
    {"torch.batch.places.one", "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_",
     "8 648", "0=768 1+0:4=2 1+4:4=64 1+16:4=12 1+332:4=77 1+616:8=0x5000", MT_DTYPE_NONE, 0, 1, 0, 1},
    {"torch.batch.places.one", "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_",
     "8 648", "0=768 1+0:4=3 1+4:4=64 1+16:4=4 1+28:4=3 1+616:8=0x5000", MT_DTYPE_NONE, 0, 1, 0, 1},
    {"torch.order", "_ZN2at6native12_GLOBAL__N_121indexSelectSmallIndexIN3c108BFloat16EijLin1ELin1ELin1EEEvNS_4cuda6detail10TensorInfoIT_T1_EENS6_IKS7_S8_EENS6_IKT0_S8_EEiiS8_l",
     "216 216 216 4 4 4 8", "0+0:8=0x6000 1+0:8=0x5000 2+0:8=0x1000 2+8:4=7 2+108:4=16 2+208:4=1 5=512 6=7", MT_DTYPE_I32, 7, 1, 0, 16},
    {"torch.order.many", "_ZN2at6native34_scatter_gather_elementwise_kernelILi128ELi8EZNS0_36_cuda_scatter_gather_internal_kernelILb0ENS0_10OpaqueTypeILi2EEEiEclINS0_12TensorAssignEEEvRNS_14TensorIteratorElllRKT_EUliE_EEviT1_",
     "4 664", "0=10752 1+0:4=2 1+4:4=512 1+16:4=21 1+324:4=64 1+608:8=0x1000 1+616:8=21 1+632:8=0x6000 1+656:8=0x5000", MT_DTYPE_I32, 21, 1,
     0, 16},
    {"torch.order.gather", "_ZN2at6native24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb", "8 8 8 4 8 8 8 8 1",
     "0=0x6000 1=0x5000 2=0x1000 3=7 4=512 5=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"torch.cache.static", "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_",
     "8 648", "0=896 1+608:8=0x1000 1+640:8=128", MT_DTYPE_NONE, 7, 1, 0, 0},
    {"torch.embedding.small", "_ZN2at6native21indexSelectSmallIndexIN3c108BFloat16EljLi2ELi2ELin2EEEvNS_4cuda6detail10TensorInfoIT_T1_EE"
     "NS6_IKS7_S8_EENS6_IKT0_S8_EEiiS8_l", "216 216 216 4 4 4 8", "1+0:8=0x5000 2+0:8=0x1000 2+8:4=7 5=2048 6=151936",
     MT_DTYPE_I64, 7, 1, 151936, 1},
    {"vllm.inductor.embedding", "triton_per_fused__to_copy_embedding_rms_norm_0", "8 8 8 8 8 4 4 8 8", "0=0x1000 1=0x5000 5=7 6=512",
     MT_DTYPE_I32, 7, 1, 0, 1},
    {"vllm.slot_mapping", "_compute_slot_mapping_kernel", "4 4 8 8 8 4 4 8 8 8", "0=7 2=0x2000 3=0x3000 4=0x4000 5=64 6=16 7=0x1000 x=4",
     MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.slot_mapping.positions", "_compute_slot_mapping_kernel", "4 4 8 8 8 4 4 8", "0=7 2=0x2000 3=0x1000 4=0x4000 7=0x7000 x=4",
     MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.slot_mapping.starts", "_compute_slot_mapping_kernel", "4 4 8 8 8 4 4 8 8 8", "0=7 2=0x1000 3=0x3000 4=0x4000 7=0x7000 x=4",
     MT_DTYPE_I32, 4, 1, 0, 1},
    {"vllm.slot_mapping.blocks", "_compute_slot_mapping_kernel", "4 4 8 8 8 4 4 8 8 8",
     "0=7 2=0x2000 3=0x3000 4=0x1000 5=64 6=16 7=0x7000 x=4", MT_DTYPE_I32, 3, 1, 0, 64},
    {"vllm.slot_mappings", "_compute_slot_mappings_kernel", "4 8 8 8 8 8 8 8 4 4 8 8", "0=7 2=0x2000 3=0x3000 7=0x1000 8=7 x=2 y=4",
     MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.slot_mappings.positions", "_compute_slot_mappings_kernel", "4 8 8 8 8 8 8 8 4 4", "0=7 2=0x2000 3=0x1000 7=0x7000 y=4",
     MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.slot_mappings.starts", "_compute_slot_mappings_kernel", "4 8 8 8 8 8 8 8 4 4 8 8", "0=7 2=0x1000 3=0x3000 y=4",
     MT_DTYPE_I32, 4, 1, 0, 1},
    {"vllm.slot_mappings.blocks", "_compute_slot_mappings_kernel", "4 8 8 8 8 8 8 8 4 4 8 8",
     "0=7 1=0x9000 2=0x2000 3=0x3000 4=0x1000 5=0x5000 6=0x6000 7=0x7000 x=2 y=4", MT_DTYPE_I32, 3, 1, 0, 0x5000},
    {"vllm.slot_mappings.enabled", "_compute_slot_mappings_kernel", "4 8 8 8 8 8 8 8 8 8 4 4 8 8",
     "0=7 2=0x2000 3=0x3000 9=0x1000 10=7 x=2 y=4", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.slot_mappings.blocks", "_compute_slot_mappings_kernel", "4 8 8 8 8 8 8 8 8 8 4 4 8 8",
     "0=7 1=0x9000 2=0x2000 3=0x3000 4=0x1000 5=0x5000 6=0x6000 9=0x7000 x=2 y=4", MT_DTYPE_I32, 3, 1, 0, 0x5000},
    {NULL, "_compute_slot_mappings_kernel", "4 8 8 8 8 8 8 8 4 8 8", NULL, 0, 0, 0, 0, 0}, /* rank 1: Triton drops it */
    /* SGLang 0.5.17, source; with a sliding window there is one parameter more */
    {"sglang.kv_indices", "create_flashinfer_kv_indices_triton", "8 8 8 8 8 8 8", "0=0x2000 1=0x3000 2=0x4000 3=0x5000 4=0x1000 x=3",
     MT_DTYPE_NONE, 3, 1, 0, 1},
    {NULL, "create_flashinfer_kv_indices_triton", "8 8 8 8 8 8 8 8", NULL, 0, 0, 0, 0, 0},
    {"sglang.lengths", "compute_position_kernel", "8 8 8 8 8 8", "0=0x2000 1=0x3000 2=0x4000 3=0x1000 x=3", MT_DTYPE_I32, 3, 1, 0, 1},
    {"moe-demo.lists", "moe_demo_lists", "8 8 8 8 8", "0=0x2000 1=0x3000 3=0x5000 4=0x1000 x=3", MT_DTYPE_NONE, 3, 1, 0, 1},
    {"moe-demo.tables.slots", "moe_demo_tables", "4 8 8 8 8 8 8 8 4", "0=7 2=0x2000 3=0x3000 7=0x1000 8=7 x=2 y=4",
     MT_DTYPE_I64, 7, 1, 0, 1},
    {"moe-demo.tables.positions", "moe_demo_tables", "4 8 8 8 8 8 8 8 4", "0=7 2=0x2000 3=0x1000 7=0x7000 y=4",
     MT_DTYPE_I64, 7, 1, 0, 1},
    {"moe-demo.tables.starts", "moe_demo_tables", "4 8 8 8 8 8 8 8 4", "0=7 2=0x1000 3=0x3000 y=4",
     MT_DTYPE_I32, 4, 1, 0, 1},
    {"moe-demo.tables.blocks", "moe_demo_tables", "4 8 8 8 8 8 8 8 4",
     "0=7 1=0x9000 2=0x2000 3=0x3000 4=0x1000 5=0x5000 6=0x6000 7=0x7000 x=2 y=4", MT_DTYPE_I32, 3, 1, 0, 0x5000},
    {"moe-demo.starts", "moe_demo_plan", "8 8 8 8 4 4 4", "0=0x1000 1=0x3000 2=0x4000 x=4", MT_DTYPE_I32, 4, 1, 0, 1},
    {"moe-demo.blocks", "moe_demo_plan", "8 8 8 8 4 4 4", "0=0x2000 1=0x3000 2=0x1000 5=12 6=4 x=4", MT_DTYPE_I32, 3, 1, 0, 12},
    {"vllm.rotary_embedding", "_ZN4vllm23rotary_embedding_kernelI13__nv_bfloat16Lb1EEEvPKlPT_S5_PKS4_illliiilb",
     "8 8 8 8 4 8 8 8 4 4 4 8 1", "0=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.reshape_and_cache_flash", "_ZN4vllm30reshape_and_cache_flash_kernelI13__nv_bfloat16S1_LNS_18Fp8KVCacheDataTypeE0E"
     "EEvPKT_S5_PT0_S7_PKllllliiiPKfSB_", "8 8 8 8 8 8 8 8 8 8 4 4 4 8 8", "2=0x5000 4=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.reshape_and_cache_flash", "_ZN4vllm30reshape_and_cache_flash_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PK"
     "liiiiiiff", "8 8 8 8 8 4 4 4 4 4 4 4 4", "2=0x5000 4=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.reshape_and_cache", "_ZN4vllm24reshape_and_cache_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiiiPKfSA_",
     "8 8 8 8 8 4 4 4 4 4 4 8 8", "2=0x5000 4=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.reshape_and_cache", "_ZN4vllm24reshape_and_cache_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiiiPKfSA_b",
     "8 8 8 8 8 4 4 4 4 4 4 8 8 1", "2=0x5000 4=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.concat_and_cache_mla", "_ZN4vllm30concat_and_cache_ds_mla_kernelIthLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_PKliiiiiiiPKf",
     "8 8 8 8 4 4 4 4 4 4 4 8", "2=0x5000 3=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.mla_rope_fused", "_ZN4vllm38concat_and_cache_mla_rope_fused_kernelIffLb1EttLNS_18Fp8KVCacheDataTypeE0EEEvPKlPT_S5_PKS4_PKT0_"
     "illlliPT3_S3_iiiiPKf", "8 8 8 8 8 4 8 8 8 8 4 8 8 4 4 4 4 8", "11=0x5000 12=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.mla_rope_fused.positions", "_ZN4vllm38concat_and_cache_mla_rope_fused_kernelIffLb1EttLNS_18Fp8KVCacheDataTypeE0EEEvPKlPT_S5_PKS4_"
     "PKT0_illlliPT3_S3_iiiiPKf", "8 8 8 8 8 4 8 8 8 8 4 8 8 4 4 4 4 8", "0=0x1000 11=0x5000 12=0x7000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.concat_and_cache_mla", "_ZN4vllm27concat_and_cache_mla_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_PKliiiiiiiPKf",
     "8 8 8 8 4 4 4 4 4 4 4 8", "2=0x5000 3=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.rotary_embedding", "_ZN4vllm23rotary_embedding_kernelI13__nv_bfloat16Lb1EEEvPKlPT_S5_PKS4_illliii",
     "8 8 8 8 4 8 8 8 4 4 4", "0=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"vllm.rotary_embedding", "_ZN4vllm23rotary_embedding_kernelI13__nv_bfloat16Lb1EEEvPKlPT_S5_PKS4_illiii",
     "8 8 8 8 4 8 8 4 4 4", "0=0x1000 x=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"sglang.store_kvcache", "_ZN12_GLOBAL__N_113store_kvcacheILl1024ELi1ELb1ElEEvNS_18StoreKVCacheParamsE", "80",
     "0+16:8=0x5000 0+32:8=0x1000 0+64:8=1 0+72:4=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"sglang.store_kvcache.two_widths", "_ZN6sglang20store_kvcache_kernelILl1024ELl512ELj32ELb1ElEEvNS_18StoreKVCacheParamsE",
     "104", "0+16:8=0x5000 0+32:8=0x1000 0+72:8=1 0+80:4=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"sglang.store_kvcache.two_widths", "_ZN12_GLOBAL__N_113store_kvcacheILl1024ELl512ELi1ELb1EiEEvNS_18StoreKVCacheParamsE",
     "104", "0+16:8=0x5000 0+32:8=0x1000 0+72:8=1 0+80:4=7", MT_DTYPE_I32, 7, 1, 0, 1},
    {"sglang.store_kvcache", "_ZN12_GLOBAL__N_113store_kvcacheILl1024ELi1ELb1EiEEvNS_18StoreKVCacheParamsE", "88",
     "0+16:8=0x5000 0+32:8=0x1000 0+64:8=1 0+72:4=7", MT_DTYPE_I32, 7, 1, 0, 1},
    /* sglang 0.5.17, compiled from its wheel for sm_90; 0.5.16, from source */
    {"sglang.rope_store", ROPE "L23fused_rope_store_kernelILb1ELl64ELb1E13__nv_bfloat16S1_lLj8EEEvNS_20FusedRopeStoreParamsE",
     "120", "0+64:4=7 0+80:8=0x5000 0+96:8=0x1000", MT_DTYPE_I64, 7, 1, 0, 1},
    {"sglang.rope_store.positions", ROPE "L23fused_rope_store_kernelILb1ELl64ELb1E13__nv_bfloat16S1_iLj8EEEvNS_20FusedRopeStoreParamsE",
     "120", "0+24:8=0x1000 0+64:4=7 0+80:8=0x5000", MT_DTYPE_I32, 7, 1, 0, 1},
    {"sglang.rope_store.old", ROPE "L23fused_rope_store_kernelILb1ELl64ELb1E13__nv_bfloat16lLj8EEEvNS_20FusedRopeStoreParamsE",
     "120", "0+64:4=7 0+80:8=0x5000 0+96:8=0x1000", MT_DTYPE_I64, 7, 1, 0, 1},
    {"sglang.rope_store.positions.old", ROPE "L23fused_rope_store_kernelILb1ELl64ELb1E13__nv_bfloat16iLj8EEEvNS_20FusedRopeStoreParamsE",
     "120", "0+24:8=0x1000 0+64:4=7 0+80:8=0x5000", MT_DTYPE_I32, 7, 1, 0, 1},
    {"sglang.rope", ROPE "L17fused_rope_kernelILb1ELl64ELb1E13__nv_bfloat16S1_lLj8EEEvNS_15FusedRopeParamsE", "72",
     "0+24:8=0x1000 0+64:4=7", MT_DTYPE_I64, 7, 1, 0, 1},
    {"sglang.rope.old", ROPE "L17fused_rope_kernelILb1ELl64ELb1E13__nv_bfloat16iLj8EEEvNS_15FusedRopeParamsE", "72",
     "0+24:8=0x1000 0+64:4=7", MT_DTYPE_I32, 7, 1, 0, 1},
    {"llama.set_rows", "_ZL10k_set_rowsIfl6__halfEvPKT_PKT0_PT1_llllllllllllll5uint3S9_S9_S9_S9_",
     "8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 12 12 12 12 12", "1=0x1000 2=0x5000 4=7 5=1 6=1 11=1", MT_DTYPE_I64, 7, 1, 0, 1},
    {"llama.set_rows_quant", "_ZL16k_set_rows_quantIi10block_q8_0Li32EEvPKfPKT_PT0_llllllllllllll5uint3S8_S8_S8_S8_",
     "8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 12 12 12 12 12", "1=0x1000 2=0x5000 4=7 5=1 6=1 11=3", MT_DTYPE_I32, 7, 1, 0, 3},
    {"llama.get_rows", "_ZL10k_get_rowsILi32ELi1EfEvPKvPKiPT1_ll5uint3mmmmmmmmm", "8 8 8 8 8 12 8 8 8 8 8 8 8 8 8",
     "0=0x5000 1=0x1000 4=1 12=1 x=7", MT_DTYPE_I32, 7, 1, 0, 1},
    {NULL, "_ZN4vllm30reshape_and_cache_flash_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKlll", "8 8 8 8 8 8 8",
     NULL, 0, 0, 0, 0, 0},
    /* Refused: a release that nobody has described yet, and kernels whose names only look alike. */
    {NULL, GATING "i13__nv_bfloat16" SCORING "0EEEvPKT5_PKbPfiPT4_PiiiibPKfdS8_S8_", "8 8 8 4 8 8 4 4 4 1 8 8 8 8", NULL,
     0, 0, 0, 0, 0},
    {NULL, "_Z17topkGatingSoftmaxILi1ELi1ELi4ELi4EEvPKfPKbPfiPlS5_iii", "8 8 8 4 8 8 4 4 4", NULL, 0, 0, 0, 0, 0},
    {NULL, "_topk_forward", "8 4 8 8 4 8 8 4 8 4", NULL, 0, 0, 0, 0, 0}, /* n_rows is a pointer */
    {NULL, "_router_triton_kernel", "8 8 8 8 8 8 8 8 4 4 4 4 4 4", NULL, 0, 0, 0, 0, 0},
    /* clang-format on */
};

static void set_args(struct rig *rig, const char *args)
{
    while (args && *args) {
        unsigned param, offset, bytes;
        unsigned long value;
        int n = 0;
        if (sscanf(args, "%u+%u:%u=%li%n", &param, &offset, &bytes, (long *) &value, &n) == 4)
            arg_at(rig, param, offset, value, bytes);
        else if (sscanf(args, "%u=%li%n", &param, (long *) &value, &n) == 2)
            arg(rig, param, value);
        else if (sscanf(args, "x=%li%n", (long *) &value, &n) == 1)
            rig->launch.grid[0] = (unsigned) value;
        else if (sscanf(args, "y=%li%n", (long *) &value, &n) == 1)
            rig->launch.grid[1] = (unsigned) value;
        else
            cr_assert_fail("cannot read %s", args);
        args += n;
        args += *args == ' ';
    }
}

static void check_weights(size_t i, const struct mt_routing *r)
{
    static const char *const types[] = {"", "f32", "f16", "bf16"};
    const char *expected = kernels[i].weights;
    cr_assert_eq(r->weights, expected ? 0x7000u : 0u, "%s", kernels[i].mangled);
    cr_assert_eq(r->no_weights != NULL, !expected, "%s", kernels[i].mangled);
    cr_assert(!expected || strcmp(strchr(expected, ' ') + 1, types[r->weights_type]) == 0, "%s: %u", kernels[i].mangled,
              r->weights_type);
    cr_assert(!expected || r->weights_stride == r->k, "%s", kernels[i].mangled);
}

Test(builtin, kernels)
{
    struct mt_recipes *recipes = recipes_of(NULL);
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        struct rig rig;
        char reason[256];
        const char *why = NULL;
        rig_make(&rig, kernels[i].mangled, kernels[i].sizes);
        rig.launch.grid[0] = 1001; /* nobody takes it for rows by accident */
        rig.launch.grid[1] = 1001;
        const struct mt_recipe *recipe = mt_recipes_match(recipes, &rig.kernel, reason, sizeof reason);
        set_args(&rig, kernels[i].args);
        struct mt_routing first;
        unsigned tries = 0; /* as many as the shim makes */
        for (const struct mt_recipe *next = recipe; next && kernels[i].args && tries++ <= MT_KERNEL_OTHERS;
             next = mt_recipes_next(recipes, &rig.kernel, next)) {
            if (mt_recipe_read(next, &rig.kernel, &rig.launch, &first, &why)) {
                recipe = next;
                break;
            }
        }
        const struct mt_recipe *also[MT_KERNEL_ALSO];
        unsigned more = recipe ? mt_recipes_also(recipes, &rig.kernel, recipe, also, MT_KERNEL_ALSO) : 0;
        while (more--) {
            if (kernels[i].recipe && strcmp(kernels[i].recipe, mt_recipe_name(also[more])) == 0)
                recipe = also[more];
        }
        cr_assert_str_eq(recipe ? mt_recipe_name(recipe) : "none", kernels[i].recipe ? kernels[i].recipe : "none",
                         "%s (%s): %s", kernels[i].mangled, rig.kernel.base, reason);
        cr_assert(recipe || reason[0], "%s is refused without a reason", kernels[i].mangled);
        if (!kernels[i].args)
            continue;
        if (kernels[i].weights)
            arg_at(&rig, (unsigned) atoi(kernels[i].weights),
                   kernels[i].weights[1] == '+' ? (unsigned) atoi(kernels[i].weights + 2) : 0, 0x7000, 8);
        for (int packed = 0; packed < 2; packed++) {
            struct mt_routing r;
            if (packed)
                rig_pack(&rig);
            cr_assert(mt_recipe_read(recipe, &rig.kernel, &rig.launch, &r, &why), "%s: %s", kernels[i].mangled, why);
            cr_assert_eq(r.ids, mt_recipe_kind(recipe) == MT_RECIPE_BATCH ? 0 : 0x1000 + kernels[i].skip, "%s",
                         kernels[i].mangled);
            cr_assert_eq(r.dtype, kernels[i].dtype, "%s", kernels[i].mangled);
            cr_assert_eq(r.rows, kernels[i].rows, "%s: %u rows", kernels[i].mangled, r.rows);
            cr_assert_eq(r.k, kernels[i].k, "%s: k %u", kernels[i].mangled, r.k);
            cr_assert_eq(r.experts, kernels[i].experts, "%s: %u experts", kernels[i].mangled, r.experts);
            cr_assert_eq(r.stride, kernels[i].stride, "%s", kernels[i].mangled);
            cr_assert_eq(r.column, kernels[i].column ? kernels[i].column : 1);
            check_weights(i, &r);
        }
    }
    mt_recipes_free(recipes);
}

/* A built-in recipe without a line above is one that nobody notices to break. */
Test(builtin, all_are_covered)
{
    struct mt_recipes *recipes = recipes_of(NULL);
    for (size_t n = 0; n < mt_recipes_count(recipes); n++) {
        const struct mt_recipe *recipe = mt_recipes_get(recipes, n);
        bool covered = false, read = false;
        for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
            bool same = kernels[i].recipe && strcmp(kernels[i].recipe, mt_recipe_name(recipe)) == 0;
            covered |= same;
            read |= same && kernels[i].args;
        }
        cr_assert(covered, "[%s] takes none of the kernels", mt_recipe_name(recipe));
        cr_assert_eq(read, mt_recipe_tells_shape(recipe), "[%s] is not read", mt_recipe_name(recipe));
        if (mt_recipe_kind(recipe) == MT_RECIPE_NO_IDS)
            cr_assert(*mt_recipe_note(recipe), "[%s] says not what to do", mt_recipe_name(recipe));
    }
    mt_recipes_free(recipes);
}

/* Other uses of kernels that show what rows are. */
Test(builtin, decoys)
{
    static const struct {
        const char *mangled, *sizes, *args;
    } decoys[] = {
        /* cos and sin by position; a batch's last rows; an index of a narrow type */
        {"_ZN2at6native24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb", "8 8 8 4 8 8 8 8 1",
         "1=0x5000 2=0x1000 3=7 4=256 5=131072"},
        {"_ZN2at6native24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb", "8 8 8 4 8 8 8 8 1",
         "1=0x5000 2=0x1000 3=7 4=8192 5=8192"},
        /* an index for each element of a transposed cache; one for each head */
        {"_ZL10k_set_rowsIfl6__halfEvPKT_PKT0_PT1_llllllllllllll5uint3S9_S9_S9_S9_",
         "8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 12 12 12 12 12", "1=0x1000 2=0x5000 4=7 5=8 6=1 11=1"},
        /* experts' weights by their ids */
        {"_ZL10k_get_rowsILi32ELi1EfEvPKvPKiPT1_ll5uint3mmmmmmmmm", "8 8 8 8 8 12 8 8 8 8 8 8 8 8 8",
         "0=0x5000 1=0x1000 4=7 12=1 x=7"},
        /* a cast of bool; queries whose halves are turned */
        {"_ZN2at6native27unrolled_elementwise_kernelIZZZNS0_23direct_copy_kernel_cudaERNS_"
         "18TensorIteratorBaseEENKUlvE1_clEvENKUlvE5_clEvEUlfE_St5arrayIPcLm2EELi4E23TrivialOffsetCalculatorILi1EjESB_"
         "NS0_6memory12LoadWithCastILi1EEENSC_13StoreWithCastILi1EEEEEviT_T0_T2_T3_T4_T5_",
         "4 1 16 1 1 8 8", "0=7 2+8:8=0x1000 5+0:1=11"},
        {"_ZN2at6native12_GLOBAL__N_119CatArrayBatchedCopyINS1_10OpaqueTypeILj2EEEjLi4ELi64ELi64EEEvPT_NS1_"
         "25CatArrInputTensorMetadataIS5_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
         "8 2720 32 4 4", "0=0x1000 1+0:8=0x5000 3=3"},
        /* a layer without a cache */
        {"_ZN4vllm24reshape_and_cache_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiiiPKfSA_",
         "8 8 8 8 8 4 4 4 4 4 4 8 8", "2=0 4=0x1000 x=7"},
    };
    struct mt_recipes *recipes = recipes_of(NULL);
    for (size_t i = 0; i < sizeof decoys / sizeof *decoys; i++) {
        struct rig rig;
        char reason[256];
        const char *why = NULL;
        struct mt_routing r;
        rig_make(&rig, decoys[i].mangled, decoys[i].sizes);
        const struct mt_recipe *recipe = mt_recipes_match(recipes, &rig.kernel, reason, sizeof reason);
        cr_assert(recipe && mt_recipe_site_kind(recipe) != MT_SITE_ROUTER, "%s: %s", decoys[i].mangled, reason);
        set_args(&rig, decoys[i].args);
        cr_assert_not(mt_recipe_read(recipe, &rig.kernel, &rig.launch, &r, &why), "%zu", i);
    }
    mt_recipes_free(recipes);
}

/* A final recipe that a router names must be there. */
Test(builtin, finals_exist)
{
    struct mt_recipes *recipes = recipes_of(NULL);
    for (size_t n = 0; n < mt_recipes_count(recipes); n++) {
        const struct mt_recipe *router = mt_recipes_get(recipes, n);
        bool found = !mt_recipe_has_final(router);
        for (size_t i = 0; i < mt_recipes_count(recipes); i++)
            found |= mt_recipe_is_final_of(mt_recipes_get(recipes, i), router);
        cr_assert(found, "[%s] names a final recipe that there is not", mt_recipe_name(router));
    }
    mt_recipes_free(recipes);
}

/* Kernels that a router must never be taken for, in the same binaries. */
Test(builtin, others)
{
    static const char *const names[][2] = {
        {"_ZN4vllm16topKPerRowDecodeILi1024ELb1ELb0ELb1EEEvPKfPKiPiiiiiiPfiS4_", "8 8 8 4 4 4 4 4 8 4 8"},
        {"_ZN4vllm13filtered_topk25FilteredTopKUnifiedKernelIfiLi1ELj1024ELb1ELb0EEEvPKT_PT0_PKS5_jjj", "8 8 8 4 4 4"},
        {"_ZN10flashinfer8sampling20TopKMaskLogitsKernelILj1024EEEvPfS2_PijJ", "8 8 8 4 4"},
        {"_ZN4vllm3moe10moeSoftmaxILi256E13__nv_bfloat16EEvPKT0_PKbPfi", "8 8 8 4"},
        {"_ZN4vllm3moe19topk_with_k2_kernelI13__nv_bfloat16EEvPT_S4_llll", "8 8 8 8 8 8"},
        {"_ZN9turbomind14topKSortStage1IfLi128ELi8EEEvPT_PiS2_iPKiii", "8 8 8 4 8 4 4"},
        {"_ZN2at6native6mbtopk18computeDigitCumSumEPsPjj", "8 8 4"},
        {"_Z17k_argsort_f32_i32IL15ggml_sort_order1EEvPKfPiii", "8 8 4 4"},
        {"_topk_index_kernel", "8 8 8 8 8 4"},
        /* not fused: it makes logits only */
        {"_ZN6sglang24inkling_gate_gemv_kernelILi1ELb0ELb1ELb1EEEvPK13__nv_bfloat16S3_PKfS5_PfS6_PiS7_S6_S7_lf",
         "8 8 8 8 8 8 8 8 8 8 8 4"},
    };
    struct mt_recipes *recipes = recipes_of(NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct mt_kernel_info kernel;
        char reason[256];
        kernel_make(&kernel, names[i][0], names[i][1]);
        cr_assert_null(mt_recipes_match(recipes, &kernel, reason, sizeof reason), "%s", names[i][0]);
        cr_assert_str_eq(reason, "", "%s: %s", names[i][0], reason);
    }
    mt_recipes_free(recipes);
}
