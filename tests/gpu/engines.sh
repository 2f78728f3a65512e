#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Engines' own router kernels, recorded: tests/gpu/engines.sh [RESULTS_FOLDER], after ./run build, with python3 and torch. What is installed
# (vllm, sglang-kernel, flashinfer-python, sglang) is found; one library or file of a wheel is enough and can be named:
#   VLLM_MOE_LIBRARY=vllm/_moe_C*.so  SGLANG_LIBRARY=sgl_kernel/sm90/common_ops.abi3.so  TRITON_KERNELS=.../triton_kernels
#   SGLANG_ROUTERS="one or more moe_fused_gate.py"
# A row for each and each source of launches: ok, FAIL or skipped. Exit 0 if none fails.
. "$(dirname "$0")/common.sh"

found() { # package, pattern below it
    python3 -c 'import glob, importlib.util as u, sys
spec = u.find_spec(sys.argv[1])
for place in spec.submodule_search_locations if spec else []:
    print(*sorted(glob.glob(place + "/" + sys.argv[2])))' "$@" 2>/dev/null | head -1
}
vllm=${VLLM_MOE_LIBRARY-$(found vllm '_moe_C*.so')}
sglang=${SGLANG_LIBRARY-$(found sgl_kernel 'sm90/common_ops*.so')}
routers=${SGLANG_ROUTERS-$(found sglang 'jit_kernel/moe_fused_gate.py') $(found sglang 'kernels/ops/moe/moe_fused_gate.py')}
gpt_oss=${TRITON_KERNELS-$(found vllm 'third_party/triton_kernels')}

ops_case() { # name, file name, script, what it is given before the truth file, and after
    local name=$1 at=$tmp/$2 script=tests/gpu/$3 before=$4 after=$5 source weights status good line verdict
    # First without moetap: what is compiled at the first call is, and a library that does not work here is told apart.
    # shellcheck disable=SC2086
    timeout 300 python3 "$script" $before "$at.truth" $after >"$out/$2-bare.log" 2>&1
    status=$?
    if [ $status = 124 ]; then echo "timed out after 300 s" >>"$out/$2-bare.log"; fi
    if [ $status != 0 ]; then
        echo "FAIL $name: not even without moetap: $(tail -1 "$out/$2-bare.log")"
        return
    fi
    for source in cupti preload "preload --weights"; do
        weights=${source#"${source%% *}"}
        # shellcheck disable=SC2086
        MOETAP_LOG=1 timeout 300 $moetap record -q --source=$source --ring-size=512M -o "$at.m" -- \
            python3 "$script" $before "$at.truth" $after >"$at.log" 2>&1
        status=$?
        # shellcheck disable=SC2086
        python3 tests/gpu/compare_ops.py "$at.truth" "$at.m" $moetap $weights >"$at.txt" 2>&1
        good=$?
        line=$(tail -1 "$at.txt")
        verdict="FAIL $name $source: $line, status $status"
        if [ $status = 0 ] && [ $good = 0 ]; then verdict="ok   $name $source: $line"; fi
        { cat "$at.log" "$at.txt"; $moetap info "$at.m"; } >"$out/$2-${source// --/-}.log" 2>&1
        rm -f "$at.m" "$at.truth"
        echo "$verdict"
    done
}
compiled_case() { # model
    local at=$tmp/compiled-$1 source status good line same verdict
    if ! timeout 300 python3 tests/gpu/compiled.py "$1" "$at.truth" >"$at.bare" 2>&1; then
        cp "$at.bare" "$out/compiled-$1-bare.log"
        echo "FAIL torch.compile $1: not even without moetap: $(tail -1 "$at.bare")"
        return
    fi
    for source in cupti preload; do
        MOETAP_LOG=1 timeout 300 $moetap record -q --source=$source -o "$at.m" -- \
            python3 tests/gpu/compiled.py "$1" "$at.truth" >"$at.log" 2>&1
        status=$?
        line=$($moetap dump --format=jsonl "$at.m" | python3 tests/gpu/compare_compiled.py "$at.truth" 2>&1)
        good=$?
        same=$([ "$(grep tokens "$at.bare")" = "$(grep tokens "$at.log")" ] && echo "tokens equal" || echo "TOKENS DIFFER")
        line="$(tail -1 <<<"$line"), $same"
        verdict="FAIL torch.compile $1 $source: $line, status $status"
        if [ $status = 0 ] && [ $good = 0 ] && [ "$same" = "tokens equal" ]; then verdict="ok   torch.compile $1 $source: $line"; fi
        { cat "$at.log"; $moetap info "$at.m"; } >"$out/compiled-$1-$source.log" 2>&1
        rm -f "$at.m"
        echo "$verdict"
    done
}

case_or_skip() { # name, file name, script, before, after, needed
    if [ -n "${6// /}" ]; then
        ops_case "$1" "$2" "$3" "$4" "$5" >"$tmp/$2.row" &
    else
        echo "skipped $1: not installed, and not named" >"$tmp/$2.row"
    fi
}
# All at once: the import of torch and compilation take most of the time. Each has files of its own.
only=${ENGINES:-vllm sglang flashinfer triton compiled}
for what in $only; do
    case $what in
    vllm) # a process for each op: a recording has room for 4096 places that route
        for op in topk_softmax topk_sigmoid topk_softplus_sqrt grouped_topk; do
            case_or_skip "vLLM's $op" "1-vllm-$op" vllm_ops.py "$vllm" "$op" "$vllm"
        done
        ;;
    sglang) case_or_skip "SGLang's router ops" 2-sglang sglang_ops.py "$sglang" "" "$sglang" ;;
    flashinfer) case_or_skip "FlashInfer's DeepSeek router" 3-flashinfer flashinfer_ops.py "" "" "$(found flashinfer '__init__.py')" ;;
    triton)
        n=0
        for router in $routers; do
            n=$((n + 1))
            case_or_skip "SGLang's Triton router $n" "4-triton-$n" triton_ops.py "" "$router" "$router"
        done
        case_or_skip "triton_kernels (gpt-oss)" 5-gpt-oss triton_ops.py "" "$gpt_oss" "$gpt_oss"
        ;;
    compiled) for model in qwen3_moe mixtral olmoe deepseek_v3; do compiled_case $model >"$tmp/6-$model.row" & done ;;
    esac
done
wait
cat "$tmp"/*.row | tee "$out/engines.txt"
! grep -q '^FAIL' "$out/engines.txt"
