# SPDX-License-Identifier: Apache-2.0
"""compare_probe.py MODEL REPORT < dump.jsonl: did `moetap probe` find the model's k and E, and does its recipe read them?

REPORT is what probe printed; the dump is of a recording with the recipe that it wrote. Exit 0 if all is right.
"""
import json
import re
import sys

# name: experts, k; as in models.py
TRUTH = {'mixtral': (8, 2), 'qwen3_moe': (128, 8), 'qwen2_moe': (60, 4), 'olmoe': (64, 8), 'deepseek_v3': (64, 8), 'gpt_oss': (32, 4)}
experts, k = TRUTH[sys.argv[1]]
report = open(sys.argv[2]).read()

found = []
for block in re.split(r'\n\n', report):
    head = re.search(r'^(certain|likely): (\S+)', block, re.M)
    if head:
        said_k = int(re.search(r'^  k +(\d+)', block, re.M)[1])
        most = int(re.search(r'ids up to (\d+)|at least (\d+)', block)[1] or 0)
        found.append((head[1], head[2], said_k, most))
right = [f for f in found if f[2] == k and f[3] < experts]
wrong = [f for f in found if f not in right]
# The stages of grouped routing are top-ks as well.
records = [json.loads(line) for line in sys.stdin]
read = [r for r in records if r['k'] == k and r['experts'] in (0, experts)]
good = right and not [f for f in wrong if f[0] == 'certain'] and read
print(f'k {k}, E {experts}: found {[" ".join(map(str, f)) for f in found]}, records with that k and E {len(read)} of {len(records)}')
sys.exit(0 if good else 1)
