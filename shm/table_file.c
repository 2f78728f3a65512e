/* SPDX-License-Identifier: Apache-2.0 */
/* A table's file as all see it: where it is, whether to believe what it says, and its mapping. */
#include "table_file.h"

#include "check.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int mt_table_path(char *path, size_t size, const char *name, struct mt_error *error)
{
    const size_t prefix = strlen(MT_TABLE_PREFIX);
    int n;
    if (strchr(name, '/')) {
        n = snprintf(path, size, "%s", name);
    } else {
        if (strncmp(name, MT_TABLE_PREFIX, prefix) == 0)
            name += prefix;
        n = snprintf(path, size, "%s/" MT_TABLE_PREFIX "%s", mt_shm_dir(), name);
        for (const char *c = name; *c; c++) {
            if (!isgraph((unsigned char) *c))
                n = -1;
        }
    }
    if (n < 0 || n >= (int) size || !*name || strlen(strrchr(path, '/') + 1) > 200) {
        mt_error_set(error, "'%.64s' is no name for a table: 1 to 180 characters, no space", name);
        return -EINVAL;
    }
    return 0;
}

static const char *what_is_wrong(const struct mt_table_header *header, uint64_t size)
{
    if (header->header_size < sizeof *header || header->header_size > MT_PAGE)
        return "header size";
    if (header->layers == 0 || header->layers > MT_TABLE_LAYERS_MAX || header->k == 0 || header->k > MT_TABLE_K_MAX ||
        (header->width != 1 && header->width != 2) || header->slots == 0 || header->slots > MT_TABLE_SLOTS_MAX)
        return "shape";
    if (header->ids_offset != mt_round_up(sizeof(struct mt_table_slot), 8) ||
        header->stride != header->ids_offset + mt_round_up((uint64_t) header->layers * header->k * header->width, 8))
        return "rows";
    if (header->chunk_slots == 0 || header->chunk_slots > header->slots + MT_TABLE_CHUNK_SLOTS ||
        header->chunks_offset != MT_PAGE || header->rows_offset % MT_PAGE ||
        header->rows_offset < header->chunks_offset + (header->slots / header->chunk_slots / 64 + 1) * 8 ||
        header->rows_offset > size)
        return "chunks";
    if (!memchr(header->source, 0, sizeof header->source) || !memchr(header->view, 0, sizeof header->view))
        return "names";
    return NULL;
}

static int check(const struct mt_table_header *header, ssize_t n, uint64_t size, const char *path,
                 struct mt_error *error)
{
    static const struct mt_table_header nothing;
    if (n == 0 || (n == (ssize_t) sizeof *header && memcmp(header, &nothing, sizeof nothing) == 0)) {
        mt_error_set(error, "%.180s: its owner has not finished creating it", path);
        return -EAGAIN;
    }
    if (n != (ssize_t) sizeof *header || memcmp(header->magic, MT_TABLE_MAGIC, sizeof header->magic) != 0) {
        mt_error_set(error, "%.180s: not a moetap table", path);
        return -EINVAL;
    }
    if (header->abi_major == 0) {
        mt_error_set(error, "%.180s: its owner has not finished creating it", path);
        return -EAGAIN;
    }
    if (header->abi_major != MT_TABLE_ABI_MAJOR || header->endian != MT_ENDIAN) {
        mt_error_set(error, "%.100s: has table layout %u.%u, this moetap reads %u.x", path, header->abi_major,
                     header->abi_minor, MT_TABLE_ABI_MAJOR);
        return -EPROTO;
    }
    const char *what = what_is_wrong(header, size);
    if (what) {
        mt_error_set(error, "%.180s: damaged table (%s): remove it with `moetap clean`", path, what);
        return -EINVAL;
    }
    return 0;
}

