/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links where the engine shows which rows are one sequence, and the blocks ahead of one that begins at a block's start
 * (MT_SITE_STARTS, MT_SITE_BLOCKS): nothing is guessed. What a block holds is what was written there last.
 */
#include "links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Finds the sequences' elements in the pass's block table; those that make no sense are left out. -ENOMEM. */
static int find_elements(struct requests *r, const struct pass *pass, const struct pass_group *group)
{
    if (pass->sequences > r->element_room) {
        uint32_t *element = realloc(r->element, pass->sequences * sizeof *element);
        if (!element)
            return -ENOMEM;
        r->element = element;
        r->element_room = pass->sequences;
    }
    memset(r->element, 0, pass->sequences * sizeof *r->element);
    if (!group->blocks || (uint32_t) group->blocks[0] != r->block)
        return 0;
    for (uint32_t at = 1; group->block_words - at >= 2 && at < group->block_words;) {
        int32_t row = group->blocks[at], ahead = group->blocks[at + 1];
        const uint32_t told = ahead < 0 ? 1 : (uint32_t) ahead;
        if (told < 1 || told > group->block_words - at - 2)
            return 0;
        uint32_t low = 0, high = pass->sequences;
        while (high - low > 1) {
            uint32_t middle = low + (high - low) / 2;
            *(pass->starts[middle] <= row ? &low : &high) = middle;
        }
        if (pass->starts[low] == row)
            r->element[low] = at;
        at += 2 + told;
    }
    return 0;
}

/* The node that holds a block's last row, if that has this position. */
static uint32_t tail_of(const struct requests *r, int32_t block, uint32_t position)
{
    uint64_t slot = ((uint64_t) (uint32_t) block + 1) * r->block - 1;
    if (block < 0 || slot >= r->slot_count || r->content[slot] == NONE)
        return UNKNOWN;
    uint32_t node = r->content[slot];
    return (uint32_t) r->nodes[node].position == position && !r->nodes[node].dropped ? node : UNKNOWN;
}

/* The last of `count` things of `size` bytes whose node is not behind this one, or the first. They begin with their
 * nodes. */
static uint32_t last_up_to(const void *all, uint32_t count, size_t size, uint32_t node)
{
    uint32_t low = 0, high = count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2, at;
        memcpy(&at, (const char *) all + middle * size, sizeof at);
        *(at <= node ? &low : &high) = middle;
    }
    return low;
}

static uint64_t blocks_of(const int32_t *table, uint32_t count)
{
    uint64_t h = 1;
    for (uint32_t i = 0; i < count; i++) {
        h = (h ^ (uint32_t) table[i]) * 0xff51afd7ed558ccdu;
        h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    }
    return h;
}

static int add_table(struct requests *r, uint32_t node, uint64_t blocks)
{
    if (r->table_count == r->table_room) {
        uint32_t room = r->table_room ? r->table_room * 2 : 1024;
        struct shown_table *tables = realloc(r->tables, room * sizeof *tables);
        if (!tables)
            return -ENOMEM;
        r->tables = tables;
        r->table_room = room;
    }
    r->tables[r->table_count++] = (struct shown_table){node, blocks};
    return 0;
}

/* Was this table's beginning shown ahead of the last block's first row, too? Then the links behind that have been
 * looked at. */
static bool shown_before(const struct requests *r, uint32_t tail, const int32_t *table, uint32_t count)
{
    uint32_t node = tail;
    while ((uint32_t) r->nodes[node].position % r->block) {
        node = r->nodes[node].parent;
        if (node >= UNKNOWN)
            return false;
    }
    if (!r->table_count)
        return false;
    const struct shown_table *shown = &r->tables[last_up_to(r->tables, r->table_count, sizeof *r->tables, node)];
    return shown->node == node && shown->blocks == blocks_of(table, count - 1);
}

/* Do the links from `node`, the last row of the table's last block, lead through the table's blocks? */
static bool leads_through(const struct requests *r, uint32_t node, const int32_t *table, uint32_t count)
{
    uint32_t bridge = NONE;
    for (uint32_t i = count; i-- > 1;) {
        uint32_t tail = tail_of(r, table[i - 1], i * r->block - 1);
        while (node < UNKNOWN && (uint32_t) r->nodes[node].position != i * r->block - 1)
            node = links_up(r, node, &bridge);
        if (node != tail || node >= UNKNOWN)
            return false;
    }
    return true;
}

