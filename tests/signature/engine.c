/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signature-engine N TRUTH: launches the N-th signature's kernel in two layers of many shapes, eagerly by each way to
 * launch, and in CUDA graphs, and writes what stood in its memory then: a line for each launch, as the test writes the
 * records of a trace.
 *
 * signature-engine N TRUTH COUNT: launches of so many from the N-th on whose arguments make no sense, as of a release
 * that the recipe is not for. The kernels do nothing then; whatever they point to must be as it was in the end.
 */
#include "../engine/driver.h"
#include "signature.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS 2
#define REPLAYS 3

static struct cuda cuda;
static FILE *truth;
static CUmodule module;
static CUstream stream;
static CUfunction gemm, choose, scrub;
static CUdeviceptr step, scratch, attention[LAYERS], router[LAYERS];
static enum { PARAMS, PACKED, CONFIG, WAYS } way;
static unsigned launches;

static void check(CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS)
        return;
    fprintf(stderr, "signature-engine: %s: error %d\n", what, (int) result);
    exit(1);
}
#define CHECK(call) check((call), #call)

static CUdeviceptr alloc(size_t size)
{
    CUdeviceptr address;
    CHECK(cuda.MemAlloc(&address, size));
    return address;
}

static CUdeviceptr word(uint64_t value)
{
    CUdeviceptr address = alloc(4096);
    CHECK(cuda.MemcpyHtoD(address, &value, sizeof value));
    return address;
}

static CUfunction function_of(const char *name)
{
    CUfunction function;
    CHECK(cuda.ModuleGetFunction(&function, module, name));
    return function;
}

static void launch(CUfunction function, const unsigned grid[3], unsigned char *args, const struct layout *layout)
{
    void *params[64];
    size_t size = layout->bytes;
    void *packed[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, args, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    for (unsigned i = 0; i < layout->params; i++)
        params[i] = args + layout->param[i].offset;
    if (way == CONFIG) {
        CUlaunchAttribute overlap = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                     .value.programmaticStreamSerializationAllowed = 1};
        CUlaunchConfig config = {grid[0], grid[1], grid[2], 32, 1, 1, 0, stream, &overlap, 1};
        CHECK(cuda.LaunchKernelEx(&config, function, params, NULL));
    } else {
        CHECK(cuda.LaunchKernel(function, grid[0], grid[1], grid[2], 32, 1, 1, 0, stream, way == PACKED ? NULL : params,
                                way == PACKED ? packed : NULL));
    }
}

static void helper(CUfunction function, void **params)
{
    CHECK(cuda.LaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL));
}

/* The memory of one launch's kernels. */
struct run {
    const struct signature *signature, *with; /* `with`: NULL if there is none */
    struct layout layout, layout_with;
    CUfunction function, function_with;
    struct shape shape;
    unsigned layer;
    CUdeviceptr logits, ids, weights, mapped, kept, kept_weights, kept_mapped;
    size_t ids_bytes, weights_bytes, mapped_bytes;
};

/* What the rows of a pass are: in the same buffers for all passes, of the types that the signature has. */
enum { SLOTS, POSITIONS, TOKENS, STARTS, BLOCKS, READS, LENGTHS, LISTS, ORDER, CONTEXTS };
static const char *const contexts[CONTEXTS] = {"slots", "positions", "tokens",     "starts", "blocks",
                                               "reads", "lengths",   "kv_indices", "order"};
static uint64_t plan[CONTEXTS][4096];
static CUdeviceptr values[CONTEXTS];
/*
 * Block tables behind pointers, one for each group of the KV cache: where they are, their strides, slots of a block,
 * and which row of them each sequence has. The other group's table stands behind the first one's.
 */
static CUdeviceptr tables, strides, blocks_slots, states;
#define OTHER_TABLE 1024
static const uint32_t state_of[SEQUENCES] = {1, 2, 0};
static CUdeviceptr sequence_ids; /* which stay each sequence's own while it runs */
static const int64_t sequence_id_of[SEQUENCES] = {8, 3, 5};

