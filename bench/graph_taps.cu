/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tap costs a captured graph. A layer is a small top-k and one expert kernel that reads the ids; a graph holds
 * all layers of a decode step. All variants alternate in one process on one GPU:
 *
 *   bare     nothing
 *   empty    an empty kernel behind each top-k
 *   copy     what engines' own capturers do: a kernel behind each top-k copies the ids into a device buffer, and one
 *            copy of the whole step goes to pinned host memory at the end
 *   inline   moetap, with an expert kernel that may write the ids, so that the tap has to be in line
 *   beside   moetap, with an expert kernel whose ids are const
 *
 * Run it under `moetap record --recipe bench/bench.recipe`, also with --weights; without moetap the last two are as
 * bare. One line of JSON for each point; bench/table.py makes the tables and the plot.
 */
#include "check.h"

#include <cstring>

constexpr int EXPERTS = 128;

/* A warp a row; the ids differ by row, layer and step, as a router's do. */
__device__ void topk_body(const unsigned *step, int *ids, float *weights, int rows, int k, int layer)
{
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (row >= rows)
        return;
    unsigned hash = (row * 2654435761u) ^ (layer * 40503u) ^ (*step * 97u);
    for (int round = 0; round < 5; round++)
        hash ^= __shfl_xor_sync(~0u, hash + lane, 1 << round);
    if (lane < k) {
        ids[(size_t) row * k + lane] = (hash % EXPERTS + lane * 13) % EXPERTS;
        weights[(size_t) row * k + lane] = (float) hash;
    }
}
extern "C" __global__ void bench_weights_bare(const unsigned *step, int *ids, float *weights, int rows, int k,
                                              int layer)
{
    topk_body(step, ids, weights, rows, k, layer);
}
extern "C" __global__ void bench_weights_tapped(const unsigned *step, int *ids, float *weights, int rows, int k,
                                                int layer)
{
    topk_body(step, ids, weights, rows, k, layer);
}

/* Work, not time: whoever takes its place on an SM makes it slower. */
template <typename T>
__device__ void experts_body(T *ids, float *out, int count, int work)
{
    int i = (blockIdx.x * blockDim.x + threadIdx.x) % count;
    float x = (float) ids[i], y = 0.5f;
    for (int n = 0; n < work; n++) {
        x = fmaf(x, 0.999f, y);
        y = fmaf(y, 1.001f, -x);
    }
    if (x == 12345.678f)
        out[i] = y;
}
__global__ void bench_experts(const int *ids, float *out, int count, int work)
{
    experts_body(ids, out, count, work);
}
__global__ void bench_experts_rw(int *ids, float *out, int count, int work)
{
    experts_body(ids, out, count, work);
}

/* What runs beside router and experts on a second stream. */
__global__ void bench_shared(float *out, int work)
{
    float x = (float) threadIdx.x, y = 0.5f;
    for (int n = 0; n < work; n++) {
        x = fmaf(x, 0.999f, y);
        y = fmaf(y, 1.001f, -x);
    }
    if (x == 12345.678f)
        out[threadIdx.x] = y;
}

/* Takes every place on every SM and keeps it to its end, with a barrier over all blocks between its phases. */
constexpr int PHASES = 4;
template <typename T>
__device__ void persistent_body(T *ids, float *out, int count, int work, unsigned *arrived)
{
    for (int phase = 0; phase < PHASES; phase++) {
        experts_body(ids, out, count, work / PHASES);
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned all = (atomicAdd(arrived, 1) / gridDim.x + 1) * gridDim.x;
            while ((int) (*(volatile unsigned *) arrived - all) < 0) {
            }
        }
        __syncthreads();
    }
}
__global__ void __launch_bounds__(1024, 2)
    bench_persistent(const int *ids, float *out, int count, int work, unsigned *arrived)
{
    persistent_body(ids, out, count, work, arrived);
}
__global__ void __launch_bounds__(1024, 2)
    bench_persistent_rw(int *ids, float *out, int count, int work, unsigned *arrived)
{
    persistent_body(ids, out, count, work, arrived);
}

__global__ void bench_empty()
{
}
__global__ void bench_copy(const int *ids, int *buffer, int count)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        buffer[i] = ids[i];
}
__global__ void bench_next_step(unsigned *step)
{
    ++*step;
}

