"""Dense fields of a prepared set, from its landmarks: in parallel, resumable, the faces with a bad fit left out and reported.

    python data_scripts/make_uv.py prepared                                             # the embedded face model
    python data_scripts/make_uv.py prepared --bfm bfm_noneck_v3.pkl --tri tri.pkl       # the Basel Face Model, fitted to the landmarks
    python data_scripts/make_uv.py prepared --bfm … --tri … --given                     # 3DDFA parameters that came with the set

Into the set's folder go fields.npy (16 bit), fields_ok.npy (which faces have one), fits.npz (pose and shape) and uv_report.csv (who was left out, and why).
"""
import argparse, csv, json, os, shutil, sys, threading, time, zlib
from multiprocessing import Pool
from pathlib import Path
for _k in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS'): os.environ.setdefault(_k, '1')  # one core a process
import numpy as np
import torch
from tqdm import tqdm
from facecomp.align import warp_points
from facecomp.core import FacecompError
from facecomp.field import draw_fields, embedded_model, load_bfm, posed_vertices
from facecomp.fit import fit_landmarks
from facecomp.prepared import PreparedFaces, encode_field

CHUNK = 64
MIN_FACE = .05          # least share of the picture that shows face
MAX_GIVEN = .02         # with --given: largest distance of the parameters' landmarks from the set's, share of the face's size
state = {}


def open_model(bfm=None, tri=None, prior=None):
    return load_bfm(bfm, tri, prior) if bfm else embedded_model()


def _die_with(parent):
    "A worker whose parent was killed waits for ever on its queue: leave instead"
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def start(model, root, size, given, parent):
    torch.set_num_threads(1)
    if parent:
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    with np.load(Path(root)/'landmarks.npz') as d:
        state.update(model=open_model(*model), size=size, given=given, landmarks=d['landmarks68'], M=d['M'],
                     params=d['params62'] if given else None, roi=d['roi'] if given else None)


def given_fields(a, b):
    "Fields of faces a…b from the parameters that came with the set, and how well these meet the landmarks"
    m, L = state['model'], state['landmarks'][a:b].astype(np.float64)
    V = np.stack([warp_points(v, M) for v, M in zip(posed_vertices(m, state['params'][a:b], state['roi'][a:b]), state['M'][a:b])])
    C, mask, _ = draw_fields(m, V, state['size'])
    off = np.linalg.norm(V[:, m.landmarks, :2]-L[..., :2], axis=-1).mean(1)/np.sqrt(np.ptp(L[..., :2], axis=1).prod(1))
    fits = np.concatenate([state['params'][a:b], state['roi'][a:b], off[:, None]], 1)
    return C, mask, fits, [f'parameters differ from the landmarks by {o:.1%} of the face' if not o <= MAX_GIVEN else '' for o in off]


def fitted_fields(a, b):
    m = state['model']
    fit = fit_landmarks(m, state['landmarks'][a:b])     # a prepared set's landmarks are in the aligned picture's pixels
    C, mask, _ = draw_fields(m, np.nan_to_num(fit.vertices(m)), state['size'])
    parts = [fit.A, fit.t, fit.coef, fit.noise, fit.weight] + ([fit.pull] if m.warp is not None else [])
    return C, mask, np.concatenate([x.reshape(b-a, -1) for x in parts], 1), fit.why


def chunk(span):
    a, b = span
    C, mask, fits, why = (given_fields if state['given'] else fitted_fields)(a, b)
    why = [w or ('' if m.mean() >= MIN_FACE else f'the face covers {m.mean():.1%} of the picture') for w, m in zip(why, mask)]
    return a, b, encode_field(C, mask & np.array([not w for w in why])[:, None, None]), fits.astype(np.float32), why


def split_fits(rows, n, given, warp):
    "Columns of the fits' table → named arrays"
    sizes = dict(params62=(62,), roi=(4,), noise=()) if given else dict(A=(3, 3), t=(3,), coef=(n,), noise=(), weight=(68,), **(dict(pull=(68, 3)) if warp else {}))
    out, i = {}, 0
    for k, s in sizes.items():
        w = int(np.prod(s))
        out[k] = np.asarray(rows[:, i:i+w]).reshape(-1, *s)
        i += w
    return out, i


def put(path, write):
    "Write beside it, then move into place"
    tmp = path.with_name(path.name+'.tmp')
    with tmp.open('wb') as f:
        write(f)
    os.replace(tmp, path)


