/* SPDX-License-Identifier: Apache-2.0 */
/* numpy's .npz: a zip of .npy files, as numpy.savez() writes them; the words are the file metadata.json in it. */
#include "arrays.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define HEAD 128u /* numpy aligns data to 64 bytes */

/* Magic, version 1.0, the header's length, then a Python dict, padded with blanks. */
static void head_of(const struct array *array, char head[HEAD + 1])
{
    char shape[80] = "";
    for (uint32_t i = 0, n = 0; i < array->dims; i++)
        n += (uint32_t) snprintf(shape + n, sizeof shape - n, "%llu,%s", (unsigned long long) array->shape[i],
                                 i + 1 < array->dims ? " " : "");
    memset(head, ' ', HEAD);
    memcpy(head, "\x93NUMPY\x01\x00", 8);
    head[8] = HEAD - 10;
    head[9] = 0;
    int length = snprintf(head + 10, HEAD - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                          elements[array->type].npy, shape);
    head[10 + length] = ' ';
    head[HEAD - 1] = '\n';
}

static bool add(zip_t *zip, const char *name, void *data, size_t size)
{
    zip_source_t *source = data ? zip_source_buffer(zip, data, size, 1) : NULL;
    if (!source) {
        free(data);
        return false;
    }
    zip_int64_t index = zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
        zip_source_free(source);
        return false;
    }
    /* As numpy does it: such files can be read in place. */
    return zip_set_file_compression(zip, (zip_uint64_t) index, ZIP_CM_STORE, 0) == 0;
}

int npz_write(const char *path, const struct array *arrays, size_t count, const struct word *words, size_t word_count,
              struct mt_error *error)
{
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (!zip) {
        zip_error_t why;
        zip_error_init_with_code(&why, code);
        snprintf(error->text, sizeof error->text, "%.120s: cannot write it: %.100s", path, zip_error_strerror(&why));
        zip_error_fini(&why);
        return -EIO;
    }
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        char head[HEAD + 1], name[80];
        head_of(&arrays[i], head);
        size_t size = array_size(&arrays[i]);
        char *file = malloc(HEAD + size);
        if (file) {
            memcpy(file, head, HEAD);
            if (size)
                memcpy(file + HEAD, arrays[i].data, size);
        }
        snprintf(name, sizeof name, "%s.npy", arrays[i].name);
        good = add(zip, name, file, HEAD + size);
    }
    json_t *object = json_object();
    for (size_t i = 0; i < word_count; i++)
        json_object_set_new(object, words[i].key, json_string(words[i].value));
    char *text = json_dumps(object, JSON_INDENT(1));
    json_decref(object);
    good = good && add(zip, "metadata.json", text, text ? strlen(text) : 0);
    if (good && zip_close(zip) == 0)
        return 0;
    snprintf(error->text, sizeof error->text, "%.120s: cannot write it: %.100s", path, zip_strerror(zip));
    zip_discard(zip);
    return -EIO;
}
