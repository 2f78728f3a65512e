/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include "../../tools/trace/writer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS 6u /* prompts that begin alike */
#define REQUESTS 256u

struct block {
    uint32_t users;
    int32_t key; /* which prompt's which block it holds; -1 */
    int32_t *rows;
};

struct sequence {
    bool running;
    uint32_t group, prompt, length, computed, planned;
    uint32_t blocks[1024], block_count;
};

struct engine {
    const struct engine_options *o;
    struct engine_truth *truth;
    uint64_t random;
    struct trace_writer *writer;
    struct block *blocks;
    uint32_t *free_blocks, free_count, free_first;
    struct sequence *waiting[REQUESTS], *running[REQUESTS];
    uint32_t waiting_count, running_count, row_room;
    uint64_t seq, context, steps[16], lost, losing, time;
    int32_t slots[4096], positions[4096], tokens[4096];
    uint32_t rows;
    uint32_t ends[2 * REQUESTS], end_count; /* lengths of those that left since the pass before */
};

int32_t engine_id(int32_t row, uint32_t layer, uint32_t j)
{
    uint64_t h = ((uint64_t) row * 31 + layer * 7 + j + 1) * 0x9e3779b97f4a7c15ull;
    return (int32_t) ((h >> 40) % ENGINE_EXPERTS);
}

static uint32_t below(struct engine *e, uint32_t n)
{
    e->random ^= e->random << 13;
    e->random ^= e->random >> 7;
    e->random ^= e->random << 17;
    return (uint32_t) (e->random >> 33) % n;
}

static void record(struct engine *e, uint32_t site, uint32_t rows, const int32_t *values, uint32_t layer)
{
    bool router = values == NULL;
    e->context += !router;
    struct mt_record r = {.seq = e->seq++,
                          .time_ns = e->time,
                          .step = e->steps[site]++,
                          .lost = e->lost,
                          .site = site,
                          .rows = rows,
                          .k = router ? ENGINE_K : 1,
                          .width = router ? 1 : 4,
                          .context = e->context};
    r.bytes = rows * r.k * r.width;
    if (!e->losing && e->o->loss && below(e, e->o->loss) == 0)
        e->losing = 1 + below(e, 12);
    if (e->losing && (!router || !e->o->context_alone)) {
        e->losing--;
        e->lost++;
        e->truth->lost++;
        return;
    }
    static uint8_t ids[4096 * 4];
    for (uint32_t i = 0; router && i < rows; i++) {
        for (uint32_t j = 0; j < ENGINE_K; j++)
            ids[i * ENGINE_K + j] = (uint8_t) engine_id(e->tokens[i], layer, j);
    }
    int result = trace_writer_record(e->writer, 0, &r, router ? (const void *) ids : values);
    assert(result == 0);
    (void) result;
}

/* Decoding runs as a graph, of which there is one for each four rows. */
static void run_pass(struct engine *e, bool graph)
{
    while (graph && e->rows % 4) {
        e->slots[e->rows] = -1;
        e->positions[e->rows] = 0;
        e->tokens[e->rows++] = 0;
    }
    e->time += 1000000;
    record(e, 6, e->rows, e->tokens, 0);
    record(e, 7, e->rows, e->positions, 0);
    record(e, 8, e->rows, e->slots, 0);
    for (uint32_t i = 0; i < ENGINE_LAYERS; i++)
        record(e, (graph ? ENGINE_LAYERS : 0) + i, e->rows, NULL, i);
    e->rows = 0;
}

static void release(struct engine *e, struct sequence *s)
{
    while (s->block_count) {
        uint32_t block = s->blocks[--s->block_count];
        if (--e->blocks[block].users == 0)
            e->free_blocks[(e->free_first + e->free_count++) % e->o->blocks] = block;
    }
}

static bool grow(struct engine *e, struct sequence *s, uint32_t tokens)
{
    while (s->block_count * e->o->block < tokens) {
        if (!e->free_count)
            return false;
        uint32_t block = e->free_blocks[e->free_first];
        e->free_first = (e->free_first + 1) % e->o->blocks;
        e->free_count--;
        e->blocks[block].users = 1;
        e->blocks[block].key = -1;
        s->blocks[s->block_count++] = block;
    }
    return true;
}