static const struct signature *chooser(const struct run *run)
{
    return run->with ? run->with : run->signature;
}

static const struct field *ids_field(const struct run *run)
{
    return field_of(run->with ? &run->layout_with : &run->layout, "ids");
}

static uint64_t argument(const struct run *run, const struct field *field)
{
    const struct {
        const char *name;
        uint64_t value;
    } known[] = {{"logits", run->logits},
                 {"ids", run->ids},
                 {"weights", run->weights},
                 {"mapped", run->mapped},
                 {"layer", attention[run->layer]},
                 {"rows", run->shape.rows},
                 {"k", run->shape.k},
                 {"experts", run->shape.experts},
                 {"tables", tables},
                 {"strides", strides},
                 {"block_sizes", blocks_slots},
                 {"index", states},
                 {"sequence_ids", sequence_ids}};
    const char *text = field->value;
    if (*text)
        return value_of(&text, run->shape);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, field->name) == 0)
            return known[i].value;
    }
    for (size_t i = 0; i < CONTEXTS; i++) {
        if (strcmp(contexts[i], field->name) == 0)
            return values[i];
    }
    return field->pointer ? scratch : 0x7fdd7fdd7fdd7fddull;
}

static void launch_signature(const struct run *run, const struct signature *signature, const struct layout *layout,
                             CUfunction function)
{
    unsigned char args[4096] = {0};
    unsigned grid[3] = {1, 1, 1};
    const char *text = signature->grid;
    for (unsigned i = 0; text && *text; i++)
        grid[i] = value_of(&text, run->shape);
    for (unsigned i = 0; i < layout->fields; i++) {
        const struct field *field = &layout->field[i];
        const uint64_t value = argument(run, field);
        for (unsigned n = 0; n < field->count; n++)
            memcpy(args + field->offset + n * field->size, &value, field->size);
    }
    launch(function, grid, args, layout);
    launches += signature == run->signature;
}

static void launch_chooser(const struct run *run)
{
    const struct place place = place_of(run->signature, run->shape);
    unsigned size = type_size(ids_field(run)->type);
    void *params[] = {(void *) &run->logits,  (void *) &run->ids,           (void *) &run->shape.rows,
                      (void *) &run->shape.k, (void *) &run->shape.experts, &size,
                      (void *) &place.stride, (void *) &place.column,       (void *) &place.skip};
    helper(choose, params);
}

static void keep(CUdeviceptr kept, CUdeviceptr from, size_t bytes)
{
    if (!bytes)
        return;
    CHECK(cuda.MemcpyDtoDAsync(kept, from, bytes, stream));
    void *params[] = {&from, &bytes};
    helper(scrub, params);
}

static unsigned place_in_table(const char *recipe)
{
    unsigned i = 0;
    while (strcmp(signatures[i].recipe, recipe) != 0)
        i++;
    return i;
}

/* Its place in the table; of itself where it needs no other. */
static unsigned router_of(const struct signature *signature)
{
    return signature->with ? place_in_table(signature->with) : (unsigned) (signature - signatures);
}

static void launch_context(const struct run *run)
{
    const struct signature *signature = run->signature;
    char recipe[64], name[16];
    size_t n;
    if (!signature->among)
        launch_signature(run, signature, &run->layout, run->function);
    for (const char *at = signature->among; at && *at; at += n + (at[n] == ' ')) {
        n = strcspn(at, " ");
        snprintf(recipe, sizeof recipe, "%.*s", (int) n, at);
        if (strcmp(recipe, signature->recipe) == 0) {
            launch_signature(run, signature, &run->layout, run->function);
        } else {
            const unsigned other = place_in_table(recipe);
            struct layout layout;
            layout_of(&layout, &signatures[other]);
            snprintf(name, sizeof name, "#%u", other);
            launch_signature(run, &signatures[other], &layout, function_of(name));
        }
    }
}

