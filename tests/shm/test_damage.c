/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing that a segment says is believed: any byte of it may be wrong and no reader crashes. */
#include "rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(damage, .init = rig_enter, .fini = rig_leave, .timeout = 110);

static int take_all(const struct mt_record *record, const void *ids, void *user)
{
    /* Nothing reaches out of the ring, and every byte that was promised can be read. */
    cr_assert_leq(mt_record_size(record->bytes), MT_RING_SIZE_MIN / 2);
    cr_assert_eq(record->bytes, (uint64_t) record->rows * record->k * record->width);
    uint64_t *sum = user;
    for (uint32_t i = 0; i < record->bytes; i++)
        *sum += ((const uint8_t *) ids)[i];
    return 0;
}

/* All that a program does with a segment. Returns what attaching said. */
static int use(const struct rig *rig)
{
    mt_reader *reader;
    struct mt_error error = {""};
    int result = mt_attach(rig->segment.path, rig_flags(), &reader, &error);
    if (result < 0) {
        cr_assert(error.text[0], "an error without a word: %d", result);
        return result;
    }
    uint64_t sum = 0;
    struct mt_site site;
    for (uint32_t i = 0; i < mt_site_count(reader); i++)
        mt_site(reader, i, &site);
    mt_wait(reader, 0);
    mt_read(reader, 100, take_all, &sum, &error);
    if (mt_ended(reader) != MT_END_NOT && mt_skip_torn(reader))
        mt_read(reader, 100, take_all, &sum, &error);
    struct mt_stats stats;
    mt_stats(reader, &stats);
    mt_detach(reader);
    return 0;
}

static void prepare(struct rig *rig)
{
    rig_open(rig, MT_RING_SIZE_MIN);
    for (uint32_t i = 0; i < 6; i++)
        rig_put(rig, i, 9);
}

Test(damage, each_byte_of_the_header)
{
    struct rig rig;
    prepare(&rig);
    struct mt_header good = *rig.segment.header;
    const struct mt_consumer consumer = *rig.segment.consumer;
    unsigned refused = 0;
    static const uint8_t flips[] = {0x01, 0x10, 0x80, 0xFF};
    cr_assert_eq(use(&rig), 0);
    for (size_t at = 0; at < sizeof good; at++)
        for (size_t flip = 0; flip < sizeof flips; flip++) {
            *rig.segment.consumer = consumer;
            ((uint8_t *) rig.segment.header)[at] ^= flips[flip];
            int result = use(&rig);
            cr_assert(result == 0 || result == -EINVAL || result == -EPROTO || result == -EAGAIN, "byte %zu: %d", at,
                      result);
            if (at < offsetof(struct mt_header, header_size))
                cr_assert(result < 0 || (at >= 12 && at < 16), "byte %zu of magic, version or endian: accepted", at);
            refused += result < 0;
            memcpy(rig.segment.header, &good, sizeof good);
        }
    cr_assert_gt(refused, 200, "%u", refused);
    *rig.segment.consumer = consumer;
    cr_assert_eq(use(&rig), 0);
    rig_close(&rig);
}

Test(damage, each_field_of_the_header)
{
    struct rig rig;
    prepare(&rig);
    struct mt_header good = *rig.segment.header;
    const uint64_t size = good.segment_size;
    const uint64_t values[] = {0,
                               1,
                               63,
                               64,
                               4095,
                               4096,
                               8192,
                               good.sites_offset,
                               good.ring_offset,
                               good.ring_offset + 4096,
                               size - 4096,
                               size - 1,
                               size,
                               size + 4096,
                               1ull << 31,
                               1ull << 32,
                               1ull << 34,
                               1ull << 40,
                               1ull << 63,
                               ~4095ull,
                               ~0ull};
    for (size_t at = 8; at + 8 <= sizeof good; at += 4)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
            for (size_t width = 4; width <= 8; width += 4) {
                memcpy((uint8_t *) rig.segment.header + at, &values[i], width);
                use(&rig);
                memcpy(rig.segment.header, &good, sizeof good);
            }
    rig.segment.consumer->tail = 0;
    cr_assert_eq(use(&rig), 0);
    rig_close(&rig);
}

#define AT(field) offsetof(struct mt_header, field), sizeof(((struct mt_header *) 0)->field)

