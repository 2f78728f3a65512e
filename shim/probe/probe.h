/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking for a router that no recipe knows: what launches wrote, sampled and put into a file for `moetap probe` to
 * judge. A sink in capture.c's place: nothing is tapped meanwhile.
 *
 * The file is text, a line each, fields separated by tabs:
 *   kernel ID RECIPE KIND OFFSET:SIZE,... CONST MANGLED DEMANGLED BASE TEMPLATE_ARG...
 *   sample ID NUMBER LAYERS GRID_X GRID_Y GRID_Z PARAMS    params as hex, flat; layers: that it was seen in so far
 *   memory OFFSET ADDRESS FIRST END ROOM BYTES             of the sample before: what the pointer at OFFSET of the
 *                                                          params leads to; bytes FIRST to END differ from before
 *   use ID AT NUMBER OFFSET BEHIND HOW BYTES               a launch of kernel ID names, at AT of its params, what
 *                                                          sample NUMBER had written through the pointer at OFFSET,
 *                                                          BEHIND launches later on the same stream (0: on another
 *                                                          one), and left it the "same", "changed" it to BYTES, found
 *                                                          it "other" than it was (BYTES), or was itself "unread"
 *   total ID EAGER CAPTURED                                launches, at the end of the process
 */
#ifndef MOETAP_SHIM_PROBE_H
#define MOETAP_SHIM_PROBE_H

#include "../../cupti/launch.h"
#include "../recipe/recipe.h"

#include <stdbool.h>

/* Writes to `folder`/PID. Takes ownership of `recipes`; `all`: also looks at what they know. False: errno. */
bool mt_probe_start(const char *folder, struct mt_recipes *recipes, bool all);
const struct mt_sink *mt_probe_sink(void);

/* Process exit: the totals. No CUDA. */
void mt_probe_end(void);

#endif
