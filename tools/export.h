/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of export.c and export_gather.c: what is written, and what fills it. */
#ifndef MOETAP_TOOLS_EXPORT_H
#define MOETAP_TOOLS_EXPORT_H

#include "arrays/arrays.h"
#include "model_config.h"
#include "sequences.h"

/* One row of the output and where it comes from. */
struct wanted {
    uint32_t segment, pass, row;
    uint32_t group;
    uint32_t at;
};

/* What is written for one request, or for all passes: its arrays begin at `arrays`. */
struct group {
    uint64_t rows;
    uint32_t arrays;
    uint32_t segment;
};

/* Behind them: `missing` for types without a sign, then `confirmed` of a request or `pass` of all passes. */
enum { IDS, TOKENS, POSITIONS, LAYERS, EXTRA, PER_GROUP = EXTRA + 2 };

struct export
{
    const char *path, *output, *config_path;
    struct model_config *config; /* NULL: layers stay MoE layers' numbers */
    arrays_write *write;
    long request;            /* -1: all */
    const char *tokens_path; /* NULL: none */
    bool passes;
    int type; /* enum element_type, -1: the smallest */
    uint32_t block_size;
    enum requests_rules rules;
    struct trace_reader *reader;
    const struct trace *trace;
    struct requests **requests;
    struct array *arrays;
    size_t array_count;
    struct group *groups;
    uint32_t group_count;
    struct wanted *wanted;
    size_t wanted_count, wanted_at;
    uint32_t *pass_numbers; /* of each segment */
    uint64_t fill;          /* --passes: rows so far */
    uint32_t not_found;     /* --tokens: how many */
    int32_t misfit;         /* an id that the type does not hold */
    struct mt_error error;
};

/* Each fills groups and arrays. 0 or -errno, mostly with a line in export->error. */
int export_gather_requests(struct export *export);
int export_gather_passes(struct export *export);
/* The requests with the tokens that a JSON file lists. */
int export_gather_tokens(struct export *export);

/* Are the segment's layers the config's? */
bool export_layers_known(const struct export *export, uint32_t segment);
bool export_fits_config(const struct export *export, uint32_t segment);

#endif
