/* SPDX-License-Identifier: Apache-2.0 */
#include "pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct requests *requests_new(const struct mt_site *sites, uint32_t site_count, uint32_t block_size,
                              enum requests_rules rules)
{
    struct requests *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->sites = sites;
    r->site_count = site_count;
    r->block = block_size;
    r->rules = rules;
    r->blind_from = NONE;
    r->padded = MT_CONTEXT_OVERFLOW;
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
    free(r->open);
    for (uint32_t i = 0; i < PASS_GROUPS; i++) {
        free(r->surveyed[i].seen);
        free(r->surveyed[i].padding);
    }
    groups_free(r->groups);
    links_proof_free(r->proof);
    free(r->entries);
    links_shown_free(r->said);
    free(r->bridges);
    free(r->tables);
    free(r->bridge_tails);
    free(r->element);
    free(r->tails);
    free(r->reads.starts);
    free(r->reads.from);
    free(r->reads.blocks);
    free(r->list);
    free(r);
}

/* --- what the cache holds --- */

static bool grow(uint32_t **array, uint32_t from, uint32_t to, int fill)
{
    uint32_t *grown = realloc(*array, to * sizeof *grown);
    if (!grown)
        return false;
    memset(grown + from, fill, (to - from) * sizeof *grown);
    *array = grown;
    return true;
}

static int room_for(struct requests *r, uint32_t slot, uint32_t position)
{
    if (slot >= r->slot_count) {
        uint32_t count = (slot + 1) * 2;
        if (!grow(&r->content, r->slot_count, count, 0xff))
            return -ENOMEM;
        r->slot_count = count;
    }
    if (position >= r->position_count) {
        uint32_t count = (position + 1) * 2;
        if (!grow(&r->held, r->position_count, count, 0) || !grow(&r->held_slots, r->position_count, count, 0) ||
            !grow(&r->open, r->position_count, count, 0))
            return -ENOMEM;
        r->position_count = count;
    }
    return 0;
}

static void hold(struct requests *r, uint32_t node)
{
    const struct node *n = &r->nodes[node];
    if (n->old != NONE) {
        const struct node *old = &r->nodes[n->old];
        r->held[old->position]--;
        r->held_slots[old->position] ^= (uint32_t) n->slot;
        r->open[old->position] -= !old->parental;
    }
    r->held[n->position]++;
    r->held_slots[n->position] ^= (uint32_t) n->slot;
    r->open[n->position]++;
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
        memset(r->open, 0, r->position_count * sizeof *r->open);
    }
    r->entry_count = 0;
    r->blind = true;
    r->blind_until = r->pass_count;
    if (r->blind_from == NONE)
        r->blind_from = r->pass_count - 1;
}

/*
 * Nothing in the cache that waits for a next row is ahead of this one: its prefix has others behind it, too. Right
 * behind a gap it may be one of those that ran before.
 */
static bool is_hit(const struct work *w, const struct node *n)
{
    const struct requests *r = w->r;
    return n->link == LINK_OPEN && n->parent == UNKNOWN && r->open[n->position - 1] == 0 &&
           (!r->blind || w->pass > r->blind_until);
}

static void note_links(const struct work *w)
{
    struct requests *r = w->r;
    for (uint32_t i = w->base; i < w->end; i++) {
        const struct node *n = &r->nodes[i];
        r->hits |= is_hit(w, n);
        r->foreign |= n->link == LINK_LOST && !r->blind;
        if (n->parent >= UNKNOWN || n->bridged) /* a bridge tells what is ahead of it */
            continue;
        struct node *parent = &r->nodes[n->parent];
        if (parent->parental) {
            /* Two behind one row: the first was a draft, or both found it in the cache. */
            r->hits |= n->old == NONE || r->nodes[n->old].position != n->position;
            continue;
        }
        parent->parental = true;
        r->open[parent->position] -= r->content[parent->slot] == n->parent;
    }
}

/* --- a pass --- */

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

/* The same number for the same experts, in whichever order the layers came. */
static uint32_t experts_of(const struct requests *r, const struct pass *pass, uint32_t row)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < pass->layer_count; i++) {
        const struct pass_layer *layer = &pass->layers[i];
        uint64_t h = (uint32_t) r->site[layer->site].column;
        if (r->site[layer->site].column < 0)
            continue;
        if (row >= layer->rows)
            return 0;
        for (uint32_t j = 0; j < layer->k; j++) {
            h = (h ^ (uint32_t) layer->ids[(size_t) row * layer->k + j]) * 0xff51afd7ed558ccdu;
            h ^= h >> 32;
        }
        sum += h * 0x9e3779b97f4a7c15u;
    }
    return (uint32_t) (sum >> 32) | 1;
}

