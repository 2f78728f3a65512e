/* SPDX-License-Identifier: Apache-2.0 */
/* Which recipe takes which kernel: the name alone is never enough. */
#include "rig.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(match, .timeout = 60);

static const char user[] = "[plain]\nkernel = my_topk other?name star*s\nparams = 8 8 4 4 | 8 8 4 4 1 ..\n"
                           "ids = param 1\ndtype = i32\nrows = param 2\nk = param 3\n"
                           "[scoped]\nkernel = scoped\nwithin = one::two::\nparams = 8 8\n"
                           "ids = param 1\ndtype = template 1\nrows = template 0\nk = 2\n"
                           "[ended]\nkernel = ended\nsuffix = PiS_i\nparams = 8 8 4\n"
                           "ids = param 1\ndtype = i32\nrows = param 2\nk = 2\n"
                           "[ended.other]\nkernel = ended\nsuffix = PlS_i\nparams = 8 8 4\n"
                           "ids = param 1\ndtype = i64\nrows = param 2\nk = 2\n"
                           "[sort]\nkind = final\nkernel = sorter\nwithin = lib::\n";

static struct mt_recipes *recipes;

static void expect(const char *mangled, const char *sizes, const char *recipe, const char *why)
{
    struct mt_kernel_info kernel;
    char reason[256] = "left over";
    kernel_make(&kernel, mangled, sizes);
    const struct mt_recipe *found = mt_recipes_match(recipes, &kernel, reason, sizeof reason);
    cr_assert_str_eq(found ? mt_recipe_name(found) : "none", recipe, "%s %s: %s", mangled, sizes, reason);
    cr_assert_str_eq(reason, why, "%s %s: '%s'", mangled, sizes, reason);
}

#define ANOTHER(sizes) ", but its parameters are " sizes " bytes: another release? see `--recipe`"

Test(match, sizes)
{
    recipes = recipes_of(user);
    expect("my_topk", "8 8 4 4", "plain", "");
    expect("my_topk", "8 8 4 4 1", "plain", "");
    expect("my_topk", "8 8 4 4 1 8 8 8", "plain", "");
    expect("my_topk", "8 8 4 4 8", "none", "looks like [plain]" ANOTHER("8 8 4 4 8"));
    expect("my_topk", "8 8 4", "none", "looks like [plain]" ANOTHER("8 8 4"));
    expect("my_topk", "8 8 8 4", "none", "looks like [plain]" ANOTHER("8 8 8 4"));
    expect("my_topk", "", "none", "looks like [plain], but its parameters are bytes: another release? see `--recipe`");
    mt_recipes_free(recipes);
}

Test(match, names)
{
    recipes = recipes_of(user);
    expect("my_topk2", "8 8 4 4", "none", "");
    expect("_my_topk", "8 8 4 4", "none", "");
    expect("other_name", "8 8 4 4", "plain", "");
    expect("othername", "8 8 4 4", "none", "");
    expect("stars", "8 8 4 4", "plain", "");
    expect("star_is_born_s", "8 8 4 4", "plain", "");
    expect("star_is_born", "8 8 4 4", "none", "");
    /* the base name of a mangled one */
    expect("_ZN3any7my_topkIiEEvv", "8 8 4 4", "plain", "");
    expect("", "8 8 4 4", "none", "");
    mt_recipes_free(recipes);
}

Test(match, within_and_templates)
{
    recipes = recipes_of(user);
    expect("_ZN3one3two6scopedILi4EiEEvv", "8 8", "scoped", "");
    expect("_ZN3one3two5three6scopedILi4EiEEvv", "8 8", "scoped", "");
    expect("_ZN3two3one6scopedILi4EiEEvv", "8 8", "none", "");
    expect("_ZN3one3two6scopedILi4EfEEvv", "8 8", "none", "looks like [scoped]" ANOTHER("8 8"));
    expect("_ZN3one3two6scopedILi4EEEvv", "8 8", "none", "looks like [scoped]" ANOTHER("8 8"));
    expect("_ZN3one3two6scopedEv", "8 8", "none", "looks like [scoped]" ANOTHER("8 8"));
    expect("_ZN3lib6sorterEv", "8 1 2 3", "sort", "");
    expect("sorter", "8", "none", "");
    mt_recipes_free(recipes);
}

