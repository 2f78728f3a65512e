/* SPDX-License-Identifier: Apache-2.0 */
#include "launch.h"

/* initial-exec: the first touch in a thread must not call malloc, which may be the engine's own. */
static __thread int depth __attribute__((tls_model("initial-exec")));

void mt_quiet_begin(void)
{
    depth++;
}

void mt_quiet_end(void)
{
    depth--;
}

int mt_is_quiet(void)
{
    return depth > 0;
}
