/* SPDX-License-Identifier: Apache-2.0 */
/* The trace file: what was written is read again, and what was damaged is never taken for something else. */
#include "../../tools/trace/reader.h"
#include "../../tools/trace/writer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define SEGMENTS 3u
#define SITES 4u

static char path[64];

static void enter(void)
{
    strcpy(path, access("/dev/shm", W_OK) == 0 ? "/dev/shm/trace-test-XXXXXX" : "/tmp/trace-test-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
}

static void leave(void)
{
    unlink(path);
}

TestSuite(trace, .init = enter, .fini = leave, .timeout = 30);

/* A trace in words. What a reader finds and what a writer was given must be the same words. */
struct words {
    char *text;
    size_t size;
    FILE *file;
    unsigned records;
};

static void words_begin(struct words *words)
{
    *words = (struct words){0};
    words->file = open_memstream(&words->text, &words->size);
    cr_assert(words->file);
}

static void say_segment(struct words *words, const struct trace_segment *s)
{
    fprintf(words->file, "segment %u pid %d device %d created %llu %s %s %s %s\n", s->number, s->pid, s->device,
            (unsigned long long) s->created_ns, s->name, s->session, s->device_name, s->command);
}

static void say_site(struct words *words, const struct mt_site *s)
{
    fprintf(words->file, "site %s %s layer %d flags %u stream %u experts %u k %u dtype %u space %u\n", s->kernel,
            s->recipe, s->layer, s->flags, s->stream, s->experts, s->k, s->dtype, s->id_space);
}

static void say_stats(struct words *words, const struct trace_stats *s)
{
    fprintf(words->file, "stats %u end %u: %llu %llu %llu %llu %llu %llu %llu\n", s->segment, s->end,
            (unsigned long long) s->records, (unsigned long long) s->rows, (unsigned long long) s->lost_full,
            (unsigned long long) s->lost_too_big, (unsigned long long) s->lost_torn,
            (unsigned long long) s->not_captured, (unsigned long long) s->lost_unwritten);
}

static int say_record(uint32_t segment, const struct mt_record *r, const void *ids, void *user)
{
    struct words *words = user;
    fprintf(words->file, "record of %u seq %llu time %llu step %llu lost %llu site %u rows %u k %u width %u:", segment,
            (unsigned long long) r->seq, (unsigned long long) r->time_ns, (unsigned long long) r->step,
            (unsigned long long) r->lost, r->site, r->rows, r->k, r->width);
    for (uint32_t i = 0; i < r->rows * r->k; i++)
        fprintf(words->file, " %x", (unsigned) mt_decode_id(ids, r->width, i));
    const uint8_t *weights = mt_record_weights(r, ids);
    if (weights)
        fprintf(words->file, " weights %u of %u bytes:", r->weights, r->bytes);
    for (uint32_t i = 0; weights && i < r->rows * r->k * mt_weight_size(r->weights); i++)
        fprintf(words->file, " %x", weights[i]);
    fputc('\n', words->file);
    words->records++;
    return 0;
}

static struct trace_segment segment_of(uint32_t number)
{
    struct trace_segment s = {.number = number, .pid = 100 + (int) number, .device = (int) number % 2};
    s.created_ns = 5000000000u + number;
    snprintf(s.name, sizeof s.name, "moetap.s.%u.0", number);
    snprintf(s.session, sizeof s.session, "s");
    snprintf(s.device_name, sizeof s.device_name, "device %u", number);
    snprintf(s.command, sizeof s.command, "engine");
    return s;
}

static struct mt_site site_of(uint32_t segment, uint32_t i, bool at_end)
{
    struct mt_site site = {.layer = at_end ? (int32_t) i : MT_LAYER_UNKNOWN,
                           .flags = at_end && i == 1 ? MT_SITE_RETRACTED : 0,
                           .stream = i % 2,
                           .experts = 8 << i,
                           .k = i + 1,
                           .dtype = MT_DTYPE_I64,
                           .id_space = 1};
    snprintf(site.kernel, sizeof site.kernel, "router<%u, %u>", segment, i);
    snprintf(site.recipe, sizeof site.recipe, "recipe%u", i);
    return site;
}

static void write_sites(struct trace_writer *writer, uint32_t segment, uint32_t count, bool at_end)
{
    struct mt_site sites[SITES];
    for (uint32_t i = 0; i < count; i++)
        sites[i] = site_of(segment, i, at_end);
    cr_assert_eq(trace_writer_sites(writer, segment, sites, count), 0);
}

/* Ids come from a generator: zstd cannot shrink them much. */
static uint8_t *make_record(struct mt_record *r, uint64_t n, uint32_t rows, uint32_t k, uint32_t width,
                            uint32_t weights)
{
    *r = (struct mt_record){.commit = 1,
                            .seq = n,
                            .time_ns = 1000 + n,
                            .step = n / SITES,
                            .lost = n / 10,
                            .site = (uint32_t) n % SITES,
                            .rows = rows,
                            .bytes = (uint32_t) mt_payload_size((uint64_t) rows * k, width, weights),
                            .k = (uint16_t) k,
                            .width = (uint8_t) width,
                            .weights = (uint8_t) weights};
    uint8_t *ids = malloc(r->bytes + 1u);
    cr_assert(ids);
    for (uint32_t i = 0; i < r->bytes; i++)
        ids[i] = (uint8_t) (mt_commit_word(n << 32, i) >> 8);
    return ids;
}

static struct trace_writer *open_writer(bool force)
{
    struct trace_writer *writer;
    struct mt_error error = {""};
    cr_assert_eq(trace_writer_open(path, force, &writer, &error), 0, "%s", error.text);
    return writer;
}

struct shape {
    uint32_t rows, k, width, weights;
};

/* The records of all segments in turn: `per_block` of one segment follow each other. Returns what was written. */
static struct words write_trace(const struct shape *shapes, unsigned count, unsigned per_block)
{
    struct words all, records;
    words_begin(&all);
    words_begin(&records);
    struct trace_writer *writer = open_writer(false);
    struct trace_stats stats[SEGMENTS] = {{0}};
    for (uint32_t s = 0; s < SEGMENTS; s++) {
        struct trace_segment info = segment_of(s);
        cr_assert_eq(trace_writer_segment(writer, &info), 0);
        write_sites(writer, s, SITES, false);
    }
    for (unsigned i = 0; i < count; i++) {
        const uint32_t s = i / per_block % SEGMENTS;
        struct mt_record record;
        uint8_t *ids = make_record(&record, i, shapes[i].rows, shapes[i].k, shapes[i].width, shapes[i].weights);
        cr_assert_eq(trace_writer_record(writer, s, &record, ids), 0);
        say_record(s, &record, ids, &records);
        free(ids);
        stats[s].records++;
        stats[s].rows += record.rows;
    }
    for (uint32_t s = 0; s < SEGMENTS; s++) {
        stats[s].segment = s;
        stats[s].end = MT_END_DIED;
        stats[s].lost_full = 10 + s;
        stats[s].lost_too_big = 20 + s;
        stats[s].lost_torn = 30 + s;
        stats[s].not_captured = 40 + s;
        write_sites(writer, s, SITES, true);
        cr_assert_eq(trace_writer_stats(writer, &stats[s]), 0);
        struct trace_segment info = segment_of(s);
        say_segment(&all, &info);
        for (uint32_t i = 0; i < SITES; i++) {
            struct mt_site site = site_of(s, i, true);
            say_site(&all, &site);
        }
        say_stats(&all, &stats[s]);
    }
    struct mt_error error;
    cr_assert_eq(trace_writer_close(writer, &error), 0);
    fclose(records.file);
    fputs("complete\n", all.file);
    fputs(records.text, all.file);
    fclose(all.file);
    free(records.text);
    all.records = count;
    return all;
}

/* What the file says. A failure's message is one line. */
static int read_trace(struct words *words, struct mt_error *error)
{
    words_begin(words);
    error->text[0] = '\0';
    struct trace_reader *reader;
    int result = trace_reader_open(path, &reader, error);
    if (result == 0) {
        const struct trace *trace = trace_reader_trace(reader);
        for (uint32_t s = 0; s < trace->segment_count; s++) {
            const struct trace_view *view = &trace->segments[s];
            say_segment(words, &view->info);
            for (uint32_t i = 0; i < view->site_count; i++)
                say_site(words, &view->sites[i]);
            if (view->has_stats)
                say_stats(words, &view->stats);
        }
        fputs(trace->complete ? "complete\n" : "cut off\n", words->file);
        result = trace_reader_records(reader, say_record, words, error);
        trace_reader_close(reader);
    }
    fclose(words->file);
    if (result)
        cr_assert(error->text[0] && !strchr(error->text, '\n'), "no line for %s", strerror(-result));
    return result;
}

static void expect_same(const struct words *wrote)
{
    struct words found;
    struct mt_error error;
    cr_assert_eq(read_trace(&found, &error), 0, "%s", error.text);
    cr_assert_str_eq(found.text, wrote->text);
    free(found.text);
}

Test(trace, round_trip)
{
    static const uint32_t ks[] = {1, 2, 3, 8, 63, 64, 1000, 65535}, rows[] = {0, 1, 2, 31, 100};
    struct shape shapes[2 * 8 * 5];
    unsigned n = 0;
    for (unsigned w = 1; w <= 2; w++)
        for (unsigned k = 0; k < 8; k++)
            for (unsigned r = 0; r < 5; r++, n++)
                shapes[n] = (struct shape){ks[k] > 1000 && rows[r] > 2 ? 2 : rows[r], ks[k], w, n % 4};
    /* Blocks of one record, of several, and all of a segment in one. */
    static const unsigned per_block[] = {1, 4, 80};
    for (unsigned i = 0; i < 3; i++) {
        struct words wrote = write_trace(shapes, n, per_block[i]);
        expect_same(&wrote);
        free(wrote.text);
    }
}

/* A record that is larger than a block, between small ones. */
Test(trace, larger_than_a_block)
{
    static const struct shape shapes[] = {{3, 2, 1, 1}, {300000, 4, 2},    {3, 2, 1, 2}, {150000, 8, 1},
                                          {900, 2, 2},  {300000, 4, 2, 1}, {3, 2, 1, 3}};
    struct words wrote = write_trace(shapes, 7, 7);
    expect_same(&wrote);
    free(wrote.text);
}

/* No segment, no site, no record. */
Test(trace, nothing_in_it)
{
    struct words found;
    struct mt_error error;
    cr_assert_eq(trace_writer_close(open_writer(false), &error), 0);
    cr_assert_eq(read_trace(&found, &error), 0, "%s", error.text);
    cr_assert_str_eq(found.text, "complete\n");
    free(found.text);
    struct trace_writer *writer = open_writer(false);
    struct trace_segment info = segment_of(0);
    cr_assert_eq(trace_writer_segment(writer, &info), 0);
    write_sites(writer, 0, 0, true);
    cr_assert_eq(trace_writer_close(writer, &error), 0);
    cr_assert_eq(read_trace(&found, &error), 0, "%s", error.text);
    cr_assert(strstr(found.text, "segment 0") && !strstr(found.text, "site ") && strstr(found.text, "complete"));
    free(found.text);
}

/* Weights of a type that is not known here: those that come later are refused, the site holds none. */
Test(trace, unknown_type_of_weights)
{
    struct mt_error error;
    struct trace_writer *writer = open_writer(false);
    struct trace_segment info = segment_of(0);
    struct mt_site site = site_of(0, 0, true);
    site.weights = 64;
    cr_assert(trace_writer_segment(writer, &info) == 0 && trace_writer_sites(writer, 0, &site, 1) == 0);
    cr_assert_eq(trace_writer_close(writer, &error), 0);
    struct trace_reader *reader;
    cr_assert_eq(trace_reader_open(path, &reader, &error), 0, "%s", error.text);
    cr_assert_eq(trace_reader_trace(reader)->segments[0].sites[0].weights, MT_WEIGHT_NONE);
    trace_reader_close(reader);
}

static int stop_at_third(uint32_t segment, const struct mt_record *record, const void *ids, void *user)
{
    return ++*(int *) user == 3 ? 77 : 0;
}

/* `take` may stop, and the records can be read again from the first. */
Test(trace, stop_and_again)
{
    static const struct shape shapes[] = {{3, 2, 1}, {4, 2, 1}, {5, 2, 1}, {6, 2, 1}};
    struct words wrote = write_trace(shapes, 4, 2);
    struct trace_reader *reader;
    struct mt_error error;
    cr_assert_eq(trace_reader_open(path, &reader, &error), 0);
    for (int turn = 0; turn < 2; turn++) {
        int seen = 0;
        cr_assert_eq(trace_reader_records(reader, stop_at_third, &seen, &error), 77);
        cr_assert_eq(seen, 3);
    }
    trace_reader_close(reader);
    free(wrote.text);
}

struct bytes {
    uint8_t *at;
    size_t size;
};

static struct bytes load(void)
{
    struct bytes bytes;
    struct stat status;
    int fd = open(path, O_RDONLY);
    cr_assert(fd >= 0 && fstat(fd, &status) == 0);
    bytes.size = (size_t) status.st_size;
    bytes.at = malloc(bytes.size + 1);
    cr_assert_eq(read(fd, bytes.at, bytes.size), (ssize_t) bytes.size);
    close(fd);
    return bytes;
}

static void store(const void *at, size_t size)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    cr_assert(fd >= 0 && write(fd, at, size) == (ssize_t) size);
    close(fd);
}

