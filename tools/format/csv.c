/* SPDX-License-Identifier: Apache-2.0 */
/* A line a row: step,layer,row,e0..e{k-1}. Rows with fewer experts leave the last fields empty. Row context has its
 * kind for a layer, and its value for the first expert. */
#include "format.h"

static void begin(FILE *out, uint32_t k_max)
{
    fputs("step,layer,row", out);
    for (uint32_t slot = 0; slot < k_max; slot++)
        fprintf(out, ",e%u", slot);
    fputc('\n', out);
}

static void record(FILE *out, uint32_t k_max, uint32_t segment, const struct mt_site *site,
                   const struct mt_record *record, const void *ids, bool with_context)
{
    (void) segment;
    (void) with_context;
    size_t i = 0;
    for (uint32_t row = 0; row < record->rows; row++) {
        fprintf(out, "%llu,", (unsigned long long) record->step);
        if (format_kind(site))
            fputs(format_kind(site), out);
        else if (site->layer != MT_LAYER_UNKNOWN)
            fprintf(out, "%d", site->layer);
        fprintf(out, ",%u", row);
        for (uint32_t slot = 0; slot < record->k; slot++, i++)
            fprintf(out, ",%d", mt_decode_id(ids, record->width, i));
        for (uint32_t slot = record->k; slot < k_max; slot++)
            fputc(',', out);
        fputc('\n', out);
    }
}

const struct format format_csv = {"csv", true, begin, record};
