# SPDX-License-Identifier: Apache-2.0
"""compare_ops.py TRUTH TRACE MOETAP: each op call has its record, with the same ids. Exit 0 if all have."""
import collections
import json
import re
import subprocess
import sys

truth = json.load(open(sys.argv[1]))
moetap = sys.argv[3]
recipes = {m[1]: m[2] for m in re.finditer(r'^\s+(\d+)\s+\d+\s.*?\s(\S+)$', subprocess.run([moetap, 'info', sys.argv[2]], text=True,
                                                                                        capture_output=True).stdout, re.M)}
by_stream = collections.defaultdict(list)
for line in subprocess.run([moetap, 'dump', '--format=jsonl', sys.argv[2]], text=True, capture_output=True).stdout.splitlines():
    record = json.loads(line)
    by_stream[record['stream']].append(record)

# Eager calls: one stream, in their order.
seen = collections.defaultdict(lambda: [0, 0])
missed = []
records = iter(by_stream.pop(0, []))
record = next(records, None)
for name, args, ids in truth['calls']:
    if record is not None and record['ids'] == ids:
        key = f"{name}: {recipes.get(str(record['site']), '?')}"
        seen[key][0] += 1
        seen[key][1] += sum(map(len, ids))
        record = next(records, None)
    else:
        missed.append(f'{name} {args}')
left = sum(1 for _ in records) + (record is not None)
for key, (calls, ids) in sorted(seen.items()):
    print(f'{key}: {calls} calls, {ids} ids equal')
for line in missed[:5]:
    print('MISSED', line)

# Graphs: on their stream, a record for each router of each replay; the order within a replay is not promised.
want = collections.Counter(json.dumps(ids) for graph in truth['graphs'] for ids in graph['ids'])
got = collections.Counter(json.dumps(r['ids']) for records in by_stream.values() for r in records)
common = sum((want & got).values())
print(f'graphs: {common} of {sum(want.values())} records equal, {sum((got - want).values())} others')
print(f'match: {len(truth["calls"]) - len(missed)} of {len(truth["calls"])} calls, {left} records too many')
sys.exit(bool(missed or left or want != got))
