/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recipes: how to read one kernel family's topk_ids from a launch. Data in a small text format (docs/recipes.md);
 * built-in ones are compiled in from shim/recipes/, a user's file goes on top and is tried first.
 */
#ifndef MOETAP_SHIM_RECIPE_H
#define MOETAP_SHIM_RECIPE_H

#include "../../shm/layout.h"

#include <stdbool.h>
#include <stddef.h>

struct mt_launch; /* cupti/launch.h; only who reads launches needs it, and with it CUDA's headers */

#define MT_KERNEL_PARAMS_MAX 64
#define MT_TEMPLATE_ARGS_MAX 24
#define MT_GROUPS_MAX 16 /* of the KV cache; engines have up to 7 */

/* What the driver says of a kernel, taken at its first launch. */
struct mt_kernel_info {
    const char *mangled;
    char base[128];      /* demangled, no namespace, no template arguments: topkGatingSoftmax */
    char demangled[512]; /* cut to fit */
    char template_args[MT_TEMPLATE_ARGS_MAX][64]; /* of the last component, as demangled: "128", "long", "(ns::E)0" */
    unsigned template_count;
    uint64_t const_pointers; /* bit i: parameter i points to const, as the mangled signature says */
    unsigned param_count;
    struct {
        uint32_t offset, size;
    } param[MT_KERNEL_PARAMS_MAX];
};

/* Fills name fields from the mangled name (extern "C" and Triton names have no template arguments). */
void mt_kernel_info_set_name(struct mt_kernel_info *info, const char *mangled);

enum mt_recipe_kind {
    MT_RECIPE_ROUTER = 0, /* writes the ids: tap it */
    MT_RECIPE_FINAL = 1,  /* reorders a router's ids in place (sort after top-k): tap behind it */
    MT_RECIPE_NO_IDS = 2, /* routes inside and stores no ids: count as not captured */
    MT_RECIPE_CONSUMER =
        3, /* only reads the ids: they stay intact until it has run; the place to tap where no router is */
    /* What the rows of a pass are: one value each. */
    MT_RECIPE_SLOTS = 4,
    MT_RECIPE_POSITIONS = 5,
    MT_RECIPE_TOKENS = 6,
    /* What the sequences of a pass are. */
    MT_RECIPE_STARTS = 7,
    MT_RECIPE_BLOCKS = 8,
    MT_RECIPE_MAP = 9, /* turns a router's ids into others of the same shape (load balancing) */
    /* What a pass is where each sequence has as many rows as any: told by a launch itself, nothing is read. */
    MT_RECIPE_BATCH = 10,
    MT_RECIPE_CACHE = 11,
    MT_RECIPE_READS = 12, /* what the rows of a pass attend to */
    /* The same by sequence, and in a pass of prompts how many rows each has. */
    MT_RECIPE_LENGTHS = 13,
    MT_RECIPE_KV_INDICES = 14,
    MT_RECIPE_ORDER = 15, /* puts a batch's cache in another order: beams */
};

/* After load balancing an engine's ids name physical copies of experts; before it, experts of the model. */
enum mt_id_space { MT_IDS_UNKNOWN = 0, MT_IDS_LOGICAL = 1, MT_IDS_PHYSICAL = 2 };

struct mt_recipe; /* opaque, immutable after load */
struct mt_recipes;

/* One launch's routing, as a recipe reads it. */
struct mt_routing {
    uint64_t ids; /* device address of [rows, k]; of a cache: of what the pass leaves; of a batch: 0 */
    enum mt_dtype dtype;
    uint32_t rows; /* of a batch, 0: not told */
    uint32_t k;
    uint32_t experts;   /* of row context: how many values there are; 0: not told by the launch */
    uint64_t stride;    /* elements from a row to the next; of a batch: rows of each sequence; of a cache: bytes of one
                           in what the pass leaves, 0: not told */
    uint64_t column;    /* elements from one id of a row to its next */
    uint64_t input;     /* device address of the logits or scores, 0 if the recipe does not say; of a cache: of what the
                           pass goes on with; of an order: of the cache that is put in it */
    uint64_t count;     /* of row context: device address of an int32, how many of the rows there are; 0: all */
    uint64_t starts;    /* of a block table: device address of [rows + 1] int32, the sequences' first rows */
    uint64_t positions; /* and of the rows' positions, int64 */
    uint64_t index;  /* and of [rows] int32, which of the table's rows is each sequence's; 0: in order. Of kv_indices:
                        of [rows] int64 */
    uint64_t block;  /* slots of a KV block; 0: no block table */
    uint32_t groups; /* of the KV cache that one launch is for, each with slots or a block table of its own; else 1 */
    uint64_t apart;  /* bytes from the ids of a group to those of the next */
    /* Of a block table: these are device addresses of so many bytes that hold them; 0: they are themselves. */
    uint8_t ids_at, stride_at, block_at;
    uint64_t once;    /* what differs from layer to layer, 0 if the recipe does not say; of an order: address of the
                         cache in it */
    uint64_t weights; /* device address of [rows, k], side by side in a row; 0: not to be had, `no_weights` says why */
    enum mt_weight_type weights_type;
    uint64_t weights_stride;
    const char *no_weights; /* static string */
};

/*
 * Parses the built-in recipes, then `user_text` (NULL: none) named `file` for messages. On a mistake returns NULL and
 * `why` is "FILE:LINE: what was found, what was expected".
 */
