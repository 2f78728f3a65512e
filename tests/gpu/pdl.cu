/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programmatic dependent launch: all kernels of the engine are launched with programmatic stream serialization and let
 * the next one start at once, so that they overlap as far as their waits allow; eager, and captured, where it becomes
 * programmatic edges. Also an event that is recorded in the midst of the router and waited for by another stream.
 * Run it with LD_PRELOAD=libmoetap-shim.so MOETAP_RECIPE=tests/gpu/test.recipe.
 */
#include "own_ids.h"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define LET_NEXT_START() asm volatile("griddepcontrol.launch_dependents;" ::: "memory")
#define WAIT_FOR_LAST() asm volatile("griddepcontrol.wait;" ::: "memory")
#else
#define LET_NEXT_START()
#define WAIT_FOR_LAST()
#endif

constexpr int LAYERS = 20, STEPS = 6, CYCLES = 8000;

extern "C" __global__ void test_topk(const unsigned *step, int *ids, int rows, int k, int layer)
{
    LET_NEXT_START();
    WAIT_FOR_LAST();
    spin(CYCLES);
    write_ids(*step * LAYERS + layer, ids, rows, k);
}
__global__ void test_other(unsigned *other)
{
    LET_NEXT_START();
    WAIT_FOR_LAST();
    spin(CYCLES);
    if (threadIdx.x == 0)
        atomicAdd(other, 1);
}
/* What the engine makes of the ids: it must be the same with the taps in between. */
__global__ void test_experts(const int *ids, unsigned *sum, int count)
{
    LET_NEXT_START();
    WAIT_FOR_LAST();
    spin(CYCLES);
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        atomicAdd(sum, (unsigned) ids[i] * (i % 1000 + 1));
}
__global__ void test_scrub(int *ids, int count)
{
    LET_NEXT_START();
    WAIT_FOR_LAST();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        ids[i] = -7;
    spin(CYCLES);
}
__global__ void test_next_step(unsigned *step)
{
    LET_NEXT_START();
    WAIT_FOR_LAST();
    ++*step;
}

static struct {
    unsigned *step, *sum, *other;
    int *ids;
    cudaStream_t stream, side;
    cudaEvent_t routed, done;
} gpu;

template <typename... Params, typename... Args>
static void launch(cudaStream_t stream, int blocks, cudaEvent_t event, void (*kernel)(Params...), Args... args)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2] = {};
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = blocks;
    config.blockDim = 128;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = 1;
    if (event) {
        attributes[1].id = cudaLaunchAttributeProgrammaticEvent;
        attributes[1].val.programmaticEvent.event = event;
        attributes[1].val.programmaticEvent.triggerAtBlockStart = 1;
        config.numAttrs = 2;
    }
    CHECK(cudaLaunchKernelEx(&config, kernel, Params(args)...));
}

enum shape { PLAIN, NO_READER, EVENT, SHAPES };
static const char *const shapes[SHAPES] = {"in a line", "with nobody who only reads", "with a programmatic event"};

static void forward(int rows, int shape)
{
    const int count = rows * K, blocks = (count + 127) / 128;
    for (int layer = 0; layer < LAYERS; layer++) {
        launch(gpu.stream, 4, NULL, test_other, gpu.other);
        launch(gpu.stream, blocks, shape == EVENT ? gpu.routed : NULL, test_topk, gpu.step, gpu.ids, rows, K, layer);
        if (shape == EVENT) {
            CHECK(cudaStreamWaitEvent(gpu.side, gpu.routed, 0));
            launch(gpu.side, blocks, NULL, test_experts, gpu.ids, gpu.sum, count);
            CHECK(cudaEventRecord(gpu.done, gpu.side));
            launch(gpu.stream, 4, NULL, test_other, gpu.other);
            CHECK(cudaStreamWaitEvent(gpu.stream, gpu.done, 0));
        } else {
            launch(gpu.stream, 4, NULL, test_other, gpu.other);
            if (shape == PLAIN)
                launch(gpu.stream, blocks, NULL, test_experts, gpu.ids, gpu.sum, count);
        }
        launch(gpu.stream, blocks, NULL, test_scrub, gpu.ids, count);
    }
    launch(gpu.stream, 1, NULL, test_next_step, gpu.step);
}

