#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How fast a whole vLLM engine generates, bare, recorded, and with its own routed experts: bench/vllm.sh, after ./run build and
# `pip install vllm==0.24.0`. A small model, so that the host is the bottleneck: the worst case. Best of the last five rounds of each;
# ratios to the first bare run, and a second bare run tells how far to trust them.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CACHE_ROOT=${VLLM_CACHE_ROOT:-$tmp/cache}
engine=tests/gpu/vllm_engine.py
python3 $engine model "$tmp/model"
best() { # name, command...
    local name=$1 rate
    shift
    "$@" >"$tmp/log" 2>&1 || { tail -3 "$tmp/log"; exit 1; }
    rate=$(sed -nE 's/^round [1-5]: ([0-9]+) tokens.*/\1/p' "$tmp/log" | sort -n | tail -1)
    base=${base:-$rate}
    awk -v n="$name" -v r="$rate" -v b="$base" 'BEGIN { printf "%-28s %8d tokens/s  %.3f\n", n, r, r / b }'
}
best bare python3 $engine speed "$tmp/model"
best "moetap record" build/tools/moetap record -q --force -o "$tmp/t" -- python3 $engine speed "$tmp/model"
best "vLLM's own" python3 $engine speed "$tmp/model" own
best "bare again" python3 $engine speed "$tmp/model"
