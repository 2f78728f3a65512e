/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper.h"

#include "../models.h"
#include "../passes.h"
#include "../verbs.h"
#include "choice.h"
#include "vllm_view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define READ_AT_ONCE 4096
#define QUIET_MS 200 /* without a record, then a pass that is not whole will not become so */

struct keeper {
    const struct keeper_wish *wish;
    char name[256];
    char buffer[128], lock[512]; /* of the view, or empty */

    mt_reader *reader;
    struct passes *passes;
    struct models *models;
    uint32_t model_count; /* of `models`, when `model` was looked for */
    mt_table *table;      /* NULL until a pass tells its shape */
    struct vllm_view *view;
    uint32_t layers, k, experts, model; /* the table's */
    bool fixed;                         /* it gets no more layers */
    int32_t *row;
    struct pass_layer *kept; /* of the pass, those that are ours */
    uint32_t kept_room;

    struct choice choice;

    /* The routers since the last pass was handed out: with all layers of one run it is whole. */
    uint64_t context;
    uint32_t stream, routers;
    bool mixed;
    uint32_t whole, sites; /* so many layers, as the first so many sites tell */

    uint64_t next_seq;  /* behind the latest record */
    uint64_t seen_lost; /* as records tell */
    struct timespec latest;
    bool flushed;

    uint64_t rows, taken_back, refused, beyond, without_slots, unplaced, others;
    int failed; /* the line was said */
};

static int failed(struct keeper *keeper, int result)
{
    if (!keeper->failed)
        say_failed("%s: %s", keeper->name, strerror(-result));
    return keeper->failed = result;
}

/* With what its records so far tell of its model. */
static int read_site(const struct keeper *keeper, uint32_t index, struct mt_site *site)
{
    int result = mt_site(keeper->reader, index, site);
    if (result == 0 && site->kind == MT_SITE_ROUTER)
        site->model = models_of(keeper->models, site);
    return result;
}

static bool routes(const struct mt_site *site)
{
    return site->kind == MT_SITE_ROUTER && !site->mapped_from && !(site->flags & (MT_SITE_RETRACTED | MT_SITE_NO_IDS));
}

static bool ours(const struct keeper *keeper, const struct mt_site *site)
{
    return routes(site) && site->experts == keeper->experts && site->k == keeper->k && site->model == keeper->model;
}

static uint32_t count_sites(const struct keeper *keeper, const struct mt_site *like)
{
    uint32_t n = 0;
    struct mt_site site;
    for (uint32_t i = 0; read_site(keeper, i, &site) == 0; i++)
        n += routes(&site) && site.layer >= 0 && site.experts == like->experts && site.k == like->k &&
             site.model == like->model;
    return n;
}

/* The model with the most layers, of the table's shape if there is one: beside it may be a draft model, a sampler that
 * was not yet retracted. Returns its highest layer + 1. */
static uint32_t find_model(struct keeper *keeper)
{
    uint32_t layers = 0, most = 0;
    struct mt_site site;
    keeper->model_count = models_count(keeper->models);
    for (uint32_t i = 0; read_site(keeper, i, &site) == 0; i++) {
        bool may_be = routes(&site) && site.layer >= 0 &&
                      (!keeper->table || (site.experts == keeper->experts && site.k == keeper->k));
        uint32_t sites = may_be ? count_sites(keeper, &site) : 0;
        if (sites > most) {
            layers = 0;
            most = sites;
            keeper->experts = site.experts;
            keeper->k = site.k;
            keeper->model = site.model;
        }
        if (sites && ours(keeper, &site) && (uint32_t) site.layer >= layers)
            layers = (uint32_t) site.layer + 1;
    }
    return layers;
}