/* Two rows of the same prefix, as far as they tell; for sure if they also went the same way. */
static bool is_like(const struct node *a, const struct node *b, bool sure)
{
    if (sure && (!a->experts || a->experts != b->experts))
        return false;
    return a->token == b->token && (!sure || a->token != MT_CONTEXT_OVERFLOW);
}

/*
 * Does this block hold the tokens that the links say are there? If it was given back and taken again, for a sequence
 * that happens to have the same positions in it, it does not. `at` is the link to its last row, and then the one ahead
 * of its first. Of a group that lets go of blocks only what is known for sure is taken.
 */
static bool says_the_same(const struct requests *r, int32_t block, uint32_t *at, uint32_t *bridge)
{
    const bool sure = r->groups[r->group].gone > 0;
    bool same = true;
    for (uint32_t i = r->block; i-- > 0;) {
        if (*at >= UNKNOWN)
            return same && !sure;
        const uint32_t held = r->content[(uint32_t) block * r->block + i];
        if (held == NONE)
            same = false;
        else if (held != *at)
            same &= is_like(&r->nodes[held], &r->nodes[*at], sure);
        *at = links_up(r, *at, bridge);
    }
    return same;
}

/*
 * The block ahead of the last one holds something else than the links say: then the last one may be another's, too. It
 * is where KV was put from elsewhere, of which no pass tells. What was never seen written says nothing.
 */
static bool is_filled(const struct requests *r, uint32_t tail, const int32_t *table, uint32_t count)
{
    if (count < 2 || table[count - 2] < 0)
        return false;
    const uint64_t end = ((uint64_t) (uint32_t) table[count - 2] + 1) * r->block;
    if (end > r->slot_count || r->content[end - 1] == NONE)
        return false;
    uint32_t bridge = NONE, at = tail;
    while (at < UNKNOWN && (uint32_t) r->nodes[at].position >= (count - 1) * r->block)
        at = links_up(r, at, &bridge);
    return tail_of(r, table[count - 2], (count - 1) * r->block - 1) >= UNKNOWN ||
           !says_the_same(r, table[count - 2], &at, &bridge);
}

static int add_bridge(struct requests *r, uint32_t node, const int32_t *table, uint32_t count)
{
    if (r->bridge_count == r->bridge_room) {
        uint32_t room = r->bridge_room ? r->bridge_room * 2 : 64;
        struct bridge *bridges = realloc(r->bridges, room * sizeof *bridges);
        if (!bridges)
            return -ENOMEM;
        r->bridges = bridges;
        r->bridge_room = room;
    }
    if (r->tail_room - r->tail_count < count) {
        uint32_t room = (r->tail_count + count) * 2;
        uint32_t *tails = realloc(r->bridge_tails, room * sizeof *tails);
        if (!tails)
            return -ENOMEM;
        r->bridge_tails = tails;
        r->tail_room = room;
    }
    r->bridges[r->bridge_count++] = (struct bridge){node, r->tail_count};
    uint32_t bridge = NONE, at = links_up(r, node, &bridge);
    for (uint32_t i = count; i-- > 0;) {
        const uint32_t tail = tail_of(r, table[i], (i + 1) * r->block - 1);
        const bool same = tail < UNKNOWN && says_the_same(r, table[i], &at, &bridge);
        while (at < UNKNOWN && (uint32_t) r->nodes[at].position >= i * r->block)
            at = links_up(r, at, &bridge);
        r->bridge_tails[r->tail_count + i] = same ? tail : UNKNOWN;
    }
    r->tail_count += count;
    r->nodes[node].bridged = true;
    return 0;
}

uint32_t links_up(const struct requests *r, uint32_t node, uint32_t *bridge)
{
    const struct node *n = &r->nodes[node];
    if (n->bridged && *bridge == NONE)
        *bridge = last_up_to(r->bridges, r->bridge_count, sizeof *r->bridges, node);
    uint32_t position = (uint32_t) n->position;
    if (*bridge == NONE || position % r->block || !position)
        return n->parent;
    return r->bridge_tails[r->bridges[*bridge].first + position / r->block - 1];
}

/*
 * The sequence goes on behind `parent` with this node: neither that nor draft tokens behind it are its end any more.
 * The one whose place is taken was rejected.
 */
