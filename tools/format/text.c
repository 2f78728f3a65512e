/* SPDX-License-Identifier: Apache-2.0 */
/* For people: a line a row. */
#include "format.h"

static void context_record(FILE *out, uint32_t segment, const struct mt_site *site, const struct mt_record *record,
                           const void *values)
{
    fprintf(out, "seq %llu segment %u stream %u step %llu %s: context %llu, %u rows\n",
            (unsigned long long) record->seq, segment, site->stream, (unsigned long long) record->step,
            format_kind(site), (unsigned long long) record->context, record->rows);
    for (uint32_t row = 0; row < record->rows; row++)
        fprintf(out, "  %6u: %d\n", row, mt_decode_id(values, record->width, row));
}

static void record(FILE *out, uint32_t k_max, uint32_t segment, const struct mt_site *site,
                   const struct mt_record *record, const void *ids, bool with_context)
{
    if (format_kind(site)) {
        context_record(out, segment, site, record, ids);
        return;
    }
    (void) k_max;
    fprintf(out, "seq %llu segment %u stream %u step %llu layer ", (unsigned long long) record->seq, segment,
            site->stream, (unsigned long long) record->step);
    if (site->layer == MT_LAYER_UNKNOWN)
        fputs("unknown", out);
    else
        fprintf(out, "%d", site->layer);
    if (with_context)
        fprintf(out, ": context %llu", (unsigned long long) record->context);
    fprintf(out, "%c %u rows, top %u of %u\n", with_context ? ',' : ':', record->rows, record->k, site->experts);
    size_t i = 0;
    for (uint32_t row = 0; row < record->rows; row++) {
        fprintf(out, "  %6u:", row);
        for (uint32_t slot = 0; slot < record->k; slot++, i++)
            fprintf(out, " %4d", mt_decode_id(ids, record->width, i));
        fputc('\n', out);
    }
}

const struct format format_text = {"text", false, NULL, record};
