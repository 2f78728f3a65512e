/* SPDX-License-Identifier: Apache-2.0 */
/* The recipes' text: every message names file, line, what was found and what was expected; nothing crashes it. */
#include "rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(parse, .timeout = 60);

#define KERNEL "[a]\nkernel = f\n"
#define ROUTER "[a]\nkernel = f\nparams = 8 8 4 4\nids = param 1\ndtype = i32\nrows = param 2\nk = param 3\n"
#define SLOTS "[a]\nkernel = f\nkind = slots\nparams = 8 8 4\nids = param 1\ndtype = i64\nrows = param 2\n"
#define MAP "[a]\nkernel = f\nkind = map\nparams = 8 8 4\nids = param 0\ndtype = i32\n"
#define BLOCKS "[a]\nkernel = f\nkind = blocks\nparams = 8 8 4\nids = param 1\ndtype = i32\nrows = param 2 - 1\n"
#define LISTS "[a]\nkernel = f\nkind = kv_indices\nparams = 8 8 8\nids = param 0\nrows = grid.x\nstarts = param 2\n"
#define TEN "1234567890"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static void refused(const char *text, const char *message, int at)
{
    char why[512] = "";
    struct mt_recipes *recipes = mt_recipes_load("my.recipe", text, why, sizeof why);
    cr_assert_null(recipes, "case %d was taken: %s", at, text);
    cr_assert_str_eq(why, message, "case %d: '%s'", at, why);
}

