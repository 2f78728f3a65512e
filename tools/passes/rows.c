/* SPDX-License-Identifier: Apache-2.0 */
/* What the rows of a pass are, chosen from the window: slots, positions and tokens that fit its routers. */
#include "impl.h"

/* Layers that keep a state instead of rows have a group, too, all of whose slots are -1. */
static const int32_t *slots_of(struct passes *passes, const struct pass *pass)
{
    for (uint32_t i = 0; i < pass->group_count && !passes->has_group; i++) {
        for (uint32_t row = 0; row < pass->rows && !passes->has_group; row++)
            passes->has_group = pass->groups[i].slots[row] >= 0;
        passes->group = passes->has_group ? i : 0;
    }
    return passes->group < pass->group_count ? pass->groups[passes->group].slots : NULL;
}

void rows_show(struct passes *passes, struct pass *pass, struct context *const *of_kind)
{
    if (of_kind[MT_SITE_SLOTS] && !pass->group_count)
        pass->groups[pass->group_count++].slots = of_kind[MT_SITE_SLOTS]->values;
    pass->slots = slots_of(passes, pass);
    pass->positions = of_kind[MT_SITE_POSITIONS] ? of_kind[MT_SITE_POSITIONS]->values : NULL;
    pass->tokens = of_kind[MT_SITE_TOKENS] ? of_kind[MT_SITE_TOKENS]->values : NULL;
}

void rows_leave_unplaced(struct pass *pass, const int32_t *slots, uint32_t rows)
{
    pass->unplaced = slots;
    pass->unplaced_rows = rows;
}

/*
 * The latest of each kind behind the pass before, as far back as no number is missing; of several, one of the routers'
 * own stream.
 *
 * Where a graph is padded, its routers have more rows than the slots, which are stored outside of it: then the first
 * ones are real. Only if the model itself ran as many rows as its routers, though: routers that are given the rows of
 * other ranks have more, too, and the first ones may be another rank's.
 */
void rows_find(struct passes *passes, const struct lane *lane, struct pass *pass)
{
    struct context *of_kind[KINDS] = {NULL}, *context;
    const struct context *own = lane->context && !lane->shares ? window_at(passes, lane->context) : NULL;
    if (!own || own->ambiguous || sequences_find(passes, lane, pass))
        return;
    const bool own_stream = window_has_own(passes, lane);
    bool several = false; /* slots: a batch in parts */
    for (uint64_t n = lane->context; (context = window_ahead(passes, lane, n)); n--) {
        if (window_is_anothers(lane, context, own_stream))
            continue;
        struct context **best = context->kind < KINDS ? &of_kind[context->kind] : NULL;
        if (!best)
            continue;
        several |= context->kind == MT_SITE_SLOTS && *best;
        if (!*best || ((*best)->stream != lane->stream && context->stream == lane->stream))
            *best = context;
    }
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        if (of_kind[kind])
            of_kind[kind]->taken = true;
    }
    arrays_choose(passes, lane, of_kind);
    const struct context *slots = of_kind[MT_SITE_SLOTS], *positions = of_kind[MT_SITE_POSITIONS],
                         *tokens = of_kind[MT_SITE_TOKENS];
    bool model_ran_all =
        (positions && lane_all_rows(lane, positions->rows)) || (tokens && lane_all_rows(lane, tokens->rows));
    uint32_t most = lane->layers[0].shown.rows, rows = most;
    if (slots && slots->rows < most && model_ran_all && !several)
        rows = slots->rows;
    for (uint32_t kind = MT_SITE_SLOTS; kind <= MT_SITE_TOKENS; kind++) {
        context = of_kind[kind];
        if (context && context->rows != rows && (rows == most || context->rows != most))
            of_kind[kind] = NULL;
        else if (context && rows == most && !lane_all_rows(lane, rows))
            of_kind[kind] = NULL;
        else if (context)
            pass->rows = rows;
    }
    rows_show(passes, pass, of_kind);
    batch_show(pass, of_kind);
    const struct context *reads = of_kind[MT_SITE_READS];
    if (reads && slots && pass->slots && reads->number > slots->number) {
        pass->reads = reads->values;
        pass->read_count = reads->rows;
    }
    if (slots && !pass->slots)
        rows_leave_unplaced(pass, slots->values, slots->rows);
}
