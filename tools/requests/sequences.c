/* SPDX-License-Identifier: Apache-2.0 */
#include "sequences.h"

#include "../models.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct feed;

struct feed_segment {
    struct feed *feed;
    uint32_t segment;
    struct passes *passes;
    struct mt_site model; /* a site of it; what else routes beside it is left out */
    bool hole;            /* behind the model's latest pass */
};

struct feed {
    const struct trace *trace;
    struct feed_segment *segments;
    struct models **models;
    uint64_t **rows; /* of each router */
    struct pass_arrays *arrays;
    sequences_take *take;
    void *user;
};

/* A draft's passes are none of the target's: the cache they write is their own. */
static int take_pass(const struct pass *given, void *user)
{
    struct feed_segment *segment = user;
    const struct mt_site *sites = segment->feed->trace->segments[segment->segment].sites;
    struct pass pass = *given;
    bool ours = false;
    for (uint32_t i = 0; i < pass.layer_count; i++)
        ours |= models_same(&sites[pass.layers[i].site], &segment->model);
    /* Its slots may be those of a pass of the target whose routers were lost. */
    pass.hole |= segment->hole || (!ours && pass.lost && pass.slots);
    segment->hole = pass.hole && !ours;
    return ours ? segment->feed->take(segment->segment, &pass, segment->feed->user) : 0;
}

/* Of the model that the rows are of. */
static struct mt_site main_site(const struct trace_view *view)
{
    return view->main == TRACE_NO_SITE ? (struct mt_site){.layer = MT_LAYER_UNKNOWN} : view->sites[view->main];
}

static int take_record(uint32_t segment, const struct mt_record *record, const void *ids, void *user)
{
    struct feed *feed = user;
    const struct mt_site *site = &feed->trace->segments[segment].sites[record->site];
    return site->flags & MT_SITE_RETRACTED ? 0 : passes_add(feed->segments[segment].passes, site, record, ids);
}

uint32_t sequences_other_layers(const struct trace_reader *reader, uint32_t segment)
{
    const struct trace_view *view = &trace_reader_trace(reader)->segments[segment];
    const struct mt_site model = main_site(view);
    uint32_t others = 0;
    for (uint32_t i = 0; i < view->site_count; i++) {
        const struct mt_site *site = &view->sites[i];
        others += site->kind == MT_SITE_ROUTER && site->layer >= 0 && !(site->flags & MT_SITE_RETRACTED) &&
                  trace_reader_chosen(reader, segment, i) && !models_same(site, &model) &&
                  models_names_first(view->sites, i);
    }
    return others;
}

int sequences_passes(struct trace_reader *reader, sequences_take *take, void *user, struct mt_error *error)
{
    const struct trace *trace = trace_reader_trace(reader);
    struct feed feed = {.trace = trace, .take = take, .user = user};
    feed.segments = calloc(trace->segment_count + 1u, sizeof *feed.segments);
    int result = feed.segments ? 0 : -ENOMEM;
    for (uint32_t i = 0; !result && i < trace->segment_count; i++) {
        feed.segments[i] = (struct feed_segment){.feed = &feed, .segment = i, .model = main_site(&trace->segments[i])};
        feed.segments[i].passes = passes_new(take_pass, &feed.segments[i]);
        if (feed.segments[i].passes)
            passes_know_array(feed.segments[i].passes, trace->segments[i].attends);
        else
            result = -ENOMEM;
    }
    if (!result)
        result = trace_reader_records(reader, take_record, &feed, error);
    for (uint32_t i = 0; feed.segments && i < trace->segment_count; i++) {
        if (!result)
            result = passes_flush(feed.segments[i].passes);
        passes_free(feed.segments[i].passes);
    }
    free(feed.segments);
    if (result == -ENOMEM)
        snprintf(error->text, sizeof error->text, "out of memory");
    return result;
}

static int note(uint32_t segment, const struct mt_record *record, const void *ids, void *user)
{
    struct feed *feed = user;
    const struct mt_site *site = &feed->trace->segments[segment].sites[record->site];
    (void) ids;
    if (site->kind == MT_SITE_ROUTER && !(site->flags & MT_SITE_RETRACTED))
        feed->rows[segment][record->site] += record->rows;
    if (record->context && site->kind != MT_SITE_ROUTER)
        pass_arrays_see(&feed->arrays[segment], site, record);
    return models_note(feed->models[segment], site, record);
}

/*
 * The model whose layers routed most rows: a draft has fewer layers, and a search over beams or a sampler, whose top-k
 * may be the router's kernel, one row of each sequence; but each of its steps may look like another layer.
 */
