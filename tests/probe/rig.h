/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs that are probed have in common: one stream, one module, and the truth. */
#ifndef MOETAP_TESTS_PROBE_RIG_H
#define MOETAP_TESTS_PROBE_RIG_H

#include "../engine/driver.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MEMORY (1 << 20) /* bytes of device_memory() */

extern struct cuda cuda;
extern CUstream stream;
extern FILE *truth; /* NULL: not asked for */

void ok(CUresult result, const char *what);
#define OK(call) ok((call), #call)

/* A device, a context, a stream; `path` of the truth may be NULL. Ends the program if there is none. */
void rig_open(const char *path);
/* Says what the program computed: it must not change. */
int rig_close(const char *name, CUdeviceptr hidden, int rows);

CUdeviceptr device_memory(void);
void launch(const char *name, unsigned blocks, void **params);

/* A line of what the router chose: rows of k ids, `stride` apart, `width` bytes each. */
void write_truth(CUdeviceptr ids, int rows, int k, int stride, int width);

#endif
