/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long from a top-k's end until its record is in the reader's hands. The top-k's last thread stores %globaltimer;
 * the reader, a thread of the same process, stores its own clock in `take`. What one clock says when the other says
 * something else is found by a round trip: the CPU writes a word of mapped memory, the GPU sees it and stores its clock
 * behind it, the CPU sees that. The quickest of many trips bounds the error by half of itself.
 *
 * Run it with LD_PRELOAD=libmoetap-shim.so MOETAP_RECIPE=bench/bench.recipe, and with MOETAP_GRAPH_TAP=inline once
 * more. A line of JSON for the clocks, one for each point.
 */
#include "own.h"

#include <atomic>
#include <thread>
#include <time.h>

constexpr int K = 8, SLOTS = 1 << 20;

struct step {
    unsigned first_slot;
    unsigned long long *stamps; /* [SLOTS] */
    unsigned *left;             /* [SLOTS]: blocks that have ended */
};

static __device__ unsigned long long gpu_clock()
{
    unsigned long long ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns)::"memory");
    return ns;
}

/* The first ids of a row say which launch made them, 7 bits each: fewer than 128 experts. */
extern "C" __global__ void bench_topk_tapped(const struct step *step, int *ids, int rows, int k, int layer)
{
    unsigned slot = (step->first_slot + layer) % SLOTS;
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (row < rows && lane < k)
        ids[(size_t) row * k + lane] = lane < 3 ? slot >> (7 * lane) & 127 : (row + lane) & 127;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        if (atomicAdd(&step->left[slot], 1) == gridDim.x - 1)
            step->stamps[slot] = gpu_clock();
    }
}
__global__ void bench_experts(const int *ids, float *out, int count, int work)
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
__global__ void bench_next_step(struct step *step, int layers)
{
    step->first_slot += layers;
}

struct trip {
    volatile unsigned asked;
    volatile unsigned answered;
    volatile unsigned long long clock;
};
__global__ void bench_answer(struct trip *trip, unsigned trips)
{
    for (unsigned n = 1; n <= trips; n++) {
        while (trip->asked != n) {
        }
        trip->clock = gpu_clock();
        __threadfence_system();
        trip->answered = n;
    }
}
__global__ void bench_clock_step(unsigned long long *least)
{
    unsigned long long before = gpu_clock();
    *least = ~0ull;
    for (int n = 0; n < 10000; n++) {
        unsigned long long now = gpu_clock();
        if (now != before && now - before < *least)
            *least = now - before;
        before = now;
    }
}

static unsigned long long cpu_clock()
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (unsigned long long) now.tv_sec * 1000000000ull + (unsigned long long) now.tv_nsec;
}

static double quantile(std::vector<double> values, double part)
{
    std::sort(values.begin(), values.end());
    return values[(size_t) (part * (double) (values.size() - 1) + 0.5)];
}

/* What both clocks said once: from there on their ns fit a double. */
static unsigned long long gpu_base, cpu_base;

static double since(unsigned long long clock, unsigned long long base)
{
    return (double) (long long) (clock - base);
}

/* gpu = cpu + offset, as it was at `when` on the CPU. */
struct clocks {
    double offset, error, when, p50, p99;
};

static cudaStream_t stream;

static struct clocks compare_clocks()
{
    const unsigned trips = 4000;
    struct trip *trip;
    std::vector<double> took;
    struct clocks best = {0, 1e18, 0, 0, 0};
    CHECK(cudaMallocHost(&trip, sizeof *trip));
    memset((void *) trip, 0, sizeof *trip);
    bench_answer<<<1, 1, 0, stream>>>(trip, trips);
    for (unsigned n = 1; n <= trips; n++) {
        unsigned long long begin = cpu_clock();
        trip->asked = n;
        while (trip->answered != n) {
        }
        unsigned long long end = cpu_clock();
        std::atomic_thread_fence(std::memory_order_acquire);
        double ns = (double) (end - begin);
        if (!cpu_base) {
            cpu_base = begin;
            gpu_base = trip->clock;
        }
        if (n > trips / 10)
            took.push_back(ns);
        if (ns / 2 < best.error) {
            best.error = ns / 2;
            best.when = since(begin, cpu_base) + ns / 2;
            best.offset = since(trip->clock, gpu_base) - best.when;
        }
    }
    CHECK(cudaStreamSynchronize(stream));
    CHECK(cudaFreeHost(trip));
    best.p50 = quantile(took, 0.5);
    best.p99 = quantile(took, 0.99);
    return best;
}

