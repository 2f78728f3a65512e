/* SPDX-License-Identifier: Apache-2.0 */
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define BLOCK_SIZE (1u << 20)
#define WEIGHTS_SIZE (4u << 20) /* of a block's records, unless one alone has more */

struct trace_writer {
    int fd;
    int failed;
    char path[512];
    ZSTD_CCtx *zstd;
    uint8_t *packed;
    size_t packed_room;
    uint8_t *block; /* struct trace_records, then records */
    size_t used, room;
    uint8_t *weights; /* struct trace_weights, then the weights of the block's records */
    size_t weights_used, weights_room;
    struct trace_tally tally;   /* of the block */
    struct trace_tally dropped; /* of the block that could not be written */
    uint32_t dropped_segment;
};

static int put(struct trace_writer *writer, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size && !writer->failed) {
        ssize_t n = write(writer->fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            writer->failed = n < 0 ? -errno : -EIO;
            break;
        }
        at += n;
        size -= (size_t) n;
    }
    return writer->failed;
}

static int put_block(struct trace_writer *writer, enum trace_type type, const void *raw, size_t size)
{
    if (writer->failed)
        return writer->failed;
    size_t bound = ZSTD_compressBound(size);
    if (bound > writer->packed_room) {
        free(writer->packed);
        writer->packed = malloc(bound);
        writer->packed_room = writer->packed ? bound : 0;
        if (!writer->packed)
            return writer->failed = -ENOMEM;
    }
    size_t packed = ZSTD_compress2(writer->zstd, writer->packed, writer->packed_room, raw, size);
    if (ZSTD_isError(packed))
        return writer->failed = -EIO;
    struct trace_block block = {.type = type, .raw_size = (uint32_t) size, .packed_size = (uint32_t) packed};
    block.check = trace_check(&block);
    put(writer, &block, sizeof block);
    return put(writer, writer->packed, packed);
}

/* Only a trace of ours or an empty file may be overwritten by default. */
static bool may_overwrite(int fd)
{
    char magic[8];
    struct stat status;
    if (fstat(fd, &status) == 0 && !S_ISREG(status.st_mode))
        return true; /* a pipe, /dev/null */
    ssize_t n = pread(fd, magic, sizeof magic, 0);
    return n == 0 || (n == (ssize_t) sizeof magic && memcmp(magic, TRACE_MAGIC, sizeof magic) == 0);
}

int trace_writer_open(const char *path, bool force, struct trace_writer **out, struct mt_error *error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EACCES)
        fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        int result = errno;
        snprintf(error->text, sizeof error->text, "%.150s: cannot write it: %s", path, strerror(result));
        return -result;
    }
    if (!force && !may_overwrite(fd)) {
        close(fd);
        snprintf(error->text, sizeof error->text,
                 "%.150s: is no moetap trace and would be overwritten: name another file, or --force", path);
        return -EEXIST;
    }
    struct trace_writer *writer = calloc(1, sizeof *writer);
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    uint8_t *block = malloc(BLOCK_SIZE);
    if (!writer || !zstd || !block) {
        close(fd);
        free(writer);
        free(block);
        ZSTD_freeCCtx(zstd);
        snprintf(error->text, sizeof error->text, "out of memory");
        return -ENOMEM;
    }
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, 1);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
    *writer = (struct trace_writer){.fd = fd, .zstd = zstd, .block = block, .room = BLOCK_SIZE};
    snprintf(writer->path, sizeof writer->path, "%s", path);
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && ftruncate(fd, 0) != 0)
        writer->failed = -errno;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct trace_header header = {.major = TRACE_MAJOR, .minor = TRACE_MINOR, .endian = MT_ENDIAN};
    memcpy(header.magic, TRACE_MAGIC, sizeof header.magic);
    header.created_ns = (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
    put(writer, &header, sizeof header);
    *out = writer;
    return 0;
}

int trace_writer_flush(struct trace_writer *writer)
{
    if (!writer->used)
        return writer->failed;
    const struct trace_records *head = (const struct trace_records *) writer->block;
    if (writer->weights_used)
        put_block(writer, TRACE_WEIGHTS, writer->weights, writer->weights_used); /* if it fails, the next one does */
    writer->weights_used = 0;
    if (put_block(writer, TRACE_RECORDS, writer->block, writer->used) != 0) {
        writer->dropped_segment = head->segment;
        writer->dropped = writer->tally;
    }
    writer->used = 0;
    writer->tally = (struct trace_tally){0};
    return writer->failed;
}

