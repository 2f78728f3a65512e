# SPDX-License-Identifier: Apache-2.0
"""models.py MODEL TOKENS_FILE [TRUTH_FILE]
models.py --list

A small Mixture-of-Experts model of transformers with random weights: prefill and greedy generate. Writes the tokens, and what each
router chose, ids and their values, as seen from Python in the same process. Knows nothing of moetap.
"""
import json
import sys

import torch
import transformers

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
SMALL = dict(vocab_size=2048, hidden_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=None)
LATENT = dict(q_lora_rank=64, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=32, v_head_dim=32, num_key_value_heads=4)
LINEAR = dict(linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=32, linear_value_head_dim=32, head_dim=64)
# Base name of its classes, its configuration, and the number of experts and k of its routers' calls of topk.
MODELS = {
    'mixtral': ('Mixtral', dict(intermediate_size=256, num_local_experts=8, num_experts_per_tok=2), 8, 2),
    'qwen2_moe': ('Qwen2Moe', dict(intermediate_size=256, moe_intermediate_size=128, num_experts=60, num_experts_per_tok=4,
                                   shared_expert_intermediate_size=256), 60, 4),
    'qwen3_moe': ('Qwen3Moe', dict(intermediate_size=256, moe_intermediate_size=128, num_experts=128, num_experts_per_tok=8,
                                   head_dim=64), 128, 8),
    'qwen3_next': ('Qwen3Next', dict(intermediate_size=256, moe_intermediate_size=64, num_experts=512, num_experts_per_tok=10,
                                     shared_expert_intermediate_size=64, **LINEAR), 512, 10),
    'qwen3_5_moe': ('Qwen3_5Moe', dict(moe_intermediate_size=64, num_experts=256, num_experts_per_tok=8,
                                       shared_expert_intermediate_size=64, **LINEAR), 256, 8),
    'olmoe': ('Olmoe', dict(intermediate_size=128, num_experts=64, num_experts_per_tok=8), 64, 8),
    'flex_olmo': ('FlexOlmo', dict(intermediate_size=128, num_experts=7, num_experts_per_tok=5), 7, 5),
    'deepseek_v2': ('DeepseekV2', dict(intermediate_size=256, moe_intermediate_size=128, n_routed_experts=64, n_shared_experts=2,
                                       num_experts_per_tok=6, topk_method='greedy', first_k_dense_replace=1, **LATENT), 64, 6),
    'deepseek_v3': ('DeepseekV3', dict(intermediate_size=256, moe_intermediate_size=128, n_routed_experts=64, n_group=8, topk_group=4,
                                       num_experts_per_tok=8, n_shared_experts=1, first_k_dense_replace=1, **LATENT), 64, 8),
    'gpt_oss': ('GptOss', dict(intermediate_size=128, num_local_experts=32, num_experts_per_tok=4, head_dim=64), 32, 4),
    'glm4_moe': ('Glm4Moe', dict(intermediate_size=256, moe_intermediate_size=128, n_routed_experts=128, num_experts_per_tok=8,
                                 n_shared_experts=1, first_k_dense_replace=1, head_dim=64), 128, 8),
    'dots1': ('Dots1', dict(intermediate_size=256, moe_intermediate_size=128, n_routed_experts=128, num_experts_per_tok=6,
                            n_shared_experts=2, first_k_dense_replace=1, head_dim=64), 128, 6),
    'ernie4_5_moe': ('Ernie4_5_Moe', dict(intermediate_size=256, moe_intermediate_size=128, moe_num_experts=64, moe_k=6,
                                          moe_layer_start_index=1, moe_layer_end_index=5), 64, 6),
    'exaone_moe': ('ExaoneMoe', dict(intermediate_size=256, moe_intermediate_size=128, num_experts=64, num_experts_per_tok=8,
                                     num_shared_experts=1, first_k_dense_replace=1, head_dim=64), 64, 8),
    'granitemoe': ('GraniteMoe', dict(intermediate_size=128, num_local_experts=32, num_experts_per_tok=8), 32, 8),
    'hunyuan_moe': ('HunYuanMoEV1', dict(intermediate_size=128, num_experts=16, moe_topk=4, head_dim=64), 16, 4),
    'jamba': ('Jamba', dict(intermediate_size=128, num_experts=16, num_experts_per_tok=2, use_mamba_kernels=False, attn_layer_period=2,
                            attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1, mamba_dt_rank=16), 16, 2),
    'jetmoe': ('JetMoe', dict(intermediate_size=128, num_local_experts=8, num_experts_per_tok=2, num_key_value_heads=2, kv_channels=64), 8, 2),
    'lfm2_moe': ('Lfm2Moe', dict(intermediate_size=256, moe_intermediate_size=128, num_experts=32, num_experts_per_tok=4,
                                 num_dense_layers=1,
                                 layer_types=['conv', 'conv', 'full_attention', 'conv', 'full_attention', 'conv']), 32, 4),
    'llama4': ('Llama4', dict(intermediate_size=128, intermediate_size_mlp=256, num_local_experts=16, num_experts_per_tok=1,
                              head_dim=64, attention_chunk_size=128), 16, 1),
    'longcat_flash': ('LongcatFlash', dict(ffn_hidden_size=256, expert_ffn_hidden_size=64, n_routed_experts=64, zero_expert_num=32,
                                           moe_topk=12, num_layers=3, head_dim=32, **LATENT), 96, 12),
    'minimax': ('MiniMax', dict(intermediate_size=128, num_local_experts=32, num_experts_per_tok=2, head_dim=64), 32, 2),
    'minimax_m2': ('MiniMaxM2', dict(intermediate_size=64, num_local_experts=256, num_experts_per_tok=8, head_dim=64), 256, 8),
    'mistral4': ('Mistral4', dict(intermediate_size=256, moe_intermediate_size=128, n_routed_experts=128, num_experts_per_tok=4,
                                  n_shared_experts=1, first_k_dense_replace=0, head_dim=64, **LATENT), 128, 4),
    'afmoe': ('Afmoe', dict(intermediate_size=256, moe_intermediate_size=128, num_experts=64, num_experts_per_tok=6,
                            num_dense_layers=1, head_dim=64), 64, 6),
    'solar_open': ('SolarOpen', dict(moe_intermediate_size=64, n_routed_experts=128, num_experts_per_tok=8, n_shared_experts=1,
                                     head_dim=64), 128, 8),
    'mimo_v2_flash': ('MiMoV2Flash', dict(intermediate_size=256, moe_intermediate_size=64, n_routed_experts=256, num_experts_per_tok=8,
                                          head_dim=64, v_head_dim=64), 256, 8),
    'hy_v3': ('HYV3', dict(intermediate_size=256, moe_intermediate_size=64, num_experts=192, num_experts_per_tok=8, head_dim=64), 192, 8),
    'laguna': ('Laguna', dict(intermediate_size=256, moe_intermediate_size=64, shared_expert_intermediate_size=64, num_experts=256,
                              num_experts_per_tok=8, head_dim=64), 256, 8),
}


