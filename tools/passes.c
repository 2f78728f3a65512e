/* SPDX-License-Identifier: Apache-2.0 */
#include "passes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KINDS 12u       /* enum mt_site_kind */
#define LISTS_MAX 65536 /* sequences */
#define WINDOW 128u     /* numbers of row context that are remembered: a pass takes a few of them */

/* One number of row context: its record, if it came, and who routed right behind it. */
struct context {
    uint64_t number;  /* 0: nothing here yet */
    bool seen, taken; /* its record came; a pass took it */
    bool foreign;     /* slots of another space: as if it were not there */
    bool graph;       /* of its site, as is its stream */
    uint64_t kernel;  /* a hash of its name */
    uint8_t kind;
    uint32_t site, stream, rows;
    uint32_t ran; /* of a planner's slots: rows of those that a kernel then used, with padding */
    size_t room;  /* values that fit */
    int32_t *values;
    bool routed;    /* routers with exactly this number came: what lies before it is an earlier pass's */
    uint32_t lane;  /* of the first of them */
    bool ambiguous; /* routers of several streams did: whose rows these are nothing tells */
    bool used;      /* that lane's pass was handed out or given up */
};

/*
 * Sites that run together count together. step - base is the number of the pass within a class of sites; a loss leaves
 * it right.
 */
struct counted {
    uint32_t lane; /* index + 1 of the one that takes its records, 0: none yet */
    struct mt_site site;
    uint32_t class; /* 0: not known yet */
    uint64_t base;
    uint32_t taken, left; /* row context: how often a pass took it, or none came behind it */
};

struct layer {
    struct pass_layer shown;
    size_t ids_at;
    bool weighted;
};

/* The pass that is under way on one stream for one model. */
struct lane {
    uint32_t stream;
    bool open, shares; /* shares: context is there, but not for this pass */
    uint64_t context, first_seq, time_ns;
    uint64_t lost;        /* at its latest record */
    uint64_t lost_before; /* at the latest record of the pass before */
    bool ran, first;      /* there was a pass before; this is the first */
    uint32_t flags, class;
    uint64_t count, step; /* in its class; of its first record */
    struct layer *layers;
    uint32_t layer_count, layer_room;
    int32_t *ids;
    float *weights; /* as many, NULL before the first record that has some */
    size_t id_count, id_room, weight_room;
};

struct passes {
    pass_take *take;
    void *user;
    struct context contexts[WINDOW];
    struct lane *lanes;
    uint32_t lane_count;
    struct counted *sites;
    uint32_t site_count;
    uint32_t classes;
    uint64_t lost;    /* told so far */
    uint64_t context; /* looked at so far */
    bool slots_seen;  /* of passes with routers */
    bool has_group;   /* of the KV cache: */
    uint32_t group;   /* the first one that had slots */
    bool has_home;    /* the slot space: */
    uint32_t home;    /* its first site */
    char home_recipe[64];
    uint64_t home_kernel;
    uint64_t planner; /* the kernel that shows a pass's sequences, as a hash of its name */
    struct pass_layer *shown;
    uint32_t shown_room;
    int32_t *lists; /* starts, and blocks of one slot behind them, of kv_indices */
    size_t list_room;
};

struct passes *passes_new(pass_take *take, void *user)
{
    struct passes *passes = calloc(1, sizeof *passes);
    if (passes) {
        passes->take = take;
        passes->user = user;
    }
    return passes;
}

void passes_free(struct passes *passes)
{
    if (!passes)
        return;
    for (uint32_t i = 0; i < WINDOW; i++)
        free(passes->contexts[i].values);
    for (uint32_t i = 0; i < passes->lane_count; i++) {
        free(passes->lanes[i].layers);
        free(passes->lanes[i].ids);
        free(passes->lanes[i].weights);
    }
    free(passes->lanes);
    free(passes->sites);
    free(passes->shown);
    free(passes->lists);
    free(passes);
}

/* The place of a number; NULL if it has been forgotten. */
static struct context *context_at(struct passes *passes, uint64_t number)
{
    struct context *context = &passes->contexts[number % WINDOW];
    if (context->number > number)
        return NULL;
    if (context->number < number) {
        int32_t *values = context->values;
        size_t room = context->room;
        *context = (struct context){.number = number, .values = values, .room = room};
    }
    return context;
}

