/* SPDX-License-Identifier: Apache-2.0 */
/* The GPU's side of a segment, run by this CPU: for the rig of these suites and for the fake engine of the command's.
 */
#ifndef MOETAP_TESTS_SHM_DEVICE_H
#define MOETAP_TESTS_SHM_DEVICE_H

#include "../../shm/segment.h"

/* At the step of the protocol that rig_kill_at names: kills the calling process. At each step: calls rig_at. */
void rig_testpoint(const char *name);
extern const char *rig_kill_at;
extern void (*rig_at)(const char *name);
#define MT_TESTPOINT(name) rig_testpoint(name)
#include "../../shim/tap/tap.h"

/* In memory that forked processes share, as are its steps. NULL: no memory. */
struct mt_producer *rig_producer(const struct mt_segment *segment);
void rig_producer_free(struct mt_producer *producer);

/* Runs the whole tap in this thread. */
void rig_tap(const struct mt_tap_args *args);

#endif
