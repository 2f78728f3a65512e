/* SPDX-License-Identifier: Apache-2.0 */
#include "lane.h"

#include "hook/driver.h"
#include "log.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define LANES_MAX 1024u

static struct mt_lane *lanes[LANES_MAX]; /* filled from the front, never freed */
static pthread_mutex_t lanes_lock = PTHREAD_MUTEX_INITIALIZER;
static int32_t numbered;

/* A thread mostly stays on a stream. */
static __thread struct mt_lane *latest __attribute__((tls_model("initial-exec")));
static __thread char thread_mark __attribute__((tls_model("initial-exec")));

static bool is_lane(const struct mt_lane *lane, CUstream stream, CUcontext context)
{
    return lane->stream == stream && lane->context == context &&
           (stream != CU_STREAM_PER_THREAD || lane->thread == (uintptr_t) &thread_mark);
}

struct mt_lane *mt_lane_get(unsigned index)
{
    return index < LANES_MAX ? __atomic_load_n(&lanes[index], __ATOMIC_ACQUIRE) : NULL;
}

static CUcontext context_of(CUstream stream)
{
    CUcontext context = NULL;
    if ((stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD) &&
        mt_driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS)
        return NULL;
    return context;
}

static struct mt_lane *search(CUstream stream, CUcontext context)
{
    for (unsigned i = 0; i < LANES_MAX; i++) {
        struct mt_lane *lane = mt_lane_get(i);
        if (!lane)
            break;
        if (is_lane(lane, stream, context))
            return latest = lane;
    }
    return NULL;
}

struct mt_lane *mt_lane_peek(CUstream stream)
{
    CUcontext context = context_of(stream);
    return latest && is_lane(latest, stream, context) ? latest : search(stream, context);
}

struct mt_lane *mt_lane_find(CUstream stream)
{
    CUcontext context = context_of(stream);
    if (__builtin_expect(latest && is_lane(latest, stream, context), 1))
        return latest;
    struct mt_lane *lane = search(stream, context);
    if (lane)
        return lane;
    pthread_mutex_lock(&lanes_lock);
    unsigned i = 0;
    while (i < LANES_MAX && lanes[i])
        i++;
    if (i < LANES_MAX && (lane = calloc(1, sizeof *lane))) {
        lane->stream = stream;
        lane->context = context;
        lane->thread = stream == CU_STREAM_PER_THREAD ? (uintptr_t) &thread_mark : 0;
        lane->number = -1;
        __atomic_store_n(&lanes[i], lane, __ATOMIC_RELEASE);
        latest = lane;
    }
    pthread_mutex_unlock(&lanes_lock);
    if (!lane)
        mt_log_once(MT_LOG_PROBLEM, "more than %u streams: routers on later ones are counted as not captured",
                    LANES_MAX);
    return lane;
}

void mt_lane_wait(struct mt_lane *lane)
{
    /* Soon over, but for a first tap. Whoever has the lock may have a lower priority: sleep, then. */
    const struct timespec nap = {0, 50000};
    for (unsigned tries = 0; __atomic_exchange_n(&lane->locked, 1, __ATOMIC_ACQUIRE); tries++) {
        if (tries < 100)
            sched_yield();
        else
            nanosleep(&nap, NULL);
    }
}

uint32_t mt_lane_number(struct mt_lane *lane)
{
    if (lane->number < 0)
        lane->number = __atomic_fetch_add(&numbered, 1, __ATOMIC_RELAXED);
    return (uint32_t) lane->number;
}
