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
python3 $engine model "$tmp/model" || exit

run() { # name, options of record, options of the engine
    local name=$1
    # Each compiles for itself, as a first start does.
    VLLM_CACHE_ROOT=$tmp/cache-$name MOETAP_LOG=2 timeout 400 $moetap record $2 -o "$out/$name.moetap" -- \
        python3 $engine run "$tmp/model" "$tmp/$name.npz" $3 >"$out/vllm-$name.log" 2>&1
    echo $? >"$tmp/$name.status"
}
case_of() { # name, truth: what it was recorded by
    local name=$1 truth=$2 verdict=FAIL status match same
    status=$(cat "$tmp/$name.status")
    match=$($moetap export -q "$out/$name.moetap" --all -o "$tmp/$name-export.npz" 2>&1 &&
        python3 tests/gpu/compare_vllm.py "$tmp/$truth.npz" "$tmp/$name-export.npz" 2>&1)
    local good=$?
    same=$(python3 - "$tmp/bare.npz" "$tmp/$name.npz" <<'P'
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
(VLLM_CACHE_ROOT=$tmp/cache-bare timeout 400 python3 $engine run "$tmp/model" "$tmp/bare.npz" >"$out/vllm-bare.log" 2>&1) &
run graphs "" own &
run eager "" "own eager" &
run preload --source=preload own &
run preempted "" "own small_cache" &
wait
run unmodified "" "" &
run no-prefix "" "own no_prefix" &
wait
for name in graphs eager preload preempted no-prefix; do case_of $name $name; done | tee "$out/vllm.txt"
# Not the same run: numerics may choose another expert where two are as good. It counts with the answers.
case_of unmodified graphs | tee -a "$out/vllm.txt"
! grep -q '^FAIL' "$out/vllm.txt"
