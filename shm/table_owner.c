/* SPDX-License-Identifier: Apache-2.0 */
/* Who keeps a table: the lock, create or take over, replace, remove. */
#include "table_file.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * Who owns a table holds this lock. It belongs to the open file, not to the process: the kernel lets it go at the
 * owner's death, two owners in one process exclude each other, and asking for it disturbs nobody.
 */
bool mt_table_lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &whole) == 0;
}

/* What the spec asks for, as a header. */
int mt_table_design(struct mt_table_header *header, const struct mt_table_spec *spec, struct mt_error *error)
{
    memset(header, 0, sizeof *header);
    memcpy(header->magic, MT_TABLE_MAGIC, sizeof header->magic);
    header->abi_minor = MT_TABLE_ABI_MINOR;
    header->endian = MT_ENDIAN;
    header->header_size = sizeof *header;
    header->slots = spec->slots ? spec->slots : MT_TABLE_SLOTS_DEFAULT;
    header->layers = spec->layers;
    header->k = spec->k;
    header->experts = spec->experts;
    header->width = spec->experts && spec->experts <= MT_ID8_EXPERTS_MAX ? 1 : 2;
    header->missing = header->width == 1 ? MT_ID8_MISSING : MT_ID16_MISSING;
    header->negative = header->width == 1 ? MT_ID8_NEGATIVE : MT_ID16_NEGATIVE;
    header->overflow = header->width == 1 ? MT_ID8_OVERFLOW : MT_ID16_OVERFLOW;
    header->ids_offset = (uint32_t) mt_round_up(sizeof(struct mt_table_slot), 8);
    header->stride =
        (uint32_t) (header->ids_offset + mt_round_up((uint64_t) header->layers * header->k * header->width, 8));
    header->chunk_slots = MT_TABLE_CHUNK_SLOTS;
    header->chunks_offset = MT_PAGE;
    header->rows_offset =
        mt_round_up(header->chunks_offset + (header->slots / header->chunk_slots / 64 + 1) * 8, (uint64_t) 64 << 10);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    header->created_ns = (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
    header->source_id = spec->source_id;
    header->owner_pid = getpid();
    header->state = MT_TABLE_OPEN;
    if (header->layers == 0 || header->layers > MT_TABLE_LAYERS_MAX || header->k == 0 || header->k > MT_TABLE_K_MAX ||
        header->slots > MT_TABLE_SLOTS_MAX) {
        mt_error_set(error, "no table can be %llu slots x %u layers x %u: at most %llu x %u x %u",
                     (unsigned long long) header->slots, header->layers, header->k,
                     (unsigned long long) MT_TABLE_SLOTS_MAX, MT_TABLE_LAYERS_MAX, MT_TABLE_K_MAX);
        return -EINVAL;
    }
    if (spec->source && strlen(spec->source) >= sizeof header->source) {
        mt_error_set(error, "the name of a table's source has at most %zu characters", sizeof header->source - 1);
        return -EINVAL;
    }
    if (spec->source)
        memcpy(header->source, spec->source, strlen(spec->source));
    return 0;
}

/* All that is constant but for the pid and the time. */
static bool alike(const struct mt_table_header *a, const struct mt_table_header *b)
{
    return a->slots == b->slots && a->layers == b->layers && a->k == b->k && a->experts == b->experts &&
           a->width == b->width && a->stride == b->stride && a->chunk_slots == b->chunk_slots &&
           a->rows_offset == b->rows_offset && a->source_id == b->source_id && strcmp(a->source, b->source) == 0;
}

/* Opens and locks the file that has the name now. 0, -EAGAIN: it lost the name meanwhile, or an error. */
static int open_and_lock(mt_table *table, struct mt_error *error)
{
    table->fd = open(table->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat mine, named;
    if (table->fd < 0 || fstat(table->fd, &mine) != 0) {
        int result = -errno;
        mt_error_set(error, "%.180s: cannot create it: %s", table->path, strerror(-result));
        return result;
    }
    if (!S_ISREG(mine.st_mode)) {
        mt_error_set(error, "%.180s: not a moetap table", table->path);
        return -EINVAL;
    }
    if (!mt_table_lock(table->fd)) {
        int result = errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
        struct mt_table_header holder = {0};
        if (pread(table->fd, &holder, sizeof holder, 0) < 0)
            holder.owner_pid = 0;
        if (result == -EBUSY)
            mt_error_set(error, "%.180s: already kept by process %d", table->path, (int) holder.owner_pid);
        else
            mt_error_set(error, "%.180s: cannot lock it: %s", table->path, strerror(-result));
        return result;
    }
    if (stat(table->path, &named) != 0 || named.st_ino != mine.st_ino || named.st_dev != mine.st_dev)
        return -EAGAIN;
    return 0;
}

int mt_table_fill(mt_table *table, const struct mt_table_header *header, struct mt_error *error)
{
    int result = ftruncate(table->fd, 0) == 0 ? 0 : errno; /* of an owner that died here */
    while (!result && (result = posix_fallocate(table->fd, 0, (off_t) header->rows_offset)) == EINTR)
        result = 0;
    if (result) {
        mt_error_set(error, "no room in %s for a table (%s): free some", mt_shm_dir(), strerror(result));
        return -result;
    }
    table->facts = *header;
    result = mt_table_map(table, error);
    if (result)
        return result;
    *table->live = *header;
    table->facts.abi_major = MT_TABLE_ABI_MAJOR;
    __atomic_store_n(&table->live->abi_major, MT_TABLE_ABI_MAJOR, __ATOMIC_RELEASE);
    return 0;
}

/* The owner before was killed. Rows are as it left them, but who knows what it missed. */
static int take_over(mt_table *table, struct mt_error *error)
{
    int result = mt_table_map(table, error);
    if (!result)
        result = mt_table_check_chunks(table, error);
    if (result)
        return result;
    __atomic_store_n(&table->live->loss_seq, MT_TABLE_ALL_IN_DOUBT, __ATOMIC_RELEASE);
    __atomic_store_n(&table->live->owner_pid, getpid(), __ATOMIC_RELAXED);
    __atomic_store_n(&table->live->state, MT_TABLE_OPEN, __ATOMIC_RELEASE);
    return 0;
}

/* Whoever wrote the header does not get just any file removed. */
static bool good_view(const char *view)
{
    return strncmp(view, MT_TABLE_VIEW_PREFIX, strlen(MT_TABLE_VIEW_PREFIX)) == 0 && !strchr(view, '/');
}

static void remove_view(const mt_table *table)
{
    char path[512];
    if (!good_view(table->facts.view))
        return;
    snprintf(path, sizeof path, "%.*s/%s", (int) (strrchr(table->path, '/') - table->path), table->path,
             table->facts.view);
    unlink(path);
}

/* The locked file is of no use to us: its name goes, who is attached to it is told. */
static int replace(mt_table *table, bool valid, struct mt_error *error)
{
    const uint32_t state = MT_TABLE_REPLACED;
    if (valid && pwrite(table->fd, &state, sizeof state, offsetof(struct mt_table_header, state)) != sizeof state)
        valid = false;
    if (valid)
        remove_view(table);
    if (unlink(table->path) != 0 && errno != ENOENT) {
        int result = -errno;
        mt_error_set(error, "%.180s: cannot replace it: %s", table->path, strerror(-result));
        return result;
    }
    return -EAGAIN;
}

static int create_once(mt_table *table, const struct mt_table_header *header, struct mt_error *note,
                       struct mt_error *error)
{
    int result = open_and_lock(table, error);
    if (result)
        return result;
    table->owner = true;
    struct mt_error wrong = {""};
    result = mt_table_learn(table, &wrong);
    if (result == -EAGAIN)
        return mt_table_fill(table, header, error); /* new, or its creator died on the way */
    const struct mt_table_header *facts = &table->facts;
    if (result == 0 && alike(facts, header)) {
        result = take_over(table, &wrong);
        if (result == 0) {
            mt_error_set(note, "%.180s: its owner is gone, going on with it", table->path);
            return 0;
        }
        if (result == -ENOMEM) {
            mt_error_set(error, "%s", wrong.text);
            return result;
        }
    }
    if (result == 0)
        mt_error_set(note,
                     "%.100s: replaced what a process that is gone had left: %llu slots x %u layers x %u of %.64s",
                     table->path, (unsigned long long) facts->slots, facts->layers, facts->k,
                     facts->source[0] ? facts->source : "an unknown source");
    else
        mt_error_set(note, "replaced a left-over file: %.200s", wrong.text);
    return replace(table, result == 0, error);
}

static void forget(mt_table *table)
{
    if (table->base)
        munmap(table->base, table->size);
    if (table->fd >= 0)
        close(table->fd);
    table->fd = -1;
    table->base = NULL;
    table->header = NULL;
    table->live = NULL;
    table->owner = false;
}

int mt_table_create(const char *name, const struct mt_table_spec *spec, mt_table **out, struct mt_error *note,
                    struct mt_error *error)
{
    *out = NULL;
    if (note)
        note->text[0] = '\0';
    mt_table *table = mt_table_new(error);
    if (!table)
        return -ENOMEM;
    struct mt_table_header header;
    int result = mt_table_design(&header, spec, error);
    if (!result)
        result = mt_table_path(table->path, sizeof table->path, name, error);
    if (!result) {
        table->scratch = calloc(1, header.stride);
        if (!table->scratch) {
            mt_error_set(error, "out of memory");
            result = -ENOMEM;
        }
    }
    for (int tries = 0; !result && tries < 100; tries++) {
        result = create_once(table, &header, note, error);
        if (result == 0) {
            *out = table;
            return 0;
        }
        forget(table);
        if (result == -EAGAIN && tries < 99)
            result = 0;
    }
    if (result == -EAGAIN) {
        mt_error_set(error, "%.180s: others create and remove it all the time", table->path);
        result = -EBUSY;
    }
    mt_table_detach(table);
    return result;
}

int mt_table_set_view(mt_table *table, const char *view)
{
    if (!table->owner)
        return -EPERM;
    if (view && (!good_view(view) || strlen(view) >= sizeof table->facts.view))
        return -EINVAL;
    if (!view || strcmp(view, table->facts.view) != 0)
        remove_view(table);
    memset(table->facts.view, 0, sizeof table->facts.view);
    if (view)
        memcpy(table->facts.view, view, strlen(view));
    memcpy(table->live->view, table->facts.view, sizeof table->facts.view);
    return 0;
}

int mt_table_unlink(mt_table *table, struct mt_error *error)
{
    if (!table->owner) {
        mt_error_set(error, "%.180s: only its owner may remove it", table->path);
        return -EPERM;
    }
    remove_view(table);
    if (unlink(table->path) != 0 && errno != ENOENT) {
        int result = -errno;
        mt_error_set(error, "%.180s: cannot remove it: %s", table->path, strerror(-result));
        return result;
    }
    return 0;
}

int mt_table_remove(const char *name, struct mt_error *error)
{
    mt_table *table = mt_table_new(error);
    if (!table)
        return -ENOMEM;
    int result = mt_table_path(table->path, sizeof table->path, name, error);
    if (!result && access(table->path, F_OK) != 0) {
        result = -errno;
        mt_error_set(error, "%.180s: no such table: `moetap ls` lists them", table->path);
    }
    if (!result)
        result = open_and_lock(table, error);
    if (!result) {
        struct mt_error wrong;
        result = replace(table, mt_table_learn(table, &wrong) == 0, error);
    }
    mt_table_detach(table);
    return result == -EAGAIN ? 0 : result;
}
