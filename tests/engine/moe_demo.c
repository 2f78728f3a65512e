/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moe-demo: a little Mixture-of-Experts decoder loop on the CUDA driver API. Like real engines it re-uses one ids
 * buffer for all layers of a stream, and like them it knows nothing of who may be watching.
 */
#include "engine.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void make_batch(struct batch *b)
{
    size_t hidden = (size_t) options.tokens * MOE_DEMO_DIM;
    CHECK(cuda.StreamCreate(&b->stream, CU_STREAM_NON_BLOCKING));
    b->hidden[0] = random_matrix(hidden);
    b->hidden[1] = random_matrix(hidden);
    b->logits = device_alloc((size_t) options.tokens * (size_t) options.experts * sizeof(float));
    b->ids = device_alloc(ids_per_layer() * 8);
    b->physical = options.eplb == APART ? device_alloc(ids_per_layer() * 8) : b->ids;
    b->topk_weights = device_alloc(ids_per_layer() * sizeof(float));
    size_t truth = (size_t) options.layers * ids_per_layer() * id_size();
    b->truth = device_alloc(truth);
    b->truth_host = must(malloc(truth));
    b->physical_truth = device_alloc(truth);
    b->physical_host = must(malloc(truth));
    b->weights_truth = device_alloc(weights_size());
    b->weights_host = must(malloc(weights_size()));
    if (options.fork) {
        CHECK(cuda.StreamCreate(&b->side, CU_STREAM_NON_BLOCKING));
        CHECK(cuda.EventCreate(&b->routed, CU_EVENT_DISABLE_TIMING));
        CHECK(cuda.EventCreate(&b->mixed, CU_EVENT_DISABLE_TIMING));
    }
    b->draft_hidden = device_alloc(hidden * sizeof(float));
    if (options.context)
        context_make(b);
    for (int turn = 0; options.graph && turn < (options.routers == TURNS ? 2 : 1); turn++) {
        b->turn = turn;
        graph_make(b);
    }
    if (options.graph)
        graph_make_draft(b);
}

static void run(struct batch *batches)
{
    for (long step = 0; step < options.steps; step++) {
        for (long i = 0; i < options.streams; i++) {
            struct batch *b = &batches[i];
            b->turn = options.routers == TURNS && step % 2;
            if (options.context)
                context_next(b, step);
            truth_put_rows(b);
            for (long n = 0; n < b->graph_count; n++)
                CHECK(cuda.GraphLaunch(b->graphs[b->turn][n], b->stream));
            if (!options.graph)
                forward(b, 0, options.layers);
            for (long n = 0; n < options.draft; n++) {
                if (options.graph)
                    CHECK(cuda.GraphLaunch(b->draft_graphs[n], b->stream));
                else
                    forward_draft(b, n);
            }
            truth_fetch(b);
        }
        for (long i = 0; i < options.streams; i++) {
            CHECK(cuda.StreamSynchronize(batches[i].stream));
            truth_put(&batches[i]);
        }
    }
}

static uint64_t checksum(struct batch *batches)
{
    size_t size = (size_t) options.tokens * MOE_DEMO_DIM * sizeof(float);
    unsigned char *bytes = must(malloc(size));
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (long i = 0; i < options.streams; i++) {
        CHECK(cuda.MemcpyDtoHAsync(bytes, batches[i].hidden[0], size, batches[i].stream));
        CHECK(cuda.StreamSynchronize(batches[i].stream));
        for (size_t n = 0; n < size; n++)
            hash = (hash ^ bytes[n]) * 1099511628211u;
    }
    free(bytes);
    return hash;
}

int main(int argc, char **argv)
{
    const char *problem = options_parse(argc, argv);
    if (problem)
        return options_usage(problem);
    char software[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", software, sizeof software - 64);
    software[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(software, '/');
    strcpy(slash ? slash : software, "/../softcuda/libcuda.so.1");
    problem = cuda_open(&cuda, options.door, software);
    if (problem) {
        fprintf(stderr, "moe-demo: %s\n", problem);
        return 1;
    }
    CUdevice device;
    CUcontext context;
    char name[128];
    CHECK(cuda.DeviceGet(&device, (int) options.device));
    CHECK(cuda.DeviceGetName(name, sizeof name, device));
    printf("device: %s\n", name);
    fflush(stdout);
    CHECK(cuda.PrimaryCtxRetain(&context, device));
    CHECK(cuda.CtxSetCurrent(context));
    model_load();
    model_make();
    truth_open();
    struct batch *batches = must(calloc((size_t) options.streams, sizeof *batches));
    for (long i = 0; i < options.streams; i++) {
        batches[i].first_slot = i * CACHE_SLOTS;
        make_batch(&batches[i]);
    }
    run(batches);
    uint64_t sum = checksum(batches);
    printf("moe-demo: %ld layers x %ld steps x %ld tokens, top %ld of %ld, checksum 0x%016llx\n", options.layers,
           options.steps, options.tokens, options.topk, options.experts, (unsigned long long) sum);
    if (!truth_close()) {
        fprintf(stderr, "moe-demo: %s: %s\n", options.truth, strerror(errno));
        return 1;
    }
    free(batches);
    return 0;
}