int mt_table_learn(mt_table *table, struct mt_error *error)
{
    struct stat status;
    if (fstat(table->fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        mt_error_set(error, "%.180s: not a moetap table", table->path);
        return -EINVAL;
    }
    ssize_t n = pread(table->fd, &table->facts, sizeof table->facts, 0);
    /* Once the version is there, everything is: what came before it in this read may be older. */
    if (n == (ssize_t) sizeof table->facts && table->facts.abi_major)
        n = pread(table->fd, &table->facts, sizeof table->facts, 0);
    return check(&table->facts, n, (uint64_t) status.st_size, table->path, error);
}

/* All slots that there can be: beyond the file's end nothing is touched, and it may grow without being mapped again. */
int mt_table_map(mt_table *table, struct mt_error *error)
{
    const struct mt_table_header *facts = &table->facts;
    table->size = facts->rows_offset + facts->slots * facts->stride;
    void *base =
        mmap(NULL, table->size, PROT_READ | (table->owner ? PROT_WRITE : 0), MAP_SHARED | MAP_NORESERVE, table->fd, 0);
    if (base == MAP_FAILED) {
        int result = -errno;
        mt_error_set(error, "%.100s: cannot map %llu slots, %llu MiB: %s: ask for fewer with --slots", table->path,
                     (unsigned long long) facts->slots, (unsigned long long) table->size >> 20, strerror(-result));
        return result;
    }
    table->base = base;
    table->header = base;
    if (table->owner)
        table->live = base;
    return 0;
}

/* A file that was cut short would be a SIGBUS. */
int mt_table_check_chunks(const mt_table *table, struct mt_error *error)
{
    const struct mt_table_header *facts = &table->facts;
    const uint64_t *chunks = (const uint64_t *) (table->base + facts->chunks_offset);
    uint64_t count = (facts->slots - 1) / facts->chunk_slots + 1, end = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (__atomic_load_n(&chunks[i / 64], __ATOMIC_ACQUIRE) & 1ull << i % 64)
            end = (i + 1) * facts->chunk_slots;
    }
    end = facts->rows_offset + (end < facts->slots ? end : facts->slots) * facts->stride;
    struct stat status;
    if (fstat(table->fd, &status) != 0 || (uint64_t) status.st_size < end) {
        mt_error_set(error, "%.180s: damaged table (cut short): remove it with `moetap clean`", table->path);
        return -EINVAL;
    }
    return 0;
}

mt_table *mt_table_new(struct mt_error *error)
{
    mt_table *table = calloc(1, sizeof *table);
    if (table)
        table->fd = -1;
    else
        mt_error_set(error, "out of memory");
    return table;
}

int mt_table_attach(const char *name, mt_table **out, struct mt_error *error)
{
    *out = NULL;
    mt_table *table = mt_table_new(error);
    if (!table)
        return -ENOMEM;
    int result = mt_table_path(table->path, sizeof table->path, name, error);
    if (!result && (table->fd = open(table->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0) {
        result = -errno;
        if (result == -ENOENT)
            mt_error_set(error, "%.180s: no such table: `moetap ls` lists them", table->path);
        else
            mt_error_set(error, "%.180s: cannot open it: %s", table->path, strerror(-result));
    }
    if (!result)
        result = mt_table_learn(table, error);
    if (!result)
        result = mt_table_map(table, error);
    if (!result)
        result = mt_table_check_chunks(table, error);
    if (result)
        mt_table_detach(table);
    else
        *out = table;
    return result;
}

void mt_table_detach(mt_table *table)
{
    if (!table)
        return;
    if (table->live && table->live->state == MT_TABLE_OPEN)
        __atomic_store_n(&table->live->state, MT_TABLE_CLOSED, __ATOMIC_RELEASE);
    if (table->base)
        munmap(table->base, table->size);
    if (table->fd >= 0)
        close(table->fd); /* unlocks */
    free(table->scratch);
    free(table);
}

static bool locked(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

const struct mt_table_header *mt_table_header(const mt_table *table)
{
    return table->header;
}

enum mt_table_state mt_table_state(const mt_table *table)
{
    return (enum mt_table_state) __atomic_load_n(&table->header->state, __ATOMIC_ACQUIRE);
}

bool mt_table_owned(const mt_table *table)
{
    return table->owner || locked(table->fd);
}
