#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A whole vLLM engine from its wheel, recorded, against vLLM's own routed experts: tests/gpu/vllm.sh [RESULTS_FOLDER], after
# ./run build and `pip install vllm==0.24.0`. A row for each way of running it: ok or FAIL. Exit 0 if none fails.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
out=${1:-gpu-results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
moetap=build/tools/moetap engine=tests/gpu/vllm_engine.py
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
if ! python3 -c 'import vllm' 2>"$out/vllm.log"; then
    echo "skipped vllm: $(tail -1 "$out/vllm.log")" | tee "$out/vllm.txt"
    exit 0
fi
python3 $engine model "$tmp/model" && python3 $engine windows "$tmp/windows" || exit

run() { # name, options of record, options of the engine, model
    local name=$1 model=${4:-model}
    # Each compiles for itself, as a first start does.
    VLLM_CACHE_ROOT=$tmp/cache-$name MOETAP_LOG=2 timeout 400 $moetap record $2 -o "$out/$name.moetap" -- \
        python3 $engine run "$tmp/$model" "$out/$name.npz" $3 >"$out/vllm-$name.log" 2>&1
    echo $? >"$tmp/$name.status"
}
case_of() { # name, truth: what it was recorded by
    local name=$1 truth=$2 verdict=FAIL status match same
    status=$(cat "$tmp/$name.status")
    match=$($moetap export "$out/$name.moetap" --all -o "$tmp/$name-export.npz" 2>&1 &&
        python3 tests/gpu/compare_vllm.py "$out/$truth.npz" "$tmp/$name-export.npz" 2>&1)
    local good=$?
    same=$(python3 - "$out/bare.npz" "$out/$name.npz" <<'P'
import sys, numpy
a, b = (numpy.load(f) for f in sys.argv[1:3])
n = [k for k in a.files if k.startswith('tokens_')]
print(f"{sum(numpy.array_equal(a[k], b[k]) for k in n)} of {len(n)} answers as without moetap")
P
    )
    $moetap info "$out/$name.moetap" >>"$out/vllm-$name.log"
    if [ "$good" = 0 ] && [ "$status" = 0 ]; then verdict="ok  "; fi
    echo "$verdict vllm $name: $(tail -1 <<<"$match"), $same, status $status"
}
# Some at a time: they start slowly, and each takes a part of the GPU's memory.
CASES=${CASES:-graphs preload unmodified eager preempted no-prefix v2 v2-eager v2-preempted drafts windows v2-windows offload}
has() { [[ " $CASES " == *" $1 "* ]]; }
(VLLM_CACHE_ROOT=$tmp/cache-bare timeout 400 python3 $engine run "$tmp/model" "$out/bare.npz" >"$out/vllm-bare.log" 2>&1) &
if has graphs; then run graphs "" own & fi
if has preload; then run preload --source=preload own & fi
if has unmodified; then run unmodified "" "" & fi
wait
if has eager; then run eager "" "own eager" & fi
if has preempted; then run preempted "" "own small_cache" & fi
if has no-prefix; then run no-prefix "" "own no_prefix" & fi
wait
if has v2; then run v2 "" "own v2" & fi
if has v2-eager; then run v2-eager "" "own v2 eager" & fi
if has v2-preempted; then run v2-preempted "" "own v2 small_cache" & fi
if has drafts; then run drafts "" "own drafts" & fi
wait
if has windows; then run windows "" own windows & fi
if has v2-windows; then run v2-windows "" "own v2" windows & fi
if has offload; then run offload "" "own small_cache offload" & fi
wait
: >"$out/vllm.txt"
for name in $CASES; do
    # Not the same run: numerics may choose another expert where two are as good. It counts with the answers.
    if [ "$name" = unmodified ]; then case_of unmodified graphs; else case_of "$name" "$name"; fi
done | tee "$out/vllm.txt"
! grep -q '^FAIL' "$out/vllm.txt"
