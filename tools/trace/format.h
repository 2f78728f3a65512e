/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trace file: a header, then blocks, each a head and a payload. Little-endian. A file without an END block was cut
 * off (the recorder died, the disk was full): it is good up to its last whole block.
 *
 *   SEGMENT  struct trace_segment   one for each segment, in the order of their numbers (0, 1, ...)
 *   SITES    struct trace_sites, then struct mt_site[count]; written again at the end: the last one holds
 *   WEIGHTS  struct trace_weights, then the weights of those records of the next block that have some, in their order,
 *            without a gap. Since 1.1; who skips it still finds the ids
 *   RECORDS  struct trace_records, then records as in the ring: struct mt_record + payload, padded to 64 bytes; but
 *            weights are not in the payload, nor counted in `bytes`
 *   STATS    struct trace_stats     one for each segment, at its end
 *   END      empty
 *
 * Payloads are zstd frames with a checksum.
 */
#ifndef MOETAP_TOOLS_TRACE_FORMAT_H
#define MOETAP_TOOLS_TRACE_FORMAT_H

#include "../../shm/layout.h"

#define TRACE_MAGIC "MOETRACE"
#define TRACE_MAJOR 1u
#define TRACE_MINOR 1u
#define TRACE_BLOCK_MAX (1u << 30) /* no payload is larger, packed or not */

struct trace_header {
    char magic[8];
    uint32_t major, minor;
    uint32_t endian; /* MT_ENDIAN */
    uint32_t reserved;
    uint64_t created_ns; /* CLOCK_REALTIME */
};

enum trace_type {
    TRACE_SEGMENT = 1,
    TRACE_SITES = 2,
    TRACE_RECORDS = 3,
    TRACE_STATS = 4,
    TRACE_END = 5,
    TRACE_WEIGHTS = 6
};

struct trace_block {
    uint32_t check; /* trace_check() of the rest: a damaged type must not hide a block */
    uint32_t type;  /* enum trace_type; a reader skips what it does not know */
    uint32_t raw_size;
    uint32_t packed_size;
};

static inline uint32_t trace_check(const struct trace_block *block)
{
    return (uint32_t) mt_commit_word((uint64_t) block->type << 32 | block->raw_size, block->packed_size);
}

struct trace_segment {
    uint32_t number;
    int32_t pid;
    int32_t device;
    /* Which part of a model that runs in several processes: rank + 1, 0: not told. Replicas, shares of each layer, some
     * of the layers. */
    uint8_t data, tensor, stage, reserved;
    uint64_t created_ns;
    char name[256];
    char session[64];
    char device_name[64];
    char command[128];
};

struct trace_sites {
    uint32_t segment;
    uint32_t count;
};

struct trace_records {
    uint32_t segment;
    uint32_t count;
    uint64_t reserved[7]; /* the records behind it are 64-byte aligned */
};

struct trace_weights {
    uint32_t segment;
    uint32_t reserved[3];
};

struct trace_stats {
    uint32_t segment;
    uint32_t end;           /* enum mt_end */
    uint64_t records, rows; /* of routers; losses are of all records */
    uint64_t lost_full, lost_too_big, lost_torn, not_captured;
    uint64_t lost_unwritten; /* read from the ring, but the file could not take them */
};

static inline uint64_t trace_lost(const struct trace_stats *stats)
{
    return stats->lost_full + stats->lost_too_big + stats->lost_torn + stats->lost_unwritten;
}

#endif