/* One layer. Attention and router each show the layer by a weight. */
static void forward(struct run *run)
{
    void *attend[] = {&attention[run->layer], &scratch, &run->shape.rows, &step};
    void *logits[] = {&router[run->layer], &run->logits, &run->shape.rows, &step};
    const enum role role = run->signature->role;
    helper(gemm, attend);
    if (role == CONTEXT && (!run->signature->once_a_pass || !run->layer))
        launch_context(run);
    helper(gemm, logits);
    if (run->with)
        launch_signature(run, run->with, &run->layout_with, run->function_with);
    else if (role == CONSUMER)
        launch_chooser(run);
    if (role != CONTEXT)
        launch_signature(run, run->signature, &run->layout, run->function);
    keep(run->kept, run->ids, run->ids_bytes);
    keep(run->kept_weights, run->weights, run->weights_bytes);
    keep(run->kept_mapped, run->mapped, run->mapped_bytes);
}

static void prepare(struct run *run, const struct signature *signature, unsigned n, struct shape shape, unsigned layer)
{
    *run = (struct run){.signature = signature, .shape = shape, .layer = layer};
    char name[16];
    snprintf(name, sizeof name, "#%u", n);
    layout_of(&run->layout, signature);
    run->function = function_of(name);
    if (signature->with) {
        snprintf(name, sizeof name, "#%u", router_of(signature));
        run->with = &signatures[router_of(signature)];
        layout_of(&run->layout_with, run->with);
        run->function_with = function_of(name);
    }
    const struct field *weights = field_of(run->with ? &run->layout_with : &run->layout, "weights");
    const struct field *mapped = field_of(&run->layout, "mapped");
    const struct place place = place_of(chooser(run), shape);
    run->logits = alloc((size_t) shape.rows * shape.experts * 8);
    if (ids_field(run))
        run->ids_bytes =
            place.skip + ((size_t) (shape.rows - 1) * place.stride + (size_t) (shape.k - 1) * place.column + 1) *
                             type_size(ids_field(run)->type);
    if (weights && weights->pointer && signature->role != CONSUMER)
        run->weights_bytes = (size_t) shape.rows * shape.k * type_size(weights->type);
    if (mapped)
        run->mapped_bytes = (size_t) shape.rows * shape.k * type_size(mapped->type);
    run->ids = run->ids_bytes ? alloc(run->ids_bytes) : scratch;
    run->weights = run->weights_bytes ? alloc(run->weights_bytes) : scratch;
    run->mapped = run->mapped_bytes ? alloc(run->mapped_bytes) : scratch;
    run->kept = alloc(run->ids_bytes + 1);
    run->kept_weights = alloc(run->weights_bytes + 1);
    run->kept_mapped = alloc(run->mapped_bytes + 1);
}

/* Three sequences: the second begins a block behind two others, the others are in the midst of one. */
static void make_plan(const struct run *run, unsigned pass)
{
    const unsigned rows = run->shape.rows;
    const uint32_t starts[] = {0, rows / 3, rows / 2, rows};
    for (unsigned c = 0; c < CONTEXTS; c++) {
        const struct field *field = field_of(&run->layout, contexts[c]);
        const char *type = field ? field->type : "i32"; /* of a table that is found through a pointer */
        unsigned char *at = (unsigned char *) plan[c];
        const unsigned size = type_size(type);
        for (unsigned i = 0; i < sizeof plan[c] / size; i++) {
            unsigned sequence = i >= starts[2] ? 2 : i >= starts[1] ? 1 : 0;
            int64_t value = 1000 * pass + 7 * i + c;
            if (c == SLOTS && i % 5 == 4)
                value = -1; /* a padded row */
            if (c == POSITIONS)
                value = (sequence == 1 ? 2 * SLOTS_OF_BLOCK : 5) + (i - starts[sequence]);
            if (c == STARTS)
                value = starts[i <= SEQUENCES ? i : SEQUENCES];
            memcpy(at + i * size, &value, size);
        }
        CHECK(cuda.MemcpyHtoD(values[c], at, sizeof plan[c]));
    }
}

