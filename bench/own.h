/* SPDX-License-Identifier: Apache-2.0 */
/* A program that runs under the shim and reads its own ring. */
#ifndef MOETAP_BENCH_OWN_H
#define MOETAP_BENCH_OWN_H

#include "../shm/reader.h"
#include "check.h"

#include <cstring>
#include <unistd.h>

/* Its own segment's read side, once a first tap has made the segment. */
static inline mt_reader *attach_own(void)
{
    struct mt_error error = {""};
    struct mt_segment_name *names;
    size_t count;
    mt_reader *reader = NULL;
    char own[32];
    snprintf(own, sizeof own, ".%d.", (int) getpid());
    if (mt_discover(NULL, &names, &count, &error) == 0) {
        for (size_t i = 0; i < count && !reader; i++) {
            if (strstr(names[i].name, own))
                mt_attach(names[i].name, MT_ATTACH_DRAIN, &reader, &error);
        }
        free(names);
    }
    if (!reader) {
        fprintf(stderr, "no ring of this process (%s): run it with LD_PRELOAD=libmoetap-shim.so and its recipe\n",
                error.text);
        exit(1);
    }
    return reader;
}

#endif
