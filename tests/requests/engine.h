/* SPDX-License-Identifier: Apache-2.0 */
/* A scheduler as engines have one, without a model: writes a trace and knows which row came behind which. */
#ifndef MOETAP_TESTS_REQUESTS_ENGINE_H
#define MOETAP_TESTS_REQUESTS_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#define ENGINE_LAYERS 3u
#define ENGINE_K 2u
#define ENGINE_EXPERTS 100u

struct engine_options {
    uint32_t block, blocks, batch, budget, draft; /* draft tokens of a decode step */
    uint32_t prompt_max, output_max;
    bool prefix_cache;
    bool fill_holes;    /* a finished request's place is taken by the last one; otherwise they close up */
    bool apart;         /* passes of prompts and of decoding */
    uint32_t loss;      /* one burst of losses in so many records, 0 none */
    bool context_alone; /* and only of row context */
    uint64_t seed;
    uint32_t steps;
};

/* Each row has a number of its own, which is also its token id. */
struct engine_row {
    int32_t parent; /* row of the position before it, -1 at position 0 */
    int32_t position;
    bool rejected;
};

struct engine_truth {
    struct engine_row *rows;
    uint32_t row_count, finished, preempted, hits, lost;
};

void engine_run(const char *path, const struct engine_options *options, struct engine_truth *truth);
/* The expert that a row chose. */
int32_t engine_id(int32_t row, uint32_t layer, uint32_t j);

#endif
