/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which routers belong together: models, whose layers are numbered together, and the sites that a segment's records
 * name.
 */
#ifndef MOETAP_SHIM_LAYER_GROUP_H
#define MOETAP_SHIM_LAYER_GROUP_H

#include "../lane.h"
#include "once.h"
#include "../tap/state.h"

struct mt_model; /* shared by all lanes */

/* A model's routers on one lane, of one recipe: prefill and decode often take different kernels. Guarded by the lane's
 * lock. */
struct mt_group {
    struct mt_group *next;
    const struct mt_recipe *recipe;
    struct mt_model *model;
    struct mt_group *mapped;    /* list: of these routers' ids, as maps turned them into others */
    struct mt_group *from;      /* of a group in such a list: the routers' */
    bool stage;                 /* a stage of grouped routing, no router: not tapped any more */
    uint32_t last;              /* history count behind the model's last router, whatever recipe read it */
    struct mt_tap_state *state; /* whose sites these are */
    struct mt_firsts *firsts;   /* of row context in once_state; NULL: not looked up yet */
    struct mt_once *once;
    struct mt_tap_state *once_state;
    uint32_t told; /* version of what its sites say of their models */
    uint32_t sites_len;
    struct mt_group_site {
        int32_t index; /* -1: none yet */
        int32_t counter;
        bool graph;   /* flagged as MT_SITE_GRAPH */
        bool weights; /* their type is told */
        struct mt_occurrences occurrences;
    } * sites; /* [layer + 1] */
};

/* The lane is locked, for all of these. NULL: out of memory. */
struct mt_group *mt_group_find(struct mt_lane *lane, const struct mt_recipe *recipe, uint32_t experts, uint32_t k);

/* What this map, of a lane's routers, turns their ids into. */
struct mt_group *mt_group_mapped(struct mt_group *from, const struct mt_recipe *recipe, uint32_t experts, uint32_t k);

/* A router's tap: its layer is one more of a run. Its group's sites get what is known by now of whose layers they are.
 */
void mt_group_ran(struct mt_lane *lane, struct mt_group *group, bool capturing, const struct mt_routing *routing,
                  int32_t layer);

/* A capture of the lane is over. */
void mt_group_captured(struct mt_lane *lane);

/* The layer of the lane's newest launch. */
int32_t mt_group_identify(struct mt_lane *lane, struct mt_group *group);

/* The site of a layer on this lane, made at its first router. NULL: no room. */
struct mt_group_site *mt_group_site(struct mt_lane *lane, struct mt_group *group, struct mt_tap_state *state,
                                    const struct mt_kernel *kernel, const struct mt_routing *routing, int32_t layer);

/*
 * Grouped routing made of plain top-ks (DeepSeek in transformers): [T * G, E / G] inside the groups, [T, G] of the
 * groups, then [T, E]. Only the last one chooses experts; the shapes of the three cannot come from anything else.
 */
void mt_group_stages(struct mt_lane *lane, struct mt_group *group, const struct mt_routing *routing);

/* Of the launches of row context that come with every layer: is it the one that speaks for all? */
bool mt_group_speaks(struct mt_group *group, struct mt_tap_state *state, uint64_t address);

#endif
