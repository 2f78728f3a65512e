# SPDX-License-Identifier: Apache-2.0
"""compare_graphs.py TRUTH < dump.jsonl: every id of every replay, at its layer. Exit 0 if all are equal."""
import collections
import json
import sys

truth = json.load(open(sys.argv[1]))
layers, replays = truth['layers'], truth['replays']
by_stream = collections.defaultdict(dict)
unknown = 0
for line in sys.stdin:
    record = json.loads(line)
    unknown += record['layer'] is None
    by_stream[record['stream']][(record['layer'], record['step'])] = record['ids']
total = sum(len(row) for ids in truth['chosen'] for row in ids)
# The graph's own stream is the one with a record for each layer and replay.
best = 0
for records in by_stream.values():
    if len(records) != layers * replays:
        continue
    equal = 0
    for n, want in enumerate(truth['chosen']):
        got = records.get((n % layers, n // layers), [])
        equal += sum(a == b for w, r in zip(want, got) for a, b in zip(w, r))
    best = max(best, equal)
print(f'match: {best} of {total} ids; layer unknown {unknown}, records a stream',
      sorted(len(records) for records in by_stream.values()))
sys.exit(best != total or not total)
