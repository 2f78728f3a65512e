/* SPDX-License-Identifier: Apache-2.0 */
/* moetap recipes: the list, and the check of a file. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(command, .timeout = 60);

static char path[] = "moetap-recipes-XXXXXX";
static char out[65536];

static int run(const char *arguments)
{
    char line[512];
    snprintf(line, sizeof line, "%s recipes %s 2>&1", MOETAP, arguments);
    FILE *pipe = popen(line, "r");
    cr_assert(pipe);
    size_t n = fread(out, 1, sizeof out - 1, pipe);
    out[n] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int check(const char *text, size_t size)
{
    char arguments[128];
    snprintf(path, sizeof path, "moetap-recipes-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, size), (ssize_t) size);
    close(fd);
    snprintf(arguments, sizeof arguments, "check %s", path);
    int status = run(arguments);
    unlink(path);
    return status;
}

Test(command, list)
{
    cr_assert_eq(run(""), 0, "%s", out);
    cr_assert(strstr(out, "vllm.topkGating ") && strstr(out, " consumer ") && strstr(out, "note: TurboMind"), "%s",
              out);
}

Test(command, check)
{
    static const char good[] = "[a]\nkind = final\nkernel = f\n[b]\nkind = final\nkernel = g",
                      bad[] = "[a]\nkernel f\n";
    cr_assert_eq(check(good, sizeof good - 1), 0, "%s", out);
    cr_assert(strstr(out, ": 2 recipes\n"), "%s", out);
    cr_assert_eq(check(bad, sizeof bad - 1), 1, "%s", out);
    cr_assert(strstr(out, ":2: found 'kernel f', expected key = value\n"), "%s", out);
    cr_assert_eq(check(good, sizeof good), 1, "%s", out);
    cr_assert(strstr(out, ":6: found a zero byte, expected text\n"), "%s", out);
    /* What was found is cut, what is expected is not. */
    char many[400] = "[a]\n";
    memset(many + 4, 'x', sizeof many - 4);
    cr_assert_eq(check(many, sizeof many), 1, "%s", out);
    cr_assert(strstr(out, ":2: found 'xxx") && strstr(out, ", expected key = value\n"), "%s", out);
    cr_assert_eq(check("", 0), 0, "%s", out);
    cr_assert(strstr(out, ": 0 recipes\n"), "%s", out);
}

Test(command, wrong_usage)
{
    cr_assert_eq(run("check"), 2, "%s", out);
    cr_assert_eq(run("list"), 2, "%s", out);
    cr_assert_eq(run("check a b"), 2, "%s", out);
    cr_assert_eq(run("check /nonexistent/file"), 1, "%s", out);
    cr_assert_eq(run("check /"), 1, "%s", out);
}
