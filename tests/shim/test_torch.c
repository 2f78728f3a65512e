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
            X(cuLaunchKernelEx) X(cuStreamCreate) X(cuStreamBeginCapture_v2) X(cuStreamEndCapture)                     \
                X(cuGraphInstantiateWithFlags) X(cuGraphLaunch)
/* clang-format on */
static struct {
#define FIELD(name) __typeof__(&(name)) name;
    CALLS(FIELD)
#undef FIELD
} cuda;

static const char gather_name[] =
    "_ZN2at6native6sbtopk10gatherTopKIfjLi2ELb0EEEvNS_4cuda6detail10TensorInfoIKT_T0_EES8_S8_bS8_"
    "S8_NS5_IS6_S8_EES8_NS5_IlS8_EES8_PS6_";

/* Kernels of transformers' generate. */
static const char cast_name[] =
    "_ZN2at6native27unrolled_elementwise_kernelIZZZNS0_23direct_copy_kernel_cudaERNS_18TensorIteratorBase"
    "EENKUlvE1_clEvENKUlvE5_clEvEUlfE_St5arrayIPcLm2EELi4E23TrivialOffsetCalculatorILi1EjESB_NS0_6memory1"
    "2LoadWithCastILi1EEENSC_13StoreWithCastILi1EEEEEviT_T0_T2_T3_T4_T5_";
static const char rotary_name[] =
    "_ZN2at6native12_GLOBAL__N_119CatArrayBatchedCopyINS1_10OpaqueTypeILj4EEEjLi3ELi64ELi64EEEvPT_NS1_25C"
    "atArrInputTensorMetadataIS5_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_";
static const char cat_name[] =
    "_ZN2at6native12_GLOBAL__N_130CatArrayBatchedCopy_vectorizedINS1_10OpaqueTypeILj2EEEjLi3ELi128ELi1ELi"
    "16ELi8EEEvPcNS1_25CatArrInputTensorMetadataIT_T0_XT2_EXT3_EEENS1_16TensorSizeStrideIS8_Lj4EEEiS8_";
static const char index_name[] =
    "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2"
    "EEEEEvRNS_14TensorIteratorElllEUliE_EEvlT1_";
static const char embedding_name[] = "_ZN2at6native24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb";
static const char select_name[] =
    "_ZN2at6native12_GLOBAL__N_121indexSelectSmallIndexIN3c108BFloat16EijLin1ELin1ELin1EEEvNS_4cuda6detail"
    "10TensorInfoIT_T1_EENS6_IKS7_S8_EENS6_IKT0_S8_EEiiS8_l";

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
static CUstream stream;

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
    ok(cuda.cuLaunchKernel(f, blocks, 1, 1, 1, 1, 1, 0, stream, params, NULL));
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

static struct {
    CUfunction gather, cast, rotary, cat, index, embedding, select;
    float *scores;
    int64_t *ids;
    char *weights; /* of the layers' routers */
} generation;

struct batch_pass {
    uint32_t sequences, rows;
    int64_t positions[16];
    uint64_t cache_before, cache_after; /* the same: a static one */
    bool static_cache, latent;          /* latent: one head */
    bool plain;                         /* no concatenated rotary embedding */
    int64_t slots[16], reads[16];       /* of a paged one */
    uint32_t read_count;
    int window; /* a layer with a window comes 1: first, 2: last; its slots are in the same memory */
};

/* torch.cat of two tensors along the last dimension but one or the last; all that is behind it is one, in 16 bytes. */
static void cat(CUfunction f, uint64_t out, uint64_t first, uint64_t second, uint32_t sequences, uint32_t heads,
                uint32_t rows, int dimension)
{
    uint64_t inputs[2720 / 8] = {first, second};
    uint32_t shape[8] = {sequences, heads, rows * 64 / 8, 0, heads * rows * 64 / 8}, trailing = dimension == 2 ? 64 : 1;
    memcpy((char *) inputs + 1540, &rows, sizeof rows);
    void *params[] = {&out, inputs, shape, &dimension, &trailing};
    launch(f, 1, params);
}

