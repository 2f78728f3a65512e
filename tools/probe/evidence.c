/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grow(void *array, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return array;
    size_t more = *room ? *room * 2 : 64;
    void *grown = realloc(array, more * size);
    if (grown)
        *room = more;
    return grown;
}

/* One more, all zero; NULL: out of memory. */
#define ADD(array, count, room)                                                                                        \
    __extension__({                                                                                                    \
        void *grown = grow(array, count, &(room), sizeof *(array));                                                    \
        if (grown)                                                                                                     \
            (array) = grown;                                                                                           \
        grown ? memset(&(array)[(count)++], 0, sizeof *(array)) : NULL;                                                \
    })

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t *take_hex(const char *text, size_t *size)
{
    size_t n = strspn(text, "0123456789abcdef") / 2;
    uint8_t *bytes = malloc(n + 1);
    for (size_t i = 0; bytes && i < n; i++)
        bytes[i] = (uint8_t) (digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
    *size = n;
    return bytes;
}

static struct kernel *find_kernel(struct evidence *evidence, unsigned process, unsigned id)
{
    for (size_t i = evidence->kernel_count; i-- > 0;) {
        if (evidence->kernels[i].process == process && evidence->kernels[i].id == id)
            return &evidence->kernels[i];
    }
    return NULL;
}

/* The latest ones are asked for. */
static const struct sample *find_sample(const struct evidence *evidence, unsigned process, unsigned number)
{
    for (size_t i = evidence->sample_count; i-- > 0;) {
        if (evidence->samples[i].process == process && evidence->samples[i].number == number)
            return &evidence->samples[i];
    }
    return NULL;
}

/* `rest`: behind the first tab. It becomes the kernel's. */
static bool add_kernel(struct evidence *evidence, const char *rest, unsigned process)
{
    char *line = strdup(rest), *save = line;
    struct kernel *kernel = line ? ADD(evidence->kernels, evidence->kernel_count, evidence->kernel_room) : NULL;
    if (!kernel) {
        free(line);
        return false;
    }
    const char *id = strsep(&save, "\t");
    kernel->process = process;
    kernel->id = (unsigned) atoi(id);
    kernel->line = line;
    kernel->recipe = strsep(&save, "\t");
    kernel->kind = strsep(&save, "\t");
    char *layout = strsep(&save, "\t"), *part;
    strsep(&save, "\t"); /* const pointers: the library has left them out */
    kernel->mangled = strsep(&save, "\t");
    kernel->demangled = strsep(&save, "\t");
    kernel->base = strsep(&save, "\t");
    while (save && kernel->template_count < TEMPLATES_MAX)
        kernel->template_args[kernel->template_count++] = strsep(&save, "\t");
    while ((part = strsep(&layout, ",")) && kernel->param_count < PARAMS_MAX) {
        if (sscanf(part, "%u:%u", &kernel->param[kernel->param_count].offset,
                   &kernel->param[kernel->param_count].size) == 2)
            kernel->param_count++;
    }
    if (!kernel->base) { /* cut off: its process was killed */
        free(line);
        evidence->kernel_count--;
    }
    return true;
}

static bool add_sample(struct evidence *evidence, const char *rest, unsigned process)
{
    unsigned id, number, x, y, z;
    int layers, at = 0;
    if (sscanf(rest, "%u\t%u\t%d\t%u\t%u\t%u\t%n", &id, &number, &layers, &x, &y, &z, &at) < 6 || !at)
        return true;
    struct kernel *kernel = find_kernel(evidence, process, id);
    struct sample *sample = kernel ? ADD(evidence->samples, evidence->sample_count, evidence->sample_room) : NULL;
    if (!sample)
        return !kernel;
    kernel->samples++;
    *sample = (struct sample){(size_t) (kernel - evidence->kernels), process, number, layers, {x, y, z}, NULL, 0};
    return (sample->params = take_hex(rest + at, &sample->params_size)) != NULL;
}

static bool add_memory(struct evidence *evidence, const char *rest)
{
    unsigned offset, first, end, room;
    unsigned long long address;
    int at = 0;
    if (!evidence->sample_count ||
        sscanf(rest, "%u\t%llx\t%u\t%u\t%u\t%n", &offset, &address, &first, &end, &room, &at) < 5 || !at)
        return true;
    struct memory *memory = ADD(evidence->memories, evidence->memory_count, evidence->memory_room);
    if (!memory)
        return false;
    *memory = (struct memory){evidence->sample_count - 1, offset, address, first, end, room, NULL, 0};
    return (memory->bytes = take_hex(rest + at, &memory->size)) != NULL;
}

static bool add_use(struct evidence *evidence, const char *rest, unsigned process)
{
    static const char *const hows[] = {"same", "changed", "other", "unread"};
    unsigned id, named, number, offset, behind;
    char how[16];
    int at = 0;
    if (sscanf(rest, "%u\t%u\t%u\t%u\t%u\t%15[a-z]\t%n", &id, &named, &number, &offset, &behind, how, &at) < 6 || !at)
        return true;
    const struct kernel *kernel = find_kernel(evidence, process, id);
    const struct sample *sample = find_sample(evidence, process, number);
    size_t h = 0;
    while (h < 4 && strcmp(how, hows[h]) != 0)
        h++;
    if (!kernel || !sample || h == 4)
        return true;
    struct use *use = ADD(evidence->uses, evidence->use_count, evidence->use_room);
    if (!use)
        return false;
    *use = (struct use){.kernel = (size_t) (kernel - evidence->kernels),
                        .named = named,
                        .sample = (size_t) (sample - evidence->samples),
                        .offset = offset,
                        .behind = behind,
                        .how = (__typeof__(use->how)) h};
    return (use->bytes = take_hex(rest + at, &use->size)) != NULL;
}

static bool add_total(struct evidence *evidence, const char *rest, unsigned process)
{
    unsigned id;
    unsigned long long eager, captured;
    struct kernel *kernel;
    if (sscanf(rest, "%u\t%llu\t%llu", &id, &eager, &captured) == 3 && (kernel = find_kernel(evidence, process, id))) {
        kernel->eager = eager;
        kernel->captured = captured;
    }
    return true;
}

bool evidence_read(struct evidence *evidence, const char *path, unsigned process)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char *line = NULL;
    size_t room = 0;
    bool good = true;
    while (good && getline(&line, &room, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "kernel\t", 7) == 0)
            good = add_kernel(evidence, line + 7, process);
        else if (strncmp(line, "sample\t", 7) == 0)
            good = add_sample(evidence, line + 7, process);
        else if (strncmp(line, "memory\t", 7) == 0)
            good = add_memory(evidence, line + 7);
        else if (strncmp(line, "use\t", 4) == 0)
            good = add_use(evidence, line + 4, process);
        else if (strncmp(line, "total\t", 6) == 0)
            good = add_total(evidence, line + 6, process);
    }
    good = good && !ferror(file);
    free(line);
    fclose(file);
    return good;
}

void evidence_free(struct evidence *evidence)
{
    for (size_t i = 0; i < evidence->kernel_count; i++)
        free(evidence->kernels[i].line);
    for (size_t i = 0; i < evidence->sample_count; i++)
        free(evidence->samples[i].params);
    for (size_t i = 0; i < evidence->memory_count; i++)
        free(evidence->memories[i].bytes);
    for (size_t i = 0; i < evidence->use_count; i++)
        free(evidence->uses[i].bytes);
    free(evidence->kernels);
    free(evidence->samples);
    free(evidence->memories);
    free(evidence->uses);
}
