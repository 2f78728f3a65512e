/* SPDX-License-Identifier: Apache-2.0 */
/* What the library that samples and the command that judges must agree on. No CUDA. */
#ifndef MOETAP_SHIM_PROBE_COMMON_H
#define MOETAP_SHIM_PROBE_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MT_PROBE_WINDOW 65536u /* bytes compared behind a pointer */
#define MT_PROBE_SHOWN 8192u   /* of these go into the file */

/* The i-th integer of an array of 8, 4, 2 or 1 bytes each. Two bytes are unsigned, as ids are, but for -1. */
static inline int64_t mt_small_int(const void *array, unsigned width, size_t i)
{
    const unsigned char *at = (const unsigned char *) array + i * width;
    int64_t i64;
    int32_t i32;
    uint16_t u16;
    switch (width) {
    case 8:
        memcpy(&i64, at, 8);
        return i64;
    case 4:
        memcpy(&i32, at, 4);
        return i32;
    case 2:
        memcpy(&u16, at, 2);
        return u16 == UINT16_MAX ? -1 : u16;
    default:
        return *at;
    }
}

#endif
