/* SPDX-License-Identifier: Apache-2.0 */
/* What else is small and different. */
#ifndef MOETAP_TOOLS_PROBE_DECOY_H
#define MOETAP_TOOLS_PROBE_DECOY_H

#include "view.h"

/* Sequences, permutations, lists of indices. NULL: none of these. Sets c->ties. */
const char *decoy(const struct view *view, struct candidate *c);

#endif
