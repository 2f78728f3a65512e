/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "format/format.h"
#include "model_config.h"
#include "models.h"
#include "requests/sequences.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const id_spaces[] = {"unknown", "logical", "physical"};
static const char *const weight_types[] = {"-", "f32", "f16", "bf16"};
static const char *const dtypes[] = {"-", "int32", "int64", "uint32", "int16", "uint16", "uint8"};

/* NULL: none was given. */
static const char *config_path;
static struct model_config *config;

struct tally {
    uint64_t records, rows, first_step, last_step;
};

struct survey {
    const struct trace *trace;
    struct tally **tallies; /* [segment][site] */
};

static int count(uint32_t segment, const struct mt_record *record, const void *ids, void *user)
{
    (void) ids;
    struct survey *survey = user;
    struct tally *tally = &survey->tallies[segment][record->site];
    if (!tally->records++)
        tally->first_step = record->step;
    tally->rows += record->rows;
    if (record->step > tally->last_step)
        tally->last_step = record->step;
    return 0;
}

static void print_time(const char *what, uint64_t ns)
{
    char text[64];
    time_t seconds = (time_t) (ns / 1000000000u);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm))
        printf("  %s %s UTC\n", what, text);
}

/* `weights`: with a column for them, which few traces need. */
static void print_site(uint32_t index, const struct mt_site *site, const struct tally *tally, bool weights)
{
    char layer[32] = "unknown";
    if (site->layer != MT_LAYER_UNKNOWN)
        snprintf(layer, sizeof layer, site->model ? "%d of %u" : "%d", site->layer, site->model);
    /* All layers share what the rows are. */
    if (site->kind)
        snprintf(layer, sizeof layer, "%s", format_kind(site));
    printf("  %5u %*u %*s %7u %3u %-6s", index, site->kind ? 4 : 6, site->stream, site->kind ? 9 : 7, layer,
           site->experts, site->k, site->dtype < sizeof dtypes / sizeof *dtypes ? dtypes[site->dtype] : "?");
    printf(" %-8s", site->kind ? "-" : site->id_space < 3 ? id_spaces[site->id_space] : "?");
    if (weights)
        printf(" %-7s", site->weights < 4 ? weight_types[site->weights] : "?");
    printf(" %-5s", site->flags & MT_SITE_GRAPH ? "graph" : "eager");
    if (tally)
        printf(" %8llu %10llu", (unsigned long long) tally->records, (unsigned long long) tally->rows);
    printf("  %s%s\n", site->recipe, site->flags & MT_SITE_RETRACTED ? " (no router: left out)" : "");
}

static void print_site_head(bool tallied, bool weights)
{
    printf("  %5s %6s %7s %7s %3s %-6s %-8s%s %-5s%s  %s\n", "site", "stream", "layer", "experts", "k", "dtype", "ids",
           weights ? " weights" : "", "mode", tallied ? "  records       rows" : "", "recipe");
}

/* What a segment's routers show, to be held against the model's config. */
struct routers {
    uint32_t layers, experts, k;
    bool any, unknown, differ; /* not all the same: a draft model beside it */
};

static void add_router(struct routers *routers, const struct mt_site *site)
{
    if (site->kind || site->mapped_from || site->flags & MT_SITE_RETRACTED)
        return;
    if (site->layer < 0) {
        routers->unknown = true;
        return;
    }
    if ((uint32_t) site->layer + 1 > routers->layers)
        routers->layers = (uint32_t) site->layer + 1;
    routers->differ |= routers->any && (routers->k != site->k || routers->experts != site->experts);
    routers->experts = site->experts;
    routers->k = site->k;
    routers->any = true;
}