static const struct shape small[] = {{2, 2, 1}, {1, 3, 2, 1}, {3, 1, 1, 2}, {0, 2, 1, 3}, {1, 1, 2}, {2, 4, 1}};
#define SMALL (sizeof small / sizeof *small)

/* How many records the whole blocks within `size` bytes hold, as the format says. */
static unsigned records_within(const struct bytes *file, size_t size, unsigned per_block)
{
    unsigned records = 0;
    size_t at = sizeof(struct trace_header);
    while (at + sizeof(struct trace_block) <= size) {
        struct trace_block block;
        memcpy(&block, file->at + at, sizeof block);
        at += sizeof block + block.packed_size;
        if (block.type == TRACE_RECORDS && at <= size)
            records += per_block;
    }
    return records;
}

/* One of format 1.0 skips WEIGHTS, and takes a record for damage if its payload is not the ids alone. */
Test(trace, older_readers_find_the_ids)
{
    struct words wrote = write_trace(small, SMALL, 2);
    struct bytes file = load();
    unsigned records = 0, weights = 0;
    size_t at = sizeof(struct trace_header);
    while (at < file.size) {
        struct trace_block block;
        memcpy(&block, file.at + at, sizeof block);
        at += sizeof block;
        uint8_t *raw = malloc(block.raw_size + 1u);
        cr_assert_eq(ZSTD_decompress(raw, block.raw_size, file.at + at, block.packed_size), block.raw_size);
        size_t in = block.type == TRACE_RECORDS ? sizeof(struct trace_records) : block.raw_size;
        while (in < block.raw_size) {
            struct mt_record record;
            memcpy(&record, raw + in, sizeof record);
            cr_assert_eq(record.bytes, record.rows * record.k * record.width);
            in += mt_record_size(record.bytes);
            records++;
        }
        weights += block.type == TRACE_WEIGHTS;
        free(raw);
        at += block.packed_size;
    }
    cr_assert_eq(records, SMALL);
    cr_assert_eq(weights, 2);
    free(file.at);
    free(wrote.text);
}

