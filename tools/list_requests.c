/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "requests/sequences.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void print_when(uint64_t ns)
{
    char text[32] = "?";
    time_t seconds = (time_t) (ns / 1000000000u);
    struct tm tm;
    if (gmtime_r(&seconds, &tm))
        strftime(text, sizeof text, "%H:%M:%S", &tm);
    printf(" %s.%06u", text, (unsigned) (ns % 1000000000u / 1000u));
}

static void print_segment(uint32_t segment, const struct requests *requests, uint32_t others, uint32_t *number)
{
    printf("segment %u: %u requests, %u layers, top %u of %u, ", segment, requests_count(requests),
           requests_layers(requests), requests_k(requests), requests_experts(requests));
    if (requests_batches(requests))
        puts("in batches");
    else
        printf("blocks of %u slots\n", requests_block_size(requests));
    if (others)
        printf("  %u layers run apart from these: of a draft, or another model's; left out\n", others);
    if (requests_blind_rows(requests))
        printf("  %llu rows have no slots and positions: they belong to no request\n",
               (unsigned long long) requests_blind_rows(requests));
    const bool untold = requests_batches(requests) || !requests_count(requests);
    if (untold && requests_blind_graph_rows(requests))
        printf("  %llu of them ran in CUDA graphs: of a model that torch.compile made kernels for? Those show "
               "neither, run it without (transformers: disable_compile=True)\n",
               (unsigned long long) requests_blind_graph_rows(requests));
    else if (requests_blind_rows(requests) && !requests_count(requests))
        puts("  no kernel that ran shows them: those of torch.compile do not, nor do engines without a recipe for it "
             "(docs/requests.md)");
    if (requests_filled(requests))
        printf("  the cache holds rows that no pass of the trace stored (offload, transfer): what is ahead of %u "
               "sequences is "
               "missing, and of others it may be wrong\n",
               requests_filled(requests));
    if (requests_foreign(requests))
        puts("  the cache holds rows that no pass of the trace stored: no request is followed over a block's end");
    else if (requests_proven(requests))
        puts("  links over a block's end are made where they are proven (a prefix cache): export --tokens finds more");
    if (requests_count(requests))
        printf("  %8s %8s %6s %9s %9s %6s  %-15s %s\n", "request", "tokens", "layers", "complete", "missing", "unsure",
               "first (UTC)", "last");
    for (uint32_t i = 0; i < requests_count(requests); i++) {
        const struct request *request = requests_get(requests, i);
        printf("  %8u %8u %6u %9u %9u %6u ", (*number)++, request->tokens, requests_layers(requests), request->complete,
               request->tokens - request->complete, request->tokens - request->confirmed);
        print_when(request->first_ns);
        print_when(request->last_ns);
        putchar('\n');
    }
}

int verb_requests(int argc, char **argv)
{
    enum { BLOCK_SIZE = 256, LINKS };
    static const struct option longs[] = {{"block-size", required_argument, NULL, BLOCK_SIZE},
                                          {"links", required_argument, NULL, LINKS},
                                          {NULL, 0, NULL, 0}};
    uint32_t block_size = 0;
    enum requests_rules rules = REQUESTS_AUTO;
    int opt;
    while ((opt = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        if (opt != BLOCK_SIZE && opt != LINKS)
            return say_bad_option(argv, opt);
        if (opt == LINKS && !parse_links(optarg, &rules))
            return say_usage("--links=%s: it is auto, proven or likely", optarg);
        if (opt == BLOCK_SIZE && !parse_block_size(optarg, &block_size))
            return say_usage("--block-size=%s: it is a number of slots, from 1 to 65536", optarg);
    }
    if (argc - optind != 1)
        return say_usage("requests of which trace? moetap requests [--block-size N] [--links=auto|proven|likely] FILE");
    struct mt_error error = {""};
    struct trace_reader *reader;
    struct requests **requests;
    if (trace_reader_open(argv[optind], &reader, &error) != 0)
        return say_failed("%s", error.text);
    int status = EXIT_OK;
    if (sequences_assemble(reader, block_size, rules, &requests, &error) != 0) {
        status = say_failed("%s", error.text);
    } else {
        uint32_t number = 0;
        if (!trace_reader_trace(reader)->segment_count)
            puts("no segment: nothing was captured");
        for (uint32_t i = 0; i < trace_reader_trace(reader)->segment_count; i++)
            print_segment(i, requests[i], sequences_other_layers(reader, i), &number);
        sequences_free(reader, requests);
    }
    trace_reader_close(reader);
    return status;
}
