/* SPDX-License-Identifier: Apache-2.0 */
#include "layer.h"

#include "driver.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS_MAX 1024
#define OWNERS 16384u /* words known; a power of two */
#define WORDS (MT_HISTORY_BYTES / sizeof(uint64_t))
#define NOBODY (-1) /* a word that identifies nothing */
#define KEYS 4u

struct owner {
    uint64_t word; /* 0: free */
    int32_t layer; /* or NOBODY */
    uint32_t hits; /* how often it agreed with the decision */
};

/* Where a confirmed identity was read: prefill and decode each have their own GEMM, hence a few of them. */
struct key {
    const struct mt_kernel *kernel;
    uint32_t back; /* launches before the router */
    uint32_t index;
};

struct mt_layers {
    pthread_mutex_t lock;
    int32_t count;
    uint32_t used;
    struct key keys[KEYS];
    uint32_t next_key;
    struct owner owners[OWNERS];
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
    if (!launch->params || end < kernel->bytes || kernel->has_gaps) {
        memset(entry->words, 0, (end + 7) & ~7u); /* padding must not show an older launch's arguments */
        entry->bytes = mt_kernel_copy_params(kernel, launch, entry->words, end);
        return;
    }
    for (unsigned i = 0; i < kernel->param_count; i++) {
        const struct mt_kernel_param *p = &kernel->param[i];
        uint64_t *to = &entry->words[p->offset / 8];
        if (p->size == 8) {
            memcpy(to, launch->params[i], 8);
        } else if (p->size > 8) {
            entry->words[(p->offset + p->size - 1) / 8] = 0;
            memcpy(to, launch->params[i], p->size);
        } else {
            *to = 0;
        }
    }
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
    layers->used = 0;
    for (uint32_t i = 0; i < OWNERS; i++) {
        if (old[i].word && old[i].layer != NOBODY && old[i].hits) {
            *find_owner(layers, old[i].word) = old[i];
            layers->used++;
        }
    }
    free(old);
}

static void own(struct mt_layers *layers, uint64_t word, int32_t layer)
{
    if (layers->used > OWNERS * 3 / 4)
        make_room(layers);
    struct owner *owner = find_owner(layers, word);
    if (!owner->word) {
        if (layers->used > OWNERS * 7 / 8)
            return;
        layers->used++;
    }
    *owner = (struct owner){word, layer, 0};
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
    if (router_names(entry_back(history, 0), word))
        return true;
    for (uint32_t back = 1; back < launches; back++) {
        if (back != own_back && holds(entry_back(history, back), word))
            return true;
    }
    return false;
}

static int32_t by_key(struct mt_layers *layers, const struct mt_history *history, uint32_t launches)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        const struct key *key = &layers->keys[i];
        if (!key->kernel || key->back >= launches)
            continue;
        const struct mt_history_entry *entry = entry_back(history, key->back);
        if (entry->kernel != key->kernel || key->index >= entry->bytes / 8)
            continue;
        const struct owner *owner = find_owner(layers, entry->words[key->index]);
        if (owner->word && owner->layer != NOBODY && owner->hits >= 2)
            return owner->layer;
    }
    return MT_LAYER_UNKNOWN;
}

static void remember_key(struct mt_layers *layers, const struct mt_history_entry *entry, uint32_t back, uint32_t index)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        const struct key *key = &layers->keys[i];
        if (key->kernel == entry->kernel && key->back == back && key->index == index)
            return;
    }
    layers->keys[layers->next_key++ % KEYS] = (struct key){entry->kernel, back, index};
}

