/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include "../../shim/tap/kv_indices.h"
#include "../../tools/trace/writer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS 6u /* prompts that begin alike */
#define REQUESTS 256u
#define TOKENS 4096u
#define OLD 8u
#define BUCKETS 4096u

/* Behind the sites that every model has. */
#define STORE_SITE 11u
#define READS_SITE 12u
#define LENGTHS_SITE 13u
#define LISTS_SITE 14u
#define DRAFT_SITE 15u

struct block {
    uint32_t users;
    uint64_t key; /* of what it and the blocks before it hold; 0: not to be found */
    uint32_t next;
    int32_t *rows;
};

/* Blocks of one group of layers, and what is in them. */
struct pool {
    struct block *blocks;
    uint32_t buckets[BUCKETS];
    uint32_t *free_blocks, free_count, free_first, count;
};

/* Of a sequence in a pool, by position; `gone` of them were given back, and may be another's. */
struct table {
    uint32_t blocks[1024], count, gone;
};

struct sequence {
    uint32_t prompt, length, computed, known, planned;
    struct table tables[2];
    uint32_t keyed;
    uint64_t key;
    int64_t index;                /* of its own while it runs */
    uint32_t rewrite, rewrite_to; /* in so many passes; how many slots */
    bool over;                    /* the scheduler does not know yet that it is done */
    int32_t tokens[TOKENS];
};

struct engine {
    const struct engine_options *o;
    struct engine_truth *truth;
    uint64_t random;
    struct trace_writer *writer;
    struct pool pools[2]; /* of layers that attend to everything, and to a window */
    struct sequence *waiting[REQUESTS], *running[REQUESTS];
    struct sequence *places[REQUESTS]; /* in the order of a pass's rows; NULL: left */
    uint32_t waiting_count, running_count, place_count, row_room, pass_room, said_room;
    struct sequence *old[OLD];
    struct process {
        uint64_t seq, context, steps[DRAFT_SITE + 2], lost;
    } processes[2];
    uint32_t process; /* that runs */
    uint64_t losing, time;
    int32_t slots[2][TOKENS], positions[TOKENS], tokens[TOKENS];
    uint64_t routes[TOKENS];
    uint32_t rows;
    int32_t starts[REQUESTS + 1], table[2][REQUESTS * 1026]; /* of the pass's sequences */
    uint32_t sequences, words;
    /* Of `lists`: */
    int32_t list_starts[REQUESTS + 1];
    int64_t index[REQUESTS];
    bool used[REQUESTS];
    union {
        int32_t narrow[REQUESTS * 1024];
        int64_t wide[REQUESTS * 1024];
    } list;
    struct mt_kv_seen seen[MT_KV_SEEN];
    int32_t reads[1 << 19];
    uint32_t read_count;
    bool looks_back; /* some sequence of the pass has rows of passes before */
};

int32_t engine_id(uint64_t route, uint32_t layer, uint32_t j)
{
    uint64_t h = (route * 31 + layer * 7 + j + 1) * 0x9e3779b97f4a7c15ull;
    return (int32_t) ((h >> 40) % ENGINE_EXPERTS);
}

static uint32_t below(struct engine *e, uint32_t n)
{
    e->random ^= e->random << 13;
    e->random ^= e->random >> 7;
    e->random ^= e->random << 17;
    return (uint32_t) (e->random >> 33) % n;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ (b + 0x9e3779b97f4a7c15ull)) * 0xbf58476d1ce4e5b9ull;
    h = (h ^ h >> 31) * 0x94d049bb133111ebull;
    return (h ^ h >> 29) | 1;
}

void engine_truth_free(struct engine_truth *truth)
{
    free(truth->rows);
    free(truth->first);
    free(truth->said);
    free(truth->said_rows);
    free(truth->said_to);
}

