#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# transformers' generate with batches of different lengths, and its continuous batching, recorded: tests/gpu/generate.sh
# [RESULTS_FOLDER], after ./run build, with python3, torch, transformers and numpy. MODELS= and MODES= choose, KERNELS=1
# lists the kernels that a run without moetap launches, ALONE=1 tells how many rows are as in runs of each request alone. A row
# for each: ok, FAIL or skipped. Exit 0 if none fails.
. "$(dirname "$0")/common.sh"

case_of() { # model, mode
    local model=$1 mode=$2 at=$tmp/$1-$2 log=$out/generate-$1-$2.log status match good verdict=FAIL
    # Its continuous batching has one size for keys and values: no latent attention.
    case $model-$mode in deepseek*-paged | deepseek*-recompute)
        echo "skipped transformers $model $mode: not with latent attention"
        return
        ;;
    esac
    case $model-$mode in gpt_oss-window | mixtral-window) ;; *-window)
        echo "skipped transformers $model $mode: no window"
        return
        ;;
    esac
    [ -z "${KERNELS:-}${ALONE:-}" ] || timeout 500 python3 tests/gpu/generate.py "$model" "$mode" "$at-bare.npz" \
        ${ALONE:+alone} ${KERNELS:+kernels} >"$out/bare-$model-$mode.log" 2>&1
    MOETAP_LOG=2 timeout 500 $moetap record -q -o "$at.m" -- python3 tests/gpu/generate.py "$model" "$mode" "$at.npz" >"$log" 2>&1
    status=$?
    match=$($moetap export "$at.m" --all -o "$at-export.npz" 2>&1 && python3 tests/gpu/compare_generate.py "$mode" "$at.npz" "$at-export.npz" 2>&1)
    good=$?
    { $moetap info "$at.m"; $moetap requests "$at.m"; $moetap dump --context --format=jsonl "$at.m" | cut -c1-400 | head -2000; } >>"$log" 2>&1
    if [ $status = 0 ] && [ $good = 0 ]; then verdict="ok  "; fi
    echo "$verdict transformers $model $mode: $(tail -1 <<<"$match"), status $status"
}
for model in ${MODELS-mixtral qwen3_moe olmoe deepseek_v3 gpt_oss}; do
    for mode in ${MODES-dynamic static beams both float32 window paged recompute}; do case_of "$model" "$mode" >"$tmp/$model-$mode.row" & done
    wait
done
cat "$tmp"/*.row | tee "$out/generate.txt"
! grep -q '^FAIL' "$out/generate.txt"
