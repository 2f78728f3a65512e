/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "segment.h"

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

/* [offset, offset + length) page-aligned and inside a file of `size` bytes */
static bool inside(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset % MT_PAGE == 0 && offset >= MT_PAGE && offset <= size && length <= size - offset;
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
    if (header->abi_major != MT_ABI_MAJOR || header->endian != MT_ENDIAN) {
        mt_error_set(
            error, "%.100s: has layout %u.%u, this moetap reads %u.x: use the moetap that the engine was started with",
            name, header->abi_major, header->abi_minor, MT_ABI_MAJOR);
        return -EPROTO;
    }
    const char *what = NULL;
    if (header->header_size < sizeof *header || header->header_size > MT_PAGE)
        what = "header size";
    else if (header->segment_size != size)
        what = "size";
    else if (header->ring_size < MT_RING_SIZE_MIN || header->ring_size > MT_RING_SIZE_MAX ||
             (header->ring_size & (header->ring_size - 1)) || !inside(header->ring_offset, header->ring_size, size))
        what = "ring";
    else if (!inside(header->counters_offset, sizeof(struct mt_counters), size))
        what = "counters";
    else if (!inside(header->consumer_offset, MT_PAGE, size))
        what = "consumer";
    else if (header->site_size < sizeof(struct mt_site) || header->site_size > MT_PAGE || header->site_size % 8 ||
             header->sites_max == 0 || header->sites_max > 1u << 20 ||
             !inside(header->sites_offset, (uint64_t) header->site_size * header->sites_max, size))
        what = "site table";
    else if (memchr(header->session, 0, sizeof header->session) == NULL ||
             memchr(header->device_name, 0, sizeof header->device_name) == NULL ||
             memchr(header->command, 0, sizeof header->command) == NULL)
        what = "names";
    if (what) {
        mt_error_set(error, "%.100s: damaged segment (%s): remove it with `moetap clean`", name, what);
        return -EINVAL;
    }
    return 0;
}

bool mt_writer_alive(const struct mt_header *header)
{
    uint8_t boot[16];
    mt_boot_id(boot);
    if (memcmp(boot, header->boot_id, sizeof boot) != 0)
        return false;
    return header->writer_start && mt_process_start(header->writer_pid) == header->writer_start;
}
