/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many bytes a second go from the GPU through the ring: routers of ROWS x 8 back to back in a graph, as fast as the
 * GPU can. Prints the rate of the payload that was produced, next to the rate of cudaMemcpyAsync to pinned memory on
 * the same GPU. What was lost, the reader says.
 */
#include "check.h"

#include <chrono>

extern "C" __global__ void bench_topk_tapped(const unsigned *, int4 *ids, int rows, int k, int layer)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * k / 4)
        ids[i] = make_int4(i & 127, (i + 1) & 127, (i + 2) & 127, (i + layer) & 127);
}

static double now_s()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int main(int argc, char **argv)
{
    const int rows = argc > 1 ? atoi(argv[1]) : 16384, k = 8, layers = 64;
    const double seconds = argc > 2 ? atof(argv[2]) : 3;
    cudaStream_t stream;
    int4 *ids;
    char *device, *host;
    const size_t size = 256u << 20;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&ids, (size_t) layers * rows * k * sizeof(int)));
    CHECK(cudaMalloc(&device, size));
    CHECK(cudaMallocHost(&host, size));
    std::vector<double> rates;
    for (int n = 0; n < 12; n++) {
        double begin = now_s();
        CHECK(cudaMemcpyAsync(host, device, size, cudaMemcpyDeviceToHost, stream));
        CHECK(cudaStreamSynchronize(stream));
        rates.push_back((double) size / (now_s() - begin) / 1e9);
    }
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int layer = 0; layer < layers; layer++)
        bench_topk_tapped<<<(rows * k / 4 + 255) / 256, 256, 0, stream>>>(nullptr, ids + (size_t) layer * rows * k / 4,
                                                                          rows, k, layer);
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaStreamSynchronize(stream));
    long replays = 0;
    double begin = now_s();
    while (now_s() - begin < seconds) {
        for (int n = 0; n < 8; n++, replays++)
            CHECK(cudaGraphLaunch(exec, stream));
        CHECK(cudaStreamSynchronize(stream));
    }
    double took = now_s() - begin, bytes = (double) replays * layers * rows * k;
    printf("{\"rows\":%d,\"copy_gbs\":%.2f,\"ring_gbs\":%.2f,\"records\":%ld,\"seconds\":%.3f}\n", rows, median(rates),
           bytes / took / 1e9, replays * layers, took);
    return 0;
}
