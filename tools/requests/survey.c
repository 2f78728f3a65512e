/* SPDX-License-Identifier: Apache-2.0 */
/* What has to be known of a whole trace before its rows can be linked: block size, layers, whether drafts are verified.
 */
#include "links.h"

#include "../models.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct seen_slot {
    uint32_t row;  /* its number, from 1 */
    uint32_t pass; /* its number, from 1 */
};

static uint32_t top(struct requests *r, uint32_t site)
{
    while (r->site[site].up != site) {
        r->site[site].up = r->site[r->site[site].up].up;
        site = r->site[site].up;
    }
    return site;
}

static bool is_padding(const struct surveyed *s, uint32_t slot)
{
    for (uint32_t i = 0; i < s->padding_count; i++) {
        if (s->padding[i] == slot)
            return true;
    }
    return false;
}

bool links_is_padding(const struct requests *r, uint32_t slot)
{
    return is_padding(&r->surveyed[r->group], slot);
}

static bool add_padding(struct surveyed *s, uint32_t slot)
{
    if (is_padding(s, slot))
        return true;
    uint32_t *padding = realloc(s->padding, (s->padding_count + 1) * sizeof *padding);
    if (!padding)
        return false;
    s->padding = padding;
    s->padding[s->padding_count++] = slot;
    return true;
}

static uint32_t greatest_divisor(uint32_t a, uint32_t b)
{
    while (a) {
        uint32_t rest = b % a;
        b = a;
        a = rest;
    }
    return b;
}

static int see_row(struct requests *r, uint32_t group, uint32_t slot, int32_t position, bool listed)
{
    struct surveyed *s = &r->surveyed[group];
    if (position >= (int32_t) POSITIONS_MAX)
        return -ERANGE;
    const int32_t *held = r->groups[group].positions;
    /* Written again behind a row that has not changed since: within a block only its own sequence does that. Where
     * slots are listed they are given one by one, and there are no drafts. */
    if (!listed && slot < s->seen_count && slot > 0 && position > 0 && held[slot] == position &&
        held[slot - 1] == position - 1 && s->seen[slot - 1].row < s->seen[slot].row &&
        s->seen[slot - 1].pass != r->seen_passes)
        s->rewritten = greatest_divisor(s->rewritten, (uint32_t) position);
    int result = group_see_row(&r->groups[group], slot, position);
    if (result)
        return result;
    if (slot >= s->seen_count) {
        const uint32_t count = r->groups[group].slots;
        struct seen_slot *seen = realloc(s->seen, count * sizeof *seen);
        if (!seen)
            return -ENOMEM;
        memset(seen + s->seen_count, 0, (count - s->seen_count) * sizeof *seen);
        s->seen = seen;
        s->seen_count = count;
    }
    /* Twice in a pass: where padded rows are sent to. */
    if (s->seen[slot].pass == r->seen_passes && !add_padding(s, slot))
        return -ENOMEM;
    s->seen[slot] = (struct seen_slot){.row = ++r->seen_rows, .pass = r->seen_passes};
    return 0;
}

static int see_rows(struct requests *r, uint32_t index, const struct pass *pass)
{
    const struct pass_group *group = &pass->groups[index];
    struct surveyed *s = &r->surveyed[index];
    uint32_t rows = 0;
    if (group->blocks && group->blocks[0] > 0 && group->blocks[0] < (int32_t) SLOTS_MAX)
        s->told_block = (uint32_t) group->blocks[0];
    group_see_blocks(&r->groups[index], group);
    for (uint32_t i = 0; i < pass->rows; i++) {
        int32_t slot = group->slots[i], position = pass->positions[i];
        if (slot < 0 || position < 0)
            continue;
        rows++;
        s->divisor =
            greatest_divisor(slot > position ? (uint32_t) (slot - position) : (uint32_t) (position - slot), s->divisor);
        int result = see_row(r, index, (uint32_t) slot, position, pass->listed);
        if (result)
            return result;
    }
    if (rows > r->fullest)
        r->fullest = rows;
    return 0;
}

/* All that is attended to has a position, too. */
static int see_reads(struct requests *r, const struct pass *pass)
{
    const int result = links_reads(r, pass);
    if (result)
        return result == -EDOM ? 0 : result;
    r->reads_shown = true;
    for (uint32_t i = 0; i < r->reads.count; i++) {
        const uint32_t count = (uint32_t) pass->positions[r->reads.starts[i]];
        for (uint32_t position = 0; position < count; position++) {
            const uint32_t slot = (uint32_t) pass->reads[r->reads.from[i] + position];
            r->surveyed[0].divisor =
                greatest_divisor(slot > position ? slot - position : position - slot, r->surveyed[0].divisor);
        }
    }
    return 0;
}