static void rotary_cat(uint32_t sequences, uint32_t rows)
{
    cat(generation.rotary, 0x9000, 0x9100, 0x9100, sequences, rows, 8, 2);
}

static void cast_to_float(const void *from, uint32_t count, uint8_t type)
{
    const void *pointers[2] = {NULL, from};
    uint8_t nothing = 0, load[8] = {type}, store[8] = {6};
    void *params[] = {&count, &nothing, pointers, &nothing, &nothing, load, store};
    launch(generation.cast, 1, params);
}

/* keys.index_select(0, beams) of two layers, where beams is a column of a table of four. */
static void reorder(uint64_t from, uint64_t to, const int32_t *beams, uint32_t count)
{
    int32_t *table = device_alloc(count * 4 * sizeof *table);
    for (uint32_t i = 0; i < count; i++)
        table[i * 4] = beams[i];
    for (uint64_t layer = 0; layer < 2; layer++) {
        struct tensor_info out = {.data = (void *) (uintptr_t) (to + layer * 0x10000), .sizes = {1, 64}, .dims = 2};
        struct tensor_info in = {.data = (void *) (uintptr_t) (from + layer * 0x10000), .sizes = {1, 64}, .dims = 2};
        struct tensor_info index = {.data = table, .sizes = {count}, .strides = {4}, .dims = 1};
        int zero = 0;
        uint32_t slice = 64;
        int64_t all = count;
        void *params[] = {&out, &in, &index, &zero, &zero, &slice, &all};
        launch(generation.select, 1, params);
    }
}

static void select_rows(void *table, int64_t *ids, uint32_t count, int64_t bytes, int64_t rows)
{
    void *none = NULL;
    bool negative = false;
    void *params[] = {&none, &table, &ids, &count, &bytes, &rows, &bytes, &bytes, &negative};
    launch(generation.embedding, 1, params);
}

static void read_pages(const struct batch_pass *pass, uint64_t cache, int64_t *reads)
{
    for (uint64_t values = 0; values < 2 && pass->read_count; values++)
        select_rows((void *) (uintptr_t) (cache + values * 64), reads, pass->read_count, 512, 800);
}

/* index_copy_ of `rows` vectors of 4 * 64 into a paged cache. */
static void write_pages(const struct batch_pass *pass, uint64_t cache, int64_t *slots)
{
    const uint32_t rows = pass->sequences * pass->rows;
    int64_t count = rows * 4 * 64;
    for (int values = 0; values < 2; values++) {
        uint32_t functor[648 / 4] = {rows > 1 ? 2 : 1, 4 * 64, [16 / 4] = rows, [320 / 4] = 8};
        const uint64_t self = cache + (uint64_t) values * 64, step = 4 * 64;
        memcpy(&functor[608 / 4], &self, sizeof self);
        memcpy(&functor[616 / 4], &slots, sizeof slots);
        memcpy(&functor[640 / 4], &step, sizeof step);
        void *params[] = {&count, functor};
        launch(generation.index, 1, params);
    }
}

/* index_copy_ into a static cache of [sequences, heads, places, 64]: rows are the second dimension or the third. */
static void write_places(const struct batch_pass *pass, uint64_t cache, uint32_t heads)
{
    const uint32_t rows = pass->rows, sequences = pass->sequences, place = rows == 1 ? 0 : heads == 1 ? 1 : 2;
    int64_t count = (int64_t) sequences * rows * heads * 64;
    uint32_t functor[648 / 4] = {rows == 1 ? 2 : heads == 1 ? 3 : 4, 64};
    const uint32_t sizes[3] = {heads == 1 ? rows : heads, heads == 1 ? sequences : rows, sequences};
    const uint64_t width = 64;
    for (uint32_t i = 0; i < 3; i++)
        functor[4 + 3 * i] = sizes[i];
    if (rows == 1)
        functor[4] = heads * sequences;
    else
        functor[77 + 3 * place] = 8;
    memcpy(&functor[608 / 4], &cache, sizeof cache);
    memcpy(&functor[640 / 4], &width, sizeof width);
    void *params[] = {&count, functor};
    launch(generation.index, 1, params);
}

