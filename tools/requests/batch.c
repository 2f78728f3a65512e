/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links where a pass is a batch of sequences with as many rows each (MT_SITE_BATCH). A sequence keeps its place in the
 * batch as long as a pass goes on with the very cache that the batch's last pass left, or, where that was put in
 * another order that is told, goes on from another's place: whoever else goes on with other ones does that with another
 * cache.
 */
#include "links.h"

#include <errno.h>
#include <stdlib.h>

/* Of the rows of one sequence in a pass. */
struct line {
    const int32_t *positions;
    uint32_t first, rows; /* of the pass */
    uint32_t padding;     /* rows in front that are padding */
    bool unsure;          /* its one row may be padding, too */
};

/*
 * Prompts of a batch are padded in front, and the padding has the same position all over, whichever. So where there is
 * a position 0, the last one is the prompt's first row. False: this is no sequence.
 */
static bool find_padding(struct line *line)
{
    const int32_t *positions = line->positions;
    line->padding = 0;
    for (uint32_t i = 0; i < line->rows; i++) {
        if (positions[i] == 0)
            line->padding = i;
    }
    for (uint32_t i = 1; i < line->padding; i++) {
        if (positions[i] != positions[0])
            return false;
    }
    for (uint32_t i = line->padding; i < line->rows; i++) {
        if (positions[i] < 0 || positions[i] >= (int32_t) POSITIONS_MAX ||
            (i > line->padding && positions[i] != positions[i - 1] + 1))
            return false;
    }
    line->unsure = line->padding && line->padding + 1 == line->rows;
    return true;
}

static void go_on(struct requests *r, uint32_t tail)
{
    if (r->nodes[tail].dropped) /* the one row that could be padding */
        r->blind_rows--;
    r->nodes[tail].dropped = r->nodes[tail].ends = false;
}

/* `tail`: where it stood, NONE; and where it stands now. */
static int add_line(const struct work *w, const struct pass *pass, const struct line *line, uint32_t *tail)
{
    struct requests *r = w->r;
    const int32_t position = line->positions[line->padding];
    uint32_t parent = position ? UNKNOWN : ROOT;
    if (position && *tail != NONE) {
        /* Who goes on further back had rows rejected, and what the rest of its cache holds nobody shows. */
        r->drafts |= position <= r->nodes[*tail].position;
        if (position == r->nodes[*tail].position + 1)
            go_on(r, parent = *tail);
    }
    for (uint32_t i = line->padding; i < line->rows; i++) {
        const uint32_t row = line->first + i;
        const struct node node = {.position = line->positions[i],
                                  .slot = -1,
                                  .token = pass->tokens ? pass->tokens[row] : MT_CONTEXT_OVERFLOW,
                                  .pass = w->pass,
                                  .row = row,
                                  .parent = parent,
                                  .old = NONE,
                                  .page = NONE,
                                  .link = LINK_TABLE,
                                  .starts = i == line->padding,
                                  .proven = true,
                                  .dropped = line->unsure,
                                  .ends = i + 1 == line->rows};
        parent = links_add(r, &node);
        if (parent == NONE)
            return -ENOMEM;
    }
    *tail = parent;
    r->blind_rows += line->unsure;
    if (line->padding && pass->tokens)
        r->padded = pass->tokens[line->first];
    return 0;
}

/* Beams: where each sequence goes on from is told, and several may go on from one. */
static int put_in_order(struct requests *r, const struct pass *pass)
{
    uint32_t *tails = malloc(pass->batch * sizeof *tails);
    if (!tails)
        return -ENOMEM;
    for (uint32_t i = 0; i < pass->batch; i++)
        tails[i] = pass->order[i] >= 0 && (uint32_t) pass->order[i] < pass->batch ? r->tails[pass->order[i]] : NONE;
    free(r->tails);
    r->tails = tails;
    return 0;
}

int links_batch(const struct work *w, const struct pass *pass)
{
    struct requests *r = w->r;
    const bool goes_on = r->batch_cache && r->batch_cache == pass->cache_before && r->tail_lines == pass->batch;
    const uint32_t rows = pass->rows / pass->batch;
    /* Where no cache is shown, the rows of one sequence may be several ones, told apart by what nobody shows. */
    r->batch_cache = pass->cache_after;
    if (!pass->cache_after) {
        r->blind_rows += pass->rows;
        return 0;
    }
    uint32_t *tails = realloc(r->tails, pass->batch * sizeof *tails);
    if (!tails)
        return -ENOMEM;
    r->tails = tails;
    r->tail_lines = pass->batch;
    r->shown = true;
    if (goes_on && pass->order) {
        if (put_in_order(r, pass) != 0)
            return -ENOMEM;
        tails = r->tails;
    }
    for (uint32_t i = 0; i < pass->batch; i++) {
        struct line line = {.positions = pass->positions + i * rows, .first = i * rows, .rows = rows};
        if (!goes_on)
            tails[i] = NONE;
        if (!find_padding(&line)) {
            tails[i] = NONE;
            r->blind_rows += rows;
        } else if (add_line(w, pass, &line, &tails[i]) != 0) {
            return -ENOMEM;
        }
    }
    return 0;
}
