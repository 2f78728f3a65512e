/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TEXTS_MAX 1024u /* different ones that are known to have been said */

static int log_level = MT_LOG_PROBLEM;
static int log_file = -1;

bool mt_log_open(const char *path)
{
    log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return log_file >= 0;
}

void mt_log_set_level(int level)
{
    __atomic_store_n(&log_level, level, __ATOMIC_RELAXED);
}

int mt_log_level(void)
{
    return __atomic_load_n(&log_level, __ATOMIC_RELAXED);
}

/* One write(): lines of several processes do not mix. stdio would take a lock of the engine's. A pipe that nobody reads
 * any more must not end the engine: SIGPIPE is held back, and taken if it came of us. */
static void put(int fd, const char *line, size_t length)
{
    sigset_t pipe, before, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    if (pthread_sigmask(SIG_BLOCK, &pipe, &before) != 0)
        return;
    if (write(fd, line, length) < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe, NULL, &(struct timespec){0, 0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void say(int level, const char *text)
{
    const int saved = errno;
    char line[1024];
    int n = snprintf(line, sizeof line - 1, "moetap[%d]: %s", (int) getpid(), text);
    size_t length = n < (int) sizeof line - 1 ? (size_t) n : sizeof line - 2;
    line[length++] = '\n';
    if (log_file >= 0)
        put(log_file, line, length);
    if (log_file < 0 || level <= MT_LOG_PROBLEM)
        put(STDERR_FILENO, line, length);
    errno = saved;
}

/* By its hash (FNV-1a). When there is no room for more, every text is new. */
static bool is_new(const char *text)
{
    static uint64_t texts[TEXTS_MAX];
    static size_t count;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char) *text) * 0x100000001b3u;
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < count && texts[i] != hash)
        i++;
    const bool found = i < count;
    if (!found && count < TEXTS_MAX)
        texts[count++] = hash;
    pthread_mutex_unlock(&lock);
    return !found;
}

void mt_log(int level, const char *format, ...)
{
    if (level > mt_log_level())
        return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    say(level, text);
}

void mt_log_new(int level, const char *format, ...)
{
    if (level > mt_log_level())
        return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (is_new(text))
        say(level, text);
}
