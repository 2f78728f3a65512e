#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Does `moetap probe` find the routers of real programs, as if no recipe knew them, and do its recipes then read every id? After
# ./run build, from anywhere: tests/gpu/probe.sh [RESULTS_FOLDER]. MODELS="mixtral olmoe" chooses; they need python3 with torch and
# transformers. One row for each program, ok or FAIL. Of a row that failed the samples stay beside the report:
# tar xzf probe-NAME.samples.tar.gz && moetap probe --from NAME -v judges them again, without a GPU.
. "$(dirname "$0")/common.sh"
demo=build/tests/engine/moe-demo
failures=0
row() {
    printf '%-36s %s\n' "$1" "$2" | tee -a "$out/probe.txt"
    case $2 in ok* | skipped*) ;; *) failures=$((failures + 1)) ;; esac
}
: >"$out/probe.txt"
rm -f "$out"/probe-*.samples.tar.gz

# Probes a program, records it by what was written, compares. One line on stdout: verdict, then what was found.
case_of() { # name, file that the program's result goes into (to be compared with $tmp/NAME.bare), truth and shape; program...
    local name=$1 result=$2 truth=$3 at=$tmp/$1 status recorded text same good=FAIL verdict
    shift 3
    local shape=()
    while [ "$1" != -- ]; do shape+=("$1"); shift; done
    shift
    timeout 150 "$moetap" probe --all -v --keep "$tmp/samples/$name" -o "$at.recipe" -- "${@//RESULT/$result}" >"$out/probe-$name.txt" 2>&1
    status=$?
    result_of "$name" "$result" "$out/probe-$name.txt" && same="output equal" || same="OUTPUT DIFFERS"
    if [ ! -s "$at.recipe" ]; then
        echo "FAIL: nothing found, status $status, $same"
    elif ! $moetap recipes check "$at.recipe" >"$at.log" 2>&1; then
        echo "FAIL: the recipe is malformed: $(tail -1 "$at.log"), $same"
    else
        cp "$at.recipe" "$out/probe-$name.recipe"
        timeout 150 "$moetap" record -q --force --recipe "$at.recipe" -o "$at.m" -- "${@//RESULT/$at.again}" "${truth_option[@]}" "$truth" >"$at.log" 2>&1
        recorded=$?
        cat "$at.log" >>"$out/probe-$name.txt"
        $moetap info "$at.m" >>"$out/probe-$name.txt" 2>&1
        verdict=$($moetap dump --format=jsonl "$at.m" | python3 tests/gpu/compare_probe.py "$out/probe-$name.txt" "$at.recipe" "$truth" "${shape[@]}" 2>&1) && good=ok
        text=$(tail -1 <<<"$verdict")
        if [ $status != 0 ] || [ $recorded != 0 ] || [ "$same" != "output equal" ]; then good=FAIL; fi
        echo "$good: $text, $same, status $status $recorded"
    fi
}
keep_samples() { # name, verdict
    case $2 in ok*) ;; *) tar -C "$tmp/samples" -czf "$out/probe-$1.samples.tar.gz" "$1" ;; esac
    rm -rf "$tmp/samples/$1"
}
mkdir "$tmp/samples"

# moe-demo: a result is its checksum, on standard output.
result_of() { grep -q "$(grep -o 'checksum.*' "$tmp/$1.bare")" "$3"; }
truth_option=(--truth)
demo_case() { # dtype, layers experts topk tokens
    local name=demo-$1-E$3-k$4-T$5 verdict shape=(--dtype "$1" --layers "$2" --experts "$3" --topk "$4" --tokens "$5")
    $demo "${shape[@]}" >"$tmp/$name.bare" 2>&1 || { row "moe-demo $name" "skipped: $(tail -1 "$tmp/$name.bare")"; return; }
    verdict=$(case_of "$name" - "$tmp/$name.truth" "$2" "$3" "$4" "$5" "$1" -- $demo "${shape[@]}")
    keep_samples "$name" "$verdict"
    row "moe-$name" "$verdict"
}
demo_case i32 12 128 8 64
demo_case i64 12 128 8 64
demo_case i64 5 8 2 7
demo_case i32 4 512 10 100
demo_case u16 6 300 6 33
demo_case u8 6 60 4 33
demo_case u8 4 128 8 64
demo_case i64 4 64 6 1

# Launches of a graph are never sampled: nothing is found, the report says why, and the graph runs as it would.
graph_case() { # extra options
    local name=demo$1 status
    $demo --layers 12 "$1" >"$tmp/$name.bare" 2>&1
    timeout 60 $moetap probe --all -v -- $demo --layers 12 "$1" >"$out/probe-$name.txt" 2>&1
    status=$?
    if [ $status = 1 ] && grep -q 'most launches were captured' "$out/probe-$name.txt" && result_of "$name" - "$out/probe-$name.txt"; then
        row "moe-$name" "ok: nothing was sampled, and it says so; output equal"
    else
        row "moe-$name" "FAIL: status $status, $(tail -1 "$out/probe-$name.txt")"
    fi
}
for mode in --graph --graph=fork --graph=relaxed; do graph_case $mode; done

if python3 -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
    # A result is the tokens, in a file. All at once: most of their time is the import of torch.
    result_of() { cmp -s "$tmp/$1.bare" "$2"; }
    truth_option=()
    model_case() { # model
        local model=$1 at=$tmp/$1 verdict
        timeout 150 python3 tests/gpu/models.py "$model" "$at.bare" >"$at.log" 2>&1 || { echo "probe $model|skipped: $(tail -1 "$at.log")"; return; }
        verdict=$(case_of "$model" "$at.tokens" "$at.truth" -- python3 tests/gpu/models.py "$model" RESULT)
        keep_samples "$model" "$verdict"
        echo "probe $model|$verdict"
    }
    for model in ${MODELS-mixtral qwen3_moe qwen2_moe olmoe deepseek_v3 gpt_oss llama4 granitemoe qwen3_next longcat_flash}; do
        model_case "$model" >"$tmp/$model.row" &
    done
    wait
    while IFS='|' read -r what verdict; do row "$what" "$verdict"; done < <(cat "$tmp"/*.row)
else
    row "transformers" "skipped: no torch, transformers or GPU"
fi
echo "$failures rows are not ok"
[ $failures = 0 ]
