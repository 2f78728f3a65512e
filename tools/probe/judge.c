/* SPDX-License-Identifier: Apache-2.0 */
#include "judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 512
#define FIELD_BYTES 512u /* of a by-value struct that are looked through for numbers */
#define EXPERTS_MAX 1024
#define K_MAX 32u
#define LOOKS_MAX 256

/* What one kernel wrote through one pointer. */
struct view {
    const struct evidence *evidence;
    const struct kernel *kernel;
    const struct memory *look[LOOKS_MAX];
    enum { OURS, SAMPLERS, OTHER_K } other[LOOKS_MAX]; /* launches of the same kernel for something else are left out */
    unsigned count, width;
    struct word words[WORDS_MAX];
    unsigned word_count;
};

static uint64_t bytes_at(const struct sample *sample, uint32_t offset, uint32_t size)
{
    uint64_t value = 0;
    if (offset + size <= sample->params_size && size <= sizeof value)
        memcpy(&value, sample->params + offset, size);
    return value;
}

static uint64_t value_of(const struct word *word, const struct kernel *kernel, const struct sample *sample)
{
    switch (word->kind) {
    case WORD_PARAM:
        return bytes_at(sample, kernel->param[word->index].offset, kernel->param[word->index].size);
    case WORD_FIELD:
        return bytes_at(sample, kernel->param[word->index].offset + word->offset, 4);
    case WORD_GRID:
        return sample->grid[word->index];
    case WORD_TEMPLATE:
        return strtoull(kernel->template_args[word->index], NULL, 10);
    case WORD_CONSTANT:
        return word->value;
    default:
        return 0;
    }
}

void word_text(const struct word *word, char *text, size_t size)
{
    switch (word->kind) {
    case WORD_PARAM:
        snprintf(text, size, "param %u", word->index);
        return;
    case WORD_FIELD:
        snprintf(text, size, "param %u + %u u32", word->index, word->offset);
        return;
    case WORD_GRID:
        snprintf(text, size, "grid.%c", "xyz"[word->index]);
        return;
    case WORD_TEMPLATE:
        snprintf(text, size, "template %u", word->index);
        return;
    case WORD_CONSTANT:
        snprintf(text, size, "%llu", (unsigned long long) word->value);
        return;
    default:
        snprintf(text, size, "not found");
    }
}

static const struct sample *sample_of(const struct view *view, unsigned look)
{
    return &view->evidence->samples[view->look[look]->sample];
}

static uint64_t word_at(const struct view *view, const struct word *word, unsigned look)
{
    return value_of(word, view->kernel, sample_of(view, look));
}

static void add_word(struct view *view, struct word word)
{
    if (view->word_count < WORDS_MAX)
        view->words[view->word_count++] = word;
}

/* In the order of trust: parameters, the grid, template arguments, fields of structs. */
static void find_words(struct view *view)
{
    const struct kernel *kernel = view->kernel;
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        if (kernel->param[i].size <= 8 && kernel->param[i].size != 3)
            add_word(view, (struct word){.kind = WORD_PARAM, .index = i});
    }
    for (uint32_t i = 0; i < 2; i++)
        add_word(view, (struct word){.kind = WORD_GRID, .index = i});
    for (uint32_t i = 0; i < kernel->template_count; i++) {
        if (kernel->template_args[i][0] >= '0' && kernel->template_args[i][0] <= '9')
            add_word(view, (struct word){.kind = WORD_TEMPLATE, .index = i});
    }
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        for (uint32_t at = 0; kernel->param[i].size > 8 && at + 4 <= kernel->param[i].size && at < FIELD_BYTES; at += 4)
            add_word(view, (struct word){.kind = WORD_FIELD, .index = i, .offset = at});
    }
}

