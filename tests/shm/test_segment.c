/* SPDX-License-Identifier: Apache-2.0 */
/* How a segment comes to be: names, left-overs, and everything that can be missing. */
#include "rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(segment, .init = rig_enter, .fini = rig_leave, .timeout = 60);

static struct mt_error note, error;

static int create(struct mt_segment *segment)
{
    strcpy(note.text, "untouched");
    error.text[0] = '\0';
    return mt_segment_create(segment, "s", 3, "Test GPU", 1 << 20, false, &note, &error);
}

static const char *usual_path(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/moetap.s.%d.3", mt_shm_dir(), (int) getpid());
    return path;
}

static void write_file(const void *bytes, size_t size)
{
    int fd = open(usual_path(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t) size);
    close(fd);
}

Test(segment, what_a_new_one_says)
{
    umask(0);
    struct mt_segment segment;
    cr_assert_eq(create(&segment), 0, "%s", error.text);
    cr_assert_str_eq(segment.path, usual_path());
    cr_assert_str_eq(note.text, "");
    struct stat status;
    cr_assert_eq(stat(segment.path, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0600);
    const struct mt_header *header = segment.header;
    cr_assert_eq((uint64_t) status.st_size, header->segment_size);
    cr_assert_geq((uint64_t) status.st_blocks * 512, header->segment_size, "must be there before the GPU writes it");
    cr_assert_eq(header->abi_major, MT_ABI_MAJOR);
    cr_assert_eq(header->ring_size, 1 << 20);
    cr_assert_eq(header->device, 3);
    cr_assert_eq(header->writer_pid, getpid());
    cr_assert_neq(header->writer_start, 0);
    cr_assert_neq(header->nonce, 0);
    cr_assert_eq(header->state, MT_STATE_OPEN);
    cr_assert_str_eq(header->session, "s");
    cr_assert_str_eq(header->device_name, "Test GPU");
    cr_assert(header->command[0] && !strchr(header->command, '\n'));
    cr_assert_eq(header->ring_offset % MT_PAGE, 0);
    cr_assert_eq((uintptr_t) segment.ring % MT_PAGE, 0);
    mt_segment_destroy(&segment, true);
    cr_assert_eq(access(usual_path(), F_OK), -1);
}

Test(segment, ring_size_is_rounded_up)
{
    static const struct {
        uint64_t wanted, given;
    } sizes[] = {{0, MT_RING_SIZE_MIN},
                 {1, MT_RING_SIZE_MIN},
                 {MT_RING_SIZE_MIN + 1, 2 * MT_RING_SIZE_MIN},
                 {1 << 20, 1 << 20},
                 {(1 << 20) + 1, 2 << 20}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct mt_segment segment;
        cr_assert_eq(mt_segment_create(&segment, "s", 0, "", sizes[i].wanted, false, NULL, NULL), 0);
        cr_assert_eq(segment.header->ring_size, sizes[i].given);
        mt_segment_destroy(&segment, true);
    }
}

Test(segment, bad_sessions)
{
    static const char *const bad[] = {"",    "a.b", "../x",
                                      "a b", "a\n", "0123456789012345678901234567890123456789012345678901234567890123"};
    struct mt_segment segment;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(mt_segment_create(&segment, bad[i], 0, "", 0, false, NULL, &error), -EINVAL, "'%s'", bad[i]);
    cr_assert_eq(mt_segment_create(&segment, "012345678901234567890123456789012345678901234567890123456789012", 0, "",
                                   0, false, NULL, &error),
                 0);
    mt_segment_destroy(&segment, true);
}

/* The same process: the program that ran in it before exec() left one that a reader may still drain. */
Test(segment, a_second_one_of_a_living_process_gets_a_suffix)
{
    struct mt_segment first, second, third;
    cr_assert_eq(create(&first), 0);
    cr_assert_eq(create(&second), 0);
    cr_assert_str_eq(note.text, "");
    cr_assert_eq(create(&third), 0);
    cr_assert_str_eq(first.path, usual_path());
    cr_assert_eq(strncmp(second.path, usual_path(), strlen(usual_path())), 0);
    cr_assert_str_eq(second.path + strlen(usual_path()), ".1");
    cr_assert_str_eq(third.path + strlen(usual_path()), ".2");
    cr_assert_neq(first.header->nonce, second.header->nonce);
    mt_segment_destroy(&first, true);
    mt_segment_destroy(&second, true);
    mt_segment_destroy(&third, true);
}

Test(segment, one_of_a_dead_process_with_our_pid_is_removed)
{
    struct mt_segment old, new;
    cr_assert_eq(create(&old), 0);
    old.header->writer_start--;
    mt_segment_destroy(&old, false);
    cr_assert_eq(create(&new), 0);
    cr_assert_str_eq(new.path, usual_path());
    cr_assert(strstr(note.text, "has ended"), "%s", note.text);
    mt_segment_destroy(&new, true);
}

Test(segment, one_from_before_a_reboot_is_removed)
{
    struct mt_segment old, new;
    cr_assert_eq(create(&old), 0);
    old.header->boot_id[3] ^= 1;
    mt_segment_destroy(&old, false);
    cr_assert_eq(create(&new), 0);
    cr_assert_str_eq(new.path, usual_path());
    mt_segment_destroy(&new, true);
}

Test(segment, another_version_is_removed_and_named_to_readers)
{
    struct mt_segment old, new;
    cr_assert_eq(create(&old), 0);
    old.header->abi_major = 77;
    old.header->abi_minor = 5;
    mt_reader *reader;
    cr_assert_eq(mt_attach(old.path, 0, &reader, &error), -EPROTO);
    cr_assert(strstr(error.text, "77.5"), "%s", error.text);
    char ours[16];
    snprintf(ours, sizeof ours, "%u.", MT_ABI_MAJOR);
    cr_assert(strstr(error.text, ours), "%s", error.text);
    mt_segment_destroy(&old, false);
    cr_assert_eq(create(&new), 0);
    cr_assert(strstr(note.text, "77.5"), "%s", note.text);
    cr_assert_str_eq(new.path, usual_path());
    mt_segment_destroy(&new, true);
}

Test(segment, garbage_is_removed)
{
    static char garbage[8192];
    memset(garbage, 'x', sizeof garbage);
    static const size_t sizes[] = {0, 1, 8, 100, sizeof(struct mt_header), 4096, 8192};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_file(garbage, sizes[i]);
        mt_reader *reader;
        cr_assert_eq(mt_attach(usual_path(), 0, &reader, &error), sizes[i] ? -EINVAL : -EAGAIN);
        struct mt_segment segment;
        cr_assert_eq(create(&segment), 0, "%s", error.text);
        cr_assert_str_eq(segment.path, usual_path());
        cr_assert(strstr(note.text, "removed"), "%s", note.text);
        mt_segment_destroy(&segment, true);
    }
}

