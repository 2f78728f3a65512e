/* SPDX-License-Identifier: Apache-2.0 */
/* By which KV cache group's slots a table stores: as a trace's survey chooses (groups.h), so far. */
#ifndef MOETAP_TOOLS_TABLE_CHOICE_H
#define MOETAP_TOOLS_TABLE_CHOICE_H

#include "../groups.h"

struct choice {
    struct group_seen groups[PASS_GROUPS];
    uint32_t count; /* of groups that a pass shows; what shows fewer has lost some, and which ones nothing tells */
    uint32_t group; /* GROUP_UNKNOWN: none yet */
    uint64_t held_back;
};

/* To be asked for each pass, whosever it is. `changed`: what was stored so far is by another group's slots. -ENOMEM. */
int choice_see(struct choice *choice, const struct pass *pass, bool *changed);

/* Leaves the pass the chosen group's slots. False: its rows are held back, and counted. */
bool choice_apply(struct choice *choice, struct pass *pass);

#endif
