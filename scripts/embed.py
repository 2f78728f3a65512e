# SPDX-License-Identifier: Apache-2.0
"""embed.py INPUT OUTPUT NAME: a binary file as a C array, aligned as the driver wants module images."""
import sys

data = open(sys.argv[1], 'rb').read()
with open(sys.argv[2], 'w') as out:
    out.write(f'/* Generated. */\nextern const unsigned char {sys.argv[3]}[];\n')
    out.write(f'const unsigned char {sys.argv[3]}[] __attribute__((aligned(64))) = {{\n')
    for i in range(0, len(data), 16):
        out.write('    ' + ', '.join(f'0x{b:02x}' for b in data[i:i + 16]) + ',\n')
    out.write('};\n')
