/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipeline stages: each process has some of the layers, and all run the same passes, of the same slots and positions. A
 * stage's pass is the first stage's if it has these and comes as many runs behind: a loss shifts nothing, and what has
 * no partner is missing.
 */
#include "export.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES 64u /* passes by which it is found out how many runs a stage is behind the first */

/* What tells a pass among those of its segment. */
struct mark {
    uint64_t run, rows; /* its number, and a hash of its slots and positions; 0: it has none */
    uint32_t pass;
};

struct marks {
    const struct export *export;
    struct seen {
        struct mark *all;
        uint32_t count, room;
    } * of; /* each stage */
};

static uint64_t hash_of(uint64_t hash, const int32_t *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        hash = (hash ^ (uint32_t) values[i]) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    return hash;
}

static int note(uint32_t segment, const struct pass *pass, void *user)
{
    struct marks *marks = user;
    for (uint32_t s = 0; s < marks->export->stage_count; s++) {
        struct seen *seen = &marks->of[s];
        if (marks->export->stages[s].segment != segment)
            continue;
        if (seen->count == seen->room) {
            uint32_t room = seen->room ? seen->room * 2 : 1024;
            struct mark *all = realloc(seen->all, room * sizeof *all);
            if (!all)
                return -ENOMEM;
            seen->all = all;
            seen->room = room;
        }
        uint64_t rows = 0;
        if (pass->slots && pass->positions && pass->rows)
            rows = hash_of(hash_of(pass->rows, pass->slots, pass->rows), pass->positions, pass->rows) | 1;
        seen->all[seen->count] = (struct mark){pass->run, rows, seen->count};
        seen->count++;
    }
    return 0;
}

static int by_run(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;
    if (x->run != y->run)
        return x->run < y->run ? -1 : 1;
    return (x->rows > y->rows) - (x->rows < y->rows);
}

/* The one pass of these rows and this run, in marks that are sorted; UINT32_MAX: none, or several streams have one. */
static uint32_t find(const struct seen *seen, uint64_t run, uint64_t rows)
{
    struct mark key = {.run = run, .rows = rows};
    const struct mark *found = rows && seen->count ? bsearch(&key, seen->all, seen->count, sizeof key, by_run) : NULL;
    if (!found || (found > seen->all && by_run(found - 1, &key) == 0) ||
        (found + 1 < seen->all + seen->count && by_run(found + 1, &key) == 0))
        return UINT32_MAX;
    return found->pass;
}

static uint32_t count_found(const struct seen *first, const struct seen *other, uint64_t behind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < first->count; i++)
        count += find(other, first->all[i].run + behind, first->all[i].rows) != UINT32_MAX;
    return count;
}

/* Runs of the other behind the first: with which most passes have a partner. */
static uint64_t runs_behind(const struct seen *first, const struct seen *other)
{
    uint64_t best = 0, tried = 0;
    uint32_t most = count_found(first, other, 0);
    for (uint32_t i = 0; i < first->count && tried < CANDIDATES && most * 2 < first->count; i++) {
        for (uint32_t j = 0; j < other->count && first->all[i].rows && tried < CANDIDATES; j++) {
            if (other->all[j].rows != first->all[i].rows)
                continue;
            uint64_t behind = other->all[j].run - first->all[i].run;
            uint32_t count = count_found(first, other, behind);
            best = count > most ? behind : best;
            most = count > most ? count : most;
            tried++;
        }
    }
    return best;
}

static int pair(struct stage *stage, const struct seen *first, struct seen *other)
{
    stage->passes = malloc((first->count + 1u) * sizeof *stage->passes);
    if (!stage->passes)
        return -ENOMEM;
    qsort(other->all, other->count, sizeof *other->all, by_run);
    const uint64_t behind = runs_behind(first, other);
    for (uint32_t i = 0; i < first->count; i++) {
        stage->passes[i] = find(other, first->all[i].run + behind, first->all[i].rows);
        stage->paired += stage->passes[i] != UINT32_MAX;
    }
    return 0;
}