struct mt_recipes *mt_recipes_load(const char *file, const char *user_text, char *why, size_t size);
void mt_recipes_free(struct mt_recipes *recipes);

size_t mt_recipes_count(const struct mt_recipes *recipes);
const struct mt_recipe *mt_recipes_get(const struct mt_recipes *recipes, size_t index);
const char *mt_recipe_name(const struct mt_recipe *recipe);
/* By enum mt_recipe_kind, as recipes have them; NULL behind the last. */
extern const char *const mt_recipe_kind_names[];
enum mt_recipe_kind mt_recipe_kind(const struct mt_recipe *recipe);
/* What a no-ids recipe advises, "" if nothing. */
const char *mt_recipe_note(const struct mt_recipe *recipe);
enum mt_id_space mt_recipe_id_space(const struct mt_recipe *recipe);
/* What its records hold; MT_SITE_ROUTER for all but row context. */
enum mt_site_kind mt_recipe_site_kind(const struct mt_recipe *recipe);
/* What a launch for several groups of the KV cache says of this one; it was read for the first. */
void mt_routing_of_group(struct mt_routing *routing, uint32_t group);
/* Row context that comes once a layer, and only the weights before it tell which layer that is? */
bool mt_recipe_once_by_layer(const struct mt_recipe *recipe);
/* Row context only if a launch of the batch that it names soon follows? */
bool mt_recipe_waits(const struct mt_recipe *recipe);
bool mt_recipe_waits_for(const struct mt_recipe *recipe, const struct mt_recipe *batch);
/* Row context only in a batch whose positions were read by the recipe that it names? */
bool mt_recipe_needs_batch(const struct mt_recipe *recipe);
bool mt_recipe_needs(const struct mt_recipe *recipe, const struct mt_recipe *positions);
/* A batch that runs in every layer: only the first one behind a look-up of tokens is its pass's? */
bool mt_recipe_once_a_pass(const struct mt_recipe *recipe);
/* Base names of the kernels, NULL behind the last. */
const char *mt_recipe_kernel(const struct mt_recipe *recipe, unsigned index);
/* Can launches be read by mt_recipe_read()? Routers always; consumers if the recipe tells rows, k and dtype. */
bool mt_recipe_tells_shape(const struct mt_recipe *recipe);
/* For a router: will a MT_RECIPE_FINAL kernel possibly follow (the tap must wait for the next launch)? */
bool mt_recipe_has_final(const struct mt_recipe *recipe);
/* Is `final` (kind FINAL) the kernel that this router's recipe names in `final = NAME`? */
bool mt_recipe_is_final_of(const struct mt_recipe *final, const struct mt_recipe *router);

/* Would mt_recipes_load() take `text`? `count`: how many recipes are in it. `why` as above. */
bool mt_recipes_check(const char *file, const char *text, size_t *count, char *why, size_t size);

/*
 * First recipe that fits the kernel's fingerprint: name, and template arguments, parameter count and sizes, mangled
 * suffix as far as the recipe states them. NULL if none. If a name fitted and the rest did not, `why` gets one line
 * (else it is empty): such a kernel is a known router of an unknown release.
 */
const struct mt_recipe *mt_recipes_match(const struct mt_recipes *recipes, const struct mt_kernel_info *kernel,
                                         char *why, size_t size);

/*
 * The next one behind `recipe` that fits the kernel's fingerprint as well and is of the same kind, NULL if none: for
 * launches that `recipe` cannot read, since a fingerprint does not always tell which parameter is which. Behind routers
 * also one that says why there are no ids.
 */
const struct mt_recipe *mt_recipes_next(const struct mt_recipes *recipes, const struct mt_kernel_info *kernel,
                                        const struct mt_recipe *recipe);

/* Row context of other kinds that the same kernel shows, in the order of trial; returns how many. `recipe`: the one
 * that fitted first. */
unsigned mt_recipes_also(const struct mt_recipes *recipes, const struct mt_kernel_info *kernel,
                         const struct mt_recipe *recipe, const struct mt_recipe **also, unsigned room);

/*
 * Reads a launch. False with a reason (static string) if it is no router's: out of the recipe's limits (a sampler), no
 * rows, null ids. Allocates nothing, takes no lock.
 */
bool mt_recipe_read(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel, const struct mt_launch *launch,
                    struct mt_routing *routing, const char **why);

/* Bytes of one id. */
uint32_t mt_dtype_size(enum mt_dtype dtype);

/* Of a map: the ids that it makes of those that a router on the same stream chose; their shape is the router's. */
bool mt_recipe_read_map(const struct mt_recipe *recipe, const struct mt_kernel_info *kernel,
                        const struct mt_launch *launch, const struct mt_routing *router, struct mt_routing *mapped,
                        const char **why);

/*
 * Does the kernel only read what its parameter i points to? Said by its signature (pointer to const) or by `recipe`,
 * the one that mt_recipes_match() found for it, if that is a consumer. False if nobody knows.
 */
bool mt_kernel_only_reads(const struct mt_kernel_info *kernel, const struct mt_recipe *recipe, unsigned i);

/* The launch's flat parameter buffer, if it was given one (`extra`), and its size; else NULL. */
const void *mt_launch_packed(const struct mt_launch *launch, size_t *size);

/* The i-th parameter's bytes in this launch (kernelParams or packed extra), NULL if it has none. */
const void *mt_launch_param(const struct mt_kernel_info *kernel, const struct mt_launch *launch, unsigned i);

#endif
