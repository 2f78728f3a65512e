# SPDX-License-Identifier: Apache-2.0
"""compare_probe.py REPORT RECIPES TRUTH < dump.jsonl: did `moetap probe` find the router, and does its recipe read it?
compare_probe.py REPORT RECIPES DEMO_TRUTH LAYERS EXPERTS K TOKENS DTYPE < dump.jsonl: the same of moe-demo

REPORT is what probe printed, RECIPES what it wrote, the dump is of a recording with these. One line says which kernel was found, its
final, k, type, E and rows, what else was reported, and how many ids are equal. Exit 0: one router, right in all of that, every id
equal, and nothing else that was said to be certain.
"""
import array
import json
import re
import sys


def read_truth(path, shape):
    if not shape:
        truth = json.load(open(path))
        return truth['experts'], truth['k'], truth['dtype'], [(layer, ids) for layer, ids, _ in truth['calls']]
    layers, experts, k, tokens = map(int, shape[:4])
    ids = array.array('i', open(path, 'rb').read()).tolist()
    rows = [ids[i:i + k] for i in range(0, len(ids), k)]
    return experts, k, shape[4], [(n // tokens % layers, rows[n:n + tokens]) for n in range(0, len(rows), tokens)]


def read_report(path):
    """Candidates, best first: confidence, kernel, and what the lines below say."""
    found = []
    for block in open(path, errors='replace').read().split('\n\n'):
        head = re.search(r'^(certain|likely|possible): (\S+)', block, re.M)
        if head:
            said = dict(re.findall(r'^  (\w+) +(.*)$', block, re.M))
            found.append({'confidence': head[1], 'kernel': head[2], 'k': int(said['k'].split(',')[0]), 'dtype': said['ids'].split(', ')[-1],
                          'most': int(re.search(r'(?:ids up to|at least) (\d+)', said['experts'])[1]),
                          'rows': said.get('rows', 'unknown').split(',')[0], 'but': said.get('but', '')})
    return found


def same_type(said, true):
    return said == true or said[1:] == true[1:]  # ids that fit tell nothing of a sign


def matched(records, calls):
    """Of the calls' ids, those that the records have at the same layer and step."""
    steps, expected, equal = {}, {}, 0
    for layer, ids in calls:
        step = steps.get(layer, 0)
        steps[layer] = step + 1
        expected[(layer, step)] = ids
    total = sum(len(row) for ids in expected.values() for row in ids)
    for record in records:
        want = expected.pop((record['layer'], record['step']), [])
        if len(want) == len(record['ids']):
            equal += sum(a == b for w, r in zip(want, record['ids']) for a, b in zip(w, r))
    return equal, total, len(expected)


experts, k, dtype, calls = read_truth(sys.argv[3], sys.argv[4:])
found = read_report(sys.argv[1])
recipes = open(sys.argv[2]).read()
right = [f for f in found if f['confidence'] != 'possible' and f['k'] == k and f['most'] <= experts and same_type(f['dtype'], dtype)]
others = [f for f in found if f not in right[:1]]
records = [json.loads(line) for line in sys.stdin]
mine = [r for r in records if r['k'] == k and r['experts'] == experts] or [r for r in records if r['k'] == k and r['experts'] == 0]
equal, total, missing = matched(mine, calls)

text = f'truth k {k} {dtype} E {experts}: '
if right:
    f = right[0]
    final = re.search(rf'^final +=.*?^kernel +=\s*(\S+)', recipes, re.M | re.S)
    text += f'{f["confidence"]} {f["kernel"]}, final {final[1] if final else "none"}, k {f["k"]} {f["dtype"]}, ids to {f["most"]}, rows {f["rows"]}'
    text += f' ({f["but"]})' if f['but'] else ''
else:
    text += 'NOT FOUND'
text += f'; {equal} of {total} ids equal, {missing} of {len(calls)} calls missing'
text += f', {len(records) - len(mine)} records of something else' if len(records) > len(mine) else ''
if others:
    text += '; also ' + ', '.join(f'{o["confidence"]} {o["kernel"]} k {o["k"]}' for o in others)
print(text)
good = right and equal == total and not missing and not [o for o in others if o['confidence'] == 'certain']
sys.exit(0 if good else 1)
