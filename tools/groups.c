/* SPDX-License-Identifier: Apache-2.0 */
#include "groups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int group_see_row(struct group_seen *group, uint32_t slot, int32_t position)
{
    if (slot >= GROUPS_SLOTS_MAX)
        return -ERANGE;
    if (slot >= group->slots) {
        const uint32_t slots = (slot + 1) * 2;
        int32_t *positions = realloc(group->positions, slots * sizeof *positions);
        if (!positions)
            return -ENOMEM;
        memset(positions + group->slots, 0xFF, (slots - group->slots) * sizeof *positions);
        group->positions = positions;
        group->slots = slots;
    }
    group->positions[slot] = position;
    return 0;
}

void group_see_blocks(struct group_seen *group, const struct pass_group *shown)
{
    if (!shown->blocks || shown->blocks[0] <= 0 || shown->blocks[0] >= (int32_t) GROUPS_SLOTS_MAX)
        return;
    const uint32_t block = (uint32_t) shown->blocks[0];
    for (uint32_t at = 1; at < shown->block_words && shown->block_words - at >= 2;) {
        const int32_t told = shown->blocks[at + 1];
        const uint32_t ahead = told < 0 ? 0u - (uint32_t) told : (uint32_t) told;
        at += 2;
        for (uint32_t i = told < 0 ? ahead - 1 : 0; i < ahead && at < shown->block_words; i++, at++) {
            const uint64_t slot = ((uint64_t) (uint32_t) shown->blocks[at] + 1) * block - 1;
            const bool found = slot < group->slots && (uint32_t) group->positions[slot] == (i + 1) * block - 1;
            *(found ? &group->found : &group->gone) += 1;
        }
    }
}

void groups_forget(struct group_seen groups[PASS_GROUPS])
{
    for (uint32_t i = 0; i < PASS_GROUPS; i++) {
        if (groups[i].positions)
            memset(groups[i].positions, 0xFF, groups[i].slots * sizeof *groups[i].positions);
    }
}

void groups_free(struct group_seen groups[PASS_GROUPS])
{
    for (uint32_t i = 0; i < PASS_GROUPS; i++) {
        free(groups[i].positions);
        groups[i] = (struct group_seen){.found = groups[i].found, .gone = groups[i].gone};
    }
}

static bool is_better(const struct group_seen *group, const struct group_seen *than)
{
    if (!group->slots || !than->slots)
        return group->slots;
    return group->found + group->gone &&
           (group->gone < than->gone || (group->gone == than->gone && group->found > than->found));
}

uint32_t groups_best(const struct group_seen groups[PASS_GROUPS])
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < PASS_GROUPS; i++) {
        if (is_better(&groups[i], &groups[best]))
            best = i;
    }
    return best;
}

uint32_t groups_known(const struct group_seen groups[PASS_GROUPS])
{
    const uint32_t best = groups_best(groups);
    uint32_t slotted = 0, worse = 0;
    for (uint32_t i = 0; i < PASS_GROUPS; i++) {
        slotted += groups[i].slots > 0;
        worse += groups[i].slots && is_better(&groups[best], &groups[i]);
    }
    return slotted == 1 || worse ? best : GROUP_UNKNOWN;
}
