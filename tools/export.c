/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "arrays/arrays.h"
#include "model_config.h"
#include "sequences.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One row of the output and where it comes from. */
struct wanted {
    uint32_t segment, pass, row;
    uint32_t group;
    uint32_t at;
};

/* What is written for one request, or for all passes: its arrays begin at `arrays`. */
struct group {
    uint64_t rows;
    uint32_t arrays;
    uint32_t mask, weights; /* theirs, 0: none */
    uint32_t segment;
};

enum { IDS, TOKENS, POSITIONS, LAYERS, MASK, WEIGHTS, PER_GROUP };

struct export
{
    const char *path, *output, *config_path;
    struct model_config *config; /* NULL: layers stay MoE layers' numbers */
    arrays_write *write;
    long request; /* -1: all */
    bool passes;
    int type; /* enum element_type, -1: the smallest */
    uint32_t block_size;
    struct trace_reader *reader;
    const struct trace *trace;
    struct requests **requests;
    struct array *arrays;
    size_t array_count;
    struct group *groups;
    uint32_t group_count;
    struct wanted *wanted;
    size_t wanted_count, wanted_at;
    uint32_t *pass_numbers; /* of each segment */
    uint64_t fill;          /* --passes: rows so far */
    int32_t misfit;         /* an id that the type does not hold */
    struct mt_error error;
};

static void put(const struct array *array, size_t index, int32_t value)
{
    switch (elements[array->type].size) {
    case 1:
        ((uint8_t *) array->data)[index] = (uint8_t) value;
        break;
    case 2:
        ((uint16_t *) array->data)[index] = (uint16_t) value;
        break;
    default:
        ((int32_t *) array->data)[index] = value;
    }
}

static bool fits(enum element_type type, int32_t id)
{
    static const int32_t most[] = {INT32_MAX, INT16_MAX, UINT16_MAX, UINT8_MAX};
    return id <= most[type];
}

/* Ids and weights of one row in one layer. The marks of an id that is none stay what missing rows are. */
static void put_row(struct export *export, const struct group *group, uint64_t to, uint32_t column,
                    const struct pass_layer *layer, uint32_t row)
{
    const struct array *array = &export->arrays[group->arrays + IDS];
    const int32_t *ids = layer->ids + (size_t) row * layer->k;
    const float *weights = layer->weights ? layer->weights + (size_t) row * layer->k : NULL;
    size_t at = (to * array->shape[1] + column) * array->shape[2];
    for (uint32_t j = 0; j < layer->k && j < array->shape[2]; j++) {
        if (ids[j] < 0)
            continue;
        if (!fits(array->type, ids[j])) {
            export->misfit = ids[j];
            continue;
        }
        put(array, at + j, ids[j]);
        if (group->mask)
            ((uint8_t *) export->arrays[group->mask].data)[at + j] = 0;
        if (group->weights && weights)
            ((float *) export->arrays[group->weights].data)[at + j] = weights[j];
    }
}

static int add_array(struct export *export, struct array array, int fill)
{
    size_t size = array_size(&array);
    array.data = malloc(size + 1);
    if (!array.data)
        return -ENOMEM;
    memset(array.data, fill, size);
    export->arrays[export->array_count++] = array;
    return 0;
}

/* Unknown layers are put in an order that is likely, not certain. */
static bool layers_known(const struct export *export, uint32_t segment)
{
    const struct trace_view *view = &export->trace->segments[segment];
    for (uint32_t i = 0; i < view->site_count; i++) {
        if (requests_column(export->requests[segment], i) >= 0 && view->sites[i].layer == MT_LAYER_UNKNOWN)
            return false;
    }
    return true;
}

static bool fits_config(const struct export *export, uint32_t segment)
{
    const struct requests *r = export->requests[segment];
    return export->config && layers_known(export, segment) &&
           model_config_agrees(export->config, requests_layers(r), requests_experts(r), requests_k(r));
}

/* Which type, MT_WEIGHT_NONE: none of its routers shows weights. */
static enum mt_weight_type weights_of(const struct export *export, uint32_t segment)
{
    const struct trace_view *view = &export->trace->segments[segment];
    for (uint32_t i = 0; i < view->site_count; i++) {
        if (requests_column(export->requests[segment], i) >= 0 && view->sites[i].weights)
            return view->sites[i].weights;
    }
    return MT_WEIGHT_NONE;
}