def watch_routers(experts, top_k, calls):
    """Each call of topk with these numbers, with the ordinal of the module it was made in: routers in the order of their first run."""
    running, ordinals = [], {}
    torch.nn.modules.module.register_module_forward_pre_hook(lambda module, args: running.append(module))
    torch.nn.modules.module.register_module_forward_hook(lambda module, args, result: running.pop() and None)

    def watch(original):
        def topk(input, k, *args, **kwargs):
            result = original(input, k, *args, **kwargs)
            if input.shape[-1] == experts and k == top_k:
                layer = ordinals.setdefault(running[-1], len(ordinals))
                values, ids = (tensor.reshape(-1, k).cpu() for tensor in result)
                calls.append((layer, ids.tolist(), values.float().tolist()))
            return result
        return topk
    torch.topk = watch(torch.topk)
    torch.Tensor.topk = watch(torch.Tensor.topk)
    return ordinals


def main():
    name, tokens_file = sys.argv[1:3]
    base, extra, experts, top_k = MODELS[name]
    architecture = getattr(transformers, base + 'ForCausalLM')
    torch.manual_seed(7)
    model = architecture(architecture.config_class(**{**SMALL, **extra})).to(DEVICE, torch.bfloat16).eval()
    # Where nothing was learnt all experts are alike, or all weights 0: make the routers choose.
    for parameter in model.parameters():
        if not parameter.count_nonzero():
            torch.nn.init.normal_(parameter, std=0.02)
    calls, routers = [], {}
    if len(sys.argv) > 3:
        routers = watch_routers(experts, top_k, calls)

    ids = torch.randint(3, 2000, (3, 24), device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(3))
    with torch.no_grad():
        model(ids)
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    if DEVICE == 'cuda':
        torch.cuda.synchronize()
    json.dump(out.tolist(), open(tokens_file, 'w'))
    if len(sys.argv) > 3:
        json.dump({'experts': experts, 'k': top_k, 'dtype': 'i64', 'layers': len(routers), 'calls': calls}, open(sys.argv[3], 'w'))
    print(name, 'routers', len(routers), 'router calls', len(calls), torch.__version__, transformers.__version__)


if __name__ == '__main__':
    if sys.argv[1] == '--list':
        print(*MODELS)
    else:
        main()
