/* SPDX-License-Identifier: Apache-2.0 */
#include "capture.h"

#include "hook/driver.h"
#include "layer/group.h"
#include "layer/join.h"
#include "kernels.h"
#include "lane.h"
#include "layer/layer.h"
#include "log.h"
#include "tap/reach.h"
#include "tap/state.h"

#include <pthread.h>

#define BATCH_LAUNCHES 96u /* from a pass's positions to its batch: the first layer's cache, at the latest */
#define READS_LAUNCHES 8   /* keys and values are written, then read */

static unsigned open_count; /* pending taps and open branches; lets before() and fence() leave at once */
static bool beside;         /* taps of graphs may run beside the engine's kernels */
static bool routers_seen;   /* a launch was read by a router's recipe */
static bool ids_seen;       /* or by a consumer's */

static CUstreamCaptureStatus capture_status(CUstream stream)
{
    CUstreamCaptureStatus status;
    return mt_driver.cuStreamIsCapturing(stream, &status) == CUDA_SUCCESS ? status : CU_STREAM_CAPTURE_STATUS_NONE;
}

static bool is_capturing(const struct mt_lane *lane)
{
    return capture_status(lane->stream) != CU_STREAM_CAPTURE_STATUS_NONE;
}

static void tap(struct mt_lane *lane, struct mt_group *group, const struct mt_kernel *kernel,
                const struct mt_routing *routing, int32_t layer)
{
    struct mt_tap_state *state = mt_tap_state_current();
    if (!state)
        return;
    CUstreamCaptureStatus status = capture_status(lane->stream);
    if (status == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
        return; /* that graph will never exist */
    bool capturing = status == CU_STREAM_CAPTURE_STATUS_ACTIVE;
    if (mt_recipe_site_kind(group->recipe) == MT_SITE_ROUTER && !group->from)
        mt_group_ran(lane, group, capturing, routing, layer);
    struct mt_group_site *site = mt_group_site(lane, group, state, kernel, routing, layer);
    /* What rows are must be in line: their number is counted up before the pass's routers read it. */
    bool context = mt_recipe_site_kind(group->recipe) != MT_SITE_ROUTER;
    uint8_t width = context ? MT_CONTEXT_WIDTH : routing->experts && routing->experts <= MT_ID8_EXPERTS_MAX ? 1 : 2;
    if (!site) {
        mt_segment_count_not_captured(mt_tap_segment(state));
        return;
    }
    struct mt_tap_site where = {(uint32_t) site->index, (uint32_t) site->counter};
    if (capturing && beside && !context &&
        mt_branch_open(&lane->branch, lane->stream, state, routing, where, &site->occurrences, width)) {
        __atomic_fetch_add(&open_count, 1, __ATOMIC_RELAXED);
    } else if (!mt_tap_launch(state, lane->stream, routing, where, width, capturing)) {
        mt_segment_count_not_captured(mt_tap_segment(state));
        return;
    }
    if (!context && !group->from)
        lane->routed = (struct mt_lane_routed){group, *routing, layer};
    if (routing->weights && !site->weights) {
        site->weights = true;
        mt_segment_set_weights(mt_tap_segment(state), (uint32_t) site->index, routing->weights_type);
    }
    if (capturing && !site->graph) {
        site->graph = true;
        mt_segment_add_flags(mt_tap_segment(state), (uint32_t) site->index, MT_SITE_GRAPH);
    }
}

static void count_lost(const struct mt_lane *lane, unsigned taps)
{
    while (taps--)
        mt_segment_count_not_captured(mt_tap_segment(lane->branch.state));
}

/* Joins the lane's branch, if it has one. The lane is locked. */
static void settle(struct mt_lane *lane)
{
    if (!lane->branch.open)
        return;
    __atomic_fetch_sub(&open_count, 1, __ATOMIC_RELAXED);
    count_lost(lane, mt_branch_settle(&lane->branch, lane->stream));
}

/* The open tap of a lane, wherever we were called from. The lane is locked. */
static void close_pending(struct mt_lane *lane)
{
    struct mt_lane_pending *pending = &lane->pending;
    if (!pending->open)
        return;
    pending->open = false;
    __atomic_fetch_sub(&open_count, 1, __ATOMIC_RELAXED);
    CUcontext current = NULL;
    if (mt_driver.cuCtxGetCurrent(&current) != CUDA_SUCCESS)
        return;
    bool other = current != pending->context;
    if (other && mt_driver.cuCtxPushCurrent_v2(pending->context) != CUDA_SUCCESS)
        return;
    tap(lane, pending->group, pending->kernel, &pending->routing, pending->layer);
    if (other && mt_driver.cuCtxPopCurrent_v2(&current) != CUDA_SUCCESS)
        mt_log_once(MT_LOG_PROBLEM, "cuCtxPopCurrent failed");
}

/* Once for each recipe and reason: a sampler comes with every token, and a kernel again when modules are unloaded. */
static bool first_time(const struct mt_recipe *recipe, const char *why)
{
    static struct {
        const struct mt_recipe *recipe;
        const char *why;
    } said[64];
    static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&said_lock);
    size_t i = 0;
    while (i < 64 && said[i].recipe && !(said[i].recipe == recipe && said[i].why == why))
        i++;
    bool first = i < 64 && !said[i].recipe;
    if (first) {
        said[i].recipe = recipe;
        said[i].why = why;
    }
    pthread_mutex_unlock(&said_lock);
    return first;
}

