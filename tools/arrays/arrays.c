/* SPDX-License-Identifier: Apache-2.0 */
#include "arrays.h"

const struct element elements[ELEMENTS] = {
    [ELEMENT_INT32] = {"int32", "<i4", "I32", 4, true},    [ELEMENT_INT16] = {"int16", "<i2", "I16", 2, true},
    [ELEMENT_UINT16] = {"uint16", "<u2", "U16", 2, false}, [ELEMENT_UINT8] = {"uint8", "|u1", "U8", 1, false},
    [ELEMENT_BOOL] = {"bool", "|b1", "BOOL", 1, false},    [ELEMENT_FLOAT32] = {"float32", "<f4", "F32", 4, true},
};

size_t array_size(const struct array *array)
{
    size_t size = elements[array->type].size;
    for (uint32_t i = 0; i < array->dims; i++)
        size *= array->shape[i];
    return size;
}
