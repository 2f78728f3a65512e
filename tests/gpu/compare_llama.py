# SPDX-License-Identifier: Apache-2.0
"""compare_llama.py TRUTH < dump.jsonl: ids of every router call as the library's callback told them in another run, in their order; a
pass starts at layer 0. Exit 0 if all are equal and every layer is known.
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
# Warm-up passes of either run are not in the other one: the last ones are the same.
records = [json.loads(line) for line in sys.stdin]
records = records[-len(calls):]
total = sum(len(row) for _, ids in calls for row in ids)
equal = rows_short = layers = 0
for (layer, want), record in zip(calls, records):
    layers += record['layer'] == layer
    got = record['ids'][:len(want)]
    rows_short += len(record['ids']) != len(want)
    equal += sum(a == b for w, g in zip(want, got) for a, b in zip(w, g))
print(f'{equal} of {total} ids equal, {layers} of {len(calls)} layers right, {rows_short} calls of other sizes, {len(records)} records')
sys.exit(0 if equal == total and layers == len(calls) and not rows_short else 1)
