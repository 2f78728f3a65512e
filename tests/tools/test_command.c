/* SPDX-License-Identifier: Apache-2.0 */
/* The command as its users run it, with an engine that needs no GPU. */
#include "../shim/command.h"
#include "engine_ids.h"
#include "live.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>

/* Each test works in a folder of its own, with its own folder of segments. */
static void enter(void)
{
    cr_assert_eq(chdir(scratch()), 0);
    cr_assert_eq(mkdir("shm", 0700), 0);
    char folder[128], sanitizer[512];
    snprintf(folder, sizeof folder, "%s/shm", scratch());
    setenv("MOETAP_SHM_DIR", folder, 1);
    setenv("MOETAP_SHIM", INNOCENT_SHIM, 1);
    unsetenv("LD_PRELOAD");
    unsetenv("MOETAP_SESSION");
    unsetenv("MOETAP_RING_SIZE");
    /* Its runtime wants to be first; the shim is preloaded before it. */
    const char *before = getenv("ASAN_OPTIONS");
    snprintf(sanitizer, sizeof sanitizer, "%s%sverify_asan_link_order=0", before ? before : "", before ? ":" : "");
    setenv("ASAN_OPTIONS", sanitizer, 1);
}

TestSuite(command, .init = enter, .fini = scratch_remove, .timeout = 30);

#define RUN(wanted, ...)                                                                                               \
    do {                                                                                                               \
        command(&o, __VA_ARGS__);                                                                                      \
        cr_assert_eq(o.status, wanted, "exited %d: %s", o.status, o.text);                                             \
    } while (0)

#define SAYS(words) cr_assert(strstr(o.text, words), "not a word of '%s' in: %s", words, o.text)
#define SAYS_NOT(words) cr_assert(!strstr(o.text, words), "'%s' in: %s", words, o.text)

/* All it said is one line of ours. */
static void one_line(const char *text)
{
    const char *end = strchr(text, '\n');
    cr_assert(strncmp(text, "moetap: ", 8) == 0 && end && !end[1], "not one line: '%s'", text);
}

static unsigned files_in(const char *path)
{
    DIR *folder = opendir(path);
    cr_assert(folder);
    unsigned n = 0;
    const struct dirent *entry;
    while ((entry = readdir(folder)))
        n += entry->d_name[0] != '.';
    closedir(folder);
    return n;
}

/* The only segment's name. */
static const char *segment_name(void)
{
    static char name[256];
    DIR *folder = opendir("shm");
    cr_assert(folder);
    const struct dirent *entry;
    name[0] = '\0';
    while ((entry = readdir(folder))) {
        if (strncmp(entry->d_name, "moetap.", 7) == 0)
            snprintf(name, sizeof name, "%s", entry->d_name);
    }
    closedir(folder);
    cr_assert(name[0], "no segment");
    return name;
}

struct account {
    unsigned long long records, rows, segments, lost, full, too_big, torn, unwritten, not_captured;
};

/* The last line of record and drain; its parts must add up. */
static struct account account_of(const char *text)
{
    struct account a;
    const char *line = strstr(text, "moetap: captured ");
    cr_assert(line, "no account in: %s", text);
    int n =
        sscanf(line,
               "moetap: captured %llu records, %llu rows from %llu segment%*[s;] lost %llu (full %llu, too big "
               "%llu, torn %llu, not written %llu); not captured %llu",
               &a.records, &a.rows, &a.segments, &a.lost, &a.full, &a.too_big, &a.torn, &a.unwritten, &a.not_captured);
    cr_assert_eq(n, 9, "%d of its numbers read: %s", n, line);
    cr_assert_eq(a.lost, a.full + a.too_big + a.torn + a.unwritten);
    return a;
}

/* What all engines said that they ran. */
static unsigned long long produced(const char *text)
{
    unsigned long long all = 0;
    for (const char *at = text; (at = strstr(at, "produced ")); at++)
        all += strtoull(at + 9, NULL, 10);
    return all;
}

static long long number(const json_t *record, const char *key)
{
    const json_t *value = json_object_get(record, key);
    cr_assert(json_is_integer(value), "%s", key);
    return json_integer_value(value);
}

/* Every id of every record, from jsonl; steps must grow. Returns the records; `layers` 0: all unknown. */
static unsigned check_ids(const char *file, unsigned layers)
{
    static long long next[8][64];
    char line[256];
    unsigned records = 0;
    memset(next, 0, sizeof next);
    snprintf(line, sizeof line, "%s dump --format=jsonl --all %s", MOETAP, file);
    FILE *pipe = popen(line, "r");
    json_t *record;
    json_error_t error;
    while ((record = json_loadf(pipe, JSON_DISABLE_EOF_CHECK, &error))) {
        const long long site = number(record, "site"), step = number(record, "step"), k = number(record, "k"),
                        segment = number(record, "segment"), experts = number(record, "experts");
        cr_assert(segment < 8 && site < 64 && step >= next[segment][site], "segment %lld site %lld step %lld", segment,
                  site, step);
        next[segment][site] = step + 1;
        if (layers) {
            cr_assert_eq(number(record, "layer"), site % layers);
            cr_assert_eq(number(record, "stream"), site / layers);
        } else {
            cr_assert(json_is_null(json_object_get(record, "layer")));
        }
        const json_t *ids = json_object_get(record, "ids");
        cr_assert_eq((long long) json_array_size(ids), number(record, "rows"));
        for (size_t row = 0; row < json_array_size(ids); row++) {
            const json_t *in_row = json_array_get(ids, row);
            cr_assert_eq((long long) json_array_size(in_row), k);
            for (size_t slot = 0; slot < (size_t) k; slot++) {
                const int32_t right =
                    engine_id((uint32_t) site, (uint64_t) step, row * (size_t) k + slot, (uint32_t) experts);
                cr_assert_eq(json_integer_value(json_array_get(in_row, slot)), right, "site %lld step %lld row %zu",
                             site, step, row);
            }
        }
        json_decref(record);
        records++;
    }
    cr_assert(feof(pipe), "no JSON: %s", error.text);
    cr_assert_eq(pclose(pipe), 0);
    return records;
}

/* ---- usage */

