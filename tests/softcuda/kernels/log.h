/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOETAP_TESTS_SOFTCUDA_LOG_H
#define MOETAP_TESTS_SOFTCUDA_LOG_H

#include <stdint.h>

#define ORDER_MAX 1024

/* log_order(struct order *, uint32_t value), log_side the same; log_meet(struct order *, uint32_t how many). */
struct order {
    uint32_t count, met;
    uint32_t at[ORDER_MAX];
};

#endif
