/* SPDX-License-Identifier: Apache-2.0 */
#include "layer.h"

#include "../hook/driver.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS_MAX 1024
#define OWNERS 16384u /* words known; a power of two */
#define PLACES 4096u  /* places known; a power of two */
#define NOBODY (-2)   /* a word that identifies nothing */
#define NEW (-3)      /* a layer that was never seen */
#define KEYS 8u
#define PROVEN 16u /* so often right before a place is believed without a look at the rest */

/* Where in a launch, and how far before the router. A place that holds weights agrees with each decision. */
struct place {
    const struct mt_kernel *kernel; /* NULL: free */
    uint32_t back, index;
    uint32_t good, bad;
};

struct owner {
    uint64_t word; /* 0: free */
    int32_t layer; /* or NOBODY */
    int32_t was;   /* NOBODY's: the layer that it was of, MT_LAYER_UNKNOWN: none */
    uint32_t hits, misses;
    const struct mt_kernel *kernel; /* and the place: where it was learnt */
    uint32_t back, index;
};

struct mt_layers {
    pthread_mutex_t lock;
    int32_t count;
    uint64_t routers, newest; /* seen so far, and when a layer was new */
    uint32_t owners_used, places_used;
    const struct place *keys[KEYS]; /* proven places, the nearest to the router first */
    uint32_t key_count;
    struct owner owners[OWNERS];
    struct place places[PLACES];
};

struct mt_layers *mt_layers_new(void)
{
    struct mt_layers *layers = calloc(1, sizeof *layers);
    if (layers)
        pthread_mutex_init(&layers->lock, NULL);
    return layers;
}

/* On the way of every launch of the engine. Only what can hold an address is copied; the rest reads as zero. */
void mt_history_add(struct mt_history *history, const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    struct mt_history_entry *entry = &history->entries[history->count++ % MT_HISTORY_LAUNCHES];
    uint32_t end = kernel->bytes < MT_HISTORY_BYTES ? kernel->bytes : MT_HISTORY_BYTES;
    entry->kernel = kernel;
    entry->bytes = end;
    if (!launch->params || !kernel->moves) {
        memset(entry->words, 0, (end + 7) & ~7u); /* padding must not show an older launch's arguments */
        entry->bytes = mt_kernel_copy_params(kernel, launch, entry->words, end);
        return;
    }
    const struct mt_kernel_move *move = kernel->moves;
    for (unsigned n = kernel->move_count; n; n--, move++) {
        uint64_t *to = &entry->words[move->word];
        if (move->size == 8)
            memcpy(to, launch->params[move->param], 8);
        else if (!move->size)
            *to = 0;
        else
            memcpy(to, launch->params[move->param], move->size);
    }
}

static void copy_entry(struct mt_history_entry *to, const struct mt_history_entry *from)
{
    to->kernel = from->kernel;
    to->bytes = from->bytes;
    memcpy(to->words, from->words, (from->bytes + 7) & ~7u);
}

bool mt_history_get(const struct mt_history *history, uint32_t i, struct mt_history_entry *entry)
{
    if (i >= history->count || history->count - i > MT_HISTORY_LAUNCHES)
        return false;
    copy_entry(entry, &history->entries[i % MT_HISTORY_LAUNCHES]);
    return true;
}

void mt_history_join(struct mt_history *history, const struct mt_history_entry *entry)
{
    struct mt_history_joined *joined = &history->joined[history->joined_count++ % MT_HISTORY_JOINED];
    joined->count = history->count;
    copy_entry(&joined->entry, entry);
}

static uint32_t hash(uint64_t word, uint32_t size)
{
    return (uint32_t) ((word * 0x9e3779b97f4a7c15ull) >> 40) & (size - 1);
}

static struct owner *find_owner(struct mt_layers *layers, uint64_t word)
{
    uint32_t i = hash(word, OWNERS);
    while (layers->owners[i].word && layers->owners[i].word != word)
        i = (i + 1) & (OWNERS - 1);
    return &layers->owners[i];
}

