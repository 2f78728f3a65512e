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

#define WORK_MAX 50000000u /* for one request; beyond it all is missing */

/* Tokens that a page is compared with. */
struct wanted_page {
    uint32_t index, count;
    const int32_t *tokens;
};

struct match {
    struct proof *p;
    uint32_t *pages; /* of all blocks, one after another */
    uint32_t *from;  /* where each block's begin */
    uint32_t blocks, room;
    uint32_t work; /* comparisons that are left */
};

struct range {
    uint32_t from, to; /* in the order of p->sorted */
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
        uint32_t m = page_row(p, x, i), n = page_row(p, y, i);
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
        int order = compare_node(p, page_row(p, page, i), wanted->tokens[i]);
        if (order)
            return order;
    }
    return 0;
}

int links_sort(struct proof *p)
{
    if (p->sorted_times)
        return 0;
    const struct requests *r = p->r;
    p->sorted = malloc((p->page_count + 1u) * sizeof *p->sorted);
    p->rows = malloc((r->node_count + 1u) * sizeof *p->rows);
    p->marks = calloc(p->page_count + 1u, sizeof *p->marks);
    if (!p->sorted || !p->rows || !p->marks)
        return -ENOMEM;
    memset(p->rows, 0xff, (r->node_count + 1u) * sizeof *p->rows);
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->page_count; i++) {
        if (p->pages[i].head == NONE)
            continue;
        p->pages[i].rows = at;
        at += p->pages[i].filled;
        p->sorted[p->sorted_count++] = i;
    }
    for (uint32_t i = 0; i < r->node_count; i++) {
        const struct page *page = &p->pages[r->nodes[i].page];
        if (page->head != NONE)
            p->rows[page->rows + (uint32_t) r->nodes[i].position % r->block] = i;
    }
    qsort_r(p->sorted, p->sorted_count, sizeof *p->sorted, compare_pages, p);
    p->sorted_times = malloc((p->sorted_count + 1u) * sizeof *p->sorted_times);
    for (uint32_t i = 0; p->sorted_times && i < p->sorted_count; i++) {
        const struct page *page = &p->pages[p->sorted[i]];
        p->sorted_times[i] = (struct page_times){r->nodes[page->head].pass, page->full, page->last, page->gone};
    }
    return p->sorted_times ? 0 : -ENOMEM;
}

/* The one page that is ahead of this one; UNKNOWN: there is a choice. */
static uint32_t only_ahead(const struct proof *p, const struct page *behind)
{
    const struct node *head = &p->r->nodes[behind->head];
    if (behind->ahead < UNKNOWN)
        return behind->alike ? UNKNOWN : behind->ahead;
    return p->r->proven || head->parent >= UNKNOWN ? UNKNOWN : p->r->nodes[head->parent].page;
}

/* Of several. */
static bool fits(struct match *m, uint32_t ahead, const struct page *behind)
{
    const struct proof *p = m->p;
    const struct page *page = &p->pages[ahead];
    if (m->work > 0)
        m->work--;
    if (behind->ahead < UNKNOWN)
        return page->chain && page->chain == p->pages[behind->ahead].chain;
    /* Where some rows were not seen, what is not proven may be anything's. */
    return !p->r->foreign && !p->r->blind && page_can_be_ahead(page, behind, p->r->nodes[behind->head].pass);
}

/* Marks the pages of a block. */
static uint32_t mark_all(struct match *m, uint32_t block)
{
    uint32_t mark = ++m->p->mark;
    for (uint32_t i = m->from[block]; i < m->from[block + 1]; i++)
        m->p->marks[m->pages[i]] = mark;
    return mark;
}

/* `mark`: of those of the block before. */
static bool something_ahead(struct match *m, uint32_t block, uint32_t mark, uint32_t page)
{
    const struct page *behind = &m->p->pages[page];
    uint32_t only = only_ahead(m->p, behind);
    if (only != UNKNOWN)
        return m->p->marks[only] == mark;
    for (uint32_t i = m->from[block]; i < m->from[block + 1]; i++) {
        if (fits(m, m->pages[i], behind))
            return true;
    }
    return false;
}

static uint32_t search(const struct proof *p, const struct wanted_page *wanted, int up_to)
{
    uint32_t low = 0, high = p->sorted_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_wanted(p, p->sorted[middle], wanted) < up_to)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct wanted_page block_of(const struct match *m, uint32_t block, const int32_t *tokens, uint32_t count)
{
    uint32_t size = m->p->r->block, at = block * size;
    return (struct wanted_page){block, count - at < size ? count - at : size, tokens + at};
}

static struct range find(const struct proof *p, const struct wanted_page *wanted)
{
    return (struct range){search(p, wanted, 0), search(p, wanted, 1)};
}

/* Those that hold the block's tokens and have something ahead of them; false: none, or no memory. */
static bool look_up(struct match *m, const struct wanted_page *wanted)
{
    const struct proof *p = m->p;
    struct range range = find(p, wanted);
    uint32_t end = m->from[wanted->index], mark = wanted->index > 0 ? mark_all(m, wanted->index - 1) : 0;
    for (uint32_t i = range.from; i < range.to; i++) {
        if (wanted->index > 0 && !something_ahead(m, wanted->index - 1, mark, p->sorted[i]))
            continue;
        if (end == m->room) {
            uint32_t room = m->room * 2 + 64;
            uint32_t *pages = realloc(m->pages, room * sizeof *pages);
            if (!pages)
                return false;
            m->pages = pages;
            m->room = room;
        }
        m->pages[end++] = p->sorted[i];
    }
    m->from[wanted->index + 1] = end;
    return end > m->from[wanted->index] && m->work > 0;
}

