/* SPDX-License-Identifier: Apache-2.0 */
#include "capture.h"

#include "driver.h"
#include "kernels.h"
#include "lane.h"
#include "layer.h"
#include "log.h"
#include "tap_state.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Layer numbers are one for all streams: the layers of a recipe, E and k in this process. */
struct model {
    struct model *next;
    const struct mt_recipe *recipe;
    uint32_t experts, k;
    struct mt_layers *layers;
};
static struct model *models;
static pthread_mutex_t models_lock = PTHREAD_MUTEX_INITIALIZER;

/* A model's routers on one lane. Guarded by the lane's lock. */
struct mt_group {
    struct mt_group *next;
    struct model *model;
    bool stage;                 /* a stage of grouped routing, no router: not tapped any more */
    uint32_t last;              /* history count behind its last router */
    struct mt_tap_state *state; /* whose sites these are */
    uint32_t sites_len;
    struct site {
        int32_t index; /* -1: none yet */
        bool graph;    /* flagged as MT_SITE_GRAPH */
        struct mt_occurrences occurrences;
    } * sites; /* [layer + 1] */
};

static unsigned open_count; /* pending taps and open branches; lets before() and fence() leave at once */
static bool beside;         /* taps of graphs may run beside the engine's kernels */
static pthread_mutex_t sites_lock = PTHREAD_MUTEX_INITIALIZER;

static struct model *find_model(const struct mt_recipe *recipe, uint32_t experts, uint32_t k)
{
    pthread_mutex_lock(&models_lock);
    struct model *model = models;
    while (model && !(model->recipe == recipe && model->experts == experts && model->k == k))
        model = model->next;
    if (!model && (model = calloc(1, sizeof *model))) {
        *model = (struct model){models, recipe, experts, k, mt_layers_new()};
        if (model->layers) {
            models = model;
        } else {
            free(model);
            model = NULL;
        }
    }
    pthread_mutex_unlock(&models_lock);
    return model;
}

static struct mt_group *find_group(struct mt_lane *lane, const struct mt_recipe *recipe, uint32_t experts, uint32_t k)
{
    for (struct mt_group *group = lane->groups; group; group = group->next) {
        if (group->model->recipe == recipe && group->model->experts == experts && group->model->k == k)
            return group;
    }
    struct mt_group *group = calloc(1, sizeof *group);
    struct model *model = group ? find_model(recipe, experts, k) : NULL;
    if (!model) {
        free(group);
        return NULL;
    }
    group->model = model;
    group->next = lane->groups;
    return lane->groups = group;
}

/* The site of a layer on this lane, made at its first router. NULL: no room. */
static struct site *find_site(struct mt_lane *lane, struct mt_group *group, struct mt_tap_state *state,
                              const struct mt_kernel *kernel, const struct mt_routing *routing, int32_t layer)
{
    if (group->state != state) {
        group->state = state; /* another context, another segment */
        group->sites_len = 0;
    }
    uint32_t slot = (uint32_t) (layer + 1);
    if (slot >= group->sites_len) {
        struct site *sites = realloc(group->sites, (slot + 16) * sizeof *sites);
        if (!sites)
            return NULL;
        for (uint32_t i = group->sites_len; i < slot + 16; i++)
            sites[i] = (struct site){.index = -1};
        group->sites = sites;
        group->sites_len = slot + 16;
    }
    struct site *found = &group->sites[slot];
    if (found->index >= 0)
        return found;

    struct mt_site site = {
        .layer = layer,
        .stream = mt_lane_number(lane),
        .experts = routing->experts,
        .k = routing->k,
        .dtype = (uint8_t) routing->dtype,
        .id_space = (uint8_t) mt_recipe_id_space(group->model->recipe),
    };
    snprintf(site.kernel, sizeof site.kernel, "%.255s", kernel->info->demangled);
    snprintf(site.recipe, sizeof site.recipe, "%.63s", mt_recipe_name(group->model->recipe));
    pthread_mutex_lock(&sites_lock);
    int index = mt_segment_add_site(mt_tap_segment(state), &site);
    pthread_mutex_unlock(&sites_lock);
    if (index < 0) {
        mt_log_once(MT_LOG_PROBLEM, "more than %u places that route: later ones are counted as not captured",
                    MT_SITES_MAX);
        return NULL;
    }
    found->index = index;
    return found;
}

static CUstreamCaptureStatus capture_status(CUstream stream)
{
    CUstreamCaptureStatus status;
    return mt_driver.cuStreamIsCapturing(stream, &status) == CUDA_SUCCESS ? status : CU_STREAM_CAPTURE_STATUS_NONE;
}

