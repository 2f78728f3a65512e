# SPDX-License-Identifier: Apache-2.0
"""check_export.py MOETAP WRITE_TRACE: what trainers load is what the scheduler's model routed; a token id names its row."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

moetap, write_trace = sys.argv[1:]
TYPES = {'I32': '<i4', 'I16': '<i2', 'U16': '<u2', 'U8': '|u1', 'BOOL': '|b1'}


def truth(row, layer, j):
    return (((row * 31 + layer * 7 + j + 1) * 0x9e3779b97f4a7c15 & (1 << 64) - 1) >> 40) % 100


def safetensors(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], 'little')
    head = json.loads(data[8:end])
    assert head.pop('__metadata__')['experts'] == '100'
    return {name: np.frombuffer(data[end + a['data_offsets'][0]:end + a['data_offsets'][1]], TYPES[a['dtype']]).reshape(a['shape'])
            for name, a in head.items()}


def check(arrays, prefix, signed):
    """Returns ids that are there, and missing ones."""
    ids = arrays[prefix + 'routed_experts']
    assert ids.shape[1:] == (3, 2) and len(ids) == len(arrays[prefix + 'token_ids'])
    missing = ids == -1 if signed else arrays[prefix + 'missing']
    for (row, layer, j), is_missing in np.ndenumerate(missing):
        if not is_missing:
            assert ids[row, layer, j] == truth(int(arrays[prefix + 'token_ids'][row]), layer, j), (prefix, row, layer)
    return (~missing).sum(), missing.sum()


with tempfile.TemporaryDirectory() as folder:
    trace = Path(folder, 'x.moetap')
    subprocess.run([write_trace, trace], check=True)
    listed = subprocess.run([moetap, 'requests', trace], check=True, capture_output=True, text=True).stdout
    found = []
    for out in ('a.npz', 'a.safetensors'):
        for dtype in ('', 'int32', 'int16', 'uint16', 'uint8'):
            out_path = Path(folder, out)
            subprocess.run([moetap, 'export', trace, '--all', '-o', out_path] + ([f'--dtype={dtype}'] if dtype else []), check=True)
            arrays = {k: v for k, v in np.load(out_path).items() if k != 'metadata.json'} if out == 'a.npz' else safetensors(out_path)
            prefixes = [name[:-len('routed_experts')] for name in arrays if name.endswith('routed_experts')]
            assert arrays[prefixes[0] + 'routed_experts'].dtype == np.dtype(dtype or 'uint8')
            found.append(tuple(np.sum([check(arrays, p, dtype.startswith('int')) for p in prefixes], axis=0)))
            assert f'{len(prefixes)} requests' in listed
    assert len(set(found)) == 1 and found[0][0] > found[0][1] > 0, found
    out_path = Path(folder, 'p.npz')
    subprocess.run([moetap, 'export', trace, '--passes', '-o', out_path, '--dtype=int32'], check=True)
    passes = np.load(out_path)
    known = passes['token_ids'] > 0
    assert (np.diff(passes['pass']) >= 0).all() and known.sum() > 100
    check({k: passes[k][known] for k in ('routed_experts', 'token_ids')}, '', True)
    bad = subprocess.run([moetap, 'export', trace, '--request', '999999', '-o', out_path], capture_output=True, text=True)
    assert bad.returncode == 1 and bad.stderr.count('\n') == 1
    # slime's way: one buffer, tokens by layers by k.
    one = Path(folder, 'one.npz')
    subprocess.run([moetap, 'export', trace, '--request', '0', '-o', one, '--dtype=int32'], check=True)
    arrays = np.load(one)
    flat = np.frombuffer(arrays['routed_experts'].tobytes(), np.int32)
    assert (flat.reshape(len(arrays['token_ids']), 3, 2) == arrays['routed_experts']).all()
    # A row for each position, whose first ones may be missing; a request that is listed by its tokens is the same one.
    everything = Path(folder, 'all.npz')
    subprocess.run([moetap, 'export', trace, '--all', '-o', everything, '--dtype=int32'], check=True)
    arrays = np.load(everything)
    whole = []
    for name in arrays:
        if name.endswith('.positions'):
            positions = arrays[name]
            assert (positions == np.arange(len(positions))).all(), name
            assert arrays[name.replace('positions', 'confirmed')].all() and len(positions) > 0, name
            absent = (arrays[name.replace('positions', 'routed_experts')] == -1).all(axis=(1, 2))
            assert (np.diff(absent.astype(int)) <= 0).all(), name
            if not absent[0]:
                whole.append(name[:-len('positions')])
    tokens = Path(folder, 'tokens.json')
    lists = [arrays[prefix + 'token_ids'].tolist() for prefix in whole]
    # One with the token that was sampled last and did not run, one that nobody sent.
    lists[0].append(5)
    tokens.write_text(json.dumps(lists + [[7] * 40]))
    given = Path(folder, 'given.npz')
    # What was lost may have been the run that is meant.
    by_list = [moetap, 'export', trace, '--tokens', tokens, '-o', given]
    refused = subprocess.run(by_list, capture_output=True, text=True)
    assert refused.returncode == 1 and refused.stderr.count('\n') == 1 and 'records were lost' in refused.stderr, refused
    assert '--lossy' in refused.stderr and not given.exists()
    by_list.append('--lossy')
    said = subprocess.run(by_list + ['--dtype=int32'], check=True, capture_output=True, text=True).stderr
    assert said.count('\n') == 1 and f'1 of {len(lists) + 1} requests' in said, said
    by_tokens = np.load(given)
    for i, prefix in enumerate(whole):
        ids = by_tokens[f'{i}.routed_experts']
        assert len(ids) == len(lists[i]) and by_tokens[f'{i}.token_ids'].tolist() == lists[i]
        assert (ids[:len(arrays[prefix + 'token_ids'])] == arrays[prefix + 'routed_experts']).all(), prefix
    assert (by_tokens['0.routed_experts'][-1] == -1).all() and (by_tokens[f'{len(lists)}.routed_experts'] == -1).all()
    assert len(whole) > 20
    for text, why in (('[[1, 2], [3, -4]]', 'entry 1'), ('[[1, 2],', f'{tokens}:1'), ('{"a": 1}', 'entry 0'), ('[]', 'entry 0'),
                      ('[1]', 'entry 0'), ('[["a"]]', 'entry 0'), ('[[5000000000]]', 'entry 0')):
        tokens.write_text(text)
        bad = subprocess.run(by_list, capture_output=True, text=True)
        assert bad.returncode == 1 and bad.stderr.count('\n') == 1 and why in bad.stderr, (text, bad.stderr)
    # What is no regular file is not replaced by one; a list that is not there; a trace without a segment.
    fifo, nothing = Path(folder, 'fifo'), Path(folder, 'nothing.moetap')
    os.mkfifo(fifo)
    nothing.write_bytes(trace.read_bytes()[:32])
    for options, why in (([trace, '--all', '-o', fifo, '--format=npz'], 'no regular file'),
                         ([trace, '--all', '-o', fifo, '--format=safetensors'], 'no regular file'),
                         ([trace, '--tokens', Path(folder, 'none'), '--lossy', '-o', given], 'none: No such file'),
                         *(([nothing, *what, '-o', given], 'nothing was captured') for what in (['--all'], ['--passes'], ['--tokens', tokens]))):
        bad = subprocess.run([moetap, 'export'] + options, capture_output=True, text=True)
        assert bad.returncode == 1 and bad.stderr.count('\n') == 1 and why in bad.stderr, (options, bad)
    assert fifo.is_fifo()
    for options, status in ((['--links=maybe'], 2), (['--lossy'], 2), (['--block-size=7'], 1)):
        for verb in (['requests', trace], ['export', trace, '--all', '-o', out_path]):
            bad = subprocess.run([moetap] + verb + options, capture_output=True, text=True)
            assert bad.returncode == status and bad.stderr.count('\n') == 1 and options[0] in bad.stderr, bad.stderr
    proven = subprocess.run([moetap, 'requests', trace, '--links=proven'], check=True, capture_output=True, text=True).stdout
    assert proven.count('\n') > listed.count('\n') and 'where they are proven' in proven and 'proven' not in listed
    # The model's own numbers of layers; a config of another model warns and changes nothing.
    config = Path(folder, 'config.json')
    model = {'num_hidden_layers': 4, 'first_k_dense_replace': 1, 'n_routed_experts': 100, 'num_experts_per_tok': 2}
    for change, layers, warns in (({}, [1, 2, 3], False), ({'first_k_dense_replace': 0}, [0, 1, 2], True),
                                  ({'num_experts_per_tok': 4}, [0, 1, 2], True), ({'n_routed_experts': 64}, [0, 1, 2], True)):
        config.write_text(json.dumps(model | change))
        said = subprocess.run([moetap, 'export', trace, '--all', '-o', out_path, '--model-config', config], check=True,
                              capture_output=True, text=True).stderr
        arrays = np.load(out_path)
        assert all(arrays[name].tolist() == layers for name in arrays if name.endswith('.layers')), change
        assert said.count('\n') == warns and (str(config) in said) == warns, said
    config.write_text('{"num_hidden_layers": 4,\n oops}')
    bad = subprocess.run([moetap, 'export', trace, '--all', '-o', out_path, '--model-config', config], capture_output=True, text=True)
    assert bad.returncode == 1 and bad.stderr.count('\n') == 1 and f'{config}:2: ' in bad.stderr, bad.stderr
    # The last layer is a second process's, and some records of either were lost: columns of one array, each right or missing.
    staged = Path(folder, 'stages.moetap')
    subprocess.run([write_trace, staged, 'stages'], check=True)
    subprocess.run([moetap, 'export', staged, '--all', '-o', out_path, '--dtype=int32', '--stages=0,1'], check=True)
    arrays = np.load(out_path)
    there, missing = np.sum([check(arrays, name[:-len('routed_experts')], True) for name in arrays if name.endswith('routed_experts')],
                            axis=0)
    last = np.concatenate([arrays[name][:, 2] for name in arrays if name.endswith('routed_experts')])
    assert there > missing > 0 and (last >= 0).mean() > 0.5, (there, missing, (last >= 0).mean())
    for options, why in ((['--all', '--stages=0,2'], 'no segment 2'), (['--all', '--stages=0'], '--stages=0'),
                         (['--all', '--stages=0,0'], '--stages=0,0'), (['--passes', '--stages=0,1'], '--passes')):
        bad = subprocess.run([moetap, 'export', staged, '-o', out_path, *options], capture_output=True, text=True)
        assert bad.returncode in (1, 2) and bad.stderr.count('\n') == 1 and why in bad.stderr, bad.stderr
print('ids', found[0][0], 'missing', found[0][1])
