/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the live table of one segment: drains it, ties its records to passes, stores their rows by KV slot. */
#ifndef MOETAP_TOOLS_TABLE_KEEPER_H
#define MOETAP_TOOLS_TABLE_KEEPER_H

#include "../../shm/table.h"

struct keeper;

/* As asked for; the same for all segments. */
struct keeper_wish {
    uint64_t slots;  /* 0: MT_TABLE_SLOTS_DEFAULT */
    uint32_t layers; /* 0: those that come */
    bool keep, quiet;
    uint32_t view_layers, map[MT_TABLE_LAYERS_MAX], mapped;
};

/* `view` (vllm_view.h) as INSTANCE_ID:RANK, or NULL. NULL: out of memory, which was said; otherwise it has the reader.
 */
struct keeper *keeper_new(mt_reader *reader, const char *name, const char *view, const struct keeper_wish *wish);

enum keeper_state {
    KEEPER_GOES_ON,
    KEEPER_OVER,  /* its engine has ended, and all is read */
    KEEPER_FAILED /* a line said why */
};

/* Reads what is there now; adds to `records`. */
enum keeper_state keeper_turn(struct keeper *keeper, uint64_t *records);

/* Stores what is left, says what was stored, gives up the table's name (unless it is to be kept) and that of a segment
 * whose engine has ended. Returns an exit status; adds to `lost` what did not get into the table. */
int keeper_end(struct keeper *keeper, uint64_t *lost);

/* Of the table, and of the segment. */
const char *keeper_name(const struct keeper *keeper);
const char *keeper_segment(const struct keeper *keeper);

#endif