static const char *const mistakes[][2] = {
    /* structure */
    {"kernel = f", "my.recipe:1: found 'kernel = f' before any recipe, expected [name] first"},
    {"\n\nkernel", "my.recipe:3: found 'kernel', expected key = value"},
    {"[a", "my.recipe:1: found '[a', expected [name]"},
    {"[]", "my.recipe:1: found '[]', expected [name]"},
    {"[a] b", "my.recipe:1: found '[a] b', expected [name]"},
    {"[a b]", "my.recipe:1: found 'a b', expected a name of letters, digits, '.', '_' and '-'"},
    {"[" HUNDRED "]", "my.recipe:1: found 100 characters, expected 1 to 63"},
    {ROUTER "[a]\nkernel = g", "my.recipe:8: found a second recipe [a], expected each name once"},
    {"[a]\n", "my.recipe:1: found no kernel in [a], expected kernel = NAME"},
    {"# c\n[b]\n" KERNEL, "my.recipe:2: found no kernel in [b], expected kernel = NAME"},
    {KERNEL "color = red", "my.recipe:3: found key 'color', expected "},
    /* what a router needs */
    {KERNEL, "my.recipe:1: found no ids in [a], expected ids = ..."},
    {KERNEL "ids = param 1", "my.recipe:1: found no rows in [a], expected rows = ..."},
    {KERNEL "ids = param 1\nrows = param 2", "my.recipe:1: found no k in [a], expected k = ..."},
    {KERNEL "ids = param 1\nrows = 1\nk = 1", "my.recipe:1: found no dtype in [a], expected dtype = i32 or the like"},
    {KERNEL "ids = param 1\nrows = 1\nk = 1\ndtype = i32",
     "my.recipe:1: found no params in [a], expected params = the sizes of the kernel's parameters in bytes"},
    /* a key twice */
    {ROUTER "kernel = g", "my.recipe:8: found kernel a second time, expected it once in a recipe"},
    {ROUTER "params = 8", "my.recipe:8: found params a second time, expected it once in a recipe"},
    {ROUTER "dtype = i64", "my.recipe:8: found dtype a second time, expected it once in a recipe"},
    {ROUTER "rows = 2", "my.recipe:8: found this key a second time, expected it once in a recipe"},
    {KERNEL "kind = final\nkind = final", "my.recipe:4: found kind a second time, expected it once in a recipe"},
    {KERNEL "within = a\nwithin = b", "my.recipe:4: found within a second time, expected it once in a recipe"},
    {KERNEL "suffix = a\nsuffix = b", "my.recipe:4: found suffix a second time, expected it once in a recipe"},
    {KERNEL "note = a\nnote = b", "my.recipe:4: found note a second time, expected it once in a recipe"},
    {KERNEL "final = a\nfinal = b", "my.recipe:4: found final a second time, expected it once in a recipe"},
    {KERNEL "limit.k = 1..2\nlimit.k = 1..2", "my.recipe:4: found limit.k a second time, expected it once in a recipe"},
    /* texts */
    {"[a]\nkernel =", "my.recipe:2: found nothing, expected a kernel's name"},
    {"[a]\nkernel = " HUNDRED,
     "my.recipe:2: found too long or too many kernel names, expected at most 8 of 95 characters"},
    {"[a]\nkernel = a b c d e f g h i",
     "my.recipe:2: found too long or too many kernel names, expected at most 8 of 95 characters"},
    {KERNEL "within =", "my.recipe:3: found 0 characters, expected 1 to 95"},
    {KERNEL "suffix = " HUNDRED HUNDRED, "my.recipe:3: found 200 characters, expected 1 to 127"},
    {KERNEL "note = " HUNDRED HUNDRED, "my.recipe:3: found 200 characters, expected 1 to 159"},
    {KERNEL "final = a b", "my.recipe:3: found 'a b', expected a name of letters, digits, '.', '_' and '-'"},
    {KERNEL "kind = sampler",
     "my.recipe:3: found 'sampler', expected router, final, no-ids, consumer, slots, "
     "positions, tokens, starts, blocks, map, batch, cache, reads, lengths, kv_indices or order"},
    {KERNEL "id_space = 3", "my.recipe:3: found '3', expected unknown, logical or physical"},
    {KERNEL "skip = x", "my.recipe:3: found 'x', expected a number behind 'skip'"},
    {KERNEL "skip = 64", "my.recipe:3: found skip 64, expected at most 63"},
    {KERNEL "skip = 2 2", "my.recipe:3: found '2', expected the end of the line"},
    {KERNEL "skip = 2\nskip = 2", "my.recipe:4: found skip a second time, expected it once in a recipe"},
    {KERNEL "id_space = logical\nid_space = logical",
     "my.recipe:4: found id_space a second time, expected it once in a recipe"},
    /* consumers */
    {KERNEL "kind = consumer", "my.recipe:1: found no ids in [a], expected ids = ..."},
    {KERNEL "kind = consumer\nids = param 0",
     "my.recipe:1: found no params in [a], expected params = the sizes of the kernel's parameters in bytes"},
    {KERNEL "kind = consumer\nids = param 0\nrows = 1", "my.recipe:1: found no k in [a], expected k = ..."},
    {KERNEL "kind = consumer\nids = any\nrows = 1\nk = 1\ndtype = i32",
     "my.recipe:4: found ids = any in [a], expected it only in a consumer without rows, k and dtype"},
    {KERNEL "ids = any\nrows = 1\nk = 1\ndtype = i32",
     "my.recipe:3: found ids = any in [a], expected it only in a consumer without rows, k and dtype"},
    {KERNEL "ids = any\nids = any", "my.recipe:4: found this key a second time, expected it once in a recipe"},
    {ROUTER "# there is none\nfinal = nothing",
     "my.recipe:9: found final = nothing, expected the name of a recipe of kind final"},
    {ROUTER "[p]\nkernel = f\nkind = positions\nparams = 8 4\nids = param 0\nrows = param 1\ndtype = i64\nuntil = a",
     "my.recipe:15: found until = a, expected the name of a recipe of kind batch"},
    {ROUTER "[p]\nkernel = f\nkind = slots\nparams = 8 4\nids = param 0\nrows = param 1\ndtype = i64\nbehind = a",
     "my.recipe:15: found behind = a, expected the name of a recipe of kind positions"},
    {ROUTER "behind = a", "my.recipe:8: found behind in [a], expected it only in slots, positions, tokens or cache"},
    {ROUTER "until = a", "my.recipe:8: found until in [a], expected it only in slots, positions or tokens"},
    {KERNEL "kind = batch\nparams = 8 4\nrows = param 1",
     "my.recipe:1: found no stride in [a], expected stride = the rows of each sequence"},
    {KERNEL "kind = batch\nparams = 8 4\nrows = param 1\nstride = 1\nids = param 0",
     "my.recipe:7: found ids in [a], expected it not in a batch"},
    {KERNEL "kind = cache\nparams = 8 4\nids = param 0",
     "my.recipe:1: found no input in [a], expected input = the cache that the pass goes on with"},
    {KERNEL "kind = cache\nparams = 8 4\nids = param 0\ninput = param 0\nonce = param 0",
     "my.recipe:7: found once in [a], expected it not in a cache"},
    {SLOTS "once = pass", "my.recipe:8: found once = pass in [a], expected it only in a batch"},
    {KERNEL "kind = order\nparams = 8 4\nids = param 0\nrows = param 1\ndtype = i64\nonce = param 0",
     "my.recipe:1: found no input in [a], expected input = the cache that is put in order"},
    {KERNEL "kind = reads\nparams = 8 4\nids = param 0\nrows = param 1\ndtype = i64",
     "my.recipe:1: found no once in [a], expected once = the address of the cache that is read"},
    {ROUTER "final = a", "my.recipe:8: found final = a, expected the name of a recipe of kind final"},
    /* what the rows are */
    {ROUTER "once = param 0", "my.recipe:8: found once in [a], expected it only in row context"},
    {KERNEL "kind = final\nonce = layer", "my.recipe:4: found once in [a], expected it only in row context"},
    {KERNEL "kind = slots", "my.recipe:1: found no ids in [a], expected ids = ..."},
    {KERNEL "kind = slots\nids = param 0", "my.recipe:1: found no rows in [a], expected rows = ..."},
    {KERNEL "kind = tokens\nids = param 0\nrows = 1",
     "my.recipe:1: found no dtype in [a], expected dtype = i32 or the like"},
    {KERNEL "kind = tokens\nids = param 0\nrows = 1\ndtype = i64",
     "my.recipe:1: found no params in [a], expected params = the sizes of the kernel's parameters in bytes"},
    {ROUTER "kind = positions", "my.recipe:7: found k in [a], expected it only in routers and consumers"},
    {KERNEL "kind = slots\ncolumn = 2", "my.recipe:4: found column in [a], expected it only in routers and consumers"},
    {KERNEL "kind = slots\ninput = param 0",
     "my.recipe:4: found input in [a], expected it only in routers and consumers"},
    {KERNEL "kind = slots\nfinal = b", "my.recipe:4: found final in [a], expected it only in routers"},
    {KERNEL "kind = slots\ndtype = u8",
     "my.recipe:1: found a narrow dtype in [a], expected i32, i64, u32 or template N"},
    {KERNEL "kind = slots\nids = any\ndtype = i32\nrows = 1",
     "my.recipe:4: found ids = any in [a], expected it only in a consumer without rows, k and dtype"},
    {SLOTS "once = param 2", "my.recipe:8: found a parameter that params does not have, or a smaller one, expected one "
                             "of params, as wide as what is read of it"},
    {SLOTS "once = 7", "my.recipe:8: found something else, expected once = param N or param N + OFFSET"},
    {SLOTS "starts = param 0",
     "my.recipe:1: found no sequences in [a], expected it in slots, positions or tokens beside starts"},
    {SLOTS "sequences = param 2",
     "my.recipe:1: found no starts in [a], expected it in slots, positions or tokens beside sequences"},
    {ROUTER "sequences = 1",
     "my.recipe:8: found sequences in [a], expected it only in slots, positions or tokens beside starts"},
    {LISTS "index = param 1\ndtype = i32",
     "my.recipe:1: found dtype in [a], expected none: kv_indices are i32 or i64, the GPU finds it out"},
    {LISTS, "my.recipe:1: found no index in [a], expected it in kv_indices"},
    {LISTS "index = param 1\nblock = 4", "my.recipe:9: found block in [a], expected it only in blocks"},
    {SLOTS "index = param 0", "my.recipe:8: found index in [a], expected it only in blocks"},
    {ROUTER "groups = 2", "my.recipe:8: found groups in [a], expected it only in slots and blocks"},
    {SLOTS "groups = 2",
     "my.recipe:1: found no apart in [a], expected it in slots and blocks beside groups, but for ids = at param N"},
    {SLOTS "apart = 64", "my.recipe:8: found apart in [a], expected it only in slots and blocks beside groups, but for "
                         "ids = at param N"},
    /* what only the GPU can read */
    {SLOTS "stride = at param 0",
     "my.recipe:8: found 'at', expected it alone and only in ids, stride and block of a block table"},
    {BLOCKS "starts = at param 0\npositions = param 0\nblock = 4",
     "my.recipe:8: found 'at', expected it alone and only in ids, stride and block of a block table"},
    {BLOCKS "starts = param 0\npositions = param 0\nblock = at param 1 - 1",
     "my.recipe:10: found 'at', expected it alone and only in ids, stride and block of a block table"},
    {BLOCKS "starts = param 0\npositions = param 0\nblock = at param 1 u16",
     "my.recipe:10: found 'at', expected it alone and only in ids, stride and block of a block table"},
    {BLOCKS "starts = param 0\npositions = param 0\nblock = at param 2",
     "my.recipe:10: found a parameter that params does not have, or a smaller one, expected one of params, as wide as "
     "what is read of it"},
    {BLOCKS "starts = param 0\npositions = param 0\nblock = at 2", "my.recipe:10: found '2', expected at param N"},
    {BLOCKS "starts = param 0\npositions = param 0\nblock = 4\nrequire = at param 0 == 1",
     "my.recipe:11: found 'at' in a condition, expected what the launch itself tells"},
    {"[a]\nkernel = f\nkind = blocks\nparams = 8 8 4\nids = at param 1\ndtype = i32\nrows = param 2\nstarts = param "
     "0\npositions = param 0\nblock = 4\nskip = 8",
     "my.recipe:1: found start or skip in [a], expected none where the table's address is read by the GPU"},
    {ROUTER "block = 16", "my.recipe:8: found block in [a], expected it only in blocks"},
    {BLOCKS "starts = param 0\nblock = 16", "my.recipe:1: found no positions in [a], expected it in blocks"},
    {BLOCKS "starts = param 0\npositions = param 0\n", "my.recipe:1: found no block in [a], expected it in blocks"},
    {BLOCKS "starts = param 2\npositions = param 0\nblock = 4",
     "my.recipe:8: found a parameter that params does not have, or a smaller one, expected one of params, as wide as "
     "what is read of it"},
    {SLOTS "once = layers", "my.recipe:8: found 'layers', expected "},
    {SLOTS "once = layer\nonce = layer", "my.recipe:9: found this key a second time, expected it once in a recipe"},
    {SLOTS "once = param 0\nonce = param 0", "my.recipe:9: found this key a second time, expected it once in a recipe"},
    /* what is known when */
    {KERNEL "params = 8 8\nids = param 0\ndtype = i32\nrows = 1\nk = rows",
     "my.recipe:7: found k by k or rows, expected a parameter or the like"},
    {KERNEL "params = 8 8\nids = param 0\ndtype = i32\nrows = 1\nk = 8 / k",
     "my.recipe:7: found k by k or rows, expected a parameter or the like"},
    {KERNEL "params = 8 8\nids = param 0\ndtype = i32\nrows = k * rows\nk = 2",
     "my.recipe:6: found rows by rows, expected a parameter or the like"},
    /* params */
    {KERNEL "params = x", "my.recipe:3: found 'x', expected the parameters' sizes in bytes"},
    {KERNEL "params =", "my.recipe:3: found '', expected the parameters' sizes in bytes"},
    {KERNEL "params = 8 |", "my.recipe:3: found '', expected the parameters' sizes in bytes"},
    {KERNEL "params = ..", "my.recipe:3: found '', expected the parameters' sizes in bytes"},
    {KERNEL "params = 0", "my.recipe:3: found a parameter of 0 bytes, expected 1 to 4096, and at most 64 of them"},
    {KERNEL "params = 8 5000",
     "my.recipe:3: found a parameter of 5000 bytes, expected 1 to 4096, and at most 64 of them"},
    {KERNEL "params = 8 .. 8", "my.recipe:3: found '8', expected the end of the line"},
    {KERNEL "params = 8, 8", "my.recipe:3: found ', 8', expected the end of the line"},
    {KERNEL "params = 1|1|1|1|1|1|1|1|1", "my.recipe:3: found more than 8 layouts, expected fewer"},
    {KERNEL "params = 99999999999999999999999", "my.recipe:3: found '99999999999999999999999', expected the "
                                                "parameters' sizes in bytes"},
    /* terms */
    {KERNEL "ids = here", "my.recipe:3: found 'here', expected "},
    {KERNEL "ids =", "my.recipe:3: found '', expected "},
    {KERNEL "ids = param", "my.recipe:3: found '', expected a number behind 'param'"},
    {KERNEL "ids = param x", "my.recipe:3: found 'x', expected a number behind 'param'"},
    {KERNEL "ids = param 64", "my.recipe:3: found param 64, expected at most 63"},
    {KERNEL "ids = param 1 +", "my.recipe:3: found '', expected param N, template N, grid.x, k, rows or a number"},
    {KERNEL "ids = param 1 + 4096", "my.recipe:3: found + 4096, expected at most 4095"},
    {KERNEL "ids = param 1 2", "my.recipe:3: found '2', expected the end of the line"},
    {KERNEL "rows = template 24", "my.recipe:3: found template 24, expected at most 23"},
    {KERNEL "rows = grid.w", "my.recipe:3: found 'grid.w', expected "},
    {KERNEL "rows = param 1 /", "my.recipe:3: found '', expected "},
    {KERNEL "rows = -1", "my.recipe:3: found '-1', expected "},
    {KERNEL "rows = 12a", "my.recipe:3: found '12a', expected "},
    {KERNEL "dtype = f32", "my.recipe:3: found 'f32', expected i32, i64, u32, i16, u16, u8 or template N"},
    {KERNEL "dtype = template 1 x", "my.recipe:3: found 'x', expected the end of the line"},
    {KERNEL "dtype = template", "my.recipe:3: found '', expected a number behind 'template'"},
    /* ranges and conditions */
    {KERNEL "limit.k = 1", "my.recipe:3: found '1', expected a range as 1..32"},
    {KERNEL "limit.k = 0..4", "my.recipe:3: found a range outside of 1..32, expected it within"},
    {KERNEL "limit.k = 1..33", "my.recipe:3: found a range outside of 1..32, expected it within"},
    {KERNEL "limit.k = 5..4", "my.recipe:3: found a range outside of 1..32, expected it within"},
    {KERNEL "limit.k = 5..", "my.recipe:3: found a range outside of 1..32, expected it within"},
    {KERNEL "limit.experts = x", "my.recipe:3: found 'x', expected a range as 1..1024"},
    {KERNEL "limit.experts = 1..2000", "my.recipe:3: found a range outside of 1..1024, expected it within"},
    {KERNEL "limit.experts = 1..2 3", "my.recipe:3: found '3', expected the end of the line"},
    {KERNEL "require = param 1", "my.recipe:3: found '', expected == or >="},
    {KERNEL "require = param 1 = 2", "my.recipe:3: found '= 2', expected == or >="},
    {KERNEL "require = param 1 == 2 3", "my.recipe:3: found '3', expected the end of the line"},
    {KERNEL "require = 1 == 1\nrequire = 1 == 1\nrequire = 1 == 1\nrequire = 1 == 1\nrequire = 1 == 1",
     "my.recipe:7: found more than 4 conditions, expected fewer"},
    /* reading what params does not have */
    {KERNEL "params = 8 4\nids = 7\nrows = 1\nk = 1\ndtype = i32",
     "my.recipe:4: found something else, expected ids = param N or param N + OFFSET"},
    {KERNEL "params = 8 4\nids = param 0 / 2\nrows = 1\nk = 1\ndtype = i32",
     "my.recipe:4: found something else, expected ids = param N or param N + OFFSET"},
    {ROUTER "input = k", "my.recipe:8: found something else, expected input = param N or param N + OFFSET"},
    {ROUTER "experts = param 4", "my.recipe:8: found a parameter that params does not have, or a smaller one, expected "
                                 "one of params, as wide as what is read of it"},
    {ROUTER "column = 2 * param 9", "my.recipe:8: found a parameter that params does not have, or a smaller one, "
                                    "expected one of params, as wide as what is read of it"},
    {ROUTER "stride = k / param 9", "my.recipe:8: found a parameter that params does not have, or a smaller one, "
                                    "expected one of params, as wide as what is read of it"},
    {ROUTER "experts = param 2 u64", "my.recipe:8: found a parameter that params does not have, or a smaller one, "
                                     "expected one of params, as wide as what is read of it"},
    {KERNEL "params = 8 4\nids = param 1\nrows = 1\nk = 1\ndtype = i32",
     "my.recipe:4: found a parameter that params does not have, or a smaller one, expected one of params, as wide as "
     "what is read of it"},
    {KERNEL "params = 8 16\nids = param 1 + 12\nrows = 1\nk = 1\ndtype = i32",
     "my.recipe:4: found a parameter that params does not have, or a smaller one, expected one of params, as wide as "
     "what is read of it"},
    {KERNEL "params = 8 8 | 8\nids = param 1\nrows = 1\nk = 1\ndtype = i32",
     "my.recipe:4: found a parameter that params does not have, or a smaller one, expected one of params, as wide as "
     "what is read of it"},
    /* weights */
    {ROUTER "weights = param 0",
     "my.recipe:8: found no weights_dtype in [a], expected weights_dtype = f32 or the like"},
    {ROUTER "weights_dtype = f32",
     "my.recipe:8: found no weights in [a], expected weights = param N beside their dtype or stride"},
    {ROUTER "weights_stride = 8",
     "my.recipe:8: found no weights in [a], expected weights = param N beside their dtype or stride"},
    {ROUTER "weights = param 0\nweights_dtype = i32",
     "my.recipe:9: found 'i32', expected f32, f16, bf16 or template N"},
    {ROUTER "weights = param 0\nweights_dtype = f32\nweights_dtype = f16",
     "my.recipe:10: found weights_dtype a second time, expected it once in a recipe"},
    {ROUTER "weights = param 0\nweights = param 1",
     "my.recipe:9: found this key a second time, expected it once in a recipe"},
    {ROUTER "weights_dtype = f32\nweights = 8",
     "my.recipe:9: found something else, expected weights = param N or param N + OFFSET"},
    {ROUTER "weights_dtype = f32\nweights = param 2",
     "my.recipe:9: found a parameter that params does not have, or a smaller one, expected one of params, as wide as "
     "what is read of it"},
    {ROUTER "weights_dtype = f32\nweights = param 0\nweights_stride = param 4",
     "my.recipe:10: found a parameter that params does not have, or a smaller one, expected one of params, as wide as "
     "what is read of it"},
    {SLOTS "weights_dtype = f32\nweights = param 0",
     "my.recipe:9: found weights in [a], expected them only in routers"},
    {KERNEL "kind = final\nweights_dtype = f32", "my.recipe:4: found weights in [a], expected them only in routers"},
    /* maps */
    {MAP, "my.recipe:1: found no mapped in [a], expected mapped = ..."},
    {MAP "mapped = param 1\nrows = 3",
     "my.recipe:8: found rows in [a], expected it not in a map: its shape is the router's"},
    {MAP "mapped = param 1\nk = 3", "my.recipe:8: found k in [a], expected it not in a map: its shape is the router's"},
    {MAP "mapped = k", "my.recipe:7: found something else, expected mapped = param N or param N + OFFSET"},
    {MAP "mapped = param 2", "my.recipe:7: found a parameter that params does not have, or a smaller one, expected one "
                             "of params, as wide as what is read of it"},
    {MAP "mapped = param 1\nweights = param 0", "my.recipe:8: found weights in [a], expected them only in routers"},
    {KERNEL "kind = map\nparams = 8 8\nids = param 0\nmapped = param 1",
     "my.recipe:1: found no dtype in [a], expected dtype = i32 or the like"},
    {KERNEL "kind = map\nparams = 8 8\nids = any\nmapped = param 1\ndtype = i32",
     "my.recipe:1: found ids = any in [a], expected ids = param N in a map"},
    {ROUTER "mapped = param 0", "my.recipe:8: found mapped in [a], expected it only in maps"},
    {ROUTER "require = param 4 == 1",
     "my.recipe:8: found a condition on a parameter that params does not have, expected one of params"},
    {ROUTER "require = 1 == param 0 / param 4",
     "my.recipe:8: found a condition on a parameter that params does not have, expected one of params"},
};

