# SPDX-License-Identifier: Apache-2.0
"""A whole vLLM engine (vllm.LLM, from its wheel) on a small Mixture-of-Experts model with random weights.

vllm_engine.py model FOLDER          writes the model: config.json and weights, no tokenizer
vllm_engine.py speed FOLDER          generates with many requests at once and says how fast; for bench/vllm.sh
vllm_engine.py run FOLDER OUT [own] [eager] [no_prefix] [small_cache]
                                     answers prompts of several lengths, many of them at once, in two rounds whose prompts share
                                     prefixes with each other; OUT (.npz) gets each request's tokens
  own          with vLLM's own enable_return_routed_experts; OUT then has its arrays too
  eager        no torch.compile, no CUDA graphs
  no_prefix    without the prefix cache
  small_cache  so few KV blocks that requests are preempted

Knows nothing of moetap.
"""
import sys

from qwen_model import VOCAB, make, prompts


def run(folder, out, *options):
    import numpy
    from vllm import LLM, SamplingParams
    more = {}
    if 'own' in options:
        more['enable_return_routed_experts'] = True
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
            if 'own' in options:
                arrays[f'experts_{n}'] = numpy.asarray(completion.routed_experts)
            n += 1
    numpy.savez(out, **arrays)
    print('requests', n, 'tokens', sum(len(arrays[f'tokens_{i}']) for i in range(n)))


def speed(folder, *options):
    import random
    import time
    from vllm import LLM, SamplingParams
    llm = LLM(model=folder, skip_tokenizer_init=True, seed=0, max_model_len=1024, max_num_seqs=128, kv_cache_memory_bytes=1 << 30,
              enable_return_routed_experts='own' in options)
    params = SamplingParams(temperature=0, max_tokens=200, ignore_eos=True, detokenize=False)
    for n in range(10):
        r = random.Random(n)
        batch = [{'prompt_token_ids': [r.randrange(3, VOCAB) for _ in range(50 + r.randrange(100))]} for _ in range(128)]
        begun = time.perf_counter()
        llm.generate(batch, params, use_tqdm=False)
        print(f'round {n}: {128 * 200 / (time.perf_counter() - begun):.0f} tokens/s', flush=True)


if __name__ == '__main__':
    {'model': make, 'run': run, 'speed': speed}[sys.argv[1]](*sys.argv[2:])