/* Why a launch that a recipe fits is not read: because that recipe is another release's. */
static const char beyond[] =
    "what its recipe takes for ids, or for their number, does not lie in memory that there is, or not as the GPU can "
    "load them; the recipe is for another release";

static void count_not_captured(void)
{
    struct mt_tap_state *state = mt_tap_state_current();
    if (state)
        mt_segment_count_not_captured(mt_tap_segment(state));
}

static void explain_no_tap(const struct mt_kernel *kernel, const char *why)
{
    if (why == beyond) {
        if (mt_recipe_site_kind(kernel->recipe) == MT_SITE_ROUTER)
            count_not_captured();
        if (first_time(kernel->recipe, why))
            mt_log(MT_LOG_PROBLEM, "not captured: %s: %s", kernel->info->base, why);
        return;
    }
    if (mt_log_level() < MT_LOG_EXPLAIN || !first_time(kernel->recipe, why))
        return;
    bool router = mt_recipe_kind(kernel->recipe) == MT_RECIPE_ROUTER;
    mt_log(MT_LOG_EXPLAIN, "not %s here: %s: %s", router ? "a router" : "row context", kernel->info->base, why);
}

/* None if nobody asked for them; who did is told where there are none. */
static void settle_weights(const struct mt_kernel *kernel, struct mt_routing *routing)
{
    if (!mt_tap_weights_wanted()) {
        routing->weights = 0;
        routing->weights_type = MT_WEIGHT_NONE;
    } else if (!routing->weights && first_time(kernel->recipe, routing->no_weights)) {
        mt_log(MT_LOG_PROBLEM, "no weights of %s: %s; its ids are recorded", kernel->info->base, routing->no_weights);
    }
}

/* In memory that there is, and as the GPU can load them: a value across two places would end the engine, too. */
static bool in_place(uint64_t address, uint64_t count, uint32_t size)
{
    return address % size == 0 && mt_reach(address, count * size) == count * size;
}

static bool ids_in_place(const struct mt_routing *routing)
{
    return routing->ids % mt_dtype_size(routing->dtype) == 0 && mt_reach_all(mt_range_of(routing));
}

static bool starts_in_place(const struct mt_routing *routing)
{
    return in_place(routing->starts, (uint64_t) routing->rows + 1, sizeof(int32_t));
}

/* As far as the launch tells where it lies: what the GPU finds at an address nobody has seen yet. */
static bool table_in_place(const struct mt_routing *routing)
{
    const bool whole = !routing->ids_at && !routing->stride_at;
    return (whole ? ids_in_place(routing) : in_place(routing->ids, 1, routing->ids_at ? routing->ids_at : 4)) &&
           (!routing->stride_at || in_place(routing->stride, 1, routing->stride_at)) &&
           (!routing->block_at || in_place(routing->block, 1, routing->block_at)) &&
           (!routing->index || in_place(routing->index, routing->rows, sizeof(int32_t))) &&
           in_place(routing->positions, 1, sizeof(int64_t)) && starts_in_place(routing);
}

/* How many slots are listed, only the GPU sees; a list of none has no address. */
static bool lists_in_place(const struct mt_routing *routing)
{
    return (!routing->ids || in_place(routing->ids, 1, sizeof(int32_t))) &&
           in_place(routing->index, routing->rows, sizeof(int64_t)) && starts_in_place(routing);
}

