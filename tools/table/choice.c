/* SPDX-License-Identifier: Apache-2.0 */
#include "choice.h"

#include <errno.h>

/* Groups that the pass shows. */
static uint32_t groups_of(const struct pass *pass)
{
    return pass->unplaced ? pass->unplaced_groups : pass->group_count;
}

static int see_groups(struct choice *choice, const struct pass *pass)
{
    for (uint32_t i = 0; i < pass->group_count; i++) {
        const struct pass_group *group = &pass->groups[i];
        group_see_blocks(&choice->groups[i], group);
        for (uint32_t row = 0; row < pass->rows; row++) {
            const int32_t position = pass->positions ? pass->positions[row] : -1;
            if (group->slots[row] >= 0 &&
                group_see_row(&choice->groups[i], (uint32_t) group->slots[row], position) == -ENOMEM)
                return -ENOMEM;
        }
    }
    return 0;
}

int choice_see(struct choice *choice, const struct pass *pass, bool *changed)
{
    const uint32_t before = choice->group, shown = groups_of(pass);
    int result = 0;
    if (pass->hole)
        groups_forget(choice->groups);
    if (shown > choice->count)
        choice->count = shown;
    if (choice->count > 1) {
        if (pass->group_count == choice->count)
            result = see_groups(choice, pass);
        choice->group = groups_known(choice->groups);
    }
    *changed = choice->group != before;
    return result;
}

static void hold_back(struct choice *choice, const struct pass *pass)
{
    for (uint32_t row = 0; row < (pass->unplaced ? pass->unplaced_rows : pass->rows); row++) {
        bool stored = false;
        for (uint32_t i = 0; i < groups_of(pass); i++)
            stored |= pass->groups[i].slots[row] >= 0;
        choice->held_back += stored;
    }
}

bool choice_apply(struct choice *choice, struct pass *pass)
{
    if (choice->count < 2 || !groups_of(pass))
        return true;
    if (choice->group == GROUP_UNKNOWN || groups_of(pass) < choice->count) {
        hold_back(choice, pass);
        return false;
    }
    *(pass->unplaced ? &pass->unplaced : &pass->slots) = pass->groups[choice->group].slots;
    return true;
}
