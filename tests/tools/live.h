/* SPDX-License-Identifier: Apache-2.0 */
/* A command that runs while the test does something to it. */
#ifndef MOETAP_TESTS_LIVE_H
#define MOETAP_TESTS_LIVE_H

#include <criterion/criterion.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct live {
    pid_t pid;
    FILE *out;
    char text[8192]; /* stdout and stderr so far */
};

/* The shell becomes the command, so that `pid` is the command's own. It dies with the test. */
__attribute__((format(printf, 2, 3))) static inline void live_start(struct live *live, const char *format, ...)
{
    char line[2048] = "exec ";
    int ends[2];
    va_list args;
    va_start(args, format);
    vsnprintf(line + 5, sizeof line - 5, format, args);
    va_end(args);
    cr_assert_eq(pipe(ends), 0);
    live->text[0] = '\0';
    live->pid = fork();
    if (live->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        execl("/bin/sh", "sh", "-c", line, NULL);
        _exit(126);
    }
    cr_assert_gt(live->pid, 0);
    close(ends[1]);
    live->out = fdopen(ends[0], "r");
}

/* Reads on until a line has `word`. */
static inline void live_await(struct live *live, const char *word)
{
    size_t used = strlen(live->text);
    while (fgets(live->text + used, (int) (sizeof live->text - used), live->out)) {
        if (strstr(live->text + used, word))
            return;
        used += strlen(live->text + used);
    }
    cr_assert(false, "it ended without '%s': %s", word, live->text);
}

/* Its exit status, 128 + N for signal N. */
static inline int live_end(struct live *live)
{
    size_t used = strlen(live->text);
    while (fgets(live->text + used, (int) (sizeof live->text - used), live->out))
        used += strlen(live->text + used);
    fclose(live->out);
    int status;
    cr_assert_eq(waitpid(live->pid, &status, 0), live->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif
