/* SPDX-License-Identifier: Apache-2.0 */
/* A recipe in memory: between the parser and the reader, nobody else's. */
#ifndef MOETAP_SHIM_RECIPE_IMPL_H
#define MOETAP_SHIM_RECIPE_IMPL_H

#include "recipe.h"

#define MT_RECIPE_NAMES 8
#define MT_RECIPE_LAYOUTS 8
#define MT_RECIPE_REQUIRES 4

/* One number of a launch. */
struct mt_term {
    enum {
        TERM_NONE,
        TERM_CONSTANT,
        TERM_PARAM,
        TERM_GRID,
        TERM_TEMPLATE,
        TERM_K,
        TERM_ROWS,
        TERM_ANY,
        TERM_LAYER,
        TERM_PASS
    } kind;
    uint32_t index;  /* parameter, grid axis or template argument */
    uint32_t offset; /* in a by-value struct */
    uint32_t bytes;  /* 0: as the parameter's own size says */
    bool device;     /* the parameter points to it, and so does the offset: only the GPU can read it */
    uint64_t value;  /* constant */
};

struct mt_expr {
    struct mt_term a, b; /* a, a / b (must divide), a * b, a + b or a - b (not negative) */
    char operation;      /* '/', '*', '+' or '-' */
    unsigned line;
};

struct mt_recipe {
    char name[64];
    unsigned line;
    enum mt_recipe_kind kind;
    char kernels[MT_RECIPE_NAMES][96]; /* base names, * and ? allowed */
    unsigned kernel_count;
    char within[96];  /* somewhere in the demangled name */
    char suffix[128]; /* at the end of the mangled name */
    struct {
        uint32_t count;
        bool open; /* any further parameters */
        uint32_t size[MT_KERNEL_PARAMS_MAX];
    } layouts[MT_RECIPE_LAYOUTS];
    unsigned layout_count;
    struct mt_expr ids, rows, k, experts, stride, column, start, input, once, starts, sequences, positions, index,
        block, groups, apart;
    struct mt_expr weights, weights_stride, mapped;
    uint32_t skip; /* bytes from where ids points to the first id: ids packed with something else */
    enum mt_id_space id_space;
    enum mt_dtype dtype;
    int dtype_template; /* -1, or the template argument that names the type */
    enum mt_weight_type weights_type;
    int weights_template; /* as dtype_template */
    unsigned weights_type_line;
    struct {
        struct mt_expr left, right;
        bool at_least; /* >=, else == */
    } require[MT_RECIPE_REQUIRES];
    unsigned require_count;
    uint32_t experts_min, experts_max, k_min, k_max;
    char final[64], until[64], behind[64];
    unsigned final_line, until_line, behind_line;
    char note[160];
    uint32_t keys_seen; /* while parsing */
};

struct mt_recipes {
    size_t count, room;
    struct mt_recipe *all; /* in the order of trial */
};

/* Appends what `text` says. 0, or -1 with "FILE:LINE: ..." in `why`. */
int mt_recipes_parse(struct mt_recipes *recipes, const char *file, const char *text, char *why, size_t size);

/* The type that a template argument names, MT_DTYPE_NONE if none of ours. */
enum mt_dtype mt_dtype_of_cpp(const char *name);
enum mt_weight_type mt_weight_type_of_cpp(const char *name);

/* Generated from recipes/: one text. */
extern const char mt_builtin_recipes[];

#endif
