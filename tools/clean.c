/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "../shm/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Segments are created under a lock on the folder. Who holds it knows that nobody is creating one. */
static int lock_folder(void)
{
    int folder = open(mt_shm_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0 && flock(folder, LOCK_EX) != 0) {
        close(folder);
        return -1;
    }
    return folder;
}

/* Removes one that nobody writes. What cannot be read as a segment has no writer either. */
static int clean(const char *name, bool named)
{
    mt_reader *reader;
    struct mt_error error = {""};
    int result = mt_attach(name, MT_ATTACH_DRAIN, &reader, &error);
    if (result == -EAGAIN) {
        int folder = lock_folder();
        result = mt_attach(name, MT_ATTACH_DRAIN, &reader, &error);
        if (result == -EAGAIN && folder >= 0)
            result = -EINVAL; /* its creator died on the way */
        if (folder >= 0)
            close(folder);
    }
    if (result == -EINVAL || result == -EPROTO) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", mt_shm_dir(), name);
        if (unlink(path) != 0)
            return say_failed("%s: cannot remove it: %s", path, strerror(errno));
        printf("removed %s (no valid segment)\n", name);
        return EXIT_OK;
    }
    if (result) {
        /* Being drained, or another user's. */
        return named ? say_failed("%s", error.text) : EXIT_OK;
    }
    int status = EXIT_OK;
    if (mt_ended(reader) == MT_END_NOT) {
        if (named)
            status = say_failed("%s: process %d still writes to it", name, mt_header(reader)->writer_pid);
    } else if (mt_unlink(reader, &error) != 0) {
        status = say_failed("%s", error.text);
    } else {
        printf("removed %s\n", name);
    }
    mt_detach(reader);
    return status;
}

static bool is_table(const char *name)
{
    return strncmp(name, MT_TABLE_PREFIX, strlen(MT_TABLE_PREFIX)) == 0;
}

static int clean_table(const char *name, bool named)
{
    struct mt_error error = {""};
    if (mt_table_remove(name, &error) != 0)
        return named ? say_failed("%s", error.text) : EXIT_OK; /* owned, or another user's */
    printf("removed %s\n", name);
    return EXIT_OK;
}

static int clean_all(void)
{
    int status = EXIT_OK;
    struct mt_segment_name *names;
    size_t count;
    struct mt_error error = {""};
    if (mt_discover(NULL, &names, &count, &error) != 0)
        return say_failed("%s", error.text);
    for (size_t i = 0; i < count; i++)
        status |= clean(names[i].name, false);
    free(names);
    if (mt_table_discover(&names, &count, &error) != 0)
        return say_failed("%s", error.text);
    for (size_t i = 0; i < count; i++)
        status |= clean_table(names[i].name, false);
    free(names);
    return status;
}

int verb_clean(int argc, char **argv)
{
    int status = EXIT_OK;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-')
            return say_usage("no such option %s: see `moetap --help`", argv[i]);
        if (strchr(argv[i], '/') ||
            (strncmp(argv[i], MT_SEGMENT_PREFIX, strlen(MT_SEGMENT_PREFIX)) != 0 && !is_table(argv[i])))
            return say_usage("%s: segments are named " MT_SEGMENT_PREFIX "..., tables " MT_TABLE_PREFIX
                             "...: `moetap ls` lists them",
                             argv[i]);
    }
    for (int i = 1; i < argc; i++)
        status |= is_table(argv[i]) ? clean_table(argv[i], true) : clean(argv[i], true);
    return argc > 1 ? status : clean_all();
}
