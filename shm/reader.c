/* SPDX-License-Identifier: Apache-2.0 */
#include "reader.h"

#include "check.h"
#include "segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct mt_reader {
    int fd;
    bool drains;
    char name[256];
    char path[512];
    uint64_t size;
    uint8_t *base;                  /* header, counters, sites: read-only */
    const struct mt_header *header; /* live fields only: the rest is checked once and copied */
    struct mt_header facts;
    const struct mt_counters *counters;
    struct mt_consumer *consumer; /* a page of its own, the only one that a reader writes */
    uint8_t *ring;                /* twice, one copy behind the other */
    uint64_t tail;
    uint8_t *copy; /* of one record */
    size_t copy_size;
    struct mt_stats stats;
    uint64_t next_seq; /* highest seq seen + 1 */
};

const char *mt_version(void)
{
    return MT_VERSION;
}

const char *mt_shm_dir(void)
{
    const char *folder = getenv("MOETAP_SHM_DIR");
    return folder && *folder ? folder : MT_SHM_DIR;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct mt_segment_name *) a)->name, ((const struct mt_segment_name *) b)->name);
}

int mt_discover(const char *session, struct mt_segment_name **names, size_t *count, struct mt_error *error)
{
    *names = NULL;
    *count = 0;
    DIR *folder = opendir(mt_shm_dir());
    if (!folder) {
        int result = errno;
        mt_error_set(error, "cannot read %s: %s", mt_shm_dir(), strerror(result));
        return -result;
    }
    char prefix[128];
    snprintf(prefix, sizeof prefix, MT_SEGMENT_PREFIX "%s%s", session ? session : "", session ? "." : "");
    size_t room = 0;
    const struct dirent *entry;
    while ((entry = readdir(folder))) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        if (*count == room) {
            struct mt_segment_name *more = realloc(*names, (room = room * 2 + 16) * sizeof **names);
            if (!more) {
                closedir(folder);
                free(*names);
                *names = NULL;
                *count = 0;
                mt_error_set(error, "out of memory");
                return -ENOMEM;
            }
            *names = more;
        }
        snprintf((*names)[(*count)++].name, sizeof(struct mt_segment_name), "%s", entry->d_name);
    }
    closedir(folder);
    if (*count)
        qsort(*names, *count, sizeof **names, by_name);
    return 0;
}

static int fail(struct mt_reader *reader, int result, struct mt_error *error, const char *what)
{
    if (what)
        mt_error_set(error, "%s: cannot %s: %s", reader->path, what, strerror(-result));
    mt_detach(reader);
    return result;
}

/* A second mapping right behind the first, so that no payload is split. */
static uint8_t *map_twice(int fd, uint64_t offset, uint64_t size)
{
    uint8_t *place = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return NULL;
    for (int i = 0; i < 2; i++) {
        if (mmap(place + (uint64_t) i * size, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t) offset) ==
            MAP_FAILED) {
            munmap(place, 2 * size);
            return NULL;
        }
    }
    return place;
}