enum variant { BARE, EMPTY, COPY, INLINE, BESIDE, VARIANTS };
static const char *const names[VARIANTS] = {"bare", "empty", "copy", "inline", "beside"};

enum kind { PLAIN, PERSISTENT, STREAMS };

struct shape {
    int rows, k, layers;
    const char *next;
    int blocks, threads, work;
    enum kind kind;
};

static struct {
    unsigned *step;
    int *ids, *buffer, *host;
    float *weights, *out;
    unsigned *arrived;
    cudaStream_t stream, side;
    cudaEvent_t fork, join;
} gpu;

static void experts(const struct shape &s, bool writes)
{
    const int count = s.rows * s.k;
    if (s.kind == PERSISTENT && writes)
        bench_persistent_rw<<<s.blocks, s.threads, 0, gpu.stream>>>(gpu.ids, gpu.out, count, s.work, gpu.arrived);
    else if (s.kind == PERSISTENT)
        bench_persistent<<<s.blocks, s.threads, 0, gpu.stream>>>(gpu.ids, gpu.out, count, s.work, gpu.arrived);
    else if (writes)
        bench_experts_rw<<<s.blocks, s.threads, 0, gpu.stream>>>(gpu.ids, gpu.out, count, s.work);
    else
        bench_experts<<<s.blocks, s.threads, 0, gpu.stream>>>(gpu.ids, gpu.out, count, s.work);
}

static cudaGraphExec_t capture(const struct shape &s, int variant)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    const int count = s.rows * s.k;
    const unsigned blocks = (s.rows + 3) / 4;
    CHECK(cudaStreamBeginCapture(gpu.stream, cudaStreamCaptureModeThreadLocal));
    for (int layer = 0; layer < s.layers; layer++) {
        if (s.kind == STREAMS) {
            CHECK(cudaEventRecord(gpu.fork, gpu.stream));
            CHECK(cudaStreamWaitEvent(gpu.side, gpu.fork, 0));
            bench_shared<<<s.blocks, s.threads, 0, gpu.side>>>(gpu.out, s.work);
            CHECK(cudaEventRecord(gpu.join, gpu.side));
        }
        if (variant == INLINE || variant == BESIDE)
            bench_weights_tapped<<<blocks, 128, 0, gpu.stream>>>(gpu.step, gpu.ids, gpu.weights, s.rows, s.k, layer);
        else
            bench_weights_bare<<<blocks, 128, 0, gpu.stream>>>(gpu.step, gpu.ids, gpu.weights, s.rows, s.k, layer);
        if (variant == EMPTY)
            bench_empty<<<1, 32, 0, gpu.stream>>>();
        if (variant == COPY)
            bench_copy<<<(count + 1023) / 1024, 256, 0, gpu.stream>>>(gpu.ids, gpu.buffer + (size_t) layer * count,
                                                                      count);
        experts(s, variant == INLINE);
        if (s.kind == STREAMS)
            CHECK(cudaStreamWaitEvent(gpu.stream, gpu.join, 0));
    }
    bench_next_step<<<1, 1, 0, gpu.stream>>>(gpu.step);
    if (variant == COPY)
        CHECK(cudaMemcpyAsync(gpu.host, gpu.buffer, (size_t) s.layers * count * sizeof(int), cudaMemcpyDeviceToHost,
                              gpu.stream));
    CHECK(cudaStreamEndCapture(gpu.stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaGraphDestroy(graph));
    return exec;
}

static void measure(const struct shape &s, int rounds)
{
    cudaGraphExec_t graphs[VARIANTS];
    std::vector<double> step[VARIANTS], added[VARIANTS];
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    for (int v = 0; v < VARIANTS; v++) {
        graphs[v] = capture(s, v);
        CHECK(cudaGraphLaunch(graphs[v], gpu.stream));
    }
    CHECK(cudaStreamSynchronize(gpu.stream));
    for (int round = 0; round < rounds; round++) {
        double us[VARIANTS];
        for (int i = 0; i < VARIANTS; i++) {
            int v = (i + round) % VARIANTS; /* nobody is always first */
            const int replays = 3;
            CHECK(cudaGraphLaunch(graphs[v], gpu.stream)); /* warm */
            CHECK(cudaEventRecord(begin, gpu.stream));
            for (int n = 0; n < replays; n++)
                CHECK(cudaGraphLaunch(graphs[v], gpu.stream));
            CHECK(cudaEventRecord(end, gpu.stream));
            CHECK(cudaEventSynchronize(end));
            float ms;
            CHECK(cudaEventElapsedTime(&ms, begin, end));
            us[v] = ms * 1000.0 / replays;
        }
        for (int v = 0; v < VARIANTS; v++) {
            step[v].push_back(us[v]);
            added[v].push_back((us[v] - us[BARE]) / s.layers);
        }
    }
    printf("{\"rows\":%d,\"k\":%d,\"layers\":%d,\"next\":\"%s\"", s.rows, s.k, s.layers, s.next);
    for (int v = 0; v < VARIANTS; v++)
        printf(",\"%s\":{\"step_us\":%.2f,\"added_us\":%.3f}", names[v], median(step[v]), median(added[v]));
    printf("}\n");
    fflush(stdout);
    for (int v = 0; v < VARIANTS; v++)
        CHECK(cudaGraphExecDestroy(graphs[v]));
}