Test(parse, mistakes)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        const char *expected = mistakes[i][1];
        size_t n = strlen(expected);
        if (strcmp(expected + n - 9, "expected ") != 0) {
            refused(mistakes[i][0], expected, (int) i);
            continue;
        }
        /* The list that follows grows with the format. */
        char why[1024] = "";
        cr_assert_null(mt_recipes_load("my.recipe", mistakes[i][0], why, sizeof why), "case %zu", i);
        cr_assert(strncmp(why, expected, n) == 0 && strlen(why) > n, "case %zu: '%s'", i, why);
    }
}

Test(parse, lines_that_are_too_long)
{
    static char text[4000];
    strcpy(text, "[a]\nnote = ");
    memset(text + strlen(text), 'x', 3000);
    refused(text, "my.recipe:2: found a line of 3007 characters, expected less than 1024", 0);
    /* also a comment; one that is just short enough is none */
    memset(text, '#', 1023);
    text[1023] = '\0';
    struct mt_recipes *recipes = recipes_of(text);
    mt_recipes_free(recipes);
}

Test(parse, messages_fit_their_buffer)
{
    for (size_t size = 0; size < 60; size++) {
        char why[64];
        memset(why, '!', sizeof why);
        cr_assert_null(mt_recipes_load("my.recipe", "[a]\nkernel = f\nnothing = 1\n", why, size));
        for (size_t i = size; i < sizeof why; i++)
            cr_assert_eq(why[i], '!', "size %zu wrote at %zu", size, i);
        cr_assert(!size || strlen(why) < size);
    }
}

