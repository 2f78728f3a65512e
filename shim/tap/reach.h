/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does what a recipe says lie in memory that there is? A recipe of another release may take one number for another; a
 * tap that reads beyond an allocation would end the engine.
 */
#ifndef MOETAP_SHIM_TAP_REACH_H
#define MOETAP_SHIM_TAP_REACH_H

#include "../use.h"

/* So many bytes from there on are memory that the driver knows, `most` at most. */
uint64_t mt_reach(uint64_t address, uint64_t most);

bool mt_reach_all(struct mt_range range);

#endif
