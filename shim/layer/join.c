/* SPDX-License-Identifier: Apache-2.0 */
#include "join.h"

#include <pthread.h>

/* By event, the latest of those that share a place: one that was forgotten only costs a layer's label. */
#define MARKS 1024u
static struct mark {
    CUevent event; /* NULL: none */
    struct mt_lane *lane;
    uint32_t count;           /* of its history */
    struct mt_range consumed; /* its tapped ids at that time */
} marks[MARKS];
static pthread_mutex_t marks_lock = PTHREAD_MUTEX_INITIALIZER;

static struct mark *mark_of(CUevent event)
{
    return &marks[((uint64_t) (uintptr_t) event * 0x9e3779b97f4a7c15ull) >> 54];
}

void mt_join_recorded(CUevent event, struct mt_lane *lane)
{
    mt_lane_lock(lane);
    const struct mark mark = {event, lane, lane->history.count, lane->consumed};
    mt_lane_unlock(lane);
    pthread_mutex_lock(&marks_lock);
    *mark_of(event) = mark;
    pthread_mutex_unlock(&marks_lock);
}

/* May launches ahead of the mark have written there? As far back as is known. */
static bool written(const struct mark *mark, const struct mt_range *range)
{
    bool found = false;
    mt_lane_lock(mark->lane);
    const struct mt_history *history = &mark->lane->history;
    for (uint32_t i = 1; !found && i <= MT_HISTORY_LAUNCHES && i <= mark->count; i++) {
        if (history->count - (mark->count - i) <= MT_HISTORY_LAUNCHES)
            found = mt_use_of(range, &history->entries[(mark->count - i) % MT_HISTORY_LAUNCHES]) == MT_USE_UNKNOWN;
    }
    mt_lane_unlock(mark->lane);
    return found;
}

/* Ids that were tapped on the other stream are tapped; those of this one are new ones if the other may have made them.
 */
static void hand_over_consumed(struct mt_lane *lane, const struct mark *mark)
{
    mt_lane_lock(lane);
    struct mt_range consumed = lane->consumed;
    mt_lane_unlock(lane);
    if (mark->consumed.begin)
        consumed = mark->consumed;
    else if (consumed.begin && written(mark, &consumed))
        consumed = (struct mt_range){0};
    mt_lane_lock(lane);
    lane->consumed = consumed;
    mt_lane_unlock(lane);
}

void mt_join_waited(struct mt_lane *lane, CUevent event)
{
    pthread_mutex_lock(&marks_lock);
    const struct mark mark = *mark_of(event);
    pthread_mutex_unlock(&marks_lock);
    if (mark.event != event || !mark.lane || mark.lane == lane)
        return;
    hand_over_consumed(lane, &mark);
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
