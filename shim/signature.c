/* SPDX-License-Identifier: Apache-2.0 */
#include "signature.h"

#include <libiberty/demangle.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 16384 /* demangling is worse than linear */

/* The parenthesis that opens the parameter list: the one whose partner ends the name. */
static const char *parameter_list(const char *name)
{
    size_t n = strlen(name);
    int depth = 0;
    if (!n || name[n - 1] != ')')
        return NULL;
    for (const char *c = name + n; c-- > name;) {
        if (*c == ')')
            depth++;
        else if (*c == '(' && --depth == 0)
            return c + 1;
    }
    return NULL;
}

/* "int const*", also "float const* __restrict__"; not "int const**", not "int* const". */
static bool is_pointer_to_const(const char *begin, const char *end)
{
    static const char restricted[] = "__restrict", tail[] = " const*";
    for (const char *c = begin; c + sizeof restricted - 1 <= end; c++) {
        if (strncmp(c, restricted, sizeof restricted - 1) == 0) {
            end = c;
            break;
        }
    }
    while (end > begin && end[-1] == ' ')
        end--;
    return end - begin >= (long) sizeof tail - 1 && strncmp(end - (sizeof tail - 1), tail, sizeof tail - 1) == 0;
}

uint64_t mt_signature_const_pointers(const char *mangled, unsigned param_count)
{
    if (!mangled || strncmp(mangled, "_Z", 2) != 0 || strlen(mangled) >= NAME_MAX_BYTES)
        return 0;
    char *name = cplus_demangle_v3(mangled, DMGL_PARAMS | DMGL_ANSI);
    const char *from = name ? parameter_list(name) : NULL;
    uint64_t mask = 0;
    unsigned count = 0;
    int depth = 0;
    for (const char *c = from; c && *c; c++) {
        if ((*c == ',' && depth == 0) || !c[1]) {
            if (count < 64 && is_pointer_to_const(from, c))
                mask |= 1ull << count;
            count++;
            from = c + 1;
        } else if (strchr("<([{", *c)) {
            depth++;
        } else if (strchr(">)]}", *c)) {
            depth--;
        }
    }
    free(name);
    return count == param_count ? mask : 0;
}
