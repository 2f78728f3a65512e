/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer's protocol, one source for CUDA (many GPU threads) and C11 (tests, the software device).
 *
 * A record is claimed, filled and committed.
 *
 * Claim: one thread takes the record's number (`attempts`), its site's step, and its place, by a compare-and-swap that
 * moves `head` if the ring has room up to the consumer's tail. The tail lies in host memory, so its last known value is
 * kept and it is read again only when the ring looks full. No room: the record is counted as lost and the engine does
 * not wait (or waits at most wait_ns, if asked to).
 *
 * Fill: any threads store header and payload with plain stores: nobody looks at them yet.
 *
 * Commit: a system fence, then one aligned 8-byte store of a word made of the record's own position. The fence orders
 * every store before it, in the eyes of the CPU too, so the word cannot overtake the payload. Who fills with several
 * blocks fences in each of them and counts them in (tap.h), so that the last one speaks for all.
 *
 * Why old bytes cannot pass: claims and commits come in any order, but the reader takes records in the order of
 * positions and stops at one that is claimed and not committed. What it finds there then is of an earlier lap, and the
 * commit word differs in all of its 64 bits for each position and each segment. Why a record that is still being read
 * cannot be overwritten: the reader stores its tail with release after the copy out; the claim loads it with acquire,
 * and passes it on to other claims by release and acquire on `producer->tail`.
 *
 * Losses are counted in device memory and mirrored to the CPU by plain stores (PCIe has no atomic add). Two mirrors may
 * land in the wrong order, so each one re-reads the counter behind a fence and stores again while it has moved: the
 * store that comes last carries the final value.
 */
#ifndef MOETAP_SHM_RING_H
#define MOETAP_SHM_RING_H

#include "layout.h"

#ifdef __CUDACC__
#define MT_FN static __device__ __forceinline__
#else
#include <sched.h>
#include <time.h>
#define MT_FN static inline
#endif

/* A test may define it to stop or kill the writer between any two steps. */
#ifndef MT_TESTPOINT
#define MT_TESTPOINT(name) ((void) 0)
#endif

/* Lives in the GPU's own memory; the CPU fills it once, before the first tap runs. One per segment. */
struct mt_producer {
    /* GPU-owned, atomics at device scope. Zero at the start. */
    uint64_t head;         /* next free stream position */
    uint64_t tail;         /* the consumer's tail as last seen; re-read only when the ring looks full */
    uint64_t attempts;     /* next seq */
    uint64_t lost_full;    /* mirrored into mt_counters */
    uint64_t lost_too_big; /* mirrored into mt_counters */
    uint64_t context;      /* runs of taps of row context */
    uint64_t reserved0[2];
    /* Constant. Addresses as the GPU sees them. */
    uint8_t *ring;
    uint64_t ring_size;
    uint64_t nonce;
    struct mt_counters *counters;
    const struct mt_consumer *consumer;
    uint64_t *steps;  /* [MT_SITES_MAX], GPU-owned: runs of each site, and of those that count with it */
    uint64_t wait_ns; /* how long a full ring is waited for; 0: drop at once */
    uint64_t reserved1;
};

#ifdef __CUDACC__
MT_FN uint64_t mt_add(uint64_t *word, uint64_t n)
{
    return atomicAdd((unsigned long long *) word, (unsigned long long) n);
}
MT_FN uint64_t mt_load(const uint64_t *word)
{
    uint64_t value;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(word) : "memory");
    return value;
}
MT_FN uint64_t mt_load_acquire(const uint64_t *word)
{
    uint64_t value;
    asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(word) : "memory");
    return value;
}
MT_FN int mt_swap_if(uint64_t *word, uint64_t *expected, uint64_t desired)
{
    uint64_t seen =
        atomicCAS((unsigned long long *) word, (unsigned long long) *expected, (unsigned long long) desired);
    int swapped = seen == *expected;
    *expected = seen;
    return swapped;
}
MT_FN void mt_raise_release(uint64_t *word, uint64_t value)
{
    __threadfence();
    atomicMax((unsigned long long *) word, (unsigned long long) value);
}
/* Words shared with the CPU. */
MT_FN uint64_t mt_load_system(const uint64_t *word)
{
    uint64_t value;
    asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(word) : "memory");
    return value;
}
MT_FN void mt_store_system(uint64_t *word, uint64_t value)
{
    asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}