static int64_t id_at(const struct view *view, unsigned look, size_t i)
{
    const uint8_t *bytes = view->look[look]->bytes;
    int64_t i64;
    int32_t i32;
    uint16_t u16;
    switch (view->width) {
    case 8:
        memcpy(&i64, bytes + i * 8, 8);
        return i64;
    case 4:
        memcpy(&i32, bytes + i * 4, 4);
        return i32;
    case 2:
        memcpy(&u16, bytes + i * 2, 2);
        return u16 == UINT16_MAX ? -1 : u16;
    default:
        return bytes[i];
    }
}

static size_t changed_ids(const struct view *view, unsigned look)
{
    return (view->look[look]->end + view->width - 1) / view->width;
}

static size_t shown_ids(const struct view *view, unsigned look)
{
    return view->look[look]->size / view->width;
}

/* Does what the launch wrote go on behind the part that was compared? */
static bool is_cut(const struct view *view, unsigned look)
{
    return view->look[look]->end + view->width > view->look[look]->room;
}

/* Rows of which something changed; those whose bytes are there. */
static size_t rows_changed(const struct view *view, unsigned look, uint64_t stride)
{
    return (changed_ids(view, look) + stride - 1) / stride;
}

static size_t rows_shown(const struct view *view, unsigned look, unsigned k, uint64_t stride)
{
    size_t rows = rows_changed(view, look, stride), shown = shown_ids(view, look);
    size_t whole = shown < k ? 0 : (shown - k) / stride + 1;
    return rows < whole ? rows : whole;
}

/* Ids of experts, each once? A row of padding is -1 all along. */
static bool row_fits(const struct view *view, unsigned look, size_t at, unsigned k)
{
    unsigned none = 0;
    for (unsigned i = 0; i < k; i++) {
        int64_t id = id_at(view, look, at + i);
        if (id < -1 || id >= EXPERTS_MAX)
            return false;
        none += id == -1;
        for (unsigned j = 0; id >= 0 && j < i; j++) {
            if (id_at(view, look, at + j) == id)
                return false;
        }
    }
    return none == 0 || none == k;
}

static bool look_fits(const struct view *view, unsigned look, unsigned k, uint64_t stride)
{
    size_t rows = rows_shown(view, look, k, stride);
    for (size_t row = 0; row < rows; row++) {
        if (!row_fits(view, look, row * stride, k))
            return false;
    }
    return rows > 0;
}

static bool all_fit(const struct view *view, unsigned k, const struct word *stride)
{
    unsigned fitting = 0;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        uint64_t step = stride ? word_at(view, stride, i) : k;
        if (step < k || !look_fits(view, i, k, step))
            return false;
        fitting++;
    }
    return fitting > 0;
}

/* Vocabularies are larger than any number of experts: such looks are a sampler's, or no ids at all. */
static unsigned mark_others(struct view *view)
{
    unsigned others = 0;
    for (unsigned i = 0; i < view->count; i++) {
        size_t n = changed_ids(view, i);
        if (n > shown_ids(view, i))
            n = shown_ids(view, i);
        /* The first row's first id is always one; further ones may be what is left behind the k of a row. */
        if (n == 0 || id_at(view, i, 0) >= EXPERTS_MAX || id_at(view, i, 0) < -1)
            view->other[i] = SAMPLERS;
        else
            view->other[i] = OURS;
        others += view->other[i] != OURS;
    }
    return others;
}

/* One kernel for router and sampler: some of a sampler's ids are small as well, but a number of the launch, that of
 * what there is to pick from, tells all of its launches apart. */
static void spread_others(struct view *view)
{
    for (unsigned w = 0; w < view->word_count; w++) {
        unsigned small = 0, large = 0, wrong = 0;
        for (unsigned i = 0; i < view->count; i++) {
            bool many = word_at(view, &view->words[w], i) > EXPERTS_MAX;
            large += many && view->other[i];
            small += !many;
            wrong += !many && view->other[i];
        }
        if (!large || !small || wrong || word_at(view, &view->words[w], 0) > UINT32_MAX)
            continue;
        for (unsigned i = 0; i < view->count; i++) {
            if (word_at(view, &view->words[w], i) > EXPERTS_MAX)
                view->other[i] = SAMPLERS;
        }
        return;
    }
}

