# SPDX-License-Identifier: Apache-2.0
"""check_vllm.py MOETAP: a trace of a real engine, whose requests are the engine's own, row by row (data/README)."""
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
with tempfile.TemporaryDirectory() as folder:
    out = Path(folder, 'out.npz')
    subprocess.run([sys.argv[1], 'export', here / 'data/vllm-0.24.moetap', '--all', '-o', out], check=True)
    said = subprocess.run([sys.executable, here / '../gpu/compare_vllm.py', here / 'data/vllm-0.24.npz', out], capture_output=True, text=True)
    print(said.stdout, said.stderr)
    assert said.returncode == 0 and '8207 of 8207 rows equal, 0 missing, 0 wrong' in said.stdout