Test(segment, not_complete_yet)
{
    static char zeros[8192];
    write_file(zeros, sizeof zeros);
    mt_reader *reader;
    cr_assert_eq(mt_attach(usual_path(), MT_ATTACH_DRAIN, &reader, &error), -EAGAIN);
    struct mt_header header = {.magic = MT_MAGIC};
    write_file(&header, sizeof header);
    cr_assert_eq(mt_attach(usual_path(), MT_ATTACH_DRAIN, &reader, &error), -EAGAIN);
}

Test(segment, truncated)
{
    struct mt_segment segment;
    cr_assert_eq(create(&segment), 0);
    const uint64_t size = segment.header->segment_size;
    mt_segment_destroy(&segment, false);
    static const uint64_t cut[] = {1, MT_PAGE, 1 << 20};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(truncate(usual_path(), (off_t) (size - cut[i])), 0);
        mt_reader *reader;
        cr_assert_eq(mt_attach(usual_path(), MT_ATTACH_DRAIN, &reader, &error), -EINVAL);
        cr_assert(strstr(error.text, "damaged"), "%s", error.text);
    }
    cr_assert_eq(create(&segment), 0);
    cr_assert_str_eq(segment.path, usual_path());
    mt_segment_destroy(&segment, true);
}

Test(segment, what_cannot_be_removed_is_left_alone)
{
    cr_assert_eq(mkdir(usual_path(), 0700), 0);
    struct mt_segment segment;
    cr_assert_eq(create(&segment), 0, "%s", error.text);
    cr_assert_str_eq(note.text, "", "nothing was removed");
    cr_assert_str_eq(segment.path + strlen(usual_path()), ".1");
    mt_segment_destroy(&segment, true);
    rmdir(usual_path());
}