/* Keeps what was confirmed; addresses that were seen once (activations of another batch size) make room. */
static void make_room(struct mt_layers *layers)
{
    struct owner *old = malloc(sizeof layers->owners);
    if (!old)
        return;
    memcpy(old, layers->owners, sizeof layers->owners);
    memset(layers->owners, 0, sizeof layers->owners);
    layers->owners_used = 0;
    for (uint32_t i = 0; i < OWNERS; i++) {
        if (old[i].word && (old[i].layer != NOBODY || old[i].was >= 0) && old[i].hits) {
            *find_owner(layers, old[i].word) = old[i];
            layers->owners_used++;
        }
    }
    free(old);
}

static void own(struct mt_layers *layers, uint64_t word, int32_t layer, const struct place *place)
{
    if (layers->owners_used > OWNERS * 3 / 4)
        make_room(layers);
    struct owner *owner = find_owner(layers, word);
    if (!owner->word) {
        if (layers->owners_used > OWNERS * 7 / 8)
            return;
        layers->owners_used++;
    }
    *owner = (struct owner){.word = word, .layer = layer, .was = MT_LAYER_UNKNOWN};
    if (place) {
        owner->kernel = place->kernel;
        owner->back = place->back;
        owner->index = place->index;
    }
}

/* It identifies nothing, as far as is known. */
static void disown(struct mt_layers *layers, uint64_t word)
{
    struct owner *owner = find_owner(layers, word);
    if (!owner->word) {
        own(layers, word, NOBODY, NULL);
    } else if (owner->layer != NOBODY) {
        owner->was = owner->layer;
        owner->layer = NOBODY;
    }
}

/* Any device address, at least as aligned as a weight is. */
static bool may_be_weight(uint64_t word)
{
    return word >= 1u << 20 && word < 1ull << 57 && (word & 15) == 0;
}

static bool is_device_address(uint64_t word)
{
    unsigned type = 0;
    return mt_driver.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr) word) ==
               CUDA_SUCCESS &&
           type == CU_MEMORYTYPE_DEVICE;
}

static const struct mt_history_entry *entry_back(const struct mt_history *history, uint32_t back)
{
    return &history->entries[(history->count - 1 - back) % MT_HISTORY_LAUNCHES];
}

static bool holds(const struct mt_history_entry *entry, uint64_t word)
{
    for (uint32_t i = 0; i < entry->bytes / 8; i++) {
        if (entry->words[i] == word)
            return true;
    }
    return false;
}

/* Of the router only what its parameters begin with: the unused rest of its by-value structs holds left-over bytes of
 * the stack, the router's own weight among them. */
static bool router_names(const struct mt_history_entry *router, uint64_t word)
{
    for (unsigned i = 0; i < router->kernel->param_count; i++) {
        uint32_t offset = router->kernel->param[i].offset;
        if (offset % 8 == 0 && offset + 8 <= router->bytes && router->words[offset / 8] == word)
            return true;
    }
    return false;
}

static bool shared(const struct mt_history *history, uint32_t launches, uint32_t own_back, uint64_t word)
{
    if (own_back && router_names(entry_back(history, 0), word))
        return true;
    for (uint32_t back = 1; back < launches; back++) {
        if (back != own_back && holds(entry_back(history, back), word))
            return true;
    }
    return false;
}

/*
 * Did another stream, which this one waited for since the last router, make it? The same kernel with the word in the
 * same place does the same work, for another micro-batch: it is a weight of both.
 */
static bool made_elsewhere(const struct mt_history *history, uint32_t launches, const struct mt_history_entry *own,
                           uint32_t index)
{
    for (uint32_t i = 0; i < MT_HISTORY_JOINED && i < history->joined_count; i++) {
        const struct mt_history_joined *joined = &history->joined[i];
        const struct mt_history_entry *entry = &joined->entry;
        if (history->count - joined->count > launches || !holds(entry, own->words[index]))
            continue;
        if (entry->kernel != own->kernel || entry->words[index] != own->words[index])
            return true;
    }
    return false;
}

static uint32_t place_hash(const struct mt_kernel *kernel, uint32_t back, uint32_t index)
{
    return hash((uintptr_t) kernel ^ (uint64_t) back << 48 ^ (uint64_t) index << 56 ^ index, PLACES);
}

/* The place, or the free one that it would get. */
static struct place *seek_place(struct mt_layers *layers, const struct mt_kernel *kernel, uint32_t back, uint32_t index)
{
    uint32_t i = place_hash(kernel, back, index);
    for (;; i = (i + 1) & (PLACES - 1)) {
        struct place *place = &layers->places[i];
        if (!place->kernel || (place->kernel == kernel && place->back == back && place->index == index))
            return place;
    }
}

