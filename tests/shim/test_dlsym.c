/* SPDX-License-Identifier: Apache-2.0 */
/* The hooked dlsym: each trap that another hooker fell into, in a process with the shim preloaded. */
#include "command.h"

#include <criterion/criterion.h>

TestSuite(dlsym, .fini = scratch_remove, .timeout = 60);

static void probe(const char *what, const char *expected)
{
    struct outcome o;
    command(&o, "export MOETAP_SHM_DIR=%s; MOETAP_SESSION=dlsym%d LD_PRELOAD=%s %s %s %s", scratch(), (int) getpid(),
            SHIM, DLSYM_PROBE, what, SOFTCUDA);
    cr_assert_eq(o.status, 0, "%s: status %d: %s", what, o.status, o.text);
    cr_assert(strstr(o.text, expected), "%s: %s", what, o.text);
}

/* Binaries want dlsym@GLIBC_2.34, libcudart and libcupti dlsym@GLIBC_2.2.5: both must be ours. */
Test(dlsym, both_version_nodes)
{
    probe("new-node", "hooked");
    probe("old-node", "hooked");
}

/* LLVM's OpenMP asks for its own successor: a wrapper that is the caller answers with the asker itself, for ever. */
Test(dlsym, rtld_next_is_asked_for_the_caller)
{
    probe("next", "none");
}

/* Our exported names must not make a program believe that there is a libcuda. */
Test(dlsym, default_without_libcuda)
{
    probe("default-without", "none");
}

Test(dlsym, unknown_and_null_names)
{
    probe("unknown", "none");
}

Test(dlsym, other_cu_names_are_left_alone)
{
    probe("cudnn", "real");
}

/* libcuda looks its own names up inside cuInit. */
Test(dlsym, driver_looks_itself_up)
{
    probe("init", "ok");
}

/* A later cuGetProcAddress tells the truth of what it was asked: status, unknown names, the per-thread flavour. */
Test(dlsym, get_proc_address)
{
    probe("getproc", "ok");
}

/* After fork() CUDA is dead in the child: nothing of ours may touch the parent's segment there. */
Test(dlsym, fork)
{
    probe("fork", "ok");
}
