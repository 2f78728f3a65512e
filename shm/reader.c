/* SPDX-License-Identifier: Apache-2.0 */
/* The read side: what a writer committed, in order; and what is known about the rest. */
#include "attached.h"
#include "check.h"
#include "process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct mt_record *record_at(const mt_reader *reader, uint64_t position)
{
    return (const struct mt_record *) (reader->ring + (position & (reader->facts.ring_size - 1)));
}

static bool committed(const mt_reader *reader, uint64_t position)
{
    return __atomic_load_n(&record_at(reader, position)->commit, __ATOMIC_ACQUIRE) ==
           mt_commit_word(reader->facts.nonce, position);
}

static bool plausible(const mt_reader *reader, const struct mt_record *record)
{
    return mt_record_sane(record) && mt_record_size(record->bytes) <= reader->facts.ring_size / 2 &&
           record->site < mt_site_count(reader);
}

/* What was read before it was there before what is read behind it. */
static void read_in_order(void)
{
#ifndef __SANITIZE_THREAD__ /* which knows no fences */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

/* Nobody writes there unless the writer is broken; then the copy is wrong, and the check behind it says so. */
static void copy_words(uint64_t *to, const uint64_t *from, uint64_t bytes)
{
#ifdef __SANITIZE_THREAD__
    for (uint64_t i = 0; i < bytes / 8; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
#else
    memcpy(to, from, bytes);
#endif
}

static int check_head(const mt_reader *reader, const struct mt_record *head, struct mt_error *error)
{
    if (plausible(reader, head))
        return 0;
    mt_error_set(error, "%s: the record at %llu is not what a writer writes: the engine overwrote the ring",
                 reader->path, (unsigned long long) reader->tail);
    return -EBADMSG;
}

/* Was it overwritten meanwhile? */
static int check_again(const mt_reader *reader, struct mt_error *error)
{
    read_in_order();
    if (committed(reader, reader->tail))
        return 0;
    mt_error_set(error, "%s: the record at %llu changed while it was read: the engine overwrote the ring", reader->path,
                 (unsigned long long) reader->tail);
    return -EBADMSG;
}

/* A private copy of the record at the tail in reader->copy, checked. */
static int copy_out(mt_reader *reader, const struct mt_record *head, struct mt_error *error)
{
    const struct mt_record *source = record_at(reader, reader->tail);
    uint64_t size = mt_record_size(head->bytes);
    if (size > reader->copy_size) {
        uint8_t *more = realloc(reader->copy, size);
        if (!more) {
            mt_error_set(error, "out of memory for a record of %llu bytes", (unsigned long long) size);
            return -ENOMEM;
        }
        reader->copy = more;
        reader->copy_size = size;
    }
    memcpy(reader->copy, head, sizeof *head);
    copy_words((uint64_t *) (reader->copy + sizeof *head), (const uint64_t *) (source + 1), size - sizeof *head);
    return check_again(reader, error);
}

/* The tail goes last: should this process die in between, a record is read twice, not lost. */
static void give_place_back(mt_reader *reader, const struct mt_record *head)
{
    struct mt_consumer *consumer = reader->consumer;
    __atomic_store_n(&consumer->records, consumer->records + 1, __ATOMIC_RELAXED);
    if (head->seq >= consumer->next_seq)
        __atomic_store_n(&consumer->next_seq, head->seq + 1, __ATOMIC_RELAXED);
    reader->tail += mt_record_size(head->bytes);
    __atomic_store_n(&consumer->tail, reader->tail, __ATOMIC_RELEASE);
    reader->records++;
    reader->rows += head->rows;
}

int64_t mt_read(mt_reader *reader, size_t max, mt_take *take, void *user, struct mt_error *error)
{
    if (!reader->drains) {
        mt_error_set(error, "%s: attached only to look", reader->path);
        return -EPERM;
    }
    int64_t records = 0;
    for (int stop = 0; !stop && (size_t) records < max && committed(reader, reader->tail); records++) {
        const struct mt_record *source = record_at(reader, reader->tail);
        struct mt_record head;
        copy_words((uint64_t *) &head, (const uint64_t *) source, sizeof head);
        int result = check_head(reader, &head, error);
        if (result == 0 && reader->in_place) {
            stop = take(&head, source + 1, user);
            result = check_again(reader, error);
            if (result < 0)
                return result; /* at once: `take` has seen it */
        } else if (result == 0 && (result = copy_out(reader, &head, error)) == 0) {
            stop = take((const struct mt_record *) reader->copy, reader->copy + sizeof head, user);
        }
        if (result < 0)
            return records ? records : result; /* those first; the next call says it again */
        give_place_back(reader, &head);
    }
    return records;
}

/* Who only looks follows the one who drains. */
static uint64_t next_position(const mt_reader *reader)
{
    return reader->drains ? reader->tail : __atomic_load_n(&reader->consumer->tail, __ATOMIC_ACQUIRE);
}

bool mt_wait(mt_reader *reader, int timeout_ms)
{
    /* The GPU cannot wake a process. Naps grow to 1 ms: nothing is burnt while the engine is idle. */
    struct timespec nap = {0, 20000};
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (!committed(reader, next_position(reader))) {
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
    if (mt_writer_alive(&reader->facts, reader->fd))
        return MT_END_NOT;
    return __atomic_load_n(&reader->header->state, __ATOMIC_ACQUIRE) == MT_STATE_CLOSED ? MT_END_CLOSED : MT_END_DIED;
}

bool mt_skip_torn(mt_reader *reader)
{
    if (!reader->drains)
        return false;
    struct mt_consumer *consumer = reader->consumer;
    for (uint64_t gap = 0; gap < reader->facts.ring_size; gap += MT_RECORD_ALIGN) {
        const uint64_t position = reader->tail + gap;
        if (!committed(reader, position) || !plausible(reader, record_at(reader, position)))
            continue;
        if (gap)
            __atomic_store_n(&consumer->gaps, consumer->gaps + 1, __ATOMIC_RELAXED);
        reader->tail = position;
        __atomic_store_n(&consumer->tail, position, __ATOMIC_RELEASE);
        return true;
    }
    return false;
}

/*
 * What a dead writer claimed and never committed, as far as memory proves it. Each number below the highest one read
 * was given to a record that was read, is counted as lost, or is torn; and each gap was one record at least.
 */
static uint64_t torn(const mt_reader *reader, uint64_t lost)
{
    const uint64_t gaps = __atomic_load_n(&reader->consumer->gaps, __ATOMIC_RELAXED);
    const uint64_t given = __atomic_load_n(&reader->consumer->next_seq, __ATOMIC_RELAXED);
    const uint64_t known = __atomic_load_n(&reader->consumer->records, __ATOMIC_RELAXED) + lost;
    return given > known && given - known > gaps ? given - known : gaps;
}

void mt_stats(const mt_reader *reader, struct mt_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    stats->records = reader->records;
    stats->rows = reader->rows;
    stats->lost_full = __atomic_load_n(&reader->counters->lost_full, __ATOMIC_ACQUIRE);
    stats->lost_too_big = __atomic_load_n(&reader->counters->lost_too_big, __ATOMIC_ACQUIRE);
    stats->not_captured = __atomic_load_n(&reader->header->not_captured, __ATOMIC_RELAXED);
    if (mt_ended(reader) != MT_END_NOT)
        stats->lost_torn = torn(reader, stats->lost_full + stats->lost_too_big);
}

int32_t mt_decode_id(const void *ids, unsigned width, size_t index)
{
    if (width == 1) {
        uint8_t id = ((const uint8_t *) ids)[index];
        return id == MT_ID8_NEGATIVE ? MT_ID_NEGATIVE : id == MT_ID8_OVERFLOW ? MT_ID_OVERFLOW : id;
    }
    if (width == 4) {
        int32_t value;
        memcpy(&value, (const uint8_t *) ids + 4 * index, sizeof value);
        return value;
    }
    uint16_t id;
    memcpy(&id, (const uint8_t *) ids + 2 * index, sizeof id);
    return id == MT_ID16_NEGATIVE ? MT_ID_NEGATIVE : id == MT_ID16_OVERFLOW ? MT_ID_OVERFLOW : id;
}
