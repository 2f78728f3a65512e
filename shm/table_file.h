/* SPDX-License-Identifier: Apache-2.0 */
/* What an open table holds; table_file.c makes it, table.c reads and writes rows through it. Not installed. */
#ifndef MOETAP_SHM_TABLE_FILE_H
#define MOETAP_SHM_TABLE_FILE_H

#include "table.h"

/* After a takeover, until the first row tells where the stream is now. */
#define MT_TABLE_ALL_IN_DOUBT UINT64_MAX

struct mt_table {
    int fd;
    bool owner;
    char path[512];
    uint8_t *base;                        /* all slots, also those that the file has not grown to */
    uint64_t size;                        /* mapped */
    struct mt_table_header facts;         /* checked once and copied */
    const struct mt_table_header *header; /* only for live fields */
    struct mt_table_header *live;         /* the same, the owner's */
    uint64_t *scratch;                    /* the owner's next row */
};

#endif