Test(command, usage)
{
    static const struct {
        const char *args, *says;
    } wrong[] = {
        {"frobnicate", "no such verb 'frobnicate'"},
        {"record", "record what?"},
        {"record --", "record what?"},
        {"record -o", "-o needs a value"},
        {"record --output", "--output needs a value"},
        {"record -z -- true", "no such option -z:"},
        {"record -zq -- true", "no such option -z:"},
        {"record --strict -zq -- true", "no such option -z:"},
        {"doctor --source=magic -- true", "--source=magic: it is auto, cupti or preload"},
        {"requests --block-size=-18446744073709551615 t", "--block-size=-18446744073709551615: it is a number"},
        {"record --frob -- true", "no such option --frob"},
        {"record --strict=1 -- true", "--strict=1, or it takes no value"},
        {"record --quiet=1 -- true", "--quiet=1, or it takes no value"},
        {"record --source=magic -- true", "--source=magic: it is auto, cupti or preload"},
        {"record --ring-size=1K -- true", "--ring-size=1K: it is a size"},
        {"record --ring-size=17G -- true", "--ring-size=17G: it is a size"},
        {"record --ring-size=64KB -- true", "--ring-size=64KB: it is a size"},
        {"record --ring-size=-1 -- true", "--ring-size=-1: it is a size"},
        {"record --ring-size=99999999999999999999 -- true", "it is a size"},
        {"record --on-full=wait -- true", "--on-full=wait: it is drop or wait:TIME"},
        {"record --on-full=wait:5 -- true", "--on-full=wait:5: it is drop or wait:TIME"},
        {"drain", "drain which segment?"},
        {"drain a b", "drain which segment?"},
        {"drain --frob a", "no such option --frob"},
        {"ls x", "ls takes no argument"},
        {"clean -f", "no such option -f"},
        {"clean important.txt", "segments are named moetap."},
        {"clean moetap.a important.txt", "segments are named moetap."},
        {"clean ../moetap.a", "segments are named moetap."},
        {"info", "info of what?"},
        {"info a b", "info of what?"},
        {"info --frob", "no such option --frob"},
        {"dump", "dump which trace?"},
        {"dump a b", "dump which trace?"},
        {"dump --format=xml t", "--format=xml: it is text, jsonl or csv"},
        {"dump --segment=-1 t", "--segment=-1: it is a number"},
        {"dump --segment=4294967296 t", "--segment=4294967296: it is a number"},
        {"dump --stream=1x t", "--stream=1x: it is a number"},
        {"dump -f", "-f needs a value"},
    };
    struct outcome o;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        RUN(2, "%s %s", MOETAP, wrong[i].args);
        one_line(o.text);
        SAYS(wrong[i].says);
    }
    cr_assert_eq(files_in("."), 1, "wrong usage left a file behind");
    RUN(2, "%s", MOETAP);
    SAYS("Exit status");
}

Test(command, help)
{
    struct outcome o;
    static const char *const verbs[] = {"record", "drain", "ls", "clean", "info", "dump"};
    RUN(0, "%s --help 2>&-", MOETAP);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        char words[32];
        snprintf(words, sizeof words, "  moetap %s", verbs[i]);
        SAYS(words);
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        RUN(0, "%s %s --help 2>&-", MOETAP, verbs[i]);
        SAYS(verbs[i]);
    }
    RUN(0, "%s dump -h", MOETAP);
    SAYS("moetap dump FILE");
    RUN(0, "%s --version 2>&-", MOETAP);
    SAYS("segment layout 1.");
}

/* What a verb says is there, or the verb failed. Who has seen enough is told nothing, and nothing failed. */
Test(command, standard_output)
{
    struct outcome o;
    RUN(0, "%s record -q -o t -- %s", MOETAP, ENGINE);
    RUN(0, "%s --steps 1", ENGINE); /* something for `ls` */
    static const char *const says[] = {"--help", "--version", "dump --help", "info t", "requests t", "recipes", "ls"};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
        RUN(1, "%s %s >/dev/full", MOETAP, says[i]);
        one_line(o.text);
        SAYS("standard output: cannot write it: No space");
        RUN(1, "%s %s >&-", MOETAP, says[i]);
        one_line(o.text);
        SAYS("standard output: cannot write it: Bad file");
        RUN(0, "{ %s %s; echo $? >status; } | true && cat status", MOETAP, says[i]);
        cr_assert_str_eq(o.text, "0\n");
    }
}

/* A closed standard error: its number is no trace's and no segment's, into which messages would go. */
Test(command, standard_error_is_closed)
{
    struct outcome o;
    RUN(0, "exec 9>/dev/null; %s record -o t -- sh -c 'ls -l /proc/self/fd/2' 2>&-; true", MOETAP);
    SAYS_NOT("/dev/null"); /* CMD finds it closed, too */
    RUN(1, "%s --steps 30 >/dev/null; %s drain -o /dev/full $(ls shm) 0<&- 1>&- 2>&-", ENGINE, MOETAP);
    cr_assert_str_eq(o.text, "");
    RUN(0, "%s --steps 30 >/dev/null; %s drain -o u $(ls shm) 0<&- 1>&- 2>&- && %s info u", ENGINE, MOETAP, MOETAP);
    cr_assert_eq(check_ids("u", 2), 60);
}

/* The command does not run for a report that nobody can get. */
Test(command, reports_that_cannot_be_written)
{
    struct outcome o;
    static const char *const verbs[] = {"doctor", "probe"}, *const places[] = {"no/such/folder/r", "shm", "/proc/r"};
    for (size_t i = 0; i < 6; i++) {
        RUN(1, "%s %s -o %s -- touch ran", MOETAP, verbs[i / 3], places[i % 3]);
        one_line(o.text);
        SAYS("cannot write it");
    }
    RUN(0, "echo mine >r; ! %s doctor -o r -- ./no-such-command 2>&1 && grep mine r", MOETAP);
    RUN(127, "%s doctor -o new -- ./no-such-command", MOETAP);
    cr_assert(access("ran", F_OK) != 0 && access("new", F_OK) != 0);
    RUN(0, "%s doctor -o new -- true", MOETAP);
    cr_assert_str_eq(o.text, "", "what it says is on the page");
    RUN(0, "grep 'exit status: 0' new");
    RUN(1, "mkdir none; %s probe --from none", MOETAP);
    one_line(o.text);
    SAYS("nothing sampled is in it");
}

Test(command, what_is_waited_for_is_said)
{
    struct outcome o;
    RUN(124, "timeout 0.3 %s table --session nosuch", MOETAP);
    one_line(o.text);
    SAYS("no engine of session nosuch yet");
}

/* ---- record: CMD's end is ours */