int requests_survey(struct requests *r, const struct pass *pass)
{
    for (uint32_t i = 0; i < pass->layer_count; i++) {
        r->site[pass->layers[i].site].seen = true;
        r->site[top(r, pass->layers[i].site)].up = top(r, pass->layers[0].site);
    }
    for (uint32_t i = 0; pass->hole && i < PASS_GROUPS; i++) {
        if (r->surveyed[i].seen)
            memset(r->surveyed[i].seen, 0, r->surveyed[i].seen_count * sizeof *r->surveyed[i].seen);
    }
    if (pass->hole)
        groups_forget(r->groups);
    r->slotted |= pass->group_count || pass->unplaced;
    if (pass->reads && pass->positions && see_reads(r, pass) != 0)
        return -ENOMEM;
    r->listed |= pass->listed;
    r->lists_fit |= pass->lists_fit;
    r->lists_differ |= pass->lists_differ;
    /* Who lists its slots pads with the slot 0, also where a list was lost. */
    if (pass->decodes && !add_padding(&r->surveyed[0], 0))
        return -ENOMEM;
    if (!pass->positions || !pass->group_count)
        return 0;
    r->seen_passes++;
    int result = 0;
    for (uint32_t i = 0; !result && i < pass->group_count; i++)
        result = see_rows(r, i, pass);
    return result;
}

/* Numbers of other models' layers are left out. */
static int32_t column_of(const struct requests *r, uint32_t index)
{
    const struct mt_site *site = &r->sites[index];
    return site->layer >= 0 && site->layer < 65536
               ? site->layer - (int32_t) models_others_below(r->sites, r->site_count, site)
               : -1;
}

/*
 * The model is the class of sites with most layers, and those like it with more than half as many: the same layers in
 * other graphs, of which some record may have been lost. A draft model has fewer.
 */
int requests_surveyed(struct requests *r)
{
    uint32_t most = NONE;
    for (uint32_t i = 0; i < r->site_count; i++) {
        uint32_t t = top(r, i);
        if (!r->site[i].seen)
            continue;
        r->site[t].count++;
        if (most == NONE || r->site[t].count > r->site[most].count)
            most = t;
    }
    for (uint32_t i = 0; most != NONE && i < r->site_count; i++) {
        struct site *site = &r->site[i];
        uint32_t t = top(r, i);
        if (!site->seen || !models_same(&r->sites[i], &r->sites[most]) || r->site[t].count * 2 <= r->site[most].count)
            continue;
        bool known = false;
        int32_t rank = 0;
        for (uint32_t j = 0; j < r->site_count; j++) {
            if (r->site[j].seen && top(r, j) == t) {
                known |= r->sites[j].layer != MT_LAYER_UNKNOWN;
                rank += j < i;
            }
        }
        /* Where no layer is known, sites are numbered in the order of their first launch. */
        site->column = known ? column_of(r, i) : rank;
        if (site->column >= 0 && (uint32_t) site->column + 1 > r->layers)
            r->layers = (uint32_t) site->column + 1;
        r->k = r->sites[i].k;
        r->experts = r->sites[i].experts;
    }
    for (uint32_t i = 0; i < PASS_GROUPS; i++) {
        free(r->surveyed[i].seen);
        r->surveyed[i].seen = NULL;
    }
    r->group = groups_best(r->groups);
    groups_free(r->groups);
    struct surveyed *s = &r->surveyed[r->group];
    if (r->listed && !r->lists_fit)
        s->told_block = 0;
    if (r->block && (s->divisor % r->block || (s->told_block && s->told_block != r->block)))
        return -EDOM;
    if (!r->block && s->told_block && s->divisor % s->told_block == 0)
        r->block = s->told_block;
    if (!r->block)
        r->block = s->divisor == 0 ? 1 : s->divisor <= BLOCK_MAX ? s->divisor : s->divisor & -s->divisor;
    if (r->block > BLOCK_MAX)
        r->block = BLOCK_MAX;
    r->drafts = s->rewritten && (r->block == 1 || s->rewritten % r->block);
    return 0;
}
