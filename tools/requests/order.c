/* SPDX-License-Identifier: Apache-2.0 */
#include "links.h"

#include <errno.h>
#include <stdlib.h>

/* The only node anywhere that can be ahead of this position. */
static uint32_t only_one(const struct requests *r, int32_t position)
{
    return !r->blind && r->held[position - 1] == 1 ? r->content[r->held_slots[position - 1]] : NONE;
}

static uint32_t entry_of(const struct requests *r, uint32_t node, uint32_t *hint)
{
    for (uint32_t i = 0; i < r->entry_count; i++) {
        uint32_t at = (*hint + i) % r->entry_count;
        if (node >= r->entries[at].first && node <= r->entries[at].last) {
            *hint = at + 1;
            return at;
        }
    }
    return NONE;
}

static void go_on(struct requests *r, uint32_t entry)
{
    if (entry != NONE)
        r->entries[entry].goes_on = true;
}

/*
 * The node of an entry that a row can come behind: its last one, or, where draft tokens were rejected, one whose
 * successor's slot the row takes. NONE if there is none, or what it wrote is gone.
 */
static uint32_t ahead(const struct requests *r, const struct entry *entry, const struct node *n)
{
    int32_t first = r->nodes[entry->first].position;
    if (n->position - 1 < first || n->position - 1 > r->nodes[entry->last].position)
        return NONE;
    uint32_t node = entry->first + (uint32_t) (n->position - 1 - first);
    if (r->content[r->nodes[node].slot] != node || (node != entry->last && n->old != node + 1))
        return NONE;
    return node;
}

static uint32_t chunk_end(const struct work *w, uint32_t first)
{
    uint32_t end = first + 1;
    while (end < w->end && !w->r->nodes[end].starts)
        end++;
    return end;
}

static void solve(struct node *n, uint32_t parent)
{
    n->link = LINK_SOLVED;
    n->parent = parent;
    n->starts = true;
}

static void join(struct node *nodes, uint32_t i, bool proven)
{
    nodes[i].link = LINK_JOINED;
    nodes[i].parent = i - 1;
    nodes[i].starts = false;
    nodes[i].proven = proven;
}

/*
 * Can a sequence that took so many rows take so many now? A decoding one goes on as it did; a prompt is cut where a
 * pass is full.
 */
static bool can_take(const struct work *w, const struct entry *entry, uint32_t first)
{
    uint32_t before = entry->last - entry->first + 1, now = chunk_end(w, first) - first;
    return now == 1 || now == before || (before > 1 && entry->full && !entry->left);
}

/* What it cannot rule out: behind a prompt's end come draft tokens, too, and their number may change. */
static bool may_take(const struct work *w, const struct entry *entry, uint32_t first)
{
    return can_take(w, entry, first) ||
           (w->r->drafts && (entry->last > entry->first || chunk_end(w, first) - first <= DRAFTS_MAX + 1));
}

/* Does a sequence of the pass stand behind this position and not yet go on? Then an adjacent row may be its. */
static bool contested(const struct work *w, uint32_t first)
{
    const struct requests *r = w->r;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        if (!r->entries[i].goes_on && ahead(r, &r->entries[i], &r->nodes[first]) != NONE &&
            may_take(w, &r->entries[i], first))
            return true;
    }
    return false;
}

/* Rows that are adjacent over a block's end. Leaves as LINK_ADJACENT what may be two sequences. */
static void join_plain(const struct work *w)
{
    struct requests *r = w->r;
    uint32_t hint = 0, start = w->base;
    for (uint32_t i = w->base; i < w->end; i++) {
        struct node *n = &r->nodes[i];
        if (n->link == LINK_ADJACENT) {
            bool several = i - start >= 2;
            if (!several && r->nodes[start].link == LINK_BLOCK) {
                /* A decode step's row ends the block: does its sequence take more than one row at a time? */
                uint32_t entry = entry_of(r, r->nodes[start].parent, &hint);
                several = entry != NONE && r->entries[entry].last > r->entries[entry].first;
            } else if (!several && r->nodes[start].link == LINK_ROOT) {
                several = true;
            } else if (!several && r->block == 1) {
                several = i + 1 < w->end && r->nodes[i + 1].position == n->position + 1;
            }
            if (only_one(r, n->position) == i - 1)
                join(r->nodes, i, true);
            else if (several && !contested(w, i))
                join(r->nodes, i, false);
        }
        if (n->starts)
            start = i;
    }
}

static bool in_batch(const struct entry *entry, uint32_t only)
{
    return !entry->left && (only == NONE || entry->pass == only);
}

/* May this row be that of a sequence which is not of that batch? */
static bool others_claim(const struct work *w, uint32_t only, uint32_t first)
{
    const struct requests *r = w->r;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        const struct entry *entry = &r->entries[i];
        if (!in_batch(entry, only) && !entry->goes_on && ahead(r, entry, &r->nodes[first]) != NONE &&
            may_take(w, entry, first))
            return true;
    }
    return false;
}

