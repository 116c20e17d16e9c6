"""Faces found and aligned by the predicted field alone: every figure that is claimed for it.

    python data_scripts/measure_find.py --data DATA [--weights FILE] [--utkface 1000] [--portraits 30] [--masked 181] [--empty 100] [--squares 250]

--data (default FACECOMP_DATA) has data/ and weights/; YuNet and 3DDFA there give the truth for the portraits and the start to compare with.
A face counts as found if the centre of the box of its landmarks, the mean head's in the pose that was found, lies within 15 % of sqrt(w h) of that of the 68 true ones.
"""
import argparse, os, sys, time
for _k in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS'): os.environ.setdefault(_k, '1')
from collections import Counter
from pathlib import Path
from unittest.mock import patch
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cv2, numpy as np, torch
from facecomp.align import LIGHTCNN, Convention, eye_mouth, invert, similarity, warp_picture, warp_points
from facecomp.core import ASSETS, data_root, read_picture, rng_for
from facecomp.field import load_arrays, load_bfm, posed_vertices
from facecomp.find import field_eye, find_faces, nudge, settle
from facecomp.mask import TEST_MASKS
from facecomp.occlude import occlude
from facecomp.occluders import L2SFO
from facecomp.place import NoFaceError, Placer
from facecomp.photos import read_set
from facecomp.checkpoint import load_weights


def say(*x): print(*x, flush=True)


