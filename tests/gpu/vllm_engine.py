# SPDX-License-Identifier: Apache-2.0
"""A whole vLLM engine (vllm.LLM, from its wheel) on a small Mixture-of-Experts model with random weights.

vllm_engine.py model FOLDER          writes the model: config.json and weights, no tokenizer
vllm_engine.py windows FOLDER        the same of a model (gpt-oss) whose every second layer attends to a window of 32 tokens, shorter than
                                     most prefixes that are found, so that the engine has two KV cache groups
vllm_engine.py large FOLDER          config.json only, of a model whose layers are those of Qwen3-30B-A3B, 16 of them
vllm_engine.py speed FOLDER          generates with many requests at once and says how fast; for bench/vllm.sh. Without weights: dummy ones
vllm_engine.py run FOLDER OUT [own] [eager] [no_prefix] [small_cache] [v2] [drafts]
                                     answers prompts of several lengths, many of them at once, in two rounds whose prompts share
                                     prefixes with each other; OUT (.npz) gets each request's tokens
  own          with vLLM's own enable_return_routed_experts; OUT then has its arrays too
  eager        no torch.compile, no CUDA graphs
  no_prefix    without the prefix cache
  small_cache  so few KV blocks that requests are preempted
  v2           with the V2 model runner, whose experts are seen by vllm_v2.py
  drafts       speculative decoding, by what was said before (ngram)

Knows nothing of moetap.
"""
import json
import os
import sys

LAYERS, HIDDEN, EXPERTS, TOP_K, VOCAB, HEADS, KV_HEADS, HEAD, INNER = 6, 512, 64, 8, 32000, 8, 4, 64, 128


def write(folder, config, seed, layer):
    """layer(weight, at) tells the weights of a layer that are its architecture's own."""
    import torch
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    with open(f'{folder}/config.json', 'w') as f:
        json.dump(config, f)
    random = torch.Generator().manual_seed(seed)

    def weight(*shape, scale=0.05):
        return (torch.randn(*shape, generator=random) * scale).to(torch.bfloat16)
    ones = torch.ones(HIDDEN, dtype=torch.bfloat16)
    t = {'model.embed_tokens.weight': weight(VOCAB, HIDDEN, scale=1), 'lm_head.weight': weight(VOCAB, HIDDEN), 'model.norm.weight': ones}
    for i in range(LAYERS):
        at = f'model.layers.{i}.'
        for name in ('input_layernorm', 'post_attention_layernorm'):
            t[at + name + '.weight'] = ones.clone()
        for name, rows, columns in (('q_proj', HEADS * HEAD, HIDDEN), ('k_proj', KV_HEADS * HEAD, HIDDEN),
                                    ('v_proj', KV_HEADS * HEAD, HIDDEN), ('o_proj', HIDDEN, HEADS * HEAD)):
            t[f'{at}self_attn.{name}.weight'] = weight(rows, columns)
            if config['attention_bias']:
                t[f'{at}self_attn.{name}.bias'] = weight(rows)
        t.update(layer(weight, at))
    save_file(t, f'{folder}/model.safetensors', metadata={'format': 'pt'})


QWEN = dict(architectures=['Qwen3MoeForCausalLM'], model_type='qwen3_moe', vocab_size=VOCAB, hidden_size=HIDDEN,
            intermediate_size=256, moe_intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS, head_dim=HEAD, num_experts=EXPERTS, num_experts_per_tok=TOP_K,
            norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], max_position_embeddings=4096,
            rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False, hidden_act='silu', attention_bias=False,
            torch_dtype='bfloat16', bos_token_id=1, eos_token_id=2, pad_token_id=0)


def large(folder):
    config = dict(QWEN, hidden_size=2048, intermediate_size=6144, moe_intermediate_size=768, num_hidden_layers=16,
                  num_attention_heads=32, num_key_value_heads=4, head_dim=128, num_experts=128)
    os.makedirs(folder, exist_ok=True)
    with open(f'{folder}/config.json', 'w') as f:
        json.dump(config, f)


def make(folder):
    import torch

    def layer(weight, at):
        t = {f'{at}self_attn.{name}.weight': torch.ones(HEAD, dtype=torch.bfloat16) for name in ('q_norm', 'k_norm')}
        t[at + 'mlp.gate.weight'] = weight(EXPERTS, HIDDEN)
        for e in range(EXPERTS):
            for name, rows, columns in (('gate_proj', INNER, HIDDEN), ('up_proj', INNER, HIDDEN), ('down_proj', HIDDEN, INNER)):
                t[f'{at}mlp.experts.{e}.{name}.weight'] = weight(rows, columns)
        return t
    write(folder, QWEN, 11, layer)


