/* SPDX-License-Identifier: Apache-2.0 */
#include "export.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Ids of one row in one layer. The marks of an id that is none stay what missing rows are. */
static void put_ids(struct export *export, const struct group *group, uint64_t row, uint32_t column, const int32_t *ids,
                    uint32_t k)
{
    const struct array *array = &export->arrays[group->arrays + IDS];
    size_t at = (row * array->shape[1] + column) * array->shape[2];
    for (uint32_t j = 0; j < k && j < array->shape[2]; j++) {
        if (ids[j] < 0)
            continue;
        if (!fits(array->type, ids[j])) {
            export->misfit = ids[j];
            continue;
        }
        put(array, at + j, ids[j]);
        if (!elements[array->type].is_signed)
            ((uint8_t *) export->arrays[group->arrays + EXTRA].data)[at + j] = 0;
    }
}

static const struct array *last_array(const struct array *arrays)
{
    return arrays + (elements[arrays[IDS].type].is_signed ? EXTRA : EXTRA + 1);
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
bool export_layers_known(const struct export *export, uint32_t segment)
{
    const struct trace_view *view = &export->trace->segments[segment];
    for (uint32_t i = 0; i < view->site_count; i++) {
        if (requests_column(export->requests[segment], i) >= 0 && view->sites[i].layer == MT_LAYER_UNKNOWN)
            return false;
    }
    return true;
}

bool export_fits_config(const struct export *export, uint32_t segment)
{
    const struct requests *r = export->requests[segment];
    return export->config && export_layers_known(export, segment) &&
           model_config_agrees(export->config, requests_layers(r), requests_experts(r), requests_k(r));
}

/* All missing at first. `prefix` keeps the arrays of several requests apart. */
static int add_group(struct export *export, uint64_t rows, uint32_t segment, const char *prefix)
{
    const struct requests *requests = export->requests[segment];
    uint64_t layers = requests_layers(requests), k = requests_k(requests);
    int type = export->type;
    if (type < 0)
        type = requests_experts(requests) && requests_experts(requests) <= 256 ? ELEMENT_UINT8 : ELEMENT_UINT16;
    export->groups[export->group_count++] =
        (struct group){.rows = rows, .arrays = (uint32_t) export->array_count, .segment = segment};
    const bool mask = !elements[type].is_signed;
    struct array of[EXTRA + 1] = {
        [IDS] = {"routed_experts", (enum element_type) type, 3, {rows, layers, k}, NULL},
        [TOKENS] = {"token_ids", ELEMENT_INT32, 1, {rows}, NULL},
        [POSITIONS] = {"positions", ELEMENT_INT32, 1, {rows}, NULL},
        [LAYERS] = {"layers", ELEMENT_INT32, 1, {layers}, NULL},
        [EXTRA] = {"missing", ELEMENT_BOOL, 3, {rows, layers, k}, NULL},
    };
    for (uint32_t i = 0; i <= EXTRA; i++) {
        if (i == EXTRA && !mask)
            continue;
        char name[16];
        memcpy(name, of[i].name, sizeof name);
        snprintf(of[i].name, sizeof of[i].name, "%.23s%.15s", prefix, name);
        if (add_array(export, of[i], i == EXTRA ? 1 : i == IDS && mask ? 0 : 0xff) != 0)
            return -ENOMEM;
    }
    const struct array *shown = &export->arrays[export->groups[export->group_count - 1].arrays + LAYERS];
    for (uint32_t i = 0; i < layers; i++)
        ((int32_t *) shown->data)[i] = (int32_t) (export_fits_config(export, segment) ? export->config->numbers[i] : i);
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

/* A request's rows, its first one at its first position that is known. */
static int add_rows(struct export *export, uint32_t segment, const struct request_row *rows, uint32_t count,
                    const char *prefix)
{
    struct wanted *wanted = realloc(export->wanted, (export->wanted_count + count + 1u) * sizeof *wanted);
    if (!wanted)
        return -ENOMEM;
    export->wanted = wanted;
    if (add_group(export, count, segment, prefix) != 0)
        return -ENOMEM;
    uint32_t group = export->group_count - 1;
    const struct array *arrays = &export->arrays[export->groups[group].arrays];
    for (uint32_t i = 0; i < count; i++) {
        put(&arrays[POSITIONS], i, rows[i].position);
        put(&arrays[TOKENS], i, rows[i].token == MT_CONTEXT_OVERFLOW ? -1 : rows[i].token);
        if (rows[i].pass != UINT32_MAX)
            export->wanted[export->wanted_count++] = (struct wanted){segment, rows[i].pass, rows[i].row, group, i};
    }
    return 0;
}

static int add_request(struct export *export, uint32_t segment, const struct request *request, const char *prefix)
{
    uint32_t count = request->tokens - request->first_position, sure = request->confirmed - request->first_position;
    struct request_row *rows = malloc((count + 1u) * sizeof *rows);
    if (!rows)
        return -ENOMEM;
    requests_rows(export->requests[segment], request, rows);
    int result = add_rows(export, segment, rows, count, prefix);
    struct array confirmed = {"", ELEMENT_BOOL, 1, {count}, NULL};
    snprintf(confirmed.name, sizeof confirmed.name, "%.23sconfirmed", prefix);
    if (!result)
        result = add_array(export, confirmed, 0);
    if (!result)
        memset(export->arrays[export->array_count - 1].data, 1, sure);
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
                put_ids(export, &export->groups[w->group], w->at, (uint32_t) column,
                        layer->ids + (size_t) w->row * layer->k, layer->k);
        }
    }
    return 0;
}

