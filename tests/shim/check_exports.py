# SPDX-License-Identifier: Apache-2.0
"""check_exports.py MOETAP SHIM MOE_DEMO: exported weights have every bit that the sample engine kept; what is missing is NaN, where
ids are missing, and never 0. Where load balancing made physical ids of the router's, either can be exported."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

moetap, shim, demo = sys.argv[1:]
LAYERS, TOKENS, TOPK, STEPS = 5, 40, 6, 30
SHAPE = f'--layers {LAYERS} --topk {TOPK} --tokens {TOKENS} --steps {STEPS}'.split()


def safetensors(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], 'little')
    head = json.loads(data[8:end])
    words = head.pop('__metadata__')
    types = {'F32': '<f4', 'I32': '<i4', 'U8': '|u1', 'BOOL': '|b1'}
    return {name: np.frombuffer(data[end + a['data_offsets'][0]:end + a['data_offsets'][1]], types[a['dtype']]).reshape(a['shape'])
            for name, a in head.items()}, words


def export(trace, *options):
    out = Path(folder, 'x.safetensors')
    subprocess.run([moetap, 'export', trace, '--passes', '-o', out, *options], check=True)
    arrays, words = safetensors(out)
    out = Path(folder, 'x.npz')
    subprocess.run([moetap, 'export', trace, '--passes', '-o', out, *options], check=True)
    with np.load(out) as npz:
        assert set(npz) - {'metadata.json'} == set(arrays)
        for name in arrays:
            assert npz[name].tobytes() == arrays[name].tobytes() and npz[name].shape == arrays[name].shape, name
    return arrays, words


def same(weights, truth):
    return weights.tobytes() == truth.tobytes()


with tempfile.TemporaryDirectory() as folder:
    trace, truth_file = Path(folder, 't'), Path(folder, 'truth')
    record = [moetap, 'record', '-q', '--source=preload', '-o', trace]
    engine = [demo, *SHAPE, '--weights', '--graph', '--truth', truth_file]
    subprocess.run([*record, '--weights', '--', *engine], check=True, capture_output=True)
    # [steps, layers, tokens, k] as [rows of all steps, layers, k]
    truth = np.fromfile(f'{truth_file}.weights', '<f4').reshape(STEPS, LAYERS, TOKENS, TOPK).swapaxes(1, 2).reshape(-1, LAYERS, TOPK)
    arrays, words = export(trace)
    assert words['weights'] == 'f32' and not arrays['missing'].any() and same(arrays['topk_weights'], truth)
    arrays, words = export(trace, '--dtype=int32')
    assert 'missing' not in arrays and same(arrays['topk_weights'], truth)

    # Nobody reads while the engine runs: what the ring held is there, the rest is missing, pass by pass and layer by layer.
    environment = dict(os.environ, MOETAP_SHM_DIR=folder, MOETAP_SESSION='w', MOETAP_WEIGHTS='1', MOETAP_RING_SIZE='64K',
                       MOETAP_SOURCE='preload')
    subprocess.run(engine, check=True, capture_output=True, env=environment | {'LD_PRELOAD': shim})
    segment, = Path(folder).glob('moetap.w.*')
    subprocess.run([moetap, 'drain', '-q', segment, '-o', trace, '--force'], check=True, capture_output=True, env=environment)
    arrays, _ = export(trace)
    missing, weights = arrays['missing'], arrays['topk_weights']
    assert (np.isnan(weights) == missing).all()
    here = truth[:len(weights)]
    assert same(weights[~missing], here[~missing]), 'other weights'
    assert 0 < len(weights) < len(truth) and missing[-TOKENS:].any() and not missing[-TOKENS:].all()

    subprocess.run([*record, '--force', '--', *engine], check=True, capture_output=True)
    arrays, words = export(trace)
    assert words['weights'] == 'none' and not any('weights' in name for name in arrays)

    # Load balancing.
    engine = [demo, *SHAPE, '--eplb=inplace', '--graph', '--truth', truth_file]
    subprocess.run([*record, '--force', '--', *engine], check=True, capture_output=True)
    for options, file, space in (([], truth_file, 'logical'), (['--ids=logical'], truth_file, 'logical'),
                                 (['--ids=physical'], f'{truth_file}.physical', 'physical')):
        ids = np.fromfile(file, '<i4').reshape(STEPS, LAYERS, TOKENS, TOPK).swapaxes(1, 2).reshape(-1, LAYERS, TOPK)
        arrays, words = export(trace, *options)
        assert words['id_space'] == space and words['experts'] == {'logical': '64', 'physical': '128'}[space]
        assert not arrays['missing'].any() and (arrays['routed_experts'] == ids).all()

    # A draft model of the target's E and k is no layer of it and adds no row: told apart by how often it runs, by graphs, by token ids.
    for options in (['--draft=3'], ['--draft=3', '--context'], ['--draft=1', '--graph=update'], ['--draft=1', '--context'],
                    ['--draft=1', '--context', '--graph=update'], ['--draft=2', '--context', '--graph=pieces']):
        engine = [demo, *SHAPE, *options, '--truth', truth_file]
        subprocess.run([*record, '--force', '--', *engine], check=True, capture_output=True)
        ids = np.fromfile(truth_file, '<i4').reshape(STEPS, LAYERS, TOKENS, TOPK).swapaxes(1, 2)
        real = TOKENS
        if '--context' in options:
            rows = np.fromfile(f'{truth_file}.context', '<i4').reshape(STEPS, 3, TOKENS)
            real = TOKENS - TOKENS // 5
        arrays, _ = export(trace)
        assert arrays['routed_experts'].shape == (STEPS * real, LAYERS, TOPK), (options, arrays['routed_experts'].shape)
        assert (arrays['routed_experts'] == ids[:, :real].reshape(-1, LAYERS, TOPK)).all() and not arrays['missing'].any(), options
        assert real == TOKENS or (arrays['positions'] == rows[:, 1, :real].reshape(-1)).all(), options
        said = subprocess.run([moetap, 'requests', trace], check=True, capture_output=True, text=True).stdout
        assert f'{LAYERS} layers' in said and '1 layers run apart' in said, said
        said = subprocess.run([moetap, 'info', trace], check=True, capture_output=True, text=True).stdout
        assert f'{LAYERS} of 1 ' in said and f', {LAYERS} layers, ' in said, said

    # Two processes with some of the layers each, and titles as engines set them: one array. They run long enough to be looked at.
    MANY, FEW = 1500, 10
    stages = [f"bash -c 'exec -a VLLM::Worker_PP{i}_TP0 {Path(demo).resolve()} --context --layers {layers} --seed {i} --topk {TOPK} "
              f"--tokens {FEW} --steps {MANY} --truth {truth_file}.{i}'" for i, layers in enumerate((3, 2))]
    subprocess.run([*record, '--force', '--', 'bash', '-c', f'{stages[1]} & {stages[0]}; wait'], check=True, capture_output=True)
    both = np.concatenate([np.fromfile(f'{truth_file}.{i}', '<i4').reshape(MANY, layers, FEW, TOPK).swapaxes(1, 2)
                           for i, layers in enumerate((3, 2))], axis=2)
    rows = np.fromfile(f'{truth_file}.0.context', '<i4').reshape(MANY, 3, FEW)
    seen = 0
    for request in range(0, 4000, 800):
        out = Path(folder, 'x.npz')
        subprocess.run([moetap, 'export', trace, '--request', str(request), '--stages=auto', '--dtype=int32', '-o', out], check=True)
        with np.load(out) as npz:
            assert npz['routed_experts'].shape[1:] == (5, TOPK)
            for ids, token, position in zip(npz['routed_experts'], npz['token_ids'], npz['positions']):
                if not (ids < 0).all():
                    ran = both[(rows[:, 0] == token) & (rows[:, 1] == position)]
                    assert any((ids == other).all() for other in ran), (request, position)
                    seen += 1
    assert seen >= 5, seen
print('weights', truth.size, 'physical ids', ids.size)