static int know_site(struct passes *passes, uint32_t site)
{
    if (site < passes->site_count)
        return 0;
    uint32_t count = site + 16 > site ? site + 16 : UINT32_MAX;
    struct counted *sites = realloc(passes->sites, count * sizeof *sites);
    if (!sites)
        return -ENOMEM;
    memset(sites + passes->site_count, 0, (count - passes->site_count) * sizeof *sites);
    passes->sites = sites;
    passes->site_count = count;
    return 0;
}

static uint64_t hash_of(const char *text, size_t size)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < size && text[i]; i++)
        hash = (hash ^ (unsigned char) text[i]) * 1099511628211u;
    return hash | 1;
}

void passes_know_slots(struct passes *passes, uint32_t index, const struct mt_site *site)
{
    if (site->kind != MT_SITE_SLOTS || (passes->has_home && passes->home <= index))
        return;
    passes->has_home = true;
    passes->home = index;
    memcpy(passes->home_recipe, site->recipe, sizeof passes->home_recipe);
    passes->home_kernel = hash_of(site->kernel, sizeof site->kernel);
}

/* The number that ties, of those that a record was given: slots of another space come in the midst of a pass. */
static uint64_t tying(struct passes *passes, uint64_t number)
{
    while (number > 0) {
        const struct context *context = &passes->contexts[number % WINDOW];
        if (context->number != number || !context->foreign)
            break;
        number--;
    }
    return number;
}

/* One kernel makes a pass's slots and another uses them: the same slots twice, but for rows of padding. */
static bool same_slots(const struct context *a, const struct context *b)
{
    const struct context *more = a->rows > b->rows ? a : b, *less = a->rows > b->rows ? b : a;
    if (memcmp(a->values, b->values, less->rows * sizeof *a->values) != 0)
        return false;
    for (uint32_t i = less->rows; i < more->rows; i++) {
        if (more->values[i] >= 0)
            return false;
    }
    return true;
}

/*
 * Slots by another recipe than the first one's are of a second kind of cache, which has slots of its own, unless both
 * read the same kernel. But where a kernel makes the slots of a pass and shows its sequences, that is all that is
 * needed: those that use them afterwards, in the midst of the pass, for each of its groups, only tell how many rows the
 * model ran.
 */
static bool of_another_space(struct passes *passes, const struct mt_site *site, const struct context *context)
{
    if (site->kind != MT_SITE_SLOTS)
        return false;
    if (!passes->planner)
        return strncmp(passes->home_recipe, site->recipe, sizeof passes->home_recipe) != 0 &&
               (!site->kernel[0] || context->kernel != passes->home_kernel);
    if (context->kernel == passes->planner)
        return false;
    for (uint64_t n = context->number - 1; n > 0 && context->number - n < WINDOW; n--) {
        struct context *made = &passes->contexts[n % WINDOW];
        if (made->number != n || !made->seen || made->routed)
            break;
        if (made->kind == MT_SITE_SLOTS && made->kernel == passes->planner && same_slots(made, context))
            made->ran = context->rows;
    }
    return true;
}

/* A kernel shows a pass's sequences for the first time: the slots that it showed just before are its pass's, too. */
static void find_planner(struct passes *passes, const struct context *starts)
{
    passes->planner = starts->kernel;
    for (uint64_t n = starts->number - 1; n > 0 && starts->number - n < WINDOW; n--) {
        struct context *context = &passes->contexts[n % WINDOW];
        if (context->number != n || !context->seen || context->kernel != starts->kernel)
            return;
        context->foreign = false;
    }
}

/* Room for what is made of kv_indices. */
static int know_lists(struct passes *passes, int32_t sequences, uint32_t words)
{
    const size_t room = (sequences > 0 && sequences <= LISTS_MAX ? (size_t) sequences : 0) + 1 + words;
    if (room <= passes->list_room)
        return 0;
    int32_t *lists = realloc(passes->lists, room * 2 * sizeof *lists);
    if (!lists)
        return -ENOMEM;
    passes->lists = lists;
    passes->list_room = room * 2;
    return 0;
}

