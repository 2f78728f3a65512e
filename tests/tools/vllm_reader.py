#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the view as code does that was written for vLLM's shared buffer of routed experts: attach by name, an exclusive
flock() on the lock file around each look-up, a bare int32 array [slots, layers, k]. With VLLM_STOCK, the file of vLLM's own
that has its reader class, that class does it; of what the file imports but does not need there, something stands in.

vllm_reader.py INSTANCE_ID DP_RANK SLOTS LAYERS K SLOT...   prints the rows
vllm_reader.py INSTANCE_ID DP_RANK SLOTS LAYERS K --watch N looks N times at all of them: rows are whole or never written
"""
import contextlib
import fcntl
import os
import sys
import tempfile
from multiprocessing import resource_tracker, shared_memory
from types import ModuleType, SimpleNamespace

instance, rank = sys.argv[1], int(sys.argv[2])
slots, layers, k = shape = [int(word) for word in sys.argv[3:6]]


class OwnReader:
    def __init__(self):
        self.lock = os.path.join(tempfile.gettempdir(), f'vllm_routed_experts_{instance}_{rank}.lock')
        resource_tracker.register = lambda *_: None  # or the reader's end would remove the writer's buffer
        with self.locked():
            self.shared = shared_memory.SharedMemory(name=f'vllm_routed_experts_buffer_{instance}_{rank}')
            if self.shared.size < 4 * slots * layers * k:
                sys.exit(f'{self.shared.size} bytes are too few')
            self.table = self.shared.buf[:4 * slots * layers * k].cast('i', shape)

    @contextlib.contextmanager
    def locked(self):
        with open(self.lock, 'rb+') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)

    def get(self, indices):
        with self.locked():
            return [[[self.table[slot, layer, i] for i in range(k)] for layer in range(layers)] for slot in indices]

    def close(self):
        self.table.release()
        self.shared.close()


class StockReader:
    def __init__(self, path):
        import numpy
        self.array = numpy.array
        names = {'torch': [], 'vllm': [], 'vllm.config': ['VllmConfig'], 'vllm.distributed': ['get_tensor_model_parallel_rank'],
                 'vllm.forward_context': ['get_forward_context']}
        for name, members in names.items():
            sys.modules[name] = ModuleType(name)
            for member in members:
                setattr(sys.modules[name], member, None)
        module = ModuleType('routed_experts_capturer')
        with open(path) as file:
            exec(compile(file.read(), path, 'exec'), module.__dict__)
        self.reader = module.RoutedExpertsReader.create()
        model = SimpleNamespace(hf_text_config=SimpleNamespace(num_hidden_layers=layers, num_experts_per_tok=k))
        self.reader.attach_buffer(slots, SimpleNamespace(
            model_config=model, parallel_config=SimpleNamespace(data_parallel_rank=rank), instance_id=instance))

    def get(self, indices):
        ids = self.reader.get_routed_experts(self.array(indices))
        assert ids.dtype == 'int32' and list(ids.shape) == [len(indices), layers, k]
        return ids.tolist()

    def close(self):
        self.reader._host_buffer_view = None  # or the mapping cannot be closed
        self.reader.cleanup()


reader = StockReader(os.environ['VLLM_STOCK']) if 'VLLM_STOCK' in os.environ else OwnReader()


def whole(ids):
    """As table_rig.c routes: all of a row follows from its first id."""
    return all(ids[layer][i] == (ids[0][0] + 5 * layer + i) % 64 for layer in range(layers) for i in range(k))


if sys.argv[6] == '--watch':
    torn = written = 0
    for _ in range(int(sys.argv[7])):
        seen = [ids for ids in reader.get(list(range(slots))) if ids != [[-1] * k] * layers]
        written += len(seen)
        torn += sum(not whole(ids) for ids in seen)
    print(f'torn {torn}, written {"some" if written else "none"}')
else:
    for slot in map(int, sys.argv[6:]):
        print(slot, reader.get([slot])[0])
reader.close()
