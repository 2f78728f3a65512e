/* SPDX-License-Identifier: Apache-2.0 */
#include "view.h"

#include "../../shim/probe/common.h"

bool view_open(struct view *view, const struct evidence *evidence, const struct kernel *kernel, uint32_t offset)
{
    view->evidence = evidence;
    view->kernel = kernel;
    view->count = 0;
    for (size_t i = 0; i < evidence->memory_count && view->count < LOOKS_MAX; i++) {
        const struct memory *memory = &evidence->memories[i];
        if (memory->offset == offset && &evidence->kernels[evidence->samples[memory->sample].kernel] == kernel)
            view->look[view->count++] = memory;
    }
    words_find(kernel, &view->words);
    return view->count > 0;
}

const struct sample *view_sample(const struct view *view, unsigned look)
{
    return &view->evidence->samples[view->look[look]->sample];
}

uint64_t view_word(const struct view *view, const struct word *word, unsigned look)
{
    return word_value(word, view->kernel, view_sample(view, look));
}

int64_t view_id(const struct view *view, unsigned look, size_t i)
{
    return mt_small_int(view->look[look]->bytes, view->width, i);
}

unsigned view_ours(const struct view *view)
{
    unsigned ours = 0;
    for (unsigned i = 0; i < view->count; i++)
        ours += view->other[i] == OURS;
    return ours;
}

size_t view_changed(const struct view *view, unsigned look)
{
    return (view->look[look]->end + view->width - 1) / view->width;
}

static size_t shown_ids(const struct view *view, unsigned look)
{
    return view->look[look]->size / view->width;
}

bool view_is_cut(const struct view *view, unsigned look)
{
    /* The last ids of the window may be what they were before. */
    return view->look[look]->room == MT_PROBE_WINDOW && view->look[look]->end + K_MAX * view->width > MT_PROBE_WINDOW;
}

size_t view_rows_changed(const struct view *view, unsigned look, uint64_t stride)
{
    return (view_changed(view, look) + stride - 1) / stride;
}

size_t view_rows_shown(const struct view *view, unsigned look, unsigned k, uint64_t stride)
{
    size_t rows = view_rows_changed(view, look, stride), shown = shown_ids(view, look);
    size_t whole = shown < k ? 0 : (shown - k) / stride + 1;
    return rows < whole ? rows : whole;
}

unsigned view_rows(const struct view *view, unsigned k, const struct word *stride)
{
    size_t rows = 0;
    for (unsigned i = 0; i < view->count; i++) {
        if (!view->other[i])
            rows += view_rows_shown(view, i, k, stride ? view_word(view, stride, i) : k);
    }
    return (unsigned) rows;
}

/* Any id beyond those of experts? What is left behind the k of a row counts as well. */
static bool holds_large(const struct view *view, unsigned look)
{
    size_t n = view_changed(view, look) < shown_ids(view, look) ? view_changed(view, look) : shown_ids(view, look);
    bool large = n == 0;
    for (size_t i = 0; i < n && !large; i++)
        large = view_id(view, look, i) >= EXPERTS_MAX || view_id(view, look, i) < -1;
    return large;
}

/* One kernel for router and sampler. Some of a sampler's ids are small as well, but a number of the launch, that of
 * what there is to pick from, tells all of its launches apart. */
static void mark_by_word(struct view *view)
{
    for (unsigned w = 0; w < view->words.count; w++) {
        const struct word *word = &view->words.all[w];
        unsigned small = 0, large = 0, wrong = 0;
        for (unsigned i = 0; i < view->count; i++) {
            bool many = view_word(view, word, i) > EXPERTS_MAX, any = holds_large(view, i);
            large += many && any;
            small += !many;
            wrong += !many && any;
        }
        if (!large || !small || wrong || view_word(view, word, 0) > UINT32_MAX)
            continue;
        for (unsigned i = 0; i < view->count; i++)
            view->other[i] = view_word(view, word, i) > EXPERTS_MAX ? SAMPLERS : OURS;
        return;
    }
}

/* Vocabularies are larger than any number of experts. */
unsigned view_mark_samplers(struct view *view)
{
    for (unsigned i = 0; i < view->count; i++) {
        /* The first id of a row is always one. */
        bool any = view_changed(view, i) && shown_ids(view, i);
        view->other[i] = !any || view_id(view, i, 0) >= EXPERTS_MAX || view_id(view, i, 0) < -1 ? SAMPLERS : OURS;
    }
    mark_by_word(view);
    return view_ours(view);
}

bool row_fits(const void *ids, unsigned width, size_t at, unsigned k)
{
    for (unsigned i = 0; i < k; i++) {
        int64_t id = mt_small_int(ids, width, at + i);
        if (id < -1 || id >= EXPERTS_MAX)
            return false;
        for (unsigned j = 0; id >= 0 && j < i; j++) {
            if (mt_small_int(ids, width, at + j) == id)
                return false;
        }
    }
    return true;
}

bool view_look_fits(const struct view *view, unsigned look, unsigned k, uint64_t stride)
{
    size_t rows = view_rows_shown(view, look, k, stride);
    for (size_t row = 0; row < rows; row++) {
        if (!row_fits(view->look[look]->bytes, view->width, row * stride, k))
            return false;
    }
    return rows > 0;
}

bool view_all_fit(const struct view *view, unsigned k, const struct word *stride)
{
    unsigned fitting = 0;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        uint64_t step = stride ? view_word(view, stride, i) : k;
        if (step < k || !view_look_fits(view, i, k, step))
            return false;
        fitting++;
    }
    return fitting > 0;
}

double view_real_part(const struct view *view)
{
    double real = 0, all = 0;
    for (unsigned i = 0; i < view->count; i++) {
        size_t n = view_changed(view, i) < shown_ids(view, i) ? view_changed(view, i) : shown_ids(view, i);
        for (size_t at = 0; !view->other[i] && at < n; at++) {
            real += view_id(view, i, at) >= 0;
            all++;
        }
    }
    return all > 0 ? real / all : 0;
}

/* The largest id of a column; `same`: it holds no other one. */
static int64_t largest_of_column(const struct view *view, unsigned k, const struct word *stride, unsigned column,
                                 bool *same)
{
    int64_t most = -1, first = -2;
    *same = true;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        uint64_t step = stride ? view_word(view, stride, i) : k;
        for (size_t row = 0; row < view_rows_shown(view, i, k, step); row++) {
            int64_t id = view_id(view, i, row * step + column);
            *same &= first == -2 || id == first;
            first = id;
            most = id > most ? id : most;
        }
    }
    return most;
}

unsigned view_largest_id(const struct view *view, unsigned k, const struct word *stride)
{
    int64_t most = 0, fixed = 0;
    unsigned varying = 0;
    for (unsigned column = 0; column < k; column++) {
        bool same;
        int64_t id = largest_of_column(view, k, stride, column, &same);
        if (same) {
            fixed = id > fixed ? id : fixed;
        } else {
            most = id > most ? id : most;
            varying++;
        }
    }
    return (unsigned) (varying && varying * 2 >= k ? most : fixed > most ? fixed : most);
}

bool view_constant(const struct view *view, const struct word *word, uint64_t *value)
{
    bool first = true;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        uint64_t v = view_word(view, word, i);
        if (!first && v != *value)
            return false;
        *value = v;
        first = false;
    }
    return !first;
}
