/* SPDX-License-Identifier: Apache-2.0 */
/* What an export is made of, for the files of this folder and the verb. */
#ifndef MOETAP_TOOLS_EXPORT_H
#define MOETAP_TOOLS_EXPORT_H

#include "../arrays/arrays.h"
#include "../model_config.h"
#include "../requests/sequences.h"

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
    uint32_t mask, weights; /* theirs, 0: none */
    uint32_t segment;
};

/* Behind them: `missing` for types without a sign and weights if there are some, then `confirmed` of a request or
 * `pass` of all passes. */
enum { IDS, TOKENS, POSITIONS, LAYERS, MASK, WEIGHTS, PER_GROUP = WEIGHTS + 2 };

/* Of several in which a model's layers lie, one behind the other. */
struct stage {
    uint32_t segment;
    uint32_t column;  /* of its first layer */
    uint32_t *passes; /* its pass for each of the first stage's, UINT32_MAX: it has none */
    uint32_t paired;
};

struct export
{
    const char *path, *output, *config_path;
    struct model_config *config; /* NULL: layers stay MoE layers' numbers */
    arrays_write *write;
    long request;            /* -1: all */
    const char *tokens_path; /* NULL: none */
    bool lossy;              /* by tokens, though records were lost */
    bool passes;
    int type;          /* enum element_type, -1: the smallest */
    bool model_layers; /* a column for each layer of the model, dense ones too */
    uint32_t k;        /* ids of a row that are taken, from the first; 0: all */
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
    struct stage *stages;   /* --stages; none: each segment is a model of its own */
    uint32_t stage_count, stage_layers;
    bool auto_stages;   /* by what the trace tells of ranks */
    uint64_t fill;      /* --passes: rows so far */
    int32_t misfit;     /* an id that the type does not hold */
    uint64_t strangers; /* ids of E or more */
    uint32_t not_found; /* --tokens: how many */
    struct mt_error error;
};

/* Does the model's config fit this segment? */
bool export_fits_config(const struct export *export, uint32_t segment);
bool export_layers_known(const struct export *export, uint32_t segment);
/* Of the array: where ids of the trace's MoE layer `layer` stand. */
uint32_t export_column(const struct export *export, uint32_t layer);

/* Appends a group with all its rows missing; its arrays' names begin with `prefix`. 0 or -errno. */
int export_add_group(struct export *export, uint64_t rows, uint32_t segment, const char *prefix);
int export_add_array(struct export *export, struct array array, int fill);
void export_put(const struct array *array, size_t index, int32_t value);
/* Ids and weights of one row in one MoE layer, to the array's row `to`. The marks of an id that is none stay what
 * missing rows are. */
void export_put_row(struct export *export, const struct group *group, uint64_t to, uint32_t layer,
                    const struct pass_layer *from, uint32_t row);
/* Of the segment's routers, MT_WEIGHT_NONE: none of them shows weights. */
enum mt_weight_type export_weights(const struct export *export, uint32_t segment);

/* A group for rows of a request that has `tokens` of them, by position; a row whose pass is UINT32_MAX is missing. */
int export_add_rows(struct export *export, uint32_t segment, const struct request_row *rows, uint32_t count,
                    uint32_t tokens, const char *prefix);
/* Fills in what was added. */
int export_fill_in(struct export *export);

/* --stages=auto|SEGMENT,SEGMENT,... False: it is not. */
bool export_parse_stages(struct export *export, const char *text);
/* Which passes belong together. 0 or -errno, mostly with a line in export->error. */
int export_find_stages(struct export *export);
/* Adds to what is wanted of the first stage the same of the others. */
int export_want_stages(struct export *export);
uint32_t export_stage_column(const struct export *export, uint32_t segment);
/* Of the segment, or of all stages. */
uint32_t export_layers(const struct export *export, uint32_t segment);
/* Requests are looked for in these segments alone. */
bool export_is_first_stage(const struct export *export, uint32_t segment);

/* Each fills groups and arrays. 0 or -errno, mostly with a line in export->error. */
int export_requests(struct export *export);
int export_passes(struct export *export);
/* The requests with the tokens that a JSON file lists. */
int export_tokens(struct export *export);

/* Writes the file with what it says of itself. */
int export_write(struct export *export);

#endif
