/* SPDX-License-Identifier: Apache-2.0 */
/* Fills groups from a trace: a group for each request, or one for all passes. */
#include "export.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int export_add_rows(struct export *export, uint32_t segment, const struct request_row *rows, uint32_t count,
                    uint32_t tokens, const char *prefix)
{
    struct wanted *wanted = realloc(export->wanted, (export->wanted_count + count + 1u) * sizeof *wanted);
    if (!wanted)
        return -ENOMEM;
    export->wanted = wanted;
    int result = export_add_group(export, tokens, segment, prefix);
    if (result)
        return result;
    uint32_t group = export->group_count - 1;
    const struct array *arrays = &export->arrays[export->groups[group].arrays];
    for (uint32_t i = 0; i < tokens; i++)
        export_put(&arrays[POSITIONS], i, (int32_t) i);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = (uint32_t) rows[i].position;
        export_put(&arrays[TOKENS], at, rows[i].token == MT_CONTEXT_OVERFLOW ? -1 : rows[i].token);
        if (rows[i].pass != UINT32_MAX)
            export->wanted[export->wanted_count++] = (struct wanted){segment, rows[i].pass, rows[i].row, group, at};
    }
    return 0;
}

static int add_request(struct export *export, uint32_t segment, const struct request *request, const char *prefix)
{
    uint32_t count = request->tokens - request->first_position;
    struct request_row *rows = malloc((count + 1u) * sizeof *rows);
    if (!rows)
        return -ENOMEM;
    requests_rows(export->requests[segment], request, rows);
    int result = export_add_rows(export, segment, rows, count, request->tokens, prefix);
    struct array confirmed = {"", ELEMENT_BOOL, 1, {request->tokens}, NULL};
    snprintf(confirmed.name, sizeof confirmed.name, "%.23sconfirmed", prefix);
    if (!result)
        result = export_add_array(export, confirmed, 0);
    if (!result)
        memset(export->arrays[export->array_count - 1].data, 1, request->confirmed);
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
                export_put_row(export, &export->groups[w->group], w->at,
                               (uint32_t) column + export_stage_column(export, segment), layer, w->row);
        }
    }
    return 0;
}

int export_fill_in(struct export *export)
{
    int result = export_want_stages(export);
    if (result)
        return result;
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
    const struct array *passes = &export->arrays[export->array_count - 1];
    if (segment > 0 && number == 0)
        export->fill = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (padded(pass, i))
            continue;
        uint64_t at = export->fill++;
        export_put(passes, at, (int32_t) number);
        if (pass->tokens && i < pass->rows)
            export_put(&arrays[TOKENS], at, pass->tokens[i]);
        if (pass->positions && i < pass->rows)
            export_put(&arrays[POSITIONS], at, pass->positions[i]);
        for (uint32_t j = 0; j < pass->layer_count; j++) {
            const struct pass_layer *layer = &pass->layers[j];
            int32_t column = requests_column(export->requests[segment], layer->site);
            if (column >= 0 && i < layer->rows)
                export_put_row(export, group, at, (uint32_t) column, layer, i);
        }
    }
    return 0;
}

int export_passes(struct export *export)
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
        result = export_add_group(export, export->groups[0].rows, 0, "");
    if (!result)
        result = export_add_array(export, (struct array){"pass", ELEMENT_INT32, 1, {export->groups[0].rows}, NULL}, 0);
    return result ? result : sequences_passes(export->reader, take_rows, export, &export->error);
}

int export_requests(struct export *export)
{
    uint32_t total = 0;
    for (uint32_t s = 0; s < export->trace->segment_count; s++)
        total += export_is_first_stage(export, s) ? requests_count(export->requests[s]) : 0;
    if (total == 0) {
        snprintf(export->error.text, sizeof export->error.text,
                 "%.100s: no requests: no kernel that ran shows slots or positions of rows, `moetap requests` "
                 "tells more (--passes needs none)",
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
        const uint32_t count = export_is_first_stage(export, s) ? requests_count(export->requests[s]) : 0;
        for (uint32_t i = 0; !result && i < count; i++, number++) {
            char prefix[24] = "";
            if (export->request < 0)
                snprintf(prefix, sizeof prefix, "%ld.", number);
            if (export->request < 0 || export->request == number)
                result = add_request(export, s, requests_get(export->requests[s], i), prefix);
        }
    }
    return result ? result : export_fill_in(export);
}
