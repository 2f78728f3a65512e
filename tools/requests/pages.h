/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of proof.c and match.c: what the blocks of the cache have held, one after another. */
#ifndef MOETAP_TOOLS_REQUESTS_PAGES_H
#define MOETAP_TOOLS_REQUESTS_PAGES_H

#include "links.h"

/* What a block of the cache holds from its first row until another sequence takes it. */
struct page {
    uint32_t head;   /* its first node; NONE: not of the block's start */
    uint32_t tail;   /* the node at the block's last slot; NONE */
    uint32_t full;   /* the pass in which it became so */
    uint32_t gone;   /* the pass in which another took its block; NONE */
    uint32_t last;   /* the pass of its last row: its sequence ran until then at least */
    uint32_t ahead;  /* page, for the sequence that wrote this one; ROOT, UNKNOWN */
    uint32_t filled; /* how many of its slots were written */
    uint32_t rows;   /* where they begin in struct proof's */
    uint32_t index;  /* of the block in its sequence */
    uint32_t next;   /* at this index, still there */
    bool alike;      /* ahead is one of several that hold the same */
    uint64_t chain;  /* of all that it and those ahead of it hold; 0 unless known from the start */
};

/* Side by side, as many are looked through. */
struct page_times {
    uint32_t since, full, last, gone;
};

struct proof {
    struct requests *r;
    struct page *pages;
    uint32_t page_count, page_room;
    uint32_t *of_block, block_count;
    uint32_t *filled, filled_count; /* in the order in which they became full */
    uint32_t *there, index_count;   /* by index: the first page that is still there */
    /* for match.c, made at need: */
    uint32_t *sorted, sorted_count; /* pages, by index and tokens */
    struct page_times *sorted_times;
    uint32_t *marks, mark;
    uint32_t *rows; /* of each page: the node at each of its slots, NONE */
};

/* The node at that slot of a page in the sorted ones; NONE. */
static inline uint32_t page_row(const struct proof *p, uint32_t page, uint32_t slot)
{
    return slot < p->pages[page].filled ? p->rows[p->pages[page].rows + slot] : UINT32_MAX;
}

/*
 * Could `page` be ahead of `behind`, whose first row was of the pass `since`? That what was ahead of `page` is gone
 * means nothing: another request may have computed it again, in another block.
 */
static inline bool page_can_be_ahead(const struct page *page, const struct page *behind, uint32_t since)
{
    return page->full <= since && page->gone > behind->last;
}

/* Finds the pages and what is proven of them, once; NULL: out of memory. */
struct proof *links_proof(struct requests *r);
void links_proof_free(struct proof *proof);
/*
 * Did the sequence that wrote `leaf` attend to this page? One that shares its tokens may have found another copy of it
 * in the cache: then both have to have the same experts.
 */
bool links_attends(struct proof *p, uint32_t leaf, uint32_t page);
/* Pages by their tokens. -ENOMEM. */
int links_sort(struct proof *p);

#endif
