#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_plan.py TRUTH.context TOKENS STEPS < dump --context --format=jsonl: where the sequences of the sample engine's --plan
begin, and the blocks ahead of those that begin at a block's start. Prints "match: A of B sequences, C block tables"."""
import array
import json
import sys

STRIDE, BLOCK = 12, 4  # tests/engine/moe_demo.c
path, rows, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sequences = rows // 4
words = 3 * rows + sequences + 1 + sequences * STRIDE
truth = array.array('i', open(path, 'rb').read())
starts_right = tables_right = expected = wrong = 0
for line in sys.stdin:
    record = json.loads(line)
    if record.get('kind') not in ('starts', 'blocks'):
        continue
    step = truth[record['step'] * words:(record['step'] + 1) * words]
    positions, starts, table = step[rows:2 * rows], step[3 * rows:3 * rows + sequences + 1], step[3 * rows + sequences + 1:]
    values = record['values']
    if record['kind'] == 'starts':
        starts_right += values == list(starts)
        continue
    want = {starts[i]: list(table[i * STRIDE:i * STRIDE + positions[starts[i]] // BLOCK]) for i in range(sequences)
            if positions[starts[i]] and positions[starts[i]] % BLOCK == 0}
    got, at = {}, 1
    while at < len(values):
        got[values[at]] = values[at + 2:at + 2 + values[at + 1]]
        at += 2 + values[at + 1]
    expected += len(want)
    tables_right += sum(got.get(row) == blocks for row, blocks in want.items())
    wrong += values[0] != BLOCK or set(got) != set(want)
print(f'match: {starts_right} of {steps} starts, {tables_right} of {expected} block tables' + (f', wrong: {wrong}' if wrong else ''))
sys.exit(0 if starts_right == steps and expected and tables_right == expected and not wrong else 1)
