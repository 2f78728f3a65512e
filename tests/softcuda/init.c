/* SPDX-License-Identifier: Apache-2.0 */
/* Start, devices, contexts, errors, and failures on demand. */
#include "device.h"

#include "callbacks.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES_MAX 8

static bool ready;
static struct CUctx_st primaries[DEVICES_MAX];
static int retained[DEVICES_MAX];
static __thread CUcontext current;
static __thread CUcontext stack[16];
static __thread int depth;
soft_hook *soft_the_hook;

void softcuda_set_hook(soft_hook *hook)
{
    __atomic_store_n(&soft_the_hook, hook, __ATOMIC_RELEASE);
}

CUresult soft_enter(const char *name)
{
    static const char *fail;
    static bool asked, log;
    static int calls[16];
    if (!asked) {
        fail = getenv("SOFTCUDA_FAIL");
        log = getenv("SOFTCUDA_LOG") != NULL;
        asked = true;
    }
    if (log)
        fprintf(stderr, "softcuda: %s\n", name);
    size_t n = strlen(name);
    int rule = 0;
    for (const char *at = fail; at && *at && rule < 16; rule++) {
        int code = 999, nth = 1;
        if (strncmp(at, name, n) == 0 && at[n] == ':') {
            if (sscanf(at + n + 1, "%d:%d", &code, &nth) < 1)
                abort();
            if (__atomic_add_fetch(&calls[rule], 1, __ATOMIC_RELAXED) >= nth)
                return (CUresult) code;
        }
        at = strchr(at, ',');
        if (at)
            at++;
    }
    return CUDA_SUCCESS;
}
bool soft_ready(void)
{
    return ready;
}

CUcontext soft_context(void)
{
    return current;
}

int soft_current_device(void)
{
    return current ? current->device : -1;
}

static int device_count(void)
{
    const char *text = getenv("SOFTCUDA_DEVICES");
    int n = text ? atoi(text) : 1;
    return n < 0 ? 0 : n > DEVICES_MAX ? DEVICES_MAX : n;
}

API CUresult cuInit(unsigned flags)
{
    ENTER("cuInit");
    (void) flags;
    if (getenv("SOFTCUDA_STUB"))
        return CUDA_ERROR_NO_DEVICE;
    /* As the real one: it looks its own names up, and a hooker's wrapper must not come back to it. */
    Dl_info self;
    if (dladdr((void *) device_count, &self) && self.dli_fname) {
        void *library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
        static __thread int inside;
        CUresult (*again)(unsigned) = library ? (CUresult(*)(unsigned)) dlsym(library, "cuInit") : NULL;
        if (again && !inside) {
            inside = 1;
            if (again(0) != CUDA_SUCCESS)
                abort();
            inside = 0;
        }
        if (library)
            dlclose(library);
    }
    for (int i = 0; i < DEVICES_MAX; i++)
        primaries[i].device = i, primaries[i].primary = true;
    ready = true;
    return CUDA_SUCCESS;
}

API CUresult cuDriverGetVersion(int *version)
{
    ENTER("cuDriverGetVersion");
    *version = 13000;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetCount(int *count)
{
    ENTER("cuDeviceGetCount");
    if (!ready)
        return CUDA_ERROR_NOT_INITIALIZED;
    *count = device_count();
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    ENTER("cuDeviceGet");
    if (!ready)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= device_count())
        return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetName(char *name, int size, CUdevice device)
{
    ENTER("cuDeviceGetName");
    if (device < 0 || device >= device_count())
        return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, (size_t) size, "software CUDA device");
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    ENTER("cuDevicePrimaryCtxRetain");
    if (device < 0 || device >= device_count())
        return CUDA_ERROR_INVALID_DEVICE;
    __atomic_add_fetch(&retained[device], 1, __ATOMIC_RELAXED);
    *context = &primaries[device];
    return CUDA_SUCCESS;
}

static CUresult release(CUdevice device)
{
    ENTER("cuDevicePrimaryCtxRelease_v2");
    if (device < 0 || device >= device_count() || !retained[device])
        return CUDA_ERROR_INVALID_CONTEXT;
    if (__atomic_sub_fetch(&retained[device], 1, __ATOMIC_RELAXED) == 0) {
        soft_drain_all(&primaries[device], false);
        soft_forget_all(&primaries[device]);
    }
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    cuDevicePrimaryCtxRelease_v2_params params = {device};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuDevicePrimaryCtxRelease_v2, __func__, &params, NULL, release(device));
}