static int fill_in(struct export *export)
{
    qsort(export->wanted, export->wanted_count, sizeof *export->wanted, by_place);
    return sequences_passes(export->reader, take_wanted, export, &export->error);
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
    return pass->slots && (row >= pass->rows || pass->slots[row] < 0);
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
    const struct array *passes = last_array(arrays);
    if (segment > 0 && number == 0)
        export->fill = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (padded(pass, i))
            continue;
        uint64_t at = export->fill++;
        put(passes, at, (int32_t) number);
        if (pass->tokens && i < pass->rows)
            put(&arrays[TOKENS], at, pass->tokens[i]);
        if (pass->positions && i < pass->rows)
            put(&arrays[POSITIONS], at, pass->positions[i]);
        for (uint32_t j = 0; j < pass->layer_count; j++) {
            const struct pass_layer *layer = &pass->layers[j];
            int32_t column = requests_column(export->requests[segment], layer->site);
            if (column >= 0 && i < layer->rows)
                put_ids(export, group, at, (uint32_t) column, layer->ids + (size_t) i * layer->k, layer->k);
        }
    }
    return 0;
}

int export_gather_passes(struct export *export)
{
    if (export->trace->segment_count != 1) {
        snprintf(export->error.text, sizeof export->error.text, "--passes writes one segment, and this trace has %u",
                 export->trace->segment_count);
        return -EINVAL;
    }
    export->groups = calloc(2, sizeof *export->groups);
    export->arrays = calloc(PER_GROUP, sizeof *export->arrays);
    if (!export->groups || !export->arrays)
        return -ENOMEM;
    int result = sequences_passes(export->reader, count_rows, export, &export->error);
    if (!result)
        result = add_group(export, export->groups[0].rows, 0, "");
    if (!result)
        result = add_array(export, (struct array){"pass", ELEMENT_INT32, 1, {export->groups[0].rows}, NULL}, 0);
    return result ? result : sequences_passes(export->reader, take_rows, export, &export->error);
}

int export_gather_requests(struct export *export)
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
    return result ? result : fill_in(export);
}

/* --- requests whose tokens are given --- */

/* The last token may not have run. Returns how many rows are known, or -errno. */
static int match(struct export *export, uint32_t segment, const int32_t *tokens, uint32_t count,
                 struct request_row *rows)
{
    struct requests *r = export->requests[segment];
    if (!requests_layers(r) || !count)
        return 0;
    int all = requests_match(r, tokens, count, rows),
        but_one = all < 0 ? all : requests_match(r, tokens, count - 1, rows);
    if (all < 0 || but_one < 0 || all < but_one)
        return all < 0 ? all : but_one;
    return requests_match(r, tokens, count, rows);
}

/* In the segment where it ran; in several, or in none: all is missing. */
static int add_tokens(struct export *export, const int32_t *tokens, uint32_t count, const char *prefix)
{
    uint32_t found = 0, segment = 0;
    struct request_row *rows = malloc((count + 1u) * sizeof *rows);
    int known = rows ? 0 : -ENOMEM;
    for (uint32_t s = 0; known >= 0 && s < export->trace->segment_count; s++) {
        known = match(export, s, tokens, count, rows);
        found += known > 0;
        segment = known > 0 ? s : segment;
    }
    for (uint32_t i = 0; known >= 0 && i < count; i++)
        rows[i] = (struct request_row){.position = (int32_t) i, .token = tokens[i], .pass = UINT32_MAX};
    if (known >= 0 && found == 1)
        known = match(export, segment, tokens, count, rows);
    export->not_found += found != 1;
    if (known >= 0)
        known = add_rows(export, segment, rows, count, prefix);
    free(rows);
    return known < 0 ? known : 0;
}

static int bad_tokens(struct export *export, size_t index)
{
    snprintf(export->error.text, sizeof export->error.text,
             "%.140s: entry %zu is no list of token ids: it is a JSON list with such a list for each request",
             export->tokens_path, index);
    return -EINVAL;
}

static int add_listed(struct export *export, const json_t *list, size_t index)
{
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count >= UINT32_MAX)
        return bad_tokens(export, index);
    int32_t *tokens = malloc((count + 1) * sizeof *tokens);
    int result = tokens ? 0 : -ENOMEM;
    for (size_t i = 0; !result && i < count; i++) {
        const json_t *token = json_array_get(list, i);
        if (!json_is_integer(token) || json_integer_value(token) < 0 || json_integer_value(token) > INT32_MAX)
            result = bad_tokens(export, index);
        else
            tokens[i] = (int32_t) json_integer_value(token);
    }
    char prefix[24];
    snprintf(prefix, sizeof prefix, "%zu.", index);
    if (!result)
        result = add_tokens(export, tokens, (uint32_t) count, prefix);
    free(tokens);
    return result;
}

int export_gather_tokens(struct export *export)
{
    json_error_t error;
    json_t *lists = json_load_file(export->tokens_path, 0, &error);
    if (!lists) {
        snprintf(export->error.text, sizeof export->error.text, "%.140s:%d: %.80s", export->tokens_path, error.line,
                 error.text);
        return -EINVAL;
    }
    size_t total = json_array_size(lists);
    int result = json_is_array(lists) && total > 0 && total < UINT32_MAX ? 0 : bad_tokens(export, 0);
    export->groups = calloc(total + 1, sizeof *export->groups);
    export->arrays = calloc(total + 1, PER_GROUP * sizeof *export->arrays);
    if (!export->groups || !export->arrays)
        result = -ENOMEM;
    for (size_t i = 0; !result && i < total; i++)
        result = add_listed(export, json_array_get(lists, i), i);
    json_decref(lists);
    return result ? result : fill_in(export);
}
