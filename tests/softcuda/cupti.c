/* SPDX-License-Identifier: Apache-2.0 */
/* libcupti of the software device: the callback API with its one subscriber. */
#include <cupti.h>

#include "device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CUpti_Subscriber_st {
    CUpti_CallbackFunc callback;
    void *user;
    char name[64];
};

static struct CUpti_Subscriber_st *slot; /* never freed: a call under way may still tell it */
static bool enabled[CUPTI_DRIVER_TRACE_CBID_SIZE];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

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
    struct CUpti_Subscriber_st *subscriber = __atomic_load_n(&slot, __ATOMIC_ACQUIRE);
    if (subscriber)
        subscriber->callback(subscriber->user, CUPTI_CB_DOMAIN_DRIVER_API, cbid, &data);
}

static CUptiResult subscribe(CUpti_SubscriberHandle *handle, CUpti_CallbackFunc callback, void *user, const char *name)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    void (*set)(soft_hook *) = driver ? (void (*)(soft_hook *)) dlsym(driver, "softcuda_set_hook") : NULL;
    if (!set)
        return CUPTI_ERROR_NOT_INITIALIZED;
    pthread_mutex_lock(&lock);
    CUptiResult result = CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
    if (!slot) {
        struct CUpti_Subscriber_st *made = calloc(1, sizeof *made);
        if (!made)
            abort();
        made->callback = callback;
        made->user = user;
        snprintf(made->name, sizeof made->name, "CUPTI for %s", name);
        __atomic_store_n(&slot, made, __ATOMIC_RELEASE);
        *handle = made;
        set(hook);
        result = CUPTI_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

API CUptiResult cuptiSubscribe(CUpti_SubscriberHandle *handle, CUpti_CallbackFunc callback, void *user)
{
    return subscribe(handle, callback, user, "somebody");
}

static void name_holder(const CUpti_SubscriberParams *params)
{
    pthread_mutex_lock(&lock);
    snprintf(params->oldSubscriberName, params->oldSubscriberSize, "%s", slot ? slot->name : "");
    pthread_mutex_unlock(&lock);
}

API CUptiResult cuptiSubscribe_v2(CUpti_SubscriberHandle *handle, CUpti_CallbackFunc callback, void *user,
                                  CUpti_SubscriberParams *params)
{
    CUptiResult result =
        subscribe(handle, callback, user, params && params->subscriberName ? params->subscriberName : "?");
    if (result == CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED && params && params->oldSubscriberName)
        name_holder(params);
    return result;
}

API CUptiResult cuptiUnsubscribe(CUpti_SubscriberHandle handle)
{
    pthread_mutex_lock(&lock);
    CUptiResult result = handle && handle == slot ? CUPTI_SUCCESS : CUPTI_ERROR_INVALID_PARAMETER;
    if (result == CUPTI_SUCCESS) {
        for (size_t i = 0; i < sizeof enabled / sizeof *enabled; i++)
            __atomic_store_n(&enabled[i], false, __ATOMIC_RELEASE);
        __atomic_store_n(&slot, NULL, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

API CUptiResult cuptiEnableCallback(uint32_t on, CUpti_SubscriberHandle handle, CUpti_CallbackDomain domain,
                                    CUpti_CallbackId id)
{
    pthread_mutex_lock(&lock);
    bool known = handle && handle == slot && domain == CUPTI_CB_DOMAIN_DRIVER_API && id < CUPTI_DRIVER_TRACE_CBID_SIZE;
    if (known)
        __atomic_store_n(&enabled[id], on != 0, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
    return known ? CUPTI_SUCCESS : CUPTI_ERROR_INVALID_PARAMETER;
}

API CUptiResult cuptiGetVersion(uint32_t *version)
{
    *version = CUPTI_API_VERSION;
    return CUPTI_SUCCESS;
}
