/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include "file.h"

#include <string.h>

#define WATCHES 24u
#define PATIENCE 64u /* launches; a router's ids are used at once */
#define READERS 4u   /* that may not have been any: a struct may hold the address as left-over bytes */

static struct watch {
    bool open;
    uint64_t generation;
    unsigned id, number, behind, readers;
    uint32_t offset, size;
    uint64_t address;
    CUstream stream;
    unsigned char bytes[MT_PROBE_SHOWN]; /* as they were last seen */
} watches[WATCHES];
static uint64_t opened;
static unsigned open_count;

static void close_watch(struct watch *watch)
{
    open_count -= watch->open;
    watch->open = false;
}

bool mt_watch_any(void)
{
    return open_count > 0;
}

void mt_watch_open(unsigned id, unsigned number, CUstream stream, const struct mt_region *region, uint32_t size)
{
    /* What was there is overwritten. */
    for (unsigned i = 0; i < WATCHES; i++) {
        if (watches[i].open && watches[i].address == region->address)
            close_watch(&watches[i]);
    }
    struct watch *watch = &watches[opened % WATCHES];
    close_watch(watch);
    watch->open = true;
    watch->generation = opened++;
    watch->id = id;
    watch->number = number;
    watch->behind = watch->readers = 0;
    watch->offset = region->offset;
    watch->size = size < MT_PROBE_SHOWN ? size : MT_PROBE_SHOWN;
    watch->address = region->address;
    watch->stream = stream;
    memcpy(watch->bytes, region->is, watch->size);
    open_count++;
}

static bool is_parameter(const struct mt_kernel *kernel, uint32_t offset)
{
    for (unsigned i = 0; i < kernel->param_count; i++) {
        if (kernel->param[i].offset == offset)
            return true;
    }
    return false;
}

/* Rather by what a parameter begins with: the rest of a struct may hold left-over bytes. */
static bool names(const struct mt_sample *sample, const struct watch *watch, uint32_t *offset)
{
    bool found = false;
    for (uint32_t w = 0; w < sample->bytes / 8; w++) {
        if (sample->params[w] < watch->address || sample->params[w] - watch->address >= watch->size)
            continue;
        bool begins = is_parameter(sample->kernel, w * 8);
        if (!found || begins)
            *offset = w * 8;
        if (begins)
            return true;
        found = true;
    }
    return found;
}

unsigned mt_watch_find(const struct mt_sample *sample, struct mt_watch_hit hits[MT_PROBE_HITS])
{
    unsigned count = 0;
    uint32_t offset = 0;
    for (unsigned i = 0; open_count && i < WATCHES && count < MT_PROBE_HITS; i++) {
        if (watches[i].open && names(sample, &watches[i], &offset))
            hits[count++] = (struct mt_watch_hit){i, watches[i].generation, offset, watches[i].address};
    }
    return count;
}

void mt_watch_hit(const struct mt_watch_hit *hit, unsigned id, const struct mt_sample *sample,
                  const struct mt_region *region)
{
    struct watch *watch = &watches[hit->watch];
    if (!watch->open || watch->generation != hit->generation)
        return;
    if (id == watch->id) { /* the next router: nobody has used these */
        close_watch(watch);
        return;
    }
    struct mt_probe_use use = {
        .id = id, .named = hit->offset, .sample = watch->number, .offset = watch->offset, .how = "unread"};
    use.behind = sample->stream == watch->stream ? watch->behind + 1 : 0;
    /* A region ends where the launch's next pointer begins, and that may point into the ids as well. */
    use.size = region && region->size < watch->size ? region->size : watch->size;
    if (!region || !region->size) {
        close_watch(watch);
    } else if (memcmp(region->was, watch->bytes, use.size) != 0) {
        use.how = "other";
        use.bytes = region->was;
        close_watch(watch);
    } else if (memcmp(region->is, watch->bytes, use.size) != 0) {
        use.how = "changed";
        use.bytes = region->is;
        memcpy(watch->bytes, region->is, use.size); /* it may not be the last one to do so */
    } else {
        use.how = "same";
        if (is_parameter(sample->kernel, hit->offset) || ++watch->readers == READERS)
            close_watch(watch);
    }
    mt_probe_put_use(&use);
}

void mt_watch_tick(CUstream stream)
{
    for (unsigned i = 0; open_count && i < WATCHES; i++) {
        if (watches[i].open && (!stream || watches[i].stream == stream) && ++watches[i].behind >= PATIENCE)
            close_watch(&watches[i]);
    }
}
