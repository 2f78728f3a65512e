#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_rows.py TRUTH.context TOKENS STEPS < dump --context --format=jsonl: what rows are, of one stream of the sample engine,
against what it was given; and each router's number against its pass. Prints "match: A of B values"."""
import array
import json
import sys

KINDS = ['tokens', 'positions', 'slots']  # in the order of a pass
truth, rows, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
expected = array.array('i', open(truth, 'rb').read())
matched = wrong = routers = 0
for line in sys.stdin:
    record = json.loads(line)
    step = record['step']
    if 'kind' not in record:
        routers += 1
        wrong += record['context'] != (step + 1) * len(KINDS)
        continue
    kind = KINDS.index(record['kind'])
    wrong += record['context'] != step * len(KINDS) + kind + 1
    at = (step * len(KINDS) + kind) * rows
    matched += sum(a == b for a, b in zip(record['values'], expected[at:at + rows]))
if wrong:
    print(f'wrong: {wrong} numbers')
print(f'match: {matched} of {len(expected)} values, {routers} routers')
sys.exit(0 if not wrong and routers and matched == len(expected) == rows * steps * len(KINDS) else 1)
