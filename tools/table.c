/* SPDX-License-Identifier: Apache-2.0 */
/* Live tables: one of each segment, of the one that is named or of all that a session has and gets. */
#include "verbs.h"

#include "../shm/settings.h"
#include "table/keeper.h"
#include "table/rank.h"
#include "stop.h"
#include "table/vllm_view.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAP_MS 2
#define DISCOVER_EVERY 10  /* turns */
#define LOWER_RANK_MS 2000 /* for which a tensor-parallel rank may be the first of its group that is seen */

struct segment {
    char name[256];
    bool looked, said, done; /* its rank is known; why it has no table; it will get none */
    struct rank rank;
    struct timespec since;
    struct keeper *keeper; /* NULL: it has no table */
};

struct tables {
    const char *session, *output, *view;
    bool follow, any;
    struct keeper_wish wish;
    struct segment *all;
    size_t count;
    int status;
    uint64_t lost;
};

static int out_of_memory(struct tables *tables)
{
    return tables->status = say_failed("out of memory");
}

/* Why a segment has no table (yet): once. */
static void say_once(struct segment *segment, const char *text)
{
    if (!segment->said)
        say_failed("%s", text);
    segment->said = true;
}

/* The table of a session's segment: where the session has none of its own, its ranks tell its tables apart. */
static void name_table(const struct tables *tables, const struct segment *segment, char name[256])
{
    const size_t prefix = strlen(MT_SEGMENT_PREFIX);
    const char *slash = strrchr(segment->name, '/'), *own = slash ? slash + 1 : segment->name;
    if (!tables->output)
        snprintf(name, 256, "%s", strncmp(own, MT_SEGMENT_PREFIX, prefix) == 0 ? own + prefix : own);
    else if (!tables->session)
        snprintf(name, 256, "%s", tables->output);
    else if (segment->rank.stage > 0)
        snprintf(name, 256, "%.200s.%d.pp%d", tables->output, segment->rank.data > 0 ? segment->rank.data : 0,
                 segment->rank.stage);
    else
        snprintf(name, 256, "%.200s.%d", tables->output, segment->rank.data > 0 ? segment->rank.data : 0);
}

static bool name_view(const struct tables *tables, const struct rank *rank, char view[128])
{
    char buffer[128], lock[512];
    if (!tables->view)
        return false;
    if (strchr(tables->view, ':'))
        snprintf(view, 128, "%s", tables->view);
    else
        snprintf(view, 128, "%s:%d", tables->view, rank->data > 0 ? rank->data : 0);
    return vllm_view_names(view, buffer, lock);
}

/* 0, or a negative errno and no keeper. */
static int keep(struct tables *tables, struct segment *segment, struct mt_error *error)
{
    char name[256], view[128];
    name_table(tables, segment, name);
    for (size_t i = 0; i < tables->count; i++) {
        const struct keeper *other = tables->all[i].keeper;
        if (other && strcmp(keeper_name(other), name) == 0) {
            snprintf(error->text, sizeof error->text, "%.70s: no table while %.70s has the name %.60s", segment->name,
                     tables->all[i].name, name);
            return -EBUSY;
        }
    }
    mt_reader *reader;
    int result = mt_attach(segment->name, MT_ATTACH_DRAIN, &reader, error);
    if (result)
        return result;
    segment->keeper = keeper_new(reader, name, name_view(tables, &segment->rank, view) ? view : NULL, &tables->wish);
    if (!segment->keeper) {
        mt_detach(reader);
        tables->status = EXIT_FAILED;
        segment->done = true;
        return 0;
    }
    tables->any = true;
    return 0;
}

static int add(struct tables *tables, const char *name)
{
    struct segment *more = realloc(tables->all, (tables->count + 1) * sizeof *more);
    if (!more)
        return out_of_memory(tables);
    tables->all = more;
    struct segment *segment = &more[tables->count++];
    memset(segment, 0, sizeof *segment);
    snprintf(segment->name, sizeof segment->name, "%s", name);
    clock_gettime(CLOCK_MONOTONIC, &segment->since);
    return 0;
}

static void drop(struct tables *tables, size_t index)
{
    tables->all[index] = tables->all[--tables->count];
}

