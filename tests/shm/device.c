/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *rig_kill_at;
void (*rig_at)(const char *name);

void rig_testpoint(const char *name)
{
    if (rig_kill_at && strcmp(rig_kill_at, name) == 0)
        kill(getpid(), SIGKILL);
    if (rig_at)
        rig_at(name);
}

#define STEPS_SIZE (MT_SITES_MAX * sizeof(uint64_t))

struct mt_producer *rig_producer(const struct mt_segment *segment)
{
    void *memory =
        mmap(NULL, sizeof(struct mt_producer) + STEPS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    struct mt_producer *producer = memory;
    producer->ring = segment->ring;
    producer->ring_size = segment->header->ring_size;
    producer->nonce = segment->header->nonce;
    producer->counters = segment->counters;
    producer->consumer = segment->consumer;
    producer->steps = (uint64_t *) (producer + 1);
    return producer;
}

void rig_producer_free(struct mt_producer *producer)
{
    munmap(producer, sizeof *producer + STEPS_SIZE);
}

void rig_tap(const struct mt_tap_args *args)
{
    struct mt_tap_place place;
    mt_tap_begin(args, 0, MT_WEIGHT_NONE, 1, &place);
    for (uint32_t thread = 0; thread < 4; thread++)
        mt_tap_copy(args, &place, 0, MT_WEIGHT_NONE, thread, 4);
    mt_tap_end(args, 1, &place);
}
