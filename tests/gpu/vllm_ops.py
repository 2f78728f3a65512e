# SPDX-License-Identifier: Apache-2.0
"""vllm_ops.py LIBRARY TRUTH_FILE

Calls the router kernels of vLLM's own kernel library (vllm/_moe_C*.so of its wheel) through their Python ops, over every shape and
type that they take, eagerly and in CUDA graphs, and writes down what each call chose. Knows nothing of moetap.
"""
import itertools
import json
import sys

import torch

torch.ops.load_library(sys.argv[1])
ops = torch.ops._moe_C
FLOATS = [torch.float32, torch.bfloat16, torch.float16]
INTS = [torch.int32, torch.int64, torch.uint32]
ROWS = itertools.cycle([1, 3, 17, 130, 1025])
generator = torch.Generator('cuda').manual_seed(5)


def logits(rows, experts, dtype):
    return torch.randn(rows, experts, device='cuda', generator=generator).to(dtype)


def buffers(rows, k, dtype):
    return (torch.empty(rows, k, device='cuda'), torch.empty(rows, k, dtype=dtype, device='cuda'),
            torch.empty(rows, k, dtype=torch.int32, device='cuda'))


def gating(op, rows, experts, k, dtype, ids_dtype, biased, scratch=None):
    weights, ids, indices = scratch or buffers(rows, k, ids_dtype)
    scores = logits(rows, experts, dtype)
    bias = torch.randn(experts, device='cuda', generator=generator) if biased else None
    if op == 'topk_softplus_sqrt':
        ops.topk_softplus_sqrt(weights, ids, indices, scores, True, 1.0, bias, None, None)
    else:
        getattr(ops, op)(weights, ids, indices, scores, True, bias)
    return ids


def grouped(rows, experts, k, dtype, groups, chosen, scoring):
    scores = logits(rows, experts, dtype)
    if not scoring:
        scores = scores.sigmoid()
    bias = torch.randn(experts, device='cuda', generator=generator).to(dtype)
    return ops.grouped_topk(scores, groups, chosen, k, True, 1.0, bias, scoring)[1]


calls, refused = [], {}


def call(name, function, *args):
    try:
        ids = function(*args)
        torch.cuda.synchronize()
    except Exception as error:  # a shape that the op does not take
        refused[name] = refused.get(name, 0) + 1
        refused.setdefault('why', {})[name] = str(error).split('\n')[0][:120]
        return
    calls.append((name, str(args), ids.cpu().numpy().astype('int64').tolist()))


for experts, k in itertools.product([8, 16, 32, 60, 64, 128, 160, 192, 256, 320, 384, 512], [1, 2, 4, 6, 8, 10, 16]):
    if k > experts:
        continue
    for dtype, ids_dtype, biased in itertools.product(FLOATS, INTS, [False, True]):
        for op in ('topk_softmax', 'topk_sigmoid', 'topk_softplus_sqrt'):
            call(op, gating, op, next(ROWS), experts, k, dtype, ids_dtype, biased)
for (experts, groups, chosen), k in itertools.product([(64, 8, 4), (128, 8, 4), (256, 8, 4), (160, 8, 3), (128, 1, 1), (384, 1, 1), (512, 1, 1),
                                                       (64, 1, 1), (256, 1, 1), (32, 4, 2)], [1, 2, 4, 6, 8]):
    for dtype, scoring in itertools.product(FLOATS, [0, 1]):
        call('grouped_topk', grouped, next(ROWS), experts, k, dtype, groups, chosen, scoring)

# A decode step as a graph: routers, each followed by the kernel that sorts its ids, one ids buffer for all of them.
graphs = []
side = torch.cuda.Stream()
for experts, k, rows, ids_dtype in [(128, 8, 64, torch.int32), (60, 4, 5, torch.int32), (256, 8, 300, torch.int32), (8, 2, 1, torch.int32)]:
    scratch = buffers(rows, k, ids_dtype)
    scores = [logits(rows, experts, torch.bfloat16) for _ in range(6)]
    kept = torch.empty(6, rows, k, dtype=ids_dtype, device='cuda')
    sorted_ids = torch.empty(rows * k + experts * 16, dtype=torch.int32, device='cuda')
    expert_ids = torch.empty(rows * k + experts, dtype=torch.int32, device='cuda')
    total = torch.empty(1, dtype=torch.int32, device='cuda')

    def step():
        for layer in range(6):
            ops.topk_softmax(*scratch, scores[layer], True, None)
            ops.moe_align_block_size(scratch[1], experts, 16, sorted_ids, expert_ids, total, None)
            kept[layer].copy_(scratch[1])
    with torch.cuda.stream(side):
        step()
        side.synchronize()
        warm = kept.cpu().tolist()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            step()
        chosen = []
        for _ in range(4):
            for tensor in scores:
                tensor.copy_(logits(*tensor.shape, tensor.dtype))
            graph.replay()
            side.synchronize()
            chosen += kept.cpu().tolist()
    graphs.append({'experts': experts, 'k': k, 'rows': rows, 'ids': warm + chosen})

json.dump({'calls': calls, 'graphs': graphs}, open(sys.argv[2], 'w'))
print('calls', len(calls), 'refused', refused)
