/* SPDX-License-Identifier: Apache-2.0 */
/* The sample engine's kernels on the software device. */
#include "../softcuda.h"

#include "../../engine/kernels.h"

#define P(type, i) (*(type *) b->params[i])

static void run_gemm(const struct softcuda_block *b)
{
    for (unsigned t = 0; t < b->block.x; t++) {
        softcuda_midst(b, t, b->block.x);
        body_gemm(P(const float *, 0), P(const float *, 1), P(float *, 2), (int) b->index.x, (int) t, (int) b->block.x,
                  P(int, 4), P(int, 5));
    }
}

#define KERNELS(suffix, T)                                                                                             \
    static void run_topk_##suffix(const struct softcuda_block *b)                                                      \
    {                                                                                                                  \
        for (unsigned t = 0; t < b->block.x; t++) {                                                                    \
            softcuda_midst(b, t, b->block.x);                                                                          \
            int row = (int) (b->index.x * b->block.x + t);                                                             \
            if (row < P(int, 3))                                                                                       \
                body_topk_##suffix(P(const float *, 0), P(T *, 1), P(float *, 2), row, P(int, 4), P(int, 5));          \
        }                                                                                                              \
    }                                                                                                                  \
    static void run_route_##suffix(const struct softcuda_block *b)                                                     \
    {                                                                                                                  \
        for (unsigned t = 0; t < b->block.x; t++) {                                                                    \
            softcuda_midst(b, t, b->block.x);                                                                          \
            int row = (int) (b->index.x * b->block.x + t);                                                             \
            if (row < P(int, 5))                                                                                       \
                body_topk_##suffix(P(const float *, 2), P(T *, 0), P(float *, 1), row, P(int, 3), P(int, 4));          \
        }                                                                                                              \
    }                                                                                                                  \
    static void run_experts_##suffix(const struct softcuda_block *b)                                                   \
    {                                                                                                                  \
        for (unsigned t = 0; t < b->block.x; t++) {                                                                    \
            softcuda_midst(b, t, b->block.x);                                                                          \
            body_experts_##suffix(P(const float *, 0), P(const T *, 1), P(const float *, 2), P(const float *, 3),      \
                                  P(float *, 4), (int) b->index.x, (int) t, (int) b->block.x, P(int, 6), P(int, 7));   \
        }                                                                                                              \
    }                                                                                                                  \
    static void run_keep_##suffix(const struct softcuda_block *b)                                                      \
    {                                                                                                                  \
        for (unsigned t = 0; t < b->block.x; t++) {                                                                    \
            int i = (int) (b->index.x * b->block.x + t);                                                               \
            if (i < P(int, 2))                                                                                         \
                body_keep_##suffix(P(const T *, 0), P(T *, 1), i);                                                     \
        }                                                                                                              \
    }                                                                                                                  \
    static void run_scrub_##suffix(const struct softcuda_block *b)                                                     \
    {                                                                                                                  \
        for (unsigned t = 0; t < b->block.x; t++) {                                                                    \
            int i = (int) (b->index.x * b->block.x + t);                                                               \
            if (i < P(int, 1))                                                                                         \
                body_scrub_##suffix(P(T *, 0), i);                                                                     \
        }                                                                                                              \
    }                                                                                                                  \
    static void run_remap_##suffix(const struct softcuda_block *b)                                                     \
    {                                                                                                                  \
        for (unsigned t = 0; t < b->block.x; t++) {                                                                    \
            softcuda_midst(b, t, b->block.x);                                                                          \
            int i = (int) (b->index.x * b->block.x + t);                                                               \
            if (i < P(int, 4))                                                                                         \
                body_remap_##suffix(P(const T *, 0), P(T *, 1), P(const int *, 2), P(int, 3), i);                      \
        }                                                                                                              \
    }
KERNELS(i32, int32_t)
KERNELS(i64, int64_t)
KERNELS(u32, uint32_t)
KERNELS(u16, uint16_t)
KERNELS(u8, uint8_t)

static void run_rescale(const struct softcuda_block *b)
{
    for (unsigned t = 0; t < b->block.x; t++) {
        softcuda_midst(b, t, b->block.x);
        int i = (int) (b->index.x * b->block.x + t);
        if (i < P(int, 2))
            body_rescale(P(float *, 0), P(float, 1), i);
    }
}

static void run_embed(const struct softcuda_block *b)
{
    for (unsigned t = 0; t < b->block.x; t++) {
        softcuda_midst(b, t, b->block.x);
        body_embed(P(const float *, 0), P(const float *, 1), P(float *, 2), (int) b->index.x, (int) t, (int) b->block.x,
                   P(int, 3), P(int, 4));
    }
}

static void run_lookup(const struct softcuda_block *b)
{
    for (unsigned t = 0; t < b->block.x; t++)
        body_lookup(P(const int32_t *, 0), P(const float *, 1), P(float *, 2), (int) b->index.x, (int) t,
                    (int) b->block.x, P(int, 4), P(int, 5));
}

static void run_rotary(const struct softcuda_block *b)
{
    for (unsigned t = 0; t < b->block.x; t++)
        body_rotary(P(const int64_t *, 0), P(float *, 1), (int) b->index.x, (int) t, (int) b->block.x, P(int, 3));
}

static void run_cache(const struct softcuda_block *b)
{
    for (unsigned t = 0; t < b->block.x; t++)
        body_cache(P(const float *, 0), P(float *, 1), P(const int64_t *, 2), (int) b->index.x, (int) t,
                   (int) b->block.x, P(int, 4));
}

