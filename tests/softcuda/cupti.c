/* SPDX-License-Identifier: Apache-2.0 */
/* libcupti of the software device: the callback API with its one subscriber. */
#include <cupti.h>

#include "device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct CUpti_Subscriber_st {
    CUpti_CallbackFunc callback;
    void *user;
    char name[64];
};

static struct CUpti_Subscriber_st slot;
static bool taken;
static bool enabled[CUPTI_DRIVER_TRACE_CBID_SIZE];
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

static void hook(int exit, unsigned cbid, const char *name, const void *params, const char *symbol, CUresult *result,
                 unsigned long long *correlation)
{
    if (cbid >= CUPTI_DRIVER_TRACE_CBID_SIZE || !__atomic_load_n(&enabled[cbid], __ATOMIC_ACQUIRE))
        return;
    CUpti_CallbackData data = {
        .callbackSite = exit ? CUPTI_API_EXIT : CUPTI_API_ENTER,
        .functionName = name,
        .functionParams = params,
        .functionReturnValue = result,
        .symbolName = symbol,
        .correlationData = (uint64_t *) correlation,
    };
    CUpti_CallbackFunc callback = __atomic_load_n(&slot.callback, __ATOMIC_ACQUIRE);
    if (callback)
        callback(slot.user, CUPTI_CB_DOMAIN_DRIVER_API, cbid, &data);
}

static CUptiResult subscribe(CUpti_SubscriberHandle *handle, CUpti_CallbackFunc callback, void *user, const char *name)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    void (*set)(soft_hook *) = driver ? (void (*)(soft_hook *)) dlsym(driver, "softcuda_set_hook") : NULL;
    if (!set)
        return CUPTI_ERROR_NOT_INITIALIZED;
    pthread_rwlock_wrlock(&lock);
    CUptiResult result = CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
    if (!taken) {
        taken = true;
        slot.user = user;
        snprintf(slot.name, sizeof slot.name, "CUPTI for %s", name);
        __atomic_store_n(&slot.callback, callback, __ATOMIC_RELEASE);
        *handle = &slot;
        set(hook);
        result = CUPTI_SUCCESS;
    }
    pthread_rwlock_unlock(&lock);
    return result;
}

API CUptiResult cuptiSubscribe(CUpti_SubscriberHandle *handle, CUpti_CallbackFunc callback, void *user)
{
    return subscribe(handle, callback, user, "somebody");
}

API CUptiResult cuptiSubscribe_v2(CUpti_SubscriberHandle *handle, CUpti_CallbackFunc callback, void *user,
                                  CUpti_SubscriberParams *params)
{
    CUptiResult result =
        subscribe(handle, callback, user, params && params->subscriberName ? params->subscriberName : "?");
    if (result == CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED && params && params->oldSubscriberName)
        snprintf(params->oldSubscriberName, params->oldSubscriberSize, "%s", slot.name);
    return result;
}

API CUptiResult cuptiUnsubscribe(CUpti_SubscriberHandle handle)
{
    if (handle != &slot || !taken)
        return CUPTI_ERROR_INVALID_PARAMETER;
    memset(enabled, 0, sizeof enabled);
    __atomic_store_n(&slot.callback, NULL, __ATOMIC_RELEASE);
    taken = false;
    return CUPTI_SUCCESS;
}

API CUptiResult cuptiEnableCallback(uint32_t on, CUpti_SubscriberHandle handle, CUpti_CallbackDomain domain,
                                    CUpti_CallbackId id)
{
    if (handle != &slot || !taken || domain != CUPTI_CB_DOMAIN_DRIVER_API || id >= CUPTI_DRIVER_TRACE_CBID_SIZE)
        return CUPTI_ERROR_INVALID_PARAMETER;
    __atomic_store_n(&enabled[id], on != 0, __ATOMIC_RELEASE);
    return CUPTI_SUCCESS;
}

API CUptiResult cuptiGetVersion(uint32_t *version)
{
    *version = CUPTI_API_VERSION;
    return CUPTI_SUCCESS;
}
