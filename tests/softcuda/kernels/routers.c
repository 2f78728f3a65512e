/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routers of real engines: their names and parameter layouts, from the engines' sources, and as arithmetic a plain
 * top-k of float scores. They test how launches are read, not how the engines compute.
 */
#include "../softcuda.h"

#include <stdbool.h>
#include <string.h>

#define P(type, i) (*(type *) b->params[i])

static void top_k(const float *scores, int experts, int k, int64_t *ids)
{
    for (int slot = 0; slot < k; slot++) {
        int best = -1;
        for (int e = 0; e < experts; e++) {
            bool used = false;
            for (int n = 0; n < slot; n++)
                used |= ids[n] == e;
            if (!used && (best < 0 || scores[e] > scores[best]))
                best = e;
        }
        ids[slot] = best;
    }
}

/* torch.topk: ids in index order, not sorted by score; the sort comes next. */
struct tensor_info {
    void *data;
    uint32_t sizes[25], strides[25];
    int dims;
};

static void run_gather(const struct softcuda_block *b)
{
    const struct tensor_info *in = b->params[0], *values = b->params[6], *out = b->params[8];
    uint32_t experts = P(uint32_t, 1), k = P(uint32_t, 2), row = b->index.x;
    if (row >= P(uint32_t, 4) || k > 64)
        return;
    int64_t ids[64], *to = (int64_t *) out->data + (size_t) row * out->strides[0];
    const float *scores = (const float *) in->data + (size_t) row * experts;
    float *kept = (float *) values->data + (size_t) row * k;
    top_k(scores, (int) experts, (int) k, ids);
    uint32_t n = 0;
    for (uint32_t e = 0; e < experts; e++) {
        for (uint32_t slot = 0; slot < k; slot++) {
            if (ids[slot] == (int64_t) e) {
                kept[n] = scores[e];
                to[n++ * P(uint32_t, 9)] = e;
            }
        }
    }
}

/* A stand-in for the real signature: keys and values by TensorInfo, rows and length; reverses each row of both. */
static void run_sort(const struct softcuda_block *b)
{
    const struct tensor_info *keys = b->params[0], *values = b->params[4];
    uint32_t k = P(uint32_t, 2);
    float *scores = (float *) keys->data + (size_t) b->index.x * k;
    int64_t *row = (int64_t *) values->data + (size_t) b->index.x * k;
    for (uint32_t i = 0; i < k / 2; i++) {
        int64_t id = row[i];
        float score = scores[i];
        row[i] = row[k - 1 - i];
        row[k - 1 - i] = id;
        scores[i] = scores[k - 1 - i];
        scores[k - 1 - i] = score;
    }
}

static void run_vllm_gating(const struct softcuda_block *b)
{
    int rows = P(int, 3), k = P(int, 6), experts = P(int, 8);
    for (int row = 0; row < rows && b->index.x == 0; row++) {
        int64_t ids[64];
        top_k(P(const float *, 0) + (size_t) row * (size_t) experts, experts, k, ids);
        for (int slot = 0; slot < k; slot++)
            P(int32_t *, 4)[row * k + slot] = (int32_t) ids[slot];
    }
}

/* What is only looked at as it is launched. */
static void run_nothing(const struct softcuda_block *b)
{
    (void) b;
}

static const struct softcuda_param cast[] = {{0, 4}, {4, 1}, {8, 16}, {24, 1}, {25, 1}, {28, 8}, {36, 8}};
static const struct softcuda_param cat[] = {{0, 8}, {8, 2720}, {2728, 32}, {2760, 4}, {2764, 4}};
static const struct softcuda_param index_copy[] = {{0, 8}, {8, 648}};
static const struct softcuda_param embedding[] = {{0, 8},  {8, 8},  {16, 8}, {24, 4}, {32, 8},
                                                  {40, 8}, {48, 8}, {56, 8}, {64, 1}};
static const struct softcuda_param index_select[] = {{0, 216}, {216, 216}, {432, 216}, {648, 4},
                                                     {652, 4}, {656, 4},   {664, 8}};
static const struct softcuda_param gather[] = {{0, 216},   {216, 4}, {220, 4},   {224, 1}, {228, 4}, {232, 4},
                                               {240, 216}, {456, 4}, {464, 216}, {680, 4}, {688, 8}};
static const struct softcuda_param sort[] = {{0, 216}, {216, 4}, {220, 4}, {224, 4}, {232, 216}, {448, 4}, {452, 1}};
static const struct softcuda_param gating[] = {{0, 8},  {8, 8},  {16, 8}, {24, 4}, {32, 8}, {40, 8},
                                               {48, 4}, {52, 4}, {56, 4}, {60, 1}, {64, 8}, {72, 8}};

extern const struct softcuda_kernel softcuda_router_kernels[];
const struct softcuda_kernel softcuda_router_kernels[] = {
    {"_ZN2at6native6sbtopk10gatherTopKIfjLi2ELb0EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bS8_S8_NS5_IS6_S8_EES8_"
     "NS5_"
     "IlS8_EES8_PS6_",
     run_gather, 11, gather},
    {"_ZN2at6native20bitonicSortKVInPlaceEv", run_sort, 7, sort},
    {"_ZN4vllm3moe10topkGatingILi4ELi128ELi4ELi8ELi32Ei13__nv_bfloat16LNS0_11ScoringFuncE0EEEvPKT5_PKbPfiPT4_"
     "PiiiibPKfd",
     run_vllm_gating, 12, gating},
    {"_ZN2at6native27unrolled_elementwise_kernelIZZZNS0_23direct_copy_kernel_cudaERNS_18TensorIteratorBaseEENKUlvE1_"
     "clEvENKUlvE5_clEvEUlfE_St5arrayIPcLm2EELi4E23TrivialOffsetCalculatorILi1EjESB_NS0_"
     "6memory12LoadWithCastILi1EEENSC_13StoreWithCastILi1EEEEEviT_T0_T2_T3_T4_T5_",
     run_nothing, 7, cast},
    {"_ZN2at6native12_GLOBAL__N_119CatArrayBatchedCopyINS1_10OpaqueTypeILj4EEEjLi3ELi64ELi64EEEvPT_NS1_"
     "25CatArrInputTensorMetadataIS5_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_",
     run_nothing, 5, cat},
    {"_ZN2at6native12_GLOBAL__N_130CatArrayBatchedCopy_vectorizedINS1_"
     "10OpaqueTypeILj2EEEjLi3ELi128ELi1ELi16ELi8EEEvPcNS1_25CatArrInputTensorMetadataIT_T0_XT2_EXT3_EEENS1_"
     "16TensorSizeStrideIS8_Lj4EEEiS8_",
     run_nothing, 5, cat},
    {"_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEEvRNS_"
     "14TensorIteratorElllEUliE_EEvlT1_",
     run_nothing, 2, index_copy},
    {"_ZN2at6native24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb", run_nothing, 9, embedding},
    {"_ZN2at6native12_GLOBAL__N_121indexSelectSmallIndexIN3c108BFloat16EijLin1ELin1ELin1EEEvNS_4cuda6detail"
     "10TensorInfoIT_T1_EENS6_IKS7_S8_EENS6_IKT0_S8_EEiiS8_l",
     run_nothing, 7, index_select},
    {NULL, NULL, 0, NULL},
};
