/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What serving engines write besides their routers' ids, and routers of less usual kinds: a plugin of the software
 * device. Decoys take (out, n, a, b) and write what their name says.
 */
#include "../softcuda/softcuda.h"

#include <stdbool.h>
#include <stddef.h>

#define P(type, i) (*(type *) b->params[i])
#define OUT P(int32_t *, 0)
#define N P(int, 1)
#define A P(int, 2)
#define B P(int, 3)

static uint32_t mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

static float score(const float *logits, int row, int experts, int e)
{
    return logits[row * experts + e];
}

/* The k best of `count` from `first` on that `allowed` allows, NULL for all. */
static void best(const float *logits, int row, int experts, int first, int count, int k, const bool *allowed, int *ids)
{
    for (int slot = 0; slot < k; slot++) {
        int chosen = -1;
        for (int e = first; e < first + count; e++) {
            bool used = allowed && !allowed[e];
            for (int n = 0; n < slot; n++)
                used |= ids[n] == e;
            if (!used && (chosen < 0 || score(logits, row, experts, e) > score(logits, row, experts, chosen)))
                chosen = e;
        }
        ids[slot] = chosen;
    }
}

#define EACH_ROW(rows) for (int row = 0; row < (rows) && b->index.x == 0; row++)

/* logits, ids, weights, rows, experts, k */
static void run_choose(const struct softcuda_block *b)
{
    int ids[64], experts = P(int, 4), k = P(int, 5);
    EACH_ROW(P(int, 3))
    {
        best(P(const float *, 0), row, experts, 0, experts, k, NULL, ids);
        for (int i = 0; i < k; i++)
            P(int32_t *, 1)[row * k + i] = ids[i];
    }
}

/* logits, ids, weights, room for so many rows, rows, experts, k */
static void run_with_room(const struct softcuda_block *b)
{
    int ids[64], experts = P(int, 5), k = P(int, 6);
    EACH_ROW(P(int, 4))
    {
        best(P(const float *, 0), row, experts, 0, experts, k, NULL, ids);
        for (int i = 0; i < k; i++)
            P(int32_t *, 1)[row * k + i] = ids[i];
    }
}

static void run_choose_long(const struct softcuda_block *b)
{
    int ids[64], experts = P(int, 4), k = P(int, 5);
    EACH_ROW(P(int, 3))
    {
        best(P(const float *, 0), row, experts, 0, experts, k, NULL, ids);
        for (int i = 0; i < k; i++)
            P(int64_t *, 1)[row * k + i] = ids[i];
    }
}

/* As above; what another rank has is -1: the first half is ours. */
static void run_masked(const struct softcuda_block *b)
{
    int ids[64], experts = P(int, 4), k = P(int, 5);
    EACH_ROW(P(int, 3))
    {
        best(P(const float *, 0), row, experts, 0, experts, k, NULL, ids);
        for (int i = 0; i < k; i++)
            P(int32_t *, 1)[row * k + i] = ids[i] < experts / 2 ? ids[i] : -1;
    }
}

/* As above; each row ends with the shared expert, whose number comes behind the others. */
static void run_with_shared(const struct softcuda_block *b)
{
    int ids[64], experts = P(int, 4), k = P(int, 5);
    EACH_ROW(P(int, 3))
    {
        best(P(const float *, 0), row, experts, 0, experts, k, NULL, ids);
        for (int i = 0; i < k; i++)
            P(int32_t *, 1)[row * (k + 1) + i] = ids[i];
        P(int32_t *, 1)[row * (k + 1) + k] = experts;
    }
}

/* logits, ids, weights, rows, experts, groups: the two best of each group, by their number in it */
static void run_in_groups(const struct softcuda_block *b)
{
    int ids[2], experts = P(int, 4), groups = P(int, 5), size = experts / groups;
    EACH_ROW(P(int, 3))
    {
        for (int g = 0; g < groups; g++) {
            best(P(const float *, 0), row, experts, g * size, size, 2, NULL, ids);
            for (int i = 0; i < 2; i++)
                P(int32_t *, 1)[(row * groups + g) * 2 + i] = ids[i] - g * size;
        }
    }
}

/* logits, groups chosen, weights, rows, groups, how many, experts: groups by their first expert */
static void run_groups(const struct softcuda_block *b)
{
    int experts = P(int, 6), groups = P(int, 4), many = P(int, 5), size = experts / groups;
    EACH_ROW(P(int, 3))
    {
        float firsts[64];
        int ids[64];
        for (int g = 0; g < groups; g++)
            firsts[g] = score(P(const float *, 0), row, experts, g * size);
        best(firsts, 0, groups, 0, groups, many, NULL, ids);
        for (int i = 0; i < many; i++)
            P(int32_t *, 1)[row * many + i] = ids[i];
    }
}

