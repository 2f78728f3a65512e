# SPDX-License-Identifier: Apache-2.0
"""generate.py MODEL MODE TRUTH.npz [alone] [kernels]

A small Mixture-of-Experts model of transformers with random weights answers prompts of different lengths:

  dynamic    model.generate, one left-padded batch, and a second one of another size
  static     the same with cache_implementation='static'
  beams      model.generate with num_beams=3
  both       the same with cache_implementation='static'
  float32    dynamic, of a model of 32 bits
  window     dynamic, of layers that attend to the last 24 tokens only (where the model has such)
  paged      model.generate_batch, continuous batching: more requests than fit, prompts that begin alike
  recompute  the same with so small a cache that requests are put off and computed again

TRUTH gets each request's tokens and, from hooks on the routers in this very run, the experts of all rows that it attended to. Of
beams those of each sequence that nobody went on with. `alone` tells how many of the rows are as in a run of the request alone; `kernels` prints the
CUDA kernels in the order of their launches.
Knows nothing of moetap.
"""
import sys

import numpy
import torch
import transformers
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingIOs

from models import DEVICE, MODELS, SMALL

# Large enough for what tells a vocabulary from any other table.
SIZES = dict(SMALL, vocab_size=32000, hidden_size=512, num_attention_heads=8, num_key_value_heads=4, eos_token_id=2)
PAD = SIZES['pad_token_id']