static int take_context(struct passes *passes, const struct mt_site *site, const struct mt_record *record,
                        const void *ids)
{
    struct context *context = record->context ? context_at(passes, record->context) : NULL;
    if (!context || record->k != 1)
        return 0;
    if (know_site(passes, record->site) != 0)
        return -ENOMEM;
    if (record->rows > context->room) {
        int32_t *values = realloc(context->values, record->rows * sizeof *values);
        if (!values)
            return -ENOMEM;
        context->values = values;
        context->room = record->rows;
    }
    for (uint32_t i = 0; i < record->rows; i++)
        context->values[i] = mt_decode_id(ids, record->width, i);
    if (site->kind == MT_SITE_KV_INDICES && record->rows && know_lists(passes, context->values[0], record->rows) != 0)
        return -ENOMEM;
    passes_know_slots(passes, record->site, site);
    context->seen = true;
    context->site = record->site;
    context->kind = site->kind;
    context->stream = site->stream;
    context->graph = site->flags & MT_SITE_GRAPH;
    context->rows = context->ran = record->rows;
    context->kernel = hash_of(site->kernel, sizeof site->kernel);
    context->foreign = of_another_space(passes, site, context);
    if (context->kind == MT_SITE_STARTS && !passes->planner)
        find_planner(passes, context);
    return 0;
}

static bool all_rows(const struct lane *lane, uint32_t rows)
{
    for (uint32_t i = 0; i < lane->layer_count; i++) {
        if (lane->layers[i].shown.rows != rows)
            return false;
    }
    return true;
}

/* The one ahead of `number` that came behind the pass before, as far back as no number is missing. */
static struct context *one_ahead(struct passes *passes, const struct lane *lane, uint64_t number)
{
    struct context *context = &passes->contexts[number % WINDOW];
    bool there = number > 0 && lane->context - number < WINDOW && context->number == number && context->seen &&
                 (!context->routed || number == lane->context);
    return there ? context : NULL;
}

/*
 * Of two streams that run at once each has row context of its own, in one row of numbers. A stream that has none takes
 * another's: engines route on a side stream, or in a graph and give slots outside of it.
 */
static bool has_own_context(const struct passes *passes, const struct lane *lane)
{
    for (uint64_t n = 0; n < WINDOW; n++) {
        const struct context *context = &passes->contexts[n];
        if (context->seen && context->stream == lane->stream && context->graph == !!(lane->flags & MT_SITE_GRAPH))
            return true;
    }
    return false;
}

static bool is_anothers(const struct lane *lane, const struct context *context, bool own_stream)
{
    return context->foreign ||
           (own_stream && context->graph == !!(lane->flags & MT_SITE_GRAPH) && context->stream != lane->stream);
}

/* Layers that keep a state instead of rows have a group, too, all of whose slots are -1. */
static const int32_t *slots_of(struct passes *passes, const struct pass *pass)
{
    for (uint32_t i = 0; i < pass->group_count && !passes->has_group; i++) {
        for (uint32_t row = 0; row < pass->rows && !passes->has_group; row++)
            passes->has_group = pass->groups[i].slots[row] >= 0;
        passes->group = passes->has_group ? i : 0;
    }
    return passes->group < pass->group_count ? pass->groups[passes->group].slots : NULL;
}

static void show(struct passes *passes, struct pass *pass, struct context *const *of_kind)
{
    if (of_kind[MT_SITE_SLOTS] && !pass->group_count)
        pass->groups[pass->group_count++].slots = of_kind[MT_SITE_SLOTS]->values;
    pass->slots = slots_of(passes, pass);
    pass->positions = of_kind[MT_SITE_POSITIONS] ? of_kind[MT_SITE_POSITIONS]->values : NULL;
    pass->tokens = of_kind[MT_SITE_TOKENS] ? of_kind[MT_SITE_TOKENS]->values : NULL;
}

static uint64_t address(const int32_t *halves)
{
    return (uint32_t) halves[0] | (uint64_t) (uint32_t) halves[1] << 32;
}

/* A batch that has the pass's rows, and its cache. */
static void show_batch(struct pass *pass, struct context *const *of_kind)
{
    const struct context *batch = of_kind[MT_SITE_BATCH], *cache = of_kind[MT_SITE_CACHE];
    if (!batch || batch->rows != 2 || batch->values[0] < 1 || batch->values[1] < 1 ||
        (uint64_t) batch->values[0] * (uint64_t) batch->values[1] != pass->rows)
        return;
    pass->batch = (uint32_t) batch->values[0];
    if (!cache || cache->rows != 4 || cache->number < batch->number)
        return;
    pass->cache_before = address(cache->values);
    pass->cache_after = address(cache->values + 2);
    if (!(pass->cache_before & 1))
        return;
    const struct context *order = of_kind[MT_SITE_ORDER];
    const bool told = order && order->rows == pass->batch && order->number < batch->number;
    pass->order = told ? order->values : NULL;
    pass->cache_before = told ? pass->cache_before - 1 : 0;
}

