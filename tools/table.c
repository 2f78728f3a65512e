/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the live table of one segment: drains it, ties its records to passes, stores their rows by KV slot. */
#include "verbs.h"

#include "../shm/settings.h"
#include "passes.h"
#include "stop.h"
#include "vllm_view.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define READ_AT_ONCE 4096
#define NAP_MS 2
#define QUIET_MS 200 /* without a record, then a pass that is not whole will not become so */

struct keeper {
    /* as asked for */
    const char *name;
    uint64_t slots;
    uint32_t layers;
    char buffer[128], lock[512]; /* of the view, or empty */
    uint32_t view_layers, map[MT_TABLE_LAYERS_MAX], mapped;

    mt_reader *reader;
    struct passes *passes;
    mt_table *table; /* NULL until a pass tells its shape */
    struct vllm_view *view;
    uint32_t made_layers, k, experts;
    int32_t *row;

    /* The routers since the last pass was handed out: with all layers of one run it is whole. */
    uint64_t context;
    uint32_t stream, routers;
    bool mixed;

    uint64_t rows, refused, beyond, without_slots;
    int failed; /* the line was said */
};

static bool ours(const struct keeper *keeper, const struct mt_site *site)
{
    return site->kind == MT_SITE_ROUTER && !site->mapped_from &&
           !(site->flags & (MT_SITE_RETRACTED | MT_SITE_NO_IDS)) && site->experts == keeper->experts &&
           site->k == keeper->k;
}

/* The model with the most layers: beside it may be a draft model, a sampler that was not yet retracted. */
static uint32_t find_model(struct keeper *keeper)
{
    uint32_t best = 0, count = mt_site_count(keeper->reader);
    for (uint32_t i = 0; i < count; i++) {
        struct mt_site site;
        if (mt_site(keeper->reader, i, &site) != 0 || site.kind != MT_SITE_ROUTER || site.mapped_from ||
            site.layer < 0 || site.flags & (MT_SITE_RETRACTED | MT_SITE_NO_IDS) || (uint32_t) site.layer < best)
            continue;
        best = (uint32_t) site.layer + 1;
        keeper->experts = site.experts;
        keeper->k = site.k;
    }
    return best;
}

static int make_view(struct keeper *keeper, struct mt_error *error)
{
    /* Did the owner that the table was taken over from leave it? */
    bool left = strcmp(mt_table_header(keeper->table)->view, keeper->buffer) == 0;
    if (!keeper->view_layers) {
        keeper->view_layers = keeper->mapped = keeper->made_layers;
        for (uint32_t i = 0; i < keeper->mapped; i++)
            keeper->map[i] = i;
    }
    if (keeper->mapped > keeper->made_layers)
        keeper->mapped = keeper->made_layers;
    if (!left)
        mt_table_set_view(keeper->table, NULL);
    int result = vllm_view_open(keeper->buffer, keeper->lock, keeper->slots, keeper->view_layers, keeper->k, left,
                                &keeper->view, error);
    return result ? result : mt_table_set_view(keeper->table, keeper->buffer);
}

static int make_table(struct keeper *keeper, uint32_t layers)
{
    const struct mt_header *header = mt_header(keeper->reader);
    const struct mt_table_spec spec = {.slots = keeper->slots,
                                       .layers = layers,
                                       .k = keeper->k,
                                       .experts = keeper->experts,
                                       .source_id = header->nonce,
                                       .source =
                                           strlen(mt_name(keeper->reader)) < 128 ? mt_name(keeper->reader) : NULL};
    struct mt_error note = {""}, error = {""};
    keeper->made_layers = layers;
    keeper->row = malloc((size_t) layers * keeper->k * sizeof *keeper->row);
    if (!keeper->row) {
        say_failed("out of memory");
        return keeper->failed = -ENOMEM;
    }
    int result = mt_table_create(keeper->name, &spec, &keeper->table, &note, &error);
    if (result == 0 && keeper->buffer[0])
        result = make_view(keeper, &error);
    else if (result == 0)
        mt_table_set_view(keeper->table, NULL);
    if (result) {
        say_failed("%s", error.text);
        return keeper->failed = result;
    }
    if (note.text[0])
        fprintf(stderr, "moetap: %s\n", note.text);
    return 0;
}

