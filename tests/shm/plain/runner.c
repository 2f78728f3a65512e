/* SPDX-License-Identifier: Apache-2.0 */
/* Runs each test in a process of its own. `runner [NAME]`: only that one. */
#include "criterion/criterion.h"

#include <sys/wait.h>
#include <unistd.h>

static struct plain_test *tests, **end = &tests;

void plain_register(struct plain_test *test)
{
    *end = test;
    end = &test->next;
}

static int run(const struct plain_test *test)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (test->options->init)
            test->options->init();
        test->run();
        if (test->options->fini)
            test->options->fini();
        exit(0);
    }
    int status;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
    int tested = 0, failing = 0, crashing = 0;
    for (const struct plain_test *test = tests; test; test = test->next) {
        if (argc > 1 && strcmp(argv[1], test->name) != 0)
            continue;
        tested++;
        int status = run(test);
        if (status)
            fprintf(stderr, "[FAIL] %s::%s (%d)\n", test->suite, test->name, status);
        failing += status > 0;
        crashing += status < 0;
    }
    fprintf(stderr, "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d\n", tested,
            tested - failing - crashing, failing, crashing);
    return failing || crashing || !tested;
}
