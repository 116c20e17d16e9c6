"""How exact the dense fields are: every figure that is claimed for them, in one run.

    python data_scripts/measure_field.py --data DATA --n 2000 [--sheet sheet.jpg] [--set prepared/utkface --copy scratch]

--data (default FACECOMP_DATA) has data/ and weights/ with the Basel Face Model; without it only the first two parts run. --set: a whole prepared set, of which a copy
with linked pictures gets its fields made twice, once killed in the middle; by default 600 faces prepared for the purpose.
"""
import argparse, hashlib, os, shutil, signal, subprocess, sys, tempfile, time
for _k in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS'): os.environ.setdefault(_k, '1')
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parent))
import numpy as np
import torch
from bench_field import main as bench
from facecomp.align import similarity, warp_picture, warp_points
from facecomp.core import data_root, read_picture, write_picture
from facecomp.head import MIRROR
from facecomp.faces import procedural_face
from facecomp.field import bfm_fields, embedded_model, load_bfm
from facecomp.fit import fields_from_landmarks, fit_landmarks
from facecomp.mesh import grid_triangles, rasterize
from facecomp.prepared import mirror_field
from facecomp.photos import prepare

BATCH, MARKS = 100, ('right eye', 'left eye', 'nose tip', 'right mouth corner', 'left mouth corner')


def say(*x):
    print(*x, flush=True)


def turn(yaw, pitch=0, roll=0):
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    return np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ [[1, 0, 0], [0, cp, sp], [0, -sp, cp]] @ [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]


def compare(C, mask, C0, mask0):
    "Mean |Δ(u,v)| over pixels that both call face, and IoU, of each face"
    both = mask & mask0
    return (np.abs(C-C0).mean(1)*both).sum((1, 2))/np.maximum(both.sum((1, 2)), 1), both.sum((1, 2))/np.maximum((mask | mask0).sum((1, 2)), 1)


def line(what, err, iou):
    say(f'   {what:58} mean |Δ| {np.mean(err):.5f} (95 % of faces below {np.quantile(err, .95):.5f})   IoU {np.mean(iou):.4f} (worst {np.min(iou):.3f})')


def read(C, mask, pts, depth=None, z=None, jump=3., slack=.25):
    """C at points (N,2), bilinear, NaN where not all four pixels are face. With depths only where the point's own surface is seen: no pixel is `jump` pixels
    nearer or farther, and the depth there is the point's to `slack` pixels (closed lips overlap: what is seen at an inner point may be the other lip)"""
    S, p = C.shape[-1], np.asarray(pts, float)
    ok = np.isfinite(p).all(1) & (p >= 0).all(1) & (p < S-1).all(1)
    p = np.where(ok[:, None], p, 0)
    i, j = p.astype(int).T
    a, b = (p-np.stack([i, j], 1)).T
    out = deep = 0
    for dx, dy, w in ((0, 0, (1-a)*(1-b)), (1, 0, a*(1-b)), (0, 1, (1-a)*b), (1, 1, a*b)):
        ok &= mask[j+dy, i+dx]
        if depth is not None:
            ok &= np.abs(depth[j+dy, i+dx]-z) < jump
            deep = deep + w*np.where(mask, depth, 0)[j+dy, i+dx]
        out = out + w*C[:, j+dy, i+dx]
    if depth is not None:
        ok &= np.abs(deep-z) < slack
    return np.where(ok, out, np.nan).T


