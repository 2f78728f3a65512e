/* SPDX-License-Identifier: Apache-2.0 */
/* Records come in, whole passes are handed out. */
#include "impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct passes *passes_new(pass_take *take, void *user)
{
    struct passes *passes = calloc(1, sizeof *passes);
    if (passes) {
        passes->take = take;
        passes->user = user;
    }
    return passes;
}

void passes_free(struct passes *passes)
{
    if (!passes)
        return;
    for (uint32_t i = 0; i < WINDOW; i++)
        free(passes->contexts[i].values);
    for (uint32_t i = 0; i < passes->lane_count; i++) {
        free(passes->lanes[i].layers);
        free(passes->lanes[i].ids);
        free(passes->lanes[i].weights);
    }
    free(passes->lanes);
    free(passes->sites);
    free(passes->shown);
    free(passes->lists);
    free(passes);
}

int passes_know_site(struct passes *passes, uint32_t site)
{
    if (site < passes->site_count)
        return 0;
    uint32_t count = site + 16 > site ? site + 16 : UINT32_MAX;
    struct counted *sites = realloc(passes->sites, count * sizeof *sites);
    if (!sites)
        return -ENOMEM;
    memset(sites + passes->site_count, 0, (count - passes->site_count) * sizeof *sites);
    passes->sites = sites;
    passes->site_count = count;
    return 0;
}

static int hand_out(struct passes *passes, struct lane *lane)
{
    if (!lane->open)
        return 0;
    lane->open = false;
    if (lane->layer_count > passes->shown_room) {
        struct pass_layer *shown = realloc(passes->shown, lane->layer_count * sizeof *shown);
        if (!shown)
            return -ENOMEM;
        passes->shown = shown;
        passes->shown_room = lane->layer_count;
    }
    for (uint32_t i = 0; i < lane->layer_count; i++) {
        passes->shown[i] = lane->layers[i].shown;
        passes->shown[i].ids = lane->ids + lane->layers[i].ids_at;
        passes->shown[i].weights = lane->layers[i].weighted ? lane->weights + lane->layers[i].ids_at : NULL;
    }
    struct pass pass = {.first_seq = lane->first_seq,
                        .time_ns = lane->time_ns,
                        .run = lane->step,
                        .layers = passes->shown,
                        .layer_count = lane->layer_count,
                        .bare = lane->context == 0};
    rows_find(passes, lane, &pass);
    pass.hole = window_find_hole(passes, lane->context);
    struct context *own = lane->context && !lane->shares ? window_at(passes, lane->context) : NULL;
    if (own)
        own->used = true;
    if (lane->lost > passes->lost) {
        uint64_t lost = lane->lost - passes->lost;
        pass.lost = lost > UINT32_MAX ? UINT32_MAX : (uint32_t) lost;
        passes->lost = lane->lost;
    }
    return passes->take(&pass, passes->user);
}

/* Hands out what is over, in the order in which it began: passes of a context before `context`, or all of them. */
static int hand_out_before(struct passes *passes, uint64_t context, bool all)
{
    for (;;) {
        struct lane *first = NULL;
        for (uint32_t i = 0; i < passes->lane_count; i++) {
            struct lane *lane = &passes->lanes[i];
            if (lane->open && (all || (lane->context && lane->context < context)) &&
                (!first || lane->first_seq < first->first_seq))
                first = lane;
        }
        int result = first ? hand_out(passes, first) : 0;
        if (!first || result)
            return result;
    }
}

int passes_add(struct passes *passes, const struct mt_site *site, const struct mt_record *given, const void *ids)
{
    if (site->kind != MT_SITE_ROUTER)
        return window_take(passes, site, given, ids);
    struct mt_record tied = *given;
    const struct mt_record *record = &tied;
    tied.context = window_tying(passes, given->context);
    struct lane *lane = lane_of(passes, site, record->site);
    if (!lane)
        return -ENOMEM;
    int result = hand_out_before(passes, record->context, false);
    if (!result && !lane_belongs(passes, lane, site, record)) {
        result = hand_out(passes, lane);
        if (!result)
            lane_start(passes, lane, site, record);
    }
    if (result)
        return result;
    lane_count_with(passes, lane, record);
    if (record->lost > lane->lost)
        lane->lost = record->lost;
    return lane_add_layer(lane, site, record, ids);
}

int passes_flush(struct passes *passes)
{
    return hand_out_before(passes, 0, true);
}