def windows(folder):
    experts = 32
    config = dict(architectures=['GptOssForCausalLM'], model_type='gpt_oss', vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=INNER,
                  num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD,
                  num_local_experts=experts, num_experts_per_tok=4, sliding_window=32, swiglu_limit=7.0, attention_bias=True,
                  layer_types=['sliding_attention', 'full_attention'] * (LAYERS // 2), max_position_embeddings=4096, rms_norm_eps=1e-5,
                  rope_theta=150000.0, rope_scaling=dict(rope_type='yarn', factor=32.0, beta_fast=32.0, beta_slow=1.0, truncate=False,
                                                         original_max_position_embeddings=4096),
                  hidden_act='silu', initializer_range=0.02, tie_word_embeddings=False, torch_dtype='bfloat16', bos_token_id=1,
                  eos_token_id=2, pad_token_id=0)

    def layer(weight, at):
        # vLLM 0.24 looks for unquantized weights of gpt-oss by the names of its own modules.
        own = at + 'mlp.experts.routed_experts.'
        return {at + 'self_attn.sinks': weight(HEADS),
                at + 'mlp.router.weight': weight(experts, HIDDEN), at + 'mlp.router.bias': weight(experts),
                own + 'gate_up_proj': weight(experts, HIDDEN, 2 * INNER), own + 'gate_up_proj_bias': weight(experts, 2 * INNER),
                own + 'down_proj': weight(experts, INNER, HIDDEN), own + 'down_proj_bias': weight(experts, HIDDEN)}
    write(folder, config, 12, layer)


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


def run(folder, out, *options):
    import numpy
    own, v2 = 'own' in options, 'v2' in options
    os.environ['VLLM_USE_V2_MODEL_RUNNER'] = str(int(v2))
    if v2:
        os.environ['VLLM_ENABLE_V1_MULTIPROCESSING'] = '0'
    from vllm import LLM, SamplingParams
    more = {}
    if v2 and own:
        import vllm_v2
        seen = vllm_v2.watch()
    elif own:
        more['enable_return_routed_experts'] = True
    if 'drafts' in options:
        more['speculative_config'] = dict(method='ngram', num_speculative_tokens=4, prompt_lookup_max=3, prompt_lookup_min=1)
        more['disable_log_stats'] = False
    if 'small_cache' in options:
        more['num_gpu_blocks_override'] = 90
    # The cache's size is given: what vLLM measures for it changes with who else is on the GPU.
    llm = LLM(model=folder, skip_tokenizer_init=True, seed=0, max_model_len=1024, max_num_batched_tokens=256, max_num_seqs=32,
              gpu_memory_utilization=0.05, kv_cache_memory_bytes=256 << 20, enable_prefix_caching='no_prefix' not in options,
              enforce_eager='eager' in options, **more)
    arrays, n = {}, 0
    for seed in (1, 2):
        batch = prompts(seed)
        params = [SamplingParams(temperature=0, max_tokens=20 + 7 * (i % 9), ignore_eos=True, detokenize=False)
                  for i in range(len(batch))]
        for answer in llm.generate([{'prompt_token_ids': p} for p in batch], params, use_tqdm=False):
            completion = answer.outputs[0]
            arrays[f'tokens_{n}'] = numpy.array(list(answer.prompt_token_ids) + list(completion.token_ids), dtype=numpy.int32)
            if own:
                arrays[f'experts_{n}'] = numpy.asarray(
                    vllm_v2.truth(seen, answer.request_id, len(arrays[f'tokens_{n}']) - 1) if v2 else completion.routed_experts)
            n += 1
    numpy.savez(out, **arrays)
    print('requests', n, 'tokens', sum(len(arrays[f'tokens_{i}']) for i in range(n)))
    if v2 and own:
        print('passes of the V2 model runner', seen['passes'])
    if 'drafts' in options:
        print(*(f'{m.name} {m.value}' for m in llm.get_metrics() if 'spec_decode' in m.name and hasattr(m, 'value')))


def speed(folder, *options):
    import random
    import time
    # One process, so that no time goes by between two of them.
    os.environ['VLLM_ENABLE_V1_MULTIPROCESSING'] = '0'
    from vllm import LLM, SamplingParams
    llm = LLM(model=folder, skip_tokenizer_init=True, seed=0, max_model_len=1024, max_num_seqs=128, kv_cache_memory_bytes=4 << 30,
              load_format='auto' if os.path.exists(f'{folder}/model.safetensors') else 'dummy',
              enable_return_routed_experts='own' in options)
    params = SamplingParams(temperature=0, max_tokens=200, ignore_eos=True, detokenize=False)
    for n in range(10):
        r = random.Random(n)
        batch = [{'prompt_token_ids': [r.randrange(3, VOCAB) for _ in range(50 + r.randrange(100))]} for _ in range(128)]
        begun = time.perf_counter()
        llm.generate(batch, params, use_tqdm=False)
        print(f'round {n}: {128 * 200 / (time.perf_counter() - begun):.0f} tokens/s', flush=True)


if __name__ == '__main__':
    {'model': make, 'windows': windows, 'large': large, 'run': run, 'speed': speed}[sys.argv[1]](*sys.argv[2:])
