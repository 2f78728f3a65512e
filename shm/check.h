/* SPDX-License-Identifier: Apache-2.0 */
/* What a file must be to be taken for a segment. Shared by writer (stale ones) and reader; not installed. */
#ifndef MOETAP_SHM_CHECK_H
#define MOETAP_SHM_CHECK_H

#include "reader.h"

__attribute__((format(printf, 2, 3))) void mt_error_set(struct mt_error *error, const char *format, ...);

/* `header` is a private copy, `size` the file's. 0, -EAGAIN, -EPROTO or -EINVAL; the text starts with `name`. */
int mt_check_header(const struct mt_header *header, uint64_t size, const char *name, struct mt_error *error);

#endif
