# SPDX-License-Identifier: Apache-2.0
"""compare_engine.py ENGINE.npz EXPORT.npz

What `moetap export --all` made of a trace, against what vLLM or SGLang itself returned as each request's routed experts: the exported request
with the same tokens must have the same rows. Where a request was preempted, vLLM returns what was chosen before, the trace's later
request what was chosen when it was computed again; then a row counts that is in either of the trace's two. With drafts, the last rows of
the trace's request may be of some that were rejected: as many as are not confirmed it may have more. SGLang runs the last token, too, where
it learns too late that a request is done. Exit 0 if all are equal.
"""
import sys

import numpy


def main():
    truth, export = numpy.load(sys.argv[1]), numpy.load(sys.argv[2])
    wanted = [(truth[f'tokens_{i}'], truth[f'experts_{i}']) for i in range(sum(f.startswith('experts_') for f in truth.files))]
    names = sorted({name.split('.')[0] for name in export.files if name.endswith('.routed_experts')}, key=int)
    got = [(export[n + '.token_ids'], export[n + '.routed_experts'].astype(numpy.int32),
            export[n + '.missing'].astype(bool) if n + '.missing' in export.files else None) for n in names]
    got = [(tokens, numpy.where(missing, -1, experts) if missing is not None else experts) for tokens, experts, missing in got]
    unsure = [int((~export[n + '.confirmed'].astype(bool)).sum()) if n + '.confirmed' in export.files else 0 for n in names]
    if all((tokens == -1).all() for tokens, _ in got):
        print('the trace has no token ids: requests are told apart by their length and their first row')
        wanted = [(numpy.append(experts[0].ravel(), numpy.arange(len(experts))), experts) for _, experts in wanted]
        got = [(numpy.append(experts[0].ravel(), numpy.arange(len(experts) - 1)), experts) for _, experts in got]
    equal = preempted = rows = good = absent = wrong = 0
    for said, experts in wanted:
        tokens, n = said[:-1], len(said) - 1
        same = [e[:len(experts)] for (t, e), more in zip(got, unsure)
                if (len(t) - more <= n <= len(t) and numpy.array_equal(t[:n], tokens)) or numpy.array_equal(t, said)]
        rows += len(experts)
        if any(numpy.array_equal(e, experts) for e in same):
            equal += 1
            good += len(experts)
            continue
        begun = [e for t, e in got if len(e) < len(experts) and numpy.array_equal(t, tokens[:len(t)])]
        best = (0, 0)
        for e in same:
            right = (e == experts).all(axis=(1, 2))
            for b in begun:
                right[:len(b)] |= (b == experts[:len(b)]).all(axis=(1, 2))
            none = (e == -1).any(axis=(1, 2)) & ~right
            best = max(best, (int(right.sum()), int(none.sum())))
        good += best[0]
        absent += best[1] if same else len(experts)
        wrong += len(experts) - best[0] - best[1] if same else 0
        preempted += best[0] == len(experts)
    print(f'{equal} of {len(wanted)} requests equal, {preempted} more with rows from before they were preempted; '
          f'{good} of {rows} rows equal, {absent} missing, {wrong} wrong; {len(names)} in the trace')
    return 0 if equal + preempted == len(wanted) else 1


if __name__ == '__main__':
    sys.exit(main())