static int look(struct segment *segment, struct mt_error *error)
{
    mt_reader *reader;
    int result = segment->looked ? 0 : mt_attach(segment->name, 0, &reader, error);
    if (result || segment->looked)
        return result;
    segment->rank = rank_of(mt_header(reader));
    segment->looked = true;
    mt_detach(reader);
    return 0;
}

/* Tensor-parallel ranks all route the same rows: the lowest one speaks for its group. */
static bool is_repeated(const struct tables *tables, const struct segment *segment, struct mt_error *error)
{
    for (size_t i = 0; i < tables->count; i++) {
        const struct segment *other = &tables->all[i];
        if (!other->looked || other->rank.tensor < 0 || other->rank.tensor >= segment->rank.tensor ||
            other->rank.data != segment->rank.data || other->rank.stage != segment->rank.stage)
            continue;
        snprintf(error->text, sizeof error->text,
                 "%.80s: no table: tensor-parallel rank %d repeats what rank %d routes, %.80s", segment->name,
                 segment->rank.tensor, other->rank.tensor, other->name);
        return true;
    }
    return false;
}

static bool may_be_repeated(const struct segment *segment)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return segment->rank.tensor > 0 &&
           (now.tv_sec - segment->since.tv_sec) * 1000 + (now.tv_nsec - segment->since.tv_nsec) / 1000000 <
               LOWER_RANK_MS;
}

static void consider(struct tables *tables, struct segment *segment)
{
    struct mt_error error = {""};
    int result = look(segment, &error);
    if (!result && is_repeated(tables, segment, &error)) {
        segment->done = true;
        if (!tables->wish.quiet)
            fprintf(stderr, "moetap: %s\n", error.text);
    } else if (!result && !may_be_repeated(segment)) {
        result = keep(tables, segment, &error);
    }
    if (result && result != -EAGAIN && result != -ENOENT)
        say_once(segment, error.text);
}

static void discover(struct tables *tables)
{
    struct mt_segment_name *names;
    size_t count;
    if (mt_discover(tables->session, &names, &count, NULL) != 0)
        return; /* no folder, no segments */
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        while (at < tables->count && strcmp(tables->all[at].name, names[i].name) != 0)
            at++;
        if (at == tables->count)
            add(tables, names[i].name);
    }
    for (size_t at = 0; at < tables->count; at++) {
        size_t i = 0;
        while (i < count && strcmp(tables->all[at].name, names[i].name) != 0)
            i++;
        if (i == count && !tables->all[at].keeper)
            drop(tables, at--);
    }
    free(names);
    /* All of them are looked at before the first one gets a table: lower ranks may have later names. */
    for (size_t i = 0; i < tables->count; i++)
        look(&tables->all[i], NULL);
    for (size_t i = 0; i < tables->count; i++) {
        if (!tables->all[i].keeper && !tables->all[i].done)
            consider(tables, &tables->all[i]);
    }
}

static void end(struct tables *tables, size_t index)
{
    struct segment *segment = &tables->all[index];
    int status = keeper_end(segment->keeper, &tables->lost);
    segment->keeper = NULL;
    segment->done = status != EXIT_OK;
    if (status != EXIT_OK)
        tables->status = status;
    else
        drop(tables, index); /* its name may come again */
}

/* A turn for each; returns the records taken. */
static uint64_t turn(struct tables *tables)
{
    uint64_t records = 0;
    for (size_t i = tables->count; i-- > 0;) {
        struct keeper *keeper = tables->all[i].keeper;
        if (keeper && keeper_turn(keeper, &records) != KEEPER_GOES_ON)
            end(tables, i);
    }
    return records;
}

/* Have all engines ended that there were? Those that wait for something may still come to it. */
static bool over(const struct tables *tables)
{
    for (size_t i = 0; i < tables->count; i++) {
        if (tables->all[i].keeper || (tables->any && !tables->all[i].done && !tables->all[i].said))
            return false;
    }
    return tables->session ? tables->any && !tables->follow : true;
}

