"""Networks of different sizes on the same photos, judged at one size.

    python data_scripts/compare_sizes.py prepared/256/utkface 128=facecomp/assets/weights.safetensors 256=base.safetensors [--at 128] [--limit 1000] [--out sizes.csv]

Photos and occluders are those of the set (the largest size). Each network is given them shrunk to its own size by area averages, and what it gives is shrunk to --at (or enlarged, by
bicubic interpolation, if it is smaller); the truth, too. Face i comes under mask i mod 9. Differences are to the first network, with 95 % intervals (bootstrap over the faces).
"""
import argparse, csv, sys
from pathlib import Path
import numpy as np, torch, torch.nn.functional as F
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm
from facecomp.comparison import paired_interval
from facecomp.core import FacecompError, atomic, masked_resize, pick_device
from facecomp.jobs import number_from
from facecomp.metrics import lpips_net
from facecomp.prepared import PreparedFaces, TestFaces, spread_over, turns
from facecomp.quality import picture_scores
from facecomp.weights import open_network

METRICS = dict(psnr='PSNR ↑', ssim='SSIM ↑', lpips='LPIPS ↓', psnr_hole='PSNR in the hole ↑')


def resize(x, size):
    "Area averages down, bicubic up"
    if x.shape[-1] == size: return x
    return F.interpolate(x, (size, size), mode='area') if x.shape[-1] > size else F.interpolate(x, (size, size), mode='bicubic', align_corners=False, antialias=False).clamp(0, 1)


def shrink(b, size):
    "A batch of the set at another size: what is outside the photo takes no part in an average of the truth"
    y, valid = masked_resize(b['y'], b['valid'], (size, size))
    return dict(x=resize(b['x'], size), y=y, valid=(valid > .999).float(), hole=resize(b['hole'], size))


@torch.no_grad()
def compare(data, nets, at, limit=None, device='cpu', with_lpips=True, batch=8):
    "Scores of every picture: name → metric → (N,)"
    faces = PreparedFaces(data, 'test'); tests = TestFaces(faces); k = len(tests.masks)
    if at > faces.size: raise FacecompError(f"The set has {faces.size}²: --at can't be {at}.")
    picked = spread_over(len(faces), limit); mask = turns(picked, k); out = {name: {} for name in nets}; lp = lpips_net(with_lpips).to(device) if with_lpips else None
    for b in tqdm(DataLoader(Subset(tests, [int(i)*k+int(t) for i, t in zip(picked, mask)]), batch), desc='compare', unit='batch'):
        b = {n: v.to(device) for n, v in b.items()}; true = shrink(b, at)
        for name, net in nets.items():
            size = net.cfg.size
            if size > faces.size: raise FacecompError(f"{name} wants {size}², the set has {faces.size}²: prepare one of that size.")
            pic = resize(net(shrink(b, size)['x']).pictures[0].float().clamp(0, 1), at)
            for m, v in picture_scores(pic, true, lp).items(): out[name].setdefault(m, []).append(v.cpu())
    return {name: {m: torch.cat(v).double().numpy() for m, v in s.items()} for name, s in out.items()}


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data', help='prepared set'); p.add_argument('weights', nargs='+', metavar='NAME=FILE', help='two networks or more')
    p.add_argument('--at', type=number_from(16), default=128, help='side of the pictures that are judged'); p.add_argument('--limit', type=number_from(1), help='so many faces, spread over the test set')
    p.add_argument('--out', help='the table as CSV, too'); p.add_argument('--device', default='cpu'); p.add_argument('--no-lpips', action='store_true', help='leave LPIPS out'); a = p.parse_args(argv)
    try:
        if any('=' not in w for w in a.weights) or len({w.split('=')[0] for w in a.weights}) < max(2, len(a.weights)): raise FacecompError("Name two networks or more, each as NAME=FILE, with different names.")
        device, way = pick_device(a.device), PreparedFaces(a.data, 'test').convention['name']; nets = {}
        for n, f in (w.split('=', 1) for w in a.weights):
            net, info = open_network(f); nets[n] = net.to(device).eval()
            if info['convention']['name'] != way: raise FacecompError(f"{n} is aligned as {info['convention']['name']}, the set as {way}.")
        res = compare(a.data, nets, a.at, a.limit, device, not a.no_lpips)
    except FacecompError as e: sys.exit(f'compare_sizes: {e}')
    (base, first), rows = next(iter(res.items())), []
    for name, s in res.items():
        row = dict(network=name, size=nets[name].cfg.size, judged_at=a.at, pictures=len(s['psnr']))
        for m in METRICS:
            if m not in s: continue
            v, low, high = paired_interval(first[m][:, None], s[m][:, None]); row[m] = np.nanmean(s[m])
            if s is not first: row |= {f'{m}-{base}': v, f'{m}-{base}_low': low, f'{m}-{base}_high': high}
        rows.append(row)
    shown = [m for m in METRICS if m in rows[0]]; digits = lambda m: 2 if 'psnr' in m else 4
    print('| network | '+' | '.join(METRICS[m] for m in shown)+' |\n'+'|---'*(1+len(shown))+'|')
    for r in rows:
        print(f"| {r['network']} ({r['size']}²) | "+' | '.join(f"{r[m]:.{digits(m)}f}"+(f" ({r[d]:+.{digits(m)}f}, {r[d+'_low']:+.{digits(m)}f} to {r[d+'_high']:+.{digits(m)}f})" if (d := f'{m}-{base}') in r else '') for m in shown)+' |')
    if a.out:
        with atomic(Path(a.out)) as path, path.open('w', newline='') as f:
            w = csv.DictWriter(f, list(rows[-1])); w.writeheader(); w.writerows({k: f'{v:.6f}' if isinstance(v, float) else v for k, v in r.items()} for r in rows)


if __name__ == '__main__': main()
