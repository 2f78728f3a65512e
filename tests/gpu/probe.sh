#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Does `moetap probe` find the routers of real models, as if no recipe knew them? After ./run build, from anywhere:
# tests/gpu/probe.sh [RESULTS_FOLDER]. Needs python3 with torch and transformers. One row for each model, ok or FAIL.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${1:-gpu-results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
moetap=build/tools/moetap demo=build/tests/engine/moe-demo
failures=0
row() {
    printf '%-36s %s\n' "$1" "$2" | tee -a "$out/probe.txt"
    case $2 in ok* | skipped*) ;; *) failures=$((failures + 1)) ;; esac
}
: >"$out/probe.txt"

demo_case() { # dtype
    local verdict=FAIL
    $demo --layers 12 --experts 128 --topk 8 --tokens 64 --dtype "$1" >"$tmp/bare" 2>&1
    timeout 60 $moetap probe --all -v -o "$tmp/demo.recipe" -- $demo --layers 12 --experts 128 --topk 8 --tokens 64 --dtype "$1" >"$out/probe-demo-$1.txt" 2>&1
    local status=$?
    if [ $status = 0 ] && grep -q "ids      param 1, $1" "$out/probe-demo-$1.txt" && grep -q "k        8, from param 5" "$out/probe-demo-$1.txt" &&
        grep -q "$(grep -o 'checksum.*' "$tmp/bare")" "$out/probe-demo-$1.txt"; then verdict=ok; fi
    row "moe-demo $1" "$verdict: status $status, $(grep -E '^(certain|likely|possible)' "$out/probe-demo-$1.txt" | tr '\n' ' ')"
}
demo_case i32
demo_case i64

if python3 -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
    # All at once: most of their time is the import of torch.
    model_case() { # model
        local model=$1 at=$tmp/$1 status recorded verdict=FAIL text match same
        timeout 100 python3 tests/gpu/models.py "$model" "$at.bare" >"$at.log" 2>&1 || { echo "probe $model|skipped: $(tail -1 "$at.log")"; return; }
        timeout 100 $moetap probe --all -v -o "$at.recipe" -- python3 tests/gpu/models.py "$model" "$at.tokens" >"$out/probe-$model.txt" 2>&1
        status=$?
        same=$(cmp -s "$at.bare" "$at.tokens" && echo "tokens equal" || echo "TOKENS DIFFER")
        if [ ! -s "$at.recipe" ]; then echo "probe $model|FAIL: nothing found, status $status, $same"; return; fi
        $moetap recipes check "$at.recipe" >/dev/null || { echo "probe $model|FAIL: the recipe is malformed"; return; }
        timeout 100 $moetap record -q --recipe "$at.recipe" -o "$at.m" -- python3 tests/gpu/models.py "$model" "$at.again" "$at.truth" >"$at.log" 2>&1
        recorded=$?
        $moetap dump --format=jsonl "$at.m" >"$at.jsonl"
        text=$(python3 tests/gpu/compare_probe.py "$model" "$out/probe-$model.txt" <"$at.jsonl") && [ $status = 0 ] && [ $recorded = 0 ] && [ "$same" = "tokens equal" ] && verdict=ok
        match=$(python3 tests/gpu/compare_models.py "$at.truth" <"$at.jsonl" | sed 's/;.*//')
        cp "$at.recipe" "$out/probe-$model.recipe"
        echo "probe $model|$verdict: $text, $match, $same"
    }
    for model in mixtral qwen3_moe qwen2_moe olmoe deepseek_v3 gpt_oss; do model_case $model >"$tmp/$model.row" & done
    wait
    while IFS='|' read -r what verdict; do row "$what" "$verdict"; done < <(cat "$tmp"/*.row)
else
    row "transformers" "skipped: no torch, transformers or GPU"
fi
echo "$failures rows are not ok"
[ $failures = 0 ]
