/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which row came behind which over a block's end, by what must hold in any engine, whatever its scheduler does:
 * all that a sequence attends to stays in the cache from the pass in which it is first attended to until the sequence's
 * last one. So the block ahead can only be one that was full by then and was not taken for something else until then.
 * Where that leaves one, or several that hold the same, it is known.
 */
#include "pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ b) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return (h ^ h >> 33) | 1;
}

static int open_page(struct proof *p, uint32_t block, uint32_t node)
{
    const struct node *n = &p->r->nodes[node];
    if (p->page_count == p->page_room) {
        uint32_t room = p->page_room ? p->page_room * 2 : 1024;
        struct page *pages = realloc(p->pages, room * sizeof *pages);
        if (!pages)
            return -ENOMEM;
        p->pages = pages;
        p->page_room = room;
    }
    bool starts = (uint32_t) n->position % p->r->block == 0;
    if (p->of_block[block] != NONE)
        p->pages[p->of_block[block]].gone = n->pass;
    p->of_block[block] = p->page_count;
    p->pages[p->page_count++] = (struct page){.head = starts ? node : NONE,
                                              .tail = NONE,
                                              .full = NONE,
                                              .gone = NONE,
                                              .ahead = n->position == 0 ? ROOT : UNKNOWN,
                                              .index = (uint32_t) n->position / p->r->block};
    return 0;
}

static int find_pages(struct proof *p)
{
    struct requests *r = p->r;
    for (uint32_t i = 0; i < r->node_count; i++) {
        struct node *n = &r->nodes[i];
        uint32_t block = (uint32_t) n->slot / r->block, slot = (uint32_t) n->position % r->block;
        uint32_t page = p->of_block[block];
        bool within = n->link == LINK_BLOCK || (n->link == LINK_TABLE && slot && n->parent < UNKNOWN);
        bool goes_on = within && page != NONE;
        if (goes_on && n->link == LINK_BLOCK && slot > p->pages[page].filled) {
            /* What is ahead of it in the block is another sequence's: its own was not seen. */
            r->foreign = true;
            n->parent = UNKNOWN;
            goes_on = false;
        }
        if (!goes_on && open_page(p, block, i) != 0)
            return -ENOMEM;
        struct page *now = &p->pages[p->of_block[block]];
        n->page = p->of_block[block];
        now->last = n->pass;
        if (slot >= now->filled)
            now->filled = slot + 1;
        if (slot == r->block - 1) {
            if (now->full == NONE) {
                now->full = n->pass;
                p->filled[p->filled_count++] = p->of_block[block];
            }
            now->tail = i;
        }
        if (now->index >= p->index_count)
            p->index_count = now->index + 1;
    }
    return 0;
}

static void find_chain(const struct proof *p, struct page *page)
{
    const struct requests *r = p->r;
    uint64_t ahead = page->ahead == ROOT ? 1 : page->ahead < UNKNOWN ? p->pages[page->ahead].chain : 0;
    if (page->chain || !ahead || page->head == NONE || page->tail == NONE)
        return;
    uint64_t chain = 0;
    for (uint32_t node = page->tail;; node = r->nodes[node].parent) {
        const struct node *n = &r->nodes[node];
        if (!n->experts)
            return;
        chain = mix(chain, (uint64_t) (uint32_t) n->token << 32 | n->experts);
        if (node == page->head)
            break;
        if (n->parent >= UNKNOWN)
            return;
    }
    page->chain = mix(ahead, chain);
}

/* The pages that can be ahead of this one; those that are gone by its first pass are for no later one either. */
static void look_ahead(struct proof *p, struct page *behind)
{
    uint32_t since = p->r->nodes[behind->head].pass, count = 0, found = UNKNOWN;
    uint32_t *at = &p->there[behind->index - 1];
    while (*at != NONE) {
        const struct page *page = &p->pages[*at];
        if (page->gone <= since) {
            *at = page->next;
            continue;
        }
        if (page_can_be_ahead(page, behind, since)) {
            if (count++ > 0 && (!page->chain || page->chain != p->pages[found].chain))
                return;
            found = *at;
        }
        at = &p->pages[*at].next;
    }
    if (count == 0) {
        p->r->foreign = true;
        return;
    }
    behind->ahead = found;
    behind->alike = count > 1;
    find_chain(p, behind);
}

/* In the order of time: what a page holds from position 0 on is known once it is of the one ahead. */
static void look_for_all(struct proof *p)
{
    struct requests *r = p->r;
    uint32_t filled = 0;
    memset(p->there, 0xff, p->index_count * sizeof *p->there);
    for (uint32_t i = 0; i < p->page_count; i++) {
        struct page *page = &p->pages[i];
        if (page->ahead == ROOT)
            find_chain(p, page);
        if (page->head == NONE || page->ahead == ROOT || r->nodes[page->head].pass >= r->blind_from)
            continue;
        while (filled < p->filled_count && p->pages[p->filled[filled]].full <= r->nodes[page->head].pass) {
            struct page *full = &p->pages[p->filled[filled]];
            full->next = p->there[full->index];
            p->there[full->index] = p->filled[filled++];
        }
        look_ahead(p, page);
    }
}

/* Was this page taken back by its own sequence, as draft tokens were rejected? */
static bool taken_back(const struct proof *p, const struct page *page)
{
    const struct requests *r = p->r;
    uint32_t head = page->head, tail = page->ahead < UNKNOWN ? p->pages[page->ahead].tail : NONE;
    return tail != NONE && r->nodes[tail].pass > r->nodes[head].pass;
}

static void tell(const struct proof *p)
{
    struct requests *r = p->r;
    for (uint32_t i = 0; i < p->page_count; i++) {
        const struct page *page = &p->pages[i];
        if (page->head == NONE || page->ahead == ROOT)
            continue;
        struct node *head = &r->nodes[page->head];
        if (head->link == LINK_TABLE)
            continue;
        head->parent = r->foreign || page->ahead >= UNKNOWN ? UNKNOWN : p->pages[page->ahead].tail;
        if (head->parent < UNKNOWN && taken_back(p, page))
            head->dropped = true;
    }
}

static int prove(struct proof *p)
{
    const struct requests *r = p->r;
    p->block_count = r->slot_count / r->block + 1;
    p->of_block = malloc(p->block_count * sizeof *p->of_block);
    size_t tails = 1;
    for (uint32_t i = 0; i < r->node_count; i++)
        tails += (uint32_t) r->nodes[i].position % r->block == r->block - 1;
    p->filled = malloc(tails * sizeof *p->filled);
    if (!p->of_block || !p->filled)
        return -ENOMEM;
    memset(p->of_block, 0xff, p->block_count * sizeof *p->of_block);
    if (find_pages(p) != 0 || !(p->there = malloc((p->index_count + 1u) * sizeof *p->there)))
        return -ENOMEM;
    look_for_all(p);
    return 0;
}

struct proof *links_proof(struct requests *r)
{
    if (r->proof)
        return r->proof;
    struct proof *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->r = r;
    if (prove(p) == 0)
        r->proof = p;
    else
        links_proof_free(p);
    return r->proof;
}

void links_proof_free(struct proof *p)
{
    if (!p)
        return;
    free(p->pages);
    free(p->of_block);
    free(p->filled);
    free(p->there);
    free(p->sorted);
    free(p->sorted_times);
    free(p->marks);
    free(p->rows);
    free(p);
}

int links_prove(struct requests *r)
{
    const struct proof *p = links_proof(r);
    if (!p)
        return -ENOMEM;
    tell(p);
    return 0;
}