/* Weights that cannot be there are no reason to leave the ids. */
static bool all_in_place(struct mt_routing *routing)
{
    if (routing->weights && mt_tap_weights_wanted() &&
        (routing->weights % mt_weight_size(routing->weights_type) || !mt_reach_all(mt_weights_range_of(routing)))) {
        routing->weights = 0;
        routing->no_weights = "they would not lie in memory that there is, or not as the GPU can load them";
    }
    if (routing->block)
        return table_in_place(routing);
    if (routing->index)
        return lists_in_place(routing);
    return ids_in_place(routing) && (!routing->count || in_place(routing->count, 1, sizeof(int32_t)));
}

static bool reads(const struct mt_recipe *recipe, const struct mt_kernel *kernel, const struct mt_launch *launch,
                  struct mt_routing *routing, const char **why)
{
    if (!mt_recipe_read(recipe, kernel->info, launch, routing, why))
        return false;
    const bool told_by_launch = routing->dtype == MT_DTYPE_NONE && !routing->index;
    if (told_by_launch || all_in_place(routing))
        return true;
    *why = beyond;
    return false;
}

/* The first of the kernel's recipes that reads this launch. NULL: none, and why not the first of them. */
static const struct mt_recipe *read_launch(const struct mt_kernel *kernel, const struct mt_launch *launch,
                                           struct mt_routing *routing, const char **why)
{
    const char *later;
    if (reads(kernel->recipe, kernel, launch, routing, why))
        return kernel->recipe;
    for (unsigned i = 0; i < MT_KERNEL_OTHERS && kernel->others[i]; i++) {
        if (mt_recipe_kind(kernel->others[i]) == MT_RECIPE_NO_IDS)
            break;
        if (reads(kernel->others[i], kernel, launch, routing, &later))
            return kernel->others[i];
        if (later == beyond)
            *why = beyond;
    }
    return NULL;
}

/* A router that stores its ids only if asked to: the recipe which says so, behind those that read them. */
static const struct mt_recipe *without_ids(const struct mt_kernel *kernel)
{
    for (unsigned i = 0; i < MT_KERNEL_OTHERS && kernel->others[i]; i++) {
        if (mt_recipe_kind(kernel->others[i]) == MT_RECIPE_NO_IDS)
            return kernel->others[i];
    }
    return NULL;
}

static void explain_not_read(const struct mt_kernel *kernel, const char *why)
{
    const struct mt_recipe *none = without_ids(kernel);
    if (!none || why == beyond) {
        explain_no_tap(kernel, why);
        return;
    }
    count_not_captured();
    if (first_time(none, kernel->info->base))
        mt_kernels_say_no_ids(none, kernel->info);
}

static void on_router(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    struct mt_routing routing;
    const char *why = "";
    settle(lane);
    const struct mt_recipe *recipe = read_launch(kernel, launch, &routing, &why);
    if (!recipe) {
        explain_not_read(kernel, why);
        return;
    }
    __atomic_store_n(&routers_seen, true, __ATOMIC_RELAXED);
    __atomic_store_n(&ids_seen, true, __ATOMIC_RELAXED);
    settle_weights(kernel, &routing);
    lane->routed.group = NULL;
    struct mt_group *group = mt_group_find(lane, recipe, routing.experts, routing.k);
    if (!group)
        return;
    mt_group_stages(lane, group, &routing);
    int32_t layer = mt_group_identify(lane, group);
    if (group->stage)
        return;
    if (!mt_recipe_has_final(recipe)) {
        tap(lane, group, kernel, &routing, layer);
        return;
    }
    CUcontext context = NULL;
    if (mt_driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS)
        return;
    lane->pending = (struct mt_lane_pending){true, false, group, context, routing, kernel, layer};
    __atomic_fetch_add(&open_count, 1, __ATOMIC_RELAXED);
}

/* Where no recipe fits the engine's router, whoever reads its ids first shows them. A router comes ahead of its
 * consumers, so it is known by then whether there is one; two taps of the same ids would be two models. */
