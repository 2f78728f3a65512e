/* SPDX-License-Identifier: Apache-2.0 */
/* A recipe (docs/recipes.md) from what was found. */
#ifndef MOETAP_TOOLS_PROBE_RECIPE_TEXT_H
#define MOETAP_TOOLS_PROBE_RECIPE_TEXT_H

#include "judge.h"

#include <stdio.h>

/*
 * False: not enough is known for one. `number`: 1, or what tells the recipe's name from others of that kernel; `alone`:
 * no other kernel of that name and layout has to be read in another way.
 */
bool recipe_print(FILE *out, const struct candidate *candidate, unsigned number, bool alone);

/* The i-th kernel that the recipe waits for before it reads the ids; NULL behind the last. */
const char *recipe_final(const struct candidate *candidate, unsigned i);

/* i32, i64, ... */
const char *recipe_dtype(const struct candidate *candidate);

#endif
