/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a shell command and keeps what it said: the tests look at moetap as its users do. */
#ifndef MOETAP_TESTS_COMMAND_H
#define MOETAP_TESTS_COMMAND_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct outcome {
    int status;       /* exit status, 128 + N for signal N */
    char text[65536]; /* stdout and stderr, cut to fit */
};

__attribute__((format(printf, 2, 3))) static inline void command(struct outcome *outcome, const char *format, ...)
{
    char line[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    outcome->status = -1;
    outcome->text[0] = '\0';
    /* What hangs is ended with all its children: a failed test (status 124), not a suite that waits for its output. */
    if (setenv("MOETAP_TEST_COMMAND", line, 1) != 0)
        return;
    FILE *pipe = popen("exec timeout -k 5 90 sh -c \"$MOETAP_TEST_COMMAND\" 2>&1", "r");
    if (!pipe)
        return;
    size_t used = 0, n;
    while ((n = fread(outcome->text + used, 1, sizeof outcome->text - 1 - used, pipe)) > 0)
        used += n;
    outcome->text[used] = '\0';
    int status = pclose(pipe);
    outcome->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline unsigned occurrences(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

/* A folder of its own for each test, gone afterwards. */
static inline const char *scratch(void)
{
    static char folder[64];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/tmp/moetap-test-XXXXXX");
        if (!mkdtemp(folder))
            abort();
    }
    return folder;
}

static inline void scratch_remove(void)
{
    struct outcome gone;
    command(&gone, "rm -rf %s", scratch());
}

#endif
