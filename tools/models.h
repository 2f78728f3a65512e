/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which layers are one model's? All routers to k of E experts are numbered together, a draft model's layers among them.
 * The layers of a model run equally often; those that do not are of different ones. Layers that run equally often by
 * chance (a draft that runs once a pass) look like one model's, unless the shim told them apart (struct mt_site.model).
 */
#ifndef MOETAP_TOOLS_MODELS_H
#define MOETAP_TOOLS_MODELS_H

#include "../shm/reader.h"

#include <stdbool.h>

struct models;

struct models *models_new(void); /* NULL: out of memory */
void models_free(struct models *models);

/* A record, in the order of one segment's stream. -ENOMEM. */
int models_note(struct models *models, const struct mt_site *site, const struct mt_record *record);

/* The model of the site's layer among those of its E and k, from 0; as far as known by now. */
uint32_t models_of(struct models *models, const struct mt_site *site);

/* How many models there are by now: when it has changed, so have their numbers. */
uint32_t models_count(struct models *models);

static inline bool models_same(const struct mt_site *a, const struct mt_site *b)
{
    return a->experts == b->experts && a->k == b->k && a->model == b->model;
}

/* Of a router with a known layer: is it the first of the sites that have this one? */
bool models_names_first(const struct mt_site *sites, uint32_t index);

/* How many layers the site's model has, and those that are not identified. */
uint32_t models_layers(const struct mt_site *sites, uint32_t count, const struct mt_site *site);

/* Has another model of this E and k more layers, or as many and a smaller number? Then this one is a draft, or so. */
bool models_beside(const struct mt_site *sites, uint32_t count, const struct mt_site *site);

/* How many layers with a smaller number than the site's are of other models of its E and k. */
uint32_t models_others_below(const struct mt_site *sites, uint32_t count, const struct mt_site *site);

#endif
