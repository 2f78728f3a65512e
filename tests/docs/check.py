#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check.py SOURCE_ROOT: the settings, verbs and options of the sources are those of the manual and of README.md; tests that
docs/peer_bugs.md names exist."""
import re
import sys
from pathlib import Path

root = Path(sys.argv[1])
mistakes = []


def same(what, in_sources, where, documented):
    for name in sorted(in_sources - documented):
        mistakes.append(f'{what} {name} is not in {where}')
    for name in sorted(documented - in_sources):
        mistakes.append(f'{what} {name} is in {where} and not in the sources')


def plain(cell):
    """A table's cell without markup."""
    return re.sub(r'[*`\\]|\b_|_\b', '', cell).strip()


sources = {path: path.read_text() for room in ('shm', 'cupti', 'shim', 'tools') for path in (root / room).rglob('*.[ch]')}
readme = (root / 'README.md').read_text()
manual = (root / 'docs/moetap.1.scd').read_text()

# Settings: read with getenv() in the sources, a row each in both tables, the same words in both.
settings = {name for text in sources.values() for name in re.findall(r'getenv\("(MOETAP_\w+)"\)', text)}
in_readme = {m[1]: (plain(m[2]), plain(m[3])) for m in re.finditer(r'^\| `(MOETAP_\w+)` \| (.*) \| (.*) \|$', readme, re.M)}
in_manual = {m[1]: (plain(m[2]), plain(m[3])) for m in re.finditer(r'^\|  \*(MOETAP_\w+)\*\n:  (.*)\n:  (.*)$', manual, re.M)}
same('setting', settings, 'README.md', set(in_readme))
same('setting', settings, 'moetap.1', set(in_manual))
for name in settings & set(in_readme) & set(in_manual):
    if in_readme[name] != in_manual[name]:
        mistakes.append(f'{name}: README.md says {in_readme[name]}, moetap.1 {in_manual[name]}')

# Verbs: the table of tools/moetap.c, a subsection each. Options: the getopt table in the verb's file.
verbs = dict(re.findall(r'\{"(\w+)", (verb_\w+),', (root / 'tools/moetap.c').read_text()))
sections = {m[1]: m[2] for m in re.finditer(r'^## moetap (\w+)[^\n]*\n(.*?)(?=^#)', manual, re.M | re.S)}
same('verb', set(verbs), 'moetap.1', set(sections))
synopsis = manual[manual.index('# SYNOPSIS'):manual.index('# DESCRIPTION')]
same('verb', set(verbs), "moetap.1's synopsis", set(re.findall(r'^\*moetap\* \*(\w+)\*', synopsis, re.M)))
for verb in set(verbs) & set(sections):
    text = next(text for text in sources.values() if re.search(rf'^int {verbs[verb]}\(int argc, char \*\*argv\)\n{{', text, re.M))
    longs = set(re.findall(r'\{"([a-z-]+)",\s*(?:no|required|optional)_argument', text))
    heads = [line for line in sections[verb].split('\n') if re.match(r'\*-', line)]
    same(f'moetap {verb}: option', longs, 'moetap.1', {name for line in heads for name in re.findall(r'\*--([a-z-]+)\*', line)})
    shorts = re.search(r'getopt_long\(argc, argv, "([^"]*)"', text)
    same(f'moetap {verb}: option', set(re.sub('[+:]', '', shorts[1])) if shorts else set(), 'moetap.1',
         {name for line in heads for name in re.findall(r'\*-([a-z])\*', line)})

# The reader's functions are all in libmoetap.3, and the recipes' keys in moetap-recipe.5.
promised = set(re.findall(r'^MT_API .*?[ *](mt_\w+)\(', (root / 'shm/reader.h').read_text() + (root / 'shm/table.h').read_text(), re.M))
library = (root / 'docs/libmoetap.3.scd').read_text()
same('function', promised, 'libmoetap.3', set(re.findall(r'^(?!typedef)\w.*?[ *](mt_\w+)\(', library, re.M)))
same('function', promised, "libmoetap.3's description", {n for n in re.findall(r'\*(mt_\w+)\*', library) if n in promised}
     | {'mt_version', 'mt_header', 'mt_name', 'mt_site_count'})
parser = (root / 'shim/recipe/keys.c').read_text()
expected = ''.join(re.findall(r'"([^"]*)"', re.search(r'"found key.*?\);', parser, re.S)[0]))
keys = set(re.findall(r'[a-z_.]+', expected[expected.index('expected') + 8:])) - {'or'}
for name, text in (('moetap-recipe.5', (root / 'docs/moetap-recipe.5.scd').read_text()),):
    documented = {key for line in text.split('\n') if line.startswith('*') for key in re.findall(r'\*([a-z_.]+)\*', line)}
    same('key', keys, name, documented - {'moetap'})

# Each row of peer_bugs.md names tests that exist, or says that there is none.
bugs = [line for line in (root / 'docs/peer_bugs.md').read_text().split('\n') if re.match(r'\| (?!what went|---)', line)]
named = 0
for bug in bugs:
    cells = [cell.strip() for cell in bug.strip('|').split(' | ')]
    if len(cells) != 4 or cells[2] not in ('no', 'in part'):
        mistakes.append(f'peer_bugs.md: no row of four cells: {bug[:60]}')
    tests = re.findall(r'`([\w/.]+): (\w+)`', bug)
    named += len(tests)
    if not tests and 'No test: ' not in bug:
        mistakes.append(f'peer_bugs.md: no test: {bug[:60]}')
    for file, name in tests:
        path = root / 'tests' / (file if file.endswith('.py') else file + '.c')
        pattern = rf'^def {name}\(' if file.endswith('.py') else rf'^(?:Parameterized)?Test\(\w+, {name}[,)]'
        if not path.is_file() or not re.search(pattern, path.read_text(), re.M):
            mistakes.append(f'peer_bugs.md: no test {name} in {path.relative_to(root)}')

for mistake in mistakes:
    print(mistake)
print(f'{len(settings)} settings, {len(verbs)} verbs, {len(promised)} functions, {len(keys)} keys, {len(bugs)} bugs of others with {named} tests; {len(mistakes)} mistakes')
sys.exit(bool(mistakes))
