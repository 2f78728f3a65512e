/* SPDX-License-Identifier: Apache-2.0 */
/* The page for a bug report: runs a command as `record` does, then says what was seen, what fitted and what did not. */
#include "verbs.h"

#include "../shm/reader.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#define LINES_MAX 4096u /* different ones */

struct said {
    char *line; /* without "moetap[PID]: " */
    unsigned times;
};

/* The library's lines, each once, in the order of their first appearance. */
static size_t read_log(const char *path, struct said *said)
{
    size_t count = 0, room = 0;
    char *line = NULL;
    FILE *file = fopen(path, "re");
    while (file && getline(&line, &room, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        const char *colon = strstr(line, "]: ");
        const char *text = colon ? colon + 3 : line;
        size_t i = 0;
        while (i < count && strcmp(said[i].line, text) != 0)
            i++;
        if (i == count && count < LINES_MAX && (said[i].line = strdup(text)) != NULL)
            count++;
        if (i < count)
            said[i].times++;
    }
    free(line);
    if (file)
        fclose(file);
    return count;
}

static bool any(const struct said *said, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        if (strstr(said[i].line, what))
            return true;
    }
    return false;
}

static void print_system(void)
{
    struct utsname system;
    struct statvfs shm;
    printf("moetap %s\n", mt_version());
    if (uname(&system) == 0)
        printf("system: %s %s %s\n", system.sysname, system.release, system.machine);
    if (statvfs(mt_shm_dir(), &shm) == 0)
        printf("%s: %llu MiB free of %llu\n", mt_shm_dir(), (unsigned long long) shm.f_bavail * shm.f_frsize >> 20,
               (unsigned long long) shm.f_blocks * shm.f_frsize >> 20);
    else
        printf("%s: %s\n", mt_shm_dir(), strerror(errno));
}

/* What to try, from what was said. */
static void print_advice(const struct said *said, size_t count)
{
    if (!any(said, count, "launches come from")) {
        puts("advice: no process got as far as cuInit() with the library in it. Is it a CUDA program? A static or "
             "setuid one, or one that clears LD_PRELOAD, cannot be captured.");
        return;
    }
    if (any(said, count, "another release?"))
        puts("advice: a known router has other parameters than its recipe says: give them to a recipe of your own "
             "(moetap-recipe(5)) and use it with --recipe.");
    if (!any(said, count, " reads "))
        puts("advice: no recipe matched; kernels whose names look like a router's and are listed above as `no recipe "
             "for`; "
             "moetap-recipe(5) says how to write one.");
}

static int report(const char *folder, char **command, int status)
{
    char path[64];
    struct said *said = calloc(LINES_MAX, sizeof *said);
    if (!said)
        return say_failed("out of memory");
    snprintf(path, sizeof path, "%s/log", folder);
    size_t count = read_log(path, said);
    print_system();
    fputs("command:", stdout);
    for (char **word = command; *word; word++)
        printf(" %s", *word);
    printf("\nexit status: %d\n\nwhat the library said:\n", status);
    for (size_t i = 0; i < count; i++) {
        printf("  %s", said[i].line);
        printf(said[i].times > 1 ? " (%u times)\n" : "\n", said[i].times);
    }
    if (!count)
        puts("  nothing");
    putchar('\n');
    print_advice(said, count);
    for (size_t i = 0; i < count; i++)
        free(said[i].line);
    free(said);

    snprintf(path, sizeof path, "%s/trace", folder);
    char *info[] = {"info", path, NULL};
    if (access(path, R_OK) == 0 && verb_info(2, info) != EXIT_OK)
        return EXIT_FAILED;
    return fflush(stdout) == 0 ? EXIT_OK : say_failed("cannot write the report: %s", strerror(errno));
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = {"log", "trace"};
    char path[64];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

int verb_doctor(int argc, char **argv)
{
    enum { SOURCE = 256, RECIPE };
    static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
                                          {"source", required_argument, NULL, SOURCE},
                                          {"recipe", required_argument, NULL, RECIPE},
                                          {NULL, 0, NULL, 0}};
    const char *output = NULL, *source = NULL, *recipe = NULL;
    int opt;
    while ((opt = getopt_long(argc, argv, "+:o:", longs, NULL)) != -1) {
        switch (opt) {
        case 'o':
            output = optarg;
            break;
        case SOURCE:
            if ((opt = check_source(optarg)))
                return opt;
            source = optarg;
            break;
        case RECIPE:
            recipe = optarg;
            break;
        default:
            return say_bad_option(argv, opt);
        }
    }
    if (optind == argc)
        return say_usage("doctor of what? moetap doctor [OPTIONS] -- CMD...");
    if (output && !can_write(output))
        return EXIT_FAILED;
    char folder[] = "/tmp/moetap-doctor-XXXXXX", log[64], trace[64];
    if (!mkdtemp(folder))
        return say_failed("%s: %s", folder, strerror(errno));
    snprintf(log, sizeof log, "%s/log", folder);
    snprintf(trace, sizeof trace, "%s/trace", folder);
    char **command = argv + optind;
    int status = EXIT_FAILED, said = EXIT_OK;
    if (setenv("MOETAP_LOG", "2", 1) != 0 || setenv("MOETAP_LOG_FILE", log, 1) != 0)
        say_failed("out of memory");
    else
        status = record_to_report(command, source, recipe, trace);
    /* No such command: it was said, and there is nothing to report. */
    if (access(trace, F_OK) == 0) {
        if (output && !freopen(output, "we", stdout))
            said = say_failed("%s: cannot write it: %s", output, strerror(errno));
        else
            said = report(folder, command, status);
    }
    remove_folder(folder);
    return said != EXIT_OK ? said : status;
}
