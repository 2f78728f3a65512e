# SPDX-License-Identifier: Apache-2.0
"""A whole SGLang engine (sglang.Engine, from its wheel) on a small Mixture-of-Experts model with random weights.

sglang_engine.py model FOLDER          writes the model: config.json and weights, no tokenizer
sglang_engine.py run FOLDER OUT [own] [eager] [no_prefix] [small_cache] [pages]
                                       answers prompts of several lengths, many of them at once, in two rounds whose prompts share
                                       prefixes with each other; OUT (.npz) gets each request's tokens
  own          with SGLang's own enable_return_routed_experts; OUT then has its arrays too
  eager        no CUDA graphs
  no_prefix    without the radix cache
  small_cache  so few KV slots that requests are retracted
  pages        KV pages of 16 slots, not of one

Knows nothing of moetap.
"""
import sys

from vllm_engine import LAYERS, TOP_K, make, prompts


def run(folder, out, *options):
    import base64
    import numpy
    import sglang
    own = 'own' in options
    # The cache's size is given: what SGLang measures for it changes with who else is on the GPU.
    engine = sglang.Engine(model_path=folder, skip_tokenizer_init=True, random_seed=0, context_length=1024, chunked_prefill_size=256,
                           max_running_requests=32, max_total_tokens=1600 if 'small_cache' in options else 16384,
                           page_size=16 if 'pages' in options else 1, mem_fraction_static=0.2, attention_backend='triton',
                           sampling_backend='pytorch', grammar_backend='none', disable_radix_cache='no_prefix' in options,
                           disable_cuda_graph='eager' in options, cuda_graph_max_bs_decode=32, enable_return_routed_experts=own)
    arrays, n = {}, 0
    for seed in (1, 2):
        batch = prompts(seed)
        params = [{'temperature': 0, 'max_new_tokens': 20 + 7 * (i % 9), 'ignore_eos': True} for i in range(len(batch))]
        for prompt, answer in zip(batch, engine.generate(input_ids=batch, sampling_params=params, return_routed_experts=own)):
            arrays[f'tokens_{n}'] = numpy.array(prompt + answer['output_ids'], dtype=numpy.int32)
            if own:
                experts = numpy.frombuffer(base64.b64decode(answer['meta_info']['routed_experts']), dtype=numpy.int32)
                arrays[f'experts_{n}'] = experts.reshape(-1, LAYERS, TOP_K)
            n += 1
    engine.shutdown()
    numpy.savez(out, **arrays)
    print('requests', n, 'tokens', sum(len(arrays[f'tokens_{i}']) for i in range(n)))


# The engine's processes are spawned: they import this file.
if __name__ == '__main__':
    {'model': make, 'run': run}[sys.argv[1]](*sys.argv[2:])
