# SPDX-License-Identifier: Apache-2.0
"""Tables of a bench/run.sh result folder, in Markdown; with matplotlib, also the plot OUT/graph_taps.svg."""
import json
import statistics
import sys
from pathlib import Path

VARIANTS = ['empty', 'copy', 'inline', 'beside']


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def row(*cells):
    print('| ' + ' | '.join(str(cell) for cell in cells) + ' |')


def head(*cells):
    row(*cells)
    row(*['---'] * len(cells))


def taps(points):
    head('next kernel', 'rows', 'k', 'layers', 'bare step, us', *[f'{v}, us a layer' for v in VARIANTS], 'beside / copy',
         'beside, % of step')
    for p in points:
        added = [p[v]['added_us'] for v in VARIANTS]
        row(p['next'], p['rows'], p['k'], p['layers'], f"{p['bare']['step_us']:.0f}", *[f'{a:.2f}' for a in added],
            f'{added[3] / added[1]:.2f}', f"{100 * added[3] * p['layers'] / p['bare']['step_us']:.2f}")


def launches(runs):
    head('launch of', 'bare, ns', 'preload, ns added', 'cupti, ns added')
    for what, name in (('other_ns', 'a kernel that is none of ours'), ('router_ns', 'a router, its tap included')):
        by_mode = {m: [r['ns'][what] for r in runs if r['mode'] == m] for m in ('bare', 'preload', 'cupti')}
        added = [statistics.median(a - b for a, b in zip(by_mode[m], by_mode['bare'])) for m in ('preload', 'cupti')]
        row(name, f"{statistics.median(by_mode['bare']):.0f}", *[f'{a:.0f}' for a in added])


def hook(runs):
    head("kernels' parameters", 'stream', 'bare, ns', 'added, ns', '10 % to 90 % of rounds')
    for r in runs:
        row(r['kernels'], r['stream'], r['bare_ns'], r['added_ns'], f"{r['added_p10_ns']} to {r['added_p90_ns']}")


def ring_cpu(runs):
    kinds = [k for k in runs[0] if k != 'payload']
    head('payload, bytes', *[f'{k}, records/s' for k in kinds], *[f'moetap / {k}' for k in kinds if k.startswith('ck')])
    for r in runs:
        row(r['payload'], *[f"{r[k]['records_s']:.0f}" for k in kinds],
            *[f"{r['moetap']['records_s'] / r[k]['records_s']:.2f}" for k in kinds if k.startswith('ck')])


def throughput(runs):
    head('rows x k', 'ring', 'reader', 'GPU copy, GB/s', 'one thread: memcpy, scan, GB/s', 'produced, GB/s', 'read, GB/s',
         'read, 10^9 ids/s', 'read / ids of the GPU copy', 'read / memcpy', 'records read', 'lost')
    for r in runs:
        e, reader = r['engine'], r['reader']
        read = reader['bytes'] / reader['seconds'] / 1e9  # one byte an id; the copy engine's are int32
        row(f"{e['rows']} x 8", r['ring'], r['how'], e['copy_gbs'], f"{e['memcpy_gbs']}, {e['scan_gbs']}", e['ring_gbs'],
            f'{read:.2f}', f'{read:.2f}', f"{read / (e['copy_gbs'] / 4):.2f}", f"{read / e['memcpy_gbs']:.2f}", reader['read'],
            reader['lost'])


def latency(lines):
    """Each run of the program says first what a round trip took; its points follow."""
    head('launched', 'rows', 'layers', 'reader', 'records', 'p50, us', 'p99, us', 'p50 / round trip', 'p99 / round trip')
    notes = []
    for r in lines:
        if 'device' in r:
            trip = r
            notes.append(f"{r['trip_p50_us']:.2f} us (p99 {r['trip_p99_us']:.2f}), clocks +-{r['uncertainty_us']:.2f} us")
            continue
        row(r['mode'], r['rows'], r['layers'], r['reader'], r['records'], r['p50_us'], r['p99_us'],
            f"{r['p50_us'] / trip['trip_p50_us']:.1f}", f"{r['p99_us'] / trip['trip_p50_us']:.1f}")
    print('\nRound trip, a run each:', '; '.join(notes))


def generate(runs):
    head('source', 'ms a step', 'ratio to bare', 'tokens')
    by_mode = {m: [r['run'] for r in runs if r['mode'] == m] for m in ('bare', 'preload', 'auto')}
    for mode, all_runs in by_mode.items():
        if not all_runs:  # the runs were cut short
            continue
        ratio = statistics.median(a['step_ms'] / b['step_ms'] for a, b in zip(all_runs, by_mode['bare']))
        same = all(a['tokens'] == b['tokens'] for a, b in zip(all_runs, by_mode['bare']))
        row(mode, f"{statistics.median(a['step_ms'] for a in all_runs):.2f}", f'{ratio:.3f}', 'same' if same else 'DIFFER')


def plot(points, path):
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use('svg')
    import matplotlib.pyplot as plt
    nexts = [n for n in ('short', 'long', 'full', 'persistent', 'streams') if any(p['next'] == n for p in points)]
    figure, axes = plt.subplots(1, len(nexts), figsize=(4.2 * len(nexts), 3.6), sharey=True)
    for axis, name in zip(axes, nexts):
        some = [p for p in points if p['next'] == name and p['k'] == 8 and p['layers'] == 48]
        for v in VARIANTS:
            axis.plot([p['rows'] for p in some], [max(p[v]['added_us'], 0.01) for p in some], marker='o', label=v)
        axis.set(xscale='log', yscale='log', xlabel='rows', title=f"next kernel: {name}")
        axis.grid(True, alpha=0.3)
    axes[0].set_ylabel('added, us a layer')
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, metadata={'Date': None})
    svg = path.read_text().split('\n', 1)
    path.write_text('\n'.join([svg[0], '<!-- SPDX-License-Identifier: Apache-2.0 -->', *(line.rstrip() for line in svg[1].split('\n'))]))


out = Path(sys.argv[1])
points = lines(out / 'taps.json')
if points:
    print(f"\n{points[0]['device']}\n")
    taps(points[1:])
    plot(points[1:], out / 'graph_taps.svg')
weighed = lines(out / 'taps_weights.json')
if weighed:
    print('\nThe same with --weights\n')
    taps(weighed[1:])
for name, show in (('launches', launches), ('hook', hook), ('ring_cpu', ring_cpu), ('throughput', throughput), ('latency', latency), ('generate', generate)):
    runs = lines(out / f'{name}.json')
    if runs:
        print()
        show(runs)
