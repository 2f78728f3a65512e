/* SPDX-License-Identifier: Apache-2.0 */
/* Weights as floats: each value of the narrower types is one. */
#include "reader.h"

#include <string.h>

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float of_half(uint16_t half)
{
    const uint32_t sign = (uint32_t) (half >> 15) << 31, exponent = half >> 10 & 31u, fraction = half & 0x3FFu;
    if (exponent == 0) /* zero and what is below the normal numbers */
        return float_of(sign | 0x3F800000u) * (float) fraction * 0x1p-24f;
    return float_of(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13);
}

float mt_decode_weight(const void *weights, unsigned type, size_t index)
{
    uint32_t word;
    uint16_t half;
    switch (type) {
    case MT_WEIGHT_F32:
        memcpy(&word, (const uint8_t *) weights + 4 * index, sizeof word);
        return float_of(word);
    case MT_WEIGHT_F16:
        memcpy(&half, (const uint8_t *) weights + 2 * index, sizeof half);
        return of_half(half);
    case MT_WEIGHT_BF16:
        memcpy(&half, (const uint8_t *) weights + 2 * index, sizeof half);
        return float_of((uint32_t) half << 16);
    default:
        return float_of(0x7FC00000u);
    }
}