/* logits, ids, groups chosen, rows, experts, k, groups, how many */
static void run_of_groups(const struct softcuda_block *b)
{
    int ids[64], experts = P(int, 4), k = P(int, 5), size = experts / P(int, 6), many = P(int, 7);
    EACH_ROW(P(int, 3))
    {
        bool allowed[1024] = {false};
        for (int i = 0; i < many; i++) {
            for (int e = 0; e < size; e++)
                allowed[P(const int32_t *, 2)[row * many + i] * size + e] = true;
        }
        best(P(const float *, 0), row, experts, 0, experts, k, allowed, ids);
        for (int i = 0; i < k; i++)
            P(int32_t *, 1)[row * k + i] = ids[i];
    }
}

/* Triton: logits, bias, weights, ids (16 bits), counts, two more pointers, rows. 96 experts, 6 of them. */
static void run_many(const struct softcuda_block *b)
{
    int ids[6];
    for (int e = 0; e < 96 && b->index.x == 0; e++)
        P(int32_t *, 4)[e] = 0;
    EACH_ROW(P(int, 7))
    {
        best(P(const float *, 0), row, 96, 0, 96, 6, NULL, ids);
        for (int i = 0; i < 6; i++) {
            P(int16_t *, 3)[row * 6 + i] = (int16_t) ids[i];
            P(int32_t *, 4)[ids[i]]++;
        }
    }
}

/* logits, {weight, id} pairs, rows, experts, k */
static void run_packed(const struct softcuda_block *b)
{
    struct pair {
        float weight;
        int32_t id;
    } *pairs = P(struct pair *, 1);
    int ids[64], experts = P(int, 3), k = P(int, 4);
    EACH_ROW(P(int, 2))
    {
        best(P(const float *, 0), row, experts, 0, experts, k, NULL, ids);
        for (int i = 0; i < k; i++)
            pairs[row * k + i] = (struct pair){score(P(const float *, 0), row, experts, ids[i]), ids[i]};
    }
}

/* Sparse attention: the k best of as many blocks as the context has. out, rows, blocks, k, step */
static void run_sparse(const struct softcuda_block *b)
{
    int blocks = A, k = B;
    EACH_ROW(N)
    {
        bool used[1024] = {false};
        for (int i = 0; i < k; i++) {
            uint32_t at = mix((uint32_t) (P(int, 4) * 7919 + row * 131 + i)) % (uint32_t) blocks;
            while (used[at])
                at = (at + 1) % (uint32_t) blocks;
            used[at] = true;
            OUT[row * k + i] = (int32_t) at;
        }
    }
}

/* rows of 4, a: step. The first two blocks of each request are its prompt's, which others share. */
static void run_block_table(const struct softcuda_block *b)
{
    EACH_ROW(N)
    {
        for (int i = 0; i < 4; i++)
            OUT[row * 4 + i] = i < 2 ? 8 + i : (int32_t) (mix((uint32_t) (row * 17 + i + A / 4)) % 200 + 16);
    }
}

/* ids, one byte each: which of a experts has each row; b is k */
static void run_mask(const struct softcuda_block *b)
{
    uint8_t *out = P(uint8_t *, 0);
    for (int i = 0; i < N * A && b->index.x == 0; i++)
        out[i] = mix((uint32_t) (i + B)) % 8 == 0;
}

/* How many rows before it went to the same expert: n entries, a experts, b: step */
static void run_rank(const struct softcuda_block *b)
{
    int counts[1024] = {0};
    for (int i = 0; i < N && b->index.x == 0; i++)
        OUT[i] = counts[mix((uint32_t) (i * 31 + B)) % (uint32_t) A]++;
}

/* n beams of a, b: step: whose continuation each is */
static void run_beams(const struct softcuda_block *b)
{
    for (int i = 0; i < N && b->index.x == 0; i++)
        OUT[i] = (int32_t) (mix((uint32_t) (i + B * 97)) % (uint32_t) A);
}

/* Three rows of positions (text, height, width), from a on */
static void run_mrope(const struct softcuda_block *b)
{
    for (int i = 0; i < 3 * N && b->index.x == 0; i++)
        ((int64_t *) OUT)[i] = A + i % N;
}

/* n rows for a experts, b: step: how many each has */
static void run_counts(const struct softcuda_block *b)
{
    for (int e = 0; e < A && b->index.x == 0; e++)
        OUT[e] = 0;
    for (int i = 0; i < N && b->index.x == 0; i++)
        OUT[mix((uint32_t) (i * 31 + B)) % (uint32_t) A]++;
}