static void print_model_layers(const struct routers *routers, uint32_t segment)
{
    char text[512];
    if (config && !routers->any && routers->unknown) {
        fflush(stdout);
        model_config_warn_unknown(config_path, segment);
    }
    if (!config || !routers->any)
        return;
    if (routers->differ || !model_config_agrees(config, routers->layers, routers->experts, routers->k)) {
        fflush(stdout);
        model_config_warn(config, config_path, segment, routers->layers, routers->experts, routers->k);
        return;
    }
    model_config_ranges(config, text, sizeof text);
    printf("  model layers %s of %u: layers 0-%u here\n", text, config->layers, config->moe_layers - 1);
}

/* Of those that the engine told. */
static const char *ranks_text(const struct trace_segment *info)
{
    static char text[64];
    const char *const names[] = {"data parallel", "tensor parallel", "pipeline stage"};
    const uint8_t ranks[] = {info->data, info->tensor, info->stage};
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        if (ranks[i])
            at += (size_t) snprintf(text + at, sizeof text - at, " %s %u", names[i], ranks[i] - 1u);
    }
    return text;
}

static void print_view(const struct trace_view *view, const struct tally *tallies)
{
    static const char *const ends[] = {"was still running", "ended by itself", "was killed or crashed"};
    printf("segment %u: %s, process %d (%s), device %d: %s\n", view->info.number, view->info.name, view->info.pid,
           view->info.command, view->info.device, view->info.device_name);
    if (view->info.data || view->info.tensor || view->info.stage)
        printf("  rank:%s\n", ranks_text(&view->info));
    print_time("started", view->info.created_ns);
    uint64_t records = 0, rows = 0, context = 0, mapped = 0;
    int32_t layers = 0;
    struct routers routers = {0};
    uint64_t steps = 0;
    bool weights = false, beside = false;
    for (uint32_t i = 0; i < view->site_count; i++)
        weights |= view->sites[i].weights != MT_WEIGHT_NONE;
    print_site_head(true, weights);
    for (uint32_t i = 0; i < view->site_count; i++) {
        const struct mt_site *site = &view->sites[i];
        print_site(i, site, &tallies[i], weights);
        if (site->kind || site->mapped_from) {
            *(site->kind ? &context : &mapped) += tallies[i].records;
            continue;
        }
        records += tallies[i].records;
        rows += tallies[i].rows;
        if (!(site->flags & MT_SITE_RETRACTED) && tallies[i].records) {
            if (models_beside(view->sites, view->site_count, site)) {
                beside = true;
                continue;
            }
            add_router(&routers, site);
            if (site->layer + 1 > layers)
                layers = site->layer + 1;
            if (tallies[i].last_step + 1 > steps)
                steps = tallies[i].last_step + 1;
        }
    }
    printf("  %llu records, %llu rows, %d layers, %llu steps\n", (unsigned long long) records,
           (unsigned long long) rows, layers, (unsigned long long) steps);
    print_model_layers(&routers, view->info.number);
    if (beside)
        puts("  some layers run apart from these: of a draft, or another model's (\"4 of 1\": layer 4, of model 1)");
    if (mapped)
        printf("  %llu records of ids that a kernel made of these\n", (unsigned long long) mapped);
    if (context)
        printf("  %llu records of what the rows are\n", (unsigned long long) context);
    if (!view->has_stats) {
        printf("  no final account: the recorder was cut off\n");
        return;
    }
    const struct trace_stats *s = &view->stats;
    printf("  lost %llu: ring full %llu, too big %llu, torn %llu, not written %llu; not captured %llu; the engine %s\n",
           (unsigned long long) trace_lost(s), (unsigned long long) s->lost_full, (unsigned long long) s->lost_too_big,
           (unsigned long long) s->lost_torn, (unsigned long long) s->lost_unwritten,
           (unsigned long long) s->not_captured, s->end < 3 ? ends[s->end] : "?");
}

