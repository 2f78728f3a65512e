/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void mt_error_set(struct mt_error *error, const char *format, ...)
{
    if (!error)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
}

/* [offset, offset + length) page-aligned, behind the header, before `end` */
static bool inside(uint64_t offset, uint64_t length, uint64_t end)
{
    return offset % MT_PAGE == 0 && offset >= MT_PAGE && offset <= end && length <= end - offset;
}

static const char *what_is_wrong(const struct mt_header *header, uint64_t size)
{
    if (header->header_size < sizeof *header || header->header_size > MT_PAGE)
        return "header size";
    if (header->segment_size != size)
        return "size";
    if (header->ring_size < MT_RING_SIZE_MIN || header->ring_size > MT_RING_SIZE_MAX ||
        (header->ring_size & (header->ring_size - 1)) || !inside(header->ring_offset, header->ring_size, size))
        return "ring";
    /* All else lies before the ring: what a reader maps of it ends there. */
    if (!inside(header->counters_offset, sizeof(struct mt_counters), header->ring_offset))
        return "counters";
    if (!inside(header->consumer_offset, MT_PAGE, header->ring_offset))
        return "consumer";
    if (header->site_size < sizeof(struct mt_site) || header->site_size > MT_PAGE || header->site_size % 8 ||
        header->sites_max == 0 || header->sites_max > 1u << 20 ||
        !inside(header->sites_offset, (uint64_t) header->site_size * header->sites_max, header->ring_offset))
        return "site table";
    if (!memchr(header->session, 0, sizeof header->session) ||
        !memchr(header->device_name, 0, sizeof header->device_name) ||
        !memchr(header->command, 0, sizeof header->command))
        return "names";
    return NULL;
}

int mt_check_header(const struct mt_header *header, uint64_t size, const char *name, struct mt_error *error)
{
    if (size < sizeof *header || memcmp(header->magic, MT_MAGIC, sizeof header->magic) != 0) {
        mt_error_set(error, "%.100s: not a moetap segment", name);
        return -EINVAL;
    }
    if (header->abi_major == 0) {
        mt_error_set(error, "%.100s: its writer has not finished creating it", name);
        return -EAGAIN;
    }
    if ((header->abi_major != MT_ABI_MAJOR && header->abi_major != MT_ABI_MAJOR_WEIGHTS) ||
        header->endian != MT_ENDIAN) {
        mt_error_set(error,
                     "%.100s: has layout %u.%u, this moetap reads %u.x and %u.x: use the moetap that the engine was "
                     "started with",
                     name, header->abi_major, header->abi_minor, MT_ABI_MAJOR, MT_ABI_MAJOR_WEIGHTS);
        return -EPROTO;
    }
    const char *what = what_is_wrong(header, size);
    if (what) {
        mt_error_set(error, "%.100s: damaged segment (%s): remove it with `moetap clean`", name, what);
        return -EINVAL;
    }
    return 0;
}