static unsigned groups_of(const struct view *view, unsigned k, const struct word *stride)
{
    size_t groups = 0;
    for (unsigned i = 0; i < view->count; i++) {
        if (!view->other[i])
            groups += rows_shown(view, i, k, stride ? word_at(view, stride, i) : k);
    }
    return (unsigned) groups;
}

/* In most samples the last thing that changed is the end of a row. */
static bool ends_with_rows(const struct view *view, unsigned k)
{
    unsigned ends = 0, looks = 0;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i] || is_cut(view, i))
            continue;
        looks++;
        ends += changed_ids(view, i) % k == 0;
    }
    return ends * 2 >= looks;
}

static unsigned largest_id(const struct view *view, unsigned k, const struct word *stride)
{
    int64_t most = 0;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        uint64_t step = stride ? word_at(view, stride, i) : k;
        for (size_t row = 0; row < rows_shown(view, i, k, step); row++) {
            for (unsigned j = 0; j < k; j++) {
                int64_t id = id_at(view, i, row * step + j);
                most = id > most ? id : most;
            }
        }
    }
    return (unsigned) most;
}

/*
 * The largest k of which all rows are distinct; unless that is luck: had the rows been of a smaller k, then joining
 * them would have shown about this many ids twice.
 */
static unsigned find_k(const struct view *view)
{
    for (unsigned k = K_MAX; k >= 2; k--) {
        if (!ends_with_rows(view, k) || !all_fit(view, k, NULL))
            continue;
        unsigned smaller = 1;
        for (unsigned d = 2; d < k; d++) {
            if (k % d == 0 && ends_with_rows(view, d))
                smaller = d;
        }
        double expected = (double) groups_of(view, k, NULL) * k * (k - smaller) / 2 / (largest_id(view, k, NULL) + 1);
        bool alone = true; /* nothing ends in the midst: no sign of smaller rows */
        for (unsigned i = 0; i < view->count; i++)
            alone &= view->other[i] || changed_ids(view, i) % k == 0;
        if (expected > 3 || (alone && expected > 1))
            return k;
    }
    return 1;
}

/*
 * One kernel for several k, as the stages of grouped routing are: a number of the launch is the k of each, where one k
 * for all would be a smaller one. The largest is the router's; the other launches are left out.
 */
static bool find_several_k(struct view *view, unsigned for_all, struct word *k_word)
{
    for (unsigned w = 0; w < view->word_count; w++) {
        const struct word *word = &view->words[w];
        double expected = 0;
        uint64_t most = 0, least = UINT64_MAX;
        unsigned looks = 0, ends = 0;
        bool good = true;
        for (unsigned i = 0; good && i < view->count; i++) {
            if (view->other[i])
                continue;
            uint64_t k = word_at(view, word, i);
            good = k >= 1 && k <= K_MAX && look_fits(view, i, (unsigned) k, k);
            if (!good)
                break;
            int64_t largest = 1;
            for (size_t n = 0; n < rows_shown(view, i, (unsigned) k, k) * k; n++)
                largest = id_at(view, i, n) > largest ? id_at(view, i, n) : largest;
            if (k > for_all)
                expected += (double) rows_shown(view, i, (unsigned) k, k) * (double) (k * (k - for_all)) / 2 /
                            (double) (largest + 1);
            looks++;
            ends += changed_ids(view, i) % k == 0;
            most = k > most ? k : most;
            least = k < least ? k : least;
        }
        if (!good || most <= least || expected < 8 || ends * 5 < looks * 4)
            continue;
        for (unsigned i = 0; i < view->count; i++) {
            if (!view->other[i] && word_at(view, word, i) != most)
                view->other[i] = OTHER_K;
        }
        *k_word = *word;
        return true;
    }
    return false;
}

/* The same number in every sample that counts? */
static bool constant_word(const struct view *view, const struct word *word, uint64_t *value)
{
    bool first = true;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        uint64_t v = word_at(view, word, i);
        if (!first && v != *value)
            return false;
        *value = v;
        first = false;
    }
    return !first;
}