int mt_attach(const char *name, unsigned flags, mt_reader **out, struct mt_error *error)
{
    *out = NULL;
    struct mt_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        mt_error_set(error, "out of memory");
        return -ENOMEM;
    }
    const char *slash = strrchr(name, '/');
    snprintf(reader->name, sizeof reader->name, "%s", slash ? slash + 1 : name);
    if (slash)
        snprintf(reader->path, sizeof reader->path, "%s", name);
    else
        snprintf(reader->path, sizeof reader->path, "%s/%s", mt_shm_dir(), name);
    /* Writable only for the consumer page; whoever just looks needs no right to write. */
    reader->fd = open(reader->path, (flags & MT_ATTACH_DRAIN ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    if (reader->fd < 0) {
        int result = -errno;
        if (result == -ENOENT)
            mt_error_set(error, "%s: no such segment: `moetap ls` lists them", reader->path);
        return fail(reader, result, error, result == -ENOENT ? NULL : "open it");
    }
    struct stat status;
    if (fstat(reader->fd, &status) != 0)
        return fail(reader, -errno, error, "look at it");
    if (!S_ISREG(status.st_mode)) {
        mt_error_set(error, "%s: not a moetap segment", reader->path);
        return fail(reader, -EINVAL, error, NULL);
    }
    ssize_t n = pread(reader->fd, &reader->facts, sizeof reader->facts, 0);
    if (n < 0)
        return fail(reader, -errno, error, "read it");
    reader->size = (uint64_t) status.st_size;
    /* A file that is being created is short and not complete: not to be called damaged. */
    if (n == 0 || (n == (ssize_t) sizeof reader->facts && !reader->facts.magic[0] && !reader->facts.abi_major)) {
        mt_error_set(error, "%s: its writer has not finished creating it", reader->path);
        return fail(reader, -EAGAIN, error, NULL);
    }
    int result =
        mt_check_header(&reader->facts, n == (ssize_t) sizeof reader->facts ? reader->size : 0, reader->path, error);
    if (result < 0)
        return fail(reader, result, error, NULL);

    if (flags & MT_ATTACH_DRAIN) {
        if (flock(reader->fd, LOCK_EX | LOCK_NB) != 0) {
            struct mt_consumer holder = {0};
            if (pread(reader->fd, &holder, sizeof holder, (off_t) reader->facts.consumer_offset) < 0)
                holder.reader_pid = 0;
            mt_error_set(error, "%s: already being drained by process %d", reader->path, (int) holder.reader_pid);
            return fail(reader, -EBUSY, error, NULL);
        }
        reader->drains = true;
    }
    reader->base = mmap(NULL, reader->facts.ring_offset, PROT_READ, MAP_SHARED, reader->fd, 0);
    if (reader->base == MAP_FAILED) {
        reader->base = NULL;
        return fail(reader, -errno, error, "map it");
    }
    reader->header = (const struct mt_header *) reader->base;
    reader->counters = (const struct mt_counters *) (reader->base + reader->facts.counters_offset);
    reader->consumer = mmap(NULL, MT_PAGE, PROT_READ | (reader->drains ? PROT_WRITE : 0), MAP_SHARED, reader->fd,
                            (off_t) reader->facts.consumer_offset);
    if (reader->consumer == MAP_FAILED) {
        reader->consumer = NULL;
        return fail(reader, -errno, error, "map it");
    }
    reader->ring = map_twice(reader->fd, reader->facts.ring_offset, reader->facts.ring_size);
    if (!reader->ring)
        return fail(reader, -errno, error, "map its ring");
    reader->tail = __atomic_load_n(&reader->consumer->tail, __ATOMIC_ACQUIRE);
    if (reader->tail % MT_RECORD_ALIGN) {
        mt_error_set(error, "%s: damaged segment (consumer): remove it with `moetap clean`", reader->path);
        return fail(reader, -EINVAL, error, NULL);
    }
    if (reader->drains)
        __atomic_store_n(&reader->consumer->reader_pid, getpid(), __ATOMIC_RELAXED);
    *out = reader;
    return 0;
}

void mt_detach(mt_reader *reader)
{
    if (!reader)
        return;
    if (reader->consumer) {
        if (reader->drains)
            __atomic_store_n(&reader->consumer->reader_pid, 0, __ATOMIC_RELAXED);
        munmap(reader->consumer, MT_PAGE);
    }
    if (reader->ring)
        munmap(reader->ring, 2 * reader->facts.ring_size);
    if (reader->base)
        munmap(reader->base, reader->facts.ring_offset);
    if (reader->fd >= 0)
        close(reader->fd);
    free(reader->copy);
    free(reader);
}

int mt_unlink(mt_reader *reader, struct mt_error *error)
{
    if (!reader->drains) {
        mt_error_set(error, "%s: only who drains it may remove it", reader->path);
        return -EPERM;
    }
    if (unlink(reader->path) != 0 && errno != ENOENT) {
        int result = errno;
        mt_error_set(error, "%s: cannot remove it: %s", reader->path, strerror(result));
        return -result;
    }
    return 0;
}

const struct mt_header *mt_header(const mt_reader *reader)
{
    return reader->header;
}

const char *mt_name(const mt_reader *reader)
{
    return reader->name;
}

uint32_t mt_site_count(const mt_reader *reader)
{
    uint32_t count = __atomic_load_n(&reader->header->site_count, __ATOMIC_ACQUIRE);
    return count < reader->facts.sites_max ? count : reader->facts.sites_max;
}

int mt_site(const mt_reader *reader, uint32_t index, struct mt_site *site)
{
    if (index >= mt_site_count(reader))
        return -ENOENT;
    const struct mt_site *source = (const struct mt_site *) (reader->base + reader->facts.sites_offset +
                                                             (uint64_t) index * reader->facts.site_size);
    memcpy(site, source, offsetof(struct mt_site, layer));
    site->layer = __atomic_load_n(&source->layer, __ATOMIC_RELAXED);
    site->flags = __atomic_load_n(&source->flags, __ATOMIC_RELAXED);
    size_t rest = offsetof(struct mt_site, stream);
    memcpy((char *) site + rest, (const char *) source + rest, sizeof *site - rest);
    site->kernel[sizeof site->kernel - 1] = site->recipe[sizeof site->recipe - 1] = '\0';
    return 0;
}

static const struct mt_record *record_at(const mt_reader *reader, uint64_t position)
{
    return (const struct mt_record *) (reader->ring + (position & (reader->facts.ring_size - 1)));
}

static bool committed(const mt_reader *reader, uint64_t position)
{
    return __atomic_load_n(&record_at(reader, position)->commit, __ATOMIC_ACQUIRE) ==
           mt_commit_word(reader->facts.nonce, position);
}

/* Word by word and atomic: should a writer be broken, the copy is wrong but no data race. */
static void copy_words(uint64_t *to, const uint64_t *from, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes / 8; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static bool plausible(const mt_reader *reader, const struct mt_record *record)
{
    return (record->width == 1 || record->width == 2) && record->k > 0 &&
           record->bytes == (uint64_t) record->rows * record->k * record->width &&
           mt_record_size(record->bytes) <= reader->facts.ring_size / 2 && record->site < mt_site_count(reader);
}

int64_t mt_read(mt_reader *reader, size_t max, mt_take *take, void *user, struct mt_error *error)
{
    if (!reader->drains) {
        mt_error_set(error, "%s: attached only to look", reader->path);
        return -EPERM;
    }
    int64_t records = 0;
    while ((size_t) records < max && committed(reader, reader->tail)) {
        struct mt_record head;
        const struct mt_record *source = record_at(reader, reader->tail);
        copy_words((uint64_t *) &head, (const uint64_t *) source, sizeof head);
        if (!plausible(reader, &head)) {
            mt_error_set(error, "%s: the record at %llu is not what a writer writes: the engine overwrote the ring",
                         reader->path, (unsigned long long) reader->tail);
            return -EBADMSG;
        }
        uint64_t size = mt_record_size(head.bytes);
        if (size > reader->copy_size) {
            uint8_t *more = realloc(reader->copy, size);
            if (!more) {
                mt_error_set(error, "out of memory for a record of %llu bytes", (unsigned long long) size);
                return -ENOMEM;
            }
            reader->copy = more;
            reader->copy_size = size;
        }
        copy_words((uint64_t *) reader->copy, (const uint64_t *) source, size);
        if (!committed(reader, reader->tail)) {
            mt_error_set(error, "%s: the record at %llu changed while it was read", reader->path,
                         (unsigned long long) reader->tail);
            return -EBADMSG;
        }
        int stop = take((const struct mt_record *) reader->copy, reader->copy + sizeof head, user);
        reader->tail += size;
        __atomic_store_n(&reader->consumer->records, reader->consumer->records + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&reader->consumer->tail, reader->tail, __ATOMIC_RELEASE);
        reader->stats.records++;
        reader->stats.rows += head.rows;
        if (head.seq + 1 > reader->next_seq)
            reader->next_seq = head.seq + 1;
        records++;
        if (stop)
            break;
    }
    return records;
}

bool mt_wait(mt_reader *reader, int timeout_ms)
{
    /* The GPU cannot wake a process. Naps grow to 1 ms: nothing is burnt while the engine is idle. */
    struct timespec nap = {0, 20000};
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (!committed(reader, reader->tail)) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 >= timeout_ms)
            return false;
        nanosleep(&nap, NULL);
        if (nap.tv_nsec < 1000000)
            nap.tv_nsec += nap.tv_nsec / 2;
    }
    return true;
}

