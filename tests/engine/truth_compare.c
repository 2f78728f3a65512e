/* SPDX-License-Identifier: Apache-2.0 */
/*
 * truth-compare TRUTH --layers L --topk K --tokens N --steps S [--streams M] [--weights] [ignored --experts E]
 * < dump.jsonl: every id that the sample engine copied itself, compared with what moetap dumped; with --weights every
 * bit of the weights in TRUTH.weights, too. "match: A of B ids[, C of D weights]", status 0 if A == B and C == D.
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

static const int32_t *ids_truth;
static const float *weights_truth; /* NULL: none are asked for */
static long ids_matched, weights_matched;
static long wrong, wrong_weights; /* in records that are there */

/* Read from nine digits, a float has all its bits again. */
static bool same_bits(const json_t *weight, float expected)
{
    float found = (float) json_number_value(weight);
    return json_is_number(weight) && memcmp(&found, &expected, sizeof found) == 0;
}

static void compare_row(const json_t *ids, const json_t *weights, size_t at)
{
    for (size_t slot = 0; slot < (size_t) topk; slot++) {
        const json_t *id = json_array_get(ids, slot);
        if (json_is_integer(id) && json_integer_value(id) == ids_truth[at + slot])
            ids_matched++;
        else
            wrong++;
        if (weights_truth && same_bits(json_array_get(weights, slot), weights_truth[at + slot]))
            weights_matched++;
        else
            wrong_weights += weights_truth != NULL;
    }
}

/* Compares one record; false with a line if it does not belong here. */
static bool compare(const json_t *record, bool *seen)
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
    const json_t *weights = json_object_get(record, "weights");
    for (size_t row = 0; row < (size_t) tokens; row++)
        compare_row(json_array_get(rows, row), json_array_get(weights, row),
                    (at * (size_t) tokens + row) * (size_t) topk);
    return true;
}

/* A whole file of `count` values of four bytes. */
static void *load(const char *path, const char *suffix, size_t count)
{
    char name[4096];
    snprintf(name, sizeof name, "%.4000s%s", path, suffix);
    int32_t *values = malloc(count * sizeof *values);
    FILE *file = fopen(name, "rb");
    if (!values || !file || fread(values, sizeof *values, count, file) != count || fgetc(file) != EOF) {
        printf("%s: not a truth file of that shape\n", name);
        exit(1);
    }
    fclose(file);
    return values;
}

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        long *value;
    } numbers[] = {{"layers", &layers}, {"topk", &topk},       {"tokens", &tokens},
                   {"steps", &steps},   {"streams", &streams}, {"experts", &experts}};
    struct option longs[9] = {{0}};
    bool weights = false;
    for (int i = 0; i < 6; i++)
        longs[i] = (struct option){numbers[i].name, required_argument, NULL, i + 1};
    longs[6] = (struct option){"dtype", required_argument, NULL, 7}; /* the engine's own business: ids are int32 here */
    longs[7] = (struct option){"weights", no_argument, NULL, 8};
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        weights |= opt == 8;
        if (opt == 7 || opt == 8)
            continue;
        if (opt < 1 || opt > 6)
            return 2;
        *numbers[opt - 1].value = atol(optarg);
    }
    if (optind != argc - 1 || layers < 1 || topk < 1 || tokens < 1 || steps < 1 || streams < 1)
        return 2;
    size_t calls = (size_t) (steps * streams * layers), count = calls * (size_t) (tokens * topk);
    bool *seen = calloc(calls, sizeof *seen);
    ids_truth = load(argv[optind], "", count);
    weights_truth = weights ? load(argv[optind], ".weights", count) : NULL;
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
        good &= compare(record, seen);
        json_decref(record);
    }
    if (wrong || wrong_weights)
        printf("wrong: %ld ids, %ld weights\n", wrong, wrong_weights);
    printf("match: %ld of %zu ids", ids_matched, count);
    if (weights)
        printf(", %ld of %zu weights", weights_matched, count);
    putchar('\n');
    free(line);
    free(seen);
    return good && (size_t) ids_matched == count && (!weights || (size_t) weights_matched == count) ? 0 : 1;
}
