/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "../shm/settings.h"
#include "collect.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
    const char *output;
    const char *source, *recipe, *ring_size, *on_full;
    bool weights, strict, force, quiet;
    bool reported; /* what was captured, by `doctor` */
};

static volatile sig_atomic_t child; /* 0 once it was reaped */
static volatile sig_atomic_t asked_to_stop;

/* Ctrl-C on a terminal reaches the whole foreground group by itself; a signal sent to us alone is passed on. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    (void) context;
    asked_to_stop++;
    if (child > 0 && !(info->si_code == SI_KERNEL && (number == SIGINT || number == SIGQUIT)))
        kill((pid_t) child, number);
}

static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

/* A message that nobody reads and a file at its limit are no reason to die: the engine goes on, so do we. */
static const int ignored[] = {SIGPIPE, SIGXFSZ};

#define COUNT(array) (sizeof(array) / sizeof *(array))
static struct sigaction passed_before[COUNT(passed)], ignored_before[COUNT(ignored)];

static void catch_signals(void)
{
    const struct sigaction pass = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    for (size_t i = 0; i < COUNT(passed); i++) {
        sigaction(passed[i], NULL, &passed_before[i]);
        if (passed_before[i].sa_handler != SIG_IGN) /* as nohup wants it */
            sigaction(passed[i], &pass, NULL);
    }
    for (size_t i = 0; i < COUNT(ignored); i++)
        sigaction(ignored[i], &ignore, &ignored_before[i]);
}

/* CMD is to find the world as without us. */
static void restore_signals(void)
{
    for (size_t i = 0; i < COUNT(passed); i++)
        sigaction(passed[i], &passed_before[i], NULL);
    for (size_t i = 0; i < COUNT(ignored); i++)
        sigaction(ignored[i], &ignored_before[i], NULL);
}

static int readable(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, R_OK) == 0;
}

/* MOETAP_SHIM, else the build tree that this command runs from, else where it was installed. */
static int find_shim(char *path, size_t size)
{
    const char *wanted = getenv("MOETAP_SHIM");
    char self[PATH_MAX], candidate[PATH_MAX + 64];
    if (wanted && *wanted) {
        if (!readable(wanted) || !realpath(wanted, self))
            return say_failed("MOETAP_SHIM=%s: %s", wanted, strerror(errno ? errno : EINVAL));
        snprintf(path, size, "%s", self);
        return 0;
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (slash)
            *slash = '\0';
        snprintf(candidate, sizeof candidate, "%s/../shim/libmoetap-shim.so", self);
        if (readable(candidate) && realpath(candidate, path))
            return 0;
    }
    snprintf(candidate, sizeof candidate, "%.1000s/libmoetap-shim.so", MT_LIBDIR);
    if (readable(candidate)) {
        snprintf(path, size, "%.4000s", candidate);
        return 0;
    }
    return say_failed(
        "libmoetap-shim.so is neither in the build tree nor in %s: build it with CUDA, or set MOETAP_SHIM", MT_LIBDIR);
}

/* Behind what is there already, and once. The dynamic loader splits at blanks and colons: a path with one cannot be
 * said. */
static int preload(const char *shim)
{
    if (strpbrk(shim, " :"))
        return say_failed("the path of the shim has a blank or a colon, which LD_PRELOAD cannot say: %s", shim);
    const char *old = getenv("LD_PRELOAD");
    size_t n = strlen(shim);
    for (const char *at = old; at && (at = strstr(at, shim)); at += n) {
        bool begins = at == old || strchr(" :", at[-1]);
        if (begins && (!at[n] || strchr(" :", at[n])))
            return 0;
    }
    char *value = NULL;
    if (asprintf(&value, "%s%s%s", old ? old : "", old && *old ? ":" : "", shim) < 0)
        return say_failed("out of memory");
    int result = setenv("LD_PRELOAD", value, 1);
    free(value);
    return result ? say_failed("out of memory") : 0;
}

static int set(const char *name, const char *value)
{
    return value && setenv(name, value, 1) != 0 ? say_failed("out of memory") : 0;
}

