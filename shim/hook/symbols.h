/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preloaded symbols: the second source of launches, and the doors through which everything else of ours is started.
 * Engines come to the driver by linking it (Triton's launcher), by dlsym() (Triton, moe-demo) and by cuGetProcAddress()
 * (the CUDA runtime); each of the three answers with a wrapper of ours for the names in the table, and for nothing
 * else.
 */
#ifndef MOETAP_SHIM_HOOK_SYMBOLS_H
#define MOETAP_SHIM_HOOK_SYMBOLS_H

#include "../../cupti/launch.h"

#include <stdbool.h>

/* glibc's dlsym; the public one is ours. Set before the first look-up through us. */
extern void *(*mt_real_dlsym)(void *, const char *);

/* From here on launches that no tracer reported go to `sink`; NULL: never (a forced CUPTI source). Thread-safe. */
void mt_symbols_report_to(const struct mt_sink *sink);

/* Both sources run: gives the tracer's up (handover.c) once the symbols have been seen to miss no launch. */
void mt_symbols_verify(void);

/* A handle of the libcuda behind the wrapped entry points, NULL if none was seen yet. */
void *mt_symbols_libcuda(void);

#endif
