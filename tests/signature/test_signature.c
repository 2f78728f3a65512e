/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every built-in recipe end to end: kernels of our own with the engines' names and parameters, launched under `moetap
 * record` in many shapes, eagerly and in graphs. What a trace holds must be what the program found in its memory.
 */
#include "../../shim/recipe/impl.h"
#include "../shim/command.h"
#include "signature.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <jansson.h>

TestSuite(signature, .fini = scratch_remove, .timeout = 120);

#define LINES_MAX 512

struct lines {
    size_t count;
    char *line[LINES_MAX];
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

static void add(struct lines *lines, char *line)
{
    cr_assert_lt(lines->count, (size_t) LINES_MAX);
    lines->line[lines->count++] = line;
}

static FILE *open_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", scratch(), name);
    FILE *file = fopen(path, "r");
    cr_assert(file, "%s", path);
    return file;
}

static void read_truth(struct lines *lines)
{
    FILE *file = open_file("truth");
    char *line = NULL;
    size_t room = 0;
    for (ssize_t n; (n = getline(&line, &room, file)) > 0; line = NULL) {
        line[n - 1] = '\0';
        add(lines, line);
    }
    fclose(file);
}

static void rows_of(FILE *to, const json_t *rows)
{
    size_t r, s;
    json_t *row, *value;
    json_array_foreach(rows, r, row)
    {
        json_array_foreach(row, s, value)
        {
            if (json_is_integer(value)) /* most are, and %g takes its time */
                fprintf(to, " %ld", (long) json_integer_value(value));
            else
                fprintf(to, " %g", json_real_value(value));
        }
    }
}

static long field(const json_t *record, const char *name)
{
    const json_t *value = json_object_get(record, name);
    return value ? (long) json_integer_value(value) : 0;
}

/* A record as the engine writes it: of routers all, of row context what the signature is about. */
static void read_record(struct lines *lines, const json_t *record, const char *what, const char *shows)
{
    const json_t *kind = json_object_get(record, "kind");
    char *text = NULL;
    size_t size;
    if (kind && (!shows || strcmp(json_string_value(kind), shows) != 0))
        return;
    FILE *to = open_memstream(&text, &size);
    if (kind) {
        size_t i;
        json_t *value;
        fprintf(to, "%s:", shows);
        json_array_foreach(json_object_get(record, "values"), i, value)
        {
            fprintf(to, " %ld", (long) json_integer_value(value));
        }
    } else {
        cr_assert(json_is_integer(json_object_get(record, "layer")), "a layer is unknown");
        fprintf(to, "%s experts %ld k %ld layer %ld rows %ld:", what, field(record, "experts"), field(record, "k"),
                field(record, "layer"), field(record, "rows"));
        rows_of(to, json_object_get(record, "ids"));
        if (json_object_get(record, "weights")) {
            fprintf(to, " weights");
            rows_of(to, json_object_get(record, "weights"));
        }
    }
    fclose(to);
    add(lines, text);
}

static void read_dump(struct lines *lines, const char *name, const char *what, const char *shows)
{
    FILE *file = open_file(name);
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) > 0) {
        json_t *record = json_loads(line, 0, NULL);
        cr_assert(record, "%s", line);
        read_record(lines, record, what, shows);
        json_decref(record);
    }
    free(line);
    fclose(file);
}

static void compare(const struct signature *s, struct lines *truth, struct lines *trace)
{
    qsort(truth->line, truth->count, sizeof *truth->line, by_text);
    qsort(trace->line, trace->count, sizeof *trace->line, by_text);
    for (size_t i = 0; i < truth->count && i < trace->count; i++)
        cr_assert_str_eq(trace->line[i], truth->line[i], "%s, %s", s->recipe, s->mangled);
    cr_assert_eq(trace->count, truth->count, "%s, %s: %zu records of %zu", s->recipe, s->mangled, trace->count,
                 truth->count);
    for (size_t i = 0; i < truth->count; i++) {
        free(truth->line[i]);
        free(trace->line[i]);
    }
}

static void run(unsigned n, const char *source)
{
    const struct signature *s = &signatures[n];
    static struct outcome o;
    static struct lines truth, trace;
    char words[128];
    const bool silent = s->role == NO_IDS;
    truth.count = trace.count = 0;
    command(&o, "cd %s && rm -f t truth && %s record %s --weights -o t -- %s %u truth", scratch(), MOETAP, source,
            ENGINE, n);
    cr_assert_eq(o.status, 0, "%s, %s: %s", s->recipe, s->mangled, o.text);
    cr_assert(strstr(o.text, "lost 0 ") || silent, "%s, %s: %s", s->recipe, s->mangled, o.text);
    unsigned launches = (unsigned) atoi(strstr(o.text, "launches ") + 9);
    snprintf(words, sizeof words, "not captured %u ", s->role == NO_IDS ? launches : 0);
    cr_assert(strstr(o.text, words), "%s, %s: no \"%s\" in %s", s->recipe, s->mangled, words, o.text);
    if (silent)
        return;
    command(&o, "cd %s && %s info t && %s dump --context %s --format=jsonl t > dump", scratch(), MOETAP, MOETAP,
            s->role == MAP ? "--ids=logical" : "");
    cr_assert_eq(o.status, 0, "%s", o.text);
    snprintf(words, sizeof words, " %s\n", s->recipe);
    cr_assert(strstr(o.text, words) || s->role == FINAL || s->role == READER, "%s did not take %s: %s", s->recipe,
              s->mangled, o.text);
    read_truth(&truth);
    read_dump(&trace, "dump", "router", s->shows);
    if (s->role == MAP) {
        command(&o, "cd %s && %s dump --ids=physical --format=jsonl t > mapped", scratch(), MOETAP);
        cr_assert_eq(o.status, 0, "%s", o.text);
        read_dump(&trace, "mapped", "map", NULL);
    }
    compare(s, &truth, &trace);
}

static struct criterion_test_params each(void)
{
    static unsigned numbers[256];
    size_t count = 0;
    for (; signatures[count].mangled; count++)
        numbers[count] = (unsigned) count;
    return cr_make_param_array(unsigned, numbers, count);
}

ParameterizedTestParameters(signature, all)
{
    return each();
}

ParameterizedTest(unsigned *n, signature, all)
{
    run(*n, *n % 2 ? "--source=preload" : "--source=cupti");
}

/*
 * Launches that make no sense, as of releases whose parameters mean something else: nothing ends the engine, each
 * kernel is named once for each reason, and the trace can be read.
 */
#define WILD 8

static void run_wild(unsigned first)
{
    static struct outcome o;
    command(&o, "cd %s && %s record %s --weights -o t -- %s %u truth %d", scratch(), MOETAP,
            first / WILD % 2 ? "--source=cupti" : "--source=preload", ENGINE, first, WILD);
    cr_assert_eq(o.status, 0, "from %s on: %s", signatures[first].recipe, o.text);
    cr_assert_leq(occurrences(o.text, "does not lie in memory"), (unsigned) WILD, "%s", o.text);
    command(&o, "cd %s && %s dump --context t >dump && %s info t", scratch(), MOETAP, MOETAP);
    cr_assert_eq(o.status, 0, "from %s on: %s", signatures[first].recipe, o.text);
}

Test(signature, wild, .timeout = 240)
{
    for (unsigned i = 0; signatures[i].mangled; i++) {
        if (i % WILD == 0)
            run_wild(i);
    }
}

static bool same_sizes(const struct mt_recipe *recipe, unsigned alternative, const struct layout *layout)
{
    const uint32_t count = recipe->layouts[alternative].count;
    bool same = layout->params == count || (layout->params > count && recipe->layouts[alternative].open);
    for (uint32_t i = 0; same && i < count; i++)
        same = layout->param[i].size == recipe->layouts[alternative].size[i];
    return same;
}

/* A recipe without a kernel, or one of its parameter lists, is one that nobody notices to be wrong. */
Test(signature, none_is_missing)
{
    char why[256];
    struct mt_recipes *recipes = mt_recipes_load("", NULL, why, sizeof why);
    cr_assert(recipes, "%s", why);
    for (size_t r = 0; r < mt_recipes_count(recipes); r++) {
        const struct mt_recipe *recipe = mt_recipes_get(recipes, r);
        bool found = false, run_with[MT_RECIPE_LAYOUTS] = {false};
        for (unsigned n = 0; signatures[n].mangled; n++) {
            struct layout layout;
            if (!signatures[n].recipe || strcmp(signatures[n].recipe, mt_recipe_name(recipe)) != 0)
                continue;
            found = true;
            layout_of(&layout, &signatures[n]);
            for (unsigned i = 0; i < recipe->layout_count; i++)
                run_with[i] |= same_sizes(recipe, i, &layout);
        }
        cr_expect(found, "[%s] was run with no kernel: add one to signatures.c", mt_recipe_name(recipe));
        for (unsigned i = 0; found && i < recipe->layout_count; i++)
            cr_expect(run_with[i], "[%s] was not run with its parameter list number %u", mt_recipe_name(recipe), i + 1);
    }
    mt_recipes_free(recipes);
}
