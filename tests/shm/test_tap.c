/* SPDX-License-Identifier: Apache-2.0 */
/* The tap's body against a plain model of it: every dtype, width and shape, one block and many. */
#include "rig.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

TestSuite(tap, .init = rig_enter, .fini = rig_leave, .timeout = 100);

static size_t size_of(enum mt_dtype dtype)
{
    return dtype == MT_DTYPE_I64                            ? 8
           : dtype == MT_DTYPE_I32 || dtype == MT_DTYPE_U32 ? 4
           : dtype == MT_DTYPE_I16 || dtype == MT_DTYPE_U16 ? 2
                                                            : 1;
}

/* What the engine's memory holds, as the engine means it. */
static int64_t meant(const uint8_t *ids, enum mt_dtype dtype, uint64_t index)
{
    union {
        int64_t i64;
        int32_t i32;
        uint32_t u32;
        int16_t i16;
        uint16_t u16;
        uint8_t u8;
    } id = {0};
    memcpy(&id, ids + index * size_of(dtype), size_of(dtype));
    switch (dtype) {
    case MT_DTYPE_I64:
        return id.i64;
    case MT_DTYPE_I32:
        return id.i32;
    case MT_DTYPE_U32:
        return id.u32;
    case MT_DTYPE_I16:
        return id.i16;
    case MT_DTYPE_U16:
        return id.u16;
    default:
        return id.u8;
    }
}

static int32_t decoded(int64_t id, unsigned width)
{
    if (width == MT_CONTEXT_WIDTH)
        return id == (int32_t) id ? (int32_t) id : MT_CONTEXT_OVERFLOW;
    const int64_t limit = width == 1 ? 254 : 65534;
    return id < 0 ? MT_ID_NEGATIVE : id >= limit ? MT_ID_OVERFLOW : (int32_t) id;
}

struct expected {
    const struct mt_tap_args *args;
    uint64_t records;
    int64_t first_wrong; /* index of an id, -1 if all are right */
};

static int compare(const struct mt_record *record, const void *ids, void *user)
{
    struct expected *expected = user;
    const struct mt_tap_args *args = expected->args;
    expected->records++;
    expected->first_wrong = -1;
    if (record->rows != args->rows || record->k != args->k || record->width != args->width)
        expected->first_wrong = -2;
    for (uint64_t i = 0; expected->first_wrong == -1 && i < (uint64_t) args->rows * args->k; i++) {
        int64_t id = meant(args->ids, args->dtype, i / args->k * args->stride + i % args->k * args->column);
        if (mt_decode_id(ids, args->width, i) != decoded(id, args->width))
            expected->first_wrong = (int64_t) i;
    }
    for (uint64_t i = record->bytes; i < mt_record_size(record->bytes) - sizeof *record; i++)
        if (((const uint8_t *) ids)[i])
            expected->first_wrong = -3;
    return 0;
}

static void run_block(const struct mt_tap_args *args, uint32_t block, uint32_t blocks, uint32_t threads)
{
    struct mt_tap_place place;
    mt_tap_begin(args, args->stage != NULL, MT_WEIGHT_NONE, blocks, &place);
    for (uint32_t thread = 0; thread < threads; thread++)
        mt_tap_copy(args, &place, args->stage != NULL, MT_WEIGHT_NONE, block * threads + thread, blocks * threads);
    mt_tap_end(args, blocks, &place);
}

/* Ids of all kinds: small ones, the limits of both widths, and whatever bits there are. */
static void fill_ids(uint8_t *ids, size_t bytes, enum mt_dtype dtype, uint64_t seed)
{
    static const int64_t special[] = {-1,    0,     1,          7,          253,         254,
                                      255,   256,   65533,      65534,      65535,       65536,
                                      -2,    -128,  0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,  0x100000000,
                                      32767, 32768, INT64_MAX,  INT64_MIN,  0x100000007, -0x100000000 + 5};
    const size_t size = size_of(dtype);
    for (size_t i = 0; i < bytes / size; i++) {
        const uint64_t bits = mt_commit_word(seed, i);
        int64_t id = bits % 3 == 0   ? special[bits / 3 % (sizeof special / sizeof *special)]
                     : bits % 3 == 1 ? (int64_t) (bits / 3 % 256)
                                     : (int64_t) bits;
        memcpy(ids + i * size, &id, size);
    }
}

