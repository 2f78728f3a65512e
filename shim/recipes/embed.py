# SPDX-License-Identifier: Apache-2.0
"""embed.py OUTPUT RECIPE...: the built-in recipes as one C string."""
import json
import sys

with open(sys.argv[1], 'w') as out:
    out.write('/* Generated from recipes/. */\n#include "impl.h"\n\nconst char mt_builtin_recipes[] =\n')
    for path in sys.argv[2:]:
        for line in open(path, encoding='ascii'):
            out.write('    ' + json.dumps(line) + '\n')
    out.write('    "";\n')
