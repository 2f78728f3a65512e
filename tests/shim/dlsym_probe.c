/* SPDX-License-Identifier: Apache-2.0 */
/* A program that looks symbols up in the ways that engines do. dlsym_probe WHAT LIBCUDA; prints what it found. */
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void *old_dlsym(void *handle, const char *name);
#if defined(__x86_64__)
__asm__(".symver old_dlsym, dlsym@GLIBC_2.2.5");
#else
__asm__(".symver old_dlsym, dlsym@GLIBC_2.17");
#endif

/* Asks for what comes after itself, as libomp does with ompt_start_tool. */
__attribute__((visibility("default"))) int ompt_start_tool(void);
int ompt_start_tool(void)
{
    void *next = dlsym(RTLD_NEXT, "ompt_start_tool");
    return next == (void *) ompt_start_tool ? 1 : next ? 2 : 0;
}

static int from_shim(const void *address)
{
    Dl_info info;
    return address && dladdr(address, &info) && strstr(info.dli_fname, "moetap-shim") != NULL;
}

static int say(const char *text)
{
    puts(text);
    return 0;
}

typedef CUresult get_proc(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *);

static int get_proc_address(void *library)
{
    get_proc *ask = (get_proc *) dlsym(library, "cuGetProcAddress_v2");
    if (!from_shim((void *) ask))
        return say("cuGetProcAddress_v2 is not hooked");
    void *legacy = NULL, *per_thread = NULL, *none = (void *) 1, *other = NULL, *self = NULL;
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
    if (ask("cuLaunchKernel", &legacy, 12000, CU_GET_PROC_ADDRESS_DEFAULT, &status) || !from_shim(legacy))
        return say("cuLaunchKernel is not hooked");
    if (ask("cuLaunchKernel", &per_thread, 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, NULL) ||
        !from_shim(per_thread) || per_thread == legacy)
        return say("the per-thread flavour is not told apart");
    CUresult result = ask("cuNoSuchThing", &none, 12000, CU_GET_PROC_ADDRESS_DEFAULT, &status);
    if ((result == CUDA_SUCCESS && none) || status != CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND)
        return say("an unknown name was answered");
    if (ask("cuMemAlloc", &other, 12000, CU_GET_PROC_ADDRESS_DEFAULT, NULL) || from_shim(other))
        return say("an unhooked name was replaced");
    if (ask("cuGetProcAddress", &self, 12000, CU_GET_PROC_ADDRESS_DEFAULT, NULL) || self != (void *) ask)
        return say("cuGetProcAddress does not return the hooked self");
    return say("ok");
}

static int fork_after_init(void *library)
{
    CUresult (*init)(unsigned) = (CUresult(*)(unsigned)) dlsym(library, "cuInit");
    if (init(0))
        return say("cuInit failed");
    pid_t child = fork();
    if (child == 0)
        _exit(init(0) == CUDA_SUCCESS ? 0 : 0); /* whatever the driver says, it must return */
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
        return say("the child died");
    return say("ok");
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const char *what = argv[1];
    if (strcmp(what, "next") == 0)
        return say(ompt_start_tool() == 0 ? "none" : "found itself");
    if (strcmp(what, "default-without") == 0)
        return say(dlsym(RTLD_DEFAULT, "cuLaunchKernel") ? "found" : "none");
    if (strcmp(what, "unknown") == 0)
        return say(dlsym(RTLD_DEFAULT, "cuNoSuchThing") || dlsym(RTLD_DEFAULT, "") ? "found" : "none");

    void *library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        puts(dlerror());
        return 1;
    }
    if (strcmp(what, "new-node") == 0)
        return say(from_shim(dlsym(library, "cuLaunchKernel")) ? "hooked" : "missed");
    if (strcmp(what, "old-node") == 0)
        return say(from_shim(old_dlsym(library, "cuLaunchKernelEx")) ? "hooked" : "missed");
    if (strcmp(what, "cudnn") == 0)
        return say(from_shim(dlsym(library, "cuMemAlloc_v2")) || dlsym(library, "cudnnCreate") ? "replaced" : "real");
    if (strcmp(what, "init") == 0) {
        CUresult (*init)(unsigned) = (CUresult(*)(unsigned)) dlsym(library, "cuInit");
        return say(from_shim((void *) init) && init(0) == CUDA_SUCCESS ? "ok" : "failed");
    }
    if (strcmp(what, "getproc") == 0)
        return get_proc_address(library);
    if (strcmp(what, "fork") == 0)
        return fork_after_init(library);
    return 2;
}
