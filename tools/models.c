/* SPDX-License-Identifier: Apache-2.0 */
#include "models.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Layers of one model are never further apart than this: passes that were cut short, and for each stream some that are
 * under way. */
#define APART 4u
#define APART_STREAM 2u

/* What a segment counts of a layer on one stream. */
struct counter {
    uint32_t stream;
    uint64_t runs;
};

struct layer {
    int32_t number;
    uint32_t told;    /* by the shim */
    uint32_t first;   /* index of the first layer that runs with this one */
    uint64_t runs;    /* on all streams */
    uint64_t lost;    /* records lost before its latest one */
    uint64_t *behind; /* most runs that this one was behind each layer of the space, by index */
    uint32_t behind_count;
    struct counter *counters;
    uint32_t counter_count;
};

/* All layers of one E and k. */
struct space {
    uint32_t experts, k, streams;
    uint64_t unknown; /* runs whose layer is not known: any layer's */
    bool sorted;      /* each layer's `first` is right */
    struct layer *layers;
    uint32_t layer_count;
    struct counter *unknowns;
    uint32_t unknown_count;
};

struct models {
    struct space *spaces;
    uint32_t count;
};

struct models *models_new(void)
{
    return calloc(1, sizeof(struct models));
}

void models_free(struct models *models)
{
    for (uint32_t i = 0; models && i < models->count; i++) {
        struct space *space = &models->spaces[i];
        for (uint32_t j = 0; j < space->layer_count; j++) {
            free(space->layers[j].behind);
            free(space->layers[j].counters);
        }
        free(space->layers);
        free(space->unknowns);
    }
    if (models)
        free(models->spaces);
    free(models);
}

static struct space *find_space(const struct models *models, const struct mt_site *site)
{
    for (uint32_t i = 0; i < models->count; i++) {
        if (models->spaces[i].experts == site->experts && models->spaces[i].k == site->k)
            return &models->spaces[i];
    }
    return NULL;
}

static struct space *space_of(struct models *models, const struct mt_site *site)
{
    struct space *space = find_space(models, site);
    if (space)
        return space;
    struct space *more = realloc(models->spaces, (models->count + 1) * sizeof *more);
    if (!more)
        return NULL;
    models->spaces = more;
    more[models->count] = (struct space){.experts = site->experts, .k = site->k};
    return &more[models->count++];
}

static struct layer *find_layer(const struct space *space, int32_t number)
{
    for (uint32_t i = 0; i < space->layer_count; i++) {
        if (space->layers[i].number == number)
            return &space->layers[i];
    }
    return NULL;
}

static struct layer *layer_of(struct space *space, const struct mt_site *site)
{
    struct layer *layer = find_layer(space, site->layer);
    if (layer)
        return layer;
    struct layer *more = realloc(space->layers, (space->layer_count + 1) * sizeof *more);
    if (!more)
        return NULL;
    space->layers = more;
    more[space->layer_count] = (struct layer){.number = site->layer};
    space->sorted = false;
    return &more[space->layer_count++];
}

/* How many runs this record tells of, itself included. Those that were lost are told by the next one. */
static int64_t new_runs(struct counter **counters, uint32_t *count, uint32_t stream, uint64_t step)
{
    uint32_t i = 0;
    while (i < *count && (*counters)[i].stream != stream)
        i++;
    if (i == *count) {
        struct counter *more = realloc(*counters, (i + 1) * sizeof *more);
        if (!more)
            return -ENOMEM;
        *counters = more;
        more[(*count)++] = (struct counter){stream, 0};
    }
    uint64_t runs = step >= (*counters)[i].runs ? step + 1 - (*counters)[i].runs : 0;
    (*counters)[i].runs += runs;
    return (int64_t) runs;
}

static int make_room(const struct space *space, struct layer *layer)
{
    if (layer->behind_count >= space->layer_count)
        return 0;
    uint64_t *behind = realloc(layer->behind, space->layer_count * sizeof *behind);
    if (!behind)
        return -ENOMEM;
    memset(behind + layer->behind_count, 0, (space->layer_count - layer->behind_count) * sizeof *behind);
    layer->behind = behind;
    layer->behind_count = space->layer_count;
    return 0;
}

/* Only layers of which no later run can have been lost. */
static int compare(struct space *space, struct layer *now)
{
    const uint32_t index = (uint32_t) (now - space->layers);
    if (make_room(space, now) != 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < space->layer_count; i++) {
        struct layer *other = &space->layers[i];
        if (other == now || other->lost != now->lost)
            continue;
        if (make_room(space, other) != 0)
            return -ENOMEM;
        uint64_t *behind = now->runs < other->runs ? &now->behind[i] : &other->behind[index];
        uint64_t runs = now->runs < other->runs ? other->runs - now->runs : now->runs - other->runs;
        if (runs <= *behind)
            continue;
        *behind = runs;
        space->sorted = false;
    }
    return 0;
}