/* [rows, k] dense, in wider rows, in every third element of those; [k, rows] dense, and in wider rows. */
#define LAYOUTS 6
static uint64_t stride_of(unsigned layout, const uint32_t shape[2])
{
    return layout < 3 ? shape[1] + layout * 5 : layout == 3 ? 3 * shape[1] + 2 : 1;
}

static uint32_t column_of(unsigned layout, const uint32_t shape[2])
{
    return layout < 3 ? 1 : layout == 3 ? 3 : layout == 4 ? shape[0] : shape[0] + 7;
}

Test(tap, every_shape)
{
    static const uint32_t shapes[][2] = {{1, 1},  {1, 8},  {2, 8},  {7, 6},   {8, 8},   {64, 8},
                                         {33, 9}, {5, 16}, {3, 17}, {512, 8}, {4, 100}, {1, 64}};
    struct rig rig;
    rig_open(&rig, 1 << 20);
    mt_reader *reader = rig_attach(&rig);
    const size_t bytes = 1 << 17;
    uint8_t *memory = aligned_alloc(16, bytes);
    uint64_t runs = 0;
    for (enum mt_dtype dtype = MT_DTYPE_I32; dtype <= MT_DTYPE_U8; dtype++)
        for (uint8_t width = 1; width <= 2; width++)
            for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++)
                for (unsigned layout = 0; layout < LAYOUTS; layout++)
                    for (size_t shift = 0; shift < 2; shift++) {
                        fill_ids(memory, bytes, dtype, ++runs);
                        struct mt_tap_args args = {
                            .producer = rig.producer,
                            /* not 16-byte aligned: an engine may view into a larger buffer */
                            .ids = memory + shift * size_of(dtype),
                            .rows = shapes[shape][0],
                            .k = shapes[shape][1],
                            .stride = stride_of(layout, shapes[shape]),
                            .column = column_of(layout, shapes[shape]),
                            .site = 0,
                            .dtype = (uint8_t) dtype,
                            .width = width,
                        };
                        run_block(&args, 0, 1, 32);
                        struct expected expected = {&args, 0, -1};
                        cr_assert_eq(mt_read(reader, 9, compare, &expected, NULL), 1);
                        cr_assert_eq(expected.first_wrong, -1, "dtype %d width %u %ux%u layout %u shift %zu: %lld",
                                     (int) dtype, width, args.rows, args.k, layout, shift,
                                     (long long) expected.first_wrong);
                    }
    cr_assert_eq(runs, 6 * 2 * 12 * LAYOUTS * 2);
    free(memory);
    mt_detach(reader);
    rig_close(&rig);
}

/* Row context keeps its sign and its value; what does not fit is marked. */
Test(tap, row_context)
{
    static const uint32_t shapes[] = {1, 2, 3, 4, 5, 16, 63, 64, 1000, 9000};
    static const enum mt_dtype dtypes[] = {MT_DTYPE_I32, MT_DTYPE_I64, MT_DTYPE_U32};
    struct rig rig;
    rig_open(&rig, 1 << 20);
    mt_reader *reader = rig_attach(&rig);
    uint64_t runs = 0;
    for (size_t d = 0; d < 3; d++)
        for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++)
            for (uint64_t stride = 1; stride < 4; stride += 2)
                for (size_t shift = 0; shift < 2; shift++) {
                    const size_t size = size_of(dtypes[d]), bytes = ((shapes[shape] - 1) * stride + 1) * size;
                    /* exact: a sanitizer sees every byte too many */
                    uint8_t *memory = NULL;
                    cr_assert_eq(posix_memalign((void **) &memory, 16, bytes + shift * size), 0);
                    fill_ids(memory, bytes + shift * size, dtypes[d], ++runs);
                    struct mt_tap_args args = {
                        .producer = rig.producer,
                        .ids = memory + shift * size,
                        .rows = shapes[shape],
                        .k = 1,
                        .stride = stride,
                        .dtype = (uint8_t) dtypes[d],
                        .width = MT_CONTEXT_WIDTH,
                        .context = 1,
                    };
                    run_block(&args, 0, 1, 32);
                    struct expected expected = {&args, 0, -1};
                    cr_assert_eq(mt_read(reader, 9, compare, &expected, NULL), 1);
                    cr_assert_eq(expected.first_wrong, -1, "dtype %d %u rows layout %u shift %zu: %lld",
                                 (int) dtypes[d], args.rows, (unsigned) stride, shift,
                                 (long long) expected.first_wrong);
                    cr_assert_eq(rig.producer->context, runs);
                    free(memory);
                }
    mt_detach(reader);
    rig_close(&rig);
}