/* The same, summed up */
static void run_offsets(const struct softcuda_block *b)
{
    int counts[1024] = {0}, sum = 0;
    for (int i = 0; i < N && b->index.x == 0; i++)
        counts[mix((uint32_t) (i * 31 + B)) % (uint32_t) A]++;
    for (int e = 0; e <= A && b->index.x == 0; e++) {
        OUT[e] = sum;
        sum += counts[e];
    }
}

/* The rows of n entries in the order of their experts; a: entries of a row, b: step */
static void run_rows_sorted(const struct softcuda_block *b)
{
    int at = 0;
    for (int e = 0; e < 16 && b->index.x == 0; e++) {
        for (int i = 0; i < N; i++) {
            if (mix((uint32_t) (i * 31 + B)) % 16 == (uint32_t) e)
                OUT[at++] = i / A;
        }
    }
}

/* Trees of drafts: n rows of 4, the next one's number or -1; a: step */
static void run_tree(const struct softcuda_block *b)
{
    for (int i = 0; i < N * 4 && b->index.x == 0; i++)
        OUT[i] = mix((uint32_t) (i + A * 13)) % 3 ? (int32_t) (i % 4 + 1) : -1;
}

/* Which of n physical experts is each of a logical ones; b: layer. Fixed while the engine runs. */
static void run_placement(const struct softcuda_block *b)
{
    for (int i = 0; i < N && b->index.x == 0; i++)
        OUT[i] = (i * 7 + B) % A;
}

/* A collective waits for another launch. flag, value */
static void run_wait(const struct softcuda_block *b)
{
    while (__atomic_load_n(P(int32_t *, 0), __ATOMIC_ACQUIRE) < P(int, 1))
        usleep(100);
}

static void run_set(const struct softcuda_block *b)
{
    __atomic_store_n(P(int32_t *, 0), P(int, 1), __ATOMIC_RELEASE);
}

/* Reads all decoys. */
static void run_read(const struct softcuda_block *b)
{
    (void) b;
}

static const struct softcuda_param plain[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 4}};
static const struct softcuda_param groups[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 4}, {36, 4}, {40, 4}};
static const struct softcuda_param many[] = {{0, 8}, {8, 8}, {16, 8}, {24, 8}, {32, 8}, {40, 8}, {48, 8}, {56, 4}};
static const struct softcuda_param packed[] = {{0, 8}, {8, 8}, {16, 4}, {20, 4}, {24, 4}};
static const struct softcuda_param reader[] = {{0, 8},  {8, 8},  {16, 8}, {24, 8}, {32, 8}, {40, 8},
                                               {48, 8}, {56, 8}, {64, 8}, {72, 8}, {80, 8}, {88, 8}};
static const struct softcuda_param flag[] = {{0, 8}, {8, 4}};
static const struct softcuda_param decoy[] = {{0, 8}, {8, 4}, {12, 4}, {16, 4}, {20, 4}};

__attribute__((visibility("default"))) const struct softcuda_kernel softcuda_kernels[] = {
    {"_ZN3srv6chooseEPKfPiPfiii", run_choose, 6, plain},
    {"_ZN3srv6chooseEPKfPlPfiii", run_choose_long, 6, plain},
    {"_ZN3srv6maskedEPKfPiPfiii", run_masked, 6, plain},
    {"_ZN3srv11with_sharedEPKfPiPfiii", run_with_shared, 6, plain},
    {"srv_with_room", run_with_room, 7, groups},
    {"srv_in_groups", run_in_groups, 6, plain},
    {"srv_groups", run_groups, 7, groups},
    {"srv_of_groups", run_of_groups, 8, groups},
    {"srv_many", run_many, 8, many},
    {"srv_packed", run_packed, 5, packed},
    {"srv_sparse", run_sparse, 5, decoy},
    {"srv_block_table", run_block_table, 4, decoy},
    {"srv_mask", run_mask, 4, decoy},
    {"srv_rank", run_rank, 4, decoy},
    {"srv_beams", run_beams, 4, decoy},
    {"srv_mrope", run_mrope, 4, decoy},
    {"srv_counts", run_counts, 4, decoy},
    {"srv_offsets", run_offsets, 4, decoy},
    {"srv_rows_sorted", run_rows_sorted, 4, decoy},
    {"srv_tree", run_tree, 4, decoy},
    {"srv_placement", run_placement, 4, decoy},
    {"srv_wait", run_wait, 2, flag},
    {"srv_set", run_set, 2, flag},
    {"srv_read", run_read, 12, reader},
    {NULL, NULL, 0, NULL},
};
