/* SPDX-License-Identifier: Apache-2.0 */
#include "decoy.h"

#include "shape.h"

/* What all looks have in common. */
struct habits {
    bool rising;     /* from one end to the other */
    bool whole;      /* each row holds 0 to k - 1 */
    bool listed;     /* no id comes twice */
    bool evenly;     /* each id comes as often as any other */
    bool long_looks; /* some that are long enough to tell */
    double expected; /* ids that should have come twice */
};

struct look {
    size_t rows, entries;
    int64_t most;
    bool rising, counting, whole, repeats, even;
};

static struct look read_look(const struct view *view, const struct candidate *c, unsigned i)
{
    uint64_t step = c->stride.kind ? view_word(view, &c->stride, i) : c->k;
    struct look look = {.rows = view_rows_shown(view, i, c->k, step), .rising = true, .counting = true, .whole = true};
    unsigned used[EXPERTS_MAX] = {0};
    int64_t before = -2;
    for (size_t row = 0; row < look.rows; row++) {
        int64_t row_most = 0;
        for (unsigned j = 0; j < c->k; j++) {
            int64_t id = view_id(view, i, row * step + j);
            look.rising &= id >= before;
            look.counting &= before == -2 || id == before + 1;
            before = id;
            if (id >= 0) {
                used[id]++;
                look.entries++;
            }
            row_most = id > row_most ? id : row_most;
        }
        look.whole &= row_most < (int64_t) c->k;
        look.most = row_most > look.most ? row_most : look.most;
    }
    look.even = true;
    for (int64_t id = 0; id <= look.most; id++) {
        look.repeats |= used[id] > 1 && id < look.most; /* padding of an index list repeats its largest value */
        look.even &= used[id] == used[0];
    }
    return look;
}

#define LONG 16u /* entries: shorter lists are even by chance */

static void add_look(struct habits *all, const struct look *look, const struct candidate *c, double experts)
{
    /* One row of ids may be in order. */
    all->rising &= look->rising && (look->rows > 1 || c->k == 1 || look->counting);
    all->whole &= look->whole;
    all->listed &= !look->repeats;
    if (look->rows > 1) {
        double n = (double) look->rows * c->k;
        all->expected += n * (n - c->k) / 2 / experts;
    }
    if (look->entries >= 8)
        all->evenly &= look->even;
    all->long_looks |= look->entries >= LONG;
}

/* -1 apart: a column of a router's ids holds many of them. */
static bool fixed_columns(const struct view *view, const struct candidate *c)
{
    for (unsigned column = 0; column < c->k; column++) {
        int64_t first = -1;
        for (unsigned i = 0; i < view->count; i++) {
            uint64_t step = c->stride.kind ? view_word(view, &c->stride, i) : c->k;
            for (size_t row = 0; !view->other[i] && row < view_rows_shown(view, i, c->k, step); row++) {
                int64_t id = view_id(view, i, row * step + column);
                if (first >= 0 && id >= 0 && id != first)
                    return false;
                first = id >= 0 ? id : first;
            }
        }
    }
    return true;
}

const char *decoy(const struct view *view, struct candidate *c)
{
    struct habits all = {.rising = true, .whole = true, .listed = true, .evenly = true};
    double experts = (double) shape_experts(view, c);
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        struct look look = read_look(view, c, i);
        c->ties |= look.repeats;
        add_look(&all, &look, c, experts);
    }
    if (all.rising)
        return "rises from one end to the other: positions, offsets or block numbers";
    if (all.whole && c->k > 1)
        return "each row is a whole permutation: an argsort";
    if (all.listed && all.expected > 4)
        return "no id comes twice: a list of indices";
    if (all.evenly && all.long_looks)
        return "each number comes as often as any other: the rows that were sorted by expert";
    if (fixed_columns(view, c))
        return "each column holds one number";
    return NULL;
}

static bool same_content(const struct view *view, unsigned a, unsigned b)
{
    size_t n = view_changed(view, a);
    if (n != view_changed(view, b))
        return false;
    for (size_t i = 0; i < n && (i + 1) * view->width <= view->look[a]->size; i++) {
        if ((i + 1) * view->width > view->look[b]->size || view_id(view, a, i) != view_id(view, b, i))
            return false;
    }
    return true;
}

bool decoy_repeats(const struct view *view)
{
    unsigned looks = 0, different = 0;
    for (unsigned i = 0; i < view->count; i++) {
        bool again = false;
        for (unsigned j = 0; j < i && !again; j++)
            again = !view->other[j] && same_content(view, i, j);
        looks += !view->other[i];
        different += !view->other[i] && !again;
    }
    return different == 1 || (looks >= 8 && different * 2 < looks);
}

bool decoy_grows(const struct view *view, const struct candidate *c)
{
    int64_t most = -1;
    unsigned seen = 0, ours = view_ours(view), late = 0;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        int64_t here = read_look(view, c, i).most;
        late += here > most && seen++ * 2 >= ours;
        seen += here <= most;
        most = here > most ? here : most;
    }
    return late >= 3;
}
