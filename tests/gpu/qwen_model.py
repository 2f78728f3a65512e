# SPDX-License-Identifier: Apache-2.0
"""A small Qwen3-MoE with random weights, as a folder that engines load, and prompts for it. No tokenizer."""
import json
import os

LAYERS, HIDDEN, EXPERTS, TOP_K, VOCAB, HEADS, KV_HEADS, HEAD, INNER = 6, 512, 64, 8, 32000, 8, 4, 64, 128


def make(folder):
    import torch
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    config = dict(architectures=['Qwen3MoeForCausalLM'], model_type='qwen3_moe', vocab_size=VOCAB, hidden_size=HIDDEN,
                  intermediate_size=256, moe_intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                  num_key_value_heads=KV_HEADS, head_dim=HEAD, num_experts=EXPERTS, num_experts_per_tok=TOP_K,
                  norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], max_position_embeddings=4096,
                  rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False, hidden_act='silu', attention_bias=False,
                  torch_dtype='bfloat16', bos_token_id=1, eos_token_id=2, pad_token_id=0)
    with open(f'{folder}/config.json', 'w') as f:
        json.dump(config, f)
    random = torch.Generator().manual_seed(11)

    def weight(*shape, scale=0.05):
        return (torch.randn(*shape, generator=random) * scale).to(torch.bfloat16)
    t = {'model.embed_tokens.weight': weight(VOCAB, HIDDEN, scale=1), 'lm_head.weight': weight(VOCAB, HIDDEN),
         'model.norm.weight': torch.ones(HIDDEN, dtype=torch.bfloat16)}
    for i in range(LAYERS):
        at = f'model.layers.{i}.'
        for name in ('input_layernorm', 'post_attention_layernorm'):
            t[at + name + '.weight'] = torch.ones(HIDDEN, dtype=torch.bfloat16)
        for name, rows, columns in (('q_proj', HEADS * HEAD, HIDDEN), ('k_proj', KV_HEADS * HEAD, HIDDEN),
                                    ('v_proj', KV_HEADS * HEAD, HIDDEN), ('o_proj', HIDDEN, HEADS * HEAD)):
            t[f'{at}self_attn.{name}.weight'] = weight(rows, columns)
        for name in ('q_norm', 'k_norm'):
            t[f'{at}self_attn.{name}.weight'] = torch.ones(HEAD, dtype=torch.bfloat16)
        t[at + 'mlp.gate.weight'] = weight(EXPERTS, HIDDEN)
        for e in range(EXPERTS):
            for name, rows, columns in (('gate_proj', INNER, HIDDEN), ('up_proj', INNER, HIDDEN), ('down_proj', HIDDEN, INNER)):
                t[f'{at}mlp.experts.{e}.{name}.weight'] = weight(rows, columns)
    save_file(t, f'{folder}/model.safetensors', metadata={'format': 'pt'})


def prompts(seed):
    """Three families of prompts with a common beginning each, some prompts alone, one of them twice."""
    import random
    r = random.Random(seed)
    same = random.Random(100)
    shared = [[same.randrange(3, VOCAB) for _ in range(100 + 61 * f)] for f in range(3)]
    result = []
    for i in range(24):
        begin = shared[i % 4][:16 * r.randrange(2, 7)] if i % 4 < 3 else []
        result.append(begin + [r.randrange(3, VOCAB) for _ in range(r.randrange(1, 90))])
    result.append(list(result[3]))
    result.append([r.randrange(3, VOCAB) for _ in range(700)])
    return result
