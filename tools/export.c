/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include "export/export.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A segment without routers is no other model. With --layers=model it is an error. */
static void warn_of_config(const struct export *export)
{
    for (uint32_t s = 0; export->config && !export->model_layers && s < export->trace->segment_count; s++) {
        const struct requests *r = export->requests[s];
        if (!export_is_first_stage(export, s))
            continue;
        if (!export_layers_known(export, s))
            model_config_warn_unknown(export->config_path, s);
        else if (requests_layers(r) && !export_fits_config(export, s))
            model_config_warn(export->config, export->config_path, s, export_layers(export, s), requests_experts(r),
                              export->k ? export->k : requests_k(r));
    }
}

static int run(struct export *export)
{
    export->trace = trace_reader_trace(export->reader);
    if (!export->trace->segment_count)
        return say_failed("%s: nothing was captured: it has no segment", export->path);
    export->pass_numbers = calloc(export->trace->segment_count + 1u, sizeof *export->pass_numbers);
    int result = export->pass_numbers ? sequences_assemble(export->reader, export->block_size, export->rules,
                                                           &export->requests, &export->error)
                                      : -ENOMEM;
    if (!result && (export->auto_stages || export->stage_count))
        result = export_find_stages(export);
    if (!result)
        warn_of_config(export);
    if (!result)
        result = export->passes        ? export_passes(export)
                 : export->tokens_path ? export_tokens(export)
                                       : export_requests(export);
    if (!result && export->misfit) {
        snprintf(export->error.text, sizeof export->error.text,
                 "expert %d does not fit that type: choose a wider --dtype", export->misfit);
        result = -ERANGE;
    }
    if (!result)
        result = export_write(export);
    if (!result && export->strangers)
        fprintf(stderr,
                "moetap: %llu ids are no experts of the model (%u or more) and count as missing: --topk N leaves "
                "those of fused shared experts out\n",
                (unsigned long long) export->strangers, requests_experts(export->requests[export->groups[0].segment]));
    if (!result && export->not_found)
        fprintf(stderr, "moetap: %s: %u of %u requests are not in the trace, or in several of its segments: missing\n",
                export->tokens_path, export->not_found, export->group_count);
    if (result == -ENOMEM && !export->error.text[0])
        snprintf(export->error.text, sizeof export->error.text, "out of memory");
    for (size_t i = 0; i < export->array_count; i++)
        free(export->arrays[i].data);
    free(export->arrays);
    free(export->groups);
    free(export->wanted);
    free(export->pass_numbers);
    for (uint32_t i = 0; i < export->stage_count; i++)
        free(export->stages[i].passes);
    if (export->requests)
        sequences_free(export->reader, export->requests);
    return result ? say_failed("%s", export->error.text) : EXIT_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static bool same_file(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

int verb_export(int argc, char **argv)
{
    enum {
        REQUEST = 256,
        ALL,
        PASSES,
        DTYPE,
        BLOCK_SIZE,
        LINKS,
        TOKENS_OF,
        LOSSY,
        MODEL_CONFIG,
        LAYERS_OF,
        TOPK,
        SPACE,
        STAGES
    };
    static const struct option longs[] = {{"request", required_argument, NULL, REQUEST},
                                          {"all", no_argument, NULL, ALL},
                                          {"passes", no_argument, NULL, PASSES},
                                          {"output", required_argument, NULL, 'o'},
                                          {"format", required_argument, NULL, 'f'},
                                          {"dtype", required_argument, NULL, DTYPE},
                                          {"block-size", required_argument, NULL, BLOCK_SIZE},
                                          {"links", required_argument, NULL, LINKS},
                                          {"tokens", required_argument, NULL, TOKENS_OF},
                                          {"lossy", no_argument, NULL, LOSSY},
                                          {"model-config", required_argument, NULL, MODEL_CONFIG},
                                          {"layers", required_argument, NULL, LAYERS_OF},
                                          {"topk", required_argument, NULL, TOPK},
                                          {"ids", required_argument, NULL, SPACE},
                                          {"stages", required_argument, NULL, STAGES},
                                          {NULL, 0, NULL, 0}};
    struct export export = {.request = -1, .type = -1};
    bool all = false;
    enum trace_ids ids = TRACE_IDS_OWN;
    const char *stages = NULL, *format = NULL;
    char *end;
    long number;
    int opt;
    while ((opt = getopt_long(argc, argv, ":o:f:", longs, NULL)) != -1) {
        switch (opt) {
        case REQUEST:
            export.request = strtol(optarg, &end, 10);
            if (end == optarg || *end || export.request < 0)
                return say_usage("--request=%s: it is a number from `moetap requests`", optarg);
            break;
        case ALL:
            all = true;
            break;
        case PASSES:
            export.passes = true;
            break;
        case 'o':
            export.output = optarg;
            break;
        case 'f':
            format = optarg;
            break;
        case DTYPE:
            for (int i = 0; i < ELEMENT_BOOL; i++) {
                if (strcmp(elements[i].name, optarg) == 0)
                    export.type = i;
            }
            if (export.type < 0)
                return say_usage("--dtype=%s: it is int32, int16, uint16 or uint8", optarg);
            break;
        case BLOCK_SIZE:
            if (!parse_block_size(optarg, &export.block_size))
                return say_usage("--block-size=%s: it is a number of slots, from 1 to 65536", optarg);
            break;
        case LINKS:
            if (!parse_links(optarg, &export.rules))
                return say_usage("--links=%s: it is auto, proven or likely", optarg);
            break;
        case TOKENS_OF:
            export.tokens_path = optarg;
            break;
        case LOSSY:
            export.lossy = true;
            break;
        case MODEL_CONFIG:
            export.config_path = optarg;
            break;
        case LAYERS_OF:
            export.model_layers = strcmp(optarg, "model") == 0;
            if (!export.model_layers && strcmp(optarg, "moe") != 0)
                return say_usage("--layers=%s: it is moe or model", optarg);
            break;
        case TOPK:
            number = strtol(optarg, &end, 10);
            if (end == optarg || *end || number < 1 || number > UINT16_MAX)
                return say_usage("--topk=%s: it is a number of ids, 1 or more", optarg);
            export.k = (uint32_t) number;
            break;
        case SPACE:
            if (!trace_ids_parse(optarg, &ids))
                return say_usage("--ids=%s: it is logical or physical", optarg);
            break;
        case STAGES:
            stages = optarg;
            break;
        default:
            return say_bad_option(argv, opt);
        }
    }
    if (argc - optind != 1 || !export.output)
        return say_usage("export what, where to? moetap export FILE --request N|--all|--tokens FILE|--passes -o OUT");
    if ((export.request >= 0) + all + export.passes + (export.tokens_path != NULL) != 1)
        return say_usage("one of --request N, --all, --tokens FILE and --passes");
    if (export.lossy && !export.tokens_path)
        return say_usage("--lossy is for --tokens: what goes by slots is right behind losses, too");
    if (stages && export.passes)
        return say_usage("--stages is for requests, not for --passes");
    if (export.model_layers && !export.config_path)
        return say_usage("--layers=model: which layers are dense? --model-config CONFIG tells");
    if (!format)
        format = ends_with(export.output, ".npz")           ? "npz"
                 : ends_with(export.output, ".safetensors") ? "safetensors"
                                                            : "";
    if (strcmp(format, "npz") == 0)
        export.write = npz_write;
    else if (strcmp(format, "safetensors") == 0)
        export.write = safetensors_write;
    else
        return say_usage("-o %s: .npz or .safetensors, or --format=npz|safetensors", export.output);
    export.path = argv[optind];
    struct stat there;
    if (stat(export.output, &there) == 0 && !S_ISREG(there.st_mode)) /* it would be replaced by one */
        return say_failed("-o %s: is no regular file: arrays are written to one", export.output);
    if (same_file(export.path, export.output))
        return say_failed("-o %s: that is the trace itself", export.output);
    if (export.config_path && same_file(export.config_path, export.output))
        return say_failed("-o %s: that is the model's config itself", export.output);
    if (export.tokens_path && same_file(export.tokens_path, export.output))
        return say_failed("-o %s: that is the list of tokens itself", export.output);
    int status;
    if (stages && !export_parse_stages(&export, stages)) {
        status = say_usage(
            "--stages=%s: it is the numbers of two segments or more, in the order of their layers, as 0,1", stages);
    } else if ((export.config_path && model_config_read(export.config_path, &export.config, &export.error) != 0) ||
               trace_reader_open(export.path, &export.reader, &export.error) != 0) {
        status = say_failed("%s", export.error.text);
    } else {
        status = trace_reader_choose(export.reader, ids, &export.error) == 0 ? run(&export)
                                                                             : say_failed("%s", export.error.text);
        trace_reader_close(export.reader);
    }
    model_config_free(export.config);
    free(export.stages);
    return status;
}