static void run_plan(const struct softcuda_block *b)
{
    for (unsigned t = 0; t < b->block.x; t++)
        body_plan(P(const int32_t *, 0), P(const int64_t *, 1), P(const int32_t *, 2), P(int64_t *, 3),
                  (int) b->index.x, (int) b->grid.x - 1, (int) t, (int) b->block.x, P(int, 5), P(int, 6), P(int, 4));
}

static void run_tables(const struct softcuda_block *b)
{
    for (unsigned t = 0; t < b->block.x; t++)
        body_tables(P(int, 0), P(const int32_t *, 1), P(const int32_t *, 2), P(const int64_t *, 3),
                    P(const int32_t *const *, 4), P(const int64_t *, 5), P(const int32_t *, 6), P(int64_t *, 7),
                    (int) b->index.x, (int) b->index.y, (int) b->grid.y - 1, (int) t, (int) b->block.x, P(int, 8));
}

static const struct softcuda_param gemm[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 4}};
static const struct softcuda_param topk[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 4}};
static const struct softcuda_param experts[] = {{0, 8}, {8, 8}, {16, 8}, {24, 8}, {32, 8}, {40, 4}, {44, 4}, {48, 4}};
static const struct softcuda_param keep[] = {{0, 8}, {8, 8}, {16, 4}};
static const struct softcuda_param scrub[] = {{0, 8}, {8, 4}};
static const struct softcuda_param rescale[] = {{0, 8}, {8, 4}, {12, 4}};
static const struct softcuda_param remap[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 4}};
static const struct softcuda_param embed[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}};
static const struct softcuda_param lookup[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 4}};
static const struct softcuda_param rotary[] = {{0, 8}, {8, 8}, {16, 4}, {20, 4}};
static const struct softcuda_param plan[] = {{0, 8}, {8, 8}, {16, 8}, {24, 8}, {32, 4}, {36, 4}, {40, 4}};
static const struct softcuda_param tables[] = {{0, 4},  {8, 8},  {16, 8}, {24, 8}, {32, 8},
                                               {40, 8}, {48, 8}, {56, 8}, {64, 4}};
static const struct softcuda_param cache[] = {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}};

extern const struct softcuda_kernel softcuda_engine_kernels[];
const struct softcuda_kernel softcuda_engine_kernels[] = {
    {"moe_demo_router_gemm", run_gemm, 6, gemm},
    {"moe_demo_topk_i32", run_topk_i32, 6, topk},
    {"moe_demo_topk_i64", run_topk_i64, 6, topk},
    {"moe_demo_topk_u32", run_topk_u32, 6, topk},
    {"moe_demo_topk_u16", run_topk_u16, 6, topk},
    {"moe_demo_topk_u8", run_topk_u8, 6, topk},
    {"moe_demo_route_i32", run_route_i32, 6, topk},
    {"moe_demo_route_i64", run_route_i64, 6, topk},
    {"moe_demo_route_u32", run_route_u32, 6, topk},
    {"moe_demo_route_u16", run_route_u16, 6, topk},
    {"moe_demo_route_u8", run_route_u8, 6, topk},
    {"_Z16moe_demo_expertsPKfPKiS0_S0_Pfiii", run_experts_i32, 8, experts},
    {"_Z16moe_demo_expertsPKfPKlS0_S0_Pfiii", run_experts_i64, 8, experts},
    {"_Z16moe_demo_expertsPKfPKjS0_S0_Pfiii", run_experts_u32, 8, experts},
    {"_Z16moe_demo_expertsPKfPKtS0_S0_Pfiii", run_experts_u16, 8, experts},
    {"_Z16moe_demo_expertsPKfPKhS0_S0_Pfiii", run_experts_u8, 8, experts},
    {"_Z13moe_demo_keepPKiPii", run_keep_i32, 3, keep},
    {"_Z14moe_demo_scrubPii", run_scrub_i32, 2, scrub},
    {"_Z13moe_demo_keepPKlPli", run_keep_i64, 3, keep},
    {"_Z14moe_demo_scrubPli", run_scrub_i64, 2, scrub},
    {"_Z13moe_demo_keepPKjPji", run_keep_u32, 3, keep},
    {"_Z14moe_demo_scrubPji", run_scrub_u32, 2, scrub},
    {"_Z14moe_demo_remapPKiPiS0_iii", run_remap_i32, 6, remap},
    {"_Z14moe_demo_remapPKlPlPKiiii", run_remap_i64, 6, remap},
    {"_Z14moe_demo_remapPKjPjPKiiii", run_remap_u32, 6, remap},
    {"_Z14moe_demo_remapPKtPtPKiiii", run_remap_u16, 6, remap},
    {"_Z14moe_demo_remapPKhPhPKiiii", run_remap_u8, 6, remap},
    {"_Z16moe_demo_rescalePffi", run_rescale, 3, rescale},
    {"_Z13moe_demo_keepPKtPti", run_keep_u16, 3, keep},
    {"_Z14moe_demo_scrubPti", run_scrub_u16, 2, scrub},
    {"_Z13moe_demo_keepPKhPhi", run_keep_u8, 3, keep},
    {"_Z14moe_demo_scrubPhi", run_scrub_u8, 2, scrub},
    {"moe_demo_embed", run_embed, 5, embed},
    {"moe_demo_lookup", run_lookup, 6, lookup},
    {"moe_demo_rotary", run_rotary, 4, rotary},
    {"moe_demo_cache", run_cache, 5, cache},
    {"moe_demo_plan", run_plan, 7, plan},
    {"moe_demo_tables", run_tables, 9, tables},
    {NULL, NULL, 0, NULL},
};
