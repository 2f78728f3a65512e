/* SPDX-License-Identifier: Apache-2.0 */
/* The view for code that reads vLLM's buffer, against the table itself. Python's shared_memory knows /dev/shm only. */
#include "table_rig.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const int32_t few[] = {5, 900, -1, 7};
static char instance[64];

static void enter_view(void)
{
    table_enter();
    setenv("MOETAP_SHM_DIR", "/dev/shm", 1);
    snprintf(instance, sizeof instance, "moetap-test-%d", (int) getpid());
}

static void leave_view(void)
{
    command(&o, "rm -f /dev/shm/*%s*", instance);
    table_leave();
}

TestSuite(view, .init = enter_view, .fini = leave_view, .timeout = 60);

static void start_view(struct live *keeper, const char *more)
{
    live_start(keeper, "%s table -o %s --vllm %s:1 %s %s", MOETAP, instance, instance, more, segment_name());
}

static bool has_view(void)
{
    char path[128];
    snprintf(path, sizeof path, "/dev/shm/vllm_routed_experts_buffer_%s_1", instance);
    return access(path, F_OK) == 0;
}

Test(view, the_same_arrays)
{
    struct live keeper;
    open_engine(instance);
    start_view(&keeper, "--slots 1000 --vllm-layers 7:1,3-5");
    pass(0, few, 4, NOTHING);
    mt_table *table = await_table(instance);
    await_row(table, 7, 0, MT_ROW_OK, NOTHING);
    pass(1, few, 1, ROUTER + 2);
    pass(2, &few[1], 1, NOTHING);
    await_row(table, 900, 2, MT_ROW_OK, NOTHING);
    command(&o, "/usr/bin/python3 %s %s 1 1000 7 2 900 5 6", VLLM_READER, instance);
    char wanted[512];
    snprintf(wanted, sizeof wanted,
             "900 [[0, 0], [%d, %d], [0, 0], [%d, %d], [%d, %d], [%d, %d], [0, 0]]\n"
             "5 [[0, 0], [%d, %d], [0, 0], [%d, %d], [-1, -1], [%d, %d], [0, 0]]\n"
             "6 [[-1, -1], [-1, -1], [-1, -1], [-1, -1], [-1, -1], [-1, -1], [-1, -1]]\n",
             id_of(900, 2, 0, 0), id_of(900, 2, 0, 1), id_of(900, 2, 1, 0), id_of(900, 2, 1, 1), id_of(900, 2, 2, 0),
             id_of(900, 2, 2, 1), id_of(900, 2, 3, 0), id_of(900, 2, 3, 1), id_of(5, 1, 0, 0), id_of(5, 1, 0, 1),
             id_of(5, 1, 1, 0), id_of(5, 1, 1, 1), id_of(5, 1, 3, 0), id_of(5, 1, 3, 1));
    cr_assert_str_eq(o.text, wanted);
    cr_assert_eq(o.status, 0);
    mt_table_detach(table);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    cr_assert_not(has_view());
    command(&o, "ls $TMPDIR");
    cr_assert_str_eq(o.text, "", "the lock file stayed");
    close_engine();
}

Test(view, rows_are_whole_while_they_are_written)
{
    struct live keeper, reader;
    open_engine(instance);
    start_view(&keeper, "--slots 64 --vllm-layers 4");
    int32_t slots[64];
    for (int32_t i = 0; i < 64; i++)
        slots[i] = i;
    pass(0, slots, 64, NOTHING);
    mt_table_detach(await_table(instance));
    while (!has_view())
        usleep(1000);
    live_start(&reader, "/usr/bin/python3 %s %s 1 64 4 2 --watch 300", VLLM_READER, instance);
    int status;
    uint32_t number = 1;
    for (; waitid(P_PID, (id_t) reader.pid, &(siginfo_t){0}, WEXITED | WNOWAIT | WNOHANG) == 0; number++) {
        siginfo_t info = {0};
        waitid(P_PID, (id_t) reader.pid, &info, WEXITED | WNOWAIT | WNOHANG);
        if (info.si_pid)
            break;
        pass(number, slots, 64, NOTHING);
    }
    status = live_end(&reader);
    cr_assert_eq(status, 0, "%s", reader.text);
    cr_assert_str_eq(reader.text, "torn 0, written some\n");
    cr_assert_gt(number, 100);
    kill(keeper.pid, SIGTERM);
    cr_assert_eq(live_end(&keeper), 0, "%s", keeper.text);
    close_engine();
}

Test(view, left_ones_are_taken_over_and_others_are_not)
{
    struct live keeper;
    open_engine(instance);
    command(&o, "echo precious >/dev/shm/vllm_routed_experts_buffer_%s_1", instance);
    pass(0, few, 4, NOTHING);
    command(&o, "%s table -o %s --vllm %s:1 --slots 100 --vllm-layers 4 %s", MOETAP, instance, instance,
            segment_name());
    cr_assert_eq(o.status, 1);
    cr_assert(strstr(o.text, "is there already"), "%s", o.text);
    command(&o, "cat /dev/shm/vllm_routed_experts_buffer_%s_1; rm /dev/shm/vllm_routed_experts_buffer_%s_1", instance,
            instance);
    cr_assert_str_eq(o.text, "precious\n");
    for (uint32_t number = 1; number < 3; number++) {
        start_view(&keeper, "--slots 1000 --vllm-layers 4");
        pass(number, few, 4, NOTHING);
        mt_table *table = await_table(instance);
        for (int i = 0; i < 5000 && mt_table_header(table)->written < 3 * number; i++)
            usleep(1000);
        mt_table_detach(table);
        cr_assert(has_view());
        kill(keeper.pid, SIGKILL);
        live_end(&keeper);
        cr_assert(has_view());
    }
    cr_assert(strstr(keeper.text, "going on with it"), "%s", keeper.text);
    /* One of another shape: who maps the old one keeps it as it was. */
    char path[128];
    snprintf(path, sizeof path, "/dev/shm/vllm_routed_experts_buffer_%s_1", instance);
    const size_t size = (size_t) 1000 * LAYERS * K * sizeof(int32_t);
    int fd = open(path, O_RDONLY);
    struct stat status;
    cr_assert(fstat(fd, &status) == 0 && (size_t) status.st_size == size);
    const int32_t *old = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    cr_assert_neq(old, MAP_FAILED);
    start_view(&keeper, "--slots 1000 --vllm-layers 2");
    pass(3, few, 4, NOTHING);
    for (int i = 0; i < 5000 && (stat(path, &status) != 0 || (size_t) status.st_size == size); i++)
        usleep(1000);
    cr_assert_eq((size_t) status.st_size, size / 2);
    cr_assert_eq(old[900 * LAYERS * K], id_of(900, 2, 0, 0));
    cr_assert_eq(old[size / sizeof *old - 1], -1);
    munmap((void *) old, size);
    close(fd);
    kill(keeper.pid, SIGKILL);
    live_end(&keeper);
    command(&o, "%s clean moetap-table.%s", MOETAP, instance);
    cr_assert_eq(o.status, 0, "%s", o.text);
    cr_assert_not(has_view());
    close_engine();
}
