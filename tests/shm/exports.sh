#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# exports.sh LIBRARY HEADER...: the library exports the MT_API functions of the headers and nothing else.
given=$(nm -D --defined-only "$1" | awk '{ print $3 }' | sort)
shift
promised=$(sed -n 's/^MT_API .*[ *]\(mt_[a-z_]*\)(.*/\1/p' "$@" | sort)
if [ -z "$promised" ] || [ "$given" != "$promised" ]; then
    printf 'promised:\n%s\ngiven:\n%s\n' "$promised" "$given" >&2
    exit 1
fi
