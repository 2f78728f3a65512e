#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# man.sh SCDOC PAGE EXAMPLE OUTPUT: a page, with the example's source where it says @follow.c@.
set -e
while IFS= read -r line; do
    if [ "$line" = @follow.c@ ]; then
        sed 's/\\/\\\\/g' "$3" # scdoc takes a backslash for its own, also in literal text
    else
        printf '%s\n' "$line"
    fi
done <"$2" | "$1" >"$4"
