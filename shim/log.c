/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

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

void mt_log(int level, const char *format, ...)
{
    if (level > mt_log_level())
        return;
    int saved = errno;
    char line[1024];
    int head = snprintf(line, sizeof line, "moetap[%d]: ", (int) getpid());
    va_list args;
    va_start(args, format);
    int body = vsnprintf(line + head, sizeof line - (size_t) head - 1, format, args);
    va_end(args);
    size_t length = (size_t) head + (body < 0 ? 0 : (size_t) body);
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    /* One write(): lines of several processes do not mix. stdio would take a lock of the engine's. */
    ssize_t ignored = 0;
    if (log_file >= 0)
        ignored = write(log_file, line, length);
    if (log_file < 0 || level <= MT_LOG_PROBLEM)
        ignored = write(STDERR_FILENO, line, length);
    (void) ignored;
    errno = saved;
}