static void on_consumer(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    struct mt_routing routing;
    const char *why = "";
    const struct mt_recipe *recipe =
        __atomic_load_n(&routers_seen, __ATOMIC_RELAXED) ? NULL : read_launch(kernel, launch, &routing, &why);
    if (!recipe) {
        if (why == beyond)
            explain_no_tap(kernel, why);
        return;
    }
    __atomic_store_n(&ids_seen, true, __ATOMIC_RELAXED);
    struct mt_range range = mt_range_of(&routing);
    if (lane->consumed.begin == range.begin && lane->consumed.end == range.end)
        return;
    settle(lane);
    settle_weights(kernel, &routing);
    struct mt_group *group = mt_group_find(lane, recipe, routing.experts, routing.k);
    if (!group)
        return;
    mt_log_once(MT_LOG_EXPLAIN, "no router's recipe fits: ids are taken from who reads them, first from %s",
                kernel->info->base);
    lane->consumed = range;
    tap(lane, group, kernel, &routing, mt_group_identify(lane, group));
}

/* Ids that are made of a router's, tapped as well: the same layer and run, other numbers for its experts. */
static void on_map(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    struct mt_lane_routed routed = lane->routed;
    struct mt_routing mapped;
    const char *why = "no router was tapped before it on its stream";
    lane->routed.group = NULL; /* they may lie in the same place now */
    bool read =
        routed.group && mt_recipe_read_map(kernel->recipe, kernel->info, launch, &routed.routing, &mapped, &why);
    if (read && !all_in_place(&mapped)) {
        explain_no_tap(kernel, beyond);
        return;
    }
    if (!read) {
        if (mt_log_level() >= MT_LOG_EXPLAIN && first_time(kernel->recipe, why))
            mt_log(MT_LOG_EXPLAIN, "mapped ids are not recorded here: %s: %s", kernel->info->base, why);
        return;
    }
    struct mt_group *group = mt_group_mapped(routed.group, kernel->recipe, mapped.experts, mapped.k);
    if (group)
        tap(lane, group, kernel, &mapped, routed.layer);
}

static bool tap_context(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_recipe *recipe,
                        const struct mt_routing *routing)
{
    struct mt_group *group = mt_group_find(lane, recipe, 0, 1);
    if (!group)
        return false;
    if (mt_recipe_kind(recipe) == MT_RECIPE_TOKENS)
        lane->seen = (struct mt_runs_seen){lane->seen.lookups + 1, routing->once, routing->rows};
    if (mt_recipe_once_by_layer(recipe) && mt_group_identify(lane, group) != 0)
        return false;
    struct mt_tap_state *state = mt_tap_state_current();
    if (!state || (routing->once && !mt_group_speaks(group, state, routing->once)))
        return false;
    settle(lane); /* a branch follows the stream node by node and knows nothing of taps in line */
    tap(lane, group, kernel, routing, MT_LAYER_UNKNOWN);
    return true;
}

/* Values that the launch itself told: a tap reads nothing, and its record is in line all the same. */
static struct mt_routing told(uint64_t first, uint64_t second, uint32_t values)
{
    return (struct mt_routing){
        .ids = first, .stride = second, .rows = values, .k = 1, .column = 1, .dtype = MT_DTYPE_NONE};
}

/*
 * Kernels that anything is done with show a batch: only both together, the positions of as many rows and then, a few
 * launches later, the batch, are a pass's. Those that run in every layer show it once, behind the look-up of its
 * tokens: in a layer, what looks like positions may be anything.
 */
static void on_batch(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_recipe *recipe,
                     const struct mt_routing *batch)
{
    const struct mt_lane_waiting waiting = lane->waiting;
    const uint64_t rows = batch->rows ? batch->rows * batch->stride : waiting.routing.rows;
    if (mt_recipe_once_a_pass(recipe) && (lane->seen.lookups == lane->batch.lookups || lane->seen.rows != rows))
        return;
    lane->waiting.recipe = NULL;
    if (!waiting.recipe || !mt_recipe_waits_for(waiting.recipe, recipe) || waiting.routing.rows != rows ||
        rows % batch->stride || lane->history.count - waiting.launch > BATCH_LAUNCHES ||
        waiting.captured != is_capturing(lane)) /* a graph must not read what is another's when it runs */
        return;
    const struct mt_routing values = told(rows / batch->stride | batch->stride << 32, 0, 2);
    tap_context(lane, waiting.kernel, waiting.recipe, &waiting.routing);
    tap_context(lane, kernel, recipe, &values);
    lane->batch =
        (struct mt_lane_batch){.positions = waiting.recipe, .rows = rows, .open = true, .lookups = lane->seen.lookups};
}

