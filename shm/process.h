/* SPDX-License-Identifier: Apache-2.0 */
/* Who is a writer, and does it still run? Shared by writer (stale segments) and reader; not installed. */
#ifndef MOETAP_SHM_PROCESS_H
#define MOETAP_SHM_PROCESS_H

#include "layout.h"

#include <stdbool.h>

/* Field 22 of /proc/<pid>/stat; 0 if there is no such process or it is a zombie: that one writes no more. */
uint64_t mt_process_start(int pid);
void mt_boot_id(uint8_t id[16]);
/* Inode of /proc/self/ns/pid, 0 if unreadable. */
uint64_t mt_pid_namespace(void);

/*
 * The writer's lock, for readers that cannot see its pid: a POSIX record lock, which the kernel lets go at the end of
 * the process and which forked children do not share.
 */
void mt_writer_lock(int fd);

/* Does the writer that the header names still run? `fd` is the segment's file. */
bool mt_writer_alive(const struct mt_header *header, int fd);

#endif