/* Cut anywhere: its whole blocks are read, nothing else, and it says that it was cut off. */
Test(trace, cut_at_every_byte)
{
    struct words wrote = write_trace(small, SMALL, 2);
    struct bytes file = load();
    const char *all_records = strstr(wrote.text, "complete\n") + strlen("complete\n");
    for (size_t size = 0; size < file.size; size++) {
        store(file.at, size);
        struct words found;
        struct mt_error error;
        int result = read_trace(&found, &error);
        if (size < sizeof(struct trace_header)) {
            cr_assert_eq(result, -EINVAL, "%zu bytes", size);
        } else {
            cr_assert_eq(result, 0, "%zu bytes: %s", size, error.text);
            const char *records = strstr(found.text, "cut off\n");
            cr_assert(records, "%zu of %zu bytes pass for a whole trace", size, file.size);
            records += strlen("cut off\n");
            cr_assert_eq(found.records, records_within(&file, size, 2), "%zu bytes: %u records", size, found.records);
            cr_assert(strncmp(records, all_records, strlen(records)) == 0, "%zu bytes: other records", size);
        }
        free(found.text);
    }
    free(file.at);
    free(wrote.text);
}

static void expect_same_or_error(const struct bytes *file, size_t at, const struct words *wrote)
{
    struct words found;
    struct mt_error error;
    store(file->at, file->size);
    if (read_trace(&found, &error) == 0)
        cr_assert_str_eq(found.text, wrote->text, "byte %zu changed, and what was read too", at);
    free(found.text);
}

