/* SPDX-License-Identifier: Apache-2.0 */
#include "model_config.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS_MAX = 65536, EXPERTS_MAX = 1 << 20 };

struct parse {
    const char *path;
    json_t *model; /* the object that describes the language model */
    struct model_config *config;
    bool *moe; /* of each layer of the model */
    struct mt_error *error;
};

__attribute__((format(printf, 2, 3))) static int wrong(const struct parse *parse, const char *format, ...)
{
    if (!parse->error)
        return -EINVAL;
    char what[160];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(parse->error->text, sizeof parse->error->text, "%.90s: %s", parse->path, what);
    return -EINVAL;
}

/* A key that is null says nothing. */
static const json_t *get(const struct parse *parse, const char *key)
{
    const json_t *value = json_object_get(parse->model, key);
    return value && !json_is_null(value) ? value : NULL;
}

/* 1: found. Some models repeat the number for each layer. */
static int number(const struct parse *parse, const char *key, long long least, long long most, long long *value)
{
    const json_t *found = get(parse, key);
    if (!found)
        return 0;
    const json_t *one = json_is_array(found) ? json_array_get(found, 0) : found;
    for (size_t i = 1; i < json_array_size(found); i++) {
        if (!json_equal(json_array_get(found, i), one))
            return wrong(parse, "'%s' is not the same for all layers", key);
    }
    if (!json_is_integer(one) || json_integer_value(one) < least || json_integer_value(one) > most)
        return wrong(parse, "'%s' is no number from %lld to %lld", key, least, most);
    *value = json_integer_value(one);
    return 1;
}

/* The first of `keys` that is there. */
static int one_of(const struct parse *parse, const char *const *keys, const char *what, long long most, uint32_t *value)
{
    long long found;
    for (size_t i = 0; keys[i]; i++) {
        int result = number(parse, keys[i], 1, most, &found);
        if (result > 0)
            *value = (uint32_t) found;
        if (result)
            return result < 0 ? result : 0;
    }
    return wrong(parse, "does not tell %s: there is no '%s'", what, keys[0]);
}

static void only_if(const struct parse *parse, uint32_t layer, bool routes)
{
    parse->moe[layer] = parse->moe[layer] && routes;
}

/* --- which layers: each convention that is there takes out the layers that it names dense --- */

/* The first ones are dense. */
static int first_dense(const struct parse *parse)
{
    static const char *const keys[] = {"first_k_dense_replace", "num_dense_layers", "moe_layer_num_skipped"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        long long first;
        int result = number(parse, keys[k], 0, LAYERS_MAX, &first);
        if (result < 0)
            return result;
        for (uint32_t i = 0; result && i < parse->config->layers; i++)
            only_if(parse, i, i >= first);
    }
    return 0;
}

/* Every step-th layer, the first one being the step-th. */
static int every(const struct parse *parse, const char *key)
{
    long long step;
    int result = number(parse, key, 1, LAYERS_MAX, &step);
    for (uint32_t i = 0; result > 0 && i < parse->config->layers; i++)
        only_if(parse, i, (i + 1) % step == 0);
    return result < 0 ? result : 0;
}

/* A list of layers' numbers: these only, or all but these. */
static int listed(const struct parse *parse, const char *key, bool route)
{
    const json_t *list = get(parse, key);
    if (!list)
        return 0;
    if (!json_is_array(list))
        return wrong(parse, "'%s' is no list", key);
    bool *in = calloc(parse->config->layers, sizeof *in);
    if (!in)
        return -ENOMEM;
    int result = 0;
    for (size_t i = 0; !result && i < json_array_size(list); i++) {
        const json_t *layer = json_array_get(list, i);
        if (!json_is_integer(layer) || json_integer_value(layer) < 0 ||
            json_integer_value(layer) >= parse->config->layers)
            result = wrong(parse, "'%s' names a layer that the model does not have", key);
        else
            in[json_integer_value(layer)] = true;
    }
    for (uint32_t i = 0; !result && i < parse->config->layers; i++)
        only_if(parse, i, in[i] == route);
    free(in);
    return result;
}