static void record(struct engine *e, uint32_t site, uint32_t rows, const int32_t *values, uint32_t layer)
{
    bool router = values == NULL;
    struct process *p = &e->processes[e->process];
    p->context += !router;
    struct mt_record r = {.seq = p->seq++,
                          .time_ns = e->time,
                          .step = p->steps[site]++,
                          .lost = p->lost,
                          .site = site,
                          .rows = rows,
                          .k = router ? ENGINE_K : 1,
                          .width = router ? 1 : 4,
                          .context = p->context};
    r.bytes = rows * r.k * r.width;
    if (!e->losing && e->o->loss && below(e, e->o->loss) == 0)
        e->losing = 1 + below(e, 12);
    if (e->losing && (!router || !e->o->context_alone)) {
        e->losing--;
        p->lost++;
        e->truth->lost++;
        return;
    }
    static uint8_t ids[TOKENS * ENGINE_K];
    for (uint32_t i = 0; router && i < rows; i++) {
        for (uint32_t j = 0; j < ENGINE_K; j++)
            ids[i * ENGINE_K + j] = (uint8_t) engine_id(e->routes[i], layer, j);
    }
    int result = trace_writer_record(e->writer, e->process, &r, router ? (const void *) ids : values);
    assert(result == 0);
    (void) result;
}

static void add_slot(struct engine *e, uint32_t slot)
{
    const int32_t at = e->list_starts[e->sequences]++;
    if (e->o->seed % 2)
        e->list.wide[at] = slot;
    else
        e->list.narrow[at] = (int32_t) slot;
}

/* What the tap tells of them. */
static void tell_lists(struct engine *e)
{
    static struct mt_kv_plan plan;
    const struct mt_kv_args args = {.slots = (const uint32_t *) &e->list,
                                    .starts = e->list_starts,
                                    .index = e->index,
                                    .seen = e->seen,
                                    .words_max = sizeof e->list / sizeof(uint32_t),
                                    .sequences = e->sequences};
    mt_kv_begin(&args, &plan);
    mt_kv_count(&args, &plan, 0, 1);
    e->words = (uint32_t) plan.blocks.words;
    e->table[0][0] = (int32_t) e->sequences;
    for (uint32_t i = 0; i < e->sequences; i++) {
        int32_t *element = e->table[0] + plan.blocks.at[i];
        const uint32_t length = mt_kv_length(&args, &plan, i), told = plan.told[i];
        if (!told)
            continue;
        element[0] = (int32_t) i;
        element[1] = (int32_t) length;
        element[2] = (int32_t) told;
        for (uint32_t n = 0; n < told; n++)
            element[3 + n] = (int32_t) mt_kv_slot(&args, &plan, (uint32_t) e->list_starts[i], length - told + n);
    }
}

/* Lengths of a pass of prompts, and what the tap tells of the lists; the rows of padding are shown, too. */
static void record_lists(struct engine *e, bool decodes)
{
    for (uint32_t i = 0; i < e->sequences && !decodes; i++)
        e->starts[i] = e->starts[i + 1] - e->starts[i];
    if (!decodes)
        record(e, LENGTHS_SITE, e->sequences, e->starts, 0);
    tell_lists(e);
    record(e, LISTS_SITE, e->words, e->table[0], 0);
    record(e, 7, e->rows, e->positions, 0);
    record(e, 8, e->rows, e->slots[e->o->window > 0], 0);
}

/* What the kernel for the slots is given, for each group; the one with a window is the first, as in gpt-oss. */
static void record_plan(struct engine *e, uint32_t rows)
{
    const bool window = e->o->window, all = !e->o->window_alone;
    e->starts[e->sequences] = (int32_t) rows;
    record(e, 7, rows, e->positions, 0);
    record(e, 8, rows, e->slots[window], 0);
    record(e, 9, e->sequences + 1, e->starts, 0);
    if (e->words > 1)
        record(e, 10, e->words, e->table[window], 0);
    if (window && all) {
        record(e, 8, rows, e->slots[0], 0);
        if (e->words > 1)
            record(e, 10, e->words, e->table[0], 0);
    }
}

/* The draft's layer runs on all rows of the pass, then on a row or so of each sequence, for which it stores slots. */
static void run_draft(struct engine *e, bool graph)
{
    for (uint32_t i = 0; i < e->o->draft_runs; i++) {
        uint32_t rows = i ? 1 + e->rows / 4 : e->rows;
        if (i)
            record(e, 8, rows, e->slots[0], 0);
        record(e, DRAFT_SITE + graph, rows, NULL, ENGINE_LAYERS);
    }
}

