/* SPDX-License-Identifier: Apache-2.0 */
/* How people write sizes and times: the same in the command's options and in the shim's variables. */
#ifndef MOETAP_SHM_SETTINGS_H
#define MOETAP_SHM_SETTINGS_H

#include "layout.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool mt_parse_number(const char *text, const char **end, uint64_t *number)
{
    char *behind;
    if (*text < '0' || *text > '9') /* strtoull takes signs and blanks */
        return false;
    errno = 0;
    *number = strtoull(text, &behind, 10);
    *end = behind;
    return errno == 0;
}

/* A number with an optional K, M or G, within the limits of a ring. */
static inline bool mt_parse_ring_size(const char *text, uint64_t *size)
{
    static const char units[] = "KkMmGg";
    const char *end;
    if (!mt_parse_number(text, &end, size))
        return false;
    const char *unit = *end ? strchr(units, *end) : NULL;
    unsigned shift = unit ? 10 * (1 + (unsigned) (unit - units) / 2) : 0;
    if (end[unit ? 1 : 0] || *size > MT_RING_SIZE_MAX >> shift)
        return false;
    *size <<= shift;
    return *size >= MT_RING_SIZE_MIN;
}

/* "drop" (0), or "wait:TIME", TIME a number with ns, us, ms or s. */
static inline bool mt_parse_on_full(const char *text, uint64_t *wait_ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    const char *unit;
    *wait_ns = 0;
    if (strcmp(text, "drop") == 0)
        return true;
    if (strncmp(text, "wait:", 5) != 0 || !mt_parse_number(text + 5, &unit, wait_ns))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(unit, units[i].name) == 0 && *wait_ns <= UINT64_MAX / units[i].ns) {
            *wait_ns *= units[i].ns;
            return true;
        }
    }
    return false;
}

#endif
