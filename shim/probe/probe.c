/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include "../hook/driver.h"
#include "../kernels.h"
#include "../lane.h"
#include "../layer/layer.h"
#include "../log.h"
#include "file.h"
#include "sample.h"
#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KERNELS_MAX 4096u
#define BORING_SAMPLES 4u /* of a kernel that wrote nothing like ids yet; then now and then */
#define FIRST_SAMPLES 24u /* of any other, one after the other */
#define SHAPE_SAMPLES 6u  /* then of each shape: prefill, decode, several routings that share a kernel */
#define KERNEL_SAMPLES 96u
#define SHAPES_MAX 32u
#define USES_MAX 8u
#define TIME_MAX_NS 40000000000ull /* spent on samples by a process */

struct seen {
    const struct mt_kernel *kernel;
    unsigned id, samples;
    bool off;        /* a recipe knows it */
    bool unreadable; /* it did not end in time, or its memory could not be had: not again */
    bool interesting;
    uint64_t eager, captured;
    int32_t layers_seen;
    struct shape {
        uint64_t numbers;
        unsigned samples;
    } shapes[SHAPES_MAX];
    /* The first one for all launches; then for those of the same numbers: several routings may share a kernel. */
    struct use {
        uint64_t numbers;
        struct mt_layers *layers;
        const struct mt_lane *lane; /* of the last launch, and the history count behind it */
        uint32_t last;
    } uses[USES_MAX];
};

/* The launch that this thread is in. */
struct turn {
    bool wanted;   /* what it writes is sampled */
    bool readable; /* memory was read before it */
    unsigned hit_count;
    struct mt_watch_hit hits[MT_PROBE_HITS];
    struct mt_sample sample;
};
static __thread struct turn *current;

