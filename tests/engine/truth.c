/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine itself knows of its routing, put into the FILE of --truth and those beside it. */
#include "engine.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    FILE *ids, *physical, *weights, *rows;
} truth;

/* FILE of --truth, and those beside it. */
static FILE *open_file(const char *suffix)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s%s", options.truth, suffix);
    FILE *file = fopen(path, "wb");
    if (!file) {
        fprintf(stderr, "moe-demo: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return file;
}

static void put(FILE *file, const void *bytes, size_t size)
{
    if (fwrite(bytes, 1, size, file) != size) {
        fprintf(stderr, "moe-demo: %s: %s\n", options.truth, strerror(errno));
        exit(1);
    }
}

void truth_open(void)
{
    truth.ids = options.truth ? open_file("") : NULL;
    truth.physical = options.truth && options.eplb ? open_file(".physical") : NULL;
    truth.weights = options.truth && options.weights ? open_file(".weights") : NULL;
    truth.rows = options.truth && options.context ? open_file(".context") : NULL;
}

bool truth_close(void)
{
    return !(truth.ids && fclose(truth.ids)) && !(truth.physical && fclose(truth.physical)) &&
           !(truth.weights && fclose(truth.weights)) && !(truth.rows && fclose(truth.rows));
}

void truth_put_rows(const struct batch *b)
{
    if (!truth.rows)
        return;
    put(truth.rows, b->rows_are, 3 * (size_t) options.tokens * sizeof *b->rows_are);
    if (options.plan)
        put(truth.rows, b->sequences_are, (size_t) PLAN_WORDS * sizeof *b->sequences_are);
}

/* Ids as int32, whatever type the engine keeps them in. */
static void put_ids(FILE *file, const void *from)
{
    size_t count = (size_t) options.layers * ids_per_layer();
    int32_t *ids = must(malloc(count * sizeof *ids));
    for (size_t i = 0; i < count; i++) {
        uint64_t id = 0; /* no id is negative */
        memcpy(&id, (const char *) from + i * id_size(), id_size());
        ids[i] = (int32_t) id;
    }
    put(file, ids, count * sizeof *ids);
    free(ids);
}

void truth_fetch(struct batch *b)
{
    size_t size = (size_t) options.layers * ids_per_layer() * id_size();
    if (truth.ids)
        CHECK(cuda.MemcpyDtoHAsync(b->truth_host, b->truth, size, b->stream));
    if (truth.physical)
        CHECK(cuda.MemcpyDtoHAsync(b->physical_host, b->physical_truth, size, b->stream));
    if (truth.weights)
        CHECK(cuda.MemcpyDtoHAsync(b->weights_host, b->weights_truth, weights_size(), b->stream));
}

void truth_put(struct batch *b)
{
    if (truth.ids)
        put_ids(truth.ids, b->truth_host);
    if (truth.physical)
        put_ids(truth.physical, b->physical_host);
    if (truth.weights)
        put(truth.weights, b->weights_host, weights_size());
}