static void leave_unplaced(struct pass *pass, const int32_t *slots, uint32_t rows)
{
    pass->unplaced = slots;
    pass->unplaced_rows = rows;
}

/* Rows that a pass's sequences have, 0 if they make no sense. */
static uint32_t sequence_rows(const struct context *starts)
{
    if (starts->rows < 2 || starts->values[0] != 0)
        return 0;
    for (uint32_t i = 1; i < starts->rows; i++) {
        if (starts->values[i] < starts->values[i - 1])
            return 0;
    }
    return (uint32_t) starts->values[starts->rows - 1];
}

/* Where the sequences of kv_indices begin: as their lengths say, or each has one row. NULL if they make no sense. */
static const int32_t *starts_of_lists(const struct passes *passes, const struct context *lists,
                                      const struct context *lengths)
{
    const int32_t sequences = lists->rows ? lists->values[0] : 0;
    if (sequences < 1 || sequences > LISTS_MAX || (lengths && lengths->rows != (uint32_t) sequences))
        return NULL;
    int64_t row = 0;
    for (int32_t i = 0; i < sequences; i++) {
        passes->lists[i] = (int32_t) row;
        row += lengths ? lengths->values[i] : 1;
        if ((lengths && lengths->values[i] < 0) || row > INT32_MAX)
            return NULL;
    }
    passes->lists[sequences] = (int32_t) row;
    return passes->lists;
}

/*
 * Makes of kv_indices a table of blocks of one slot. Each has to fit the pass's slots and positions: a list ends with
 * the sequence's last row, or, in a pass of prompts, ahead of its first. False if one does not: then it is not this
 * pass's.
 */
static bool table_of_lists(struct passes *passes, struct pass *pass, const struct context *lists)
{
    int32_t *table = passes->lists + lists->values[0] + 1;
    uint32_t words = 1, listed = 0;
    bool differ = false;
    if (!pass->slots || !pass->positions)
        return false;
    table[0] = 1;
    for (uint32_t at = 1; at < lists->rows;) {
        const int32_t *element = lists->values + at;
        if (lists->rows - at < 3)
            return false;
        const int64_t sequence = element[0], length = element[1], told = element[2];
        if (sequence < 0 || told < 1 || told > length || told > lists->rows - at - 3)
            return false;
        at += 3 + (uint32_t) told;
        if (sequence >= pass->sequences)
            continue; /* padding */
        const int32_t first = pass->starts[sequence], rows = pass->starts[sequence + 1] - first;
        if (!rows)
            continue;
        const int64_t ahead = pass->positions[first];
        const bool whole = length == ahead + rows;
        if (!whole && (pass->decodes || length != ahead))
            return false;
        listed++;
        const bool fits = whole && element[2 + told] == pass->slots[first + rows - 1];
        pass->lists_fit |= fits;
        differ |= whole && !fits;
        const int64_t left = whole ? told - rows : told;
        if (ahead == 0 || left < 1)
            continue;
        const bool all = told == length;
        table[words++] = first;
        table[words++] = (int32_t) (all ? ahead : -ahead);
        memcpy(table + words, element + 3 + (all ? 0 : left - 1), (size_t) (all ? ahead : 1) * sizeof *table);
        words += all ? (uint32_t) ahead : 1;
    }
    if (pass->decodes && listed != pass->sequences)
        return false;
    pass->groups[0].blocks = table;
    pass->groups[0].block_words = words;
    pass->lists_differ = differ;
    return !differ;
}

/* Padded rows have the slot 0. False, and nothing is shown: these lists are not the pass's. */
static bool show_lists(struct passes *passes, struct pass *pass, const struct context *lists, bool decodes)
{
    const struct pass without = *pass;
    pass->starts = passes->lists;
    pass->sequences = (uint32_t) lists->values[0];
    pass->listed = true;
    pass->decodes = decodes;
    while (decodes && pass->slots && pass->sequences && pass->slots[pass->sequences - 1] == 0)
        pass->rows = --pass->sequences;
    if (pass->sequences && table_of_lists(passes, pass, lists))
        return true;
    const bool differ = pass->lists_differ;
    *pass = without;
    pass->lists_differ = differ;
    pass->groups[0] = (struct pass_group){0};
    pass->rows = pass->group_count = 0;
    pass->slots = pass->positions = pass->tokens = NULL;
    return false;
}

