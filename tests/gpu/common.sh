# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the scripts beside it, which hand on their arguments: [RESULTS_FOLDER]. From the project's root; $out is the results' folder,
# $tmp one that goes when the script ends.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
out=${1:-gpu-results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
moetap=build/tools/moetap

# Runs `start NAME` for each name, so many at a time: engines start slowly, with several processes each.
start_each() { # how many, names...
    local many=$1 name
    shift
    for name; do
        start "$name" &
        while [ "$(jobs -rp | wc -l)" -ge "$many" ]; do wait -n; done
    done
    wait
}
row_of() { # engine, name, did it do what is right (0), text
    local status verdict=FAIL
    status=$(cat "$tmp/$2.status")
    if [ "$3" = 0 ] && [ "$status" = 0 ]; then verdict="ok  "; fi
    echo "$verdict $1 $2: $(tail -1 <<<"$4"), status $status"
}
# What export makes of a trace, against what the engine itself returned in that run.
compare_row() { # engine, name
    local text
    text=$($moetap export "$out/$2.moetap" --all -o "$tmp/$2-export.npz" 2>&1 &&
        python3 tests/gpu/compare_engine.py "$out/$2.npz" "$tmp/$2-export.npz" 2>&1)
    row_of "$1" "$2" $? "$text"
}
