/* SPDX-License-Identifier: Apache-2.0 */
/* What the file says of itself. */
#include "export.h"

#include <stdio.h>

static bool is_there(const struct array *ids, const struct array *mask, uint64_t i)
{
    if (!elements[ids->type].is_signed)
        return !((const uint8_t *) mask->data)[i];
    return (ids->type == ELEMENT_INT32 ? ((const int32_t *) ids->data)[i] : ((const int16_t *) ids->data)[i]) >= 0;
}

/* Rows that have all ids of all MoE layers. */
static uint64_t complete_rows(const struct export *export)
{
    uint64_t complete = 0;
    for (uint32_t g = 0; g < export->group_count; g++) {
        const struct group *group = &export->groups[g];
        const struct array *ids = &export->arrays[group->arrays];
        const uint32_t layers = export_layers(export, group->segment);
        for (uint64_t row = 0; row < group->rows; row++) {
            bool whole = true;
            for (uint32_t layer = 0; whole && layer < layers; layer++) {
                uint64_t at = (row * ids->shape[1] + export_column(export, layer)) * ids->shape[2];
                for (uint64_t j = 0; whole && j < ids->shape[2]; j++)
                    whole = is_there(ids, &export->arrays[group->mask], at + j);
            }
            complete += whole;
        }
    }
    return complete;
}

static const char *id_space(const struct trace_view *view, const struct requests *requests)
{
    static const char *const spaces[] = {"unknown", "logical", "physical"};
    uint32_t space = 0;
    for (uint32_t i = 0; i < view->site_count; i++) {
        if (requests_column(requests, i) >= 0)
            space = view->sites[i].id_space < 3 ? view->sites[i].id_space : 0;
    }
    return spaces[space];
}

int export_write(struct export *export)
{
    enum {
        FORMAT,
        MOETAP,
        EXPERTS,
        TOPK,
        COLUMNS,
        SPACE,
        MISSING,
        REQUESTS,
        COMPLETE,
        NUMBERS,
        MOE_LAYERS,
        WEIGHTS_OF,
        WORDS
    };
    const struct group *group = &export->groups[0];
    const struct requests *requests = export->requests[group->segment];
    const struct array *ids = &export->arrays[group->arrays + IDS];
    struct word words[WORDS] = {
        [FORMAT] = {.key = "format", .value = "moetap routed experts 1"},
        [MOETAP] = {.key = "moetap"},
        [EXPERTS] = {.key = "experts"},
        [TOPK] = {.key = "topk"},
        [COLUMNS] = {.key = "layers"},
        [SPACE] = {.key = "id_space"},
        [MISSING] = {.key = "missing"},
        [REQUESTS] = {.key = "requests"},
        [COMPLETE] = {.key = "complete_rows"},
        [NUMBERS] = {.key = "layer_numbers"},
        [MOE_LAYERS] = {.key = "moe_layers", .value = "unknown"},
        [WEIGHTS_OF] = {.key = "weights"},
    };
    uint32_t in_model = 0;
    for (uint32_t g = 0; g < export->group_count; g++)
        in_model += export_fits_config(export, export->groups[g].segment);
    const bool numbered = in_model > 0 && in_model == export->group_count;
#define SAY(word, ...) snprintf(words[word].value, sizeof words[word].value, __VA_ARGS__)
    SAY(MOETAP, "%s", mt_version());
    SAY(EXPERTS, "%u", requests_experts(requests));
    SAY(TOPK, "%llu", (unsigned long long) ids->shape[2]);
    SAY(COLUMNS, "%llu", (unsigned long long) ids->shape[1]);
    SAY(SPACE, "%s", id_space(&export->trace->segments[group->segment], requests));
    SAY(MISSING, "%s", elements[ids->type].is_signed ? "-1" : "the array missing");
    SAY(REQUESTS, "%u", export->passes ? 0 : export->group_count);
    SAY(COMPLETE, "%llu", (unsigned long long) complete_rows(export));
    static const char *const types[] = {"none", "f32", "f16", "bf16"};
    SAY(WEIGHTS_OF, "%s", types[export_weights(export, group->segment)]);
    SAY(NUMBERS, "%s", in_model == 0 ? "MoE layers" : numbered ? "model layers" : "mixed");
#undef SAY
    if (numbered)
        model_config_ranges(export->config, words[MOE_LAYERS].value, sizeof words[MOE_LAYERS].value);
    return export->write(export->output, export->arrays, export->array_count, words, WORDS, &export->error);
}
