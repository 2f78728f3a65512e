/* SPDX-License-Identifier: Apache-2.0 */
/* What the fake engine routes, for it and for those who check what became of it. */
#ifndef MOETAP_TESTS_ENGINE_IDS_H
#define MOETAP_TESTS_ENGINE_IDS_H

#include "../../shm/layout.h"

/*
 * The id as a trace gives it back. Real engines store ids that are none, so this one does too: -1 for padding, and
 * 70000, which fits no narrow id and comes back as MT_ID_OVERFLOW.
 */
static inline int32_t engine_id(uint32_t site, uint64_t step, uint64_t index, uint32_t experts)
{
    const uint64_t random = mt_commit_word(site + (step << 16), index);
    return random % 17 == 0 ? MT_ID_NEGATIVE : random % 19 == 0 ? MT_ID_OVERFLOW : (int32_t) (random / 512 % experts);
}

static inline uint32_t engine_width(uint32_t experts)
{
    return experts <= MT_ID8_EXPERTS_MAX ? 1 : 2;
}

#endif