/* Those of a block that nothing of the next one fits go. A place that is left is NONE. */
static void look_back(struct match *m, uint32_t block)
{
    uint32_t mark = ++m->p->mark, kept = m->from[block];
    for (uint32_t j = m->from[block + 1]; j < m->from[block + 2] && m->pages[j] != NONE; j++) {
        const struct page *behind = &m->p->pages[m->pages[j]];
        uint32_t only = only_ahead(m->p, behind);
        if (only != UNKNOWN)
            m->p->marks[only] = mark;
        for (uint32_t i = m->from[block]; only == UNKNOWN && i < m->from[block + 1] && m->pages[i] != NONE; i++) {
            if (m->p->marks[m->pages[i]] != mark && fits(m, m->pages[i], behind))
                m->p->marks[m->pages[i]] = mark;
        }
    }
    for (uint32_t i = m->from[block]; i < m->from[block + 1] && m->pages[i] != NONE; i++) {
        if (m->p->marks[m->pages[i]] == mark)
            m->pages[kept++] = m->pages[i];
    }
    while (kept < m->from[block + 1])
        m->pages[kept++] = NONE;
}

/*
 * Of pages with the right tokens, those that the request can have attended to. It wrote its last block itself, so that
 * is when it ran. What is ahead of that one is of the same request; what is ahead of other ones may be another's, whose
 * place another copy has taken since. Without a prefix cache there are no others.
 */
static void narrow(struct match *m, bool complete)
{
    const struct proof *p = m->p;
    uint32_t since = 0, last = NONE, end = m->blocks - 1;
    if (!p->r->proven) {
        for (uint32_t block = end; block-- > 0;)
            look_back(m, block);
        return;
    }
    if (!complete)
        return;
    for (uint32_t i = m->from[end]; i < m->from[end + 1]; i++) {
        const struct page *page = &p->pages[m->pages[i]];
        uint32_t first = p->r->nodes[page->head].pass;
        since = first > since ? first : since;
        last = page->last < last ? page->last : last;
    }
    for (uint32_t block = 0; block < end; block++) {
        uint32_t kept = m->from[block];
        for (uint32_t i = m->from[block]; i < m->from[block + 1]; i++) {
            if (p->pages[m->pages[i]].full <= since && p->pages[m->pages[i]].gone > last)
                m->pages[kept++] = m->pages[i];
        }
        while (kept < m->from[block + 1])
            m->pages[kept++] = NONE;
    }
    if (end > 0)
        look_back(m, end - 1);
}

static uint32_t take_rows(const struct match *m, uint32_t count, struct request_row *rows)
{
    const struct requests *r = m->p->r;
    uint32_t known = 0;
    for (uint32_t at = 0; at < count; at++) {
        uint32_t block = at / r->block, first = NONE;
        bool same = true;
        for (uint32_t i = m->from[block]; i < m->from[block + 1] && m->pages[i] != NONE; i++) {
            uint32_t node = page_row(m->p, m->pages[i], at % r->block);
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

static bool same_experts(const struct proof *p, uint32_t a, uint32_t b)
{
    const struct requests *r = p->r;
    for (uint32_t i = 0; i < r->block; i++) {
        uint32_t m = page_row(p, a, i), n = page_row(p, b, i);
        if (m == NONE || n == NONE || !r->nodes[m].experts || r->nodes[m].experts != r->nodes[n].experts)
            return false;
    }
    return true;
}

bool links_attends(struct proof *p, uint32_t leaf, uint32_t page)
{
    const struct requests *r = p->r;
    const struct page *end = &p->pages[leaf];
    int32_t tokens[BLOCK_MAX];
    if (end->head == NONE || r->tokenless || r->block > BLOCK_MAX || p->pages[page].gone <= end->last)
        return false;
    for (uint32_t i = 0; i < r->block; i++) {
        uint32_t node = page_row(p, page, i);
        if (node == NONE)
            return false;
        tokens[i] = r->nodes[node].token;
    }
    struct wanted_page wanted = {p->pages[page].index, r->block, tokens};
    struct range range = find(p, &wanted);
    for (uint32_t i = range.from; i < range.to; i++) {
        const struct page_times *other = &p->sorted_times[i];
        if (other->full <= r->nodes[end->head].pass && other->gone > end->last && p->sorted[i] != page &&
            !same_experts(p, page, p->sorted[i]))
            return false;
    }
    return true;
}

int requests_match(struct requests *r, const int32_t *tokens, uint32_t count, struct request_row *rows)
{
    if (r->shown)
        return links_match_shown(r, tokens, count, rows);
    struct proof *p = links_proof(r);
    if (!p || links_sort(p) != 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (struct request_row){.position = (int32_t) i, .token = tokens[i], .pass = NONE};
    struct match m = {.p = p, .blocks = (count + r->block - 1) / r->block, .work = WORK_MAX};
    m.from = calloc(m.blocks + 2u, sizeof *m.from);
    if (!m.from)
        return -ENOMEM;
    uint32_t found = 0, known = 0;
    for (; found < m.blocks; found++) {
        struct wanted_page wanted = block_of(&m, found, tokens, count);
        if (!look_up(&m, &wanted))
            break;
    }
    /* If all of the trace is there, then all of a request is, or it is another one that only begins like it. */
    bool complete = found == m.blocks;
    /* A block whose tokens were not shown may be a copy that this does not know of. */
    if (r->tokenless && !r->blind)
        m.work = 0;
    if (m.work > 0 && found > 0 && (complete || r->blind)) {
        m.blocks = found;
        narrow(&m, complete);
    }
    if (m.work > 0 && found == m.blocks)
        known = take_rows(&m, found * r->block < count ? found * r->block : count, rows);
    free(m.pages);
    free(m.from);
    return (int) known;
}
