"""What a fit, a field and a stored field cost, set against decoding a 200×200 JPEG with Pillow: batches on one core, in turns in one run.

    python data_scripts/bench_field.py [--data DATA] [--rounds 8]

With the Basel Face Model if --data (or FACECOMP_DATA) has it under weights/; with the embedded model always.
"""
import argparse, io, os, tempfile, time, zlib
for _k in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS'): os.environ[_k] = '1'
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from facecomp.align import similarity
from facecomp.core import data_root, portrait
from facecomp.faces import procedural_face
from facecomp.field import draw_fields, embedded_model, load_bfm
from facecomp.fit import Fit, fit_landmarks
from facecomp.prepared import decode_field, encode_field

BATCH = 64


def photos(root):
    "JPEGs, landmarks (B,68,3) and similarities to the aligned picture"
    f = root and root/'data'/'utkface_3d.npz'
    if f and f.exists():
        with np.load(f) as d:
            step = len(d['name'])//BATCH
            names, L = d['name'][::step][:BATCH].astype(str), d['landmarks68'][::step][:BATCH].astype(np.float64)
        jpegs = [next((root/'data'/'utkface').glob(Path(n).stem+'.*')).read_bytes() for n in names]
    else:
        pic, marks = portrait('astronaut')
        (x0, y0), (x1, y1) = marks[:, :2].min(0), marks[:, :2].max(0)
        c, h, b = np.array([x0+x1, y0+y1])/2, .75*max(x1-x0, y1-y0), io.BytesIO()
        Image.fromarray(pic).crop((*map(int, c-h), *map(int, c+h))).resize((200, 200), Image.LANCZOS).save(b, 'JPEG')
        jpegs, L = [b.getvalue()]*BATCH, np.stack([procedural_face(i, 200).landmarks for i in range(BATCH)]).astype(np.float64)
    return jpegs, L, np.stack([similarity(l) for l in L])


def main(argv=None):
    p = argparse.ArgumentParser(description='Time fits, fields and ways to store them against the decoding of a photo.')
    p.add_argument('--data', help='folder with data/ and weights/; FACECOMP_DATA by default')
    p.add_argument('--rounds', type=int, default=8)
    a = p.parse_args(argv)
    torch.set_num_threads(1)
    root = Path(a.data) if a.data else data_root()
    jpegs, L, M = photos(root)
    w = root/'weights' if root else None
    models = {'BFM': load_bfm(w/'bfm_noneck_v3.pkl', w/'tri.pkl')} if w and (w/'bfm_noneck_v3.pkl').exists() else {}
    models['embedded'] = embedded_model()
    jobs, last = {'Pillow decodes the photo': lambda: [np.asarray(Image.open(io.BytesIO(j)).convert('RGB')) for j in jpegs]}, {}
    for name, m in models.items():
        last[name] = fit_landmarks(m, L)
        jobs[f'{name}: fit, 3D landmarks'] = lambda m=m: fit_landmarks(m, L)
        jobs[f'{name}: fit, 2D landmarks'] = lambda m=m: fit_landmarks(m, L[..., :2])
        jobs[f'{name}: 128² field from a finished fit'] = lambda m=m, f=last[name]: draw_fields(m, f.vertices(m, M), 128)
    first = next(iter(models))
    codes = encode_field(*draw_fields(models[first], last[first].vertices(models[first], M), 128)[:2])
    f = last[first]
    tmp = Path(tempfile.mkdtemp())
    np.save(tmp/'fields.npy', codes)
    mapped = np.load(tmp/'fields.npy', mmap_mode='r')
    packed = [zlib.compress(np.diff(c.astype(np.int32), axis=-1, prepend=0).astype(np.uint16).tobytes(), 6) for c in codes]

    def unpack(b): return np.cumsum(np.frombuffer(zlib.decompress(b), np.uint16).reshape(2, 128, 128), -1, dtype=np.uint16)
    assert all((unpack(b) == c).all() for b, c in zip(packed, codes))
    one = [Fit(*(np.asarray(getattr(f, k))[i:i+1] for k in ('A', 't', 'coef', 'pull', 'weight', 'noise')), ['']) for i in range(BATCH)]
    jobs |= {'store: 16 bit, memory-mapped': lambda: [decode_field(mapped[i]) for i in range(BATCH)],
             'store: 16 bit, deflated': lambda: [decode_field(unpack(b)) for b in packed],
             f'store: {first} fit, drawn by the loader': lambda: [draw_fields(models[first], x.vertices(models[first], M[i:i+1]), 128) for i, x in enumerate(one)]}
    size = {'store: 16 bit, memory-mapped': codes[0].nbytes, 'store: 16 bit, deflated': np.mean([len(b) for b in packed]),
            f'store: {first} fit, drawn by the loader': 4*(12+f.coef.shape[1])}
    times = {k: [] for k in jobs}
    for k in range(a.rounds+1):                                                # the first round compiles and warms up
        for what, job in jobs.items():
            t = time.perf_counter()
            job()
            times[what].append((time.perf_counter()-t)/BATCH*1e3)
    ref = {s.__name__: s(times['Pillow decodes the photo'][1:]) for s in (np.median, np.min)}
    print(f"{'':40}{'median ms':>10}{'ratio':>8}{'best ms':>10}{'ratio':>8}{'bytes':>9}")
    for what, t in times.items():
        m, b = np.median(t[1:]), np.min(t[1:])
        print(f"{what:40}{m:10.3f}{m/ref['median']:8.1f}{b:10.3f}{b/ref['min']:8.1f}{size.get(what, 0):9.0f}")


if __name__ == '__main__':
    main()
