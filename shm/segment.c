/* SPDX-License-Identifier: Apache-2.0 */
#include "segment.h"

#include "check.h"
#include "process.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Each part begins a page of the CPU, which is larger than ours on some ARM kernels: parts are mapped by themselves. */
static uint64_t round_up(uint64_t n)
{
    uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);
    if (page < MT_PAGE)
        page = MT_PAGE;
    return (n + page - 1) & ~(page - 1);
}

static uint64_t ring_size_of(uint64_t wanted)
{
    uint64_t size = MT_RING_SIZE_MIN;
    while (size < wanted && size < MT_RING_SIZE_MAX)
        size <<= 1;
    return size;
}

enum occupant { NOBODY, STALE, LIVE };

/* Who holds the name now; if STALE, `why` says so. */
static enum occupant look_at(int folder, const char *name, struct mt_error *why)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? NOBODY : LIVE;
    struct mt_header header;
    struct stat status;
    enum occupant occupant = STALE;
    struct mt_error wrong = {""};
    ssize_t n = pread(fd, &header, sizeof header, 0);
    if (fstat(fd, &status) != 0 || n != (ssize_t) sizeof header ||
        mt_check_header(&header, (uint64_t) status.st_size, name, &wrong) != 0)
        /* The name has our pid and we hold the folder's lock: nobody is about to complete it. */
        mt_error_set(why, "removed a left-over segment: %.200s", wrong.text[0] ? wrong.text : name);
    else if (mt_writer_alive(&header, fd))
        occupant = LIVE;
    else
        mt_error_set(why, "removed the left-over segment %.100s of a process that has ended", name);
    close(fd);
    return occupant;
}

static void fill_header(struct mt_header *header, const char *session, int device, const char *device_name,
                        uint64_t ring_size)
{
    memcpy(header->magic, MT_MAGIC, sizeof header->magic);
    header->abi_minor = MT_ABI_MINOR;
    header->endian = MT_ENDIAN;
    header->header_size = sizeof *header;
    header->counters_offset = round_up(sizeof *header);
    header->consumer_offset = round_up(header->counters_offset + sizeof(struct mt_counters));
    header->sites_offset = round_up(header->consumer_offset + sizeof(struct mt_consumer));
    header->site_size = sizeof(struct mt_site);
    header->sites_max = MT_SITES_MAX;
    header->ring_offset = round_up(header->sites_offset + (uint64_t) header->site_size * header->sites_max);
    header->ring_size = ring_size;
    header->segment_size = header->ring_offset + ring_size;
    header->writer_pid = getpid();
    header->device = device;
    header->writer_start = mt_process_start(getpid());
    header->pid_namespace = mt_pid_namespace();
    mt_boot_id(header->boot_id);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    header->created_ns = (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
    if (getrandom(&header->nonce, sizeof header->nonce, GRND_NONBLOCK) != (ssize_t) sizeof header->nonce)
        header->nonce = header->created_ns ^ (uint64_t) getpid() << 40;
    snprintf(header->session, sizeof header->session, "%s", session);
    snprintf(header->device_name, sizeof header->device_name, "%s", device_name);
    FILE *comm = fopen("/proc/self/comm", "re");
    if (comm) {
        if (!fgets(header->command, sizeof header->command, comm))
            header->command[0] = '\0';
        header->command[strcspn(header->command, "\n")] = '\0';
        fclose(comm);
    }
    header->state = MT_STATE_OPEN;
}

static int fill_file(struct mt_segment *segment, const struct mt_header *header, bool weights, struct mt_error *error)
{
    /* Beyond this limit the kernel would send SIGXFSZ, to the engine. */
    struct rlimit limit;
    int result;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < header->segment_size)
        result = EFBIG;
    else
        do
            result = posix_fallocate(segment->fd, 0, (off_t) header->segment_size);
        while (result == EINTR);
    if (result) {
        mt_error_set(error,
                     "no room in %s for a ring of %llu KiB (%s): free some, or ask for a smaller one with --ring-size",
                     mt_shm_dir(), (unsigned long long) header->ring_size >> 10, strerror(result));
        return -result;
    }
    segment->base = mmap(NULL, header->segment_size, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd, 0);
    if (segment->base == MAP_FAILED) {
        segment->base = NULL;
        result = errno;
        mt_error_set(error, "cannot map %s: %s", segment->path, strerror(result));
        return -result;
    }
    segment->header = (struct mt_header *) segment->base;
    segment->counters = (struct mt_counters *) (segment->base + header->counters_offset);
    segment->consumer = (struct mt_consumer *) (segment->base + header->consumer_offset);
    segment->sites = (struct mt_site *) (segment->base + header->sites_offset);
    segment->ring = segment->base + header->ring_offset;
    *segment->header = *header;
    mt_writer_lock(segment->fd);
    __atomic_store_n(&segment->header->abi_major, weights ? MT_ABI_MAJOR_WEIGHTS : MT_ABI_MAJOR, __ATOMIC_RELEASE);
    return 0;
}

