/* SPDX-License-Identifier: Apache-2.0 */
#include "requests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX           /* no node */
#define ROOT (UINT32_MAX - 1u)    /* parent of position 0 */
#define UNKNOWN (UINT32_MAX - 2u) /* a parent there was, and it is not known which */
#define NODES_MAX (UINT32_MAX - 3u)
#define SLOTS_MAX (1u << 28)
#define LINGER 16u /* passes for which a sequence that was left behind may come back */

enum link {
    LINK_ROOT,
    LINK_BLOCK,    /* by the slot before it */
    LINK_LOST,     /* the slot before it does not hold the position before it */
    LINK_OPEN,     /* a block's first row, nothing of its sequence before it in the pass */
    LINK_ADJACENT, /* a block's first row behind a row of the position before it: of the same sequence? */
    LINK_JOINED,   /* it is */
    LINK_SOLVED,
};

struct node {
    int32_t position, slot, token;
    uint32_t pass, row, parent;
    uint32_t old; /* what its slot held before */
    uint8_t link;
    bool starts;  /* first of its sequence in the pass */
    bool proven;  /* by the slots alone */
    bool dropped; /* a rejected token: its sequence wrote the position again */
    bool parental;
};

/* A sequence as it stood when it last ran: its rows of that pass. */
struct entry {
    uint32_t first, last, pass;
    bool left; /* others of that pass ran on without it */
    bool full; /* that pass had as many rows as any */
    bool goes_on;
};

struct site {
    uint32_t up;    /* towards the representative of those sites that share passes */
    uint32_t count; /* of layers, at the representative */
    bool seen;
    int32_t column;
};

struct requests {
    const struct mt_site *sites;
    struct site *site;
    uint32_t site_count;
    uint32_t block, layers, k, experts;
    uint64_t divisor;
    uint32_t fullest; /* rows of the largest pass */
    struct node *nodes;
    uint32_t node_count, node_room;
    uint64_t *times;       /* of each pass */
    uint32_t *layers_seen; /* by each pass */
    uint32_t pass_count, pass_room;
    uint32_t *content; /* of each slot: the node that wrote it last */
    uint32_t slot_count;
    /* By position: how many slots hold it, and the exclusive or of those slots. */
    uint32_t *held, *held_slots;
    uint32_t position_count;
    bool blind; /* some rows were not seen: what no slot seems to hold may be there all the same */
    bool hole;
    uint64_t blind_rows;
    struct entry *entries;
    uint32_t entry_count, entry_room;
    struct request *list;
    uint32_t count;
};

struct requests *requests_new(const struct mt_site *sites, uint32_t site_count, uint32_t block_size)
{
    struct requests *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->sites = sites;
    r->site_count = site_count;
    r->block = block_size;
    r->site = calloc(site_count + 1u, sizeof *r->site);
    if (!r->site) {
        free(r);
        return NULL;
    }
    for (uint32_t i = 0; i < site_count; i++)
        r->site[i] = (struct site){.up = i, .column = -1};
    return r;
}

void requests_free(struct requests *r)
{
    if (!r)
        return;
    free(r->site);
    free(r->nodes);
    free(r->times);
    free(r->layers_seen);
    free(r->content);
    free(r->held);
    free(r->held_slots);
    free(r->entries);
    free(r->list);
    free(r);
}

/* --- the survey --- */

static uint32_t top(struct requests *r, uint32_t site)
{
    while (r->site[site].up != site) {
        r->site[site].up = r->site[r->site[site].up].up;
        site = r->site[site].up;
    }
    return site;
}

int requests_survey(struct requests *r, const struct pass *pass)
{
    for (uint32_t i = 0; i < pass->layer_count; i++) {
        r->site[pass->layers[i].site].seen = true;
        r->site[top(r, pass->layers[i].site)].up = top(r, pass->layers[0].site);
    }
    uint32_t rows = 0;
    for (uint32_t i = 0; pass->slots && pass->positions && i < pass->rows; i++) {
        if (pass->slots[i] < 0 || pass->positions[i] < 0)
            continue;
        if (++rows > r->fullest)
            r->fullest = rows;
        int64_t shift = (int64_t) pass->slots[i] - pass->positions[i];
        uint64_t a = (uint64_t) (shift < 0 ? -shift : shift), b = r->divisor;
        while (a) {
            uint64_t rest = b % a;
            b = a;
            a = rest;
        }
        r->divisor = b;
    }
    return 0;
}

