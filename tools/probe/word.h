/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of a launch, as a recipe says them: "param 3", "grid.x", ... */
#ifndef MOETAP_TOOLS_PROBE_WORD_H
#define MOETAP_TOOLS_PROBE_WORD_H

#include "evidence.h"

#define WORDS_MAX 512

struct word {
    enum { WORD_NONE, WORD_PARAM, WORD_FIELD, WORD_GRID, WORD_TEMPLATE, WORD_CONSTANT } kind;
    uint32_t index, offset;
    uint64_t value; /* WORD_CONSTANT */
};

struct words {
    struct word all[WORDS_MAX];
    unsigned count;
};

/* All of a kernel's, in the order of trust: parameters, the grid, template arguments, fields of structs. */
void words_find(const struct kernel *kernel, struct words *words);

uint64_t word_value(const struct word *word, const struct kernel *kernel, const struct sample *sample);
bool word_equal(const struct word *a, const struct word *b);
void word_text(const struct word *word, char *text, size_t size);

#endif
