/* SPDX-License-Identifier: Apache-2.0 */
/* A recipe (docs/recipes.md) from what was found. */
#ifndef MOETAP_TOOLS_PROBE_RECIPE_TEXT_H
#define MOETAP_TOOLS_PROBE_RECIPE_TEXT_H

#include "judge.h"

#include <stdio.h>

/* False: not enough is known for one. */
bool recipe_print(FILE *out, const struct candidate *candidate);

/* The i-th kernel that the recipe waits for before it reads the ids; NULL behind the last. */
const char *recipe_final(const struct candidate *candidate, unsigned i);

/* i32, i64, ... */
const char *recipe_dtype(const struct candidate *candidate);

#endif
