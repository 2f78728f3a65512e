/* SPDX-License-Identifier: Apache-2.0 */
/* A router's ids and weights, and what is done to them behind it: kept for the truth, mapped, rescaled, scrubbed. */
#include "engine.h"

#include <string.h>

/* What --dtype may be; the letter stands for it in mangled names. */
static const struct dtype dtypes[] = {{"i32", 4, 'i'}, {"i64", 8, 'l'}, {"u32", 4, 'j'},
                                      {"u16", 2, 't'}, {"u8", 1, 'h'},  {NULL, 0, 0}};

const struct dtype *ids_dtype(void)
{
    const struct dtype *d = dtypes;
    while (d->name && strcmp(d->name, options.dtype) != 0)
        d++;
    return d;
}

size_t id_size(void)
{
    return ids_dtype()->size;
}

size_t ids_per_layer(void)
{
    return (size_t) options.tokens * (size_t) options.topk;
}

size_t weights_size(void)
{
    return (size_t) options.layers * ids_per_layer() * sizeof(float);
}

void ids_keep(CUstream stream, CUdeviceptr ids, CUdeviceptr truth, long layer)
{
    int count = (int) ids_per_layer();
    CUdeviceptr kept = truth + (size_t) layer * ids_per_layer() * id_size();
    void *keep[] = {&ids, &kept, &count};
    launch_flat(stream, kernels.keep, keep);
}

/* As soon as nobody in the engine needs them any more. */
static void scrub(CUstream stream, CUfunction kernel, CUdeviceptr ids)
{
    int count = (int) ids_per_layer();
    void *params[] = {&ids, &count};
    launch_flat(stream, kernel, params);
}

void ids_remap(struct batch *b)
{
    int k = (int) options.topk, count = (int) ids_per_layer(), experts = (int) options.experts * MOE_DEMO_COPIES;
    void *params[] = {&b->ids, &b->physical, &weights.copies, &k, &count, &experts};
    launch_flat(b->stream, kernels.remap, params);
}

/* By a kernel, which only reads them: a copy would end what the stream is known to do with them. */
void weights_keep(struct batch *b, CUstream stream, long layer)
{
    int count = (int) ids_per_layer();
    CUdeviceptr kept = b->weights_truth + (size_t) layer * ids_per_layer() * sizeof(float);
    void *keep[] = {&b->topk_weights, &kept, &count};
    launch_flat(stream, kernels.keep_weights, keep);
}

void weights_rescale(struct batch *b)
{
    int count = (int) ids_per_layer();
    float factor = 1.25f;
    void *params[] = {&b->topk_weights, &factor, &count};
    launch_flat(b->stream, kernels.rescale, params);
}

void ids_keep_and_scrub(struct batch *b, CUstream stream, CUdeviceptr truth, long layer, bool weights_kept)
{
    if (options.weights && !weights_kept)
        weights_keep(b, stream, layer);
    if (options.weights)
        scrub(stream, kernels.scrub_weights, b->topk_weights);
    ids_keep(stream, b->physical, truth, layer);
    scrub(stream, kernels.scrub, b->physical);
    if (options.eplb == APART)
        scrub(stream, kernels.scrub, b->ids);
}