Test(command, statuses)
{
    struct outcome o;
    RUN(127, "%s record -o t -- no-such-command", MOETAP);
    one_line(o.text);
    SAYS("no-such-command: No such file");
    cr_assert_eq(access("t", F_OK), -1, "a trace of nothing");
    RUN(127, "%s record -o t -- ./no-such-command", MOETAP);
    RUN(126, "touch plain; %s record -o t -- ./plain", MOETAP);
    one_line(o.text);
    RUN(126, "%s record -o t -- ./shm", MOETAP);
    RUN(7, "%s record -o t -- sh -c 'exit 7'", MOETAP);
    RUN(255, "%s record -o t -- sh -c 'exit 255'", MOETAP);
    RUN(0, "%s record -o t -- true", MOETAP);
    SAYS("nothing was captured");
    RUN(128 + SIGKILL, "%s record -o t -- sh -c 'kill -9 $$'", MOETAP);
    RUN(128 + SIGTERM, "%s record -o t -- sh -c 'kill -TERM $$'", MOETAP);
    RUN(5, "%s record -q -o t -- %s --steps 3 --exit 5", MOETAP, ENGINE);
    cr_assert_eq(check_ids("t", 2), 6, "a failing engine's trace is a trace");
}

/* With no such command the trace that was begun goes; what is no plain file stays. */
Test(command, no_command_removes_no_device)
{
    struct outcome o;
    RUN(127, "mkfifo pipe && %s record -o pipe -- no-such-command", MOETAP);
    RUN(0, "test -p pipe");
    RUN(127, "ln -s t link; %s record -o link -- no-such-command", MOETAP);
    RUN(0, "test -h link");
}

Test(command, default_name)
{
    struct outcome o;
    RUN(0, "%s record -- %s", MOETAP, ENGINE);
    SAYS(" -> moetap-");
    RUN(0, "mv moetap-*.moetap t");
    cr_assert_eq(check_ids("t", 2), 8);
}

/* ---- record: CMD's environment */

Test(command, preload)
{
    struct outcome o;
    RUN(0, "%s record -q -o t -- sh -c 'echo =$LD_PRELOAD='", MOETAP);
    SAYS("=" INNOCENT_SHIM "=");
    RUN(0, "%s record -q -o t -- grep -c innocent /proc/self/maps", MOETAP);
    /* Another library stays, and stays first. */
    RUN(0, "LD_PRELOAD=libm.so.6 %s record -q -o t -- sh -c 'echo =$LD_PRELOAD='", MOETAP);
    SAYS("=libm.so.6:" INNOCENT_SHIM "=");
    /* Once, however it got there; another one whose path begins or ends alike is another one. */
    RUN(0, "LD_PRELOAD=%s %s record -q -o t -- sh -c 'echo =$LD_PRELOAD='", INNOCENT_SHIM, MOETAP);
    SAYS("=" INNOCENT_SHIM "=");
    RUN(0, "LD_PRELOAD='libm.so.6 %s' %s record -q -o t -- sh -c 'echo =$LD_PRELOAD='", INNOCENT_SHIM, MOETAP);
    SAYS("=libm.so.6 " INNOCENT_SHIM "=");
    RUN(0, "%s record -q -o t -- %s record -q -o t2 -- sh -c 'echo =$LD_PRELOAD='", MOETAP, MOETAP);
    SAYS("=" INNOCENT_SHIM "=");
    RUN(0, "LD_PRELOAD=/old%s %s record -q -o t -- sh -c 'echo =$LD_PRELOAD=' 2>&1 | grep -v ERROR", INNOCENT_SHIM,
        MOETAP);
    SAYS("=/old" INNOCENT_SHIM ":" INNOCENT_SHIM "=");
    RUN(0, "LD_PRELOAD=%s.old %s record -q -o t -- sh -c 'echo =$LD_PRELOAD=' 2>&1 | grep -v ERROR", INNOCENT_SHIM,
        MOETAP);
    SAYS("=" INNOCENT_SHIM ".old:" INNOCENT_SHIM "=");
}

Test(command, settings_reach_the_shim)
{
    struct outcome o;
    RUN(0,
        "touch my.recipe; %s record -q -o t --source=preload --recipe my.recipe --ring-size 1M --on-full=wait:5ms -- "
        "sh -c 'cd /; ls $MOETAP_RECIPE; echo $MOETAP_SOURCE $MOETAP_RING_SIZE $MOETAP_ON_FULL $MOETAP_SESSION'",
        MOETAP);
    SAYS("/my.recipe\npreload 1M wait:5ms r");
    /* What was not asked for is left as the user set it. */
    RUN(0, "MOETAP_SOURCE=cupti %s record -q -o t -- sh -c 'echo =$MOETAP_SOURCE=$MOETAP_RING_SIZE='", MOETAP);
    SAYS("=cupti==");
}

Test(command, no_shim)
{
    struct outcome o;
    RUN(1, "MOETAP_SHIM=/no/shim.so %s record -o t -- touch ran", MOETAP);
    one_line(o.text);
    SAYS("MOETAP_SHIM=/no/shim.so: No such file");
    RUN(1, "MOETAP_SHIM=$PWD %s record -o t -- touch ran", MOETAP);
    one_line(o.text);
    RUN(1, "cp %s 'a shim.so'; MOETAP_SHIM='a shim.so' %s record -o t -- touch ran", INNOCENT_SHIM, MOETAP);
    one_line(o.text);
    SAYS("LD_PRELOAD cannot say");
    RUN(1, "%s record -o t --recipe no.recipe -- touch ran", MOETAP);
    one_line(o.text);
    SAYS("--recipe no.recipe: No such file");
    cr_assert(access("ran", F_OK) != 0 && access("t", F_OK) != 0);
}

/* ---- record: signals */

Test(command, signals_are_passed_on)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct live live;
        char words[32];
        live_start(&live, "%s record -o t -- %s --steps 6 --wait-after 3", MOETAP, ENGINE);
        live_await(&live, "ready");
        kill(live.pid, signals[i]);
        cr_assert_eq(live_end(&live), 0, "%s", live.text);
        snprintf(words, sizeof words, "signal %d\n", signals[i]);
        cr_assert(strstr(live.text, words), "%s", live.text);
        cr_assert_eq(check_ids("t", 2), 12, "what came after the signal is missing");
    }
}

/* A signal that ends CMD: its status, and a whole trace of what was written before. */
Test(command, ended_by_a_signal)
{
    struct live live;
    live_start(&live, "%s record -o t -- sh -c '%s --steps 3; echo now; exec sleep 10'", MOETAP, ENGINE);
    live_await(&live, "now");
    kill(live.pid, SIGTERM);
    cr_assert_eq(live_end(&live), 128 + SIGTERM, "%s", live.text);
    cr_assert_eq(account_of(live.text).records, 6);
    cr_assert_eq(check_ids("t", 2), 6);
}