/* Of kernels that anything is done with, what has as many rows as the batch is the pass's. */
static bool is_of_batch(const struct mt_lane *lane, const struct mt_recipe *recipe)
{
    return !mt_recipe_needs_batch(recipe) || (lane->batch.positions && mt_recipe_needs(recipe, lane->batch.positions));
}

/* Is it in the cache that the latest batch left? One with a window lets go of what stands in front of it. */
static bool in_left(const struct mt_lane *lane, uint64_t address)
{
    return address >= lane->left.begin && address < lane->left.end;
}

/* The first one behind a batch is that of its pass's first layer. */
static void on_cache(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_recipe *recipe,
                     const struct mt_routing *cache)
{
    if (!lane->batch.open || !is_of_batch(lane, recipe) || cache->rows % lane->batch.rows)
        return;
    lane->batch.open = false;
    uint64_t before = cache->input;
    if (in_left(lane, before))
        before = lane->left.begin;
    else if (lane->left.ordered && before == lane->left.ordered)
        before = lane->left.begin | 1;
    const struct mt_routing values = told(before, cache->ids, 4);
    if (tap_context(lane, kernel, recipe, &values))
        lane->left = (struct mt_lane_left){cache->ids, cache->ids + (cache->stride ? cache->stride : 1), 0};
}

/* Beams go on from each other's places: the first layer's cache, of those that are put in another order. */
static void on_order(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_recipe *recipe,
                     const struct mt_routing *order)
{
    struct mt_routing routing = *order;
    if (!in_left(lane, routing.input))
        return;
    routing.once = 0;
    if (tap_context(lane, kernel, recipe, &routing))
        lane->left.ordered = order->once;
}

/* Layers with a window have slots of their own, though their caches may lie in the memory of the other layers'. */
static bool is_new_array(struct mt_lane_batch *batch, uint64_t array)
{
    for (unsigned i = 0; i < batch->array_count; i++) {
        if (batch->arrays[i] == array)
            return false;
    }
    if (batch->array_count == MT_LANE_ARRAYS)
        return false;
    batch->arrays[batch->array_count++] = array;
    return true;
}

static void on_rows_of_batch(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_recipe *recipe,
                             const struct mt_routing *given)
{
    struct mt_routing routing = *given;
    const bool slots = mt_recipe_kind(recipe) == MT_RECIPE_SLOTS;
    if (lane->batch.rows != routing.rows || !is_of_batch(lane, recipe) ||
        (slots && !is_new_array(&lane->batch, routing.ids)))
        return;
    if (slots)
        routing.once = 0; /* of a batch the array tells */
    if (tap_context(lane, kernel, recipe, &routing) && slots)
        lane->written = (struct mt_lane_written){given->once, lane->history.count};
}

/* Of the cache that the pass's slots were just written to; that one speaks for all layers already. Layers with a window
 * read ahead of what they write. */
static void on_reads(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_recipe *recipe,
                     const struct mt_routing *attended)
{
    struct mt_routing routing = *attended;
    if (!lane->written.cache || routing.once != lane->written.cache ||
        lane->history.count - lane->written.launch > READS_LAUNCHES)
        return;
    lane->written.cache = routing.once = 0;
    tap_context(lane, kernel, recipe, &routing);
}

static void take_context(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_recipe *recipe,
                         const struct mt_routing *routing)
{
    if (mt_recipe_kind(recipe) == MT_RECIPE_BATCH)
        on_batch(lane, kernel, recipe, routing);
    else if (mt_recipe_kind(recipe) == MT_RECIPE_CACHE)
        on_cache(lane, kernel, recipe, routing);
    else if (mt_recipe_kind(recipe) == MT_RECIPE_READS)
        on_reads(lane, kernel, recipe, routing);
    else if (mt_recipe_kind(recipe) == MT_RECIPE_ORDER)
        on_order(lane, kernel, recipe, routing);
    else if (mt_recipe_waits(recipe))
        lane->waiting = (struct mt_lane_waiting){recipe, kernel, *routing, lane->history.count, is_capturing(lane)};
    else if (mt_recipe_needs_batch(recipe))
        on_rows_of_batch(lane, kernel, recipe, routing);
    else
        tap_context(lane, kernel, recipe, routing);
}

