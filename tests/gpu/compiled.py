# SPDX-License-Identifier: Apache-2.0
"""compiled.py MODEL TRUTH_FILE

A small model of transformers through torch.compile with CUDA graphs (mode='reduce-overhead') and a static cache: prefill eagerly, then
decode steps compiled, then the same steps eagerly. What each router chose is kept by an op of its own behind topk, which copies the ids
into a buffer; hooks would break the graph. Knows nothing of moetap.
"""
import json
import sys

import torch
import transformers

LAYERS, STEPS, BATCH, PROMPT = 4, 12, 3, 8
SMALL = dict(vocab_size=2048, hidden_size=256, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=None)
# Base name of its classes, configuration, number of experts and k, layers that route
MODELS = {
    'qwen3_moe': ('Qwen3Moe', dict(intermediate_size=256, moe_intermediate_size=128, num_experts=128, num_experts_per_tok=8,
                                   head_dim=64), 128, 8, LAYERS),
    'mixtral': ('Mixtral', dict(intermediate_size=256, num_local_experts=8, num_experts_per_tok=2), 8, 2, LAYERS),
    'olmoe': ('Olmoe', dict(intermediate_size=128, num_experts=64, num_experts_per_tok=8), 64, 8, LAYERS),
    'deepseek_v3': ('DeepseekV3', dict(intermediate_size=256, moe_intermediate_size=128, n_routed_experts=64, n_group=8, topk_group=4,
                                       num_experts_per_tok=8, n_shared_experts=1, first_k_dense_replace=1, q_lora_rank=64,
                                       kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=32, v_head_dim=32,
                                       num_key_value_heads=4), 64, 8, LAYERS - 1),
}
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


@torch.library.custom_op('witness::keep', mutates_args={'buffer', 'count'})
def keep(ids: torch.Tensor, buffer: torch.Tensor, count: torch.Tensor, slot: int) -> None:
    buffer[slot].copy_(ids)
    count[slot] += 1


@keep.register_fake
def _(ids, buffer, count, slot):
    return None


def main():
    name, truth_file = sys.argv[1:3]
    base, extra, experts, top_k, routers = MODELS[name]
    architecture = getattr(transformers, base + 'ForCausalLM')
    torch.manual_seed(7)
    config = architecture.config_class(**{**SMALL, **extra}, experts_implementation='batched_mm')
    model = architecture(config).to(DEVICE, torch.bfloat16).eval()
    buffers = {n: torch.zeros(routers, n, top_k, dtype=torch.long, device=DEVICE) for n in (BATCH, BATCH * PROMPT)}
    counts = torch.zeros(routers, dtype=torch.long, device=DEVICE)
    slot = [0]
    for tensor in (*buffers.values(), counts):
        torch._dynamo.mark_static_address(tensor)  # else what a graph writes to it keeps it from being a graph

    def watch(original):
        def topk(input, k, *args, **kwargs):
            result = original(input, k, *args, **kwargs)
            if input.shape[-1] == experts and k == top_k:
                torch.ops.witness.keep(result[1].reshape(-1, top_k), buffers[input.shape[0]], counts, slot[0])
                slot[0] += 1
            return result
        return topk
    torch.topk = watch(torch.topk)

    def forward(ids, position, cache):
        slot[0] = 0
        return model(input_ids=ids, position_ids=position, past_key_values=cache, use_cache=True).logits[:, -1].argmax(-1, keepdim=True)

    steps = []
    prompt = torch.randint(3, 2000, (BATCH, PROMPT), device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(3))

    def run(decode, given):
        cache = transformers.StaticCache(config=config, max_cache_len=64)
        tokens = [forward(prompt, torch.arange(PROMPT, device=DEVICE)[None].expand(BATCH, -1), cache)]
        steps.append(buffers[BATCH * PROMPT].tolist())
        counts.zero_()
        for step in range(STEPS):
            position = torch.full((BATCH, 1), PROMPT + step, device=DEVICE)
            tokens.append(decode((given or tokens)[step].clone(), position, cache).clone())
            steps.append(buffers[BATCH].tolist())
            if counts.tolist() != [step + 1] * routers:  # nothing was run twice, nothing left out
                sys.exit(f'step {step}: the routers ran {counts.tolist()} times')
        return tokens
    with torch.no_grad():
        tokens = run(torch.compile(forward, mode='reduce-overhead'), None)
        run(forward, tokens)
    if DEVICE == 'cuda':
        torch.cuda.synchronize()
    json.dump({'layers': routers, 'experts': experts, 'k': top_k, 'steps': steps}, open(truth_file, 'w'))
    half = len(steps) // 2
    alike = sum(a == b for x, y in zip(steps[:half], steps[half:]) for p, q in zip(x, y) for r, t in zip(p, q) for a, b in zip(r, t))
    print('compiled and eager chose', alike, 'of', sum(len(r) for x in steps[:half] for p in x for r in p), 'alike')
    skipped = torch._dynamo.utils.counters['inductor'].get('cudagraph_skips', 0)
    print('CUDA graphs', 'skipped' if skipped else 'used', '; breaks', sum(torch._dynamo.utils.counters['graph_break'].values()))
    print(name, 'tokens', [t.tolist() for t in tokens])
    if skipped:
        sys.exit('no CUDA graphs')


main()