/* What the kernel of these starts showed at `number`. */
static struct context *plan_at(struct passes *passes, const struct context *starts, uint64_t number)
{
    struct context *context = &passes->contexts[number % WINDOW];
    bool there = number > 0 && context->number == number && context->seen;
    return there && context->kernel == starts->kernel && context->stream == starts->stream ? context : NULL;
}

/*
 * The kernel that shows the sequences runs for each group of the cache: for the first one it shows them, too, and for
 * all their slots, and behind these their blocks. False: the model did not run as many rows as its routers.
 */
static bool find_groups(struct passes *passes, const struct lane *lane, const struct context *starts, struct pass *pass)
{
    const uint32_t most = lane->layers[0].shown.rows;
    uint64_t first = starts->number;
    struct context *context;
    bool model_ran_all = false;
    while ((context = plan_at(passes, starts, first - 1)) && !context->routed && context->kind != MT_SITE_STARTS &&
           context->kind != MT_SITE_BLOCKS)
        first--;
    for (uint64_t n = first; n <= lane->context; n++) {
        context = plan_at(passes, starts, n);
        if (!context)
            continue;
        struct pass_group *group = pass->group_count ? &pass->groups[pass->group_count - 1] : NULL;
        if (context->kind == MT_SITE_BLOCKS && group && !group->blocks) {
            group->blocks = context->values;
            group->block_words = context->rows;
        }
        if (context->kind != MT_SITE_SLOTS || pass->group_count == PASS_GROUPS ||
            (context->rows != pass->rows && context->rows != most))
            continue;
        pass->groups[pass->group_count++].slots = context->values;
        model_ran_all |= context->ran == most;
    }
    return model_ran_all;
}

/*
 * Where the engine shows its sequences, these tell how many rows are real; of what the rows are, what has as many is
 * theirs, or as many as the routers of a padded graph. False: it shows none.
 */
static bool find_sequences(struct passes *passes, const struct lane *lane, struct pass *pass)
{
    struct context *starts = NULL, *lists = NULL, *lengths = NULL, *of_kind[KINDS] = {NULL}, *context;
    const bool own_stream = has_own_context(passes, lane);
    for (uint64_t n = lane->context; (context = one_ahead(passes, lane, n)); n--) {
        struct context **latest = context->kind == MT_SITE_STARTS       ? &starts
                                  : context->kind == MT_SITE_KV_INDICES ? &lists
                                  : context->kind == MT_SITE_LENGTHS    ? &lengths
                                                                        : NULL;
        if (latest && !*latest && !is_anothers(lane, context, own_stream))
            *latest = context;
    }
    if (starts || !lists)
        lists = NULL;
    const int32_t *listed = lists ? starts_of_lists(passes, lists, lengths) : NULL;
    const uint32_t rows = starts   ? sequence_rows(starts)
                          : listed ? (uint32_t) listed[lists->values[0]]
                                   : 0,
                   most = lane->layers[0].shown.rows;
    if (!rows || rows > most || !all_rows(lane, most))
        return false;
    bool model_ran_all = rows == most;
    for (uint64_t n = lane->context; (context = one_ahead(passes, lane, n)); n--) {
        if (is_anothers(lane, context, own_stream))
            continue;
        context->taken = true;
        if (context->kind > MT_SITE_TOKENS || (starts && context->kind == MT_SITE_SLOTS) ||
            (context->rows != rows && context->rows != most))
            continue;
        model_ran_all |= context->rows == most;
        struct context **best = &of_kind[context->kind];
        if (!*best || (context->rows == rows && (*best)->rows != rows))
            *best = context;
    }
    pass->rows = rows;
    if (starts)
        model_ran_all |= find_groups(passes, lane, starts, pass);
    else if (of_kind[MT_SITE_SLOTS])
        pass->groups[pass->group_count++].slots = of_kind[MT_SITE_SLOTS]->values;
    if (!model_ran_all) {
        if (pass->group_count)
            leave_unplaced(pass, pass->groups[0].slots, rows);
        pass->unplaced_groups = pass->group_count;
        pass->rows = pass->group_count = 0;
        return true;
    }
    show(passes, pass, of_kind);
    if (listed)
        return show_lists(passes, pass, lists, lengths == NULL);
    pass->starts = starts->values;
    pass->sequences = starts->rows - 1;
    return true;
}

