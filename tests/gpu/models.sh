#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Models of transformers, recorded: tests/gpu/models.sh [RESULTS_FOLDER], after ./run build, with python3, torch and transformers.
# MODELS="mixtral olmoe" chooses, WEIGHTED= those that are recorded with --weights as well. A row for each and each source of launches: ok, FAIL or skipped. Exit 0 if none fails.
. "$(dirname "$0")/common.sh"
weighted=${WEIGHTED-mixtral qwen3_moe olmoe gpt_oss granitemoe}

model_case() { # model
    local model=$1 at=$tmp/$1 source weights status match good same verdict
    timeout 400 python3 tests/gpu/models.py "$model" "$at.bare" >"$at.log" 2>&1 || { echo "skipped transformers $model: $(tail -1 "$at.log")"; return; }
    for source in auto preload $(case " $weighted " in *" $model "*) echo preload,--weights ;; esac); do
        weights=${source#"${source%%,*}"}
        weights=${weights#,}
        # shellcheck disable=SC2086
        MOETAP_LOG=2 timeout 400 $moetap record -q --source=${source%%,*} $weights -o "$at.m" -- python3 tests/gpu/models.py "$model" "$at.tokens" "$at.truth" >"$at.log" 2>&1
        status=$?
        match=$($moetap dump --format=jsonl "$at.m" | python3 tests/gpu/compare_models.py "$at.truth" $weights)
        good=$?
        { cat "$at.log"; $moetap info "$at.m"; } >"$out/models-$model-$source.log" 2>&1
        same=$(cmp -s "$at.bare" "$at.tokens" && echo "tokens equal" || echo "TOKENS DIFFER")
        verdict=FAIL
        if [ $status = 0 ] && [ $good = 0 ] && [ "$same" = "tokens equal" ]; then verdict="ok  "; fi
        echo "$verdict transformers $model $source: $match, $same, status $status"
    done
}
graph_case() { # model
    local model=$1 at=$tmp/graph-$1 bare status match good verdict=FAIL
    timeout 400 python3 tests/gpu/graphs.py "$model" "$at.none" >"$at.log" 2>&1 || { echo "skipped transformers $model torch.cuda.graph: $(tail -1 "$at.log")"; return; }
    bare=$(grep logits "$at.log")
    MOETAP_LOG=2 timeout 400 $moetap record -q -o "$at.m" -- python3 tests/gpu/graphs.py "$model" "$at.truth" >"$at.log" 2>&1
    status=$?
    match=$($moetap dump --format=jsonl "$at.m" | python3 tests/gpu/compare_graphs.py "$at.truth")
    good=$?
    { cat "$at.log"; $moetap info "$at.m"; } >"$out/graphs-$model.log" 2>&1
    if [ "$bare" != "$(grep logits "$at.log")" ]; then match="LOGITS DIFFER, $match"; elif [ $status = 0 ] && [ $good = 0 ]; then verdict="ok  "; fi
    echo "$verdict transformers $model torch.cuda.graph: $match, status $status"
}
# All at once: most of their time is the import of torch. Each has files of its own.
for model in ${MODELS-$(python3 tests/gpu/models.py --list 2>/dev/null)}; do model_case "$model" >"$tmp/$model.row" & done
for model in ${GRAPHS-mixtral qwen3_moe olmoe}; do graph_case "$model" >"$tmp/z-$model.row" & done
wait
cat "$tmp"/*.row | tee "$out/models.txt"
! grep -q '^FAIL' "$out/models.txt"
