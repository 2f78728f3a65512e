/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment in a folder of its own, with the GPU's side of it in memory that forked processes share, and records whose
 * every byte follows from their site and step: whoever reads one can check it.
 */
#ifndef MOETAP_TESTS_SHM_RIG_H
#define MOETAP_TESTS_SHM_RIG_H

#include "device.h"

#define RIG_SITES 8u
#define RIG_SESSION "test"

struct rig {
    struct mt_segment segment;
    struct mt_producer *producer;
    uint32_t rows_max;
};

/* A fresh MOETAP_SHM_DIR; rig_leave() removes it with all that it holds. For .init and .fini of a test. */
void rig_enter(void);
void rig_leave(void);

void rig_open(struct rig *rig, uint64_t ring_size);
void rig_close(struct rig *rig);

/* What the record (site, step) holds. Sites with an odd number are two bytes wide. */
uint32_t rig_rows(const struct rig *rig, uint32_t site, uint64_t step);
uint32_t rig_k(uint32_t site);
uint32_t rig_width(uint32_t site);
uint32_t rig_id(uint32_t site, uint64_t step, uint64_t index);

/* Runs the tap of the site's next record, all in this thread. `rows` 0: as many as rig_rows() says. */
void rig_put(struct rig *rig, uint32_t site, uint32_t rows);

/* A mt_take: checks every byte. */
struct rig_tally {
    const struct rig *rig;
    uint64_t records, wrong;
    uint64_t next_step[RIG_SITES]; /* steps come in order if a site has one writer at a time */
    uint64_t skipped;              /* steps that were not read */
    struct mt_record last;
};
int rig_take(const struct mt_record *record, const void *ids, void *tally);

/* How the suites attach: RIG_IN_PLACE in the environment has them read without a copy. */
unsigned rig_flags(void);
mt_reader *rig_attach(const struct rig *rig);
/* Reads until there is nothing now; returns what mt_read() said last if that is an error, else the number read. */
int64_t rig_read_all(mt_reader *reader, struct rig_tally *tally);

#endif
