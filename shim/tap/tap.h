/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tap's kernels: their arguments, and their bodies, which tap.cu (a block of GPU threads) and the software device
 * (a loop) both run.
 *
 * Eager launches get moetap_tap: it narrows the ids and writes the record, in three phases with a barrier between them:
 * begin (one thread), copy (all threads), end (one thread).
 *
 * A store to the ring is a trip over PCIe, and its fence waits for the answer: some microseconds. In a graph, where
 * memory can be kept for each node, moetap_stage only narrows the ids into the GPU's own memory, and that is all that
 * the engine's kernels may ever have to wait for. moetap_write takes several stages and writes their records; nothing
 * waits for it.
 *
 * Taps of routers' weights are kernels of their own, of the same source: the others carry none of it. There `weights`,
 * the weights' type, is a constant, as is `staged` in all of them.
 */
#ifndef MOETAP_SHIM_TAP_H
#define MOETAP_SHIM_TAP_H

#include "../../shm/ring.h"

#define MT_TAP_KERNEL "moetap_tap" /* extern "C" names in the module image */
#define MT_STAGE_KERNEL "moetap_stage"
#define MT_WRITE_KERNEL "moetap_write"
#define MT_TAP_WEIGHTED_KERNEL "moetap_tap_weighted"
#define MT_STAGE_WEIGHTED_KERNEL "moetap_stage_weighted"
#define MT_WRITE_WEIGHTED_KERNEL "moetap_write_weighted"
/* A moetap_write takes up to so many stages, for each more node of a graph costs the engine a little, and has up to so
 * many blocks, for these take places from its kernels. */
#define MT_TAP_BATCH 16u
#define MT_WRITE_BLOCKS_MAX 16u
#define MT_WRITE_BYTES_PER_BLOCK 16384u
#define MT_TAP_THREADS 128u /* a block; one big block would take an SM's slot from the engine's kernel */
#define MT_TAP_IDS_PER_BLOCK 4096u
#define MT_TAP_BLOCKS_MAX 64u
#define MT_CONTEXT_WIDTH 4u

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

/* The only parameter of tap and stage, by value: of those without weights. */
struct mt_tap_args {
    struct mt_producer *producer;
    struct mt_tap_scratch *scratch; /* unused (may be NULL) with one block */
    const void *ids;                /* of MT_DTYPE_NONE: two values themselves, and `stride` two more */
    /* Of row context: how many of the rows there are, NULL: all. The launch has one block then. */
    const int32_t *count;
    /* NULL: the tap reads the ids themselves; else the payload as it goes into the ring, and behind it the number of
     * the row context that these ids belong to. */
    uint8_t *stage;
    uint64_t stride; /* elements from a row to the next */
    uint32_t column; /* and from an id to the row's next */
    uint32_t rows;
    uint32_t k;
    uint16_t site;
    uint16_t counter;     /* whose step it is: the first site of the same layer on the same stream */
    uint32_t first_block; /* in a batch */
    uint8_t dtype;        /* enum mt_dtype */
    uint8_t width;        /* 1 or 2; row context: MT_CONTEXT_WIDTH */
    uint8_t context;      /* row context, not ids */
    uint8_t weights;      /* enum mt_weight_type */
};

/* The same for their kernels with weights. */
struct mt_tap_weighted_args {
    struct mt_tap_args tap;
    const void *weights; /* [rows, k] */
    uint64_t stride;     /* elements between rows of them */
};

/* The only parameter of write, by value. */
struct mt_tap_batch {
    uint64_t count;
    struct mt_tap_args tap[MT_TAP_BATCH]; /* by rising first_block */
};

/* What begin() tells the other threads of its block. */
struct mt_tap_place {
    uint64_t position;
    uint32_t status; /* MT_TAP_CLAIMED or MT_TAP_LOST */
    uint32_t rows;   /* of row context: as many as were claimed */
};

#ifdef __CUDACC__
#define MT_FN_BOTH static __host__ __device__ __forceinline__
#else
#define MT_FN_BOTH static inline
#endif

