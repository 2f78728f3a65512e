# SPDX-License-Identifier: Apache-2.0
"""flashinfer_ops.py TRUTH_FILE

Calls FlashInfer's router of DeepSeek-V3 (flashinfer-python, compiled by itself at the first call, which takes nvcc), alone and in CUDA
graphs. SGLang calls it by default.
"""
import itertools
import sys

import torch
from flashinfer.fused_moe import fused_topk_deepseek

from router_ops import FLOATS, ROWS, bias, call, finish, graph, random


def route(rows, experts, k, dtype, bias_dtype, groups, chosen, pdl, ids_dtype=torch.int32, replay=False, scores=None):
    scores = random(rows, experts, dtype=dtype) if scores is None else scores
    weights = torch.empty(rows, k, device='cuda')
    ids = torch.empty(rows, k, dtype=ids_dtype, device='cuda')
    out = torch.empty(rows, k, dtype=torch.int16, device='cuda') if replay else None
    fused_topk_deepseek(scores, bias(experts, bias_dtype), groups, chosen, k, 2.5, weights, ids, pdl, out)
    return ids, weights


# Its Python function takes grouped routing only: DeepSeek-V3, and fewer experts a token.
for experts, groups, chosen, k in [(256, 8, 4, 8), (256, 8, 4, 6), (256, 8, 4, 4)]:
    for dtype, bias_dtype, pdl in itertools.product(FLOATS, FLOATS, [False, True]):
        call('fused_topk_deepseek', route, next(ROWS), experts, k, dtype, bias_dtype, groups, chosen, pdl)
for rows, ids_dtype, replay in itertools.product([1, 33], [torch.int32, torch.int64], [False, True]):
    call('fused_topk_deepseek', route, rows, 256, 8, torch.float32, torch.float32, 8, 4, True, ids_dtype, replay)
for experts, groups, chosen, rows, pdl in [(256, 8, 4, 32, True), (256, 8, 4, 5, False), (256, 8, 4, 1, True)]:
    graph('fused_topk_deepseek', rows, experts, lambda scores: route(
        rows, experts, 8, None, torch.float32, groups, chosen, pdl, scores=scores), torch.float32)
finish(sys.argv[1])