/* Decoding runs as a graph, of which there is one for each four rows. */
static void run_pass(struct engine *e, bool graph)
{
    const uint32_t real = e->rows;
    while (graph && e->rows % 4) {
        e->slots[0][e->rows] = e->slots[1][e->rows] = e->o->lists ? 0 : -1;
        if (e->o->lists) {
            e->list_starts[e->sequences + 1] = e->list_starts[e->sequences];
            e->index[e->sequences++] = 0;
            add_slot(e, 0);
        }
        e->positions[e->rows] = 0;
        e->routes[e->rows] = 0;
        e->tokens[e->rows++] = 0;
    }
    e->time += 1000000;
    if (e->o->lists) {
        e->starts[e->sequences] = (int32_t) real;
        record_lists(e, graph);
        record(e, 6, e->rows, e->tokens, 0);
    } else if (e->o->sequences) {
        record_plan(e, real);
        record(e, 6, e->rows, e->tokens, 0);
    } else {
        record(e, 6, e->rows, e->tokens, 0);
        record(e, 7, e->rows, e->positions, 0);
        record(e, 8, e->rows, e->slots[0], 0);
        if (e->o->reads && e->looks_back)
            record(e, READS_SITE, e->read_count, e->reads, 0);
    }
    for (uint32_t i = 0; i < ENGINE_LAYERS; i++) {
        if (e->o->window && !e->o->lists) /* what stores, in each layer, is given the slots of its group */
            record(e, STORE_SITE, e->rows, e->slots[e->o->window_alone || i % 2 == 0], 0);
        e->process = e->o->stages && i == ENGINE_LAYERS - 1;
        if (e->process) {
            record(e, 7, e->rows, e->positions, 0);
            record(e, 8, e->rows, e->slots[0], 0);
        }
        record(e, (graph ? ENGINE_LAYERS : 0) + i, e->rows, NULL, i);
    }
    e->process = 0;
    run_draft(e, graph);
    e->rows = 0;
    e->sequences = e->words = e->read_count = 0;
    e->looks_back = false;
}

/* A pass of prompts lists what is ahead of their rows, one of decoding these as well. */
static void list_sequence(struct engine *e, const struct sequence *s, bool decodes)
{
    if (!s->planned)
        return;
    e->starts[e->sequences] = (int32_t) e->rows;
    e->index[e->sequences++] = s->index;
    e->list_starts[e->sequences] = e->list_starts[e->sequences - 1];
    for (uint32_t i = 0; i < s->computed + decodes; i++)
        add_slot(e, s->tables[0].blocks[i / e->o->block] * e->o->block + i % e->o->block);
}

/* What the engine gives its kernel for the slots; of a table only what goes on at a block's start. */
static void plan_sequence(struct engine *e, const struct sequence *s)
{
    const uint32_t ahead = s->computed / e->o->block;
    if (!e->words)
        e->table[0][e->words] = e->table[1][e->words] = (int32_t) e->o->block, e->words++;
    e->starts[e->sequences++] = (int32_t) e->rows;
    for (uint32_t i = 0; e->o->reads && s->planned && i < s->computed + s->planned; i++) {
        assert(e->read_count < sizeof e->reads / sizeof *e->reads);
        e->reads[e->read_count++] = (int32_t) (s->tables[0].blocks[i / e->o->block] * e->o->block + i % e->o->block);
    }
    e->looks_back |= s->planned && s->computed > 0;
    if (!s->planned || s->computed == 0 || s->computed % e->o->block)
        return;
    for (uint32_t group = 0; group < 2; group++) {
        int32_t *table = e->table[group] + e->words;
        *table++ = (int32_t) e->rows;
        *table++ = (int32_t) ahead;
        for (uint32_t i = 0; i < ahead; i++)
            *table++ = (int32_t) s->tables[group].blocks[i];
    }
    e->words += 2 + ahead;
}

static void forget_key(struct pool *pool, uint32_t block)
{
    if (!pool->blocks[block].key)
        return;
    uint32_t *at = &pool->buckets[pool->blocks[block].key % BUCKETS];
    while (*at != block)
        at = &pool->blocks[*at].next;
    *at = pool->blocks[block].next;
    pool->blocks[block].key = 0;
}

static uint32_t find_key(const struct pool *pool, uint64_t key)
{
    uint32_t block = pool->buckets[key % BUCKETS];
    while (block != UINT32_MAX && pool->blocks[block].key != key)
        block = pool->blocks[block].next;
    return block;
}

