/* SPDX-License-Identifier: Apache-2.0 */
/* Slots count in a space of their cache; those of another space than the first one's are not a pass's. */
#include "impl.h"

#include <string.h>

uint64_t space_hash(const char *text, size_t size)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < size && text[i]; i++)
        hash = (hash ^ (unsigned char) text[i]) * 1099511628211u;
    return hash | 1;
}

void passes_know_slots(struct passes *passes, uint32_t index, const struct mt_site *site)
{
    if (site->kind != MT_SITE_SLOTS || (passes->has_home && passes->home <= index))
        return;
    passes->has_home = true;
    passes->home = index;
    memcpy(passes->home_recipe, site->recipe, sizeof passes->home_recipe);
    passes->home_kernel = space_hash(site->kernel, sizeof site->kernel);
}

/* One kernel makes a pass's slots and another uses them: the same slots twice, but for rows of padding. */
static bool same_slots(const struct context *a, const struct context *b)
{
    const struct context *more = a->rows > b->rows ? a : b, *less = a->rows > b->rows ? b : a;
    if (memcmp(a->values, b->values, less->rows * sizeof *a->values) != 0)
        return false;
    for (uint32_t i = less->rows; i < more->rows; i++) {
        if (more->values[i] >= 0)
            return false;
    }
    return true;
}

/*
 * Slots by another recipe than the first one's are of a second kind of cache, which has slots of its own, unless both
 * read the same kernel. But where a kernel makes the slots of a pass and shows its sequences, that is all that is
 * needed: those that use them afterwards, in the midst of the pass, for each of its groups, only tell how many rows the
 * model ran.
 */
bool space_is_another(struct passes *passes, const struct mt_site *site, const struct context *context)
{
    if (site->kind != MT_SITE_SLOTS)
        return false;
    if (!passes->planner)
        return strncmp(passes->home_recipe, site->recipe, sizeof passes->home_recipe) != 0 &&
               (!site->kernel[0] || context->kernel != passes->home_kernel);
    if (context->kernel == passes->planner)
        return false;
    for (uint64_t n = context->number - 1; n > 0 && context->number - n < WINDOW; n--) {
        struct context *made = &passes->contexts[n % WINDOW];
        if (made->number != n || !made->seen || made->routed)
            break;
        if (made->kind == MT_SITE_SLOTS && made->kernel == passes->planner && same_slots(made, context))
            made->ran = context->rows;
    }
    return true;
}

/* The slots that it showed just before are its pass's, too. */
void space_find_planner(struct passes *passes, const struct context *starts)
{
    passes->planner = starts->kernel;
    for (uint64_t n = starts->number - 1; n > 0 && starts->number - n < WINDOW; n--) {
        struct context *context = &passes->contexts[n % WINDOW];
        if (context->number != n || !context->seen || context->kernel != starts->kernel)
            return;
        context->foreign = false;
    }
}
