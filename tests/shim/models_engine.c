/* SPDX-License-Identifier: Apache-2.0 */
/*
 * models-engine TRUTH MODEL... PASS...: an engine with several models, batch sizes, graphs and streams, made of the
 * sample engine's kernels. It writes what each of its routers chose: "model layer stream rows k id...".
 *
 *   A=LAYERS,E,K[,DEVICE]  a model; each letter is one, and its layers may be on another device
 *   A:ROWS[MODE][@STREAM]  a forward pass. MODE: none eager; g by a graph, captured at its first use; r by one that is
 *                          captured anew; p by a graph for each layer
 *   A:...+B:...            two eager passes, a layer of each in turn
 */
#include "../engine/driver.h"
#include "../engine/kernels.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS_MAX 32
#define ROWS_MAX 64
#define STREAMS 3

static struct cuda cuda;
static FILE *truth;

static void check(CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS)
        return;
    fprintf(stderr, "models-engine: %s: error %d\n", what, (int) result);
    exit(1);
}
#define CHECK(call) check((call), #call)

static struct device {
    CUcontext context;
    CUfunction gemm, topk, experts, keep;
    CUstream streams[STREAMS];
} devices[2];

struct model {
    int layers, experts, k;
    const struct device *device;
    CUdeviceptr router[LAYERS_MAX], table[LAYERS_MAX];
    struct lane {
        CUstream stream;
        CUdeviceptr hidden[2], logits, ids, weights, kept[LAYERS_MAX];
        CUgraphExec graph[ROWS_MAX + 1], pieces[ROWS_MAX + 1][LAYERS_MAX];
    } lanes[STREAMS];
};
static struct model models[26];

static float random_float(void)
{
    static uint64_t state = 99;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float) ((double) (state >> 33) / (double) (1u << 30) - 1.0);
}

static CUdeviceptr alloc(size_t size)
{
    CUdeviceptr address;
    CHECK(cuda.MemAlloc(&address, size));
    return address;
}

static void fill(CUdeviceptr address, size_t elements)
{
    float *values = malloc(elements * sizeof *values);
    if (!values)
        exit(1);
    for (size_t i = 0; i < elements; i++)
        values[i] = random_float();
    CHECK(cuda.MemcpyHtoD(address, values, elements * sizeof *values));
    free(values);
}

static CUdeviceptr matrix(size_t elements)
{
    CUdeviceptr address = alloc(elements * sizeof(float));
    fill(address, elements);
    return address;
}

static void make_lane(const struct model *m, struct lane *lane, CUstream stream)
{
    lane->stream = stream;
    for (int i = 0; i < 2; i++)
        lane->hidden[i] = alloc((size_t) ROWS_MAX * MOE_DEMO_DIM * sizeof(float));
    lane->logits = alloc((size_t) ROWS_MAX * (size_t) m->experts * sizeof(float));
    lane->ids = alloc((size_t) ROWS_MAX * (size_t) m->k * sizeof(int32_t));
    lane->weights = alloc((size_t) ROWS_MAX * (size_t) m->k * sizeof(float));
    for (int i = 0; i < m->layers; i++)
        lane->kept[i] = alloc((size_t) ROWS_MAX * (size_t) m->k * sizeof(int32_t));
}

static const struct device *device_of(int ordinal)
{
    extern const unsigned char moe_demo_image[];
    struct device *d = &devices[ordinal];
    CUdevice device;
    CUmodule module;
    if (d->context) {
        CHECK(cuda.CtxSetCurrent(d->context));
        return d;
    }
    CHECK(cuda.DeviceGet(&device, ordinal));
    CHECK(cuda.PrimaryCtxRetain(&d->context, device));
    CHECK(cuda.CtxSetCurrent(d->context));
    CHECK(cuda.ModuleLoadData(&module, moe_demo_image));
    CHECK(cuda.ModuleGetFunction(&d->gemm, module, "moe_demo_router_gemm"));
    CHECK(cuda.ModuleGetFunction(&d->topk, module, "moe_demo_topk_i32"));
    CHECK(cuda.ModuleGetFunction(&d->experts, module, "_Z16moe_demo_expertsPKfPKiS0_S0_Pfiii"));
    CHECK(cuda.ModuleGetFunction(&d->keep, module, "_Z13moe_demo_keepPKiPii"));
    for (int i = 0; i < STREAMS; i++)
        CHECK(cuda.StreamCreate(&d->streams[i], CU_STREAM_NON_BLOCKING));
    return d;
}

static void make_model(struct model *m, const char *text)
{
    int ordinal = 0;
    if (sscanf(text, "%d,%d,%d,%d", &m->layers, &m->experts, &m->k, &ordinal) < 3 || m->layers > LAYERS_MAX ||
        ordinal < 0 || ordinal > 1)
        exit(2);
    m->device = device_of(ordinal);
    for (int i = 0; i < m->layers; i++) {
        m->router[i] = matrix((size_t) m->experts * MOE_DEMO_DIM);
        m->table[i] = matrix((size_t) m->experts * MOE_DEMO_DIM);
    }
    for (int i = 0; i < STREAMS; i++)
        make_lane(m, &m->lanes[i], m->device->streams[i]);
}

static void launch(const struct lane *lane, CUfunction kernel, int blocks, void **params)
{
    CHECK(cuda.LaunchKernel(kernel, (unsigned) blocks, 1, 1, MOE_DEMO_THREADS, 1, 1, 0, lane->stream, params, NULL));
}

