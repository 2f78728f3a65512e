# SPDX-License-Identifier: Apache-2.0
"""check_consumers.py MOETAP WRITE_SAMPLES CONSUMERS_MD: what docs/consumers.md says loads into trainers.

Its blocks are run as they stand. What they make goes through the steps by which the trainers read it (slime, verl,
NeMo-RL, Megatron-LM), told here in numpy, and each token must meet the experts that the engine chose for it.
"""
import base64
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

try:
    from safetensors import safe_open
except ImportError:
    print('skipped: the safetensors wheel is missing (scripts/setup.sh installs it)')
    sys.exit(77)
import numpy as np

moetap, write_samples = (str(Path(program).resolve()) for program in sys.argv[1:3])
page = Path(sys.argv[3]).read_text()
MODEL_LAYERS, MOE, K = 5, [1, 2, 4], 4  # layers 0 and 3 are dense
torch = SimpleNamespace(from_numpy=lambda array: array)


def blocks(heading, kind):
    section = re.search(rf'^## {heading}\n(.*?)(?=^## |\Z)', page, re.M | re.S)[1]
    return re.findall(rf'^```{kind}\n(.*?)^```', section, re.M | re.S)


class Rollout:
    """A recorded rollout, in the current folder: samples as their trainer has them, and what the engine chose."""

    def __init__(self, experts, variant=''):
        done = subprocess.run([write_samples, 'rollout.moetap', str(experts)] + variant.split(), check=True, capture_output=True, text=True)
        self.samples, self.experts = json.loads(done.stdout), experts
        for sample in self.samples:
            sample['experts'] = np.array(sample['experts']).reshape(len(sample['tokens']), len(MOE), K)
        Path('config.json').write_text(json.dumps({'num_hidden_layers': MODEL_LAYERS, 'mlp_only_layers': [0, 3], 'decoder_sparse_step': 1,
                                                   'num_experts': experts, 'num_experts_per_tok': K}))

    def load(self, heading, more=''):
        """Exports as the page says and gives its functions."""
        for line in blocks(heading, 'sh'):
            subprocess.run(line.strip().replace('moetap ', moetap + ' ', 1) + more, shell=True, check=True)
        names = {'torch': torch}
        for block in blocks("Finding a sample's rows", 'python') + blocks(heading, 'python'):
            exec(block, names)
        return SimpleNamespace(**names)

    def is_whole(self, sample):
        return sample['unseen'] == 0 and 'lost' not in sample


def refuses(function, *args):
    try:
        function(*args)
    except (ValueError, AssertionError):
        return True
    return False


def gather(ids, experts):
    """scores.gather(1, ids): an index that is none is an error on the device."""
    assert ids.ndim == 2 and ids.min() >= 0 and ids.max() < experts
    return np.take_along_axis(np.zeros((len(ids), experts)), ids, 1)


# --- slime ---

def slime_reads_meta_info(text, tokens):
    flat = np.frombuffer(base64.b64decode(text, validate=True), np.int32)
    if flat.size != (len(tokens) - 1) * MODEL_LAYERS * K:
        raise ValueError('element count')
    return flat.reshape(len(tokens) - 1, MODEL_LAYERS, K)


def slime_replays(samples, experts):
    for ids, _ in samples:
        if ids.shape[1:] != (MODEL_LAYERS, K) or not len(ids):
            raise ValueError('shape')
        if any(not ids[:, layer].any() for layer in MOE):
            raise ValueError('all zero')
    padded = []
    for ids, tokens in samples:
        assert len(ids) == len(tokens) - 1
        padded.append(np.concatenate([ids, (np.arange(MODEL_LAYERS * K, dtype=ids.dtype) % experts).reshape(1, MODEL_LAYERS, K)]))
    batch = np.concatenate(padded)
    layers = [batch[:, layer] for layer in range(MODEL_LAYERS) if layer in MOE]
    for layer in layers:
        gather(layer, experts)
    return layers


def check_slime(rollout):
    page_says = rollout.load('slime')
    kept, wire = [], rollout.load('As engines send it')
    for s in rollout.samples:
        sample = SimpleNamespace(tokens=s['tokens'])
        assert page_says.slime(sample, MOE) == rollout.is_whole(s)
        if rollout.is_whole(s):
            ids = sample.rollout_routed_experts
            assert ids.dtype == np.int32 and (ids[:, [0, 3]] == -1).all()
            assert (slime_reads_meta_info(wire.sglang(s['tokens']), s['tokens']) == ids).all()
            kept.append((s, ids))
    assert kept
    layers = slime_replays([(ids, s['tokens']) for s, ids in kept], rollout.experts)
    at = 0
    for s, _ in kept:
        for column in range(len(MOE)):
            assert (layers[column][at:at + len(s['tokens']) - 1] == s['experts'][:-1, column]).all()
        at += len(s['tokens'])
    # One that is not left out comes to grief.
    bad = next(s for s in rollout.samples if not rollout.is_whole(s))
    assert refuses(slime_replays, [(page_says.rows_of(bad['tokens']), bad['tokens'])], rollout.experts)