/* A row of the pass, for all layers. */
static void gather(struct keeper *keeper, const struct pass *pass, uint32_t row)
{
    const uint32_t k = keeper->k;
    for (size_t i = 0; i < (size_t) keeper->made_layers * k; i++)
        keeper->row[i] = MT_ID_MISSING;
    for (uint32_t i = 0; i < pass->layer_count; i++) {
        const struct pass_layer *layer = &pass->layers[i];
        if (layer->layer >= 0 && (uint32_t) layer->layer < keeper->made_layers && layer->k == k && row < layer->rows)
            memcpy(keeper->row + (size_t) layer->layer * k, layer->ids + (size_t) row * k, k * sizeof *layer->ids);
    }
}

/* Is there anything of our model in it? */
static bool concerns(struct keeper *keeper, const struct pass *pass)
{
    bool any = false;
    for (uint32_t i = 0; i < pass->layer_count; i++) {
        struct mt_site site;
        if (mt_site(keeper->reader, pass->layers[i].site, &site) != 0 || !ours(keeper, &site))
            continue;
        if (pass->layers[i].layer >= 0 && (uint32_t) pass->layers[i].layer < keeper->made_layers)
            any = true;
        else
            keeper->beyond += pass->layers[i].rows;
    }
    return any;
}

static void store_rows(struct keeper *keeper, const struct pass *pass)
{
    bool locked = keeper->view && vllm_view_lock(keeper->view);
    for (uint32_t row = 0; row < pass->rows; row++) {
        if (pass->slots[row] < 0 && pass->slots[row] != MT_CONTEXT_OVERFLOW)
            continue; /* padding */
        const struct mt_table_row about = {.seq = pass->first_seq,
                                           .position = pass->positions ? pass->positions[row] : -1,
                                           .token = pass->tokens ? pass->tokens[row] : -1};
        gather(keeper, pass, row);
        int result = mt_table_put(keeper->table, pass->slots[row], &about, keeper->row);
        if (result == 0)
            keeper->rows++;
        else if (keeper->refused++ == 0)
            say_failed(result == -ERANGE ? "%s: no slot %d in it: ask for more with --slots"
                                         : "%s: no memory for slot %d: such rows are counted and left out",
                       keeper->name, (int) pass->slots[row]);
        if (locked)
            vllm_view_put(keeper->view, pass->slots[row], keeper->map, keeper->mapped, keeper->row);
    }
    if (locked)
        vllm_view_unlock(keeper->view);
}

static int take_pass(const struct pass *pass, void *user)
{
    struct keeper *keeper = user;
    keeper->routers = 0;
    keeper->mixed = false;
    if (!keeper->table && (pass->slots || keeper->layers)) {
        uint32_t layers = find_model(keeper);
        if (layers && make_table(keeper, keeper->layers ? keeper->layers : layers) != 0)
            return keeper->failed;
    }
    /* Which slots got other tokens meanwhile nobody knows. */
    if (keeper->table && (pass->lost || pass->hole))
        mt_table_lost(keeper->table, pass->first_seq);
    if (!keeper->table || !concerns(keeper, pass))
        return 0;
    if (pass->slots)
        store_rows(keeper, pass);
    else
        keeper->without_slots++;
    return 0;
}

static void note_router(struct keeper *keeper, const struct mt_site *site, const struct mt_record *record)
{
    if (!keeper->table || !ours(keeper, site) || site->layer < 0 || (uint32_t) site->layer >= keeper->made_layers)
        return;
    if (keeper->routers == 0) {
        keeper->context = record->context;
        keeper->stream = site->stream;
    }
    keeper->mixed |= keeper->context != record->context || keeper->stream != site->stream;
    keeper->routers++;
}

static int failed(struct keeper *keeper, int result)
{
    if (!keeper->failed)
        say_failed("out of memory");
    return keeper->failed = result;
}

