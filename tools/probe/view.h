/* SPDX-License-Identifier: Apache-2.0 */
/* What one kernel wrote through one pointer, launch after launch, read as ids of some width: rows of k, `stride` apart.
 */
#ifndef MOETAP_TOOLS_PROBE_VIEW_H
#define MOETAP_TOOLS_PROBE_VIEW_H

#include "judge.h"

#define EXPERTS_MAX 1024
#define K_MAX 32u
#define LOOKS_MAX 256

struct view {
    const struct evidence *evidence;
    const struct kernel *kernel;
    const struct memory *look[LOOKS_MAX];
    enum { OURS, SAMPLERS, OTHER_K } other[LOOKS_MAX]; /* launches of the same kernel for something else are left out */
    unsigned count, width;
    struct words words;
};

/* False: nothing was written there. */
bool view_open(struct view *view, const struct evidence *evidence, const struct kernel *kernel, uint32_t offset);

const struct sample *view_sample(const struct view *view, unsigned look);
uint64_t view_word(const struct view *view, const struct word *word, unsigned look);
int64_t view_id(const struct view *view, unsigned look, size_t i);

/* Looks that count: those that are no other's. */
unsigned view_ours(const struct view *view);

/* Marks the looks that are a sampler's; returns how many looks are left. */
unsigned view_mark_samplers(struct view *view);

/* Ids up to the last one of which something changed. */
size_t view_changed(const struct view *view, unsigned look);

/* Does what the launch wrote go on behind the part that was compared? */
bool view_is_cut(const struct view *view, unsigned look);

/* Rows of which something changed; those whose bytes are there. */
size_t view_rows_changed(const struct view *view, unsigned look, uint64_t stride);
size_t view_rows_shown(const struct view *view, unsigned look, unsigned k, uint64_t stride);
unsigned view_rows(const struct view *view, unsigned k, const struct word *stride); /* of all looks */

/* Rows hold ids of experts, each once, or -1. `stride`: NULL for k. */
bool row_fits(const void *ids, unsigned width, size_t at, unsigned k);
bool view_look_fits(const struct view *view, unsigned look, unsigned k, uint64_t stride);
bool view_all_fit(const struct view *view, unsigned k, const struct word *stride);

/* The part of the ids that are not -1. */
double view_real_part(const struct view *view);

/* Of the k columns, without those that always hold the same id above all others: shared experts. */
unsigned view_largest_id(const struct view *view, unsigned k, const struct word *stride);

/* The same number in every look that counts? */
bool view_constant(const struct view *view, const struct word *word, uint64_t *value);

#endif