/* All missing at first. `prefix` keeps the arrays of several requests apart. */
static int add_group(struct export *export, uint64_t rows, uint32_t segment, const char *prefix)
{
    const struct requests *requests = export->requests[segment];
    uint64_t layers = requests_layers(requests), k = requests_k(requests);
    int type = export->type;
    if (type < 0)
        type = requests_experts(requests) && requests_experts(requests) <= 256 ? ELEMENT_UINT8 : ELEMENT_UINT16;
    struct group *group = &export->groups[export->group_count++];
    *group = (struct group){.rows = rows, .arrays = (uint32_t) export->array_count, .segment = segment};
    const bool mask = !elements[type].is_signed;
    struct array of[PER_GROUP] = {
        [IDS] = {"routed_experts", (enum element_type) type, 3, {rows, layers, k}, NULL},
        [TOKENS] = {"token_ids", ELEMENT_INT32, 1, {rows}, NULL},
        [POSITIONS] = {"positions", ELEMENT_INT32, 1, {rows}, NULL},
        [LAYERS] = {"layers", ELEMENT_INT32, 1, {layers}, NULL},
        [MASK] = {"missing", ELEMENT_BOOL, 3, {rows, layers, k}, NULL},
        [WEIGHTS] = {"topk_weights", ELEMENT_FLOAT32, 3, {rows, layers, k}, NULL},
    };
    for (uint32_t i = 0; i < PER_GROUP; i++) {
        if ((i == MASK && !mask) || (i == WEIGHTS && weights_of(export, segment) == MT_WEIGHT_NONE))
            continue;
        if (i == MASK)
            group->mask = (uint32_t) export->array_count;
        if (i == WEIGHTS)
            group->weights = (uint32_t) export->array_count;
        char name[16];
        memcpy(name, of[i].name, sizeof name);
        snprintf(of[i].name, sizeof of[i].name, "%.23s%.15s", prefix, name);
        /* As a float that is NaN, with bits that no arithmetic yields. */
        if (add_array(export, of[i], i == MASK ? 1 : i == IDS && mask ? 0 : 0xff) != 0)
            return -ENOMEM;
    }
    const struct array *shown = &export->arrays[group->arrays + LAYERS];
    for (uint32_t i = 0; i < layers; i++)
        ((int32_t *) shown->data)[i] = (int32_t) (fits_config(export, segment) ? export->config->numbers[i] : i);
    return 0;
}

/* --- requests --- */

static int by_place(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    if (x->pass != y->pass)
        return x->pass < y->pass ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int add_request(struct export *export, uint32_t segment, const struct request *request, const char *prefix)
{
    uint32_t count = request->tokens - request->first_position;
    struct request_row *rows = malloc((count + 1u) * sizeof *rows);
    struct wanted *wanted = realloc(export->wanted, (export->wanted_count + count + 1u) * sizeof *wanted);
    if (wanted)
        export->wanted = wanted;
    int result = rows && wanted ? add_group(export, request->tokens, segment, prefix) : -ENOMEM;
    if (!result) {
        uint32_t group = export->group_count - 1;
        const struct array *arrays = &export->arrays[export->groups[group].arrays];
        requests_rows(export->requests[segment], request, rows);
        for (uint32_t i = 0; i < request->tokens; i++)
            put(&arrays[POSITIONS], i, (int32_t) i);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t at = (uint32_t) rows[i].position;
            put(&arrays[TOKENS], at, rows[i].token == MT_CONTEXT_OVERFLOW ? -1 : rows[i].token);
            export->wanted[export->wanted_count++] = (struct wanted){segment, rows[i].pass, rows[i].row, group, at};
        }
    }
    free(rows);
    return result;
}