/* CMD ignores what it would ignore without us, no more (SIGPIPE) and no less (nohup). */
Test(command, dispositions_are_kept)
{
    struct outcome o;
    char bare[sizeof o.text];
    RUN(0, "grep SigIgn /proc/self/status");
    strcpy(bare, o.text);
    RUN(0, "%s record -q -o t -- grep SigIgn /proc/self/status 2>err", MOETAP);
    cr_assert_str_eq(o.text, bare);
    RUN(0, "trap '' HUP; %s record -q -o t -- sh -c 'kill -HUP $PPID; kill -HUP $$; echo survived'", MOETAP);
    SAYS("survived");
    RUN(0, "trap '' PIPE; exec grep SigIgn /proc/self/status");
    strcpy(bare, o.text);
    RUN(0, "trap '' PIPE; %s record -q -o t -- grep SigIgn /proc/self/status 2>err", MOETAP);
    cr_assert_str_eq(o.text, bare);
}

/* Nobody reads our messages any more: the engine is drained all the same. */
Test(command, stderr_is_gone)
{
    struct outcome o;
    RUN(0, "{ %s record -o t -- sh -c 'sleep 0.1; exec %s --steps 50 >/dev/null'; echo $? >status; } 2>&1 | true",
        MOETAP, ENGINE);
    RUN(0, "cat status");
    cr_assert_str_eq(o.text, "0\n");
    cr_assert_eq(check_ids("t", 2), 100);
}

/* ---- record: all that was produced */

Test(command, every_id)
{
    static const char *const shapes[] = {"--layers 3 --k 4 --experts 8", "--layers 3 --k 8 --experts 240 --rows 33",
                                         "--layers 1 --k 1 --experts 241 --rows 1",
                                         "--layers 5 --streams 3 --k 6 --experts 1024 --rows 17",
                                         "--layers 2 --rows 0 --steps 7"};
    static const unsigned layers[] = {3, 3, 1, 5, 2}, records[] = {12, 12, 4, 60, 14};
    struct outcome o;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        RUN(0, "%s record -o t -- %s %s", MOETAP, ENGINE, shapes[i]);
        struct account a = account_of(o.text);
        cr_assert_eq(a.records, records[i], "%s", o.text);
        cr_assert(a.segments == 1 && a.lost == 0 && produced(o.text) == a.records);
        cr_assert_eq(check_ids("t", layers[i]), records[i]);
        cr_assert_eq(files_in("shm"), 0, "the segment is still there");
        char words[64];
        snprintf(words, sizeof words, " rows, %u layers, ", layers[i]);
        RUN(0, "%s info t", MOETAP);
        SAYS(words);
    }
}

/* Layers that were learnt at the end label the records from the first on, also those that were written long before. */
Test(command, late_layers)
{
    struct live live;
    struct outcome o;
    live_start(&live, "%s record -o t -- %s --layers 3 --late-layers --wait-after 2", MOETAP, ENGINE);
    live_await(&live, "ready");
    do
        command(&o, "%s ls", MOETAP);
    while (strstr(o.text, "waiting"));
    usleep(50000); /* so long that it looks for new segments again */
    kill(live.pid, SIGUSR1);
    cr_assert_eq(live_end(&live), 0);
    cr_assert(!strstr(live.text, "being drained"), "it took its own segment for a new one: %s", live.text);
    cr_assert_eq(check_ids("t", 3), 12);
    RUN(0, "%s record -q -o t -- %s --layers 3 --late-layers", MOETAP, ENGINE);
    cr_assert_eq(check_ids("t", 3), 12);
    RUN(0, "%s record -q -o t -- %s --layers 3 --late-layers --die 9 || true", MOETAP, ENGINE);
    cr_assert_eq(check_ids("t", 3), 12);
}

/* A ring that is much smaller than what goes through it. */
Test(command, ring_waits)
{
    struct outcome o;
    RUN(0, "%s record --ring-size 64K -o t -- %s --steps 2000 --rows 40 --k 8 --wait-full 5000", MOETAP, ENGINE);
    struct account a = account_of(o.text);
    cr_assert(a.records == 4000 && a.rows == 160000 && a.lost == 0, "%s", o.text);
    cr_assert_eq(check_ids("t", 2), 4000);
}

Test(command, ring_drops)
{
    struct outcome o;
    RUN(0, "%s record --ring-size 64K -o t -- %s --steps 20000 --rows 100 --k 8 --big 2", MOETAP, ENGINE);
    struct account a = account_of(o.text);
    cr_assert_eq(a.records + a.lost, produced(o.text), "%s", o.text);
    cr_assert_eq(produced(o.text), 40002);
    cr_assert_eq(a.too_big, 2);
    cr_assert_eq(a.rows, a.records * 100);
    RUN(0, "%s info t", MOETAP);
    char words[128];
    snprintf(words, sizeof words, "  %llu records, %llu rows, 2 layers", a.records, a.rows);
    SAYS(words);
    snprintf(words, sizeof words, "  lost %llu: ring full %llu, too big 2, torn 0, not written 0", a.lost, a.full);
    SAYS(words);
}

Test(command, children)
{
    struct outcome o;
    RUN(0, "%s record -o t -- %s --steps 20 --fork 2 --spawn 2", MOETAP, ENGINE);
    struct account a = account_of(o.text);
    cr_assert_eq(a.segments, 5, "%s", o.text);
    cr_assert(a.records == 200 && a.lost == 0 && produced(o.text) == 200, "%s", o.text);
    cr_assert_eq(check_ids("t", 2), 200);
    cr_assert_eq(files_in("shm"), 0);
    RUN(0, "%s info t", MOETAP);
    SAYS("t: 5 segments");
    SAYS("segment 4: moetap.r");
}

/* CMD ends, a child of it routes on. */
Test(command, orphan)
{
    struct outcome o;
    RUN(4, "%s record -o t -- %s --steps 20 --orphan 200 --exit 4", MOETAP, ENGINE);
    struct account a = account_of(o.text);
    cr_assert(a.records == 40 && a.lost == 0, "%s", o.text);
    cr_assert_eq(check_ids("t", 2), 40);
    cr_assert_eq(files_in("shm"), 0);
}