static struct word find_value(const struct view *view, uint64_t wanted)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < view->word_count; i++) {
        if (constant_word(view, &view->words[i], &value) && value == wanted)
            return view->words[i];
    }
    return (struct word){.kind = WORD_CONSTANT, .value = wanted};
}

static bool same_word(const struct word *a, const struct word *b)
{
    return a->kind == b->kind && a->index == b->index && a->offset == b->offset && a->value == b->value;
}

/* Rows further apart than k: a stride that stands in the launch, and a last change that always ends k ids behind it. */
static bool find_stride(struct view *view, struct candidate *c)
{
    for (unsigned w = 0; w < view->word_count; w++) {
        const struct word *stride = &view->words[w];
        size_t k = 0;
        bool good = true;
        unsigned several = 0;
        for (unsigned i = 0; good && i < view->count; i++) {
            if (view->other[i])
                continue;
            uint64_t step = word_at(view, stride, i);
            good = step >= 2 && step <= 4096;
            size_t part = good ? (changed_ids(view, i) - 1) % step + 1 : 0;
            k = part > k ? part : k;
            several += good && changed_ids(view, i) > step;
        }
        uint64_t value = 0;
        if (!good || !several || k < 2 || k > K_MAX || (constant_word(view, stride, &value) && value == k) ||
            !all_fit(view, (unsigned) k, stride))
            continue;
        c->k = (unsigned) k;
        c->stride = *stride;
        return true;
    }
    return false;
}

struct rows_fit {
    unsigned exact, looks;
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
        uint64_t rows = word_at(view, a, i), by = b ? word_at(view, b, i) : 1;
        uint64_t step = c->stride.kind ? word_at(view, &c->stride, i) : c->k;
        if (!by || rows % by || !rows || rows > INT32_MAX)
            return false;
        rows /= by;
        size_t changed = rows_changed(view, i, step);
        if (rows < changed)
            return false;
        bool there = ((rows - 1) * step + c->k) * view->width <= view->look[i]->room;
        fit->looks++;
        fit->exact += is_cut(view, i) || (there && rows == changed);
        fit->least = rows < fit->least ? rows : fit->least;
        fit->most = rows > fit->most ? rows : fit->most;
    }
    return fit->looks && fit->exact * 5 >= fit->looks * 4;
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
}

static void find_rows(const struct view *view, struct candidate *c)
{
    struct rows_fit fit;
    const struct word k = {.kind = WORD_CONSTANT, .value = c->k};
    for (unsigned i = 0; i < view->word_count; i++) {
        if (rows_fit(view, c, &view->words[i], NULL, &fit))
            take_rows(c, &view->words[i], NULL, &fit);
    }
    for (unsigned i = 0; !c->rows.kind && i < view->word_count; i++) {
        if (c->k > 1 && rows_fit(view, c, &view->words[i], &k, &fit))
            take_rows(c, &view->words[i], c->k_word.kind == WORD_CONSTANT ? &k : &c->k_word, &fit);
    }
    for (unsigned i = 0; !c->rows.kind && i < view->word_count; i++) {
        for (unsigned j = 0; j < view->word_count; j++) {
            uint64_t by = 0;
            if (i != j && constant_word(view, &view->words[j], &by) && by > 1 && by <= EXPERTS_MAX &&
                rows_fit(view, c, &view->words[i], &view->words[j], &fit))
                take_rows(c, &view->words[i], &view->words[j], &fit);
        }
    }
}

/* The smallest number of the launch that is above all ids; where a sampler uses the kernel, it tells them apart. */
static bool find_experts(const struct view *view, struct candidate *c)
{
    uint64_t best = EXPERTS_MAX + 1, value = 0;
    for (unsigned i = 0; i < view->word_count; i++) {
        const struct word *word = &view->words[i];
        if (!constant_word(view, word, &value) || value < c->experts_seen || value > EXPERTS_MAX || value < 2 ||
            value <= c->k || same_word(word, &c->rows) || value >= best)
            continue;
        bool apart = true;
        for (unsigned n = 0; n < view->count; n++)
            apart &= view->other[n] != SAMPLERS || word_at(view, word, n) > EXPERTS_MAX;
        if (!apart)
            continue;
        best = value;
        c->experts = *word;
    }
    return c->experts.kind != WORD_NONE;
}