static int info_trace(const char *path, struct trace_reader *reader)
{
    struct mt_error error = {""};
    struct survey survey = {.trace = trace_reader_trace(reader)};
    const struct trace *trace = survey.trace;
    int status = EXIT_OK;
    survey.tallies = calloc(trace->segment_count + 1, sizeof *survey.tallies);
    for (uint32_t i = 0; survey.tallies && i < trace->segment_count; i++)
        survey.tallies[i] = calloc(trace->segments[i].site_count + 1, sizeof **survey.tallies);
    if (!survey.tallies)
        return say_failed("out of memory");
    trace_reader_choose(reader, TRACE_IDS_ALL, &error);
    int result = sequences_models(reader, &error);
    if (trace_reader_records(reader, count, &survey, &error) != 0 ||
        result != 0) /* what is whole is shown all the same */
        status = say_failed("%s", error.text);
    printf("%s: %u segment%s%s\n", path, trace->segment_count, trace->segment_count == 1 ? "" : "s",
           trace->complete ? "" : ", cut off: its recorder did not end it");
    for (uint32_t i = 0; i < trace->segment_count; i++) {
        if (survey.tallies[i])
            print_view(&trace->segments[i], survey.tallies[i]);
        free(survey.tallies[i]);
    }
    free(survey.tallies);
    return status;
}

static int info_segment(mt_reader *reader)
{
    static const char *const ends[] = {"writing", "closed", "dead"};
    const struct mt_header *header = mt_header(reader);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    printf("%s: layout %u.%u, process %d (%s), %s, device %d: %s, ring of %llu KiB\n", mt_name(reader),
           header->abi_major, header->abi_minor, header->writer_pid, header->command, ends[mt_ended(reader)],
           header->device, header->device_name, (unsigned long long) header->ring_size >> 10);
    print_time("started", header->created_ns);
    const bool weights = header->abi_major == MT_ABI_MAJOR_WEIGHTS;
    print_site_head(false, weights);
    struct routers routers = {0};
    for (uint32_t i = 0; i < mt_site_count(reader); i++) {
        struct mt_site site;
        if (mt_site(reader, i, &site) == 0) {
            print_site(i, &site, NULL, weights);
            add_router(&routers, &site);
        }
    }
    print_model_layers(&routers, 0);
    printf("  lost so far: ring full %llu, too big %llu; not captured %llu\n", (unsigned long long) stats.lost_full,
           (unsigned long long) stats.lost_too_big, (unsigned long long) stats.not_captured);
    return EXIT_OK;
}

static int info(const char *what)
{
    struct mt_error error = {""};
    /* A segment's name has no folder; a trace may be called anything. */
    bool segment = strncmp(what, MT_SEGMENT_PREFIX, strlen(MT_SEGMENT_PREFIX)) == 0 ||
                   strncmp(what, mt_shm_dir(), strlen(mt_shm_dir())) == 0;
    mt_reader *live;
    if (segment && mt_attach(what, 0, &live, &error) == 0) {
        int status = info_segment(live);
        mt_detach(live);
        return status;
    }
    struct mt_error trace_error = {""};
    struct trace_reader *reader;
    int result = trace_reader_open(what, &reader, &trace_error);
    if (result)
        return say_failed("%s", segment && (result == -ENOENT || result == -EINVAL) ? error.text : trace_error.text);
    int status = info_trace(what, reader);
    trace_reader_close(reader);
    return status;
}

int verb_info(int argc, char **argv)
{
    enum { MODEL_CONFIG = 256 };
    static const struct option longs[] = {{"model-config", required_argument, NULL, MODEL_CONFIG}, {NULL, 0, NULL, 0}};
    struct mt_error error = {""};
    int opt;
    optind = 0; /* `doctor` comes here with its own options read */
    while ((opt = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        if (opt != MODEL_CONFIG)
            return say_bad_option(argv, opt);
        config_path = optarg;
    }
    if (argc - optind != 1)
        return say_usage("info of what? moetap info [--model-config CONFIG] FILE|SEGMENT");
    if (config_path && model_config_read(config_path, &config, &error) != 0)
        return say_failed("%s", error.text);
    int status = info(argv[optind]);
    model_config_free(config);
    config = NULL;
    return status;
}