static int take_record(const struct mt_record *record, const void *ids, void *user)
{
    struct keeper *keeper = user;
    struct mt_site site;
    if (mt_site(keeper->reader, record->site, &site) != 0 || site.mapped_from || site.flags & MT_SITE_RETRACTED)
        return 0;
    int result = passes_add(keeper->passes, &site, record, ids);
    if (result == 0 && site.kind == MT_SITE_ROUTER) {
        note_router(keeper, &site, record);
        /* The next pass may be long in coming; who waits for the last token's row should not wait for it. */
        if (keeper->table && keeper->routers == keeper->made_layers && !keeper->mixed)
            result = passes_flush(keeper->passes);
    }
    return result ? failed(keeper, result) : 0;
}

/* Waits for the session's first segment. NULL: told to stop, or an error, which was said. */
static mt_reader *await_session(const char *session)
{
    while (!stop_wanted()) {
        struct mt_segment_name *names;
        size_t count;
        struct mt_error error = {""};
        mt_reader *reader = NULL;
        int result = mt_discover(session, &names, &count, &error);
        if (!result && count > 1) {
            snprintf(error.text, sizeof error.text,
                     "session %.60s has %zu segments: a table is of one, `moetap ls` lists them", session, count);
            result = -EINVAL;
        } else if (!result && count) {
            result = mt_attach(names[0].name, MT_ATTACH_DRAIN, &reader, &error);
        }
        free(names);
        if (reader)
            return reader;
        if (result && result != -EAGAIN && result != -ENOENT) {
            say_failed("%s", error.text);
            return NULL;
        }
        nanosleep(&(struct timespec){0, NAP_MS * 1000000}, NULL);
    }
    return NULL;
}

/* Until the engine has ended, or we are told to. */
static int keep(struct keeper *keeper)
{
    unsigned quiet = 0;
    struct mt_error error = {""};
    while (!stop_wanted()) {
        enum mt_end end = mt_ended(keeper->reader); /* asked before the read: what it wrote until then is read */
        int64_t records = mt_read(keeper->reader, READ_AT_ONCE, take_record, keeper, &error);
        if (records < 0)
            return say_failed("%s", error.text);
        if (keeper->failed)
            return EXIT_FAILED;
        if (records) {
            quiet = 0;
            continue;
        }
        if (end != MT_END_NOT && !mt_skip_torn(keeper->reader))
            break;
        quiet += NAP_MS;
        int result = quiet == QUIET_MS ? passes_flush(keeper->passes) : 0;
        if (result) {
            failed(keeper, result);
            break;
        }
        if (end == MT_END_NOT)
            nanosleep(&(struct timespec){0, NAP_MS * 1000000}, NULL);
    }
    int result = keeper->failed ? 0 : passes_flush(keeper->passes);
    if (result)
        failed(keeper, result);
    return keeper->failed ? EXIT_FAILED : EXIT_OK;
}

static uint64_t sum_up(struct keeper *keeper, bool quiet)
{
    struct mt_stats stats;
    mt_stats(keeper->reader, &stats);
    uint64_t lost = stats.lost_full + stats.lost_too_big + stats.lost_torn;
    lost += stats.not_captured + keeper->refused + keeper->beyond;
    if (quiet)
        return lost;
    if (!keeper->table)
        fprintf(stderr, "moetap: no table: %s\n",
                stats.records ? "no pass told its rows' KV slots" : "nothing was captured");
    fprintf(
        stderr,
        "moetap: stored %llu rows, %u layers, in %llu slots; records lost %llu; not captured %llu; rows left out %llu, "
        "of layers beyond the table %llu; passes without slots %llu -> %s\n",
        (unsigned long long) keeper->rows, keeper->table ? keeper->made_layers : 0,
        (unsigned long long) (keeper->table ? mt_table_header(keeper->table)->used : 0),
        (unsigned long long) (stats.lost_full + stats.lost_too_big + stats.lost_torn),
        (unsigned long long) stats.not_captured, (unsigned long long) keeper->refused,
        (unsigned long long) keeper->beyond, (unsigned long long) keeper->without_slots, keeper->name);
    return lost;
}

