/* SPDX-License-Identifier: Apache-2.0 */
/* What a launch does with a range of device memory, as far as its arguments tell. */
#ifndef MOETAP_SHIM_USE_H
#define MOETAP_SHIM_USE_H

#include "layer/layer.h"

struct mt_range {
    uint64_t begin, end;
};

enum mt_use {
    MT_USE_NONE,    /* no argument points into it */
    MT_USE_READS,   /* its beginning is an argument that the kernel only reads */
    MT_USE_UNKNOWN, /* it may be written */
};

enum mt_use mt_use_of(const struct mt_range *range, const struct mt_history_entry *launch);

/* Where a routing's ids lie, and its weights: begin is 0 if there are none. */
struct mt_range mt_range_of(const struct mt_routing *routing);
struct mt_range mt_weights_range_of(const struct mt_routing *routing);

#endif
