/* SPDX-License-Identifier: Apache-2.0 */
#include "runs.h"

#include <stdlib.h>
#include <string.h>

#define OFTEN 3u /* passes that begin with a look-up */
#define TWICE 2u /* graphs */
#define SHARE 2u /* a whole step's graph has at least so many times the layers that it lacks */

static struct mt_runs_lane *lane_of(struct mt_runs *runs, const void *lane)
{
    for (unsigned i = 0; i < MT_RUNS_LANES; i++) {
        if (!runs->lanes[i] && (runs->lanes[i] = calloc(1, sizeof *runs->lanes[i])))
            runs->lanes[i]->lane = lane;
        if (!runs->lanes[i] || runs->lanes[i]->lane == lane)
            return runs->lanes[i];
    }
    return NULL;
}

static void add(struct mt_run *run, int32_t layer)
{
    for (uint32_t i = 0; i < run->count; i++)
        run->broken |= run->layers[i] == layer;
    run->broken |= layer < 0 || run->count == MT_RUNS_LAYERS;
    if (!run->broken)
        run->layers[run->count++] = (int16_t) layer;
}

static void end_looked_up(struct mt_runs *runs, const struct mt_run *run)
{
    for (uint32_t i = 0; run->on && !run->broken && i < run->count; i++) {
        struct mt_runs_layer *layer = &runs->layers[run->layers[i]];
        const int32_t head = run->layers[0] + 1;
        layer->head = layer->head && (layer->head != head || layer->table != run->table) ? -1 : head;
        layer->table = run->table;
        layer->heads++;
    }
}

static void end_captured(struct mt_runs *runs, const struct mt_run *run)
{
    if (!run->on || run->broken || !run->count)
        return;
    const bool whole = run->count > 1 && run->count >= SHARE * ((uint32_t) runs->count - run->count);
    for (uint32_t i = 0; i < run->count; i++) {
        struct mt_runs_layer *layer = &runs->layers[run->layers[i]];
        layer->captured++;
        runs->differ |= whole && runs->wholes && !layer->whole;
        layer->whole |= whole;
    }
    uint32_t in_whole = 0;
    for (int32_t i = 0; i < runs->count; i++)
        in_whole += runs->layers[i].whole;
    runs->differ |= whole && in_whole != run->count;
    runs->wholes += whole;
}

/* How many layers have this head, or 0 if it was not seen often. */
static uint32_t behind(const struct mt_runs *runs, int32_t head)
{
    uint32_t count = 0;
    for (int32_t i = 0; head > 0 && i < runs->count; i++)
        count += runs->layers[i].head == head && runs->layers[i].heads >= OFTEN;
    return count;
}

/* The head of most layers: the target's first. */
static int32_t main_head(const struct mt_runs *runs)
{
    int32_t found = 0;
    uint32_t most = 1; /* where each layer has a look-up, none of them begins a pass */
    for (int32_t i = 0; i < runs->count; i++) {
        uint32_t count = behind(runs, i + 1);
        if (count > most)
            found = i + 1;
        most = count > most ? count : most;
    }
    return found;
}

static void judge(struct mt_runs *runs)
{
    const int32_t target = main_head(runs);
    bool changed = false;
    for (int32_t i = 0; i < runs->count; i++) {
        struct mt_runs_layer *layer = &runs->layers[i];
        bool other = target && layer->head > 0 && layer->head != target && layer->heads >= OFTEN &&
                     layer->table == runs->layers[target - 1].table;
        other |= runs->wholes >= TWICE && !runs->differ && !layer->whole && layer->captured >= TWICE;
        changed |= layer->model != other;
        layer->model = other;
    }
    runs->version += changed;
}

uint32_t mt_runs_note(struct mt_runs *runs, const void *id, const struct mt_runs_seen *seen, bool capturing,
                      int32_t layer, uint32_t rows)
{
    pthread_mutex_lock(&runs->lock);
    struct mt_runs_lane *lane = layer < MT_RUNS_LAYERS ? lane_of(runs, id) : NULL;
    bool over = false;
    if (lane && layer >= runs->count)
        runs->count = layer + 1;
    /* Other rows: of another table that only looks so. */
    if (lane && lane->seen.lookups != seen->lookups && seen->rows == rows) {
        end_looked_up(runs, &lane->looked_up);
        lane->looked_up = (struct mt_run){.on = true, .table = seen->table};
        over = true;
    }
    if (lane && capturing != lane->captured.on)
        lane->captured = (struct mt_run){.on = capturing};
    if (lane) {
        lane->seen = *seen;
        add(&lane->looked_up, layer);
        add(&lane->captured, layer);
    }
    if (over)
        judge(runs);
    const uint32_t version = runs->version;
    pthread_mutex_unlock(&runs->lock);
    return version;
}

uint32_t mt_runs_captured(struct mt_runs *runs, const void *id)
{
    pthread_mutex_lock(&runs->lock);
    struct mt_runs_lane *lane = lane_of(runs, id);
    if (lane && lane->captured.on) {
        end_captured(runs, &lane->captured);
        lane->captured = (struct mt_run){.on = false};
        judge(runs);
    }
    const uint32_t version = runs->version;
    pthread_mutex_unlock(&runs->lock);
    return version;
}

uint32_t mt_runs_model(struct mt_runs *runs, int32_t layer)
{
    pthread_mutex_lock(&runs->lock);
    uint32_t model = layer >= 0 && layer < MT_RUNS_LAYERS ? runs->layers[layer].model : 0;
    pthread_mutex_unlock(&runs->lock);
    return model;
}
