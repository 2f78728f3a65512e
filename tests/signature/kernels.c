/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of our own with the engines' signatures: a plugin of the software device. What they choose is arithmetic on
 * one word of the logits; where it lies is the engines'.
 */
#include "signature.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define P(type, i) (*(type *) b->params[i])
#define SIGNATURES_MAX 256

static struct {
    struct softcuda_kernel kernel;
    struct layout layout;
} made[SIGNATURES_MAX];

static uint32_t mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

/* weight, logits, rows, step */
static void run_gemm(const struct softcuda_block *b)
{
    for (uint32_t row = 0; row < P(uint32_t, 2); row++)
        P(uint32_t *, 1)[row] = mix(*P(const uint32_t *, 0) ^ mix(row * 2654435761u + *P(const uint32_t *, 3)));
}

/* Also what stands in ids where no expert was chosen, or none of the model's. */
static int64_t chosen(uint32_t seed, unsigned row, unsigned slot, unsigned k, unsigned experts)
{
    if (row % 7 == 3)
        return -1; /* padding */
    if (row % 11 == 9)
        return slot; /* logits that are no numbers */
    if (row % 13 == 5 && slot == k - 1)
        return experts; /* another rank's, or a shared one */
    unsigned first = seed % experts, step = experts % 3 ? 3 : 1;
    return (first + slot * step) % experts;
}

static void store(unsigned char *to, unsigned size, int64_t id)
{
    memcpy(to, &id, size);
}

/* Exact in each of the types. */
static float weight(uint32_t seed, unsigned slot)
{
    return (float) (mix(seed + slot) % 64) / 64.0f;
}

static void store_weight(unsigned char *to, const char *type, float value)
{
    uint32_t bits;
    uint16_t half;
    memcpy(&bits, &value, sizeof bits);
    if (strcmp(type, "f32") == 0) {
        memcpy(to, &bits, sizeof bits);
    } else if (strcmp(type, "bf16") == 0) {
        half = (uint16_t) (bits >> 16);
        memcpy(to, &half, sizeof half);
    } else {
        half = bits ? (uint16_t) (bits >> 13 & 0x3ff) | (uint16_t) (((bits >> 23 & 0xff) - 112) << 10) : 0;
        memcpy(to, &half, sizeof half);
    }
}

struct call {
    const struct signature *signature;
    const struct layout *layout;
    const unsigned char *args;
    struct shape shape;
};

static uint64_t argument(const struct call *call, const char *name)
{
    const struct field *field = field_of(call->layout, name);
    uint64_t value = 0;
    if (field)
        memcpy(&value, call->args + field->offset, field->size);
    return value;
}

/* What the kernel knows: by parameter, by the grid, or because it was compiled for it; else it is 1. */
static unsigned known(const struct call *call, const char *name, unsigned fixed, struct softcuda_dim grid)
{
    const unsigned axes[] = {grid.x, grid.y, grid.z};
    const char *at = call->signature->grid;
    if (field_of(call->layout, name))
        return (unsigned) argument(call, name);
    for (unsigned i = 0; at && *at && !fixed; i++) {
        size_t n = strcspn(at, " ");
        if (strlen(name) == n && strncmp(at, name, n) == 0)
            return axes[i];
        at += n + (at[n] == ' ');
    }
    return fixed ? fixed : 1;
}

static void route(const struct call *call)
{
    const struct field *ids = field_of(call->layout, "ids"), *weights = field_of(call->layout, "weights");
    const uint32_t *logits = (const uint32_t *) (uintptr_t) argument(call, "logits");
    unsigned char *to = (unsigned char *) (uintptr_t) argument(call, "ids");
    const struct place place = place_of(call->signature, call->shape);
    for (unsigned row = 0; row < call->shape.rows; row++) {
        for (unsigned slot = 0; slot < call->shape.k; slot++) {
            const unsigned size = type_size(ids->type);
            const size_t at = place.skip + ((size_t) row * place.stride + (size_t) slot * place.column) * size;
            store(to + at, size, chosen(logits[row], row, slot, call->shape.k, call->shape.experts));
            if (weights)
                store_weight((unsigned char *) (uintptr_t) argument(call, "weights") +
                                 ((size_t) row * call->shape.k + slot) * type_size(weights->type),
                             weights->type, weight(logits[row], slot));
        }
    }
}

static void reverse(const struct call *call, const char *name)
{
    const struct field *field = field_of(call->layout, name);
    const unsigned size = type_size(field->type), k = call->shape.k;
    unsigned char *at = (unsigned char *) (uintptr_t) argument(call, name), spare[8];
    for (unsigned row = 0; row < call->shape.rows; row++, at += (size_t) k * size) {
        for (unsigned i = 0; i < k / 2; i++) {
            memcpy(spare, at + i * size, size);
            memcpy(at + i * size, at + (k - 1 - i) * size, size);
            memcpy(at + (k - 1 - i) * size, spare, size);
        }
    }
}

