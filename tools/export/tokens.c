/* SPDX-License-Identifier: Apache-2.0 */
/* Groups for requests whose tokens are given, in a JSON file. */
#include "export.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The last token may not have run. Returns how many rows are known, or -errno. */
static int match(struct export *export, uint32_t segment, const int32_t *tokens, uint32_t count,
                 struct request_row *rows)
{
    struct requests *r = export->requests[segment];
    if (!requests_layers(r) || !count || !export_is_first_stage(export, segment))
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
        known = export_add_rows(export, segment, rows, count, count, prefix);
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

/* What is lost may be the run that was meant, and what is there another one of the same tokens, routed otherwise. */
static int refuse_losses(struct export *export)
{
    const struct trace *trace = export->trace;
    uint64_t lost = 0;
    bool whole = trace->complete;
    for (uint32_t i = 0; i < trace->segment_count; i++) {
        lost += trace_lost(&trace->segments[i].stats);
        whole &= trace->segments[i].has_stats;
    }
    if (export->lossy || (!lost && whole))
        return 0;
    const char *why = lost ? "records were lost" : "the trace is cut off";
    snprintf(export->error.text, sizeof export->error.text,
             "%.90s: %s: by tokens another run of the same ones may be found: --all goes by slots, --lossy takes it",
             export->path, why);
    return -EINVAL;
}

int export_tokens(struct export *export)
{
    const int refused = refuse_losses(export);
    if (refused)
        return refused;
    json_error_t error;
    json_t *lists = json_load_file(export->tokens_path, 0, &error);
    if (!lists) {
        if (error.line < 0) /* not opened */
            snprintf(export->error.text, sizeof export->error.text, "%.140s: %s", export->tokens_path, strerror(errno));
        else
            snprintf(export->error.text, sizeof export->error.text, "%.140s:%d: no JSON: %.80s", export->tokens_path,
                     error.line, error.text);
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
    return result ? result : export_fill_in(export);
}