/* Ctrl-C ends the waiting for it. What is not read then stays for `moetap drain`. */
Test(command, orphan_is_left)
{
    struct live live;
    struct outcome o;
    live_start(&live, "%s record -o t -- sh -c 'exec %s --steps 1000 --orphan 20000 --exit 4 >/dev/null 2>&1'", MOETAP,
               ENGINE);
    while (files_in("shm") == 0)
        usleep(1000);
    /* CMD has ended or is about to. A signal that still finds it does not count. */
    for (int i = 0; i < 4; i++) {
        usleep(100000);
        kill(live.pid, SIGINT);
    }
    cr_assert_eq(live_end(&live), 4, "%s", live.text);
    struct account a = account_of(live.text);
    RUN(0, "%s info t", MOETAP);
    SAYS("the engine was still running");
    cr_assert_eq(check_ids("t", 2), a.records);
    RUN(0, "kill -9 $(ls shm | cut -d. -f3); %s drain -o t $(ls shm)", MOETAP);
    cr_assert_eq(files_in("shm"), 0);
}

/* Others' segments are none of ours. */
Test(command, sessions_apart)
{
    struct outcome o;
    RUN(0, "MOETAP_SESSION=other %s >/dev/null; %s record -o t -- %s --steps 3", ENGINE, MOETAP, ENGINE);
    cr_assert_eq(account_of(o.text).segments, 1);
    cr_assert_eq(check_ids("t", 2), 6);
    RUN(0, "%s drain -o t $(ls shm)", MOETAP);
    cr_assert_eq(check_ids("t", 2), 8);
}

/* One process, two programs one after the other: each has its segment. */
Test(command, exec)
{
    struct outcome o;
    RUN(0, "%s record -o t -- sh -c '%s --steps 3; exec %s --steps 4'", MOETAP, ENGINE, ENGINE);
    cr_assert_eq(account_of(o.text).segments, 2);
    cr_assert_eq(check_ids("t", 2), 14);
}

Test(command, killed_within_a_record)
{
    static const char *const points[] = {"claimed", "filled", "copied", "fenced"};
    struct outcome o;
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        RUN(128 + SIGKILL, "%s record -o t -- %s --steps 10 --tear %s --die 9", MOETAP, ENGINE, points[i]);
        struct account a = account_of(o.text);
        cr_assert_eq(a.torn, 1, "%s: %s", points[i], o.text);
        cr_assert(a.records == 20 && a.lost == 1 && produced(o.text) == 21, "%s: %s", points[i], o.text);
        cr_assert_eq(check_ids("t", 2), 20);
        cr_assert_eq(files_in("shm"), 0);
        RUN(0, "%s info t", MOETAP);
        SAYS("torn 1, not written 0; not captured 0; the engine was killed or crashed");
        SAYS_NOT("cut off");
    }
}

Test(command, strict)
{
    struct outcome o;
    RUN(0, "%s record --strict -o t -- %s", MOETAP, ENGINE);
    RUN(3, "%s record --strict -o t -- %s --big 1", MOETAP, ENGINE);
    SAYS("lost 1 (full 0, too big 1,");
    RUN(3, "%s record --strict -o t -- %s --not-captured 2", MOETAP, ENGINE);
    SAYS("not captured 2");
    RUN(0, "%s record -o t -- %s --big 1 --not-captured 2", MOETAP, ENGINE);
    RUN(9, "%s record --strict -o t -- %s --big 1 --exit 9", MOETAP, ENGINE);
    RUN(3, "%s --big 1 >/dev/null; %s drain --strict -o t %s", ENGINE, MOETAP, "$(ls shm)");
}

/* ---- record: the file */

Test(command, full_device)
{
    struct outcome o;
    RUN(1, "%s record -o /dev/full -- %s --steps 30", MOETAP, ENGINE);
    SAYS("cannot write the trace: No space left on device; the engine goes on");
    struct account a = account_of(o.text);
    cr_assert(a.records == 0 && a.rows == 0 && a.unwritten == 60 && produced(o.text) == 60, "%s", o.text);
    cr_assert_eq(files_in("shm"), 0);
    RUN(6, "%s record -o /dev/full -- %s --exit 6", MOETAP, ENGINE);
    RUN(1, "%s --steps 30; %s drain -o /dev/full $(ls shm)", ENGINE, MOETAP);
    a = account_of(o.text);
    cr_assert(a.records == 0 && a.unwritten == 60, "%s", o.text);
    RUN(0, "test -c /dev/full");
}

/* The file gets full on the way: what is in it and what is counted are all. */
Test(command, file_limit)
{
    struct outcome o;
    RUN(1,
        "MOETAP_RING_SIZE=16M %s --experts 1024 --k 8 --rows 100 --steps 2000; ulimit -f 2048; %s drain -o t $(ls shm)",
        ENGINE, MOETAP);
    struct account a = account_of(o.text);
    cr_assert(a.unwritten > 0 && a.records > 0 && a.torn == 0, "%s", o.text);
    cr_assert_eq(a.records + a.lost, produced(o.text), "%s", o.text);
    cr_assert_eq(a.rows, a.records * 100);
    RUN(0, "%s info t", MOETAP);
    SAYS("cut off");
    char words[64];
    snprintf(words, sizeof words, "  %llu records, %llu rows", a.records, a.rows);
    SAYS(words);
}

Test(command, overwriting)
{
    struct outcome o;
    RUN(1, "echo thesis >t; %s record -o t -- touch ran", MOETAP);
    one_line(o.text);
    SAYS("--force");
    RUN(0, "grep -q thesis t && test ! -e ran");
    RUN(1, "%s >/dev/null; %s drain -o t $(ls shm)", ENGINE, MOETAP);
    RUN(0, "grep -q thesis t && test -e shm/moetap.*");
    RUN(0, "%s record -q --force -o t -- %s", MOETAP, ENGINE);
    cr_assert_eq(check_ids("t", 2), 8);
    RUN(0, "%s record -q -o t -- %s --steps 1", MOETAP, ENGINE);
    cr_assert_eq(check_ids("t", 2), 2, "the longer trace before it shows through");
}

Test(command, unwritable)
{
    static const char *const places[] = {"no/such/folder/t", "shm", "/proc/t"};
    struct outcome o;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        RUN(1, "%s record -o %s -- touch ran", MOETAP, places[i]);
        one_line(o.text);
        SAYS("cannot write it");
    }
    RUN(1, "%s record -o t --recipe shm -- touch ran", MOETAP);
    one_line(o.text);
    SAYS("--recipe shm: is no regular file");
    cr_assert_neq(access("ran", F_OK), 0);
}

/* No folder for segments: the engine runs on. */
Test(command, no_folder)
{
    struct outcome o;
    setenv("MOETAP_SHM_DIR", "/no/such/folder", 1);
    RUN(5, "%s record -o t -- %s --exit 5", MOETAP, ENGINE);
    SAYS("cannot open /no/such/folder");
    SAYS("nothing was captured");
    static const char *const verbs[] = {"ls", "clean", "drain moetap.a.1.0", "info moetap.a.1.0"};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        RUN(1, "%s %s", MOETAP, verbs[i]);
        one_line(o.text);
        SAYS("/no/such/folder");
    }
}