static bool same_model(const struct mt_site *a, const struct mt_site *b)
{
    return a->experts == b->experts && a->k == b->k;
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
        if (!site->seen || !same_model(&r->sites[i], &r->sites[most]) || r->site[t].count * 2 <= r->site[most].count)
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
        site->column = !known ? rank : r->sites[i].layer >= 0 && r->sites[i].layer < 65536 ? r->sites[i].layer : -1;
        if (site->column >= 0 && (uint32_t) site->column + 1 > r->layers)
            r->layers = (uint32_t) site->column + 1;
        r->k = r->sites[i].k;
        r->experts = r->sites[i].experts;
    }
    if (!r->block)
        r->block = r->divisor > 0 && r->divisor < SLOTS_MAX ? (uint32_t) r->divisor : 1;
    return 0;
}

/* --- what the cache holds --- */

static int room_for(struct requests *r, int32_t slot, int32_t position)
{
    if ((uint32_t) slot >= r->slot_count) {
        uint32_t count = ((uint32_t) slot + 1) * 2;
        uint32_t *content = realloc(r->content, count * sizeof *content);
        if (!content)
            return -ENOMEM;
        memset(content + r->slot_count, 0xff, (count - r->slot_count) * sizeof *content);
        r->content = content;
        r->slot_count = count;
    }
    if ((uint32_t) position >= r->position_count) {
        uint32_t count = ((uint32_t) position + 1) * 2;
        uint32_t *held = realloc(r->held, count * sizeof *held);
        if (held)
            r->held = held;
        uint32_t *slots = held ? realloc(r->held_slots, count * sizeof *slots) : NULL;
        if (!slots)
            return -ENOMEM;
        r->held_slots = slots;
        memset(held + r->position_count, 0, (count - r->position_count) * sizeof *held);
        memset(slots + r->position_count, 0, (count - r->position_count) * sizeof *slots);
        r->position_count = count;
    }
    return 0;
}

static void hold(struct requests *r, uint32_t node)
{
    const struct node *n = &r->nodes[node];
    if (n->old != NONE) {
        r->held[r->nodes[n->old].position]--;
        r->held_slots[r->nodes[n->old].position] ^= (uint32_t) n->slot;
    }
    r->held[n->position]++;
    r->held_slots[n->position] ^= (uint32_t) n->slot;
    r->content[n->slot] = node;
}

/* Rows ran that nobody saw: any slot may hold anything. */
static void forget(struct requests *r)
{
    if (r->slot_count)
        memset(r->content, 0xff, r->slot_count * sizeof *r->content);
    if (r->position_count) {
        memset(r->held, 0, r->position_count * sizeof *r->held);
        memset(r->held_slots, 0, r->position_count * sizeof *r->held_slots);
    }
    r->entry_count = 0;
    r->blind = true;
}

/* The only node anywhere that can be ahead of this position. */
static uint32_t only_one(const struct requests *r, int32_t position)
{
    return !r->blind && r->held[position - 1] == 1 ? r->content[r->held_slots[position - 1]] : NONE;
}

/* --- a pass --- */

struct work {
    struct requests *r;
    uint32_t base, end; /* its nodes */
    uint32_t pass;
};

static void start_or_join(const struct work *w, uint32_t i)
{
    struct requests *r = w->r;
    struct node *n = &r->nodes[i];
    const struct node *before = i > w->base ? n - 1 : NULL;
    n->starts = true;
    n->parent = UNKNOWN;
    if (n->position == 0) {
        n->link = LINK_ROOT;
        n->parent = ROOT;
        n->proven = true;
    } else if ((uint32_t) n->position % r->block != 0) {
        uint32_t parent = n->slot > 0 ? r->content[n->slot - 1] : NONE;
        n->link = LINK_LOST;
        if (parent != NONE && r->nodes[parent].position == n->position - 1) {
            n->link = LINK_BLOCK;
            n->parent = parent;
            n->starts = parent + 1 != i;
            n->proven = true;
        }
    } else {
        n->link = before && before->position == n->position - 1 ? LINK_ADJACENT : LINK_OPEN;
    }
}