static uint64_t experts_of(const struct view *view, const struct candidate *c)
{
    uint64_t value = 0;
    return c->experts.kind && constant_word(view, &c->experts, &value) ? value : c->experts_seen;
}

/* What else is small and different: sequences, permutations, lists of indices. NULL: none of these. */
static const char *decoy(const struct view *view, struct candidate *c)
{
    bool rising = true, counting = true, whole = true, listed = true;
    double expected = 0;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        uint64_t step = c->stride.kind ? word_at(view, &c->stride, i) : c->k;
        size_t rows = rows_shown(view, i, c->k, step);
        unsigned used[EXPERTS_MAX] = {0};
        int64_t before = -2, most = 0;
        bool several = rows > 1;
        for (size_t row = 0; row < rows; row++) {
            int64_t row_most = 0;
            for (unsigned j = 0; j < c->k; j++) {
                int64_t id = id_at(view, i, row * step + j);
                rising &= id >= before;
                counting &= before == -2 || id == before + 1;
                before = id;
                if (id >= 0)
                    used[id]++;
                row_most = id > row_most ? id : row_most;
            }
            whole &= row_most < (int64_t) c->k;
            most = row_most > most ? row_most : most;
        }
        if (!several && c->k > 1)
            rising = rising && counting; /* one row of ids may be in order */
        /* Padding of an index list repeats its largest value. */
        bool repeats = false;
        for (int64_t id = 0; id < most; id++)
            repeats |= used[id] > 1;
        c->ties |= repeats;
        listed &= !repeats;
        double n = (double) rows * c->k;
        expected += rows > 1 ? n * (n - c->k) / 2 / (double) experts_of(view, c) : 0;
    }
    if (rising)
        return "rises from one end to the other: positions, offsets or block numbers";
    if (whole && c->k > 1)
        return "each row is a whole permutation: an argsort";
    if (listed && expected > 4)
        return "no id comes twice: a list of indices";
    return NULL;
}

