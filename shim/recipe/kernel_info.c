/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe.h"

#include <libiberty/demangle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer names are taken as they are: demangling recurses, on the engine's stack. libiberty's own limit is 1024. */
#define NAME_MAX_BYTES 2048

/* "(anonymous namespace)" and "(ns::E)0" have parentheses that open no parameter list. */
static const char *skip_anonymous(const char *c)
{
    static const char anonymous[] = "(anonymous namespace)";
    return strncmp(c, anonymous, sizeof anonymous - 1) == 0 ? c + sizeof anonymous - 1 : c;
}

static void take_template_args(struct mt_kernel_info *info, const char *begin, const char *end)
{
    int depth = 0;
    const char *from = begin;
    for (const char *c = begin; c <= end; c++) {
        if (c == end || (*c == ',' && depth == 0)) {
            while (from < c && *from == ' ')
                from++;
            if (info->template_count < MT_TEMPLATE_ARGS_MAX)
                snprintf(info->template_args[info->template_count++], sizeof info->template_args[0], "%.*s",
                         (int) (c - from), from);
            from = c + 1;
        } else if (*c == '<' || *c == '(') {
            depth++;
        } else if (*c == '>' || *c == ')') {
            depth--;
        }
    }
}

/* The parameter list, "(int const*, float*)": which of them point to const. */
static uint64_t find_const_pointers(const char *list)
{
    uint64_t found = 0;
    unsigned index = 0;
    int depth = 0;
    const char *from = list + 1;
    for (const char *c = from; *c; c++) {
        if (depth == 0 && (*c == ',' || *c == ')')) {
            static const char restricted[] = " __restrict", pointer[] = " const*";
            size_t n = (size_t) (c - from);
            if (n >= sizeof restricted && strncmp(c - sizeof restricted + 1, restricted, sizeof restricted - 1) == 0)
                n -= sizeof restricted - 1;
            if (index < MT_KERNEL_PARAMS_MAX && n >= sizeof pointer &&
                strncmp(from + n - sizeof pointer + 1, pointer, sizeof pointer - 1) == 0)
                found |= (uint64_t) 1 << index;
            index++;
            from = c + 1;
            if (*c == ')')
                return found;
        } else if (*c == '<' || *c == '(') {
            depth++;
        } else if ((*c == '>' || *c == ')') && depth > 0) {
            depth--;
        }
    }
    return 0;
}

void mt_kernel_info_set_name(struct mt_kernel_info *info, const char *mangled)
{
    info->mangled = mangled;
    info->base[0] = info->demangled[0] = '\0';
    info->template_count = 0;
    info->const_pointers = 0;
    if (!mangled)
        return;
    char *readable = strncmp(mangled, "_Z", 2) == 0 && strlen(mangled) < NAME_MAX_BYTES
                         ? cplus_demangle_v3(mangled, DMGL_PARAMS | DMGL_ANSI | DMGL_NO_RECURSE_LIMIT)
                         : NULL;
    const char *name = readable ? readable : mangled;
    snprintf(info->demangled, sizeof info->demangled, "%s", name);

    /* The last component before the parameter list: [return type ][scope::]base[<args>](parameters) */
    const char *base = name, *open = NULL, *close = NULL, *end = NULL;
    int depth = 0;
    for (const char *c = name; *c; c++) {
        const char *behind = skip_anonymous(c);
        if (behind != c) {
            c = behind - 1;
            continue;
        }
        if (*c == '(' && depth == 0) {
            end = c;
            break;
        }
        if (*c == '<' || *c == '(') {
            if (depth++ == 0)
                open = c;
        } else if ((*c == '>' || *c == ')') && depth > 0) {
            if (--depth == 0)
                close = c;
        } else if (depth == 0 && (*c == ' ' || (*c == ':' && c[1] == ':'))) {
            base = *c == ' ' ? c + 1 : c + 2;
            open = close = NULL;
            c += *c == ':';
        }
    }
    if (!end)
        end = name + strlen(name);
    bool has_args = readable && open && close && close > open && close < end;
    snprintf(info->base, sizeof info->base, "%.*s", (int) ((has_args ? open : end) - base), base);
    if (has_args)
        take_template_args(info, open + 1, close);
    if (readable && *end == '(')
        info->const_pointers = find_const_pointers(end);
    free(readable);
}
