#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_plan.py TRUTH.context TOKENS STEPS < dump --context --format=jsonl: where the sequences of the sample engine's --plan
begin, and the blocks ahead of those that begin at a block's start, or what is told of their lists of slots. Prints "match: A of B starts,
C of D block tables", or lists."""
import array
import json
import sys

STRIDE, BLOCK = 12, 4  # tests/engine/plan.c
path, rows, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sequences = rows // 4
words = 3 * rows + sequences + 1 + sequences * STRIDE
truth = array.array('i', open(path, 'rb').read())
starts_right = tables_right = expected = wrong = 0


def blocks_of(number, sequence, block, ahead):
    """Of the sequence's table; that of the other group of the KV cache has blocks twice as large, numbered as they come."""
    if block == BLOCK:
        return list(table[sequence * STRIDE:sequence * STRIDE + ahead])
    state = (sequences - 1 - sequence + number) % (sequences + 3)
    return [2 * rows + state * (STRIDE // 2) + n for n in range(ahead)]


number = 0
for line in sys.stdin:
    record = json.loads(line)
    kind, values = record.get('kind'), record.get('values')
    if kind not in ('starts', 'blocks', 'kv_indices'):
        continue
    if kind != 'blocks':  # which come behind the starts of their pass, for each group
        number = record['step']
    step = truth[number * words:(number + 1) * words]
    positions, starts, table = step[rows:2 * rows], step[3 * rows:3 * rows + sequences + 1], step[3 * rows + sequences + 1:]
    if kind == 'starts':
        starts_right += values == list(starts)
    elif kind == 'blocks':
        block = values[0]
        want = {starts[i]: blocks_of(number, i, block, positions[starts[i]] // block) for i in range(sequences)
                if starts[i] < starts[i + 1] and positions[starts[i]] and positions[starts[i]] % block == 0}
        got, at = {}, 1
        while at < len(values):
            got[values[at]] = values[at + 2:at + 2 + values[at + 1]]
            at += 2 + values[at + 1]
        expected += len(want)
        tables_right += sum(got.get(row) == blocks for row, blocks in want.items())
        wrong += block not in (BLOCK, 2 * BLOCK) or set(got) != set(want)
    else:
        want = {i: starts[i + 1] - starts[i] for i in range(sequences) if starts[i + 1] > starts[i]}
        lengths, at = {}, 1
        while at < len(values):
            i, length, told = values[at:at + 3]
            lengths[i] = length
            tables_right += values[at + 3:at + 3 + told] == list(table[i * STRIDE + length - told:i * STRIDE + length])
            at += 3 + told
        starts_right += values[0] == sequences and lengths == want
        expected += len(want)
print(f'match: {starts_right} of {steps} starts, {tables_right} of {expected} block tables' + (f', wrong: {wrong}' if wrong else ''))
sys.exit(0 if starts_right == steps and expected and tables_right == expected and not wrong else 1)