static void goes_on(struct requests *r, uint32_t node, uint32_t parent)
{
    const uint32_t old = r->nodes[node].old;
    r->nodes[node].parent = parent;
    if (old != NONE && r->nodes[old].parent == parent)
        r->nodes[old].dropped = true;
    uint32_t pass = r->nodes[parent].pass;
    for (uint32_t i = parent; i < r->node_count && r->nodes[i].pass == pass; i++) {
        if (i > parent && r->nodes[i].parent != i - 1)
            break;
        r->nodes[i].ends = false;
    }
}

/* Did a sequence stand here at the end of the pass before? Behind it there may be draft tokens. */
static bool stood(const struct work *w, uint32_t node)
{
    const struct requests *r = w->r;
    uint32_t end = node;
    while (end + 1 < w->base && r->nodes[end + 1].parent == end && r->nodes[end + 1].pass == r->nodes[node].pass)
        end++;
    return r->nodes[node].pass + 1 == w->pass && r->nodes[end].ends &&
           (end == node || (r->drafts && end - node <= DRAFTS_MAX));
}

/* Whoever stood here goes on. Its slot may have been that of another one with the same rows ahead, which is gone. */
static void go_on_decoding(struct requests *r, uint32_t parent)
{
    if (parent < UNKNOWN)
        r->nodes[parent].ends = false;
}

/* A sequence's first row in the pass. -ENOMEM. */
static int begin(const struct work *w, uint32_t i, const int32_t *element, const struct pass *pass)
{
    struct requests *r = w->r;
    struct node *n = &r->nodes[i];
    const uint32_t position = (uint32_t) n->position;
    n->starts = true;
    n->parent = position ? UNKNOWN : ROOT;
    if (position % r->block) {
        uint32_t parent = n->slot > 0 ? r->content[n->slot - 1] : NONE;
        if (parent == NONE || (uint32_t) r->nodes[parent].position != position - 1)
            return 0;
        goes_on(r, i, parent); /* a prefix is found by whole blocks */
        return 0;
    }
    if (!position)
        return add_table(r, i, blocks_of(NULL, 0));
    const uint32_t count = position / r->block;
    if (!element || (element[1] != (int32_t) count && element[1] != -(int32_t) count))
        return 0;
    const int32_t *table = element + 2;
    if (element[1] < 0) { /* what is ahead of that is as it was */
        n->parent = tail_of(r, table[0], position - 1);
        go_on_decoding(r, n->parent);
        return 0;
    }
    if (add_table(r, i, blocks_of(table, count)) != 0)
        return -ENOMEM;
    n->parent = tail_of(r, table[count - 1], position - 1);
    const bool known = n->parent < UNKNOWN;
    if (known && !pass->listed && !stood(w, n->parent) && is_filled(r, n->parent, table, count)) {
        n->parent = UNKNOWN;
        r->filled++;
        return 0;
    }
    const bool as_linked =
        known && (shown_before(r, n->parent, table, count) || leads_through(r, n->parent, table, count));
    if (pass->decodes)
        go_on_decoding(r, n->parent);
    else if (known && stood(w, n->parent))
        goes_on(r, i, n->parent);
    else
        r->hits |= known; /* for passes that show no sequences */
    /* What is gone from a cached prefix is missing, also where the links would lead to the like of it. */
    return as_linked ? 0 : add_bridge(r, i, table, count);
}

int links_table(const struct work *w, const struct pass *pass)
{
    struct requests *r = w->r;
    const struct pass_group *group = &pass->groups[r->group];
    if (find_elements(r, pass, group) != 0)
        return -ENOMEM;
    uint32_t sequence = 0;
    for (uint32_t i = w->base; i < w->end; i++) {
        struct node *n = &r->nodes[i];
        while (sequence + 1 < pass->sequences && (uint32_t) pass->starts[sequence + 1] <= n->row)
            sequence++;
        n->link = LINK_TABLE;
        n->proven = true;
        n->ends = n->row + 1 == (uint32_t) pass->starts[sequence + 1];
        if (n->row == (uint32_t) pass->starts[sequence]) {
            int result = begin(w, i, r->element[sequence] ? group->blocks + r->element[sequence] : NULL, pass);
            if (result)
                return result;
            continue;
        }
        bool behind = i > w->base && n[-1].row + 1 == n->row && n[-1].position + 1 == n->position;
        n->parent = behind ? i - 1 : UNKNOWN;
        n->starts = !behind;
    }
    r->entry_count = 0; /* whoever guesses next knows no batch */
    return 0;
}