MT_FN_BOTH uint32_t mt_tap_blocks(uint64_t ids)
{
    uint64_t n = (ids + MT_TAP_IDS_PER_BLOCK - 1) / MT_TAP_IDS_PER_BLOCK;
    return n < 1 ? 1 : n > MT_TAP_BLOCKS_MAX ? MT_TAP_BLOCKS_MAX : (uint32_t) n;
}

/* Blocks that write one record from its stage. */
MT_FN_BOTH uint32_t mt_write_blocks(const struct mt_tap_args *args, uint32_t weights)
{
    uint64_t bytes = mt_payload_size((uint64_t) args->rows * args->k, args->width, weights);
    uint64_t n = (bytes + MT_WRITE_BYTES_PER_BLOCK - 1) / MT_WRITE_BYTES_PER_BLOCK;
    return n < 1 ? 1 : n > MT_WRITE_BLOCKS_MAX ? MT_WRITE_BLOCKS_MAX : (uint32_t) n;
}

static inline uint32_t mt_tap_batch_blocks(const struct mt_tap_batch *batch)
{
    const struct mt_tap_args *last = &batch->tap[batch->count - 1];
    return last->first_block + mt_write_blocks(last, last->weights);
}

/* Whose record a block of moetap_write works on. */
MT_FN const struct mt_tap_args *mt_tap_of_block(const struct mt_tap_batch *batch, uint32_t block)
{
    uint32_t i = (uint32_t) batch->count - 1;
    while (i && batch->tap[i].first_block > block)
        i--;
    return &batch->tap[i];
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
#endif

MT_FN uint64_t mt_tap_payload(const struct mt_tap_args *args, uint32_t weights)
{
    return mt_record_size(mt_payload_size((uint64_t) args->rows * args->k, args->width, weights)) -
           sizeof(struct mt_record);
}

/* In a graph of several passes a write may run late, and the next pass's context early. */
MT_FN uint64_t *mt_tap_stage_context(const struct mt_tap_args *args, uint32_t weights)
{
    return (uint64_t *) (args->stage + mt_tap_payload(args, weights));
}

MT_FN_BOTH uint64_t mt_tap_stage_size(uint64_t ids, uint32_t width, uint32_t weights)
{
    return mt_record_size(mt_payload_size(ids, width, weights)) - sizeof(struct mt_record) + sizeof(uint64_t);
}

/* What makes no sense is no reason to read more than the launch allows. */
MT_FN uint32_t mt_tap_rows(const struct mt_tap_args *args)
{
    if (!args->count)
        return args->rows;
    const uint32_t count = (uint32_t) *args->count;
    return count - 1 < args->rows ? count : args->rows;
}

MT_FN void mt_tap_begin(const struct mt_tap_args *args, int staged, uint32_t weights, uint32_t blocks,
                        struct mt_tap_place *place)
{
    struct mt_tap_scratch *scratch = args->scratch;
    const uint32_t rows = place->rows = mt_tap_rows(args);
    /* Whoever comes first is running already, so waiting for it ends. */
    if (blocks > 1 && mt_add32(&scratch->arrived, 1) != 0) {
        while (!(place->status = mt_load32_acquire(&scratch->claimed)))
            mt_relax();
        place->position = scratch->position;
        return;
    }
    struct mt_claim claim;
    /* A record has 16 bits for k. */
    uint64_t payload =
        args->k - 1 < 0xFFFFu ? mt_payload_size((uint64_t) rows * args->k, args->width, weights) : ~(uint64_t) 0;
    if (mt_ring_claim(args->producer, args->counter, payload, args->context, &claim)) {
        if (staged)
            claim.context = *mt_tap_stage_context(args, weights);
        mt_ring_fill_weighted(args->producer, &claim, args->site, rows, args->k, args->width, weights);
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

/* How the ids lie in the engine's memory, and what becomes of those that no byte can hold. */
struct mt_tap_kind {
    uint32_t size; /* of one id; constant after inlining, as `width` below */
    uint32_t sign; /* integers of 1 and 2 bytes: extend the sign */
    uint32_t negative, overflow;
};

MT_FN uint32_t mt_tap_narrow(uint32_t id, const struct mt_tap_kind *kind)
{
    return id >> 31 ? kind->negative : id < kind->overflow ? id : kind->overflow;
}

MT_FN uint32_t mt_tap_narrow_64(uint32_t low, uint32_t high, const struct mt_tap_kind *kind)
{
    return high >> 31 ? kind->negative : high == 0 && low < kind->overflow ? low : kind->overflow;
}

MT_FN uint32_t mt_tap_load(const void *ids, uint64_t index, const struct mt_tap_kind *kind)
{
    switch (kind->size) {
    case 8: {
        uint64_t id = ((const uint64_t *) ids)[index];
        return mt_tap_narrow_64((uint32_t) id, (uint32_t) (id >> 32), kind);
    }
    case 4:
        return mt_tap_narrow(((const uint32_t *) ids)[index], kind);
    case 2: {
        uint32_t id = ((const uint16_t *) ids)[index];
        return mt_tap_narrow(kind->sign && id >> 15 ? id | 0xFFFF0000u : id, kind);
    }
    default:
        return mt_tap_narrow(((const uint8_t *) ids)[index], kind);
    }
}

/* 16 bytes of output from ids that lie without a gap, read by 16 bytes. */
MT_FN void mt_tap_dense(const void *ids, uint64_t id, uint32_t width, const struct mt_tap_kind *kind,
                        struct mt_16_bytes *out)
{
    const struct mt_16_bytes *from = (const struct mt_16_bytes *) ((const uint8_t *) ids + id * kind->size);
    const uint32_t per_load = 16 / kind->size;
    struct mt_16_bytes in[8];
    MT_UNROLL
    for (uint32_t i = 0; i < 16 / width / per_load; i++)
        in[i] = from[i];
    MT_UNROLL
    for (uint32_t i = 0; i < 16 / width; i++) {
        const uint32_t *word = in[i / per_load].word;
        uint32_t at = i % per_load;
        uint32_t code = kind->size == 8 ? mt_tap_narrow_64(word[2 * at % 4], word[(2 * at + 1) % 4], kind)
                                        : mt_tap_narrow(word[at % 4], kind);
        out->word[i * width / 4] |= code << (i * width % 4 * 8);
    }
}

/* The same from ids in any layout, as far as there are any. */
MT_FN void mt_tap_gather(const struct mt_tap_args *args, uint32_t id, uint32_t ids, uint32_t width,
                         const struct mt_tap_kind *kind, struct mt_16_bytes *out)
{
    uint32_t row = id / args->k, slot = id - row * args->k;
    uint64_t index = row * args->stride + (uint64_t) slot * args->column;
    MT_UNROLL
    for (uint32_t i = 0; i < 16 / width; i++) {
        uint32_t code = id + i < ids ? mt_tap_load(args->ids, index, kind) : 0;
        out->word[i * width / 4] |= code << (i * width % 4 * 8);
        index += args->column;
        if (++slot == args->k) {
            slot = 0;
            index += args->stride - (uint64_t) args->k * args->column;
        }
    }
}

/* Where 16 bytes of the payload go. */
MT_FN struct mt_16_bytes *mt_tap_to(const struct mt_tap_args *args, const struct mt_tap_place *place, uint64_t offset)
{
    return (struct mt_16_bytes *) (place ? mt_ring_payload(args->producer, place->position, offset)
                                         : args->stage + offset);
}

MT_FN void mt_tap_narrow_as(const struct mt_tap_args *args, const struct mt_tap_place *place, uint32_t weights,
                            uint32_t thread, uint32_t threads, uint32_t size, uint32_t width)
{
    const uint32_t top = width == 1 ? MT_ID8_NEGATIVE : MT_ID16_NEGATIVE;
    const struct mt_tap_kind kind = {size, args->dtype == MT_DTYPE_I16, args->dtype == MT_DTYPE_U32 ? top - 1 : top,
                                     top - 1};
    const uint32_t ids = args->rows * args->k;
    const uint64_t bytes = weights ? mt_weights_offset(ids, width) : mt_tap_payload(args, 0);
    const int dense = size >= 4 && args->stride == args->k && args->column == 1 && ((uintptr_t) args->ids & 15) == 0;
    for (uint64_t offset = (uint64_t) thread * 16; offset < bytes; offset += (uint64_t) threads * 16) {
        struct mt_16_bytes out = {{0, 0, 0, 0}};
        uint32_t id = (uint32_t) (offset / width);
        if (dense && ids >= id && ids - id >= 16 / width)
            mt_tap_dense(args->ids, id, width, &kind, &out);
        else if (id < ids)
            mt_tap_gather(args, id, ids, width, &kind, &out);
        *mt_tap_to(args, place, offset) = out;
    }
}

/* Each thread makes 16 bytes at a time; the last ones carry the zeroes that fill the record up. Without a place: into
 * the stage. */
MT_FN void mt_tap_narrow_all(const struct mt_tap_args *args, const struct mt_tap_place *place, uint32_t weights,
                             uint32_t thread, uint32_t threads)
{
    switch (args->dtype) {
    case MT_DTYPE_I64:
        if (args->width == 1)
            mt_tap_narrow_as(args, place, weights, thread, threads, 8, 1);
        else
            mt_tap_narrow_as(args, place, weights, thread, threads, 8, 2);
        break;
    case MT_DTYPE_I32:
    case MT_DTYPE_U32:
        if (args->width == 1)
            mt_tap_narrow_as(args, place, weights, thread, threads, 4, 1);
        else
            mt_tap_narrow_as(args, place, weights, thread, threads, 4, 2);
        break;
    case MT_DTYPE_I16:
    case MT_DTYPE_U16:
        if (args->width == 1)
            mt_tap_narrow_as(args, place, weights, thread, threads, 2, 1);
        else
            mt_tap_narrow_as(args, place, weights, thread, threads, 2, 2);
        break;
    default:
        if (args->width == 1)
            mt_tap_narrow_as(args, place, weights, thread, threads, 1, 1);
        else
            mt_tap_narrow_as(args, place, weights, thread, threads, 1, 2);
    }
}

MT_FN void mt_tap_stage(const struct mt_tap_args *args, uint32_t weights, uint32_t thread, uint32_t threads)
{
    if (thread == 0)
        *mt_tap_stage_context(args, weights) = mt_load(&args->producer->context);
    mt_tap_narrow_all(args, 0, weights, thread, threads);
}

MT_FN void mt_tap_weights_as(const struct mt_tap_weighted_args *args, const struct mt_tap_place *place, uint32_t thread,
                             uint32_t threads, uint32_t type, uint32_t size)
{
    const struct mt_tap_args *tap = &args->tap;
    const uint64_t count = (uint64_t) tap->rows * tap->k;
    const uint64_t begin = mt_weights_offset(count, tap->width), end = mt_tap_payload(tap, type);
    const int dense = args->stride == tap->k && ((uintptr_t) args->weights & 15) == 0;
    for (uint64_t offset = begin + (uint64_t) thread * 16; offset < end; offset += (uint64_t) threads * 16) {
        const uint64_t first = (offset - begin) / size;
        struct mt_16_bytes out = {{0, 0, 0, 0}};
        if (dense && count >= first && count - first >= 16 / size) {
            out = *(const struct mt_16_bytes *) ((const uint8_t *) args->weights + first * size);
        } else {
            MT_UNROLL
            for (uint32_t i = 0; i < 16 / size; i++) {
                if (first + i >= count)
                    break;
                const uint64_t at = (first + i) / tap->k * args->stride + (first + i) % tap->k;
                const uint32_t bits =
                    size == 4 ? ((const uint32_t *) args->weights)[at] : ((const uint16_t *) args->weights)[at];
                out.word[i * size / 4] |= bits << (i * size % 4 * 8);
            }
        }
        *mt_tap_to(tap, place, offset) = out;
    }
}

/* The weights as they are, behind the ids. Without a place: into the stage. */
MT_FN void mt_tap_weights(const struct mt_tap_weighted_args *args, const struct mt_tap_place *place, uint32_t thread,
                          uint32_t threads)
{
    if (place && place->status != MT_TAP_CLAIMED)
        return;
    if (mt_weight_size(args->tap.weights) == 4)
        mt_tap_weights_as(args, place, thread, threads, MT_WEIGHT_F32, 4);
    else
        mt_tap_weights_as(args, place, thread, threads, MT_WEIGHT_F16, 2);
}

/* A value that is not read, for the engine's launch told it. */
MT_FN uint32_t mt_tap_told(const struct mt_tap_args *args, uint32_t index)
{
    const uint64_t two = index < 2 ? (uint64_t) (uintptr_t) args->ids : args->stride;
    return (uint32_t) (two >> index % 2 * 32);
}

/* Row context: int32 as they are. */
MT_FN uint32_t mt_tap_value(const struct mt_tap_args *args, uint64_t index)
{
    if (args->dtype == MT_DTYPE_I64) {
        const int64_t value = ((const int64_t *) args->ids)[index];
        return value == (int32_t) value ? (uint32_t) value : (uint32_t) MT_CONTEXT_OVERFLOW;
    }
    const uint32_t value = ((const uint32_t *) args->ids)[index];
    return args->dtype == MT_DTYPE_U32 && value >> 31 ? (uint32_t) MT_CONTEXT_OVERFLOW : value;
}

MT_FN uint32_t mt_tap_value_64(uint32_t low, uint32_t high)
{
    return high == 0u - (low >> 31) ? low : (uint32_t) MT_CONTEXT_OVERFLOW;
}

/* 16 bytes of output at a time; read by 16 bytes where the values lie so. */
MT_FN void mt_tap_values(const struct mt_tap_args *args, const struct mt_tap_place *place, uint32_t thread,
                         uint32_t threads)
{
    const uint32_t rows = place->rows;
    const uint64_t bytes = mt_record_size(mt_payload_size(rows, MT_CONTEXT_WIDTH, 0)) - sizeof(struct mt_record);
    const int wide = args->dtype == MT_DTYPE_I64, told = args->dtype == MT_DTYPE_NONE;
    const int dense = !told && args->stride == 1 && ((uintptr_t) args->ids & 15) == 0;
    for (uint64_t offset = (uint64_t) thread * 16; offset < bytes; offset += (uint64_t) threads * 16) {
        const uint32_t row = (uint32_t) (offset / 4);
        struct mt_16_bytes out = {{0, 0, 0, 0}};
        if (dense && wide && row < rows && rows - row >= 4) {
            const struct mt_16_bytes *from = (const struct mt_16_bytes *) ((const uint64_t *) args->ids + row);
            const struct mt_16_bytes in[2] = {from[0], from[1]};
            MT_UNROLL
            for (uint32_t i = 0; i < 4; i++)
                out.word[i] = mt_tap_value_64(in[i / 2].word[i % 2 * 2], in[i / 2].word[i % 2 * 2 + 1]);
        } else if (dense && !wide && row < rows && rows - row >= 4) {
            out = *(const struct mt_16_bytes *) ((const uint32_t *) args->ids + row);
            MT_UNROLL
            for (uint32_t i = 0; i < 4; i++)
                if (args->dtype == MT_DTYPE_U32 && out.word[i] >> 31)
                    out.word[i] = (uint32_t) MT_CONTEXT_OVERFLOW;
        } else {
            MT_UNROLL
            for (uint32_t i = 0; i < 4; i++)
                if (row < rows && rows - row > i)
                    out.word[i] = told ? mt_tap_told(args, row + i) : mt_tap_value(args, (row + i) * args->stride);
        }
        *mt_tap_to(args, place, offset) = out;
    }
}

MT_FN void mt_tap_copy_stage(const struct mt_tap_args *args, const struct mt_tap_place *place, uint32_t weights,
                             uint32_t thread, uint32_t threads)
{
    const uint64_t bytes = mt_tap_payload(args, weights);
    for (uint64_t offset = (uint64_t) thread * 16; offset < bytes; offset += (uint64_t) threads * 16)
        *mt_tap_to(args, place, offset) = *(const struct mt_16_bytes *) (args->stage + offset);
}

/* `staged` is a constant on the GPU: neither kernel carries the other's code, and with it its registers. */
MT_FN void mt_tap_copy(const struct mt_tap_args *args, const struct mt_tap_place *place, int staged, uint32_t weights,
                       uint32_t thread, uint32_t threads)
{
    if (place->status != MT_TAP_CLAIMED)
        return;
    if (staged)
        mt_tap_copy_stage(args, place, weights, thread, threads);
    else if (args->context)
        mt_tap_values(args, place, thread, threads);
    else
        mt_tap_narrow_all(args, place, weights, thread, threads);
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
