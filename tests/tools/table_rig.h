/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the suites of `moetap table`: an engine, in this process or a child of it, and a look into its table. What a
 * token is routed to follows from its KV slot and its pass.
 */
#ifndef MOETAP_TESTS_TABLE_RIG_H
#define MOETAP_TESTS_TABLE_RIG_H

#include "../../shm/table.h"
#include "../shim/command.h"
#include "../shm/device.h"
#include "live.h"

#include <criterion/criterion.h>

#define LAYERS 4u
#define LAYERS_MAX 8u
#define K 2u
#define EXPERTS 64u
#define ROUTER 3u /* the first one's site; before it slots, positions, tokens */
#define NOTHING (-1)

extern char folder[64]; /* of segments and tables, gone at the end */
extern struct outcome o;
extern struct mt_segment segment;

/* Of a suite. */
void table_enter(void);
void table_leave(void);

void open_engine(const char *session);
void close_engine(void);
const char *segment_name(void);
/* A layer that comes late. */
void add_layer(void);
/* More row context, behind the layers. */
void add_site(uint32_t kind, int32_t layer);
/* Of `width` bytes a value; lost: it gets its numbers and no place. */
void put_record(uint32_t site, const int32_t *values, uint32_t rows, uint32_t k, uint32_t width, bool lost);

int32_t id_of(int32_t slot, uint32_t pass, uint32_t layer, uint32_t i);

/* Tokens at positions 100, 101... whose ids are 1000, 1001...; `lost`: the site whose record is, or NOTHING. */
void pass(uint32_t number, const int32_t *slots, uint32_t rows, int lost);
/* The same, and what the attention's kernel is given are `real` of the rows; those ahead of the routers are of
 * `padded`. */
void padded_pass(uint32_t number, const int32_t *slots, uint32_t real, uint32_t padded, uint32_t rows);

/* Of another model: the last layer alone. */
void draft_pass(uint32_t number, const int32_t *slots, uint32_t rows);
/* All of its records. */
void lose_a_pass(void);

mt_table *await_table(const char *name);

/* What is there now. */
extern struct mt_table_row row;
extern int32_t got[LAYERS_MAX * K];
void look(const mt_table *table, int64_t slot);

/* Once the pass is there: its ids, `missing` a layer without, or NOTHING. */
void await_row(const mt_table *table, int32_t slot, uint32_t number, enum mt_row_status status, int missing);

#endif
