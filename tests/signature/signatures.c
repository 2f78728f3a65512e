/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters in the order and under the names of the engines' sources; types and names as in their binaries. */
#include "signature.h"

#define V "_ZN4vllm3moe"
#define S "LNS0_11ScoringFuncE"
#define AT "_ZN2at6native"
#define TRT "_ZN12tensorrt_llm7kernels"
#define U32(name) "{" name " sizes:u32[25] strides:u32[25] dims:i32}"
#define U64(name) "{" name " sizes:u64[25] strides:u64[25] dims:i32}"
/* Expert load, routers and what is before them, in several engines */
#define GATING "logits:bf16* finished:bool* weights:f32* rows:i32 "
#define GROUPED "groups:i64=8 groups_kept:i64=4 k:i64 experts:i64 group:i64=12"

const struct signature signatures[] = {
    /* clang-format off */
    {"moe-demo.i32", ROUTER, "moe_demo_topk_i32", "logits:f32* ids:i32* weights:f32* rows:i32 experts:i32 k:i32"},
    {"moe-demo.i64", ROUTER, "moe_demo_topk_i64", "logits:f32* ids:i64* weights:f32* rows:i32 experts:i32 k:i32"},
    {"moe-demo.u32", ROUTER, "moe_demo_topk_u32", "logits:f32* ids:u32* weights:f32* rows:i32 experts:i32 k:i32"},
    {"moe-demo.route.i32", ROUTER, "moe_demo_route_i32", "ids:i32* weights:f32* logits:f32* experts:i32 k:i32 rows:i32"},
    {"moe-demo.route.i64", ROUTER, "moe_demo_route_i64", "ids:i64* weights:f32* logits:f32* experts:i32 k:i32 rows:i32"},
    {"moe-demo.route.u32", ROUTER, "moe_demo_route_u32", "ids:u32* weights:f32* logits:f32* experts:i32 k:i32 rows:i32"},
    {"moe-demo.remap.i32", MAP, "_Z14moe_demo_remapPKiPiS0_iii", "ids:i32* mapped:i32* table:i32* copies_of_one:i32 "
     "numel:i32=rows*k copies:i32=4096", .with = "moe-demo.i32"},
    {"moe-demo.remap.i64", MAP, "_Z14moe_demo_remapPKlPlPKiiii", "ids:i64* mapped:i64* table:i32* copies_of_one:i32 "
     "numel:i32=rows*k copies:i32=4096", .with = "moe-demo.i64"},
    {"moe-demo.remap.u32", MAP, "_Z14moe_demo_remapPKjPjPKiiii", "ids:u32* mapped:u32* table:i32* copies_of_one:i32 "
     "numel:i32=rows*k copies:i32=4096", .with = "moe-demo.u32"},
    {"moe-demo.tokens", CONTEXT, "moe_demo_lookup", "tokens:i32* layer:f32* out:f32* rows:i32 dim:i32=64 vocabulary:i32=32000",
     .with = "moe-demo.i32", .shows = "tokens"},
    {"moe-demo.positions", CONTEXT, "moe_demo_rotary", "positions:i64* hidden:f32* rows:i32 dim:i32=64", .with = "moe-demo.i32", .shows = "positions"},
    {"moe-demo.slots", CONTEXT, "moe_demo_cache", "hidden:f32* layer:f32* slots:i64* rows:i32 dim:i32=64",
     .with = "moe-demo.i32", .shows = "slots"},
    {"moe-demo.starts", CONTEXT, "moe_demo_plan", "starts:i32* positions:i64* blocks:i32* out:i64* rows:i32 stride:i32=8 "
     "block:i32=16", .grid = "4", .with = "moe-demo.i32", .once_a_pass = true, .shows = "starts"},
    {"moe-demo.blocks", CONTEXT, "moe_demo_plan", "starts:i32* positions:i64* blocks:i32* out:i64* rows:i32 stride:i32=8 "
     "block:i32=16", .grid = "4", .with = "moe-demo.i32", .once_a_pass = true, .shows = "blocks"},
#define TABLES "rows:i32=rows+5 index:i32* starts:i32* positions:i64* tables:u64* strides:i64* block_sizes:i32* slots:i64* "
#define DEMO_TABLES(recipe, what)                                                                                      \
    {recipe, CONTEXT, "moe_demo_tables", TABLES "apart:i32=rows+5", "2 4", .with = "moe-demo.i32",                     \
     .once_a_pass = true, .groups = 2, .shows = what}
    DEMO_TABLES("moe-demo.tables.slots", "slots"),
    DEMO_TABLES("moe-demo.tables.positions", "positions"),
    DEMO_TABLES("moe-demo.tables.starts", "starts"),
    DEMO_TABLES("moe-demo.tables.blocks", "blocks"),
    {"moe-demo.lists", CONTEXT, "moe_demo_lists", "table:i32* sequence_ids:i64* lengths:i32* starts:i32* kv_indices:i64*", "3", .with = "moe-demo.i32",
     .once_a_pass = true, .shows = "kv_indices"},

    /* torch 2.5 to 2.15 */
    {"torch.topk", ROUTER, AT "6sbtopk10gatherTopKIfjLi2ELb0EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bS8_S8_NS5_IS6_S8_"
     "EES8_NS5_IlS8_EES8_PS6_", U32("logits:f32*") " experts:u32 k:u32 largest:bool rows:u32 stride:u32=1 " U32("weights:f32*")
     " stride_values:u32=1 " U32("ids:i64*") " stride_ids:u32=1 kth:f32*", "rows"},
    {"torch.topk.64bit", ROUTER, AT "6sbtopk10gatherTopKIN3c108BFloat16EmLi1ELb0EEEvNS_4cuda6detail10TensorInfoIKT_T0_EESA_SA_"
     "bSA_SA_NS7_IS8_SA_EESA_NS7_IlSA_EESA_PS8_", U64("logits:bf16*") " experts:u64 k:u64 largest:bool rows:u64 stride:u64=1 "
     U64("weights:bf16*") " stride_values:u64=1 " U64("ids:i64*") " stride_ids:u64=1 kth:bf16*", "rows"},
    {"torch.topk.multiblock", ROUTER, AT "6mbtopk10gatherTopKIN3c104HalfEjLi1EEEvNS_4cuda6detail10TensorInfoIKT_T0_EESA_SA_bjSA_"
     "NS7_IS8_SA_EESA_NS7_IlSA_EESA_jjPS8_PjSF_j", U32("logits:f16*") " experts:u32 k:u32 largest:bool rows:u32 stride:u32=1 "
     U32("weights:f16*") " stride_values:u32=1 " U32("ids:i64*") " stride_ids:u32=1 items:u32=4 blocks_of_slice:u32=2 kth:f16* "
     "within:u32* at:u32* slices:u32", "rows"},
    {"torch.topk.multiblock.64bit", ROUTER, AT "6mbtopk10gatherTopKIfmLi1EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bjS8_NS5_"
     "IS6_S8_EES8_NS5_IlS8_EES8_jjPS6_PjSC_j", U64("logits:f32*") " experts:u64 k:u64 largest:bool rows:u32 stride:u64=1 "
     U64("weights:f32*") " stride_values:u64=1 " U64("ids:i64*") " stride_ids:u64=1 items:u32=4 blocks_of_slice:u32=2 kth:f32* "
     "within:u32* at:u32* slices:u32", "rows"},
    {"torch.sort", FINAL, AT "20bitonicSortKVInPlaceILi2ELin1ELi16ELi16EflNS0_4GTOpIfLb1EEEjEEvNS_4cuda6detail10TensorInfoIT3_"
     "T6_EES8_S8_S8_NS6_IT4_S8_EES8_T5_", U32("weights:f32*") " rows:u32 k:u32 stride:u32=1 " U32("ids:i64*")
     " stride_ids:u32=1 comparison:i8", .with = "torch.topk"},
    {"torch.sort", FINAL, AT "22warpMergeSortKVInPlaceILi2ELin1ELi128ELi16EflNS0_4GTOpIfLb1EEEjLi32EEEvNS_4cuda6detail10TensorInfo"
     "IT3_T6_EES8_S8_S8_NS6_IT4_S8_EES8_T5_S7_", U32("weights:f32*") " rows:u32 k:u32 stride:u32=1 " U32("ids:i64*")
     " stride_ids:u32=1 comparison:i8 invalid:f32", .with = "torch.topk"},
    {"torch.sort", FINAL, AT "18radixSortKVInPlaceILi2ELin1ELi128ELi32EfljEEvNS_4cuda6detail10TensorInfoIT3_T5_EES6_S6_S6_NS4_IT4_"
     "S6_EES6_b", U32("weights:f32*") " rows:u32 k:u32 stride:u32=1 " U32("ids:i64*") " stride_ids:u32=1 descending:bool",
     .with = "torch.topk"},
    {"torch.embedding", CONTEXT, AT "24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb", "out:i8* layer:i8* tokens:i64* "
     "rows:i32 bytes:i64=4096 vocabulary:i64=151936 stride:i64 out_stride:i64 negative:bool", .with = "moe-demo.i32", .shows = "tokens"},

    {"torch.embedding.small", CONTEXT, AT "21indexSelectSmallIndexIN3c108BFloat16EljLi2ELi2ELin2EEEvNS_4cuda6detail10TensorInfoIT_T1_EE"
     "NS6_IKS7_S8_EENS6_IKT0_S8_EEiiS8_l", U32("out:bf16*") " " U32("layer:bf16*") " {tokens:i64* rows:u32 sizes:u32[24] strides:u32[25] dims:i32} "
     "out_dim:i32 source_dim:i32 elements:u32=2048 vocabulary:i64=151936", .with = "moe-demo.i32", .shows = "tokens"},

    /* transformers on torch: only in sequence are these launches a pass's */
#define CAST(recipe, type, number)                                                                                     \
    {recipe, CONTEXT, AT "27unrolled_elementwise_kernelIZZZNS0_23direct_copy_kernel_cudaERNS_18TensorIteratorBaseEENKU" \
     "lvE1_clEvENKUlvE5_clEvEUlfE_St5arrayIPcLm2EELi4E23TrivialOffsetCalculatorILi1EjESB_NS0_6memory12LoadWithCastILi1" \
     "EEENSC_13StoreWithCastILi1EEEEEviT_T0_T2_T3_T4_T5_", "rows:i32 functor:i8 {out:f32* positions:" type "*} in:i8 " \
     "of:i8 {from:i8=" number " more:i8[7]} {to:i8[8]}", .with = "moe-demo.i32", .once_a_pass = true,                   \
     .shows = "positions", .among = recipe " torch.batch.rotary"}
    CAST("torch.positions", "i64", "4"),
    CAST("torch.positions.i32", "i32", "3"),
#define SEQUENCE(recipe, name, params, what, sequence)                                                                 \
    {recipe, CONTEXT, AT name, params, .with = "moe-demo.i32", .once_a_pass = true, .shows = what, .among = sequence}
#define METADATA "EEEvPT_NS1_25CatArrInputTensorMetadataIS5_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_"
#define CAT(bytes, dims, inputs) "12_GLOBAL__N_119CatArrayBatchedCopyINS1_10OpaqueTypeILj" bytes "EEEjLi" dims inputs METADATA
#define ALIGNED_CAT(bytes, per) "12_GLOBAL__N_130CatArrayBatchedCopy_vectorizedINS1_10OpaqueTypeILj" bytes                 \
    "EEEjLi3ELi128ELi1ELi16ELi" per "EEEvPcNS1_25CatArrInputTensorMetadataIT_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_"
#define OUTPUT(sizes) " {" sizes " last:u32 stride:u32=4 steps:u32[3]} dim:i32=2 "
#define FREQS(inputs, sizes) "layer:i8* {freqs:i8* again:i8* more:u64[" inputs "]} {" sizes " shape:u32[6]} dim:i32=2 step:i32"
#define GROWN64 "layer:i8* {before:i8* new:i8* more:u64[94] offset:u32 each:u32=rows/3 most:u64[327]}" OUTPUT("sequences:u32=3 heads:u32 all:u32")
#define GROWN128 "layer:i8* {before:i8* new:i8* more:u64[190] offset:u32 each:u32=rows/3 most:u64[147]}" OUTPUT("sequences:u32=3 heads:u32 all:u32")
#define OF_ROTARY "torch.positions torch.batch.rotary "
#define OF_CACHE "torch.embedding torch.positions "
    SEQUENCE("torch.batch.rotary", CAT("4", "3", "ELi64ELi64"), FREQS("422", "sequences:u32=rows each:u32=1"), "batch",
             "torch.positions torch.batch.rotary"),
    SEQUENCE("torch.batch.rotary", CAT("4", "3", "ELi128ELi1"), FREQS("338", "sequences:u32=3 each:u32=rows/3"), "batch",
             "torch.positions torch.batch.rotary"),
    SEQUENCE("torch.batch.cache", CAT("2", "4", "ELi64ELi64"), GROWN64 "step:i32", "batch", OF_CACHE "torch.batch.cache"),
    SEQUENCE("torch.batch.cache.contiguous", CAT("4", "4", "ELi128ELi1"), GROWN128 "step:i32", "batch",
             OF_CACHE "torch.batch.cache.contiguous"),
    SEQUENCE("torch.batch.cache.aligned", ALIGNED_CAT("2", "8"), GROWN128 "trailing:i32=64", "batch",
             OF_CACHE "torch.batch.cache.aligned"),
    SEQUENCE("torch.cache", CAT("2", "4", "ELi64ELi64"), GROWN64 "step:i32", "cache", OF_ROTARY "torch.cache"),
    SEQUENCE("torch.cache", CAT("2", "4", "ELi128ELi1"), GROWN128 "step:i32", "cache", OF_ROTARY "torch.cache"),
    SEQUENCE("torch.cache.f32", CAT("4", "4", "ELi64ELi64"), GROWN64 "step:i32", "cache", OF_ROTARY "torch.cache.f32"),
    SEQUENCE("torch.cache.f32", CAT("4", "4", "ELi128ELi1"), GROWN128 "step:i32", "cache", OF_ROTARY "torch.cache.f32"),
    SEQUENCE("torch.cache.aligned", ALIGNED_CAT("4", "4"), GROWN128 "trailing:i32=64", "cache", OF_ROTARY "torch.cache.aligned"),
#define INDEX_COPY "24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEE" \
     "vRNS_14TensorIteratorElllEUliE_EEvlT1_"
#define INDEX(recipe, params, what, behind, ...)                                                                       \
    {recipe, CONTEXT, AT INDEX_COPY, params, .with = "moe-demo.i32", .once_a_pass = true, .shows = what,               \
     .among = behind recipe, __VA_ARGS__}
#define OF_SLOTS "torch.positions.i32 torch.batch.rotary "
    INDEX("torch.slots", "numel:i64=rows*256 {dims:i32=2 size:i32=256 sizes:u32[2] rows:i32 more:u32[75] step:i32=8 steps:u32[71] layer:i8* "
     "slots:i64* sizes_of:u64[2] width:u64=256}", "slots", OF_SLOTS, .fixed.rows = 0),
    INDEX("torch.slots.heads", "numel:i64=rows*256 {dims:i32=3 size:i32=4 sizes:u32[2] heads:i32=64 more:u32[2] rows:i32 most:u32[75] step:i32=8 "
     "steps:u32[68] layer:i8* slots:i64* sizes_of:u64[2] width:u64=256}", "slots", OF_SLOTS, .fixed.rows = 0),
    INDEX("torch.slots.one", "numel:i64=256 {dims:i32=1 size:i32=256 more:u32[150] layer:i8* slots:i64* sizes_of:u64[2] width:u64=256}", "slots",
     OF_SLOTS, .fixed.rows = 1),
#define PLACES " layer:i8* places:i64* sizes_of:u64[2] width:u64=64}"
    INDEX("torch.cache.static", "numel:i64=rows*256 {dims:i32=3 size:i32=64 more:u32[150]" PLACES, "cache", OF_ROTARY, .fixed.rows = 0),
    INDEX("torch.batch.places", "numel:i64=rows*64 {dims:i32=3 size:i32=64 sizes:u32[2] each:i32=rows/3 more:u32[2] sequences:i32=3 most:u32[72] "
     "step:i32=8 steps:u32[71]" PLACES, "batch", OF_CACHE, .fixed.rows = 0),
    INDEX("torch.batch.places.heads", "numel:i64=rows*256 {dims:i32=4 size:i32=64 sizes:u32[2] heads:i32=4 more:u32[2] each:i32=rows/3 of:u32[2] "
     "sequences:i32=3 most:u32[69] none:i32=0 other:u32[2] step:i32=8 steps:u32[68]" PLACES, "batch", OF_CACHE, .fixed.rows = 0),
    INDEX("torch.batch.places.one", "numel:i64=rows*256 {dims:i32=2 size:i32=64 sizes:u32[2] sequences:i32=rows more:u32[75] step:i32=0 "
     "each:u32=1 steps:u32[70]" PLACES, "batch", OF_CACHE, .fixed.rows = 0),
#define ORDER U32("out:bf16*") " " U32("layer:bf16*") " {order:i64* rows:u32 sizes:u32[24] step:u32=1 strides:u32[24] dims:i32=1} " \
     "out_dim:i32 source_dim:i32=0 "
    {"torch.order", CONTEXT, AT "12_GLOBAL__N_121indexSelectSmallIndexIN3c108BFloat16EljLin1ELin1ELin1EEEvNS_4cuda6detail10TensorInfoIT_T1_EE"
     "NS6_IKS7_S8_EENS6_IKT0_S8_EEiiS8_l", ORDER "elements:u32=256 there:i64=rows", .with = "moe-demo.i32", .once_a_pass = true,
     .shows = "order", .among = OF_ROTARY "torch.cache torch.order"},
    {"torch.order.many", CONTEXT, AT "34_scatter_gather_elementwise_kernelILi128ELi8EZNS0_36_cuda_scatter_gather_internal_kernelILb0ENS0_10OpaqueType"
     "ILi2EEEiEclINS0_12TensorAssignEEEvRNS_14TensorIteratorElllRKT_EUliE_EEviT1_", "numel:i32 {dims:i32=2 size:i32=256 sizes:u32[2] rows:i32 more:u32[73] "
     "none:u32=0 out:u32=512 source:u32=0 step:u32=4 steps:u32[70] order:i32* there:u64=rows assign:u64 to:i8* width:u64 all:u64 layer:i8*}",
     .with = "moe-demo.i32", .once_a_pass = true, .shows = "order", .among = OF_ROTARY "torch.cache torch.order.many"},
    {"torch.order.gather", CONTEXT, AT "24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb", "out:i8* layer:i8* order:i64* rows:i32 "
     "bytes:i64=512 there:i64=rows stride:i64 out_stride:i64 negative:bool", .with = "moe-demo.i32", .once_a_pass = true, .shows = "order",
     .among = OF_ROTARY "torch.cache torch.order.gather"},
    {"torch.reads", CONTEXT, AT "24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb", "out:i8* layer:i8* reads:i64* rows:i32 "
     "bytes:i64=512 slots_there:i64=800 stride:i64 out_stride:i64 negative:bool", .with = "moe-demo.i32", .once_a_pass = true, .shows = "reads",
     .among = "torch.positions.i32 torch.batch.rotary torch.slots torch.reads"},
    {"torch.reads.small", CONTEXT, AT "21indexSelectSmallIndexIN3c108BFloat16EljLi2ELi2ELin2EEEvNS_4cuda6detail10TensorInfoIT_T1_EE"
     "NS6_IKS7_S8_EENS6_IKT0_S8_EEiiS8_l", U32("out:bf16*") " " U32("layer:bf16*") " {reads:i64* rows:u32 sizes:u32[24] strides:u32[25] dims:i32} "
     "out_dim:i32 source_dim:i32 elements:u32=256 slots_there:i64=800", .with = "moe-demo.i32", .once_a_pass = true, .shows = "reads",
     .among = "torch.positions.i32 torch.batch.rotary torch.slots torch.reads.small"},

    /* vLLM, from 2024 on */
    {"vllm.topkGatingSoftmax.old", ROUTER, V "17topkGatingSoftmaxILi4ELi128ELi4ELi16EEEvPKfPKbPfiPiS7_iii", "logits:f32* "
     "finished:bool* weights:f32* rows:i32 ids:i32* source_rows:i32* k:i32 start:i32=0 end:i32=experts", "rows/32"},
    {"vllm.moeTopK.old", ROUTER, V "7moeTopKILi256EEEvPKfPKbPfPiS7_iiii", "logits:f32* finished:bool* weights:f32* ids:i32* "
     "source_rows:i32* experts:i32 k:i32 start:i32=0 end:i32=experts", "rows"},
    {"vllm.topkGatingSoftmax.indtype", ROUTER, V "17topkGatingSoftmaxILi4ELi128ELi4ELi16ElEEvPKfPKbPfiPT3_Piiii", "logits:f32* "
     "finished:bool* weights:f32* rows:i32 ids:i64* source_rows:i32* k:i32 start:i32=0 end:i32=experts", "rows/32"},
    {"vllm.topkGatingSoftmax", ROUTER, V "17topkGatingSoftmaxILi10ELi320ELi4ELi8ELi32EiEEvPKfPKbPfiPT4_Piiii", "logits:f32* "
     "finished:bool* weights:f32* rows:i32 ids:i32* source_rows:i32* k:i32 start:i32=0 end:i32=experts", "rows/32"},
    {"vllm.topkGatingSoftmax", ROUTER, V "17topkGatingSoftmaxILi10ELi320ELi4ELi4ELi32El13__nv_bfloat16EEvPKT5_PKbPfiPT4_Piiiib",
     GATING "ids:i64* source_rows:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool", "rows/32"},
    {"vllm.topkGating", ROUTER, V "10topkGatingILi10ELi320ELi4ELi4ELi32Ei13__nv_bfloat16" S "0EEEvPKT5_PKbPfiPT4_PiiiibPKf",
     GATING "ids:i32* source_rows:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool bias:f32*", "rows/32"},
    {"vllm.topkGating", ROUTER, V "10topkGatingILi10ELi320ELi4ELi4ELi32El13__nv_bfloat16" S "1EEEvPKT5_PKbPfiPT4_PiiiibPKfd",
     GATING "ids:i64* source_rows:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool bias:f32* scale:f64", "rows/32"},
    {"vllm.topkGating", ROUTER, V "10topkGatingILi10ELi320ELi4ELi4ELi32Ej13__nv_bfloat16" S "0EEEvPKT5_PKbPfiPT4_PiiiibPKfdS8_",
     GATING "ids:u32* source_rows:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool bias:f32* scale:f64 padding:bool*",
     "rows/32"},
    {"vllm.topkGatingSoftplusSqrt", ROUTER, V "22topkGatingSoftplusSqrtILi10ELi320ELi4ELi4ELi32ELb0Ei13__nv_bfloat16iEEvPKT7_PKbPfi"
     "PT5_PiiiibdPKfPKT6_", GATING "ids:i32* source_rows:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool scale:f64 bias:f32* "
     "tokens_of:i64* table:i64*", "rows/32"},
    {"vllm.topkGatingSoftplusSqrt", ROUTER, V "22topkGatingSoftplusSqrtILi10ELi320ELi4ELi4ELi32ELb0Ei13__nv_bfloat16iEEvPKT7_PKbPfi"
     "PT5_PiiiibdPKfPKT6_SG_S7_", GATING "ids:i32* source_rows:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool scale:f64 "
     "bias:f32* tokens_of:i64* table:i64* padding:bool*", "rows/32"},
    {"vllm.topkGatingSoftplusSqrt", ROUTER, V "22topkGatingSoftplusSqrtILi10ELi320ELi4ELi4ELi32ELb0Eli13__nv_bfloat16EEvPKT7_PKbPfi"
     "PT5_PiiiibdPKfPKT6_SG_S7_SD_l", GATING "ids:i64* source_rows:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool scale:f64 "
     "bias:f32* tokens_of:i32* table:i32* padding:bool* out:i64* stride:i64", "rows/32"},
    {"vllm.dsv4HashTopk", ROUTER, V "24dsv4HashTopkSoftplusSqrtIjiEEvPKfPfPT_iifPKT0_S9_PKbS3_l", "logits:f32* weights:f32* ids:u32* "
     "rows:i32 experts:i32 scale:f32 tokens_of:i32* table:i32* padding:bool* out:u32* stride:i64", "rows/4", .fixed.k = 6},
    {"vllm.dsv4HashTopk", ROUTER, V "24dsv4HashTopkSoftplusSqrtIiiEEvPKfPfPT_iifPKT0_S9_PKb", "logits:f32* weights:f32* ids:i32* "
     "rows:i32 experts:i32 scale:f32 tokens_of:i32* table:i32* padding:bool*", "rows/4", .fixed.k = 6},
    {"vllm.moeTopK", ROUTER, V "7moeTopKILi256EjEEvPKfPKbPfPT0_Piiiii", "logits:f32* finished:bool* weights:f32* ids:u32* "
     "source_rows:i32* experts:i32 k:i32 start:i32=0 end:i32=experts", "rows"},
    {"vllm.moeTopK", ROUTER, V "7moeTopKILi256ElEEvPKfPKbPfPT0_Piiiiib", "logits:f32* finished:bool* weights:f32* ids:i64* "
     "source_rows:i32* experts:i32 k:i32 start:i32=0 end:i32=experts renormalize:bool", "rows"},
    {"vllm.moeTopK", ROUTER, V "7moeTopKILi256EiEEvPKfPKbPfPT0_PiiiiibS3_", "logits:f32* finished:bool* weights:f32* ids:i32* "
     "source_rows:i32* experts:i32 k:i32 start:i32=0 end:i32=experts renormalize:bool bias:f32*", "rows"},
    {"vllm.moeTopK", ROUTER, V "7moeTopKILi256EiEEvPKfPKbPfPT0_PiiiiibS3_d", "logits:f32* finished:bool* weights:f32* ids:i32* "
     "source_rows:i32* experts:i32 k:i32 start:i32=0 end:i32=experts renormalize:bool bias:f32* scale:f64", "rows"},
    {"vllm.moeTopK", ROUTER, V "7moeTopKILi256EiEEvPKfPKbPfPT0_PiiiiibS3_dS5_", "logits:f32* finished:bool* weights:f32* ids:i32* "
     "source_rows:i32* experts:i32 k:i32 start:i32=0 end:i32=experts renormalize:bool bias:f32* scale:f64 padding:bool*", "rows"},
    {"vllm.grouped_topk_small", ROUTER, V "44grouped_topk_fused_small_expert_count_kernelI13__nv_bfloat16fi" S "1ELi256ELb1ELi8EEEvPT_"
     "PfPT1_PKT0_llllllbd", "logits:bf16* weights:f32* ids:i32* bias:f32* rows:i64 " GROUPED " renormalize:bool scale:f64", "rows"},
    {"vllm.grouped_topk", ROUTER, V "25grouped_topk_fused_kernelI13__nv_bfloat166__halfi" S "0EEEvPT_PfPT1_PKT0_lllllbd", "logits:bf16* "
     "weights:f32* ids:i32* bias:f16* rows:i64 experts:i64 groups:i64=8 groups_kept:i64=4 k:i64 renormalize:bool scale:f64", "rows"},
    {"vllm.group_idx_and_topk_idx", ROUTER, V "29group_idx_and_topk_idx_kernelI13__nv_bfloat16iEEvPT_PKS3_PfPT0_S6_llllllbdi",
     "logits:bf16* groups_scores:bf16* weights:f32* ids:i32* biased:bf16* rows:i64 groups:i64=8 groups_kept:i64=4 k:i64 experts:i64 "
     "group:i64=12 renormalize:bool scale:f64 scoring:i32", "rows/4"},
    {"vllm.group_idx_and_topk_idx.old", ROUTER, V "29group_idx_and_topk_idx_kernelI13__nv_bfloat16iEEvPT_PKS3_S4_PT0_S4_llllllbd",
     "logits:bf16* groups_scores:bf16* weights:bf16* ids:i32* biased:bf16* rows:i64 groups:i64=8 groups_kept:i64=4 k:i64 experts:i64 "
     "group:i64=12 renormalize:bool scale:f64", "rows/4"},
    {"vllm.single_group_topk.warp", ROUTER, V "17single_group_topk6detail29single_group_topk_warp_kernelI13__nv_bfloat166__halfi" S
     "0ELi1024ELi16EEEvPKT_PfPT1_PKT0_lllbfb", "logits:bf16* weights:f32* ids:i32* bias:f16* rows:i64 experts:i64 k:i64 "
     "renormalize:bool scale:f32 overlap:bool", "rows/4"},
    {"vllm.single_group_topk.block", ROUTER, V "17single_group_topk6detail30single_group_topk_block_kernelI13__nv_bfloat166__halfi" S
     "0ELi1024ELi16EEEvPKT_PfPT1_PKT0_llbfb", "logits:bf16* weights:f32* ids:i32* bias:f16* experts:i64 k:i64 renormalize:bool "
     "scale:f32 overlap:bool", "rows"},
    {"vllm.softplus_sqrt_fast", ROUTER, V "30topk_softplus_sqrt_fast_kernelILi256ELi6ELb0EEEvPKfS3_PKiS5_PfPiif", "logits:f32* bias:f32* "
     "tokens_of:i32* table:i32* weights:f32* ids:i32* rows:i32 scale:f32", "rows/4", .fixed = {0, 6, 256}},
    {"vllm.minimax_m2", ROUTER, V "36_GLOBAL__N__a4a9a764_4_m_cu_3aa0405a36minimax_m2_topk_sigmoid_quant_kernelI13__nv_bfloat16EEvPKT_PKfS8_PfPi"
     "P13__nv_fp8_e4m3S9_llllllii", "hidden:bf16* logits:f32* bias:f32* weights:f32* ids:i32* quantised:i8* scales:f32* hm:i64 lm:i64 qm:i64 "
     "wm:i64=k im:i64=k sm:i64 size:i32 groups:i32", "rows", .fixed = {0, 8, 256}},
    {"vllm.topkGating", ROUTER, "_ZN9aphrodite3moe10topkGatingILi10ELi320ELi4ELi4ELi32Ei13__nv_bfloat16" S "0EEEvPKT5_PKbPfiPT4_PiiiibPKfdS8_",
     GATING "ids:i32* source_rows:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool bias:f32* scale:f64 padding:bool*",
     "rows/32"},
#define MUSE(recipe, rows, grid, ...)                                                                                  \
    {recipe, ROUTER, "_routing_kernel", "logits:bf16* bias:f32* weights:f32* ids:i32* mask:i32=0 " rows                \
     "experts:i32 gm:i32=experts wm:i32=k im:i32=k a:f32 b:f32 c:f32", grid, __VA_ARGS__},                             \
    {recipe, ROUTER, "_routing_kernel", "logits:bf16* bias:f32* weights:f32* ids:i32* mask:i32=0 " rows                \
     "experts:i32 gm:i32=experts wm:i32=k im:i32=k a:f32 b:f32 c:f32 g:u64* p:u64*", grid, __VA_ARGS__}
    MUSE("vllm.muse_spark", "rows:i32 ", "rows", .fixed = {0, 8, 256}),
    MUSE("vllm.muse_spark.one_row", "", "1", .fixed = {1, 8, 256}),
    {"vllm.inkling", NO_IDS, "_inkling_gate_select_kernel", "logits:f32* bias:f32* scale:f32* ids:i32* weights:f32* route_scale:f32 rows:i32 "
     "stride:i32=264 g:u64* p:u64*", "rows"},
    {"vllm.dsv4_topk", NO_IDS, "_dsv4_topk_kernel", "logits:f32* bias:f32* weights:f32* ids:i32* scale:f32 g:u64* s:u64*", "rows",
     .fixed.k = 6},
    {"gemma4.routing", NO_IDS, "_gemma4_routing_kernel", "logits:bf16* scale:f32* weights:f32* ids:i32* stride:i32=experts g:u64* p:u64*", "rows"},
    {"vllm.align", CONSUMER, V "27moe_align_block_size_kernelIiEEvPKT_PiS5_S5_S5_iiiimS5_iib", "ids:i32* sorted:i32* of_block:i32* "
     "padded_count:i32* map:i32* experts:i32 padded:i32=experts of_warp:i32=4 block:i32=64 numel:u64=rows*k sums:i32* room:i32 k:i32 "
     "has_map:bool", "2"},
    {"vllm.align.small_batch", CONSUMER, V "46moe_align_block_size_small_batch_expert_kernelIlLi256EEEvPKT_PiS5_S5_S5_iimiib", "ids:i64* "
     "sorted:i32* of_block:i32* padded_count:i32* map:i32* experts:i32 block:i32=64 numel:u64=rows*k room:i32 k:i32 has_map:bool"},
    {"vllm.align.small_batch", CONSUMER, V "46moe_align_block_size_small_batch_expert_kernelIiLi256EEEvPKT_PiS5_S5_S5_iimiibS5_", "ids:i32* "
     "sorted:i32* of_block:i32* padded_count:i32* map:i32* experts:i32 block:i32=64 numel:u64=rows*k room:i32 k:i32 has_map:bool lora:i32*"},
    {"vllm.count_and_sort", CONSUMER, V "35count_and_sort_expert_tokens_kernelIiEEvPKT_PiS5_S5_miiib", "ids:i32* sorted:i32* sums:i32* "
     "map:i32* numel:u64=rows*k experts:i32 room:i32 k:i32 has_map:bool", "1 rows*k/256"},
    {"vllm.count_and_sort", CONSUMER, V "35count_and_sort_expert_tokens_kernelIiEEvPKT_PiS5_S5_miiibS5_", "ids:i32* sorted:i32* sums:i32* "
     "map:i32* numel:u64=rows*k experts:i32 room:i32 k:i32 has_map:bool lora:i32*", "1 rows*k/256"},
    {"vllm.align.old", READER, V "31sgl_moe_align_block_size_kernelIiEEvPT_PiS4_S4_iimS4_", "ids:i32* sorted:i32* of_block:i32* "
     "padded_count:i32* experts:i32 block:i32=64 numel:u64=rows*k sums:i32*", .with = "vllm.topkGatingSoftmax.old"},
    {"triton.fused_moe", READER, "fused_moe_kernel", "a:bf16* b:bf16* c:bf16* weights:f32* sorted:i32* ids:i32* padded_count:i32* n:i32 "
     "k_dim:i32 em:i32 valid:i32=rows*k stride_am:i32 stride_be:i32 g:u64* s:u64*", "rows*k", .with = "vllm.topkGating"},
    {"vllm.eplb_map", MAP, "_eplb_map_and_record_i32_kernel", "ids:i32* replicas:i32* table:i32* mapped:i32* load:i32* enabled:i32* "
     "logical:i32 slots_of:i32 load_size:i32 numel:i32=rows*k g:u64* s:u64*", "rows*k/256", .with = "vllm.topkGating"},

    /* gpt-oss: rows, stride and k fall out of a launch where they are 1 */
    {"triton_kernels.topk", ROUTER, "_topk_forward", "logits:bf16* stride_xm:i32=experts values:bf16* ids:i16* stride_ym:i32=k bits:u32* "
     "rows:i32 experts:i32 s:i32* s_blocks:i32=4 g:u64* p:u64*", "rows/32", .fixed.k = 4},
    {"triton_kernels.topk.one_row", ROUTER, "_topk_forward", "logits:bf16* stride_xm:i32=experts values:bf16* ids:i16* stride_ym:i32=k "
     "bits:u32* experts:i32 s:i32* s_blocks:i32=4", .fixed = {1, 4, 0}},
    {"triton_kernels.topk.k1", ROUTER, "_topk_forward", "logits:bf16* stride_xm:i32=experts values:bf16* ids:i16* bits:u32* rows:i32 "
     "experts:i32 s:i32* g:u64* p:u64*", "rows/32", .fixed.k = 1},
    {"triton_kernels.topk.k1_one_row", ROUTER, "_topk_forward", "logits:bf16* stride_xm:i32=experts values:bf16* ids:i16* bits:u32* "
     "experts:i32 s:i32* g:u64* p:u64*", .fixed = {1, 1, 0}},
    {"triton_kernels.consumers", READER, "_combined_routing_compute", "gather:i32* scatter:i32* gate:bf16* exps:i16* ids:i16* "
     "total:i32=rows*k g:u64* p:u64*", .with = "triton_kernels.topk"},

    /* What the rows are, in vLLM */
    {"vllm.reshape_and_cache_flash", CONTEXT, "_ZN4vllm30reshape_and_cache_flash_kernelI13__nv_bfloat16S1_LNS_18Fp8KVCacheDataTypeE0EEEvPKT_"
     "S5_PT0_S7_PKllllllliiiPKfSB_", "key:bf16* value:bf16* layer:bf16* value_cache:bf16* slots:i64* block_stride:i64 page_stride:i64 "
     "head_stride:i64 key_stride:i64 value_stride:i64 heads:i32 head:i32 block:i32 k_scale:f32* v_scale:f32*", "rows", .with = "vllm.topkGating", .shows = "slots"},
#define KV "key:u16* value:u16* layer:u16* value_cache:u16* slots:i64* "
#define OLD_STRIDES "block_stride:i32 key_stride:i32 value_stride:i32 heads:i32 head:i32 block:i32"
    {"vllm.reshape_and_cache_flash", CONTEXT, "_ZN4vllm30reshape_and_cache_flash_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKlllllliiiPKfSA_i", KV "block_stride:i64 page_stride:i64 head_stride:i64 key_stride:i64 "
     "value_stride:i64 heads:i32 head:i32 block:i32 k_scale:f32* v_scale:f32* kv_scale_stride:i32", "rows", .with = "vllm.topkGating", .shows = "slots"},
    {"vllm.reshape_and_cache_flash", CONTEXT, "_ZN4vllm30reshape_and_cache_flash_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiiiPKfSA_", KV OLD_STRIDES " k_scale:f32* v_scale:f32*", "rows", .with = "vllm.topkGating", .shows = "slots"},
    {"vllm.reshape_and_cache_flash", CONTEXT, "_ZN4vllm30reshape_and_cache_flash_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiiiff", KV OLD_STRIDES " k_scale:f32 v_scale:f32", "rows", .with = "vllm.topkGating", .shows = "slots"},
    {"vllm.reshape_and_cache_flash", CONTEXT, "_ZN4vllm30reshape_and_cache_flash_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiii", KV OLD_STRIDES, "rows", .with = "vllm.topkGating", .shows = "slots"},
    {"vllm.reshape_and_cache", CONTEXT, "_ZN4vllm24reshape_and_cache_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiiiff", KV OLD_STRIDES " k_scale:f32 v_scale:f32", "rows", .with = "vllm.topkGating", .shows = "slots"},
    {"vllm.reshape_and_cache", CONTEXT, "_ZN4vllm24reshape_and_cache_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiii", KV OLD_STRIDES, "rows", .with = "vllm.topkGating", .shows = "slots"},
    {"vllm.reshape_and_cache", CONTEXT, "_ZN4vllm24reshape_and_cache_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiiiPKfSA_",
     "key:u16* value:u16* layer:u16* value_cache:u16* slots:i64* key_stride:i32 value_stride:i32 heads:i32 head:i32 block:i32 x:i32 "
     "k_scale:f32* v_scale:f32*", "rows", .with = "vllm.topkGating", .shows = "slots"},
    {"vllm.reshape_and_cache", CONTEXT, "_ZN4vllm24reshape_and_cache_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_S6_PKliiiiiiPKfSA_b",
     "key:u16* value:u16* layer:u16* value_cache:u16* slots:i64* key_stride:i32 value_stride:i32 heads:i32 head:i32 block:i32 x:i32 "
     "k_scale:f32* v_scale:f32* more:bool", "rows", .with = "vllm.topkGating", .shows = "slots"},
#define FUSED(recipe, positions, slots, what)                                                                          \
    {recipe, CONTEXT, "_ZN4vllm38concat_and_cache_mla_rope_fused_kernelIffLb1EttLNS_18Fp8KVCacheDataTypeE0EEEvPKlPT_"  \
     "S5_PKS4_PKT0_illlliPT3_S3_iiiiPKf", positions ":i64* q_pe:f32* k_pe:f32* kv_c:f32* cos_sin:f32* dims:i32 a:i64 " \
     "b:i64 c:i64 d:i64 heads:i32 layer:u16* " slots ":i64* e:i32 f:i32 rank:i32 block:i32 scale:f32*", "rows",        \
     .with = "vllm.grouped_topk_small", .shows = what}
    FUSED("vllm.mla_rope_fused", "other", "slots", "slots"),
    FUSED("vllm.mla_rope_fused.positions", "positions", "other", "positions"),
    {"vllm.concat_and_cache_mla", CONTEXT, "_ZN4vllm27concat_and_cache_mla_kernelIttLNS_18Fp8KVCacheDataTypeE0EEEvPKT_S4_PT0_PKliiiiiiiPKf",
     "kv_c:u16* k_pe:u16* layer:u16* slots:i64* block_stride:i32 entry_stride:i32 kv_stride:i32 pe_stride:i32 rank:i32 pe:i32 block:i32 "
     "scale:f32*", "rows", .with = "vllm.grouped_topk_small", .shows = "slots"},
    {"vllm.inductor.embedding", CONTEXT, "triton_per_fused__to_copy_embedding_rms_norm_0", "tokens:i32* table:bf16* norm:bf16* out:bf16* "
     "normed:bf16* rows:i32 dim:i32=1024 g:u64* p:u64*", "rows", .with = "vllm.topkGating", .once_a_pass = true, .shows = "tokens"},
    {"vllm.inductor.embedding", CONTEXT, "triton_red_fused__to_copy_embedding_rms_norm_0", "tokens:i32* table:bf16* norm:bf16* out:bf16* "
     "normed:bf16* rows:i32 dim:i32=1024", "rows", .with = "vllm.topkGating", .once_a_pass = true, .shows = "tokens"},
#define ROTARY "positions:i64* query:bf16* key:bf16* cos_sin:bf16* dims:i32 "
    {"vllm.rotary_embedding", CONTEXT, "_ZN4vllm23rotary_embedding_kernelI13__nv_bfloat16Lb1EEEvPKlPT_S5_PKS4_illliii", ROTARY "query_stride:i64 key_stride:i64 head_stride:i64 heads:i32 "
     "kv_heads:i32 head:i32", "rows", .with = "vllm.topkGating", .shows = "positions"},
    {"vllm.rotary_embedding", CONTEXT, "_ZN4vllm23rotary_embedding_kernelI13__nv_bfloat16Lb1EEEvPKlPT_S5_PKS4_illiii", ROTARY "query_stride:i64 key_stride:i64 heads:i32 kv_heads:i32 "
     "head:i32", "rows", .with = "vllm.topkGating", .shows = "positions"},
    {"vllm.rotary_embedding", CONTEXT, "_ZN4vllm23rotary_embedding_kernelI13__nv_bfloat16Lb1EEEvPKlPT_S5_PKS4_iiiiii", ROTARY "query_stride:i32 key_stride:i32 heads:i32 kv_heads:i32 "
     "head:i32", "rows", .with = "vllm.topkGating", .shows = "positions"},
    {"vllm.rotary_embedding", CONTEXT, "_ZN4vllm23rotary_embedding_kernelI13__nv_bfloat16Lb1EEEvPKlPT_S5_PKS4_illliiilb",
     "positions:i64* query:bf16* key:bf16* cos_sin:bf16* dims:i32 query_stride:i64 key_stride:i64 head_stride:i64 heads:i32 kv_heads:i32 "
     "head:i32 offset:i64 inverse:bool", "rows", .with = "vllm.topkGating", .shows = "positions"},
#define PLAN(recipe, what)                                                                                             \
    {recipe, CONTEXT, "_compute_slot_mapping_kernel", MAPPING, "4", .with = "vllm.topkGating", .once_a_pass = true,    \
     .shows = what},                                                                                                   \
    {recipe, CONTEXT, "_compute_slot_mapping_kernel", MAPPING " g:u64* p:u64*", "4", .with = "vllm.topkGating",        \
     .once_a_pass = true, .shows = what}
#define MAPPING "rows:i32 room:i32=8192 starts:i32* positions:i64* blocks:i32* stride:i32=8 block:i32=16 slots:i64*"
    PLAN("vllm.slot_mapping", "slots"),
    PLAN("vllm.slot_mapping.positions", "positions"),
    PLAN("vllm.slot_mapping.starts", "starts"),
    PLAN("vllm.slot_mapping.blocks", "blocks"),
#define PLANS(recipe, what)                                                                                            \
    {recipe, CONTEXT, "_compute_slot_mappings_kernel", TABLES "apart:i32=rows+5 rank:i32=0", "2 4",                    \
     .with = "vllm.topkGating", .once_a_pass = true, .groups = 2, .shows = what},                                      \
    {recipe, CONTEXT, "_compute_slot_mappings_kernel", TABLES "apart:i32=rows+5 rank:i32=0 g:u64* p:u64*", "2 4",      \
     .with = "vllm.topkGating", .once_a_pass = true, .groups = 2, .shows = what}
#define ENABLED(recipe, what)                                                                                          \
    {recipe, CONTEXT, "_compute_slot_mappings_kernel", ENABLED_TABLES, "2 4", .with = "vllm.topkGating",               \
     .once_a_pass = true, .groups = 2, .shows = what},                                                                 \
    {recipe, CONTEXT, "_compute_slot_mappings_kernel", ENABLED_TABLES " g:u64* p:u64*", "2 4",                         \
     .with = "vllm.topkGating", .once_a_pass = true, .groups = 2, .shows = what}
#define ENABLED_TABLES "rows:i32=rows+5 index:i32* starts:i32* positions:i64* tables:u64* strides:i64* block_sizes:i32* " \
    "enabled:bool* sharded:bool* slots:i64* apart:i32=rows+5 rank:i32=0"
    ENABLED("vllm.slot_mappings.enabled", "slots"),
    ENABLED("vllm.slot_mappings.positions", "positions"),
    ENABLED("vllm.slot_mappings.starts", "starts"),
    ENABLED("vllm.slot_mappings.blocks", "blocks"),
    PLANS("vllm.slot_mappings", "slots"),
    PLANS("vllm.slot_mappings.positions", "positions"),
    PLANS("vllm.slot_mappings.starts", "starts"),
    PLANS("vllm.slot_mappings.blocks", "blocks"),

    /* SGLang: sgl-kernel, sglang-kernel, and its Triton router, out of whose launches fall arguments that are 1 or None */
    {"sglang.topkGatingSoftmax.old", ROUTER, "_Z17topkGatingSoftmaxILi4ELi128ELi4ELi16EEvPKfPKbPfiPiS5_iii", "logits:f32* finished:bool* "
     "weights:f32* rows:i32 ids:i32* source_rows:i32* k:i32 start:i32=0 end:i32=experts", "rows/32"},
    {"sglang.topkGatingSoftmax", ROUTER, "_Z17topkGatingSoftmaxI13__nv_bfloat16Li4ELi128ELi4ELi8EEvPKT_PKbPfiPiiiib", GATING
     "ids:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool", "rows/32"},
    {"sglang.topkGatingSoftmax", ROUTER, "_ZN39_GLOBAL__N__5f3c9a1e_7_topk_cu_d7a4e01b17topkGatingSoftmaxI13__nv_bfloat16Li4ELi128ELi4ELi8EEEvPKT_PKbPf"
     "iPiiiibfPKf", GATING "ids:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool softcap:f32 bias:f32*", "rows/32"},
    {"sglang.topkGatingSigmoid", ROUTER, "_Z17topkGatingSigmoidI13__nv_bfloat16Li4ELi128ELi4ELi8EEvPKT_PKbPfiPiiiibPKf", GATING
     "ids:i32* k:i32 start:i32=0 end:i32=experts renormalize:bool bias:f32*", "rows/32"},
    {"sglang.topkGatingSigmoid.shared", ROUTER, "_ZN12_GLOBAL__N_117topkGatingSigmoidI13__nv_bfloat16Li4ELi128ELi4ELi8EEEvPKT_PKbPfiPiiiibPKfdi",
     GATING "ids:i32* routed:i32=k-1 start:i32=0 end:i32=experts renormalize:bool bias:f32* scale:f64 shared:i32=1", "rows/32", .fixed.k = 9},
    {"sglang.moeTopK.shared", ROUTER, "_ZN12_GLOBAL__N_17moeTopKILi256EEEvPKfPKbPfPiiiiibS2_di", "logits:f32* finished:bool* weights:f32* ids:i32* "
     "experts:i32 routed:i32=k-1 start:i32=0 end:i32=experts renormalize:bool bias:f32* scale:f64 shared:i32=1", "rows", .fixed.k = 9},
    {"sglang.topkGatingSoftmaxPack", ROUTER, "_ZN12_GLOBAL__N_121topkGatingSoftmaxPackIfLi8ELi128ELi4ELi16EEEvPKT_PfiPiS5_PKiib", "logits:f32* "
     "weights:f32* rows:i32 ids:i32* packed:i32* real:i32* k:i32 renormalize:bool", "rows/8", .fixed.experts = 128},
    {"sglang.moeTopK", ROUTER, "_Z11moeTopKFastILi256EEvPfPKbS0_Piiiiib", "logits:f32* finished:bool* weights:f32* ids:i32* experts:i32 k:i32 "
     "start:i32=0 end:i32=experts renormalize:bool", "rows"},
    {"sglang.moeTopK", ROUTER, "_Z7moeTopKILi256EEvPKfPKbPfPiiiiibS1_", "logits:f32* finished:bool* weights:f32* ids:i32* experts:i32 k:i32 "
     "start:i32=0 end:i32=experts renormalize:bool bias:f32*", "rows"},
    {"sglang.moeTopK.old", ROUTER, "_Z7moeTopKILi256EEvPKfPKbPfPiS5_iiii", "logits:f32* finished:bool* weights:f32* ids:i32* source_rows:i32* "
     "experts:i32 k:i32 start:i32=0 end:i32=experts", "rows"},
    {"sglang.moe_fused_gate", ROUTER, "_Z21moe_fused_gate_kernelIN7cutlass10bfloat16_tELi32ELi256ELi8ELi4ELi24ELi6EEvPvS2_PfPilllld",
     "logits:bf16* bias:bf16* weights:f32* ids:i32* rows:i64 groups_kept:i64=4 k:i64 shared:i64=0 scale:f64", "rows/24", .fixed.experts = 256},
    {"sglang.moe_fused_gate", ROUTER, "_Z21moe_fused_gate_kernelIfLi16ELi256ELi16ELi2ELi12ELi6EEvPvS0_PfPilllldb",
     "logits:f32* bias:f32* weights:f32* ids:i32* rows:i64 groups_kept:i64=4 k:i64 shared:i64=1 scale:f64 scaled:bool", "rows/12",
     .fixed.experts = 256},
    {"sglang.moe_fused_gate_dynamic", ROUTER, "_Z29moe_fused_gate_kernel_dynamicIfEvPvS0_PfPilllllld", "logits:f32* bias:f32* weights:f32* "
     "ids:i32* rows:i64 experts:i64 groups:i64=8 groups_kept:i64=4 k:i64 shared:i64=1 scale:f64", "rows/12"},
    {"sglang.moe_fused_gate_dynamic", ROUTER, "_Z29moe_fused_gate_kernel_dynamicIfEvPvS0_PfPilllllldb", "logits:f32* bias:f32* weights:f32* "
     "ids:i32* rows:i64 experts:i64 groups:i64=8 groups_kept:i64=4 k:i64 shared:i64=1 scale:f64 scaled:bool", "rows/12"},
    {"sglang.kimi_k2_gate.experts", ROUTER, "_Z29kimi_k2_moe_fused_gate_kernelILi256EEvPfS0_S0_Pillbdb", "logits:f32* bias:f32* weights:f32* "
     "ids:i32* rows:i64 k:i64 renormalize:bool scale:f64 scaled:bool", "rows/6", .fixed.experts = 256},
    {"sglang.kimi_k2_gate", ROUTER, "_Z41kimi_k2_moe_fused_gate_kernel_small_tokenPfS_S_Pillbdb", "logits:f32* bias:f32* weights:f32* "
     "ids:i32* rows:i64 k:i64 renormalize:bool scale:f64 scaled:bool", "rows", .fixed.experts = 384},
#define TRITON "logits:bf16* bias:f32* weights:f32* ids:i32* "
#define PACKED "logits:bf16* bias:f32* weights:f32* ids:i32* packed_ids:i32* "
#define FLOATS "scale:f32 softcap:f32 "
    {"sglang.router_triton", ROUTER, "_router_triton_kernel", TRITON "rows:i32 " FLOATS "sm:i32=experts wm:i32=k im:i32=k", "rows/4", .fixed.k = 8},
    {"sglang.router_triton", ROUTER, "_router_triton_kernel", TRITON "rows:i32 " FLOATS "sm:i32=experts wm:i32=k im:i32=k g:u64*", "rows/2",
     .fixed.k = 8},
    {"sglang.router_triton", ROUTER, "_router_triton_kernel", TRITON "rows:i32 " FLOATS "sm:i32=experts wm:i32=k im:i32=k g:u64* p:u64*", "rows",
     .fixed.k = 8},
#define ONE_ROW TRITON FLOATS "sm:i32=experts wm:i32=k im:i32=k"
    {"sglang.router_triton.one_row", ROUTER, "_router_triton_kernel", ONE_ROW, .fixed = {1, 8, 0}},
    {"sglang.router_triton.one_row", ROUTER, "_router_triton_kernel", ONE_ROW " g:u64*", .fixed = {1, 8, 0}},
    {"sglang.router_triton.one_row", ROUTER, "_router_triton_kernel", ONE_ROW " g:u64* p:u64*", .fixed = {1, 8, 0}},
    {"sglang.router_triton.k1", ROUTER, "_router_triton_kernel", TRITON "rows:i32 " FLOATS "sm:i32=experts", "rows/4", .fixed.k = 1},
    {"sglang.router_triton.k1", ROUTER, "_router_triton_kernel", TRITON "rows:i32 " FLOATS "sm:i32=experts g:u64* p:u64*", "rows/4", .fixed.k = 1},
    {"sglang.router_triton.k1_one_row", ROUTER, "_router_triton_kernel", TRITON FLOATS "sm:i32=experts", .fixed = {1, 1, 0}},
    {"sglang.router_triton.k1_one_row", ROUTER, "_router_triton_kernel", TRITON FLOATS "sm:i32=experts g:u64* p:u64*", .fixed = {1, 1, 0}},
#define BOTH(recipe, params, grid, ...)                                                                                \
    {recipe, ROUTER, "_router_triton_kernel", params, grid, __VA_ARGS__},                                              \
    {recipe, ROUTER, "_router_triton_kernel", params " g:u64* p:u64*", grid, __VA_ARGS__}
    BOTH("sglang.router_triton.packed", PACKED "rows:i32 " FLOATS "b:i32=0 x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=0 pk:i32=0",
     "rows/4", .fixed.k = 8),
    BOTH("sglang.router_triton.packed.bias", PACKED "rows:i32 " FLOATS "x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=0 pk:i32=0",
     "rows/4", .fixed.k = 8),
    BOTH("sglang.router_triton.packed.no_bias_one_row", PACKED FLOATS "b:i32=0 x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=0 pk:i32=0",
     "1", .fixed = {1, 8, 0}),
    BOTH("sglang.router_triton.packed.one_row", PACKED FLOATS "x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=0 pk:i32=0",
     "1", .fixed = {1, 8, 0}),
    BOTH("sglang.router_triton.packed.k1", PACKED "rows:i32 " FLOATS "b:i32=0 x:i32=0 y:i32=0 sm:i32=experts pm:i32=0 pk:i32=0",
     "rows/4", .fixed.k = 1),
    BOTH("sglang.router_triton.packed.k1_bias", PACKED "rows:i32 " FLOATS "x:i32=0 y:i32=0 sm:i32=experts pm:i32=0 pk:i32=0",
     "rows/4", .fixed.k = 1),
    BOTH("sglang.router_triton.packed.k1_no_bias_one_row", PACKED FLOATS "b:i32=0 x:i32=0 y:i32=0 sm:i32=experts pm:i32=0 pk:i32=0",
     "1", .fixed = {1, 1, 0}),
    BOTH("sglang.router_triton.packed.k1_one_row", PACKED FLOATS "x:i32=0 y:i32=0 sm:i32=experts pm:i32=0 pk:i32=0", "1", .fixed = {1, 1, 0}),
    BOTH("sglang.router_triton.packed_too", PACKED "rows:i32 " FLOATS "b:i32=0 x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=k",
     "rows/4", .fixed.k = 8),
    BOTH("sglang.router_triton.packed_too.bias", PACKED "rows:i32 " FLOATS "x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=k",
     "rows/4", .fixed.k = 8),
    BOTH("sglang.router_triton.packed_too.no_bias_one_row", PACKED FLOATS "b:i32=0 x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=k",
     "1", .fixed = {1, 8, 0}),
    BOTH("sglang.router_triton.packed_too.one_row", PACKED FLOATS "x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=k",
     "1", .fixed = {1, 8, 0}),
#define MASKED "logits:bf16* bias:bf16* real:i32* weights:f32* ids:i32* packed_ids:i32* "
    BOTH("sglang.router_triton.masked", MASKED "rows:i32 " FLOATS "x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=0 pk:i32=0",
     "rows/4", .fixed = {0, 6, 256}),
    BOTH("sglang.router_triton.masked.one_row", MASKED FLOATS "x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=0 pk:i32=0", "1",
     .fixed = {1, 6, 256}),
    BOTH("sglang.router_triton.masked_packed_too", MASKED "rows:i32 " FLOATS "x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=k",
     "rows/4", .fixed = {0, 6, 256}),
    BOTH("sglang.router_triton.masked_packed_too.one_row", MASKED FLOATS "x:i32=0 y:i32=0 sm:i32=experts wm:i32=k im:i32=k pm:i32=k", "1",
     .fixed = {1, 6, 256}),
    {"sglang.moe_fused_gate.jit", ROUTER, "_ZN12_GLOBAL__N_133moe_fused_gate_kernel_small_tokenILj8ELNS_11ScoringFuncE0EEEvNS_18"
     "MoEFusedGateParamsE", "{logits:f32* bias:f32* weights:f32* ids:i32* rows:u32 experts:u32 k:u32 shared:u32=1 renormalize:bool scale:f32 "
     "scaled:bool}", "rows"},
    {"sglang.moe_fused_gate.jit", ROUTER, "_ZN12_GLOBAL__N_121moe_fused_gate_kernelILNS_11ScoringFuncE1EEEvNS_18MoEFusedGateParamsE",
     "{logits:f32* bias:f32* weights:f32* ids:i32* rows:u32 experts:u32 k:u32 shared:u32=0 renormalize:bool scale:f32 scaled:bool}", "rows/6"},
    {"sglang.route_radix.flat", ROUTER, "_ZN6sglang18route_radix_kernelILi896ELi16EEEvPK13__nv_bfloat16PKfPfPiixxxfii", "logits:bf16* bias:f32* "
     "weights:f32* ids:i32* rows:i32 sm:i64=experts wm:i64=k im:i64=k scale:f32 renormalize:i32 scaled:i32", "rows", .fixed = {0, 16, 896}},
    {"sglang.route_radix", ROUTER, "_ZN6sglang18route_radix_kernelILb1EEEvNS_16RouteRadixParamsE", "{logits:bf16* bias:f32* weights:f32* ids:i32* "
     "rows:i32 sm:i64=experts wm:i64=k im:i64=k scale:f32 renormalize:i32 scaled:i32 sorted:i32}", "rows", .fixed = {0, 16, 896}},
    {"sglang.route_radix.packed", ROUTER, "_ZN6sglang18route_radix_kernelILb1EfEEvNS_16RouteRadixParamsE", "{logits:f32* bias:f32* weights:f32* "
     "ids:i32* packed:i32* rows:i32 sm:i64=experts wm:i64=k im:i64=k pm:i64=k scale:f32 renormalize:i32 scaled:i32 sorted:i32}", "rows",
     .fixed = {0, 16, 896}},
    {"sglang.front_epilogue", ROUTER, "_ZN6sglang27fused_front_epilogue_kernelILb1ELj224ELj8ELb0EEEvNS_14MoEFrontParamsE", "{bias:f32* logits:f32* "
     "weights:f32* ids:i32* rows:i32 sm:i32=4480 wm:i64=k im:i64=k scale:f32 renormalize:i32 scaled:i32 out:bf16* latent:i32=3584 om:i64=3584}",
     "rows", .fixed = {0, 16, 896}},
    {"sglang.route_quant", ROUTER, "_ZN6sglang24route_quant_fused_kernelILb1Ef13__nv_bfloat16EEvNS_21RouteQuantFusedParamsE", "{logits:f32* bias:f32* "
     "weights:f32* ids:i32* packed:i32* rows:i32 sm:i64=experts wm:i64=k im:i64=k pm:i64=k scale:f32 renormalize:i32 scaled:i32 sorted:i32 "
     "quant:u64[10]}", "rows*2", .fixed = {0, 16, 896}},
    {"sglang.muse_spark", ROUTER, "_ZN6sglang10muse_spark14routing_kernelINS0_12RoutingTraitILi8ELi8ELi0ELi1EEELb1EEEvNS0_13RoutingParamsE",
     "{logits:f32* bias:f32* weights:f32* ids:i32* packed:i32* local:i32* real:i32* rows:i32 experts:i32 gm:i64=experts wm:i64=k im:i64=k pm:i64=k "
     "multiplier:f32 scale:f32 epsilon:f32}", "rows", .fixed = {0, 8, 256}},
#define HISTOGRAM "ids:i32* table:i32* mapped:i32* load:i32* real:i32* logical:i32=256 copies:i32=4096 numel:i32=rows*k"
    {"sglang.eplb_map", MAP, "_eplb_map_record_hist_kernel", HISTOGRAM, "rows*k/256", .with = "sglang.topkGatingSoftmax"},
    {"sglang.eplb_map", MAP, "_eplb_map_record_hist_kernel", HISTOGRAM " g:u64* p:u64*", "rows*k/256", .with = "sglang.topkGatingSoftmax"},
    {"sglang.k_compiled_in", NO_IDS, "_sigmoid_gate_topk_renorm_kernel", "logits:f32* bias:f32* stride:i32=264 weights:f32* shared:f32* ids:i32* "
     "packed:i32* global:f32* scale:f32 rows:i32 experts:i32 all:i32 g:u64* p:u64*", "rows"},
    {"sglang.inkling", ROUTER, "_ZN6sglang31inkling_gate_topk_renorm_kernelILi4ELb0EEEvPKfS2_S2_PfS3_PlPillf", "logits:f32* bias:f32* all:f32* "
     "weights:f32* shared:f32* ids:i64* packed:i32* rows:i64 stride:i64=264 scale:f32", "rows/4", .fixed = {0, 6, 256}},
    {"sglang.inkling.packed", ROUTER, "_ZN6sglang31inkling_gate_topk_renorm_kernelILi1ELb1EEEvPKfS2_S2_PfS3_PlPillf", "logits:f32* bias:f32* "
     "all:f32* values:f32* shared:f32* indices:i64* ids:i16* rows:i64 stride:i64=264 scale:f32", "rows", "12 2 2", .fixed = {0, 6, 256}},
    {"sglang.inkling_v2", ROUTER, "_ZN6sglang34inkling_gate_topk_renorm_v2_kernelILi4ELb0ELb1EEEvPKfS2_S2_PfPiS4_S3_llf", "logits:f32* bias:f32* "
     "all:f32* weights:f32* ids:i32* packed:i32* shared:f32* rows:i64 stride:i64=264 scale:f32", "rows/4", .fixed = {0, 6, 256}},
    {"sglang.inkling_v2.packed", ROUTER, "_ZN6sglang34inkling_gate_topk_renorm_v2_kernelILi4ELb1ELb0EEEvPKfS2_S2_PfPiS4_S3_llf", "logits:f32* "
     "bias:f32* all:f32* values:f32* indices:i32* ids:i16* shared:f32* rows:i64 stride:i64=264 scale:f32", "rows/4", "12 2 2", .fixed = {0, 6, 256}},
    {"sglang.inkling_gemv", ROUTER, "_ZN6sglang24inkling_gate_gemv_kernelILi1ELb1ELb0ELb1EEEvPK13__nv_bfloat16S3_PKfS5_PfS6_PiS7_S6_S7_lf",
     "hidden:bf16* table:bf16* bias:f32* all:f32* logits:f32* weights:f32* ids:i32* packed:i32* shared:f32* ticket:i32* rows:i64 scale:f32",
     "258", .fixed = {0, 6, 256}},
    {"sglang.inkling_gemv.packed", ROUTER, "_ZN6sglang24inkling_gate_gemv_kernelILi1ELb1ELb1ELb0EEEvPK13__nv_bfloat16S3_PKfS5_PfS6_PiS7_S6_S7_lf",
     "hidden:bf16* table:bf16* bias:f32* all:f32* logits:f32* values:f32* indices:i32* ids:i16* shared:f32* ticket:i32* rows:i64 scale:f32",
     "258", "12 2 2", .fixed = {0, 6, 256}},
    {"sglang.store_kvcache", CONTEXT, "_ZN12_GLOBAL__N_113store_kvcacheILl1024ELi1ELb1ElEEvNS_18StoreKVCacheParamsE",
     "{key:bf16* value:bf16* layer:bf16* value_cache:bf16* slots:i64* key_stride:i64 value_stride:i64 cache_stride:i64 slots_stride:u64=1 rows:u32}",
     "rows/8", .with = "sglang.topkGatingSoftmax", .shows = "slots"},
    {"sglang.store_kvcache", CONTEXT, "_ZN12_GLOBAL__N_113store_kvcacheILl1024ELi1ELb1EiEEvNS_18StoreKVCacheParamsE",
     "{key:bf16* value:bf16* layer:bf16* value_cache:bf16* slots:i32* key_stride:i64 value_stride:i64 cache_stride:i64 slots_stride:u64=1 rows:u32 "
     "size:u64}", "rows/8", .with = "sglang.topkGatingSoftmax", .shows = "slots"},
    {"sglang.store_kvcache.two_widths", CONTEXT, "_ZN6sglang20store_kvcache_kernelILl1024ELl512ELj32ELb1EiEEvNS_18StoreKVCacheParamsE",
     "{key:bf16* value:bf16* layer:bf16* value_cache:bf16* slots:i32* key_stride:i64 value_stride:i64 cache_stride:i64 value_cache_stride:i64 "
     "slots_stride:u64=1 rows:u32 size:u64 more:u64}", "rows/8", .with = "sglang.topkGatingSoftmax", .shows = "slots"},
#define ROPE "_ZN39_GLOBAL__N__92eb8872_7_cuda_cu_04260703L"
#define ROPE_PARAMS(positions) "q:bf16* k:bf16* cos_sin:f32* " positions "* q_stride:i64 k_stride:i64 head_stride:i64 heads:u32 k_heads:u32 rows:u32"
#define ROPE_STORE(recipe, types, positions, slots, what)                                                              \
    {recipe, CONTEXT, ROPE "23fused_rope_store_kernelILb1ELl64ELb1E13__nv_bfloat16" types "Lj8EEEvNS_20FusedRopeStore" \
     "ParamsE", "{" ROPE_PARAMS(positions) " v:bf16* layer:bf16* v_cache:bf16* " slots "* v_stride:i64 cache_stride:i64}", \
     "rows/4", .with = "sglang.topkGatingSoftmax", .shows = what}
    ROPE_STORE("sglang.rope_store", "S1_l", "at:i64", "slots:i64", "slots"),
    ROPE_STORE("sglang.rope_store.old", "i", "at:i32", "slots:i32", "slots"),
    ROPE_STORE("sglang.rope_store.positions", "S1_i", "positions:i32", "to:i32", "positions"),
    ROPE_STORE("sglang.rope_store.positions.old", "l", "positions:i64", "to:i64", "positions"),
    {"sglang.rope", CONTEXT, ROPE "17fused_rope_kernelILb1ELl64ELb1E13__nv_bfloat16S1_lLj8EEEvNS_15FusedRopeParamsE",
     "{" ROPE_PARAMS("positions:i64") "}", "rows/4", .with = "sglang.topkGatingSoftmax", .shows = "positions"},
    {"sglang.rope.old", CONTEXT, ROPE "17fused_rope_kernelILb1ELl64ELb1E13__nv_bfloat16iLj8EEEvNS_15FusedRopeParamsE",
     "{" ROPE_PARAMS("positions:i32") "}", "rows/4", .with = "sglang.topkGatingSoftmax", .shows = "positions"},
#define KV_INDICES(of, more)                                                                                        \
    {"sglang.kv_indices", CONTEXT, "create_flashinfer_kv_indices_triton", "table:i32* sequence_ids:i64* sizes:i32* "   \
     "starts:i32* kv_indices:" of "*" more, "3", .with = "sglang.topkGatingSoftmax", .once_a_pass = true, .shows = "kv_indices"}
    KV_INDICES("i32", ""),
    KV_INDICES("i64", " g:u64* p:u64*"),
#define LENGTHS(more)                                                                                                  \
    {"sglang.lengths", CONTEXT, "compute_position_kernel", "out:i64* first:i32* before:i32* lengths:i32*" more, "3",   \
     .with = "sglang.topkGatingSoftmax", .once_a_pass = true, .shows = "lengths"}
    LENGTHS(""),
    LENGTHS(" g:u64* p:u64*"),

    /* TensorRT-LLM and FlashInfer */
    {"trtllm.deepseek_v3_topk", ROUTER, TRT "23deepseek_v3_topk_kernelIf13__nv_bfloat16S2_iLi256ELb1EEEvPT_PT1_PT2_PT0_llllllld", "logits:f32* "
     "weights:bf16* ids:i32* bias:bf16* rows:i64 " GROUPED " scale:f64", "rows"},
    {"trtllm.deepseek_v3_topk", ROUTER, TRT "23deepseek_v3_topk_kernelIfffiLi256ELb1EEEvPT_PT1_PT2_PT0_lllllldPs", "logits:f32* weights:f32* "
     "ids:i32* bias:f32* rows:i64 " GROUPED " scale:f64 replay:i16*", "rows"},
    {"trtllm.customMoeRouting", ROUTER, TRT "22customMoeRoutingKernelI13__nv_bfloat16fiLi128ELi8ELb1EEEvPT_PT0_PT1_iii", "logits:bf16* "
     "weights:f32* ids:i32* rows:i32 experts:i32 k:i32", "rows/32"},
    {"trtllm.customMoeRouting", ROUTER, "_ZN12tensorrt_llm3_v17kernels22renormMoeRoutingKernelIf6__halfiLi128ELi8ELb0EEEvPT_PT0_PT1_iii", "logits:f32* "
     "weights:f16* ids:i32* rows:i32 experts:i32 k:i32", "rows/32"},
    {"trtllm.gate_forward", ROUTER, "_ZN12tensorrt_llm3_v17kernels19gate_forward_kernelILi384ELi6ELb1EEEvPKfS4_PKiS6_PfPiif", "logits:f32* "
     "bias:f32* tokens_of:i32* table:i32* weights:f32* ids:i32* rows:i32 scale:f32", "rows/4", .fixed = {0, 6, 384}},
    {"flashinfer.cake_deepseek_routing", ROUTER, "kernel_cake_deepseek_routing_grouped_k8g4_bf16_f32", "logits:bf16* bias:f32* values:f32* ids:i32* "
     "replay:i16* rows:i32 experts:i32 k:i32 groups:i32=8 groups_kept:i32=4 scale:f32 has_replay:i32=0", "rows"},
    {"flashinfer.hash_topk", ROUTER, "_ZN10flashinfer9fused_moe19moe_hash_topk_fusedILb1EEEvNS0_17MoEHashTopKParamsE", "{logits:f32* "
     "tokens_of:i64* table:i32* ids:i32* weights:f32* rows:u32 k:u32 experts:u32 shared:u32=0 scale:f32}", "rows/4"},
    {"flashinfer.hash_topk", ROUTER, "_ZN6sglang19moe_hash_topk_fusedIXadL_ZNS_3actEfEELb1EEEvNS_17MoEHashTopKParamsE", "{logits:f32* "
     "tokens_of:i64* table:i32* ids:i32* weights:f32* rows:u32 routed:u32=k-1 experts:u32 shared:u32=1 scale:f32}", "rows/4", .fixed.k = 7},
    {"trtllm.routing", NO_IDS, "_ZN3moe3dev7routing13routingCustom25routingIndicesBlockKernelI1PEEvT_", "{packed:u32* counts:i32* logits:bf16* "
     "more:u64[39]}"},
#define ROUTING "_ZN3moe3dev7routing"
#define REPLAY_BASE(replay)                                                                                            \
    "{flags:bool[2] counts:i32* a:i32* b:i32* c:i32* d:i32* e:i32* f:i32* g:i32* scales:bf16* given:i32*=0 "           \
    "logits:f32* rows:i32 experts:i32 h:i32[10] " replay " windows:bool of_expert:i32* packed:u32* "
    {"trtllm.routing.replay", ROUTER, ROUTING "13routingCustom25routingIndicesBlockKernelI1PEEvT_", REPLAY_BASE("ids:i16*") "k:i32 policy:bool[2]}"},
    {"trtllm.routing.replay", ROUTER, ROUTING "13routingCustom27routingIndicesClusterKernelI1PEEvT_", REPLAY_BASE("ids:i16*") "k:i32 bias:f32* "
     "type:i32 scale:f32 epsilon:f32}", "8"},
    {"trtllm.routing", NO_IDS, ROUTING "13routingCustom25routingIndicesBlockKernelI1PEEvT_", REPLAY_BASE("replay:i16*=0") "k:i32 policy:bool[2]}"},
    {"trtllm.routing.replay_deepseek", ROUTER, ROUTING "15routingDeepSeek17routingMainKernelI1PEEvT_", REPLAY_BASE("ids:i16*") "bias:f32* type:i32 "
     "groups:i32=8 group:i32=32 groups_kept:i32=4 k:i32 magic:i32[3] scale:f32 epsilon:f32}", "rows"},
    {"trtllm.routing.replay_llama4", ROUTER, ROUTING "13routingLlama424routingIndicesWarpKernelI1PEEvT_", REPLAY_BASE("ids:i16*") "top:i32=1}",
     .fixed.k = 1},
    {"trtllm.permute", READER, ROUTING "13routingCustom24routingIndicesCoopKernelI1PEEvT_", "{more:u64[12] ids:i32* rows:i32 experts:i32}", "8",
     .with = "trtllm.customMoeRouting"},
    {"trtllm.permute_deepseek", READER, ROUTING "15routingDeepSeek27routingIndicesClusterKernelI1PEEvT_", "{more:u64[12] ids:i32* rows:i32 "
     "experts:i32}", "8", .with = "trtllm.customMoeRouting"},
    {"flashinfer.monomoe", NO_IDS, "_ZN7monomoe15moe_kernel_topkILi8EEEvPKfi", "logits:f32* rows:i32"},
    {"cutlass.build_expert_maps", CONSUMER, TRT "15cutlass_kernels40fusedBuildExpertMapsSortFirstTokenKernelILi256ELi6ELi5EEEvPKiPiS4_Plliiii",
     "ids:i32* permuted:i32* unpermuted:i32* first:i64* rows:i64 k:i32 start:i32=0 end:i32=experts of_node:i32", .untold = true},
    {"cutlass.expert_prefix_sum", CONSUMER, TRT "15cutlass_kernels26blockExpertPrefixSumKernelILi256EEEvPKiPiS4_lli", "ids:i32* counts:i32* "
     "row_of:i32* rows:i64 k:i64 start:i32=0", "experts rows/256", .untold = true},
    {"cutlass.min_latency", CONSUMER, TRT "15cutlass_kernels37buildMinLatencyActiveExpertMapsKernelILi256EEEvPiPfS3_PlPKiPKfliiiibiii",
     "active:i32* scores:f32* experts_of:i32* first:i64* ids:i32* scales:f32* rows:i64 k:i32 start:i32=0 end:i32=experts of_node:i32 smart:bool "
     "rank:i32 ranks:i32 in_memory:i32", .untold = true},
    {"deepep.dispatch_layout", CONSUMER, "_ZN7deep_ep6layout19get_dispatch_layoutILi256ELi4ELi8EEEvPKlPiS4_S4_Pbiiii", "ids:i64* of_rank:i32* "
     "of_rdma_rank:i32* of_expert:i32* in_rank:bool* rows:i32 k:i32 ranks:i32 experts:i32", "experts/4"},

    /* llama.cpp: rows as long as there are experts */
    {"llama.topk_moe", ROUTER, "_Z13topk_moe_cudaILi128ELb0EEvPKfPfPiS2_iiff15topk_moe_config", "logits:f32* weights:f32* ids:i32* bias:f32* "
     "rows:i32 k:i32 clamp:f32 scale:f32 {sigmoid:bool norm:bool delayed:bool}", "rows/4", "experts 1 0", .fixed.experts = 128},
    {"llama.topk_moe", ROUTER, "_Z13topk_moe_cudaILi64ELb1EEvPKfPfPiS2_iiff15topk_moe_config", "logits:f32* weights:f32* ids:i32* bias:f32* "
     "rows:i32 k:i32 clamp:f32 scale:f32 {sigmoid:bool norm:bool delayed:bool more:bool}", "rows/4", "experts 1 0", .fixed.experts = 64},
    {"llama.topk_moe", ROUTER, "_Z13topk_moe_cudaILi256ELb1EEvPKfPfPiS2_iiff15topk_moe_config", "logits:f32* weights:f32* ids:i32* bias:f32* "
     "rows:i32 k:i32 clamp:f32 scale:f32 {flags:bool[8] groups:i32=8 of_group:i32=32 groups_kept:i32=4}", "rows/4", "experts 1 0",
     .fixed.experts = 256},
    {"ik_llama.topk_moe", ROUTER, "_Z13topk_moe_cudaILm128ELb1EEvPKfPfPiS1_ii", "logits:f32* weights:f32* ids:i32* bias:f32* rows:i32 k:i32",
     "rows/4", "experts 1 0", .fixed.experts = 128},
    {"ik_llama.argsort_biased", ROUTER, "_ZL28k_argsort_biased_f32_f32_i32IL15ggml_sort_order1EEvPKfS2_PfPiiiim", "logits:f32* bias:f32* "
     "weights:f32* ids:i32* experts:i32 padded:i32=experts k:i32 nb_ids:u64=experts*4", "rows", "experts 1 0", .fixed.experts = 64},
    {"ik_llama.argsort_grouped", ROUTER, "_ZL21k_argsort_f32_f32_i32IL15ggml_sort_order1EEvPKfS2_PKhPfPiiiimii", "biased:f32* logits:f32* "
     "groups:i8* weights:f32* ids:i32* experts:i32 padded:i32=experts k:i32 nb_ids:u64=experts*4 of_group:i32=32 group_count:i32=2", "rows",
     "experts 1 0", .fixed.experts = 64},
    {"ik_llama.openai", ROUTER, "_ZL20k_openai_f32_f32_i32IL15ggml_sort_order1EEvPKfPfPiiiim", "logits:f32* weights:f32* ids:i32* "
     "experts:i32 padded:i32=experts k:i32 nb_ids:u64=experts*4", "rows", "experts 1 0", .fixed.experts = 32},
    {"llama.topk_moe.old", ROUTER, "_Z13topk_moe_cudaILm128ELb0EEvPKfPfPiii", "logits:f32* weights:f32* ids:i32* rows:i32 k:i32", "rows/4",
     "experts 1 0", .fixed.experts = 128},
    {"llama.topk_moe.old", ROUTER, "_Z13topk_moe_cudaILi64ELb0ELb1EEvPKfPfPiiif", "logits:f32* weights:f32* ids:i32* rows:i32 k:i32 clamp:f32",
     "rows/4", "experts 1 0", .fixed.experts = 64},
    {"llama.mm_ids_helper", CONSUMER, "_Z13mm_ids_helperILi8EEvPKiPiS2_S2_iiiii", "ids:i32* src1:i32* dst:i32* bounds:i32* rows:i32 k:i32 "
     "channels:i32 si1:i32=experts sis1:i32", "experts", "experts 1 0"},
    {"llama.mm_ids_helper", CONSUMER, "_Z13mm_ids_helperILi0EEvPKiPiS2_S2_iiiiib", "ids:i32* src1:i32* dst:i32* bounds:i32* rows:i32 k:i32 "
     "channels:i32 si1:i32=experts sis1:i32 once:bool", "experts", "experts 1 0"},
    {"llama.mul_mat_vec_q_moe", CONSUMER, "_Z17mul_mat_vec_q_moeIL9ggml_type2ELi4EEvPKvS2_PKiPfj5uint3jjjjjjjjj", "x:i8* y:i8* ids:i32* dst:f32* "
     "columns:u32 channels:u32[3] a:u32 b:u32 c:u32 d:u32 e:u32 f:u32 g:u32 rows:u32 ids_stride:u32=experts", "64 k", "experts 1 0", .untold = true},
    {"llama.set_rows", CONTEXT, "_ZL10k_set_rowsIfl6__halfEvPKT_PKT0_PT1_llllllllllllll5uint3S9_S9_S9_S9_", "source:f32* slots:i64* layer:f16* "
     "elements:i64 rows:i64 ne11:i64=1 ne12:i64=1 ne13:i64=1 s01:i64 s02:i64 s03:i64 s10:i64=1 s11:i64 s12:i64 s1:i64 s2:i64 s3:i64 a:u32[3] "
     "b:u32[3] c:u32[3] d:u32[3] e:u32[3]", "rows", .with = "llama.topk_moe", .shows = "slots"},
    {"llama.set_rows_quant", CONTEXT, "_ZL16k_set_rows_quantIi10block_q8_0Li32EEvPKfPKT_PT0_llllllllllllll5uint3S8_S8_S8_S8_", "source:f32* "
     "slots:i32* layer:i8* elements:i64 rows:i64 ne11:i64=1 ne12:i64=1 ne13:i64=1 s01:i64 s02:i64 s03:i64 s10:i64=3 s11:i64 s12:i64 s1:i64 s2:i64 "
     "s3:i64 a:u32[3] b:u32[3] c:u32[3] d:u32[3] e:u32[3]", "rows", "3 1 0", .with = "llama.topk_moe", .shows = "slots"},
    {"llama.get_rows", CONTEXT, "_ZL10k_get_rowsILi32ELi1EfEvPKvPKiPT1_ll5uint3mmmmmmmmm", "layer:i8* tokens:i32* dst:f32* ne00:i64 ne11:i64=1 "
     "ne12:u32[3] s1:u64 s2:u64 s3:u64 nb01:u64 nb02:u64 nb03:u64 s10:u64=1 s11:u64 s12:u64", "rows", .with = "llama.topk_moe", .shows = "tokens"},
    {"llama.get_rows", CONTEXT, "_ZL10k_get_rowsILi32ELi1EfEvPKvPKiPT1_llmmmmmmmmmm", "layer:i8* tokens:i32* dst:f32* ne00:i64 ne11:i64=1 "
     "ne12:u64 s1:u64 s2:u64 s3:u64 nb01:u64 nb02:u64 nb03:u64 s10:u64=1 s11:u64 s12:u64", "rows", .with = "llama.topk_moe", .shows = "tokens"},

    /* LMDeploy */
    {"lmdeploy.turbomind", NO_IDS, "_ZN9turbomind16MoeGateKernel_v8ILi128ELi8ELi16ELi256ELi4ELb1ELb0EaEEvPfPT6_PiPKfPKbiiiiiibbf", "scales:f32* "
     "masks:i8* sums:i32* logits:f32* token_mask:bool* log_tile:i32 tiles:i32 rows:i32 padded:i32 experts:i32 k:i32 softmax:bool norm:bool "
     "scale:f32", "rows/32"},
    {"lmdeploy.single_group", ROUTER, "_single_group_topk_router_kernel", "logits:f32* bias:f32* values:f32* ids:i64* sm:i32=experts wm:i32=k "
     "im:i32=k rows:i32 scale:f32 g:u64* p:u64*", "rows", .fixed.k = 8},
    {"lmdeploy.noaux_tc", NO_IDS, "_fused_noaux_tc_kernel", "logits:f32* bias:f32* weights:f32* ids:i64* experts:i32 rows:i32 scale:f32", "rows"},

    /* exllamav3 */
    {"exllamav3.ds3", ROUTER, "_Z31routing_ds3_nogroup_topk_kernelILi0EEvPK6__halfS2_PlPS0_fiii", "logits:f16* bias:f16* ids:i64* weights:f16* scale:f32 "
     "experts:i32 k:i32 rows:i32", "rows"},
    {"exllamav3.ds3_group", ROUTER, "_Z29routing_ds3_group_topk_kernelPKfS0_PlP6__halffiiii", "logits:f32* bias:f32* ids:i64* weights:f16* "
     "scale:f32 experts:i32 k:i32 groups:i32=8 groups_kept:i32=4", "rows"},
    {"exllamav3.std_topk", ROUTER, "_Z23routing_std_topk_kernelPK6__halfPlPS_PK13__nv_bfloat16S1_iii", "logits:f16* ids:i64* weights:f16* "
     "scale:bf16* bias:f16* experts:i32 k:i32 rows:i32", "rows"},
    {"exllamav3.std", ROUTER, "_Z18routing_std_kernelPK6__halfPlPS_PK13__nv_bfloat16iii", "logits:f16* ids:i64* weights:f16* scale:bf16* "
     "experts:i32 k:i32 rows:i32", "rows"},

    /* mistral.rs */
    {"mistralrs.router", ROUTER, "_Z22moe_router_topk_kernelI13__nv_bfloat16Li128ELb0ELb0EEvPKT_PfPjPKfS7_iiiibbffff", "logits:bf16* weights:f32* "
     "ids:u32* bias:f32* scale:f32* rows:i32 k:i32 mode:i32 weight_mode:i32 renormalize:bool clamp:bool low:f32 high:f32 norm:f32 out:f32",
     "rows/4", .fixed.experts = 128},
    {"mistralrs.topk", ROUTER, "_Z11topk_kernelIfEvPKT_PS0_Pjiii", "logits:f32* weights:f32* ids:u32* rows:i32 experts:i32 k:i32", "rows"},
    {NULL, ROUTER, NULL, NULL},
    /* clang-format on */
};
