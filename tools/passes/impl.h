/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of tools/passes/, nobody else's. Row context comes into the window, routers into the lane of their stream and
 * model; a lane's pass that is over takes from the window what is its own.
 */
#ifndef MOETAP_TOOLS_PASSES_IMPL_H
#define MOETAP_TOOLS_PASSES_IMPL_H

#include "../passes.h"

#define KINDS 12u   /* enum mt_site_kind */
#define WINDOW 128u /* numbers of row context that are remembered: a pass takes a few of them */

/* One number of row context: its record, if it came, and who routed right behind it. */
struct context {
    uint64_t number;  /* 0: nothing here yet */
    bool seen, taken; /* its record came; a pass took it */
    bool foreign;     /* slots of another space: as if it were not there */
    bool joins;       /* came in the midst of its pass, which what is ahead of it ties */
    bool graph;       /* of its site, as is its stream */
    uint64_t kernel;  /* a hash of its name */
    uint8_t kind;
    uint32_t site, stream, rows;
    uint32_t ran; /* of a planner's slots: rows of those that a kernel then used, with padding */
    size_t room;  /* values that fit */
    int32_t *values;
    bool routed;    /* routers with exactly this number came: what lies before it is an earlier pass's */
    uint32_t lane;  /* of the first of them */
    bool ambiguous; /* routers of several streams did: whose rows these are nothing tells */
    bool used;      /* that lane's pass was handed out or given up */
};

/*
 * Sites that run together count together. step - base is the number of the pass within a class of sites; a loss leaves
 * it right.
 */
struct counted {
    uint32_t lane; /* index + 1 of the one that takes its records, 0: none yet */
    struct mt_site site;
    uint32_t class; /* 0: not known yet */
    uint64_t base;
    uint32_t taken, left; /* row context: how often a pass took it, or none came behind it */
};

struct layer {
    struct pass_layer shown;
    size_t ids_at;
    bool weighted;
};

/* The pass that is under way on one stream for one model. */
struct lane {
    uint32_t stream;
    bool open, shares; /* shares: context is there, but not for this pass */
    uint64_t context, first_seq, time_ns;
    uint64_t lost;        /* at its latest record */
    uint64_t lost_before; /* at the latest record of the pass before */
    bool ran, first;      /* there was a pass before; this is the first */
    uint32_t flags, class;
    uint64_t count, step; /* in its class; of its first record */
    struct layer *layers;
    uint32_t layer_count, layer_room;
    int32_t *ids;
    float *weights; /* as many, NULL before the first record that has some */
    size_t id_count, id_room, weight_room;
};

struct passes {
    pass_take *take;
    void *user;
    struct context contexts[WINDOW];
    struct lane *lanes;
    uint32_t lane_count;
    struct counted *sites;
    uint32_t site_count;
    uint32_t classes;
    uint64_t lost;    /* told so far */
    uint64_t context; /* looked at so far */
    bool slots_seen;  /* of passes with routers */
    bool has_group;   /* of the KV cache: */
    uint32_t group;   /* the first one that had slots */
    struct pass_arrays arrays;
    bool has_home; /* the slot space: */
    uint32_t home; /* its first site */
    char home_recipe[64];
    uint64_t home_kernel;
    uint64_t planner; /* the kernel that shows a pass's sequences, as a hash of its name */
    struct pass_layer *shown;
    uint32_t shown_room;
    int32_t *lists; /* starts, and blocks of one slot behind them, of kv_indices */
    size_t list_room;
};

/* -ENOMEM. */
int passes_know_site(struct passes *passes, uint32_t site);

/* window.c: the latest numbers of row context. */

/* The place of a number; NULL if it has been forgotten. */
struct context *window_at(struct passes *passes, uint64_t number);
/* A record of row context. -ENOMEM. */
int window_take(struct passes *passes, const struct mt_site *site, const struct mt_record *record, const void *ids);
/* The number that ties, of those that a record was given: slots of another space come in the midst of a pass. */
uint64_t window_tying(struct passes *passes, uint64_t number);
/* The one ahead of `number` that came behind the pass before, as far back as no number is missing. */
struct context *window_ahead(struct passes *passes, const struct lane *lane, uint64_t number);
/*
 * Of two streams that run at once each has row context of its own, in one row of numbers. A stream that has none takes
 * another's: engines route on a side stream, or in a graph and give slots outside of it.
 */
bool window_has_own(const struct passes *passes, const struct lane *lane);
bool window_is_anothers(const struct lane *lane, const struct context *context, bool own_stream);
/* Did rows run since the pass before of which nothing is shown? */
bool window_find_hole(struct passes *passes, uint64_t up_to);

/* space.c: whose slots. */

uint64_t space_hash(const char *text, size_t size);
/* Are these slots of another space than the pass's? `site`: theirs. */
bool space_is_another(struct passes *passes, const struct mt_site *site, const struct context *context);
/* A kernel shows a pass's sequences for the first time. */
void space_find_planner(struct passes *passes, const struct context *starts);

/* lane.c: the pass under way. */

/* The lane that takes the records of a site, made if need be. NULL: out of memory. */
struct lane *lane_of(struct passes *passes, const struct mt_site *site, uint32_t index);
/* Is a record of the pass that is under way? */
bool lane_belongs(const struct passes *passes, const struct lane *lane, const struct mt_site *site,
                  const struct mt_record *record);
void lane_start(struct passes *passes, struct lane *lane, const struct mt_site *site, const struct mt_record *record);
/* The record's site is of the lane's pass: from now on all that counted with it count with that pass's. */
void lane_count_with(struct passes *passes, const struct lane *lane, const struct mt_record *record);
/* -ENOMEM. */
int lane_add_layer(struct lane *lane, const struct mt_site *site, const struct mt_record *record, const void *ids);
/* Have all its layers so many? */
bool lane_all_rows(const struct lane *lane, uint32_t rows);

/* rows.c: what a pass's rows are. */

/* Fills in all that the window holds of the lane's pass. */
void rows_find(struct passes *passes, const struct lane *lane, struct pass *pass);
void rows_show(struct passes *passes, struct pass *pass, struct context *const *of_kind);
void rows_leave_unplaced(struct pass *pass, const int32_t *slots, uint32_t rows);

/* sequences.c: the same where the engine shows its sequences. False: it shows none. */
bool sequences_find(struct passes *passes, const struct lane *lane, struct pass *pass);

/* lists.c: kv_indices. */

/* Room for what is made of them. -ENOMEM. */
int lists_know(struct passes *passes, int32_t sequences, uint32_t words);
/* Where their sequences begin: as their lengths say, or each has one row. NULL if they make no sense. */
const int32_t *lists_starts(const struct passes *passes, const struct context *lists, const struct context *lengths);
/* False, and nothing is shown: these lists are not the pass's. */
bool lists_show(struct passes *passes, struct pass *pass, const struct context *lists, bool decodes);

/* arrays.c: slots of several groups of layers, one behind the other in one pass. */

/* Chooses the slots that speak for the pass, and what is attended to, of all that the pass was shown. */
void arrays_choose(struct passes *passes, const struct lane *lane, struct context *of_kind[KINDS]);

/* batch.c: a batch that has the pass's rows, and its cache. */
void batch_show(struct pass *pass, struct context *const *of_kind);

#endif