static void give_back(struct pool *pool, uint32_t block)
{
    if (--pool->blocks[block].users == 0)
        pool->free_blocks[(pool->free_first + pool->free_count++) % pool->count] = block;
}

static void release(struct engine *e, struct sequence *s)
{
    for (uint32_t group = 0; group < 2; group++) {
        struct table *table = &s->tables[group];
        while (table->count > table->gone)
            give_back(&e->pools[group], table->blocks[--table->count]);
        table->count = table->gone = 0;
    }
    s->keyed = 0;
    s->key = 0;
    s->computed = 0;
}

/* Blocks ahead of the window are given back; the kernel's table goes on to name them. */
static void leave_window(struct engine *e, struct sequence *s)
{
    struct table *table = &s->tables[1];
    while (e->o->window && (table->gone + 1) * e->o->block + e->o->window <= s->computed + 1)
        give_back(&e->pools[1], table->blocks[table->gone++]);
}

static bool grow(struct engine *e, struct sequence *s, uint32_t tokens)
{
    leave_window(e, s);
    for (uint32_t group = 0; group < (e->o->window ? 2 : 1); group++) {
        struct pool *pool = &e->pools[group];
        struct table *table = &s->tables[group];
        while (table->count * e->o->block < tokens) {
            if (!pool->free_count)
                return false;
            uint32_t block = pool->free_blocks[pool->free_first];
            pool->free_first = (pool->free_first + 1) % pool->count;
            pool->free_count--;
            pool->blocks[block].users = 1;
            forget_key(pool, block);
            table->blocks[table->count++] = block;
        }
    }
    return true;
}

static int32_t *row_at(struct engine *e, const struct sequence *s, uint32_t position)
{
    return &e->pools[0].blocks[s->tables[0].blocks[position / e->o->block]].rows[position % e->o->block];
}

/* Takes a cached block out of the free ones if nobody uses it. */
static void use(struct pool *pool, uint32_t block)
{
    if (pool->blocks[block].users++ > 0)
        return;
    uint32_t n = 0;
    for (uint32_t i = 0; i < pool->free_count; i++) {
        uint32_t other = pool->free_blocks[(pool->free_first + i) % pool->count];
        if (other != block)
            pool->free_blocks[(pool->free_first + n++) % pool->count] = other;
    }
    pool->free_count = n;
}

static uint64_t next_key(const struct engine *e, const struct sequence *s, uint64_t key, uint32_t block)
{
    for (uint32_t i = 0; i < e->o->block; i++)
        key = mix(key, (uint64_t) s->tokens[block * e->o->block + i]);
    return key;
}

/* A prefix is found as far as all its blocks are there, and in the other group those that lie in its window. */
static void admit(struct engine *e, struct sequence *s)
{
    uint64_t keys[TOKENS];
    uint32_t found = 0, hit = 0;
    while (e->o->prefix_cache && (found + 1) * e->o->block < s->known) {
        keys[found] = next_key(e, s, found ? keys[found - 1] : 0, found);
        if (find_key(&e->pools[0], keys[found]) == UINT32_MAX)
            break;
        found++;
    }
    for (hit = found; e->o->window && hit > 0; hit--) {
        uint32_t i = hit;
        while (i > 0 && i * e->o->block + e->o->window > hit * e->o->block + 1 &&
               find_key(&e->pools[1], keys[i - 1]) != UINT32_MAX)
            i--;
        s->tables[1].gone = i;
        if (i == 0 || i * e->o->block + e->o->window <= hit * e->o->block + 1)
            break;
    }
    for (uint32_t i = 0; i < hit; i++) {
        for (uint32_t group = 0; group < (e->o->window ? 2 : 1); group++) {
            struct table *table = &s->tables[group];
            uint32_t block = i < table->gone ? 0 : find_key(&e->pools[group], keys[i]);
            if (i >= table->gone)
                use(&e->pools[group], block);
            table->blocks[table->count++] = block;
        }
        s->computed += e->o->block;
        s->keyed++;
        s->key = keys[i];
        e->truth->hits++;
    }
    if (!hit)
        s->tables[1].gone = 0;
}