static struct {
    mt_reader *reader;
    std::vector<unsigned long long> seen; /* [SLOTS] */
    std::atomic<unsigned> read;
    std::atomic<bool> naps, stop;
} drain;

static int take(const struct mt_record *record, const void *ids, void *)
{
    unsigned long long now = cpu_clock();
    const uint8_t *id = (const uint8_t *) ids;
    if (record->width == 1)
        drain.seen[(id[0] | id[1] << 7 | id[2] << 14) % SLOTS] = now;
    drain.read++;
    return 0;
}

static void read_on()
{
    struct mt_error error = {""};
    while (!drain.stop) {
        if (drain.naps && !mt_wait(drain.reader, 100))
            continue;
        if (mt_read(drain.reader, 64, take, NULL, &error) < 0) {
            fprintf(stderr, "latency: %s\n", error.text);
            exit(1);
        }
    }
}

static struct step here, *gpu_step;
static int *ids;
static float *out;

static void forward(int rows, int layers, int work, int sms)
{
    for (int layer = 0; layer < layers; layer++) {
        bench_topk_tapped<<<(rows + 3) / 4, 128, 0, stream>>>(gpu_step, ids, rows, K, layer);
        bench_experts<<<sms, 256, 0, stream>>>(ids, out, rows * K, work);
    }
    bench_next_step<<<1, 1, 0, stream>>>(gpu_step, layers);
}

static void pause_us(double us)
{
    for (unsigned long long begin = cpu_clock(); (double) (cpu_clock() - begin) < us * 1000;) {
    }
}

struct point {
    const char *mode;
    int rows, layers;
    bool naps;
    std::vector<double> stamps, seen; /* by the GPU's clock and by the CPU's, since the bases; 0: not there */
};

static void measure(struct point *p, int sms, int steps)
{
    cudaGraphExec_t exec = NULL;
    const int work = 150;
    std::vector<unsigned long long> stamps(SLOTS);
    CHECK(cudaMemset(here.left, 0, SLOTS * sizeof *here.left));
    CHECK(cudaMemset(here.stamps, 0, SLOTS * sizeof *here.stamps));
    CHECK(cudaMemcpy(gpu_step, &here, sizeof here, cudaMemcpyHostToDevice));
    if (strcmp(p->mode, "eager") != 0) {
        cudaGraph_t graph;
        CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        forward(p->rows, p->layers, work, sms);
        CHECK(cudaStreamEndCapture(stream, &graph));
        CHECK(cudaGraphInstantiate(&exec, graph, 0));
        CHECK(cudaGraphDestroy(graph));
    }
    drain.naps = p->naps;
    std::fill(drain.seen.begin(), drain.seen.end(), 0);
    for (int n = 0; n < steps; n++) {
        unsigned want = drain.read + (unsigned) p->layers;
        if (exec)
            CHECK(cudaGraphLaunch(exec, stream));
        else
            forward(p->rows, p->layers, work, sms);
        CHECK(cudaStreamSynchronize(stream));
        for (unsigned long long begin = cpu_clock(); drain.read < want;) {
            if (cpu_clock() - begin > 5000000000ull) {
                fprintf(stderr, "latency: a record did not come\n");
                exit(1);
            }
        }
        pause_us(p->naps ? 500 + 37 * (n % 64) : 30);
    }
    if (exec)
        CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaMemcpy(stamps.data(), here.stamps, SLOTS * sizeof stamps[0], cudaMemcpyDeviceToHost));
    const unsigned total = (unsigned) (steps * p->layers), cold = (unsigned) (p->layers * (steps / 10));
    for (unsigned n = cold; n < total; n++) {
        p->stamps.push_back(stamps[n] ? since(stamps[n], gpu_base) : 0);
        p->seen.push_back(drain.seen[n] ? since(drain.seen[n], cpu_base) : 0);
    }
}

