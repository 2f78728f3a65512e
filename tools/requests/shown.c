/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request by its tokens where the engine showed all sequences: it is one of those in the list. Several may have said
 * the same; a row is known if it went the same way in all of them.
 *
 * Requests are kept in the order of their tokens, so that those which begin alike are side by side. Those whose
 * beginning is not known are apart, and looked at one by one.
 */
#include "links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct said {
    const int32_t *tokens; /* [count] */
    uint32_t count, request;
};

struct shown {
    int32_t *tokens; /* of all requests, one behind the other */
    struct said *whole, *partial;
    uint32_t whole_count, partial_count;
    uint32_t *nodes, *found; /* [of the longest request] */
};

void links_shown_free(struct shown *shown)
{
    if (!shown)
        return;
    free(shown->tokens);
    free(shown->whole);
    free(shown->partial);
    free(shown->nodes);
    free(shown->found);
    free(shown);
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

static int compare(const int32_t *a, uint32_t a_count, const int32_t *b, uint32_t b_count)
{
    for (uint32_t i = 0; i < a_count && i < b_count; i++) {
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    }
    return (a_count > b_count) - (a_count < b_count);
}

static int by_tokens(const void *a, const void *b)
{
    const struct said *x = a, *y = b;
    int order = compare(x->tokens, x->count, y->tokens, y->count);
    return order ? order : (x->request > y->request) - (x->request < y->request);
}

static int fill_in(const struct requests *r, struct shown *shown)
{
    uint64_t total = 0;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        total += r->list[i].tokens;
        longest = r->list[i].tokens > longest ? r->list[i].tokens : longest;
    }
    shown->tokens = malloc((total + 1) * sizeof *shown->tokens);
    shown->whole = malloc((r->count + 1u) * sizeof *shown->whole);
    shown->partial = malloc((r->count + 1u) * sizeof *shown->partial);
    shown->nodes = malloc((longest + 1u) * sizeof *shown->nodes);
    shown->found = malloc((longest + 1u) * sizeof *shown->found);
    if (!shown->tokens || !shown->whole || !shown->partial || !shown->nodes || !shown->found)
        return -ENOMEM;
    int32_t *tokens = shown->tokens;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct request *request = &r->list[i];
        const struct said said = {tokens, request->tokens, i};
        nodes_of(r, request, shown->nodes);
        for (uint32_t j = 0; j < request->tokens; j++)
            *tokens++ = shown->nodes[j] == NONE ? 0 : r->nodes[shown->nodes[j]].token;
        if (request->first_position)
            shown->partial[shown->partial_count++] = said;
        else
            shown->whole[shown->whole_count++] = said;
    }
    qsort(shown->whole, shown->whole_count, sizeof *shown->whole, by_tokens);
    return 0;
}

/* Where this one went another way, none is known. */
static void agree(const struct requests *r, struct shown *shown, const struct said *said, uint32_t count, bool first)
{
    nodes_of(r, &r->list[said->request], shown->nodes);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t node = shown->nodes[i], before = shown->found[i];
        if (first)
            shown->found[i] = node;
        else if (before != NONE && before != node &&
                 (node == NONE || !r->nodes[node].experts || r->nodes[node].experts != r->nodes[before].experts))
            shown->found[i] = NONE;
    }
}

int links_match_shown(struct requests *r, const int32_t *tokens, uint32_t count, struct request_row *rows)
{
    if (!r->said) {
        struct shown *made = calloc(1, sizeof *made);
        if (!made || fill_in(r, made) != 0) {
            links_shown_free(made);
            return -ENOMEM;
        }
        r->said = made;
    }
    struct shown *shown = r->said;
    bool first = true;
    int known = 0;
    uint32_t low = 0, high = shown->whole_count; /* the first that is not ahead of these tokens */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare(shown->whole[middle].tokens, shown->whole[middle].count, tokens, count) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < shown->whole_count && shown->whole[low].count >= count; low++) {
        if (memcmp(shown->whole[low].tokens, tokens, count * sizeof *tokens) != 0)
            break;
        agree(r, shown, &shown->whole[low], count, first);
        first = false;
    }
    for (uint32_t i = 0; i < shown->partial_count; i++) {
        const struct said *said = &shown->partial[i];
        const uint32_t from = r->list[said->request].first_position;
        if (said->count < count || from >= count ||
            memcmp(said->tokens + from, tokens + from, (count - from) * sizeof *tokens) != 0)
            continue;
        agree(r, shown, said, count, first);
        first = false;
    }
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = (struct request_row){.position = (int32_t) i, .token = tokens[i], .pass = NONE};
        if (first || shown->found[i] == NONE)
            continue;
        const struct node *n = &r->nodes[shown->found[i]];
        rows[i] = (struct request_row){n->position, n->slot, n->token, n->pass, n->row};
        known++;
    }
    return known;
}
