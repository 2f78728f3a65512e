/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tap kernel: its arguments, and its body in three phases that tap.cu (a block of GPU threads) and the software
 * device (a loop) both run: begin (one thread), copy (all threads), end (one thread), with a barrier between them.
 */
#ifndef MOETAP_SHIM_TAP_H
#define MOETAP_SHIM_TAP_H

#include "../shm/ring.h"

#define MT_TAP_KERNEL "moetap_tap" /* extern "C" name in the module image */
#define MT_TAP_THREADS 128u        /* a block; one big block would take an SM's slot from the engine's kernel */
#define MT_TAP_IDS_PER_BLOCK 4096u
#define MT_TAP_BLOCKS_MAX 64u

/* Blocks of one launch meet here. Device memory, zero before the first use; the last block leaves it zero. */
struct mt_tap_scratch {
    uint32_t arrived; /* the first block to arrive claims */
    uint32_t claimed; /* MT_TAP_CLAIMED or MT_TAP_LOST */
    uint32_t done;    /* the last block commits */
    uint32_t reserved;
    uint64_t position;
    uint64_t reserved1;
};
enum { MT_TAP_CLAIMED = 1, MT_TAP_LOST = 2 };

/* The kernel's only parameter, by value. */
struct mt_tap_args {
    struct mt_producer *producer;
    struct mt_tap_scratch *scratch; /* unused (may be NULL) with one block */
    const void *ids;
    uint64_t stride; /* elements between rows */
    uint32_t rows;
    uint32_t k;
    uint32_t site;
    uint8_t dtype; /* enum mt_dtype */
    uint8_t width; /* 1 or 2 */
    uint8_t reserved[2];
};

/* What begin() tells the other threads of its block. */
struct mt_tap_place {
    uint64_t position;
    uint32_t status; /* MT_TAP_CLAIMED or MT_TAP_LOST */
};

static inline uint32_t mt_tap_blocks(uint64_t ids)
{
    uint64_t n = (ids + MT_TAP_IDS_PER_BLOCK - 1) / MT_TAP_IDS_PER_BLOCK;
    return n < 1 ? 1 : n > MT_TAP_BLOCKS_MAX ? MT_TAP_BLOCKS_MAX : (uint32_t) n;
}

#ifdef __CUDACC__
MT_FN uint32_t mt_add32(uint32_t *word, uint32_t n)
{
    __threadfence();
    uint32_t old = atomicAdd(word, n);
    __threadfence();
    return old;
}
MT_FN uint32_t mt_load32_acquire(const uint32_t *word)
{
    uint32_t value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
    return value;
}
MT_FN void mt_store32_release(uint32_t *word, uint32_t value)
{
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}
struct __align__(16) mt_16_bytes
{
    uint32_t word[4];
};
#else
MT_FN uint32_t mt_add32(uint32_t *word, uint32_t n)
{
    return __atomic_fetch_add(word, n, __ATOMIC_ACQ_REL);
}
MT_FN uint32_t mt_load32_acquire(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
MT_FN void mt_store32_release(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
struct mt_16_bytes {
    uint32_t word[4];
} __attribute__((aligned(16)));
#endif

MT_FN void mt_tap_begin(const struct mt_tap_args *args, uint32_t blocks, struct mt_tap_place *place)
{
    struct mt_tap_scratch *scratch = args->scratch;
    /* Whoever comes first is running already, so waiting for it ends. */
    if (blocks > 1 && mt_add32(&scratch->arrived, 1) != 0) {
        while (!(place->status = mt_load32_acquire(&scratch->claimed)))
            mt_relax();
        place->position = scratch->position;
        return;
    }
    struct mt_claim claim;
    if (mt_ring_claim(args->producer, args->site, (uint64_t) args->rows * args->k * args->width, &claim)) {
        mt_ring_fill(args->producer, &claim, args->site, args->rows, args->k, args->width);
        place->position = claim.position;
        place->status = MT_TAP_CLAIMED;
    } else {
        place->position = 0;
        place->status = MT_TAP_LOST;
    }
    if (blocks > 1) {
        scratch->position = place->position;
        mt_store32_release(&scratch->claimed, place->status);
    }
}

MT_FN int64_t mt_tap_load(const void *ids, uint32_t dtype, uint64_t index)
{
    switch (dtype) {
    case MT_DTYPE_I32:
        return ((const int32_t *) ids)[index];
    case MT_DTYPE_I64:
        return ((const int64_t *) ids)[index];
    case MT_DTYPE_U32:
        return ((const uint32_t *) ids)[index];
    case MT_DTYPE_I16:
        return ((const int16_t *) ids)[index];
    case MT_DTYPE_U16:
        return ((const uint16_t *) ids)[index];
    default:
        return ((const uint8_t *) ids)[index];
    }
}

MT_FN uint32_t mt_tap_narrow(int64_t id, uint32_t width)
{
    if (width == 1)
        return id < 0 ? MT_ID8_NEGATIVE : id >= (int64_t) MT_ID8_OVERFLOW ? MT_ID8_OVERFLOW : (uint32_t) id;
    return id < 0 ? MT_ID16_NEGATIVE : id >= (int64_t) MT_ID16_OVERFLOW ? MT_ID16_OVERFLOW : (uint32_t) id;
}

/* Each thread makes 16 bytes at a time; the last ones carry the zeroes that fill the record up. */
MT_FN void mt_tap_copy(const struct mt_tap_args *args, const struct mt_tap_place *place, uint32_t thread,
                       uint32_t threads)
{
    if (place->status != MT_TAP_CLAIMED)
        return;
    const uint32_t width = args->width, k = args->k, dtype = args->dtype;
    const uint64_t ids = (uint64_t) args->rows * k;
    const uint64_t bytes = mt_record_size(ids * width) - sizeof(struct mt_record);
    const uint32_t per_chunk = 16 / width;
    const int dense = args->stride == k;
    for (uint64_t offset = (uint64_t) thread * 16; offset < bytes; offset += (uint64_t) threads * 16) {
        struct mt_16_bytes out = {{0, 0, 0, 0}};
        uint64_t id = offset / width;
        uint64_t row = dense ? 0 : id / k;
        uint32_t column = dense ? 0 : (uint32_t) (id - row * k);
#ifdef __CUDACC__
#pragma unroll
#endif
        for (uint32_t word = 0; word < 4; word++) {
            const uint32_t per_word = per_chunk / 4;
            uint32_t packed = 0;
            for (uint32_t i = 0; i < per_word && id < ids; i++, id++) {
                uint64_t index = dense ? id : row * args->stride + column;
                packed |= mt_tap_narrow(mt_tap_load(args->ids, dtype, index), width) << (i * 8 * width);
                if (!dense && ++column == k) {
                    column = 0;
                    row++;
                }
            }
            out.word[word] = packed;
        }
        *(struct mt_16_bytes *) mt_ring_payload(args->producer, place->position, offset) = out;
    }
    MT_TESTPOINT("copied");
}

MT_FN void mt_tap_end(const struct mt_tap_args *args, uint32_t blocks, const struct mt_tap_place *place)
{
    if (blocks > 1) {
        struct mt_tap_scratch *scratch = args->scratch;
        mt_fence_system();
        if (mt_add32(&scratch->done, 1) != blocks - 1)
            return;
        scratch->arrived = scratch->claimed = scratch->done = 0; /* for the next run: a replay of this node */
    }
    if (place->status == MT_TAP_CLAIMED)
        mt_ring_commit(args->producer, place->position);
}

#endif