/* Any byte wrong: an error, or it did not matter; never other data, a crash or a hang. */
Test(trace, every_byte_flipped)
{
    struct words wrote = write_trace(small, SMALL, 2);
    struct bytes file = load();
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    for (size_t at = 0; at < file.size; at++) {
        for (size_t i = 0; i < sizeof masks; i++) {
            file.at[at] ^= masks[i];
            expect_same_or_error(&file, at, &wrote);
            file.at[at] ^= masks[i];
        }
    }
    free(file.at);
    free(wrote.text);
}

/* No other type or size of a block passes: an unknown type is skipped, END hides all that follows. */
Test(trace, block_heads)
{
    struct words wrote = write_trace(small, SMALL, 3);
    struct bytes file = load();
    for (size_t head = sizeof(struct trace_header); head < file.size;) {
        struct trace_block block;
        memcpy(&block, file.at + head, sizeof block);
        for (unsigned type = 0; type < 16; type++) {
            if (type == block.type)
                continue;
            file.at[head + offsetof(struct trace_block, type)] = (uint8_t) type;
            store(file.at, file.size);
            struct words found;
            struct mt_error error;
            cr_assert_eq(read_trace(&found, &error), -EBADMSG, "type %u made %u", block.type, type);
            free(found.text);
        }
        memcpy(file.at + head, &block, sizeof block);
        head += sizeof block + block.packed_size;
    }
    free(file.at);
    free(wrote.text);
}

