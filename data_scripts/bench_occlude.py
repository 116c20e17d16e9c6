"""How long an occlusion takes, beside Pillow's decoding of a 200×200 JPEG: one core, one run.

    python data_scripts/bench_occlude.py [--n 400] [--limit 20] [--templates FOLDER]

With FOLDER, MaskTheFace's `masks`, its templates run beside our own masks, in the same turns. Ends with status 1 when the training mix or the mean over the kinds takes more than `limit` times the decoding.
"""
import argparse, io, os, sys, time
for k in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'): os.environ.setdefault(k, '1')
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cv2, numpy as np
from PIL import Image
from facecomp.core import portrait
from facecomp.mask import TEST_MASKS
from facecomp.occlude import occlude_for
from facecomp.occluders import L2SFO

def aligned(pic, marks, size): # eye centre at (.496, .313), mouth centre at (.496, .688) of the side, as LightCNN's crops
    eye, mouth = marks[36:48, :2].mean(0), marks[[48, 54], :2].mean(0); d = mouth-eye; s = .375*size/np.hypot(*d)
    R = np.array([[d[1], -d[0]], [d[0], d[1]]])/np.hypot(*d)*s; t = np.array([63.5, 40])*size/128-R@eye
    return cv2.warpAffine(pic, np.c_[R, t], (size, size)), np.c_[marks[:, :2]@R.T+t, marks[:, 2]*s]

def clock(*fs, n): # (n, len(fs)) ms of this process; the functions take turns, so that other load falls on all alike
    for i in range(3): [f(i) for f in fs]
    took = np.zeros((n, len(fs)))
    for i in range(n):
        for j, f in enumerate(fs): t = time.process_time(); f(i); took[i, j] = 1e3*(time.process_time()-t)
    return took

def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0]); ap.add_argument('--n', type=int, default=300)
    ap.add_argument('--limit', type=float, default=20.); ap.add_argument('--templates', metavar='FOLDER')
    args = ap.parse_args(); cv2.setNumThreads(1)
    pic, marks = portrait('astronaut'); x, l = aligned(pic, marks, 128)
    buf = io.BytesIO(); Image.fromarray(aligned(pic, marks, 200)[0]).save(buf, 'JPEG', quality=90); jpeg = buf.getvalue()
    decode = lambda i: np.asarray(Image.open(io.BytesIO(jpeg)).convert('RGB'))
    theirs = f'templates:{args.templates}' if args.templates else None
    kinds = (*TEST_MASKS, 'mask', 'stroke', 'patch', 'random', *L2SFO[1:], *([theirs] if theirs else []))
    warm = [np.median(clock(decode, n=args.n))]
    took = clock(*(lambda i, k=k: occlude_for(x, l, 0, 0, i, kind=k) for k in kinds), n=args.n)
    base = min(warm + [np.median(clock(decode, n=args.n))])               # decoding alone, caches warm: the stricter measure
    med, mean = np.median(took, 0), took.mean(0); ratio = dict(zip(kinds, mean/base))
    print(f"Pillow decodes a 200×200 JPEG ({len(jpeg)/1000:.1f} kB) in {base:.3f} ms\n")
    print(f"{'kind':16}{'median ms':>10}{'mean ms':>10}{'× decode':>10}")
    for i, k in enumerate(kinds): print(f"{'templates' if k == theirs else k:16}{med[i]:10.3f}{mean[i]:10.3f}{ratio[k]:10.1f}")
    every = np.mean([r for k, r in ratio.items() if k not in ('random', theirs)])
    if theirs: nine = mean[:len(TEST_MASKS)].mean(); i = kinds.index('mask'); print(f"\nfaces a second: templates {1e3/mean[-1]:.0f}, our nine {1e3/nine:.0f}, 'mask' {1e3/mean[i]:.0f}: {nine/mean[-1]:.2f} × and {mean[i]/mean[-1]:.2f} × as many under the templates")
    print(f"\nmean over the kinds: {every:.1f} × decoding; training mix: {ratio['random']:.1f} ×; limit {args.limit:g} ×")
    sys.exit(int(max(every, ratio['random']) > args.limit))

if __name__ == '__main__': main()
