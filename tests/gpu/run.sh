#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that only a real GPU can show, after ./run build: tests/gpu/run.sh [RESULTS_FOLDER]. Needs python3 with torch and
# transformers for the models; says "skipped" without. Prints a table, keeps the logs.
. "$(dirname "$0")/common.sh"
demo=build/tests/engine/moe-demo compare=build/tests/engine/truth-compare
table=$out/table.txt
: >"$table"
failures=0
row() {
    printf '%-58s %s\n' "$1" "$2" | tee -a "$table"
    case $2 in ok* | skipped*) ;; *) failures=$((failures + 1)) ;; esac
}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | tee "$out/device.txt"

# The sample engine: each source, eager and graph, types and shapes; ids, weights if $extra asks for them, and checksum.
demo_case() { # source, extra, layers experts topk tokens steps streams
    local source=$1 extra=$2 shape=(--layers "$3" --experts "$4" --topk "$5" --tokens "$6" --steps "$7" --streams "$8")
    local weights=
    case $extra in *--weights*) weights=--weights ;; esac
    rm -f "$tmp/t"
    # shellcheck disable=SC2086
    timeout 120 $moetap record -q --source="$source" $weights -o "$tmp/t" -- $demo "${shape[@]}" $extra --truth "$tmp/truth" >"$tmp/log" 2>&1
    local status=$? match bare good
    # shellcheck disable=SC2086
    match=$($moetap dump --format=jsonl "$tmp/t" | $compare "$tmp/truth" "${shape[@]}" $weights | tail -1)
    good=$?
    case $extra in *--eplb*) # the ids that load balancing made of these
        match="$match; physical: $($moetap dump --ids=physical --format=jsonl "$tmp/t" | $compare "$tmp/truth.physical" "${shape[@]}" | tail -1)" || good=1
        ;;
    esac
    # shellcheck disable=SC2086
    bare=$($demo "${shape[@]}" $extra | sed -n 's/.*checksum //p')
    cat "$tmp/log" >>"$out/demo.log"
    local verdict="$match, status $status"
    if [ $status = 0 ] && [ $good = 0 ]; then
        if grep -q "checksum $bare" "$tmp/log"; then verdict="ok: $match, output equal"; else verdict="OUTPUT DIFFERS: $match"; fi
    fi
    row "moe-demo $source $extra L$3 E$4 k$5 T$6 S$7 M$8" "$verdict"
}
for source in preload cupti auto; do
    for extra in "" "--graph" "--graph --dtype i64" "--dtype u32 --door getproc"; do
        demo_case $source "$extra" 12 64 6 32 10 1
    done
    demo_case $source "" 8 128 8 16 8 4
    demo_case $source "--graph" 8 128 8 16 8 4
done
# Ids destroyed right behind their last reader, in graphs of every kind: a tap beside the engine's kernels that is joined too late
# shows as wrong ids.
for mode in plain pieces fork update relaxed; do
    demo_case auto "--scrub --graph=$mode" 48 128 8 64 10 1
    demo_case preload "--scrub --graph=$mode" 7 64 8 5000 6 1
done
# Programmatic dependent launch: each kernel starts while the one ahead still runs.
for mode in "" --graph --graph=fork --graph=pieces; do
    demo_case auto "--pdl --scrub $mode" 48 128 8 64 10 1
    demo_case preload "--pdl $mode" 7 64 8 5000 6 1
done
# Experts on another stream, where the ids are destroyed; two router kernels, by step or by layer.
for extra in "--fork" "--fork --scrub" "--graph=fork" "--graph=pieces --fork --scrub" "--routers=turns" \
    "--routers=turns --graph" "--routers=mixed --graph=pieces --scrub" "--routers=turns --graph=fork"; do
    demo_case auto "$extra" 48 128 8 64 10 1
    demo_case preload "$extra" 7 64 8 5000 6 1
done
for shape in "1 8 2 1 6 1" "48 128 8 64 10 1" "61 256 8 8 5 1" "4 512 10 512 4 1" "2 1024 32 100 4 1" "3 16 3 4096 5 1" "2 64 8 16384 3 1"; do
    # shellcheck disable=SC2086
    demo_case auto "" $shape
    # shellcheck disable=SC2086
    demo_case auto "--graph" $shape
done

# Weights, also where they change in place behind the router, or are destroyed behind their last reader.
for mode in "" "--rescale" "--graph" "--graph --rescale" "--graph=pieces --scrub" "--graph=update --scrub --rescale" "--graph=fork --scrub" "--pdl --graph --rescale"; do
    demo_case auto "--weights $mode" 48 128 8 64 10 1
    demo_case preload "--weights $mode" 7 64 8 5000 6 1
done
demo_case auto "--weights --graph --dtype i64" 4 512 10 512 4 1

# Load balancing: logical ids from the router, physical ones from the map behind it.
for mode in "" "=inplace" " --graph" "=inplace --graph" " --graph --scrub" "=inplace --graph=pieces --scrub" " --pdl --graph" " --weights --rescale --graph"; do
    demo_case auto "--eplb$mode" 48 128 8 64 10 1
    demo_case preload "--eplb$mode" 7 64 8 5000 6 1
