/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose layer is it? models-engine runs several models, batch sizes, graphs and streams in one process under `moetap
 * record`; each layer of each model must have one number of its own, and all its records under it, in order.
 */
#include "command.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdbool.h>

TestSuite(models, .fini = scratch_remove, .timeout = 120);

/* The runs of one layer of one model on one stream: by the engine's account, or under one number in the dump. */
#define LISTS_MAX 256
struct lists {
    unsigned count;
    struct list {
        long segment, stream, experts, k, layer; /* of the account: segment is the model, and experts 0 */
        long model;                              /* of the dump */
        long runs;
        char *text;
        const struct list *same;
    } all[LISTS_MAX];
};
static struct lists account, dump;

static struct list *list_of(struct lists *lists, struct list key)
{
    for (unsigned i = 0; i < lists->count; i++) {
        struct list *list = &lists->all[i];
        if (list->segment == key.segment && list->stream == key.stream && list->experts == key.experts &&
            list->k == key.k && list->layer == key.layer)
            return list;
    }
    cr_assert_lt(lists->count, LISTS_MAX);
    lists->all[lists->count] = key;
    lists->all[lists->count].text = calloc(1, 1);
    return &lists->all[lists->count++];
}

static void append(struct list *list, const char *text)
{
    list->text = realloc(list->text, strlen(list->text) + strlen(text) + 1);
    cr_assert(list->text);
    strcat(list->text, text);
}

static void read_account(void)
{
    char path[128], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/truth", scratch());
    FILE *file = fopen(path, "r");
    cr_assert(file);
    account.count = 0;
    while (getline(&line, &room, file) > 0) {
        struct list key = {0};
        int n = 0;
        cr_assert_eq(sscanf(line, "%ld %ld %ld %*d %ld%n", &key.segment, &key.layer, &key.stream, &key.k, &n), 4);
        struct list *list = list_of(&account, key);
        char *rows = line;
        for (int i = 0; i < 3; i++)
            rows = strchr(rows, ' ') + 1;
        list->runs++;
        append(list, rows); /* rows, k, ids and the line's end */
    }
    free(line);
    fclose(file);
}

static long field(const json_t *record, const char *name)
{
    const json_t *value = json_object_get(record, name);
    return json_is_integer(value) ? (long) json_integer_value(value) : -1;
}

static void read_dump(char *text)
{
    dump.count = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *record = json_loads(line, 0, NULL);
        cr_assert(record, "%s", line);
        struct list *list =
            list_of(&dump, (struct list){field(record, "segment"), field(record, "stream"), field(record, "experts"),
                                         field(record, "k"), field(record, "layer")});
        /* One of each step, in order. */
        cr_assert_eq(field(record, "step"), list->runs, "layer %ld: step %ld behind %ld runs", list->layer,
                     field(record, "step"), list->runs);
        list->runs++;
        list->model = json_object_get(record, "model") ? field(record, "model") : 0;
        char word[64];
        snprintf(word, sizeof word, "%ld %ld", field(record, "rows"), field(record, "k"));
        append(list, word);
        size_t row, slot;
        json_t *ids, *id;
        json_array_foreach(json_object_get(record, "ids"), row, ids)
        {
            json_array_foreach(ids, slot, id)
            {
                snprintf(word, sizeof word, " %d", (int) json_integer_value(id));
                append(list, word);
            }
        }
        append(list, "\n");
        json_decref(record);
    }
}

/* Finds the layer that a number stands for. The same number on another stream must stand for the same one. */
static void match(void)
{
    cr_assert_eq(dump.count, account.count, "%u numbers for %u layers", dump.count, account.count);
    for (unsigned i = 0; i < dump.count; i++) {
        struct list *list = &dump.all[i];
        cr_assert_geq(list->layer, 0, "unknown: %ld runs", list->runs);
        for (unsigned j = 0; j < account.count && !list->same; j++) {
            if (strcmp(account.all[j].text, list->text) == 0)
                list->same = &account.all[j];
        }
        cr_assert(list->same, "stream %ld, layer %ld of %ld experts: no layer's %ld runs", list->stream, list->layer,
                  list->experts, list->runs);
        for (unsigned j = 0; j < i; j++) {
            const struct list *other = &dump.all[j];
            bool one = other->segment == list->segment && other->experts == list->experts && other->k == list->k &&
                       other->layer == list->layer;
            cr_assert_eq(one, other->same->segment == list->same->segment && other->same->layer == list->same->layer);
        }
    }
}

/* `dump` and what each of its lists is the same as. */
static void run(const char *environment, const char *passes)
{
    static struct outcome o;
    command(&o, "cd %s && rm -f t truth; %s %s record -q --source=preload -o t -- %s truth %s", scratch(), environment,
            MOETAP, MODELS_ENGINE, passes);
    cr_assert_eq(o.status, 0, "%s: %s", passes, o.text);
    cr_assert(strstr(o.text, "lost 0 ") && strstr(o.text, "not captured 0"), "%s", o.text);
    command(&o, "cd %s && %s dump --format=jsonl t >d; wc -c <d", scratch(), MOETAP);
    char path[128];
    snprintf(path, sizeof path, "%s/d", scratch());
    size_t size = (size_t) atol(o.text);
    char *text = calloc(1, size + 1);
    FILE *file = fopen(path, "r");
    cr_assert(text && file && fread(text, 1, size, file) == size);
    fclose(file);
    read_account();
    read_dump(text);
    free(text);
    match();
    for (unsigned i = 0; i < account.count; i++)
        free(account.all[i].text);
    for (unsigned i = 0; i < dump.count; i++)
        free(dump.all[i].text);
}