MT_FN void mt_fence_system(void)
{
    __threadfence_system();
}
MT_FN uint64_t mt_clock(void)
{
    uint64_t ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
}
MT_FN void mt_relax(void)
{
#if __CUDA_ARCH__ >= 700
    __nanosleep(200);
#endif
}
struct __align__(16) mt_16_bytes
{
    uint32_t word[4];
};
#define MT_UNROLL _Pragma("unroll")
#else
/* Sequentially consistent, so that no fence is needed: thread sanitizers do not understand fences. */
MT_FN uint64_t mt_add(uint64_t *word, uint64_t n)
{
    return __atomic_fetch_add(word, n, __ATOMIC_SEQ_CST);
}
MT_FN uint64_t mt_load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}
MT_FN uint64_t mt_load_acquire(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}
MT_FN int mt_swap_if(uint64_t *word, uint64_t *expected, uint64_t desired)
{
    return __atomic_compare_exchange_n(word, expected, desired, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
MT_FN void mt_raise_release(uint64_t *word, uint64_t value)
{
    uint64_t seen = mt_load(word);
    while (seen < value && !mt_swap_if(word, &seen, value)) {
    }
}
MT_FN uint64_t mt_load_system(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}
MT_FN void mt_store_system(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}
MT_FN void mt_fence_system(void)
{
}
MT_FN uint64_t mt_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}
MT_FN void mt_relax(void)
{
    sched_yield();
}
struct mt_16_bytes {
    uint32_t word[4];
} __attribute__((aligned(16), may_alias));
#define MT_UNROLL
#endif

/* A record says its payload in 32 bits. */
#define MT_RING_PAYLOAD_MAX (0xFFFFFFFFull - MT_RECORD_ALIGN)

/* A claimed record. */
struct mt_claim {
    uint64_t position;
    uint64_t seq, step, lost, context;
};

MT_FN void mt_ring_count_loss(uint64_t *counter, uint64_t *mirror)
{
    uint64_t value = mt_add(counter, 1) + 1;
    MT_TESTPOINT("counted");
    for (;;) {
        mt_store_system(mirror, value);
        mt_fence_system();
        uint64_t now = mt_load(counter);
        if (now == value)
            return;
        value = now;
    }
}

/* One thread for each record; `context`: it is row context, not ids. 0: lost and counted. */
MT_FN int mt_ring_claim(struct mt_producer *producer, uint32_t site, uint64_t payload, int context,
                        struct mt_claim *claim)
{
    claim->seq = mt_add(&producer->attempts, 1);
    claim->step = mt_add(&producer->steps[site], 1);
    claim->context = context ? mt_add(&producer->context, 1) + 1 : mt_load(&producer->context);
    MT_TESTPOINT("numbered");
    const uint64_t size = mt_record_size(payload), room = producer->ring_size;
    if (payload > MT_RING_PAYLOAD_MAX || size > room / 2) {
        mt_ring_count_loss(&producer->lost_too_big, &producer->counters->lost_too_big);
        return 0;
    }
    for (uint64_t deadline = 0;;) {
        const uint64_t tail = mt_load_acquire(&producer->tail);
        uint64_t head = mt_load(&producer->head);
        while (head + size - tail <= room) {
            if (mt_swap_if(&producer->head, &head, head + size)) {
                claim->position = head;
                claim->lost = mt_load(&producer->lost_full) + mt_load(&producer->lost_too_big);
                MT_TESTPOINT("claimed");
                return 1;
            }
        }
        const uint64_t read_to = mt_load_system(&producer->consumer->tail);
        head = mt_load(&producer->head);
        /* A stray write there must not move us backwards or ahead of ourselves. */
        if (read_to > tail && read_to <= head) {
            mt_raise_release(&producer->tail, read_to);
            continue;
        }
        const uint64_t now = mt_clock();
        if (!deadline)
            deadline = now + producer->wait_ns;
        if (now >= deadline) {
            mt_ring_count_loss(&producer->lost_full, &producer->counters->lost_full);
            return 0;
        }
        mt_relax();
    }
}

MT_FN struct mt_record *mt_ring_record(const struct mt_producer *producer, uint64_t position)
{
    return (struct mt_record *) (producer->ring + (position & (producer->ring_size - 1)));
}

/* Where a byte of the payload goes; 64 bytes from an aligned offset are contiguous. */
MT_FN uint8_t *mt_ring_payload(const struct mt_producer *producer, uint64_t position, uint64_t offset)
{
    return producer->ring + ((position + sizeof(struct mt_record) + offset) & (producer->ring_size - 1));
}

/* All of the header but the commit word, in few stores: each of them is a packet on PCIe. `weights`: their type. */
MT_FN void mt_ring_fill_weighted(const struct mt_producer *producer, const struct mt_claim *claim, uint32_t site,
                                 uint32_t rows, uint32_t k, uint32_t width, uint32_t weights)
{
    union {
        struct mt_record record;
        struct mt_16_bytes part[4];
    } header;
    header.record.time_ns = mt_clock();
    header.record.step = claim->step;
    header.record.lost = claim->lost;
    header.record.site = site;
    header.record.rows = rows;
    header.record.bytes = (uint32_t) mt_payload_size((uint64_t) rows * k, width, weights);
    header.record.k = (uint16_t) k;
    header.record.width = (uint8_t) width;
    header.record.weights = (uint8_t) weights;
    header.record.context = claim->context;
    struct mt_record *record = mt_ring_record(producer, claim->position);
    record->seq = claim->seq;
    MT_UNROLL
    for (int i = 1; i < 4; i++)
        ((struct mt_16_bytes *) record)[i] = header.part[i];
    MT_TESTPOINT("filled");
}

MT_FN void mt_ring_fill(const struct mt_producer *producer, const struct mt_claim *claim, uint32_t site, uint32_t rows,
                        uint32_t k, uint32_t width)
{
    mt_ring_fill_weighted(producer, claim, site, rows, k, width, MT_WEIGHT_NONE);
}

MT_FN void mt_ring_commit(const struct mt_producer *producer, uint64_t position)
{
    mt_fence_system();
    MT_TESTPOINT("fenced");
    mt_store_system(&mt_ring_record(producer, position)->commit, mt_commit_word(producer->nonce, position));
    MT_TESTPOINT("committed");
}

#endif
