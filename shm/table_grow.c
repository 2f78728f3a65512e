/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More layers for a table that has rows: a second file gets them all, then its name. Until then nobody can see it, and
 * an owner that is killed on the way leaves the table as it was.
 */
#include "table_file.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A test may define it to kill the owner between any two steps. */
#ifndef MT_TABLE_TESTPOINT
#define MT_TABLE_TESTPOINT(name) ((void) 0)
#endif

/* Rows go over as they were; the layers that they lack are missing. */
static int copy_rows(mt_table *to, const mt_table *from)
{
    const struct mt_table_header *facts = &from->facts;
    const size_t had = (size_t) facts->layers * facts->k, all = (size_t) to->facts.layers * facts->k;
    const uint64_t *chunks = (const uint64_t *) (from->base + facts->chunks_offset);
    uint8_t *stored = malloc(had * facts->width);
    int32_t *ids = malloc(all * sizeof *ids);
    int result = stored && ids ? 0 : -ENOMEM;
    for (size_t i = had; !result && i < all; i++)
        ids[i] = MT_ID_MISSING;
    for (uint64_t slot = 0; !result && slot < facts->slots; slot++) {
        const uint64_t chunk = slot / facts->chunk_slots;
        if (!(chunks[chunk / 64] & 1ull << chunk % 64)) {
            slot = (chunk + 1) * facts->chunk_slots - 1;
            continue;
        }
        const int64_t at = (int64_t) slot;
        struct mt_table_row row;
        mt_table_get(from, &at, 1, stored, &row);
        if (row.status != MT_ROW_OK && row.status != MT_ROW_DOUBT)
            continue;
        for (size_t i = 0; i < had; i++)
            ids[i] = mt_table_id(from, stored, i);
        result = mt_table_put(to, at, &row, ids);
    }
    free(stored);
    free(ids);
    return result;
}

/* Before anybody sees it. */
static void copy_live(mt_table *to, const mt_table *from)
{
    to->live->written = from->live->written;
    to->live->refused = from->live->refused;
    to->live->loss_seq = from->live->loss_seq;
    memcpy(to->live->view, from->live->view, sizeof to->live->view);
    memcpy(to->facts.view, from->facts.view, sizeof to->facts.view);
}

/* From no name to the table's own, in two steps: link() does not replace and rename() needs a name. */
static int take_name(const mt_table *next, struct mt_error *error)
{
    char self[32], path[sizeof next->path + 8];
    snprintf(self, sizeof self, "/proc/self/fd/%d", next->fd);
    snprintf(path, sizeof path, "%s.grown", next->path);
    int result = linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
    /* One that was killed right here left it. */
    if (result == -EEXIST && mt_table_remove(path, NULL) == 0)
        result = linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
    MT_TABLE_TESTPOINT("linked");
    if (!result && rename(path, next->path) != 0) {
        result = -errno;
        unlink(path);
    }
    if (result)
        mt_error_set(error, "%.180s: cannot grow: %s", next->path, strerror(-result));
    return result;
}

/* The same table with more layers, that nobody sees. */
static int make_next(mt_table *next, const mt_table *table, uint32_t layers, struct mt_error *error)
{
    const struct mt_table_header *facts = &table->facts;
    const struct mt_table_spec spec = {.slots = facts->slots,
                                       .layers = layers,
                                       .k = facts->k,
                                       .experts = facts->experts,
                                       .source_id = facts->source_id,
                                       .source = facts->source};
    struct mt_table_header header;
    int result = mt_table_design(&header, &spec, error);
    if (result)
        return result;
    next->owner = true;
    memcpy(next->path, table->path, sizeof next->path);
    char folder[sizeof next->path];
    snprintf(folder, sizeof folder, "%.*s", (int) (strrchr(table->path, '/') - table->path), table->path);
    next->scratch = calloc(1, header.stride);
    if (next->scratch)
        next->fd = open(*folder ? folder : "/", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct stat old;
    if (next->fd < 0 || fstat(table->fd, &old) != 0 || fchmod(next->fd, old.st_mode & 0777) != 0 ||
        !mt_table_lock(next->fd)) {
        result = next->scratch ? -errno : -ENOMEM;
        mt_error_set(error, "%.180s: cannot grow: %s", table->path, strerror(-result));
        return result;
    }
    result = mt_table_fill(next, &header, error);
    if (result)
        return result;
    result = copy_rows(next, table);
    if (result)
        mt_error_set(error, "%.180s: cannot grow to %u layers: %s", table->path, layers, strerror(-result));
    return result;
}

int mt_table_grow(mt_table *table, uint32_t layers, struct mt_error *error)
{
    if (!table->owner) {
        mt_error_set(error, "%.180s: only its owner may grow it", table->path);
        return -EPERM;
    }
    if (layers <= table->facts.layers) {
        mt_error_set(error, "%.180s: has %u layers already", table->path, table->facts.layers);
        return -EINVAL;
    }
    mt_table *next = mt_table_new(error);
    if (!next)
        return -ENOMEM;
    int result = make_next(next, table, layers, error);
    if (!result) {
        copy_live(next, table);
        MT_TABLE_TESTPOINT("copied");
        result = take_name(next, error);
    }
    if (result) {
        mt_table_detach(next);
        return result;
    }
    MT_TABLE_TESTPOINT("renamed");
    __atomic_store_n(&table->live->state, MT_TABLE_REPLACED, __ATOMIC_RELEASE);
    const mt_table old = *table;
    *table = *next;
    *next = old;
    mt_table_detach(next);
    return 0;
}
