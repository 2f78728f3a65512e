/* SPDX-License-Identifier: Apache-2.0 */
#include "preload.h"

#include "../../cupti/tracer.h"
#include "../../shm/settings.h"
#include "../capture.h"
#include "driver.h"
#include "../log.h"
#include "../probe/probe.h"
#include "symbols.h"
#include "../tap/state.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum source { SOURCE_AUTO, SOURCE_CUPTI, SOURCE_PRELOAD };

static bool started;  /* for good or in vain: tried once */
static bool disabled; /* in a forked child */
static pid_t owner;
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;

bool mt_preload_disabled(void)
{
    static signed char by_user = -1;
    if (by_user < 0) {
        const char *value = getenv("MOETAP_DISABLE");
        by_user = value && *value && strcmp(value, "0") != 0;
    }
    return by_user > 0 || __atomic_load_n(&disabled, __ATOMIC_RELAXED);
}

/* CUDA does not survive fork(): what the child inherited is its parent's, and a CUDA program there starts with exec().
 */
static void in_child(void)
{
    if (__atomic_load_n(&started, __ATOMIC_RELAXED)) {
        __atomic_store_n(&disabled, true, __ATOMIC_RELAXED);
        mt_symbols_report_to(NULL);
    }
}

static char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *text = NULL;
    size_t used = 0, room = 0;
    for (;;) {
        if (room - used < 4096) {
            char *more = realloc(text, room += 16384);
            if (!more)
                break;
            text = more;
        }
        ssize_t n = read(fd, text + used, room - used - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            close(fd);
            if (n < 0) {
                free(text);
                return NULL;
            }
            text[used] = '\0';
            return text;
        }
        used += (size_t) n;
    }
    close(fd);
    free(text);
    return NULL;
}

static struct mt_recipes *load_recipes(void)
{
    const char *file = getenv("MOETAP_RECIPE");
    char *text = NULL;
    if (file && *file && !(text = read_file(file)))
        mt_log(MT_LOG_PROBLEM, "%s: %s; going on with the built-in recipes", file, strerror(errno));
    char why[512] = "";
    struct mt_recipes *recipes = mt_recipes_load(file, text, why, sizeof why);
    if (!recipes) {
        mt_log(MT_LOG_PROBLEM, "%s%s", why, text ? "; going on with the built-in recipes" : "");
        if (text)
            recipes = mt_recipes_load(NULL, NULL, why, sizeof why);
    }
    free(text);
    return recipes;
}

/* MOETAP_GRAPH_TAP: true for beside */
static bool read_graph_tap(void)
{
    const char *value = getenv("MOETAP_GRAPH_TAP");
    if (value && strcmp(value, "inline") == 0)
        return false;
    if (value && *value && strcmp(value, "beside") != 0)
        mt_log(MT_LOG_PROBLEM, "MOETAP_GRAPH_TAP=%s is neither beside nor inline: using beside", value);
    return true;
}

static enum source read_settings(struct mt_tap_settings *settings)
{
    static char session[64];
    const char *value = getenv("MOETAP_SESSION");
    snprintf(session, sizeof session, "%s", value && *value ? value : "local");
    settings->session = session;
    settings->ring_size = 0;
    settings->wait_ns = 0;
    settings->stage_size = MT_STAGE_SIZE_DEFAULT;
    value = getenv("MOETAP_WEIGHTS");
    settings->weights = value && strcmp(value, "1") == 0;
    if (value && *value && strcmp(value, "0") != 0 && !settings->weights)
        mt_log(MT_LOG_PROBLEM, "MOETAP_WEIGHTS=%s is neither 0 nor 1: no weights are recorded", value);
    if ((value = getenv("MOETAP_RING_SIZE")) && *value && !mt_parse_ring_size(value, &settings->ring_size)) {
        mt_log(MT_LOG_PROBLEM, "MOETAP_RING_SIZE=%s is not a size from 64K to 16G: using the default", value);
        settings->ring_size = 0;
    }
    if ((value = getenv("MOETAP_ON_FULL")) && *value && !mt_parse_on_full(value, &settings->wait_ns)) {
        mt_log(MT_LOG_PROBLEM, "MOETAP_ON_FULL=%s is neither drop nor wait:TIME (as in wait:5ms): using drop", value);
        settings->wait_ns = 0;
    }
    value = getenv("MOETAP_SOURCE");
    if (!value || !*value || strcmp(value, "auto") == 0)
        return SOURCE_AUTO;
    if (strcmp(value, "cupti") == 0)
        return SOURCE_CUPTI;
    if (strcmp(value, "preload") != 0)
        mt_log(MT_LOG_PROBLEM, "MOETAP_SOURCE=%s is none of auto, cupti, preload: using auto", value);
    return strcmp(value, "preload") == 0 ? SOURCE_PRELOAD : SOURCE_AUTO;
}

