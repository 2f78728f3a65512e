/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "collect.h"
#include "stop.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int verb_drain(int argc, char **argv)
{
    enum { STRICT = 256, FORCE };
    static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
                                          {"strict", no_argument, NULL, STRICT},
                                          {"force", no_argument, NULL, FORCE},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {NULL, 0, NULL, 0}};
    const char *output = NULL;
    char name[300];
    bool strict = false, force = false, quiet = false;
    int opt;
    while ((opt = getopt_long(argc, argv, ":o:q", longs, NULL)) != -1) {
        switch (opt) {
        case 'o':
            output = optarg;
            break;
        case 'q':
            quiet = true;
            break;
        case STRICT:
            strict = true;
            break;
        case FORCE:
            force = true;
            break;
        default:
            return say_bad_option(argv, opt);
        }
    }
    if (argc - optind != 1)
        return say_usage("drain which segment? `moetap ls` lists them");
    const char *segment = argv[optind];
    if (!output) {
        const char *slash = strrchr(segment, '/');
        snprintf(name, sizeof name, "%.250s.moetap", slash ? slash + 1 : segment);
        output = name;
    }
    struct mt_error error = {""};
    mt_reader *reader;
    /* Before the file is touched: it may be what another one is draining this segment into. */
    if (mt_attach(segment, MT_ATTACH_DRAIN, &reader, &error) != 0)
        return say_failed("%s", error.text);
    struct trace_writer *writer;
    if (trace_writer_open(output, force, &writer, &error) != 0) {
        mt_detach(reader);
        return say_failed("%s", error.text);
    }
    struct collect *collect = collect_new(writer);
    if (!collect || collect_follow(collect, reader) != 0)
        return say_failed("out of memory");
    struct collect_total total;
    stop_on_signals(); /* each would leave a trace without its end */
    bool progress = !quiet && isatty(STDERR_FILENO);
    while (!stop_wanted()) {
        uint64_t records = collect_drain(collect);
        if (collect_finish_ended(collect))
            break;
        collect_pause(collect, records, progress);
    }
    int result = collect_end(collect, &total, &error);
    collect_summary(&total, output, progress);
    if (result)
        return say_failed("%s", error.text);
    if (total.damaged)
        return EXIT_FAILED;
    return strict && collect_lost(&total) + total.not_captured ? EXIT_LOST : EXIT_OK;
}
