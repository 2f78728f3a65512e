# SPDX-License-Identifier: Apache-2.0
"""compare_models.py TRUTH < dump.jsonl: every id of every router call, at its layer and step. Exit 0 if all are equal."""
import json
import sys

truth = json.load(open(sys.argv[1]))
steps, expected = {}, {}
for layer, ids in truth['calls']:
    step = steps.get(layer, 0)
    steps[layer] = step + 1
    expected[(layer, step)] = ids
total = sum(len(row) for ids in expected.values() for row in ids)

equal = records = extra = in_order = unknown = 0
for n, line in enumerate(sys.stdin):
    record = json.loads(line)
    records += 1
    unknown += record['layer'] is None
    if n < len(truth['calls']):
        in_order += record['ids'] == truth['calls'][n][1]
    want = expected.pop((record['layer'], record['step']), None)
    if want is None:
        extra += 1
    elif len(want) == len(record['ids']):
        equal += sum(a == b for w, r in zip(want, record['ids']) for a, b in zip(w, r))
print(f'match: {equal} of {total} ids; records {records}, calls {len(truth["calls"])}, equal in order {in_order}, '
      f'extra {extra}, missing {len(expected)}, layer unknown {unknown}')
sys.exit(0 if equal == total and not extra and not expected else 1)
