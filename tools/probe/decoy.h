/* SPDX-License-Identifier: Apache-2.0 */
/* What else is small and different. */
#ifndef MOETAP_TOOLS_PROBE_DECOY_H
#define MOETAP_TOOLS_PROBE_DECOY_H

#include "view.h"

/* Sequences, permutations, lists of indices. NULL: none of these. Sets c->ties. */
const char *decoy(const struct view *view, struct candidate *c);

/* Is most of what was written the same as in another launch? Routers see new tokens. */
bool decoy_repeats(const struct view *view);

/* Does the largest number keep growing, as that of blocks of a context does? Experts stay as many. */
bool decoy_grows(const struct view *view, const struct candidate *c);

#endif