static size_t first_wanted(const struct export *export, uint32_t segment, uint32_t pass)
{
    struct wanted key = {.segment = segment, .pass = pass};
    size_t low = 0, high = export->wanted_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_place(&export->wanted[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int take_wanted(uint32_t segment, const struct pass *pass, void *user)
{
    struct export *export = user;
    uint32_t number = export->pass_numbers[segment]++;
    size_t i = first_wanted(export, segment, number);
    for (; i < export->wanted_count && export->wanted[i].segment == segment && export->wanted[i].pass == number; i++) {
        const struct wanted *w = &export->wanted[i];
        for (uint32_t j = 0; j < pass->layer_count; j++) {
            const struct pass_layer *layer = &pass->layers[j];
            int32_t column = requests_column(export->requests[segment], layer->site);
            if (column >= 0 && w->row < layer->rows)
                put_row(export, &export->groups[w->group], w->at, (uint32_t) column, layer, w->row);
        }
    }
    return 0;
}

/* --- passes --- */

static uint32_t rows_of(const struct requests *requests, const struct pass *pass)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < pass->layer_count; i++) {
        if (requests_column(requests, pass->layers[i].site) >= 0 && pass->layers[i].rows > rows)
            rows = pass->layers[i].rows;
    }
    return rows;
}

static bool padded(const struct pass *pass, uint32_t row)
{
    return pass->slots && row < pass->rows && pass->slots[row] < 0;
}

static int count_rows(uint32_t segment, const struct pass *pass, void *user)
{
    struct export *export = user;
    uint32_t rows = rows_of(export->requests[segment], pass);
    for (uint32_t i = 0; i < rows; i++)
        export->groups[segment].rows += !padded(pass, i);
    return 0;
}

static int take_rows(uint32_t segment, const struct pass *pass, void *user)
{
    struct export *export = user;
    const struct group *group = &export->groups[segment];
    uint32_t rows = rows_of(export->requests[segment], pass), number = export->pass_numbers[segment]++;
    const struct array *arrays = &export->arrays[group->arrays];
    const struct array *passes = &export->arrays[export->array_count - 1];
    if (segment > 0 && number == 0)
        export->fill = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (padded(pass, i))
            continue;
        uint64_t at = export->fill++;
        put(passes, at, (int32_t) number);
        if (pass->tokens)
            put(&arrays[TOKENS], at, pass->tokens[i]);
        if (pass->positions)
            put(&arrays[POSITIONS], at, pass->positions[i]);
        for (uint32_t j = 0; j < pass->layer_count; j++) {
            const struct pass_layer *layer = &pass->layers[j];
            int32_t column = requests_column(export->requests[segment], layer->site);
            if (column >= 0 && i < layer->rows)
                put_row(export, group, at, (uint32_t) column, layer, i);
        }
    }
    return 0;
}

static int gather_passes(struct export *export)
{
    if (export->trace->segment_count != 1) {
        snprintf(export->error.text, sizeof export->error.text, "--passes writes one segment, and this trace has %u",
                 export->trace->segment_count);
        return -EINVAL;
    }
    export->groups = calloc(2, sizeof *export->groups);
    export->arrays = calloc(PER_GROUP + 1, sizeof *export->arrays);
    if (!export->groups || !export->arrays)
        return -ENOMEM;
    int result = sequences_passes(export->reader, count_rows, export, &export->error);
    if (!result)
        result = add_group(export, export->groups[0].rows, 0, "");
    if (!result)
        result = add_array(export, (struct array){"pass", ELEMENT_INT32, 1, {export->groups[0].rows}, NULL}, 0);
    return result ? result : sequences_passes(export->reader, take_rows, export, &export->error);
}

static int gather_requests(struct export *export)
{
    uint32_t total = 0;
    for (uint32_t s = 0; s < export->trace->segment_count; s++)
        total += requests_count(export->requests[s]);
    if (total == 0) {
        snprintf(export->error.text, sizeof export->error.text,
                 "%.100s: no requests: its engine shows no slots and positions of rows (--passes needs none)",
                 export->path);
        return -ENOENT;
    }
    if (export->request >= (long) total) {
        snprintf(export->error.text, sizeof export->error.text, "%.100s: no request %ld: it has %u", export->path,
                 export->request, total);
        return -ENOENT;
    }
    export->groups = calloc(total, sizeof *export->groups);
    export->arrays = calloc(total, PER_GROUP * sizeof *export->arrays);
    int result = export->groups && export->arrays ? 0 : -ENOMEM;
    long number = 0;
    for (uint32_t s = 0; s < export->trace->segment_count; s++) {
        for (uint32_t i = 0; !result && i < requests_count(export->requests[s]); i++, number++) {
            char prefix[24] = "";
            if (export->request < 0)
                snprintf(prefix, sizeof prefix, "%ld.", number);
            if (export->request < 0 || export->request == number)
                result = add_request(export, s, requests_get(export->requests[s], i), prefix);
        }
    }
    if (result)
        return result;
    qsort(export->wanted, export->wanted_count, sizeof *export->wanted, by_place);
    return sequences_passes(export->reader, take_wanted, export, &export->error);
}

