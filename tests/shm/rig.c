/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

void rig_enter(void)
{
    strcpy(folder, access(MT_SHM_DIR, W_OK) == 0 ? MT_SHM_DIR "/moetap-test-XXXXXX" : "/tmp/moetap-test-XXXXXX");
    cr_assert(mkdtemp(folder), "no folder for the test");
    setenv("MOETAP_SHM_DIR", folder, 1);
}

void rig_leave(void)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (dir)
        closedir(dir);
    rmdir(folder);
}

void rig_open(struct rig *rig, uint64_t ring_size)
{
    struct mt_error note, error = {""};
    memset(rig, 0, sizeof *rig);
    rig->rows_max = 40;
    int result = mt_segment_create(&rig->segment, RIG_SESSION, 0, "test device", ring_size, false, &note, &error);
    cr_assert_eq(result, 0, "%s", error.text);
    for (uint32_t i = 0; i < RIG_SITES; i++) {
        struct mt_site site = {.layer = (int32_t) i, .k = rig_k(i), .dtype = MT_DTYPE_I32};
        snprintf(site.kernel, sizeof site.kernel, "router%u", i);
        cr_assert_eq(mt_segment_add_site(&rig->segment, &site), (int) i);
    }
    rig->producer = rig_producer(&rig->segment);
    cr_assert(rig->producer);
}

void rig_close(struct rig *rig)
{
    rig_producer_free(rig->producer);
    mt_segment_destroy(&rig->segment, true);
}

uint32_t rig_rows(const struct rig *rig, uint32_t site, uint64_t step)
{
    return (uint32_t) (mt_commit_word(site, step) % rig->rows_max);
}

uint32_t rig_k(uint32_t site)
{
    return 1 + site * 3 % 8;
}

uint32_t rig_width(uint32_t site)
{
    return 1 + site % 2;
}

uint32_t rig_id(uint32_t site, uint64_t step, uint64_t index)
{
    return (uint32_t) (mt_commit_word(site + (step << 8), index) % (rig_width(site) == 1 ? 254 : 65534));
}

void rig_put(struct rig *rig, uint32_t site, uint32_t rows)
{
    const uint64_t step = __atomic_load_n(&rig->producer->steps[site], __ATOMIC_RELAXED);
    struct mt_tap_args args = {
        .producer = rig->producer,
        .stride = rig_k(site),
        .column = 1,
        .rows = rows ? rows : rig_rows(rig, site, step),
        .k = rig_k(site),
        .site = site,
        .counter = (uint16_t) site,
        .dtype = MT_DTYPE_I32,
        .width = (uint8_t) rig_width(site),
    };
    const uint64_t n = (uint64_t) args.rows * args.k;
    int32_t *ids = aligned_alloc(16, (n * sizeof *ids + 31) & ~(size_t) 15);
    for (uint64_t i = 0; i < n; i++)
        ids[i] = (int32_t) rig_id(site, step, i);
    args.ids = ids;
    rig_tap(&args);
    free(ids);
}

int rig_take(const struct mt_record *record, const void *ids, void *user)
{
    struct rig_tally *tally = user;
    const uint32_t site = record->site;
    bool right = site < RIG_SITES && record->k == rig_k(site) && record->width == rig_width(site) &&
                 record->step >= tally->next_step[site];
    const uint64_t n = (uint64_t) record->rows * record->k;
    for (uint64_t i = 0; right && i < n; i++)
        right = mt_decode_id(ids, record->width, i) == (int32_t) rig_id(site, record->step, i);
    /* The rest of the last 64 bytes is zero. */
    const uint64_t end = mt_record_size(record->bytes) - sizeof *record;
    for (uint64_t i = record->bytes; right && i < end; i++)
        right = ((const uint8_t *) ids)[i] == 0;
    if (right) {
        tally->skipped += record->step - tally->next_step[site];
        tally->next_step[site] = record->step + 1;
    } else {
        tally->wrong++;
    }
    tally->records++;
    tally->last = *record;
    return 0;
}

unsigned rig_flags(void)
{
    return MT_ATTACH_DRAIN | (getenv("RIG_IN_PLACE") ? MT_ATTACH_IN_PLACE : 0);
}

mt_reader *rig_attach(const struct rig *rig)
{
    mt_reader *reader;
    struct mt_error error = {""};
    cr_assert_eq(mt_attach(rig->segment.path, rig_flags(), &reader, &error), 0, "%s", error.text);
    return reader;
}

int64_t rig_read_all(mt_reader *reader, struct rig_tally *tally)
{
    int64_t all = 0, n;
    struct mt_error error;
    while ((n = mt_read(reader, 7, rig_take, tally, &error)) > 0)
        all += n;
    return n < 0 ? n : all;
}