static int write_rows(struct work *w, const struct pass *pass)
{
    struct requests *r = w->r;
    for (uint32_t i = 0; i < pass->rows; i++) {
        int32_t slot = pass->slots[i], position = pass->positions[i];
        if (slot < 0 || position < 0)
            continue;
        if ((uint32_t) slot >= SLOTS_MAX || (uint32_t) position >= SLOTS_MAX)
            return -ERANGE;
        if (room_for(r, slot, position) != 0)
            return -ENOMEM;
        if (r->node_count == r->node_room) {
            uint32_t room = r->node_room ? r->node_room * 2 : 1024;
            if (r->node_count >= NODES_MAX / 2)
                return -ERANGE;
            struct node *nodes = realloc(r->nodes, room * sizeof *nodes);
            if (!nodes)
                return -ENOMEM;
            r->nodes = nodes;
            r->node_room = room;
        }
        uint32_t index = r->node_count++;
        r->nodes[index] = (struct node){.position = position,
                                        .slot = slot,
                                        .token = pass->tokens ? pass->tokens[i] : MT_CONTEXT_OVERFLOW,
                                        .pass = w->pass,
                                        .row = i,
                                        .old = r->content[slot]};
        start_or_join(w, index);
        hold(r, index);
    }
    w->end = r->node_count;
    return 0;
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

/* Does a sequence of the pass stand behind this position and not yet go on? Then an adjacent row may be its. */
static bool contested(const struct work *w, uint32_t first)
{
    const struct requests *r = w->r;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        if (!r->entries[i].goes_on && ahead(r, &r->entries[i], &r->nodes[first]) != NONE &&
            can_take(w, &r->entries[i], first))
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
        if (entry->left || (only != NONE && entry->pass != only))
            continue;
        if (at >= w->end)
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
            if (parent == NONE)
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
        if (entry->goes_on || ahead(r, entry, n) == NONE || !can_take(w, entry, first))
            continue;
        if (entry->left) {
            lingering++;
            continue;
        }
        certain &= r->nodes[entry->last].position == n->position - 1 && mates_go_on(w, entry);
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
        if (entry->goes_on || entry->left || ahead(r, entry, n) == NONE || !can_take(w, entry, first))
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

/* A draft token is rejected where its sequence writes its position again, in the same slot. */
static void drop_rejected(const struct work *w)
{
    struct requests *r = w->r;
    for (uint32_t i = w->base; i < w->end; i++) {
        const struct node *n = &r->nodes[i];
        if (n->old == NONE || n->parent >= UNKNOWN || r->nodes[n->old].parent != n->parent)
            continue;
        /* At a block's start it may also be another request with the same prefix, in a block that came free. */
        if (n->link == LINK_BLOCK || n->old > n->parent + 1 || r->nodes[n->old].pass == r->nodes[n->parent].pass)
            r->nodes[n->old].dropped = true;
    }
}

static int next_entries(const struct work *w)
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
        r->entries[r->entry_count++] =
            (struct entry){.first = i, .last = end - 1, .pass = w->pass, .full = w->end - w->base >= r->fullest};
        i = end;
    }
    return 0;
}

static int note_pass(struct requests *r, const struct pass *pass)
{
    if (r->pass_count == r->pass_room) {
        uint32_t room = r->pass_room ? r->pass_room * 2 : 1024;
        uint64_t *times = realloc(r->times, room * sizeof *times);
        if (times)
            r->times = times;
        uint32_t *seen = times ? realloc(r->layers_seen, room * sizeof *seen) : NULL;
        if (!seen)
            return -ENOMEM;
        r->layers_seen = seen;
        r->pass_room = room;
    }
    uint32_t seen = 0;
    for (uint32_t i = 0; i < pass->layer_count; i++)
        seen += r->site[pass->layers[i].site].column >= 0;
    r->times[r->pass_count] = pass->time_ns;
    r->layers_seen[r->pass_count++] = seen;
    return 0;
}

