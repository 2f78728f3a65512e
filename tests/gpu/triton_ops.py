# SPDX-License-Identifier: Apache-2.0
"""triton_ops.py TRUTH_FILE PATH...

Calls routers that engines write in Triton. PATH is SGLang's moe_fused_gate.py (of the wheel sglang: jit_kernel/ up to 0.5.16, later
kernels/ops/moe/), or the folder triton_kernels that vLLM (vllm/third_party) and sglang-kernel carry for gpt-oss.
"""
import functools
import importlib.util
import itertools
import os
import sys
import types

import torch

from router_ops import FLOATS, ROWS, bias, call, finish, graph, random


def without_sglang(path):
    """The module of that file alone: what it takes from the rest of SGLang are settings, of which the defaults are put here."""
    off = types.SimpleNamespace(get=lambda: False)
    names = {
        'utils': dict(cache_once=functools.cache, is_arch_support_pdl=lambda: True, load_jit=None,
                      get_jit_cuda_arch=lambda: types.SimpleNamespace(major=9, minor=0)),
        'kernel_api_logging': dict(debug_kernel_api=lambda function: function),
        'moe': dict(moe_route_radix=types.SimpleNamespace(covered=lambda *a: False)),
        'environ': dict(envs=types.SimpleNamespace(SGLANG_OPT_SM120_MTP_ROUTER_TOP22=off)),
    }
    for name in ('sglang', 'sglang.jit_kernel', 'sglang.jit_kernel.utils', 'sglang.kernel_api_logging', 'sglang.kernels',
                 'sglang.kernels.jit', 'sglang.kernels.jit.utils', 'sglang.kernels.kernel_api_logging', 'sglang.kernels.ops',
                 'sglang.kernels.ops.moe', 'sglang.srt', 'sglang.srt.environ'):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
        sys.modules[name].__dict__.update(names.get(name.split('.')[-1], {}))
    spec = importlib.util.spec_from_file_location('moe_fused_gate_' + str(abs(hash(path))), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sglang(path):
    gate = without_sglang(path).moe_fused_gate
    biases_only = 'Optional[torch.Tensor],\n    topk' not in open(path).read()

    def route(rows, experts, k, dtype, biased, scoring, groups=1, chosen=1, shared=0, scores=None):
        scores = random(rows, experts, dtype=dtype) if scores is None else scores
        correction = bias(experts) if biased else torch.zeros(experts, device='cuda') if biases_only else None
        weights, ids = gate(scores, correction, k + shared, scoring_func=scoring, num_expert_group=groups, topk_group=chosen,
                            num_fused_shared_experts=shared, routed_scaling_factor=2.5)[:2]
        return ids, weights
    # Each number of experts, k and type is compiled on its own: fewer of them.
    for experts, k in [(8, 2), (16, 1), (60, 4), (64, 6), (64, 8), (128, 8), (160, 6), (256, 8), (384, 8), (512, 10), (896, 16)]:
        for scoring, biased, rows in itertools.product(['softmax', 'sigmoid'], [False, True], [1, 17, 130]):
            if biased or scoring == 'softmax':
                call(f'SGLang {scoring}', route, rows, experts, k, torch.float32, biased, scoring)
    for dtype in FLOATS[1:]:
        call('SGLang softmax', route, next(ROWS), 128, 8, dtype, False, 'softmax')
    for rows in (1, 5, 64):
        call('SGLang grouped', route, rows, 256, 8, torch.float32, True, 'sigmoid', 8, 4)
        call('SGLang shared expert', route, rows, 256, 8, torch.float32, True, 'sigmoid', 8, 4, 1)
    for rows, experts, k in [(64, 128, 8), (1, 64, 6)]:
        graph('SGLang', rows, experts, lambda scores: route(rows, experts, k, None, False, 'softmax', scores=scores))


def gpt_oss(path):
    sys.path.insert(0, os.path.dirname(path.rstrip('/')))
    from triton_kernels.topk import topk

    def route(rows, experts, k, dtype, scores=None):
        result = topk(random(rows, experts, dtype=dtype) if scores is None else scores, k, apply_softmax=True)
        return result.indx if hasattr(result, 'indx') else result[1]
    # Each of these is compiled on its own, for seconds: one row, some, and so many of them that several blocks run.
    for experts, k, dtype in [(32, 4, FLOATS[1]), (128, 4, FLOATS[1]), (128, 4, FLOATS[0]), (64, 8, FLOATS[2]), (128, 1, FLOATS[1]),
                              (64, 2, FLOATS[0])]:
        for rows in (1, 3, 300):
            call('triton_kernels', route, rows, experts, k, dtype)
    for rows in (1, 32, 100):
        graph('triton_kernels', rows, 128, lambda scores: route(rows, 128, 4, None, scores))


for path in sys.argv[2:]:
    (gpt_oss if os.path.isdir(path) else sglang)(path)
finish(sys.argv[1])
