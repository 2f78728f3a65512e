/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torch.topk as a router: an engine in miniature launches the real kernels' names and parameter layouts on the software
 * device. The ids are final only behind the sort, a sampler's top-k must not be taken for a router, and grouped routing
 * has stages.
 */
#include "command.h"

#include <criterion/criterion.h>
#include <cuda.h>
#include <dlfcn.h>
#include <stdbool.h>

TestSuite(torch, .fini = scratch_remove, .timeout = 60);

struct tensor_info {
    void *data;
    uint32_t sizes[25], strides[25];
    int dims;
};

/* clang-format off */
#define CALLS(X)                                                                                                       \
    X(cuInit)                                                                                                          \
    X(cuDevicePrimaryCtxRetain)                                                                                        \
    X(cuCtxSetCurrent) X(cuMemAlloc_v2) X(cuMemcpyHtoD_v2) X(cuModuleLoadData) X(cuModuleGetFunction)                  \
        X(cuModuleUnload) X(cuLaunchKernel) X(cuStreamSynchronize) X(cuLibraryLoadData) X(cuLibraryGetKernel)          \
            X(cuLaunchKernelEx)
/* clang-format on */
static struct {
#define FIELD(name) __typeof__(&(name)) name;
    CALLS(FIELD)
#undef FIELD
} cuda;

static const char gather_name[] =
    "_ZN2at6native6sbtopk10gatherTopKIfjLi2ELb0EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bS8_"
    "S8_NS5_IS6_S8_EES8_NS5_IlS8_EES8_PS6_";

static void ok(CUresult result)
{
    if (result != CUDA_SUCCESS) {
        fprintf(stderr, "CUDA error %d\n", (int) result);
        _exit(3);
    }
}

static void *device_alloc(size_t size)
{
    CUdeviceptr address;
    ok(cuda.cuMemAlloc_v2(&address, size));
    memset((void *) (uintptr_t) address, 0, size); /* the software device's memory is ours */
    return (void *) (uintptr_t) address;
}

static CUmodule module;

