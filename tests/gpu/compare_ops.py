# SPDX-License-Identifier: Apache-2.0
"""compare_ops.py TRUTH TRACE MOETAP [--weights]: each op call has its record, with the same ids, and with --weights the same bits of
weights where the call gave some. Exit 0 if all have; the last line is the sum."""
import collections
import json
import math
import re
import struct
import subprocess
import sys

truth = json.load(open(sys.argv[1]))
moetap = sys.argv[3]
weighted = '--weights' in sys.argv[4:]


def output(*args):
    return subprocess.run([moetap, *args], text=True, capture_output=True).stdout.splitlines()


sites = (re.match(r'\s+(\d+)\s+\d+\s.*\s(\S+)$', line) for line in output('info', sys.argv[2]))
recipes = {m[1]: m[2] for m in sites if m}
by_stream = collections.defaultdict(list)
for line in output('dump', '--format=jsonl', sys.argv[2]):
    record = json.loads(line)
    by_stream[record['stream']].append(record)


def count(ids):
    return sum(map(len, ids))


def bits(weights):
    """What is no number is null in a dump."""
    if weights is None or not weighted:
        return None
    return [[struct.pack('<f', w).hex() if w is not None and math.isfinite(w) else None for w in row] for row in weights]


weights_equal = weights_total = 0


# Alone: one stream, in their order. A record too many, or one that lacks, must not shift the rest.
tally = collections.defaultdict(lambda: [0, 0])
missed = []
records, at, extra = by_stream.pop(0, []), 0, 0
for name, args, ids, weights in truth['calls']:
    found = next((n for n in range(at, min(at + 4, len(records))) if records[n]['ids'] == ids), None)
    weights = bits(weights)
    weights_total += count(weights or [])
    if found is None:
        missed.append(f'{name} {args}')
        tally[f'{name}: not found'][0] += 1
        continue
    if weights and weights != bits(records[found].get('weights')):
        missed.append(f'weights of {name} {args}')
    else:
        weights_equal += count(weights or [])
    key = f"{name}: {recipes.get(str(records[found]['site']), '?')}"
    tally[key][0] += 1
    tally[key][1] += count(ids)
    extra += found - at
    at = found + 1
extra += len(records) - at
for key, (calls, ids) in sorted(tally.items()):
    print(f'{key}: {calls} calls, {ids} ids equal')
for line in missed[:8]:
    print('MISSED', line)

# Graphs: on their streams, a record for each router of each replay; the order within a replay is not promised.
def key_of(ids, weights):
    return json.dumps([ids, bits(weights)])


keys = {graph['name']: [] for graph in truth['graphs']}
for graph in truth['graphs']:
    keys[graph['name']] += [key_of(*chosen) for chosen in graph['chosen']]
want = collections.Counter(key for all_keys in keys.values() for key in all_keys)
gives = {graph['name'] for graph in truth['graphs'] if any(weights for _, weights in graph['chosen'])}
got = collections.Counter(key_of(r['ids'], r.get('weights') if gives else None) for records in by_stream.values() for r in records)
common = want & got
for name in sorted(keys):
    print(f'{name} in graphs: {sum(1 for key in keys[name] if key in common)} of {len(keys[name])} records equal')


def totals(counter):
    parsed = [(json.loads(key), n) for key, n in counter.items()]
    return sum(n * count(ids) for (ids, _), n in parsed), sum(n * count(weights or []) for (_, weights), n in parsed)


equal = sum(ids for _, ids in tally.values()) + totals(common)[0]
total = sum(count(ids) for _, _, ids, _ in truth['calls']) + totals(want)[0]
weights_equal += totals(common)[1]
weights_total += totals(want)[1]
ok = total and equal == total and weights_equal == weights_total and not missed and not extra and want == got
print(f"{equal} of {total} ids equal; " + (f'{weights_equal} of {weights_total} weights equal; ' if weighted else '') +
      f"{len(truth['calls']) - len(missed)} of {len(truth['calls'])} calls, {sum(common.values())} of "
      f'{sum(want.values())} in graphs, {extra + sum((got - want).values())} records too many')
sys.exit(not ok)
