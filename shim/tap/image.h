/* SPDX-License-Identifier: Apache-2.0 */
/* tap.cu, compiled: a fatbin with machine code for the common GPUs and PTX for the others. */
#ifndef MOETAP_SHIM_TAP_IMAGE_H
#define MOETAP_SHIM_TAP_IMAGE_H

extern const unsigned char mt_tap_image[];

#endif
