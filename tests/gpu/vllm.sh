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
answers() { # name: how many of its answers are those of the run without moetap
    python3 - "$tmp/bare.npz" "$tmp/$1.npz" <<'P'
import sys, numpy
a, b = (numpy.load(f) for f in sys.argv[1:3])
n = [k for k in a.files if k.startswith('tokens_')]
print(f"{sum(numpy.array_equal(a[k], b[k]) for k in n)} of {len(n)} answers as without moetap")
P
}
case_of() { # name
    local name=$1 verdict=FAIL status match same
    status=$(cat "$tmp/$name.status")
    match=$($moetap export "$out/$name.moetap" --all -o "$tmp/$name-export.npz" 2>&1 &&
        python3 tests/gpu/compare_requests.py "$tmp/$name.npz" "$tmp/$name-export.npz" 2>&1)
    local good=$?
    same=$(answers "$name")
    $moetap info "$out/$name.moetap" >>"$out/vllm-$name.log"
    if [ "$good" = 0 ] && [ "$status" = 0 ]; then verdict="ok  "; fi
    echo "$verdict vllm $name: $(tail -1 <<<"$match"), $same, status $status"
}
# Without a process of its own for the scheduler vLLM puts the same requests into the same batches each time: only then
# can answers be compared between runs.
bare() { # name
    VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CACHE_ROOT=$tmp/cache-$1 timeout 400 python3 $engine run "$tmp/model" "$tmp/$1.npz" >"$out/vllm-$1.log" 2>&1
}
CASES=${CASES:-unmodified graphs preload eager preempted no-prefix}
has() { [[ " $CASES " == *" $1 "* ]]; }
# Some at a time: they start slowly, with several processes each.
bare bare &
if has unmodified; then
    bare bare-again &
    VLLM_ENABLE_V1_MULTIPROCESSING=0 run unmodified "" "" &
fi
wait
if has graphs; then run graphs "" own & fi
if has preload; then run preload --source=preload own & fi
if has eager; then run eager "" "own eager" & fi
wait
if has preempted; then run preempted "" "own small_cache" & fi
if has no-prefix; then run no-prefix "" "own no_prefix" & fi
wait
: >"$out/vllm.txt"
for name in $CASES; do
    if [ "$name" != unmodified ]; then
        case_of "$name"
        continue
    fi
    again=$(answers bare-again) same=$(answers unmodified) verdict=FAIL
    if [ "$same" = "$again" ] && [ "$(cat "$tmp/unmodified.status")" = 0 ] && [[ $same =~ ^([0-9]+)\ of\ ([0-9]+) ]] &&
        [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ]; then verdict="ok  "; fi
    echo "$verdict vllm unmodified: $same (a second run without it: ${again%% answers*})"
done | tee "$out/vllm.txt"
! grep -q '^FAIL' "$out/vllm.txt"
