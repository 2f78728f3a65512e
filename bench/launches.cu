/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host pays for a launch: of kernels that are none of ours, and of a router (its tap included). Run it bare,
 * and under `moetap record` with --source=preload and --source=cupti, alternating; bench/run.sh does.
 */
#include "check.h"

#include <chrono>

template <int N>
__global__ void bench_other(const int *a, int *b, int c, int d, float e, float f)
{
    if (c == -1)
        b[N] = a[N] + d + (int) (e + f);
}
extern "C" __global__ void bench_topk_tapped(const unsigned *, int *ids, int rows, int k, int)
{
    if ((int) threadIdx.x < rows * k)
        ids[threadIdx.x] = threadIdx.x;
}

typedef void other(const int *, int *, int, int, float, float);
static other *const others[] = {bench_other<0>, bench_other<1>, bench_other<2>,  bench_other<3>,
                                bench_other<4>, bench_other<5>, bench_other<6>,  bench_other<7>,
                                bench_other<8>, bench_other<9>, bench_other<10>, bench_other<11>};

static double now_ns()
{
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int main()
{
    const int launches = 360; /* the queue never fills: what is timed is the call */
    cudaStream_t stream;
    int *ids;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&ids, 4096));
    std::vector<double> other_ns, router_ns;
    for (int round = 0; round < 220; round++) {
        double begin = now_ns();
        for (int n = 0; n < launches; n++)
            others[n % 12]<<<1, 32, 0, stream>>>(ids, ids, n, 2, 3.0f, 4.0f);
        double end = now_ns();
        CHECK(cudaStreamSynchronize(stream));
        double begin_router = now_ns();
        for (int n = 0; n < launches / 4; n++)
            bench_topk_tapped<<<1, 128, 0, stream>>>(nullptr, ids, 8, 8, n % 4);
        double end_router = now_ns();
        CHECK(cudaStreamSynchronize(stream));
        if (round >= 20) {
            other_ns.push_back((end - begin) / launches);
            router_ns.push_back((end_router - begin_router) / (launches / 4));
        }
    }
    printf("{\"other_ns\":%.1f,\"router_ns\":%.1f}\n", median(other_ns), median(router_ns));
    return 0;
}
