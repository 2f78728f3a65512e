/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe_text.h"

#include <ctype.h>
#include <string.h>

const char *recipe_dtype(const struct candidate *candidate)
{
    switch (candidate->width) {
    case 8:
        return "i64";
    case 4:
        return "i32";
    case 2:
        return "i16";
    default:
        return "u8";
    }
}

/* A template argument that names the ids' type: other instances of the kernel are then read right as well. */
static bool print_template_dtype(FILE *out, const struct candidate *c)
{
    static const struct {
        const char *name;
        unsigned width;
    } types[] = {{"int", 4},   {"long", 8},           {"long long", 8},    {"unsigned int", 4},
                 {"short", 2}, {"unsigned short", 2}, {"unsigned char", 1}};
    for (unsigned i = 0; i < c->kernel->template_count; i++) {
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            /* int is also what many an index or an offset is. */
            if (strcmp(c->kernel->template_args[i], types[t].name) == 0 && types[t].width == c->width &&
                types[t].width != 4) {
                fprintf(out, "dtype   = template %u\n", i);
                return true;
            }
        }
    }
    return false;
}

static void print_name(FILE *out, const struct kernel *kernel, unsigned number, const char *end)
{
    fputs("probe.", out);
    for (const char *c = kernel->base; *c && c - kernel->base < 40; c++)
        fputc(isalnum((unsigned char) *c) || *c == '_' ? *c : '_', out);
    if (number > 1)
        fprintf(out, ".%u", number);
    fputs(end, out);
}

static void print_kernel(FILE *out, const struct kernel *kernel)
{
    fprintf(out, "kernel  = %s\nparams  =", kernel->base);
    for (unsigned i = 0; i < kernel->param_count; i++)
        fprintf(out, " %u", kernel->param[i].size);
    fputc('\n', out);
}

#define WITHIN_MAX 95 /* what a recipe takes */

/* Its name with template arguments, or with its parameters: what tells it from others of that name. */
static void print_within(FILE *out, const struct kernel *kernel)
{
    size_t length = strlen(kernel->base);
    const char *at = kernel->demangled;
    while ((at = strstr(at, kernel->base)) && at[length] != '<' && at[length] != '(')
        at++;
    if (at)
        fprintf(out, "within  = %.*s\n",
                (int) strnlen(at, strcspn(at, "#") < WITHIN_MAX ? strcspn(at, "#") : WITHIN_MAX), at);
}

static void print_word(FILE *out, const char *key, const struct word *word, const struct word *by)
{
    char text[64], under[64];
    word_text(word, text, sizeof text);
    fprintf(out, "%-7s = %s", key, text);
    if (by && by->kind) {
        word_text(by, under, sizeof under);
        fprintf(out, " / %s", under);
    }
    fputc('\n', out);
}

const char *recipe_final(const struct candidate *c, unsigned i)
{
    unsigned n = 0;
    for (unsigned m = 0; m < MOVERS_MAX && c->movers[m].kernel; m++) {
        const char *base = c->movers[m].kernel->base;
        bool again = c->movers[m].late || strpbrk(base, " \t*?#");
        for (unsigned e = 0; e < m && !again; e++)
            again = !c->movers[e].late && strcmp(c->movers[e].kernel->base, base) == 0;
        if (!again && n++ == i)
            return base;
    }
    return NULL;
}

/* Their names are enough: it must be the next launch and name the ids. */
static void print_finals(FILE *out, const struct candidate *c, unsigned number)
{
    const char *base;
    fputs("final   = ", out);
    print_name(out, c->kernel, number, ".final");
    fputs("\n\n[", out);
    print_name(out, c->kernel, number, ".final");
    fputs("]\nkind    = final\nkernel  =", out);
    for (unsigned i = 0; (base = recipe_final(c, i)); i++)
        fprintf(out, " %s", base);
    fputc('\n', out);
}

bool recipe_print(FILE *out, const struct candidate *c, unsigned number, bool alone)
{
    if (!c->rows.kind || strpbrk(c->kernel->base, " \t*?#"))
        return false;
    fputc('[', out);
    print_name(out, c->kernel, number, "");
    fputs("]\n", out);
    print_kernel(out, c->kernel);
    if (!alone)
        print_within(out, c->kernel);
    if (c->offset)
        fprintf(out, "ids     = param %u + %u\n", c->param, c->offset);
    else
        fprintf(out, "ids     = param %u\n", c->param);
    if (!print_template_dtype(out, c))
        fprintf(out, "dtype   = %s\n", recipe_dtype(c));
    print_word(out, "rows", &c->rows, &c->rows_by);
    if (c->experts.kind)
        print_word(out, "experts", &c->experts, NULL);
    print_word(out, "k", &c->k_word, NULL);
    if (c->stride.kind)
        print_word(out, "stride", &c->stride, NULL);
    if (c->shared)
        fputs("limit.experts = 2..1024\n", out);
    if (recipe_final(c, 0))
        print_finals(out, c, number);
    return true;
}