def prompts(count, seed):
    """Of 5 to 60 tokens; each third one begins as the one before."""
    random = torch.Generator().manual_seed(seed)
    out = []
    for i in range(count):
        length = int(torch.randint(5, 60, (1,), generator=random))
        tokens = torch.randint(10, SIZES['vocab_size'], (length,), generator=random).tolist()
        if i % 3 == 2:
            tokens = out[-1][:len(out[-1]) // 4 * 4] + tokens[:length // 2 + 1]
        out.append(tokens)
    return out


class Routers:
    """What each router chose since the last call of take(), as [rows, layers, k]."""

    def __init__(self, experts, top_k):
        self.chosen, self.seen, running = {}, {}, []
        torch.nn.modules.module.register_module_forward_pre_hook(lambda module, args: running.append(module))
        torch.nn.modules.module.register_module_forward_hook(lambda module, args, result: running.pop() and None)

        def watch(original):
            def topk(input, k, *args, **kwargs):
                result = original(input, k, *args, **kwargs)
                if input.shape[-1] == experts and k == top_k and running:
                    layer = self.seen.setdefault(running[-1], len(self.seen))
                    self.chosen[layer] = result[1].reshape(-1, k).cpu().numpy()
                return result
            return topk
        torch.topk = watch(torch.topk)
        torch.Tensor.topk = watch(torch.Tensor.topk)

    def take(self):
        if not self.chosen:
            return None
        out = numpy.stack([self.chosen[layer] for layer in sorted(self.chosen)], axis=1)
        self.chosen = {}
        return out


class Passes:
    """The rows of each forward pass, with what the model was given."""

    def __init__(self, model, routers):
        self.model, self.routers, self.passes, self.given, self.group = model, routers, [], None, 0
        model.register_forward_pre_hook(self.before, with_kwargs=True)
        model.register_forward_hook(self.after)
        original = transformers.Cache.reorder_cache

        def reorder(cache, beams):
            self.passes[-1][0]['order'] = beams.tolist()
            return original(cache, beams)
        transformers.Cache.reorder_cache = reorder

    def before(self, module, args, kwargs):
        if DEVICE == 'cuda':
            torch.cuda.synchronize()  # continuous batching fills its tensors on a stream that the model's does not wait for
        self.given = {name: kwargs[name].cpu().numpy().copy() for name in ('input_ids', 'position_ids') if kwargs.get(name) is not None}
        for name in ('write_index', 'read_index'):
            if name in kwargs:
                self.given[name] = kwargs[name][self.group].cpu().numpy().copy()

    def after(self, module, args, result):
        self.passes.append((self.given, self.routers.take()))

    def take(self):
        out, self.passes = self.passes, []
        return out


def beam_sequences(ran):
    """Tokens and rows of each sequence that nobody went on with, as the cache was put in order between the passes."""
    left, tails, order = [], [], []
    for given, experts in ran:
        ids, positions = given['input_ids'], given['position_ids']
        experts = experts.reshape(*ids.shape, *experts.shape[1:])
        left += [tail for i, tail in enumerate(tails) if i not in order]
        grown = []
        for n, (tokens, at, rows) in enumerate(zip(ids, positions, experts)):
            first = max((i for i, p in enumerate(at) if p == 0), default=0)
            before = tails[order[n]] if tails else ([], rows[:0])
            grown.append((before[0] + tokens[first:].tolist(), numpy.concatenate([before[1], rows[first:]])))
        tails, order = grown, given['order']
    return left + tails


def generate(model, passes, texts, **options):
    """A batch padded on the left. Returns of each request the tokens, to the end, and their rows."""
    width = max(map(len, texts))
    ids = torch.tensor([[PAD] * (width - len(t)) + t for t in texts], device=DEVICE)
    mask = torch.tensor([[0] * (width - len(t)) + [1] * len(t) for t in texts], device=DEVICE)
    out = model.generate(ids, attention_mask=mask, do_sample=False, pad_token_id=PAD, **options).tolist()
    if options.get('num_beams', 1) > 1:
        return beam_sequences(passes.take())
    answers, ran = [], passes.take()
    for i, text in enumerate(texts):
        tokens = text + out[i][width:]
        if 2 in tokens[len(text):]:
            tokens = tokens[:len(text) + tokens[len(text):].index(2) + 1]
        rows = []
        for given, experts in ran:
            experts = experts.reshape(len(texts), -1, *experts.shape[1:])[i]
            rows.extend(experts[-len(text):] if not rows else experts)
        answers.append((tokens, numpy.stack(rows[:len(tokens) - 1])))
    return answers


def paged(model, passes, texts, blocks):
    """Continuous batching. Rows are told apart by the slots of the cache that they were written to, and read from: in layers that attend
    to all. Those of a window have slots of their own, which later tokens take over."""
    order = []
    original = ContinuousBatchingIOs.prepare_batch_tensors

    def prepare(self, requests_in_batch, *args, **kwargs):
        order.append([(r.state.request_id, r.query_length, r.state.position_offset + r.query_length) for r in requests_in_batch])
        cache = self.cache
        passes.group = next(group for layer, (group, _) in cache.layer_index_to_group_indices.items() if cache.sliding_windows[layer] == 1)
        return original(self, requests_in_batch, *args, **kwargs)
    ContinuousBatchingIOs.prepare_batch_tensors = prepare
    config = ContinuousBatchingConfig(block_size=8, num_blocks=blocks, max_batch_tokens=96, use_cuda_graph=False)
    results = model.generate_batch(texts, continuous_batching_config=config, max_new_tokens=24)
    ContinuousBatchingIOs.prepare_batch_tensors = original
    slots, rows = {}, {}
    for batch, (given, experts) in zip(order, passes.take(), strict=True):
        slots.update(zip(given['write_index'].tolist(), experts))
        read = given['read_index'].tolist() or given['write_index'].tolist()
        for request, queries, keys in batch:
            rows[request], read = [slots[slot] for slot in read[:keys]], read[keys:]
    print('passes', len(order), 'most requests in one', max(map(len, order)), 'rows', sum(q for b in order for _, q, _ in b))
    return [(r.prompt_ids + r.generated_tokens, numpy.stack(rows[name][:len(r.prompt_ids) + len(r.generated_tokens) - 1]))
            for name, r in results.items()]


def main():
    name, mode, truth_file = sys.argv[1:4]
    base, extra, experts, top_k = MODELS[name]
    if 'kv_lora_rank' in extra:
        extra = dict(extra, num_key_value_heads=SIZES['num_attention_heads'])
    if mode == 'window':
        extra = dict(extra, sliding_window=24)
    architecture = getattr(transformers, base + 'ForCausalLM')
    torch.manual_seed(7)
    model = architecture(architecture.config_class(**{**SIZES, **extra})).to(DEVICE, torch.float32 if mode == 'float32' else torch.bfloat16).eval()
    for parameter in model.parameters():
        if not parameter.count_nonzero():
            torch.nn.init.normal_(parameter, std=0.02)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = PAD, 2
    passes = Passes(model, Routers(experts, top_k))
    profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) if 'kernels' in sys.argv[4:] else None
    with torch.no_grad():
        if profile:
            profile.start()
        if mode in ('paged', 'recompute'):
            answers = paged(model, passes, prompts(24, 3), 200 if mode == 'paged' else 24)
        else:
            options = {**(dict(cache_implementation='static', disable_compile=True) if mode in ('static', 'both') else {}),
                       **(dict(num_beams=3) if mode in ('beams', 'both') else {})}
            answers = [a for texts in (prompts(6, 3), prompts(3, 4), prompts(1, 5))
                       for a in generate(model, passes, texts, max_new_tokens=16, **options)]
        if profile:
            profile.stop()
            kernels = sorted((e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA), key=lambda e: e.time_range.start)
            for event in kernels[:600]:
                print('kernel', event.name)
        alone = same = rows = 0
        for tokens, known in answers if 'alone' in sys.argv[4:] else []:
            prompt = next(t for t in prompts(24, 3) + prompts(3, 4) + prompts(1, 5) if t == tokens[:len(t)])
            again, own = generate(model, passes, [prompt], max_new_tokens=len(tokens) - len(prompt))[0]
            both = min(len(own), len(known))
            rows += len(known)
            same += int((own[:both] == known[:both]).all(axis=(1, 2)).sum())
            alone += again == tokens and numpy.array_equal(own, known)
    arrays = {}
    for i, (tokens, known) in enumerate(answers):
        arrays[f'tokens_{i}'] = numpy.array(tokens)
        arrays[f'experts_{i}'] = known.astype(numpy.int32)
    numpy.savez(truth_file, **arrays)
    counted = f'alone: {alone} of {len(answers)} requests equal, {same} of {rows} rows' if rows else ''
    print(name, mode, 'requests', len(answers), 'with the end token', sum(t[-1] == 2 for t, _ in answers), counted,
          torch.__version__, transformers.__version__)


if __name__ == '__main__':
    main()
