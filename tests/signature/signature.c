/* SPDX-License-Identifier: Apache-2.0 */
#include "signature.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned type_size(const char *type)
{
    static const struct {
        const char *name;
        unsigned size;
    } types[] = {{"i8", 1},  {"bool", 1}, {"i16", 2}, {"u16", 2}, {"f16", 2}, {"bf16", 2},
                 {"i32", 4}, {"u32", 4},  {"f32", 4}, {"i64", 8}, {"u64", 8}, {"f64", 8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, type) == 0)
            return types[i].size;
    }
    fprintf(stderr, "signature: no type %s\n", type);
    abort();
}

static void align(unsigned *at, unsigned to)
{
    *at = (*at + to - 1) / to * to;
}

/* NAME:TYPE[*][[N]][=VALUE]; returns what it is aligned to. */
static unsigned parse_field(struct field *field, const char *text, size_t size, unsigned *at)
{
    char copy[128], *type, *value;
    snprintf(copy, sizeof copy, "%.*s", (int) size, text);
    type = strchr(copy, ':');
    if (!type) {
        fprintf(stderr, "signature: no type in %s\n", copy);
        abort();
    }
    *type++ = '\0';
    value = strchr(type, '=');
    if (value)
        *value++ = '\0';
    char *array = strchr(type, '[');
    field->count = array ? (unsigned) atoi(array + 1) : 1;
    if (array)
        *array = '\0';
    field->pointer = type[strlen(type) - 1] == '*';
    if (field->pointer)
        type[strlen(type) - 1] = '\0';
    if (strlen(copy) >= sizeof field->name || strlen(type) >= sizeof field->type ||
        (value && strlen(value) >= sizeof field->value))
        abort();
    strcpy(field->name, copy);
    strcpy(field->type, type);
    strcpy(field->value, value ? value : "");
    field->size = field->pointer ? 8 : type_size(type);
    align(at, field->size);
    field->offset = *at;
    *at += field->size * field->count;
    return field->size;
}

void layout_of(struct layout *layout, const struct signature *signature)
{
    bool inside = false;
    unsigned widest = 1;
    *layout = (struct layout){0};
    for (const char *at = signature->params; *at;) {
        size_t n = strcspn(at, " {}");
        if (*at == '{') {
            /* Those with a pointer are aligned to it, the others are bytes. */
            inside = true;
            widest = memchr(at, '*', strcspn(at, "}")) ? 8 : 1;
            align(&layout->bytes, widest);
            layout->param[layout->params].offset = layout->bytes;
        } else if (*at == '}') {
            inside = false;
            align(&layout->bytes, widest);
            layout->param[layout->params].size = layout->bytes - layout->param[layout->params].offset;
            layout->params++;
        } else if (n) {
            struct field *field = &layout->field[layout->fields++];
            unsigned own = parse_field(field, at, n, &layout->bytes);
            widest = own > widest ? own : widest;
            if (!inside)
                layout->param[layout->params++] = (struct softcuda_param){field->offset, layout->bytes - field->offset};
        }
        at += n ? n : 1;
        if (layout->fields == 64 || layout->params == 64)
            abort();
    }
}

const struct field *field_of(const struct layout *layout, const char *name)
{
    for (unsigned i = 0; i < layout->fields; i++) {
        if (strcmp(layout->field[i].name, name) == 0)
            return &layout->field[i];
    }
    return NULL;
}

static unsigned operand(const char **text, struct shape shape)
{
    static const struct {
        const char *name;
        size_t offset;
    } names[] = {{"rows", offsetof(struct shape, rows)},
                 {"k", offsetof(struct shape, k)},
                 {"experts", offsetof(struct shape, experts)}};
    if (isdigit((unsigned char) **text))
        return (unsigned) strtoul(*text, (char **) text, 10);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i].name);
        if (strncmp(*text, names[i].name, n) == 0) {
            *text += n;
            return *(unsigned *) ((char *) &shape + names[i].offset);
        }
    }
    fprintf(stderr, "signature: no value %s\n", *text);
    abort();
}

unsigned value_of(const char **text, struct shape shape)
{
    *text += strspn(*text, " ");
    unsigned value = operand(text, shape);
    while (**text && strchr("*/+-", **text)) {
        char operation = *(*text)++;
        unsigned other = operand(text, shape);
        value = operation == '*'   ? value * other
                : operation == '+' ? value + other
                : operation == '-' ? value - other
                                   : (value + other - 1) / other;
    }
    return value;
}

struct place place_of(const struct signature *signature, struct shape shape)
{
    const char *text = signature->layout;
    if (!text)
        return (struct place){shape.k, 1, 0};
    struct place place;
    place.stride = value_of(&text, shape);
    place.column = value_of(&text, shape);
    place.skip = value_of(&text, shape);
    return place;
}
