/* SPDX-License-Identifier: Apache-2.0 */
/* A line a row: step,layer,row,e0..e{k-1}, and w0..w{k-1} if any record has weights. Rows with fewer experts, or
 * without weights, leave fields empty. Row context has its kind for a layer, and its value for the first expert. */
#include "format.h"

static void begin(FILE *out, const struct format_shown *shown)
{
    fputs("step,layer,row", out);
    for (uint32_t slot = 0; slot < shown->k_max; slot++)
        fprintf(out, ",e%u", slot);
    for (uint32_t slot = 0; shown->weights && slot < shown->k_max; slot++)
        fprintf(out, ",w%u", slot);
    fputc('\n', out);
}

static void record(FILE *out, const struct format_shown *shown, uint32_t segment, const struct mt_site *site,
                   const struct mt_record *record, const void *ids)
{
    (void) segment;
    const void *weights = mt_record_weights(record, ids);
    for (uint32_t row = 0; row < record->rows; row++) {
        const size_t first = (size_t) row * record->k;
        fprintf(out, "%llu,", (unsigned long long) record->step);
        if (format_kind(site))
            fputs(format_kind(site), out);
        else if (site->layer != MT_LAYER_UNKNOWN)
            fprintf(out, "%d", site->layer);
        fprintf(out, ",%u", row);
        for (uint32_t slot = 0; slot < shown->k_max; slot++) {
            fputc(',', out);
            if (slot < record->k)
                fprintf(out, "%d", mt_decode_id(ids, record->width, first + slot));
        }
        for (uint32_t slot = 0; shown->weights && slot < shown->k_max; slot++) {
            fputc(',', out);
            if (weights && slot < record->k)
                fprintf(out, "%.9g", (double) mt_decode_weight(weights, record->weights, first + slot));
        }
        fputc('\n', out);
    }
}

const struct format format_csv = {"csv", true, begin, record};