static int32_t *row_at(struct engine *e, const struct sequence *s, uint32_t position)
{
    return &e->blocks[s->blocks[position / e->o->block]].rows[position % e->o->block];
}

/* Takes a cached block out of the free ones if nobody uses it. */
static void use(struct engine *e, uint32_t block)
{
    if (e->blocks[block].users++ > 0)
        return;
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->free_count; i++) {
        uint32_t other = e->free_blocks[(e->free_first + i) % e->o->blocks];
        if (other != block)
            e->free_blocks[(e->free_first + n++) % e->o->blocks] = other;
    }
    e->free_count = n;
}

static void admit(struct engine *e, struct sequence *s)
{
    s->computed = 0;
    for (uint32_t i = 0; e->o->prefix_cache && (i + 1) * e->o->block < s->prompt; i++) {
        uint32_t b = 0;
        while (b < e->o->blocks && e->blocks[b].key != (int32_t) (s->group * 1000 + i))
            b++;
        if (b == e->o->blocks)
            break;
        use(e, b);
        s->blocks[s->block_count++] = b;
        s->computed += e->o->block;
        e->truth->hits++;
    }
    /* The one coincidence that docs/requests.md excludes. */
    for (uint32_t i = 0; i < e->end_count && s->block_count; i++) {
        if (e->ends[i] == s->computed) {
            release(e, s);
            s->computed = 0;
        }
    }
}

static void plan_rows(struct engine *e, struct sequence *s)
{
    for (uint32_t i = 0; i < s->planned; i++) {
        uint32_t position = s->computed + i;
        struct engine_truth *t = e->truth;
        if (t->row_count + 1 >= e->row_room) {
            e->row_room = e->row_room ? e->row_room * 2 : 4096;
            t->rows = realloc(t->rows, e->row_room * sizeof *t->rows);
            assert(t->rows);
        }
        int32_t row = (int32_t) ++t->row_count;
        t->rows[row] =
            (struct engine_row){.position = (int32_t) position, .parent = position ? *row_at(e, s, position - 1) : -1};
        *row_at(e, s, position) = row;
        e->slots[e->rows] = (int32_t) (s->blocks[position / e->o->block] * e->o->block + position % e->o->block);
        e->positions[e->rows] = (int32_t) position;
        e->tokens[e->rows++] = row;
    }
}

static void after_pass(struct engine *e, struct sequence *s)
{
    uint32_t ran = s->planned;
    if (s->computed >= s->prompt) {
        uint32_t accepted = 1 + below(e, ran);
        for (uint32_t i = accepted; i < ran; i++)
            e->truth->rows[*row_at(e, s, s->computed + i)].rejected = true;
        ran = accepted;
    }
    s->computed += ran;
    s->planned = 0;
    /* Blocks of a prompt that many share are found again by later ones. */
    for (uint32_t i = 0; (i + 1) * e->o->block <= s->computed && (i + 1) * e->o->block <= s->prompt; i++) {
        int32_t key = (int32_t) (s->group * 1000 + i);
        bool there = false;
        for (uint32_t b = 0; b < e->o->blocks; b++)
            there |= e->blocks[b].key == key;
        if (!there)
            e->blocks[s->blocks[i]].key = key;
    }
}

static void take_out(struct engine *e, uint32_t i)
{
    e->running_count--;
    if (e->o->fill_holes)
        e->running[i] = e->running[e->running_count];
    else
        memmove(&e->running[i], &e->running[i + 1], (e->running_count - i) * sizeof *e->running);
}

