/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a segment, believes nothing it says before it is checked, and maps it. */
#include "attached.h"
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *mt_version(void)
{
    return MT_VERSION;
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

/* Reads the header into reader->facts and checks it. The error is set, reader->fd is left open. */
static int learn(struct mt_reader *reader, struct mt_error *error)
{
    struct stat status;
    if (fstat(reader->fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        mt_error_set(error, "%s: not a moetap segment", reader->path);
        return -EINVAL;
    }
    struct mt_header *facts = &reader->facts;
    ssize_t n = pread(reader->fd, facts, sizeof *facts, 0);
    /* Once the version is there, everything is: what came before it in this read may be older. */
    if (n == (ssize_t) sizeof *facts && facts->abi_major)
        n = pread(reader->fd, facts, sizeof *facts, 0);
    if (n < 0) {
        int result = -errno;
        mt_error_set(error, "%s: cannot read it: %s", reader->path, strerror(-result));
        return result;
    }
    /* A file that is being created is empty, then zero: not to be called damaged. */
    if (n == 0 || (n == (ssize_t) sizeof *facts && !facts->magic[0] && !facts->abi_major)) {
        mt_error_set(error, "%s: its writer has not finished creating it", reader->path);
        return -EAGAIN;
    }
    return mt_check_header(facts, n == (ssize_t) sizeof *facts ? (uint64_t) status.st_size : 0, reader->path, error);
}

static int take_read_side(struct mt_reader *reader, struct mt_error *error)
{
    if (flock(reader->fd, LOCK_EX | LOCK_NB) == 0) {
        reader->drains = true;
        return 0;
    }
    int result = -errno;
    if (result != -EWOULDBLOCK) {
        mt_error_set(error, "%s: cannot lock it: %s", reader->path, strerror(-result));
        return result;
    }
    struct mt_consumer holder = {0};
    if (pread(reader->fd, &holder, sizeof holder, (off_t) reader->facts.consumer_offset) < 0)
        holder.reader_pid = 0;
    mt_error_set(error, "%s: already being drained by process %d", reader->path, (int) holder.reader_pid);
    return -EBUSY;
}

static bool map_all(struct mt_reader *reader)
{
    const struct mt_header *facts = &reader->facts;
    void *base = mmap(NULL, facts->ring_offset, PROT_READ, MAP_SHARED, reader->fd, 0);
    if (base == MAP_FAILED)
        return false;
    reader->base = base;
    reader->header = base;
    reader->counters = (const struct mt_counters *) (reader->base + facts->counters_offset);
    void *consumer = mmap(NULL, MT_PAGE, PROT_READ | (reader->drains ? PROT_WRITE : 0), MAP_SHARED, reader->fd,
                          (off_t) facts->consumer_offset);
    if (consumer == MAP_FAILED)
        return false;
    reader->consumer = consumer;
    reader->ring = map_twice(reader->fd, facts->ring_offset, facts->ring_size);
#ifdef MADV_POPULATE_READ
    /* Now, rather than by page faults while the GPU is writing; an old kernel does without. */
    if (reader->ring && reader->drains && madvise(reader->ring, facts->ring_size, MADV_POPULATE_READ) != 0)
        errno = 0;
#endif
    return reader->ring != NULL;
}

static int open_segment(struct mt_reader *reader, const char *name, unsigned flags, struct mt_error *error)
{
    const char *slash = strrchr(name, '/');
    int n = snprintf(reader->name, sizeof reader->name, "%s", slash ? slash + 1 : name);
    int m = slash ? snprintf(reader->path, sizeof reader->path, "%s", name)
                  : snprintf(reader->path, sizeof reader->path, "%s/%s", mt_shm_dir(), name);
    if (n >= (int) sizeof reader->name || m >= (int) sizeof reader->path) {
        mt_error_set(error, "the name %.100s... is too long", name);
        return -ENAMETOOLONG;
    }
    /* Writable only for the consumer page; whoever just looks needs no right to write. */
    reader->fd = open(reader->path, (flags & MT_ATTACH_DRAIN ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    if (reader->fd < 0) {
        int result = errno;
        if (result == ENOENT)
            mt_error_set(error, "%s: no such segment: `moetap ls` lists them", reader->path);
        else
            mt_error_set(error, "%s: cannot open it: %s", reader->path, strerror(result));
        return -result;
    }
    int result = learn(reader, error);
    if (result == 0 && flags & MT_ATTACH_DRAIN)
        result = take_read_side(reader, error);
    if (result < 0)
        return result;
    if (!map_all(reader)) {
        result = -errno;
        mt_error_set(error, "%s: cannot map it: %s", reader->path, strerror(errno));
        return result;
    }
    reader->tail = __atomic_load_n(&reader->consumer->tail, __ATOMIC_ACQUIRE);
    if (reader->tail % MT_RECORD_ALIGN) {
        mt_error_set(error, "%s: damaged segment (tail): remove it with `moetap clean`", reader->path);
        return -EINVAL;
    }
    if (reader->drains)
        __atomic_store_n(&reader->consumer->reader_pid, getpid(), __ATOMIC_RELAXED);
    return 0;
}

int mt_attach(const char *name, unsigned flags, mt_reader **out, struct mt_error *error)
{
    *out = NULL;
    struct mt_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        mt_error_set(error, "out of memory");
        return -ENOMEM;
    }
    reader->fd = -1;
    reader->in_place = flags & MT_ATTACH_IN_PLACE;
    int result = open_segment(reader, name, flags, error);
    if (result < 0)
        mt_detach(reader);
    else
        *out = reader;
    return result;
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
    site->weights = __atomic_load_n(&source->weights, __ATOMIC_RELAXED);
    site->kernel[sizeof site->kernel - 1] = site->recipe[sizeof site->recipe - 1] = '\0';
    return 0;
}
