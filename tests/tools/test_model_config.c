/* SPDX-License-Identifier: Apache-2.0 */
/* Configs as models have them, and broken ones. */
#include "../../tools/model_config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/moetap-config-XXXXXX";
static struct mt_error error;

static void enter(void)
{
    int file = mkstemp(path);
    cr_assert(file >= 0);
    close(file);
}

static void leave(void)
{
    unlink(path);
}

TestSuite(model_config, .init = enter, .fini = leave, .timeout = 30);

static int read_config(const char *text, struct model_config **config)
{
    FILE *file = fopen(path, "we");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
    error.text[0] = '\0';
    *config = NULL;
    return model_config_read(path, config, &error);
}

static void is(const char *model, const char *text, uint32_t layers, uint32_t experts, uint32_t k, const char *ranges)
{
    struct model_config *config;
    char got[512];
    cr_assert_eq(read_config(text, &config), 0, "%s: %s", model, error.text);
    model_config_ranges(config, got, sizeof got);
    cr_assert(config->layers == layers && config->experts == experts && config->k == k, "%s: %u layers, top %u of %u",
              model, config->layers, config->k, config->experts);
    cr_assert_str_eq(got, ranges, "%s: %s", model, got);
    model_config_free(config);
}

/* One line that names the file. */
static void is_wrong(const char *text, const char *says)
{
    struct model_config *config;
    cr_assert_eq(read_config(text, &config), -EINVAL, "read: %s", text);
    cr_assert(!config && strncmp(error.text, path, strlen(path)) == 0 && !strchr(error.text, '\n'), "%s", error.text);
    cr_assert(strstr(error.text, says), "not a word of '%s' in: %s", says, error.text);
}

#define EVEN_TO_46 "0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36,38,40,42,44,46"
#define ODD_TO_47 "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47"

Test(model_config, the_first_layers_are_dense)
{
    is("DeepSeek-V3",
       "{\"model_type\":\"deepseek_v3\",\"num_hidden_layers\":61,\"first_k_dense_replace\":3,\"moe_layer_freq\":1,"
       "\"n_routed_experts\":256,\"n_shared_experts\":1,\"num_experts_per_tok\":8,\"num_nextn_predict_layers\":1,"
       "\"n_group\":8,\"topk_group\":4,\"ep_size\":1,\"moe_intermediate_size\":2048}",
       61, 256, 8, "3-60");
    is("GLM-4.5",
       "{\"model_type\":\"glm4_moe\",\"num_hidden_layers\":92,\"first_k_dense_replace\":3,\"n_routed_experts\":160,"
       "\"n_shared_experts\":1,\"num_experts_per_tok\":8,\"num_nextn_predict_layers\":1,\"use_qk_norm\":true}",
       92, 160, 8, "3-91");
    is("Kimi-Linear",
       "{\"num_hidden_layers\":27,\"first_k_dense_replace\":1,\"moe_layer_freq\":1,\"num_experts\":256,"
       "\"num_experts_per_token\":8}",
       27, 256, 8, "1-26");
    is("LFM2-MoE", "{\"num_hidden_layers\":24,\"num_dense_layers\":2,\"num_experts\":32,\"num_experts_per_tok\":4}", 24,
       32, 4, "2-23");
    is("Hunyuan-A13B", "{\"num_hidden_layers\":3,\"num_experts\":64,\"moe_topk\":[8,8,8],\"moe_layer_num_skipped\":1}",
       3, 64, 8, "1-2");
    is("moe_layer_freq 2, counted from 0",
       "{\"num_hidden_layers\":9,\"first_k_dense_replace\":1,\"moe_layer_freq\":2,\"n_routed_experts\":64,"
       "\"num_experts_per_tok\":6}",
       9, 64, 6, "2,4,6,8");
    is("a list of 0 and 1",
       "{\"num_hidden_layers\":6,\"moe_layer_freq\":[0,1,1,0,1,1],\"n_routed_experts\":256,\"num_experts_per_tok\":8}",
       6, 256, 8, "1-2,4-5");
}

