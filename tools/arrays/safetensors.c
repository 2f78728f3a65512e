/* SPDX-License-Identifier: Apache-2.0 */
/* The .safetensors format: the header's length in 8 bytes, a JSON header, then the data without gaps. */
#include "arrays.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *header(const struct array *arrays, size_t count, const struct word *words, size_t word_count)
{
    json_t *top = json_object(), *metadata = json_object();
    for (size_t i = 0; i < word_count; i++)
        json_object_set_new(metadata, words[i].key, json_string(words[i].value));
    json_object_set_new(top, "__metadata__", metadata);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        json_t *shape = json_array();
        for (uint32_t j = 0; j < arrays[i].dims; j++)
            json_array_append_new(shape, json_integer((json_int_t) arrays[i].shape[j]));
        uint64_t end = at + array_size(&arrays[i]);
        json_object_set_new(top, arrays[i].name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", elements[arrays[i].type].safetensors, "shape",
                                      shape, "data_offsets", (json_int_t) at, (json_int_t) end));
        at = end;
    }
    char *text = json_dumps(top, JSON_COMPACT);
    json_decref(top);
    return text;
}

int safetensors_write(const char *path, const struct array *arrays, size_t count, const struct word *words,
                      size_t word_count, struct mt_error *error)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int) sizeof part) {
        snprintf(error->text, sizeof error->text, "%.150s...: the name is too long", path);
        return -ENAMETOOLONG;
    }
    char *text = header(arrays, count, words, word_count);
    if (!text) {
        snprintf(error->text, sizeof error->text, "out of memory");
        return -ENOMEM;
    }
    FILE *file = fopen(part, "we");
    int failure = file ? 0 : errno;
    if (file) {
        /* Padded with blanks, so that the data is aligned. */
        uint64_t length = (strlen(text) + 7) & ~(uint64_t) 7;
        fwrite(&length, sizeof length, 1, file);
        fprintf(file, "%-*s", (int) length, text);
        for (size_t i = 0; i < count; i++)
            fwrite(arrays[i].data, 1, array_size(&arrays[i]), file);
        if (ferror(file))
            failure = errno ? errno : EIO;
        if (fclose(file) != 0 && !failure)
            failure = errno;
        if (!failure && rename(part, path) != 0)
            failure = errno;
        if (failure)
            unlink(part);
    }
    free(text);
    if (failure)
        snprintf(error->text, sizeof error->text, "%.150s: cannot write it: %s", path, strerror(failure));
    return -failure;
}