static int make_view(struct keeper *keeper, struct mt_error *error)
{
    const struct keeper_wish *wish = keeper->wish;
    /* Did the owner that the table was taken over from leave it? */
    bool left = strcmp(mt_table_header(keeper->table)->view, keeper->buffer) == 0;
    if (!left)
        mt_table_set_view(keeper->table, NULL);
    int result = vllm_view_open(keeper->buffer, keeper->lock, wish->slots, wish->view_layers, keeper->k, left,
                                &keeper->view, error);
    return result ? result : mt_table_set_view(keeper->table, keeper->buffer);
}

static int make_row(struct keeper *keeper, uint32_t layers)
{
    int32_t *row = realloc(keeper->row, (size_t) layers * keeper->k * sizeof *row);
    if (!row)
        return -ENOMEM;
    keeper->row = row;
    keeper->layers = layers;
    return 0;
}

static int make_table(struct keeper *keeper, uint32_t layers)
{
    const char *source = mt_name(keeper->reader);
    const struct mt_table_spec spec = {.slots = keeper->wish->slots,
                                       .layers = layers,
                                       .k = keeper->k,
                                       .experts = keeper->experts,
                                       .source_id = mt_header(keeper->reader)->nonce,
                                       .source = strlen(source) < 128 ? source : NULL};
    struct mt_error note = {""}, error = {""};
    if (make_row(keeper, layers) != 0)
        return failed(keeper, -ENOMEM);
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

/* Is it one of the table's, or one that it lacks? */
enum place { NOT_OURS, WITHIN, BEYOND };

static enum place place_of(const struct keeper *keeper, const struct pass_layer *layer)
{
    struct mt_site site;
    if (read_site(keeper, layer->site, &site) != 0 || !ours(keeper, &site) || layer->layer < 0)
        return NOT_OURS;
    return (uint32_t) layer->layer < keeper->layers ? WITHIN : BEYOND;
}

/* Layers that come late: known only now, or behind a pause in the midst of the first pass. */
static int grow(struct keeper *keeper, uint32_t layers)
{
    struct mt_error error = {""};
    if (keeper->fixed) {
        if (keeper->beyond == 0)
            say_failed(
                "%s: layer %u is beyond its %u layers: ask for more with --layers; its ids are counted and left out",
                keeper->name, layers - 1, keeper->layers);
        return 0;
    }
    if (mt_table_grow(keeper->table, layers, &error) != 0) {
        say_failed("%s; their ids are counted and left out", error.text);
        keeper->fixed = true;
        return 0;
    }
    fprintf(stderr, "moetap: %s: has %u layers now, not %u\n", keeper->name, layers, keeper->layers);
    return make_row(keeper, layers);
}

/*
 * Is it a pass of our model? Makes room for its layers, or counts what has none. Layers beyond the table alone are
 * another model's of the same shape (a draft's), whose rows would take the place of ours.
 */
static int fit(struct keeper *keeper, struct pass *pass, bool *fits)
{
    uint32_t layers = keeper->layers, beyond = 0, count = 0;
    bool other = false;
    *fits = false;
    if (pass->layer_count > keeper->kept_room) {
        struct pass_layer *kept = realloc(keeper->kept, pass->layer_count * sizeof *kept);
        if (!kept)
            return -ENOMEM;
        keeper->kept = kept;
        keeper->kept_room = pass->layer_count;
    }
    for (uint32_t i = 0; i < pass->layer_count; i++) {
        const struct pass_layer *layer = &pass->layers[i];
        enum place place = place_of(keeper, layer);
        *fits |= place == WITHIN;
        other |= place == NOT_OURS;
        if (place != NOT_OURS)
            keeper->kept[count++] = *layer;
        beyond += place == BEYOND;
        if (place == BEYOND && (uint32_t) layer->layer >= layers)
            layers = (uint32_t) layer->layer + 1;
    }
    if (!*fits) {
        keeper->others += beyond > 0 || other;
        return 0;
    }
    /* Others' layers are in it if they were told apart while it was under way. */
    pass->layers = keeper->kept;
    pass->layer_count = count;
    int result = layers > keeper->layers && pass->slots ? grow(keeper, layers) : 0;
    if (!result && layers > keeper->layers && pass->slots)
        keeper->beyond += (uint64_t) beyond * pass->rows;
    return result;
}

/* A row of the pass, for all layers; beyond its rows nothing is known. */
static void gather(struct keeper *keeper, const struct pass *pass, uint32_t row)
{
    const uint32_t k = keeper->k;
    for (size_t i = 0; i < (size_t) keeper->layers * k; i++)
        keeper->row[i] = MT_ID_MISSING;
    for (uint32_t i = 0; i < pass->layer_count; i++) {
        const struct pass_layer *layer = &pass->layers[i];
        if (layer->layer >= 0 && (uint32_t) layer->layer < keeper->layers && layer->k == k && row < layer->rows)
            memcpy(keeper->row + (size_t) layer->layer * k, layer->ids + (size_t) row * k, k * sizeof *layer->ids);
    }
}

static void put(struct keeper *keeper, int32_t slot, const struct mt_table_row *about, bool locked)
{
    if (slot < 0 && slot != MT_CONTEXT_OVERFLOW)
        return; /* padding */
    int result = mt_table_put(keeper->table, slot, about, keeper->row);
    if (result == 0)
        keeper->rows++;
    else if (keeper->refused++ == 0)
        say_failed(result == -ERANGE ? "%s: no slot %d in it: ask for more with --slots"
                                     : "%s: no memory for slot %d: such rows are counted and left out",
                   keeper->name, (int) slot);
    if (locked)
        vllm_view_put(keeper->view, slot, keeper->wish->map, keeper->wish->mapped, keeper->row, keeper->layers);
}

static void store_rows(struct keeper *keeper, const struct pass *pass)
{
    bool locked = keeper->view && vllm_view_lock(keeper->view);
    for (uint32_t row = 0; row < pass->rows; row++) {
        const struct mt_table_row about = {.seq = pass->first_seq,
                                           .position = pass->positions ? pass->positions[row] : -1,
                                           .token = pass->tokens ? pass->tokens[row] : -1};
        gather(keeper, pass, row);
        put(keeper, pass->slots[row], &about, locked);
    }
    if (locked)
        vllm_view_unlock(keeper->view);
}

/* Rows went there, and which they are nothing tells: what was there before is not to be taken for theirs. */
static void store_nothing(struct keeper *keeper, const struct pass *pass)
{
    bool locked = keeper->view && vllm_view_lock(keeper->view);
    const struct mt_table_row about = {.seq = pass->first_seq, .position = -1, .token = -1};
    gather(keeper, pass, UINT32_MAX);
    for (uint32_t i = 0; i < pass->unplaced_rows; i++) {
        keeper->unplaced += pass->unplaced[i] >= 0;
        put(keeper, pass->unplaced[i], &about, locked);
    }
    if (locked)
        vllm_view_unlock(keeper->view);
}

/* Stores again, with what is left of it, every row that has ids of other layers than `kept`; NULL: all rows, of which
 * nothing is left. Returns how many, or -ENOMEM. */
static int64_t take_back(struct keeper *keeper, const bool *kept)
{
    const uint64_t used = mt_table_header(keeper->table)->used;
    const uint32_t k = keeper->k;
    int64_t taken = 0;
    void *ids = malloc((size_t) keeper->layers * k * sizeof(uint16_t));
    if (!ids)
        return -ENOMEM;
    bool locked = keeper->view && vllm_view_lock(keeper->view);
    for (int64_t slot = 0; (uint64_t) slot < used; slot++) {
        struct mt_table_row row;
        mt_table_get(keeper->table, &slot, 1, ids, &row);
        bool wrong = !kept && row.status != MT_ROW_NEVER && (row.missing < keeper->layers || row.position >= 0);
        for (uint32_t layer = 0; layer < keeper->layers; layer++) {
            for (uint32_t i = layer * k; i < (layer + 1) * k; i++) {
                const int32_t id = mt_table_id(keeper->table, ids, i);
                keeper->row[i] = kept && kept[layer] ? id : MT_ID_MISSING;
                wrong |= keeper->row[i] != id;
            }
        }
        if (!wrong)
            continue;
        if (!kept)
            row.position = row.token = -1;
        mt_table_put(keeper->table, slot, &row, keeper->row); /* there is memory behind it */
        taken++;
        if (locked)
            vllm_view_put(keeper->view, slot, keeper->wish->map, keeper->wish->mapped, keeper->row, keeper->layers);
    }
    if (locked)
        vllm_view_unlock(keeper->view);
    free(ids);
    return taken;
}

/* They are stored by the slots of another group than the one that is right. */
static int take_rows_back(struct keeper *keeper)
{
    const int64_t taken = take_back(keeper, NULL);
    keeper->taken_back += taken > 0 ? (uint64_t) taken : 0;
    return taken < 0 ? (int) taken : 0;
}

/* Layers that were taken for ours turned out to be another model's. */
static int take_layers_back(struct keeper *keeper)
{
    bool kept[MT_TABLE_LAYERS_MAX] = {false};
    struct mt_site site;
    for (uint32_t i = 0; read_site(keeper, i, &site) == 0; i++) {
        if (ours(keeper, &site) && site.layer >= 0 && (uint32_t) site.layer < keeper->layers)
            kept[site.layer] = true;
    }
    const int64_t taken = take_back(keeper, kept);
    if (taken > 0)
        fprintf(stderr, "moetap: %s: some layers are another model's: their ids are missing now in %llu rows\n",
                keeper->name, (unsigned long long) taken);
    return taken < 0 ? (int) taken : 0;
}

static int take_pass(const struct pass *shown, void *user)
{
    struct keeper *keeper = user;
    struct pass pass = *shown;
    keeper->routers = 0;
    keeper->mixed = false;
    bool changed;
    int result = choice_see(&keeper->choice, &pass, &changed);
    if (!result && changed && keeper->rows)
        result = take_rows_back(keeper);
    if (result)
        return failed(keeper, result);
    if (!keeper->table && (pass.slots || keeper->wish->layers)) {
        uint32_t layers = find_model(keeper);
        if (layers && make_table(keeper, keeper->fixed ? keeper->wish->layers : layers) != 0)
            return keeper->failed;
    }
    if (!keeper->table)
        return 0;
    /* Which slots got other tokens meanwhile nobody knows. */
    if (pass.lost || pass.hole)
        mt_table_lost(keeper->table, pass.first_seq);
    bool fits;
    result = fit(keeper, &pass, &fits);
    if (result || !fits)
        return result ? failed(keeper, result) : 0;
    if (!choice_apply(&keeper->choice, &pass)) {
        mt_table_lost(keeper->table, pass.first_seq); /* in some slots these rows are now */
        return 0;
    }
    if (pass.slots)
        store_rows(keeper, &pass);
    else if (pass.unplaced)
        store_nothing(keeper, &pass);
    else
        keeper->without_slots++;
    return 0;
}

/* Sites come ahead of their records, so that a pass with a layer that is new is not taken for whole without it. */
static void look_for_layers(struct keeper *keeper)
{
    for (uint32_t count = mt_site_count(keeper->reader); keeper->sites < count; keeper->sites++) {
        struct mt_site site;
        if (read_site(keeper, keeper->sites, &site) == 0 && ours(keeper, &site) && site.layer >= 0 &&
            (uint32_t) site.layer >= keeper->whole)
            keeper->whole = (uint32_t) site.layer + 1;
    }
}

static void note_router(struct keeper *keeper, const struct mt_site *site, const struct mt_record *record)
{
    if (!keeper->table || !ours(keeper, site) || site->layer < 0)
        return;
    look_for_layers(keeper);
    if ((uint32_t) site->layer >= keeper->whole)
        keeper->whole = (uint32_t) site->layer + 1;
    if (keeper->routers == 0) {
        keeper->context = record->context;
        keeper->stream = site->stream;
    }
    keeper->mixed |= keeper->context != record->context || keeper->stream != site->stream;
    keeper->routers++;
}

static int take_record(const struct mt_record *record, const void *ids, void *user)
{
    struct keeper *keeper = user;
    struct mt_site site;
    if (record->seq >= keeper->next_seq)
        keeper->next_seq = record->seq + 1;
    if (record->lost > keeper->seen_lost)
        keeper->seen_lost = record->lost;
    if (mt_site(keeper->reader, record->site, &site) != 0 || site.mapped_from || site.flags & MT_SITE_RETRACTED)
        return 0;
    int result = models_note(keeper->models, &site, record);
    if (keeper->table && keeper->model_count != models_count(keeper->models)) {
        find_model(keeper);
        keeper->whole = keeper->sites = 0;
        if (result == 0)
            result = take_layers_back(keeper);
    }
    if (site.kind == MT_SITE_ROUTER)
        site.model = models_of(keeper->models, &site);
    if (result == 0)
        result = passes_add(keeper->passes, &site, record, ids);
    if (result == 0 && site.kind == MT_SITE_ROUTER) {
        note_router(keeper, &site, record);
        /* The next pass may be long in coming; who waits for the last token's row should not wait for it. */
        if (keeper->table && keeper->routers == keeper->whole && !keeper->mixed)
            result = passes_flush(keeper->passes);
    }
    return result ? failed(keeper, result) : 0;
}

struct keeper *keeper_new(mt_reader *reader, const char *name, const char *view, const struct keeper_wish *wish)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper) {
        keeper->passes = passes_new(take_pass, keeper);
        keeper->models = models_new();
    }
    if (!keeper || !keeper->passes || !keeper->models) {
        if (keeper) {
            passes_free(keeper->passes);
            models_free(keeper->models);
        }
        free(keeper);
        say_failed("out of memory");
        return NULL;
    }
    keeper->wish = wish;
    keeper->fixed = wish->layers != 0;
    keeper->reader = reader;
    snprintf(keeper->name, sizeof keeper->name, "%s", name);
    if (view)
        vllm_view_names(view, keeper->buffer, keeper->lock);
    clock_gettime(CLOCK_MONOTONIC, &keeper->latest);
    for (uint32_t i = 0, count = mt_site_count(reader); i < count; i++) {
        struct mt_site site;
        if (mt_site(reader, i, &site) == 0)
            passes_know_slots(keeper->passes, i, &site);
    }
    return keeper;
}