int models_note(struct models *models, const struct mt_site *site, const struct mt_record *record)
{
    if (site->kind != MT_SITE_ROUTER || site->flags & MT_SITE_RETRACTED)
        return 0;
    struct space *space = space_of(models, site);
    if (!space)
        return -ENOMEM;
    if (site->stream >= space->streams)
        space->streams = site->stream + 1;
    if (site->layer == MT_LAYER_UNKNOWN) {
        int64_t runs = new_runs(&space->unknowns, &space->unknown_count, record->site, record->step);
        space->unknown += runs > 0 ? (uint64_t) runs : 0;
        return runs < 0 ? (int) runs : 0;
    }
    struct layer *layer = layer_of(space, site);
    int64_t runs = layer ? new_runs(&layer->counters, &layer->counter_count, site->stream, record->step) : -ENOMEM;
    if (runs < 0)
        return (int) runs;
    space->sorted &= layer->told == site->model;
    layer->told = site->model;
    layer->runs += (uint64_t) runs;
    layer->lost = record->lost;
    return compare(space, layer);
}

static uint64_t behind(const struct layer *layer, uint32_t index)
{
    return index < layer->behind_count ? layer->behind[index] : 0;
}

static bool apart(const struct space *space, uint32_t a, uint32_t b)
{
    const struct layer *x = &space->layers[a], *y = &space->layers[b];
    const uint64_t slack = APART + APART_STREAM * space->streams + space->unknown;
    return x->told != y->told || behind(x, b) + behind(y, a) > slack;
}

static void sort(struct space *space)
{
    for (uint32_t i = 0; i < space->layer_count; i++) {
        uint32_t first = 0;
        while (first < i && (space->layers[first].first != first || apart(space, first, i)))
            first++;
        space->layers[i].first = first;
    }
    space->sorted = true;
}

uint32_t models_of(struct models *models, const struct mt_site *site)
{
    struct space *space = find_space(models, site);
    if (space && !space->sorted)
        sort(space);
    const struct layer *layer = space ? find_layer(space, site->layer) : NULL;
    uint32_t model = 0;
    for (uint32_t i = 0; layer && i < layer->first; i++)
        model += space->layers[i].first == i;
    return layer ? model : site->model;
}

uint32_t models_count(struct models *models)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < models->count; i++) {
        struct space *space = &models->spaces[i];
        if (!space->sorted)
            sort(space);
        for (uint32_t j = 0; j < space->layer_count; j++)
            count += space->layers[j].first == j;
    }
    return count;
}

bool models_names_first(const struct mt_site *sites, uint32_t index)
{
    const struct mt_site *site = &sites[index];
    for (uint32_t i = 0; i < index; i++) {
        if (sites[i].kind == MT_SITE_ROUTER && models_same(&sites[i], site) && sites[i].layer == site->layer)
            return false;
    }
    return true;
}

uint32_t models_layers(const struct mt_site *sites, uint32_t count, const struct mt_site *site)
{
    uint32_t layers = 0;
    for (uint32_t i = 0; i < count; i++)
        layers += sites[i].kind == MT_SITE_ROUTER && !(sites[i].flags & MT_SITE_RETRACTED) &&
                  models_same(&sites[i], site) && (sites[i].layer == MT_LAYER_UNKNOWN || models_names_first(sites, i));
    return layers;
}

bool models_beside(const struct mt_site *sites, uint32_t count, const struct mt_site *site)
{
    const uint32_t own = models_layers(sites, count, site);
    for (uint32_t i = 0; i < count; i++) {
        const struct mt_site *other = &sites[i];
        if (other->kind != MT_SITE_ROUTER || other->experts != site->experts || other->k != site->k ||
            other->model == site->model)
            continue;
        uint32_t layers = models_layers(sites, count, other);
        if (layers > own || (layers == own && other->model < site->model))
            return true;
    }
    return false;
}

uint32_t models_others_below(const struct mt_site *sites, uint32_t count, const struct mt_site *site)
{
    uint32_t others = 0;
    for (uint32_t i = 0; i < count; i++)
        others += sites[i].kind == MT_SITE_ROUTER && sites[i].experts == site->experts && sites[i].k == site->k &&
                  sites[i].model != site->model && sites[i].layer >= 0 && sites[i].layer < site->layer &&
                  models_names_first(sites, i);
    return others;
}
