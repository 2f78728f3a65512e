/* SPDX-License-Identifier: Apache-2.0 */
/* Finding libcupti at run time; nothing of ours links it. */
#ifndef MOETAP_CUPTI_LIBRARY_H
#define MOETAP_CUPTI_LIBRARY_H

#include <stddef.h>

/*
 * MOETAP_CUPTI, else the one that the process has loaded already (two copies in one process do not go together), else
 * by the loader, beside the CUDA runtime that is loaded, in the toolkit's folders. NULL with one line in `why`.
 */
void *mt_cupti_open(char *why, size_t size);

#endif