/* Behind the latest record others were lost, and no record has told yet: the ring is full, or it is the end. */
static void doubt_if_lost(struct keeper *keeper)
{
    struct mt_stats stats;
    mt_stats(keeper->reader, &stats);
    uint64_t lost = stats.lost_full + stats.lost_too_big + stats.lost_torn;
    if (!keeper->table || lost <= keeper->seen_lost)
        return;
    mt_table_lost(keeper->table, keeper->next_seq);
    keeper->seen_lost = lost;
}

static bool quiet_for_long(struct keeper *keeper)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - keeper->latest.tv_sec) * 1000 + (now.tv_nsec - keeper->latest.tv_nsec) / 1000000 >= QUIET_MS;
}

enum keeper_state keeper_turn(struct keeper *keeper, uint64_t *records)
{
    struct mt_error error = {""};
    enum mt_end end = mt_ended(keeper->reader); /* asked before the read: what it wrote until then is read */
    int64_t count = mt_read(keeper->reader, READ_AT_ONCE, take_record, keeper, &error);
    if (count < 0) {
        say_failed("%s", error.text);
        keeper->failed = (int) count;
    }
    if (keeper->failed)
        return KEEPER_FAILED;
    *records += (uint64_t) count;
    if (count) {
        clock_gettime(CLOCK_MONOTONIC, &keeper->latest);
        keeper->flushed = false;
        return KEEPER_GOES_ON;
    }
    doubt_if_lost(keeper);
    if (end != MT_END_NOT)
        return mt_skip_torn(keeper->reader) ? KEEPER_GOES_ON : KEEPER_OVER;
    if (!keeper->flushed && quiet_for_long(keeper)) {
        keeper->flushed = true;
        if (passes_flush(keeper->passes) != 0)
            return KEEPER_FAILED;
    }
    return KEEPER_GOES_ON;
}

