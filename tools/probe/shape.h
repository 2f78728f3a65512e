/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of what was written: how many ids a row has, where rows begin, how many there are, of how many experts. */
#ifndef MOETAP_TOOLS_PROBE_SHAPE_H
#define MOETAP_TOOLS_PROBE_SHAPE_H

#include "view.h"

/* Sets k, k_word and stride, and leaves out launches of another k. False: these are no rows of ids. */
bool shape_find_k(struct view *view, struct candidate *c);

/* Sets rows, rows_by, rows_least, rows_most, rows_choices if a number of the launch tells the rows. */
void shape_find_rows(const struct view *view, struct candidate *c);

/* Sets experts: the smallest number of the launch above all ids. Where a sampler uses the kernel, it tells them apart.
 */
bool shape_find_experts(const struct view *view, struct candidate *c);

/* What `experts` says, or what the ids show. */
uint64_t shape_experts(const struct view *view, const struct candidate *c);

#endif