static bool same_ids_always(const struct view *view, const struct candidate *c)
{
    long first = -1;
    for (unsigned i = 0; i < view->count; i++) {
        if (view->other[i])
            continue;
        if (first < 0)
            first = (long) i;
        for (unsigned j = 0; j < c->k; j++) {
            if (id_at(view, i, j) != id_at(view, (unsigned) first, j))
                return false;
        }
    }
    return true;
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

static void grade(const struct view *view, struct candidate *c)
{
    uint64_t experts = experts_of(view, c);
    bool varied = c->rows_most > c->rows_least;
    if (!c->rows.kind)
        lack(c, 3, "nothing in the launch says how many rows there are");
    else if (!varied)
        lack(c, 1, "always %u row%s", c->rows_most, c->rows_most == 1 ? "" : "s");
    if (!varied && c->rows_choices > 1)
        lack(c, 1, "%u numbers of the launch could be the rows", c->rows_choices);
    if (c->layers < 2)
        lack(c, 2, "not seen to come once for each of several layers");
    if (!c->experts.kind)
        lack(c, 1, "nothing in the launch says how many experts there are; ids up to %u", c->experts_seen - 1);
    else if (c->experts_seen * 10 < experts * 9)
        lack(c, 1, "only ids up to %u", c->experts_seen - 1);
    if (c->samples < 4 || c->groups < 16)
        lack(c, 1, "only %u rows in %u samples", c->groups, c->samples);
    if (!c->ties && c->rows_most > 1)
        lack(c, 1, "no expert was seen in two rows of a launch");
    if (!c->changes)
        lack(c, 2, "the same ids in every sample");
    if (c->k == 1)
        lack(c, 2, "k is 1: nothing is to be distinct");
    if (view->width < 4 && !c->experts.kind)
        lack(c, 1, "narrow ids");
    c->confidence = c->lacks == 0 ? CERTAIN : c->lacks <= 2 ? LIKELY : POSSIBLE;
    c->score = (uint64_t) c->confidence * 1000 + (100 - c->lacks * 5);
}

static void count_layers(const struct view *view, struct candidate *c)
{
    for (unsigned i = 0; i < view->count; i++) {
        int layers = sample_of(view, i)->layers;
        if (!view->other[i] && layers > (int) c->layers)
            c->layers = (unsigned) layers;
    }
}

/* False: no ids at all. A candidate with `why` and REJECTED: ids of a kind, but not a router's. */
static bool judge_width(struct view *view, struct candidate *c)
{
    unsigned others = mark_others(view);
    if (others == view->count)
        return false;
    if (others) {
        spread_others(view);
        others = 0;
        for (unsigned i = 0; i < view->count; i++)
            others += view->other[i] != OURS;
    }
    c->width = view->width;
    c->shared = others > 0;
    c->k = find_k(view);
    if (find_several_k(view, c->k, &c->k_word)) {
        c->k = find_k(view);
        others = 0;
        for (unsigned i = 0; i < view->count; i++)
            others += view->other[i] != OURS;
    }
    if (c->k == 1 && !find_stride(view, c) && (view->width < 4 || !all_fit(view, 1, NULL)))
        return false;
    const struct word *stride = c->stride.kind ? &c->stride : NULL;
    c->experts_seen = largest_id(view, c->k, stride) + 1;
    if (c->experts_seen < 2)
        return false;
    uint64_t of_word = 0;
    if (!c->k_word.kind || !constant_word(view, &c->k_word, &of_word) || of_word != c->k)
        c->k_word = c->k == 1 ? (struct word){.kind = WORD_CONSTANT, .value = 1} : find_value(view, c->k);
    c->groups = groups_of(view, c->k, stride);
    c->samples = view->count - others;
    find_rows(view, c);
    if (!find_experts(view, c) && c->shared)
        return false;
    count_layers(view, c);
    c->changes = !same_ids_always(view, c);
    const char *why = decoy(view, c);
    if (why) {
        snprintf(c->why, sizeof c->why, "%s", why);
        return true;
    }
    grade(view, c);
    if (c->samples < 3 || c->groups < 4)
        return false; /* too little to say anything */
    /* Any index is a list of distinct groups of one. */
    if (c->k == 1 && (c->layers < 2 || !c->experts.kind || c->rows_most <= c->rows_least))
        return false;
    return true;
}

static bool judge_pointer(const struct evidence *evidence, const struct kernel *kernel, uint32_t offset,
                          struct candidate *c)
{
    static const unsigned widths[] = {8, 4, 2, 1};
    struct view *view = calloc(1, sizeof *view);
    if (!view)
        return false;
    view->evidence = evidence;
    view->kernel = kernel;
    for (size_t i = 0; i < evidence->memory_count && view->count < LOOKS_MAX; i++) {
        const struct memory *memory = &evidence->memories[i];
        if (memory->offset == offset && &evidence->kernels[evidence->samples[memory->sample].kernel] == kernel)
            view->look[view->count++] = memory;
    }
    find_words(view);
    bool found = false;
    for (size_t w = 0; w < 4 && !found; w++) {
        view->width = widths[w];
        *c = (struct candidate){.kernel = kernel, .final_of = -1};
        found = judge_width(view, c);
    }
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        if (offset >= kernel->param[i].offset && offset < kernel->param[i].offset + kernel->param[i].size) {
            c->param = i;
            c->offset = offset - kernel->param[i].offset;
        }
    }
    free(view);
    return found;
}

