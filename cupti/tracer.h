/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUPTI tracer: launches through the callback API (never activity records, which cost engines half their
 * throughput). libcupti is found and loaded at run time; 12.x and 13.x work alike, as callback ids only grow.
 */
#ifndef MOETAP_CUPTI_TRACER_H
#define MOETAP_CUPTI_TRACER_H

#include "launch.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Subscribes and starts to report to `sink`. `resolve` is the process's real dlsym (the shim replaces the public one).
 * Returns 0, -ENOENT no libcupti, -EBUSY another subscriber holds CUPTI (its name in `why` if CUPTI tells), -EIO else;
 * `why` gets one line.
 */
int mt_tracer_start(const struct mt_sink *sink, void *(*resolve)(void *, const char *), char *why, size_t size);

/*
 * handover.c: somebody else in this process wants CUPTI's only subscription. Gives ours up for good; returns once no
 * callback of ours runs any more on other threads. True to the one caller that ended it. Thread-safe.
 */
bool mt_tracer_yield(void);

/*
 * Set by the tracer in each launch callback, on the launching thread: how many launches it reported so far. The
 * preloaded symbols compare it around the real call, and report the launch themselves when the tracer did not: no
 * launch is lost or told twice, also in the middle of a handover.
 */
static inline uint64_t mt_tracer_reported(void)
{
    return mt_launch_thread.reported;
}

/* `around` hears of each launch from here on that came in by no preloaded symbol, before the sink does. Thread-safe. */
void mt_tracer_watch(void (*around)(const struct mt_launch *));

#endif