/* Only what fits as well, is of the same kind and stands behind. */
Test(match, next)
{
    static const char text[] = "[a]\nkernel = one\nparams = 8 8 4\nids = param 1\ndtype = i32\nrows = param 2\nk = 2\n"
                               "require = param 2 >= 2\n"
                               "[b]\nkernel = two\nparams = 8 8 4\nids = param 0\ndtype = i32\nrows = 1\nk = 2\n"
                               "[c]\nkernel = one\nparams = 8 8 4 4\nids = param 0\ndtype = i32\nrows = 1\nk = 2\n"
                               "[d]\nkind = consumer\nkernel = one\nids = any\n"
                               "[e]\nkernel = on*\nparams = 8 8 ..\nids = param 0\ndtype = i32\nrows = 1\nk = 2\n"
                               "[f]\nkernel = one\nsuffix = Pi\nparams = 8 8 4\nids = param 0\ndtype = i32\nrows = 1\n"
                               "k = 2\n";
    struct mt_kernel_info kernel;
    char why[256];
    recipes = recipes_of(text);
    kernel_make(&kernel, "one", "8 8 4");
    const struct mt_recipe *recipe = mt_recipes_match(recipes, &kernel, why, sizeof why);
    cr_assert_str_eq(mt_recipe_name(recipe), "a");
    recipe = mt_recipes_next(recipes, &kernel, recipe);
    cr_assert(recipe);
    cr_assert_str_eq(mt_recipe_name(recipe), "e");
    cr_assert_null(mt_recipes_next(recipes, &kernel, recipe));
    const struct mt_recipe *last = mt_recipes_get(recipes, mt_recipes_count(recipes) - 1);
    cr_assert_null(mt_recipes_next(recipes, &kernel, last));
    mt_recipes_free(recipes);
}

Test(match, suffix)
{
    recipes = recipes_of(user);
    expect("_Z5endedIiEvPiS_i", "8 8 4", "ended", "");
    expect("_Z5endedIiEvPlS_i", "8 8 4", "ended.other", "");
    expect("_Z5endedIiEvPsS_i", "8 8 4", "none", "looks like [ended.other]" ANOTHER("8 8 4"));
    expect("S_i", "8 8 4", "none", "");
    mt_recipes_free(recipes);
}

/* The user's recipes go first, and a built-in one of the same name is no mistake. */
Test(match, the_users_first)
{
    recipes = recipes_of("[vllm.topkGating]\nkernel = topkGating\nparams = 8 8 8 4 8 8 4 4 4 1 8 8 ..\n"
                         "ids = param 4\ndtype = i32\nrows = param 3\nk = param 6\n");
    struct mt_kernel_info kernel;
    char why[256];
    kernel_make(
        &kernel,
        "_ZN4vllm3moe10topkGatingILi4ELi128ELi4ELi8ELi32Ei13__nv_bfloat16LNS0_11ScoringFuncE0EEEvPKT5_PKbPfiPT4_"
        "PiiiibPKfd",
        "8 8 8 4 8 8 4 4 4 1 8 8");
    cr_assert_eq(mt_recipes_match(recipes, &kernel, why, sizeof why), mt_recipes_get(recipes, 0));
    mt_recipes_free(recipes);
}

Test(match, reasons_fit_their_buffer)
{
    recipes = recipes_of(user);
    struct mt_kernel_info kernel;
    kernel_make(&kernel, "my_topk", "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1");
    for (size_t size = 0; size < 120; size++) {
        char why[128];
        memset(why, '!', sizeof why);
        cr_assert_null(mt_recipes_match(recipes, &kernel, why, size));
        for (size_t i = size; i < sizeof why; i++)
            cr_assert_eq(why[i], '!');
        cr_assert(!size || strlen(why) < size);
    }
    mt_recipes_free(recipes);
}

/* A pattern that makes a backtracking matcher exponential. */
Test(match, stars_cost_little)
{
    recipes = recipes_of("[a]\nkind = final\nkernel = *a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b\n");
    expect("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "8",
           "none", "");
    mt_recipes_free(recipes);
}
