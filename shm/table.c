/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the live table: stored by one thread, read by any. table_file.c makes and finds the file. */
#include "table_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

/* A test may define it to stop or kill the owner between any two steps. */
#ifndef MT_TABLE_TESTPOINT
#define MT_TABLE_TESTPOINT(name) ((void) 0)
#endif

#define TRIES 64

static uint8_t *row_at(const mt_table *table, uint64_t slot)
{
    return table->base + table->facts.rows_offset + slot * table->facts.stride;
}

static uint64_t *chunk_word(const mt_table *table, uint64_t slot, uint64_t *bit)
{
    uint64_t chunk = slot / table->facts.chunk_slots;
    *bit = 1ull << chunk % 64;
    return (uint64_t *) (table->base + table->facts.chunks_offset) + chunk / 64;
}

/* Memory for the row, before anybody touches it. */
static int back(mt_table *table, uint64_t slot)
{
    uint64_t bit, *word = chunk_word(table, slot, &bit);
    if (__atomic_load_n(word, __ATOMIC_RELAXED) & bit)
        return 0;
    const struct mt_table_header *facts = &table->facts;
    uint64_t first = slot - slot % facts->chunk_slots, count = facts->chunk_slots;
    if (count > facts->slots - first)
        count = facts->slots - first;
    uint64_t offset = facts->rows_offset + first * facts->stride, size = count * facts->stride;
    struct rlimit limit; /* beyond it the kernel would send SIGXFSZ */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < offset + size)
        return -EFBIG;
    int result;
    do
        result = posix_fallocate(table->fd, (off_t) offset, (off_t) size);
    while (result == EINTR);
    if (result)
        return -result;
    MT_TABLE_TESTPOINT("backed");
    __atomic_fetch_or(word, bit, __ATOMIC_RELEASE);
    return 0;
}

static void narrow(mt_table *table, const int32_t *ids, uint32_t *missing)
{
    const struct mt_table_header *facts = &table->facts;
    uint8_t *out = (uint8_t *) table->scratch + facts->ids_offset;
    *missing = 0;
    for (uint32_t layer = 0, at = 0; layer < facts->layers; layer++) {
        *missing += ids[at] == MT_ID_MISSING;
        for (uint32_t i = 0; i < facts->k; i++, at++) {
            int32_t id = ids[at];
            uint32_t stored = id == MT_ID_MISSING                         ? facts->missing
                              : id == MT_ID_NEGATIVE                      ? facts->negative
                              : id >= 0 && (uint32_t) id < facts->missing ? (uint32_t) id
                                                                          : facts->overflow;
            if (facts->width == 1)
                out[at] = (uint8_t) stored;
            else
                ((uint16_t *) out)[at] = (uint16_t) stored;
        }
    }
}

int mt_table_put(mt_table *table, int64_t slot, const struct mt_table_row *about, const int32_t *ids)
{
    if (!table->owner)
        return -EPERM;
    int result = slot < 0 || (uint64_t) slot >= table->facts.slots ? -ERANGE : back(table, (uint64_t) slot);
    if (result) {
        __atomic_store_n(&table->live->refused, table->live->refused + 1, __ATOMIC_RELAXED);
        return result;
    }
    if (table->live->loss_seq == MT_TABLE_ALL_IN_DOUBT)
        mt_table_lost(table, about->seq);
    struct mt_table_slot *head = (struct mt_table_slot *) table->scratch;
    head->seq = about->seq;
    head->position = about->position;
    head->token = about->token;
    narrow(table, ids, &head->missing);

    /* Each store with release stays behind the odd generation, and the even one behind them all. A row that a dead
     * owner left odd becomes another odd one first. */
    uint64_t *row = (uint64_t *) row_at(table, (uint64_t) slot);
    uint64_t odd = (__atomic_load_n(row, __ATOMIC_RELAXED) + 1) | 1;
    MT_TABLE_TESTPOINT("begin");
    __atomic_store_n(row, odd, __ATOMIC_RELAXED);
    MT_TABLE_TESTPOINT("odd");
    for (uint32_t i = 1; i < table->facts.stride / 8; i++) {
        __atomic_store_n(&row[i], table->scratch[i], __ATOMIC_RELEASE);
        if (i == 5)
            MT_TABLE_TESTPOINT("half");
    }
    MT_TABLE_TESTPOINT("stored");
    __atomic_store_n(row, odd + 1, __ATOMIC_RELEASE);
    MT_TABLE_TESTPOINT("even");
    if ((uint64_t) slot >= table->live->used)
        __atomic_store_n(&table->live->used, (uint64_t) slot + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&table->live->written, table->live->written + 1, __ATOMIC_RELAXED);
    return 0;
}

int mt_table_lost(mt_table *table, uint64_t seq)
{
    if (!table->owner)
        return -EPERM;
    __atomic_store_n(&table->live->loss_seq, seq, __ATOMIC_RELEASE);
    return 0;
}