static int write_out(struct export *export)
{
    const struct group *group = &export->groups[0];
    const struct requests *requests = export->requests[group->segment];
    struct word words[] = {{.key = "format"},        {.key = "moetap"},        {.key = "experts"}, {.key = "topk"},
                           {.key = "layers"},        {.key = "id_space"},      {.key = "missing"}, {.key = "requests"},
                           {.key = "complete_rows"}, {.key = "layer_numbers"}, {.key = "weights"}};
    static const char *const spaces[] = {"unknown", "logical", "physical"};
    uint32_t space = 0;
    const struct trace_view *view = &export->trace->segments[group->segment];
    for (uint32_t i = 0; i < view->site_count; i++) {
        if (requests_column(requests, i) >= 0)
            space = view->sites[i].id_space < 3 ? view->sites[i].id_space : 0;
    }
    snprintf(words[0].value, sizeof words[0].value, "moetap routed experts 1");
    snprintf(words[1].value, sizeof words[1].value, "%s", mt_version());
    snprintf(words[2].value, sizeof words[2].value, "%u", requests_experts(requests));
    snprintf(words[3].value, sizeof words[3].value, "%u", requests_k(requests));
    snprintf(words[4].value, sizeof words[4].value, "%u", requests_layers(requests));
    snprintf(words[5].value, sizeof words[5].value, "%s", spaces[space]);
    snprintf(words[6].value, sizeof words[6].value, "%s",
             elements[export->arrays[group->arrays].type].is_signed ? "-1" : "the array missing");
    snprintf(words[7].value, sizeof words[7].value, "%u", export->passes ? 0 : export->group_count);
    uint64_t complete = 0;
    for (uint32_t g = 0; g < export->group_count; g++) {
        const struct array *ids = &export->arrays[export->groups[g].arrays];
        const struct array *mask = &export->arrays[export->groups[g].mask];
        uint64_t per_row = ids->shape[1] * ids->shape[2];
        for (uint64_t row = 0; row < export->groups[g].rows; row++) {
            bool whole = true;
            for (uint64_t i = row * per_row; whole && i < (row + 1) * per_row; i++)
                whole = elements[ids->type].is_signed ? (ids->type == ELEMENT_INT32 ? ((int32_t *) ids->data)[i]
                                                                                    : ((int16_t *) ids->data)[i]) >= 0
                                                      : !((uint8_t *) mask->data)[i];
            complete += whole;
        }
    }
    snprintf(words[8].value, sizeof words[8].value, "%llu", (unsigned long long) complete);
    uint32_t in_model = 0;
    for (uint32_t g = 0; g < export->group_count; g++)
        in_model += fits_config(export, export->groups[g].segment);
    snprintf(words[9].value, sizeof words[9].value, "%s",
             in_model == 0                     ? "MoE layers"
             : in_model == export->group_count ? "model layers"
                                               : "mixed");
    static const char *const types[] = {"none", "f32", "f16", "bf16"};
    snprintf(words[10].value, sizeof words[10].value, "%s", types[weights_of(export, group->segment)]);
    return export->write(export->output, export->arrays, export->array_count, words, sizeof words / sizeof *words,
                         &export->error);
}

/* A segment without routers is no other model. */
static void warn_of_config(const struct export *export)
{
    for (uint32_t s = 0; export->config && s < export->trace->segment_count; s++) {
        const struct requests *r = export->requests[s];
        if (!layers_known(export, s))
            model_config_warn_unknown(export->config_path, s);
        else if (requests_layers(r) && !fits_config(export, s))
            model_config_warn(export->config, export->config_path, s, requests_layers(r), requests_experts(r),
                              requests_k(r));
    }
}