static bool run(mt_reader *reader, int rows, int shape, bool captured)
{
    cudaGraphExec_t exec = NULL;
    char what[128];
    snprintf(what, sizeof what, "%s, %s", captured ? "graph" : "eager", shapes[shape]);
    CHECK(cudaMemset(gpu.step, 0, sizeof *gpu.step));
    CHECK(cudaMemset(gpu.sum, 0, sizeof *gpu.sum));
    CHECK(cudaMemset(gpu.other, 0, sizeof *gpu.other));
    CHECK(cudaDeviceSynchronize());
    if (captured) {
        cudaGraph_t graph;
        CHECK(cudaStreamBeginCapture(gpu.stream, cudaStreamCaptureModeThreadLocal));
        forward(rows, shape);
        CHECK(cudaStreamEndCapture(gpu.stream, &graph));
        CHECK(cudaGraphInstantiate(&exec, graph, 0));
        CHECK(cudaGraphDestroy(graph));
    }
    for (int step = 0; step < STEPS; step++) {
        if (captured)
            CHECK(cudaGraphLaunch(exec, gpu.stream));
        else
            forward(rows, shape);
    }
    CHECK(cudaDeviceSynchronize());
    unsigned sum, other, expected = 0;
    CHECK(cudaMemcpy(&sum, gpu.sum, sizeof sum, cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(&other, gpu.other, sizeof other, cudaMemcpyDeviceToHost));
    for (unsigned slot = 0; shape != NO_READER && slot < LAYERS * STEPS; slot++) {
        for (int i = 0; i < rows * K; i++)
            expected += (unsigned) id_of(slot, i / K, i % K) * (i % 1000 + 1);
    }
    bool good = sum == expected && other == 4 * 2 * LAYERS * STEPS;
    if (!good)
        printf("FAILED: %s, %d rows: the engine's own result is wrong\n", what, rows);
    if (exec)
        CHECK(cudaGraphExecDestroy(exec));
    return (!reader || all_there(reader, what, rows, LAYERS * STEPS)) && good;
}

int main(int argc, char **argv)
{
    const bool bare = argc > 1 && strcmp(argv[1], "--bare") == 0; /* without moetap: is the test itself right? */
    CHECK(cudaStreamCreateWithFlags(&gpu.stream, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&gpu.side, cudaStreamNonBlocking));
    CHECK(cudaEventCreateWithFlags(&gpu.routed, cudaEventDisableTiming));
    CHECK(cudaEventCreateWithFlags(&gpu.done, cudaEventDisableTiming));
    CHECK(cudaMalloc(&gpu.step, sizeof *gpu.step));
    CHECK(cudaMalloc(&gpu.sum, sizeof *gpu.sum));
    CHECK(cudaMalloc(&gpu.other, sizeof *gpu.other));
    CHECK(cudaMalloc(&gpu.ids, 4000 * K * sizeof *gpu.ids));
    CHECK(cudaMemset(gpu.step, 0, sizeof *gpu.step));
    CHECK(cudaDeviceSynchronize());
    mt_reader *reader = NULL;
    bool good = true;
    if (!bare) {
        launch(gpu.stream, 1, NULL, test_topk, gpu.step, gpu.ids, 1, K, 0);
        CHECK(cudaDeviceSynchronize());
        reader = attach_own();
        good = all_there(reader, "one router", 1, 1);
    }
    for (int rows : {64, 4000}) {
        for (int shape = 0; shape < SHAPES; shape++) {
            for (bool captured : {false, true})
                good = run(reader, rows, shape, captured) && good;
        }
    }
    if (reader) {
        struct mt_error error;
        mt_unlink(reader, &error);
        mt_detach(reader);
    }
    puts(good ? "ok: programmatic dependent launch" : "FAILED: programmatic dependent launch");
    return !good;
}