static CUresult reset(CUdevice device)
{
    ENTER("cuDevicePrimaryCtxReset_v2");
    if (device < 0 || device >= device_count())
        return CUDA_ERROR_INVALID_DEVICE;
    soft_drain_all(&primaries[device], false);
    soft_forget_all(&primaries[device]);
    retained[device] = 0;
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
    cuDevicePrimaryCtxReset_v2_params params = {device};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuDevicePrimaryCtxReset_v2, __func__, &params, NULL, reset(device));
}

API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    ENTER("cuDevicePrimaryCtxGetState");
    if (device < 0 || device >= device_count())
        return CUDA_ERROR_INVALID_DEVICE;
    *flags = 0;
    *active = retained[device] > 0;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSetCurrent(CUcontext context)
{
    ENTER("cuCtxSetCurrent");
    current = context;
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetCurrent(CUcontext *context)
{
    ENTER("cuCtxGetCurrent");
    *context = current;
    return CUDA_SUCCESS;
}

API CUresult cuCtxPushCurrent_v2(CUcontext context)
{
    ENTER("cuCtxPushCurrent_v2");
    if (depth == 16 || !context)
        return CUDA_ERROR_INVALID_CONTEXT;
    stack[depth++] = current;
    current = context;
    return CUDA_SUCCESS;
}

API CUresult cuCtxPopCurrent_v2(CUcontext *context)
{
    ENTER("cuCtxPopCurrent_v2");
    if (!depth)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (context)
        *context = current;
    current = stack[--depth];
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetDevice(CUdevice *device)
{
    ENTER("cuCtxGetDevice");
    if (!current)
        return CUDA_ERROR_INVALID_CONTEXT;
    *device = current->device;
    return CUDA_SUCCESS;
}

static CUresult synchronize(void)
{
    ENTER("cuCtxSynchronize");
    if (soft_forbidden())
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    soft_drain_all(current, false);
    return CUDA_SUCCESS;
}

API CUresult cuCtxSynchronize(void)
{
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuCtxSynchronize, __func__, NULL, NULL, synchronize());
}

/* Of CUDA 13, under the old name: whoever passes no context on passes what the register holds. */
API CUresult cuCtxSynchronize_v2(CUcontext context);
API CUresult cuCtxSynchronize_v2(CUcontext context)
{
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuCtxSynchronize_v2, __func__, NULL, NULL,
           context && context == current ? synchronize() : CUDA_ERROR_CONTEXT_IS_DESTROYED);
}

static CUresult create(const char *name, CUcontext *context, CUdevice device)
{
    ENTER(name);
    if (device < 0 || device >= device_count())
        return CUDA_ERROR_INVALID_DEVICE;
    if (depth == 16)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *context = soft_must(calloc(1, sizeof **context));
    (*context)->device = device;
    stack[depth++] = current;
    current = *context;
    return CUDA_SUCCESS;
}

API CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device)
{
    (void) flags;
    return create(__func__, context, device);
}

API CUresult cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *params, int count, unsigned flags, CUdevice device)
{
    (void) params, (void) count, (void) flags;
    return create(__func__, context, device);
}

API CUresult cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *params, unsigned flags, CUdevice device)
{
    (void) params, (void) flags;
    return create(__func__, context, device);
}

static CUresult destroy(CUcontext context)
{
    ENTER("cuCtxDestroy_v2");
    if (!context || context->primary || context->gone)
        return CUDA_ERROR_INVALID_CONTEXT;
    soft_drain_all(context, false);
    soft_forget_all(context);
    if (current == context)
        current = depth ? stack[--depth] : NULL;
    context->gone = true; /* the struct stays: a late look at it is told so */
    return CUDA_SUCCESS;
}

API CUresult cuCtxDestroy_v2(CUcontext context)
{
    cuCtxDestroy_v2_params params = {context};
    TRACED(CUPTI_DRIVER_TRACE_CBID_cuCtxDestroy_v2, __func__, &params, NULL, destroy(context));
}

API CUresult cuGetErrorName(CUresult error, const char **name)
{
    static __thread char text[64];
    switch (error) {
    case CUDA_SUCCESS:
        *name = "CUDA_SUCCESS";
        break;
    case CUDA_ERROR_NOT_SUPPORTED:
        *name = "CUDA_ERROR_NOT_SUPPORTED";
        break;
    case CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED:
        *name = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
        break;
    default:
        snprintf(text, sizeof text, "CUDA error %d", (int) error);
        *name = text;
    }
    return CUDA_SUCCESS;
}
