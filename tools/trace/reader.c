/* SPDX-License-Identifier: Apache-2.0 */
#include "reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct trace_reader {
    FILE *file;
    const char *path;
    struct trace trace;
    enum trace_ids ids;
    uint8_t *packed, *raw;
    size_t packed_room, raw_room;
    uint8_t
        *weights; /* the latest WEIGHTS block, for the RECORDS behind it: [weights_at, weights_size) is not used up */
    size_t weights_room, weights_at, weights_size;
    uint8_t *whole; /* a payload with its weights */
    size_t whole_room;
    long offset; /* of the current block, for messages */
};

__attribute__((format(printf, 3, 4))) static int damaged(const struct trace_reader *reader, struct mt_error *error,
                                                         const char *format, ...)
{
    char what[80];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(error->text, sizeof error->text, "%.80s: damaged trace: %s in the block at byte %ld", reader->path, what,
             reader->offset);
    return -EBADMSG;
}

static bool make_room(uint8_t **buffer, size_t *room, size_t size)
{
    if (size <= *room && *buffer)
        return true;
    free(*buffer);
    *buffer = malloc(size ? size : 1);
    *room = *buffer ? size : 0;
    return *buffer != NULL;
}

/* 1 a block, 0 the end of what is whole, or -errno. Payloads of RECORDS and WEIGHTS are only unpacked if wanted. */
static int next_block(struct trace_reader *reader, bool want_records, struct trace_block *block, struct mt_error *error)
{
    reader->offset = ftell(reader->file);
    size_t n = fread(block, 1, sizeof *block, reader->file);
    if (n < sizeof *block)
        return 0; /* END was seen, or the file was cut off */
    if (block->check != trace_check(block))
        return damaged(reader, error, "no block begins");
    if (block->raw_size > TRACE_BLOCK_MAX || block->packed_size > ZSTD_compressBound(TRACE_BLOCK_MAX))
        return damaged(reader, error, "an impossible size");
    if ((block->type == TRACE_RECORDS || block->type == TRACE_WEIGHTS) && !want_records) {
        if (fseek(reader->file, block->packed_size, SEEK_CUR) != 0)
            return 0;
        return 1;
    }
    /* Not more than the file can hold: a damaged size must not cost a gigabyte. */
    long here = ftell(reader->file);
    if (here < 0 || fseek(reader->file, 0, SEEK_END) != 0)
        return damaged(reader, error, "a file that cannot be positioned");
    long end = ftell(reader->file);
    if (fseek(reader->file, here, SEEK_SET) != 0 || end - here < (long) block->packed_size)
        return 0;
    if (!make_room(&reader->packed, &reader->packed_room, block->packed_size))
        return -ENOMEM;
    if (fread(reader->packed, 1, block->packed_size, reader->file) != block->packed_size)
        return 0;
    if (ZSTD_getFrameContentSize(reader->packed, block->packed_size) != block->raw_size)
        return damaged(reader, error, "sizes that disagree");
    if (!make_room(&reader->raw, &reader->raw_room, block->raw_size))
        return -ENOMEM;
    size_t raw = ZSTD_decompress(reader->raw, reader->raw_room, reader->packed, block->packed_size);
    if (ZSTD_isError(raw) || raw != block->raw_size)
        return damaged(reader, error, "%s", ZSTD_isError(raw) ? ZSTD_getErrorName(raw) : "a short payload");
    return 1;
}

