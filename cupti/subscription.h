/* SPDX-License-Identifier: Apache-2.0 */
/* The one subscription of this process: who is inside a callback of ours, and how it ends. Between tracer and handover.
 */
#ifndef MOETAP_CUPTI_SUBSCRIPTION_H
#define MOETAP_CUPTI_SUBSCRIPTION_H

#include "launch.h"

#include <cupti.h>
#include <stdbool.h>

struct mt_subscription {
    const struct mt_sink *sink;
    CUpti_SubscriberHandle handle;
    CUptiResult (*unsubscribe)(CUpti_SubscriberHandle);
};
extern struct mt_subscription mt_subscription;

/* Around taking the slot, up to begin(). */
void mt_subscription_lock(void);
void mt_subscription_unlock(void);
void mt_subscription_begin(void);
void mt_subscription_end(void);

/* False: given up, the callback must do nothing. Otherwise leave() must follow. */
bool mt_subscription_enter(void);
void mt_subscription_leave(void);

#endif