/* One number: each freq-th layer, counted from 0. A list: 1 or 0 for each layer. */
static int frequency(const struct parse *parse)
{
    const json_t *freq = get(parse, "moe_layer_freq");
    if (!freq)
        return 0;
    if (json_is_array(freq)) {
        if (json_array_size(freq) != parse->config->layers)
            return wrong(parse, "'moe_layer_freq' has %zu layers, and the model %u", json_array_size(freq),
                         parse->config->layers);
        for (uint32_t i = 0; i < parse->config->layers; i++) {
            const json_t *one = json_array_get(freq, i);
            if (!json_is_integer(one) || (json_integer_value(one) & ~1ll))
                return wrong(parse, "'moe_layer_freq' is a list of other things than 0 and 1");
            only_if(parse, i, json_integer_value(one) == 1);
        }
        return 0;
    }
    long long step;
    int result = number(parse, "moe_layer_freq", 1, LAYERS_MAX, &step);
    for (uint32_t i = 0; result > 0 && i < parse->config->layers; i++)
        only_if(parse, i, i % step == 0);
    return result < 0 ? result : 0;
}

/* A word for each layer. Where none is `routes` the list is about something else (attention, Mamba). */
static int types(const struct parse *parse, const char *key, const char *routes)
{
    const json_t *list = get(parse, key);
    bool any = false;
    if (!list)
        return 0;
    if (!json_is_array(list) || json_array_size(list) != parse->config->layers)
        return wrong(parse, "'%s' is no list of the model's %u layers", key, parse->config->layers);
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < parse->config->layers; i++) {
            const char *type = json_string_value(json_array_get(list, i));
            if (!type)
                return wrong(parse, "'%s' is a list of other things than words", key);
            bool is = strcmp(type, routes) == 0 || strcmp(type, "E") == 0;
            any |= is;
            if (pass && any)
                only_if(parse, i, is);
        }
    }
    return 0;
}

/* Nemotron-H: a letter for each layer. */
static int pattern(const struct parse *parse)
{
    const json_t *text = get(parse, "hybrid_override_pattern");
    if (!text)
        return 0;
    const char *letters = json_string_value(text);
    if (!letters || strlen(letters) != parse->config->layers)
        return wrong(parse, "'hybrid_override_pattern' has not one letter for each of the %u layers",
                     parse->config->layers);
    for (uint32_t i = 0; i < parse->config->layers; i++)
        only_if(parse, i, letters[i] == 'E');
    return 0;
}

static int period(const struct parse *parse)
{
    long long step = 1, offset = 0;
    int has = number(parse, "expert_layer_period", 1, LAYERS_MAX, &step);
    int shifted = has < 0 ? has : number(parse, "expert_layer_offset", 0, step - 1, &offset);
    if (has < 0 || shifted < 0)
        return -EINVAL;
    if (has != shifted)
        return wrong(parse, "has only one of 'expert_layer_period' and 'expert_layer_offset'");
    for (uint32_t i = 0; i < parse->config->layers; i++)
        only_if(parse, i, i % step == offset);
    return 0;
}

/* Ernie 4.5: both ends belong to it, and the end may be -1. */
static int span(const struct parse *parse)
{
    long long start = 0, end = -1;
    if (number(parse, "moe_layer_start_index", 0, LAYERS_MAX, &start) < 0 ||
        number(parse, "moe_layer_end_index", -1, LAYERS_MAX, &end) < 0)
        return -EINVAL;
    for (uint32_t i = 0; i < parse->config->layers; i++)
        only_if(parse, i, i >= start && (end < 0 || i <= end));
    return every(parse, "moe_layer_interval");
}