def closed_form():
    say('1  closed form')
    lat, lon = np.meshgrid(np.linspace(np.pi/2, -np.pi/2, 241), np.linspace(-np.pi, np.pi, 481), indexing='ij')
    ball = np.stack([np.cos(lat)*np.sin(lon), np.sin(lat), np.cos(lat)*np.cos(lon)], -1).reshape(-1, 3)
    tube = np.stack([np.sin(lon), lat/np.pi*2, np.cos(lon)], -1).reshape(-1, 3)
    uv = np.stack([(lon.ravel()+np.pi)/2/np.pi, (ball[:, 1]+1)/2], 1), np.stack([(lon.ravel()+np.pi)/2/np.pi, (tube[:, 1]+1)/2], 1)
    yy, xx = (np.mgrid[:128, :128]-63.5)/50
    for what, X, attr in (('sphere', ball, uv[0]), ('cylinder', tube, uv[1])):
        worst = 0
        for angles in ((0, 0, 0), (35, 0, 0), (-40, 20, 15)) if what == 'sphere' else ((0,), (30,), (-60,), (85,)):
            R = turn(*angles)
            (C,), (mask,), _ = rasterize(((X @ R.T)*[50, -50, 50]+[63.5, 63.5, 0])[None], grid_triangles(241, 481), attr, (128, 128))
            if what == 'sphere':
                P = np.stack([xx, -yy, np.sqrt(np.maximum(1-xx**2-yy**2, 0))], -1) @ R
                inner = (xx**2+yy**2 < .9**2) & (np.abs(P[..., 1]) < .95) & (P[..., 2] > -.9)
            else:
                P = np.stack([xx, -yy, np.sqrt(np.maximum(1-xx**2, 0))], -1) @ R
                inner = (np.abs(xx) < .9) & (np.abs(yy) < .95) & ((P[..., 2] > -.95) | (np.abs(P[..., 0]) > .3))
            want = np.stack([(np.arctan2(P[..., 0], P[..., 2])+np.pi)/2/np.pi, (P[..., 1]+1)/2])
            worst = max(worst, np.abs(C-want)[:, inner & mask].max())
        say(f'   {what}: largest |Δ(u,v)| {worst:.1e} away from silhouettes')
    faces = [procedural_face(500+i, yaw=y) for i, y in enumerate(np.linspace(-60, 60, 100))]
    L, C0, m0 = (np.stack([getattr(f, k) for f in faces]) for k in ('landmarks', 'C', 'valid'))
    for k in (20, 0):
        for d in (3, 2):
            f = fields_from_landmarks(L[..., :d], model=embedded_model(k))
            line(f"100 procedural faces, yaw to 60°, {d}D, {'directions and spline' if k else 'spline alone'}", *compare(f.C, f.mask, C0, m0))


def spoil(L, seed):
    "Noise of 1.5 % of the face's size, 5 of 68 displaced by 15 %"
    rng, L = np.random.default_rng(seed), L.copy()
    size = np.sqrt(np.ptp(L[:, :2], axis=0).prod())
    L += rng.normal(size=L.shape)*.015*size
    a = rng.uniform(0, 2*np.pi, 5)
    L[rng.choice(68, 5, False), :2] += .15*size*np.stack([np.cos(a), np.sin(a)], 1)
    return L


def reference(n=1000, size=24):
    """The rasteriser against all pixels asked about all triangles in float64. Half of the meshes are nets with shared edges, half loose triangles, some without
    area; half lie on quarters of a pixel, so that pixels fall on edges: these go to the triangle that owns them when all pixels move by a hair right and down"""
    rng, yy, xx = np.random.default_rng(1), *np.mgrid[:size, :size].astype(float)
    wrong = edges = flat = 0
    worst = 0.
    for k in range(n):
        if k % 2:
            g = np.linspace(0, size, 5)
            V = np.concatenate([np.stack(np.meshgrid(g, g), -1).reshape(-1, 2)+rng.normal(0, 1.2, (25, 2)), rng.uniform(0, 9, (25, 1))], 1)
            T = rng.permutation(grid_triangles(5, 5))
        else:
            V, T = rng.uniform(-5, size+5, (12, 3)), rng.integers(0, 12, (9, 3))
        hair = 1e-5 if k % 4 < 2 else 0
        if hair:
            V[:, :2] = np.round(V[:, :2]*4)/4
        A = rng.random((len(V), 2))
        best, out = np.full((size, size), -np.inf), np.zeros((2, size, size))
        for t in T:
            P, Q, S = V[t], V[np.roll(t, -1)], V[np.roll(t, -2)]
            area = (P[1, 0]-P[0, 0])*(P[2, 1]-P[0, 1])-(P[1, 1]-P[0, 1])*(P[2, 0]-P[0, 0])
            flat += area == 0
            if area == 0:
                continue
            W, H = (np.stack([(s[0]-q[0])*(yy+h*h-q[1])-(s[1]-q[1])*(xx+h-q[0]) for q, s in zip(Q, S)])/area for h in (0, hair))
            z = np.einsum('iyx,i->yx', W, P[:, 2])
            win = (H > 0).all(0) & (z > best)
            edges += ((W == 0).any(0) & (W >= 0).all(0)).sum()
            best[win], out[:, win] = z[win], np.einsum('iyx,ic->cyx', W, A[t])[:, win]
        (got,), (mask,), _ = rasterize(V[None], T, A, (size, size), cull='none')
        wrong += (mask != np.isfinite(best)).sum()
        worst = max(worst, np.abs(got-out).max())
    say(f'2  {n} random meshes against a float64 reference: {wrong} pixels covered otherwise, largest |Δ| {worst:.1e} ({edges} times a pixel on an edge, {flat} '
        'triangles without area). Times, by bench_field.py:')


