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

/* torch's, which the software device has kernels for */
struct tensor_info {
    uint64_t data;
    uint32_t sizes[25], strides[25];
    int dims;
};

#define TEMPLATE_K 8
#define TEMPLATE_EXPERTS 128
#define TRITON_K 4

#endif