/* A key that looks as if it said which layers route, and is not known, must not be passed over. */
static int unknown_convention(const struct parse *parse)
{
    static const char *const known[] = {
        "first_k_dense_replace", "num_dense_layers",    "decoder_sparse_step",  "mlp_only_layers",
        "moe_layer_freq",        "moe_layers",          "mlp_layer_types",      "interleave_moe_layer_step",
        "expert_layer_period",   "expert_layer_offset", "moe_layer_interval",   "moe_layer_start_index",
        "moe_layer_end_index",   "layers_block_type",   "moe_layer_num_skipped"};
    static const char *const about[] = {"moe", "expert", "dense", "sparse", "mlp"};
    const char *key;
    json_t *value;
    json_object_foreach(parse->model, key, value)
    {
        const char *layer = strstr(key, "layer");
        bool is_known = json_is_null(value) || !layer || strstr(key, "layernorm") || strstr(key, "layer_norm");
        for (size_t i = 0; !is_known && i < sizeof known / sizeof *known; i++)
            is_known = strcmp(known[i], key) == 0;
        for (size_t i = 0; !is_known && i < sizeof about / sizeof *about; i++) {
            if (strstr(key, about[i]))
                return wrong(parse, "does not tell which layers route: what '%.60s' means is not known", key);
        }
    }
    return 0;
}

static int which_layers(const struct parse *parse)
{
    for (uint32_t i = 0; i < parse->config->layers; i++)
        parse->moe[i] = true;
    int result = unknown_convention(parse);
    if (!result)
        result = first_dense(parse);
    if (!result)
        result = every(parse, "decoder_sparse_step");
    if (!result)
        result = listed(parse, "mlp_only_layers", false);
    if (!result)
        result = frequency(parse);
    if (!result)
        result = listed(parse, "moe_layers", true);
    /* The list stands for the step in Llama 4, where both are there. */
    if (!result && !get(parse, "moe_layers"))
        result = every(parse, "interleave_moe_layer_step");
    if (!result)
        result = types(parse, "mlp_layer_types", "sparse");
    if (!result)
        result = types(parse, "layers_block_type", "moe");
    if (!result)
        result = pattern(parse);
    if (!result && (get(parse, "expert_layer_period") || get(parse, "expert_layer_offset")))
        result = period(parse);
    if (!result)
        result = span(parse);
    return result;
}

static int read_model(const struct parse *parse)
{
    static const char *const experts[] = {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts",
                                          NULL};
    static const char *const ks[] = {"num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k",
                                     "experts_per_token",   "top_k_experts",         "moe_k",    NULL};
    static const char *const layers[] = {"num_hidden_layers", NULL};
    struct model_config *config = parse->config;
    /* Some hybrid models tell it by the list of their layers only. */
    size_t listed = json_array_size(get(parse, "layers_block_type"));
    int result = 0;
    if (!get(parse, layers[0]) && listed && listed <= LAYERS_MAX)
        config->layers = (uint32_t) listed;
    else
        result = one_of(parse, layers, "how many layers the model has", LAYERS_MAX, &config->layers);
    if (!result)
        result = one_of(parse, experts, "how many experts there are", EXPERTS_MAX, &config->experts);
    if (!result)
        result = one_of(parse, ks, "how many experts are chosen", config->experts, &config->k);
    return result;
}

static int number_layers(const struct parse *parse)
{
    struct model_config *config = parse->config;
    int result = which_layers(parse);
    if (result)
        return result;
    for (uint32_t i = 0; i < config->layers; i++) {
        if (parse->moe[i])
            config->numbers[config->moe_layers++] = i;
    }
    return config->moe_layers ? 0 : wrong(parse, "by what it says, no layer is a MoE layer");
}

/* The language model of one that also sees or hears. */
static json_t *language_model(json_t *root)
{
    static const char *const nested[] = {"thinker_config", "text_config", "llm_config", "language_config"};
    for (size_t i = 0; i < sizeof nested / sizeof *nested;) {
        json_t *inner = json_object_get(root, nested[i]);
        if (json_object_size(inner)) {
            root = inner;
            i = 0;
        } else {
            i++;
        }
    }
    return root;
}