/* The ids of a row, of which the last word may be part padding. Loads with acquire: the generation is read again behind
 * each of them. */
static void copy_ids(uint8_t *to, const uint64_t *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word = __atomic_load_n(from++, __ATOMIC_ACQUIRE);
        memcpy(to + i, &word, 8);
    }
    if (i < bytes) {
        uint64_t word = __atomic_load_n(from, __ATOMIC_ACQUIRE);
        memcpy(to + i, &word, bytes - i);
    }
}

static bool copy_row(const mt_table *table, uint64_t slot, uint8_t *ids, size_t bytes, struct mt_table_row *row)
{
    const uint8_t *at = row_at(table, slot);
    const uint64_t *words = (const uint64_t *) at;
    row->generation = __atomic_load_n(&words[0], __ATOMIC_ACQUIRE);
    if (row->generation == 0 || row->generation & 1)
        return row->generation == 0;
    struct mt_table_slot head;
    uint64_t copy[sizeof head / 8];
    for (size_t i = 1; i < sizeof head / 8; i++)
        copy[i] = __atomic_load_n(&words[i], __ATOMIC_ACQUIRE);
    copy_ids(ids, (const uint64_t *) (at + table->facts.ids_offset), bytes);
    if (__atomic_load_n(&words[0], __ATOMIC_RELAXED) != row->generation)
        return false;
    copy[0] = row->generation;
    memcpy(&head, copy, sizeof head);
    row->seq = head.seq;
    row->position = head.position;
    row->token = head.token;
    row->missing = head.missing;
    return true;
}

static void mark_missing(const mt_table *table, void *ids)
{
    size_t count = (size_t) table->facts.layers * table->facts.k;
    if (table->facts.width == 1)
        memset(ids, (int) table->facts.missing, count);
    else
        for (size_t i = 0; i < count; i++)
            memcpy((uint8_t *) ids + 2 * i, &(uint16_t){(uint16_t) table->facts.missing}, 2);
}

static enum mt_row_status get_row(const mt_table *table, int64_t slot, uint8_t *ids, size_t bytes,
                                  struct mt_table_row *row)
{
    *row = (struct mt_table_row){.position = -1, .token = -1};
    if (slot < 0 || (uint64_t) slot >= table->facts.slots)
        return MT_ROW_NEVER;
    uint64_t bit;
    const uint64_t *chunk = chunk_word(table, (uint64_t) slot, &bit);
    if (!(__atomic_load_n(chunk, __ATOMIC_ACQUIRE) & bit))
        return MT_ROW_NEVER;
    int tries = 0;
    while (!copy_row(table, (uint64_t) slot, ids, bytes, row)) {
        if (++tries == TRIES)
            return MT_ROW_TORN;
    }
    if (row->generation == 0)
        return MT_ROW_NEVER;
    return row->seq < __atomic_load_n(&table->header->loss_seq, __ATOMIC_ACQUIRE) ? MT_ROW_DOUBT : MT_ROW_OK;
}

/* The next rows are on their way while this one is copied: slots lie anywhere, so the CPU does not guess them. */
#define AHEAD 4

static void fetch_ahead(const mt_table *table, int64_t slot)
{
    if (slot < 0 || (uint64_t) slot >= table->facts.slots)
        return;
    const uint8_t *at = row_at(table, (uint64_t) slot);
    for (uint32_t i = 0; i < table->facts.stride; i += 64)
        __builtin_prefetch(at + i); /* no access: harmless where no memory is */
}

size_t mt_table_get(const mt_table *table, const int64_t *slots, size_t n, void *ids, struct mt_table_row *rows)
{
    const size_t bytes = (size_t) table->facts.layers * table->facts.k * table->facts.width;
    size_t good = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t *to = (uint8_t *) ids + i * bytes;
        if (i + AHEAD < n)
            fetch_ahead(table, slots[i + AHEAD]);
        rows[i].status = get_row(table, slots[i], to, bytes, &rows[i]);
        if (rows[i].status == MT_ROW_OK)
            good++;
        else if (rows[i].status != MT_ROW_DOUBT) {
            mark_missing(table, to);
            rows[i].missing = table->facts.layers;
        }
    }
    return good;
}

int32_t mt_table_id(const mt_table *table, const void *ids, size_t index)
{
    const struct mt_table_header *facts = &table->facts;
    uint16_t wide;
    if (facts->width == 1)
        wide = ((const uint8_t *) ids)[index];
    else
        memcpy(&wide, (const uint8_t *) ids + 2 * index, sizeof wide);
    return wide == facts->missing    ? MT_ID_MISSING
           : wide == facts->negative ? MT_ID_NEGATIVE
           : wide == facts->overflow ? MT_ID_OVERFLOW
                                     : wide;
}