static int keep_context(const struct mt_record *record, const void *ids, void *user)
{
    (void) ids;
    *(uint64_t *) user = record->context;
    return 0;
}

/* What a stage staged belongs to the context of that time, whenever it is written. */
Test(tap, a_stage_knows_its_context)
{
    struct rig rig;
    rig_open(&rig, 1 << 20);
    mt_reader *reader = rig_attach(&rig);
    _Alignas(16) int32_t values[4] = {1, 2, 3, 4};
    _Alignas(16) uint8_t stage[128];
    struct mt_tap_args context = {.producer = rig.producer,
                                  .ids = values,
                                  .rows = 4,
                                  .k = 1,
                                  .stride = 1,
                                  .column = 1,
                                  .dtype = MT_DTYPE_I32,
                                  .width = MT_CONTEXT_WIDTH,
                                  .context = 1};
    struct mt_tap_args router = context;
    router.width = 1;
    router.context = 0;
    router.stage = stage;
    cr_assert_leq(mt_tap_stage_size(4, 1, MT_WEIGHT_NONE), sizeof stage);
    uint64_t seen = 0;
    run_block(&context, 0, 1, 4);
    mt_tap_stage(&router, MT_WEIGHT_NONE, 0, 1);
    run_block(&context, 0, 1, 4);
    run_block(&router, 0, 1, 4);
    cr_assert_eq(mt_read(reader, 1, keep_context, &seen, NULL), 1);
    cr_assert_eq(seen, 1);
    cr_assert_eq(mt_read(reader, 1, keep_context, &seen, NULL), 1);
    cr_assert_eq(seen, 2);
    cr_assert_eq(mt_read(reader, 1, keep_context, &seen, NULL), 1);
    cr_assert_eq(seen, 1);
    mt_detach(reader);
    rig_close(&rig);
}

Test(tap, nothing_is_read_behind_the_ids)
{
    struct rig rig;
    rig_open(&rig, 0);
    mt_reader *reader = rig_attach(&rig);
    /* Own allocations of the exact size: a sanitizer sees every byte too many. */
    for (uint32_t n = 1; n < 70; n++) {
        int32_t *ids = malloc(n * sizeof *ids);
        memset(ids, 0, n * sizeof *ids);
        ids[n - 1] = 7;
        struct mt_tap_args args = {.producer = rig.producer,
                                   .ids = ids,
                                   .rows = 1,
                                   .k = n,
                                   .stride = n,
                                   .column = 1,
                                   .dtype = MT_DTYPE_I32,
                                   .width = 1};
        run_block(&args, 0, 1, 8);
        struct expected expected = {&args, 0, -1};
        cr_assert_eq(mt_read(reader, 1, compare, &expected, NULL), 1);
        cr_assert_eq(expected.first_wrong, -1);
        free(ids);
    }
    mt_detach(reader);
    rig_close(&rig);
}