static int add_stage(struct export *export, uint32_t segment)
{
    struct stage *more = realloc(export->stages, (export->stage_count + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    export->stages = more;
    more[export->stage_count++] = (struct stage){.segment = segment};
    return 0;
}

/* Tensor-parallel ranks all route the same rows: the lowest one of each stage. */
static int find_by_rank(struct export *export)
{
    uint32_t wanted = 1;
    for (uint32_t s = 0; s < export->trace->segment_count; s++) {
        if (export->trace->segments[s].info.data > 1)
            wanted = 0;
    }
    for (bool found = wanted > 0; found; wanted++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t s = 0; s < export->trace->segment_count; s++) {
            const struct trace_segment *info = &export->trace->segments[s].info;
            if (info->stage == wanted && requests_layers(export->requests[s]) &&
                (best == UINT32_MAX || info->tensor < export->trace->segments[best].info.tensor))
                best = s;
        }
        found = best != UINT32_MAX;
        if (found && add_stage(export, best) != 0)
            return -ENOMEM;
    }
    if (export->stage_count > 1)
        return 0;
    snprintf(export->error.text, sizeof export->error.text,
             "--stages=auto: the trace does not tell which segments are one model's stages: `moetap info` lists them, "
             "name them as 0,1");
    return -ENOENT;
}

static int check(struct export *export)
{
    int result = export->auto_stages ? find_by_rank(export) : 0;
    if (result)
        return result;
    const struct requests *first = NULL;
    for (uint32_t s = 0; s < export->stage_count; s++) {
        struct stage *stage = &export->stages[s];
        if (stage->segment >= export->trace->segment_count) {
            snprintf(export->error.text, sizeof export->error.text, "--stages: no segment %u: the trace has %u",
                     stage->segment, export->trace->segment_count);
            return -EINVAL;
        }
        const struct requests *r = export->requests[stage->segment];
        if (!first)
            first = r;
        if (requests_k(r) != requests_k(first) || requests_experts(r) != requests_experts(first) ||
            !requests_layers(r)) {
            snprintf(export->error.text, sizeof export->error.text,
                     "--stages: segment %u is of another model: %u layers, top %u of %u", stage->segment,
                     requests_layers(r), requests_k(r), requests_experts(r));
            return -EINVAL;
        }
        stage->column = export->stage_layers;
        export->stage_layers += requests_layers(r);
    }
    return 0;
}

int export_find_stages(struct export *export)
{
    int result = check(export);
    if (result)
        return result;
    struct marks marks = {.export = export};
    marks.of = calloc(export->stage_count, sizeof *marks.of);
    result = marks.of ? sequences_passes(export->reader, note, &marks, &export->error) : -ENOMEM;
    for (uint32_t s = 1; !result && s < export->stage_count; s++) {
        result = pair(&export->stages[s], &marks.of[0], &marks.of[s]);
        if (!result && !export->stages[s].paired) {
            snprintf(export->error.text, sizeof export->error.text,
                     "--stages: no pass of segment %u has the rows of one of segment %u: not stages of one model, or "
                     "their engine shows no slots and positions",
                     export->stages[s].segment, export->stages[0].segment);
            result = -ENOENT;
        }
    }
    for (uint32_t s = 0; marks.of && s < export->stage_count; s++)
        free(marks.of[s].all);
    free(marks.of);
    return result;
}

/* The rows of the first stage are wanted of each. */
int export_want_stages(struct export *export)
{
    const size_t count = export->wanted_count;
    if (export->stage_count < 2)
        return 0;
    struct wanted *wanted = realloc(export->wanted, (count * export->stage_count + 1u) * sizeof *wanted);
    if (!wanted)
        return -ENOMEM;
    export->wanted = wanted;
    for (uint32_t s = 1; s < export->stage_count; s++) {
        const struct stage *stage = &export->stages[s];
        for (size_t i = 0; i < count; i++) {
            if (stage->passes[wanted[i].pass] == UINT32_MAX)
                continue;
            struct wanted *more = &wanted[export->wanted_count++];
            *more = wanted[i];
            more->segment = stage->segment;
            more->pass = stage->passes[wanted[i].pass];
        }
    }
    return 0;
}

uint32_t export_stage_column(const struct export *export, uint32_t segment)
{
    for (uint32_t s = 0; s < export->stage_count; s++) {
        if (export->stages[s].segment == segment)
            return export->stages[s].column;
    }
    return 0;
}

uint32_t export_layers(const struct export *export, uint32_t segment)
{
    return export->stage_count ? export->stage_layers : requests_layers(export->requests[segment]);
}

bool export_is_first_stage(const struct export *export, uint32_t segment)
{
    return !export->stage_count || export->stages[0].segment == segment;
}

bool export_parse_stages(struct export *export, const char *text)
{
    export->auto_stages = strcmp(text, "auto") == 0;
    for (char *end; !export->auto_stages; text = end + 1) {
        unsigned long segment = strtoul(text, &end, 10);
        if (end == text || segment > UINT32_MAX || (*end && *end != ','))
            return false;
        for (uint32_t s = 0; s < export->stage_count; s++) {
            if (export->stages[s].segment == segment)
                return false;
        }
        if (add_stage(export, (uint32_t) segment) != 0)
            return false;
        if (!*end)
            return export->stage_count > 1;
    }
    return true;
}