static void serve(struct tables *tables)
{
    if (tables->session)
        discover(tables);
    if (tables->session && !tables->count && !tables->wish.quiet)
        fprintf(stderr, "moetap: no engine of session %s yet: waiting for one\n", tables->session);
    for (unsigned n = 0; !stop_wanted(); n++) {
        uint64_t records = turn(tables);
        if (tables->session && (n % DISCOVER_EVERY == 0 || over(tables)))
            discover(tables);
        if (over(tables))
            break;
        if (!records)
            nanosleep(&(struct timespec){0, NAP_MS * 1000000}, NULL);
    }
    for (size_t i = tables->count; i-- > 0;) {
        if (tables->all[i].keeper)
            end(tables, i);
    }
}

static int parse(int argc, char **argv, struct tables *tables, bool *strict)
{
    enum { SESSION = 256, SLOTS, LAYERS, VLLM, VLLM_LAYERS, FOLLOW, KEEP, STRICT };
    static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
                                          {"session", required_argument, NULL, SESSION},
                                          {"slots", required_argument, NULL, SLOTS},
                                          {"layers", required_argument, NULL, LAYERS},
                                          {"vllm", required_argument, NULL, VLLM},
                                          {"vllm-layers", required_argument, NULL, VLLM_LAYERS},
                                          {"follow", no_argument, NULL, FOLLOW},
                                          {"keep", no_argument, NULL, KEEP},
                                          {"strict", no_argument, NULL, STRICT},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {NULL, 0, NULL, 0}};
    struct keeper_wish *wish = &tables->wish;
    const char *end;
    uint64_t number;
    char view[128];
    int opt;
    while ((opt = getopt_long(argc, argv, ":o:q", longs, NULL)) != -1) {
        switch (opt) {
        case 'o':
            tables->output = optarg;
            break;
        case 'q':
            wish->quiet = true;
            break;
        case SESSION:
            tables->session = optarg;
            break;
        case SLOTS:
            if (!mt_parse_number(optarg, &end, &wish->slots) || *end || !wish->slots ||
                wish->slots > MT_TABLE_SLOTS_MAX)
                return say_usage("--slots takes a number from 1 to %llu, not '%s'",
                                 (unsigned long long) MT_TABLE_SLOTS_MAX, optarg);
            break;
        case LAYERS:
            if (!mt_parse_number(optarg, &end, &number) || *end || !number || number > MT_TABLE_LAYERS_MAX)
                return say_usage("--layers takes a number from 1 to %u, not '%s'", MT_TABLE_LAYERS_MAX, optarg);
            wish->layers = (uint32_t) number;
            break;
        case VLLM:
            tables->view = optarg;
            if (strlen(optarg) > 100 || !name_view(tables, &(struct rank){0, 0, 0}, view))
                return say_usage("--vllm takes INSTANCE_ID or INSTANCE_ID:DP_RANK, not '%s'", optarg);
            break;
        case VLLM_LAYERS:
            if (!vllm_view_layers(optarg, &wish->view_layers, wish->map, &wish->mapped))
                return say_usage("--vllm-layers takes N or N:LIST, as 61:3-60, not '%s'", optarg);
            break;
        case FOLLOW:
            tables->follow = true;
            break;
        case KEEP:
            wish->keep = true;
            break;
        case STRICT:
            *strict = true;
            break;
        default:
            return say_bad_option(argv, opt);
        }
    }
    if (argc - optind != (tables->session ? 0 : 1))
        return say_usage("a table of which segment? SEGMENT or --session S: `moetap ls` lists them");
    if (tables->view && (!wish->slots || !wish->view_layers))
        return say_usage("--vllm needs --slots and --vllm-layers: its readers know the shape beforehand");
    if (wish->view_layers && !tables->view)
        return say_usage("--vllm-layers is for --vllm");
    if (tables->follow && !tables->session)
        return say_usage("--follow is for --session");
    return EXIT_OK;
}

int verb_table(int argc, char **argv)
{
    static struct tables tables;
    bool strict = false;
    int status = parse(argc, argv, &tables, &strict);
    if (status)
        return status;
    stop_on_signals();
    if (!tables.session) {
        struct mt_error error = {""};
        if (add(&tables, argv[optind]) != 0)
            return tables.status;
        if (look(tables.all, &error) != 0 || keep(&tables, tables.all, &error) != 0)
            return say_failed("%s", error.text);
    }
    serve(&tables);
    free(tables.all);
    return tables.status == EXIT_OK && strict && tables.lost ? EXIT_LOST : tables.status;
}
