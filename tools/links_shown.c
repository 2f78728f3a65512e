/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request by its tokens where the engine showed all sequences: it is one of those in the list. Several may have said
 * the same; a row is known if it went the same way in all of them.
 */
#include "links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 16u /* tokens by which requests are looked up */

struct by_head {
    uint64_t head;
    uint32_t request;
};

static uint64_t mix(uint64_t head, int32_t token)
{
    uint64_t h = (head ^ (uint32_t) token) * 0xff51afd7ed558ccdu;
    return (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
}

static uint64_t head_of(const int32_t *tokens, uint32_t count)
{
    uint64_t head = 1;
    for (uint32_t i = 0; i < HEAD && i < count; i++)
        head = mix(head, tokens[i]);
    return head;
}

static int by_value(const void *a, const void *b)
{
    const struct by_head *x = a, *y = b;
    return x->head != y->head ? (x->head < y->head ? -1 : 1) : (x->request > y->request) - (x->request < y->request);
}

/* Nodes of the request, by position; NONE ahead of its first. */
static void nodes_of(const struct requests *r, const struct request *request, uint32_t *nodes)
{
    uint32_t node = request->last, bridge = NONE, at = request->tokens;
    while (at > request->first_position) {
        nodes[--at] = node;
        node = links_up(r, node, &bridge);
    }
    while (at > 0)
        nodes[--at] = NONE;
}

static int make_index(struct requests *r)
{
    uint32_t longest = 1;
    for (uint32_t i = 0; i < r->count; i++)
        longest = r->list[i].tokens > longest ? r->list[i].tokens : longest;
    r->by_head = malloc((r->count + 1u) * sizeof *r->by_head);
    r->matched = malloc(longest * sizeof *r->matched);
    r->found = malloc(longest * sizeof *r->found);
    if (!r->by_head || !r->matched || !r->found)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->count; i++) {
        /* One whose beginning is not there may be anything's, and so may one that is short. */
        uint64_t head = 0;
        if (r->list[i].first_position == 0 && r->list[i].tokens >= HEAD) {
            int32_t tokens[HEAD];
            nodes_of(r, &r->list[i], r->matched);
            for (uint32_t j = 0; j < HEAD; j++)
                tokens[j] = r->nodes[r->matched[j]].token;
            head = head_of(tokens, HEAD) | 1;
        }
        r->by_head[i] = (struct by_head){head, i};
    }
    qsort(r->by_head, r->count, sizeof *r->by_head, by_value);
    return 0;
}

static bool says(const struct requests *r, const uint32_t *nodes, const int32_t *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (nodes[i] != NONE && r->nodes[nodes[i]].token != tokens[i])
            return false;
    }
    return true;
}

/* Where this one went another way, none is known. */
static void agree(const struct requests *r, const uint32_t *nodes, uint32_t count, uint32_t *found)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t node = nodes[i], before = found[i];
        if (before != NONE && before != node &&
            (node == NONE || !r->nodes[node].experts || r->nodes[node].experts != r->nodes[before].experts))
            found[i] = NONE;
    }
}

int links_match_shown(struct requests *r, const int32_t *tokens, uint32_t count, struct request_row *rows)
{
    if (!r->by_head && make_index(r) != 0)
        return -ENOMEM;
    const uint64_t head = head_of(tokens, count) | 1;
    bool first = true;
    int known = 0;
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (struct request_row){.position = (int32_t) i, .token = tokens[i], .pass = NONE};
    for (uint32_t i = 0; i < r->count; i++) {
        const struct request *request = &r->list[r->by_head[i].request];
        if (count >= HEAD && r->by_head[i].head != 0 && r->by_head[i].head != head) {
            if (r->by_head[i].head > head)
                break;
            /* On to those with this head, or with a greater one. */
            uint32_t low = i, high = r->count;
            while (high - low > 1) {
                uint32_t middle = low + (high - low) / 2;
                *(r->by_head[middle].head < head ? &low : &high) = middle;
            }
            i = low;
            continue;
        }
        if (request->tokens < count || request->first_position >= count)
            continue;
        nodes_of(r, request, r->matched);
        if (!says(r, r->matched, tokens, count))
            continue;
        if (first)
            memcpy(r->found, r->matched, count * sizeof *r->found);
        else
            agree(r, r->matched, count, r->found);
        first = false;
    }
    for (uint32_t i = 0; !first && i < count; i++) {
        if (r->found[i] == NONE)
            continue;
        const struct node *n = &r->nodes[r->found[i]];
        rows[i] = (struct request_row){n->position, n->slot, n->token, n->pass, n->row};
        known++;
    }
    return known;
}
