/* SPDX-License-Identifier: Apache-2.0 */
#include "collect.h"

#include "verbs.h"

#include "table/rank.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define READ_AT_ONCE 4096 /* records of one segment before the next has its turn */

struct followed {
    mt_reader *reader; /* NULL once it has ended */
    char name[256];
    uint32_t number;            /* in the trace */
    uint32_t sites;             /* written so far */
    struct trace_tally taken;   /* by the file */
    struct trace_tally refused; /* by the file */
    struct mt_stats stats;      /* at the end */
    bool damaged;               /* read no further, and removed once its writer has ended */
    struct collect *collect;
};

struct complaint {
    char name[256];
};

struct collect {
    struct trace_writer *writer;
    struct followed **all;
    size_t count;
    struct complaint *complaints; /* segments that could not be attached, said once */
    size_t complaint_count;
    bool file_failed;
    bool damaged;
};

struct collect *collect_new(struct trace_writer *writer)
{
    struct collect *collect = calloc(1, sizeof *collect);
    if (collect)
        collect->writer = writer;
    return collect;
}

/* The disk is full: the engine goes on, we go on draining, and what the file lacks is counted. */
static void file_failed(struct collect *collect, int result)
{
    if (!collect->file_failed)
        say_failed("cannot write the trace: %s; the engine goes on, what follows is counted as lost",
                   strerror(-result));
    collect->file_failed = true;
}

