/* SPDX-License-Identifier: Apache-2.0 */
#include "join.h"

#include <pthread.h>

/* By event, the latest of those that share a place: one that was forgotten only costs a layer's label. */
#define MARKS 1024u
static struct mark {
    CUevent event; /* NULL: none */
    struct mt_lane *lane;
    uint32_t count; /* of its history */
} marks[MARKS];
static pthread_mutex_t marks_lock = PTHREAD_MUTEX_INITIALIZER;

static struct mark *mark_of(CUevent event)
{
    return &marks[((uint64_t) (uintptr_t) event * 0x9e3779b97f4a7c15ull) >> 54];
}

void mt_join_recorded(CUevent event, struct mt_lane *lane)
{
    mt_lane_lock(lane);
    uint32_t count = lane->history.count;
    mt_lane_unlock(lane);
    pthread_mutex_lock(&marks_lock);
    *mark_of(event) = (struct mark){event, lane, count};
    pthread_mutex_unlock(&marks_lock);
}

void mt_join_waited(struct mt_lane *lane, CUevent event)
{
    pthread_mutex_lock(&marks_lock);
    const struct mark mark = *mark_of(event);
    pthread_mutex_unlock(&marks_lock);
    if (mark.event != event || !mark.lane || mark.lane == lane)
        return;
    for (uint32_t i = MT_HISTORY_WAITED; i; i--) {
        /* Never two locks at a time: another stream may be joining this one. */
        struct mt_history_entry entry;
        mt_lane_lock(mark.lane);
        bool there = mt_history_get(&mark.lane->history, mark.count - i, &entry);
        mt_lane_unlock(mark.lane);
        if (!there)
            continue;
        mt_lane_lock(lane);
        mt_history_join(&lane->history, &entry);
        mt_lane_unlock(lane);
    }
}