static void forget_launch(struct turn *turn)
{
    turn->wanted = turn->readable = false;
    turn->hit_count = 0;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* everything below; never held over a wait */
static struct seen table[KERNELS_MAX];
static unsigned table_used, samples;
static uint64_t spent_ns;
static bool look_at_all;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

/* The lock is held. NULL: a kernel without a name, or too many. */
static struct seen *find(const struct mt_kernel *kernel)
{
    if (!kernel->info || !kernel->param_count)
        return NULL;
    size_t i = ((uintptr_t) kernel >> 4) * 2654435761u % KERNELS_MAX;
    while (table[i].kernel && table[i].kernel != kernel)
        i = (i + 1) % KERNELS_MAX;
    struct seen *seen = &table[i];
    if (seen->kernel)
        return seen;
    if (table_used >= KERNELS_MAX * 3 / 4) {
        mt_log_once(MT_LOG_PROBLEM, "more than %u kernels: later ones are not looked at", KERNELS_MAX * 3 / 4);
        return NULL;
    }
    *seen = (struct seen){.kernel = kernel, .id = table_used++, .off = kernel->recipe && !look_at_all};
    mt_probe_put_kernel(seen->id, kernel, look_at_all ? NULL : kernel->recipe);
    return seen;
}

/* A hash of the launch's numbers that are no pointers. */
static uint64_t numbers_of(const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (unsigned i = 0; i < kernel->param_count; i++) {
        uint64_t value = 0;
        const void *at = mt_launch_param(kernel->info, launch, i);
        if (at && kernel->param[i].size <= sizeof value)
            memcpy(&value, at, kernel->param[i].size);
        if (value <= UINT32_MAX)
            hash = (hash ^ value ^ (uint64_t) i << 32) * 1099511628211u;
    }
    return hash;
}

/* NULL: there are too many. */
static struct shape *find_shape(struct seen *seen, const struct mt_launch *launch)
{
    uint64_t numbers = numbers_of(seen->kernel, launch) ^ (uint64_t) launch->grid[0] << 32 ^ launch->grid[1];
    unsigned i = 0;
    while (i < SHAPES_MAX && seen->shapes[i].samples && seen->shapes[i].numbers != numbers)
        i++;
    if (i == SHAPES_MAX)
        return NULL;
    seen->shapes[i].numbers = numbers;
    return &seen->shapes[i];
}

/* The lock is held. */
static bool wanted(struct seen *seen, const struct mt_launch *launch)
{
    uint64_t n = seen->eager + 1;
    if (seen->off || seen->unreadable || spent_ns > TIME_MAX_NS || seen->samples >= KERNEL_SAMPLES)
        return false;
    bool now_and_then = (n & (n - 1)) == 0;
    if (!seen->interesting)
        return seen->samples < BORING_SAMPLES || now_and_then;
    const struct shape *shape = find_shape(seen, launch);
    return seen->samples < FIRST_SAMPLES || (shape && shape->samples < SHAPE_SAMPLES) || now_and_then;
}

static struct use *find_use(struct seen *seen, uint64_t numbers)
{
    unsigned i = 1;
    while (i < USES_MAX - 1 && seen->uses[i].layers && seen->uses[i].numbers != numbers)
        i++;
    seen->uses[i].numbers = numbers;
    return &seen->uses[i];
}

/* Which layer would this launch belong to, were it the router. The lane is locked. */
static void tell_layer(struct seen *seen, struct use *use, const struct mt_lane *lane)
{
    uint32_t count = lane->history.count;
    if (!use->layers && !(use->layers = mt_layers_new()))
        return;
    int32_t layer = mt_layers_identify(use->layers, &lane->history, use->lane == lane ? count - use->last : count);
    use->lane = lane;
    use->last = count;
    seen->layers_seen = layer >= seen->layers_seen ? layer + 1 : seen->layers_seen;
}

/* The lock is held. */
static void tell_layers(struct seen *seen, const struct mt_launch *launch)
{
    struct mt_lane *lane = mt_lane_find(launch->stream);
    if (!lane)
        return;
    mt_lane_lock(lane);
    tell_layer(seen, &seen->uses[0], lane);
    tell_layer(seen, find_use(seen, numbers_of(seen->kernel, launch)), lane);
    mt_lane_unlock(lane);
}

/* With two sources a launch may be told twice ahead of the call. */
static bool told_already(const struct turn *turn, const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    uint64_t params[MT_PROBE_PARAM_BYTES / 8] = {0};
    if (!turn->wanted && !turn->hit_count)
        return false;
    return turn->sample.function == launch->function && turn->sample.stream == launch->stream &&
           mt_kernel_copy_params(kernel, launch, params, sizeof params) == turn->sample.bytes &&
           memcmp(params, turn->sample.params, turn->sample.bytes) == 0;
}

/* What there is to read of this launch. */
static void plan(struct turn *turn, const struct seen *seen, const struct mt_launch *launch)
{
    struct mt_sample *sample = &turn->sample;
    mt_sample_begin(sample, seen->kernel, launch);
    pthread_mutex_lock(&lock);
    turn->hit_count = mt_watch_find(sample, turn->hits);
    bool read = spent_ns <= TIME_MAX_NS && !seen->unreadable;
    pthread_mutex_unlock(&lock);
    for (unsigned i = 0; i < turn->hit_count && read; i++)
        mt_sample_add(sample, turn->hits[i].offset, turn->hits[i].address);
    if (turn->wanted)
        mt_sample_add_all(sample);
}

static void before(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    pthread_mutex_lock(&lock);
    struct seen *seen = find(kernel);
    bool want = seen && wanted(seen, launch), watching = seen && mt_watch_any();
    pthread_mutex_unlock(&lock);
    if ((want || watching) && !current && (current = malloc(sizeof *current)))
        forget_launch(current); /* the rest is large, and filled before it is read */
    struct turn *turn = current;
    if (turn && !told_already(turn, kernel, launch)) {
        uint64_t begun = now_ns();
        forget_launch(turn);
        turn->wanted = want;
        if (want || watching)
            plan(turn, seen, launch);
        bool any = turn->wanted || turn->hit_count;
        if (any && mt_stream_captures(launch->stream))
            turn->wanted = false;
        else if (any)
            turn->readable = turn->sample.count && mt_sample_read(&turn->sample, false);
        if (any) {
            pthread_mutex_lock(&lock);
            spent_ns += now_ns() - begun;
            pthread_mutex_unlock(&lock);
        }
    }
    mt_quiet_end();
}

/* The lock is held. */
static void write_sample(struct seen *seen, const struct mt_sample *sample, const struct mt_launch *launch)
{
    unsigned number = samples++;
    struct shape *shape = find_shape(seen, launch);
    if (shape)
        shape->samples++;
    mt_probe_put_sample(seen->id, number, seen->layers_seen, sample, launch);
    for (unsigned i = 0; i < sample->count; i++) {
        const struct mt_region *region = &sample->regions[i];
        uint32_t end;
        if (region->size && mt_probe_put_memory(region, &end)) {
            seen->interesting = true;
            mt_watch_open(seen->id, number, sample->stream, region, end);
        }
    }
    mt_probe_file_flush();
}

static const struct mt_region *region_of(const struct mt_sample *sample, const struct mt_watch_hit *hit)
{
    for (unsigned i = 0; i < sample->count; i++) {
        if (sample->regions[i].address == hit->address)
            return &sample->regions[i];
    }
    return NULL;
}

/* The lock is held. `turn`: NULL if nothing was to be read; `read`: memory was read on both sides of the launch. */
static void account(struct seen *seen, const struct turn *turn, bool read, const struct mt_launch *launch)
{
    bool sampled = turn && turn->wanted;
    for (unsigned i = 0; turn && i < turn->hit_count; i++)
        mt_watch_hit(&turn->hits[i], seen->id, &turn->sample, read ? region_of(&turn->sample, &turn->hits[i]) : NULL);
    seen->samples += sampled;
    seen->unreadable |= turn && turn->readable && !read;
    if (seen->interesting || (sampled && read))
        tell_layers(seen, launch);
    mt_watch_tick(launch->stream);
    if (sampled && read)
        write_sample(seen, &turn->sample, launch);
}

static void after(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    struct turn *turn = current;
    bool mine = turn && (turn->wanted || turn->hit_count) && turn->sample.kernel == kernel &&
                turn->sample.stream == launch->stream;
    uint64_t begun = now_ns();
    bool read = mine && turn->readable && mt_sample_read(&turn->sample, true);
    uint64_t spent = mine ? now_ns() - begun : 0;
    struct mt_lane *lane = mt_lane_find(launch->stream);
    if (lane) {
        mt_lane_lock(lane);
        mt_history_add(&lane->history, kernel, launch);
        mt_lane_unlock(lane);
    }
    bool captured = mt_stream_captures(launch->stream);
    pthread_mutex_lock(&lock);
    struct seen *seen = find(kernel);
    if (seen) {
        spent_ns += spent;
        seen->captured += captured;
        seen->eager += !captured;
        account(seen, mine ? turn : NULL, read, launch);
    } else {
        mt_watch_tick(launch->stream);
    }
    pthread_mutex_unlock(&lock);
    if (turn)
        forget_launch(turn);
    mt_quiet_end();
}

/* Taps that wait for a sort do not wait any longer. */
static void fence(CUstream stream)
{
    pthread_mutex_lock(&lock);
    mt_watch_tick(stream == CU_STREAM_LEGACY ? NULL : stream);
    pthread_mutex_unlock(&lock);
}

static void capture_ends(CUstream stream)
{
    (void) stream;
}

static void recorded(CUevent event, CUstream stream)
{
    (void) event, (void) stream;
}

static void waits(CUstream stream, CUevent event)
{
    (void) stream, (void) event;
}

static void node(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    pthread_mutex_lock(&lock);
    struct seen *seen = find(kernel);
    if (seen)
        seen->captured++;
    pthread_mutex_unlock(&lock);
    mt_quiet_end();
}

static void unload(void)
{
    mt_kernels_forget();
}

static void context_gone(CUcontext context)
{
    (void) context;
}

bool mt_probe_start(const char *folder, struct mt_recipes *recipes, bool all)
{
    look_at_all = all;
    mt_kernels_start(recipes, true);
    if (mt_driver.cuMemcpyDtoHAsync_v2 && mt_driver.cuStreamQuery)
        return mt_probe_file_open(folder);
    mt_log(MT_LOG_PROBLEM, "this driver cannot be probed: it has no cuMemcpyDtoHAsync or no cuStreamQuery");
    errno = ENOSYS;
    return false;
}

const struct mt_sink *mt_probe_sink(void)
{
    static const unsigned always = 1; /* before() looks at memory ahead of every launch */
    static const struct mt_sink sink = {&always, before,       after, fence,  recorded,
                                        waits,   capture_ends, node,  unload, context_gone};
    return &sink;
}

void mt_probe_end(void)
{
    if (!mt_probe_file_is_open())
        return;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < KERNELS_MAX; i++) {
        if (table[i].kernel)
            mt_probe_put_total(table[i].id, table[i].eager, table[i].captured);
    }
    mt_probe_file_flush();
    pthread_mutex_unlock(&lock);
}