static bool has_kind(const struct mt_recipe *const *recipes, unsigned count, enum mt_recipe_kind kind)
{
    for (unsigned i = 0; i < count; i++) {
        if (mt_recipe_kind(recipes[i]) == kind)
            return true;
    }
    return false;
}

/* What the rows and sequences of a pass are: once, although most kernels that read it run in every layer. */
static void on_context(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    const struct mt_recipe *recipes[1 + MT_KERNEL_ALSO];
    struct mt_routing routings[1 + MT_KERNEL_ALSO];
    const char *why = "";
    unsigned count = 0;
    recipes[0] = read_launch(kernel, launch, &routings[0], &why);
    if (recipes[0])
        count++;
    else
        explain_no_tap(kernel, why);
    for (unsigned i = 0; i < MT_KERNEL_ALSO && kernel->also[i]; i++) {
        recipes[count] = kernel->also[i];
        if (has_kind(recipes, count, mt_recipe_kind(recipes[count])))
            continue;
        if (reads(recipes[count], kernel, launch, &routings[count], &why))
            count++;
        else
            explain_no_tap(kernel, why);
    }
    /* Group by group: blocks are those of the slots before them. */
    bool more = true;
    for (uint32_t group = 0; more; group++) {
        more = false;
        for (unsigned i = 0; i < count; i++) {
            struct mt_routing routing = routings[i];
            more |= group + 1 < routing.groups;
            if (group >= routing.groups)
                continue;
            mt_routing_of_group(&routing, group);
            if (group == 0 || all_in_place(&routing))
                take_context(lane, kernel, recipes[i], &routing);
            else
                explain_no_tap(kernel, beyond);
        }
    }
}

static void on_recipe(struct mt_lane *lane, const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    switch (mt_recipe_kind(kernel->recipe)) {
    case MT_RECIPE_ROUTER:
        on_router(lane, kernel, launch);
        break;
    case MT_RECIPE_CONSUMER:
        on_consumer(lane, kernel, launch);
        break;
    case MT_RECIPE_NO_IDS:
        count_not_captured(); /* kernels.c has named it at its first launch */
        break;
    case MT_RECIPE_SLOTS:
    case MT_RECIPE_POSITIONS:
    case MT_RECIPE_TOKENS:
    case MT_RECIPE_STARTS:
    case MT_RECIPE_BLOCKS:
    case MT_RECIPE_BATCH:
    case MT_RECIPE_CACHE:
    case MT_RECIPE_READS:
    case MT_RECIPE_LENGTHS:
    case MT_RECIPE_KV_INDICES:
    case MT_RECIPE_ORDER:
        on_context(lane, kernel, launch);
        break;
    case MT_RECIPE_MAP:
        on_map(lane, kernel, launch);
        break;
    case MT_RECIPE_FINAL:
        break;
    }
}

static bool names(const struct mt_kernel *kernel, const struct mt_launch *launch, uint64_t address)
{
    uint64_t words[MT_HISTORY_BYTES / 8] = {0};
    uint32_t bytes = mt_kernel_copy_params(kernel, launch, words, sizeof words);
    for (uint32_t i = 0; i < bytes / 8; i++) {
        if (words[i] == address)
            return true;
    }
    return false;
}

static void before(const struct mt_launch *launch)
{
    if (__atomic_load_n(&open_count, __ATOMIC_RELAXED) == 0)
        return;
    mt_quiet_begin();
    struct mt_lane *lane = mt_lane_peek(launch->stream);
    if (lane) {
        mt_lane_lock(lane);
        if (lane->pending.open) {
            const struct mt_kernel *kernel = mt_kernels_find(launch);
            bool final = kernel->recipe && mt_recipe_kind(kernel->recipe) == MT_RECIPE_FINAL &&
                         mt_recipe_is_final_of(kernel->recipe, lane->pending.group->recipe) &&
                         names(kernel, launch, lane->pending.routing.ids);
            if (final)
                lane->pending.final = true;
            else
                close_pending(lane);
        }
        mt_lane_unlock(lane);
    }
    mt_quiet_end();
}