/* The two marks, spelt out: what a reader sees of -1, of ids that fit and of those that do not. */
Test(tap, marks)
{
    struct rig rig;
    rig_open(&rig, 0);
    static const int32_t ids[8] __attribute__((aligned(16))) = {0, -1, 253, 254, 255, 65533, 65534, 70000};
    struct mt_tap_args args = {.producer = rig.producer,
                               .ids = ids,
                               .rows = 1,
                               .k = 8,
                               .stride = 8,
                               .column = 1,
                               .dtype = MT_DTYPE_I32,
                               .width = 1};
    run_block(&args, 0, 1, 1);
    static const uint8_t one[] = {0, 0xFF, 253, 0xFE, 0xFE, 0xFE, 0xFE, 0xFE};
    cr_assert_arr_eq(rig.segment.ring + 64, one, sizeof one);
    args.width = 2;
    run_block(&args, 0, 1, 1);
    static const uint16_t two[] = {0, 0xFFFF, 253, 254, 255, 65533, 0xFFFE, 0xFFFE};
    cr_assert_arr_eq(rig.segment.ring + 128 + 64, two, sizeof two);
    args.dtype = MT_DTYPE_U32; /* -1 as unsigned is no -1 */
    run_block(&args, 0, 1, 1);
    uint16_t second;
    memcpy(&second, rig.segment.ring + 256 + 64 + 2, 2);
    cr_assert_eq(second, MT_ID16_OVERFLOW);
    rig_close(&rig);
}

struct block {
    const struct mt_tap_args *args;
    uint32_t index, blocks;
    pthread_barrier_t *start;
};

static void *block_thread(void *user)
{
    struct block *block = user;
    pthread_barrier_wait(block->start);
    run_block(block->args, block->index, block->blocks, 16);
    return NULL;
}

static void run_grid(const struct mt_tap_args *args, uint32_t blocks)
{
    pthread_t threads[8];
    struct block block[8];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, blocks);
    for (uint32_t i = 0; i < blocks; i++) {
        block[i] = (struct block){args, i, blocks, &start};
        pthread_create(&threads[i], NULL, block_thread, &block[i]);
    }
    for (uint32_t i = 0; i < blocks; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
}

Test(tap, blocks_make_one_record_and_leave_the_scratch_as_it_was)
{
    struct rig rig;
    rig_open(&rig, MT_RING_SIZE_MIN);
    mt_reader *reader = rig_attach(&rig);
    struct mt_tap_scratch scratch = {0};
    const size_t bytes = 64000;
    uint8_t *memory = aligned_alloc(16, bytes);
    struct mt_tap_args args = {.producer = rig.producer,
                               .scratch = &scratch,
                               .ids = memory,
                               .rows = 1000,
                               .k = 8,
                               .stride = 8,
                               .column = 1,
                               .dtype = MT_DTYPE_I32,
                               .width = 1};
    for (uint32_t run = 0; run < 100; run++) {
        fill_ids(memory, bytes, MT_DTYPE_I32, run);
        const uint32_t blocks = 2 + run % 7;
        run_grid(&args, blocks);
        cr_assert_eq(scratch.arrived | scratch.claimed | scratch.done, 0, "run %u", run);
        struct expected expected = {&args, 0, -1};
        cr_assert_eq(mt_read(reader, 9, compare, &expected, NULL), 1);
        cr_assert_eq(expected.first_wrong, -1, "run %u: %lld", run, (long long) expected.first_wrong);
    }
    /* A lost one is lost once, writes nothing, and leaves the scratch clean as well. */
    const uint64_t head = rig.producer->head;
    args.rows = 8000;
    run_grid(&args, 8);
    cr_assert_eq(rig.segment.counters->lost_too_big, 1);
    cr_assert_eq(rig.producer->head, head);
    cr_assert_eq(scratch.arrived | scratch.claimed | scratch.done, 0);
    free(memory);
    mt_detach(reader);
    rig_close(&rig);
}

