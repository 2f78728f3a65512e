/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "../shm/table.h"

#include <stdio.h>
#include <stdlib.h>

static int list_tables(void)
{
    struct mt_segment_name *names;
    size_t count;
    struct mt_error error = {""};
    if (mt_table_discover(&names, &count, &error) != 0)
        return say_failed("%s", error.text);
    if (count)
        printf("%-36s %8s %-6s %6s %3s %10s %10s  %s\n", "TABLE", "PID", "STATE", "LAYERS", "K", "SLOTS", "ROWS", "OF");
    for (size_t i = 0; i < count; i++) {
        mt_table *table;
        if (mt_table_attach(names[i].name, &table, &error) != 0) {
            printf("%-36s %8s %-6s  %s\n", names[i].name, "-", "bad", error.text);
            continue;
        }
        const struct mt_table_header *header = mt_table_header(table);
        const char *state = mt_table_owned(table)                    ? "alive"
                            : mt_table_state(table) == MT_TABLE_OPEN ? "dead"
                                                                     : "closed";
        printf("%-36s %8d %-6s %6u %3u %10llu %10llu  %s\n", names[i].name, header->owner_pid, state, header->layers,
               header->k, (unsigned long long) header->used, (unsigned long long) header->written, header->source);
        mt_table_detach(table);
    }
    free(names);
    return EXIT_OK;
}

int verb_ls(int argc, char **argv)
{
    if (argc > 1)
        return say_usage("ls takes no argument, found %s", argv[1]);
    struct mt_segment_name *names;
    size_t count;
    struct mt_error error = {""};
    if (mt_discover(NULL, &names, &count, &error) != 0)
        return say_failed("%s", error.text);
    if (count)
        printf("%-36s %8s %-6s %3s %10s %8s  %s\n", "SEGMENT", "PID", "STATE", "GPU", "RECORDS", "RING", "DEVICE");
    for (size_t i = 0; i < count; i++) {
        mt_reader *reader;
        if (mt_attach(names[i].name, 0, &reader, &error) != 0) {
            printf("%-36s %8s %-6s  %s\n", names[i].name, "-", "bad", error.text);
            continue;
        }
        static const char *const states[] = {"alive", "closed", "dead"};
        const struct mt_header *header = mt_header(reader);
        printf("%-36s %8d %-6s %3d %10s %7lluM  %s\n", names[i].name, header->writer_pid, states[mt_ended(reader)],
               header->device, mt_wait(reader, 0) ? "waiting" : "-", (unsigned long long) header->ring_size >> 20,
               header->device_name);
        mt_detach(reader);
    }
    free(names);
    return list_tables();
}