static void key_block(struct pool *pool, uint32_t at, uint64_t key)
{
    struct block *block = &pool->blocks[at];
    if (block->key || find_key(pool, key) != UINT32_MAX)
        return;
    block->key = key;
    block->next = pool->buckets[key % BUCKETS];
    pool->buckets[key % BUCKETS] = at;
}

/* Full blocks of what is decided are found by later requests. */
static void key_blocks(struct engine *e, struct sequence *s)
{
    for (; e->o->prefix_cache && (s->keyed + 1) * e->o->block <= s->computed; s->keyed++) {
        s->key = next_key(e, s, s->key, s->keyed);
        key_block(&e->pools[0], s->tables[0].blocks[s->keyed], s->key);
        if (e->o->window && s->keyed >= s->tables[1].gone)
            key_block(&e->pools[1], s->tables[1].blocks[s->keyed], s->key);
    }
}

/* Blocks that hold what others that are found hold, too, are given back for these. */
static void rewrite(struct engine *e, struct sequence *s)
{
    uint64_t key = 0;
    for (uint32_t i = 0; i < s->rewrite_to / e->o->block; i++) {
        key = next_key(e, s, key, i);
        const uint32_t own = s->tables[0].blocks[i], found = find_key(&e->pools[0], key);
        if (found == UINT32_MAX || found == own)
            continue;
        use(&e->pools[0], found);
        s->tables[0].blocks[i] = found;
        give_back(&e->pools[0], own);
        e->truth->rewritten++;
    }
}

static int32_t any_token(struct engine *e)
{
    return (int32_t) below(e, e->o->words ? e->o->words : 150000);
}

static uint64_t experts_of(uint64_t route)
{
    uint64_t experts = 0;
    for (uint32_t layer = 0; layer < ENGINE_LAYERS; layer++) {
        for (uint32_t j = 0; j < ENGINE_K; j++)
            experts = experts * ENGINE_EXPERTS + (uint64_t) engine_id(route, layer, j);
    }
    return experts;
}

/* A row of this sequence at this position, which goes on with what is there of it. Returns its route. */
static uint64_t make_row(struct engine *e, const struct sequence *s, uint32_t position)
{
    struct engine_truth *t = e->truth;
    if (t->row_count + 1 >= e->row_room) {
        e->row_room = e->row_room ? e->row_room * 2 : 4096;
        t->rows = realloc(t->rows, e->row_room * sizeof *t->rows);
        assert(t->rows);
    }
    int32_t row = (int32_t) ++t->row_count;
    int32_t token = e->o->name_rows ? row : s->tokens[position];
    uint64_t parent = position ? t->rows[*row_at(e, s, position - 1)].chain : 0;
    uint64_t said_before = position ? t->rows[*row_at(e, s, position - 1)].said : 0;
    uint64_t route = e->o->name_rows ? (uint64_t) row : mix(parent, (uint64_t) token);
    if (e->o->noise && below(e, e->o->noise) == 0)
        route = mix(route, (uint64_t) row);
    uint64_t experts = experts_of(route);
    t->rows[row] = (struct engine_row){.experts = experts,
                                       .chain = mix(mix(parent, experts), (uint64_t) token),
                                       .parent = parent,
                                       .said = mix(said_before, (uint64_t) token),
                                       .said_before = said_before,
                                       .position = (int32_t) position,
                                       .token = token};
    *row_at(e, s, position) = row;
    return route;
}

/* Blocks of a prefix that come from elsewhere: they are this sequence's, and no pass writes them. */
static void fill_blocks(struct engine *e, struct sequence *s)
{
    for (uint32_t more = 1 + below(e, 3); more && (s->keyed + 1) * e->o->block < s->known; more--) {
        if (!grow(e, s, (s->keyed + 1) * e->o->block))
            return;
        s->key = next_key(e, s, s->key, s->keyed);
        for (uint32_t i = 0; i < e->o->block; i++)
            make_row(e, s, s->computed++);
        key_block(&e->pools[0], s->tables[0].blocks[s->keyed++], s->key);
        e->truth->filled++;
    }
}