def make_uv(root, bfm=None, tri=None, prior=None, given=False, jobs=2, progress=True):
    "Make the fields of a prepared set; returns counts (faces, left_out, seconds, bytes)"
    t0, root = time.time(), Path(root)
    if bool(bfm) != bool(tri):
        raise FacecompError('--bfm and --tri belong together: give both, or none for the embedded model.')
    if given and not bfm:
        raise FacecompError("--given draws BFM's parameters: give --bfm and --tri too.")
    faces = PreparedFaces(root, occluded=True)                    # a field for every row of the set
    spec = tuple(str(Path(p).resolve()) if p else None for p in (bfm, tri, prior))
    model = open_model(*spec)
    with np.load(root/'landmarks.npz') as d:
        n, names = len(d['name']), d['name'].astype(str)
        if given and 'params62' not in d:
            raise FacecompError(f'{root} has no 3DMM parameters (params62): leave --given out, and the model is fitted to the landmarks.')
        crc = 0
        for k in ['landmarks68', 'M'] + (['params62', 'roi'] if given else []):
            crc = zlib.crc32(np.ascontiguousarray(d[k]), crc)
    head = dict(format=1, model=model.name, source='given' if given else 'fit', faces=n, size=faces.size, landmarks=crc,
                uv=zlib.crc32(model.uv, zlib.crc32(model.basis)), prior=zlib.crc32(model.prior_std, zlib.crc32(model.prior_mean)))
    if (root/'uv.json').exists() and (root/'fields.npy').exists() and json.loads((root/'uv.json').read_text()) == head:
        ok = np.load(root/'fields_ok.npy')
        return dict(faces=n, left_out=int((~ok).sum()), seconds=0., bytes=(root/'fields.npy').stat().st_size, already=True)
    part, shape = root/'fields.part', (n, 2, faces.size, faces.size)
    _, width = split_fits(np.zeros((1, 4096)), model.basis.shape[1], given, model.warp is not None)
    try:
        if part.exists() and (not (part/'head.json').exists() or json.loads((part/'head.json').read_text()) != head
                              or not all((part/f).exists() for f in ('codes.npy', 'fits.npy'))):
            shutil.rmtree(part)                          # begun with other settings, or broken off while it was put into place
        if not part.exists():
            part.mkdir()
            np.lib.format.open_memmap(part/'codes.npy', 'w+', np.uint16, shape).flush()
            np.lib.format.open_memmap(part/'fits.npy', 'w+', np.float32, (n, width)).flush()
            put(part/'head.json', lambda f: f.write(json.dumps(head).encode()))
    except OSError as e:
        raise FacecompError(f"Can't write to {root} ({e.strerror}): make room there, or copy the set to where you may write.") from None
    codes, fits = (np.lib.format.open_memmap(part/f, 'r+') for f in ('codes.npy', 'fits.npy'))
    todo = [(a, min(a+CHUNK, n)) for a in range(0, n, CHUNK) if not (part/f'{a}.json').exists()]

    def keep(done):
        a, b, code, row, why = done
        codes[a:b], fits[a:b] = code, row
        codes.flush()
        fits.flush()
        put(part/f'{a}.json', lambda f: f.write(json.dumps(why).encode()))   # only now the chunk counts as done
        bar.update(b-a)
    args = (spec, root, faces.size, given)
    with tqdm(total=n, initial=n-sum(b-a for a, b in todo), desc='fields', unit='face', disable=not progress) as bar:
        if jobs > 1:
            with Pool(jobs, start, (*args, os.getpid())) as pool:
                for done in pool.imap_unordered(chunk, todo):
                    keep(done)
        else:
            start(*args, None)
            for span in todo:
                keep(chunk(span))
    why = sum((json.loads((part/f'{a}.json').read_text()) for a in range(0, n, CHUNK)), [])
    arrays, _ = split_fits(fits, model.basis.shape[1], given, model.warp is not None)
    put(root/'fits.npz', lambda f: np.savez(f, name=names, why=np.array(why), **arrays))

    def report(f):
        rows = ['name,left out because'] + [f'{a},"{w}"' for a, w in zip(names, why) if w]
        f.write(('\n'.join(rows)+'\n').encode())
    put(root/'uv_report.csv', report)
    put(root/'fields_ok.npy', lambda f: np.save(f, np.array([not w for w in why])))
    del codes, fits
    os.replace(part/'codes.npy', root/'fields.npy')      # who has the old one open keeps reading it
    put(root/'uv.json', lambda f: f.write(json.dumps(head).encode()))
    shutil.rmtree(part)
    return dict(faces=n, left_out=sum(map(bool, why)), seconds=time.time()-t0, bytes=(root/'fields.npy').stat().st_size, already=False)


def main(argv=None):
    p = argparse.ArgumentParser(description='Dense fields of a prepared set: fit a face model to its landmarks, rasterise, store in 16 bit. Run again to resume.')
    p.add_argument('root', help='a prepared set')
    p.add_argument('--bfm', help="3DDFA_V2's bfm_noneck_v3.pkl (academic use only); without it the embedded model is fitted")
    p.add_argument('--tri', help='its tri.pkl')
    p.add_argument('--prior', help='its param_mean_std_62d_120x120.pkl; the same numbers, rounded, are built in')
    p.add_argument('--given', action='store_true', help="don't fit: use the 3DDFA parameters that came with the set")
    p.add_argument('--jobs', type=int, default=2, help='processes')
    a = p.parse_args(argv)
    try:
        r = make_uv(a.root, a.bfm, a.tri, a.prior, a.given, a.jobs)
    except FacecompError as e:
        sys.exit(f'make_uv: {e}')
    out = Path(a.root)
    print(f"{out/'fields.npy'}: {r['faces']} faces, {r['left_out']} of them left out (see {out/'uv_report.csv'}), {r['bytes']/1e6:.0f} MB, "
          + ('made before' if r['already'] else f"{r['seconds']:.0f} s"))
    with (out/'uv_report.csv').open() as f:
        for row in list(csv.reader(f))[1:6]:
            print('  left out:', *row)


if __name__ == '__main__':
    main()
