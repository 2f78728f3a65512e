/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel's mangled name says of its parameters: which of them are pointers to const. */
#ifndef MOETAP_SHIM_SIGNATURE_H
#define MOETAP_SHIM_SIGNATURE_H

#include <stdint.h>

/*
 * Bit i is set if parameter i is declared a pointer to const ("PKi", "PKT_"). 0 if the name tells no parameters (extern
 * "C", Triton), or another number of them than `param_count`.
 */
uint64_t mt_signature_const_pointers(const char *mangled, unsigned param_count);

#endif
