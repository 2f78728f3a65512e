/* SPDX-License-Identifier: Apache-2.0 */
/* Which of a pass's launches speaks for all layers: by the order of addresses alone. */
#include "../../shim/layer/once.h"

#include <criterion/criterion.h>

enum { LAYERS = 6 };
static struct mt_firsts firsts;
static struct mt_once streams[2];

static void start(void)
{
    firsts = (struct mt_firsts){0};
    for (int i = 0; i < 2; i++)
        streams[i] = (struct mt_once){0};
}
TestSuite(once, .init = start);

/* A forward pass over a model's caches; how many of its launches were taken, and whether the first was. */
static int pass(int stream, uint64_t cache, int layers, bool *first)
{
    int taken = 0;
    for (int layer = 0; layer < layers; layer++) {
        bool yes = mt_once_first(&streams[stream], &firsts, cache + (uint64_t) layer * 256, true);
        if (!layer)
            *first = yes;
        taken += yes;
    }
    return taken;
}

Test(once, first_layer_of_each_pass)
{
    bool first;
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(pass(0, 0x1000, LAYERS, &first), 1);
        cr_assert(first);
    }
}

Test(once, cache_that_moves)
{
    bool first;
    pass(0, 0x1000, LAYERS, &first);
    cr_assert_eq(pass(0, 0x9000, LAYERS, &first), 0); /* might be more layers of the same pass */
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(pass(0, 0x9000, LAYERS, &first), 1);
        cr_assert(first);
    }
}

Test(once, draft_of_one_layer_between)
{
    bool first;
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(pass(0, 0x1000, LAYERS, &first), 1);
        cr_assert(first);
        int taken = 0;
        for (int draft = 0; draft < 3; draft++)
            taken += pass(0, 0x20000, 1, &first);
        cr_assert_eq(taken, i ? 3 : 2);
    }
}

Test(once, streams_side_by_side)
{
    bool first;
    cr_assert_eq(pass(0, 0x1000, LAYERS, &first), 1);
    /* Both in the same layers at the same time: an address that comes twice, but from two streams. */
    for (int i = 0; i < 4; i++) {
        for (int layer = 0; layer < LAYERS; layer++) {
            for (int stream = 0; stream < 2; stream++)
                cr_assert_eq(mt_once_first(&streams[stream], &firsts, 0x1000 + (uint64_t) layer * 256, true), !layer);
        }
    }
}

Test(once, what_one_stream_learnt_holds_for_all)
{
    bool first;
    pass(0, 0x1000, LAYERS, &first);
    pass(1, 0x1000, LAYERS, &first);
    for (int i = 0; i < 3; i++)
        pass(0, 0x9000, LAYERS, &first);
    cr_assert_eq(pass(1, 0x9000, LAYERS, &first), 1);
    cr_assert(first);
}

Test(once, weights_do_not_move)
{
    for (int i = 0; i < 5; i++)
        cr_assert_eq(mt_once_first(&streams[0], &firsts, 0x1000, false), true);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(mt_once_first(&streams[0], &firsts, 0x9000, false), false);
}

Test(once, more_layers_than_there_is_room_for)
{
    bool first;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(pass(0, 0x1000, MT_ONCE_LAYERS * 2, &first), 1);
}
