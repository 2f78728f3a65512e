/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const graph_modes[] = {"eager", "plain", "pieces", "update", "relaxed", "fork", NULL};
static const char *const router_modes[] = {"one", "turns", "mixed", NULL};

struct options options = {.layers = 4,
                          .experts = 64,
                          .topk = 6,
                          .tokens = 16,
                          .steps = 8,
                          .streams = 1,
                          .seed = 1,
                          .dtype = "i32",
                          .door = "dlsym"};

int options_usage(const char *problem)
{
    fprintf(stderr,
            "moe-demo: %s\nmoe-demo [--layers L] [--experts E] [--topk K] [--tokens N] [--steps S] "
            "[--graph[=eager|plain|pieces|fork|update|relaxed]]\n         [--scrub] [--fork] "
            "[--routers=one|turns|mixed] [--draft RUNS] [--context] [--plan[=tables|lists]] [--pdl] "
            "[--weights] [--rescale] [--eplb[=inplace]] [--streams M]\n"
            "         [--dtype i32|i64|u32|u16|u8] [--seed X] [--truth FILE] [--door dlsym|getproc] [--device D]\n",
            problem);
    return 2;
}

const char *options_parse(int argc, char **argv)
{
    static const struct {
        const char *name;
        long *value;
        long least, most;
    } numbers[] = {{"layers", &options.layers, 1, 512},      {"experts", &options.experts, 1, 1024},
                   {"topk", &options.topk, 1, 32},           {"tokens", &options.tokens, 1, 65536},
                   {"steps", &options.steps, 1, 1000000},    {"streams", &options.streams, 1, 64},
                   {"seed", &options.seed, 0, LONG_MAX / 2}, {"device", &options.device, 0, 63},
                   {"draft", &options.draft, 0, 16}};
    enum {
        NUMBERS = sizeof numbers / sizeof *numbers,
        GRAPH = 100,
        SCRUB,
        CONTEXT,
        ROUTERS,
        FORKED,
        PLAN,
        PDL,
        WEIGHTS,
        RESCALE,
        EPLB,
        DTYPE,
        TRUTH,
        DOOR
    };
    struct option longs[NUMBERS + 14] = {{0}};
    for (int i = 0; i < NUMBERS; i++)
        longs[i] = (struct option){numbers[i].name, required_argument, NULL, i + 1};
    longs[NUMBERS] = (struct option){"graph", optional_argument, NULL, GRAPH};
    longs[NUMBERS + 1] = (struct option){"dtype", required_argument, NULL, DTYPE};
    longs[NUMBERS + 2] = (struct option){"truth", required_argument, NULL, TRUTH};
    longs[NUMBERS + 3] = (struct option){"door", required_argument, NULL, DOOR};
    longs[NUMBERS + 4] = (struct option){"scrub", no_argument, NULL, SCRUB};
    longs[NUMBERS + 5] = (struct option){"context", no_argument, NULL, CONTEXT};
    longs[NUMBERS + 6] = (struct option){"pdl", no_argument, NULL, PDL};
    longs[NUMBERS + 7] = (struct option){"weights", no_argument, NULL, WEIGHTS};
    longs[NUMBERS + 8] = (struct option){"rescale", no_argument, NULL, RESCALE};
    longs[NUMBERS + 9] = (struct option){"eplb", optional_argument, NULL, EPLB};
    longs[NUMBERS + 10] = (struct option){"plan", optional_argument, NULL, PLAN};
    longs[NUMBERS + 11] = (struct option){"routers", required_argument, NULL, ROUTERS};
    longs[NUMBERS + 12] = (struct option){"fork", no_argument, NULL, FORKED};
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (opt >= 1 && opt <= NUMBERS) {
            char *end;
            long value = strtol(optarg, &end, 10);
            if (end == optarg || *end || value < numbers[opt - 1].least || value > numbers[opt - 1].most)
                return "a number is out of range";
            *numbers[opt - 1].value = value;
        } else if (opt == GRAPH) {
            options.graph = optarg ? EAGER : PLAIN;
            while (optarg && graph_modes[options.graph] && strcmp(graph_modes[options.graph], optarg))
                options.graph++;
            if (!graph_modes[options.graph])
                return "--graph is eager, plain, pieces, fork, update or relaxed";
            options.fork |= options.graph == FORK;
        } else if (opt == FORKED) {
            options.fork = true;
        } else if (opt == ROUTERS) {
            while (router_modes[options.routers] && strcmp(router_modes[options.routers], optarg))
                options.routers++;
            if (!router_modes[options.routers])
                return "--routers is one, turns or mixed";
        } else if (opt == SCRUB) {
            options.scrub = true;
        } else if (opt == CONTEXT) {
            options.context = true;
        } else if (opt == PLAN) {
            options.context = true;
            options.plan = !optarg ? TABLE : strcmp(optarg, "lists") ? TABLES : LISTS;
            if (optarg && strcmp(optarg, "tables") && strcmp(optarg, "lists"))
                return "--plan is tables, lists, or nothing";
        } else if (opt == PDL) {
            options.pdl = true;
        } else if (opt == WEIGHTS) {
            options.weights = true;
        } else if (opt == RESCALE) {
            options.rescale = true;
        } else if (opt == EPLB) {
            options.eplb = optarg ? IN_PLACE : APART;
            if (optarg && strcmp(optarg, "inplace"))
                return "--eplb is inplace, or nothing";
        } else if (opt == DTYPE) {
            options.dtype = optarg;
        } else if (opt == TRUTH) {
            options.truth = optarg;
        } else if (opt == DOOR) {
            options.door = optarg;
        } else {
            return "no such option";
        }
    }
    if (optind != argc)
        return "takes options only";
    static const char *const dtypes[] = {"i32", "i64", "u32", "u16", "u8"};
    bool known = false;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        known |= strcmp(options.dtype, dtypes[i]) == 0;
    if (!known)
        return "--dtype is i32, i64, u32, u16 or u8";
    if (strcmp(options.dtype, "u8") == 0 && options.experts * (options.eplb ? 2 : 1) > 256)
        return "u8 has room for 256 experts";
    if (strcmp(options.door, "dlsym") && strcmp(options.door, "getproc"))
        return "--door is dlsym or getproc";
    if (options.plan && options.tokens < 16)
        return "--plan needs --tokens of 16 and more";
    return options.topk > options.experts ? "--topk is at most --experts" : NULL;
}
