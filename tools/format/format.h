/* SPDX-License-Identifier: Apache-2.0 */
/* An output format of `moetap dump`: a small table of functions, one file a format. */
#ifndef MOETAP_TOOLS_FORMAT_H
#define MOETAP_TOOLS_FORMAT_H

#include "../trace/reader.h"

#include <stdio.h>

/* What the records are shown with. */
struct format_shown {
    bool context; /* what rows are, and the numbers that tie routers to that */
    /* Known to formats of one stream: the largest k of what will follow, and whether any of it has weights. */
    uint32_t k_max;
    bool weights;
};

struct format {
    const char *name;
    bool one_stream;                                            /* cannot tell segments or streams apart */
    void (*begin)(FILE *out, const struct format_shown *shown); /* NULL: the format has no head */
    void (*record)(FILE *out, const struct format_shown *shown, uint32_t segment, const struct mt_site *site,
                   const struct mt_record *record, const void *ids);
};

/* What a site that is no router's holds; NULL: a router. */
static inline const char *format_kind(const struct mt_site *site)
{
    static const char *const kinds[] = {NULL,    "slots", "positions", "tokens",  "starts",     "blocks",
                                        "batch", "cache", "reads",     "lengths", "kv_indices", "order"};
    return site->kind < sizeof kinds / sizeof *kinds ? kinds[site->kind] : "unknown";
}

extern const struct format format_text, format_jsonl, format_csv;

#endif
