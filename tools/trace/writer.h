/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a trace file. After the first failure everything is refused: the caller counts what got lost. */
#ifndef MOETAP_TOOLS_TRACE_WRITER_H
#define MOETAP_TOOLS_TRACE_WRITER_H

#include "../../shm/reader.h"
#include "format.h"

struct trace_writer;

/* Refuses to overwrite what is no trace unless `force`. 0 or -errno, with a line in `error`. */
int trace_writer_open(const char *path, bool force, struct trace_writer **writer, struct mt_error *error);
int trace_writer_segment(struct trace_writer *writer, const struct trace_segment *segment);
int trace_writer_sites(struct trace_writer *writer, uint32_t segment, const struct mt_site *sites, uint32_t count);
/* Collects into blocks; a change of segment or a full block writes. What it refuses is not in the file. */
int trace_writer_record(struct trace_writer *writer, uint32_t segment, const struct mt_record *record, const void *ids);
int trace_writer_stats(struct trace_writer *writer, const struct trace_stats *stats);
int trace_writer_flush(struct trace_writer *writer);
/* END block, flush, close; frees the writer in any case. */
int trace_writer_close(struct trace_writer *writer, struct mt_error *error);
/* What was taken of a segment and did not reach the file: the block that failed held it. */
struct trace_tally {
    uint64_t records, rows; /* of routers */
    uint64_t context;       /* records of row context */
};
static inline void trace_count(struct trace_tally *tally, const struct mt_record *record)
{
    if (mt_record_is_context(record)) {
        tally->context++;
        return;
    }
    tally->records++;
    tally->rows += record->rows;
}
struct trace_tally trace_writer_dropped(const struct trace_writer *writer, uint32_t segment);
/* The first failure, 0 if none. */
int trace_writer_failed(const struct trace_writer *writer);

#endif