/* ---- drain */

Test(command, drain_live)
{
    struct live engine, drain;
    struct outcome o;
    live_start(&engine, "%s --steps 10 --wait-after 5", ENGINE);
    live_await(&engine, "ready");
    live_start(&drain, "%s drain -o t %s", MOETAP, segment_name());
    /* By its path, while the first one has it: refused, and no file is touched. */
    do
        command(&o, "%s ls", MOETAP);
    while (strstr(o.text, "waiting"));
    RUN(1, "%s drain -o t shm/%s", MOETAP, segment_name());
    one_line(o.text);
    SAYS("already being drained by process");
    RUN(1, "%s clean %s", MOETAP, segment_name());
    kill(engine.pid, SIGUSR1);
    cr_assert_eq(live_end(&engine), 0);
    cr_assert_eq(live_end(&drain), 0, "%s", drain.text);
    cr_assert_eq(account_of(drain.text).records, 20);
    cr_assert_eq(check_ids("t", 2), 20, "the second drain spoilt the first one's file");
    cr_assert_eq(files_in("shm"), 0);
}

/* A drain that is stopped ends its trace; the next one goes on where it stopped. */
Test(command, drain_in_two)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        struct live engine, drain;
        struct outcome o;
        live_start(&engine, "%s --steps 10 --wait-after 6", ENGINE);
        live_await(&engine, "ready");
        live_start(&drain, "%s drain -o t %s", MOETAP, segment_name());
        do
            command(&o, "%s ls", MOETAP);
        while (strstr(o.text, "waiting"));
        kill(drain.pid, stops[i]);
        cr_assert_eq(live_end(&drain), 0, "%s", drain.text);
        cr_assert_eq(account_of(drain.text).records, 12);
        RUN(0, "%s info t", MOETAP);
        SAYS("the engine was still running");
        cr_assert_eq(check_ids("t", 2), 12);
        kill(engine.pid, SIGUSR1);
        cr_assert_eq(live_end(&engine), 0);
        RUN(0, "%s drain -o t %s", MOETAP, segment_name());
        cr_assert_eq(account_of(o.text).records, 8);
        RUN(0, "%s dump --format=csv t | sed -n 2p", MOETAP);
        cr_assert(strncmp(o.text, "6,0,0,", 6) == 0, "it begins with %s", o.text);
        cr_assert_eq(files_in("shm"), 0);
    }
}

/* An engine that nobody read from: what fitted is read, the rest was counted. */
Test(command, drain_ended)
{
    struct outcome o;
    RUN(0, "%s --steps 500 --rows 50 --k 8 --big 3; %s drain $(ls shm)", ENGINE, MOETAP);
    struct account a = account_of(o.text);
    cr_assert(a.full > 0 && a.records > 0 && a.too_big == 3 && a.torn == 0, "%s", o.text);
    cr_assert_eq(a.records + a.lost, produced(o.text), "%s", o.text);
    RUN(0, "mv moetap.local.*.moetap t"); /* named after the segment */
    cr_assert_eq(check_ids("t", 2), a.records);
    cr_assert_eq(files_in("shm"), 0);
    RUN(128 + SIGKILL, "%s --die 9 >/dev/null", ENGINE);
    RUN(0, "%s drain -q -o t $(ls shm)", MOETAP);
    RUN(0, "%s info t", MOETAP);
    SAYS("was killed or crashed");
}

Test(command, drain_missing)
{
    struct outcome o;
    RUN(1, "%s drain -o t moetap.local.1.0", MOETAP);
    one_line(o.text);
    SAYS("no such segment");
    RUN(1, "echo junk >shm/moetap.junk; %s drain -o t moetap.junk", MOETAP);
    one_line(o.text);
    SAYS("not a moetap segment");
    cr_assert_neq(access("t", F_OK), 0, "a trace of nothing");
}

/* A ring that something else wrote to: given up with a line, never a success. */
Test(command, damaged_ring)
{
    struct outcome o;
    RUN(1, "%s record -o t -- %s --steps 10 --corrupt --nap 5000", MOETAP, ENGINE);
    SAYS("is not what a writer writes");
    cr_assert_eq(account_of(o.text).records, 10);
    cr_assert_eq(check_ids("t", 2), 10, "what came before it");
    cr_assert_eq(files_in("shm"), 0, "the segment is still there");
    RUN(1, "%s --corrupt; %s drain -o t $(ls shm)", ENGINE, MOETAP);
    SAYS("is not what a writer writes");
}

/* ---- ls, clean, info */

Test(command, ls_and_clean)
{
    struct live engine;
    struct outcome o;
    RUN(0, "%s ls && %s clean", MOETAP, MOETAP);
    cr_assert_str_eq(o.text, "", "no segments, no words: %s", o.text);
    live_start(&engine, "%s --wait-after 2", ENGINE);
    live_await(&engine, "ready");
    char living[256];
    strcpy(living, segment_name());
    RUN(0,
        "MOETAP_SESSION=ended %s; MOETAP_SESSION=died %s --die 9; echo junk >shm/moetap.x; : >shm/moetap.empty; "
        "head -c 4096 /dev/zero >shm/moetap.half; echo mine >shm/other",
        ENGINE, ENGINE);
    /* One of a layout to come. */
    RUN(0, "cp shm/moetap.died.* shm/moetap.new; printf '\\011' | dd of=shm/moetap.new bs=1 seek=8 conv=notrunc");
    RUN(0, "%s ls | sed 's/  */ /g'", MOETAP);
    char words[320];
    snprintf(words, sizeof words, "%s %d alive 0 waiting 0M fake device\n", living, (int) engine.pid);
    SAYS(words);
    SAYS(" closed 0 waiting ");
    SAYS(" dead 0 waiting ");
    SAYS("moetap.x - bad ");
    SAYS("moetap.empty - bad ");
    SAYS("moetap.new - bad ");
    SAYS("has layout 9.");
    SAYS_NOT("other");

    RUN(1, "%s clean %s", MOETAP, living);
    one_line(o.text);
    SAYS("still writes to it");
    RUN(1, "%s clean moetap.nobody", MOETAP);
    one_line(o.text);
    SAYS("no such segment");
    cr_assert_eq(files_in("shm"), 8);
    RUN(0, "%s clean moetap.x", MOETAP);
    cr_assert_str_eq(o.text, "removed moetap.x (no valid segment)\n");
    cr_assert_eq(files_in("shm"), 7);
    RUN(0, "%s clean", MOETAP);
    SAYS("removed moetap.ended.");
    SAYS("removed moetap.died.");
    SAYS("removed moetap.empty (no valid segment)");
    SAYS("removed moetap.half (no valid segment)");
    SAYS("removed moetap.new (no valid segment)");
    SAYS_NOT(living);
    cr_assert_eq(files_in("shm"), 2);
    cr_assert_str_eq(segment_name(), living);
    kill(engine.pid, SIGUSR1);
    cr_assert_eq(live_end(&engine), 0, "the engine noticed: %s", engine.text);
    RUN(0, "%s clean && test -e shm/other", MOETAP);
    cr_assert_eq(files_in("shm"), 1);
}