/* A newer writer may add blocks: they are stepped over. */
Test(trace, unknown_block)
{
    struct words wrote = write_trace(small, SMALL, 3);
    struct bytes file = load();
    const size_t head = sizeof(struct trace_header);
    struct trace_block first, unknown;
    memcpy(&first, file.at + head, sizeof first);
    const size_t length = sizeof first + first.packed_size;
    uint8_t *longer = malloc(file.size + length);
    memcpy(longer, file.at, head);
    memcpy(longer + head, file.at + head, length);
    memcpy(longer + head + length, file.at + head, file.size - head);
    unknown = first;
    unknown.type = 99;
    unknown.check = trace_check(&unknown);
    memcpy(longer + head, &unknown, sizeof unknown);
    store(longer, file.size + length);
    expect_same(&wrote);
    free(longer);
    free(file.at);
    free(wrote.text);
}

/* Every checksum is right, and what it says cannot be: a broken writer, or a malicious one. */
Test(trace, impossible_contents)
{
    enum { SITE, WIDTH, NO_K, BYTES, ROWS, WEIGHTS, RECORDS_OF, SITES_OF, STATS_OF, NUMBER, CASES };
    for (int what = 0; what < CASES; what++) {
        struct trace_writer *writer = open_writer(false);
        struct trace_segment info = segment_of(what == NUMBER ? 1 : 0);
        struct mt_site site = site_of(0, 0, true);
        struct mt_record record;
        struct trace_stats stats = {.segment = what == STATS_OF};
        uint8_t *ids = make_record(&record, 0, 3, 2, 2, 0);
        record.site = what == SITE ? 1 : 0;
        record.width = what == WIDTH ? 3 : 2;
        record.k = what == NO_K ? 0 : 2;
        record.bytes -= what == BYTES ? 1 : 0;
        record.weights = what == WEIGHTS ? 4 : 0;    /* no such type */
        record.rows = what == ROWS ? 0x40000003 : 3; /* as many bytes, modulo 2^32 */
        trace_writer_segment(writer, &info);
        trace_writer_sites(writer, what == SITES_OF, &site, 1);
        trace_writer_record(writer, what == RECORDS_OF, &record, ids);
        trace_writer_stats(writer, &stats);
        struct mt_error error;
        cr_assert_eq(trace_writer_close(writer, &error), 0);
        struct words found;
        cr_assert_eq(read_trace(&found, &error), -EBADMSG, "case %d passed", what);
        cr_assert_eq(found.records, 0);
        free(found.text);
        free(ids);
    }
}