static void plan_rows(struct engine *e, struct sequence *s)
{
    for (uint32_t i = 0; i < s->planned; i++) {
        uint32_t position = s->computed + i;
        if (position >= s->known)
            s->tokens[position] = any_token(e); /* a draft */
        e->routes[e->rows] = make_row(e, s, position);
        for (uint32_t group = 0; group < 2; group++)
            e->slots[group][e->rows] =
                (int32_t) (s->tables[group].blocks[position / e->o->block] * e->o->block + position % e->o->block);
        e->positions[e->rows] = (int32_t) position;
        e->tokens[e->rows++] = e->truth->rows[e->truth->row_count].token;
    }
}

static void after_pass(struct engine *e, struct sequence *s)
{
    uint32_t ran = s->planned;
    s->planned = 0;
    if (s->computed + ran < s->known) {
        s->computed += ran;
    } else {
        uint32_t drafts = s->computed + ran - s->known, accepted = drafts ? below(e, drafts + 1) : 0;
        for (uint32_t i = accepted; i < drafts; i++)
            e->truth->rows[*row_at(e, s, s->known + i)].rejected = true;
        s->computed = s->known + accepted;
        s->known = s->computed + 1;
        s->tokens[s->computed] = any_token(e);
    }
    key_blocks(e, s);
    if (!e->o->lists || s->computed > s->prompt)
        return;
    s->rewrite_to = s->computed;
    if (s->computed < s->prompt)
        rewrite(e, s);
    else
        s->rewrite = 1 + below(e, 2);
}

static void put(struct engine *e, struct sequence *s)
{
    uint32_t place = 0;
    while (place < e->place_count && (e->places[place] || !e->o->fill_holes))
        place++;
    if (place == e->place_count)
        e->place_count++;
    e->places[place] = s;
}

static void close_up(struct engine *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->place_count; i++) {
        if (!e->places[i] && e->o->fill_holes) {
            while (e->place_count > i + 1 && !e->places[e->place_count - 1])
                e->place_count--;
            e->places[i] = e->places[--e->place_count];
            if (!e->places[i])
                break;
        }
        if (e->places[i])
            e->places[n++] = e->places[i];
    }
    e->place_count = n;
}

static void take_out(struct engine *e, struct sequence *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->running_count; i++) {
        if (e->running[i] != s)
            e->running[n++] = e->running[i];
    }
    e->running_count = n;
    e->used[s->index] = false;
    s->rewrite = 0;
    for (uint32_t i = 0; i < e->place_count; i++) {
        if (e->places[i] == s)
            e->places[i] = NULL;
    }
}

static struct sequence *arrive(struct engine *e)
{
    const struct engine_options *o = e->o;
    struct sequence *s = calloc(1, sizeof *s);
    assert(s);
    const struct sequence *old = o->turns && below(e, 3) == 0 ? e->old[below(e, OLD)] : NULL;
    uint32_t group = below(e, GROUPS), more = 1 + below(e, o->prompt_max);
    if (old && old->known + more + o->output_max + 16 < TOKENS / 4) {
        /* The last of its tokens was sampled and did not run. */
        s->prompt = old->known - below(e, 2);
        memcpy(s->tokens, old->tokens, s->prompt * sizeof *s->tokens);
        for (uint32_t i = 0; i < more / 4; i++)
            s->tokens[s->prompt++] = any_token(e);
    } else {
        for (; s->prompt < more; s->prompt++)
            s->tokens[s->prompt] = (int32_t) (mix(group, s->prompt) % (o->words ? o->words : 150000));
    }
    s->known = s->prompt;
    s->length = s->prompt + 1 + below(e, o->output_max);
    return s;
}

static void finish(struct engine *e, struct sequence *s)
{
    struct engine_truth *t = e->truth;
    if (t->finished == e->said_room) {
        e->said_room = e->said_room ? e->said_room * 2 : 64;
        t->said = realloc(t->said, (size_t) e->said_room * TOKENS / 4 * sizeof *t->said);
        t->said_rows = realloc(t->said_rows, (size_t) e->said_room * TOKENS / 4 * sizeof *t->said_rows);
        t->said_to = realloc(t->said_to, e->said_room * sizeof *t->said_to);
        assert(t->said && t->said_rows && t->said_to);
    }
    memcpy(t->said + t->kept, s->tokens, s->computed * sizeof *t->said);
    for (uint32_t i = 0; i < s->computed; i++)
        t->said_rows[t->kept + i] = (uint32_t) *row_at(e, s, i);
    t->kept += s->computed;
    t->said_to[t->finished++] = t->kept;
    t->rows[*row_at(e, s, s->computed - 1)].ends = t->finished;
    take_out(e, s);
    release(e, s);
    uint32_t place = below(e, OLD);
    free(e->old[place]);
    e->old[place] = s;
}

