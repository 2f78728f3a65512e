# SPDX-License-Identifier: Apache-2.0
"""compare_generate.py MODE TRUTH.npz EXPORT.npz

What `moetap export --all` made of a trace, against what hooks on the routers saw in the same run: for each request an exported one
begins with its tokens and has the same rows. What an exported one has behind them ran when the request was over, beside others of its
batch. Where a request was computed again, its later rows count. Of beams, each exported one is a sequence that nobody went on with. Exit 0
if all are equal.
"""
import sys

import numpy


def exported(path):
    """Tokens and experts, -1 where they are missing, in the order of their first row."""
    export = numpy.load(path)
    names = sorted({name.split('.')[0] for name in export.files if name.endswith('.routed_experts')}, key=int)
    out = []
    for n in names:
        experts = export[n + '.routed_experts'].astype(numpy.int32)
        if n + '.missing' in export.files:
            experts = numpy.where(export[n + '.missing'].astype(bool), -1, experts)
        out.append((export[n + '.token_ids'], experts))
    return out


def compare_beams(wanted, got):
    left = [(tokens.tolist(), experts) for tokens, experts in wanted]
    none = 0
    for tokens, experts in got:
        same = next((i for i, (t, e) in enumerate(left) if t == tokens.tolist() and numpy.array_equal(e, experts)), None)
        if same is None:
            none += 1
        else:
            left.pop(same)
    print(f'{len(wanted) - len(left)} of {len(wanted)} beams equal, {none} exported ones that are none; '
          f'{sum(int((e == -1).any(axis=(1, 2)).sum()) for _, e in got)} rows missing')
    return not left and not none


def compare(wanted, got):
    equal = exact = rows = good = absent = wrong = 0
    for tokens, experts in wanted:
        tokens = tokens[:-1]
        same = [e[:len(tokens)] for t, e in got if numpy.array_equal(t[:len(tokens)], tokens)]
        exact += any(numpy.array_equal(t, tokens) and numpy.array_equal(e, experts) for t, e in got)
        rows += len(tokens)
        best = max(((e == experts).all(axis=(1, 2)) for e in same), key=numpy.sum, default=numpy.zeros(len(tokens), bool))
        equal += bool(best.all())
        good += int(best.sum())
        lost = next(((e == -1).any(axis=(1, 2)) for e in same if ((e == experts).all(axis=(1, 2)) == best).all()),
                    numpy.ones(len(tokens), bool))
        absent += int((lost & ~best).sum())
        wrong += int((~lost & ~best).sum())
    print(f'{equal} of {len(wanted)} requests equal, {exact} of them with no row behind; {good} of {rows} rows equal, {absent} missing, '
          f'{wrong} wrong; {len(got)} in the trace')
    return equal == len(wanted) and not wrong


def main():
    mode, truth = sys.argv[1], numpy.load(sys.argv[2])
    wanted = [(truth[f'tokens_{i}'], truth[f'experts_{i}']) for i in range(sum(f.startswith('experts_') for f in truth.files))]
    good = (compare_beams if mode in ('beams', 'both') else compare)(wanted, exported(sys.argv[3]))
    return 0 if wanted and good else 1


if __name__ == '__main__':
    sys.exit(main())