/* Python writes numbers that JSON does not have (Mamba's limits of time steps). Nothing here needs them. */
static void replace_infinities(char *text, size_t length)
{
    static const char *const words[] = {"Infinity", "NaN"};
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        for (size_t w = 0; !quoted && i < length && w < sizeof words / sizeof *words; w++) {
            size_t n = strlen(words[w]);
            if (length - i >= n && memcmp(text + i, words[w], n) == 0) {
                memset(text + i, ' ', n);
                text[i] = '0';
            }
        }
    }
}

static char *read_text(const char *path, size_t *length, int *result)
{
    enum { MOST = 16 << 20 };
    FILE *file = fopen(path, "re");
    char *text = file ? malloc(MOST) : NULL;
    *result = file ? -ENOMEM : -errno;
    if (text) {
        errno = 0;
        *length = fread(text, 1, MOST, file);
        *result = ferror(file) ? (errno ? -errno : -EIO) : *length == MOST ? -EFBIG : 0;
    }
    if (file)
        fclose(file);
    if (*result) {
        free(text);
        return NULL;
    }
    replace_infinities(text, *length);
    return text;
}

int model_config_read(const char *path, struct model_config **config, struct mt_error *error)
{
    struct parse parse = {.path = path, .error = error};
    json_error_t mistake;
    int result = 0;
    size_t length = 0;
    char *text = read_text(path, &length, &result);
    if (!text) {
        (void) wrong(&parse, "%s", result == -EFBIG ? "too large for a model's config" : strerror(-result));
        return result;
    }
    json_t *root = json_loadb(text, length, 0, &mistake);
    free(text);
    if (!root) {
        if (error)
            snprintf(error->text, sizeof error->text, "%.90s:%d: no JSON: %.120s", path,
                     mistake.line > 0 ? mistake.line : 1, mistake.text);
        return -EINVAL;
    }
    result = json_is_object(root) ? 0 : wrong(&parse, "no config of a model: it is no JSON object");
    parse.model = language_model(root);
    parse.config = calloc(1, sizeof *parse.config);
    if (!result && !parse.config)
        result = -ENOMEM;
    if (!result)
        result = read_model(&parse);
    if (!result) {
        parse.moe = calloc(parse.config->layers, sizeof *parse.moe);
        parse.config->numbers = calloc(parse.config->layers, sizeof *parse.config->numbers);
        result = parse.moe && parse.config->numbers ? number_layers(&parse) : -ENOMEM;
    }
    if (result == -ENOMEM)
        (void) wrong(&parse, "out of memory");
    free(parse.moe);
    json_decref(root);
    if (result)
        model_config_free(parse.config);
    else
        *config = parse.config;
    return result;
}

void model_config_free(struct model_config *config)
{
    if (!config)
        return;
    free(config->numbers);
    free(config);
}

bool model_config_agrees(const struct model_config *config, uint32_t moe_layers, uint32_t experts, uint32_t k)
{
    return config->moe_layers == moe_layers && (experts == 0 || config->experts == experts) && config->k == k;
}

void model_config_warn(const struct model_config *config, const char *path, uint32_t segment, uint32_t moe_layers,
                       uint32_t experts, uint32_t k)
{
    fprintf(
        stderr,
        "moetap: %s: %u MoE layers, top %u of %u; segment %u: %u layers, top %u of %u: another model? Its layers are "
        "counted among MoE layers\n",
        path, config->moe_layers, config->k, config->experts, segment, moe_layers, k, experts);
}

void model_config_warn_unknown(const char *path, uint32_t segment)
{
    fprintf(stderr, "moetap: %s: segment %u: its layers are unknown, so they get no numbers of the model's\n", path,
            segment);
}

void model_config_ranges(const struct model_config *config, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0, end; i < config->moe_layers && used < size; i = end) {
        for (end = i + 1; end < config->moe_layers && config->numbers[end] == config->numbers[end - 1] + 1; end++)
            ;
        used += (size_t) snprintf(text + used, size - used, "%s%u", i ? "," : "", config->numbers[i]);
        if (end > i + 1 && used < size)
            used += (size_t) snprintf(text + used, size - used, "-%u", config->numbers[end - 1]);
    }
}