static bool is_prompt(const struct sequence *s)
{
    return s->known - s->computed > 1 || s->known == s->prompt;
}

static void preempt(struct engine *e, struct sequence *s)
{
    s->planned = 0;
    if (s->over) {
        finish(e, s);
        return;
    }
    take_out(e, s);
    release(e, s);
    memmove(e->waiting + 1, e->waiting, e->waiting_count++ * sizeof *e->waiting);
    e->waiting[0] = s;
    e->truth->preempted++;
}

static void step(struct engine *e)
{
    const struct engine_options *o = e->o;
    while (e->waiting_count < 4)
        e->waiting[e->waiting_count++] = arrive(e);
    for (uint32_t i = 0; i < e->running_count; i++) {
        struct sequence *s = e->running[i];
        if (s->rewrite && --s->rewrite == 0 && !s->over) /* who is done attends to nothing any more */
            rewrite(e, s);
    }
    uint32_t budget = o->budget;
    bool prompts = false;
    for (uint32_t i = 0; i < e->running_count; i++)
        prompts |= is_prompt(e->running[i]);
    bool admits = e->running_count < o->batch && below(e, 4) == 0;
    bool only_prompts = o->apart && (prompts || admits), only_decode = true;
    for (uint32_t i = e->running_count; i-- > 0 && only_prompts;) {
        if (e->running[i]->over)
            finish(e, e->running[i]);
    }
    for (uint32_t i = 0; i < e->running_count; i++) {
        struct sequence *s = e->running[i];
        bool prompt = is_prompt(s);
        uint32_t n = prompt ? s->known - s->computed : 1 + o->draft;
        if (only_prompts && !prompt)
            continue;
        if (n > budget)
            n = budget;
        if (n == 0)
            continue;
        bool gone = false;
        while (!gone && !grow(e, s, s->computed + n)) {
            struct sequence *last = e->running[e->running_count - 1];
            budget += last->planned;
            gone = last == s;
            preempt(e, last);
        }
        if (gone)
            break;
        s->planned = n;
        budget -= n;
        only_decode &= !prompt;
    }
    while (admits && budget && e->waiting_count && e->running_count < o->batch) {
        struct sequence *s = e->waiting[0];
        admit(e, s);
        if (e->o->filled && s->computed && below(e, e->o->filled) == 0)
            fill_blocks(e, s);
        uint32_t n = s->known - s->computed < budget ? s->known - s->computed : budget;
        if (!grow(e, s, s->computed + n)) {
            release(e, s);
            break;
        }
        memmove(e->waiting, e->waiting + 1, --e->waiting_count * sizeof *e->waiting);
        e->running[e->running_count++] = s;
        for (s->index = 0; e->used[s->index];)
            s->index++;
        e->used[s->index] = true;
        put(e, s);
        s->planned = n;
        budget -= n;
        only_decode = false;
        if (below(e, 2))
            break;
    }
    close_up(e);
    uint32_t first = e->truth->row_count + 1;
    for (uint32_t i = 0; i < e->place_count; i++) {
        if (o->lists)
            list_sequence(e, e->places[i], only_decode);
        else
            plan_sequence(e, e->places[i]);
        plan_rows(e, e->places[i]);
    }
    if (!e->rows)
        return;
    struct engine_truth *t = e->truth;
    if (++t->pass_count >= e->pass_room) {
        e->pass_room = e->pass_room ? e->pass_room * 2 : 4096;
        t->first = realloc(t->first, e->pass_room * sizeof *t->first);
        assert(t->first);
    }
    t->first[t->pass_count] = first;
    run_pass(e, only_decode);
    for (uint32_t i = e->running_count; i-- > 0;) {
        struct sequence *s = e->running[i];
        if (!s->planned)
            continue;
        if (!s->over)
            after_pass(e, s);
        s->planned = 0;
        if (s->over || (s->computed >= s->length && !o->lists))
            finish(e, s);
        else
            s->over = s->computed >= s->length;
    }
}