static void start(void)
{
    void *library = dlopen(SOFTCUDA, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        _exit(4);
    void *found;
#define LOOK_UP(name)                                                                                                  \
    found = dlsym(library, #name);                                                                                     \
    memcpy(&cuda.name, &found, sizeof found);
    CALLS(LOOK_UP)
    CUcontext context;
    ok(cuda.cuInit(0));
    ok(cuda.cuDevicePrimaryCtxRetain(&context, 0));
    ok(cuda.cuCtxSetCurrent(context));
    ok(cuda.cuModuleLoadData(&module, ".version 8.0"));
}

static void launch(CUfunction f, unsigned blocks, void **params)
{
    ok(cuda.cuLaunchKernel(f, blocks, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
}

/* One torch.topk: scores [rows, experts] with the largest at the end, so that index order is not score order. Elements
 * from a row of ids to the next, and from an id to the row's next. */
static void top_k_spread(CUfunction gather, CUfunction sort, float *scores, uint32_t rows, uint32_t experts, uint32_t k,
                         int64_t *ids, uint32_t stride, uint32_t column)
{
    struct tensor_info in = {.data = scores, .sizes = {rows, 1}, .strides = {experts, 1}, .dims = 2};
    struct tensor_info values = {
        .data = device_alloc((size_t) rows * k * 4), .sizes = {rows, 1}, .strides = {k, 1}, .dims = 2};
    struct tensor_info indices = {.data = ids, .sizes = {rows, 1}, .strides = {stride, column}, .dims = 2};
    bool largest = true;
    uint32_t one = 1;
    void *none = NULL;
    void *params[] = {&in, &experts, &k, &largest, &rows, &one, &values, &one, &indices, &column, &none};
    launch(gather, rows, params);
    if (sort) {
        bool descending = true;
        void *sort_params[] = {&values, &rows, &k, &one, &indices, &one, &descending};
        launch(sort, rows, sort_params);
    }
}

static void top_k(CUfunction gather, CUfunction sort, float *scores, uint32_t rows, uint32_t experts, uint32_t k,
                  int64_t *ids)
{
    top_k_spread(gather, sort, scores, rows, experts, k, ids, k, 1);
}

static float *scores_of(uint32_t rows, uint32_t experts)
{
    float *scores = device_alloc((size_t) rows * experts * sizeof *scores);
    for (uint32_t i = 0; i < rows * experts; i++)
        scores[i] = (float) (i % experts) / 2;
    return scores;
}

/* The engine: run again in this executable, as "test-torch engine WHAT". */
static int engine(const char *what)
{
    start();
    CUfunction gather, sort, gating;
    ok(cuda.cuModuleGetFunction(&gather, module, gather_name));
    ok(cuda.cuModuleGetFunction(&sort, module, "_ZN2at6native20bitonicSortKVInPlaceEv"));
    int64_t *ids = device_alloc(1 << 20);
    if (strcmp(what, "sorted") == 0) {
        top_k(gather, sort, scores_of(2, 8), 2, 8, 3, ids);
    } else if (strcmp(what, "spread") == 0) {
        static const uint32_t layouts[][2] = {{3, 1}, {7, 1}, {13, 4}, {1, 50}, {1, 61}}; /* the last two: [k, rows] */
        for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
            top_k_spread(gather, NULL, scores_of(50, 8), 50, 8, 3, ids + i, layouts[i][0], layouts[i][1]);
    } else if (strcmp(what, "unsorted") == 0) {
        top_k(gather, NULL, scores_of(2, 8), 2, 8, 3, ids);
    } else if (strcmp(what, "sampler") == 0) {
        top_k(gather, sort, scores_of(1, 32000), 1, 32000, 20, ids);
    } else if (strcmp(what, "grouped") == 0) {
        for (int layer = 0; layer < 3; layer++) {
            top_k(gather, sort, scores_of(2 * 4, 8), 2 * 4, 8, 2, ids);
            top_k(gather, NULL, scores_of(2, 4), 2, 4, 2, ids);
            top_k(gather, NULL, scores_of(2, 32), 2, 32, 3, ids);
        }
    } else if (strcmp(what, "unload") == 0) {
        /* After an unload the same handle is another kernel: what was known of it must be forgotten. */
        CUmodule other;
        ok(cuda.cuModuleLoadData(&other, ".version 8.0"));
        ok(cuda.cuModuleGetFunction(&gating, other, "_ZN2at6native20bitonicSortKVInPlaceEv"));
        struct tensor_info info = {.data = ids};
        uint32_t none = 0, one = 1;
        bool flag = false;
        void *params[] = {&info, &one, &none, &one, &info, &one, &flag};
        launch(gating, 1, params);
        ok(cuda.cuStreamSynchronize(NULL));
        ok(cuda.cuModuleUnload(other));
        ok(cuda.cuModuleLoadData(&other, ".version 8.0"));
        CUfunction again;
        ok(cuda.cuModuleGetFunction(&again, other, gather_name));
        if (again != gating)
            return 5; /* the device does it on purpose */
        top_k(again, NULL, scores_of(2, 8), 2, 8, 3, ids);
    } else if (strcmp(what, "kernel-handle") == 0) {
        /* CUDA 13's runtime passes a CUkernel for a CUfunction: the cuFunc calls refuse it. */
        CUlibrary library;
        CUkernel kernel;
        ok(cuda.cuLibraryLoadData(&library, ".version 8.0", NULL, NULL, 0, NULL, NULL, 0));
        ok(cuda.cuLibraryGetKernel(&kernel, library, gather_name));
        top_k((CUfunction) kernel, NULL, scores_of(2, 8), 2, 8, 3, ids);
    }
    ok(cuda.cuStreamSynchronize(NULL));
    return 0;
}

static void record(const char *what, struct outcome *dump)
{
    struct outcome o;
    command(&o, "cd %s && rm -f t; MOETAP_TORCH_ENGINE=%s %s record -q --source=preload -o t -- /proc/%d/exe",
            scratch(), what, MOETAP, (int) getpid());
    cr_assert_eq(o.status, 0, "%s: status %d: %s", what, o.status, o.text);
    command(dump, "cd %s && %s dump --format=jsonl t", scratch(), MOETAP);
    cr_assert_eq(dump->status, 0, "%s", dump->text);
}

static unsigned lines(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* Index order before the sort, score order behind it: the tap must have seen the latter. */
Test(torch, taps_behind_the_sort)
{
    struct outcome dump;
    record("sorted", &dump);
    cr_assert(strstr(dump.text, "\"k\":3,\"experts\":8,\"ids\":[[7,6,5],[7,6,5]]"), "%s", dump.text);
    cr_assert_eq(lines(dump.text), 1);
}

Test(torch, taps_without_a_sort)
{
    struct outcome dump;
    record("unsorted", &dump);
    cr_assert(strstr(dump.text, "\"ids\":[[5,6,7],[5,6,7]]"), "%s", dump.text);
}

/* The values that it chose, in their order behind the sort; here each expert's score is its number, halved. */
Test(torch, weights_are_read_behind_the_sort)
{
    struct outcome o, dump;
    command(&o,
            "cd %s && rm -f t; MOETAP_TORCH_ENGINE=sorted %s record -q --weights --source=preload -o t -- /proc/%d/exe",
            scratch(), MOETAP, (int) getpid());
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert(!strstr(o.text, "no weights"), "%s", o.text);
    command(&dump, "cd %s && %s dump --format=jsonl t", scratch(), MOETAP);
    cr_assert(strstr(dump.text, "\"ids\":[[7,6,5],[7,6,5]],\"weights\":[[3.5,3,2.5],[3.5,3,2.5]]"), "%s", dump.text);
}

/* Strides from a TensorInfo and from a parameter. */
Test(torch, ids_in_any_layout)
{
    struct outcome o;
    command(
        &o,
        "cd %s && rm -f t; printf '[spread]\nkernel = gatherTopK\nparams = 216 4 4 1 4 4 216 4 216 4 8\n"
        "ids = param 8\ndtype = i64\nrows = param 4\nexperts = param 1\nk = param 2\nstride = param 8 + 108\n"
        "column = param 9\n' > s.recipe; MOETAP_TORCH_ENGINE=spread %s record -q --source=preload --recipe s.recipe "
        "-o t -- /proc/%d/exe && %s dump --format=jsonl t",
        scratch(), MOETAP, (int) getpid(), MOETAP);
    cr_assert_eq(o.status, 0, "%s", o.text);
    unsigned right = 0;
    for (const char *at = o.text; (at = strstr(at, "[5,6,7]")); at++)
        right++;
    cr_assert_eq(right, 5 * 50, "%s", o.text);
    cr_assert_eq(lines(o.text), 6, "%s", o.text); /* and what was captured */
    cr_assert(strstr(o.text, "captured 5 records, 250 rows"), "%s", o.text);
}

Test(torch, a_sampler_is_no_router)
{
    struct outcome dump;
    record("sampler", &dump);
    cr_assert_eq(lines(dump.text), 0, "%s", dump.text);
}

Test(torch, stages_of_grouped_routing_are_left_out)
{
    struct outcome dump;
    record("grouped", &dump);
    cr_assert_eq(lines(dump.text), 3, "%s", dump.text);
    cr_assert(!strstr(dump.text, "\"experts\":8,") && !strstr(dump.text, "\"experts\":4,"), "%s", dump.text);
}

Test(torch, a_handle_that_became_another_kernel)
{
    struct outcome dump;
    record("unload", &dump);
    cr_assert(strstr(dump.text, "\"ids\":[[5,6,7],[5,6,7]]"), "%s", dump.text);
}

Test(torch, a_kernel_handle_for_a_function)
{
    struct outcome dump;
    record("kernel-handle", &dump);
    cr_assert(strstr(dump.text, "\"ids\":[[5,6,7],[5,6,7]]"), "%s", dump.text);
}

__attribute__((constructor)) static void become_engine(void)
{
    const char *what = getenv("MOETAP_TORCH_ENGINE");
    if (what)
        _exit(engine(what));
}
