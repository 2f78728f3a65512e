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
    uint32_t draft_runs;                          /* of a model of one layer, of the same E and k, behind each pass */
    bool stages;      /* the last layer is another process's, which shows no tokens and ran some passes more */
    bool draft_first; /* it is numbered ahead of the target's layers */
    uint32_t prompt_max, output_max;
    bool prefix_cache;
    bool turns;         /* some prompts are what an earlier request said and got, and more */
    bool fill_holes;    /* a request's place is taken by a new one or the last one; otherwise they close up */
    bool apart;         /* passes of prompts and of decoding */
    bool sequences;     /* shows which rows are one, and the blocks ahead of them; slots without the rows of padding */
    bool lists;         /* with `sequences`: as SGLang does, in each pass the slots of each sequence, of which is told
                           what the tap tells; what is twice in the cache is dropped from the sequence that computed it
                           later, up to two passes after its prompt; who is done runs a row more if the next pass
                           decodes. With a window the rows' own slots are of that group */
    bool reads;         /* shows the slots that a pass attends to, as transformers does */
    uint32_t window;    /* to which every second layer attends, in a cache of their own; 0: all attend to everything */
    bool window_alone;  /* all layers do */
    uint32_t filled;    /* one in so many prefixes that are found goes on with blocks from elsewhere; 0 none */
    bool name_rows;     /* a token id is its row's number, from which its experts follow */
    uint32_t words;     /* that the model knows; 0: many */
    uint32_t noise;     /* one row in so many goes another way than the same row elsewhere, 0 none */
    uint32_t loss;      /* one burst of losses in so many records, 0 none */
    bool context_alone; /* and only of row context */
    uint64_t seed;
    uint32_t steps;
};

struct engine_row {
    uint64_t experts;           /* of all layers */
    uint64_t chain;             /* tokens and experts of the row and of all that it attends to */
    uint64_t parent;            /* the chain of the position before it, 0 at position 0 */
    uint64_t said, said_before; /* the same of tokens alone */
    int32_t position, token;
    bool rejected;
    uint32_t ends; /* the last one of this finished request, from 1 */
};

struct engine_truth {
    struct engine_row *rows; /* from 1 */
    uint32_t *first;         /* row of each pass; a pass is at first_ns = its number in ms */
    uint32_t row_count, pass_count, finished, preempted, hits, filled, lost, rewritten;
    int32_t *said;       /* tokens of finished requests, one behind the other */
    uint32_t *said_rows; /* and which rows they attended to in the end */
    uint64_t *said_to;   /* where each ends */
    uint64_t kept;       /* rows that finished requests attended to */
};

void engine_truth_free(struct engine_truth *truth);
void engine_run(const char *path, const struct engine_options *options, struct engine_truth *truth);
/* The expert that a row chose. */
int32_t engine_id(uint64_t route, uint32_t layer, uint32_t j);

#endif
