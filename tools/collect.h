/* SPDX-License-Identifier: Apache-2.0 */
/* From rings to a trace file: follows segments, drains all of them, accounts for each. What record and drain share. */
#ifndef MOETAP_TOOLS_COLLECT_H
#define MOETAP_TOOLS_COLLECT_H

#include "trace/writer.h"

#include <stdbool.h>

struct collect;

struct collect_total {
    unsigned segments;
    uint64_t records, rows; /* of routers */
    uint64_t lost_full, lost_too_big, lost_torn, lost_unwritten;
    uint64_t not_captured;
    bool damaged; /* a ring held what no writer wrote: the rest of it was given up, which a line said */
};

/* The collector closes the writer at its end. NULL: out of memory. */
struct collect *collect_new(struct trace_writer *writer);

/* Takes a reader that drains, to detach it at the end. 0 or -ENOMEM, then the reader is still the caller's. */
int collect_follow(struct collect *collect, mt_reader *reader);

/* Attaches to all of a session that are new; problems are said once for each segment. */
void collect_discover(struct collect *collect, const char *session);

/* Takes what is there, from all segments; returns the records taken. */
uint64_t collect_drain(struct collect *collect);

/* Are all writers gone? Segments whose writer has ended are drained to their end, accounted for and removed. */
bool collect_finish_ended(struct collect *collect);

/* Accounts for the rest, writes the trace's end. Returns 0 or what went wrong with the file. */
int collect_end(struct collect *collect, struct collect_total *total, struct mt_error *error);

void collect_so_far(const struct collect *collect, struct collect_total *total);

/* Between two turns: the progress line if wanted, at most four times a second, and a nap if the turn brought nothing.
 */
void collect_pause(const struct collect *collect, uint64_t records, bool progress);

/* The last line of a run. */
void collect_summary(const struct collect_total *total, const char *path, bool progress);

static inline uint64_t collect_lost(const struct collect_total *total)
{
    return total->lost_full + total->lost_too_big + total->lost_torn + total->lost_unwritten;
}

#endif