static void describe_groups(const struct keeper *keeper, char *text, size_t size)
{
    const struct choice *choice = &keeper->choice;
    char which[80];
    text[0] = '\0';
    if (choice->count < 2)
        return;
    if (choice->group == GROUP_UNKNOWN)
        snprintf(which, sizeof which, "nothing told which of %u KV cache groups keeps all blocks", choice->count);
    else
        snprintf(which, sizeof which, "by KV cache group %u of %u", choice->group + 1, choice->count);
    snprintf(text, size, "; %s: rows held back %llu, taken back %llu", which, (unsigned long long) choice->held_back,
             (unsigned long long) keeper->taken_back);
}

static uint64_t sum_up(const struct keeper *keeper)
{
    struct mt_stats stats;
    mt_stats(keeper->reader, &stats);
    const uint64_t records = stats.lost_full + stats.lost_too_big + stats.lost_torn;
    const uint64_t lost = records + stats.not_captured + keeper->refused + keeper->beyond + keeper->unplaced +
                          keeper->choice.held_back + keeper->taken_back;
    if (keeper->wish->quiet)
        return lost;
    if (!keeper->table)
        fprintf(stderr, "moetap: %s: no table: %s\n", keeper->name,
                stats.records ? "no pass told its rows' KV slots" : "nothing was captured");
    char groups[160];
    describe_groups(keeper, groups, sizeof groups);
    fprintf(stderr,
            "moetap: stored %llu rows, %u layers, in %llu slots; records lost %llu; not captured %llu; rows left out "
            "%llu, of layers beyond the table %llu, of which nothing told the slot %llu; passes without slots %llu, of "
            "other layers "
            "alone %llu%s -> %s\n",
            (unsigned long long) keeper->rows, keeper->layers,
            (unsigned long long) (keeper->table ? mt_table_header(keeper->table)->used : 0),
            (unsigned long long) records, (unsigned long long) stats.not_captured, (unsigned long long) keeper->refused,
            (unsigned long long) keeper->beyond, (unsigned long long) keeper->unplaced,
            (unsigned long long) keeper->without_slots, (unsigned long long) keeper->others, groups, keeper->name);
    return lost;
}

int keeper_end(struct keeper *keeper, uint64_t *lost)
{
    struct mt_error error = {""};
    int status = EXIT_OK;
    if (!keeper->failed && passes_flush(keeper->passes) == 0)
        doubt_if_lost(keeper);
    if (keeper->failed)
        status = EXIT_FAILED;
    else
        *lost += sum_up(keeper);
    if (!keeper->failed && mt_ended(keeper->reader) != MT_END_NOT && mt_unlink(keeper->reader, &error) != 0)
        status = say_failed("%s", error.text);
    if (keeper->table && !keeper->wish->keep && mt_table_unlink(keeper->table, &error) != 0)
        status = say_failed("%s", error.text);
    vllm_view_close(keeper->view, keeper->wish->keep);
    mt_table_detach(keeper->table);
    passes_free(keeper->passes);
    models_free(keeper->models);
    groups_free(keeper->choice.groups);
    mt_detach(keeper->reader);
    free(keeper->row);
    free(keeper->kept);
    free(keeper);
    return status;
}

const char *keeper_name(const struct keeper *keeper)
{
    return keeper->name;
}

const char *keeper_segment(const struct keeper *keeper)
{
    return mt_name(keeper->reader);
}