static size_t builtin_count(void)
{
    struct mt_recipes *recipes = recipes_of(NULL);
    size_t n = mt_recipes_count(recipes);
    mt_recipes_free(recipes);
    return n;
}

Test(parse, nothing_is_no_mistake)
{
    static const char *const texts[] = {"", "\n", "\n\n\n", "# a comment", "   \t \n#\n", "\r\n\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct mt_recipes *recipes = recipes_of(texts[i]);
        cr_assert_eq(mt_recipes_count(recipes), builtin_count());
        mt_recipes_free(recipes);
    }
}

Test(parse, blanks_comments_and_line_ends)
{
    struct mt_recipes *recipes = recipes_of("  [ab.c-d_1]  # name\r\n"
                                            "\tkernel\t=\tf*  g?  # two\r\n"
                                            "# kernel = x\n"
                                            "params=8 0x8 4 4 ..|8 8 8 8\n"
                                            "ids=param 1+0\n"
                                            "dtype = i64\n"
                                            "rows = param 2/2\n"
                                            "k=param 3\n"
                                            "note = take  care"); /* no newline */
    const struct mt_recipe *recipe = mt_recipes_get(recipes, 0);
    cr_assert_str_eq(mt_recipe_name(recipe), "ab.c-d_1");
    cr_assert_str_eq(mt_recipe_note(recipe), "take  care");
    cr_assert_eq(mt_recipe_kind(recipe), MT_RECIPE_ROUTER);
    mt_recipes_free(recipes);
}

