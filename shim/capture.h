/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch -> recipe -> tap: the only place that knows all three. Its sink is what the sources of launches report to.
 */
#ifndef MOETAP_SHIM_CAPTURE_H
#define MOETAP_SHIM_CAPTURE_H

#include "../cupti/launch.h"
#include "recipe/recipe.h"

#include <stdbool.h>
#include <stdint.h>

/* Takes ownership of `recipes`. The driver must be resolved. `taps_beside`: branch.h's way for graphs, else in line. */
void mt_capture_start(struct mt_recipes *recipes, bool taps_beside);
const struct mt_sink *mt_capture_sink(void);

#endif
