# SPDX-License-Identifier: Apache-2.0
"""vllm_ops.py LIBRARY TRUTH_FILE [OP...]

Calls the router kernels of vLLM's own kernel library (vllm/_moe_C*.so of its wheel) through their Python ops, over every shape and
type that they take, alone and in CUDA graphs. Seen with vllm 0.24.0, which is built for torch 2.11.
"""
import itertools
import sys

import torch

from router_ops import FLOATS, ROWS, bias, call, finish, graph, random

torch.ops.load_library(sys.argv[1])
ops = torch.ops._moe_C
INTS = [torch.int32, torch.int64, torch.uint32]
GATING = ['topk_softmax', 'topk_sigmoid', 'topk_softplus_sqrt']
chosen_ops = sys.argv[3:] or GATING + ['grouped_topk']


def gating(op, rows, experts, k, dtype, ids_dtype, biased, scores=None):
    scores = random(rows, experts, dtype=dtype) if scores is None else scores
    correction = bias(experts) if biased else None
    weights = torch.empty(rows, k, device='cuda')
    ids = torch.empty(rows, k, dtype=ids_dtype, device='cuda')
    indices = torch.empty(rows, k, dtype=torch.int32, device='cuda')
    if op == 'topk_softplus_sqrt':
        ops.topk_softplus_sqrt(weights, ids, indices, scores, True, 1.0, correction, None, None)
    else:
        getattr(ops, op)(weights, ids, indices, scores, True, correction)
    return ids, weights


def hashed(rows, experts, k, dtype, ids_dtype):
    """DeepSeek-V4's first layers: the experts come from a table, by token."""
    table = torch.stack([torch.randperm(experts, device='cuda')[:k] for _ in range(97)]).to(ids_dtype)
    tokens = torch.randint(0, 97, (rows,), device='cuda').to(ids_dtype)
    weights = torch.empty(rows, k, device='cuda')
    ids = torch.empty(rows, k, dtype=ids_dtype, device='cuda')
    indices = torch.empty(rows, k, dtype=torch.int32, device='cuda')
    ops.topk_softplus_sqrt(weights, ids, indices, random(rows, experts, dtype=dtype), True, 1.5, None, tokens, table)
    return ids, weights


def grouped(rows, experts, k, dtype, bias_dtype, groups, chosen, scoring, scores=None):
    scores = random(rows, experts, dtype=dtype) if scores is None else scores
    scores = scores if scoring else scores.sigmoid()
    weights, ids = ops.grouped_topk(scores, groups, chosen, k, True, 1.0, bias(experts, bias_dtype), scoring)
    return ids, weights


def aligned(chosen, experts):
    """What the engine's experts do first: sort the ids by expert. Only reads them."""
    ids = chosen[0]
    count = ids.numel() + experts * 16
    sorted_ids, expert_ids = (torch.empty(count, dtype=torch.int32, device='cuda') for _ in range(2))
    ops.moe_align_block_size(ids, experts, 16, sorted_ids, expert_ids, torch.empty(1, dtype=torch.int32, device='cuda'), None)
    return chosen


for op in chosen_ops:
    if op not in GATING:
        continue
    for experts, k in itertools.product([8, 16, 32, 60, 64, 128, 160, 192, 256, 320, 384, 512], [1, 2, 4, 6, 8, 10, 16]):
        if k <= experts:
            for dtype, ids_dtype, biased in itertools.product(FLOATS, INTS, [False, True]):
                call(op, gating, op, next(ROWS), experts, k, dtype, ids_dtype, biased)
if 'topk_softplus_sqrt' in chosen_ops:
    for experts, dtype, ids_dtype in itertools.product([256, 384], FLOATS, INTS):
        call('topk_softplus_sqrt hashed', hashed, next(ROWS), experts, 6, dtype, ids_dtype)
if 'grouped_topk' in chosen_ops:
    # Shapes of models (a wider list made the op fail): DeepSeek-V3, Kimi-K2, MiniMax-M2, GLM-4.5 and its Air, Dots1.
    for experts, groups, chosen, k in [(256, 8, 4, 8), (384, 1, 1, 8), (256, 1, 1, 8), (160, 1, 1, 8), (128, 1, 1, 8), (128, 1, 1, 6)]:
        for dtype, bias_dtype, scoring in itertools.product(FLOATS, FLOATS, [0, 1]):
            call('grouped_topk', grouped, next(ROWS), experts, k, dtype, bias_dtype, groups, chosen, scoring)

for op, (experts, k, rows) in itertools.product(chosen_ops, [(128, 8, 64), (60, 4, 5), (256, 8, 300), (8, 2, 1), (512, 10, 16)]):
    if op in GATING and (op != 'topk_softplus_sqrt' or experts == 256):
        graph(op, rows, experts, lambda scores: aligned(gating(op, rows, experts, k, None, torch.int32, False, scores), experts))
if 'grouped_topk' in chosen_ops:
    for experts, groups, chosen, k, rows in [(256, 8, 4, 8, 32), (384, 1, 1, 8, 3), (128, 1, 1, 8, 300)]:
        graph('grouped_topk', rows, experts, lambda scores: aligned(
            grouped(rows, experts, k, None, torch.float32, groups, chosen, 1, scores), experts), torch.float32)
finish(sys.argv[2])
