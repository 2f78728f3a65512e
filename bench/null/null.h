/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOETAP_BENCH_NULL_H
#define MOETAP_BENCH_NULL_H

#include <cuda.h>

#define NULL_PARAMS_MAX 16u

struct null_kernel {
    const char *name;
    unsigned count;
    unsigned sizes[NULL_PARAMS_MAX];
};

/* The launch itself, whatever the name cuLaunchKernel is bound to. */
__typeof__(cuLaunchKernel) *null_launch(void);

#endif