/* What the layer does that attends to a window: it reads first, as it writes over what it reads, to slots of its own.
 */
static void window_pages(const struct batch_pass *pass, uint64_t cache, int64_t *slots, int64_t *reads)
{
    read_pages(pass, cache, reads);
    write_pages(pass, cache, slots);
}

static void route(float *scores, uint32_t rows, const struct batch_pass *pass, void *weights)
{
    cat(generation.cat, (uint64_t) (uintptr_t) scores, (uint64_t) (uintptr_t) weights, 0x9500, pass->sequences, 4,
        pass->rows, 3);
    top_k(generation.gather, NULL, scores, rows, 8, 1, generation.ids);
}

static void run_batch(const struct batch_pass *pass, int64_t first_token)
{
    const uint32_t rows = pass->sequences * pass->rows;
    int64_t *positions = device_alloc(rows * 8), *tokens = device_alloc(rows * 8);
    int64_t *slots = device_alloc(rows * 8), *reads = device_alloc(16 * 8);
    memcpy(slots, pass->slots, rows * 8);
    memcpy(reads, pass->reads, sizeof pass->reads);
    int64_t *window_slots = device_alloc(rows * 8), *window_reads = device_alloc(16 * 8);
    for (uint32_t i = 0; i < rows; i++)
        window_slots[i] = 400 + pass->positions[i] % 2; /* a window of two, where all sequences write */
    for (uint32_t i = 0; i < 16; i++)
        window_reads[i] = 799;
    float *scores = generation.scores;
    memset(scores, 0, rows * 8 * sizeof *scores);
    memcpy(positions, pass->positions, rows * 8);
    for (uint32_t i = 0; i < rows; i++) {
        tokens[i] = first_token + i;
        scores[i * 8 + (uint32_t) tokens[i] % 8] = 1;
    }
    select_rows((void *) 0x5000, tokens, rows, 1024, 32000);
    /* What else is cast and put side by side in a pass. */
    cast_to_float(tokens, rows, 4);
    const bool paged = !pass->cache_after;
    for (uint32_t i = 0; i < rows && paged; i++)
        ((int32_t *) positions)[i] = (int32_t) pass->positions[i];
    cast_to_float(positions, rows, paged ? 3 : 4);
    for (int i = 0; i < 2 && !pass->plain; i++)
        rotary_cat(pass->sequences, pass->rows);
    const uint32_t heads = pass->latent ? 1 : 4;
    for (uint64_t layer = 0; layer < 2; layer++) {
        cat(generation.cat, 0x9200, 0x9300, 0x9400, pass->sequences, 4, pass->rows, 3);
        if (paged && pass->window == (int) layer + 1)
            window_pages(pass, 0x7700001000, window_slots, window_reads);
        else if (paged) {
            const uint64_t at = 0x7700001000 + (pass->window ? 0 : layer * 256);
            write_pages(pass, at, slots);
            read_pages(pass, at, reads);
        } else if (pass->static_cache)
            write_places(pass, pass->cache_after + layer * 0x10000, heads);
        else
            cat(generation.cat, pass->cache_after + layer * 0x10000,
                pass->cache_before ? pass->cache_before + layer * 0x10000 : 0, 0x9500, pass->sequences, heads,
                pass->rows, 2);
        cast_to_float(tokens, rows, 4); /* experts */
        if (pass->window && layer == 0)
            route(scores, rows, pass, generation.weights + 16);
    }
    route(scores, rows, pass, generation.weights);
    ok(cuda.cuStreamSynchronize(NULL));
}