int main(int argc, char **argv)
{
    const bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    const char *tap = getenv("MOETAP_GRAPH_TAP");
    const char *graph = tap && strcmp(tap, "inline") == 0 ? "inline" : "beside";
    cudaDeviceProp device;
    CHECK(cudaGetDeviceProperties(&device, 0));
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&gpu_step, sizeof *gpu_step));
    CHECK(cudaMalloc(&here.stamps, SLOTS * sizeof *here.stamps));
    CHECK(cudaMalloc(&here.left, SLOTS * sizeof *here.left));
    CHECK(cudaMalloc(&ids, 512 * K * sizeof *ids));
    CHECK(cudaMalloc(&out, 512 * K * sizeof *out));
    CHECK(cudaMemset(here.left, 0, SLOTS * sizeof *here.left));
    CHECK(cudaMemcpy(gpu_step, &here, sizeof here, cudaMemcpyHostToDevice));

    unsigned long long *clock_step, least;
    CHECK(cudaMalloc(&clock_step, sizeof *clock_step));
    bench_clock_step<<<1, 1, 0, stream>>>(clock_step);
    forward(8, 1, 1, 1);
    CHECK(cudaStreamSynchronize(stream));
    CHECK(cudaMemcpy(&least, clock_step, sizeof least, cudaMemcpyDeviceToHost));
    drain.reader = attach_own();
    drain.seen.resize(SLOTS);
    const struct clocks first = compare_clocks();
    std::thread thread(read_on);
    while (drain.read < 1) {
    }
    std::vector<struct point> points;
    for (int rows : {64, 512}) {
        for (bool naps : {false, true}) {
            points.push_back({"eager", rows, 1, naps});
            points.push_back({graph, rows, 1, naps});
            points.push_back({graph, rows, 48, naps});
        }
    }
    /* A slot's place in the ids has 21 bits, and a point starts at slot 0 again. */
    for (struct point &p : points)
        measure(&p, device.multiProcessorCount, p.layers > 1 ? (quick ? 30 : 200) : quick ? 300 : 3000);
    drain.stop = true;
    thread.join();
    const struct clocks last = compare_clocks();

    printf("{\"device\":\"%s\",\"trip_p50_us\":%.3f,\"trip_p99_us\":%.3f,\"uncertainty_us\":%.3f,\"drift_ppm\":%.3f,"
           "\"gpu_clock_step_ns\":%llu}\n",
           device.name, (first.p50 + last.p50) / 2000, (first.p99 + last.p99) / 2000,
           (first.error > last.error ? first.error : last.error) / 1000,
           (last.offset - first.offset) / (last.when - first.when) * 1e6, least);
    for (const struct point &p : points) {
        std::vector<double> us;
        unsigned missing = 0;
        for (size_t n = 0; n < p.seen.size(); n++) {
            double part = (p.seen[n] - first.when) / (last.when - first.when);
            double offset = first.offset + part * (last.offset - first.offset);
            if (p.seen[n] > 0 && p.stamps[n] > 0)
                us.push_back((p.seen[n] + offset - p.stamps[n]) / 1000);
            else
                missing++;
        }
        if (us.empty()) {
            fprintf(stderr, "latency: no record of %s, %d rows\n", p.mode, p.rows);
            return 1;
        }
        printf("{\"mode\":\"%s\",\"rows\":%d,\"layers\":%d,\"reader\":\"%s\",\"records\":%zu,\"missing\":%u,"
               "\"p50_us\":%.2f,\"p99_us\":%.2f,\"least_us\":%.2f}\n",
               p.mode, p.rows, p.layers, p.naps ? "waits" : "polls", us.size(), missing, quantile(us, 0.5),
               quantile(us, 0.99), quantile(us, 0));
    }
    struct mt_error error;
    mt_unlink(drain.reader, &error);
    mt_detach(drain.reader);
    return 0;
}
