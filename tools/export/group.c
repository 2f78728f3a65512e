/* SPDX-License-Identifier: Apache-2.0 */
/* The arrays of one group, all missing at first, and how ids come into them. */
#include "export.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void export_put(const struct array *array, size_t index, int32_t value)
{
    switch (elements[array->type].size) {
    case 1:
        ((uint8_t *) array->data)[index] = (uint8_t) value;
        break;
    case 2:
        ((uint16_t *) array->data)[index] = (uint16_t) value;
        break;
    default:
        ((int32_t *) array->data)[index] = value;
    }
}

static bool fits(enum element_type type, int32_t id)
{
    static const int32_t most[] = {INT32_MAX, INT16_MAX, UINT16_MAX, UINT8_MAX};
    return id <= most[type];
}

uint32_t export_column(const struct export *export, uint32_t layer)
{
    return export->model_layers ? export->config->numbers[layer] : layer;
}

void export_put_row(struct export *export, const struct group *group, uint64_t to, uint32_t layer,
                    const struct pass_layer *from, uint32_t row)
{
    const struct array *array = &export->arrays[group->arrays + IDS];
    const uint32_t experts = requests_experts(export->requests[group->segment]);
    const int32_t *ids = from->ids + (size_t) row * from->k;
    const float *weights = from->weights ? from->weights + (size_t) row * from->k : NULL;
    size_t at = (to * array->shape[1] + export_column(export, layer)) * array->shape[2];
    for (uint32_t j = 0; j < from->k && j < array->shape[2]; j++) {
        if (ids[j] < 0)
            continue;
        if (experts && (uint32_t) ids[j] >= experts) {
            export->strangers++;
            continue;
        }
        if (!fits(array->type, ids[j])) {
            export->misfit = ids[j];
            continue;
        }
        export_put(array, at + j, ids[j]);
        if (group->mask)
            ((uint8_t *) export->arrays[group->mask].data)[at + j] = 0;
        if (group->weights && weights)
            ((float *) export->arrays[group->weights].data)[at + j] = weights[j];
    }
}

enum mt_weight_type export_weights(const struct export *export, uint32_t segment)
{
    const struct trace_view *view = &export->trace->segments[segment];
    for (uint32_t i = 0; i < view->site_count; i++) {
        if (requests_column(export->requests[segment], i) >= 0 && view->sites[i].weights)
            return view->sites[i].weights;
    }
    return MT_WEIGHT_NONE;
}

int export_add_array(struct export *export, struct array array, int fill)
{
    size_t size = array_size(&array);
    array.data = malloc(size + 1);
    if (!array.data)
        return -ENOMEM;
    memset(array.data, fill, size);
    export->arrays[export->array_count++] = array;
    return 0;
}

/* Unknown layers are put in an order that is likely, not certain. */
bool export_layers_known(const struct export *export, uint32_t segment)
{
    const struct trace_view *view = &export->trace->segments[segment];
    for (uint32_t i = 0; i < view->site_count; i++) {
        if (requests_column(export->requests[segment], i) >= 0 && view->sites[i].layer == MT_LAYER_UNKNOWN)
            return false;
    }
    return true;
}

bool export_fits_config(const struct export *export, uint32_t segment)
{
    const struct requests *r = export->requests[segment];
    const uint32_t k = export->k ? export->k : requests_k(r);
    return export->config && export_layers_known(export, segment) &&
           model_config_agrees(export->config, export_layers(export, segment), requests_experts(r), k);
}

int export_add_group(struct export *export, uint64_t rows, uint32_t segment, const char *prefix)
{
    const struct requests *requests = export->requests[segment];
    const bool numbered = export_fits_config(export, segment);
    if (export->k > requests_k(requests)) {
        snprintf(export->error.text, sizeof export->error.text, "--topk=%u: rows have %u ids", export->k,
                 requests_k(requests));
        return -EINVAL;
    }
    if (export->model_layers && !numbered) {
        snprintf(export->error.text, sizeof export->error.text,
                 "--layers=model: %.100s does not fit segment %u (%u MoE layers, top %u of %u)", export->config_path,
                 segment, export_layers(export, segment), requests_k(requests), requests_experts(requests));
        return -EINVAL;
    }
    uint64_t layers = export->model_layers ? export->config->layers : export_layers(export, segment);
    uint64_t k = export->k ? export->k : requests_k(requests);
    int type = export->type;
    if (type < 0)
        type = requests_experts(requests) && requests_experts(requests) <= 256 ? ELEMENT_UINT8 : ELEMENT_UINT16;
    struct group *group = &export->groups[export->group_count++];
    *group = (struct group){.rows = rows, .arrays = (uint32_t) export->array_count, .segment = segment};
    const bool mask = !elements[type].is_signed;
    struct array of[WEIGHTS + 1] = {
        [IDS] = {"routed_experts", (enum element_type) type, 3, {rows, layers, k}, NULL},
        [TOKENS] = {"token_ids", ELEMENT_INT32, 1, {rows}, NULL},
        [POSITIONS] = {"positions", ELEMENT_INT32, 1, {rows}, NULL},
        [LAYERS] = {"layers", ELEMENT_INT32, 1, {layers}, NULL},
        [MASK] = {"missing", ELEMENT_BOOL, 3, {rows, layers, k}, NULL},
        [WEIGHTS] = {"topk_weights", ELEMENT_FLOAT32, 3, {rows, layers, k}, NULL},
    };
    for (uint32_t i = 0; i <= WEIGHTS; i++) {
        if ((i == MASK && !mask) || (i == WEIGHTS && export_weights(export, segment) == MT_WEIGHT_NONE))
            continue;
        if (i == MASK)
            group->mask = (uint32_t) export->array_count;
        if (i == WEIGHTS)
            group->weights = (uint32_t) export->array_count;
        char name[16];
        memcpy(name, of[i].name, sizeof name);
        snprintf(of[i].name, sizeof of[i].name, "%.23s%.15s", prefix, name);
        /* As a float that is NaN, with bits that no arithmetic yields. */
        if (export_add_array(export, of[i], i == MASK ? 1 : i == IDS && mask ? 0 : 0xff) != 0)
            return -ENOMEM;
    }
    const struct array *shown = &export->arrays[group->arrays + LAYERS];
    for (uint32_t i = 0; i < layers; i++)
        ((int32_t *) shown->data)[i] = (int32_t) (numbered && !export->model_layers ? export->config->numbers[i] : i);
    return 0;
}
