/* SPDX-License-Identifier: Apache-2.0 */
#include "word.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD_BYTES 512u /* of a by-value struct that are looked through */

static uint64_t bytes_at(const struct sample *sample, uint32_t offset, uint32_t size)
{
    uint64_t value = 0;
    if (offset + size <= sample->params_size && size <= sizeof value)
        memcpy(&value, sample->params + offset, size);
    return value;
}

uint64_t word_value(const struct word *word, const struct kernel *kernel, const struct sample *sample)
{
    switch (word->kind) {
    case WORD_PARAM:
        return bytes_at(sample, kernel->param[word->index].offset, kernel->param[word->index].size);
    case WORD_FIELD:
        return bytes_at(sample, kernel->param[word->index].offset + word->offset, 4);
    case WORD_GRID:
        return sample->grid[word->index];
    case WORD_TEMPLATE:
        return strtoull(kernel->template_args[word->index], NULL, 10);
    case WORD_CONSTANT:
        return word->value;
    default:
        return 0;
    }
}

bool word_equal(const struct word *a, const struct word *b)
{
    return a->kind == b->kind && a->index == b->index && a->offset == b->offset && a->value == b->value;
}

void word_text(const struct word *word, char *text, size_t size)
{
    switch (word->kind) {
    case WORD_PARAM:
        snprintf(text, size, "param %u", word->index);
        return;
    case WORD_FIELD:
        snprintf(text, size, "param %u + %u u32", word->index, word->offset);
        return;
    case WORD_GRID:
        snprintf(text, size, "grid.%c", "xyz"[word->index]);
        return;
    case WORD_TEMPLATE:
        snprintf(text, size, "template %u", word->index);
        return;
    case WORD_CONSTANT:
        snprintf(text, size, "%llu", (unsigned long long) word->value);
        return;
    default:
        snprintf(text, size, "not found");
    }
}

static void add(struct words *words, struct word word)
{
    if (words->count < WORDS_MAX)
        words->all[words->count++] = word;
}

void words_find(const struct kernel *kernel, struct words *words)
{
    words->count = 0;
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        if (kernel->param[i].size <= 8 && kernel->param[i].size != 3)
            add(words, (struct word){.kind = WORD_PARAM, .index = i});
    }
    for (uint32_t i = 0; i < 2; i++)
        add(words, (struct word){.kind = WORD_GRID, .index = i});
    for (uint32_t i = 0; i < kernel->template_count; i++) {
        if (kernel->template_args[i][0] >= '0' && kernel->template_args[i][0] <= '9')
            add(words, (struct word){.kind = WORD_TEMPLATE, .index = i});
    }
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        for (uint32_t at = 0; kernel->param[i].size > 8 && at + 4 <= kernel->param[i].size && at < FIELD_BYTES; at += 4)
            add(words, (struct word){.kind = WORD_FIELD, .index = i, .offset = at});
    }
}
