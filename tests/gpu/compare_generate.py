# SPDX-License-Identifier: Apache-2.0
"""compare_generate.py TRUTH.npz EXPORT.npz

What `moetap export --all` made of a trace, against what hooks on the routers saw in the same run: for each request an exported one
begins with its tokens and has the same rows. What an exported one has behind them ran when the request was over, beside others of its
batch. Where a request was computed again, its later rows count. Exit 0 if all are equal, or where nobody knows, nothing was exported.
"""
import sys

import numpy


def main():
    truth, export = numpy.load(sys.argv[1]), numpy.load(sys.argv[2])
    names = sorted({name.split('.')[0] for name in export.files if name.endswith('.routed_experts')}, key=int)
    got = [(export[n + '.token_ids'], export[n + '.routed_experts'].astype(numpy.int32)) for n in names]
    missing = [export[n + '.missing'].astype(bool) if n + '.missing' in export.files else None for n in names]
    got = [(t, e if m is None else numpy.where(m, -1, e)) for (t, e), m in zip(got, missing)]
    equal = exact = rows = good = absent = wrong = count = 0
    for i in range(sum(f.startswith('experts_') for f in truth.files)):
        tokens, experts = truth[f'tokens_{i}'][:-1], truth[f'experts_{i}']
        same = [e[:len(tokens)] for t, e in got if numpy.array_equal(t[:len(tokens)], tokens)]
        exact += any(numpy.array_equal(t, tokens) and numpy.array_equal(e, experts) for t, e in got)
        count += 1
        rows += len(tokens)
        best = max(((e == experts).all(axis=(1, 2)) for e in same), key=numpy.sum, default=numpy.zeros(len(tokens), bool))
        equal += bool(best.all())
        good += int(best.sum())
        lost = next(((e == -1).any(axis=(1, 2)) for e in same if ((e == experts).all(axis=(1, 2)) == best).all()), numpy.ones(len(tokens), bool))
        absent += int((lost & ~best).sum())
        wrong += int((~lost & ~best).sum())
    print(f'{equal} of {count} requests equal, {exact} of them with no row behind; {good} of {rows} rows equal, {absent} missing, '
          f'{wrong} wrong; {len(names)} in the trace')
    return 0 if equal == count and not wrong else 1


if __name__ == '__main__':
    sys.exit(main())
