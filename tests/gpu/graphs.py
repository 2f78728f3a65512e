# SPDX-License-Identifier: Apache-2.0
"""graphs.py MODEL TRUTH_FILE

The same models, a forward pass in a CUDA graph (torch.cuda.graph) that is replayed with other tokens. What each router chose in a
replay is taken from the same pass run eagerly. Knows nothing of moetap.
"""
import json
import sys

import torch
import transformers

LAYERS, EXPERTS, TOP_K, REPLAYS = 6, 32, 4, 5
SMALL = dict(vocab_size=2048, hidden_size=256, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=None, use_cache=False)
MODELS = {
    'mixtral': ('Mixtral', dict(intermediate_size=128, num_local_experts=EXPERTS, num_experts_per_tok=TOP_K)),
    'qwen3_moe': ('Qwen3Moe', dict(intermediate_size=256, moe_intermediate_size=128, num_experts=EXPERTS,
                                   num_experts_per_tok=TOP_K, head_dim=64)),
    'olmoe': ('Olmoe', dict(intermediate_size=128, num_experts=EXPERTS, num_experts_per_tok=TOP_K)),
}


def main():
    name, truth_file = sys.argv[1:3]
    base, extra = MODELS[name]
    config = getattr(transformers, base + 'Config')(**{**SMALL, **extra}, experts_implementation='batched_mm')
    torch.manual_seed(7)
    model = getattr(transformers, base + 'ForCausalLM')(config).to('cuda', torch.bfloat16).eval()
    static = torch.zeros(4, 8, dtype=torch.long, device='cuda')
    mask = torch.ones_like(static)
    inputs = [torch.randint(3, 2000, static.shape, device='cuda', generator=torch.Generator('cuda').manual_seed(s))
              for s in range(REPLAYS)]
    chosen, watching = [], [False]
    original = torch.topk

    def topk(input, k, *args, **kwargs):
        result = original(input, k, *args, **kwargs)
        if watching[0] and input.shape[-1] == EXPERTS and k == TOP_K:
            chosen.append(result[1].reshape(-1, k).cpu().tolist())
        return result
    torch.topk = topk
    torch.Tensor.topk = topk

    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for tokens in inputs[:3]:
                static.copy_(tokens)
                model(input_ids=static, attention_mask=mask)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = model(input_ids=static, attention_mask=mask).logits
        replayed = []
        for tokens in inputs:
            static.copy_(tokens)
            graph.replay()
            replayed.append(logits.float().sum().item())
        watching[0] = True
        for tokens, seen in zip(inputs, replayed):
            static.copy_(tokens)
            eager = model(input_ids=static, attention_mask=mask).logits.float().sum().item()
            if eager != seen:
                print('graph and eager differ:', eager, seen)
    torch.cuda.synchronize()
    json.dump({'layers': LAYERS, 'replays': REPLAYS, 'chosen': chosen}, open(truth_file, 'w'))
    print(name, 'logits', replayed)


main()
