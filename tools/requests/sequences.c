/* SPDX-License-Identifier: Apache-2.0 */
#include "sequences.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct feed;

struct feed_segment {
    struct feed *feed;
    uint32_t segment;
    struct passes *passes;
};

struct feed {
    const struct trace *trace;
    struct feed_segment *segments;
    sequences_take *take;
    void *user;
};

static int take_pass(const struct pass *pass, void *user)
{
    const struct feed_segment *segment = user;
    return segment->feed->take(segment->segment, pass, segment->feed->user);
}

static int take_record(uint32_t segment, const struct mt_record *record, const void *ids, void *user)
{
    struct feed *feed = user;
    const struct mt_site *site = &feed->trace->segments[segment].sites[record->site];
    return site->flags & MT_SITE_RETRACTED ? 0 : passes_add(feed->segments[segment].passes, site, record, ids);
}

int sequences_passes(struct trace_reader *reader, sequences_take *take, void *user, struct mt_error *error)
{
    const struct trace *trace = trace_reader_trace(reader);
    struct feed feed = {.trace = trace, .take = take, .user = user};
    feed.segments = calloc(trace->segment_count + 1u, sizeof *feed.segments);
    int result = feed.segments ? 0 : -ENOMEM;
    for (uint32_t i = 0; !result && i < trace->segment_count; i++) {
        feed.segments[i] = (struct feed_segment){&feed, i, passes_new(take_pass, &feed.segments[i])};
        if (!feed.segments[i].passes)
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
    int result = requests ? 0 : -ENOMEM;
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
