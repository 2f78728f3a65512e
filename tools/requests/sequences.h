/* SPDX-License-Identifier: Apache-2.0 */
/* A trace's passes, and the sequences in them: what requests and export share. */
#ifndef MOETAP_TOOLS_REQUESTS_SEQUENCES_H
#define MOETAP_TOOLS_REQUESTS_SEQUENCES_H

#include "requests.h"
#include "../trace/reader.h"

/* Hands out the passes of all segments, of the model that the rows are of in each. 0, -errno with a line in `error`, or
 * what take returned. */
typedef int sequences_take(uint32_t segment, const struct pass *pass, void *user);
int sequences_passes(struct trace_reader *reader, sequences_take *take, void *user, struct mt_error *error);

/* Finds out, from all records, whose layer each site's is (struct mt_site.model): a draft's are none of the target's;
 * and which model the rows are of (struct trace_view.main). 0, or -errno with a line in `error`. */
int sequences_models(struct trace_reader *reader, struct mt_error *error);

/* One for each segment of the trace. block_size 0: found. */
int sequences_assemble(struct trace_reader *reader, uint32_t block_size, enum requests_rules rules,
                       struct requests ***out, struct mt_error *error);
void sequences_free(const struct trace_reader *reader, struct requests **requests);

/* Layers of other models than the one that is put together, as far as they are told apart: a draft's. */
uint32_t sequences_other_layers(const struct trace_reader *reader, uint32_t segment);

/* --links of requests and export. */
bool parse_links(const char *text, enum requests_rules *rules);

#endif