enum mt_end mt_ended(const mt_reader *reader)
{
    if (mt_writer_alive(&reader->facts))
        return MT_END_NOT;
    return __atomic_load_n(&reader->header->state, __ATOMIC_ACQUIRE) == MT_STATE_CLOSED ? MT_END_CLOSED : MT_END_DIED;
}

bool mt_skip_torn(mt_reader *reader)
{
    for (uint64_t position = reader->tail + MT_RECORD_ALIGN; position < reader->tail + reader->facts.ring_size;
         position += MT_RECORD_ALIGN) {
        if (!committed(reader, position) || !plausible(reader, record_at(reader, position)))
            continue;
        reader->tail = position;
        __atomic_store_n(&reader->consumer->tail, position, __ATOMIC_RELEASE);
        return true;
    }
    return false;
}

void mt_stats(const mt_reader *reader, struct mt_stats *stats)
{
    *stats = reader->stats;
    stats->lost_full = __atomic_load_n(&reader->counters->lost_full, __ATOMIC_ACQUIRE);
    stats->lost_too_big = __atomic_load_n(&reader->counters->lost_too_big, __ATOMIC_ACQUIRE);
    stats->not_captured = __atomic_load_n(&reader->header->not_captured, __ATOMIC_RELAXED);
    /* Every number below the highest one seen was given to a record that is read, lost, or torn. */
    if (mt_ended(reader) != MT_END_NOT) {
        uint64_t accounted = reader->consumer->records + stats->lost_full + stats->lost_too_big;
        stats->lost_torn = reader->next_seq > accounted ? reader->next_seq - accounted : 0;
    }
}

int32_t mt_decode_id(const void *ids, unsigned width, size_t index)
{
    if (width == 1) {
        uint8_t id = ((const uint8_t *) ids)[index];
        return id == MT_ID8_NEGATIVE ? MT_ID_NEGATIVE : id == MT_ID8_OVERFLOW ? MT_ID_OVERFLOW : id;
    }
    uint16_t id;
    memcpy(&id, (const uint8_t *) ids + 2 * index, sizeof id);
    return id == MT_ID16_NEGATIVE ? MT_ID_NEGATIVE : id == MT_ID16_OVERFLOW ? MT_ID_OVERFLOW : id;
}