static int take_segment(struct trace_reader *reader, const struct trace_block *block, struct mt_error *error)
{
    struct trace *trace = &reader->trace;
    struct trace_segment info;
    if (block->raw_size < sizeof info)
        return damaged(reader, error, "a short segment");
    memcpy(&info, reader->raw, sizeof info);
    if (info.number != trace->segment_count || trace->segment_count == TRACE_SEGMENTS_MAX)
        return damaged(reader, error, "a segment out of order");
    struct trace_view *more = realloc(trace->segments, (trace->segment_count + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    trace->segments = more;
    info.name[sizeof info.name - 1] = info.session[sizeof info.session - 1] = '\0';
    info.device_name[sizeof info.device_name - 1] = info.command[sizeof info.command - 1] = '\0';
    trace->segments[trace->segment_count++] = (struct trace_view){.info = info, .main = TRACE_NO_SITE};
    return 0;
}

static int take_sites(struct trace_reader *reader, const struct trace_block *block, struct mt_error *error)
{
    struct trace_sites head;
    if (block->raw_size < sizeof head)
        return damaged(reader, error, "a short site table");
    memcpy(&head, reader->raw, sizeof head);
    if (head.segment >= reader->trace.segment_count ||
        block->raw_size != sizeof head + (uint64_t) head.count * sizeof(struct mt_site))
        return damaged(reader, error, "a site table of the wrong size");
    struct trace_view *view = &reader->trace.segments[head.segment];
    struct mt_site *sites = malloc(head.count ? head.count * sizeof *sites : 1);
    if (!sites)
        return -ENOMEM;
    memcpy(sites, reader->raw + sizeof head, head.count * sizeof *sites);
    for (uint32_t i = 0; i < head.count; i++) {
        sites[i].kernel[sizeof sites[i].kernel - 1] = sites[i].recipe[sizeof sites[i].recipe - 1] = '\0';
        if (!mt_weight_size(sites[i].weights)) /* of a type that is not known here */
            sites[i].weights = MT_WEIGHT_NONE;
    }
    free(view->sites);
    view->sites = sites;
    view->site_count = head.count;
    return 0;
}

static int take_stats(struct trace_reader *reader, const struct trace_block *block, struct mt_error *error)
{
    struct trace_stats stats;
    if (block->raw_size < sizeof stats)
        return damaged(reader, error, "short statistics");
    memcpy(&stats, reader->raw, sizeof stats);
    if (stats.segment >= reader->trace.segment_count)
        return damaged(reader, error, "statistics of no segment");
    reader->trace.segments[stats.segment].stats = stats;
    reader->trace.segments[stats.segment].has_stats = true;
    return 0;
}

int trace_reader_open(const char *path, struct trace_reader **out, struct mt_error *error)
{
    *out = NULL;
    struct trace_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        snprintf(error->text, sizeof error->text, "out of memory");
        return -ENOMEM;
    }
    reader->path = path;
    reader->file = fopen(path, "rbe");
    struct trace_header header;
    int result = 0;
    if (!reader->file) {
        result = -errno;
        snprintf(error->text, sizeof error->text, "%.150s: cannot read it: %s", path, strerror(errno));
    } else if (fread(&header, 1, sizeof header, reader->file) != sizeof header ||
               memcmp(header.magic, TRACE_MAGIC, sizeof header.magic) != 0) {
        result = -EINVAL;
        snprintf(error->text, sizeof error->text, "%.150s: not a moetap trace", path);
    } else if (header.major != TRACE_MAJOR || header.endian != MT_ENDIAN) {
        result = -EPROTO;
        snprintf(error->text, sizeof error->text, "%.150s: trace format %u.%u, this moetap reads %u.x", path,
                 header.major, header.minor, TRACE_MAJOR);
    }
    struct trace_block block;
    int more = 0;
    while (!result && !reader->trace.complete && (more = next_block(reader, false, &block, error)) == 1) {
        switch (block.type) {
        case TRACE_SEGMENT:
            result = take_segment(reader, &block, error);
            break;
        case TRACE_SITES:
            result = take_sites(reader, &block, error);
            break;
        case TRACE_STATS:
            result = take_stats(reader, &block, error);
            break;
        case TRACE_END:
            reader->trace.complete = true;
            break;
        default:
            break;
        }
    }
    if (!result && more < 0)
        result = more;
    if (result == -ENOMEM)
        snprintf(error->text, sizeof error->text, "%.150s: out of memory", path);
    if (result) {
        trace_reader_close(reader);
        return result;
    }
    *out = reader;
    return 0;
}

const struct trace *trace_reader_trace(const struct trace_reader *reader)
{
    return &reader->trace;
}

void trace_reader_close(struct trace_reader *reader)
{
    if (reader->file)
        fclose(reader->file);
    for (uint32_t i = 0; i < reader->trace.segment_count; i++)
        free(reader->trace.segments[i].sites);
    free(reader->trace.segments);
    free(reader->packed);
    free(reader->raw);
    free(reader->weights);
    free(reader->whole);
    free(reader);
}

bool trace_ids_parse(const char *text, enum trace_ids *ids)
{
    *ids = strcmp(text, "physical") == 0 ? TRACE_IDS_PHYSICAL : TRACE_IDS_LOGICAL;
    return *ids == TRACE_IDS_PHYSICAL || strcmp(text, "logical") == 0;
}

/* What a map reads are logical ids, even if the router's recipe does not say so. */
static enum trace_ids space_of(const struct trace_view *view, uint32_t index)
{
    const struct mt_site *site = &view->sites[index];
    if (site->id_space)
        return site->id_space == 1 ? TRACE_IDS_LOGICAL : TRACE_IDS_PHYSICAL;
    for (uint32_t i = 0; i < view->site_count; i++) {
        if (view->sites[i].mapped_from == index + 1)
            return TRACE_IDS_LOGICAL;
    }
    return TRACE_IDS_ALL;
}

bool trace_reader_chosen(const struct trace_reader *reader, uint32_t segment, uint32_t index)
{
    const struct trace_view *view = &reader->trace.segments[segment];
    const struct mt_site *site = &view->sites[index];
    if (reader->ids == TRACE_IDS_ALL || site->kind != MT_SITE_ROUTER)
        return true;
    if (reader->ids == TRACE_IDS_OWN)
        return !site->mapped_from;
    const enum trace_ids space = space_of(view, index);
    return space == TRACE_IDS_ALL || space == reader->ids;
}

int trace_reader_choose(struct trace_reader *reader, enum trace_ids ids, struct mt_error *error)
{
    bool any = false;
    reader->ids = ids;
    for (uint32_t i = 0; i < reader->trace.segment_count; i++) {
        for (uint32_t j = 0; j < reader->trace.segments[i].site_count; j++)
            any |= reader->trace.segments[i].sites[j].kind == MT_SITE_ROUTER && trace_reader_chosen(reader, i, j);
    }
    if (any || ids == TRACE_IDS_OWN || ids == TRACE_IDS_ALL)
        return 0;
    snprintf(error->text, sizeof error->text, "%.150s: no %s ids in it: `moetap info` says what its routers wrote",
             reader->path, ids == TRACE_IDS_LOGICAL ? "logical" : "physical");
    return -ENOENT;
}

void trace_reader_set_model(struct trace_reader *reader, uint32_t segment, uint32_t site, uint32_t model)
{
    reader->trace.segments[segment].sites[site].model = model;
}

void trace_reader_set_main(struct trace_reader *reader, uint32_t segment, uint32_t site)
{
    reader->trace.segments[segment].main = site;
}

void trace_reader_set_attends(struct trace_reader *reader, uint32_t segment, uint32_t attends)
{
    reader->trace.segments[segment].attends = attends;
}

static int take_weights(struct trace_reader *reader, const struct trace_block *block, struct mt_error *error)
{
    struct trace_weights head;
    if (block->raw_size < sizeof head)
        return damaged(reader, error, "a short block of weights");
    if (reader->weights_at != reader->weights_size)
        return damaged(reader, error, "weights behind weights");
    /* Kept beside what follows, without a copy. */
    uint8_t *raw = reader->weights;
    size_t room = reader->weights_room;
    reader->weights = reader->raw;
    reader->weights_room = reader->raw_room;
    reader->raw = raw;
    reader->raw_room = room;
    memcpy(&head, reader->weights, sizeof head);
    reader->weights_at = sizeof head;
    reader->weights_size = block->raw_size;
    return head.segment < reader->trace.segment_count ? 0 : damaged(reader, error, "weights of no segment");
}

/* A record as it was in the ring: its weights behind the ids. NULL: they are not there, or no memory. */
static const void *join(struct trace_reader *reader, struct mt_record *record, const uint8_t *ids)
{
    const uint64_t count = (uint64_t) record->rows * record->k, size = count * mt_weight_size(record->weights);
    const uint64_t whole = mt_payload_size(count, record->width, record->weights);
    if (size > reader->weights_size - reader->weights_at || whole > UINT32_MAX ||
        !make_room(&reader->whole, &reader->whole_room, whole))
        return NULL;
    memset(reader->whole, 0, whole - size);
    memcpy(reader->whole, ids, record->bytes);
    if (size)
        memcpy(reader->whole + (whole - size), reader->weights + reader->weights_at, size);
    reader->weights_at += size;
    record->bytes = (uint32_t) whole;
    return reader->whole;
}

static int take_records(struct trace_reader *reader, const struct trace_block *block, trace_take *take, void *user,
                        struct mt_error *error)
{
    struct trace_records head;
    if (block->raw_size < sizeof head)
        return damaged(reader, error, "a short block of records");
    memcpy(&head, reader->raw, sizeof head);
    if (head.segment >= reader->trace.segment_count)
        return damaged(reader, error, "records of no segment");
    const struct trace_view *view = &reader->trace.segments[head.segment];
    size_t at = sizeof head;
    for (uint32_t i = 0; i < head.count; i++) {
        struct mt_record record;
        if (block->raw_size - at < sizeof record)
            return damaged(reader, error, "fewer records than it says");
        memcpy(&record, reader->raw + at, sizeof record);
        const size_t size = mt_record_size(record.bytes);
        const uint8_t weights = record.weights;
        record.weights = MT_WEIGHT_NONE; /* they are elsewhere */
        if (!mt_record_sane(&record) || (weights && (!mt_weight_size(weights) || mt_record_is_context(&record))) ||
            record.site >= view->site_count || size > block->raw_size - at)
            return damaged(reader, error, "an impossible record");
        record.weights = weights;
        const void *ids = reader->raw + at + sizeof record;
        if (weights && !(ids = join(reader, &record, ids)))
            return damaged(reader, error, "a record without its weights");
        int result =
            trace_reader_chosen(reader, head.segment, record.site) ? take(head.segment, &record, ids, user) : 0;
        if (result)
            return result;
        at += size;
    }
    if (reader->weights_at != reader->weights_size)
        return damaged(reader, error, "fewer records than weights");
    return at == block->raw_size ? 0 : damaged(reader, error, "something behind its records");
}

int trace_reader_records(struct trace_reader *reader, trace_take *take, void *user, struct mt_error *error)
{
    struct trace_block block;
    int more, result = 0;
    if (fseek(reader->file, sizeof(struct trace_header), SEEK_SET) != 0)
        return -errno;
    reader->weights_at = reader->weights_size = 0;
    while (!result && (more = next_block(reader, true, &block, error)) == 1 && block.type != TRACE_END) {
        if (block.type == TRACE_WEIGHTS)
            result = take_weights(reader, &block, error);
        else if (block.type == TRACE_RECORDS)
            result = take_records(reader, &block, take, user, error);
    }
    return result ? result : more < 0 ? more : 0;
}
