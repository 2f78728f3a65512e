/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences shown as lists of all their slots (kv_indices), made a block table of one-slot blocks. */
#include "impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LISTS_MAX 65536 /* sequences */

int lists_know(struct passes *passes, int32_t sequences, uint32_t words)
{
    const size_t room = (sequences > 0 && sequences <= LISTS_MAX ? (size_t) sequences : 0) + 1 + words;
    if (room <= passes->list_room)
        return 0;
    int32_t *lists = realloc(passes->lists, room * 2 * sizeof *lists);
    if (!lists)
        return -ENOMEM;
    passes->lists = lists;
    passes->list_room = room * 2;
    return 0;
}

const int32_t *lists_starts(const struct passes *passes, const struct context *lists, const struct context *lengths)
{
    const int32_t sequences = lists->rows ? lists->values[0] : 0;
    if (sequences < 1 || sequences > LISTS_MAX || (lengths && lengths->rows != (uint32_t) sequences))
        return NULL;
    int64_t row = 0;
    for (int32_t i = 0; i < sequences; i++) {
        passes->lists[i] = (int32_t) row;
        row += lengths ? lengths->values[i] : 1;
        if ((lengths && lengths->values[i] < 0) || row > INT32_MAX)
            return NULL;
    }
    passes->lists[sequences] = (int32_t) row;
    return passes->lists;
}

/*
 * Makes of kv_indices a table of blocks of one slot. Each has to fit the pass's slots and positions: a list ends with
 * the sequence's last row, or, in a pass of prompts, ahead of its first. False if one does not: then it is not this
 * pass's.
 */
static bool table_of_lists(struct passes *passes, struct pass *pass, const struct context *lists)
{
    int32_t *table = passes->lists + lists->values[0] + 1;
    uint32_t words = 1, listed = 0;
    bool differ = false;
    if (!pass->slots || !pass->positions)
        return false;
    table[0] = 1;
    for (uint32_t at = 1; at < lists->rows;) {
        const int32_t *element = lists->values + at;
        if (lists->rows - at < 3)
            return false;
        const int64_t sequence = element[0], length = element[1], told = element[2];
        if (sequence < 0 || told < 1 || told > length || told > lists->rows - at - 3)
            return false;
        at += 3 + (uint32_t) told;
        if (sequence >= pass->sequences)
            continue; /* padding */
        const int32_t first = pass->starts[sequence], rows = pass->starts[sequence + 1] - first;
        if (!rows)
            continue;
        const int64_t ahead = pass->positions[first];
        const bool whole = length == ahead + rows;
        if (!whole && (pass->decodes || length != ahead))
            return false;
        listed++;
        const bool fits = whole && element[2 + told] == pass->slots[first + rows - 1];
        pass->lists_fit |= fits;
        differ |= whole && !fits;
        const int64_t left = whole ? told - rows : told;
        if (ahead == 0 || left < 1)
            continue;
        const bool all = told == length;
        table[words++] = first;
        table[words++] = (int32_t) (all ? ahead : -ahead);
        memcpy(table + words, element + 3 + (all ? 0 : left - 1), (size_t) (all ? ahead : 1) * sizeof *table);
        words += all ? (uint32_t) ahead : 1;
    }
    if (pass->decodes && listed != pass->sequences)
        return false;
    pass->groups[0].blocks = table;
    pass->groups[0].block_words = words;
    pass->lists_differ = differ;
    return !differ;
}

/* Padded rows have the slot 0. */
bool lists_show(struct passes *passes, struct pass *pass, const struct context *lists, bool decodes)
{
    const struct pass without = *pass;
    pass->starts = passes->lists;
    pass->sequences = (uint32_t) lists->values[0];
    pass->listed = true;
    pass->decodes = decodes;
    while (decodes && pass->slots && pass->sequences && pass->slots[pass->sequences - 1] == 0)
        pass->rows = --pass->sequences;
    if (pass->sequences && table_of_lists(passes, pass, lists))
        return true;
    const bool differ = pass->lists_differ;
    *pass = without;
    pass->lists_differ = differ;
    pass->groups[0] = (struct pass_group){0};
    pass->rows = pass->group_count = 0;
    pass->slots = pass->positions = pass->tokens = NULL;
    return false;
}
