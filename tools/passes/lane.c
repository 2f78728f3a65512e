/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: which routers' records are one pass. */
#include "impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Routers of one recipe are of one model, and so are those whose layers are known: several kernels may take turns, or
 * have layers each. But for those that are known to be of several. */
static bool same_model(const struct mt_site *a, const struct mt_site *b, bool by_layer)
{
    if (a->stream != b->stream || a->experts != b->experts || a->k != b->k || a->model != b->model)
        return false;
    return by_layer ? a->layer != MT_LAYER_UNKNOWN && b->layer != MT_LAYER_UNKNOWN
                    : strncmp(a->recipe, b->recipe, sizeof a->recipe) == 0;
}

struct lane *lane_of(struct passes *passes, const struct mt_site *site, uint32_t index)
{
    if (passes_know_site(passes, index) != 0)
        return NULL;
    struct counted *counted = &passes->sites[index];
    uint32_t *found = &counted->lane;
    if (*found && counted->site.model != site->model)
        *counted = (struct counted){0}; /* found out only now */
    if (!*found)
        counted->site = *site;
    for (int by_layer = 0; by_layer < 2; by_layer++) {
        for (uint32_t i = 0; !*found && i < passes->site_count; i++) {
            if (passes->sites[i].lane && same_model(&passes->sites[i].site, site, by_layer))
                *found = passes->sites[i].lane;
        }
    }
    if (!*found) {
        struct lane *lanes = realloc(passes->lanes, (passes->lane_count + 1) * sizeof *lanes);
        if (!lanes)
            return NULL;
        passes->lanes = lanes;
        lanes[passes->lane_count++] = (struct lane){.stream = site->stream};
        *found = passes->lane_count;
    }
    return &passes->lanes[*found - 1];
}

bool lane_belongs(const struct passes *passes, const struct lane *lane, const struct mt_site *site,
                  const struct mt_record *record)
{
    if (!lane->open || record->context != lane->context)
        return false;
    for (uint32_t i = 0; i < lane->layer_count; i++) {
        const struct pass_layer *layer = &lane->layers[i].shown;
        if (layer->site == record->site || (site->layer != MT_LAYER_UNKNOWN && layer->layer == site->layer))
            return false;
    }
    const struct counted *counted = &passes->sites[record->site];
    /* Nothing was lost between the pass before and this record: then order alone is enough. */
    bool sure = lane->first ? record->step == lane->step : record->lost == lane->lost_before;
    bool counts_alike = counted->class == lane->class && record->step - counted->base == lane->count;
    if (counted->class == lane->class && !counts_alike && !sure)
        return false;
    if (record->context)
        return true;
    return lane->layers[0].shown.rows == record->rows &&
           (lane->flags & MT_SITE_GRAPH) == (site->flags & MT_SITE_GRAPH) && (counts_alike || sure);
}

void lane_start(struct passes *passes, struct lane *lane, const struct mt_site *site, const struct mt_record *record)
{
    struct counted *counted = &passes->sites[record->site];
    if (!counted->class) {
        counted->class = ++passes->classes;
        counted->base = record->step;
    }
    lane->open = true;
    lane->shares = false;
    lane->context = record->context;
    lane->first_seq = record->seq;
    lane->time_ns = record->time_ns;
    lane->lost_before = lane->lost;
    lane->first = !lane->ran;
    lane->ran = true;
    lane->step = record->step;
    lane->flags = site->flags;
    lane->class = counted->class;
    lane->count = record->step - counted->base;
    lane->layer_count = 0;
    lane->id_count = 0;
    struct context *context = record->context ? window_at(passes, record->context) : NULL;
    uint32_t index = (uint32_t) (lane - passes->lanes);
    if (!context) {
        lane->shares = record->context != 0;
    } else if (!context->routed) {
        context->routed = true;
        context->lane = index;
    } else {
        const struct lane *owner = &passes->lanes[context->lane];
        lane->shares = context->used || owner != lane;
        context->ambiguous |= owner->stream != lane->stream;
    }
}

void lane_count_with(struct passes *passes, const struct lane *lane, const struct mt_record *record)
{
    struct counted *counted = &passes->sites[record->site];
    const uint32_t class = counted->class;
    const uint64_t shift = record->step - counted->base - lane->count;
    for (uint32_t i = 0; class && class != lane->class && i < passes->site_count; i++) {
        if (passes->sites[i].class == class) {
            passes->sites[i].class = lane->class;
            passes->sites[i].base += shift;
        }
    }
    counted->class = lane->class;
    counted->base = record->step - lane->count;
}

/* Beside the ids of the record that are being added, at the same places. */
static int add_weights(struct lane *lane, const struct mt_record *record, const void *weights, size_t count)
{
    if (lane->weight_room < lane->id_room) {
        float *grown = realloc(lane->weights, lane->id_room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        lane->weights = grown;
        lane->weight_room = lane->id_room;
    }
    for (size_t i = 0; i < count; i++)
        lane->weights[lane->id_count + i] = mt_decode_weight(weights, record->weights, i);
    return 0;
}

int lane_add_layer(struct lane *lane, const struct mt_site *site, const struct mt_record *record, const void *ids)
{
    size_t count = (size_t) record->rows * record->k;
    if (lane->layer_count == lane->layer_room) {
        uint32_t room = lane->layer_room ? lane->layer_room * 2 : 16;
        struct layer *layers = realloc(lane->layers, room * sizeof *layers);
        if (!layers)
            return -ENOMEM;
        lane->layers = layers;
        lane->layer_room = room;
    }
    if (lane->id_room - lane->id_count < count) {
        size_t room = (lane->id_count + count) * 2;
        int32_t *grown = realloc(lane->ids, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        lane->ids = grown;
        lane->id_room = room;
    }
    const void *weights = mt_record_weights(record, ids);
    if (weights && count && add_weights(lane, record, weights, count) != 0)
        return -ENOMEM;
    lane->layers[lane->layer_count++] =
        (struct layer){{.layer = site->layer, .site = record->site, .rows = record->rows, .k = record->k},
                       .ids_at = lane->id_count,
                       .weighted = weights && count};
    for (size_t i = 0; i < count; i++)
        lane->ids[lane->id_count++] = mt_decode_id(ids, record->width, i);
    return 0;
}

bool lane_all_rows(const struct lane *lane, uint32_t rows)
{
    for (uint32_t i = 0; i < lane->layer_count; i++) {
        if (lane->layers[i].shown.rows != rows)
            return false;
    }
    return true;
}