/*
 * Is the pass the batch that ran last, each sequence in its place, and what is new behind them? Then a block's first
 * row is that of the sequence in its place. `only`: entries of this pass alone, NONE for all that were not left behind.
 */
static bool same_batch(const struct work *w, uint32_t only, bool apply)
{
    struct requests *r = w->r;
    uint32_t at = w->base, matched = 0;
    bool as_before = false; /* the sequence ahead took as many rows as last time */
    for (uint32_t e = 0; e < r->entry_count; e++) {
        const struct entry *entry = &r->entries[e];
        if (!in_batch(entry, only))
            continue;
        if (at >= w->end || entry->unsure)
            return false;
        struct node *n = &r->nodes[at];
        uint32_t end = chunk_end(w, at), parent;
        if (n->link != LINK_BLOCK && !can_take(w, entry, at))
            return false;
        if (n->link == LINK_ADJACENT && !as_before)
            return false;
        as_before = end - at == entry->last - entry->first + 1;
        if (n->link == LINK_BLOCK) {
            if (n->parent < entry->first || n->parent > entry->last)
                return false;
        } else if (n->link == LINK_OPEN || n->link == LINK_ADJACENT) {
            parent = ahead(r, entry, n);
            if (parent == NONE || others_claim(w, only, at))
                return false;
            if (apply) {
                solve(n, parent);
                go_on(r, e);
            }
        } else {
            return false;
        }
        matched++;
        at = end;
    }
    return matched > 0;
}

/* All that is adjacent and not yet decided: one sequence, or two? */
static void set_adjacent(const struct work *w, bool joined)
{
    for (uint32_t i = w->base; i < w->end; i++) {
        struct node *n = &w->r->nodes[i];
        if (n->link == LINK_ADJACENT)
            n->starts = !joined;
    }
}

static bool by_place(const struct work *w, uint32_t only)
{
    struct requests *r = w->r;
    bool undecided = false;
    for (uint32_t i = w->base; i < w->end; i++)
        undecided |= r->nodes[i].link == LINK_ADJACENT;
    bool apart = same_batch(w, only, false);
    if (!undecided)
        return apart && same_batch(w, only, true);
    set_adjacent(w, true);
    bool together = same_batch(w, only, false);
    if (apart == together) {
        set_adjacent(w, false);
        return false;
    }
    set_adjacent(w, together);
    same_batch(w, only, true);
    for (uint32_t i = w->base; i < w->end; i++) {
        if (r->nodes[i].link == LINK_ADJACENT && !r->nodes[i].starts)
            join(r->nodes, i, false);
    }
    return true;
}

/* Did others that ran with this entry last go on in this pass too? */
static bool mates_go_on(const struct work *w, const struct entry *entry)
{
    const struct requests *r = w->r;
    uint32_t mates = 0;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        if (r->entries[i].pass != entry->pass || &r->entries[i] == entry)
            continue;
        mates++;
        if (r->entries[i].goes_on)
            return true;
    }
    return mates == 0 && entry->pass + 1 == w->pass && chunk_end(w, w->base) == w->end;
}

/* A row that its own sequence had to write again: the draft tokens from there on were rejected. */
static bool rewrites(const struct work *w, uint32_t i)
{
    struct requests *r = w->r;
    struct node *n = &r->nodes[i];
    uint32_t hint = 0;
    if (n->old == NONE || r->nodes[n->old].position != n->position || n->old >= w->base)
        return false;
    uint32_t e = entry_of(r, n->old, &hint);
    if (e == NONE || r->entries[e].left || r->entries[e].goes_on || r->entries[e].first == n->old ||
        r->nodes[n->old].parent != n->old - 1)
        return false;
    solve(n, n->old - 1);
    go_on(r, e);
    return true;
}

/* No sequence was found for a block's first row: was one of these cut in the wrong place before? */
static void doubt(const struct work *w, int32_t position)
{
    struct requests *r = w->r;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        const struct entry *entry = &r->entries[i];
        int32_t first = r->nodes[entry->first].position;
        if (position <= first || position > r->nodes[entry->last].position)
            continue;
        struct node *n = &r->nodes[entry->first + (uint32_t) (position - first)];
        if (n->link == LINK_JOINED && !n->proven)
            n->parent = UNKNOWN;
    }
}

/* Has nobody of that pass left, but for those ahead of this row? Then nobody was moved into a free place. */
static bool nobody_left(const struct work *w, uint32_t pass, const struct node *n)
{
    const struct requests *r = w->r;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        const struct entry *entry = &r->entries[i];
        if (entry->pass == pass && !entry->goes_on && ahead(r, entry, n) == NONE)
            return false;
    }
    return true;
}

