/* SPDX-License-Identifier: Apache-2.0 */
/* Where segments are and which there are. */
#include "check.h"
#include "table.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *mt_shm_dir(void)
{
    const char *folder = getenv("MOETAP_SHM_DIR");
    return folder && *folder ? folder : MT_SHM_DIR;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct mt_segment_name *) a)->name, ((const struct mt_segment_name *) b)->name);
}

/* <prefix><session>. or, for any session, <prefix> */
static bool named(const char *name, const char *with, const char *session)
{
    const size_t prefix = strlen(with);
    if (strncmp(name, with, prefix) != 0)
        return false;
    if (!session)
        return true;
    const size_t length = strlen(session);
    return strncmp(name + prefix, session, length) == 0 && name[prefix + length] == '.';
}

static int discover(const char *prefix, const char *session, struct mt_segment_name **names, size_t *count,
                    struct mt_error *error)
{
    *names = NULL;
    *count = 0;
    DIR *folder = opendir(mt_shm_dir());
    if (!folder) {
        int result = errno;
        mt_error_set(error, "cannot read %s: %s", mt_shm_dir(), strerror(result));
        return -result;
    }
    size_t room = 0;
    const struct dirent *entry;
    while ((entry = readdir(folder))) {
        if (!named(entry->d_name, prefix, session))
            continue;
        if (*count == room) {
            struct mt_segment_name *more = realloc(*names, (room = room * 2 + 16) * sizeof **names);
            if (!more) {
                closedir(folder);
                free(*names);
                *names = NULL;
                *count = 0;
                mt_error_set(error, "out of memory");
                return -ENOMEM;
            }
            *names = more;
        }
        snprintf((*names)[(*count)++].name, sizeof(struct mt_segment_name), "%s", entry->d_name);
    }
    closedir(folder);
    if (*count)
        qsort(*names, *count, sizeof **names, by_name);
    return 0;
}

int mt_discover(const char *session, struct mt_segment_name **names, size_t *count, struct mt_error *error)
{
    return discover(MT_SEGMENT_PREFIX, session, names, count, error);
}

int mt_table_discover(struct mt_segment_name **names, size_t *count, struct mt_error *error)
{
    return discover(MT_TABLE_PREFIX, NULL, names, count, error);
}
