/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of a request whose tokens are known. At each of its blocks the pages that hold its tokens are looked up;
 * those that no page before or behind them fits are left out. A row is known where all that remain have the same
 * experts.
 */
#include "pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that a page is compared with. */
struct wanted_page {
    uint32_t index, count;
    const int32_t *tokens;
};

struct match {
    const struct proof *p;
    uint32_t *pages; /* of all blocks, one after another */
    uint32_t *from;  /* where each block's begin */
    uint32_t blocks, room;
};

static int compare_node(const struct proof *p, uint32_t node, int32_t token)
{
    if (node == NONE)
        return -1;
    int32_t own = p->r->nodes[node].token;
    return own < token ? -1 : own > token;
}

static int compare_pages(const void *a, const void *b, void *user)
{
    const struct proof *p = user;
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
    if (p->pages[x].index != p->pages[y].index)
        return p->pages[x].index < p->pages[y].index ? -1 : 1;
    for (uint32_t i = 0; i < p->r->block; i++) {
        uint32_t m = p->rows[(size_t) x * p->r->block + i], n = p->rows[(size_t) y * p->r->block + i];
        int order = n == NONE ? m != NONE : compare_node(p, m, p->r->nodes[n].token);
        if (order)
            return order;
        if (n == NONE)
            break;
    }
    return x < y ? -1 : x > y;
}

static int compare_wanted(const struct proof *p, uint32_t page, const struct wanted_page *wanted)
{
    if (p->pages[page].index != wanted->index)
        return p->pages[page].index < wanted->index ? -1 : 1;
    for (uint32_t i = 0; i < wanted->count; i++) {
        int order = compare_node(p, p->rows[(size_t) page * p->r->block + i], wanted->tokens[i]);
        if (order)
            return order;
    }
    return 0;
}

static int sort_pages(struct proof *p)
{
    const struct requests *r = p->r;
    p->sorted = malloc((p->page_count + 1u) * sizeof *p->sorted);
    p->rows = malloc(((size_t) p->page_count * r->block + 1) * sizeof *p->rows);
    if (!p->sorted || !p->rows)
        return -ENOMEM;
    memset(p->rows, 0xff, (size_t) p->page_count * r->block * sizeof *p->rows);
    for (uint32_t i = 0; i < r->node_count; i++) {
        if (r->nodes[i].page != NONE)
            p->rows[(size_t) r->nodes[i].page * r->block + (uint32_t) r->nodes[i].position % r->block] = i;
    }
    for (uint32_t i = 0; i < p->page_count; i++) {
        if (p->pages[i].head != NONE)
            p->sorted[p->sorted_count++] = i;
    }
    qsort_r(p->sorted, p->sorted_count, sizeof *p->sorted, compare_pages, p);
    return 0;
}

static bool fits(const struct proof *p, uint32_t ahead, uint32_t behind)
{
    const struct page *a = &p->pages[ahead], *b = &p->pages[behind];
    if (b->ahead < UNKNOWN)
        return b->ahead == ahead || (b->alike && a->chain && a->chain == p->pages[b->ahead].chain);
    if (!p->r->proven && p->r->nodes[b->head].parent < UNKNOWN)
        return p->r->nodes[p->r->nodes[b->head].parent].page == ahead;
    /* Where some rows were not seen, what is not proven may be anything's. */
    return !p->r->foreign && !p->r->blind && page_can_be_ahead(a, b, p->r->nodes[b->head].pass);
}

static bool fits_any(const struct match *m, uint32_t block, uint32_t page, bool ahead)
{
    for (uint32_t i = m->from[block]; i < m->from[block + 1]; i++) {
        if (ahead ? fits(m->p, m->pages[i], page) : fits(m->p, page, m->pages[i]))
            return true;
    }
    return false;
}

/* Those that hold the block's tokens and have something ahead of them; false: none, or no memory. */
static bool look_up(struct match *m, const struct wanted_page *wanted)
{
    const struct proof *p = m->p;
    uint32_t low = 0, high = p->sorted_count, end = m->from[wanted->index];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_wanted(p, p->sorted[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < p->sorted_count && compare_wanted(p, p->sorted[low], wanted) == 0; low++) {
        if (wanted->index > 0 && !fits_any(m, wanted->index - 1, p->sorted[low], true))
            continue;
        if (end == m->room) {
            uint32_t room = m->room * 2 + 64;
            uint32_t *pages = realloc(m->pages, room * sizeof *pages);
            if (!pages)
                return false;
            m->pages = pages;
            m->room = room;
        }
        m->pages[end++] = p->sorted[low];
    }
    m->from[wanted->index + 1] = end;
    return end > m->from[wanted->index];
}

/* From the end on: those that nothing behind them fits go. A place that is left is NONE. */
static void look_back(struct match *m)
{
    for (uint32_t block = m->blocks ? m->blocks - 1 : 0; block-- > 0;) {
        uint32_t kept = m->from[block];
        for (uint32_t i = m->from[block]; i < m->from[block + 1]; i++) {
            bool fit = false;
            for (uint32_t j = m->from[block + 1]; !fit && j < m->from[block + 2]; j++)
                fit = m->pages[j] != NONE && fits(m->p, m->pages[i], m->pages[j]);
            if (fit)
                m->pages[kept++] = m->pages[i];
        }
        while (kept < m->from[block + 1])
            m->pages[kept++] = NONE;
    }
}

static uint32_t take_rows(const struct match *m, uint32_t count, struct request_row *rows)
{
    const struct requests *r = m->p->r;
    uint32_t known = 0;
    for (uint32_t at = 0; at < count; at++) {
        uint32_t block = at / r->block, first = NONE;
        bool same = true;
        for (uint32_t i = m->from[block]; i < m->from[block + 1] && m->pages[i] != NONE; i++) {
            uint32_t node = m->p->rows[(size_t) m->pages[i] * r->block + at % r->block];
            if (first == NONE)
                first = node;
            else
                same &= r->nodes[node].experts && r->nodes[node].experts == r->nodes[first].experts;
        }
        if (first == NONE || !same)
            continue;
        const struct node *n = &r->nodes[first];
        rows[at] = (struct request_row){n->position, n->slot, n->token, n->pass, n->row};
        known++;
    }
    return known;
}

int requests_match(struct requests *r, const int32_t *tokens, uint32_t count, struct request_row *rows)
{
    struct proof *p = links_proof(r);
    if (!p || (!p->sorted && sort_pages(p) != 0))
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (struct request_row){.position = (int32_t) i, .token = tokens[i], .pass = NONE};
    struct match m = {.p = p, .blocks = (count + r->block - 1) / r->block};
    m.from = calloc(m.blocks + 2u, sizeof *m.from);
    if (!m.from)
        return -ENOMEM;
    uint32_t found = 0, known = 0;
    for (; found < m.blocks; found++) {
        uint32_t at = found * r->block;
        struct wanted_page wanted = {found, count - at < r->block ? count - at : r->block, tokens + at};
        if (!look_up(&m, &wanted))
            break;
    }
    /* If all of the trace is there, then all of a request is, or it is another one that only begins like it. */
    if (found == m.blocks || r->blind) {
        m.blocks = found;
        look_back(&m);
        known = take_rows(&m, found * r->block < count ? found * r->block : count, rows);
    }
    free(m.pages);
    free(m.from);
    return (int) known;
}