static void generate(const char *how)
{
    ok(cuda.cuModuleGetFunction(&generation.gather, module, gather_name));
    ok(cuda.cuModuleGetFunction(&generation.cast, module, cast_name));
    ok(cuda.cuModuleGetFunction(&generation.rotary, module, rotary_name));
    ok(cuda.cuModuleGetFunction(&generation.cat, module, cat_name));
    ok(cuda.cuModuleGetFunction(&generation.index, module, index_name));
    ok(cuda.cuModuleGetFunction(&generation.embedding, module, embedding_name));
    generation.scores = device_alloc(16 * 8 * sizeof *generation.scores);
    generation.ids = device_alloc(16 * sizeof *generation.ids);
    generation.weights = device_alloc(32);
    ok(cuda.cuModuleGetFunction(&generation.select, module, select_name));
    const bool in_place = strstr(how, "static"), latent = strstr(how, "latent"), plain = strstr(how, "plain");
    const bool window = strstr(how, "window"), beams = strstr(how, "beams"), lost = strstr(how, "lost");
    struct batch_pass passes[] = {
        {3, 4, {0, 0, 0, 1, 0, 1, 2, 3, 0, 0, 1, 2}, 0, 0x7700000100},
        {3, 1, {2, 4, 3}, 0x7700000100, 0x7700000200},
        /* A window lets go of what is in front, as far as the first sequence has any. */
        {3,
         1,
         {3, 5, 4},
         beams    ? 0x7700000400
         : window ? 0x7700000280
         : lost   ? 0x7700000400
                  : 0x7700000200,
         0x7700000300},
    };
    static const struct batch_pass paged[] = {
        {.sequences = 1, .rows = 5, .positions = {0, 1, 2, 0, 1}, .slots = {8, 9, 10, 24, 25}},
        {.sequences = 1,
         .rows = 3,
         .positions = {3, 2, 0},
         .slots = {11, 26, 32},
         .reads = {8, 9, 10, 11, 24, 25, 26, 32},
         .read_count = 8},
        {.sequences = 1, .rows = 1, .positions = {1}, .slots = {33}, .reads = {32, 33}, .read_count = 2},
    };
    if (strstr(how, "paged"))
        memcpy(passes, paged, sizeof paged);
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
        passes[i].static_cache = in_place;
        passes[i].latent = latent;
        passes[i].window = strstr(how, "hybrid-first") ? 1 : strstr(how, "hybrid-last") ? 2 : 0;
        passes[i].plain = plain;
        if (in_place)
            passes[i].cache_after = i == 2 && beams ? 0x7700000400 : 0x7700000100;
        if (i == 2 && beams) {
            const int32_t others[] = {0, 2, 1};
            reorder(passes[1].cache_after, 0x7700000400, others, 3);
            passes[i].positions[1] = 4;
            passes[i].positions[2] = 5;
        }
        run_batch(&passes[i], (int64_t) (i + 1) * 100);
        /* The search: more top-ks than the model has layers, of one row each. */
        for (uint32_t n = 0; beams && n < 3; n++)
            top_k(generation.gather, NULL, scores_of(1, 9), 1, 9, 3, generation.ids);
    }
}

