#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the view as code does that was written for vLLM's shared buffer of routed experts: attach by name, an exclusive
flock() on the lock file around each look-up, a bare int32 array [slots, layers, k].

vllm_reader.py INSTANCE_ID DP_RANK SLOTS LAYERS K SLOT...   prints the rows
vllm_reader.py INSTANCE_ID DP_RANK SLOTS LAYERS K --watch N looks N times at all of them: rows are whole or never written
"""
import contextlib
import fcntl
import os
import sys
import tempfile
from multiprocessing import resource_tracker, shared_memory

instance, rank = sys.argv[1], int(sys.argv[2])
shape = [int(word) for word in sys.argv[3:6]]
slots, layers, k = shape
lock_path = os.path.join(tempfile.gettempdir(), f'vllm_routed_experts_{instance}_{rank}.lock')


@contextlib.contextmanager
def locked():
    with open(lock_path, 'rb+') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


resource_tracker.register = lambda *_: None  # or the reader's end would remove the writer's buffer
with locked():
    shared = shared_memory.SharedMemory(name=f'vllm_routed_experts_buffer_{instance}_{rank}')
    if shared.size < 4 * slots * layers * k:
        sys.exit(f'{shared.size} bytes are too few')
    table = shared.buf[:4 * slots * layers * k].cast('i', shape)


def row(slot):
    return [[table[slot, layer, i] for i in range(k)] for layer in range(layers)]


def whole(ids):
    """As test_table.c routes: all of a row follows from its first id."""
    return all(ids[layer][i] == (ids[0][0] + 5 * layer + i) % 64 for layer in range(layers) for i in range(k))


if sys.argv[6] == '--watch':
    torn = written = 0
    for _ in range(int(sys.argv[7])):
        with locked():
            rows = [row(slot) for slot in range(slots)]
        seen = [ids for ids in rows if ids != [[-1] * k] * layers]
        written += len(seen)
        torn += sum(not whole(ids) for ids in seen)
    print(f'torn {torn}, written {"some" if written else "none"}')
else:
    for slot in map(int, sys.argv[6:]):
        with locked():
            print(slot, row(slot))
table.release()
shared.close()
