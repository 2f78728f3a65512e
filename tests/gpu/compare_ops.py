# SPDX-License-Identifier: Apache-2.0
"""compare_ops.py TRUTH TRACE MOETAP: each op call has its record, with the same ids. Exit 0 if all have; the last line is the sum."""
import collections
import json
import re
import subprocess
import sys

truth = json.load(open(sys.argv[1]))
moetap = sys.argv[3]


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


# Alone: one stream, in their order. A record too many, or one that lacks, must not shift the rest.
tally = collections.defaultdict(lambda: [0, 0])
missed = []
records, at, extra = by_stream.pop(0, []), 0, 0
for name, args, ids in truth['calls']:
    found = next((n for n in range(at, min(at + 4, len(records))) if records[n]['ids'] == ids), None)
    if found is None:
        missed.append(f'{name} {args}')
        tally[f'{name}: not found'][0] += 1
        continue
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
want = collections.Counter(json.dumps(ids) for graph in truth['graphs'] for ids in graph['ids'])
got = collections.Counter(json.dumps(r['ids']) for records in by_stream.values() for r in records)
common = want & got
for name in sorted({graph['name'] for graph in truth['graphs']}):
    ids = [json.dumps(ids) for graph in truth['graphs'] if graph['name'] == name for ids in graph['ids']]
    print(f'{name} in graphs: {sum(1 for i in ids if i in common)} of {len(ids)} records equal')
equal = sum(ids for _, ids in tally.values()) + sum(n * count(json.loads(ids)) for ids, n in common.items())
total = sum(count(ids) for _, _, ids in truth['calls']) + sum(n * count(json.loads(ids)) for ids, n in want.items())
ok = total and equal == total and not missed and not extra and want == got
print(f"{equal} of {total} ids equal; {len(truth['calls']) - len(missed)} of {len(truth['calls'])} calls, {sum(common.values())} of "
      f'{sum(want.values())} in graphs, {extra + sum((got - want).values())} records too many')
sys.exit(not ok)