static int64_t load(const unsigned char *from, unsigned size)
{
    int64_t value = 0;
    memcpy(&value, from, size);
    return size == 8 ? value : size == 4 ? (int32_t) value : (int16_t) value;
}

static float load_weight(const unsigned char *from, const char *type)
{
    uint32_t bits = 0;
    float value;
    memcpy(&bits, from, type_size(type));
    if (strcmp(type, "bf16") == 0)
        bits <<= 16;
    else if (strcmp(type, "f16") == 0 && bits)
        bits = ((bits >> 10) + 112) << 23 | (bits & 0x3ff) << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* As it is in a trace: "negative" -1, "does not fit" -2. */
static int64_t recorded(int64_t id, const char *type, unsigned experts)
{
    if (id < 0 && *type == 'u')
        return -2;
    return id < 0 ? -1 : id >= (experts && experts <= 240 ? 254 : 65534) ? -2 : id;
}

static void *copy_of(CUdeviceptr from, size_t bytes)
{
    void *copy = malloc(bytes + 1);
    if (!copy)
        exit(1);
    CHECK(cuda.MemcpyDtoHAsync(copy, from, bytes, stream));
    CHECK(cuda.StreamSynchronize(stream));
    return copy;
}

static void tell_ids(const struct run *run, const char *what, unsigned experts, struct place place, const char *type,
                     CUdeviceptr kept, size_t bytes)
{
    unsigned char *ids = copy_of(kept, bytes);
    fprintf(truth, "%s experts %u k %u layer %u rows %u:", what, experts, run->shape.k, run->layer, run->shape.rows);
    for (size_t row = 0; row < run->shape.rows; row++) {
        for (size_t slot = 0; slot < run->shape.k; slot++)
            fprintf(
                truth, " %ld",
                (long) recorded(load(ids + place.skip + (row * place.stride + slot * place.column) * type_size(type),
                                     type_size(type)),
                                type, experts));
    }
    free(ids);
}

static void tell_values(unsigned c, const char *type, unsigned first, unsigned count, unsigned stride)
{
    const unsigned size = type_size(type);
    for (unsigned i = 0; i < count; i++)
        fprintf(truth, " %ld",
                (long) load((const unsigned char *) plan[c] + (size_t) (first + i * stride) * size, size));
}

/* Of the second sequence: its first row, and the blocks ahead of it. */
static void tell_blocks(const struct run *run, bool other)
{
    const struct field *field = field_of(&run->layout, "blocks");
    const unsigned ahead = 2 * SLOTS_OF_BLOCK / (other ? OTHER_SLOTS_OF_BLOCK : SLOTS_OF_BLOCK);
    const unsigned row = field_of(&run->layout, "index") ? state_of[1] : 1;
    fprintf(truth, "blocks: %d %u %u", other ? OTHER_SLOTS_OF_BLOCK : SLOTS_OF_BLOCK, run->shape.rows / 3, ahead);
    tell_values(BLOCKS, field ? field->type : "i32",
                other ? OTHER_TABLE + OTHER_BLOCKS_OF_SEQUENCE * row : BLOCKS_OF_SEQUENCE * row, ahead, 1);
    fputc('\n', truth);
}

/* All of each list: none has grown by one slot since the pass before. */
static void tell_lists(const struct run *run)
{
    const unsigned rows = run->shape.rows, starts[] = {0, rows / 3, rows / 2, rows};
    fprintf(truth, "kv_indices: %d", SEQUENCES);
    for (unsigned i = 0; i < SEQUENCES; i++) {
        const unsigned length = starts[i + 1] - starts[i];
        fprintf(truth, " %u %u %u", i, length, length);
        tell_values(LISTS, field_of(&run->layout, "kv_indices")->type, starts[i], length, 1);
    }
    fputc('\n', truth);
}

/* Of a batch, how many sequences have how many rows each; of a cache, where the first layer's keys were and are. */
static bool tell_launch(const struct run *run)
{
    const bool cache = strcmp(run->signature->shows, "cache") == 0;
    const struct field *sequences = field_of(&run->layout, "sequences"), *each = field_of(&run->layout, "each");
    const CUdeviceptr before = field_of(&run->layout, "before") ? scratch : attention[0], now = attention[0];
    if (cache)
        fprintf(truth, "cache: %d %d %d %d\n", (int) before, (int) (before >> 32), (int) now, (int) (now >> 32));
    else if (sequences)
        fprintf(truth, "batch: %d %d\n", (int) argument(run, sequences), (int) argument(run, each));
    return cache || sequences;
}

static void tell_context(const struct run *run)
{
    const struct signature *signature = run->signature;
    unsigned c = 0;
    if (run->layer || tell_launch(run)) /* one layer stands for all */
        return;
    while (strcmp(signature->shows, contexts[c]) != 0)
        c++;
    if (c == LISTS) {
        tell_lists(run);
        return;
    }
    const struct field *field = field_of(&run->layout, contexts[c]), *apart = field_of(&run->layout, "apart");
    for (unsigned group = 0; group == 0 || (group < signature->groups && (c == SLOTS || c == BLOCKS)); group++) {
        if (c == BLOCKS) {
            tell_blocks(run, group);
            continue;
        }
        fprintf(truth, "%s:", contexts[c]);
        tell_values(c, field->type, group ? (unsigned) argument(run, apart) : 0,
                    c == STARTS    ? SEQUENCES + 1
                    : c == LENGTHS ? SEQUENCES
                                   : run->shape.rows,
                    signature->layout ? place_of(signature, run->shape).stride : 1);
        fputc('\n', truth);
    }
}

static void tell(const struct run *run)
{
    const enum role role = run->signature->role;
    if (role == CONTEXT)
        tell_context(run);
    if (role == NO_IDS)
        return;
    const struct field *weights = field_of(run->with ? &run->layout_with : &run->layout, "weights");
    tell_ids(run, "router", chooser(run)->untold ? 0 : run->shape.experts, place_of(chooser(run), run->shape),
             ids_field(run)->type, run->kept, run->ids_bytes);
    if (run->weights_bytes) {
        unsigned char *kept = copy_of(run->kept_weights, run->weights_bytes);
        fprintf(truth, " weights");
        for (size_t i = 0; i < (size_t) run->shape.rows * run->shape.k; i++)
            fprintf(truth, " %g", (double) load_weight(kept + i * type_size(weights->type), weights->type));
        free(kept);
    }
    fputc('\n', truth);
    if (role == MAP) {
        const struct field *experts = field_of(&run->layout, "copies");
        tell_ids(run, "map", experts ? 4096 : 0, (struct place){run->shape.k, 1, 0},
                 field_of(&run->layout, "mapped")->type, run->kept_mapped, run->mapped_bytes);
        fputc('\n', truth);
    }
}

static void set_step(void)
{
    static uint32_t steps;
    steps++;
    CHECK(cuda.MemcpyHtoD(step, &steps, sizeof steps));
}

static void passes(const struct signature *signature, unsigned n, struct shape shape)
{
    struct run runs[LAYERS];
    static unsigned pass;
    for (unsigned i = 0; i < LAYERS; i++)
        prepare(&runs[i], signature, n, shape, i);
    for (way = PARAMS; way < WAYS; way++) {
        set_step();
        pass++;
        for (unsigned i = 0; i < LAYERS; i++) {
            make_plan(&runs[i], pass);
            forward(&runs[i]);
            tell(&runs[i]);
        }
    }
    way = PARAMS;
    if (signature->role == NO_IDS)
        return;
    CUgraph graph;
    CUgraphExec exec;
    CHECK(cuda.StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    for (unsigned i = 0; i < LAYERS; i++)
        forward(&runs[i]);
    CHECK(cuda.StreamEndCapture(stream, &graph));
    CHECK(cuda.GraphInstantiate(&exec, graph, 0));
    for (unsigned replay = 0; replay < REPLAYS; replay++) {
        set_step();
        pass++;
        for (unsigned i = 0; i < LAYERS; i++)
            make_plan(&runs[i], pass);
        CHECK(cuda.GraphLaunch(exec, stream));
        for (unsigned i = 0; i < LAYERS; i++)
            tell(&runs[i]);
    }
}

static uint64_t random_word(void)
{
    static uint64_t state = 7;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 16 | state << 48;
}

/* What a wrong parameter may hold. */
static uint64_t wild(CUdeviceptr memory)
{
    const uint64_t words[] = {
        0,          1,          UINT64_MAX, 0x7fffffff,          0x80000000,          1u << 20,     4096,
        0x3f800000, 0x40200000, memory,     random_word() >> 40, random_word() >> 16, random_word()};
    return words[random_word() % (sizeof words / sizeof *words)];
}

/* What lies there the GPU alone reads, and takes for addresses: nobody can tell beforehand whether it makes sense. */
static bool leads_on(const struct field *field)
{
    return strcmp(field->name, "tables") == 0 || strcmp(field->name, "strides") == 0 ||
           strcmp(field->name, "block_sizes") == 0 || strcmp(field->name, "index") == 0;
}

static void make_no_sense(const struct signature *signature, unsigned n)
{
    struct layout layout;
    struct run run;
    const struct shape shape = {5, signature->fixed.k ? signature->fixed.k : 4,
                                signature->fixed.experts ? signature->fixed.experts : 64};
    unsigned char before[64], *after;
    char name[16];
    prepare(&run, signature, n, shape, 0);
    make_plan(&run, 1);
    snprintf(name, sizeof name, "!%u", n);
    CUfunction nothing = function_of(name);
    layout_of(&layout, signature);
    memset(before, 0x7f, sizeof before);
    const CUdeviceptr small = alloc(sizeof before);
    CHECK(cuda.MemcpyHtoD(small, before, sizeof before));
    attention[0] = small;
    for (unsigned i = 0; i < 80; i++) {
        unsigned char args[4096] = {0};
        const bool captured = i % 40 == 39;
        const unsigned grid[3] = {i % 3 ? shape.rows : 1u << random_word() % 20, i % 5 ? 1 : shape.k, 1};
        CUgraph graph;
        CUgraphExec exec;
        for (unsigned f = 0; f < layout.fields; f++) {
            const struct field *field = &layout.field[f];
            const bool broken = i % 4 == 3 ? random_word() % 2 : f == i % layout.fields;
            const CUdeviceptr memory = leads_on(field) ? argument(&run, field) : small;
            const uint64_t value = broken ? wild(memory) : field->pointer && i % 2 ? memory : argument(&run, field);
            for (unsigned e = 0; e < field->count; e++)
                memcpy(args + field->offset + e * field->size, &value, field->size);
        }
        if (captured)
            CHECK(cuda.StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
        launch(nothing, grid, args, &layout);
        if (captured) {
            CHECK(cuda.StreamEndCapture(stream, &graph));
            CHECK(cuda.GraphInstantiate(&exec, graph, 0));
            CHECK(cuda.GraphLaunch(exec, stream));
        }
    }
    after = copy_of(small, sizeof before);
    if (memcmp(before, after, sizeof before) != 0) {
        fprintf(stderr, "signature-engine: its memory has changed\n");
        exit(1);
    }
    free(after);
}

/* One parameter has another size. */
static void other_sizes(const struct signature *signature, unsigned n)
{
    struct layout layout;
    layout_of(&layout, signature);
    for (unsigned i = 0; i < layout.params; i++) {
        unsigned char args[4096] = {0};
        const unsigned grid[3] = {1, 1, 1};
        char name[32];
        snprintf(name, sizeof name, "!%u:%u", n, i);
        launch(function_of(name), grid, args, &layout);
    }
}

int main(int argc, char **argv)
{
    static const unsigned image = 0xba55ed50u; /* the software device only looks at the magic */
    static const unsigned rows[][3] = {{1, 33, 600}, {1, 7, 40}};
    static const int64_t strides_of_group[] = {BLOCKS_OF_SEQUENCE, OTHER_BLOCKS_OF_SEQUENCE};
    static const int32_t slots_of_block[] = {SLOTS_OF_BLOCK, OTHER_SLOTS_OF_BLOCK};
    static const struct shape choices[] = {{.k = 8, .experts = 128}, {.k = 1, .experts = 512}};
    const char *problem = cuda_open(&cuda, "dlsym", NULL);
    CUcontext context;
    CUdevice device;
    truth = argc >= 3 && !problem ? fopen(argv[2], "w") : NULL;
    if (!truth) {
        fprintf(stderr, "signature-engine: %s\n", problem ? problem : "N TRUTH [COUNT]");
        return 2;
    }
    CHECK(cuda.DeviceGet(&device, 0));
    CHECK(cuda.PrimaryCtxRetain(&context, device));
    CHECK(cuda.CtxSetCurrent(context));
    CHECK(cuda.ModuleLoadData(&module, &image));
    CHECK(cuda.StreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    gemm = function_of("_Z14signature_gemmPKvPvjPKj");
    choose = function_of("_Z16signature_choosePKvPvjjjjjjj");
    scrub = function_of("_Z15signature_scrubPvm");
    step = word(0);
    scratch = alloc(1 << 16);
    for (unsigned i = 0; i < CONTEXTS; i++)
        values[i] = alloc(sizeof plan[i]);
    tables = word(0);
    strides = word(0);
    blocks_slots = word(0);
    states = word(0);
    sequence_ids = word(0);
    const CUdeviceptr tables_of_group[] = {values[BLOCKS], values[BLOCKS] + OTHER_TABLE * sizeof(int32_t)};
    CHECK(cuda.MemcpyHtoD(tables, tables_of_group, sizeof tables_of_group));
    CHECK(cuda.MemcpyHtoD(strides, strides_of_group, sizeof strides_of_group));
    CHECK(cuda.MemcpyHtoD(blocks_slots, slots_of_block, sizeof slots_of_block));
    CHECK(cuda.MemcpyHtoD(states, state_of, sizeof state_of));
    CHECK(cuda.MemcpyHtoD(sequence_ids, sequence_id_of, sizeof sequence_id_of));
    const unsigned n = (unsigned) atoi(argv[1]);
    const struct signature *signature = &signatures[n], *fixed = &signatures[router_of(signature)];
    if (argc == 4) {
        for (unsigned i = n; i < n + (unsigned) atoi(argv[3]) && signatures[i].mangled; i++) {
            make_no_sense(&signatures[i], i);
            other_sizes(&signatures[i], i);
        }
        return fclose(truth) == 0 ? 0 : 1;
    }
    /* Of row context the first model stands for all; a kernel that is compiled for one serves one. */
    const bool one = signature->role == CONTEXT || (fixed->fixed.k && fixed->fixed.experts);
    for (unsigned c = 0; c < (one ? 1 : sizeof choices / sizeof *choices); c++) {
        for (unsigned i = 0; i < LAYERS; i++) { /* a model of its own */
            attention[i] = word(11 + 100 * c + i);
            router[i] = word(21 + 100 * c + i);
        }
        /* One row is not three sequences. */
        for (unsigned r = signature->once_a_pass; r < 3; r++) {
            const unsigned fixed_rows = signature->fixed.rows ? signature->fixed.rows : fixed->fixed.rows;
            struct shape shape = {fixed_rows ? fixed_rows : rows[c][r], fixed->fixed.k ? fixed->fixed.k : choices[c].k,
                                  fixed->fixed.experts ? fixed->fixed.experts : choices[c].experts};
            passes(signature, n, shape);
        }
    }
    printf("launches %u\n", launches);
    return fclose(truth) == 0 ? 0 : 1;
}
