/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a trace file, block by block, in bounded memory. Trusts nothing in it. */
#ifndef MOETAP_TOOLS_TRACE_READER_H
#define MOETAP_TOOLS_TRACE_READER_H

#include "../../shm/reader.h"
#include "format.h"

#define TRACE_SEGMENTS_MAX 4096u

struct trace_view {
    struct trace_segment info;
    struct mt_site *sites; /* as of the last SITES block */
    uint32_t site_count;
    uint32_t main;    /* a site of the model that the rows are of (sequences_models), TRACE_NO_SITE: none known */
    uint32_t attends; /* as struct pass_arrays says (sequences_models) */
    struct trace_stats stats;
    bool has_stats;
};
#define TRACE_NO_SITE UINT32_MAX

struct trace {
    struct trace_view *segments;
    uint32_t segment_count;
    bool complete; /* has its END */
};

/* Where a kernel turns the router's ids into others (load balancing), both are in the trace. */
enum trace_ids {
    TRACE_IDS_OWN = 0,  /* those that routers wrote themselves: each run once */
    TRACE_IDS_ALL,      /* each record */
    TRACE_IDS_LOGICAL,  /* but for physical ones, written by a router or made of its ids */
    TRACE_IDS_PHYSICAL, /* but for logical ones */
};
/* "logical" or "physical". */
bool trace_ids_parse(const char *text, enum trace_ids *ids);

struct trace_reader;

/* Opens and reads everything but the records. -EINVAL no trace or damaged, -EPROTO another version. */
int trace_reader_open(const char *path, struct trace_reader **reader, struct mt_error *error);
const struct trace *trace_reader_trace(const struct trace_reader *reader);
void trace_reader_close(struct trace_reader *reader);

/* Which records of routers trace_reader_records() hands out, TRACE_IDS_OWN at first. -ENOENT, with a line: logical or
 * physical ones were asked for, and the trace has none. */
int trace_reader_choose(struct trace_reader *reader, enum trace_ids ids, struct mt_error *error);
/* Does it hand out records of this site? */
bool trace_reader_chosen(const struct trace_reader *reader, uint32_t segment, uint32_t site);

/* What a whole trace tells of a site, and its shim could not know (struct mt_site.model). */
void trace_reader_set_model(struct trace_reader *reader, uint32_t segment, uint32_t site, uint32_t model);
void trace_reader_set_main(struct trace_reader *reader, uint32_t segment, uint32_t site);
void trace_reader_set_attends(struct trace_reader *reader, uint32_t segment, uint32_t attends);

/*
 * Hands every chosen record to `take`, in the order of the file. The record's site and bounds were checked. Stops at a
 * non-zero return of `take`, which it returns; -EBADMSG for a damaged file.
 */
typedef int trace_take(uint32_t segment, const struct mt_record *record, const void *ids, void *user);
int trace_reader_records(struct trace_reader *reader, trace_take *take, void *user, struct mt_error *error);

#endif
