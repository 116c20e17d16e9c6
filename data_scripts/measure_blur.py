"""Is a lead in the hole sharpness, or colour? PSNR there after blurring the completions, and with the hole's mean colour put right.

    python data_scripts/measure_blur.py PREPARED NAME=RUN [NAME=RUN …] [--faces 250]

Face i under mask i mod 9, faces spread over the test set.
"""
import argparse, sys
import torch
from torch.utils.data import DataLoader, Subset
from torchvision.transforms.functional import gaussian_blur
from facecomp.core import FacecompError
from facecomp.jobs import net_for
from facecomp.metrics import psnr
from facecomp.prepared import PreparedFaces, TestFaces, spread_over, turns


@torch.no_grad()
def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data'); p.add_argument('weights', nargs='+', metavar='NAME=RUN'); p.add_argument('--faces', type=int, default=250); a = p.parse_args()
    try: faces = PreparedFaces(a.data, 'test'); nets = {n: net_for(faces, w)[0] for n, w in (x.split('=', 1) for x in a.weights)}
    except (FacecompError, ValueError) as e: sys.exit(f'measure_blur: {e}')
    ds, out = TestFaces(faces), {}; K, picked = len(ds.masks), spread_over(len(faces), a.faces)
    for b in DataLoader(Subset(ds, [i*K+t for i, t in zip(picked, turns(picked, K))]), 25):
        w = b['valid']*(b['hole'] > .5); mean = lambda t: (t*w).sum((2, 3), keepdim=True)/w.sum((2, 3), keepdim=True).clamp_min(1)
        for n, net in nets.items():
            y = net(b['x']).pictures[0].float().clamp(0, 1); blurred = {f'σ={s}': gaussian_blur(y, 6*s+1, float(s)) for s in (1, 2, 3)}
            for k, q in {'as it is': y, **blurred, 'colour put right': (y+mean(b['y'])-mean(y)).clamp(0, 1)}.items(): out.setdefault((n, k), []).append(psnr(q, b['y'], w))
    columns = list(dict.fromkeys(k for _, k in out)); print('| dB in the hole | '+' | '.join(columns)+' |\n|---'+'|---'*len(columns)+'|')
    for n in nets: print(f'| {n} | '+' | '.join(f'{torch.cat(out[n, k]).nanmean():.2f}' for k in columns)+' |')


if __name__ == '__main__': main()