static int set_environment(const struct options *options, const char *session)
{
    char shim[PATH_MAX], recipe[PATH_MAX];
    int status = find_shim(shim, sizeof shim);
    if (status)
        return status;
    if (options->recipe && !(realpath(options->recipe, recipe) && access(recipe, R_OK) == 0))
        return say_failed("--recipe %s: %s", options->recipe, strerror(errno));
    if (options->recipe && !readable(recipe))
        return say_failed("--recipe %s: is no regular file", options->recipe);
    if ((status = set("MOETAP_SESSION", session)) || (status = set("MOETAP_SOURCE", options->source)) ||
        (status = set("MOETAP_RECIPE", options->recipe ? recipe : NULL)) ||
        (status = set("MOETAP_RING_SIZE", options->ring_size)) || (status = set("MOETAP_ON_FULL", options->on_full)) ||
        (status = set("MOETAP_WEIGHTS", options->weights ? "1" : NULL)))
        return status;
    return preload(shim);
}

int check_source(const char *source)
{
    if (strcmp(source, "auto") != 0 && strcmp(source, "cupti") != 0 && strcmp(source, "preload") != 0)
        return say_usage("--source=%s: it is auto, cupti or preload", source);
    return 0;
}

static int parse(int argc, char **argv, struct options *options)
{
    enum { SOURCE = 256, RECIPE, RING_SIZE, ON_FULL, WEIGHTS, STRICT, FORCE };
    static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
                                          {"source", required_argument, NULL, SOURCE},
                                          {"recipe", required_argument, NULL, RECIPE},
                                          {"ring-size", required_argument, NULL, RING_SIZE},
                                          {"on-full", required_argument, NULL, ON_FULL},
                                          {"weights", no_argument, NULL, WEIGHTS},
                                          {"strict", no_argument, NULL, STRICT},
                                          {"force", no_argument, NULL, FORCE},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {NULL, 0, NULL, 0}};
    uint64_t parsed;
    int opt;
    while ((opt = getopt_long(argc, argv, "+:o:q", longs, NULL)) != -1) {
        switch (opt) {
        case 'o':
            options->output = optarg;
            break;
        case 'q':
            options->quiet = true;
            break;
        case SOURCE:
            if ((opt = check_source(optarg)))
                return opt;
            options->source = optarg;
            break;
        case RECIPE:
            options->recipe = optarg;
            break;
        case RING_SIZE:
            if (!mt_parse_ring_size(optarg, &parsed))
                return say_usage("--ring-size=%s: it is a size from 64K to 16G", optarg);
            options->ring_size = optarg;
            break;
        case ON_FULL:
            if (!mt_parse_on_full(optarg, &parsed))
                return say_usage("--on-full=%s: it is drop or wait:TIME, as in wait:5ms", optarg);
            options->on_full = optarg;
            break;
        case WEIGHTS:
            options->weights = true;
            break;
        case STRICT:
            options->strict = true;
            break;
        case FORCE:
            options->force = true;
            break;
        default:
            return say_bad_option(argv, opt);
        }
    }
    return optind == argc ? say_usage("record what? moetap record [OPTIONS] -- CMD...") : 0;
}

/* The child tells through a pipe, closed by a successful exec(), why it could not become CMD. */
static int start(char **command, int *exec_error)
{
    int pipe_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC) != 0)
        return say_failed("cannot make a pipe: %s", strerror(errno));
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old); /* no signal between fork and `child` is lost */
    pid_t pid = fork();
    if (pid == 0) {
        restore_signals();
        sigprocmask(SIG_SETMASK, &old, NULL);
        execvp(command[0], command);
        int error = errno;
        ssize_t n = write(pipe_ends[1], &error, sizeof error);
        (void) n;
        _exit(127);
    }
    child = pid;
    sigprocmask(SIG_SETMASK, &old, NULL);
    close(pipe_ends[1]);
    *exec_error = 0;
    if (pid > 0) {
        ssize_t n;
        do
            n = read(pipe_ends[0], exec_error, sizeof *exec_error);
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t) sizeof *exec_error)
            *exec_error = 0;
    }
    close(pipe_ends[0]);
    return pid < 0 ? say_failed("cannot start a process: %s", strerror(errno)) : 0;
}

/* Reaps; as subreaper also descendants that CMD left behind. */
static bool reap(int *status)
{
    int s;
    pid_t pid;
    while ((pid = waitpid(-1, &s, WNOHANG)) > 0) {
        if (pid == (pid_t) child) {
            *status = s;
            child = 0;
        }
    }
    return child == 0;
}

