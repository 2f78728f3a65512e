/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving way. CUPTI has one subscriber; when the engine's own profiler wants to be it, we step aside for good, and
 * launches go on through the preloaded symbols. A callback that began before the end is reported still; the symbols,
 * which count reports around each launch, tell the rest.
 */
#include "subscription.h"
#include "tracer.h"

#include <pthread.h>
#include <time.h>

static bool active;
static unsigned inside; /* callbacks of ours that run now, on all threads */
static __thread unsigned own_depth __attribute__((tls_model("initial-exec")));

/* Held while the slot is being taken: who wants it in that moment waits until there is something to give up. */
static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

void mt_subscription_lock(void)
{
    pthread_mutex_lock(&taking);
}

void mt_subscription_unlock(void)
{
    pthread_mutex_unlock(&taking);
}

void mt_subscription_begin(void)
{
    __atomic_store_n(&active, true, __ATOMIC_SEQ_CST);
}

bool mt_subscription_enter(void)
{
    __atomic_fetch_add(&inside, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&active, __ATOMIC_SEQ_CST)) {
        own_depth++;
        return true;
    }
    __atomic_fetch_sub(&inside, 1, __ATOMIC_SEQ_CST);
    return false;
}

void mt_subscription_leave(void)
{
    own_depth--;
    __atomic_fetch_sub(&inside, 1, __ATOMIC_SEQ_CST);
}

void mt_subscription_end(void)
{
    __atomic_store_n(&active, false, __ATOMIC_SEQ_CST);
    /* Never cuptiFinalize: tearing CUPTI down under CUDA graphs has crashed engines. */
    if (mt_subscription.handle && mt_subscription.unsubscribe(mt_subscription.handle) == CUPTI_SUCCESS)
        mt_subscription.handle = NULL;
}

bool mt_tracer_yield(void)
{
    /* Two who come at once: the later waits until there is nothing of ours left to give up. */
    mt_subscription_lock();
    bool was = __atomic_exchange_n(&active, false, __ATOMIC_SEQ_CST);
    /* A callback is short; one that is not (the first router of all makes a segment) is not waited for for ever. */
    const struct timespec nap = {0, 100000};
    for (int i = 0; was && i < 20000 && __atomic_load_n(&inside, __ATOMIC_SEQ_CST) > own_depth; i++)
        nanosleep(&nap, NULL);
    if (was) {
        mt_quiet_begin();
        mt_subscription_end();
        mt_quiet_end();
    }
    mt_subscription_unlock();
    return was;
}
