# SPDX-License-Identifier: Apache-2.0
"""compare_models.py TRUTH [--weights] < dump.jsonl: every id of every router call, at its layer and step; with --weights every bit of
the values that topk gave with them. Exit 0 if all are equal."""
import json
import struct
import sys

truth = json.load(open(sys.argv[1]))
weighted = '--weights' in sys.argv[2:]
steps, expected = {}, {}
for layer, ids, values in truth['calls']:
    step = steps.get(layer, 0)
    steps[layer] = step + 1
    expected[(layer, step)] = ids, values
total = sum(len(row) for ids, _ in expected.values() for row in ids)


def same_bits(rows, others):
    return sum(struct.pack('<f', a) == struct.pack('<f', b) for x, y in zip(rows, others) for a, b in zip(x, y) if b is not None)


weights = equal = records = extra = in_order = unknown = 0
for n, line in enumerate(sys.stdin):
    record = json.loads(line)
    records += 1
    unknown += record['layer'] is None
    if n < len(truth['calls']):
        in_order += record['ids'] == truth['calls'][n][1]
    want, values = expected.pop((record['layer'], record['step']), (None, None))
    if want is None:
        extra += 1
    elif len(want) == len(record['ids']):
        equal += sum(a == b for w, r in zip(want, record['ids']) for a, b in zip(w, r))
        weights += same_bits(values, record.get('weights', []))
print(f'match: {equal} of {total} ids; ' + (f'{weights} of {total} weights; ' if weighted else '') + f'records {records}, calls {len(truth["calls"])}, equal in order {in_order}, '
      f'extra {extra}, missing {len(expected)}, layer unknown {unknown}')
sys.exit(0 if equal == total and (weights == total or not weighted) and not extra and not expected else 1)