static struct place *find_place(struct mt_layers *layers, const struct mt_kernel *kernel, uint32_t back, uint32_t index)
{
    struct place *place = seek_place(layers, kernel, back, index);
    if (place->kernel)
        return place;
    if (layers->places_used > PLACES * 3 / 4) {
        /* Kernels were recompiled again and again: what is in use comes back at once. */
        memset(layers->places, 0, sizeof layers->places);
        layers->places_used = layers->key_count = 0;
        place = seek_place(layers, kernel, back, index);
    }
    layers->places_used++;
    *place = (struct place){kernel, back, index, 0, 0};
    return place;
}

static bool proven(const struct place *place)
{
    return place->good >= PROVEN * (1 + 8 * (uint64_t) place->bad);
}

/* The proven places that this window has must say the same, and more than one of them if there are more. */
static int32_t by_key(struct mt_layers *layers, const struct mt_history *history, uint32_t launches)
{
    int32_t layer = MT_LAYER_UNKNOWN;
    uint32_t present = 0;
    for (uint32_t i = 0; i < layers->key_count; i++) {
        const struct place *key = layers->keys[i];
        if (key->back >= launches)
            continue;
        const struct mt_history_entry *entry = entry_back(history, key->back);
        if (entry->kernel != key->kernel || key->index >= entry->bytes / 8)
            continue;
        const struct owner *owner = find_owner(layers, entry->words[key->index]);
        if (!owner->word || owner->layer == NOBODY || owner->hits < 2 || (present && owner->layer != layer))
            return MT_LAYER_UNKNOWN;
        layer = owner->layer;
        present++;
    }
    return present > 1 || present == layers->key_count ? layer : MT_LAYER_UNKNOWN;
}

static void choose_key(struct mt_layers *layers, const struct place *place)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < layers->key_count; i++) {
        if (layers->keys[i] == place)
            return;
    }
    while (at < layers->key_count && layers->keys[at]->back <= place->back)
        at++;
    if (at == KEYS)
        return;
    if (layers->key_count < KEYS)
        layers->key_count++;
    memmove(&layers->keys[at + 1], &layers->keys[at], (layers->key_count - 1 - at) * sizeof layers->keys[0]);
    layers->keys[at] = place;
}

static void drop_key(struct mt_layers *layers, const struct place *place)
{
    for (uint32_t i = 0; i < layers->key_count; i++) {
        if (layers->keys[i] == place) {
            layers->key_count--;
            memmove(&layers->keys[i], &layers->keys[i + 1], (layers->key_count - i) * sizeof layers->keys[0]);
            return;
        }
    }
}

/* The words of the launches since the last router that no other of these launches shares. */
#define EVIDENCE_MAX 128u
struct evidence {
    uint32_t count;
    struct witness {
        uint64_t word;
        int32_t layer; /* NEW: nobody's yet */
        bool doubtful; /* NEW only because it identified nothing so far */
        struct place *place;
        double weight;
    } all[EVIDENCE_MAX]; /* newest launch first */
};

static bool seen_before(const struct evidence *evidence, uint64_t word)
{
    for (uint32_t n = 0; n < evidence->count; n++) {
        if (evidence->all[n].word == word)
            return true; /* a tensor map may name the weight more than once */
    }
    return false;
}

/*
 * How much a place's word is worth. Half if nothing is known of the place; less if nothing is known of the word either:
 * another batch size, or the step after the first, brings launches that were not there before.
 */
static double worth(const struct place *place, bool known)
{
    if (!place->good && !place->bad)
        return known ? 0.5 : 0.2;
    return (1.0 + place->good) / (2.0 + place->good + 8.0 * place->bad);
}

/*
 * Behind the launch that made the logits come others of this layer, and behind these the experts of the layer before:
 * the further from the router, the less a word counts.
 */
#define FADING 0.75
#define CLEAR 1.15 /* times the votes of the next best */
#define CLEAR_NEW 2.0

/* A word that identified nothing, in a place that is proven: NEW if it never did; what it was, if it was learnt in such
 * a place as well; else NOBODY: it may have been that layer's weight, or an activation where now a weight is. */
