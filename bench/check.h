/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmarks share. */
#ifndef MOETAP_BENCH_CHECK_H
#define MOETAP_BENCH_CHECK_H

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        cudaError_t error = (call);                                                                                    \
        if (error != cudaSuccess) {                                                                                    \
            fprintf(stderr, "bench: %s: %s\n", #call, cudaGetErrorString(error));                                      \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static inline double median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    size_t n = values.size();
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

#endif
