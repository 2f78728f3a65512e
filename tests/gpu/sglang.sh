#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A whole SGLang engine from its wheel, recorded, against SGLang's own routed experts: tests/gpu/sglang.sh [RESULTS_FOLDER], after
# ./run build and `pip install sglang==0.5.17`. CASES="graphs pages" chooses; bare, first, is without moetap, and compiles
# kernels that the others then find. LIMIT: seconds for each. A row for each way of running it: ok or FAIL. Exit 0
# if none fails.
. "$(dirname "$0")/common.sh"
engine=tests/gpu/sglang_engine.py
LIMIT=${LIMIT:-400}
export HF_HUB_OFFLINE=1
if ! python3 -c 'import sglang' 2>"$out/sglang.log"; then
    echo "skipped sglang: $(tail -1 "$out/sglang.log")" | tee "$out/sglang.txt"
    exit 0
fi
python3 $engine model "$tmp/model" || exit

run() { # name, options of record, options of the engine
    MOETAP_LOG=2 timeout -k 5 "$LIMIT" $moetap record $2 -o "$out/$1.moetap" -- \
        python3 $engine run "$tmp/model" "$out/$1.npz" $3 >"$out/sglang-$1.log" 2>&1
    echo $? >"$tmp/$1.status"
    $moetap info "$out/$1.moetap" >>"$out/sglang-$1.log"
}
start() { # name
    case $1 in
    graphs) run graphs "" own ;;
    preload) run preload --source=preload own ;;
    eager) run eager "" "own eager" ;;
    pages) run pages "" "own pages" ;;
    retracted) run retracted "" "own small_cache" ;;
    no-prefix) run no-prefix "" "own no_prefix" ;;
    *) echo "no case $1" >&2 ;;
    esac
}

CASES=${CASES:-bare graphs preload eager pages retracted no-prefix}
if [[ $CASES = bare* ]]; then
    timeout -k 5 "$LIMIT" python3 $engine run "$tmp/model" "$out/bare.npz" own >"$out/sglang-bare.log" 2>&1 ||
        tail -3 "$out/sglang-bare.log"
    CASES=${CASES#bare}
fi
# shellcheck disable=SC2086
start_each 4 $CASES
for name in $CASES; do compare_row sglang "$name"; done | tee "$out/sglang.txt"
! grep -q '^FAIL' "$out/sglang.txt"