static int run(struct export *export)
{
    export->trace = trace_reader_trace(export->reader);
    export->pass_numbers = calloc(export->trace->segment_count + 1u, sizeof *export->pass_numbers);
    int result = export->pass_numbers
                     ? sequences_assemble(export->reader, export->block_size, &export->requests, &export->error)
                     : -ENOMEM;
    if (!result)
        warn_of_config(export);
    if (!result)
        result = export->passes ? gather_passes(export) : gather_requests(export);
    if (!result && export->misfit) {
        snprintf(export->error.text, sizeof export->error.text,
                 "expert %d does not fit that type: choose a wider --dtype", export->misfit);
        result = -ERANGE;
    }
    if (!result)
        result = write_out(export);
    if (result == -ENOMEM && !export->error.text[0])
        snprintf(export->error.text, sizeof export->error.text, "out of memory");
    for (size_t i = 0; i < export->array_count; i++)
        free(export->arrays[i].data);
    free(export->arrays);
    free(export->groups);
    free(export->wanted);
    free(export->pass_numbers);
    if (export->requests)
        sequences_free(export->reader, export->requests);
    return result ? say_failed("%s", export->error.text) : EXIT_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static bool same_file(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

int verb_export(int argc, char **argv)
{
    enum { REQUEST = 256, ALL, PASSES, DTYPE, BLOCK_SIZE, MODEL_CONFIG, SPACE };
    static const struct option longs[] = {{"request", required_argument, NULL, REQUEST},
                                          {"all", no_argument, NULL, ALL},
                                          {"passes", no_argument, NULL, PASSES},
                                          {"output", required_argument, NULL, 'o'},
                                          {"format", required_argument, NULL, 'f'},
                                          {"dtype", required_argument, NULL, DTYPE},
                                          {"block-size", required_argument, NULL, BLOCK_SIZE},
                                          {"model-config", required_argument, NULL, MODEL_CONFIG},
                                          {"ids", required_argument, NULL, SPACE},
                                          {NULL, 0, NULL, 0}};
    struct export export = {.request = -1, .type = -1};
    bool all = false;
    enum trace_ids ids = TRACE_IDS_OWN;
    const char *format = NULL;
    char *end;
    int opt;
    while ((opt = getopt_long(argc, argv, ":o:f:", longs, NULL)) != -1) {
        switch (opt) {
        case REQUEST:
            export.request = strtol(optarg, &end, 10);
            if (end == optarg || *end || export.request < 0)
                return say_usage("--request=%s: it is a number from `moetap requests`", optarg);
            break;
        case ALL:
            all = true;
            break;
        case PASSES:
            export.passes = true;
            break;
        case 'o':
            export.output = optarg;
            break;
        case 'f':
            format = optarg;
            break;
        case DTYPE:
            for (int i = 0; i < ELEMENT_BOOL; i++) {
                if (strcmp(elements[i].name, optarg) == 0)
                    export.type = i;
            }
            if (export.type < 0)
                return say_usage("--dtype=%s: it is int32, int16, uint16 or uint8", optarg);
            break;
        case BLOCK_SIZE:
            if (!parse_block_size(optarg, &export.block_size))
                return say_usage("--block-size=%s: it is a number of slots, from 1 to 65536", optarg);
            break;
        case MODEL_CONFIG:
            export.config_path = optarg;
            break;
        case SPACE:
            if (!trace_ids_parse(optarg, &ids))
                return say_usage("--ids=%s: it is logical or physical", optarg);
            break;
        default:
            return say_bad_option(argv, opt);
        }
    }
    if (argc - optind != 1 || !export.output)
        return say_usage("export what, where to? moetap export FILE --request N|--all|--passes -o OUT");
    if ((export.request >= 0) + all + export.passes != 1)
        return say_usage("one of --request N, --all and --passes");
    if (!format)
        format = ends_with(export.output, ".npz")           ? "npz"
                 : ends_with(export.output, ".safetensors") ? "safetensors"
                                                            : "";
    if (strcmp(format, "npz") == 0)
        export.write = npz_write;
    else if (strcmp(format, "safetensors") == 0)
        export.write = safetensors_write;
    else
        return say_usage("-o %s: .npz or .safetensors, or --format=npz|safetensors", export.output);
    export.path = argv[optind];
    if (same_file(export.path, export.output))
        return say_failed("-o %s: that is the trace itself", export.output);
    if (export.config_path && same_file(export.config_path, export.output))
        return say_failed("-o %s: that is the model's config itself", export.output);
    if (export.config_path && model_config_read(export.config_path, &export.config, &export.error) != 0)
        return say_failed("%s", export.error.text);
    if (trace_reader_open(export.path, &export.reader, &export.error) != 0) {
        model_config_free(export.config);
        return say_failed("%s", export.error.text);
    }
    int status = trace_reader_choose(export.reader, ids, &export.error) == 0 ? run(&export)
                                                                             : say_failed("%s", export.error.text);
    trace_reader_close(export.reader);
    model_config_free(export.config);
    return status;
}
