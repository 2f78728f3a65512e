/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several arrays of slots in one batch: one for each group of layers, shown when the group's first layer runs, and so
 * in the midst of the pass. Only layers that attend to everything keep a slot for each token; those of a window write
 * over theirs.
 */
#include "impl.h"

static const struct context *just_ahead(const struct passes *passes, uint64_t number)
{
    const struct context *context = &passes->contexts[(number - 1) % WINDOW];
    return number > 1 && context->number == number - 1 && context->seen ? context : NULL;
}

/* Behind slots of the same kernel, and those behind a batch, with nothing that begins another in between. */
static bool is_next_array(const struct passes *passes, const struct context *slots)
{
    bool behind_slots = false;
    const struct context *context = slots;
    for (uint32_t n = 0; n < WINDOW && (context = just_ahead(passes, context->number)); n++) {
        if (context->kind == MT_SITE_BATCH)
            return behind_slots;
        if (context->kind == MT_SITE_SLOTS && context->site == slots->site && context->rows == slots->rows)
            behind_slots = true;
        else if (context->kind != MT_SITE_READS)
            return false;
    }
    return false;
}

bool arrays_joins(const struct passes *passes, const struct context *context)
{
    const struct context *ahead = just_ahead(passes, context->number);
    if (context->kind == MT_SITE_READS)
        return ahead && ahead->joins;
    return context->kind == MT_SITE_SLOTS && is_next_array(passes, context);
}

void pass_arrays_see(struct pass_arrays *arrays, const struct mt_site *site, const struct mt_record *record)
{
    const bool goes_on = arrays->context && record->context == arrays->context + 1;
    if (site->kind == MT_SITE_BATCH)
        *arrays = (struct pass_arrays){.attends = arrays->attends};
    else if (!goes_on)
        arrays->count = PASS_GROUPS; /* some may be missing */
    else if (site->kind == MT_SITE_SLOTS && arrays->count < PASS_GROUPS)
        arrays->count++;
    else if (site->kind == MT_SITE_READS && arrays->count < PASS_GROUPS)
        arrays->attends = arrays->count;
    arrays->context = record->context;
}

void passes_know_array(struct passes *passes, uint32_t attends)
{
    passes->arrays.attends = attends;
}

/* Before it is known, the last one: models begin with layers of a window. */
void arrays_choose(struct passes *passes, const struct lane *lane, struct context *of_kind[KINDS])
{
    struct context *arrays[PASS_GROUPS], *context;
    uint32_t count = 0;
    if (!of_kind[MT_SITE_SLOTS])
        return;
    arrays[count++] = of_kind[MT_SITE_SLOTS];
    for (uint64_t n = lane->context + 1; count < PASS_GROUPS; n++) {
        context = &passes->contexts[n % WINDOW];
        if (context->number != n || !context->joins)
            break;
        context->taken = true;
        if (context->kind == MT_SITE_SLOTS)
            arrays[count++] = context;
        else
            of_kind[MT_SITE_READS] = context;
    }
    const uint32_t attends = passes->arrays.attends ? passes->arrays.attends : count;
    of_kind[MT_SITE_SLOTS] = attends <= count ? arrays[attends - 1] : NULL; /* that one was lost */
}
