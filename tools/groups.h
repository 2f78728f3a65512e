/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which group of a hybrid model's KV cache speaks for its tokens. A group of layers that attend to a window lets go of
 * blocks, or shows none, that lie ahead of what it needs; one whose layers attend to everything keeps all of them. So
 * it is the group of whose blocks fewest are gone. One that never had a slot is that of layers which keep a state
 * instead of rows.
 */
#ifndef MOETAP_TOOLS_GROUPS_H
#define MOETAP_TOOLS_GROUPS_H

#include "passes.h"

#define GROUPS_SLOTS_MAX (1u << 26)
#define GROUP_UNKNOWN UINT32_MAX

struct group_seen {
    int32_t *positions;   /* what each slot holds, -1: not seen */
    uint32_t slots;       /* of which something may be known; 0: it never had one */
    uint64_t found, gone; /* blocks ahead of a sequence, as shown, that hold its positions, and that hold others */
};

/* -ENOMEM; -ERANGE: no engine has such a slot. */
int group_see_row(struct group_seen *group, uint32_t slot, int32_t position);
/* To be called ahead of the rows of the pass. */
void group_see_blocks(struct group_seen *group, const struct pass_group *shown);
/* What a group's slots hold now is not known any more; what was found out of it stays. */
void groups_forget(struct group_seen groups[PASS_GROUPS]);
/* Takes back the memory, and leaves the counts. */
void groups_free(struct group_seen groups[PASS_GROUPS]);

/* The best one by what was seen; of those that are alike the first. */
uint32_t groups_best(const struct group_seen groups[PASS_GROUPS]);
/* The same, or GROUP_UNKNOWN while nothing tells it from any other. */
uint32_t groups_known(const struct group_seen groups[PASS_GROUPS]);

#endif