Test(command, info_of_a_trace)
{
    struct outcome o;
    RUN(0, "%s record -q -o t -- %s --layers 2 --streams 2 --steps 5 --rows 7 --experts 64 --retract --not-captured 1",
        MOETAP, ENGINE);
    RUN(0, "%s info t", MOETAP);
    SAYS("t: 1 segment\n");
    SAYS("(fake-engine), device 0: fake device\n");
    SAYS("      0      0       0      64   2 int32  unknown  eager        5         35  fake (no router: left out)\n");
    SAYS("      3      1       1      64   2 int32  unknown  eager        5         35  fake\n");
    SAYS("  20 records, 140 rows, 2 layers, 5 steps\n");
    SAYS("  lost 0: ring full 0, too big 0, torn 0, not written 0; not captured 1; the engine ended by itself\n");
    RUN(1, "%s info nothing", MOETAP);
    one_line(o.text);
    RUN(1, "echo junk >junk; %s info junk", MOETAP);
    one_line(o.text);
    SAYS("not a moetap trace");
}

Test(command, info_with_the_models_config)
{
    struct outcome o;
    RUN(0, "%s record -q -o t -- %s --layers 2 --streams 2 --steps 5 --rows 7 --experts 64 --retract", MOETAP, ENGINE);
    RUN(0,
        "echo '{\"num_hidden_layers\":4,\"decoder_sparse_step\":2,\"num_experts\":64,\"num_experts_per_tok\":2}' >c; "
        "%s info --model-config c t",
        MOETAP);
    SAYS("  model layers 1,3 of 4: layers 0-1 here\n");
    SAYS_NOT("moetap: ");
    RUN(0, "sed s/64/32/ c >d; %s info --model-config=d t", MOETAP);
    SAYS("moetap: d: 2 MoE layers, top 2 of 32; segment 0: 2 layers, top 2 of 64: another model?");
    SAYS_NOT("model layers");
    RUN(1, "echo '{}' >e; %s info --model-config=e t", MOETAP);
    one_line(o.text);
    SAYS("e: does not tell how many layers the model has");
    RUN(1, "%s info --model-config=nothing t", MOETAP);
    one_line(o.text);
}

Test(command, info_of_a_segment)
{
    struct live engine;
    struct outcome o;
    live_start(&engine, "%s --wait-after 2 --not-captured 3 --experts 64", ENGINE);
    live_await(&engine, "ready");
    static const char *const folders[] = {"", "$PWD/shm/"};
    for (size_t i = 0; i < 2; i++) {
        RUN(0, "%s info %s%s", MOETAP, folders[i], segment_name());
        SAYS("(fake-engine), writing, device 0: fake device, ring of 64 KiB");
        SAYS("      1      0       1      64   2 int32  unknown  eager  fake\n");
        SAYS("not captured 3");
    }
    /* Looking takes nothing. */
    kill(engine.pid, SIGUSR1);
    cr_assert_eq(live_end(&engine), 0);
    RUN(0, "%s info %s", MOETAP, segment_name());
    SAYS("closed");
    RUN(0, "%s drain -o t %s", MOETAP, segment_name());
    cr_assert_eq(account_of(o.text).records, 8);
    /* A damaged one is called a segment, also by its path. */
    RUN(1, "head -c 5000 /dev/urandom >shm/moetap.x; %s info $PWD/shm/moetap.x", MOETAP);
    one_line(o.text);
    SAYS("not a moetap segment");
    /* A trace may lie there, and be called so. */
    RUN(0, "mv t shm/moetap.trace; %s info $PWD/shm/moetap.trace && cd shm && %s info moetap.trace", MOETAP, MOETAP);
}

/* ---- dump */

Test(command, dump_formats)
{
    struct outcome o;
    char right[8192];
    size_t n = 0;
    RUN(0, "%s record -q -o t -- %s --layers 2 --k 3 --rows 2 --steps 3 --experts 8", MOETAP, ENGINE);
    n = (size_t) snprintf(right, sizeof right, "step,layer,row,e0,e1,e2\n");
    for (uint32_t step = 0; step < 3; step++)
        for (uint32_t layer = 0; layer < 2; layer++)
            for (uint32_t row = 0; row < 2; row++)
                n += (size_t) snprintf(right + n, sizeof right - n, "%u,%u,%u,%d,%d,%d\n", step, layer, row,
                                       engine_id(layer, step, row * 3, 8), engine_id(layer, step, row * 3 + 1, 8),
                                       engine_id(layer, step, row * 3 + 2, 8));
    RUN(0, "%s dump --format=csv t", MOETAP);
    cr_assert_str_eq(o.text, right);
    n = 0;
    for (uint32_t seq = 0; seq < 6; seq++) {
        const uint32_t layer = seq % 2, step = seq / 2;
        n += (size_t) snprintf(right + n, sizeof right - n,
                               "seq %u segment 0 stream 0 step %u layer %u: 2 rows, top 3 of 8\n", seq, step, layer);
        for (uint32_t row = 0; row < 2; row++)
            n += (size_t) snprintf(right + n, sizeof right - n, "  %6u: %4d %4d %4d\n", row,
                                   engine_id(layer, step, row * 3, 8), engine_id(layer, step, row * 3 + 1, 8),
                                   engine_id(layer, step, row * 3 + 2, 8));
    }
    RUN(0, "%s dump t", MOETAP);
    cr_assert_str_eq(o.text, right);
    RUN(0, "%s dump --format text t", MOETAP);
    cr_assert_str_eq(o.text, right);
    RUN(0, "%s dump --format=jsonl t | head -1", MOETAP);
    snprintf(right, sizeof right,
             "{\"seq\":0,\"segment\":0,\"stream\":0,\"site\":0,\"layer\":0,\"step\":0,\"rows\":2,\"k\":3,\"experts\":8,"
             "\"ids\":[[%d,%d,%d],[%d,%d,%d]]}\n",
             engine_id(0, 0, 0, 8), engine_id(0, 0, 1, 8), engine_id(0, 0, 2, 8), engine_id(0, 0, 3, 8),
             engine_id(0, 0, 4, 8), engine_id(0, 0, 5, 8));
    cr_assert_str_eq(o.text, right);
}