static const struct memory *memory_in(const struct evidence *evidence, const struct candidate *c, size_t sample)
{
    uint32_t offset = c->kernel->param[c->param].offset + c->offset;
    for (size_t i = 0; i < evidence->memory_count; i++) {
        if (evidence->memories[i].sample == sample && evidence->memories[i].offset == offset)
            return &evidence->memories[i];
    }
    return NULL;
}

static int64_t first_ids(const struct candidate *c, const struct memory *memory, unsigned i)
{
    int64_t i64 = -2;
    if ((i + 1) * c->width <= memory->size) {
        i64 = 0;
        memcpy(&i64, memory->bytes + i * c->width, c->width);
    }
    return i64;
}

/* The first row holds the same ids, in any order. */
static bool same_row(const struct candidate *a, const struct memory *in_a, const struct candidate *b,
                     const struct memory *in_b)
{
    for (unsigned i = 0; i < a->k; i++) {
        bool found = false;
        for (unsigned j = 0; j < b->k && !found; j++)
            found = first_ids(a, in_a, i) == first_ids(b, in_b, j);
        if (!found)
            return false;
    }
    return true;
}

/* Does `b` hold what `a` had written shortly before: a copy, or the same memory in another order? */
static bool derived(const struct evidence *evidence, const struct candidate *a, const struct candidate *b,
                    bool *in_place)
{
    unsigned pairs = 0, same = 0, places = 0;
    if (a->kernel->process != b->kernel->process || a->k != b->k)
        return false;
    for (size_t s = 0; s < evidence->sample_count; s++) {
        const struct memory *in_b =
            &evidence->kernels[evidence->samples[s].kernel] == b->kernel ? memory_in(evidence, b, s) : NULL;
        for (size_t back = 1; in_b && back <= 24 && back <= s; back++) {
            const struct sample *earlier = &evidence->samples[s - back];
            const struct memory *in_a =
                &evidence->kernels[earlier->kernel] == a->kernel ? memory_in(evidence, a, s - back) : NULL;
            if (!in_a)
                continue;
            pairs++;
            same += same_row(a, in_a, b, in_b);
            places += in_a->address == in_b->address;
            break;
        }
    }
    *in_place = places * 2 > pairs && a->width == b->width;
    return pairs >= 2 && same * 10 >= pairs * 7;
}

static void find_derived(const struct evidence *evidence, struct verdict *verdict)
{
    for (size_t b = 0; b < verdict->count; b++) {
        for (size_t a = 0; a < verdict->count; a++) {
            struct candidate *from = &verdict->all[a], *to = &verdict->all[b];
            bool in_place = false;
            if (a == b || from->kernel == to->kernel || from->final_of >= 0 || from->confidence == REJECTED ||
                to->confidence == REJECTED || !derived(evidence, from, to, &in_place))
                continue;
            snprintf(to->why, sizeof to->why,
                     in_place ? "puts the ids of %s into another order" : "a copy of what %s wrote",
                     from->kernel->base);
            to->confidence = REJECTED;
            to->score = 0;
            if (in_place) {
                to->final_of = (long) a;
                from->final = b + 1;
            }
            break;
        }
    }
}

bool judge(const struct evidence *evidence, struct verdict *verdict)
{
    *verdict = (struct verdict){0};
    for (size_t k = 0; k < evidence->kernel_count; k++) {
        uint32_t done[64];
        unsigned done_count = 0;
        for (size_t m = 0; m < evidence->memory_count; m++) {
            const struct memory *memory = &evidence->memories[m];
            if (evidence->samples[memory->sample].kernel != k)
                continue;
            bool known = done_count == 64;
            for (unsigned i = 0; i < done_count; i++)
                known |= done[i] == memory->offset;
            if (known)
                continue;
            done[done_count++] = memory->offset;
            struct candidate *more = realloc(verdict->all, (verdict->count + 1) * sizeof *more);
            if (!more)
                return false;
            verdict->all = more;
            if (judge_pointer(evidence, &evidence->kernels[k], memory->offset, &more[verdict->count]))
                verdict->count++;
        }
    }
    find_derived(evidence, verdict);
    return true;
}