static void step(struct engine *e)
{
    const struct engine_options *o = e->o;
    while (e->waiting_count < 4) {
        struct sequence *s = calloc(1, sizeof *s);
        assert(s);
        s->group = below(e, GROUPS);
        s->prompt = 1 + below(e, o->prompt_max);
        s->length = s->prompt + 1 + below(e, o->output_max);
        e->waiting[e->waiting_count++] = s;
    }
    uint32_t budget = o->budget;
    bool prompts = false;
    for (uint32_t i = 0; i < e->running_count; i++)
        prompts |= e->running[i]->computed < e->running[i]->prompt;
    bool admits = e->running_count < o->batch && below(e, 4) == 0;
    bool only_prompts = o->apart && (prompts || admits), only_decode = true;
    for (uint32_t i = 0; i < e->running_count; i++) {
        struct sequence *s = e->running[i];
        bool prompt = s->computed < s->prompt;
        uint32_t n = prompt ? s->prompt - s->computed : 1 + o->draft;
        if (only_prompts && !prompt)
            continue;
        if (n > budget)
            n = budget;
        if (n == 0)
            continue;
        while (!grow(e, s, s->computed + n)) {
            struct sequence *last = e->running[e->running_count - 1];
            e->running_count--;
            budget += last->planned;
            last->planned = 0;
            e->ends[e->end_count++] = last->computed;
            release(e, last);
            memmove(e->waiting + 1, e->waiting, e->waiting_count++ * sizeof *e->waiting);
            e->waiting[0] = last;
            e->truth->preempted++;
            if (last == s)
                break;
        }
        if (i >= e->running_count)
            break;
        s->planned = n;
        budget -= n;
        only_decode &= !prompt;
    }
    while (admits && budget && e->waiting_count && e->running_count < o->batch) {
        struct sequence *s = e->waiting[0];
        admit(e, s);
        uint32_t n = s->prompt - s->computed < budget ? s->prompt - s->computed : budget;
        if (!grow(e, s, s->computed + n)) {
            release(e, s);
            break;
        }
        memmove(e->waiting, e->waiting + 1, --e->waiting_count * sizeof *e->waiting);
        e->running[e->running_count++] = s;
        s->planned = n;
        budget -= n;
        only_decode = false;
        if (below(e, 2))
            break;
    }
    for (uint32_t i = 0; i < e->running_count; i++)
        plan_rows(e, e->running[i]);
    if (!e->rows)
        return;
    run_pass(e, only_decode);
    e->end_count = 0;
    for (uint32_t i = e->running_count; i-- > 0;) {
        struct sequence *s = e->running[i];
        if (!s->planned)
            continue;
        uint32_t ran = s->computed + s->planned;
        after_pass(e, s);
        if (s->computed >= s->length) {
            for (uint32_t j = s->computed; j <= ran; j++)
                e->ends[e->end_count++] = j;
            release(e, s);
            take_out(e, i);
            free(s);
            e->truth->finished++;
        }
    }
}

static void write_sites(struct trace_writer *writer)
{
    struct mt_site sites[9];
    memset(sites, 0, sizeof sites);
    for (uint32_t i = 0; i < 9; i++) {
        bool router = i < 2 * ENGINE_LAYERS;
        sites[i].layer = router ? (int32_t) (i % ENGINE_LAYERS) : MT_LAYER_UNKNOWN;
        sites[i].flags = router && i >= ENGINE_LAYERS ? MT_SITE_GRAPH : 0;
        sites[i].experts = router ? ENGINE_EXPERTS : 0;
        sites[i].k = router ? ENGINE_K : 1;
        strcpy(sites[i].recipe, router ? "r" : "c");
    }
    sites[6].kind = MT_SITE_TOKENS;
    sites[7].kind = MT_SITE_POSITIONS;
    sites[8].kind = MT_SITE_SLOTS;
    trace_writer_sites(writer, 0, sites, 9);
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
    e->blocks = calloc(options->blocks, sizeof *e->blocks);
    e->free_blocks = calloc(options->blocks, sizeof *e->free_blocks);
    assert(e->blocks && e->free_blocks);
    for (uint32_t i = 0; i < options->blocks; i++) {
        e->blocks[i].rows = calloc(options->block, sizeof(int32_t));
        e->blocks[i].key = -1;
        e->free_blocks[i] = i;
    }
    e->free_count = options->blocks;
    struct mt_error error;
    int result = trace_writer_open(path, true, &e->writer, &error);
    assert(result == 0);
    (void) result;
    struct trace_segment segment = {.number = 0};
    trace_writer_segment(e->writer, &segment);
    write_sites(e->writer);
    for (uint32_t i = 0; i < options->steps; i++)
        step(e);
    struct trace_stats stats = {.lost_full = e->lost};
    trace_writer_stats(e->writer, &stats);
    trace_writer_close(e->writer, &error);
    for (uint32_t i = 0; i < e->running_count; i++)
        free(e->running[i]);
    for (uint32_t i = 0; i < e->waiting_count; i++)
        free(e->waiting[i]);
    for (uint32_t i = 0; i < options->blocks; i++)
        free(e->blocks[i].rows);
    free(e->blocks);
    free(e->free_blocks);
}
