/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What moetap's hook adds to a launch, by preloaded symbols: a driver that does nothing (bench/null) is launched on
 * through its own entry point and through the one that the engine gets, in turn, in one process. A measurement of this
 * CPU; no GPU has a part in it. Run it with LD_PRELOAD=libmoetap-shim.so MOETAP_RECIPE=bench/bench.recipe. A line of
 * JSON for each mix of kernels.
 */
#include "null/null.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Parameters as the kernels of PyTorch processes have them. */
static struct null_kernel small[] = {{"bench_small0", 6, {8, 8, 4, 4, 4, 4}},
                                     {"bench_small1", 4, {8, 8, 8, 4}},
                                     {"bench_small2", 3, {8, 8, 8}},
                                     {"bench_small3", 5, {8, 4, 8, 4, 8}}},
                          elementwise[] = {{"bench_elementwise0", 3, {4, 1, 24}},
                                           {"bench_elementwise1", 3, {4, 16, 24}},
                                           {"bench_elementwise2", 2, {4, 640}}},
                          triton[] = {{"bench_triton0", 12, {8, 8, 8, 8, 8, 4, 4, 4, 4, 4, 8, 8}},
                                      {"bench_triton1", 9, {8, 8, 8, 4, 4, 4, 4, 8, 8}}},
                          gemm[] = {{"bench_gemm0", 9, {128, 128, 128, 8, 8, 4, 4, 4, 64}}, {"bench_gemm1", 1, {1100}}},
                          router[] = {{"bench_topk_tapped", 5, {8, 8, 4, 4, 4}}};

static const struct mix {
    const char *name;
    struct null_kernel *kernels;
    unsigned count;
} mixes[] = {{"small", small, 4},
             {"elementwise", elementwise, 3},
             {"triton", triton, 2},
             {"gemm", gemm, 2},
             {"router", router, 1}};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec * 1e9 + (double) now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

#define ROUNDS 401
#define LAUNCHES 1200

/* Each launch gets new arguments, as those of an engine are. */
static uint64_t values[NULL_PARAMS_MAX][160];

static double time_of(__typeof__(cuLaunchKernel) *launch, const struct mix *mix, CUstream stream)
{
    void *params[NULL_PARAMS_MAX];
    for (unsigned i = 0; i < NULL_PARAMS_MAX; i++)
        params[i] = values[i];
    double begin = now_ns();
    for (unsigned n = 0; n < LAUNCHES; n++) {
        values[0][0] = 0x7f0000000000u + n * 512;
        if (launch((CUfunction) &mix->kernels[n % mix->count], 1, 1, 1, 32, 1, 1, 0, stream, params, NULL))
            exit(1);
    }
    return (now_ns() - begin) / LAUNCHES;
}

int main(int argc, char **argv)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/null/libcuda.so.1", argc > 1 ? argv[1] : "build-bench/bench");
    void *library = dlopen(path, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "hook: %s\n", dlerror());
        return 1;
    }
    __typeof__(null_launch) *own = (__typeof__(null_launch) *) dlsym(library, "null_launch");
    __typeof__(cuInit) *init = (__typeof__(cuInit) *) dlsym(library, "cuInit");
    __typeof__(cuLaunchKernel) *hooked = (__typeof__(cuLaunchKernel) *) dlsym(library, "cuLaunchKernel"), *bare;
    if (!own || !init || !hooked || init(0))
        return 1;
    bare = own();
    for (unsigned i = 0; i < NULL_PARAMS_MAX; i++) {
        for (unsigned n = 0; n < 160; n++)
            values[i][n] = i == 0 || i == 1 ? 0x7f1234560000u + n * 4096 : 8;
    }
    for (size_t m = 0; m < sizeof mixes / sizeof *mixes; m++) {
        for (int legacy = 0; legacy < 2; legacy++) {
            static double added[ROUNDS], alone[ROUNDS];
            CUstream stream = legacy ? NULL : (CUstream) values;
            for (int round = -10; round < ROUNDS; round++) {
                double first = time_of(round % 2 ? bare : hooked, &mixes[m], stream);
                double second = time_of(round % 2 ? hooked : bare, &mixes[m], stream);
                if (round < 0)
                    continue;
                alone[round] = round % 2 ? first : second;
                added[round] = round % 2 ? second - first : first - second;
            }
            qsort(added, ROUNDS, sizeof *added, by_value);
            qsort(alone, ROUNDS, sizeof *alone, by_value);
            printf("{\"kernels\":\"%s\",\"stream\":\"%s\",\"hooked\":%s,\"bare_ns\":%.2f,\"added_ns\":%.2f,"
                   "\"added_p10_ns\":%.2f,\"added_p90_ns\":%.2f}\n",
                   mixes[m].name, legacy ? "default" : "own", hooked == bare ? "false" : "true", alone[ROUNDS / 2],
                   added[ROUNDS / 2], added[ROUNDS / 10], added[ROUNDS * 9 / 10]);
        }
    }
    return 0;
}
