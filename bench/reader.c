/* SPDX-License-Identifier: Apache-2.0 */
/* One reader thread on libmoetap that takes every record and looks at it; says what it got and what was lost. */
#include "../shm/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t bytes, sum;

static int take(const struct mt_record *record, const void *ids, void *user)
{
    (void) user;
    bytes += record->bytes;
    sum += ((const uint8_t *) ids)[record->bytes / 2];
    return 0;
}

int main(int argc, char **argv)
{
    const struct timespec nap = {0, 1000000};
    struct mt_error error = {""};
    mt_reader *reader = NULL;
    for (int tries = 0; !reader && tries < 20000; tries++) {
        struct mt_segment_name *names;
        size_t count;
        if (mt_discover(argc > 1 ? argv[1] : NULL, &names, &count, &error) == 0 && count) {
            mt_attach(names[0].name, MT_ATTACH_DRAIN, &reader, &error);
            free(names);
        }
        if (!reader)
            nanosleep(&nap, NULL);
    }
    if (!reader) {
        fprintf(stderr, "reader: no segment: %s\n", error.text);
        return 1;
    }
    for (;;) {
        int64_t n = mt_read(reader, 64, take, NULL, &error);
        if (n < 0) {
            fprintf(stderr, "reader: %s\n", error.text);
            return 1;
        }
        if (n == 0 && mt_ended(reader) != MT_END_NOT && mt_read(reader, 64, take, NULL, &error) == 0)
            break;
    }
    struct mt_stats stats;
    mt_stats(reader, &stats);
    printf("{\"read\":%llu,\"bytes\":%llu,\"lost\":%llu,\"sum\":%llu}\n", (unsigned long long) stats.records,
           (unsigned long long) bytes, (unsigned long long) (stats.lost_full + stats.lost_too_big + stats.lost_torn),
           (unsigned long long) sum);
    mt_unlink(reader, &error);
    mt_detach(reader);
    return 0;
}
