"""Two verifications of the same pairs beside each other: the difference of AUC and TPR, with its interval; several couples (seeds, say) one by one and averaged.

    python data_scripts/compare_scores.py WITH WITHOUT [WITH WITHOUT …] [--probe completed both] [--draws 1000] [--out TABLE.csv]

WITH and WITHOUT are folders of facecomp-eval verify, those of one method (they hold scores.npz). Differences are WITH − WITHOUT, in points; 95 % intervals over persons, the same draws for both [C].
"""
import argparse, csv, sys
from pathlib import Path
import numpy as np
from facecomp.core import FacecompError, atomic
from facecomp.roc import bootstrap, weighted_stats

MEASURES, SIDES = dict(auc='AUC', tpr1='TPR at FPR 1 %', tpr01='TPR at FPR 0.1 %'), ('with', 'without', 'with-without')


def read(folder):
    try: return dict(np.load(Path(folder)/'scores.npz'))
    except (OSError, ValueError) as e: raise FacecompError(f"{folder} holds no scores.npz of facecomp-eval verify ({e}): name the folder of one method, runs/verification/NAME.") from None


def stats(z, probe): return np.mean([weighted_stats(s, z['same'], np.ones((1, len(s))))[0] for s in z[probe]], 0)


def compare(couples, probe, draws):
    "Couple by couple, where there are several of their means too: couple, then of with, without and with − without (values, low, high), in points"
    y, who = (couples[0][0][k] for k in ('same', 'persons')); ends = lambda *z: bootstrap(z[0], y, who, n=draws, minus=z[1] if len(z) > 1 else None); out = []
    for k, c in enumerate(couples):
        a, b = (stats(z, probe) for z in c); out.append((str(k), ((a, *ends(c[0][probe])), (b, *ends(c[1][probe])), (a-b, *ends(c[0][probe], c[1][probe])))))
    if len(couples) > 1: # all couples' lists side by side are averaged, as those of several masks are
        lists = [np.concatenate([c[s][probe] for c in couples]) for s in (0, 1)]; a, b, d = (np.mean([of[s][0] for _, of in out], 0) for s in range(3))
        out.append(('mean', ((a, *ends(lists[0])), (b, *ends(lists[1])), (d, *ends(*lists)))))
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folders', nargs='+', metavar='FOLDER'); p.add_argument('--probe', nargs='+', default=['completed', 'both'], choices=['completed', 'both', 'masked'])
    p.add_argument('--draws', type=int, default=1000); p.add_argument('--out', help='the table as CSV, too'); a = p.parse_args()
    try:
        if len(a.folders) % 2: raise FacecompError("Name the folders in couples: WITH WITHOUT, WITH WITHOUT, …")
        if a.draws < 1: raise FacecompError(f"--draws must be at least 1, not {a.draws}.")
        all_ = [read(f) for f in a.folders]; couples = [*zip(all_[::2], all_[1::2])]
        for f, z in zip(a.folders, all_):
            if any(not np.array_equal(z[k], all_[0][k]) for k in ('same', 'persons', 'masks')): raise FacecompError(f"{f} was measured on other pairs or under other masks than {a.folders[0]}.")
        rows = [dict(probe=probe, couple=k) | {f'{side}_{m}{end}': f'{100*x:.6f}' for side, vlh in zip(SIDES, of) for m, *x3 in zip(MEASURES, *vlh) for end, x in zip(('', '_low', '_high'), x3)}
                for probe in a.probe for k, of in compare(couples, probe, a.draws)]
        print('| probe | couple | | '+' | '.join(MEASURES.values())+' |\n'+'|---'*(3+len(MEASURES))+'|')
        for r in rows:
            for side in SIDES:
                say = lambda m: '{0:{3}} ({1:{3}} to {2:{3}})'.format(*(float(r[f'{side}_{m}{e}']) for e in ('', '_low', '_high')), '+.2f' if side == SIDES[2] else '.2f')
                print(f"| {r['probe']} | {r['couple']} | {side} | "+' | '.join(map(say, MEASURES))+' |')
        if a.out:
            with atomic(a.out) as f, f.open('w', newline='') as g: w = csv.DictWriter(g, rows[0]); w.writeheader(); w.writerows(rows)
    except FacecompError as e: sys.exit(f'compare_scores: {e}')


if __name__ == '__main__': main()