/* It is part of a file name, between dots, and of lines that people read. */
static bool good_session(const char *session)
{
    size_t n = 0;
    for (; session[n] && n < 64; n++)
        if (!isgraph((unsigned char) session[n]) || session[n] == '.' || session[n] == '/')
            return false;
    return n > 0 && n < 64;
}

int mt_segment_create(struct mt_segment *segment, const char *session, int device, const char *device_name,
                      uint64_t ring_size, bool weights, struct mt_error *note, struct mt_error *error)
{
    memset(segment, 0, sizeof *segment);
    segment->fd = -1;
    if (note)
        note->text[0] = '\0';
    if (!good_session(session)) {
        mt_error_set(error, "session '%.64s' must have 1 to 63 characters, no space, dot or slash", session);
        return -EINVAL;
    }
    int folder = open(mt_shm_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        int result = errno;
        mt_error_set(error, "cannot open %s: %s", mt_shm_dir(), strerror(result));
        return -result;
    }
    struct mt_header header = {0};
    fill_header(&header, session, device, device_name, ring_size_of(ring_size));

    /* The folder's own lock: nothing to leave behind, and it ends with its holder. */
    int result = 0;
    while (flock(folder, LOCK_EX) != 0) {
        if (errno != EINTR) {
            result = errno;
            mt_error_set(error, "cannot lock %s: %s", mt_shm_dir(), strerror(result));
            close(folder);
            return -result;
        }
    }
    char name[192];
    for (int generation = 0; generation < 1000; generation++) {
        int n = snprintf(name, sizeof name, MT_SEGMENT_PREFIX "%s.%d.%d", session, (int) getpid(), device);
        if (generation)
            snprintf(name + n, sizeof name - (size_t) n, ".%d", generation);
        struct mt_error why;
        enum occupant occupant = look_at(folder, name, &why);
        if (occupant == LIVE)
            continue; /* an earlier program of this process (exec), or one of another pid namespace */
        if (occupant == STALE && unlinkat(folder, name, 0) != 0)
            continue; /* another user's */
        if (occupant == STALE)
            mt_error_set(note, "%s", why.text);
        segment->fd = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (segment->fd >= 0 || errno != EEXIST)
            break;
    }
    if (segment->fd < 0) {
        result = -errno;
        mt_error_set(error, "cannot create %s/%s: %s", mt_shm_dir(), name, strerror(errno));
    } else {
        snprintf(segment->path, sizeof segment->path, "%s/%s", mt_shm_dir(), name);
        result = fill_file(segment, &header, weights, error);
        if (result < 0)
            mt_segment_destroy(segment, true);
    }
    close(folder); /* unlocks */
    return result;
}

int mt_segment_add_site(struct mt_segment *segment, const struct mt_site *site)
{
    uint32_t index = segment->header->site_count;
    if (index >= segment->header->sites_max)
        return -ENOSPC;
    segment->sites[index] = *site;
    __atomic_store_n(&segment->header->site_count, index + 1, __ATOMIC_RELEASE);
    return (int) index;
}

void mt_segment_set_layer(struct mt_segment *segment, uint32_t site, int32_t layer)
{
    __atomic_store_n(&segment->sites[site].layer, layer, __ATOMIC_RELAXED);
}

void mt_segment_add_flags(struct mt_segment *segment, uint32_t site, uint32_t flags)
{
    __atomic_fetch_or(&segment->sites[site].flags, flags, __ATOMIC_RELAXED);
}

void mt_segment_set_model(struct mt_segment *segment, uint32_t site, uint32_t model)
{
    __atomic_store_n(&segment->sites[site].model, model, __ATOMIC_RELAXED);
}

void mt_segment_set_weights(struct mt_segment *segment, uint32_t site, enum mt_weight_type type)
{
    __atomic_store_n(&segment->sites[site].weights, (uint8_t) type, __ATOMIC_RELAXED);
}

void mt_segment_count_not_captured(struct mt_segment *segment)
{
    __atomic_fetch_add(&segment->header->not_captured, 1, __ATOMIC_RELAXED);
}

void mt_segment_close(struct mt_segment *segment)
{
    __atomic_store_n(&segment->header->state, MT_STATE_CLOSED, __ATOMIC_RELEASE);
}

void mt_segment_destroy(struct mt_segment *segment, bool unlink_it)
{
    if (segment->base)
        munmap(segment->base, segment->header->segment_size);
    if (segment->fd >= 0)
        close(segment->fd);
    if (unlink_it && segment->path[0])
        unlink(segment->path);
    memset(segment, 0, sizeof *segment);
    segment->fd = -1;
}