/* A user's recipe may name a built-in one. */
Test(parse, a_built_in_final)
{
    struct mt_recipes *recipes = recipes_of(ROUTER "final = torch.sort\n");
    cr_assert(mt_recipe_has_final(mt_recipes_get(recipes, 0)));
    mt_recipes_free(recipes);
}

Test(parse, kinds)
{
    struct mt_recipes *recipes = recipes_of(ROUTER "kind = router\nfinal = s\n"
                                                   "[s]\nkind = final\nkernel = sort\n"
                                                   "[t]\nkind = final\nkernel = tort\n"
                                                   "[n]\nkind = no-ids\nkernel = fused\nnote = use another option\n");
    const struct mt_recipe *router = mt_recipes_get(recipes, 0), *final = mt_recipes_get(recipes, 1);
    cr_assert(mt_recipe_has_final(router));
    cr_assert(mt_recipe_is_final_of(final, router));
    cr_assert(!mt_recipe_is_final_of(mt_recipes_get(recipes, 2), router));
    cr_assert(!mt_recipe_is_final_of(router, router));
    cr_assert(!mt_recipe_has_final(final));
    cr_assert_eq(mt_recipe_kind(mt_recipes_get(recipes, 3)), MT_RECIPE_NO_IDS);
    cr_assert_str_eq(mt_recipe_note(mt_recipes_get(recipes, 3)), "use another option");
    cr_assert_str_eq(mt_recipe_note(router), "");
    mt_recipes_free(recipes);
}

