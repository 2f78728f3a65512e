/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts the rows of passes together to sequences, from KV slots and positions: docs/requests.md says by which rules, and
 * what stays unknown. A link that is not clear is left out, and the rows ahead of it count as missing.
 *
 * One segment at a time, its passes fed twice: first all to survey (block size, which sites are the model's layers),
 * then all to add.
 */
#ifndef MOETAP_TOOLS_REQUESTS_H
#define MOETAP_TOOLS_REQUESTS_H

#include "../passes.h"

struct requests;

/* A row of a sequence, where it was seen. */
struct request_row {
    int32_t position, slot, token; /* token MT_CONTEXT_OVERFLOW: not known */
    uint32_t pass, row;
};

struct request {
    uint32_t last;           /* for requests_rows() */
    uint32_t tokens;         /* positions 0 to tokens - 1 */
    uint32_t first_position; /* rows before it are missing: who wrote them is not known */
    uint32_t confirmed;      /* of its tokens: those from there on may be drafts that were rejected */
    uint32_t complete;       /* rows with all layers */
    uint64_t first_ns, last_ns;
};

enum requests_rules {
    REQUESTS_AUTO,   /* likely where no request of the segment begins behind a cached prefix, else proven */
    REQUESTS_PROVEN, /* links that can be no other */
    REQUESTS_LIKELY, /* also by the order in which engines keep a batch */
};

/* block_size 0: found in the survey. NULL: out of memory. */
struct requests *requests_new(const struct mt_site *sites, uint32_t site_count, uint32_t block_size,
                              enum requests_rules rules);
void requests_free(struct requests *requests);

int requests_survey(struct requests *requests, const struct pass *pass);
int requests_surveyed(struct requests *requests);
int requests_add(struct requests *requests, const struct pass *pass);
int requests_end(struct requests *requests);

uint32_t requests_block_size(const struct requests *requests);
/* Links over a block's end are only made where they are proven: --links, or a request began behind a cached prefix. */
bool requests_proven(const struct requests *requests);
/* The cache holds what no pass of the trace wrote: nothing over a block's end can be proven. */
bool requests_foreign(const struct requests *requests);
/* The engine shows batches, and no slots. */
bool requests_batches(const struct requests *requests);
/* Sequences that began behind blocks of the cache which, as is seen, no pass of the trace wrote. */
uint32_t requests_filled(const struct requests *requests);
/* Layers of the model: columns of a row. */
uint32_t requests_layers(const struct requests *requests);
uint32_t requests_k(const struct requests *requests);
uint32_t requests_experts(const struct requests *requests);
/* -1: not one of the model's layers. */
int32_t requests_column(const struct requests *requests, uint32_t site);
/* Passes of the model that had no usable row context, and their rows. */
uint64_t requests_blind_rows(const struct requests *requests);
/* Of these, the ones in CUDA graphs. */
uint64_t requests_blind_graph_rows(const struct requests *requests);

uint32_t requests_count(const struct requests *requests);
const struct request *requests_get(const struct requests *requests, uint32_t index);
/* Fills rows[0 .. tokens - first_position), by position. `pass` counts the passes given to add from 0. */
void requests_rows(const struct requests *requests, const struct request *request, struct request_row *rows);
/*
 * The rows of a request with these tokens, if one ran: fills rows[0 .. count). A row with pass UINT32_MAX is missing.
 * Returns how many are known, or -ENOMEM.
 */
int requests_match(struct requests *requests, const int32_t *tokens, uint32_t count, struct request_row *rows);

#endif