def photos(root, n):
    "Figures 3 and 4"
    w = root/'weights'
    bfm = load_bfm(w/'bfm_noneck_v3.pkl', w/'tri.pkl', w/'param_mean_std_62d_120x120.pkl')
    with np.load(root/'data'/'utkface_3d.npz') as d:
        pick = np.linspace(0, len(d['name'])-1, n).astype(int)
        L, L5, params, roi = (d[k][pick].astype(np.float64) for k in ('landmarks68', 'landmarks5', 'params62', 'roi'))
    M = np.stack([similarity(l) for l in L])
    noisy = np.stack([spoil(l, i) for i, l in enumerate(L)])
    ways = {('BFM', d, k): [] for k in ('exact', 'spoiled') for d in (3, 2)} | {('embedded', d, 'exact'): [] for d in (3, 2)}
    at5, at68, mirrored, bad = [], [], [], {k: 0 for k in ways}
    for a in range(0, n, BATCH):
        s = slice(a, a+BATCH)
        C0, m0 = bfm_fields(bfm, params[s], roi[s], M[s], 128)
        for key in ways:
            model, d, how = key
            m = bfm if model == 'BFM' else embedded_model()
            f = fields_from_landmarks((noisy if how == 'spoiled' else L)[s, :, :d], M[s], model=m)
            bad[key] += f.fit.bad.sum()
            ways[key].append(np.stack(compare(f.C, f.mask, C0, m0), 1))
            if key == ('BFM', 3, 'exact'):
                V = f.fit.vertices(bfm, M[s])[:, bfm.landmarks]
                for C, mk, z, v, l5, T in zip(f.C, f.mask, f.depth, V, L5[s], M[s]):
                    at5.append(read(C, mk, warp_points(l5, T)))
                    at68.append(read(C, mk, v[:, :2], z, v[:, 2]))
                A = np.stack([warp_points(l, T) for l, T in zip(L[s], M[s])])     # the mirrored photo, aligned
                g = fields_from_landmarks(A[:, MIRROR]*[-1, 1, 1]+[127, 0, 0], model=bfm)
                want = mirror_field(torch.from_numpy(f.C), torch.from_numpy(f.mask)[:, None].float()).numpy()
                mirrored.append(np.stack(compare(g.C, g.mask, want, f.mask[..., ::-1]), 1))
    say(f'3  {n} faces of utkface: fields of our fits against fields of the given parameters')
    for (model, d, how), v in ways.items():
        line(f'{model}, {d}D landmarks, {how} ({bad[model, d, how]} called bad)', *np.concatenate(v).T)
    at5, at68 = np.stack(at5), np.stack(at68)
    say(f"4  meaning, {n} faces: standard deviation of (u, v) read at YuNet's points")
    for k, name in enumerate(MARKS):
        r = at5[:, k][np.isfinite(at5[:, k, 0])]
        say(f'   {name:20} mean ({r[:, 0].mean():.3f}, {r[:, 1].mean():.3f})  std ({r[:, 0].std():.4f}, {r[:, 1].std():.4f}), together {np.sqrt(r.var(0).mean()):.4f}'
            f'   robust std ({", ".join(f"{1.4826*np.median(np.abs(x-np.median(x))):.4f}" for x in r.T)})   read in {len(r)/n:.1%}')
    seen = np.isfinite(at68[..., 0]).sum(0)
    std = np.array([np.sqrt(np.nanvar(at68[:, k], 0).mean()) if seen[k] >= 20 else np.nan for k in range(68)])
    order = np.argsort(-np.nan_to_num(std))[:5]
    say(f'   at the fitted landmarks, where their surface is seen ({seen.mean()/n:.0%} of all): mean std {np.nanmean(std):.5f}, largest {", ".join(f"{std[k]:.4f} (no. {k}, seen {seen[k]}×)" for k in order)}; '
        f'{(std <= .003).sum()} of the {np.isfinite(std).sum()} seen 20 times or more are within 0.003; off the mean face by {np.nanmean(np.abs(at68-bfm.uv[bfm.landmarks])):.5f} on average')
    line('mirrored photos: fit of the mirrored landmarks, (1-u, v) mirrored', *np.concatenate(mirrored).T)
    return bfm