static int32_t revived(struct mt_layers *layers, const struct owner *owner)
{
    if (owner->was < 0)
        return NEW;
    return proven(seek_place(layers, owner->kernel, owner->back, owner->index)) ? owner->was : NOBODY;
}

/* Is it a weight that was right again and again, in a place where weights stand? Then whatever else names it in this
 * window holds left-over bytes of the stack. */
static bool confirmed(struct mt_layers *layers, const struct owner *owner, const struct mt_history *history,
                      uint32_t launches)
{
    if (!owner->word || owner->layer < 0 || owner->hits < 2)
        return false;
    for (uint32_t back = 1; back < launches; back++) {
        const struct mt_history_entry *entry = entry_back(history, back);
        for (uint32_t i = 0; i < entry->bytes / 8; i++) {
            if (entry->words[i] == owner->word && proven(seek_place(layers, entry->kernel, back, i)))
                return true;
        }
    }
    return false;
}

static void gather(struct mt_layers *layers, const struct mt_history *history, uint32_t launches, bool reader,
                   struct evidence *evidence)
{
    /* The router before: what it was given and what it stored is no weight of this layer. */
    const struct mt_history_entry *before =
        launches < history->count && launches < MT_HISTORY_LAUNCHES ? entry_back(history, launches) : NULL;
    double distance = 1;
    evidence->count = 0;
    /* 0 is the router itself: it only witnesses what is shared. */
    for (uint32_t back = reader ? 0 : 1; back < launches; back++) {
        const struct mt_history_entry *entry = entry_back(history, back);
        double best = 0;
        /* A stage of grouped routing: what it stores and nobody reads is named once, as a weight is. */
        if (back && entry->kernel->routes)
            continue;
        for (uint32_t i = 0; i < entry->bytes / 8 && evidence->count < EVIDENCE_MAX; i++) {
            uint64_t word = entry->words[i];
            if (!may_be_weight(word) || seen_before(evidence, word))
                continue;
            struct owner *owner = find_owner(layers, word);
            bool nobody = owner->word && owner->layer == NOBODY;
            struct place *place = NULL;
            if (nobody) {
                place = find_place(layers, entry->kernel, back, i);
                if (!proven(place))
                    continue;
            }
            if (shared(history, launches, back, word)) {
                bool left_over = confirmed(layers, owner, history, launches);
                if (!left_over)
                    disown(layers, word); /* an activation, here and wherever its memory is used again */
                if (!left_over || !proven(seek_place(layers, entry->kernel, back, i)))
                    continue;
            }
            if (made_elsewhere(history, launches, entry, i) || (before && router_names(before, word)))
                continue;
            if (!owner->word && !is_device_address(word)) {
                disown(layers, word);
                continue;
            }
            if (!place)
                place = find_place(layers, entry->kernel, back, i);
            const int32_t of = nobody ? revived(layers, owner) : owner->word ? owner->layer : NEW;
            if (of == NOBODY)
                continue;
            bool known = of != NEW;
            double value = worth(place, known);
            if (value > best)
                best = value;
            evidence->all[evidence->count++] = (struct witness){word, of, nobody && of == NEW, place, distance * value};
        }
        distance *= 1 - best * (1 - FADING);
    }
}

/*
 * The nearest launch with something to say is most likely the router's GEMM. If a place of it was never wrong so far
 * and the word there is known, whatever is new further back is not of this layer: the end of the pass before.
 */
static int32_t nearest(const struct evidence *evidence)
{
    int32_t layer = MT_LAYER_UNKNOWN;
    for (uint32_t n = 0; n < evidence->count && evidence->all[n].place->back == evidence->all[0].place->back; n++) {
        const struct witness *witness = &evidence->all[n];
        if (!witness->place->good || witness->place->bad)
            continue;
        if (witness->layer == NEW || (layer != MT_LAYER_UNKNOWN && witness->layer != layer))
            return MT_LAYER_UNKNOWN;
        layer = witness->layer;
    }
    return layer;
}

/* Does the nearest launch with something to say know only layers that were seen, in a place that was never wrong? Then
 * new words further back are no sign of a new layer, however many. */
static bool known_nearby(const struct evidence *evidence)
{
    bool known = false;
    for (uint32_t n = 0; n < evidence->count && evidence->all[n].place->back == evidence->all[0].place->back; n++) {
        if (evidence->all[n].layer == NEW)
            return false;
        known |= !evidence->all[n].place->bad;
    }
    return known;
}