/*
 * The latest of each kind behind the pass before, as far back as no number is missing; of several, one of the routers'
 * own stream.
 *
 * Where a graph is padded, its routers have more rows than the slots, which are stored outside of it: then the first
 * ones are real. Only if the model itself ran as many rows as its routers, though: routers that are given the rows of
 * other ranks have more, too, and the first ones may be another rank's.
 */
static void find_context(struct passes *passes, const struct lane *lane, struct pass *pass)
{
    struct context *of_kind[KINDS] = {NULL}, *context;
    const struct context *own = lane->context && !lane->shares ? context_at(passes, lane->context) : NULL;
    if (!own || own->ambiguous || find_sequences(passes, lane, pass))
        return;
    const bool own_stream = has_own_context(passes, lane);
    bool several = false; /* slots: a batch in parts */
    for (uint64_t n = lane->context; (context = one_ahead(passes, lane, n)); n--) {
        if (is_anothers(lane, context, own_stream))
            continue;
        struct context **best = context->kind < KINDS ? &of_kind[context->kind] : NULL;
        if (!best)
            continue;
        several |= context->kind == MT_SITE_SLOTS && *best;
        if (!*best || ((*best)->stream != lane->stream && context->stream == lane->stream))
            *best = context;
    }
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        if (of_kind[kind])
            of_kind[kind]->taken = true;
    }
    const struct context *slots = of_kind[MT_SITE_SLOTS], *positions = of_kind[MT_SITE_POSITIONS],
                         *tokens = of_kind[MT_SITE_TOKENS];
    bool model_ran_all = (positions && all_rows(lane, positions->rows)) || (tokens && all_rows(lane, tokens->rows));
    uint32_t most = lane->layers[0].shown.rows, rows = most;
    if (slots && slots->rows < most && model_ran_all && !several)
        rows = slots->rows;
    for (uint32_t kind = MT_SITE_SLOTS; kind <= MT_SITE_TOKENS; kind++) {
        context = of_kind[kind];
        if (context && context->rows != rows && (rows == most || context->rows != most))
            of_kind[kind] = NULL;
        else if (context && rows == most && !all_rows(lane, rows))
            of_kind[kind] = NULL;
        else if (context)
            pass->rows = rows;
    }
    show(passes, pass, of_kind);
    show_batch(pass, of_kind);
    const struct context *reads = of_kind[MT_SITE_READS];
    if (reads && slots && pass->slots && reads->number > slots->number) {
        pass->reads = reads->values;
        pass->read_count = reads->rows;
    }
    if (slots && !pass->slots)
        leave_unplaced(pass, slots->values, slots->rows);
}

/*
 * Did rows run since the pass before of which nothing is shown? Slots that no pass takes tell of a pass whose routers
 * were lost, but not where that is the rule: a model without experts. Tokens and positions alone tell of rows that
 * stored nothing where this model's slots are seen: a draft model's, or a warm-up's.
 */
static bool find_hole(struct passes *passes, uint64_t up_to)
{
    if (up_to <= passes->context)
        return false;
    bool hole = up_to - passes->context > WINDOW;
    for (uint64_t n = hole ? up_to : passes->context + 1; n <= up_to; n++) {
        const struct context *context = &passes->contexts[n % WINDOW];
        if (context->number != n || !context->seen) {
            hole = true;
            continue;
        }
        if (context->foreign)
            continue;
        struct counted *site = &passes->sites[context->site];
        passes->slots_seen |= context->taken && context->kind == MT_SITE_SLOTS;
        if (context->taken)
            site->taken++;
        else if ((site->taken || site->left++ < 8) && (context->kind == MT_SITE_SLOTS || !passes->slots_seen))
            hole = true;
    }
    passes->context = up_to;
    return hole;
}

