# SPDX-License-Identifier: Apache-2.0
"""vllm_client.py PORT OUT: asks a vLLM server, many requests at once, what vllm_engine.py asks its engine.

By its endpoint of token ids, /inference/v1/generate, waiting for it to come up. OUT (.npz) gets each request's tokens and the experts that the
server itself returns. Knows nothing of moetap.
"""
import base64
import io
import json
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy

from vllm_engine import prompts

PORT, OUT = sys.argv[1:3]


def ask(path, body=None):
    request = urllib.request.Request(f'http://127.0.0.1:{PORT}{path}', json.dumps(body).encode() if body else None,
                                     {'Content-Type': 'application/json'})
    with urllib.request.urlopen(request, timeout=100) as answer:
        return answer.read()


def wait():
    for _ in range(1200):
        try:
            return ask('/health')
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.25)
    sys.exit('vllm_client.py: no server')


def generate(numbered):
    i, prompt = numbered
    params = dict(temperature=0, max_tokens=20 + 7 * (i % 9), ignore_eos=True)
    choice = json.loads(ask('/inference/v1/generate', dict(token_ids=prompt, sampling_params=params)))['choices'][0]
    return prompt + choice['token_ids'], numpy.load(io.BytesIO(base64.b64decode(choice['routed_experts'])))


wait()
arrays = {}
for seed in (1, 2):
    batch = prompts(seed)
    with ThreadPoolExecutor(len(batch)) as pool:
        for tokens, experts in pool.map(generate, enumerate(batch)):
            n = len(arrays) // 2
            arrays[f'tokens_{n}'], arrays[f'experts_{n}'] = numpy.array(tokens, dtype=numpy.int32), experts
numpy.savez(OUT, **arrays)
print('requests', len(arrays) // 2)