/* More recipes than the first room, and each can be found again. */
Test(parse, many)
{
    static char text[300000];
    size_t n = 0;
    for (int i = 0; i < 1000; i++)
        n += (size_t) sprintf(text + n, "[r%d]\nkind = final\nkernel = k%d\n", i, i);
    struct mt_recipes *recipes = recipes_of(text);
    cr_assert_eq(mt_recipes_count(recipes), 1000 + builtin_count());
    for (int i = 0; i < 1000; i++) {
        char name[16];
        sprintf(name, "r%d", i);
        cr_assert_str_eq(mt_recipe_name(mt_recipes_get(recipes, (size_t) i)), name);
    }
    mt_recipes_free(recipes);
    mt_recipes_free(NULL);
}

static uint64_t seed = 0x9e3779b97f4a7c15;
static uint32_t dice(uint32_t sides)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t) (seed >> 32) % sides;
}

static void survive(const char *text)
{
    char why[256] = "";
    struct mt_recipes *recipes = mt_recipes_load("fuzz", text, why, sizeof why);
    cr_assert(!recipes == !!why[0], "%s", why);
    mt_recipes_free(recipes);
}

Test(parse, random_bytes)
{
    char text[512];
    for (int i = 0; i < 20000; i++) {
        size_t n = dice(sizeof text);
        for (size_t at = 0; at < n; at++)
            text[at] = (char) dice(256);
        text[n] = '\0';
        survive(text);
    }
}