/* A graph's tap: several stages, then one write of all of them, its blocks in any order. */
Test(tap, stages_are_written_as_the_ids_were)
{
    static const uint32_t shapes[][2] = {{1, 1}, {64, 8}, {5000, 8}, {3, 17}, {9000, 4}};
    enum { COUNT = sizeof shapes / sizeof *shapes, BYTES = 1 << 19, PAYLOAD = 1 << 17 };
    struct rig rig;
    rig_open(&rig, 1 << 20);
    mt_reader *reader = rig_attach(&rig);
    struct mt_tap_scratch scratch[COUNT] = {0};
    uint8_t *memory[COUNT], *stage[COUNT];
    for (int i = 0; i < COUNT; i++) {
        memory[i] = aligned_alloc(16, BYTES);
        stage[i] = aligned_alloc(16, PAYLOAD);
    }
    for (uint64_t run = 0; run < 24; run++) {
        const enum mt_dtype dtype = run % 2 ? MT_DTYPE_I64 : MT_DTYPE_U32;
        struct mt_tap_batch batch = {.count = 0};
        for (uint32_t i = 0; i < COUNT; i++) {
            struct mt_tap_args *args = &batch.tap[i];
            fill_ids(memory[i], BYTES, dtype, run * COUNT + i);
            memset(stage[i], 0xAA, PAYLOAD);
            *args = (struct mt_tap_args){.producer = rig.producer,
                                         .scratch = &scratch[i],
                                         .ids = memory[i],
                                         .stage = stage[i],
                                         .rows = shapes[i][0],
                                         .k = shapes[i][1],
                                         .stride = shapes[i][1],
                                         .column = 1,
                                         .first_block = i ? mt_tap_batch_blocks(&batch) : 0,
                                         .dtype = (uint8_t) dtype,
                                         .width = (uint8_t) (1 + run / 2 % 2)};
            batch.count++;
            for (uint32_t thread = 0; thread < 96; thread++)
                mt_tap_stage(args, MT_WEIGHT_NONE, thread, 96);
        }
        /* What the engine does with the ids from here on is its own business. */
        uint8_t *ids[COUNT];
        for (int i = 0; i < COUNT; i++) {
            ids[i] = memory[i];
            memory[i] = aligned_alloc(16, BYTES);
            memcpy(memory[i], ids[i], BYTES);
            memset(ids[i], 0x55, BYTES);
        }
        /* A block that is not the first of its record waits for that one, so one thread runs whole records. */
        const uint32_t blocks = mt_tap_batch_blocks(&batch);
        for (uint32_t i = 0; i < COUNT; i++) {
            struct mt_tap_args *args = &batch.tap[(i + run) % COUNT];
            cr_assert_eq(mt_tap_of_block(&batch, args->first_block), args);
            cr_assert_eq(mt_tap_of_block(&batch, args->first_block + mt_write_blocks(args, MT_WEIGHT_NONE) - 1), args);
            cr_assert_leq(args->first_block + mt_write_blocks(args, MT_WEIGHT_NONE), blocks);
            for (uint32_t block = 0; block < mt_write_blocks(args, MT_WEIGHT_NONE); block++)
                run_block(args, block, mt_write_blocks(args, MT_WEIGHT_NONE), 32);
            args->ids = memory[(i + run) % COUNT];
            struct expected expected = {args, 0, -1};
            cr_assert_eq(mt_read(reader, 9, compare, &expected, NULL), 1);
            cr_assert_eq(expected.first_wrong, -1, "run %d, %u rows: %lld", (int) run, args->rows,
                         (long long) expected.first_wrong);
        }
        for (int i = 0; i < COUNT; i++)
            free(ids[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        free(memory[i]);
        free(stage[i]);
    }
    mt_detach(reader);
    rig_close(&rig);
}

Test(tap, blocks_grow_with_the_ids)
{
    cr_assert_eq(mt_tap_blocks(0), 1);
    cr_assert_eq(mt_tap_blocks(MT_TAP_IDS_PER_BLOCK), 1);
    cr_assert_eq(mt_tap_blocks(MT_TAP_IDS_PER_BLOCK + 1), 2);
    cr_assert_eq(mt_tap_blocks(1ull << 40), MT_TAP_BLOCKS_MAX);
}
