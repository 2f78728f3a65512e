# SPDX-License-Identifier: Apache-2.0
"""check_engines.py MOETAP: traces of real engines, whose requests are the engines' own, row by row (data/README)."""
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy  # noqa: F401
except ImportError:
    print('skipped: no numpy')
    sys.exit(77)

here = Path(__file__).parent
traces = sorted((here / 'data').glob('*.moetap'))
assert len(traces) == 8, traces
for trace in traces:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, 'out.npz')
        subprocess.run([sys.argv[1], 'export', trace, '--all', '-o', out], check=True)
        generated = trace.name.startswith('transformers')
        compare, rows = (['generate.py', 'recompute'], 1340) if generated else (['engine.py'], 8207)
        said = subprocess.run([sys.executable, here / f'../gpu/compare_{compare[0]}', *compare[1:], trace.with_suffix('.npz'), out],
                              capture_output=True, text=True)
        print(trace.name, said.stdout, said.stderr)
        assert said.returncode == 0 and f'{rows} of {rows} rows equal, 0 missing, 0 wrong' in said.stdout
