"Dense fields of a prepared set from its 3DMM fits: python data_scripts/make_uv.py prepared/utkface --bfm bfm_noneck_v3.pkl --tri tri.pkl"
import argparse, os, sys
from multiprocessing import Pool
from pathlib import Path
import numpy as np
from tqdm import tqdm
from facecomp.core import FacecompError
from facecomp.field import bfm_fields, load_bfm
from facecomp.photos import PreparedFaces, encode_field

CHUNK = 64
state = {}


def start(bfm, tri, root, size):
    d = np.load(root/'landmarks.npz')
    state.update(model=load_bfm(bfm, tri), size=size, **{k: d[k] for k in ('params62', 'roi', 'M')})


def chunk(span):
    a, b = span
    C, mask = bfm_fields(state['model'], state['params62'][a:b], state['roi'][a:b], state['M'][a:b], state['size'])
    return a, b, encode_field(C, mask)


def make_uv(root, bfm, tri, jobs=2):
    root = Path(root)
    faces = PreparedFaces(root)
    with np.load(root/'landmarks.npz') as d:
        if 'params62' not in d:
            raise FacecompError(f'{root} has no 3DMM fits (params62): fields can be made only for sets that come with them so far.')
        n = len(d['name'])
    part, marks, shape = root/'fields.part.npy', root/'fields.part.done', (n, 2, faces.size, faces.size)
    done = set()
    if part.exists() and marks.exists() and np.load(part, mmap_mode='r').shape == shape:
        done = {int(x) for x in marks.read_text().split()}
    else:
        marks.unlink(missing_ok=True)
        np.lib.format.open_memmap(part, 'w+', np.uint16, shape).flush()
    out = np.lib.format.open_memmap(part, 'r+')
    todo = [(a, min(a+CHUNK, n)) for a in range(0, n, CHUNK) if a not in done]
    with Pool(jobs, start, (bfm, tri, root, faces.size)) as pool, marks.open('a') as log, \
            tqdm(total=n, initial=n-sum(b-a for a, b in todo), desc='fields', unit='face') as bar:
        for a, b, code in pool.imap_unordered(chunk, todo):
            out[a:b] = code
            out.flush()
            log.write(f'{a}\n')
            log.flush()
            bar.update(b-a)
    del out
    os.replace(part, root/'fields.npy')
    marks.unlink()
    return n


def main(argv=None):
    p = argparse.ArgumentParser(description='Rasterise the dense fields of a prepared set from its 3DMM fits, 16 bit, resumable.')
    p.add_argument('root', help='a prepared set')
    p.add_argument('--bfm', required=True, help="3DDFA_V2's bfm_noneck_v3.pkl (academic use only)")
    p.add_argument('--tri', required=True, help='its tri.pkl')
    p.add_argument('--jobs', type=int, default=2, help='processes')
    a = p.parse_args(argv)
    try:
        print(f'{make_uv(a.root, a.bfm, a.tri, a.jobs)} fields in {Path(a.root)/"fields.npy"}')
    except FacecompError as e:
        sys.exit(f'make_uv: {e}')


if __name__ == '__main__':
    main()
