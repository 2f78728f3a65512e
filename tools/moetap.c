/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "../shm/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
    bool starts; /* a command, which is to find the signals as they were */
} verbs[] = {
    {"record", verb_record,
     "record [-o FILE] [--source=auto|cupti|preload] [--recipe FILE] [--ring-size N]\n"
     "         [--on-full=drop|wait:TIME] [--weights] [--strict] [--force] [-q] -- CMD...\n"
     "         runs CMD with the tap preloaded and writes what it routes to FILE",
     true},
    {"drain", verb_drain,
     "drain SEGMENT [-o FILE] [--strict] [--force] [-q]\n"
     "         the same for an engine that was started by hand with LD_PRELOAD"},
    {"table", verb_table,
     "table SEGMENT|--session S [--follow] [-o NAME] [--slots N] [--layers N] [--vllm ID --vllm-layers N] [--keep] "
     "[--strict] [-q]\n"
     "         keeps live tables of the experts of each KV slot, for any process to look into"},
    {"ls", verb_ls, "ls       lists the segments and tables on this machine"},
    {"clean", verb_clean, "clean [NAME...]\n         removes segments and tables whose writer has ended"},
    {"info", verb_info,
     "info FILE|SEGMENT [--model-config CONFIG]\n         says what was captured, and what was lost"},
    {"dump", verb_dump,
     "dump FILE [--format=text|jsonl|csv] [-o OUT] [--segment N] [--stream N] [--all] [--context]\n"
     "         [--ids=logical|physical]\n"
     "         prints the records"},
    {"requests", verb_requests,
     "requests FILE [--block-size N] [--links=auto|proven|likely]\n"
     "         puts the rows together to requests, by KV slots and positions, and lists them"},
    {"export", verb_export,
     "export FILE --request N|--all|--tokens LIST [--lossy]|--passes -o OUT.npz|OUT.safetensors "
     "[--format=npz|safetensors]\n"
     "         [--dtype=int32|int16|uint16|uint8] [--block-size N]\n         [--links=auto|proven|likely] "
     "[--model-config CONFIG] [--layers=moe|model] [--topk N]\n"
     "         [--ids=logical|physical]\n"
     "         writes ids, and weights if they were recorded, as arrays [rows, layers, k], for trainers"},
    {"recipes", verb_recipes,
     "recipes [check FILE]\n"
     "         lists the built-in recipes, or says whether those of FILE are well-formed"},
    {"doctor", verb_doctor,
     "doctor [-o REPORT] [--source=auto|cupti|preload] [--recipe FILE] -- CMD...\n"
     "         runs CMD and says what was seen, what fitted and what did not",
     true},
    {"probe", verb_probe,
     "probe [-o RECIPE] [--source=auto|cupti|preload] [--all] [--keep FOLDER] [-v] -- CMD...\n"
     "  moetap probe --from FOLDER [-o RECIPE] [-v]\n"
     "         runs CMD and looks for a router that no recipe knows; writes a recipe for it",
     true},
};

static void print_help(FILE *out)
{
    fputs("moetap records which experts a Mixture-of-Experts model chose, from an unmodified engine.\n\n", out);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        fprintf(out, "  moetap %s\n", verbs[i].help);
    fputs("\nExit status: 0 done; 1 failed (probe: nothing found); 2 wrong usage; 3 records were lost (--strict); "
          "record passes\n"
          "CMD's own on, 126 and 127 as a shell, 128+N if signal N ended it. More in moetap(1).\n",
          out);
}

static int say(int status, const char *format, va_list args)
{
    fputs("moetap: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    return status;
}

int say_failed(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int status = say(EXIT_FAILED, format, args);
    va_end(args);
    return status;
}

int say_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int status = say(EXIT_USAGE, format, args);
    va_end(args);
    return status;
}

int say_bad_option(char *const *argv, int opt)
{
    const char *word = argv[optind - 1];
    if (opt == ':')
        return say_usage("%s needs a value: see `moetap --help`", word);
    /* Not for --quiet=5, where it is 'q'. In the middle of -zq getopt has not yet moved on to the next word. */
    if (optopt > 0 && optopt < 256 && !(strncmp(word, "--", 2) == 0 && word[2] == optopt))
        return say_usage("no such option -%c: see `moetap --help`", optopt);
    return say_usage("no such option %s, or it takes no value: see `moetap --help`", word);
}

bool can_write(const char *path)
{
    struct stat status;
    const bool there = stat(path, &status) == 0;
    /* Opening a pipe would be seen by who reads it. */
    const bool opens = !there || S_ISREG(status.st_mode) || S_ISDIR(status.st_mode);
    const int fd = opens ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (opens ? fd < 0 : access(path, W_OK) != 0) {
        say_failed("%s: cannot write it: %s", path, strerror(errno));
        return false;
    }
    if (opens)
        close(fd);
    if (!there)
        unlink(path);
    return true;
}

bool parse_block_size(const char *text, uint32_t *size)
{
    char *end;
    const long value = strtol(text, &end, 10);
    *size = (uint32_t) value;
    return end != text && !*end && value >= 1 && value <= 65536;
}

/*
 * A closed descriptor 0 to 2 would be the number of the next file that is opened, and messages would go into it. As
 * these are opened, reading and writing fail as before.
 */
static void keep_standard_numbers(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", (fd ? O_RDONLY : O_WRONLY) | O_CLOEXEC) != fd)
            return;
    }
}

/* Who has seen enough (`| head`) is told nothing, and nothing failed. */
static int end_output(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_OK;
    const int failure = errno ? errno : EIO;
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (failure == EPIPE || (poll(&out, 1, 0) == 1 && (out.revents & POLLERR)))
        return EXIT_OK;
    return say_failed("standard output: cannot write it: %s", strerror(failure));
}

static int no_such_verb(const char *word)
{
    char all[256] = "";
    const size_t count = sizeof verbs / sizeof *verbs;
    for (size_t i = 0, n = 0; i < count && n < sizeof all; i++)
        n += (size_t) snprintf(all + n, sizeof all - n, "%s%s",
                               i == 0          ? ""
                               : i + 1 < count ? ", "
                                               : " or ",
                               verbs[i].name);
    return say_usage("no such verb '%s': %s", word, all);
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int main(int argc, char **argv)
{
    const struct verb *verb = NULL;
    for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0)
            verb = &verbs[i];
    }
    const bool help = verb && argc > 2 && is_help(argv[2]);
    keep_standard_numbers();
    if (!verb || !verb->starts || help)
        signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (is_help(argv[1]) || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return end_output();
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("moetap %s (segment layout %u.%u)\n", mt_version(), MT_ABI_MAJOR, MT_ABI_MINOR);
        return end_output();
    }
    if (!verb)
        return no_such_verb(argv[1]);
    if (help) {
        printf("moetap %s\n", verb->help);
        return end_output();
    }
    opterr = 0; /* our own messages */
    const int status = verb->run(argc - 1, argv + 1);
    return status == EXIT_OK ? end_output() : status;
}
