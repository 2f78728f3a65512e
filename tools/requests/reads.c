/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequences from the slots that a pass attends to (MT_SITE_READS): of each sequence all of its slots, the ones that the
 * pass writes last. That tells where a sequence ends and another begins, and which blocks are ahead of it, just as an
 * engine's own table does.
 */
#include "links.h"

#include <errno.h>
#include <stdlib.h>

static int room_for(struct read_sequences *reads, uint32_t rows)
{
    if (rows < reads->room)
        return 0;
    const uint32_t room = (rows + 1) * 2;
    int32_t *starts = realloc(reads->starts, room * sizeof *starts);
    if (starts)
        reads->starts = starts;
    uint32_t *from = starts ? realloc(reads->from, room * sizeof *from) : NULL;
    if (!from)
        return -ENOMEM;
    reads->from = from;
    reads->room = room;
    return 0;
}

static void add(struct read_sequences *reads, uint32_t row, uint32_t from)
{
    reads->starts[reads->count] = (int32_t) row;
    reads->from[reads->count++] = from;
}

/*
 * A row is of the sequence of the row before if it goes on with its position and stands behind it in what is attended
 * to: there another sequence has its position 0.
 */
static bool divide(struct read_sequences *out, const struct pass *pass, uint32_t rows)
{
    uint32_t at = 0, row = 0;
    while (row < rows) {
        const int32_t position = pass->positions[row];
        add(out, row, at);
        if (position < 0 || (uint32_t) position >= pass->read_count - at)
            return false;
        at += (uint32_t) position;
        if (pass->reads[at] != pass->slots[row])
            return false;
        do {
            at++;
            row++;
        } while (row < rows && at < pass->read_count && pass->positions[row] == pass->positions[row - 1] + 1 &&
                 pass->reads[at] == pass->slots[row]);
    }
    for (uint32_t i = at + 1; i < pass->read_count; i++) { /* padding */
        if (pass->reads[i] != pass->reads[at])
            return false;
    }
    return true;
}

/* None attends to what was there before: each begins at its position 0. */
static bool divide_new(struct read_sequences *out, const struct pass *pass, uint32_t rows)
{
    for (uint32_t row = 0; row < rows; row++) {
        if (pass->positions[row] == 0)
            add(out, row, 0);
        else if (row == 0 || pass->positions[row] != pass->positions[row - 1] + 1)
            return false;
    }
    return true;
}

int links_reads(struct requests *r, const struct pass *pass)
{
    uint32_t rows = pass->rows;
    while (rows && (pass->slots[rows - 1] < 0 || links_is_padding(r, (uint32_t) pass->slots[rows - 1])))
        rows--;
    if (room_for(&r->reads, rows) != 0)
        return -ENOMEM;
    r->reads.count = 0;
    if (!rows || !(pass->reads ? divide(&r->reads, pass, rows) : divide_new(&r->reads, pass, rows)))
        return -EDOM;
    r->reads.starts[r->reads.count] = (int32_t) rows;
    return 0;
}

static bool put(struct read_sequences *reads, int32_t word)
{
    if (reads->words == reads->block_room) {
        const uint32_t room = reads->block_room ? reads->block_room * 2 : 256;
        int32_t *blocks = realloc(reads->blocks, room * sizeof *blocks);
        if (!blocks)
            return false;
        reads->blocks = blocks;
        reads->block_room = room;
    }
    reads->blocks[reads->words++] = word;
    return true;
}

/* The blocks ahead of a sequence that begins at a block's start. */
static int add_blocks(struct requests *r, const struct pass *pass, uint32_t sequence)
{
    struct read_sequences *reads = &r->reads;
    const int32_t row = reads->starts[sequence];
    const uint32_t position = (uint32_t) pass->positions[row];
    if (!position || position % r->block)
        return 0;
    if (!put(reads, row) || !put(reads, (int32_t) (position / r->block)))
        return -ENOMEM;
    for (uint32_t i = 0; i < position; i += r->block) {
        const int32_t *slots = pass->reads + reads->from[sequence] + i;
        for (uint32_t n = 0; n < r->block; n++) {
            if (slots[n] < 0 || slots[n] != slots[0] + (int32_t) n || (uint32_t) slots[0] % r->block)
                return -EDOM;
        }
        if (!put(reads, slots[0] / (int32_t) r->block))
            return -ENOMEM;
    }
    return 0;
}

int links_show_reads(struct requests *r, struct pass *pass)
{
    int result = links_reads(r, pass);
    r->reads.words = 0;
    if (!result && !put(&r->reads, (int32_t) r->block))
        result = -ENOMEM;
    for (uint32_t i = 0; !result && i < r->reads.count; i++)
        result = add_blocks(r, pass, i);
    if (result)
        return result;
    pass->starts = r->reads.starts;
    pass->sequences = r->reads.count;
    pass->groups[r->group].blocks = r->reads.words > 1 ? r->reads.blocks : NULL;
    pass->groups[r->group].block_words = r->reads.words;
    return 0;
}