static void write_sites(struct followed *f, bool again)
{
    uint32_t count = mt_site_count(f->reader);
    if (count == f->sites && !again)
        return;
    struct mt_site *sites = calloc(count ? count : 1, sizeof *sites);
    if (!sites) {
        file_failed(f->collect, -ENOMEM);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        mt_site(f->reader, i, &sites[i]);
    int result = trace_writer_sites(f->collect->writer, f->number, sites, count);
    if (result)
        file_failed(f->collect, result);
    free(sites);
    f->sites = count;
}

/* What is in the file, and how many records were read from the ring and are not: refused, or dropped with the block
 * that held them. */
static struct trace_tally written(const struct followed *f, uint64_t *unwritten)
{
    const struct trace_tally dropped = trace_writer_dropped(f->collect->writer, f->number);
    *unwritten = f->refused.records + f->refused.context + dropped.records + dropped.context;
    return (struct trace_tally){f->taken.records - dropped.records, f->taken.rows - dropped.rows,
                                f->taken.context - dropped.context};
}

/* As traces have it. */
static uint8_t rank_told(int rank)
{
    return rank >= 0 && rank < UINT8_MAX ? (uint8_t) (rank + 1) : 0;
}

int collect_follow(struct collect *collect, mt_reader *reader)
{
    struct followed **more = realloc(collect->all, (collect->count + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    collect->all = more;
    struct followed *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->reader = reader;
    snprintf(f->name, sizeof f->name, "%s", mt_name(reader));
    f->number = (uint32_t) collect->count;
    f->collect = collect;
    collect->all[collect->count++] = f;
    const struct mt_header *header = mt_header(f->reader);
    const struct rank rank = rank_of(header);
    struct trace_segment info = {
        .number = f->number,
        .pid = header->writer_pid,
        .device = header->device,
        .data = rank_told(rank.data),
        .tensor = rank_told(rank.tensor),
        .stage = rank_told(rank.stage),
        .created_ns = header->created_ns,
    };
    snprintf(info.name, sizeof info.name, "%s", mt_name(f->reader));
    memcpy(info.session, header->session, sizeof info.session);
    memcpy(info.device_name, header->device_name, sizeof info.device_name);
    memcpy(info.command, header->command, sizeof info.command);
    int result = trace_writer_segment(collect->writer, &info);
    if (result)
        file_failed(collect, result);
    return 0;
}

/* 0 (also if it is followed already), -EAGAIN not complete yet, or an error with its line. */
static int add(struct collect *collect, const char *name, struct mt_error *error)
{
    for (size_t i = 0; i < collect->count; i++) {
        if (strcmp(collect->all[i]->name, name) == 0)
            return 0;
    }
    mt_reader *reader;
    int result = mt_attach(name, MT_ATTACH_DRAIN, &reader, error);
    if (result)
        return result;
    result = collect_follow(collect, reader);
    if (result) {
        mt_detach(reader);
        snprintf(error->text, sizeof error->text, "out of memory");
    }
    return result;
}

static bool complained(struct collect *collect, const char *name)
{
    for (size_t i = 0; i < collect->complaint_count; i++) {
        if (strcmp(collect->complaints[i].name, name) == 0)
            return true;
    }
    struct complaint *more = realloc(collect->complaints, (collect->complaint_count + 1) * sizeof *more);
    if (!more)
        return true;
    collect->complaints = more;
    snprintf(more[collect->complaint_count++].name, sizeof more->name, "%s", name);
    return false;
}

void collect_discover(struct collect *collect, const char *session)
{
    struct mt_segment_name *names;
    size_t count;
    struct mt_error error = {""};
    if (mt_discover(session, &names, &count, &error) != 0)
        return; /* no folder, no segments: the shim says so */
    for (size_t i = 0; i < count; i++) {
        int result = add(collect, names[i].name, &error);
        if (result && result != -EAGAIN && result != -ENOENT && !complained(collect, names[i].name))
            say_failed("%s", error.text);
    }
    free(names);
}

static int take(const struct mt_record *record, const void *ids, void *user)
{
    struct followed *f = user;
    if (record->site >= f->sites)
        write_sites(f, false);
    int result = trace_writer_record(f->collect->writer, f->number, record, ids);
    if (result) {
        file_failed(f->collect, result);
        trace_count(&f->refused, record);
    } else {
        trace_count(&f->taken, record);
    }
    return 0;
}

static uint64_t drain_one(struct followed *f)
{
    struct mt_error error = {""};
    if (f->damaged)
        return 0;
    int64_t records = mt_read(f->reader, READ_AT_ONCE, take, f, &error);
    if (records >= 0)
        return (uint64_t) records;
    say_failed("%s", error.text);
    f->damaged = f->collect->damaged = true;
    return 0;
}

uint64_t collect_drain(struct collect *collect)
{
    uint64_t records = 0;
    for (size_t i = 0; i < collect->count; i++) {
        if (collect->all[i]->reader)
            records += drain_one(collect->all[i]);
    }
    return records;
}

/* The last word on a segment: its sites as they are now, its counters, its end. */
static void end_one(struct followed *f)
{
    write_sites(f, true);
    mt_stats(f->reader, &f->stats);
    enum mt_end end = mt_ended(f->reader);
    uint64_t unwritten;
    const struct trace_tally tally = written(f, &unwritten);
    struct trace_stats stats = {
        .segment = f->number,
        .end = end,
        .records = tally.records,
        .rows = tally.rows,
        .lost_full = f->stats.lost_full,
        .lost_too_big = f->stats.lost_too_big,
        .lost_torn = f->stats.lost_torn,
        .not_captured = f->stats.not_captured,
        .lost_unwritten = unwritten,
    };
    int result = trace_writer_stats(f->collect->writer, &stats);
    if (result)
        file_failed(f->collect, result);
    struct mt_error error = {""};
    if (end != MT_END_NOT && mt_unlink(f->reader, &error) != 0)
        say_failed("%s", error.text);
    mt_detach(f->reader);
    f->reader = NULL;
}

bool collect_finish_ended(struct collect *collect)
{
    bool all = true;
    for (size_t i = 0; i < collect->count; i++) {
        struct followed *f = collect->all[i];
        if (!f->reader)
            continue;
        if (mt_ended(f->reader) == MT_END_NOT) {
            all = false;
            continue;
        }
        /* It writes no more, so what is there now is all. */
        do {
            while (drain_one(f) > 0) {
            }
        } while (!f->damaged && mt_skip_torn(f->reader));
        end_one(f);
    }
    return all;
}

void collect_so_far(const struct collect *collect, struct collect_total *total)
{
    *total = (struct collect_total){.segments = (unsigned) collect->count, .damaged = collect->damaged};
    for (size_t i = 0; i < collect->count; i++) {
        const struct followed *f = collect->all[i];
        struct mt_stats stats = f->stats;
        if (f->reader)
            mt_stats(f->reader, &stats);
        uint64_t unwritten;
        const struct trace_tally tally = written(f, &unwritten);
        total->records += tally.records;
        total->rows += tally.rows;
        total->lost_full += stats.lost_full;
        total->lost_too_big += stats.lost_too_big;
        total->lost_torn += stats.lost_torn;
        total->lost_unwritten += unwritten;
        total->not_captured += stats.not_captured;
    }
}

int collect_end(struct collect *collect, struct collect_total *total, struct mt_error *error)
{
    for (size_t i = 0; i < collect->count; i++) {
        if (collect->all[i]->reader)
            end_one(collect->all[i]);
    }
    collect_so_far(collect, total);
    int result = trace_writer_close(collect->writer, error);
    for (size_t i = 0; i < collect->count; i++)
        free(collect->all[i]);
    free(collect->all);
    free(collect->complaints);
    free(collect);
    return result;
}

static void print_progress(const struct collect *collect)
{
    static struct timespec last;
    static uint64_t last_records;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double passed = (double) (now.tv_sec - last.tv_sec) + (double) (now.tv_nsec - last.tv_nsec) / 1e9;
    if (last.tv_sec && passed < 0.25)
        return;
    struct collect_total total;
    collect_so_far(collect, &total);
    if (last.tv_sec && total.segments)
        fprintf(stderr, "\r\033[Kmoetap: %llu records, %llu rows, %.0f records/s, lost %llu",
                (unsigned long long) total.records, (unsigned long long) total.rows,
                (double) (total.records - last_records) / passed, (unsigned long long) collect_lost(&total));
    last = now;
    last_records = total.records;
}

void collect_pause(const struct collect *collect, uint64_t records, bool progress)
{
    if (progress)
        print_progress(collect);
    if (!records) {
        const struct timespec nap = {0, 2000000};
        nanosleep(&nap, NULL);
    }
}

void collect_summary(const struct collect_total *total, const char *path, bool progress)
{
    fprintf(stderr,
            "%smoetap: captured %llu records, %llu rows from %u segment%s; lost %llu (full %llu, too big %llu, torn "
            "%llu, not "
            "written %llu); not captured %llu -> %s\n",
            progress ? "\r\033[K" : "", (unsigned long long) total->records, (unsigned long long) total->rows,
            total->segments, total->segments == 1 ? "" : "s", (unsigned long long) collect_lost(total),
            (unsigned long long) total->lost_full, (unsigned long long) total->lost_too_big,
            (unsigned long long) total->lost_torn, (unsigned long long) total->lost_unwritten,
            (unsigned long long) total->not_captured, path);
}
