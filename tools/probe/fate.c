/* SPDX-License-Identifier: Apache-2.0 */
#include "fate.h"

#include "../../shim/probe/common.h"
#include "shape.h"

#include <stdio.h>
#include <string.h>

/* Samples between a candidate's launch and the one that goes on with what it wrote. */
#define NEAR 24u

enum change { REORDERED, REPLACED, OVERWRITTEN };

/* How do these bytes relate to what the router had written there? */
static enum change change_of(const struct view *view, const struct candidate *c, unsigned look, const struct use *use)
{
    const struct memory *memory = view->look[look];
    uint64_t step = c->stride.kind ? view_word(view, &c->stride, look) : c->k;
    size_t rows = view_rows_shown(view, look, c->k, step), shown = use->size / view->width;
    enum change change = REORDERED;
    for (size_t row = 0; row < rows && row * step + c->k <= shown; row++) {
        if (!row_fits(use->bytes, view->width, row * step, c->k))
            return OVERWRITTEN;
        for (unsigned i = 0; i < c->k; i++) {
            bool there = false;
            for (unsigned j = 0; j < c->k && !there; j++)
                there = mt_small_int(use->bytes, view->width, row * step + i) ==
                        mt_small_int(memory->bytes, view->width, row * step + j);
            if (!there)
                change = REPLACED;
        }
    }
    return shown < c->k ? OVERWRITTEN : change;
}

static void add_mover(struct candidate *c, const struct kernel *kernel, const struct use *use)
{
    for (unsigned i = 0; i < MOVERS_MAX; i++) {
        struct mover *mover = &c->movers[i];
        if (!mover->kernel)
            *mover = (struct mover){kernel, use->named, use->behind != 1};
        if (mover->kernel == kernel && mover->named == use->named) {
            mover->late |= use->behind != 1;
            return;
        }
    }
}

static void follow_look(const struct view *view, struct candidate *c, unsigned look)
{
    uint32_t offset = view->look[look]->offset;
    for (size_t n = 0; n < view->evidence->use_count; n++) {
        const struct use *use = &view->evidence->uses[n];
        const struct kernel *kernel = &view->evidence->kernels[use->kernel];
        if (use->sample != view->look[look]->sample || use->offset != offset)
            continue;
        enum change change =
            use->how == USE_SAME || use->how == USE_UNREAD ? OVERWRITTEN : change_of(view, c, look, use);
        if (use->how == USE_SAME) {
            c->kept++;
        } else if (use->how == USE_OTHER) {
            c->moved_unseen += change != OVERWRITTEN;
        } else if (change == OVERWRITTEN) {
            return; /* its memory is somebody else's by now */
        } else {
            add_mover(c, kernel, use);
            c->replaced += change == REPLACED;
        }
    }
}

void fate_of_ids(const struct view *view, struct candidate *c)
{
    for (unsigned i = 0; i < view->count; i++) {
        if (!view->other[i])
            follow_look(view, c, i);
    }
}

/* What a candidate wrote in one sample; NULL if it is not one of its own. */
static const struct memory *memory_in(const struct evidence *evidence, const struct candidate *c, size_t sample)
{
    uint32_t offset = c->kernel->param[c->param].offset + c->offset;
    if (&evidence->kernels[evidence->samples[sample].kernel] != c->kernel)
        return NULL;
    for (size_t i = 0; i < evidence->memory_count; i++) {
        if (evidence->memories[i].sample == sample && evidence->memories[i].offset == offset)
            return &evidence->memories[i];
    }
    return NULL;
}

/* What `a` wrote last before that sample. */
static const struct memory *memory_before(const struct evidence *evidence, const struct candidate *a, size_t sample)
{
    for (size_t back = 1; back <= NEAR && back <= sample; back++) {
        const struct memory *memory = memory_in(evidence, a, sample - back);
        if (memory)
            return memory;
    }
    return NULL;
}

/* -2: not there */
static int64_t id_of(const struct candidate *c, const struct memory *memory, uint64_t i)
{
    return (i + 1) * c->width <= memory->size ? mt_small_int(memory->bytes, c->width, i) : -2;
}

static uint64_t step_of(const struct evidence *evidence, const struct candidate *c, const struct memory *memory)
{
    return c->stride.kind ? word_value(&c->stride, c->kernel, &evidence->samples[memory->sample]) : c->k;
}

static uint64_t rows_of(const struct evidence *evidence, const struct candidate *c, const struct memory *memory)
{
    const struct sample *sample = &evidence->samples[memory->sample];
    uint64_t by = c->rows_by.kind ? word_value(&c->rows_by, c->kernel, sample) : 1;
    return c->rows.kind && by ? word_value(&c->rows, c->kernel, sample) / by : 0;
}