/* A batch and what looks like its positions, of which a graph has one alone; what it reads is another's by then. */
static void half_captured(bool batch)
{
    int64_t *positions = device_alloc(4 * sizeof *positions);
    CUgraph graph;
    CUgraphExec exec;
    ok(cuda.cuModuleGetFunction(&generation.cast, module, cast_name));
    ok(cuda.cuModuleGetFunction(&generation.rotary, module, rotary_name));
    ok(cuda.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    if (batch)
        cast_to_float(positions, 4, 4);
    ok(cuda.cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    if (batch)
        rotary_cat(1, 4);
    else
        cast_to_float(positions, 4, 4);
    ok(cuda.cuStreamEndCapture(stream, &graph));
    if (!batch)
        rotary_cat(1, 4);
    ok(cuda.cuGraphInstantiateWithFlags(&exec, graph, 0));
    ok(cuda.cuGraphLaunch(exec, stream));
    ok(cuda.cuStreamSynchronize(stream));
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
    } else if (strncmp(what, "generate ", 9) == 0) {
        generate(what + 9);
    } else if (strncmp(what, "half captured ", 14) == 0) {
        half_captured(strcmp(what + 14, "batch") == 0);
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
    command(&o, "cd %s && rm -f t; MOETAP_TORCH_ENGINE='%s' %s record -q --source=preload -o t -- /proc/%d/exe",
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
    const unsigned right = occurrences(o.text, "[5,6,7]");
    cr_assert_eq(right, 5u * 50, "%s", o.text);
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

/* How many requests are listed with so many tokens, of which so many are missing. */
static unsigned listed(const char *text, unsigned tokens, unsigned missing)
{
    unsigned count = 0, number, all, layers, complete, absent;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "%u %u %u %u %u", &number, &all, &layers, &complete, &absent) == 5)
            count += all == tokens && absent == missing;
        else if (!*line)
            break;
    }
    return count;
}

static void requests_of(const char *what, struct outcome *o)
{
    struct outcome dump;
    record(what, &dump);
    command(o, "cd %s && %s requests t", scratch(), MOETAP);
    cr_assert_eq(o->status, 0, "%s", o->text);
}

/*
 * Prompts of 2, 4 and 3 tokens, padded to the longest one, and two more tokens each. Caches that grow, that have a
 * window, or that are written in place; of heads or of one latent vector; and models whose rotary embedding does not
 * show the batch.
 */
Test(torch, a_batch_is_a_request_for_each_sequence)
{
    static const char *const caches[] = {"generate dynamic", "generate window plain", "generate static plain",
                                         "generate static latent", "generate static latent plain"};
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) {
        struct outcome o;
        requests_of(caches[i], &o);
        cr_assert(strstr(o.text, "3 requests, 1 layers, top 1 of 8, in batches"), "%s: %s", caches[i], o.text);
        for (unsigned tokens = 4; tokens <= 6; tokens++)
            cr_assert_eq(listed(o.text, tokens, 0), 1, "%s: %s", caches[i], o.text);
    }
    struct outcome o;
    command(&o, "cd %s && %s export t --request 0 -o r.npz && unzip -p r.npz token_ids.npy | tail -c 16 | od -An -i",
            scratch(), MOETAP);
    cr_assert_eq(o.status, 0, "%s", o.text);
}

/* Beams go on from each other's places: sequences of 4 and of 3 tokens change theirs, then each has its next position.
 */
Test(torch, beams_go_on_from_where_they_were_put)
{
    static const char *const caches[] = {"generate beams", "generate beams static"};
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) {
        struct outcome o, dump;
        requests_of(caches[i], &o);
        cr_assert(strstr(o.text, "1 layers, top 1 of 8, in batches"), "%s: %s", caches[i], o.text);
        for (unsigned tokens = 4; tokens <= 6; tokens++)
            cr_assert_eq(listed(o.text, tokens, 0), 1, "%s: %s", caches[i], o.text);
        command(&dump, "cd %s && %s dump --context --format=jsonl t | grep order", scratch(), MOETAP);
        cr_assert(strstr(dump.text, "\"values\":[0,2,1]"), "%s", dump.text);
        cr_assert_eq(lines(dump.text), 1, "%s", dump.text); /* of one layer */
    }
}

/* No list is empty without a word. */
Test(torch, rows_that_nothing_shows)
{
    struct outcome o;
    requests_of("sorted", &o);
    cr_assert(strstr(o.text, " 0 requests,"), "%s", o.text);
    cr_assert(strstr(o.text, "no kernel that ran shows them"), "%s", o.text);
    command(&o, "cd %s && %s export t --all -o r.npz", scratch(), MOETAP);
    cr_assert(strstr(o.text, "no requests: no kernel that ran shows slots or positions"), "%s", o.text);
}

