#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures what moetap costs, on a machine with a GPU: bench/run.sh [OUT] [--quick]. Builds first unless BUILD says where
# a build with -Dbench=true lies. Writes OUT/*.json and prints the tables; bench/table.py OUT draws the plot.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:-build-bench/results}" && cd "${1:-build-bench/results}" && pwd)
quick=${2:-}
build=${BUILD:-build-bench}
if [ -z "${BUILD:-}" ]; then
    cuda=$(scripts/setup.sh | tail -1)
    [ -f "$build/build.ninja" ] || meson setup "$build" -Dtoolkit="$cuda" -Dbench=true
    ninja -C "$build" >&2
fi
moetap=$build/tools/moetap
shim=$PWD/$build/shim/libmoetap-shim.so
record=("$moetap" record -q --force --recipe bench/bench.recipe -o /dev/null)

echo '== taps in a graph' >&2
"${record[@]}" --ring-size 1G -- "$build/bench/graph_taps" ${quick:+--quick} >"$out/taps.json" 2>"$out/taps.log"
"${record[@]}" --weights --ring-size 1G -- "$build/bench/graph_taps" --quick >"$out/taps_weights.json" 2>>"$out/taps.log"

echo '== the host cost of a launch: the three alternate' >&2
rounds=7
[ -z "$quick" ] || rounds=3
: >"$out/launches.json"
for ((i = 0; i < rounds; i++)); do
    for mode in bare preload cupti; do
        line=$(if [ $mode = bare ]; then "$build/bench/launches"; else
            "${record[@]}" --source=$mode -- "$build/bench/launches" 2>/dev/null; fi)
        echo "{\"mode\":\"$mode\",\"round\":$i,\"ns\":$line}" >>"$out/launches.json"
    done
done

echo '== the hook alone, on a driver that does nothing; the ring on the CPU' >&2
MOETAP_SESSION=bench$$ MOETAP_SOURCE=preload MOETAP_RECIPE=bench/bench.recipe LD_PRELOAD=$shim \
    "$build/bench/hook" "$build/bench" >"$out/hook.json"
"$moetap" clean >/dev/null
"$build/bench/ring_cpu" >"$out/ring_cpu.json"

echo '== the ring, GPU to one reader thread' >&2
: >"$out/throughput.json"
ring_case() { # rows, ring, how the reader reads
    MOETAP_SESSION=bench$$ "$build/bench/reader" "bench$$" "$3" >"$out/reader.tmp" &
    local reader=$! line
    line=$(MOETAP_SESSION=bench$$ MOETAP_RING_SIZE=$2 MOETAP_RECIPE=bench/bench.recipe LD_PRELOAD=$shim \
        "$build/bench/throughput" "$1" 2)
    wait $reader
    echo "{\"ring\":\"$2\",\"how\":\"$3\",\"engine\":$line,\"reader\":$(cat "$out/reader.tmp")}" >>"$out/throughput.json"
}
for rows in 64 512 4096; do ring_case $rows 1G copy; done
for ring in 16M 64M 1G; do
    for how in copy scan touch; do ring_case 16384 $ring $how; done
done
rm -f "$out/reader.tmp"

echo "== from a top-k's end to the reader" >&2
: >"$out/latency.json"
for tap in beside inline; do
    MOETAP_SESSION=bench$$ MOETAP_GRAPH_TAP=$tap MOETAP_RECIPE=bench/bench.recipe LD_PRELOAD=$shim \
        "$build/bench/latency" ${quick:+--quick} >>"$out/latency.json"
done

if python3 -c 'import torch, transformers' 2>/dev/null; then
    echo '== transformers generate, eager' >&2
    : >"$out/generate.json"
    for ((i = 0; i < (rounds + 1) / 2; i++)); do
        for mode in bare preload auto; do
            line=$(if [ $mode = bare ]; then python3 bench/generate.py; else
                "$moetap" record -q --force -o /dev/null --source=$mode -- python3 bench/generate.py; fi 2>>"$out/generate.log" | tail -1)
            echo "{\"mode\":\"$mode\",\"round\":$i,\"run\":$line}" >>"$out/generate.json"
        done
    done
fi
python3 bench/table.py "$out"