static int follow(struct collect *collect, const char *session, bool progress)
{
    int status = 0, stops_at_exit = 0;
    bool ended = false;
    unsigned turn = 0;
    for (;;) {
        bool was_over = reap(&status);
        if (was_over && !ended) {
            ended = true;
            stops_at_exit = (int) asked_to_stop;
        }
        if (turn++ % 10 == 0 || was_over)
            collect_discover(collect, session);
        uint64_t records = collect_drain(collect);
        bool all_gone = collect_finish_ended(collect);
        /* Descendants may outlive CMD: as long as one of them owns a segment; a Ctrl-C then ends the waiting. */
        if (was_over && (all_gone || asked_to_stop > stops_at_exit))
            return status;
        collect_pause(collect, records, progress);
    }
}

/* The empty one that was begun; not /dev/null, nor what a link leads to. */
static void remove_trace(const char *path)
{
    struct stat status;
    if (lstat(path, &status) == 0 && S_ISREG(status.st_mode))
        unlink(path);
}

static int not_run(const char *command, int exec_error)
{
    say_failed("%s: %s", command, strerror(exec_error));
    return exec_error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN;
}

int run_preloaded(char **command, const char *source, bool *ran)
{
    struct options options = {.source = source};
    int exec_error = 0, wait_status = 0, status = set_environment(&options, "probe");
    *ran = false;
    if (status)
        return status;
    catch_signals();
    if ((status = start(command, &exec_error)))
        return status;
    while (!reap(&wait_status))
        usleep(20000);
    if (exec_error)
        return not_run(command[0], exec_error);
    *ran = true;
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static void summarize(const struct collect_total *total, const char *output, bool progress)
{
    collect_summary(total, output, progress);
    if (!total->records && !total->not_captured && !collect_lost(total))
        fprintf(stderr, "moetap: nothing was captured: did the command use CUDA, and is there a recipe for its router? "
                        "`moetap doctor` explains\n");
}

static int record(const struct options *options, char **command)
{
    char session[32];
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t) sizeof random)
        random = (uint32_t) time(NULL);
    snprintf(session, sizeof session, "r%d-%08x", (int) getpid(), random);
    /* Left over from a probe, they would turn the taps off. */
    unsetenv("MOETAP_PROBE");
    unsetenv("MOETAP_PROBE_ALL");
    int status = set_environment(options, session);
    if (status)
        return status;
    struct mt_error error = {""};
    struct trace_writer *writer;
    if (trace_writer_open(options->output, options->force, &writer, &error) != 0)
        return say_failed("%s", error.text);
    struct collect *collect = collect_new(writer);
    if (!collect)
        return say_failed("out of memory");

    catch_signals();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int exec_error;
    status = start(command, &exec_error);
    if (status)
        return status;
    bool progress = !options->quiet && isatty(STDERR_FILENO);
    int wait_status = follow(collect, session, progress);
    struct collect_total total;
    int written = collect_end(collect, &total, &error);
    if (exec_error) {
        remove_trace(options->output);
        return not_run(command[0], exec_error);
    }
    if (!options->reported)
        summarize(&total, options->output, progress);
    if (WIFSIGNALED(wait_status))
        return 128 + WTERMSIG(wait_status);
    if (WEXITSTATUS(wait_status))
        return WEXITSTATUS(wait_status);
    if (written)
        return say_failed("%s", error.text);
    if (total.damaged)
        return EXIT_FAILED;
    return options->strict && collect_lost(&total) + total.not_captured ? EXIT_LOST : EXIT_OK;
}

int record_to_report(char **command, const char *source, const char *recipe, const char *trace)
{
    const struct options options = {
        .output = trace, .source = source, .recipe = recipe, .quiet = true, .reported = true};
    return record(&options, command);
}

int verb_record(int argc, char **argv)
{
    struct options options = {0};
    int status = parse(argc, argv, &options);
    if (status)
        return status;
    char output[64];
    if (!options.output) {
        snprintf(output, sizeof output, "moetap-%d.moetap", (int) getpid());
        options.output = output;
    }
    return record(&options, argv + optind);
}
