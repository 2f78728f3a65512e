/* SPDX-License-Identifier: Apache-2.0 */
#include "rank.h"

#include "../../shm/settings.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A word of a title, as in "DP12". */
static void read_word(const char *word, size_t length, struct rank *rank)
{
    static const char *const kinds[] = {"DP", "TP", "PP"};
    int *const values[] = {&rank->data, &rank->tensor, &rank->stage};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char *end;
        uint64_t number;
        if (strncmp(word, kinds[i], 2) == 0 && mt_parse_number(word + 2, &end, &number) && end == word + length &&
            number < 1 << 20)
            *values[i] = (int) number;
    }
}

struct rank rank_in_title(const char *title)
{
    struct rank rank = {-1, -1, -1};
    bool of_experts = false; /* "MOE_DP0" is another one */
    const char *word = strstr(title, "::");
    while (word && *word) {
        word += strspn(word, "_ :");
        size_t length = strcspn(word, "_ :");
        if (!of_experts)
            read_word(word, length, &rank);
        of_experts = length == 3 && strncmp(word, "MOE", 3) == 0;
        word += length;
    }
    return rank;
}

struct rank rank_of(const struct mt_header *header)
{
    /* The first word of the command line: all of it, where an engine has put a title there. */
    char path[64], title[256] = "";
    struct stat status;
    if (stat("/proc/self/ns/pid", &status) == 0 && header->pid_namespace == (uint64_t) status.st_ino) {
        snprintf(path, sizeof path, "/proc/%d/cmdline", (int) header->writer_pid);
        FILE *file = fopen(path, "re");
        if (file) {
            title[fread(title, 1, sizeof title - 1, file)] = '\0';
            fclose(file);
        }
    }
    return rank_in_title(title);
}
