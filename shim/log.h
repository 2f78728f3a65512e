/* SPDX-License-Identifier: Apache-2.0 */
/* The shim's voice: one line on stderr, level 1 for a problem, 2 to explain. Silent at level 0. Thread-safe. */
#ifndef MOETAP_SHIM_LOG_H
#define MOETAP_SHIM_LOG_H

#include <stdbool.h>

#define MT_LOG_QUIET 0
#define MT_LOG_PROBLEM 1
#define MT_LOG_EXPLAIN 2

void mt_log_set_level(int level);
/* Appends there what is said, problems to stderr as well. Before the first other thread. False: errno. */
bool mt_log_open(const char *path);
int mt_log_level(void);
__attribute__((format(printf, 2, 3))) void mt_log(int level, const char *format, ...);

/* Each text once: what is said of a kernel is found again when a module was unloaded and all are looked at anew. */
__attribute__((format(printf, 2, 3))) void mt_log_new(int level, const char *format, ...);

/* Problems come in floods (once a launch): each call site says its first one only. */
#define mt_log_once(level, ...)                                                                                        \
    do {                                                                                                               \
        static char said;                                                                                              \
        if (!__atomic_test_and_set(&said, __ATOMIC_RELAXED))                                                           \
            mt_log(level, __VA_ARGS__);                                                                                \
    } while (0)

#endif
