/* SPDX-License-Identifier: Apache-2.0 */
/* The model: its kernels, and weights of random numbers that follow from --seed. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>

struct kernels kernels;
struct weights weights;

static uint64_t random_state;

float random_float(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (float) ((double) (random_state >> 33) / (double) (1u << 30) - 1.0);
}

CUdeviceptr random_matrix(size_t elements)
{
    float *values = must(malloc(elements * sizeof *values));
    for (size_t i = 0; i < elements; i++)
        values[i] = random_float();
    CUdeviceptr address = device_alloc(elements * sizeof *values);
    CHECK(cuda.MemcpyHtoD(address, values, elements * sizeof *values));
    free(values);
    return address;
}

void model_load(void)
{
    extern const unsigned char moe_demo_image[];
    CUmodule module;
    CHECK(cuda.ModuleLoadData(&module, moe_demo_image));
    char name[64];
    CHECK(cuda.ModuleGetFunction(&kernels.gemm, module, "moe_demo_router_gemm"));
    CHECK(cuda.ModuleGetFunction(&kernels.embed, module, "moe_demo_embed"));
    if (options.context) {
        CHECK(cuda.ModuleGetFunction(&kernels.lookup, module, "moe_demo_lookup"));
        CHECK(cuda.ModuleGetFunction(&kernels.rotary, module, "moe_demo_rotary"));
        CHECK(cuda.ModuleGetFunction(&kernels.cache, module, "moe_demo_cache"));
        CHECK(cuda.ModuleGetFunction(&kernels.plan, module, "moe_demo_plan"));
        CHECK(cuda.ModuleGetFunction(&kernels.tables, module, "moe_demo_tables"));
        CHECK(cuda.ModuleGetFunction(&kernels.lists, module, "moe_demo_lists"));
    }
    snprintf(name, sizeof name, "moe_demo_topk_%s", options.dtype);
    CHECK(cuda.ModuleGetFunction(&kernels.topk, module, name));
    snprintf(name, sizeof name, "moe_demo_route_%s", options.dtype);
    CHECK(cuda.ModuleGetFunction(&kernels.route, module, name));
    /* A C++ kernel, as most are: moe_demo_experts(float const*, int const*, ...) */
    char mangled = ids_dtype()->letter;
    snprintf(name, sizeof name, "_Z16moe_demo_expertsPKfPK%cS0_S0_Pfiii", mangled);
    CHECK(cuda.ModuleGetFunction(&kernels.experts, module, name));
    snprintf(name, sizeof name, "_Z13moe_demo_keepPK%cP%ci", mangled, mangled);
    CHECK(cuda.ModuleGetFunction(&kernels.keep, module, name));
    snprintf(name, sizeof name, "_Z14moe_demo_scrubP%ci", mangled);
    CHECK(cuda.ModuleGetFunction(&kernels.scrub, module, name));
    /* The mangled name refers back to a type that came before. */
    if (mangled == 'i')
        snprintf(name, sizeof name, "_Z14moe_demo_remapPKiPiS0_iii");
    else
        snprintf(name, sizeof name, "_Z14moe_demo_remapPK%cP%cPKiiii", mangled, mangled);
    CHECK(cuda.ModuleGetFunction(&kernels.remap, module, name));
    /* Weights' bits are integers of their size. */
    CHECK(cuda.ModuleGetFunction(&kernels.keep_weights, module, "_Z13moe_demo_keepPKjPji"));
    CHECK(cuda.ModuleGetFunction(&kernels.scrub_weights, module, "_Z14moe_demo_scrubPji"));
    CHECK(cuda.ModuleGetFunction(&kernels.rescale, module, "_Z16moe_demo_rescalePffi"));
}

/* Copies lie anywhere. */
static CUdeviceptr random_copies(void)
{
    size_t count = (size_t) options.experts * MOE_DEMO_COPIES;
    int *map = must(malloc(count * sizeof *map));
    for (size_t i = 0; i < count; i++) {
        size_t j = (size_t) ((random_float() + 1) / 2 * (float) i);
        if (j != i)
            map[i] = map[j];
        map[j] = (int) i;
    }
    CUdeviceptr address = device_alloc(count * sizeof *map);
    CHECK(cuda.MemcpyHtoD(address, map, count * sizeof *map));
    free(map);
    return address;
}

void model_make(void)
{
    random_state = (uint64_t) options.seed * 2654435761u + 12345;
    weights.router = must(calloc((size_t) options.layers, sizeof *weights.router));
    weights.experts = must(calloc((size_t) options.layers, sizeof *weights.experts));
    for (long layer = 0; layer < options.layers; layer++) {
        weights.router[layer] = random_matrix((size_t) options.experts * MOE_DEMO_DIM);
        weights.experts[layer] =
            random_matrix((size_t) options.experts * (options.eplb ? MOE_DEMO_COPIES : 1) * MOE_DEMO_DIM);
    }
    weights.embedding = random_matrix(MOE_DEMO_DIM * MOE_DEMO_DIM);
    if (options.eplb)
        weights.copies = random_copies();
    if (options.draft) {
        weights.draft.router = random_matrix((size_t) options.experts * MOE_DEMO_DIM);
        weights.draft.experts = random_matrix((size_t) options.experts * MOE_DEMO_DIM);
        weights.draft.qkv = random_matrix(MOE_DEMO_DIM * MOE_DEMO_DIM);
        weights.draft.cache = device_alloc((size_t) (CACHE_SLOTS * options.streams) * MOE_DEMO_DIM * sizeof(float));
    }
    if (!options.context)
        return;
    weights.qkv = must(calloc((size_t) options.layers, sizeof *weights.qkv));
    for (long layer = 0; layer < options.layers; layer++)
        weights.qkv[layer] = random_matrix(MOE_DEMO_DIM * MOE_DEMO_DIM);
    weights.caches = must(calloc((size_t) options.layers, sizeof *weights.caches));
    for (long layer = 0; layer < options.layers; layer++)
        weights.caches[layer] = device_alloc((size_t) (CACHE_SLOTS * options.streams) * MOE_DEMO_DIM * sizeof(float));
    weights.cos_sin = random_matrix((size_t) ROTARY_ROWS * MOE_DEMO_DIM);
    weights.vocabulary = random_matrix((size_t) MOE_DEMO_VOCABULARY * MOE_DEMO_DIM);
}