/* Taps, or MOETAP_PROBE's look for routers. */
static const struct mt_sink *start_sink(struct mt_recipes *recipes)
{
    const char *folder = getenv("MOETAP_PROBE"), *all = getenv("MOETAP_PROBE_ALL");
    if (!folder || !*folder) {
        mt_capture_start(recipes, read_graph_tap());
        return mt_capture_sink();
    }
    if (!mt_probe_start(folder, recipes, all && strcmp(all, "1") == 0)) {
        mt_log(MT_LOG_PROBLEM, "MOETAP_PROBE=%s: %s; nothing is probed", folder, strerror(errno));
        return NULL;
    }
    return mt_probe_sink();
}

static void start(void)
{
    const char *level = getenv("MOETAP_LOG");
    if (level && *level)
        mt_log_set_level(atoi(level));
    const char *log = getenv("MOETAP_LOG_FILE");
    if (log && *log && !mt_log_open(log))
        mt_log(MT_LOG_PROBLEM, "MOETAP_LOG_FILE=%s: %s; saying it here", log, strerror(errno));

    void *libcuda = mt_symbols_libcuda();
    const char *missing = "libcuda.so.1";
    if (!libcuda || !mt_driver_resolve(libcuda, mt_real_dlsym, &missing)) {
        mt_log(MT_LOG_PROBLEM, "the driver has no %s: nothing is captured; moetap needs CUDA 12.4 or newer", missing);
        return;
    }
    struct mt_tap_settings settings;
    enum source source = read_settings(&settings);
    mt_tap_configure(&settings);
    struct mt_recipes *recipes = load_recipes();
    if (!recipes)
        return;
    owner = getpid();
    pthread_atfork(NULL, NULL, in_child);
    const struct mt_sink *sink = start_sink(recipes);
    if (!sink)
        return;

    /* First, so that CUPTI can be given up from the moment on that we have it. */
    if (source != SOURCE_CUPTI)
        mt_symbols_report_to(sink);
    char why[256] = "";
    int traced = source == SOURCE_PRELOAD ? -ENOENT : mt_tracer_start(sink, mt_real_dlsym, why, sizeof why);
    if (traced == 0)
        mt_log(MT_LOG_EXPLAIN, "launches come from CUPTI");
    else if (source == SOURCE_CUPTI)
        mt_log(MT_LOG_PROBLEM, "CUPTI was asked for and cannot be had: %s; nothing is captured", why);
    else
        mt_log(MT_LOG_EXPLAIN, "launches come from preloaded symbols%s%s", *why ? ": " : "", why);
    if (source == SOURCE_AUTO && traced == 0)
        mt_symbols_verify();
}

void mt_preload_start(void)
{
    if (__builtin_expect(__atomic_load_n(&started, __ATOMIC_ACQUIRE), 1) || mt_preload_disabled() || mt_is_quiet())
        return;
    mt_quiet_begin(); /* what the start itself calls is none of the engine's */
    pthread_mutex_lock(&start_lock);
    if (!started) {
        start();
        __atomic_store_n(&started, true, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&start_lock);
    mt_quiet_end();
}

/* The driver may be gone already: no CUDA here. The GPU's last records are read after the process has ended. */
__attribute__((destructor)) static void leave(void)
{
    if (owner == getpid()) {
        mt_tap_close_all();
        mt_probe_end();
    }
}
