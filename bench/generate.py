# SPDX-License-Identifier: Apache-2.0
"""Eager `generate` of a random-weight Qwen3-MoE: milliseconds a decode step, and the tokens, which must not change."""
import json
import time

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

torch.manual_seed(1)
config = Qwen3MoeConfig(vocab_size=8192, hidden_size=1024, intermediate_size=2048, moe_intermediate_size=256,
                        num_hidden_layers=12, num_attention_heads=16, num_key_value_heads=4, head_dim=64, num_experts=64,
                        num_experts_per_tok=8, norm_topk_prob=True)
model = Qwen3MoeForCausalLM(config).to('cuda', torch.bfloat16).eval()
prompt = torch.arange(4 * 32, device='cuda').reshape(4, 32) % 8192


def run(tokens):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    out = model.generate(prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) * 1000 / tokens, out


run(8)
times, outputs = zip(*[run(40) for _ in range(5)])
print(json.dumps({'step_ms': round(sorted(times)[2], 3), 'tokens': hash(tuple(outputs[0].flatten().tolist()))}))