uint32_t links_add(struct requests *r, const struct node *node)
{
    if (r->node_count == r->node_room) {
        uint32_t room = r->node_room ? r->node_room * 2 : 1024;
        struct node *nodes = r->node_count < NODES_MAX / 2 ? realloc(r->nodes, room * sizeof *nodes) : NULL;
        if (!nodes)
            return NONE;
        r->nodes = nodes;
        r->node_room = room;
    }
    r->nodes[r->node_count] = *node;
    r->tokenless |= node->token == MT_CONTEXT_OVERFLOW;
    return r->node_count++;
}

static int write_rows(struct work *w, const struct pass *pass)
{
    struct requests *r = w->r;
    for (uint32_t i = 0; i < pass->rows; i++) {
        int32_t slot = pass->groups[r->group].slots[i], position = pass->positions[i];
        if (slot < 0 || position < 0 || links_is_padding(r, (uint32_t) slot))
            continue;
        if ((uint32_t) slot >= SLOTS_MAX || (uint32_t) position >= POSITIONS_MAX)
            return -ERANGE;
        if (room_for(r, (uint32_t) slot, (uint32_t) position) != 0)
            return -ENOMEM;
        const struct node node = {.position = position,
                                  .slot = slot,
                                  .token = pass->tokens ? pass->tokens[i] : MT_CONTEXT_OVERFLOW,
                                  .pass = w->pass,
                                  .row = i,
                                  .old = r->content[slot],
                                  .experts = w->complete ? experts_of(r, pass, i) : 0};
        uint32_t index = links_add(r, &node);
        if (index == NONE)
            return r->node_count < NODES_MAX / 2 ? -ENOMEM : -ERANGE;
        start_or_join(w, index);
        hold(r, index);
    }
    w->end = r->node_count;
    return 0;
}

