/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many bytes a second go from the GPU through the ring: routers of ROWS x 8 back to back in a graph, as fast as the
 * GPU can. Prints the rate of the payload that was produced, next to what this machine can do with memory of the ring's
 * kind: the rate of cudaMemcpyAsync into it, and at which one thread copies what came, in pieces of a record's size, or
 * only looks at it. What was lost, the reader says.
 */
#include "check.h"

#include <chrono>
#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

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
    int file = memfd_create("bench", 0);
    host = file < 0 || ftruncate(file, size) != 0
               ? (char *) MAP_FAILED
               : (char *) mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    if (host == (char *) MAP_FAILED) {
        fprintf(stderr, "bench: no memory\n");
        return 1;
    }
    CHECK(cudaHostRegister(host, size, cudaHostRegisterPortable | cudaHostRegisterMapped));
    std::vector<double> rates, copies, scans;
    std::vector<char> piece(128 << 10);
    uint64_t sum = 0;
    for (int n = 0; n < 12; n++) {
        double begin = now_s();
        CHECK(cudaMemcpyAsync(host, device, size, cudaMemcpyDeviceToHost, stream));
        CHECK(cudaStreamSynchronize(stream));
        double come = now_s();
        for (size_t at = 0; n % 2 && at < size; at += piece.size()) {
            memcpy(piece.data(), host + at, piece.size());
            sum += (unsigned char) piece[at % piece.size()];
        }
        for (size_t at = 0; n % 2 == 0 && at < size; at += 32) {
            const uint64_t *words = (const uint64_t *) (host + at);
            sum += words[0] + words[1] + words[2] + words[3];
        }
        double end = now_s();
        rates.push_back((double) size / (come - begin) / 1e9);
        (n % 2 ? copies : scans).push_back((double) size / (end - come) / 1e9);
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
    printf("{\"rows\":%d,\"copy_gbs\":%.2f,\"memcpy_gbs\":%.2f,\"scan_gbs\":%.2f,\"ring_gbs\":%.2f,\"records\":%ld,"
           "\"seconds\":%.3f,\"sum\":%llu}\n",
           rows, median(rates), median(copies), median(scans), bytes / took / 1e9, replays * layers, took,
           (unsigned long long) sum);
    return 0;
}