/* Rows at one position that begin blocks, and the sequences that stand ahead of it: alone, or in their old order. */
static bool choose(const struct work *w, uint32_t first)
{
    struct requests *r = w->r;
    const struct node *n = &r->nodes[first];
    uint32_t rows = 0, entries = 0, lingering = 0, latest = NONE;
    bool certain = true;
    for (uint32_t i = w->base; i < w->end; i++) {
        const struct node *other = &r->nodes[i];
        if (other->position != n->position || (other->link != LINK_OPEN && other->link != LINK_ADJACENT))
            continue;
        certain &= other->link == LINK_OPEN && i >= first;
        rows++;
    }
    for (uint32_t e = 0; e < r->entry_count; e++) {
        const struct entry *entry = &r->entries[e];
        if (entry->goes_on || ahead(r, entry, n) == NONE || !may_take(w, entry, first))
            continue;
        if (entry->left) {
            lingering++;
            continue;
        }
        certain &= !entry->unsure && r->nodes[entry->last].position == n->position - 1 && mates_go_on(w, entry);
        certain &= latest == NONE || r->entries[latest].pass == entry->pass;
        entries++;
        latest = e;
    }
    if (rows != entries)
        return false;
    certain &= lingering == 0 && (rows == 1 || nobody_left(w, r->entries[latest].pass, n));
    uint32_t row = first;
    for (uint32_t e = 0; e <= latest; e++) {
        struct entry *entry = &r->entries[e];
        if (entry->goes_on || entry->left || ahead(r, entry, n) == NONE || !may_take(w, entry, first))
            continue;
        while (certain && (r->nodes[row].position != n->position || r->nodes[row].link != LINK_OPEN))
            row++;
        if (certain && !can_take(w, entry, row))
            return false;
        if (certain)
            solve(&r->nodes[row], entry->last);
        entry->goes_on = true; /* as one of these rows, also where it is not known as which */
    }
    return certain;
}

static void by_position(const struct work *w)
{
    struct requests *r = w->r;
    for (uint32_t i = w->base; i < w->end; i++) {
        struct node *n = &r->nodes[i];
        if (n->link != LINK_OPEN && n->link != LINK_ADJACENT)
            continue;
        n->starts = true;
        uint32_t only = only_one(r, n->position), hint = 0;
        if (only != NONE) {
            solve(n, only);
            n->proven = true;
            go_on(r, entry_of(r, only, &hint));
        } else {
            rewrites(w, i);
        }
    }
    for (uint32_t i = w->base; i < w->end; i++) {
        if (r->nodes[i].link == LINK_OPEN && r->nodes[i].parent == UNKNOWN && !choose(w, i))
            doubt(w, r->nodes[i].position);
    }
}

/* Does a sequence begin here, or the one before it go on? */
static bool undecided(const struct work *w, uint32_t node)
{
    return w->r->nodes[node].link == LINK_ADJACENT;
}

int links_next(const struct work *w)
{
    struct requests *r = w->r;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        struct entry *entry = &r->entries[i];
        for (uint32_t j = 0; !entry->goes_on && !entry->left && j < r->entry_count; j++)
            entry->left = r->entries[j].goes_on && r->entries[j].pass == entry->pass;
    }
    for (uint32_t i = 0; i < r->entry_count; i++) {
        const struct entry *entry = &r->entries[i];
        if (!entry->goes_on && w->pass - entry->pass < LINGER && r->content[r->nodes[entry->last].slot] == entry->last)
            r->entries[kept++] = *entry;
    }
    r->entry_count = kept;
    for (uint32_t i = w->base; i < w->end;) {
        uint32_t end = chunk_end(w, i);
        if (r->entry_count == r->entry_room) {
            uint32_t room = r->entry_room ? r->entry_room * 2 : 64;
            struct entry *entries = realloc(r->entries, room * sizeof *entries);
            if (!entries)
                return -ENOMEM;
            r->entries = entries;
            r->entry_room = room;
        }
        r->entries[r->entry_count++] = (struct entry){.first = i,
                                                      .last = end - 1,
                                                      .pass = w->pass,
                                                      .full = w->end - w->base >= r->fullest,
                                                      .unsure = undecided(w, i) || (end < w->end && undecided(w, end))};
        i = end;
    }
    return 0;
}

void links_order(const struct work *w)
{
    struct requests *r = w->r;
    uint32_t hint = 0;
    for (uint32_t i = 0; i < r->entry_count; i++)
        r->entries[i].goes_on = false;
    for (uint32_t i = w->base; i < w->end; i++) {
        if (r->nodes[i].link == LINK_BLOCK && r->nodes[i].starts)
            go_on(r, entry_of(r, r->nodes[i].parent, &hint));
    }
    join_plain(w);
    if (!by_place(w, w->pass - 1))
        by_place(w, NONE);
    by_position(w);
}
