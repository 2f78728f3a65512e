#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How fast a whole vLLM engine generates, bare, recorded, and with its own routed experts: bench/vllm.sh, after ./run build and
# `pip install vllm==0.24.0`. MODEL=large (the layers of Qwen3-30B-A3B, 16 of them: the GPU is the bottleneck, as where it is served) or
# MODEL=model (a small one: the host is). A bare run comes first, as it compiles for all; then bare and recorded ones take turns, TURNS=
# times. Of each run the median of its last seven rounds counts, and the slowest and fastest of them tell how far to trust it.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CACHE_ROOT=${VLLM_CACHE_ROOT:-$tmp/cache}
engine=tests/gpu/vllm_engine.py
python3 $engine "${MODEL:-large}" "$tmp/model"
rate() { # name, command...
    local name=$1 rates
    shift
    "$@" >"$tmp/log" 2>&1 || { echo "$name failed: $(grep -E '^[A-Za-z]*Error' "$tmp/log" | tail -1)" >&2; exit 1; }
    mapfile -t rates < <(sed -nE 's/^round [3-9]: ([0-9]+) tokens.*/\1/p' "$tmp/log" | sort -n)
    base=${base:-${rates[3]}}
    awk -v n="$name" -v r="${rates[3]}" -v b="$base" -v low="${rates[0]}" -v high="${rates[6]}" \
        'BEGIN { printf "%-16s %8d tokens/s (%d to %d)  %.3f\n", n, r, low, high, r / b }'
}
rate "bare, compiles" python3 $engine speed "$tmp/model"
unset base
for _ in $(seq "${TURNS:-2}"); do
    rate bare python3 $engine speed "$tmp/model"
    rate "moetap record" build/tools/moetap record -q --force -o "$tmp/t" -- python3 $engine speed "$tmp/model"
done
rate "vLLM's own" python3 $engine speed "$tmp/model" own
