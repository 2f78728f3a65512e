/* SPDX-License-Identifier: Apache-2.0 */
/* Which part of a model that runs in several processes a process is: engines say it in their processes' titles. */
#ifndef MOETAP_TOOLS_TABLE_RANK_H
#define MOETAP_TOOLS_TABLE_RANK_H

#include "../../shm/reader.h"

/* -1: not told. */
struct rank {
    int data;   /* a replica with requests of its own */
    int tensor; /* a share of each layer: all ranks route the same rows */
    int stage;  /* some of the layers */
};

/* "VLLM::Worker_DP1_TP0", "sglang::scheduler_DP0_PP1_TP2". */
struct rank rank_in_title(const char *title);

/* Of a segment's writer, as far as it can be seen from here. */
struct rank rank_of(const struct mt_header *header);

#endif