/* A mapping may have neighbours that hide what reaches out of it, so these are said one by one. */
Test(damage, what_reaches_out_is_refused)
{
    struct rig rig;
    prepare(&rig);
    struct mt_header good = *rig.segment.header;
    const struct {
        size_t offset, size;
        uint64_t value;
    } wrong[] = {
        {AT(segment_size), good.segment_size + MT_PAGE},
        {AT(segment_size), good.segment_size - MT_PAGE},
        {AT(counters_offset), 0},
        {AT(counters_offset), good.ring_offset},
        {AT(consumer_offset), 0},
        {AT(consumer_offset), good.ring_offset},
        {AT(consumer_offset), good.consumer_offset + 64},
        {AT(sites_offset), good.ring_offset},
        {AT(sites_offset), good.sites_offset + MT_PAGE},
        {AT(sites_max), 0},
        {AT(sites_max), MT_SITES_MAX + MT_PAGE / sizeof(struct mt_site) + 1},
        {AT(site_size), sizeof(struct mt_site) - 8},
        {AT(site_size), sizeof(struct mt_site) + 8},
        {AT(ring_offset), good.ring_offset + MT_PAGE},
        {AT(ring_size), good.ring_size * 2},
        {AT(ring_size), good.ring_size / 2},
        {AT(ring_size), good.ring_size + 64},
        {AT(ring_size), 0},
        {AT(header_size), sizeof good - 1},
        {AT(header_size), MT_PAGE + 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy((uint8_t *) rig.segment.header + wrong[i].offset, &wrong[i].value, wrong[i].size);
        cr_assert_eq(use(&rig), -EINVAL, "case %zu", i);
        memcpy(rig.segment.header, &good, sizeof good);
    }
    memset(rig.segment.header->session, 'x', sizeof good.session);
    cr_assert_eq(use(&rig), -EINVAL, "a name without an end");
    memcpy(rig.segment.header, &good, sizeof good);
    cr_assert_eq(use(&rig), 0);
    rig_close(&rig);
}

Test(damage, each_field_of_the_consumer)
{
    struct rig rig;
    prepare(&rig);
    static const uint64_t values[] = {1, 63, 64, MT_RING_SIZE_MIN - 64, MT_RING_SIZE_MIN, 1ull << 63, ~0ull, ~63ull};
    for (size_t at = 0; at + 8 <= sizeof(struct mt_consumer); at += 8)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            memset(rig.segment.consumer, 0, sizeof *rig.segment.consumer);
            memcpy((uint8_t *) rig.segment.consumer + at, &values[i], 8);
            int result = use(&rig);
            cr_assert_eq(result, at == 0 && values[i] % 64 ? -EINVAL : 0);
        }
    rig_close(&rig);
}

/* Right commit words, wrong everything: the reader's checks alone stand between it and the end of its memory. */
Test(damage, random_records)
{
    struct rig rig;
    prepare(&rig);
    rig.segment.header->writer_start++; /* "dead", so that stepping over is tried, too */
    uint64_t *words = (uint64_t *) rig.segment.ring;
    const size_t count = MT_RING_SIZE_MIN / 8;
    unsigned skipped = 0;
    for (uint64_t run = 0; run < 2000; run++) {
        const uint64_t tail = mt_commit_word(run, 1) / 128 * 64;
        for (size_t i = 0; i < count; i += 8) {
            const uint64_t position = tail + i * 8, bits = mt_commit_word(run, i + 2);
            struct mt_record *record = (struct mt_record *) (words + (position / 8 & (count - 1)));
            if (bits % 5 == 0)
                record->commit = mt_commit_word(rig.producer->nonce, position);
            record->site = (uint32_t) (bits >> 8) % 10;
            record->k = (uint16_t) ((bits >> 16) % 20);
            record->width = (uint8_t) (bits >> 32) % 4;
            record->rows = (uint32_t) (bits >> 40) % 3000;
            record->bytes = record->rows * record->k * record->width + (bits % 7 == 0);
            record->seq = bits >> 3;
        }
        rig.segment.consumer->tail = tail;
        const uint64_t gaps = rig.segment.consumer->gaps;
        cr_assert_eq(use(&rig), 0);
        skipped += rig.segment.consumer->gaps > gaps;
    }
    cr_assert_gt(skipped, 100);
    rig_close(&rig);
}