/* Layers that never became known are null, unknown and empty: no number. Retracted sites only with --all. */
Test(command, dump_unknown_and_retracted)
{
    struct live live;
    struct outcome o;
    live_start(&live, "%s --layers 2 --late-layers --wait-after 1", ENGINE);
    live_await(&live, "ready");
    kill(live.pid, SIGKILL);
    live_end(&live);
    RUN(0, "%s drain -q -o t $(ls shm)", MOETAP);
    cr_assert_eq(check_ids("t", 0), 2);
    RUN(0,
        "echo '{\"num_hidden_layers\":2,\"num_experts\":8,\"num_experts_per_tok\":2}' >c; %s info --model-config c t",
        MOETAP);
    SAYS("moetap: c: segment 0: its layers are unknown");
    RUN(0, "%s dump --format=csv t | cut -c-4 | tail -1", MOETAP);
    cr_assert_str_eq(o.text, "0,,2\n");
    RUN(0, "%s dump t", MOETAP);
    SAYS("step 0 layer unknown: 3 rows");
    RUN(0, "%s record -q -o t -- %s --retract", MOETAP, ENGINE);
    RUN(0, "%s dump --format=jsonl t", MOETAP);
    SAYS("\"site\":1");
    SAYS_NOT("\"site\":0");
    cr_assert_eq(check_ids("t", 2), 8); /* with --all */
}

/* csv has no column for streams and segments. */
Test(command, dump_one_stream)
{
    struct outcome o;
    RUN(0, "%s record -q -o t -- %s --layers 2 --streams 2 --steps 2 --rows 1", MOETAP, ENGINE);
    RUN(1, "%s dump --format=csv t", MOETAP);
    one_line(o.text);
    SAYS("--stream N");
    char right[256];
    for (unsigned stream = 0; stream < 2; stream++) {
        int n = snprintf(right, sizeof right, "step,layer,row,e0,e1\n");
        for (unsigned i = 0; i < 4; i++)
            n += snprintf(right + n, sizeof right - (size_t) n, "%u,%u,0,%d,%d\n", i / 2, i % 2,
                          engine_id(stream * 2 + i % 2, i / 2, 0, 8), engine_id(stream * 2 + i % 2, i / 2, 1, 8));
        RUN(0, "%s dump --format=csv --stream=%u t", MOETAP, stream);
        cr_assert_str_eq(o.text, right);
    }
    RUN(0, "%s record -q -o t -- %s --fork 1 --steps 1", MOETAP, ENGINE);
    RUN(1, "%s dump --format=csv t", MOETAP);
    one_line(o.text);
    RUN(0, "%s dump --format=csv --segment 1 t | wc -l", MOETAP);
    cr_assert_eq(atoi(o.text), 7);
    RUN(0, "%s dump --format=jsonl --segment 1 t", MOETAP);
    SAYS("\"segment\":1");
    SAYS_NOT("\"segment\":0");
    RUN(1, "%s dump --segment 2 t", MOETAP);
    one_line(o.text);
    SAYS("no segment 2: this trace has 2");
}

Test(command, dump_to_files)
{
    struct outcome o;
    RUN(0, "%s record -q --ring-size 1M -o t -- %s --steps 300 --rows 20", MOETAP, ENGINE);
    static const char *const formats[] = {"text", "jsonl", "csv"};
    for (size_t i = 0; i < 3; i++) {
        RUN(0, "%s dump --format=%s t >a && %s dump --format=%s -o b t && cmp a b && test -s a", MOETAP, formats[i],
            MOETAP, formats[i]);
        cr_assert_str_eq(o.text, "");
        RUN(1, "%s dump --format=%s t >/dev/full", MOETAP, formats[i]);
        one_line(o.text);
        SAYS("standard output: cannot write it: No space");
        RUN(1, "%s dump --format=%s -o /dev/full t", MOETAP, formats[i]);
        one_line(o.text);
        SAYS("/dev/full: cannot write it: No space");
        /* Who has seen enough is told nothing, and nothing failed. */
        RUN(0, "{ %s dump --format=%s t; echo $? >status; } | head -2 >/dev/null && cat status", MOETAP, formats[i]);
        cr_assert_str_eq(o.text, "0\n");
    }
    RUN(1, "%s dump -o no/such/folder/b t", MOETAP);
    one_line(o.text);
    RUN(1, "%s dump no-such-trace", MOETAP);
    one_line(o.text);
    RUN(1, "cp t u; %s dump -o ./u u", MOETAP);
    one_line(o.text);
    SAYS("the trace itself");
    RUN(0, "cmp t u");
}

/* Also when only the last few bytes do not fit. */
Test(command, dump_small_to_full)
{
    struct outcome o;
    RUN(0, "%s record -q -o t -- %s --steps 1", MOETAP, ENGINE);
    RUN(1, "%s dump t >/dev/full", MOETAP);
    one_line(o.text);
    RUN(1, "%s dump -o /dev/full t", MOETAP);
    one_line(o.text);
}

Test(command, dump_damaged)
{
    struct outcome o;
    RUN(0, "%s record -q -o t -- %s --steps 40 --rows 30", MOETAP, ENGINE);
    struct stat status;
    cr_assert_eq(stat("t", &status), 0);
    const long size = (long) status.st_size;
    /* In the records, which lie in the middle. */
    RUN(0, "cp t u; printf '\\377\\001\\377' | dd of=u bs=1 seek=%ld conv=notrunc 2>/dev/null", size / 2);
    static const char *const verbs[] = {"dump", "dump --format=jsonl", "dump --format=csv", "info"};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        RUN(1, "%s %s u >/dev/null", MOETAP, verbs[i]);
        one_line(o.text);
        SAYS("u: damaged trace: ");
    }
    RUN(0, "head -c %ld t >u; %s dump u >/dev/null", size - 10, MOETAP);
    one_line(o.text);
    SAYS("this trace was cut off");
    RUN(0, "%s info u", MOETAP);
    SAYS("cut off");
    RUN(1, ": >u; %s dump u", MOETAP);
    one_line(o.text);
    SAYS("not a moetap trace");
}
