/* SPDX-License-Identifier: Apache-2.0 */
/* Weights beside the ids: every bit of them, in every type, width and shape; and who may read such a segment. */
#include "rig.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(weights, .init = rig_enter, .fini = rig_leave, .timeout = 100);

static const uint32_t shapes[][2] = {{1, 1}, {1, 8}, {7, 6}, {64, 8}, {33, 9}, {5, 17}, {1200, 8}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Exact allocations: a sanitizer sees every byte too many. */
static void *filled(size_t bytes, uint64_t seed)
{
    uint8_t *memory = NULL;
    cr_assert_eq(posix_memalign((void **) &memory, 16, bytes), 0);
    for (size_t i = 0; i < bytes; i++)
        memory[i] = (uint8_t) mt_commit_word(seed, i);
    return memory;
}

struct expected {
    const struct mt_tap_weighted_args *args;
    const char *wrong;
};

static int compare(const struct mt_record *record, const void *ids, void *user)
{
    struct expected *expected = user;
    const struct mt_tap_args *tap = &expected->args->tap;
    const uint32_t size = mt_weight_size(tap->weights);
    const uint64_t count = (uint64_t) tap->rows * tap->k;
    const uint8_t *weights = mt_record_weights(record, ids), *end = (const uint8_t *) ids + record->bytes;
    expected->wrong = NULL;
    if (record->weights != tap->weights || record->rows != tap->rows || record->k != tap->k || !weights)
        expected->wrong = "head";
    for (uint64_t i = 0; !expected->wrong && i < count; i++) {
        const uint64_t row = i / tap->k, slot = i % tap->k;
        if (mt_decode_id(ids, tap->width, i) != ((const uint8_t *) tap->ids)[row * tap->stride + slot] % 128)
            expected->wrong = "an id";
        if (memcmp(weights + i * size,
                   (const uint8_t *) expected->args->weights + (row * expected->args->stride + slot) * size, size) != 0)
            expected->wrong = "a weight";
    }
    if (!expected->wrong && weights + count * size != end)
        expected->wrong = "the payload's size";
    for (const uint8_t *at = (const uint8_t *) ids + count * tap->width; !expected->wrong && at < weights; at++)
        expected->wrong = *at ? "the gap" : NULL;
    const uint8_t *padded = (const uint8_t *) ids + mt_record_size(record->bytes) - sizeof *record;
    for (; !expected->wrong && end < padded; end++)
        expected->wrong = *end ? "the padding" : NULL;
    return 0;
}

static void run_record(const struct mt_tap_weighted_args *args, uint32_t blocks, uint32_t threads)
{
    for (uint32_t block = 0; block < blocks; block++) {
        struct mt_tap_place place;
        const int staged = args->tap.stage != NULL;
        mt_tap_begin(&args->tap, staged, args->tap.weights, blocks, &place);
        for (uint32_t thread = block * threads; thread < (block + 1) * threads; thread++) {
            mt_tap_copy(&args->tap, &place, staged, args->tap.weights, thread, blocks * threads);
            if (!staged)
                mt_tap_weights(args, &place, thread, blocks * threads);
        }
        mt_tap_end(&args->tap, blocks, &place);
    }
}

/* In line and by way of a stage, dense and in rows apart, from aligned memory and not. */
Test(weights, every_type_and_shape)
{
    struct rig rig;
    rig_open(&rig, 1 << 20);
    mt_reader *reader = rig_attach(&rig);
    struct mt_tap_scratch scratch = {0};
    uint64_t runs = 0;
    for (uint32_t type = MT_WEIGHT_F32; type <= MT_WEIGHT_BF16; type++)
        for (uint8_t width = 1; width <= 2; width++)
            for (size_t shape = 0; shape < SHAPES; shape++)
                for (uint32_t gap = 0; gap < 2; gap++)
                    for (size_t shift = 0; shift < 2; shift++)
                        for (int staged = 0; staged < 2; staged++) {
                            const uint32_t rows = shapes[shape][0], k = shapes[shape][1], stride = k + gap * 3;
                            const uint32_t size = mt_weight_size(type), count = (rows - 1) * stride + k;
                            uint8_t *ids = filled((rows - 1) * k + k, ++runs);
                            for (uint32_t i = 0; i < rows * k; i++)
                                ids[i] %= 128;
                            uint8_t *weights = filled((count + shift) * size, ++runs);
                            const size_t stage_size = mt_tap_stage_size((uint64_t) rows * k, width, type);
                            uint8_t *stage = filled(stage_size, ++runs);
                            struct mt_tap_weighted_args args = {
                                .tap = {.producer = rig.producer,
                                        .scratch = &scratch,
                                        .ids = ids,
                                        .stage = staged ? stage : NULL,
                                        .rows = rows,
                                        .k = k,
                                        .stride = k,
                                        .column = 1,
                                        .dtype = MT_DTYPE_U8,
                                        .width = width,
                                        .weights = (uint8_t) type},
                                .weights = weights + shift * size,
                                .stride = stride,
                            };
                            for (uint32_t thread = 0; staged && thread < 96; thread++) {
                                mt_tap_stage(&args.tap, type, thread, 96);
                                mt_tap_weights(&args, NULL, thread, 96);
                            }
                            const uint32_t blocks = staged ? mt_write_blocks(&args.tap, type) : mt_tap_blocks(rows * k);
                            run_record(&args, blocks, 32);
                            struct expected expected = {&args, "no record"};
                            cr_assert_eq(mt_read(reader, 9, compare, &expected, NULL), 1);
                            cr_assert(!expected.wrong, "type %u width %u %ux%u stride %u shift %zu staged %d: %s", type,
                                      width, rows, k, stride, shift, staged, expected.wrong);
                            free(ids);
                            free(weights);
                            free(stage);
                        }
    mt_detach(reader);
    rig_close(&rig);
}

/* A reader of layout 1.x refuses what it would take for damage, by the rule that it has: another major. */
Test(weights, older_readers_refuse_a_segment_that_may_hold_some)
{
    struct mt_error error = {""};
    struct mt_segment segment;
    for (int weights = 0; weights < 2; weights++) {
        cr_assert_eq(mt_segment_create(&segment, "s", 0, "", 0, weights, NULL, &error), 0, "%s", error.text);
        cr_assert_eq(segment.header->abi_major, weights ? 2 : 1);
        mt_reader *reader;
        cr_assert_eq(mt_attach(segment.path, 0, &reader, &error), 0, "%s", error.text);
        mt_detach(reader);
        mt_segment_destroy(&segment, true);
    }
}

/* Row context has none, no type is unknown, and the payload's size says that they are there. */
Test(weights, shapes_that_no_writer_writes)
{
    struct mt_record record = {.rows = 3, .k = 2, .width = 1, .weights = MT_WEIGHT_F16, .bytes = 16 + 12};
    cr_assert(mt_record_sane(&record));
    record.bytes = 6;
    cr_assert_not(mt_record_sane(&record));
    record.weights = MT_WEIGHT_NONE;
    cr_assert(mt_record_sane(&record));
    record = (struct mt_record){.rows = 3, .k = 2, .width = 1, .weights = 4, .bytes = 16};
    cr_assert_not(mt_record_sane(&record));
    record = (struct mt_record){.rows = 3, .k = 1, .width = 4, .weights = MT_WEIGHT_F32, .bytes = 16 + 12};
    cr_assert_not(mt_record_sane(&record));
}

Test(weights, decoded)
{
    static const struct {
        uint16_t bits;
        float f16, bf16;
    } cases[] = {{0x3C00, 1.0f, 0x1p-7f},          {0x8000, -0.0f, -0.0f},
                 {0x0001, 0x1p-24f, 0x1p-133f},    {0x83FF, -0x1.ff8p-15f, -0x1.fep-120f},
                 {0x7BFF, 65504.0f, 0x1.fep+120f}, {0x3555, 0x1.554p-2f, 0x1.aap-21f}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint16_t pair[2] = {0, cases[i].bits};
        float f16 = mt_decode_weight(pair, MT_WEIGHT_F16, 1), bf16 = mt_decode_weight(pair, MT_WEIGHT_BF16, 1);
        cr_assert(memcmp(&f16, &cases[i].f16, 4) == 0, "0x%x: %a", cases[i].bits, (double) f16);
        cr_assert(memcmp(&bf16, &cases[i].bf16, 4) == 0, "0x%x: %a", cases[i].bits, (double) bf16);
    }
    const uint16_t inf[] = {0x7C00, 0xFC00, 0x7E01, 0x7F80};
    cr_assert(isinf(mt_decode_weight(inf, MT_WEIGHT_F16, 0)) && mt_decode_weight(inf, MT_WEIGHT_F16, 0) > 0);
    cr_assert(mt_decode_weight(inf, MT_WEIGHT_F16, 1) < 0);
    cr_assert(isnan(mt_decode_weight(inf, MT_WEIGHT_F16, 2)));
    cr_assert(isinf(mt_decode_weight(inf, MT_WEIGHT_BF16, 3)));
    const float f32[] = {0.1f, 0x1.234567p-3f};
    cr_assert_eq(mt_decode_weight(f32, MT_WEIGHT_F32, 1), f32[1]);
    cr_assert(isnan(mt_decode_weight(f32, MT_WEIGHT_NONE, 1)));
}