int verb_table(int argc, char **argv)
{
    enum { SESSION = 256, SLOTS, LAYERS, VLLM, VLLM_LAYERS, KEEP, STRICT };
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'o'},  {"session", required_argument, NULL, SESSION},
        {"slots", required_argument, NULL, SLOTS}, {"layers", required_argument, NULL, LAYERS},
        {"vllm", required_argument, NULL, VLLM},   {"vllm-layers", required_argument, NULL, VLLM_LAYERS},
        {"keep", no_argument, NULL, KEEP},         {"strict", no_argument, NULL, STRICT},
        {"quiet", no_argument, NULL, 'q'},         {NULL, 0, NULL, 0}};
    static struct keeper keeper;
    const char *session = NULL, *end;
    uint64_t number;
    bool keep_it = false, strict = false, quiet = false;
    int opt;
    while ((opt = getopt_long(argc, argv, ":o:q", longs, NULL)) != -1) {
        switch (opt) {
        case 'o':
            keeper.name = optarg;
            break;
        case 'q':
            quiet = true;
            break;
        case SESSION:
            session = optarg;
            break;
        case SLOTS:
            if (!mt_parse_number(optarg, &end, &keeper.slots) || *end || !keeper.slots ||
                keeper.slots > MT_TABLE_SLOTS_MAX)
                return say_usage("--slots takes a number from 1 to %llu, not '%s'",
                                 (unsigned long long) MT_TABLE_SLOTS_MAX, optarg);
            break;
        case LAYERS:
            if (!mt_parse_number(optarg, &end, &number) || *end || !number || number > MT_TABLE_LAYERS_MAX)
                return say_usage("--layers takes a number from 1 to %u, not '%s'", MT_TABLE_LAYERS_MAX, optarg);
            keeper.layers = (uint32_t) number;
            break;
        case VLLM:
            if (!vllm_view_names(optarg, keeper.buffer, keeper.lock))
                return say_usage("--vllm takes INSTANCE_ID:DP_RANK, not '%s'", optarg);
            break;
        case VLLM_LAYERS:
            if (!vllm_view_layers(optarg, &keeper.view_layers, keeper.map, &keeper.mapped))
                return say_usage("--vllm-layers takes N or N:LIST, as 61:3-60, not '%s'", optarg);
            break;
        case KEEP:
            keep_it = true;
            break;
        case STRICT:
            strict = true;
            break;
        default:
            return say_bad_option(argv, opt);
        }
    }
    if (argc - optind != (session ? 0 : 1))
        return say_usage("a table of which segment? SEGMENT or --session S: `moetap ls` lists them");
    if (keeper.buffer[0] && !keeper.slots)
        return say_usage("--vllm needs --slots: its readers know the size beforehand");
    if (keeper.view_layers && !keeper.buffer[0])
        return say_usage("--vllm-layers is for --vllm");
    struct mt_error error = {""};
    stop_on_signals();
    if (session)
        keeper.reader = await_session(session);
    else if (mt_attach(argv[optind], MT_ATTACH_DRAIN, &keeper.reader, &error) != 0)
        return say_failed("%s", error.text);
    if (!keeper.reader)
        return stop_wanted() ? EXIT_OK : EXIT_FAILED;
    if (!keeper.name) {
        keeper.name = mt_name(keeper.reader);
        if (strncmp(keeper.name, MT_SEGMENT_PREFIX, strlen(MT_SEGMENT_PREFIX)) == 0)
            keeper.name += strlen(MT_SEGMENT_PREFIX);
    }
    keeper.passes = passes_new(take_pass, &keeper);
    int status = keeper.passes ? keep(&keeper) : say_failed("out of memory");
    passes_free(keeper.passes);
    uint64_t lost = 0;
    if (status == EXIT_OK) {
        lost = sum_up(&keeper, quiet);
        if (mt_ended(keeper.reader) != MT_END_NOT && mt_unlink(keeper.reader, &error) != 0)
            status = say_failed("%s", error.text);
    }
    if (keeper.table && !keep_it && mt_table_unlink(keeper.table, &error) != 0)
        status = say_failed("%s", error.text);
    vllm_view_close(keeper.view, keep_it);
    mt_table_detach(keeper.table);
    mt_detach(keeper.reader);
    free(keeper.row);
    return status == EXIT_OK && strict && lost ? EXIT_LOST : status;
}