/* The first row of `b` holds the ids of the first row of `a`, in any order. */
static bool same_row(const struct candidate *a, const struct memory *in_a, const struct candidate *b,
                     const struct memory *in_b)
{
    for (unsigned i = 0; i < a->k; i++) {
        bool found = false;
        for (unsigned j = 0; j < a->k && !found; j++)
            found = id_of(a, in_a, i) == id_of(b, in_b, j);
        if (!found)
            return false;
    }
    return true;
}

/* All ids of `b` lie in the groups that `a` had chosen. */
static bool in_groups(const struct evidence *evidence, const struct candidate *a, const struct memory *in_a,
                      const struct candidate *b, const struct memory *in_b, uint64_t group)
{
    uint64_t rows = rows_of(evidence, b, in_b), step_a = step_of(evidence, a, in_a),
             step_b = step_of(evidence, b, in_b);
    if (!rows || rows != rows_of(evidence, a, in_a))
        return false;
    for (uint64_t row = 0; row < rows; row++) {
        for (unsigned i = 0; i < b->k; i++) {
            int64_t id = id_of(b, in_b, row * step_b + i);
            bool inside = id < 0;
            for (unsigned j = 0; j < a->k && !inside; j++)
                inside = id_of(a, in_a, row * step_a + j) == id / (int64_t) group;
            if (!inside)
                return false;
        }
    }
    return true;
}

enum follows { COPIES, CHOOSES_IN };

/* Of b's samples that come shortly behind one of a's: does b do that with what a wrote in seven of ten? */
static bool follows(const struct evidence *evidence, const struct candidate *a, const struct candidate *b,
                    enum follows how, uint64_t group)
{
    unsigned pairs = 0, good = 0;
    for (size_t s = 0; s < evidence->sample_count; s++) {
        const struct memory *in_b = memory_in(evidence, b, s), *in_a = in_b ? memory_before(evidence, a, s) : NULL;
        if (!in_a)
            continue;
        pairs++;
        good += how == COPIES ? same_row(a, in_a, b, in_b) : in_groups(evidence, a, in_a, b, in_b, group);
    }
    return pairs >= 2 && good * 10 >= pairs * 7;
}

static uint64_t experts_of(const struct evidence *evidence, const struct candidate *c)
{
    for (size_t s = 0; c->experts.kind && s < evidence->sample_count; s++) {
        if (memory_in(evidence, c, s))
            return word_value(&c->experts, c->kernel, &evidence->samples[s]);
    }
    return 0;
}

static void reject(struct candidate *c, const char *what, const struct candidate *by, const char *rest)
{
    snprintf(c->why, sizeof c->why, "%s %s %s", what, by->kernel->base, rest);
    c->confidence = REJECTED;
    c->score = 0;
}

/* Is `b` one that moves a's ids, read where it does so? */
static bool reorders(const struct candidate *a, const struct candidate *b)
{
    for (unsigned i = 0; i < MOVERS_MAX && a->movers[i].kernel; i++) {
        if (a->movers[i].kernel == b->kernel && a->movers[i].named == b->kernel->param[b->param].offset + b->offset)
            return true;
    }
    return false;
}

/* Grouped routing of kernels of their own: `a` chooses groups of b's experts, another one had looked into the groups.
 */
static void reject_stages(const struct evidence *evidence, struct verdict *verdict, struct candidate *a,
                          const struct candidate *b)
{
    uint64_t groups = experts_of(evidence, a), experts = experts_of(evidence, b);
    if (groups < 2 || experts <= groups || experts % groups || a->k >= groups ||
        !follows(evidence, a, b, CHOOSES_IN, experts / groups))
        return;
    for (size_t i = 0; i < verdict->count; i++) {
        struct candidate *c = &verdict->all[i];
        if (c != a && c != b && c->confidence && c->kernel->process == b->kernel->process &&
            experts_of(evidence, c) * groups == experts && c->rows_most == b->rows_most * groups)
            reject(c, "looks into the groups that", b, "then chooses from");
    }
    reject(a, "the groups that", b, "then chooses from");
}

void fate_reject_followers(const struct evidence *evidence, struct verdict *verdict)
{
    for (size_t i = 0; i < verdict->count; i++) {
        for (size_t j = 0; j < verdict->count; j++) {
            struct candidate *a = &verdict->all[i], *b = &verdict->all[j];
            if (a->kernel == b->kernel || !a->confidence || !b->confidence || a->kernel->process != b->kernel->process)
                continue;
            if (reorders(a, b))
                reject(b, "puts the ids of", a, "into another order");
            else if (follows(evidence, a, b, COPIES, 0))
                reject(b, "a copy of what", a, "wrote");
            else
                reject_stages(evidence, verdict, a, b);
        }
    }
}
