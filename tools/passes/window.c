/* SPDX-License-Identifier: Apache-2.0 */
/* The window: the latest numbers of row context, each there or missing, and who takes it. */
#include "impl.h"

#include <errno.h>
#include <stdlib.h>

struct context *window_at(struct passes *passes, uint64_t number)
{
    struct context *context = &passes->contexts[number % WINDOW];
    if (context->number > number)
        return NULL;
    if (context->number < number) {
        int32_t *values = context->values;
        size_t room = context->room;
        *context = (struct context){.number = number, .values = values, .room = room};
    }
    return context;
}

uint64_t window_tying(struct passes *passes, uint64_t number)
{
    while (number > 0) {
        const struct context *context = &passes->contexts[number % WINDOW];
        if (context->number != number || !(context->foreign || context->joins))
            break;
        number--;
    }
    return number;
}

int window_take(struct passes *passes, const struct mt_site *site, const struct mt_record *record, const void *ids)
{
    struct context *context = record->context ? window_at(passes, record->context) : NULL;
    if (!context || record->k != 1)
        return 0;
    if (passes_know_site(passes, record->site) != 0)
        return -ENOMEM;
    if (record->rows > context->room) {
        int32_t *values = realloc(context->values, record->rows * sizeof *values);
        if (!values)
            return -ENOMEM;
        context->values = values;
        context->room = record->rows;
    }
    for (uint32_t i = 0; i < record->rows; i++)
        context->values[i] = mt_decode_id(ids, record->width, i);
    if (site->kind == MT_SITE_KV_INDICES && record->rows && lists_know(passes, context->values[0], record->rows) != 0)
        return -ENOMEM;
    passes_know_slots(passes, record->site, site);
    context->seen = true;
    context->site = record->site;
    context->kind = site->kind;
    context->stream = site->stream;
    context->graph = site->flags & MT_SITE_GRAPH;
    context->rows = context->ran = record->rows;
    context->kernel = space_hash(site->kernel, sizeof site->kernel);
    context->foreign = space_is_another(passes, site, context);
    context->joins = pass_arrays_see(&passes->arrays, site, record);
    if (context->kind == MT_SITE_STARTS && !passes->planner)
        space_find_planner(passes, context);
    return 0;
}

struct context *window_ahead(struct passes *passes, const struct lane *lane, uint64_t number)
{
    struct context *context = &passes->contexts[number % WINDOW];
    bool there = number > 0 && lane->context - number < WINDOW && context->number == number && context->seen &&
                 (!context->routed || number == lane->context);
    return there ? context : NULL;
}

bool window_has_own(const struct passes *passes, const struct lane *lane)
{
    for (uint64_t n = 0; n < WINDOW; n++) {
        const struct context *context = &passes->contexts[n];
        if (context->seen && context->stream == lane->stream && context->graph == !!(lane->flags & MT_SITE_GRAPH))
            return true;
    }
    return false;
}

bool window_is_anothers(const struct lane *lane, const struct context *context, bool own_stream)
{
    return context->foreign ||
           (own_stream && context->graph == !!(lane->flags & MT_SITE_GRAPH) && context->stream != lane->stream);
}

/*
 * Slots that no pass takes tell of a pass whose routers were lost, but not where that is the rule: a model without
 * experts. Tokens and positions alone tell of rows that stored nothing where this model's slots are seen: a draft
 * model's, or a warm-up's.
 */
bool window_find_hole(struct passes *passes, uint64_t up_to)
{
    if (up_to <= passes->context)
        return false;
    bool hole = up_to - passes->context > WINDOW;
    for (uint64_t n = hole ? up_to : passes->context + 1; n <= up_to; n++) {
        const struct context *context = &passes->contexts[n % WINDOW];
        if (context->number != n || !context->seen) {
            hole = true;
            continue;
        }
        if (context->foreign)
            continue;
        struct counted *site = &passes->sites[context->site];
        passes->slots_seen |= context->taken && context->kind == MT_SITE_SLOTS;
        if (context->taken)
            site->taken++;
        else if ((site->taken || site->left++ < 8) && (context->kind == MT_SITE_SLOTS || !passes->slots_seen))
            hole = true;
    }
    passes->context = up_to;
    return hole;
}
