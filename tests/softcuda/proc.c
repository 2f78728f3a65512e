/* SPDX-License-Identifier: Apache-2.0 */
/* cuGetProcAddress: base names, the per-thread flavour by flag, status for what there is not. */
#include "device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#undef cuGetProcAddress
API CUresult cuGetProcAddress(const char *symbol, void **pfn, int version, cuuint64_t flags);

static void *find(const char *name)
{
    /* Our own symbols, not whoever comes first in the process. */
    Dl_info self;
    if (!dladdr((void *) find, &self))
        return NULL;
    void *library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (!library)
        return NULL;
    void *address = dlvsym(library, name, "SOFTCUDA_1");
    dlclose(library);
    return address;
}

API CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, cuuint64_t flags,
                                 CUdriverProcAddressQueryResult *status)
{
    CUresult injected = soft_enter("cuGetProcAddress_v2");
    if (injected)
        return injected;
    char name[128];
    void *found = NULL;
    if (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) {
        snprintf(name, sizeof name, "%s_ptsz", symbol);
        found = find(name);
    }
    if (!found && version >= 3020) {
        snprintf(name, sizeof name, "%s_v2", symbol);
        if (strcmp(symbol, "cuGetProcAddress") != 0 || version >= 12000)
            found = find(name);
    }
    if (!found)
        found = find(symbol);
    *pfn = found;
    if (status)
        *status = found ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return found ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

API CUresult cuGetProcAddress(const char *symbol, void **pfn, int version, cuuint64_t flags)
{
    return cuGetProcAddress_v2(symbol, pfn, version, flags, NULL);
}
