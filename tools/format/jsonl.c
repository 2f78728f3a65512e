/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON object a record: numbers and null only, nothing that would need escaping. */
#include "format.h"

#include <math.h>

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

/* With nine digits a float is read back as it was. JSON knows no infinity and no NaN. */
static void put_weight(FILE *out, float weight)
{
    if (isfinite(weight))
        fprintf(out, "%.9g", (double) weight);
    else
        fputs("null", out);
}

static void put_weights(FILE *out, const struct mt_record *record, const void *weights)
{
    fputs(",\"weights\":[", out);
    size_t i = 0;
    for (uint32_t row = 0; row < record->rows; row++) {
        fputs(row ? ",[" : "[", out);
        for (uint32_t slot = 0; slot < record->k; slot++, i++) {
            if (slot)
                fputc(',', out);
            put_weight(out, mt_decode_weight(weights, record->weights, i));
        }
        fputc(']', out);
    }
    fputc(']', out);
}

static void record(FILE *out, const struct format_shown *shown, uint32_t segment, const struct mt_site *site,
                   const struct mt_record *record, const void *ids)
{
    if (format_kind(site)) {
        context_record(out, segment, site, record, ids);
        return;
    }
    fprintf(out, "{\"seq\":%llu,\"segment\":%u,\"stream\":%u,\"site\":%u,\"layer\":", (unsigned long long) record->seq,
            segment, site->stream, record->site);
    if (site->layer == MT_LAYER_UNKNOWN)
        fputs("null", out);
    else
        fprintf(out, "%d", site->layer);
    if (site->model)
        fprintf(out, ",\"model\":%u", site->model);
    if (shown->context)
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
    fputc(']', out);
    const void *weights = mt_record_weights(record, ids);
    if (weights)
        put_weights(out, record, weights);
    fputs("}\n", out);
}

const struct format format_jsonl = {"jsonl", false, NULL, record};
