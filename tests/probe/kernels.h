/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOETAP_TESTS_PROBE_KERNELS_H
#define MOETAP_TESTS_PROBE_KERNELS_H

#include <stdint.h>

/* As engines pass what a router needs in one by-value struct. */
struct router_params {
    const float *logits;
    void *weights;
    int32_t rows, experts;
    int32_t *ids;
    int32_t k, unused;
};

/* torch_kernels.c */
#define TORCH_GATHER                                                                                                   \
    "_ZN2at6native6sbtopk10gatherTopKIfjLi2ELb0EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bS8_S8_NS5_IS6_S8_EES8_"  \
    "NS5_IlS8_EES8_PS6_"
#define TORCH_BITONIC                                                                                                  \
    "_ZN2at6native20bitonicSortKVInPlaceILi2ELin1ELi16ELi16EflNS0_4GTOpIfLb1EEEjEEvNS_4cuda6detail10TensorInfoIT3_T6_" \
    "EES8_S8_S8_NS6_IT4_S8_EES8_T5_"
#define TORCH_RADIX                                                                                                    \
    "_ZN2at6native18radixSortKVInPlaceILin2ELin1ELi32ELi32EfljEEvNS_4cuda6detail10TensorInfoIT3_T5_EES6_S6_S6_NS4_"    \
    "IT4_S6_EES6_b"
struct tensor_info {
    uint64_t data;
    uint32_t sizes[25], strides[25];
    int dims;
};

#define TEMPLATE_K 8
#define TEMPLATE_EXPERTS 128
#define TRITON_K 4

#endif