/*
 * What has most votes, unless something else has nearly as many. `settled`: no new layer came for a while, so there
 * must be little that speaks against one.
 */
static int32_t decide(const struct evidence *evidence, bool settled)
{
    int32_t best = MT_LAYER_UNKNOWN;
    double most = 0, second = 0;
    for (uint32_t n = 0; n < evidence->count; n++) {
        int32_t layer = evidence->all[n].layer;
        double votes = 0;
        for (uint32_t m = n; m < evidence->count; m++) {
            if (evidence->all[m].layer == layer)
                votes += evidence->all[m].weight;
        }
        if (votes > most) {
            if (layer != best)
                second = most;
            most = votes;
            best = layer;
        } else if (layer != best && votes > second) {
            second = votes;
        }
    }
    return most > second * (best == NEW && settled ? CLEAR_NEW : CLEAR) ? best : MT_LAYER_UNKNOWN;
}

/* A word that identified nothing so far, in a place where weights stand, may be one of a layer that was seen. */
static bool new_in_doubt(const struct evidence *evidence)
{
    bool known = false, doubtful = false;
    for (uint32_t n = 0; n < evidence->count; n++) {
        known |= evidence->all[n].layer != NEW;
        doubtful |= evidence->all[n].doubtful;
    }
    return known && doubtful;
}

/* What agrees with the decision gains, what contradicts it loses. */
static void learn(struct mt_layers *layers, const struct evidence *evidence, int32_t decision, int32_t layer)
{
    for (uint32_t n = 0; n < evidence->count; n++) {
        const struct witness *witness = &evidence->all[n];
        struct owner *owner = find_owner(layers, witness->word);
        struct place *place = witness->place;
        if (witness->layer == decision) {
            place->good++;
            if (proven(place))
                choose_key(layers, place);
        } else {
            place->bad++;
            drop_key(layers, place);
        }
        if (witness->layer == NEW || (witness->layer == layer && owner->layer == NOBODY))
            own(layers, witness->word, layer, place);
        else if (witness->layer == layer)
            owner->hits++;
        /* Elsewhere it is a left-over of the stack, and only that place is to blame. */
        else if (owner->kernel == place->kernel && owner->index == place->index && ++owner->misses * 8 > owner->hits)
            disown(layers, owner->word); /* a workspace, an activation */
    }
}

static int32_t identify(struct mt_layers *layers, const struct mt_history *history, uint32_t launches, bool reader)
{
    layers->routers++;
    int32_t layer = by_key(layers, history, launches);
    if (layer != MT_LAYER_UNKNOWN)
        return layer;
    struct evidence evidence;
    gather(layers, history, launches, reader, &evidence);
    if (!evidence.count)
        return MT_LAYER_UNKNOWN;
    bool settled = layers->routers - layers->newest > 2 * (uint64_t) layers->count + 8;
    int32_t decision = nearest(&evidence);
    if (decision == MT_LAYER_UNKNOWN)
        decision = decide(&evidence, settled);
    if (decision == NEW && (known_nearby(&evidence) || new_in_doubt(&evidence)))
        decision = MT_LAYER_UNKNOWN;
    if (decision == MT_LAYER_UNKNOWN)
        return decision;
    layer = decision;
    if (decision == NEW) {
        layer = layers->count < LAYERS_MAX ? layers->count++ : MT_LAYER_UNKNOWN;
        layers->newest = layers->routers;
    }
    if (layer != MT_LAYER_UNKNOWN)
        learn(layers, &evidence, decision, layer);
    return layer;
}

static int32_t identify_locked(struct mt_layers *layers, const struct mt_history *history, uint32_t launches,
                               bool reader)
{
    if (launches > MT_HISTORY_LAUNCHES)
        launches = MT_HISTORY_LAUNCHES;
    pthread_mutex_lock(&layers->lock);
    int32_t layer = identify(layers, history, launches, reader);
    pthread_mutex_unlock(&layers->lock);
    return layer;
}

int32_t mt_layers_identify(struct mt_layers *layers, const struct mt_history *history, uint32_t launches)
{
    return identify_locked(layers, history, launches, false);
}

int32_t mt_layers_identify_reader(struct mt_layers *layers, const struct mt_history *history, uint32_t launches)
{
    return identify_locked(layers, history, launches, true);
}
