/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <string.h>

struct mt_driver mt_driver;

static bool take(void *field, void *library, void *(*resolve)(void *, const char *), const char *name)
{
    void *address = resolve(library, name);
    memcpy(field, &address, sizeof address); /* an object pointer is no function pointer in C11 */
    return address != NULL;
}

bool mt_driver_resolve(void *library, void *(*resolve)(void *, const char *), const char **missing)
{
    struct mt_driver found = {0};
#define REQUIRED(name)                                                                                                 \
    if (!take(&found.name, library, resolve, #name)) {                                                                 \
        *missing = #name;                                                                                              \
        return false;                                                                                                  \
    }
    MT_DRIVER_REQUIRED(REQUIRED)
#undef REQUIRED
#define OPTIONAL(name) take(&found.name, library, resolve, #name);
    MT_DRIVER_OPTIONAL(OPTIONAL)
#undef OPTIONAL
    mt_driver = found;
    return true;
}

const char *mt_driver_error(CUresult result)
{
    const char *name = NULL;
    if (!mt_driver.cuGetErrorName || mt_driver.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
        return "unknown CUDA error";
    return name;
}
