"""Why completion does, or doesn't, help a recogniser: pairs of LFW, the hole of the second photo filled in eight ways.

    python data_scripts/measure_fills.py PREPARED_LFW [--embedder dlib] [--train PREPARED] [--pairs 400] [--mask surgical_blue] [--weights FILE] [--out TABLE.csv]

masked, completed (ours), mean face (of --train, colour-matched), grey, the truth blurred (σ 3 pixels), the lower face of somebody else (drawn by chance), half ours and half the truth, the truth; in the order of their AUC.
"""
import argparse, csv, sys
import cv2, numpy as np, torch
from tqdm.auto import tqdm
from facecomp.core import FacecompError, rng_for, to_tensor, to_uint8
from facecomp.metrics import mean_face, paste_mean
from facecomp.jobs import net_for
from facecomp.prepared import PreparedFaces, TestFaces
from facecomp.roc import auc, tpr_at
from facecomp.verification import lfw_pairs, open_embedder


def fills(d, other, net, mean):
    "Name → picture (3,S,S), from an item of TestFaces and somebody else's picture"
    x, y, h = d['x'], d['y'], (d['hole'] > .02).float(); p = net(x[None]).pictures[0][0].float().clamp(0, 1)
    soft = torch.from_numpy(cv2.GaussianBlur(np.ascontiguousarray(y.permute(1, 2, 0).numpy()), (0, 0), 3)).permute(2, 0, 1)
    named = {'masked': x, 'completed': p, 'grey': torch.where(h > 0, .5, y), 'truth, blurred': torch.where(h > 0, soft, y), "somebody else's": torch.where(h > 0, other, y), 'half ours, half truth': torch.where(h > 0, (p+y)/2, y), 'truth': y}
    return named | ({} if mean is None else {'mean face': to_tensor(paste_mean(to_uint8(x), (h[0] > 0).numpy(), mean, d['valid'][0].numpy()))})


@torch.no_grad()
def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data'); p.add_argument('--embedder', default='dlib'); p.add_argument('--train', help='prepared set that the mean face is taken from; without it no mean face')
    p.add_argument('--pairs', type=int, default=400); p.add_argument('--mask', default='surgical_blue'); p.add_argument('--weights'); p.add_argument('--out', help='the table as CSV, too'); a = p.parse_args()
    try:
        faces = PreparedFaces(a.data, 'test'); i, j, same, *_ = lfw_pairs(a.data, faces, a.pairs); net, _ = net_for(faces, a.weights); emb = open_embedder(a.embedder, faces.convention['name'])
        ds, mean, rng, out = TestFaces(faces, (a.mask,)), mean_face(PreparedFaces(a.train, 'train')) if a.train else None, rng_for(0), {}
    except FacecompError as e: sys.exit(f'measure_fills: {e}')
    for u, v in zip(tqdm(i.tolist(), unit='pair'), j.tolist()):
        made = fills(ds[v], ds[int(rng.integers(len(faces)))]['y'], net, mean); z = emb(torch.stack([ds[u]['y'], *made.values()]))
        for n, c in zip(made, torch.cosine_similarity(z[:1], z[1:]).tolist()): out.setdefault(n, []).append(c)
    rows = sorted(((n, len(s), a.mask, auc(s, same), tpr_at(s, same, .01), s[same].mean(), s[~same].mean()) for n, s in ((n, np.array(s)) for n, s in out.items())), key=lambda r: -r[3])
    print(f'{len(same)} pairs under {a.mask}, {a.embedder}\n| the hole holds | AUC | TPR at FPR 1 % | cosine, one person | two |\n|---|---|---|---|---|')
    for n, _, _, area, tpr, one, two in rows: print(f'| {n} | {100*area:.1f} | {100*tpr:.1f} | {one:.3f} | {two:.3f} |')
    if a.out:
        with open(a.out, 'w', newline='') as f: csv.writer(f).writerows([('hole', 'pairs', 'mask', 'auc', 'tpr_at_1pc', 'cosine_same', 'cosine_other'), *rows])


if __name__ == '__main__': main()
