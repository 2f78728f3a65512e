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
