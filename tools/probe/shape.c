/* SPDX-License-Identifier: Apache-2.0 */
#include "shape.h"

/* Is the last thing that changed the end of a row? What a row always ends with (a shared expert) does not change. */
static bool ends_with_row(const struct view *view, unsigned look, unsigned k)
{
    size_t changed = view_changed(view, look), part = changed % k, row = changed - part;
    if (part && (row < k || (row + k) * view->width > view->look[look]->size))
        return false;
    for (size_t i = row + part; part && i < row + k; i++) {
        if (view_id(view, look, i) != view_id(view, look, i - k))
            return false;
    }
    return true;
}

/* In most samples. */
static bool ends_with_rows(const struct view *view, unsigned k)
{
    unsigned ends = 0, looks = 0;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i] || view_is_cut(view, i))
            continue;
        looks++;
        ends += ends_with_row(view, i, k);
    }
    return ends * 2 >= looks;
}

/*
 * The largest k of which all rows are distinct; unless that is luck: had the rows been of a smaller k, then joining
 * them would have shown about this many ids twice.
 */
static unsigned one_k(const struct view *view)
{
    double real = view_real_part(view);
    for (unsigned k = K_MAX; k >= 2; k--) {
        if (!ends_with_rows(view, k) || !view_all_fit(view, k, NULL))
            continue;
        unsigned smaller = 1;
        for (unsigned d = 2; d < k; d++) {
            if (k % d == 0 && ends_with_rows(view, d))
                smaller = d;
        }
        double expected = (double) view_rows(view, k, NULL) * k * (k - smaller) / 2 * real * real /
                          (view_largest_id(view, k, NULL) + 1);
        bool alone = true; /* nothing ends in the midst: no sign of smaller rows */
        for (unsigned i = 0; i < view->count; i++)
            alone &= view->other[i] || ends_with_row(view, i, k);
        if (expected > 3 || (alone && expected > 1))
            return k;
    }
    return 1;
}

/* How well a number of the launch is the k of each. */
struct several {
    uint64_t least, most;
    double expected; /* ids that would have been seen twice in rows of this k, were they of `for_all` */
    unsigned looks, ends;
};

static bool fits_several(const struct view *view, const struct word *word, unsigned for_all, struct several *s)
{
    *s = (struct several){.least = UINT64_MAX};
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        uint64_t k = view_word(view, word, i);
        if (k < 1 || k > K_MAX || !view_look_fits(view, i, (unsigned) k, k))
            return false;
        size_t rows = view_rows_shown(view, i, (unsigned) k, k);
        int64_t largest = 1;
        for (size_t n = 0; n < rows * k; n++)
            largest = view_id(view, i, n) > largest ? view_id(view, i, n) : largest;
        if (k > for_all)
            s->expected += (double) rows * (double) (k * (k - for_all)) / 2 / (double) (largest + 1);
        s->looks++;
        s->ends += view_changed(view, i) % k == 0;
        s->most = k > s->most ? k : s->most;
        s->least = k < s->least ? k : s->least;
    }
    return s->most > s->least && s->expected >= 8 && s->ends * 5 >= s->looks * 4;
}

/*
 * One kernel for several k, as the stages of grouped routing are: a number of the launch is the k of each, where one k
 * for all would be a smaller one. The largest is the router's; the other launches are left out.
 */
static bool several_k(struct view *view, unsigned for_all, struct word *k_word)
{
    struct several s;
    for (unsigned w = 0; w < view->words.count; w++) {
        const struct word *word = &view->words.all[w];
        if (!fits_several(view, word, for_all, &s))
            continue;
        for (unsigned i = 0; i < view->count; i++) {
            if (!view->other[i] && view_word(view, word, i) != s.most)
                view->other[i] = OTHER_K;
        }
        *k_word = *word;
        return true;
    }
    return false;
}

static struct word find_value(const struct view *view, uint64_t wanted)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < view->words.count; i++) {
        if (view_constant(view, &view->words.all[i], &value) && value == wanted)
            return view->words.all[i];
    }
    return (struct word){.kind = WORD_CONSTANT, .value = wanted};
}

/* Rows further apart than k: a stride that stands in the launch, and a last change that always ends k ids behind it. */
static bool find_stride(const struct view *view, struct candidate *c)
{
    for (unsigned w = 0; w < view->words.count; w++) {
        const struct word *stride = &view->words.all[w];
        size_t k = 0;
        bool good = true;
        unsigned several = 0;
        for (unsigned i = 0; good && i < view->count; i++) {
            if (view->other[i])
                continue;
            uint64_t step = view_word(view, stride, i);
            good = step >= 2 && step <= 4096;
            size_t part = good ? (view_changed(view, i) - 1) % step + 1 : 0;
            k = part > k ? part : k;
            several += good && view_changed(view, i) > step;
        }
        uint64_t value = 0;
        if (!good || !several || k < 2 || k > K_MAX || (view_constant(view, stride, &value) && value == k) ||
            !view_all_fit(view, (unsigned) k, stride))
            continue;
        c->k = (unsigned) k;
        c->stride = *stride;
        return true;
    }
    return false;
}

