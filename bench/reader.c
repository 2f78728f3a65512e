/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader SESSION [copy|scan|touch]: one reader thread on libmoetap that takes every record; says what it got and what
 * was lost. copy: from private copies, of which it looks at one byte. scan: in place, every byte is looked at. touch:
 * in place, one byte of each record.
 */
#include "../shm/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t bytes, sum;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static int touch(const struct mt_record *record, const void *ids, void *user)
{
    (void) user;
    bytes += record->bytes;
    sum += ((const uint8_t *) ids)[record->bytes / 2];
    return 0;
}

static int scan(const struct mt_record *record, const void *ids, void *user)
{
    (void) user;
    const uint64_t *words = ids; /* a payload is zero up to a multiple of 64 bytes */
    uint64_t sums[4] = {0};
    for (uint32_t i = 0; i < (record->bytes + 7) / 8; i += 4) {
        for (int n = 0; n < 4; n++)
            sums[n] += words[i + n];
    }
    bytes += record->bytes;
    sum += sums[0] + sums[1] + sums[2] + sums[3];
    return 0;
}

int main(int argc, char **argv)
{
    const struct timespec nap = {0, 1000000};
    struct mt_error error = {""};
    mt_reader *reader = NULL;
    const char *how = argc > 2 ? argv[2] : "copy";
    mt_take *const take = strcmp(how, "scan") == 0 ? scan : touch;
    const unsigned flags = MT_ATTACH_DRAIN | (strcmp(how, "copy") == 0 ? 0 : MT_ATTACH_IN_PLACE);
    for (int tries = 0; !reader && tries < 20000; tries++) {
        struct mt_segment_name *names;
        size_t count;
        if (mt_discover(argc > 1 ? argv[1] : NULL, &names, &count, &error) == 0 && count) {
            mt_attach(names[0].name, flags, &reader, &error);
            free(names);
        }
        if (!reader)
            nanosleep(&nap, NULL);
    }
    if (!reader) {
        fprintf(stderr, "reader: no segment: %s\n", error.text);
        return 1;
    }
    double first = 0, last = 0;
    for (;;) {
        int64_t n = mt_read(reader, 64, take, NULL, &error);
        if (n < 0) {
            fprintf(stderr, "reader: %s\n", error.text);
            return 1;
        }
        if (n > 0) {
            last = now_s();
            first = first > 0 ? first : last;
        }
        if (n == 0 && mt_ended(reader) != MT_END_NOT && mt_read(reader, 64, take, NULL, &error) == 0)
            break;
    }
    struct mt_stats stats;
    mt_stats(reader, &stats);
    printf("{\"read\":%llu,\"bytes\":%llu,\"lost\":%llu,\"seconds\":%.3f,\"sum\":%llu}\n",
           (unsigned long long) stats.records, (unsigned long long) bytes,
           (unsigned long long) (stats.lost_full + stats.lost_too_big + stats.lost_torn), last - first,
           (unsigned long long) sum);
    mt_unlink(reader, &error);
    mt_detach(reader);
    return 0;
}