/* A draft token is rejected where its sequence writes its position again, in the same slot. */
static void drop_rejected(const struct work *w)
{
    struct requests *r = w->r;
    for (uint32_t i = w->base; i < w->end; i++) {
        const struct node *n = &r->nodes[i];
        if (n->link == LINK_TABLE || n->old == NONE || n->parent >= UNKNOWN || r->nodes[n->old].parent != n->parent)
            continue;
        /* At a block's start it may also be another request with the same prefix, in a block that came free. */
        if (n->link == LINK_BLOCK || n->old > n->parent + 1 || r->nodes[n->old].pass == r->nodes[n->parent].pass)
            r->nodes[n->old].dropped = true;
    }
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

int requests_add(struct requests *r, const struct pass *given)
{
    struct pass with_sequences = *given;
    const struct pass *pass = &with_sequences;
    struct work w = {.r = r, .base = r->node_count, .end = r->node_count, .pass = r->pass_count};
    if (note_pass(r, pass) != 0)
        return -ENOMEM;
    w.complete = r->layers_seen[w.pass] == r->layers;
    r->hole |= pass->hole;
    bool ours = false;
    for (uint32_t i = 0; i < pass->layer_count; i++)
        ours |= r->site[pass->layers[i].site].column >= 0;
    if (!ours)
        return 0; /* a draft model's: the cache it writes is its own */
    if (pass->listed && !r->lists_fit) {
        with_sequences.starts = NULL; /* nothing tells that they are of these slots */
        with_sequences.groups[0].blocks = NULL;
    }
    if (pass->batch && pass->positions && !r->slotted)
        return links_batch(&w, pass);
    /* Slots of layers that attend to a window, while those of others are listed: what is ahead of a row may be gone. */
    bool shown = r->group < pass->group_count && pass->positions && !r->lists_differ;
    if (shown && r->reads_shown && !pass->starts) {
        const int result = links_show_reads(r, &with_sequences);
        if (result && result != -EDOM)
            return result;
        shown = !result;
    }
    if (r->hole || (!shown && !pass->bare))
        forget(r);
    r->hole = false;
    if (!shown) {
        r->blind_rows += pass->layers[0].rows;
        if (r->sites[pass->layers[0].site].flags & MT_SITE_GRAPH)
            r->blind_graph_rows += pass->layers[0].rows;
        return 0;
    }
    int result = write_rows(&w, pass);
    if (result)
        return result;
    r->shown |= pass->starts != NULL;
    r->guessed |= pass->starts == NULL;
    if (!pass->starts)
        links_order(&w);
    else if (links_table(&w, pass) != 0)
        return -ENOMEM;
    drop_rejected(&w);
    note_links(&w);
    return pass->starts ? 0 : links_next(&w);
}

/* --- the list --- */

/* Of the rows of its last pass only the first was surely to stay, where draft tokens are verified. */
static uint32_t confirmed(const struct requests *r, uint32_t leaf)
{
    const struct node *last = &r->nodes[leaf];
    /* In a batch, who is done before others gets padding until they are. */
    while (last->slot < 0 && last->token == r->padded && last->token != MT_CONTEXT_OVERFLOW && last->parent < UNKNOWN)
        last = &r->nodes[last->parent];
    const struct node *n = last;
    while (n->parent < UNKNOWN && r->nodes[n->parent].pass == last->pass)
        n = &r->nodes[n->parent];
    if (!r->drafts || last->position - n->position > (int32_t) DRAFTS_MAX)
        return (uint32_t) last->position + 1;
    bool cut = n->parent >= UNKNOWN && n > r->nodes && n[-1].pass == n->pass && n[-1].position == n->position - 1;
    return (uint32_t) n->position + !cut;
}

/* Is what this node came behind the leaf's own, too, or perhaps another copy of it? */
static bool is_own(const struct requests *r, uint32_t leaf, const struct node *n)
{
    uint32_t page = n->page, ahead = r->nodes[n->parent].page;
    return !r->proven || page == ahead || page == r->nodes[leaf].page ||
           links_attends(r->proof, r->nodes[leaf].page, ahead);
}

static bool to_list(const struct requests *r, uint32_t leaf, struct request *request)
{
    const struct node *n = &r->nodes[leaf];
    uint32_t node = leaf, bridge = NONE;
    *request = (struct request){.last = leaf,
                                .tokens = (uint32_t) n->position + 1,
                                .confirmed = confirmed(r, leaf),
                                .first_ns = r->times[n->pass],
                                .last_ns = r->times[n->pass]};
    for (;;) {
        if (n->dropped)
            return false;
        request->first_position = (uint32_t) n->position;
        request->complete += r->layers_seen[n->pass] == r->layers;
        if (r->times[n->pass] < request->first_ns)
            request->first_ns = r->times[n->pass];
        node = links_up(r, node, &bridge);
        /* A bridge was told by the engine. */
        if (node >= UNKNOWN || (bridge == NONE && n->link != LINK_TABLE && !is_own(r, leaf, n)))
            return true;
        n = &r->nodes[node];
    }
}

static bool is_last(const struct node *n)
{
    return n->link == LINK_TABLE ? n->ends : !n->parental;
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
    r->proven = r->guessed && (r->rules == REQUESTS_PROVEN || (r->rules == REQUESTS_AUTO && (r->hits || r->foreign)));
    if (r->proven && (links_prove(r) != 0 || links_sort(r->proof) != 0))
        return -ENOMEM;
    for (uint32_t i = 0; i < r->node_count; i++)
        r->nodes[i].parental = false;
    for (uint32_t i = 0; i < r->node_count; i++) {
        if (r->nodes[i].parent < UNKNOWN)
            r->nodes[r->nodes[i].parent].parental = true;
    }
    for (uint32_t i = 0; i < r->node_count; i++)
        leaves += is_last(&r->nodes[i]);
    r->list = calloc(leaves + 1u, sizeof *r->list);
    if (!r->list)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->node_count; i++) {
        if (is_last(&r->nodes[i]) && to_list(r, i, &r->list[r->count]))
            r->count++;
    }
    qsort(r->list, r->count, sizeof *r->list, by_time);
    return 0;
}

uint32_t requests_block_size(const struct requests *r)
{
    return r->block;
}

bool requests_proven(const struct requests *r)
{
    return r->proven;
}

bool requests_foreign(const struct requests *r)
{
    return r->proven && r->foreign;
}

bool requests_batches(const struct requests *r)
{
    return r->tail_lines != 0;
}

uint32_t requests_filled(const struct requests *r)
{
    return r->filled;
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

uint64_t requests_blind_graph_rows(const struct requests *r)
{
    return r->blind_graph_rows;
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
    uint32_t at = request->tokens - request->first_position, node = request->last, bridge = NONE;
    while (at > 0) {
        const struct node *n = &r->nodes[node];
        rows[--at] = (struct request_row){n->position, n->slot, n->token, n->pass, n->row};
        node = links_up(r, node, &bridge);
    }
}