/* rows and k are the router's; the kernel has their product */
static void map(const struct call *call)
{
    const struct field *ids = field_of(call->layout, "ids"), *mapped = field_of(call->layout, "mapped");
    const unsigned char *from = (const unsigned char *) (uintptr_t) argument(call, "ids");
    unsigned char *to = (unsigned char *) (uintptr_t) argument(call, "mapped");
    for (uint64_t i = 0; i < argument(call, "numel"); i++) {
        int64_t id = 0;
        memcpy(&id, from + i * type_size(ids->type), type_size(ids->type));
        store(to + i * type_size(mapped->type), type_size(mapped->type), (uint32_t) id < 1024 ? id * 3 + 1 : id);
    }
}

static void run(const struct softcuda_block *b)
{
    if (b->index.x || b->index.y || b->index.z)
        return;
    const size_t n = ((size_t) ((const char *) b->kernel - (const char *) made)) / sizeof *made;
    struct call call = {&signatures[n], &made[n].layout, b->params[0], {0}};
    call.shape.rows = known(&call, "rows", call.signature->fixed.rows, b->grid);
    call.shape.k = known(&call, "k", call.signature->fixed.k, b->grid);
    call.shape.experts = known(&call, "experts", call.signature->fixed.experts, b->grid);
    if (call.signature->role == ROUTER) {
        route(&call);
    } else if (call.signature->role == FINAL) {
        reverse(&call, "ids");
        reverse(&call, "weights");
    } else if (call.signature->role == MAP) {
        map(&call);
    }
}

/* A router that no recipe knows. logits, ids, rows, k, experts, bytes of an id, stride, column, skip */
static void run_choose(const struct softcuda_block *b)
{
    unsigned k = P(unsigned, 3), size = P(unsigned, 5);
    for (unsigned row = 0; row < P(unsigned, 2); row++) {
        for (unsigned slot = 0; slot < k; slot++)
            store(P(unsigned char *, 1) + P(unsigned, 8) +
                      ((size_t) row * P(unsigned, 6) + (size_t) slot * P(unsigned, 7)) * size,
                  size, chosen(P(const uint32_t *, 0)[row], row, slot, k, P(unsigned, 4)));
    }
}

/* where, bytes */
static void run_scrub(const struct softcuda_block *b)
{
    memset(P(void *, 0), 0x5a, P(uint64_t, 1));
}

static const struct softcuda_param gemm[] = {{0, 8}, {8, 8}, {16, 4}, {24, 8}};
static const struct softcuda_param choose[] = {{0, 8},  {8, 8},  {16, 4}, {20, 4}, {24, 4},
                                               {28, 4}, {32, 4}, {36, 4}, {40, 4}};
static const struct softcuda_param scrub[] = {{0, 8}, {8, 8}};
static const struct softcuda_kernel helpers[] = {{"_Z14signature_gemmPKvPvjPKj", run_gemm, 4, gemm},
                                                 {"_Z16signature_choosePKvPvjjjjjjj", run_choose, 9, choose},
                                                 {"_Z15signature_scrubPvm", run_scrub, 2, scrub}};

/*
 * The N-th signature's kernel for wild launches: it does nothing, whatever its arguments are. Of "N:M" the M-th
 * parameter has another size.
 */
static const struct softcuda_kernel *nothing(const char *name)
{
    char *end;
    struct layout *layout = malloc(sizeof *layout);
    struct softcuda_kernel *kernel = malloc(sizeof *kernel);
    const struct signature *signature = &signatures[strtoul(name, &end, 10)];
    if (!layout || !kernel)
        abort();
    layout_of(layout, signature);
    if (*end == ':')
        layout->param[atoi(end + 1)].size ^= 12; /* 4 for 8, 8 for 4, others no size of a number */
    *kernel = (struct softcuda_kernel){signature->mangled, NULL, layout->params, layout->param};
    return kernel;
}

/* By name; "#N" or "!N" for the N-th signature: several have the same name, as in several modules. */
__attribute__((visibility("default"))) const struct softcuda_kernel *softcuda_find(const char *name)
{
    for (size_t i = 0; i < sizeof helpers / sizeof *helpers; i++) {
        if (strcmp(helpers[i].name, name) == 0)
            return &helpers[i];
    }
    if (*name == '!')
        return nothing(name + 1);
    if (*name != '#')
        return NULL;
    const unsigned n = (unsigned) atoi(name + 1);
    if (n >= SIGNATURES_MAX)
        abort();
    if (!made[n].kernel.name) {
        layout_of(&made[n].layout, &signatures[n]);
        made[n].kernel =
            (struct softcuda_kernel){signatures[n].mangled, run, made[n].layout.params, made[n].layout.param};
    }
    return &made[n].kernel;
}
