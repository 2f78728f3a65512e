# SPDX-License-Identifier: Apache-2.0
"""sglang_ops.py LIBRARY TRUTH_FILE

Calls the router kernels of SGLang's own kernel library (sgl_kernel/sm90/common_ops.abi3.so of the wheel sglang-kernel) through their
Python ops, over every shape and type that they take, alone and in CUDA graphs. For sglang-kernel 0.4.4, which is built for torch 2.11.
"""
import itertools
import sys

import torch

from router_ops import FLOATS, ROWS, bias, call, finish, graph, random

torch.ops.load_library(sys.argv[1])
ops = torch.ops.sgl_kernel


def gating(op, rows, experts, k, dtype, biased, scores=None):
    scores = random(rows, experts, dtype=dtype) if scores is None else scores
    correction = bias(experts) if biased else None
    weights = torch.empty(rows, k, device='cuda')
    ids = torch.empty(rows, k, dtype=torch.int32, device='cuda')
    if op == 'topk_softmax':
        ops.topk_softmax(weights, ids, scores, True, 0.0, correction)
    else:
        ops.topk_sigmoid(weights, ids, scores, True, correction)
    return ids, weights


def fused(rows, experts, k, dtype, groups, chosen, shared, scores=None):
    scores = random(rows, experts, dtype=dtype) if scores is None else scores
    weights, ids = ops.moe_fused_gate(scores, bias(experts, scores.dtype), groups, chosen, k + shared, shared, 2.5, False)
    return ids, weights


def kimi(rows, experts, k, scores=None):
    scores = random(rows, experts) if scores is None else scores
    weights, ids = ops.kimi_k2_moe_fused_gate(scores, bias(experts), k, True, 2.872, False)
    return ids, weights


def aligned(chosen, experts):
    """What the engine's experts do first: sort the ids by expert. Only reads them."""
    ids = chosen[0]
    count = ids.numel() + (experts + 1) * 16
    sorted_ids, expert_ids, sums = (torch.zeros(count, dtype=torch.int32, device='cuda') for _ in range(3))
    ops.moe_align_block_size(ids, experts + 1, 16, sorted_ids, expert_ids, torch.empty(1, dtype=torch.int32, device='cuda'), sums, True)
    return chosen


for experts, k in itertools.product([8, 16, 32, 60, 64, 128, 160, 192, 256, 320, 384, 512], [1, 2, 4, 6, 8, 10, 16]):
    if k > experts:
        continue
    for dtype, biased in itertools.product(FLOATS, [False, True]):
        for op in ('topk_softmax', 'topk_sigmoid'):
            for _ in range(2):
                call(op, gating, op, next(ROWS), experts, k, dtype, biased)
for (experts, groups, chosen), k, dtype, shared in itertools.product(
        [(256, 8, 4), (256, 16, 8), (128, 8, 4), (128, 4, 2), (512, 16, 8), (64, 8, 4), (32, 4, 2), (16, 2, 1), (64, 2, 1)],
        [2, 4, 6, 8], FLOATS, [0, 1, 2]):
    call('moe_fused_gate', fused, next(ROWS), experts, k, dtype, groups, chosen, shared)
for experts, k in itertools.product([256, 384], [1, 2, 4, 6, 8]):
    for rows in (1, 3, 130, 1025):
        call('kimi_k2_moe_fused_gate', kimi, rows, experts, k)

for experts, k, rows in [(128, 8, 64), (60, 4, 5), (256, 8, 300), (8, 2, 1)]:
    for op in ('topk_softmax', 'topk_sigmoid'):
        graph(op, rows, experts, lambda scores: aligned(gating(op, rows, experts, k, None, False, scores), experts))
graph('moe_fused_gate', 32, 256, lambda scores: aligned(fused(32, 256, 8, None, 8, 4, 0, scores), 256), torch.float32)
graph('kimi_k2_moe_fused_gate', 7, 384, lambda scores: aligned(kimi(7, 384, 8, scores), 384), torch.float32)
finish(sys.argv[2])