Test(segment, links_and_pipes_are_not_followed)
{
    char target[600];
    snprintf(target, sizeof target, "%s/target", mt_shm_dir());
    FILE *file = fopen(target, "w");
    fputs("precious", file);
    fclose(file);
    cr_assert_eq(symlink(target, usual_path()), 0);
    struct mt_segment segment;
    cr_assert_eq(create(&segment), 0, "%s", error.text);
    struct stat status;
    cr_assert_eq(stat(target, &status), 0);
    cr_assert_eq(status.st_size, 8);
    mt_segment_destroy(&segment, true);
    unlink(usual_path());
    cr_assert_eq(mkfifo(usual_path(), 0600), 0);
    mt_reader *reader;
    cr_assert_eq(mt_attach(usual_path(), 0, &reader, &error), -EINVAL, "and it must not hang");
    cr_assert_eq(create(&segment), 0, "%s", error.text);
    mt_segment_destroy(&segment, true);
}

Test(segment, no_folder)
{
    setenv("MOETAP_SHM_DIR", "/no/such/folder", 1);
    struct mt_segment segment;
    cr_assert_eq(create(&segment), -ENOENT);
    cr_assert(strstr(error.text, "/no/such/folder"), "%s", error.text);
    mt_reader *reader;
    cr_assert_eq(mt_attach("moetap.s.1.0", 0, &reader, &error), -ENOENT);
}

Test(segment, too_long_a_name)
{
    char name[1000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    mt_reader *reader;
    cr_assert_eq(mt_attach(name, 0, &reader, &error), -ENAMETOOLONG);
    name[0] = '/';
    cr_assert_eq(mt_attach(name, 0, &reader, &error), -ENAMETOOLONG);
}

static void expect_no_room(void)
{
    struct mt_segment segment;
    int result = mt_segment_create(&segment, "s", 3, "", 64 << 20, false, &note, &error);
    cr_assert(result == -ENOSPC || result == -EFBIG, "%d", result);
    cr_assert(strstr(error.text, "--ring-size"), "must say what to do: %s", error.text);
    cr_assert(strstr(error.text, mt_shm_dir()), "%s", error.text);
    cr_assert_eq(access(usual_path(), F_OK), -1, "nothing may stay behind");
    cr_assert_eq(segment.fd, -1);
}

/* No signal either: the default action of SIGXFSZ would end the engine. */
Test(segment, file_size_limit)
{
    struct rlimit limit = {1 << 20, 1 << 20};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_no_room();
}

Test(segment, full_folder)
{
    /* A mount of this process alone: it goes with it. */
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("moetap-test", mt_shm_dir(), "tmpfs", 0, "size=1m") != 0)
        cr_skip_test("may not mount here");
    expect_no_room();
    struct mt_segment segment;
    cr_assert_eq(mt_segment_create(&segment, "s", 3, "", 64 << 10, false, NULL, &error), -ENOSPC,
                 "the site table is larger than what is left");
    umount(mt_shm_dir());
}

Test(segment, all_descriptors_used)
{
    struct rlimit limit = {3, 3};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct mt_segment segment;
    int result = create(&segment);
    limit.rlim_cur = 64;
    cr_assert_eq(result, -EMFILE);
    cr_assert(error.text[0]);
}
