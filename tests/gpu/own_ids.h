/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A router whose ids say which launch made them, so that the program that launched it knows what its own ring must
 * hold. Behind the last reader of the ids their memory is overwritten: a tap that comes too late shows.
 */
#ifndef MOETAP_TESTS_GPU_OWN_IDS_H
#define MOETAP_TESTS_GPU_OWN_IDS_H

#include "../../bench/own.h"

constexpr int K = 8, EXPERTS = 128;

__host__ __device__ static inline int id_of(unsigned slot, int row, int lane)
{
    return lane < 3 ? slot >> (7 * lane) & 127 : (int) ((row * 2654435761u >> 11) + slot * 31 + lane) & 127;
}

__device__ static inline void write_ids(unsigned slot, int *ids, int rows, int k)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < rows * k; i += gridDim.x * blockDim.x)
        ids[i] = id_of(slot, i / k, i % k);
}

/* So long that kernels which may overlap do. */
__device__ static inline void spin(int cycles)
{
    for (long long begin = clock64(); clock64() - begin < cycles;) {
    }
}

/* What the ring held since the last look. */
struct found {
    int rows;
    std::vector<unsigned> times; /* [slot]: how often it was there, right in all its ids */
    unsigned wrong;
};

static int take(const struct mt_record *record, const void *ids, void *user)
{
    struct found *found = (struct found *) user;
    unsigned slot = 0;
    for (int lane = 0; lane < 3; lane++)
        slot |= (unsigned) mt_decode_id(ids, record->width, lane) << (7 * lane);
    bool right = record->rows == (uint32_t) found->rows && record->k == K && slot < found->times.size();
    for (int i = 0; right && i < found->rows * K; i++)
        right = mt_decode_id(ids, record->width, i) == id_of(slot, i / K, i % K);
    if (right)
        found->times[slot]++;
    else
        found->wrong++;
    return 0;
}

/* The records of all that has run: each slot once, and nothing else. */
static bool all_there(mt_reader *reader, const char *what, int rows, unsigned slots)
{
    struct mt_error error = {""};
    struct mt_stats stats;
    struct found found = {rows, std::vector<unsigned>(slots), 0};
    int64_t n;
    while ((n = mt_read(reader, 1000, take, &found, &error)) > 0) {
    }
    unsigned once = 0;
    for (unsigned times : found.times)
        once += times == 1;
    mt_stats(reader, &stats);
    bool good = n == 0 && once == slots && !found.wrong && !stats.lost_full && !stats.lost_too_big;
    printf("%s %s, %d rows: %u of %u launches with all their ids, wrong %u, not captured so far %llu%s\n",
           good ? "ok:" : "FAILED:", what, rows, once, slots, found.wrong, (unsigned long long) stats.not_captured,
           error.text);
    fflush(stdout);
    return good;
}

#endif
