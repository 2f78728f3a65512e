/* SPDX-License-Identifier: Apache-2.0 */
/* What `moetap record` preloads in these tests: a library that does nothing. */
int innocent_shim_is_here(void);
__attribute__((visibility("default"))) int innocent_shim_is_here(void)
{
    return 1;
}