done

# Graphs of other kinds, each program the judge of its own ring; first without moetap, to know what the driver can do.
for program in pdl conditional; do
    if ! timeout 60 build/tests/gpu/$program --bare >"$out/$program.log" 2>&1; then
        row "$program" "skipped: $(tail -1 "$out/$program.log")"
        continue
    fi
    for setting in MOETAP_GRAPH_TAP=beside MOETAP_GRAPH_TAP=inline MOETAP_SOURCE=cupti; do
        env MOETAP_SESSION=gpu$$ MOETAP_RECIPE=tests/gpu/test.recipe $setting LD_PRELOAD="$PWD/build/shim/libmoetap-shim.so" \
            timeout 60 build/tests/gpu/$program >"$tmp/log" 2>&1
        { echo "== $setting"; cat "$tmp/log"; } >>"$out/$program.log"
        row "$program $setting" "$(tail -1 "$tmp/log"), $(grep -c '^ok: .*rows' "$tmp/log") points right, $(grep -c '^FAILED: .*rows' "$tmp/log") wrong"
    done
done
$moetap clean >/dev/null

# What the rows are.
for extra in "" "--graph" "--graph=pieces --scrub"; do
    for tokens in 1 33 5000; do
        # shellcheck disable=SC2086
        timeout 120 $moetap record -q --force -o "$tmp/t" -- $demo --context $extra --layers 12 --tokens $tokens --steps 10 --truth "$tmp/truth" \
            >>"$out/demo.log" 2>&1
        match=$($moetap dump --context --format=jsonl "$tmp/t" | python3 tests/gpu/compare_rows.py "$tmp/truth.context" $tokens 10) &&
            match="ok: $match"
        row "moe-demo --context $extra T$tokens" "$match"
    done
done

# What the sequences are.
for extra in --plan "--plan --graph" --plan=tables "--plan=tables --graph" --plan=lists "--plan=lists --graph"; do
    for tokens in 32 4000; do
        # shellcheck disable=SC2086
        timeout 120 $moetap record -q --force -o "$tmp/t" -- $demo $extra --layers 12 --tokens $tokens --steps 9 --truth "$tmp/truth" \
            >>"$out/demo.log" 2>&1
        match=$($moetap dump --context --format=jsonl "$tmp/t" | python3 tests/gpu/compare_plan.py "$tmp/truth.context" $tokens 9) &&
            match="ok: $match"
        row "moe-demo $extra T$tokens" "$match"
    done
done

# compute-sanitizer over the tap.
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      for mode in "" --graph "--graph --weights" --plan --plan=tables --plan=lists; do
        # shellcheck disable=SC2086
        MOETAP_WEIGHTS=$([[ $mode == *--weights ]] && echo 1 || echo 0) MOETAP_SESSION=sanitizer MOETAP_SOURCE=preload LD_PRELOAD=$PWD/build/shim/libmoetap-shim.so timeout 120 compute-sanitizer --report-api-errors no --tool $tool \
            $demo --layers 2 --experts 64 --topk 8 --tokens 1200 --steps 2 $mode >"$out/$tool.log" 2>&1
        row "compute-sanitizer $tool $mode" "$(grep -q 'SUMMARY: 0 errors\|0 hazards displayed' "$out/$tool.log" && echo "ok: $(tail -1 "$out/$tool.log")" || tail -1 "$out/$tool.log")"
      done
    done
    $moetap clean >/dev/null
else
    row "compute-sanitizer" "skipped: not installed"
fi

if python3 -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
    # Models of transformers, engines' own kernel libraries, and torch.compile.
    while IFS=: read -r what verdict; do
        name=${what#* }
        row "${name#"${name%%[! ]*}"}" "${what%% *}:$verdict"
    done < <(tests/gpu/models.sh "$out"; tests/gpu/engines.sh "$out")
    # The engine's own profiler still works: CUPTI is handed over.
    cat >"$tmp/profiled.py" <<'PY'
import torch
x = torch.rand(64, 128, device='cuda')
for _ in range(3):
    torch.topk(x, 8)
torch.cuda.synchronize()
from torch.profiler import profile, ProfilerActivity
with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as p:
    for _ in range(5):
        torch.topk(x, 8)
    torch.cuda.synchronize()
names = [e.key for e in p.key_averages()]
print('kernels seen by the profiler:', sum('gatherTopK' in n or 'bitonic' in n for n in names))
PY
    rm -f "$tmp/p"
    timeout 120 $moetap record -q --source=auto -o "$tmp/p" -- python3 "$tmp/profiled.py" >"$tmp/log" 2>&1
    cat "$tmp/log" >"$out/profiler.log"
    records=$($moetap dump --format=jsonl "$tmp/p" | wc -l)
    row "torch.profiler under auto" "$(grep -q 'profiler: [1-9]' "$tmp/log" && [ "$records" = 8 ] && echo ok || echo FAILED): $(grep 'kernels seen' "$tmp/log"), $records of 8 records"
else
    row "transformers" "skipped: no torch, transformers or GPU"
fi
echo "$failures rows are not ok"
[ $failures = 0 ]