def sheet(root, model, path, columns=10):
    "Photos with the lines of equal u and v laid over, sorted by yaw, mouth and at random; to be looked at and not to be published"
    rows = []
    for name, how in (('ffhq256', 'yaw'), ('utkface', 'yaw'), ('ffhq256', 'mouth'), ('utkface', 'mouth'), ('ffhq256', 'random'), ('utkface', 'random'), ('utkface', 'random2')):
        with np.load(root/'data'/f'{name}_3d.npz') as d:
            L, names = d['landmarks68'].astype(np.float64), d['name'].astype(str)
        if how == 'yaw':
            fit = fit_landmarks(model, L[::1 if len(L) < 3000 else 4])
            yaw, step = fit.yaw, 1 if len(L) < 3000 else 4
            near = np.where(np.abs(yaw) < 50, np.abs(yaw), 0)
            pick = np.argsort(-near)[::3][:columns]*step
        elif how == 'mouth':
            pick = np.argsort(-np.linalg.norm(L[:, 62, :2]-L[:, 66, :2], axis=1)/np.linalg.norm(L[:, 27, :2]-L[:, 8, :2], axis=1))[:columns*4:4]
        else:
            pick = np.random.default_rng(len(how)).choice(len(L), columns, False)
        row = []
        for i in pick:
            file = next(p for p in (root/'data'/name).glob(Path(names[i]).stem+'.*'))
            M = similarity(L[i], 'wide', 192)
            pic = warp_picture(read_picture(file), M, 192)[0]
            f = fields_from_landmarks(L[i], M, 192, model=model)
            C, m = f.C[0], f.mask[0]
            on = (np.abs((C*20) % 1 - .5) > .45).any(0) & m
            net = np.where(on[..., None], np.stack([40+200*C[0], 230*C[1], 200-170*C[0]], -1), pic)
            row.append(np.concatenate([pic, net.astype(np.uint8)], 0))
        rows.append(np.concatenate(row, 1))
    write_picture(path, np.concatenate(rows, 0))
    say(f'5  {path}: rows of photos over their lines of equal u and v, for looking at')


def digest(folder):
    return {f: hashlib.sha256((folder/f).read_bytes()).hexdigest()[:12] for f in ('fields.npy', 'fields_ok.npy', 'uv_report.csv')} | {
        k: hashlib.sha256(v.tobytes()).hexdigest()[:12] for k, v in np.load(folder/'fits.npz').items()}


def whole_set(root, src, scratch, jobs):
    "Figure 6: make_uv on copies of a set, one of them killed in the middle"
    src, scratch, script = Path(src), Path(scratch), Path(__file__).with_name('make_uv.py')
    w, out = root/'weights', {}
    cmd = [sys.executable, str(script), None, '--bfm', w/'bfm_noneck_v3.pkl', '--tri', w/'tri.pkl', '--prior', w/'param_mean_std_62d_120x120.pkl', '--jobs', str(jobs)]
    say(f'6  make_uv on {src.name}')
    for how in ('straight', 'killed'):
        to = scratch/how
        to.mkdir(parents=True)
        for f in ('landmarks.npz', 'manifest.csv', 'pictures', 'set.json'):
            (to/f).symlink_to((src/f).resolve())
        cmd[2] = to
        t = time.time()
        if how == 'killed':
            n = len(np.load(to/'landmarks.npz')['name'])
            run = subprocess.Popen(list(map(str, cmd)), stderr=subprocess.DEVNULL)
            while run.poll() is None and len(list(to.glob('fields.part/[0-9]*.json'))) < n//64//2:
                time.sleep(.05)
            run.send_signal(signal.SIGKILL)
            run.wait()
            say(f"   killed with {len(list(to.glob('fields.part/[0-9]*.json')))*64} of {n} faces done; fields.npy there: {(to/'fields.npy').exists()}")
        say('  ', subprocess.run(list(map(str, cmd)), capture_output=True, text=True, check=True).stdout.strip().splitlines()[0])
        say(f"   {time.time()-t:.0f} s in all; fits.npz {(to/'fits.npz').stat().st_size/1e6:.1f} MB, leftover parts: {(to/'fields.part').exists()}")
        out[how] = digest(to)
    say(f"   resumed equals straight, bit for bit: {out['straight'] == out['killed']}")


def main(argv=None):
    p = argparse.ArgumentParser(description='Measure the exactness of the dense fields.')
    p.add_argument('--data', help='folder with data/ and weights/; FACECOMP_DATA by default')
    p.add_argument('--n', type=int, default=2000, help='faces of utkface')
    p.add_argument('--sheet', help='write a sheet of photos with their fields here (not for publication)')
    p.add_argument('--set', help='a whole prepared set for the last part; by default 600 faces are prepared')
    p.add_argument('--copy', help='where the copies of that set go; a temporary folder by default')
    p.add_argument('--jobs', type=int, default=2, help='processes of make_uv')
    a = p.parse_args(argv)
    torch.set_num_threads(1)
    root = Path(a.data) if a.data else data_root()
    closed_form()
    reference()
    bench(['--data', str(root)] if root else [])
    if not root:
        return say('The rest needs photos and the Basel Face Model: --data or FACECOMP_DATA.')
    bfm = photos(root, a.n)
    if a.sheet:
        sheet(root, bfm, a.sheet)
    tmp = Path(a.copy or tempfile.mkdtemp())
    if not a.set:
        say(prepare('utkface', root/'data', tmp/'prepared', jobs=1, limit=600, progress=False))
    whole_set(root, a.set or tmp/'prepared', tmp/'uv', a.jobs)
    if not a.copy:
        shutil.rmtree(tmp)


if __name__ == '__main__':
    main()
