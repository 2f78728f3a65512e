/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the memory that launches wrote are a router's topk_ids, and how sure that is. */
#ifndef MOETAP_TOOLS_PROBE_JUDGE_H
#define MOETAP_TOOLS_PROBE_JUDGE_H

#include "evidence.h"
#include "word.h"

enum confidence { REJECTED, POSSIBLE, LIKELY, CERTAIN };

#define MOVERS_MAX 4

struct candidate {
    const struct kernel *kernel;
    uint32_t param, offset; /* where the pointer is: parameter, byte inside of it */
    unsigned width;         /* bytes of an id */
    unsigned k;
    struct word k_word, experts, rows, rows_by, stride; /* rows / rows_by; NONE: not found */
    unsigned experts_seen;                              /* largest id + 1 */
    unsigned rows_least, rows_most, samples, layers, groups, rows_choices;
    bool rows_unseen; /* every launch wrote more than was read: where its rows end was not seen */
    bool shared;      /* the same kernel also picks from far more than experts */
    bool ties;        /* ids repeat from row to row, as they must once there are more of them than experts */
    /* What became of the ids: how often they were used as they are, and who had reordered them in place before. */
    unsigned kept, replaced, moved_unseen;
    struct mover {
        const struct kernel *kernel; /* NULL behind the last */
        uint32_t named;              /* where its params name the ids */
        bool late;                   /* not the next launch: no recipe can wait for it */
    } movers[MOVERS_MAX];
    enum confidence confidence;
    unsigned lacks; /* 0: certain */
    char why[512];  /* what is missing to `certain`, or why not at all */
    uint64_t score;
};

struct verdict {
    struct candidate *all;
    size_t count;
};

/* Also those that were rejected for a reason worth a line. False: out of memory. */
bool judge(const struct evidence *evidence, struct verdict *verdict);

#endif
