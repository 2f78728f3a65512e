# SPDX-License-Identifier: Apache-2.0
"""compare_compiled.py TRUTH < dump.jsonl: every id of every step, at its layer, in the order in which the taps ran. Exit 0 if all are."""
import collections
import json
import sys

truth = json.load(open(sys.argv[1]))
layers = collections.defaultdict(list)
for line in sys.stdin:
    record = json.loads(line)
    if (record['experts'], record['k']) == (truth['experts'], truth['k']):
        layers[record['layer']].append((record['seq'], record['ids']))
total = sum(len(row) for step in truth['steps'] for ids in step for row in ids)
equal = 0
for layer in range(truth['layers']):
    for step, (_, got) in zip(truth['steps'], sorted(layers[layer])):
        equal += sum(a == b for w, g in zip(step[layer], got) for a, b in zip(w, g))
records = {str(layer): len(found) for layer, found in layers.items()}
print(f'{equal} of {total} ids equal; records by layer {records}, steps {len(truth["steps"])}')
sys.exit(equal != total or any(len(found) != len(truth['steps']) for found in layers.values()) or len(layers) != truth['layers'])