/* Words of the format in any order come further than bytes do. */
Test(parse, random_words)
{
    static const char *const words[] = {"[a]",      "[b]",
                                        "[",        "]",
                                        "\n",       "\n",
                                        "\n",       "=",
                                        "=",        "=",
                                        "==",       "|",
                                        "..",       "/",
                                        "*",        "+",
                                        "#",        " ",
                                        " ",        " ",
                                        "kernel",   "params",
                                        "ids",      "rows",
                                        "k",        "experts",
                                        "stride",   "input",
                                        "column",   "start",
                                        "require",  "kind",
                                        "dtype",    "within",
                                        "suffix",   "final",
                                        "note",     "kind",
                                        "limit.k",  "limit.experts",
                                        "id_space", "param",
                                        "template", "grid.x",
                                        "0",        "1",
                                        "8",        "63",
                                        "64",       "4096",
                                        "i32",      "u64",
                                        "weights",  "weights_dtype",
                                        "f32",      "bf16",
                                        "map",      "mapped",
                                        "router",   "no-ids",
                                        "consumer", "any",
                                        "f",        "99999999999999999999"};
    char text[1024];
    for (int i = 0; i < 20000; i++) {
        text[0] = '\0';
        for (size_t n = dice(60); n; n--)
            strcat(text, words[dice(sizeof words / sizeof *words)]);
        survive(text);
    }
}

