/* SPDX-License-Identifier: Apache-2.0 */
#include "group.h"

#include "../log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Layer numbers are one for all streams and all kernels: the layers of the routers to k of E experts in this process.
 * Row context has its own for each recipe. */
struct mt_model {
    struct mt_model *next;
    const struct mt_recipe *context; /* NULL: routers */
    uint32_t experts, k;             /* 0 and 1 for row context */
    struct mt_layers *layers;
    struct mt_runs runs;
    struct context { /* of row context that comes with every layer */
        struct context *next;
        struct mt_tap_state *state;
        struct mt_firsts firsts;
    } * contexts;
};
static struct mt_model *models;
static pthread_mutex_t models_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t sites_lock = PTHREAD_MUTEX_INITIALIZER;

static struct mt_model *find_model(const struct mt_recipe *recipe, uint32_t experts, uint32_t k)
{
    const struct mt_recipe *context = mt_recipe_site_kind(recipe) == MT_SITE_ROUTER ? NULL : recipe;
    pthread_mutex_lock(&models_lock);
    struct mt_model *model = models;
    while (model && !(model->context == context && model->experts == experts && model->k == k))
        model = model->next;
    if (!model && (model = calloc(1, sizeof *model))) {
        model->next = models;
        model->context = context;
        model->experts = experts;
        model->k = k;
        model->layers = mt_layers_new();
        pthread_mutex_init(&model->runs.lock, NULL);
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

static struct mt_group *new_group(const struct mt_recipe *recipe, uint32_t experts, uint32_t k)
{
    struct mt_group *group = calloc(1, sizeof *group);
    struct mt_model *model = group ? find_model(recipe, experts, k) : NULL;
    if (model) {
        group->recipe = recipe;
        group->model = model;
    } else {
        free(group);
    }
    return model ? group : NULL;
}

struct mt_group *mt_group_find(struct mt_lane *lane, const struct mt_recipe *recipe, uint32_t experts, uint32_t k)
{
    for (struct mt_group *group = lane->groups; group; group = group->next) {
        if (group->recipe == recipe && group->model->experts == experts && group->model->k == k)
            return group;
    }
    struct mt_group *group = new_group(recipe, experts, k);
    if (!group)
        return NULL;
    for (const struct mt_group *other = lane->groups; other; other = other->next) {
        if (other->model == group->model)
            group->last = other->last;
    }
    group->next = lane->groups;
    return lane->groups = group;
}

struct mt_group *mt_group_mapped(struct mt_group *from, const struct mt_recipe *recipe, uint32_t experts, uint32_t k)
{
    for (struct mt_group *group = from->mapped; group; group = group->next) {
        if (group->recipe == recipe && group->model->experts == experts)
            return group;
    }
    struct mt_group *group = new_group(recipe, experts, k);
    if (!group)
        return NULL;
    group->from = from;
    group->next = from->mapped;
    return from->mapped = group;
}

static bool has_site(const struct mt_group *group, const struct mt_tap_state *state, uint32_t slot)
{
    return group->state == state && slot < group->sites_len && group->sites[slot].index >= 0;
}

/* The router's site of that layer, + 1: it was tapped just now. */
static uint32_t mapped_from(const struct mt_group *group, const struct mt_tap_state *state, uint32_t slot)
{
    const struct mt_group *from = group->from;
    return from && has_site(from, state, slot) ? (uint32_t) from->sites[slot].index + 1 : 0;
}

static struct mt_model *routers_of(const struct mt_group *group)
{
    return group->from ? group->from->model : group->model;
}

/* A known layer's runs are counted together, whatever kernel routes: else `step` would name two of them. So are those
 * of the ids that maps make of theirs. */
static int32_t find_counter(const struct mt_lane *lane, const struct mt_group *group, uint32_t slot)
{
    const struct mt_model *model = routers_of(group);
    for (const struct mt_group *other = lane->groups; slot && other; other = other->next) {
        if (other->model != model)
            continue;
        if (!group->from && other != group && has_site(other, group->state, slot))
            return other->sites[slot].counter;
        for (const struct mt_group *mapped = other->mapped; group->from && mapped; mapped = mapped->next) {
            if (mapped != group && has_site(mapped, group->state, slot))
                return mapped->sites[slot].counter;
        }
    }
    return -1;
}

struct mt_group_site *mt_group_site(struct mt_lane *lane, struct mt_group *group, struct mt_tap_state *state,
                                    const struct mt_kernel *kernel, const struct mt_routing *routing, int32_t layer)
{
    if (group->state != state) {
        group->state = state; /* another context, another segment */
        group->sites_len = 0;
    }
    uint32_t slot = (uint32_t) (layer + 1);
    if (slot >= group->sites_len) {
        struct mt_group_site *sites = realloc(group->sites, (slot + 16) * sizeof *sites);
        if (!sites)
            return NULL;
        for (uint32_t i = group->sites_len; i < slot + 16; i++)
            sites[i] = (struct mt_group_site){.index = -1};
        group->sites = sites;
        group->sites_len = slot + 16;
    }
    struct mt_group_site *found = &group->sites[slot];
    if (found->index >= 0)
        return found;

    struct mt_site site = {
        .layer = layer,
        .stream = mt_lane_number(lane),
        .experts = routing->experts,
        .k = routing->k,
        .dtype = (uint8_t) routing->dtype,
        .id_space = (uint8_t) mt_recipe_id_space(group->recipe),
        .kind = (uint8_t) mt_recipe_site_kind(group->recipe),
        .mapped_from = mapped_from(group, state, slot),
        .model = mt_runs_model(&routers_of(group)->runs, layer),
    };
    snprintf(site.kernel, sizeof site.kernel, "%.255s", kernel->info->demangled);
    snprintf(site.recipe, sizeof site.recipe, "%.63s", mt_recipe_name(group->recipe));
    pthread_mutex_lock(&sites_lock);
    int index = mt_segment_add_site(mt_tap_segment(state), &site);
    pthread_mutex_unlock(&sites_lock);
    if (index < 0) {
        mt_log_once(MT_LOG_PROBLEM, "more than %u places that are tapped: later ones are counted as not captured",
                    MT_SITES_MAX);
        return NULL;
    }
    found->index = index;
    found->counter = find_counter(lane, group, slot);
    if (found->counter < 0)
        found->counter = index;
    return found;
}

static void tell_models(struct mt_group *group, struct mt_runs *runs)
{
    for (uint32_t i = 1; group->state && i < group->sites_len; i++) {
        if (group->sites[i].index >= 0)
            mt_segment_set_model(mt_tap_segment(group->state), (uint32_t) group->sites[i].index,
                                 mt_runs_model(runs, (int32_t) i - 1));
    }
    for (struct mt_group *mapped = group->mapped; mapped; mapped = mapped->next)
        tell_models(mapped, runs);
}

/* On this lane; on others as their routers run. */
static void tell_lane(struct mt_lane *lane, struct mt_model *model, uint32_t version)
{
    for (struct mt_group *group = lane->groups; group; group = group->next) {
        if (group->model != model || group->told == version)
            continue;
        tell_models(group, &model->runs);
        group->told = version;
        mt_log_once(MT_LOG_EXPLAIN, "routers to %u of %u experts are of several models: of a draft beside its target",
                    model->k, model->experts);
    }
}

void mt_group_ran(struct mt_lane *lane, struct mt_group *group, bool capturing, const struct mt_routing *routing,
                  int32_t layer)
{
    uint32_t version = mt_runs_note(&group->model->runs, lane, &lane->seen, capturing, layer, routing->rows);
    if (group->told != version)
        tell_lane(lane, group->model, version);
}

void mt_group_captured(struct mt_lane *lane)
{
    for (struct mt_group *group = lane->groups; group; group = group->next) {
        uint32_t version = group->model->context ? group->told : mt_runs_captured(&group->model->runs, lane);
        if (group->told != version)
            tell_lane(lane, group->model, version);
    }
}

static void retract(struct mt_group *group)
{
    group->stage = true;
    for (uint32_t i = 0; group->state && i < group->sites_len; i++) {
        if (group->sites[i].index >= 0)
            mt_segment_add_flags(mt_tap_segment(group->state), (uint32_t) group->sites[i].index, MT_SITE_RETRACTED);
    }
    for (struct mt_group *mapped = group->mapped; mapped; mapped = mapped->next)
        retract(mapped);
}

void mt_group_stages(struct mt_lane *lane, struct mt_group *group, const struct mt_routing *routing)
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

int32_t mt_group_identify(struct mt_lane *lane, struct mt_group *group)
{
    struct mt_layers *layers = group->model->layers;
    uint32_t launches = lane->history.count - group->last;
    int32_t layer = mt_recipe_kind(group->recipe) == MT_RECIPE_CONSUMER
                        ? mt_layers_identify_reader(layers, &lane->history, launches)
                        : mt_layers_identify(layers, &lane->history, launches);
    for (struct mt_group *other = lane->groups; other; other = other->next) {
        if (other->model == group->model)
            other->last = lane->history.count;
    }
    return layer;
}

static struct mt_firsts *find_firsts(struct mt_model *model, struct mt_tap_state *state)
{
    pthread_mutex_lock(&models_lock);
    struct context *context = model->contexts;
    while (context && context->state != state)
        context = context->next;
    if (!context && (context = calloc(1, sizeof *context))) {
        context->state = state;
        context->next = model->contexts;
        model->contexts = context;
    }
    pthread_mutex_unlock(&models_lock);
    return context ? &context->firsts : NULL;
}

bool mt_group_speaks(struct mt_group *group, struct mt_tap_state *state, uint64_t address)
{
    if (!group->firsts || group->once_state != state) {
        if (!group->once && !(group->once = malloc(sizeof *group->once)))
            return false;
        *group->once = (struct mt_once){0};
        group->once_state = state;
        group->firsts = find_firsts(group->model, state);
    }
    return group->firsts &&
           mt_once_first(group->once, group->firsts, address, mt_recipe_kind(group->recipe) != MT_RECIPE_TOKENS);
}
