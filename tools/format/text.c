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

static void record(FILE *out, const struct format_shown *shown, uint32_t segment, const struct mt_site *site,
                   const struct mt_record *record, const void *ids)
{
    if (format_kind(site)) {
        context_record(out, segment, site, record, ids);
        return;
    }
    fprintf(out, "seq %llu segment %u stream %u step %llu layer ", (unsigned long long) record->seq, segment,
            site->stream, (unsigned long long) record->step);
    if (site->layer == MT_LAYER_UNKNOWN)
        fputs("unknown", out);
    else
        fprintf(out, "%d", site->layer);
    if (site->model)
        fprintf(out, " of model %u", site->model);
    if (shown->context)
        fprintf(out, ": context %llu", (unsigned long long) record->context);
    fprintf(out, "%c %u rows, top %u of %u\n", shown->context ? ',' : ':', record->rows, record->k, site->experts);
    const void *weights = mt_record_weights(record, ids);
    for (uint32_t row = 0; row < record->rows; row++) {
        const size_t first = (size_t) row * record->k;
        fprintf(out, "  %6u:", row);
        for (uint32_t slot = 0; slot < record->k; slot++)
            fprintf(out, " %4d", mt_decode_id(ids, record->width, first + slot));
        if (weights)
            fputs("  |", out);
        for (uint32_t slot = 0; weights && slot < record->k; slot++)
            fprintf(out, " %.4g", (double) mt_decode_weight(weights, record->weights, first + slot));
        fputc('\n', out);
    }
}

const struct format format_text = {"text", false, NULL, record};