class Truth:
    "YuNet's boxes and 3DDFA's landmarks"
    def __init__(self, w):
        import onnxruntime
        opts = onnxruntime.SessionOptions()
        opts.intra_op_num_threads = 1
        self.yunet = cv2.FaceDetectorYN.create(str(w/'yunet_2023mar.onnx'), '', (320, 320), .6)
        self.net = onnxruntime.InferenceSession(str(w/'mb1_120x120.onnx'), opts, providers=['CPUExecutionProvider'])
        self.bfm = load_bfm(w/'bfm_noneck_v3.pkl', w/'tri.pkl', w/'param_mean_std_62d_120x120.pkl')
        d = load_arrays(w/'param_mean_std_62d_120x120.pkl')
        self.mean, self.std = np.ravel(d['mean']), np.ravel(d['std'])

    def boxes(self, pic):
        k = min(1, 640/max(pic.shape[:2]))
        p = cv2.resize(pic, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
        self.yunet.setInputSize(p.shape[1::-1])
        _, f = self.yunet.detect(np.ascontiguousarray(p[..., ::-1]))
        return np.zeros((0, 4)) if f is None else f[np.argsort(-f[:, 2]*f[:, 3]), :4]/k

    def landmarks(self, pic, box):
        x, y, w, h = box
        s = (w+h)/2
        cx, cy, side = x+w/2, y+h/2+.14*s, 1.58*s
        roi = np.array([cx-side/2, cy-side/2, cx+side/2, cy+side/2])
        M = np.array([[120/side, 0, -roi[0]*120/side], [0, 120/side, -roi[1]*120/side]])
        crop = cv2.warpAffine(pic, M, (120, 120), flags=cv2.INTER_AREA)[..., ::-1].astype(np.float32)
        out = self.net.run(None, {self.net.get_inputs()[0].name: ((crop-127.5)/128).transpose(2, 0, 1)[None]})[0][0]
        return posed_vertices(self.bfm, (out*self.std+self.mean)[None], roi[None])[0][self.bfm.landmarks][:, :2].astype(np.float64)


def face_size(L): return np.sqrt(np.prod(np.ptp(L[:, :2], axis=0)))
def face_centre(L): return (L[:, :2].min(0)+L[:, :2].max(0))/2


def of_box(box, conv, size):
    "Start from a detector's box: eyes at 40 %, mouth at 77 % of its height"
    x, y, w, h = box
    e, m = np.array([x+w/2, y+.40*h]), np.array([x+w/2, y+.77*h])
    L = np.zeros((68, 2)); L[36:48] = e; L[48] = L[54] = m
    return similarity(L, conv, size)


class Bench:
    def __init__(self, weights):
        self.net, info = load_weights(weights)
        self.size, self.conv = self.net.cfg.size, Convention(**info['convention'])
        self.see = field_eye(self.net)


    def whole(self, what, photos, threshold):
        "photos: (picture, landmarks of its faces)"
        hit = faces = false = 0
        t0, f0, scores, eyes = time.time(), self.see.forwards, [], []
        for pic, truth in photos:
            found = find_faces(self.see, pic, self.size, self.conv, threshold=threshold)
            used = set()
            for L in truth:
                d = [np.hypot(*(face_centre(f.landmarks)-face_centre(L)))/face_size(L) if i not in used else 9 for i, f in enumerate(found)]
                faces += 1
                if d and min(d) <= .15:
                    i = int(np.argmin(d)); used.add(i); hit += 1; scores.append(found[i].score)
                    e = warp_points(self.conv.points(self.size)[:1], invert(found[i].M))[0]
                    eyes.append(np.hypot(*(e-eye_mouth(np.c_[L[:, :2]])[0]))/face_size(L))
            false += len(found)-len(used)
        n = max(len(photos), 1)
        say(f'   {what}: {hit} of {faces} found ({hit/max(faces, 1):.1%}), {false} finds elsewhere; median score of the found {np.median(scores) if scores else 0:.2f}, median error of the eye centre '
            f'{np.median(eyes) if eyes else np.nan:.3f} of the face; {(self.see.forwards-f0)/n:.0f} forwards and {(time.time()-t0)/n:.1f} s a photo')

    def turned(self, what, photos):
        "Photos that lie: found where their face is, found elsewhere, or refused"
        place, n = Placer(self.net, 128, LIGHTCNN, finder=(self.net, self.size, self.conv)), Counter()
        with patch('facecomp.place.fan_files', lambda *a: [Path('none')]):
            for i, (q, truth) in enumerate(photos):
                k, (H, W) = 1+i % 3, q.shape[:2]
                at = {1: lambda p: (p[1], W-1-p[0]), 2: lambda p: (W-1-p[0], H-1-p[1]), 3: lambda p: (H-1-p[1], p[0])}[k]                # of a point in the photo once it lies
                try: found = place.place(np.ascontiguousarray(np.rot90(q, k)), see=self.see)
                except NoFaceError: n['refused'] += 1; continue
                off = [np.hypot(*(face_centre(l)-at(face_centre(L))))/face_size(L) for _, l, *_ in found if l is not None for L in truth]
                n['found' if off and min(off) <= .15 else 'found elsewhere'] += 1
        say(f'   {what}: '+', '.join(f'{v} of {len(photos)} {k}' for k, v in n.most_common()))

    def squares(self, what, pics):
        "What becomes of small squares that nobody says anything about"
        place, n = Placer(self.net, 128, LIGHTCNN, finder=(self.net, self.size, self.conv)), Counter()
        with patch('facecomp.place.fan_files', lambda *a: [Path('none')]):                      # without face-alignment
            for x in pics:
                said = []
                try: found = place.place(np.ascontiguousarray(x), see=self.see, said=said); n[('guessed' if said else 'in place') if found[0][2] == 'crop' else 'found turned' if said else 'found elsewhere'] += 1
                except NoFaceError: n['refused'] += 1
        say(f'   {what}: '+', '.join(f'{v} of {len(pics)} {k}' for k, v in n.most_common()))


def main(argv=None):
    p = argparse.ArgumentParser(description='Measure finding and aligning by the field.')
    p.add_argument('--data', help='folder with data/ and weights/; FACECOMP_DATA by default')
    p.add_argument('--weights', default=ASSETS/'finder.safetensors', help='weights to measure')
    p.add_argument('--threshold', type=float, help='least score; as find_faces has it by default')
    p.add_argument('--steps', type=int, default=4, help='looks at each start')
    for k, n in dict(utkface=1000, portraits=30, masked=181, empty=100, squares=250).items(): p.add_argument(f'--{k}', type=int, default=n)
    a = p.parse_args(argv)
    torch.set_num_threads(1); cv2.setNumThreads(1)
    root = Path(a.data) if a.data else data_root()
    if not root: sys.exit('measure_find: it needs photos: --data or FACECOMP_DATA')
    b, truth, data = Bench(a.weights), Truth(root/'weights'), root/'data'
    say(f"1  whole photos, least score {a.threshold or 'by default'}")
    if a.portraits:
        pics = [read_picture(f) for f in sorted((data/'portraits_cc0').iterdir())[:a.portraits]]
        marks = [[truth.landmarks(q, x) for x in truth.boxes(q)[:1]] for q in pics]
        b.whole(f'portraits_cc0 ({len(pics)})', list(zip(pics, marks)), a.threshold)
        worn = [(occlude(q, L[0], TEST_MASKS[i % 9], rng_for(i))[0], L) if L else (q, L) for i, (q, L) in enumerate(zip(pics, marks))]
        b.whole('the same, under our masks', worn, a.threshold)
        b.whole('those without colour', [(np.repeat(cv2.cvtColor(q, cv2.COLOR_RGB2GRAY)[..., None], 3, 2), L) for q, L in worn], a.threshold)
        b.whole('those on their head, as they lie', [(np.ascontiguousarray(q[::-1, ::-1]), []) for q, _ in worn], a.threshold)
        b.turned('those turned by 90°, 180° and 270°, the finder turning them', worn)
    if a.masked or a.empty:
        with np.load(data/'masked_real_3d.npz') as d: names, L = [str(n) for n in d['name']], d['landmarks68'].astype(np.float64)
        files = {f.name: f for f in (data/'masked_real').iterdir()} | {f.stem: f for f in (data/'masked_real').iterdir()}
        step = max(1, len(names)//max(a.masked, 1))
        if a.masked: b.whole(f'masked_real (every {step}.)', [(read_picture(files[n]), [l]) for n, l in list(zip(names, L))[::step][:a.masked]], a.threshold)
    if a.empty:
        crops, rng = [], rng_for(5)
        sources = [(read_picture(f), None) for f in sorted((data/'portraits_cc0').iterdir())[:30]]
        sources = [(q, truth.boxes(q)) for q, _ in sources]
        for _ in range(5000):
            if len(crops) == a.empty: break
            q, boxes = sources[rng.integers(len(sources))]
            s = int(rng.integers(120, 260)); x, y = rng.integers(0, q.shape[1]-s), rng.integers(0, q.shape[0]-s)
            if any(x < bx+bw*1.1 and x+s > bx-.1*bw and y < by+bh*1.1 and y+s > by-.1*bh for bx, by, bw, bh in boxes): continue
            c = q[y:y+s, x:x+s]
            if c.std() > 8: crops.append((c, []))                                           # plain walls are too easy
        b.whole(f'{len(crops)} crops without a face', crops, a.threshold)
        if a.squares: b.squares('the same', [c for c, _ in crops])
    if a.squares:
        recs = [r for r in read_set('utkface', data) if r['split'] == 'test']
        for kind in (TEST_MASKS[1], *L2SFO[2:], 'patch'):
            pics = []
            for i in np.linspace(0, len(recs)-1, a.squares).astype(int):
                L = np.asarray(recs[i]['landmarks'], np.float64); M = similarity(L, LIGHTCNN, 128)
                pics.append(occlude(warp_picture(read_picture(recs[i]['path']), M, 128)[0], warp_points(L, M), kind, rng_for(0, i))[0])
            b.squares(f'aligned crops, {kind}', pics)
    if not a.utkface: return
    say(f'2  starts shifted by up to 20 %, scaled 0.7-1.4, turned by up to 30°: error of eye and mouth centre over face size after {a.steps} looks')
    recs = [r for r in read_set('utkface', data) if r['split'] == 'test']
    recs = [recs[i] for i in np.linspace(0, len(recs)-1, a.utkface).astype(int)]
    err = {'start': [], 'field': [], 'YuNet, box': [], 'YuNet and field': []}
    for i, r in enumerate(recs):
        rng, L = rng_for(11, i), np.asarray(r['landmarks'], np.float64)
        x, _ = occlude(read_picture(r['path']), L, TEST_MASKS[i % 9], rng)
        off = lambda M: np.linalg.norm(warp_points(b.conv.points(b.size), invert(M))-np.stack(eye_mouth(L)), axis=1).mean()/face_size(L)
        M0 = nudge(similarity(L, b.conv, b.size), b.size, (*rng.uniform(-.2, .2, 2), rng.uniform(.7, 1.4), rng.uniform(-30, 30)))
        err['start'].append(off(M0))
        err['field'].append(off(settle(b.see, x, M0[None], b.size, b.conv, a.steps)[0][0]))
        box = truth.boxes(cv2.copyMakeBorder(x, 60, 60, 60, 60, cv2.BORDER_CONSTANT))
        if len(box):
            M1 = of_box(box[0]-[60, 60, 0, 0], b.conv, b.size)
            err['YuNet, box'].append(off(M1))
            err['YuNet and field'].append(off(settle(b.see, x, M1[None], b.size, b.conv, a.steps)[0][0]))
    for k, e in err.items():
        e = np.array(e)
        say(f'   {k:16} {len(e)} faces, mean {e.mean():.3f}, median {np.median(e):.3f}, at most 5 %: {(e <= .05).sum()/len(recs):.1%}')


if __name__ == '__main__': main()