static void layer(struct model *m, struct lane *lane, int rows, int i)
{
    int dim = MOE_DEMO_DIM, count = rows * m->k;
    CUdeviceptr *in = &lane->hidden[i % 2], *out = &lane->hidden[(i + 1) % 2];
    void *gemm[] = {in, &m->router[i], &lane->logits, &rows, &dim, &m->experts};
    launch(lane, m->device->gemm, rows, gemm);
    void *topk[] = {&lane->logits, &lane->ids, &lane->weights, &rows, &m->experts, &m->k};
    launch(lane, m->device->topk, (rows + MOE_DEMO_THREADS - 1) / MOE_DEMO_THREADS, topk);
    void *mix[] = {in, &lane->ids, &lane->weights, &m->table[i], out, &rows, &dim, &m->k};
    launch(lane, m->device->experts, rows, mix);
    void *keep[] = {&lane->ids, &lane->kept[i], &count};
    launch(lane, m->device->keep, (count + MOE_DEMO_THREADS - 1) / MOE_DEMO_THREADS, keep);
}

static CUgraphExec capture(struct model *m, struct lane *lane, int rows, int from, int to)
{
    CUgraph graph;
    CUgraphExec exec;
    CHECK(cuda.StreamBeginCapture(lane->stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    for (int i = from; i < to; i++)
        layer(m, lane, rows, i);
    CHECK(cuda.StreamEndCapture(lane->stream, &graph));
    CHECK(cuda.GraphInstantiate(&exec, graph, 0));
    return exec;
}

struct pass {
    struct model *model;
    struct lane *lane;
    int rows, stream, done;
    char mode;
};

static const char *parse_pass(const char *at, struct pass *pass)
{
    char *end;
    *pass = (struct pass){.model = &models[at[0] - 'A']};
    pass->rows = (int) strtol(at + 2, &end, 10);
    if (*end && strchr("grp", *end))
        pass->mode = *end++;
    if (*end == '@')
        pass->stream = (int) strtol(end + 1, &end, 10);
    pass->lane = &pass->model->lanes[pass->stream];
    if (pass->rows < 1 || pass->rows > ROWS_MAX || !pass->model->layers || pass->stream >= STREAMS)
        exit(2);
    CHECK(cuda.CtxSetCurrent(pass->model->device->context));
    fill(pass->lane->hidden[0], (size_t) ROWS_MAX * MOE_DEMO_DIM);
    return *end == '+' ? end + 1 : NULL;
}

static void go_on(struct pass *pass)
{
    struct model *m = pass->model;
    CUgraphExec *graph = &pass->lane->graph[pass->rows], *pieces = pass->lane->pieces[pass->rows];
    CHECK(cuda.CtxSetCurrent(m->device->context));
    if (!pass->mode) {
        layer(m, pass->lane, pass->rows, pass->done++);
        return;
    }
    if (pass->mode == 'r' || (pass->mode == 'g' && !*graph))
        *graph = capture(m, pass->lane, pass->rows, 0, m->layers);
    for (int i = 0; pass->mode == 'p' && i < m->layers; i++) {
        if (!pieces[i])
            pieces[i] = capture(m, pass->lane, pass->rows, i, i + 1);
        CHECK(cuda.GraphLaunch(pieces[i], pass->lane->stream));
    }
    if (pass->mode != 'p')
        CHECK(cuda.GraphLaunch(*graph, pass->lane->stream));
    pass->done = m->layers;
}

static void tell(const struct pass *pass)
{
    const struct model *m = pass->model;
    int32_t ids[ROWS_MAX * 32];
    CHECK(cuda.CtxSetCurrent(m->device->context));
    for (int i = 0; i < m->layers; i++) {
        size_t count = (size_t) pass->rows * (size_t) m->k;
        CHECK(cuda.MemcpyDtoHAsync(ids, pass->lane->kept[i], count * sizeof *ids, pass->lane->stream));
        CHECK(cuda.StreamSynchronize(pass->lane->stream));
        fprintf(truth, "%d %d %d %d %d", (int) (m - models), i, pass->stream, pass->rows, m->k);
        for (size_t n = 0; n < count; n++)
            fprintf(truth, " %d", ids[n]);
        fputc('\n', truth);
    }
}

int main(int argc, char **argv)
{
    const char *problem = cuda_open(&cuda, "dlsym", NULL);
    truth = argc > 2 && !problem ? fopen(argv[1], "w") : NULL;
    if (!truth) {
        fprintf(stderr, "models-engine: %s\n", problem ? problem : "TRUTH MODEL... PASS...");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        if (argv[i][0] < 'A' || argv[i][0] > 'Z' || !argv[i][1])
            return 2;
        if (argv[i][1] == '=') {
            make_model(&models[argv[i][0] - 'A'], argv[i] + 2);
            continue;
        }
        struct pass passes[2];
        const char *second = parse_pass(argv[i], &passes[0]);
        int count = second ? 2 : 1;
        if (second)
            parse_pass(second, &passes[1]);
        for (bool more = true; more;) {
            more = false;
            for (int n = 0; n < count; n++) {
                if (passes[n].done < passes[n].model->layers)
                    go_on(&passes[n]);
                more |= passes[n].done < passes[n].model->layers;
            }
        }
        for (int n = 0; n < count; n++)
            tell(&passes[n]);
    }
    return fclose(truth) == 0 ? 0 : 1;
}
