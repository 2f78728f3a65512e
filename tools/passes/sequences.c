/* SPDX-License-Identifier: Apache-2.0 */
/* A pass whose sequences the engine itself shows: where they begin, their slots and blocks by group of the cache. */
#include "impl.h"

/* Rows that a pass's sequences have, 0 if they make no sense. */
static uint32_t sequence_rows(const struct context *starts)
{
    if (starts->rows < 2 || starts->values[0] != 0)
        return 0;
    for (uint32_t i = 1; i < starts->rows; i++) {
        if (starts->values[i] < starts->values[i - 1])
            return 0;
    }
    return (uint32_t) starts->values[starts->rows - 1];
}

/* What the kernel of these starts showed at `number`. */
static struct context *plan_at(struct passes *passes, const struct context *starts, uint64_t number)
{
    struct context *context = &passes->contexts[number % WINDOW];
    bool there = number > 0 && context->number == number && context->seen;
    return there && context->kernel == starts->kernel && context->stream == starts->stream ? context : NULL;
}

/*
 * The kernel that shows the sequences runs for each group of the cache: for the first one it shows them, too, and for
 * all their slots, and behind these their blocks. If what came ahead of all that was lost, it may have been the first
 * group's slots, and which group the others are is not known. False: the model did not run as many rows as its routers,
 * or its slots are not known.
 */
static bool find_groups(struct passes *passes, const struct lane *lane, const struct context *starts, struct pass *pass)
{
    const uint32_t most = lane->layers[0].shown.rows;
    uint64_t first = starts->number;
    struct context *context;
    bool model_ran_all = false;
    while ((context = plan_at(passes, starts, first - 1)) && !context->routed && context->kind != MT_SITE_STARTS &&
           context->kind != MT_SITE_BLOCKS)
        first--;
    context = &passes->contexts[(first - 1) % WINDOW];
    if (first > 1 && (context->number != first - 1 || !context->seen))
        return false;
    for (uint64_t n = first; n <= lane->context; n++) {
        context = plan_at(passes, starts, n);
        if (!context)
            continue;
        struct pass_group *group = pass->group_count ? &pass->groups[pass->group_count - 1] : NULL;
        if (context->kind == MT_SITE_BLOCKS && group && !group->blocks) {
            group->blocks = context->values;
            group->block_words = context->rows;
        }
        if (context->kind != MT_SITE_SLOTS || pass->group_count == PASS_GROUPS ||
            (context->rows != pass->rows && context->rows != most))
            continue;
        pass->groups[pass->group_count++].slots = context->values;
        model_ran_all |= context->ran == most;
    }
    return model_ran_all;
}

/*
 * Where the engine shows its sequences, these tell how many rows are real; of what the rows are, what has as many is
 * theirs, or as many as the routers of a padded graph.
 */
bool sequences_find(struct passes *passes, const struct lane *lane, struct pass *pass)
{
    struct context *starts = NULL, *lists = NULL, *lengths = NULL, *of_kind[KINDS] = {NULL}, *context;
    const bool own_stream = window_has_own(passes, lane);
    for (uint64_t n = lane->context; (context = window_ahead(passes, lane, n)); n--) {
        struct context **latest = context->kind == MT_SITE_STARTS       ? &starts
                                  : context->kind == MT_SITE_KV_INDICES ? &lists
                                  : context->kind == MT_SITE_LENGTHS    ? &lengths
                                                                        : NULL;
        if (latest && !*latest && !window_is_anothers(lane, context, own_stream))
            *latest = context;
    }
    if (starts || !lists)
        lists = NULL;
    const int32_t *listed = lists ? lists_starts(passes, lists, lengths) : NULL;
    const uint32_t rows = starts   ? sequence_rows(starts)
                          : listed ? (uint32_t) listed[lists->values[0]]
                                   : 0,
                   most = lane->layers[0].shown.rows;
    if (!rows || rows > most || !lane_all_rows(lane, most))
        return false;
    bool model_ran_all = rows == most;
    for (uint64_t n = lane->context; (context = window_ahead(passes, lane, n)); n--) {
        if (window_is_anothers(lane, context, own_stream))
            continue;
        context->taken = true;
        if (context->kind > MT_SITE_TOKENS || (starts && context->kind == MT_SITE_SLOTS) ||
            (context->rows != rows && context->rows != most))
            continue;
        model_ran_all |= context->rows == most;
        struct context **best = &of_kind[context->kind];
        if (!*best || (context->rows == rows && (*best)->rows != rows))
            *best = context;
    }
    pass->rows = rows;
    if (starts)
        model_ran_all |= find_groups(passes, lane, starts, pass);
    else if (of_kind[MT_SITE_SLOTS])
        pass->groups[pass->group_count++].slots = of_kind[MT_SITE_SLOTS]->values;
    if (!model_ran_all) {
        if (pass->group_count)
            rows_leave_unplaced(pass, pass->groups[0].slots, rows);
        pass->unplaced_groups = pass->group_count;
        pass->rows = pass->group_count = 0;
        return true;
    }
    rows_show(passes, pass, of_kind);
    if (listed)
        return lists_show(passes, pass, lists, lengths == NULL);
    pass->starts = starts->values;
    pass->sequences = starts->rows - 1;
    return true;
}
