#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A whole vLLM engine from its wheel, recorded, against vLLM's own routed experts: tests/gpu/vllm.sh [RESULTS_FOLDER], after
# ./run build and `pip install vllm==0.24.0`. CASES="graphs v2" chooses. A row for each way of running it: ok or FAIL. Exit 0
# if none fails.
. "$(dirname "$0")/common.sh"
engine=tests/gpu/vllm_engine.py
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
if ! python3 -c 'import vllm' 2>"$out/vllm.log"; then
    echo "skipped vllm: $(tail -1 "$out/vllm.log")" | tee "$out/vllm.txt"
    exit 0
fi
python3 $engine model "$tmp/model" && python3 $engine windows "$tmp/windows" || exit

# Answers can be compared between runs only where vLLM puts the same requests into the same batches each time, that is without
# a process of its own for the scheduler, and where the same kernels were compiled: by a run ahead of them, whose own answers may differ.
bare() { # name
    VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CACHE_ROOT=$tmp/cache timeout 400 \
        python3 $engine run "$tmp/model" "$out/$1.npz" >"$out/vllm-$1.log" 2>&1
}
run() { # name, options of record, options of the engine, model
    local name=$1 model=${4:-model}
    # But for those, each compiles for itself, as a first start does.
    VLLM_CACHE_ROOT=${cache:-$tmp/cache-$name} MOETAP_LOG=2 timeout 400 $moetap record $2 -o "$out/$name.moetap" -- \
        python3 $engine run "$tmp/$model" "$out/$name.npz" $3 >"$out/vllm-$name.log" 2>&1
    echo $? >"$tmp/$name.status"
    $moetap info "$out/$name.moetap" >>"$out/vllm-$name.log"
}
# As it is served: a server that its clients ask, stopped as a service is.
serve() {
    local port=$((20000 + $$ % 20000)) recorder
    VLLM_CACHE_ROOT=$tmp/cache-server MOETAP_LOG=2 timeout 400 $moetap record -o "$out/server.moetap" -- \
        python3 -m vllm.entrypoints.cli.main serve "$tmp/model" --port "$port" --tokens-only --skip-tokenizer-init \
        --enable-return-routed-experts --max-model-len 1024 --max-num-batched-tokens 256 --max-num-seqs 32 \
        --gpu-memory-utilization 0.05 --kv-cache-memory-bytes $((256 << 20)) >"$out/vllm-server.log" 2>&1 &
    recorder=$!
    timeout 300 python3 tests/gpu/vllm_client.py "$port" "$out/server.npz" >"$out/vllm-client.log" 2>&1
    kill -TERM $recorder
    wait $recorder
    echo $? >"$tmp/server.status"
    $moetap info "$out/server.moetap" >>"$out/vllm-server.log"
}
start() { # name
    case $1 in
    unmodified)
        bare compile
        bare bare &
        VLLM_ENABLE_V1_MULTIPROCESSING=0 cache=$tmp/cache run unmodified "" ""
        ;;
    graphs) run graphs "" own ;;
    preload) run preload --source=preload own ;;
    eager) run eager "" "own eager" ;;
    preempted) run preempted "" "own small_cache" ;;
    no-prefix) run no-prefix "" "own no_prefix" ;;
    v2) run v2 "" "own v2" ;;
    v2-eager) run v2-eager "" "own v2 eager" ;;
    v2-preempted) run v2-preempted "" "own v2 small_cache" ;;
    drafts) run drafts "" "own drafts" ;;
    windows) run windows "" own windows ;;
    server) serve ;;
    v2-windows) run v2-windows "" "own v2" windows ;;
    *) echo "no case $1" >&2 ;;
    esac
    wait
}
answers() { # name: how many of its answers are those of the run without moetap
    python3 - "$out/bare.npz" "$out/$1.npz" <<'P'
import sys, numpy
a, b = (numpy.load(f) for f in sys.argv[1:3])
n = [k for k in a.files if k.startswith('tokens_')]
print(f"{sum(numpy.array_equal(a[k], b[k]) for k in n)} of {len(n)}")
P
}
verdict_of() { # name
    local text
    if [ "$1" != unmodified ]; then
        compare_row vllm "$1"
        return
    fi
    text=$(answers "$1")
    [ "${text% of*}" = "${text#*of }" ]
    row_of vllm "$1" $? "$text answers as without moetap (the run that compiled: $(answers compile))"
}

CASES=${CASES:-unmodified graphs server preload eager preempted no-prefix v2 v2-eager v2-preempted drafts windows v2-windows}
# shellcheck disable=SC2086
start_each 5 $CASES
for name in $CASES; do verdict_of "$name"; done | tee "$out/vllm.txt"
! grep -q '^FAIL' "$out/vllm.txt"
