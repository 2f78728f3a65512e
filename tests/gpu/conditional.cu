/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs that decide on the GPU what runs: a step as the body of a while node, captured straight into the body's graph;
 * and a step as a graph that another graph's kernel launches.
 * Run it with LD_PRELOAD=libmoetap-shim.so MOETAP_RECIPE=tests/gpu/test.recipe.
 */
#include "own_ids.h"

constexpr int LAYERS = 20, STEPS = 6, CYCLES = 4000;

extern "C" __global__ void test_topk(const unsigned *step, int *ids, int rows, int k, int layer)
{
    write_ids(*step * LAYERS + layer, ids, rows, k);
}
__global__ void test_experts(const int *ids, unsigned *sum, int count)
{
    spin(CYCLES);
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        atomicAdd(sum, (unsigned) ids[i] * (i % 1000 + 1));
}
__global__ void test_scrub(int *ids, int count)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        ids[i] = -7;
}
__global__ void test_next_step(unsigned *step)
{
    ++*step;
}
__global__ void test_again(const unsigned *step, cudaGraphConditionalHandle handle)
{
    cudaGraphSetConditional(handle, *step < STEPS);
}
__global__ void test_launch(cudaGraphExec_t exec)
{
    cudaGraphLaunch(exec, cudaStreamGraphFireAndForget);
}

static struct {
    unsigned *step, *sum;
    int *ids;
    cudaStream_t stream;
} gpu;

static void forward(int rows)
{
    const int count = rows * K, blocks = (count + 127) / 128;
    for (int layer = 0; layer < LAYERS; layer++) {
        test_topk<<<blocks, 128, 0, gpu.stream>>>(gpu.step, gpu.ids, rows, K, layer);
        test_experts<<<blocks, 128, 0, gpu.stream>>>(gpu.ids, gpu.sum, count);
        test_scrub<<<blocks, 128, 0, gpu.stream>>>(gpu.ids, count);
    }
    test_next_step<<<1, 1, 0, gpu.stream>>>(gpu.step);
}

static void run_while(int rows)
{
    cudaGraph_t graph, body;
    cudaGraphExec_t exec;
    cudaGraphNode_t node;
    cudaGraphConditionalHandle handle;
    cudaGraphNodeParams params = {};
    CHECK(cudaGraphCreate(&graph, 0));
    CHECK(cudaGraphConditionalHandleCreate(&handle, graph, 1, cudaGraphCondAssignDefault));
    params.type = cudaGraphNodeTypeConditional;
    params.conditional.handle = handle;
    params.conditional.type = cudaGraphCondTypeWhile;
    params.conditional.size = 1;
#if CUDART_VERSION >= 13000
    CHECK(cudaGraphAddNode(&node, graph, NULL, NULL, 0, &params));
#else
    CHECK(cudaGraphAddNode(&node, graph, NULL, 0, &params));
#endif
    body = params.conditional.phGraph_out[0];
    CHECK(cudaStreamBeginCaptureToGraph(gpu.stream, body, NULL, NULL, 0, cudaStreamCaptureModeThreadLocal));
    forward(rows);
    test_again<<<1, 1, 0, gpu.stream>>>(gpu.step, handle);
    CHECK(cudaStreamEndCapture(gpu.stream, NULL));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaGraphLaunch(exec, gpu.stream));
    CHECK(cudaStreamSynchronize(gpu.stream));
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
}

static void run_from_device(int rows)
{
    cudaGraph_t graph, launcher;
    cudaGraphExec_t exec, launcher_exec;
    CHECK(cudaStreamBeginCapture(gpu.stream, cudaStreamCaptureModeThreadLocal));
    forward(rows);
    CHECK(cudaStreamEndCapture(gpu.stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, cudaGraphInstantiateFlagDeviceLaunch));
    CHECK(cudaGraphUpload(exec, gpu.stream));
    CHECK(cudaStreamBeginCapture(gpu.stream, cudaStreamCaptureModeThreadLocal));
    test_launch<<<1, 1, 0, gpu.stream>>>(exec);
    CHECK(cudaStreamEndCapture(gpu.stream, &launcher));
    CHECK(cudaGraphInstantiate(&launcher_exec, launcher, 0));
    for (int step = 0; step < STEPS; step++) {
        CHECK(cudaGraphLaunch(launcher_exec, gpu.stream));
        CHECK(cudaStreamSynchronize(gpu.stream));
    }
    CHECK(cudaGraphExecDestroy(launcher_exec));
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(launcher));
    CHECK(cudaGraphDestroy(graph));
}

static bool run(mt_reader *reader, const char *what, void (*steps)(int), int rows)
{
    CHECK(cudaMemset(gpu.step, 0, sizeof *gpu.step));
    CHECK(cudaMemset(gpu.sum, 0, sizeof *gpu.sum));
    CHECK(cudaDeviceSynchronize());
    steps(rows);
    CHECK(cudaDeviceSynchronize());
    unsigned sum, expected = 0;
    CHECK(cudaMemcpy(&sum, gpu.sum, sizeof sum, cudaMemcpyDeviceToHost));
    for (unsigned slot = 0; slot < LAYERS * STEPS; slot++) {
        for (int i = 0; i < rows * K; i++)
            expected += (unsigned) id_of(slot, i / K, i % K) * (i % 1000 + 1);
    }
    if (sum != expected)
        printf("FAILED: %s, %d rows: the engine's own result is wrong\n", what, rows);
    return (!reader || all_there(reader, what, rows, LAYERS * STEPS)) && sum == expected;
}

int main(int argc, char **argv)
{
    const bool bare = argc > 1 && strcmp(argv[1], "--bare") == 0; /* without moetap: is the test itself right? */
    CHECK(cudaStreamCreateWithFlags(&gpu.stream, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&gpu.step, sizeof *gpu.step));
    CHECK(cudaMalloc(&gpu.sum, sizeof *gpu.sum));
    CHECK(cudaMalloc(&gpu.ids, 4000 * K * sizeof *gpu.ids));
    CHECK(cudaMemset(gpu.step, 0, sizeof *gpu.step));
    CHECK(cudaDeviceSynchronize());
    mt_reader *reader = NULL;
    bool good = true;
    if (!bare) {
        test_topk<<<1, 128, 0, gpu.stream>>>(gpu.step, gpu.ids, 1, K, 0);
        CHECK(cudaDeviceSynchronize());
        reader = attach_own();
        good = all_there(reader, "one router", 1, 1);
    }
    for (int rows : {64, 4000}) {
        good = run(reader, "a while node", run_while, rows) && good;
        good = run(reader, "launched from the GPU", run_from_device, rows) && good;
    }
    if (reader) {
        struct mt_error error;
        mt_unlink(reader, &error);
        mt_detach(reader);
    }
    puts(good ? "ok: graphs that decide on the GPU" : "FAILED: graphs that decide on the GPU");
    return !good;
}
