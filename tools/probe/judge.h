/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the memory that launches wrote are a router's topk_ids, and how sure that is. */
#ifndef MOETAP_TOOLS_PROBE_JUDGE_H
#define MOETAP_TOOLS_PROBE_JUDGE_H

#include "evidence.h"

/* One number of a launch, as a recipe says it. */
struct word {
    enum { WORD_NONE, WORD_PARAM, WORD_FIELD, WORD_GRID, WORD_TEMPLATE, WORD_CONSTANT } kind;
    uint32_t index, offset;
    uint64_t value; /* WORD_CONSTANT */
};

enum confidence { REJECTED, POSSIBLE, LIKELY, CERTAIN };

struct candidate {
    const struct kernel *kernel;
    uint32_t param, offset; /* where the pointer is: parameter, byte inside of it */
    unsigned width;         /* bytes of an id */
    unsigned k;
    struct word k_word, experts, rows, rows_by, stride; /* rows / rows_by; NONE: not found */
    unsigned experts_seen;                              /* largest id + 1 */
    unsigned rows_least, rows_most, samples, layers, groups, rows_choices;
    bool shared;   /* the same kernel also picks from far more than experts */
    bool ties;     /* ids repeat from row to row, as they must once there are more of them than experts */
    bool changes;  /* not the same ids in every sample */
    long final_of; /* another candidate that this one reorders in place, or -1 */
    size_t final;  /* of a router: 1 + the candidate that reorders it */
    enum confidence confidence;
    unsigned lacks; /* 0: certain */
    char why[256];  /* what is missing to `certain`, or why not at all */
    uint64_t score;
};

struct verdict {
    struct candidate *all;
    size_t count;
};

/* Best first; those that were rejected for a reason worth a line come last. False: out of memory. */
bool judge(const struct evidence *evidence, struct verdict *verdict);

/* "param 3", "grid.x", ... */
void word_text(const struct word *word, char *text, size_t size);

#endif
