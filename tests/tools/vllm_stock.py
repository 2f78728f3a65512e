#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vllm_stock.py CACHE COMMAND...: runs COMMAND with VLLM_STOCK naming the one file of vLLM's wheel that holds its reader of
routed experts. The file is read out of the wheel, found by name by pip, without the rest of it. 77 (skip): it cannot be had.
"""
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

VERSION = '0.16.0'
FILE = 'vllm/model_executor/layers/fused_moe/routed_experts_capturer.py'


def fetch():
    from pip._internal.network.lazy_wheel import LazyZipOverHTTP
    from pip._internal.network.session import PipSession
    report = subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '-q', '--dry-run', '--ignore-installed', '--no-deps', '--only-binary=:all:',
         '--report', '-', f'vllm=={VERSION}'], check=True, capture_output=True, text=True, timeout=60).stdout
    wheel = json.loads(report)['install'][0]['download_info']['url']
    with zipfile.ZipFile(LazyZipOverHTTP(wheel, PipSession(retries=1))) as archive:
        return archive.read(FILE)


cache = Path(sys.argv[1], f'vllm-{VERSION}-reader.py')
if not cache.exists():
    try:
        source = fetch()
    except (Exception, SystemExit) as problem:
        print(f'skipped: the reader of vLLM {VERSION} cannot be had through pip: {str(problem).splitlines()[0][:200]}')
        sys.exit(77)
    cache.parent.mkdir(exist_ok=True)
    part = cache.with_suffix(f'.{os.getpid()}')
    part.write_bytes(source)
    part.rename(cache)
os.environ['VLLM_STOCK'] = str(cache)
os.execv(sys.argv[2], sys.argv[2:])