/* A good recipe with some bytes changed: whatever is taken must also be read without harm. */
Test(parse, mutations)
{
    static const char good[] = "[a]\nkernel = f*\nparams = 8 216 4 4 | 8 216 4 4 8 ..\nids = param 1 + 16\n"
                               "dtype = template 1\nrows = param 2 / k\nk = param 3\nexperts = template 0\n"
                               "stride = param 1 + 8 u64\nrequire = grid.x == param 2\nlimit.k = 1..16\n"
                               "weights = param 1 + 24\nweights_dtype = template 0\nweights_stride = k * 4\n";
    struct rig rig;
    rig_make(&rig, "_Z3fooILi8EiEvPv", "8 216 4 4");
    int taken = 0;
    for (int i = 0; i < 20000; i++) {
        char text[sizeof good], why[256] = "";
        memcpy(text, good, sizeof good);
        for (uint32_t n = 1 + dice(4); n; n--)
            text[dice(sizeof good - 1)] = "0123456789 /+=|.\nkux[]#"[dice(23)];
        struct mt_recipes *recipes = mt_recipes_load("fuzz", text, why, sizeof why);
        if (!recipes)
            continue;
        taken++;
        for (size_t at = 0; at < sizeof rig.bytes; at++)
            rig.bytes[at] = (char) dice(256);
        const struct mt_recipe *recipe = mt_recipes_match(recipes, &rig.kernel, why, sizeof why);
        struct mt_routing routing;
        const char *reason;
        if (recipe)
            mt_recipe_read(recipe, &rig.kernel, &rig.launch, &routing, &reason);
        mt_recipes_free(recipes);
    }
    cr_assert_gt(taken, 100);
}
