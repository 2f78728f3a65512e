# SPDX-License-Identifier: Apache-2.0
"""Shared by the scripts that call engines' own router kernels: makes the calls, alone and in CUDA graphs, and keeps what each chose.
Knows nothing of moetap."""
import functools
import itertools
import json

import torch

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
ROWS = itertools.cycle([1, 3, 17, 130, 1025])
_generator = torch.Generator('cuda').manual_seed(5)
_side = torch.cuda.Stream()
_calls, _graphs, _refused = [], [], {}


def random(*shape, dtype=torch.float32):
    return torch.randn(*shape, device='cuda', generator=_generator).to(dtype)


@functools.cache
def bias(experts, dtype=torch.float32):
    """One for each number of experts, as a model has it; also because nothing random can be made while a graph is captured."""
    return random(experts, dtype=dtype)


def _listed(chosen):
    """Ids, and weights where the call gives some: a float holds all that the narrower types can say, JSON all that a float can."""
    ids, weights = chosen if isinstance(chosen, tuple) else (chosen, None)
    return [ids.cpu().numpy().astype('int64').tolist(), None if weights is None else weights.float().cpu().tolist()]


def call(name, function, *args):
    """One call on the default stream, of ids or (ids, weights); one that the library does not take is counted."""
    try:
        chosen = function(*args)
        torch.cuda.synchronize()
    except Exception as error:
        if 'CUDA error' in str(error):
            raise RuntimeError(f'{name} {args} is not for this library') from error
        count, _ = _refused.get(name, (0, ''))
        _refused[name] = count + 1, f'{str(error).splitlines()[0][:120]} {args}'
        return
    _calls.append((name, str(args), *_listed(chosen)))


def graph(name, rows, experts, route, dtype=torch.bfloat16, layers=6, replays=4):
    """A decode step as a graph: `route(scores)` for each layer, ids in memory that the next layer uses again."""
    scores = [random(rows, experts, dtype=dtype) for _ in range(layers)]
    kept = [None] * layers

    def step():
        for layer in range(layers):
            chosen = route(scores[layer])
            kept[layer] = tuple(tensor.clone() for tensor in chosen) if isinstance(chosen, tuple) else chosen.clone()
    _side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(_side):
        step()
        _side.synchronize()
        all_chosen = [_listed(chosen) for chosen in kept]
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured, stream=_side):
            step()
        for _ in range(replays):
            for tensor in scores:
                tensor.copy_(random(rows, experts, dtype=dtype))
            captured.replay()
            _side.synchronize()
            all_chosen += [_listed(chosen) for chosen in kept]
    _graphs.append({'name': name, 'chosen': all_chosen})


def finish(truth_file):
    torch.cuda.synchronize()
    json.dump({'calls': _calls, 'graphs': _graphs}, open(truth_file, 'w'))
    print('calls', len(_calls), 'graphs', len(_graphs))
    for name, (count, why) in sorted(_refused.items()):
        print(f'{name}: {count} not taken, the last: {why}')