/* The words of the launches since the last router that no other of these launches shares. */
#define EVIDENCE_MAX 128u
struct evidence {
    uint32_t count;
    struct witness {
        uint64_t word;
        uint32_t back, index;
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

static void gather(struct mt_layers *layers, const struct mt_history *history, uint32_t launches,
                   struct evidence *evidence)
{
    evidence->count = 0;
    /* 0 is the router itself: it only witnesses what is shared. */
    for (uint32_t back = 1; back < launches; back++) {
        const struct mt_history_entry *entry = entry_back(history, back);
        for (uint32_t i = 0; i < entry->bytes / 8 && evidence->count < EVIDENCE_MAX; i++) {
            uint64_t word = entry->words[i];
            if (!may_be_weight(word) || seen_before(evidence, word))
                continue;
            const struct owner *owner = find_owner(layers, word);
            if (owner->word && owner->layer == NOBODY)
                continue;
            if (shared(history, launches, back, word)) {
                own(layers, word, NOBODY); /* an activation, here and wherever its memory is used again */
                continue;
            }
            if (!owner->word && !is_device_address(word)) {
                own(layers, word, NOBODY);
                continue;
            }
            evidence->all[evidence->count++] = (struct witness){word, back, i};
        }
    }
}

struct ballot {
    uint64_t weight;
    uint32_t words;
    bool confirmed;
};

/*
 * Each known word of the launches up to `back` votes for its layer, the stronger the more often it was right; but not
 * for the layer that is barred: what two neighbouring layers share is a workspace. Among equals the expected layer
 * wins: the other word is an activation's whose sharing was out of sight, on another stream.
 */
static int32_t count_votes(struct mt_layers *layers, const struct evidence *evidence, uint32_t back, int32_t barred,
                           int32_t expected, struct ballot *won)
{
    static const struct ballot none;
    int32_t best = MT_LAYER_UNKNOWN;
    *won = none;
    for (uint32_t n = 0; n < evidence->count && evidence->all[n].back <= back; n++) {
        int32_t layer = find_owner(layers, evidence->all[n].word)->layer;
        if (!find_owner(layers, evidence->all[n].word)->word || layer == barred || layer == best)
            continue;
        struct ballot ballot = none;
        for (uint32_t m = n; m < evidence->count && evidence->all[m].back <= back; m++) {
            const struct owner *owner = find_owner(layers, evidence->all[m].word);
            if (!owner->word || owner->layer != layer)
                continue;
            ballot.words++;
            ballot.weight += 1 + 2 * (uint64_t) (owner->hits < 1000 ? owner->hits : 1000);
            ballot.confirmed |= owner->hits >= 2;
        }
        if (ballot.weight > won->weight || (ballot.weight == won->weight && layer == expected)) {
            *won = ballot;
            best = layer;
        }
    }
    return best;
}

static int32_t decide(struct mt_layers *layers, const struct evidence *evidence, int32_t previous)
{
    uint32_t newest = evidence->all[0].back;
    bool news = false; /* in the launch nearest to the router, as a rule the one that made the logits */
    for (uint32_t n = 0; n < evidence->count && evidence->all[n].back == newest; n++)
        news |= !find_owner(layers, evidence->all[n].word)->word;
    struct ballot ballot;
    int32_t expected = previous + 1 < layers->count ? previous + 1 : 0;
    if (!news)
        return count_votes(layers, evidence, newest, NOBODY, expected, &ballot);
    /* Something new there: another batch size's activations, or a layer never seen. What lies behind it decides. A
     * layer comes after its neighbour, or first in a pass; anything else must have been right before to be believed. */
    int32_t layer = count_votes(layers, evidence, UINT32_MAX, previous, expected, &ballot);
    uint32_t unknown = 0; /* a new layer brings several; a new pass at another batch size mostly known ones */
    for (uint32_t n = 0; n < evidence->count; n++)
        unknown += !find_owner(layers, evidence->all[n].word)->word;
    bool pass_begins = layer == 0 && (ballot.words >= 2 || ballot.words >= unknown || previous == MT_LAYER_UNKNOWN);
    if (layer != MT_LAYER_UNKNOWN && (ballot.confirmed || pass_begins || (layer == expected && expected > 0)))
        return layer;
    return layers->count < LAYERS_MAX ? layers->count++ : MT_LAYER_UNKNOWN;
}

static int32_t identify(struct mt_layers *layers, const struct mt_history *history, uint32_t launches, int32_t previous)
{
    int32_t layer = by_key(layers, history, launches);
    if (layer != MT_LAYER_UNKNOWN)
        return layer;
    struct evidence evidence;
    gather(layers, history, launches, &evidence);
    if (!evidence.count)
        return MT_LAYER_UNKNOWN;
    layer = decide(layers, &evidence, previous);
    if (layer == MT_LAYER_UNKNOWN)
        return layer;
    for (uint32_t n = 0; n < evidence.count; n++) {
        const struct witness *witness = &evidence.all[n];
        struct owner *owner = find_owner(layers, witness->word);
        if (!owner->word)
            own(layers, witness->word, layer);
        else if (owner->layer != layer)
            owner->layer = NOBODY;
        else if (++owner->hits == 2)
            remember_key(layers, entry_back(history, witness->back), witness->back, witness->index);
    }
    return layer;
}

int32_t mt_layers_identify(struct mt_layers *layers, const struct mt_history *history, uint32_t launches,
                           int32_t previous)
{
    if (launches > MT_HISTORY_LAUNCHES)
        launches = MT_HISTORY_LAUNCHES;
    pthread_mutex_lock(&layers->lock);
    int32_t layer = identify(layers, history, launches, previous);
    pthread_mutex_unlock(&layers->lock);
    return layer;
}