int requests_add(struct requests *r, const struct pass *pass)
{
    struct work w = {.r = r, .base = r->node_count, .end = r->node_count, .pass = r->pass_count};
    if (note_pass(r, pass) != 0)
        return -ENOMEM;
    r->hole |= pass->hole;
    bool ours = false;
    for (uint32_t i = 0; i < pass->layer_count; i++)
        ours |= r->site[pass->layers[i].site].column >= 0;
    if (!ours)
        return 0; /* a draft model's: the cache it writes is its own */
    bool shown = pass->slots && pass->positions;
    if (r->hole || !shown)
        forget(r);
    r->hole = false;
    if (!shown) {
        r->blind_rows += pass->layers[0].rows;
        return 0;
    }
    int result = write_rows(&w, pass);
    if (result)
        return result;
    uint32_t hint = 0;
    for (uint32_t i = 0; i < r->entry_count; i++)
        r->entries[i].goes_on = false;
    for (uint32_t i = w.base; i < w.end; i++) {
        if (r->nodes[i].link == LINK_BLOCK && r->nodes[i].starts)
            go_on(r, entry_of(r, r->nodes[i].parent, &hint));
    }
    join_plain(&w);
    if (!by_place(&w, w.pass - 1))
        by_place(&w, NONE);
    by_position(&w);
    drop_rejected(&w);
    return next_entries(&w);
}

/* --- the list --- */

static bool to_list(const struct requests *r, uint32_t leaf, struct request *request)
{
    const struct node *n = &r->nodes[leaf];
    *request = (struct request){.last = leaf,
                                .tokens = (uint32_t) n->position + 1,
                                .first_ns = r->times[n->pass],
                                .last_ns = r->times[n->pass]};
    for (;;) {
        if (n->dropped)
            return false;
        request->first_position = (uint32_t) n->position;
        request->complete += r->layers_seen[n->pass] == r->layers;
        if (r->times[n->pass] < request->first_ns)
            request->first_ns = r->times[n->pass];
        if (n->parent >= UNKNOWN)
            return true;
        n = &r->nodes[n->parent];
    }
}

static int by_time(const void *a, const void *b)
{
    const struct request *x = a, *y = b;
    if (x->first_ns != y->first_ns)
        return x->first_ns < y->first_ns ? -1 : 1;
    return x->last < y->last ? -1 : x->last > y->last;
}

int requests_end(struct requests *r)
{
    uint32_t leaves = 0;
    for (uint32_t i = 0; i < r->node_count; i++) {
        if (r->nodes[i].parent < UNKNOWN)
            r->nodes[r->nodes[i].parent].parental = true;
    }
    for (uint32_t i = 0; i < r->node_count; i++)
        leaves += !r->nodes[i].parental;
    r->list = calloc(leaves + 1u, sizeof *r->list);
    if (!r->list)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->node_count; i++) {
        if (!r->nodes[i].parental && to_list(r, i, &r->list[r->count]))
            r->count++;
    }
    qsort(r->list, r->count, sizeof *r->list, by_time);
    return 0;
}

uint32_t requests_block_size(const struct requests *r)
{
    return r->block;
}

uint32_t requests_layers(const struct requests *r)
{
    return r->layers;
}

uint32_t requests_k(const struct requests *r)
{
    return r->k;
}

uint32_t requests_experts(const struct requests *r)
{
    return r->experts;
}

int32_t requests_column(const struct requests *r, uint32_t site)
{
    return site < r->site_count ? r->site[site].column : -1;
}

uint64_t requests_blind_rows(const struct requests *r)
{
    return r->blind_rows;
}

uint32_t requests_count(const struct requests *r)
{
    return r->count;
}

const struct request *requests_get(const struct requests *r, uint32_t index)
{
    return &r->list[index];
}

void requests_rows(const struct requests *r, const struct request *request, struct request_row *rows)
{
    uint32_t at = request->tokens - request->first_position, node = request->last;
    while (at > 0) {
        const struct node *n = &r->nodes[node];
        rows[--at] = (struct request_row){n->position, n->slot, n->token, n->pass, n->row};
        node = n->parent;
    }
}