bool shape_find_k(struct view *view, struct candidate *c)
{
    uint64_t of_word = 0;
    c->k = one_k(view);
    if (several_k(view, c->k, &c->k_word))
        c->k = one_k(view);
    if (c->k == 1 && !find_stride(view, c) && (view->width < 4 || !view_all_fit(view, 1, NULL)))
        return false;
    if (!c->k_word.kind || !view_constant(view, &c->k_word, &of_word) || of_word != c->k)
        c->k_word = c->k == 1 ? (struct word){.kind = WORD_CONSTANT, .value = 1} : find_value(view, c->k);
    return true;
}

struct rows_fit {
    unsigned exact, whole, looks; /* whole: all that the launch wrote was read */
    uint64_t least, most;
};

/* Do these rows reach exactly as far as the launches wrote? */
static bool rows_fit(const struct view *view, const struct candidate *c, const struct word *a, const struct word *b,
                     struct rows_fit *fit)
{
    *fit = (struct rows_fit){.least = UINT64_MAX};
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        uint64_t rows = view_word(view, a, i), by = b ? view_word(view, b, i) : 1;
        uint64_t step = c->stride.kind ? view_word(view, &c->stride, i) : c->k;
        if (!by || rows % by || !rows || rows > INT32_MAX)
            return false;
        rows /= by;
        size_t changed = view_rows_changed(view, i, step);
        if (rows < changed)
            return false;
        bool there = ((rows - 1) * step + c->k) * view->width <= view->look[i]->room;
        fit->looks++;
        fit->whole += !view_is_cut(view, i);
        fit->exact += !view_is_cut(view, i) && there && rows == changed;
        fit->least = rows < fit->least ? rows : fit->least;
        fit->most = rows > fit->most ? rows : fit->most;
    }
    return fit->looks && fit->exact * 5 >= fit->whole * 4;
}

static void take_rows(struct candidate *c, const struct word *a, const struct word *b, const struct rows_fit *fit)
{
    c->rows_choices++;
    if (c->rows.kind)
        return;
    c->rows = *a;
    c->rows_by = b ? *b : (struct word){0};
    c->rows_least = (unsigned) fit->least;
    c->rows_most = (unsigned) fit->most;
    c->rows_unseen = !fit->whole;
}

void shape_find_rows(const struct view *view, struct candidate *c)
{
    struct rows_fit fit;
    const struct word k = {.kind = WORD_CONSTANT, .value = c->k}, *all = view->words.all;
    for (unsigned i = 0; i < view->words.count; i++) {
        if (rows_fit(view, c, &all[i], NULL, &fit))
            take_rows(c, &all[i], NULL, &fit);
    }
    for (unsigned i = 0; !c->rows.kind && i < view->words.count; i++) {
        if (c->k > 1 && rows_fit(view, c, &all[i], &k, &fit))
            take_rows(c, &all[i], c->k_word.kind == WORD_CONSTANT ? &k : &c->k_word, &fit);
    }
    for (unsigned i = 0; !c->rows.kind && i < view->words.count; i++) {
        for (unsigned j = 0; j < view->words.count; j++) {
            uint64_t by = 0;
            if (i != j && view_constant(view, &all[j], &by) && by > 1 && by <= EXPERTS_MAX &&
                rows_fit(view, c, &all[i], &all[j], &fit))
                take_rows(c, &all[i], &all[j], &fit);
        }
    }
}

bool shape_find_experts(const struct view *view, struct candidate *c)
{
    uint64_t best = EXPERTS_MAX + 1, value = 0;
    for (unsigned i = 0; i < view->words.count; i++) {
        const struct word *word = &view->words.all[i];
        if (!view_constant(view, word, &value) || value < c->experts_seen || value > EXPERTS_MAX || value < 2 ||
            value <= c->k || word_equal(word, &c->rows) || value >= best)
            continue;
        bool apart = true;
        for (unsigned n = 0; n < view->count; n++)
            apart &= view->other[n] != SAMPLERS || view_word(view, word, n) > EXPERTS_MAX;
        if (!apart)
            continue;
        best = value;
        c->experts = *word;
    }
    return c->experts.kind != WORD_NONE;
}

uint64_t shape_experts(const struct view *view, const struct candidate *c)
{
    uint64_t value = 0;
    return c->experts.kind && view_constant(view, &c->experts, &value) ? value : c->experts_seen;
}