static void expect_refused(const void *bytes, size_t size, int wanted, const char *says)
{
    struct words found;
    struct mt_error error;
    store(bytes, size);
    cr_assert_eq(read_trace(&found, &error), wanted, "%s", says);
    cr_assert(strstr(error.text, says) && strstr(error.text, path), "%s", error.text);
    free(found.text);
}

Test(trace, foreign_files)
{
    struct trace_header header = {.magic = TRACE_MAGIC, .major = TRACE_MAJOR, .endian = MT_ENDIAN};
    expect_refused("", 0, -EINVAL, "not a moetap trace");
    expect_refused("MOETRACE", 8, -EINVAL, "not a moetap trace");
    expect_refused("#!/bin/sh\necho this is longer than a header\n", 44, -EINVAL, "not a moetap trace");
    header.major++;
    expect_refused(&header, sizeof header, -EPROTO, "trace format 2.0, this moetap reads 1.x");
    header.major--;
    header.endian = __builtin_bswap32(MT_ENDIAN);
    expect_refused(&header, sizeof header, -EPROTO, "");
    header.endian = MT_ENDIAN;
    header.minor = 7; /* what was added later does not matter */
    store(&header, sizeof header);
    struct words found;
    struct mt_error error;
    cr_assert_eq(read_trace(&found, &error), 0, "%s", error.text);
    free(found.text);
    unlink(path);
    cr_assert_eq(read_trace(&found, &error), -ENOENT);
    free(found.text);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_assert_eq(read_trace(&found, &error), -EINVAL);
    free(found.text);
    rmdir(path);
}

/* Only a trace, or an empty file, is overwritten unasked; all of it. */
Test(trace, overwriting)
{
    static const char text[] = "my only copy of the thesis";
    struct words found;
    struct mt_error error = {""};
    struct trace_writer *writer;
    store(text, sizeof text);
    cr_assert_eq(trace_writer_open(path, false, &writer, &error), -EEXIST);
    cr_assert(strstr(error.text, "--force"), "%s", error.text);
    struct bytes still = load();
    cr_assert(still.size == sizeof text && memcmp(still.at, text, sizeof text) == 0);
    free(still.at);
    cr_assert_eq(trace_writer_close(open_writer(true), &error), 0);
    struct words wrote = write_trace(small, SMALL, 2);
    cr_assert_eq(trace_writer_close(open_writer(false), &error), 0);
    cr_assert_eq(read_trace(&found, &error), 0);
    cr_assert_str_eq(found.text, "complete\n", "the longer trace before it shows through");
    free(found.text);
    free(wrote.text);
    cr_assert_eq(trace_writer_open("/no/such/folder/t", false, &writer, &error), -ENOENT);
}

