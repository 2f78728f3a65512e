/* SPDX-License-Identifier: Apache-2.0 */
/* The door: the shim's start, settings and end inside the engine's process. */
#ifndef MOETAP_SHIM_HOOK_PRELOAD_H
#define MOETAP_SHIM_HOOK_PRELOAD_H

#include <stdbool.h>

/* MOETAP_DISABLE=1, or a child forked from a process that already used CUDA (CUDA does not work there). */
bool mt_preload_disabled(void);

/* Starts once, at the first sign that the driver works; later calls cost one load. Thread-safe. */
void mt_preload_start(void);

#endif