static uint32_t find_main(const struct trace_view *view, const uint64_t *rows)
{
    uint32_t main = TRACE_NO_SITE;
    uint64_t most = 0;
    for (uint32_t i = 0; i < view->site_count; i++) {
        uint64_t sum = 0;
        for (uint32_t j = 0; rows[i] && j < view->site_count; j++)
            sum += models_same(&view->sites[i], &view->sites[j]) ? rows[j] : 0;
        if (sum > most)
            main = i;
        most = sum > most ? sum : most;
    }
    return main;
}

int sequences_models(struct trace_reader *reader, struct mt_error *error)
{
    struct feed feed = {.trace = trace_reader_trace(reader)};
    const uint32_t count = feed.trace->segment_count;
    feed.models = calloc(count + 1u, sizeof *feed.models);
    feed.rows = calloc(count + 1u, sizeof *feed.rows);
    feed.arrays = calloc(count + 1u, sizeof *feed.arrays);
    int result = feed.models && feed.rows && feed.arrays ? 0 : -ENOMEM;
    for (uint32_t i = 0; !result && i < count; i++) {
        feed.models[i] = models_new();
        feed.rows[i] = calloc(feed.trace->segments[i].site_count + 1u, sizeof **feed.rows);
        result = feed.models[i] && feed.rows[i] ? 0 : -ENOMEM;
    }
    if (!result)
        result = trace_reader_records(reader, note, &feed, error);
    for (uint32_t i = 0; !result && i < count; i++) {
        const struct trace_view *view = &feed.trace->segments[i];
        for (uint32_t j = 0; j < view->site_count; j++)
            trace_reader_set_model(reader, i, j, models_of(feed.models[i], &view->sites[j]));
        trace_reader_set_main(reader, i, find_main(view, feed.rows[i]));
        trace_reader_set_attends(reader, i, feed.arrays[i].attends);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (feed.models)
            models_free(feed.models[i]);
        if (feed.rows)
            free(feed.rows[i]);
    }
    free(feed.models);
    free(feed.rows);
    free(feed.arrays);
    if (result == -ENOMEM)
        snprintf(error->text, sizeof error->text, "out of memory");
    return result;
}

static int survey(uint32_t segment, const struct pass *pass, void *user)
{
    return requests_survey(((struct requests **) user)[segment], pass);
}

static int add(uint32_t segment, const struct pass *pass, void *user)
{
    return requests_add(((struct requests **) user)[segment], pass);
}

int sequences_assemble(struct trace_reader *reader, uint32_t block_size, enum requests_rules rules,
                       struct requests ***out, struct mt_error *error)
{
    const struct trace *trace = trace_reader_trace(reader);
    struct requests **requests = calloc(trace->segment_count + 1u, sizeof *requests);
    int result = requests ? sequences_models(reader, error) : -ENOMEM;
    for (uint32_t i = 0; !result && i < trace->segment_count; i++) {
        const struct trace_view *view = &trace->segments[i];
        requests[i] = requests_new(view->sites, view->site_count, block_size, rules);
        if (!requests[i])
            result = -ENOMEM;
    }
    if (!result)
        result = sequences_passes(reader, survey, requests, error);
    for (uint32_t i = 0; !result && i < trace->segment_count; i++)
        result = requests_surveyed(requests[i]);
    if (!result)
        result = sequences_passes(reader, add, requests, error);
    for (uint32_t i = 0; !result && i < trace->segment_count; i++)
        result = requests_end(requests[i]);
    if (result == -ENOMEM)
        snprintf(error->text, sizeof error->text, "out of memory");
    if (result == -EDOM)
        snprintf(error->text, sizeof error->text,
                 "--block-size=%u: slots and positions do not fit blocks of so many slots; without it, it is found",
                 block_size);
    if (result == -ERANGE)
        snprintf(error->text, sizeof error->text, "slots or positions beyond what a cache can hold: damaged?");
    if (result && requests) {
        sequences_free(reader, requests);
        requests = NULL;
    }
    *out = requests;
    return result;
}

void sequences_free(const struct trace_reader *reader, struct requests **requests)
{
    for (uint32_t i = 0; i < trace_reader_trace(reader)->segment_count; i++)
        requests_free(requests[i]);
    free(requests);
}

bool parse_links(const char *text, enum requests_rules *rules)
{
    static const char *const names[] = {
        [REQUESTS_AUTO] = "auto", [REQUESTS_PROVEN] = "proven", [REQUESTS_LIKELY] = "likely"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], text) != 0)
            continue;
        *rules = (enum requests_rules) i;
        return true;
    }
    return false;
}