/* A cache of somewhere else: what is ahead of a row then is not known. */
Test(torch, a_batch_of_another_cache_is_not_followed)
{
    struct outcome o;
    requests_of("generate lost", &o);
    for (unsigned tokens = 3; tokens <= 5; tokens++)
        cr_assert_eq(listed(o.text, tokens, 0), 1, "%s", o.text);
    for (unsigned tokens = 4; tokens <= 6; tokens++)
        cr_assert_eq(listed(o.text, tokens, tokens - 1), 1, "%s", o.text);
}

/* Continuous batching: a cache of slots, and what each pass attends to. */
Test(torch, a_paged_cache_shows_its_sequences)
{
    struct outcome o;
    requests_of("generate paged plain", &o);
    cr_assert(strstr(o.text, " 3 requests, 1 layers, top 1 of 8, blocks of 8 slots"), "%s", o.text);
    cr_assert_eq(listed(o.text, 4, 0), 1, "%s", o.text);
    cr_assert_eq(listed(o.text, 3, 0), 1, "%s", o.text);
    cr_assert_eq(listed(o.text, 2, 0), 1, "%s", o.text);
    command(&o, "cd %s && %s info t", scratch(), MOETAP);
    cr_assert(strstr(o.text, "        2          8  torch.slots\n"), "%s", o.text); /* of one layer's keys */
    cr_assert(strstr(o.text, "        1          1  torch.slots.one\n"), "%s", o.text);
    cr_assert(strstr(o.text, "        2         10  torch.reads\n"), "%s", o.text);
}

/* Layers of a window write to slots of their own, in the same memory, before the others or behind them. */
Test(torch, a_paged_cache_of_two_groups_of_layers)
{
    static const char *const orders[] = {"generate paged plain hybrid-first", "generate paged plain hybrid-last"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        struct outcome o;
        requests_of(orders[i], &o);
        cr_assert(strstr(o.text, "2 layers, top 1 of 8, blocks of 8 slots"), "%s: %s", orders[i], o.text);
        for (unsigned tokens = 2; tokens <= 4; tokens++)
            cr_assert_eq(listed(o.text, tokens, 0), 1, "%s: %u: %s", orders[i], tokens, o.text);
        command(&o, "cd %s && %s info t", scratch(), MOETAP);
        cr_assert(strstr(o.text, "        4         16  torch.slots\n"), "%s", o.text);
        cr_assert(strstr(o.text, "        2         10  torch.reads\n"), "%s", o.text);
    }
}

/* Casts and concatenations of anything else are let alone. */
Test(torch, only_the_batch_is_tapped)
{
    struct outcome o, dump;
    record("generate dynamic", &dump);
    command(&o, "cd %s && %s dump --context --format=jsonl t | grep -o '\"kind\":\"[a-z]*\"\\|\"values\":[^}]*'",
            scratch(), MOETAP);
    cr_assert(strstr(o.text, "\"kind\":\"positions\"\n\"values\":[0,0,0,1,0,1,2,3,0,0,1,2]\n\"kind\":\"batch\"\n"
                             "\"values\":[3,4]\n\"kind\":\"cache\"\n\"values\":[0,0,256,119]\n"),
              "%s", o.text);
    const unsigned count = occurrences(o.text, "kind");
    cr_assert_eq(count, 3u * 4, "%s", o.text);
}

Test(torch, positions_of_before_a_capture_are_none_of_its_batch)
{
    static const char *const halves[] = {"half captured batch", "half captured positions"};
    struct outcome o, dump;
    for (size_t i = 0; i < 2; i++) {
        record(halves[i], &dump);
        command(&o, "cd %s && %s dump --context --format=jsonl t", scratch(), MOETAP);
        cr_assert(o.status == 0 && lines(o.text) == 0, "%s: %s", halves[i], o.text);
    }
}

__attribute__((constructor)) static void become_engine(void)
{
    const char *what = getenv("MOETAP_TORCH_ENGINE");
    if (what)
        _exit(engine(what));
}
