/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several arrays of slots in one batch: one for each group of layers, shown when the group's first layer runs, and so
 * in the midst of the pass. Only layers that attend to everything keep a slot for each token; those of a window write
 * over theirs.
 */
#include "impl.h"

bool pass_arrays_see(struct pass_arrays *arrays, const struct mt_site *site, const struct mt_record *record)
{
    const bool goes_on = arrays->context && record->context == arrays->context + 1;
    const bool slots = site->kind == MT_SITE_SLOTS, reads = site->kind == MT_SITE_READS;
    arrays->context = record->context;
    if (site->kind == MT_SITE_BATCH) {
        arrays->count = 0;
        return false;
    }
    /* One may be missing, or be of another batch. */
    if (!goes_on || !(slots || (reads && arrays->count)) || (slots && arrays->count && record->site != arrays->site))
        arrays->count = PASS_GROUPS;
    if (arrays->count == PASS_GROUPS)
        return false;
    if (slots) {
        arrays->site = record->site;
        arrays->count++;
    } else {
        arrays->attends = arrays->count;
    }
    return arrays->count > 1;
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