int trace_writer_segment(struct trace_writer *writer, const struct trace_segment *segment)
{
    trace_writer_flush(writer);
    return put_block(writer, TRACE_SEGMENT, segment, sizeof *segment);
}

int trace_writer_sites(struct trace_writer *writer, uint32_t segment, const struct mt_site *sites, uint32_t count)
{
    trace_writer_flush(writer);
    size_t size = sizeof(struct trace_sites) + count * sizeof *sites;
    uint8_t *raw = malloc(size);
    if (!raw)
        return writer->failed = -ENOMEM;
    const struct trace_sites head = {segment, count};
    memcpy(raw, &head, sizeof head);
    if (count)
        memcpy(raw + sizeof head, sites, count * sizeof *sites);
    int result = put_block(writer, TRACE_SITES, raw, size);
    free(raw);
    return result;
}

/* Room for `size` bytes, and for what a whole block has: a buffer does not grow with each record. */
static bool make_room(uint8_t **buffer, size_t *room, size_t size, size_t whole)
{
    if (size < whole)
        size = whole;
    if (size <= *room)
        return true;
    uint8_t *more = realloc(*buffer, size);
    if (!more)
        return false;
    *buffer = more;
    *room = size;
    return true;
}

static void add_weights(struct trace_writer *writer, uint32_t segment, const void *weights, size_t size)
{
    if (!writer->weights_used) {
        *(struct trace_weights *) writer->weights = (struct trace_weights){.segment = segment};
        writer->weights_used = sizeof(struct trace_weights);
    }
    memcpy(writer->weights + writer->weights_used, weights, size);
    writer->weights_used += size;
}

int trace_writer_record(struct trace_writer *writer, uint32_t segment, const struct mt_record *record, const void *ids)
{
    const uint64_t count = (uint64_t) record->rows * record->k;
    struct mt_record stored = *record;
    if (record->weights)
        stored.bytes = (uint32_t) (count * record->width);
    const size_t size = mt_record_size(stored.bytes), weights = count * mt_weight_size(record->weights);
    if (size > TRACE_BLOCK_MAX - sizeof(struct trace_records) ||
        weights > TRACE_BLOCK_MAX - sizeof(struct trace_weights))
        return -EFBIG;
    const struct trace_records *head = (const struct trace_records *) writer->block;
    if (writer->used && (head->segment != segment || writer->used + size > writer->room ||
                         (writer->weights_used && writer->weights_used + weights > WEIGHTS_SIZE)))
        trace_writer_flush(writer);
    if (writer->failed)
        return writer->failed;
    if (!make_room(&writer->block, &writer->room, (writer->used ? writer->used : sizeof *head) + size, BLOCK_SIZE) ||
        (weights && !make_room(&writer->weights, &writer->weights_room,
                               (writer->weights_used ? writer->weights_used : sizeof(struct trace_weights)) + weights,
                               WEIGHTS_SIZE)))
        return writer->failed = -ENOMEM;
    if (!writer->used) {
        *(struct trace_records *) writer->block = (struct trace_records){.segment = segment};
        writer->used = sizeof *head;
    }
    uint8_t *to = writer->block + writer->used;
    memcpy(to, &stored, sizeof stored);
    memcpy(to + sizeof stored, ids, stored.bytes);
    memset(to + sizeof stored + stored.bytes, 0, size - sizeof stored - stored.bytes);
    writer->used += size;
    if (weights)
        add_weights(writer, segment, mt_record_weights(record, ids), weights);
    trace_count(&writer->tally, record);
    ((struct trace_records *) writer->block)->count++;
    return 0;
}

int trace_writer_stats(struct trace_writer *writer, const struct trace_stats *stats)
{
    trace_writer_flush(writer);
    return put_block(writer, TRACE_STATS, stats, sizeof *stats);
}

int trace_writer_failed(const struct trace_writer *writer)
{
    return writer->failed;
}

struct trace_tally trace_writer_dropped(const struct trace_writer *writer, uint32_t segment)
{
    return writer->dropped_segment == segment ? writer->dropped : (struct trace_tally){0};
}

int trace_writer_close(struct trace_writer *writer, struct mt_error *error)
{
    trace_writer_flush(writer);
    put_block(writer, TRACE_END, "", 0);
    if (close(writer->fd) != 0 && !writer->failed)
        writer->failed = -errno;
    int failed = writer->failed;
    if (failed)
        snprintf(error->text, sizeof error->text, "%.150s: not complete: %s", writer->path, strerror(-failed));
    ZSTD_freeCCtx(writer->zstd);
    free(writer->packed);
    free(writer->block);
    free(writer->weights);
    free(writer);
    return failed;
}
