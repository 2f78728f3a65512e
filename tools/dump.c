/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "format/format.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct dump {
    const struct format *format;
    const struct trace *trace;
    FILE *out;
    long segment, stream; /* -1: all */
    bool all;             /* also what is known to be no router's */
    int out_error;        /* errno of the first failed write */
    enum trace_ids ids;
    struct format_shown shown;
    /* found by the first pass */
    long first_segment, first_stream;
    bool several;
};

static bool wanted(const struct dump *dump, uint32_t segment, const struct mt_site *site)
{
    return (dump->segment < 0 || segment == (uint32_t) dump->segment) &&
           (dump->stream < 0 || site->stream == (uint32_t) dump->stream) &&
           (dump->all || !(site->flags & MT_SITE_RETRACTED)) && (dump->shown.context || !site->kind);
}

static int survey(uint32_t segment, const struct mt_record *record, const void *ids, void *user)
{
    (void) ids;
    struct dump *dump = user;
    const struct mt_site *site = &dump->trace->segments[segment].sites[record->site];
    if (!wanted(dump, segment, site))
        return 0;
    if (record->k > dump->shown.k_max)
        dump->shown.k_max = record->k;
    dump->shown.weights |= record->weights != MT_WEIGHT_NONE;
    if (dump->first_segment < 0) {
        dump->first_segment = segment;
        dump->first_stream = site->stream;
    }
    dump->several |= segment != (uint32_t) dump->first_segment || site->stream != (uint32_t) dump->first_stream;
    return 0;
}

static int print(uint32_t segment, const struct mt_record *record, const void *ids, void *user)
{
    struct dump *dump = user;
    const struct mt_site *site = &dump->trace->segments[segment].sites[record->site];
    if (!wanted(dump, segment, site))
        return 0;
    errno = 0;
    dump->format->record(dump->out, &dump->shown, segment, site, record, ids);
    if (!ferror(dump->out))
        return 0;
    dump->out_error = errno ? errno : EIO;
    return -EIO;
}

static bool number(const char *text, long *value)
{
    char *end;
    errno = 0;
    *value = strtol(text, &end, 10);
    return !errno && end != text && !*end && *value >= 0 && *value <= UINT32_MAX;
}

/* Opening it for writing would empty the trace before it is read. */
static bool same_file(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static int run(struct dump *dump, struct trace_reader *reader)
{
    struct mt_error error = {""};
    if (dump->format->one_stream) {
        int result = trace_reader_records(reader, survey, dump, &error);
        if (result)
            return say_failed("%s", error.text);
        if (dump->several)
            return say_failed(
                "this trace has several segments or streams, which %s cannot tell apart: choose with --segment N "
                "and --stream N (see `moetap info`)",
                dump->format->name);
    }
    if (dump->format->begin)
        dump->format->begin(dump->out, &dump->shown);
    int result = trace_reader_records(reader, print, dump, &error);
    if (result && !dump->out_error)
        return say_failed("%s", error.text);
    if (!dump->trace->complete)
        say_failed("this trace was cut off (its recorder did not end it): these are its whole blocks");
    return EXIT_OK;
}

int verb_dump(int argc, char **argv)
{
    enum { SEGMENT = 256, STREAM, ALL, CONTEXT, IDS };
    static const struct option longs[] = {{"format", required_argument, NULL, 'f'},
                                          {"output", required_argument, NULL, 'o'},
                                          {"segment", required_argument, NULL, SEGMENT},
                                          {"stream", required_argument, NULL, STREAM},
                                          {"all", no_argument, NULL, ALL},
                                          {"context", no_argument, NULL, CONTEXT},
                                          {"ids", required_argument, NULL, IDS},
                                          {NULL, 0, NULL, 0}};
    static const struct format *const formats[] = {&format_text, &format_jsonl, &format_csv};
    struct dump dump = {.format = &format_text, .segment = -1, .stream = -1, .first_segment = -1, .ids = TRACE_IDS_OWN};
    const char *output = NULL;
    int opt;
    while ((opt = getopt_long(argc, argv, ":f:o:", longs, NULL)) != -1) {
        switch (opt) {
        case 'f':
            dump.format = NULL;
            for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
                if (strcmp(formats[i]->name, optarg) == 0)
                    dump.format = formats[i];
            }
            if (!dump.format)
                return say_usage("--format=%s: it is text, jsonl or csv", optarg);
            break;
        case 'o':
            output = optarg;
            break;
        case SEGMENT:
            if (!number(optarg, &dump.segment))
                return say_usage("--segment=%s: it is a number from `moetap info`", optarg);
            break;
        case STREAM:
            if (!number(optarg, &dump.stream))
                return say_usage("--stream=%s: it is a number from `moetap info`", optarg);
            break;
        case ALL:
            dump.all = true;
            break;
        case CONTEXT:
            dump.shown.context = true;
            break;
        case IDS:
            if (!trace_ids_parse(optarg, &dump.ids))
                return say_usage("--ids=%s: it is logical or physical", optarg);
            break;
        default:
            return say_bad_option(argv, opt);
        }
    }
    if (argc - optind != 1)
        return say_usage("dump which trace? moetap dump [--format=text|jsonl|csv] FILE");
    if (output && same_file(argv[optind], output))
        return say_failed("-o %s: that is the trace itself", output);
    struct mt_error error = {""};
    struct trace_reader *reader;
    if (trace_reader_open(argv[optind], &reader, &error) != 0)
        return say_failed("%s", error.text);
    dump.trace = trace_reader_trace(reader);
    if (trace_reader_choose(reader, dump.ids, &error) != 0) {
        trace_reader_close(reader);
        return say_failed("%s", error.text);
    }
    if (dump.segment >= (long) dump.trace->segment_count) {
        int status =
            say_failed("%s: no segment %ld: this trace has %u", argv[optind], dump.segment, dump.trace->segment_count);
        trace_reader_close(reader);
        return status;
    }
    dump.out = output ? fopen(output, "we") : stdout;
    int status = EXIT_FAILED;
    if (!dump.out) {
        say_failed("%s: cannot write it: %s", output, strerror(errno));
    } else {
        status = run(&dump, reader);
        if (output && fclose(dump.out) != 0 && !dump.out_error)
            dump.out_error = errno;
        if (output && dump.out_error) /* of standard output main() says it */
            status = say_failed("%s: cannot write it: %s", output, strerror(dump.out_error));
    }
    trace_reader_close(reader);
    return status;
}