static int hand_out(struct passes *passes, struct lane *lane)
{
    if (!lane->open)
        return 0;
    lane->open = false;
    if (lane->layer_count > passes->shown_room) {
        struct pass_layer *shown = realloc(passes->shown, lane->layer_count * sizeof *shown);
        if (!shown)
            return -ENOMEM;
        passes->shown = shown;
        passes->shown_room = lane->layer_count;
    }
    for (uint32_t i = 0; i < lane->layer_count; i++) {
        passes->shown[i] = lane->layers[i].shown;
        passes->shown[i].ids = lane->ids + lane->layers[i].ids_at;
        passes->shown[i].weights = lane->layers[i].weighted ? lane->weights + lane->layers[i].ids_at : NULL;
    }
    struct pass pass = {.first_seq = lane->first_seq,
                        .time_ns = lane->time_ns,
                        .run = lane->step,
                        .layers = passes->shown,
                        .layer_count = lane->layer_count,
                        .bare = lane->context == 0};
    find_context(passes, lane, &pass);
    pass.hole = find_hole(passes, lane->context);
    struct context *own = lane->context && !lane->shares ? context_at(passes, lane->context) : NULL;
    if (own)
        own->used = true;
    if (lane->lost > passes->lost) {
        uint64_t lost = lane->lost - passes->lost;
        pass.lost = lost > UINT32_MAX ? UINT32_MAX : (uint32_t) lost;
        passes->lost = lane->lost;
    }
    return passes->take(&pass, passes->user);
}

/* Hands out what is over, in the order in which it began: passes of a context before `context`, or all of them. */
static int hand_out_before(struct passes *passes, uint64_t context, bool all)
{
    for (;;) {
        struct lane *first = NULL;
        for (uint32_t i = 0; i < passes->lane_count; i++) {
            struct lane *lane = &passes->lanes[i];
            if (lane->open && (all || (lane->context && lane->context < context)) &&
                (!first || lane->first_seq < first->first_seq))
                first = lane;
        }
        int result = first ? hand_out(passes, first) : 0;
        if (!first || result)
            return result;
    }
}

/* Routers of one recipe are of one model, and so are those whose layers are known: several kernels may take turns, or
 * have layers each. But for those that are known to be of several. */
static bool same_model(const struct mt_site *a, const struct mt_site *b, bool by_layer)
{
    if (a->stream != b->stream || a->experts != b->experts || a->k != b->k || a->model != b->model)
        return false;
    return by_layer ? a->layer != MT_LAYER_UNKNOWN && b->layer != MT_LAYER_UNKNOWN
                    : strncmp(a->recipe, b->recipe, sizeof a->recipe) == 0;
}

static struct lane *lane_of(struct passes *passes, const struct mt_site *site, uint32_t index)
{
    if (know_site(passes, index) != 0)
        return NULL;
    struct counted *counted = &passes->sites[index];
    uint32_t *found = &counted->lane;
    if (*found && counted->site.model != site->model)
        *counted = (struct counted){0}; /* found out only now */
    if (!*found)
        counted->site = *site;
    for (int by_layer = 0; by_layer < 2; by_layer++) {
        for (uint32_t i = 0; !*found && i < passes->site_count; i++) {
            if (passes->sites[i].lane && same_model(&passes->sites[i].site, site, by_layer))
                *found = passes->sites[i].lane;
        }
    }
    if (!*found) {
        struct lane *lanes = realloc(passes->lanes, (passes->lane_count + 1) * sizeof *lanes);
        if (!lanes)
            return NULL;
        passes->lanes = lanes;
        lanes[passes->lane_count++] = (struct lane){.stream = site->stream};
        *found = passes->lane_count;
    }
    return &passes->lanes[*found - 1];
}

static bool belongs(const struct passes *passes, const struct lane *lane, const struct mt_site *site,
                    const struct mt_record *record)
{
    if (!lane->open || record->context != lane->context)
        return false;
    for (uint32_t i = 0; i < lane->layer_count; i++) {
        const struct pass_layer *layer = &lane->layers[i].shown;
        if (layer->site == record->site || (site->layer != MT_LAYER_UNKNOWN && layer->layer == site->layer))
            return false;
    }
    const struct counted *counted = &passes->sites[record->site];
    /* Nothing was lost between the pass before and this record: then order alone is enough. */
    bool sure = lane->first ? record->step == lane->step : record->lost == lane->lost_before;
    bool counts_alike = counted->class == lane->class && record->step - counted->base == lane->count;
    if (counted->class == lane->class && !counts_alike && !sure)
        return false;
    if (record->context)
        return true;
    return lane->layers[0].shown.rows == record->rows &&
           (lane->flags & MT_SITE_GRAPH) == (site->flags & MT_SITE_GRAPH) && (counts_alike || sure);
}

