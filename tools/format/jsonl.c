/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON object a record: numbers and null only, nothing that would need escaping. */
#include "format.h"

static void context_record(FILE *out, uint32_t segment, const struct mt_site *site, const struct mt_record *record,
                           const void *values)
{
    fprintf(out,
            "{\"kind\":\"%s\",\"seq\":%llu,\"segment\":%u,\"stream\":%u,\"site\":%u,\"context\":%llu,\"step\":%llu,"
            "\"rows\":%u,\"values\":[",
            format_kind(site), (unsigned long long) record->seq, segment, site->stream, record->site,
            (unsigned long long) record->context, (unsigned long long) record->step, record->rows);
    for (uint32_t row = 0; row < record->rows; row++)
        fprintf(out, row ? ",%d" : "%d", mt_decode_id(values, record->width, row));
    fputs("]}\n", out);
}

static void record(FILE *out, uint32_t k_max, uint32_t segment, const struct mt_site *site,
                   const struct mt_record *record, const void *ids, bool with_context)
{
    if (format_kind(site)) {
        context_record(out, segment, site, record, ids);
        return;
    }
    (void) k_max;
    fprintf(out, "{\"seq\":%llu,\"segment\":%u,\"stream\":%u,\"site\":%u,\"layer\":", (unsigned long long) record->seq,
            segment, site->stream, record->site);
    if (site->layer == MT_LAYER_UNKNOWN)
        fputs("null", out);
    else
        fprintf(out, "%d", site->layer);
    if (with_context)
        fprintf(out, ",\"context\":%llu", (unsigned long long) record->context);
    fprintf(out, ",\"step\":%llu,\"rows\":%u,\"k\":%u,\"experts\":%u,\"ids\":[", (unsigned long long) record->step,
            record->rows, record->k, site->experts);
    size_t i = 0;
    for (uint32_t row = 0; row < record->rows; row++) {
        fputs(row ? ",[" : "[", out);
        for (uint32_t slot = 0; slot < record->k; slot++, i++)
            fprintf(out, slot ? ",%d" : "%d", mt_decode_id(ids, record->width, i));
        fputc(']', out);
    }
    fputs("]}\n", out);
}

const struct format format_jsonl = {"jsonl", false, NULL, record};
