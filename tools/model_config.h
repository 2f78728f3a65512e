/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a model's config.json (Hugging Face) says about its routers: how many experts, how many are chosen, and which of
 * the model's layers are MoE layers. A trace counts MoE layers only.
 */
#ifndef MOETAP_TOOLS_MODEL_CONFIG_H
#define MOETAP_TOOLS_MODEL_CONFIG_H

#include "../shm/reader.h"

struct model_config {
    uint32_t layers; /* of the model */
    uint32_t experts, k;
    uint32_t moe_layers;
    uint32_t *numbers; /* of MoE layer i in the model */
};

/* -EINVAL: it is no such file, or does not tell all of this. */
int model_config_read(const char *path, struct model_config **config, struct mt_error *error);
void model_config_free(struct model_config *config); /* NULL allowed */

/* Does the model route as a trace's segment shows? `experts` 0: the trace does not tell. */
bool model_config_agrees(const struct model_config *config, uint32_t moe_layers, uint32_t experts, uint32_t k);
/* The line on stderr if it does not. */
void model_config_warn(const struct model_config *config, const char *path, uint32_t segment, uint32_t moe_layers,
                       uint32_t experts, uint32_t k);

/* The same where all sites' layers are unknown: their order is no proof. */
void model_config_warn_unknown(const char *path, uint32_t segment);

/* "3-60" or "1,3,5"; cut off at `size`. */
void model_config_ranges(const struct model_config *config, char *text, size_t size);

#endif