/* Do the model's layers have the numbers from `first` on, in order? */
static void numbers(long model, long first)
{
    for (unsigned i = 0; i < dump.count; i++) {
        if (dump.all[i].same->segment == model)
            cr_assert_eq(dump.all[i].layer, first + dump.all[i].same->layer, "model %ld, layer %ld: %ld", model,
                         dump.all[i].same->layer, dump.all[i].layer);
    }
}

/* What the shim says of whose layers they are. */
static void told(long model, long number)
{
    for (unsigned i = 0; i < dump.count; i++) {
        if (dump.all[i].same->segment == model)
            cr_assert_eq(dump.all[i].model, number, "model %ld, layer %ld: %ld", model, dump.all[i].same->layer,
                         dump.all[i].model);
    }
}

static const char *const orders[] = {"SOFTCUDA_ORDER=late", "SOFTCUDA_ORDER=parallel"};

/* Of another number of experts, or of chosen ones: each has numbers of its own. */
Test(models, two_models)
{
    run(orders[0], "A=6,64,6 B=3,32,4 B:4 B:4 A:8 B:4 A:8 B:2 A:1 B:4 A:8");
    numbers(0, 0);
    numbers(1, 0);
    run(orders[0], "A=6,64,6 B=3,64,4 A:8 B:4 A:8g B:4g A:8g B:4g B:4g A:2g B:4");
    numbers(0, 0);
    numbers(1, 0);
}

/* Of the same E and k numbers go on, and none stands for two. Graphs of whole steps tell whose they are. */
Test(models, a_draft_of_the_same_shape)
{
    for (int i = 0; i < 2; i++) {
        run(orders[i], "A=7,64,6 B=2,64,6 A:8 B:2 B:2 B:2 A:8 B:2 B:2 A:8g B:2g B:2g B:2g A:8g B:2g A:8g B:2g B:2g");
        numbers(0, 0);
        numbers(1, 7);
        run(orders[i], "A=7,64,6 B=1,64,6 B:2 B:2 B:2 B:2 A:8 B:2 B:2 A:8p B:2g A:8p B:2g A:8p B:2p B:2p A:8 B:1");
        numbers(0, 1);
        numbers(1, 0);
        run(orders[i], "A=7,64,6 B=2,64,6 A:8 B:8@1 B:8@1 A:8 B:8@1 A:8g B:8g@1 A:8g+B:8g@1 A:8+B:8@1 A:8+B:8@1");
        numbers(0, 0);
        numbers(1, 7);
    }
}

Test(models, a_draft_with_graphs_of_its_own)
{
    for (int i = 0; i < 2; i++) {
        /* Target and draft are captured for each batch size; the last router ends what was captured before. */
        run(orders[i], "A=7,64,6 B=1,64,6 A:8 B:8 A:8g B:8g A:4g B:4g A:2g B:2g A:8 B:8 A:4g B:4g A:8 B:8");
        numbers(0, 0);
        told(0, 0);
        told(1, 1);
        run(orders[i], "A=7,64,6 B=2,64,6 A:8 B:8 A:8g B:8p A:4g B:4p A:8 B:8 A:4g B:4p A:8 B:8");
        told(0, 0);
        told(1, 1);
        /* A graph for each layer, some of them twice; one model with a graph for each half. */
        run(orders[i], "A=7,64,6 B=1,64,6 A:8 B:8 A:8p B:8p A:4p B:4p A:2p B:2p A:8 B:8");
        told(0, 0);
        told(1, 0);
        run(orders[i], "A=4,64,6 B=4,64,6 A:8 B:8 A:8g B:8g A:4g B:4g A:2g B:2g A:8 B:8");
        told(0, 0);
        told(1, 0);
    }
}

/* As engines capture: the largest size first, and decode in any of them between prefills. */
Test(models, many_batch_sizes)
{
    for (int i = 0; i < 2; i++) {
        run(orders[i], "A=9,64,6 A:32 A:16g A:8g A:4g A:2g A:1g A:20 A:1g A:4g A:2g A:16g A:33 A:8g A:1g A:1g A:7");
        numbers(0, 0);
        run(orders[i], "A=9,64,6 A:16g A:8g A:4g A:8g A:16g A:4g A:5 A:6 A:16");
        numbers(0, 0);
    }
}

Test(models, captured_anew)
{
    for (int i = 0; i < 2; i++) {
        run(orders[i], "A=5,64,6 A:8g A:8g A:8r A:4r A:8g A:8r A:4r A:4g A:8 A:8r A:8g");
        numbers(0, 0);
    }
}

/* Graphs of a layer each, of several sizes, and of two models by turns. */
Test(models, pieces)
{
    for (int i = 0; i < 2; i++) {
        run(orders[i], "A=6,64,6 A:8p A:4p A:2p A:8p A:2p A:4p A:8 A:4p A:3");
        numbers(0, 0);
        run(orders[i], "A=6,64,6 B=3,64,6 A:8p B:8p A:4p B:4p A:8p B:4p A:4p B:8p A:8 B:8 A:8p");
        numbers(0, 0);
        numbers(1, 6);
    }
}

Test(models, streams)
{
    for (int i = 0; i < 2; i++) {
        run(orders[i], "A=6,64,6 A:8 A:8+A:4@1 A:8+A:4@1 A:4@2 A:4g@1 A:8g@2 A:8+A:8@2 A:4g@1 A:8g@2 A:8");
        numbers(0, 0);
    }
}

/* Two halves of a model, each on a device: a segment each, and one numbering. */
Test(models, pipeline_stages)
{
    run("SOFTCUDA_DEVICES=2", "A=4,64,6,0 B=3,64,6,1 A:8 B:8 A:4 B:4 A:8g B:8g A:8g B:8g A:3 B:3");
    numbers(0, 0);
    numbers(1, 4);
}
