/* SPDX-License-Identifier: Apache-2.0 */
/* cuGetProcAddress: base names, the per-thread flavour by flag, status for what there is not. */
#include "device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define SOFT_FUTURE 90000

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

/* Base names with several ABIs, the newest first: from which CUDA version on which one is meant. */
static const struct {
    const char *base;
    int version;
    const char *symbol;
} abis[] = {
    {"cuGetProcAddress", 12000, "cuGetProcAddress_v2"},
    {"cuGetProcAddress", 11030, "cuGetProcAddress"},
    {"cuCtxSynchronize", 13000, "cuCtxSynchronize_v2"},
    {"cuCtxSynchronize", 2000, "cuCtxSynchronize"},
    {"cuEventRecord", SOFT_FUTURE, "cuEventRecord_future"},
    {"cuEventRecord", 2000, "cuEventRecord"},
    {"cuStreamGetCaptureInfo", 12030, "cuStreamGetCaptureInfo_v3"},
    {"cuStreamGetCaptureInfo", 11030, "cuStreamGetCaptureInfo_v2"},
    {"cuStreamGetCaptureInfo", 10010, "cuStreamGetCaptureInfo"},
    {"cuStreamUpdateCaptureDependencies", 12030, "cuStreamUpdateCaptureDependencies_v2"},
    {"cuStreamUpdateCaptureDependencies", 11030, "cuStreamUpdateCaptureDependencies"},
    {"cuStreamBeginCapture", 10010, "cuStreamBeginCapture_v2"},
    {"cuStreamBeginCapture", 10000, "cuStreamBeginCapture"},
    {"cuGraphAddKernelNode", 12000, "cuGraphAddKernelNode_v2"},
    {"cuGraphAddKernelNode", 10000, "cuGraphAddKernelNode"},
    {"cuGraphKernelNodeGetParams", 12000, "cuGraphKernelNodeGetParams_v2"},
    {"cuGraphKernelNodeGetParams", 10000, "cuGraphKernelNodeGetParams"},
    {"cuGraphKernelNodeSetParams", 12000, "cuGraphKernelNodeSetParams_v2"},
    {"cuGraphKernelNodeSetParams", 10000, "cuGraphKernelNodeSetParams"},
    {"cuGraphExecKernelNodeSetParams", 12000, "cuGraphExecKernelNodeSetParams_v2"},
    {"cuGraphExecKernelNodeSetParams", 10010, "cuGraphExecKernelNodeSetParams"},
    {"cuGraphAddNode", 12030, "cuGraphAddNode_v2"},
    {"cuGraphAddNode", 12020, "cuGraphAddNode"},
    {"cuGraphAddDependencies", 12030, "cuGraphAddDependencies_v2"},
    {"cuGraphAddDependencies", 10000, "cuGraphAddDependencies"},
    {"cuGraphGetEdges", 12030, "cuGraphGetEdges_v2"},
    {"cuGraphGetEdges", 10000, "cuGraphGetEdges"},
    {"cuGraphNodeGetDependencies", 12030, "cuGraphNodeGetDependencies_v2"},
    {"cuGraphNodeGetDependencies", 10000, "cuGraphNodeGetDependencies"},
    {"cuGraphNodeGetDependentNodes", 12030, "cuGraphNodeGetDependentNodes_v2"},
    {"cuGraphNodeGetDependentNodes", 10000, "cuGraphNodeGetDependentNodes"},
    {"cuGraphInstantiate", 12000, "cuGraphInstantiateWithFlags"},
    {"cuGraphInstantiate", 11000, "cuGraphInstantiate_v2"},
    {"cuGraphInstantiate", 10000, "cuGraphInstantiate"},
    {"cuGraphExecUpdate", 12000, "cuGraphExecUpdate_v2"},
    {"cuGraphExecUpdate", 10020, "cuGraphExecUpdate"},
    {"cuCtxCreate", 12050, "cuCtxCreate_v4"},
    {"cuCtxCreate", 11040, "cuCtxCreate_v3"},
    {"cuCtxCreate", 3020, "cuCtxCreate_v2"},
};

/* What no program of today knows: an old name with other parameters. */
API CUresult cuEventRecord_future(uint64_t a, uint64_t b, uint64_t c, uint64_t d);
API CUresult cuEventRecord_future(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return a == 11 && b == 22 && c == 33 && d == 44 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static void *find_version(const char *base, int version, bool per_thread)
{
    const char *symbol = NULL;
    bool known = false;
    char name[128];
    for (size_t i = 0; i < sizeof abis / sizeof *abis && !symbol; i++) {
        if (strcmp(abis[i].base, base) == 0) {
            known = true;
            if (version >= abis[i].version)
                symbol = abis[i].symbol;
        }
    }
    if (known && !symbol)
        return NULL;
    snprintf(name, sizeof name, "%s_v2", base);
    if (!symbol)
        symbol = version >= 3020 && find(name) ? name : base;
    char flavour[160];
    void *found = NULL;
    if (per_thread) {
        snprintf(flavour, sizeof flavour, "%s_ptsz", symbol);
        found = find(flavour);
        snprintf(flavour, sizeof flavour, "%s_ptds", symbol);
        if (!found)
            found = find(flavour);
    }
    return found ? found : find(symbol);
}

API CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, cuuint64_t flags,
                                 CUdriverProcAddressQueryResult *status)
{
    CUresult injected = soft_enter("cuGetProcAddress_v2");
    if (injected)
        return injected;
    void *found = find_version(symbol, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
    *pfn = found;
    if (status)
        *status = found ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return found ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

API CUresult cuGetProcAddress(const char *symbol, void **pfn, int version, cuuint64_t flags)
{
    return cuGetProcAddress_v2(symbol, pfn, version, flags, NULL);
}