/* Of a router that cannot be tapped where it is. False: it is none. */
static bool count_router(const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    struct mt_routing routing;
    const char *why;
    if (!kernel->recipe)
        return false;
    const enum mt_recipe_kind kind = mt_recipe_kind(kernel->recipe);
    const bool router = kind == MT_RECIPE_NO_IDS ||
                        (kind == MT_RECIPE_ROUTER &&
                         (read_launch(kernel, launch, &routing, &why) || why == beyond || without_ids(kernel)));
    if (router)
        count_not_captured();
    return router;
}

static void after(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    struct mt_lane *lane = mt_lane_find(launch->stream);
    if (lane) {
        mt_lane_lock(lane);
        mt_history_add(&lane->history, kernel, launch);
        /* A map comes behind the tap of the ids that it reads: only so can the tap of what it writes be beside. */
        bool map = kernel->recipe && mt_recipe_kind(kernel->recipe) == MT_RECIPE_MAP;
        if (lane->branch.open &&
            (map || !mt_branch_launched(&lane->branch, lane->stream, mt_history_latest(&lane->history))))
            settle(lane);
        if (lane->pending.open && lane->pending.final)
            close_pending(lane);
        if (lane->consumed.begin && mt_use_of(&lane->consumed, mt_history_latest(&lane->history)) == MT_USE_UNKNOWN)
            lane->consumed = (struct mt_range){0};
        if (kernel->recipe)
            on_recipe(lane, kernel, launch);
        mt_lane_unlock(lane);
    } else {
        count_router(kernel, launch);
    }
    mt_quiet_end();
}

static void fence(CUstream stream)
{
    if (__atomic_load_n(&open_count, __ATOMIC_RELAXED) == 0)
        return;
    mt_quiet_begin();
    struct mt_lane *lane;
    /* The legacy stream waits for the others, so what is seen on it is seen on all. */
    bool all = !stream || stream == CU_STREAM_LEGACY;
    for (unsigned i = 0; (lane = mt_lane_get(i)); i++) {
        /* A capturing stream is another thread's business, and its graph is not made for two. */
        if (all ? capture_status(lane->stream) != CU_STREAM_CAPTURE_STATUS_NONE : lane->stream != stream)
            continue;
        mt_lane_lock(lane);
        close_pending(lane);
        settle(lane);
        mt_lane_unlock(lane);
    }
    mt_quiet_end();
}

/* Before ids were seen nobody asks who made them or their routers' input. */
static void recorded(CUevent event, CUstream stream)
{
    if (!__atomic_load_n(&ids_seen, __ATOMIC_RELAXED))
        return;
    mt_quiet_begin();
    struct mt_lane *lane = mt_lane_peek(stream);
    if (lane)
        mt_join_recorded(event, lane);
    mt_quiet_end();
}

static void waits(CUstream stream, CUevent event)
{
    if (!__atomic_load_n(&ids_seen, __ATOMIC_RELAXED))
        return;
    mt_quiet_begin();
    struct mt_lane *lane = mt_lane_find(stream);
    if (lane)
        mt_join_waited(lane, event);
    mt_quiet_end();
}

static void capture_ends(CUstream stream)
{
    fence(stream);
    mt_quiet_begin();
    struct mt_lane *lane;
    for (unsigned i = 0; (lane = mt_lane_get(i)); i++) {
        mt_lane_lock(lane);
        count_lost(lane, mt_branch_finish(&lane->branch, stream));
        if (lane->stream == stream)
            mt_group_captured(lane);
        mt_lane_unlock(lane);
    }
    mt_quiet_end();
}

/* Behind a graph that somebody builds by hand there is no telling what will be added, or changed, later. */
static void node(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    if (count_router(kernel, launch))
        mt_log_once(MT_LOG_PROBLEM, "not captured: %s in a graph that is made node by node, not captured from a stream",
                    kernel->info->base);
    mt_quiet_end();
}

static void unload(void)
{
    mt_kernels_forget();
}

static void context_gone(CUcontext context)
{
    mt_quiet_begin();
    mt_tap_context_gone(context);
    mt_quiet_end();
}

void mt_capture_start(struct mt_recipes *recipes, bool taps_beside)
{
    beside = taps_beside;
    mt_kernels_start(recipes, false);
}

const struct mt_sink *mt_capture_sink(void)
{
    static const struct mt_sink sink = {&open_count, before,       after, fence,  recorded,
                                        waits,       capture_ends, node,  unload, context_gone};
    return &sink;
}
