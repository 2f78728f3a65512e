/* SPDX-License-Identifier: Apache-2.0 */
/* What became of the ids that a candidate had written: reordered in place, copied, or a step on the way to others. */
#ifndef MOETAP_TOOLS_PROBE_FATE_H
#define MOETAP_TOOLS_PROBE_FATE_H

#include "view.h"

/* Sets kept, replaced, moved_unseen and movers from what was seen of the launches behind. */
void fate_of_ids(const struct view *view, struct candidate *c);

/* Rejects candidates that only reorder, copy or prepare what another one chooses. */
void fate_reject_followers(const struct evidence *evidence, struct verdict *verdict);

#endif
