/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t read_small(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n;
}

uint64_t mt_process_start(int pid)
{
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (pid <= 0 || read_small(path, text, sizeof text) <= 0)
        return 0;
    /* The name in parentheses may hold anything; field 3, the state, follows the last one. */
    char *at = strrchr(text, ')');
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
        return 0;
    at += 2;
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (!at)
            return 0;
        at++;
    }
    return strtoull(at, NULL, 10);
}

void mt_boot_id(uint8_t id[16])
{
    char text[64];
    memset(id, 0, 16);
    if (read_small("/proc/sys/kernel/random/boot_id", text, sizeof text) <= 0)
        return;
    unsigned n = 0;
    for (const char *c = text; *c && n < 32; c++) {
        int digit = *c >= '0' && *c <= '9' ? *c - '0' : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10 : -1;
        if (digit < 0)
            continue;
        id[n / 2] = (uint8_t) (id[n / 2] << 4 | digit);
        n++;
    }
}

uint64_t mt_pid_namespace(void)
{
    struct stat status;
    return stat("/proc/self/ns/pid", &status) == 0 ? (uint64_t) status.st_ino : 0;
}

void mt_writer_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    /* Without it (a file system that knows no locks) only readers of the same pid namespace see who lives. */
    (void) fcntl(fd, F_SETLK, &lock);
}

bool mt_writer_alive(const struct mt_header *header, int fd)
{
    uint8_t boot[16];
    mt_boot_id(boot);
    if (memcmp(boot, header->boot_id, sizeof boot) != 0)
        return false;
    if (header->pid_namespace == mt_pid_namespace())
        return header->writer_start && mt_process_start(header->writer_pid) == header->writer_start;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}