/* Nothing fits: every call says so from the first on, and the end says it again. */
Test(trace, full_device)
{
    struct mt_error error = {""};
    struct trace_writer *writer;
    cr_assert_eq(trace_writer_open("/dev/full", false, &writer, &error), 0, "%s", error.text);
    struct trace_segment info = segment_of(0);
    struct mt_site site = site_of(0, 0, true);
    struct mt_record record;
    uint8_t *ids = make_record(&record, 0, 3, 2, 1, 0);
    cr_assert_eq(trace_writer_segment(writer, &info), -ENOSPC);
    cr_assert_eq(trace_writer_sites(writer, 0, &site, 1), -ENOSPC);
    cr_assert_eq(trace_writer_record(writer, 0, &record, ids), -ENOSPC);
    cr_assert_eq(trace_writer_failed(writer), -ENOSPC);
    cr_assert_eq(trace_writer_close(writer, &error), -ENOSPC);
    cr_assert(strstr(error.text, "/dev/full") && strstr(error.text, "not complete"), "%s", error.text);
    free(ids);
}

/* The disk fills up on the way: written records are read again, all others were refused or dropped, none is missing. */
Test(trace, full_on_the_way)
{
    struct rlimit limit = {1 << 20, 1 << 20};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, SIG_IGN);
    struct mt_error error = {""};
    struct trace_writer *writer = open_writer(false);
    for (uint32_t s = 0; s < 2; s++) {
        struct trace_segment info = segment_of(s);
        cr_assert_eq(trace_writer_segment(writer, &info), 0);
        write_sites(writer, s, SITES, true);
    }
    uint64_t refused = 0, rows_refused = 0, rows_all = 0;
    const unsigned count = 400;
    for (unsigned i = 0; i < count; i++) {
        struct mt_record record;
        uint8_t *ids = make_record(&record, i, 1000 + i, 8, 1, 0);
        rows_all += record.rows;
        if (trace_writer_record(writer, i >= 50, &record, ids) != 0) {
            refused++;
            rows_refused += record.rows;
        }
        free(ids);
    }
    cr_assert_neq(trace_writer_flush(writer), 0);
    const struct trace_tally last = trace_writer_dropped(writer, 1);
    const uint64_t dropped = last.records, rows_dropped = last.rows;
    cr_assert_eq(last.context, 0);
    cr_assert_eq(trace_writer_dropped(writer, 0).records, 0, "that block was written");
    cr_assert_eq(trace_writer_close(writer, &error), -EFBIG);
    struct words found;
    cr_assert_eq(read_trace(&found, &error), 0, "%s", error.text);
    cr_assert(strstr(found.text, "cut off"));
    cr_assert(found.records >= 50 && refused && dropped, "%u, %lu, %lu", found.records, refused, dropped);
    cr_assert_eq(found.records + refused + dropped, count, "%u read, %lu refused, %lu dropped", found.records, refused,
                 dropped);
    uint64_t rows_found = 0;
    for (unsigned i = 0; i < found.records; i++)
        rows_found += 1000 + i;
    cr_assert_eq(rows_found + rows_refused + rows_dropped, rows_all);
    free(found.text);
}

/* No reader would take a block of more than 1 GiB: such a record is refused before its ids are looked at. */
Test(trace, record_too_large_for_a_block)
{
    struct mt_error error = {""};
    struct trace_writer *writer = open_writer(false);
    struct trace_segment info = segment_of(0);
    cr_assert_eq(trace_writer_segment(writer, &info), 0);
    write_sites(writer, 0, SITES, true);
    struct mt_record record = {.rows = 1u << 28, .k = 4, .width = 1, .bytes = 1u << 30};
    cr_assert_eq(trace_writer_record(writer, 0, &record, NULL), -EFBIG);
    uint8_t *ids = make_record(&record, 0, 3, 2, 1, 0);
    cr_assert_eq(trace_writer_record(writer, 0, &record, ids), 0, "what fits is still written");
    free(ids);
    cr_assert_eq(trace_writer_close(writer, &error), 0);
    struct words found;
    cr_assert_eq(read_trace(&found, &error), 0, "%s", error.text);
    cr_assert_eq(found.records, 1);
    free(found.text);
}