static void tap(struct mt_lane *lane, struct mt_group *group, const struct mt_kernel *kernel,
                const struct mt_routing *routing, int32_t layer)
{
    struct mt_tap_state *state = mt_tap_state_current();
    if (!state)
        return;
    CUstreamCaptureStatus status = capture_status(lane->stream);
    if (status == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
        return; /* that graph will never exist */
    bool capturing = status == CU_STREAM_CAPTURE_STATUS_ACTIVE;
    struct site *site = find_site(lane, group, state, kernel, routing, layer);
    uint8_t width = routing->experts && routing->experts <= MT_ID8_EXPERTS_MAX ? 1 : 2;
    if (!site) {
        mt_segment_count_not_captured(mt_tap_segment(state));
        return;
    }
    uint32_t index = (uint32_t) site->index;
    if (capturing && beside &&
        mt_branch_open(&lane->branch, lane->stream, state, routing, index, &site->occurrences, width)) {
        __atomic_fetch_add(&open_count, 1, __ATOMIC_RELAXED);
    } else if (!mt_tap_launch(state, lane->stream, routing, index, width, capturing)) {
        mt_segment_count_not_captured(mt_tap_segment(state));
        return;
    }
    if (capturing && !site->graph) {
        site->graph = true;
        mt_segment_add_flags(mt_tap_segment(state), (uint32_t) site->index, MT_SITE_GRAPH);
    }
}

static void count_lost(const struct mt_lane *lane, unsigned taps)
{
    while (taps--)
        mt_segment_count_not_captured(mt_tap_segment(lane->branch.state));
}

/* Joins the lane's branch, if it has one. The lane is locked. */
static void settle(struct mt_lane *lane)
{
    if (!lane->branch.open)
        return;
    __atomic_fetch_sub(&open_count, 1, __ATOMIC_RELAXED);
    count_lost(lane, mt_branch_settle(&lane->branch, lane->stream));
}

/* The open tap of a lane, wherever we were called from. The lane is locked. */
static void close_pending(struct mt_lane *lane)
{
    struct mt_lane_pending *pending = &lane->pending;
    if (!pending->open)
        return;
    pending->open = false;
    __atomic_fetch_sub(&open_count, 1, __ATOMIC_RELAXED);
    CUcontext current = NULL;
    if (mt_driver.cuCtxGetCurrent(&current) != CUDA_SUCCESS)
        return;
    bool other = current != pending->context;
    if (other && mt_driver.cuCtxPushCurrent_v2(pending->context) != CUDA_SUCCESS)
        return;
    tap(lane, pending->group, pending->kernel, &pending->routing, pending->layer);
    if (other && mt_driver.cuCtxPopCurrent_v2(&current) != CUDA_SUCCESS)
        mt_log_once(MT_LOG_PROBLEM, "cuCtxPopCurrent failed");
}

static void retract(struct mt_group *group)
{
    group->stage = true;
    for (uint32_t i = 0; group->state && i < group->sites_len; i++) {
        if (group->sites[i].index >= 0)
            mt_segment_add_flags(mt_tap_segment(group->state), (uint32_t) group->sites[i].index, MT_SITE_RETRACTED);
    }
}

/*
 * Grouped routing made of plain top-ks (DeepSeek in transformers): [T * G, E / G] inside the groups, [T, G] of the
 * groups, then [T, E]. Only the last one chooses experts; the shapes of the three cannot come from anything else.
 */
static void find_stages(struct mt_lane *lane, struct mt_group *group, const struct mt_routing *routing)
{
    struct mt_lane_stage *inside = &lane->stages[0], *among = &lane->stages[1];
    if (inside->group && among->group && inside->group != group && among->group != group &&
        among->rows == routing->rows && inside->rows == (uint64_t) routing->rows * among->experts &&
        (uint64_t) inside->experts * among->experts == routing->experts) {
        if (!inside->group->stage || !among->group->stage)
            mt_log(MT_LOG_EXPLAIN, "top-k of %u and of %u are stages of the routing to %u experts", inside->experts,
                   among->experts, routing->experts);
        retract(inside->group);
        retract(among->group);
    }
    *inside = *among;
    *among = (struct mt_lane_stage){group, routing->rows, routing->experts};
}

/* Once for each kernel and reason: a sampler comes with every token. */
static void explain_no_router(const struct mt_kernel *kernel, const char *why)
{
    static struct {
        const struct mt_kernel *kernel;
        const char *why;
    } said[64];
    static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
    if (mt_log_level() < MT_LOG_EXPLAIN)
        return;
    pthread_mutex_lock(&said_lock);
    size_t i = 0;
    while (i < 64 && said[i].kernel && !(said[i].kernel == kernel && said[i].why == why))
        i++;
    if (i < 64 && !said[i].kernel) {
        said[i].kernel = kernel;
        said[i].why = why;
        mt_log(MT_LOG_EXPLAIN, "not a router here: %s: %s", kernel->info->base, why);
    }
    pthread_mutex_unlock(&said_lock);
}

static void on_router(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    struct mt_routing routing;
    const char *why = "";
    settle(lane);
    if (!mt_recipe_read(kernel->recipe, kernel->info, launch, &routing, &why)) {
        explain_no_router(kernel, why);
        return;
    }
    struct mt_group *group = find_group(lane, kernel->recipe, routing.experts, routing.k);
    if (!group)
        return;
    find_stages(lane, group, &routing);
    int32_t layer = mt_layers_identify(group->model->layers, &lane->history, lane->history.count - group->last);
    group->last = lane->history.count;
    if (group->stage)
        return;
    if (!mt_recipe_has_final(kernel->recipe)) {
        tap(lane, group, kernel, &routing, layer);
        return;
    }
    CUcontext context = NULL;
    if (mt_driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS)
        return;
    lane->pending = (struct mt_lane_pending){true, false, group, context, routing, kernel, layer};
    __atomic_fetch_add(&open_count, 1, __ATOMIC_RELAXED);
}

/* kernels.c has named it at its first launch. */
static void on_no_ids(void)
{
    struct mt_tap_state *state = mt_tap_state_current();
    if (state)
        mt_segment_count_not_captured(mt_tap_segment(state));
}

static bool names(const struct mt_kernel *kernel, const struct mt_launch *launch, uint64_t address)
{
    uint64_t words[MT_HISTORY_BYTES / 8] = {0};
    uint32_t bytes = mt_kernel_copy_params(kernel, launch, words, sizeof words);
    for (uint32_t i = 0; i < bytes / 8; i++) {
        if (words[i] == address)
            return true;
    }
    return false;
}

static void before(const struct mt_launch *launch)
{
    if (__atomic_load_n(&open_count, __ATOMIC_RELAXED) == 0)
        return;
    mt_quiet_begin();
    struct mt_lane *lane = mt_lane_peek(launch->stream);
    if (lane) {
        mt_lane_lock(lane);
        if (lane->pending.open) {
            const struct mt_kernel *kernel = mt_kernels_find(launch);
            bool final = kernel->recipe && mt_recipe_kind(kernel->recipe) == MT_RECIPE_FINAL &&
                         mt_recipe_is_final_of(kernel->recipe, lane->pending.group->model->recipe) &&
                         names(kernel, launch, lane->pending.routing.ids);
            if (final)
                lane->pending.final = true;
            else
                close_pending(lane);
        }
        mt_lane_unlock(lane);
    }
    mt_quiet_end();
}

static void after(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    struct mt_lane *lane = mt_lane_find(launch->stream);
    if (lane) {
        mt_lane_lock(lane);
        mt_history_add(&lane->history, kernel, launch);
        if (lane->branch.open && !mt_branch_launched(&lane->branch, lane->stream, mt_history_latest(&lane->history)))
            settle(lane);
        if (lane->pending.open && lane->pending.final)
            close_pending(lane);
        if (kernel->recipe && mt_recipe_kind(kernel->recipe) == MT_RECIPE_ROUTER)
            on_router(lane, kernel, launch);
        else if (kernel->recipe && mt_recipe_kind(kernel->recipe) == MT_RECIPE_NO_IDS)
            on_no_ids();
        mt_lane_unlock(lane);
    }
    mt_quiet_end();
}

static void fence(CUstream stream)
{
    if (__atomic_load_n(&open_count, __ATOMIC_RELAXED) == 0)
        return;
    mt_quiet_begin();
    struct mt_lane *lane;
    /* The legacy stream waits for the others, so what is seen on it is seen on all. */
    bool all = !stream || stream == CU_STREAM_LEGACY;
    for (unsigned i = 0; (lane = mt_lane_get(i)); i++) {
        /* A capturing stream is another thread's business, and its graph is not made for two. */
        if (all ? capture_status(lane->stream) != CU_STREAM_CAPTURE_STATUS_NONE : lane->stream != stream)
            continue;
        mt_lane_lock(lane);
        close_pending(lane);
        settle(lane);
        mt_lane_unlock(lane);
    }
    mt_quiet_end();
}

static void capture_ends(CUstream stream)
{
    fence(stream);
    mt_quiet_begin();
    struct mt_lane *lane;
    for (unsigned i = 0; (lane = mt_lane_get(i)); i++) {
        mt_lane_lock(lane);
        count_lost(lane, mt_branch_finish(&lane->branch, stream));
        mt_lane_unlock(lane);
    }
    mt_quiet_end();
}

/* Behind a graph that somebody builds by hand there is no telling what will be added, or changed, later. */
static void node(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    struct mt_routing routing;
    const char *why;
    if (kernel->recipe && mt_recipe_kind(kernel->recipe) == MT_RECIPE_ROUTER &&
        mt_recipe_read(kernel->recipe, kernel->info, launch, &routing, &why)) {
        mt_log_once(MT_LOG_PROBLEM, "not captured: %s in a graph that is made node by node, not captured from a stream",
                    kernel->info->base);
        struct mt_tap_state *state = mt_tap_state_current();
        if (state)
            mt_segment_count_not_captured(mt_tap_segment(state));
    }
    mt_quiet_end();
}

static void unload(void)
{
    mt_kernels_forget();
}

static void context_gone(CUcontext context)
{
    mt_quiet_begin();
    mt_tap_context_gone(context);
    mt_quiet_end();
}

void mt_capture_start(struct mt_recipes *recipes, bool taps_beside)
{
    beside = taps_beside;
    mt_kernels_start(recipes);
}

const struct mt_sink *mt_capture_sink(void)
{
    static const struct mt_sink sink = {&open_count, before, after, fence, capture_ends, node, unload, context_gone};
    return &sink;
}