# --- verl ---

def verl_pads(ids, prompt, response, prompt_room, response_room):
    """Prompts are padded on the left, responses on the right."""
    ids = ids.astype(np.int16)
    full = np.zeros((prompt_room + response_room, *ids.shape[1:]), ids.dtype)
    start = prompt_room - len(prompt)
    full[start:start + len(ids)] = ids
    mask = np.zeros(len(full), bool)
    mask[start:prompt_room + len(response)] = True
    return full, mask


def verl_replays(batch, masks, num_layers):
    """Without padding, one sample behind the other; int64 for each MoE layer of the model."""
    packed = np.concatenate([ids[mask] for ids, mask in zip(batch, masks)])
    by_layer = packed.transpose(1, 0, 2)
    whole_model = len(by_layer) == num_layers
    return [by_layer[layer if whole_model else MOE.index(layer)].astype(np.int64) for layer in MOE]


def verl_aligns(routes, tokens):
    """The path without padding: exactly the last row may be missing."""
    if len(routes) not in (len(tokens), len(tokens) - 1):
        raise ValueError('rows')
    return np.concatenate([routes, np.zeros((len(tokens) - len(routes), *routes.shape[1:]), routes.dtype)])


def check_verl(rollout):
    for more in ('', ' --layers=model --model-config config.json'):
        page_says = rollout.load('verl', more)
        full, masks, kept = [], [], []
        for s in rollout.samples:
            prompt, response = s['tokens'][:s['prompt']], s['tokens'][s['prompt']:]
            ids = page_says.verl(prompt, response) if not more else page_says.rows_of(s['tokens'])
            if not rollout.is_whole(s):
                assert more or ids is None
                continue
            ids_padded, mask = verl_pads(ids, prompt, response, 48, 8)
            assert ids_padded.shape[1:] == (MODEL_LAYERS if more else len(MOE), K)
            full.append(ids_padded), masks.append(mask), kept.append(s)
            assert verl_aligns(ids, s['tokens']).shape[0] == len(s['tokens'])
        layers = verl_replays(full, masks, MODEL_LAYERS)
        # The last row of a sample is the model's own.
        replayed = np.concatenate([np.arange(len(s['tokens'])) < len(s['tokens']) - 1 for s in kept])
        chosen = np.concatenate([s['experts'] for s in kept])
        for column, layer in enumerate(layers):
            assert layer.dtype == np.int64 and (layer[replayed] == chosen[replayed, column]).all()
            gather(layer[replayed], rollout.experts)


# --- NeMo-RL ---

def nemo_dtype(experts):
    return np.int8 if experts <= 128 else np.int16 if experts <= 32768 else np.int32


def nemo_wire(ids):
    return f"nrlre1:{ids.dtype}:{'x'.join(map(str, ids.shape))}:{base64.b64encode(np.ascontiguousarray(ids)).decode()}"


def nemo_decodes(text, dtype):
    magic, name, shape, data = text.split(':', 3)
    assert magic == 'nrlre1' and name in ('int8', 'int16', 'int32')
    wire = np.frombuffer(base64.b64decode(data, validate=True), name).reshape([int(n) for n in shape.split('x')])
    assert wire.max() <= np.iinfo(dtype).max
    return wire.astype(dtype)


