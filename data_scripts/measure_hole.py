"""What stays and what goes: known pixels in every mode, the blind hole, its seam, and holes from masks of every kind.

    python data_scripts/measure_hole.py --data DATA [--n 200] [--weights FILE] [--lo .2 --hi .5 --change .08]

On n test photos of utkface under the nine test masks, aligned 128² crops. Without photos, on procedural faces.
"""
import argparse, io, os, sys
for _k in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS'): os.environ.setdefault(_k, '1')
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cv2, numpy as np, torch
from PIL import Image
from facecomp.align import similarity, warp_picture, warp_points
from facecomp.blend import blend_in, match_rim, soft_hole
from facecomp.core import data_root, read_picture, rng_for, to_tensor
from facecomp.faces import procedural_face
from facecomp.inference import FaceCompleter
from facecomp.mask import TEST_MASKS
from facecomp.occlude import occlude
from facecomp.photos import read_set


def say(*x): print(*x, flush=True)


def faces(root, n, size):
    "(aligned photo, landmarks in it, valid)"
    if not root:
        for i in range(n):
            f = procedural_face(900+i)
            M = similarity(f.landmarks, size=size)
            p, v = warp_picture((np.asarray(f.picture).transpose(1, 2, 0)*255).astype(np.uint8) if np.asarray(f.picture).shape[0] == 3 else np.asarray(f.picture), M, size)
            yield p, warp_points(f.landmarks, M), v
        return
    recs = [r for r in read_set('utkface', root/'data') if r['split'] == 'test']
    for i in np.linspace(0, len(recs)-1, n).astype(int):
        M = similarity(recs[i]['landmarks'], size=size)
        p, v = warp_picture(read_picture(recs[i]['path']), M, size)
        yield p, warp_points(recs[i]['landmarks'], M), v


def across(p, h, valid):
    "Mean gradient across the border of the hole, 1/255"
    on = (h > .5).astype(np.uint8)
    edge = (cv2.dilate(on, np.ones((3, 3)))-cv2.erode(on, np.ones((3, 3))) > 0) & (valid > 0)
    g = p.astype(np.float64).mean(-1)
    gx, gy = cv2.Sobel(g, cv2.CV_64F, 1, 0)/8, cv2.Sobel(g, cv2.CV_64F, 0, 1)/8
    s = cv2.GaussianBlur(h.astype(np.float64), (0, 0), 1.5)
    nx, ny = cv2.Sobel(s, cv2.CV_64F, 1, 0), cv2.Sobel(s, cv2.CV_64F, 0, 1)
    n = np.hypot(nx, ny)+1e-9
    return np.abs(gx*nx/n+gy*ny/n)[edge].mean() if edge.any() else np.nan


def coded(a, kind, **kw):
    b = io.BytesIO(); Image.fromarray(a).save(b, kind, **kw); return b.getvalue()


def main(argv=None):
    p = argparse.ArgumentParser(description='Measure the hole, the known pixels and the seam.')
    p.add_argument('--data'); p.add_argument('--weights'); p.add_argument('--n', type=int, default=200); p.add_argument('--modes', type=int, default=None, help='photos for the known pixels, n by default')
    for k in ('lo', 'hi', 'change'): p.add_argument(f'--{k}', type=float)
    a = p.parse_args(argv)
    torch.set_num_threads(1); cv2.setNumThreads(1)
    root = Path(a.data) if a.data else data_root()
    c = FaceCompleter.from_pretrained(a.weights, 'cpu'); S = c.size
    opt = {k: v for k in ('lo', 'hi', 'change') if (v := getattr(a, k)) is not None}
    set_ = [(x, *occlude(x, L, TEST_MASKS[i % 9], rng_for(i)), L, v) for i, (x, L, v) in enumerate(faces(root, a.n, S))]
    kept, inside, half, ratio, plain = [], [], [], [], []
    for k in range(0, len(set_), 16):
        part = set_[k:k+16]
        with torch.inference_mode(): out = c.net(torch.stack([to_tensor(x) for _, x, *_ in part]))
        for i, (y, x, alpha, _, v) in enumerate(part):
            h = soft_hole(to_tensor(x), out.pictures[0][i], out.alphas[0][i], **opt)
            pic, out_ = out.pictures[0][i].permute(1, 2, 0).numpy(), []
            for match in (True, False):
                q = match_rim(pic, x.astype(np.float32)/255, h, v) if match else pic
                out_.append(blend_in(x, np.ascontiguousarray(q, np.float32), np.eye(2, 3), h))
            far = (cv2.distanceTransform((alpha <= .02).astype(np.uint8), cv2.DIST_L2, 5) > 4*S/128) & (v > 0)
            kept.append((out_[0] == x).all(-1)[far].mean() if far.any() else 1); on = (alpha > .5) & (v > 0)
            inside.append((h > 0)[on].mean()); half.append((h > .5)[on].mean()); b = across(y, h, v)
            ratio.append((across(out_[0], h, v), b)); plain.append((across(out_[1], h, v), b))
    r, q = np.nanmean(ratio, 0), np.nanmean(plain, 0)
    say(f'1  blind, {len(set_)} photos {opt or ""}: farther than 4 px from the occluder unchanged {np.mean(kept):.2%}; of the occluder inside the hole {np.mean(inside):.2%} (weight above a half: {np.mean(half):.2%})')
    say(f'   seam: gradient across the border {r[0]:.2f}, of the original photo there {r[1]:.2f}: {r[0]/r[1]:.2f} times ({q[0]/q[1]:.2f} without matching colours)')
    n, bad = a.modes or a.n, 0
    for i, (y, x, alpha, L, v) in enumerate(set_[:n]):
        big = cv2.resize(x, (300, 300), interpolation=cv2.INTER_CUBIC); deep = big.astype(np.uint16)*257; rgba = np.dstack([big, 255-big[..., 0]])
        brush = np.zeros((300, 300), np.uint8); cv2.line(brush, (90, 100), (200, 130), 255, 30)
        pic, kw = (big, deep, rgba, big[..., :1])[i % 4], (dict(), dict(hole=brush > 0), dict(hole=255-brush), dict(outline=True), dict(hole=brush > 0, blind=True))[i % 5]
        res = c.complete_full(pic, align='crop', **kw); want = np.repeat(pic, 3, 2) if pic.shape[2] == 1 else pic
        bad += (res.picture[res.hole == 0] != want[res.hole == 0]).sum()+(0 if pic.shape[2] != 4 else (res.picture[..., 3] != pic[..., 3]).sum())
    say(f'2  known pixels, {n} photos, five modes, 8 and 16 bits, transparency, grey: {bad} numbers differ')
    x = cv2.resize(set_[0][1], (320, 320)); s = np.zeros((320, 320), np.uint8); cv2.polylines(s, [np.int32([[90, 90], [160, 150], [210, 110]])], False, 255, 34, cv2.LINE_AA)
    ways = dict(alpha=coded(np.dstack([x, 255-s]), 'PNG'), white=coded(s, 'PNG'), black=coded(255-s, 'PNG'), jpeg60=coded(np.repeat(s[..., None], 3, 2), 'JPEG', quality=60), soft=coded(cv2.GaussianBlur(s, (0, 0), 5), 'PNG'))
    got = {k: c.complete_full(x, hole=m, align='crop').hole > .5 for k, m in ways.items()}
    say(f'3  the same stroke five ways: smallest IoU of the filled regions {min((a & b).sum()/(a | b).sum() for a in got.values() for b in got.values()):.3f}')


if __name__ == '__main__': main()