Test(model_config, steps)
{
    is("Qwen3-30B-A3B",
       "{\"model_type\":\"qwen3_moe\",\"num_hidden_layers\":48,\"decoder_sparse_step\":1,\"mlp_only_layers\":[],"
       "\"max_window_layers\":48,\"num_experts\":128,\"num_experts_per_tok\":8,\"sliding_window\":null}",
       48, 128, 8, "0-47");
    is("Qwen2-MoE",
       "{\"model_type\":\"qwen2_moe\",\"num_hidden_layers\":24,\"decoder_sparse_step\":1,\"mlp_only_layers\":[0,23,5],"
       "\"num_experts\":60,\"num_experts_per_tok\":4,\"shared_expert_intermediate_size\":5632}",
       24, 60, 4, "1-4,6-22");
    is("Qwen2-MoE, each second",
       "{\"num_hidden_layers\":8,\"decoder_sparse_step\":2,\"mlp_only_layers\":[3],\"num_experts\":60,"
       "\"num_experts_per_tok\":4}",
       8, 60, 4, "1,5,7");
    is("Llama 4 Maverick",
       "{\"model_type\":\"llama4\",\"text_config\":{\"model_type\":\"llama4_text\",\"num_hidden_layers\":48,"
       "\"num_local_experts\":128,\"num_experts_per_tok\":1,\"interleave_moe_layer_step\":2,"
       "\"intermediate_size_mlp\":16384,\"no_rope_layers\":[]},\"vision_config\":{\"num_hidden_layers\":34}}",
       48, 128, 1, ODD_TO_47);
    is("Llama 4, listed",
       "{\"text_config\":{\"num_hidden_layers\":8,\"num_local_experts\":16,\"num_experts_per_tok\":1,"
       "\"interleave_moe_layer_step\":1,\"moe_layers\":[1,2,7]}}",
       8, 16, 1, "1-2,7");
    is("Jamba",
       "{\"model_type\":\"jamba\",\"num_hidden_layers\":32,\"num_experts\":16,\"num_experts_per_tok\":2,"
       "\"expert_layer_offset\":1,\"expert_layer_period\":2,\"attn_layer_offset\":4,\"attn_layer_period\":8}",
       32, 16, 2, "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31");
    is("offset 0",
       "{\"num_hidden_layers\":48,\"num_experts\":16,\"num_experts_per_tok\":2,\"expert_layer_offset\":0,"
       "\"expert_layer_period\":2}",
       48, 16, 2, EVEN_TO_46);
    is("Ernie 4.5",
       "{\"model_type\":\"ernie4_5_moe\",\"num_hidden_layers\":28,\"moe_num_experts\":64,\"moe_k\":6,"
       "\"moe_num_shared_experts\":2,\"moe_layer_start_index\":1,\"moe_layer_end_index\":27,\"moe_layer_interval\":1}",
       28, 64, 6, "1-27");
    is("Ernie 4.5, to the last",
       "{\"num_hidden_layers\":12,\"moe_num_experts\":64,\"moe_topk\":6,\"moe_layer_start_index\":3,"
       "\"moe_layer_end_index\":-1,\"moe_layer_interval\":2}",
       12, 64, 6, "3,5,7,9,11");
}

Test(model_config, all_layers)
{
    is("Mixtral",
       "{\"model_type\":\"mixtral\",\"num_hidden_layers\":32,\"num_local_experts\":8,\"num_experts_per_tok\":2,"
       "\"output_router_logits\":false}",
       32, 8, 2, "0-31");
    is("gpt-oss-120b",
       "{\"model_type\":\"gpt_oss\",\"num_hidden_layers\":36,\"num_local_experts\":128,\"num_experts_per_tok\":4,"
       "\"experts_per_token\":4,\"layer_types\":[\"sliding_attention\",\"full_attention\"]}",
       36, 128, 4, "0-35");
    is("MiniMax",
       "{\"num_hidden_layers\":80,\"num_local_experts\":32,\"num_experts_per_tok\":2,\"layernorm_mlp_alpha\":3.55}", 80,
       32, 2, "0-79");
    is("the same for each layer",
       "{\"num_hidden_layers\":3,\"num_experts\":64,\"moe_topk\":[8,8,8],\"mlp_only_layers\":null}", 3, 64, 8, "0-2");
    is("one in one",
       "{\"thinker_config\":{\"text_config\":{\"num_hidden_layers\":2,\"num_experts\":4,\"top_k_experts\":1}}}", 2, 4,
       1, "0-1");
    is("InternVL", "{\"llm_config\":{\"num_hidden_layers\":2,\"num_experts\":4,\"moe_top_k\":1}}", 2, 4, 1, "0-1");
    is("DeepSeek-VL2",
       "{\"language_config\":{\"num_hidden_layers\":12,\"first_k_dense_replace\":1,\"n_routed_experts\":64,"
       "\"num_experts_per_tok\":6}}",
       12, 64, 6, "1-11");
}

Test(model_config, hybrids)
{
    is("Nemotron-H",
       "{\"model_type\":\"nemotron_h\",\"num_hidden_layers\":52,\"hybrid_override_pattern\":"
       "\"MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME\",\"n_routed_experts\":128,\"n_shared_experts\":1,"
       "\"num_experts_per_tok\":6,\"time_step_limit\":[0.0,Infinity],\"low\":-Infinity,\"no\":NaN,"
       "\"name\":\"\\\"Infinity\"}",
       52, 128, 6, "1,3,6,8,10,13,15,17,20,22,24,27,29,31,34,36,38,40,43,45,47,49,51");
    is("by words",
       "{\"layers_block_type\":[\"mamba\",\"moe\",\"attention\",\"moe\"],\"n_routed_experts\":128,"
       "\"num_experts_per_tok\":6}",
       4, 128, 6, "1,3");
    is("words about something else",
       "{\"num_hidden_layers\":2,\"layers_block_type\":[\"mamba\",\"attention\"],\"num_local_experts\":62,"
       "\"num_experts_per_tok\":6}",
       2, 62, 6, "0-1");
    is("GLM-4.7-Flash",
       "{\"num_hidden_layers\":3,\"mlp_layer_types\":[\"dense\",\"sparse\",\"sparse\"],\"n_routed_experts\":64,"
       "\"num_experts_per_tok\":4}",
       3, 64, 4, "1-2");
}

