/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of engines by their signatures: names and parameters as the engines' sources and binaries have them, for
 * kernels of our own on the software device, for the program that launches them, and for the test of both.
 */
#ifndef MOETAP_TEST_SIGNATURE_H
#define MOETAP_TEST_SIGNATURE_H

#include "../softcuda/softcuda.h"

#include <stdbool.h>

/* What a launch is about. */
struct shape {
    unsigned rows, k, experts;
};

enum role {
    ROUTER,   /* writes ids and weights */
    FINAL,    /* turns each row of `with`'s round */
    MAP,      /* makes other ids of those of `with` */
    READER,   /* reads the ids of `with` */
    CONSUMER, /* reads the ids of a router that nobody knows */
    CONTEXT,  /* reads what the rows of a pass are, ahead of `with` */
    NO_IDS,   /* keeps what it chose to itself */
};

struct signature {
    const char *recipe; /* which must take it */
    enum role role;
    const char *mangled;
    /*
     * NAME:TYPE[=VALUE] for each parameter. Types: i8 bool i16 u16 f16 bf16 i32 u32 f32 i64 u64 f64, `*` behind it for
     * a pointer, [N] for an array, {...} around a struct. VALUE: a number or rows, k, experts; `*`,
     * `+`, `-` another, or `/` another, rounded up. Names that mean something: rows, k, experts (have these values
     * without being told), logits, ids, weights, mapped; slots, positions, tokens, starts, blocks, reads, lengths,
     * kv_indices, order; layer (an address that is this layer's own). Pointers of other names are readable,
     * numbers of other names make no sense.
     */
    const char *params;
    const char *grid;   /* up to three VALUEs; NULL: 1 */
    const char *layout; /* of the ids, three VALUEs: stride, column, skip in bytes; NULL: dense */
    struct shape fixed; /* what the kernel was compiled for; 0: any */
    const char *with;   /* recipe of the router that it needs */
    const char *shows;  /* of row context: which of slots, positions, ... the recipe is about */
    bool untold;        /* the launch does not tell how many experts there are */
    bool once_a_pass;   /* row context: of its first layer, not of each */
    unsigned groups;    /* of the KV cache: 2; 0: it knows of none */
    const char
        *among; /* row context that only counts in a sequence of launches: its recipes in order, this one's too */
};

#define SIGNATURES_MAX 512
extern const struct signature signatures[]; /* .mangled == NULL behind the last */

struct field {
    char name[24], type[8], value[40];
    bool pointer;
    unsigned offset, size; /* of one element, or of the pointer */
    unsigned count;
};

struct layout {
    struct softcuda_param param[64];
    struct field field[64];
    unsigned params, fields, bytes;
};

/* Aborts on a mistake in the text, as the compiler would. */
void layout_of(struct layout *layout, const struct signature *signature);
const struct field *field_of(const struct layout *layout, const char *name); /* NULL: none */
unsigned type_size(const char *type);
/* The text's next VALUE. */
unsigned value_of(const char **text, struct shape shape);
/* Where the ids lie: elements from row to row, from id to id, and bytes ahead of the first. */
struct place {
    unsigned stride, column, skip;
};
struct place place_of(const struct signature *signature, struct shape shape);

#define SLOTS_OF_BLOCK 16 /* in a KV cache */
#define BLOCKS_OF_SEQUENCE 8
#define SEQUENCES 3
/* The other group of a KV cache has blocks twice as large, in tables half as wide. */
#define OTHER_SLOTS_OF_BLOCK (2 * SLOTS_OF_BLOCK)
#define OTHER_BLOCKS_OF_SEQUENCE (BLOCKS_OF_SEQUENCE / 2)

#endif
