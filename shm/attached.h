/* SPDX-License-Identifier: Apache-2.0 */
/* What an attached reader holds; attach.c makes it, reader.c drains through it. Not installed. */
#ifndef MOETAP_SHM_ATTACHED_H
#define MOETAP_SHM_ATTACHED_H

#include "reader.h"

struct mt_reader {
    int fd;
    bool drains;
    bool in_place; /* no copy */
    char name[256];
    char path[512];
    uint8_t *base;                  /* all before the ring: read-only */
    const struct mt_header *header; /* only for live fields: the others are checked once and copied */
    struct mt_header facts;
    const struct mt_counters *counters;
    struct mt_consumer *consumer; /* a page of its own, the only one that a reader writes; read-only if !drains */
    uint8_t *ring;                /* twice, one copy behind the other */
    uint64_t tail;
    uint8_t *copy; /* of one record */
    size_t copy_size;
    uint64_t records, rows; /* read by this reader */
};

#endif
