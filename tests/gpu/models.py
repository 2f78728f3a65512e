# SPDX-License-Identifier: Apache-2.0
"""models.py MODEL TOKENS_FILE [TRUTH_FILE]

A small Mixture-of-Experts model of transformers with random weights: prefill and greedy generate. Writes the tokens, and what each
router chose, as seen from Python in the same process. Knows nothing of moetap.
"""
import json
import sys

import torch
import transformers

SMALL = dict(vocab_size=2048, hidden_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=None)
MODELS = {
    'mixtral': ('Mixtral', dict(intermediate_size=256, num_local_experts=8, num_experts_per_tok=2), 8, 2),
    'qwen3_moe': ('Qwen3Moe', dict(intermediate_size=256, moe_intermediate_size=128, num_experts=128, num_experts_per_tok=8,
                                   head_dim=64), 128, 8),
    'qwen2_moe': ('Qwen2Moe', dict(intermediate_size=256, moe_intermediate_size=128, num_experts=60, num_experts_per_tok=4,
                                   shared_expert_intermediate_size=256), 60, 4),
    'olmoe': ('Olmoe', dict(intermediate_size=128, num_experts=64, num_experts_per_tok=8), 64, 8),
    'deepseek_v3': ('DeepseekV3', dict(intermediate_size=256, moe_intermediate_size=128, n_routed_experts=64, n_group=8,
                                       topk_group=4, num_experts_per_tok=8, n_shared_experts=1, first_k_dense_replace=1,
                                       q_lora_rank=64, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=32,
                                       v_head_dim=32, num_key_value_heads=4), 64, 8),
    'gpt_oss': ('GptOss', dict(intermediate_size=128, num_local_experts=32, num_experts_per_tok=4, head_dim=64), 32, 4),
}


def main():
    name, tokens_file = sys.argv[1:3]
    truth_file = sys.argv[3] if len(sys.argv) > 3 else None
    base, extra, experts, top_k = MODELS[name]
    config = getattr(transformers, base + 'Config')(**{**SMALL, **extra})
    torch.manual_seed(7)
    model = getattr(transformers, base + 'ForCausalLM')(config).to('cuda', torch.bfloat16).eval()

    calls, layer = [], [-1]
    blocks = [m for _, m in model.named_modules() if hasattr(m, 'experts') and (hasattr(m, 'gate') or hasattr(m, 'router'))]
    if truth_file:
        for index, block in enumerate(blocks):
            block.register_forward_pre_hook(lambda m, a, i=index: layer.__setitem__(0, i))

        def watch(original):
            def topk(input, k, *args, **kwargs):
                result = original(input, k, *args, **kwargs)
                if input.shape[-1] == experts and k == top_k:
                    calls.append((layer[0], result[1].reshape(-1, k).cpu().tolist()))
                return result
            return topk
        torch.topk = watch(torch.topk)
        torch.Tensor.topk = watch(torch.Tensor.topk)

    ids = torch.randint(3, 2000, (3, 24), device='cuda', generator=torch.Generator('cuda').manual_seed(3))
    with torch.no_grad():
        model(ids)
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    torch.cuda.synchronize()
    json.dump(out.tolist(), open(tokens_file, 'w'))
    if truth_file:
        json.dump({'layers': len(blocks), 'calls': calls}, open(truth_file, 'w'))
    print(name, 'blocks', len(blocks), 'router calls', len(calls), torch.__version__, transformers.__version__)


main()
