/* SPDX-License-Identifier: Apache-2.0 */
/*
 * truth-compare TRUTH --layers L --topk K --tokens N --steps S [--streams M] [ignored --experts E] < dump.jsonl
 * Every id that the sample engine copied itself, compared with what moetap dumped. "match: A of B ids", status 0 if A
 * == B.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long layers = 4, topk = 6, tokens = 16, steps = 8, streams = 1, experts;

static long field(const json_t *record, const char *name)
{
    const json_t *value = json_object_get(record, name);
    return json_is_integer(value) ? (long) json_integer_value(value) : -1;
}

/* Compares one record; false with a line if it does not belong here. */
static long wrong; /* ids in records that are there */

static bool compare(const json_t *record, const int32_t *truth, bool *seen, long *matched)
{
    long step = field(record, "step"), stream = field(record, "stream"), layer = field(record, "layer");
    const json_t *rows = json_object_get(record, "ids");
    if (step < 0 || step >= steps || stream < 0 || stream >= streams || layer < 0 || layer >= layers ||
        (long) json_array_size(rows) != tokens || field(record, "rows") != tokens || field(record, "k") != topk) {
        printf("not expected: step %ld stream %ld layer %ld, %zu rows\n", step, stream, layer, json_array_size(rows));
        return false;
    }
    size_t at = (size_t) ((step * streams + stream) * layers + layer);
    if (seen[at]) {
        printf("twice: step %ld stream %ld layer %ld\n", step, stream, layer);
        return false;
    }
    seen[at] = true;
    const int32_t *expected = truth + at * (size_t) (tokens * topk);
    for (long row = 0; row < tokens; row++) {
        const json_t *ids = json_array_get(rows, (size_t) row);
        for (long slot = 0; slot < topk; slot++) {
            const json_t *id = json_array_get(ids, (size_t) slot);
            if (json_is_integer(id) && json_integer_value(id) == expected[row * topk + slot])
                ++*matched;
            else
                wrong++;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        long *value;
    } numbers[] = {{"layers", &layers}, {"topk", &topk},       {"tokens", &tokens},
                   {"steps", &steps},   {"streams", &streams}, {"experts", &experts}};
    struct option longs[8] = {{0}};
    for (int i = 0; i < 6; i++)
        longs[i] = (struct option){numbers[i].name, required_argument, NULL, i + 1};
    longs[6] = (struct option){"dtype", required_argument, NULL, 7}; /* the engine's own business: ids are int32 here */
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (opt == 7)
            continue;
        if (opt < 1 || opt > 6)
            return 2;
        *numbers[opt - 1].value = atol(optarg);
    }
    if (optind != argc - 1 || layers < 1 || topk < 1 || tokens < 1 || steps < 1 || streams < 1)
        return 2;
    size_t calls = (size_t) (steps * streams * layers), count = calls * (size_t) (tokens * topk);
    int32_t *truth = malloc(count * sizeof *truth);
    bool *seen = calloc(calls, sizeof *seen);
    FILE *file = fopen(argv[optind], "rb");
    if (!truth || !seen || !file || fread(truth, sizeof *truth, count, file) != count || fgetc(file) != EOF) {
        printf("%s: not a truth file of that shape\n", argv[optind]);
        return 1;
    }
    fclose(file);
    long matched = 0;
    bool good = true;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        json_error_t error;
        json_t *record = json_loads(line, 0, &error);
        if (!record) {
            printf("not JSON: %s\n", error.text);
            good = false;
            continue;
        }
        good &= compare(record, truth, seen, &matched);
        json_decref(record);
    }
    if (wrong)
        printf("wrong: %ld ids\n", wrong);
    printf("match: %ld of %zu ids\n", matched, count);
    free(line);
    free(truth);
    free(seen);
    return good && (size_t) matched == count ? 0 : 1;
}
