"""The same short training with one thing left out at a time: every row of the ablation table, and the sweep over the weight of the field.

python data_scripts/ablate.py SET --out runs/ablation --rows full no-stage1 no-identity no-adversarial no-uv no-attention --seeds 0 1 2
    [--preset small] [--set key=value ...] [--encoder 'runs/stage1_{seed}'] [--file INCEPTION] [--faces 1000]

SET: prepared photos with fields and a test split. Rows: those above; uv=0.5 and the like set the weight of L_uv. --set: settings of all rows (steps, losses, size).
--encoder: run folders of stage 1, {seed} in their name; without it no row has a stage 1. Every row sees the same pictures under the same occluders in the same order.
Scores: test face i under mask i mod 9: PSNR, SSIM, PSNR in the hole, LPIPS, and FID where Inception's weights are at hand (--file). Run again to resume: trainings go
on from their last checkpoint, rows that are scored stay. Writes ablation.csv (a line a run) and ablation.tex beside the runs, prints the table with its spread over seeds.
"""
import argparse, csv, json, re, sys
from pathlib import Path
import numpy as np, torch
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm
from facecomp.core import FacecompError, atomic
from facecomp.photos import PreparedFaces, TestFaces
from facecomp.config import asdict, override, preset
from facecomp.checkpoint import load_weights
from facecomp.trainer import train
from facecomp.metrics import lpips_net, _score
from facecomp.distribution import fid, inception_features

ROWS = {'full': [], 'no-stage1': ['init='], 'no-identity': ['loss.identity_weight=0'], 'no-adversarial': ['loss.adversarial_weight=0'],
        'no-uv': ['loss.uv_weight=0'], 'no-attention': ['net.attention=false']}
COLUMNS = ('psnr', 'ssim', 'psnr_hole', 'lpips', 'fid')


def settings_of(row):
    "What a row changes"
    if row in ROWS: return ROWS[row]
    if re.fullmatch(r'uv=\d*\.?\d+', row): return [f'loss.uv_weight={row[3:]}']
    raise FacecompError(f"Unknown row {row!r}: there are {', '.join(ROWS)}, and uv=WEIGHT.")


class Judge:
    "Scores a network on test face i under mask i mod 9"
    def __init__(self, data, n, file):
        self.faces = PreparedFaces(data, 'test', n)
        self.tests = TestFaces(self.faces)
        self.lpips = lpips_net()
        self.look = inception_features(file) if file else None
        self.real = None

    @torch.no_grad()
    def __call__(self, net, label):
        k = len(self.tests.masks)
        loader = DataLoader(Subset(self.tests, [i*k+i % k for i in range(len(self.faces))]), 20)
        scores, real, fake = [], [], []
        for b in tqdm(loader, desc=label, leave=False):
            y = net(b['x']).pictures[0].float().clamp(0, 1)
            scores.append(_score(y, b, self.lpips))
            if self.look is None: continue
            fake.append(self.look(torch.where(b['valid'] > 0, y, b['y'])))
            if self.real is None: real.append(self.look(b['y']))
        out = {c: float(torch.cat([torch.as_tensor(s[c]) for s in scores]).nanmean()) for c in COLUMNS[:-1]}
        if real: self.real = torch.cat(real)
        return out | dict(fid=fid(self.real, torch.cat(fake)) if fake else float('nan'))


def table(out, runs, rows):
    "ablation.csv, ablation.tex and the printed table: means over seeds, and half the distance of the extremes"
    with atomic(out/'ablation.csv') as p, p.open('w', newline='') as f:
        w = csv.writer(f)
        w.writerow(['row', 'seed', 'pictures', *COLUMNS])
        w.writerows([r['row'], r['seed'], r['pictures'], *(f'{r[c]:.5f}' for c in COLUMNS)] for r in runs)
    digits = dict(psnr=2, ssim=4, psnr_hole=2, lpips=4, fid=2)
    def cell(v, c): return '–' if np.isnan(v).any() else f'{np.mean(v):.{digits[c]}f}' + (f' ± {np.ptp(v)/2:.{digits[c]}f}' if len(v) > 1 else '')
    lines = [[row, str(sum(r['row'] == row for r in runs)), *(cell([r[c] for r in runs if r['row'] == row], c) for c in COLUMNS)]
             for row in rows if any(r['row'] == row for r in runs)]
    print('| row | seeds | PSNR ↑ | SSIM ↑ | PSNR in the hole ↑ | LPIPS ↓ | FID ↓ |\n|---|---|---|---|---|---|---|')
    for l in lines: print('| '+' | '.join(l)+' |')
    with atomic(out/'ablation.tex') as p:
        body = [' & '.join(l).replace('±', r'$\pm$').replace('–', '--')+r' \\' for l in lines]
        p.write_text('\n'.join([r'\begin{tabular}{lrrrrrr}', r'row & seeds & PSNR & SSIM & PSNR in hole & LPIPS & FID \\', r'\hline', *body, r'\end{tabular}', '']))


def main(argv=None):
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('set')
    a.add_argument('--out', default='runs/ablation')
    a.add_argument('--rows', nargs='+', default=list(ROWS))
    a.add_argument('--seeds', nargs='+', type=int, default=[0])
    a.add_argument('--preset', default='small')
    a.add_argument('--set', dest='settings', nargs='+', default=[])
    a.add_argument('--encoder', help='run folder of stage 1, {seed} in its name')
    a.add_argument('--file', help="Inception's weights for FID, or auto; without it no FID")
    a.add_argument('--faces', type=int, default=1000)
    a = a.parse_args(argv)
    out, judge, runs = Path(a.out), None, []
    try:
        base = override(preset(a.preset), a.settings)
        if 'no-stage1' in a.rows and not a.encoder: raise FacecompError("The row no-stage1 leaves out what is not there: name encoders with --encoder.")
        todo = [(row, seed, override(base, [f'seed={seed}', *([f'init={a.encoder.format(seed=seed)}'] if a.encoder else []), *settings_of(row)]))
                for seed in a.seeds for row in a.rows]
        for row, seed, cfg in todo:
            run = out/f'{row}_{seed}'
            file, note = run/'weights.safetensors', run/'scores.json'
            if note.exists():
                had = json.loads(note.read_text())
                if had['config'] != json.loads(json.dumps(asdict(cfg))): raise FacecompError(f"{run} was made with other settings: choose another --out.")
                if had['faces'] == a.faces and (not a.file or had['scores']['fid'] is not None): runs.append(had['scores']); continue
            train(cfg, a.set, run, resume=True, stages=(2,))
            judge = judge or Judge(a.set, a.faces, a.file)
            got = dict(row=row, seed=seed, pictures=cfg.steps*cfg.batch, **judge(load_weights(file)[0].eval(), f'{row} {seed}'))
            with atomic(note) as p: p.write_text(json.dumps(dict(config=asdict(cfg), faces=a.faces, scores={k: None if v != v else v for k, v in got.items()})))
            runs.append(got)
            print(row, seed, {c: round(got[c], 4) for c in COLUMNS}, flush=True)
        table(out, [{k: float('nan') if v is None else v for k, v in r.items()} for r in runs], a.rows)
    except FacecompError as e: sys.exit(f'{a.out}: {e}')


if __name__ == '__main__': main()
