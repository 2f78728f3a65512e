/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an open table holds, and what the files that deal with it share: table_file.c maps it, table_owner.c creates,
 * takes over and removes it, table_grow.c gives it more layers, table.c reads and writes its rows. Not installed.
 */
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

static inline uint64_t mt_round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* ---- table_file.c */
mt_table *mt_table_new(struct mt_error *error);
int mt_table_path(char *path, size_t size, const char *name, struct mt_error *error);
/* table->facts from table->fd, checked. -EAGAIN not complete. */
int mt_table_learn(mt_table *table, struct mt_error *error);
/* table->base, for the owner writable. */
int mt_table_map(mt_table *table, struct mt_error *error);
int mt_table_check_chunks(const mt_table *table, struct mt_error *error);

/* ---- table_owner.c */
bool mt_table_lock(int fd);
/* What the spec asks for, as a header that lacks only abi_major. */
int mt_table_design(struct mt_table_header *header, const struct mt_table_spec *spec, struct mt_error *error);
/* Makes the empty, locked file at table->fd a table, mapped and complete. */
int mt_table_fill(mt_table *table, const struct mt_table_header *header, struct mt_error *error);

#endif