def nemo_validates(ids, experts):
    missing = (ids == -1).all(axis=-1)
    if ((ids < 0).any(axis=-1) & ~missing).any():
        raise ValueError('a row is -1 in part')
    ordered = np.sort(ids[~missing], axis=-1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError('an expert twice')
    if ordered.size and (ordered.min() < 0 or ordered.max() >= experts):
        raise ValueError('no such expert')
    return missing


def nemo_payload_columns(payload_layers):
    if payload_layers == len(MOE):
        return dict(zip(MOE, range(len(MOE))))
    assert payload_layers == MODEL_LAYERS
    return {layer: layer for layer in MOE}


def check_nemo_rl(rollout):
    for more in ('', ' --layers=model --model-config config.json'):
        page_says = rollout.load('NeMo-RL', more)
        batch = []
        for s in rollout.samples:
            full = page_says.nemo_rl(s['tokens'], 64)
            assert len(full) == 64 and (full[len(s['tokens']) - 1:] == np.arange(K)).all()
            batch.append(nemo_decodes(nemo_wire(full), nemo_dtype(rollout.experts)))
        tokens = np.concatenate(batch)
        missing_rows = 0
        for column, payload in enumerate(nemo_payload_columns(tokens.shape[1]).values()):
            ids = tokens[:, payload].astype(np.int64)
            missing = nemo_validates(ids, rollout.experts)
            for number, s in enumerate(rollout.samples):
                rows = np.arange(len(s['tokens']) - 1)
                own = missing[number * 64 + rows]  # the model's own router chooses
                missing_rows += own.sum()
                assert own.sum() == s['unseen'] + ('lost' in s and column == 1) and own[:s['unseen']].all()
                assert (ids[number * 64 + rows][~own] == s['experts'][rows][~own, column]).all()
        assert missing_rows >= len(MOE) * 32


# --- Megatron-LM ---

class Router:
    """A MoE layer's replay: gives the scores' gather these ids."""
    made = []

    def __init__(self):
        Router.made.append(self)

    @staticmethod
    def set_replay_data(tensors):
        if len(tensors) != len(Router.made):
            raise ValueError('number of layers')
        for router, tensor in zip(Router.made, tensors):
            router.target = tensor


def check_megatron(rollout):
    page_says = rollout.load('Megatron-LM')
    whole = [s for s in rollout.samples if rollout.is_whole(s)]
    Router.made.clear()
    routers = [Router() for _ in MOE]
    Router.set_replay_data(page_says.megatron([s['tokens'] for s in whole]))
    chosen = np.concatenate([s['experts'] for s in whole])
    last = np.cumsum([len(s['tokens']) for s in whole]) - 1
    for column, router in enumerate(routers):
        ids = router.target
        assert ids.dtype == np.int64 and len(ids) == len(chosen)
        gather(ids, rollout.experts)
        assert all(len(set(row)) == K for row in ids.tolist())
        assert (np.delete(ids, last, 0) == np.delete(chosen[:, column], last, 0)).all()
    assert refuses(page_says.megatron, [s['tokens'] for s in rollout.samples])
    assert [page_says.arrays[name].tolist() for name in page_says.arrays if name.endswith('.layers')] == [[0, 1, 2]] * len(rollout.samples)


# --- what engines send, and the file itself ---

def check_engines_formats(rollout):
    page_says = rollout.load('As engines send it')
    for s in rollout.samples:
        if rollout.is_whole(s):
            npy = np.load(io.BytesIO(base64.b64decode(page_says.vllm(s['tokens'], MOE, rollout.experts))))
            assert npy.dtype == (np.uint8 if rollout.experts <= 256 else np.uint16) and npy.shape == (len(s['tokens']) - 1, MODEL_LAYERS, K)
            assert (npy[:, MOE] == s['experts'][:-1]).all() and not npy[:, [0, 3]].any()
            prompt, response = npy[:s['prompt']], npy[s['prompt']:]
            assert len(prompt) == s['prompt'] and len(response) == len(s['tokens']) - s['prompt'] - 1
        else:
            assert refuses(page_says.vllm, s['tokens'], MOE, rollout.experts)


def export(*options):
    return subprocess.run([moetap, 'export', 'rollout.moetap', *options], capture_output=True, text=True)


def check_file(rollout):
    """Both formats hold the same; the default type is the smallest; what is missing is told apart from expert 0."""
    for out in ('a.npz', 'a.safetensors'):
        assert export('--all', '-o', out).returncode == 0
    with safe_open('a.safetensors', framework='numpy') as file:
        words, names = file.metadata(), set(file.keys())
        npz = np.load('a.npz')
        assert words == json.loads(npz['metadata.json']) and names == set(npz.keys()) - {'metadata.json'}
        smallest = np.uint8 if rollout.experts <= 256 else np.uint16
        for n in range(len(rollout.samples)):
            ids, missing = file.get_tensor(f'{n}.routed_experts'), file.get_tensor(f'{n}.missing')
            tokens, positions = file.get_tensor(f'{n}.token_ids'), file.get_tensor(f'{n}.positions')
            assert ids.dtype == smallest and missing.dtype == bool and (npz[f'{n}.routed_experts'] == ids).all()
            assert positions.tolist() == list(range(len(tokens))) and ids.shape == (len(tokens), len(MOE), K)
            truth = next(s for s in rollout.samples if tokens[-1] in s['tokens'][s['prompt'] - 1:])
            assert len(tokens) == len(truth['tokens']) - (not truth['runs_on'])
            assert (missing | (ids == truth['experts'][:len(tokens)])).all()
            assert missing[:truth['unseen']].all() and (tokens[:truth['unseen']] == -1).all()
    assert words['experts'] == str(rollout.experts) and words['topk'] == str(K) and words['layers'] == str(len(MOE))
    assert words['missing'] == 'the array missing' and words['moe_layers'] == 'unknown'


def check_mistakes(rollout):
    config = json.loads(Path('config.json').read_text())
    Path('other.json').write_text(json.dumps(config | {'mlp_only_layers': [0]}))
    for options, status, said in ((('--layers=model',), 2, '--model-config'), (('--layers=dense',), 2, '--layers=dense'),
                                  (('--layers=model', '--model-config=other.json'), 1, 'other.json does not fit segment 0'),
                                  (('--topk=0',), 2, '--topk=0'), (('--topk=9',), 1, '--topk=9')):
        done = export('--all', '-o', 'x.npz', *options)
        assert done.returncode == status and done.stderr.count('\n') == 1 and said in done.stderr, done
        assert not Path('x.npz').exists()
    assert export('--all', '-o', 'm.npz', '--layers=model', '--model-config=config.json').returncode == 0
    arrays = np.load('m.npz')
    words = json.loads(arrays['metadata.json'])
    assert words['moe_layers'] == '1-2,4' and words['layers'] == '5' and words['layer_numbers'] == 'model layers'
    assert int(words['complete_rows']) == sum((~arrays[n][:, MOE]).all(axis=(1, 2)).sum() for n in arrays if n.endswith('.missing')) > 0
    assert all(arrays[n].tolist() == [0, 1, 2, 3, 4] for n in arrays if n.endswith('.layers'))


def check_shared(rollout):
    """Ids of fused shared experts are E and more. They are no experts: left out by --topk, else missing, and said."""
    done = export('--all', '-o', 's.npz', '--dtype=int16')
    assert done.returncode == 0 and done.stderr.count('\n') == 1 and '--topk' in done.stderr
    ids = np.load('s.npz')['0.routed_experts']
    assert ids.shape[2] == K + 1 and (ids[:, :, K] == -1).all() and ids.max() < rollout.experts
    assert refuses(nemo_validates, ids[:, 0], rollout.experts)
    done = export('--all', '-o', 's.npz', '--dtype=int16', f'--topk={K}', '--layers=model', '--model-config=config.json')
    assert done.returncode == 0 and done.stderr == ''
    ids = np.load('s.npz')['0.routed_experts']
    assert (ids[:, MOE] == rollout.samples[0]['experts'][:-1]).all()
    nemo_validates(ids[:, MOE[0]], rollout.experts)


def check_warm_up(rollout):
    """Passes of no request, with ids as good as any: they are in the trace and in no sample, and nothing else is missing."""
    info = subprocess.run([moetap, 'info', 'rollout.moetap'], check=True, capture_output=True, text=True).stdout
    assert int(re.search(r'records, (\d+) rows,', info)[1]) > len(MOE) * (3 * 32 + 2 * (8 + 16 + 32))
    chosen = {(token, position): s['experts'][position] for s in rollout.samples for position, token in enumerate(s['tokens'])}
    export('--all', '-o', 'w.npz', '--dtype=int16')
    arrays, seen = np.load('w.npz'), set()
    for name in [n for n in arrays if n.endswith('.token_ids')]:
        for position, (token, ids) in enumerate(zip(arrays[name].tolist(), arrays[name.replace('token_ids', 'routed_experts')])):
            if token >= 0:
                assert (chosen[token, position] == ids).all()
                seen.add((token, position))
            else:
                assert (ids == -1).all()
    for s in rollout.samples:
        assert all((s['tokens'][i], i) in seen for i in range(s['unseen'], len(s['tokens']) - 1))


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    checks = (check_file, check_slime, check_verl, check_nemo_rl, check_megatron, check_engines_formats, check_mistakes)
    for experts in (64, 256, 257):
        for check in checks:
            check(Rollout(experts))
    for experts in (64, 256):
        check_shared(Rollout(experts, 'shared'))
    check_warm_up(Rollout(64, 'warmup'))
    # A record of one layer is lost in the midst of four samples.
    rollout = Rollout(64, 'gap')
    for sample in rollout.samples[:2] + rollout.samples[3:5]:
        sample['lost'] = True
    for check in (check_file, check_slime, check_verl, check_nemo_rl, check_megatron, check_engines_formats):
        check(rollout)
print(len(checks), 'checks')