Test(model_config, wrong_ones)
{
#define MOE "\"num_hidden_layers\":4,\"num_experts\":8,\"num_experts_per_tok\":2"
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", ":1: no JSON: "},
        {"{\n\"num_hidden_layers\": 4,\n\"num_experts\" 8}", ":3: no JSON: "},
        {"{" MOE "} more", ":1: no JSON: "},
        {"[1]", "it is no JSON object"},
        {"{}", "does not tell how many layers the model has"},
        {"{\"num_hidden_layers\":32,\"num_attention_heads\":32}", "how many experts there are"},
        {"{\"num_hidden_layers\":32,\"num_experts\":null,\"num_experts_per_tok\":2}", "how many experts there are"},
        {"{\"num_hidden_layers\":32,\"num_experts\":8}", "how many experts are chosen"},
        {"{\"num_hidden_layers\":32,\"num_experts\":8,\"num_experts_per_tok\":9}", "no number from 1 to 8"},
        {"{\"num_hidden_layers\":-1}", "'num_hidden_layers' is no number"},
        {"{\"num_hidden_layers\":\"4\"}", "'num_hidden_layers' is no number"},
        {"{\"num_hidden_layers\":99999999999}", "'num_hidden_layers' is no number"},
        {"{\"num_hidden_layers\":4,\"moe_num_experts\":[64,32],\"moe_k\":6}", "not the same for all layers"},
        {"{\"num_hidden_layers\":4,\"num_experts\":[],\"moe_k\":6}", "'num_experts' is no number"},
        {"{" MOE ",\"moe_layer_frequency\":2}", "what 'moe_layer_frequency' means is not known"},
        {"{" MOE ",\"decoder_sparse_step\":0}", "'decoder_sparse_step' is no number"},
        {"{" MOE ",\"decoder_sparse_step\":5}", "no layer is a MoE layer"},
        {"{" MOE ",\"mlp_only_layers\":[4]}", "names a layer that the model does not have"},
        {"{" MOE ",\"mlp_only_layers\":1}", "'mlp_only_layers' is no list"},
        {"{" MOE ",\"moe_layer_freq\":[1,1,1]}", "has 3 layers, and the model 4"},
        {"{" MOE ",\"moe_layer_freq\":[1,1,1,2]}", "other things than 0 and 1"},
        {"{" MOE ",\"moe_layer_freq\":0}", "'moe_layer_freq' is no number"},
        {"{" MOE ",\"hybrid_override_pattern\":\"EM\"}", "one letter for each of the 4 layers"},
        {"{" MOE ",\"hybrid_override_pattern\":\"MMM*\"}", "no layer is a MoE layer"},
        {"{" MOE ",\"layers_block_type\":[\"moe\"]}", "no list of the model's 4 layers"},
        {"{" MOE ",\"mlp_layer_types\":[1,2,3,4]}", "other things than words"},
        {"{" MOE ",\"expert_layer_period\":2}", "only one of"},
        {"{" MOE ",\"expert_layer_period\":2,\"expert_layer_offset\":2}", "'expert_layer_offset' is no number"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        is_wrong(wrong[i].text, wrong[i].says);
}

Test(model_config, no_file)
{
    struct model_config *config = NULL;
    cr_assert_eq(model_config_read("/nowhere/config.json", &config, &error), -ENOENT);
    cr_assert_str_eq(error.text, "/nowhere/config.json: No such file or directory");
    cr_assert_eq(model_config_read("/", &config, &error), -EISDIR);
    cr_assert_eq(model_config_read("/dev/zero", &config, &error), -EFBIG);
    cr_assert_eq(model_config_read("/nowhere/config.json", &config, NULL), -ENOENT);
    cr_assert_null(config);
}

Test(model_config, against_a_trace)
{
    struct model_config *config;
    cr_assert_eq(read_config("{" MOE "}", &config), 0);
    cr_assert(model_config_agrees(config, 4, 8, 2) && model_config_agrees(config, 4, 0, 2));
    cr_assert(!model_config_agrees(config, 3, 8, 2) && !model_config_agrees(config, 4, 9, 2) &&
              !model_config_agrees(config, 4, 8, 1));
    char cut[4];
    model_config_ranges(config, cut, 3);
    cr_assert_str_eq(cut, "0-");
    model_config_free(config);
    model_config_free(NULL);
}
