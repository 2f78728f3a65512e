# SPDX-License-Identifier: Apache-2.0
"""compare_llama.py TRUTH < dump.jsonl: ids of every router call as the library's callback told them, by layer and step. Exit 0 if all are equal and every layer is known.
"""
import json
import struct
import sys

data = open(sys.argv[1], 'rb').read()
calls, at = [], 0
while at < len(data):
    layer, rows, k = struct.unpack_from('<3i', data, at)
    ids = struct.unpack_from(f'<{rows * k}i', data, at + 12)
    calls.append((layer, [list(ids[i * k:(i + 1) * k]) for i in range(rows)]))
    at += 12 + 4 * rows * k
# Warm-up passes of either run are not in the other one: a layer's last calls are the same. Writes of a graph come in any order.
records = [json.loads(line) for line in sys.stdin]
total = sum(len(row) for _, ids in calls for row in ids)
equal = rows_short = layers = 0
for layer in sorted({layer for layer, _ in calls}):
    wanted = [ids for at, ids in calls if at == layer]
    got = sorted((r for r in records if r['layer'] == layer), key=lambda r: r['step'])[-len(wanted):]
    layers += len(got)
    for want, record in zip(wanted, got):
        rows_short += len(record['ids']) != len(want)
        equal += sum(a == b for w, g in zip(want, record['ids']) for a, b in zip(w, g))
print(f'{equal} of {total} ids equal, {layers} of {len(calls)} layers right, {rows_short} calls of other sizes, {len(records)} records')
sys.exit(0 if equal == total and layers == len(calls) and not rows_short else 1)