static void write_sites(struct engine *e, uint32_t process)
{
    struct mt_site sites[DRAFT_SITE + 2];
    const int32_t first = e->o->draft_first ? 1 : process ? 1 - (int32_t) ENGINE_LAYERS : 0;
    const uint32_t count = DRAFT_SITE + (e->o->draft_runs ? 2 : 0);
    memset(sites, 0, sizeof sites);
    for (uint32_t i = 0; i < count; i++) {
        bool draft = i >= DRAFT_SITE, router = i < 2 * ENGINE_LAYERS || draft;
        sites[i].layer = draft    ? (e->o->draft_first ? 0 : (int32_t) ENGINE_LAYERS)
                         : router ? first + (int32_t) (i % ENGINE_LAYERS)
                                  : MT_LAYER_UNKNOWN;
        sites[i].flags = router && (draft ? i > DRAFT_SITE : i >= ENGINE_LAYERS) ? MT_SITE_GRAPH : 0;
        sites[i].experts = router ? ENGINE_EXPERTS : 0;
        sites[i].k = router ? ENGINE_K : 1;
        strcpy(sites[i].recipe, router ? "r" : "c");
    }
    sites[6].kind = MT_SITE_TOKENS;
    sites[7].kind = MT_SITE_POSITIONS;
    sites[8].kind = MT_SITE_SLOTS;
    sites[9].kind = MT_SITE_STARTS;
    sites[10].kind = MT_SITE_BLOCKS;
    sites[STORE_SITE].kind = MT_SITE_SLOTS;
    strcpy(sites[STORE_SITE].kernel, "store");
    sites[READS_SITE].kind = MT_SITE_READS;
    sites[LENGTHS_SITE].kind = MT_SITE_LENGTHS;
    sites[LISTS_SITE].kind = MT_SITE_KV_INDICES;
    trace_writer_sites(e->writer, process, sites, count);
}

void engine_run(const char *path, const struct engine_options *options, struct engine_truth *truth)
{
    static struct engine engine;
    struct engine *e = &engine;
    memset(e, 0, sizeof *e);
    memset(truth, 0, sizeof *truth);
    e->o = options;
    e->truth = truth;
    e->random = options->seed * 0x9e3779b97f4a7c15ull + 88172645463325252ull;
    for (uint32_t group = 0; group < 2; group++) {
        struct pool *pool = &e->pools[group];
        pool->blocks = calloc(options->blocks + 1, sizeof *pool->blocks);
        pool->free_blocks = calloc(options->blocks, sizeof *pool->free_blocks);
        assert(pool->blocks && pool->free_blocks);
        for (uint32_t i = 0; i < options->blocks; i++) {
            pool->free_blocks[i] = i + 1; /* block 0 stands for none */
            pool->blocks[i + 1].rows = calloc(options->block, sizeof(int32_t));
        }
        pool->count = pool->free_count = options->blocks;
        memset(pool->buckets, 0xff, sizeof pool->buckets);
    }
    struct mt_error error;
    int result = trace_writer_open(path, true, &e->writer, &error);
    assert(result == 0);
    (void) result;
    for (uint32_t i = 0; i <= options->stages; i++) {
        struct trace_segment segment = {.number = i};
        trace_writer_segment(e->writer, &segment);
        write_sites(e, i);
        for (uint32_t site = 0; i && site < 2 * ENGINE_LAYERS; site++)
            e->processes[i].steps[site] = 3;
    }
    for (uint32_t i = 0; i < options->steps; i++)
        step(e);
    for (uint32_t i = 0; i <= options->stages; i++) {
        struct trace_stats stats = {.segment = i, .lost_full = e->processes[i].lost};
        trace_writer_stats(e->writer, &stats);
    }
    trace_writer_close(e->writer, &error);
    for (uint32_t i = 0; i < e->running_count; i++)
        free(e->running[i]);
    for (uint32_t i = 0; i < e->waiting_count; i++)
        free(e->waiting[i]);
    for (uint32_t i = 0; i < OLD; i++)
        free(e->old[i]);
    for (uint32_t group = 0; group < 2; group++) {
        for (uint32_t i = 0; i <= options->blocks; i++)
            free(e->pools[group].blocks[i].rows);
        free(e->pools[group].blocks);
        free(e->pools[group].free_blocks);
    }
}
