/* SPDX-License-Identifier: Apache-2.0 */
#include "judge.h"

#include "decoy.h"
#include "fate.h"
#include "shape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void count_layers(const struct view *view, struct candidate *c)
{
    for (unsigned i = 0; i < view->count; i++) {
        int layers = view_sample(view, i)->layers;
        if (!view->other[i] && layers > (int) c->layers)
            c->layers = (unsigned) layers;
    }
}

/* Notes what is missing, and how much that is. */
__attribute__((format(printf, 3, 4))) static void lack(struct candidate *c, unsigned weight, const char *format, ...)
{
    c->lacks += weight;
    size_t used = strlen(c->why);
    if (used)
        used += (size_t) snprintf(c->why + used, sizeof c->why - used, "; ");
    va_list args;
    va_start(args, format);
    if (used < sizeof c->why)
        vsnprintf(c->why + used, sizeof c->why - used, format, args);
    va_end(args);
}

static void grade_rows(struct candidate *c)
{
    bool varied = c->rows_most > c->rows_least;
    if (!c->rows.kind)
        lack(c, 3, "nothing in the launch says how many rows there are");
    else if (!varied)
        lack(c, 1, "always %u row%s", c->rows_most, c->rows_most == 1 ? "" : "s");
    if (c->rows.kind && c->rows_unseen)
        lack(c, 1, "where the rows end was not seen");
    if (!varied && c->rows_choices > 1)
        lack(c, 1, "%u numbers of the launch could be the rows", c->rows_choices);
}

static void grade_experts(const struct view *view, struct candidate *c)
{
    if (!c->experts.kind)
        lack(c, 1, "nothing in the launch says how many experts there are; ids up to %u", c->experts_seen - 1);
    else if (c->experts_seen * 10 < shape_experts(view, c) * 9)
        lack(c, 1, "only ids up to %u", c->experts_seen - 1);
    if (!c->experts.kind && decoy_grows(view, c))
        lack(c, 2, "the largest number keeps growing, as in a context that grows");
    if (view->width < 4 && !c->experts.kind)
        lack(c, 1, "narrow ids");
}

/* Are the ids as they are used? */
static void grade_fate(struct candidate *c)
{
    const struct mover *late = NULL;
    for (unsigned i = 0; i < MOVERS_MAX && c->movers[i].kernel; i++)
        late = c->movers[i].late ? &c->movers[i] : late;
    if (late)
        lack(c, 1, "%s changes the ids in place, not always in the next launch: no recipe can wait for it",
             late->kernel->base);
    else if (c->moved_unseen)
        lack(c, 1, "something that was not seen changes the ids in place");
    else if (c->replaced)
        lack(c, 1, "%s puts other ids in their place", c->movers[0].kernel->base);
    else if (!c->kept && !c->movers[0].kernel)
        lack(c, 1, "nobody was seen to use these ids: they may still be reordered");
}

static void grade(const struct view *view, struct candidate *c)
{
    grade_rows(c);
    if (c->layers < 2)
        lack(c, 2, "not seen to come once for each of several layers");
    grade_experts(view, c);
    if (c->samples < 4 || c->groups < 16)
        lack(c, 1, "only %u rows in %u samples", c->groups, c->samples);
    if (!c->ties && c->rows_most > 1)
        lack(c, 1, "no expert was seen in two rows of a launch");
    if (decoy_repeats(view))
        lack(c, 2, "the same ids again and again");
    if (c->k == 1)
        lack(c, 2, "k is 1: nothing is to be distinct");
    grade_fate(c);
    c->confidence = c->lacks == 0 ? CERTAIN : c->lacks <= 2 ? LIKELY : POSSIBLE;
    c->score = (uint64_t) c->confidence * 1000 + (100 - c->lacks * 5);
}

/* False: no ids at all. A candidate with `why` and REJECTED: ids of a kind, but not a router's. */
static bool judge_width(struct view *view, struct candidate *c)
{
    unsigned ours = view_mark_samplers(view);
    if (!ours)
        return false;
    c->shared = ours < view->count;
    c->width = view->width;
    if (!shape_find_k(view, c))
        return false;
    const struct word *stride = c->stride.kind ? &c->stride : NULL;
    c->experts_seen = view_largest_id(view, c->k, stride) + 1;
    if (c->experts_seen < 2)
        return false;
    c->groups = view_rows(view, c->k, stride);
    c->samples = view_ours(view);
    shape_find_rows(view, c);
    if (!shape_find_experts(view, c) && c->shared)
        return false;
    count_layers(view, c);
    const char *why = decoy(view, c);
    if (why) {
        snprintf(c->why, sizeof c->why, "%s", why);
        return true;
    }
    fate_of_ids(view, c);
    grade(view, c);
    if (c->samples < 3 || c->groups < 4)
        return false; /* too little to say anything */
    /* Any index is a list of distinct groups of one. */
    if (c->k == 1 && (c->layers < 2 || !c->experts.kind || c->rows_most <= c->rows_least))
        return false;
    return true;
}

static bool judge_pointer(struct view *view, const struct evidence *evidence, const struct kernel *kernel,
                          uint32_t offset, struct candidate *c)
{
    static const unsigned widths[] = {8, 4, 2, 1};
    bool found = false;
    for (size_t w = 0; w < 4 && !found && view_open(view, evidence, kernel, offset); w++) {
        view->width = widths[w];
        *c = (struct candidate){.kernel = kernel};
        found = judge_width(view, c);
    }
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        if (offset >= kernel->param[i].offset && offset < kernel->param[i].offset + kernel->param[i].size) {
            c->param = i;
            c->offset = offset - kernel->param[i].offset;
        }
    }
    return found;
}

#define POINTERS_MAX 64u

/* False: out of memory. */
static bool judge_kernel(struct view *view, const struct evidence *evidence, size_t k, struct verdict *verdict)
{
    uint32_t done[POINTERS_MAX];
    unsigned done_count = 0;
    for (size_t m = 0; m < evidence->memory_count; m++) {
        const struct memory *memory = &evidence->memories[m];
        bool known = evidence->samples[memory->sample].kernel != k || done_count == POINTERS_MAX;
        for (unsigned i = 0; i < done_count; i++)
            known |= done[i] == memory->offset;
        if (known)
            continue;
        done[done_count++] = memory->offset;
        struct candidate *more = realloc(verdict->all, (verdict->count + 1) * sizeof *more);
        if (!more)
            return false;
        verdict->all = more;
        if (judge_pointer(view, evidence, &evidence->kernels[k], memory->offset, &more[verdict->count]))
            verdict->count++;
    }
    return true;
}

bool judge(const struct evidence *evidence, struct verdict *verdict)
{
    *verdict = (struct verdict){0};
    struct view *view = malloc(sizeof *view);
    bool good = view != NULL;
    for (size_t k = 0; good && k < evidence->kernel_count; k++)
        good = judge_kernel(view, evidence, k, verdict);
    free(view);
    if (good)
        fate_reject_followers(evidence, verdict);
    return good;
}