static void start(struct passes *passes, struct lane *lane, const struct mt_site *site, const struct mt_record *record)
{
    struct counted *counted = &passes->sites[record->site];
    if (!counted->class) {
        counted->class = ++passes->classes;
        counted->base = record->step;
    }
    lane->open = true;
    lane->shares = false;
    lane->context = record->context;
    lane->first_seq = record->seq;
    lane->time_ns = record->time_ns;
    lane->lost_before = lane->lost;
    lane->first = !lane->ran;
    lane->ran = true;
    lane->step = record->step;
    lane->flags = site->flags;
    lane->class = counted->class;
    lane->count = record->step - counted->base;
    lane->layer_count = 0;
    lane->id_count = 0;
    struct context *context = record->context ? context_at(passes, record->context) : NULL;
    uint32_t index = (uint32_t) (lane - passes->lanes);
    if (!context) {
        lane->shares = record->context != 0;
    } else if (!context->routed) {
        context->routed = true;
        context->lane = index;
    } else {
        const struct lane *owner = &passes->lanes[context->lane];
        lane->shares = context->used || owner != lane;
        context->ambiguous |= owner->stream != lane->stream;
    }
}

/* Beside the ids of the record that are being added, at the same places. */
static int add_weights(struct lane *lane, const struct mt_record *record, const void *weights, size_t count)
{
    if (lane->weight_room < lane->id_room) {
        float *grown = realloc(lane->weights, lane->id_room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        lane->weights = grown;
        lane->weight_room = lane->id_room;
    }
    for (size_t i = 0; i < count; i++)
        lane->weights[lane->id_count + i] = mt_decode_weight(weights, record->weights, i);
    return 0;
}

static int add_layer(struct lane *lane, const struct mt_site *site, const struct mt_record *record, const void *ids)
{
    size_t count = (size_t) record->rows * record->k;
    if (lane->layer_count == lane->layer_room) {
        uint32_t room = lane->layer_room ? lane->layer_room * 2 : 16;
        struct layer *layers = realloc(lane->layers, room * sizeof *layers);
        if (!layers)
            return -ENOMEM;
        lane->layers = layers;
        lane->layer_room = room;
    }
    if (lane->id_room - lane->id_count < count) {
        size_t room = (lane->id_count + count) * 2;
        int32_t *grown = realloc(lane->ids, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        lane->ids = grown;
        lane->id_room = room;
    }
    const void *weights = mt_record_weights(record, ids);
    if (weights && count && add_weights(lane, record, weights, count) != 0)
        return -ENOMEM;
    lane->layers[lane->layer_count++] =
        (struct layer){{.layer = site->layer, .site = record->site, .rows = record->rows, .k = record->k},
                       .ids_at = lane->id_count,
                       .weighted = weights && count};
    for (size_t i = 0; i < count; i++)
        lane->ids[lane->id_count++] = mt_decode_id(ids, record->width, i);
    return 0;
}

/* The record's site is of the lane's pass: from now on all that counted with it count with that pass's. */
static void count_with(struct passes *passes, const struct lane *lane, const struct mt_record *record)
{
    struct counted *counted = &passes->sites[record->site];
    const uint32_t class = counted->class;
    const uint64_t shift = record->step - counted->base - lane->count;
    for (uint32_t i = 0; class && class != lane->class && i < passes->site_count; i++) {
        if (passes->sites[i].class == class) {
            passes->sites[i].class = lane->class;
            passes->sites[i].base += shift;
        }
    }
    counted->class = lane->class;
    counted->base = record->step - lane->count;
}

int passes_add(struct passes *passes, const struct mt_site *site, const struct mt_record *given, const void *ids)
{
    if (site->kind != MT_SITE_ROUTER)
        return take_context(passes, site, given, ids);
    struct mt_record tied = *given;
    const struct mt_record *record = &tied;
    tied.context = tying(passes, given->context);
    struct lane *lane = lane_of(passes, site, record->site);
    if (!lane)
        return -ENOMEM;
    int result = hand_out_before(passes, record->context, false);
    if (!result && !belongs(passes, lane, site, record)) {
        result = hand_out(passes, lane);
        if (!result)
            start(passes, lane, site, record);
    }
    if (result)
        return result;
    count_with(passes, lane, record);
    if (record->lost > lane->lost)
        lane->lost = record->lost;
    return add_layer(lane, site, record, ids);
}

int passes_flush(struct passes *passes)
{
    return hand_out_before(passes, 0, true);
}