int main(int argc, char **argv)
{
    const bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    const int rounds = quick ? 11 : 31;
    cudaDeviceProp device;
    CHECK(cudaGetDeviceProperties(&device, 0));
    const int sms = device.multiProcessorCount;
    const int rows[] = {1, 8, 64, 512, 4096, 16384}, ks[] = {1, 2, 6, 8}, layers[] = {24, 48, 94};
    CHECK(cudaStreamCreateWithFlags(&gpu.stream, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&gpu.side, cudaStreamNonBlocking));
    CHECK(cudaEventCreateWithFlags(&gpu.fork, cudaEventDisableTiming));
    CHECK(cudaEventCreateWithFlags(&gpu.join, cudaEventDisableTiming));
    CHECK(cudaMalloc(&gpu.arrived, sizeof *gpu.arrived));
    CHECK(cudaMemset(gpu.arrived, 0, sizeof *gpu.arrived));
    CHECK(cudaMalloc(&gpu.step, sizeof *gpu.step));
    CHECK(cudaMemset(gpu.step, 0, sizeof *gpu.step));
    CHECK(cudaMalloc(&gpu.ids, 16384 * 8 * sizeof(int)));
    CHECK(cudaMalloc(&gpu.weights, 16384 * 8 * sizeof(float)));
    CHECK(cudaMalloc(&gpu.out, 16384 * 8 * sizeof(float)));
    CHECK(cudaMalloc(&gpu.buffer, (size_t) 94 * 16384 * 8 * sizeof(int)));
    CHECK(cudaMallocHost(&gpu.host, (size_t) 94 * 16384 * 8 * sizeof(int)));
    CHECK(cudaDeviceSynchronize());

    int places, places_rw; /* blocks of the persistent kernel on an SM */
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&places, bench_persistent, 1024, 0));
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&places_rw, bench_persistent_rw, 1024, 0));
    if (places_rw < places)
        places = places_rw;

    /* short: 2 us; long: 20 us; full: all threads of all SMs taken; step: 200 us, so that 48 layers take 10 ms;
     * persistent: as full, and all blocks wait for each other; streams: as long, with a second such kernel on a second
     * stream, from before the router until behind the experts */
    const struct shape nexts[] = {
        {0, 0, 0, "short", sms, 256, 150, PLAIN},      {0, 0, 0, "long", sms, 256, 4000, PLAIN},
        {0, 0, 0, "full", sms * 2, 1024, 1500, PLAIN}, {0, 0, 0, "persistent", sms * places, 1024, 1500, PERSISTENT},
        {0, 0, 0, "streams", sms, 256, 4000, STREAMS}, {0, 0, 0, "step", sms, 256, 40000, PLAIN}};
    printf("{\"device\":\"%s\",\"sms\":%d}\n", device.name, sms);
    for (const struct shape &next : nexts) {
        for (int r : rows) {
            struct shape s = next;
            s.rows = r;
            s.k = 8;
            s.layers = 48;
            if (strcmp(next.next, "step") == 0 && r != 64 && r != 512)
                continue;
            measure(s, rounds);
        }
    }
    for (int k : ks) {
        struct shape s = nexts[0];
        s.rows = 64, s.k = k, s.layers = 48;
        if (k != 8)
            measure(s, rounds);
    }
    for (int l : layers) {
        struct shape s = nexts[0];
        s.rows = 64, s.k = 8, s.layers = l;
        if (l != 48)
            measure(s, rounds);
    }
    return 0;
}
