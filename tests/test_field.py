"Dense fields from outside: fits against exact answers, the field store made, broken off, resumed; on real faces against 3DDFA's parameters."
import csv, importlib.util, json, os, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pytest, torch
from facecomp.align import similarity
from facecomp.core import FacecompError
from facecomp.head import LANDMARK_UV, MIRROR
from facecomp.faces import procedural_face
from facecomp.field import FaceModel, bfm_fields, draw_fields, embedded_model, field_pyramid, load_bfm, unroll
from facecomp.fit import fields_from_landmarks, fit_landmarks
from facecomp.mesh import rasterize
from facecomp.photos import FORMAT
from facecomp.prepared import PreparedFaces, mirror_field
from facecomp.samples import TrainFaces
from PIL import Image

SCRIPTS = Path(__file__).resolve().parent.parent/'data_scripts'

def script(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS/f'{name}.py'); m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m); return m

def compare(C, mask, C0, mask0):
    both = mask & mask0
    return (np.abs(C-C0).mean(1)*both).sum((1, 2))/both.sum((1, 2)), both.sum((1, 2))/(mask | mask0).sum((1, 2))

@pytest.fixture(scope='module')
def faces(): return [procedural_face(900+i, yaw=y) for i, y in enumerate(np.linspace(-60, 60, 13))]

# ---- the fit ----

@pytest.mark.parametrize('modes', [20, 0])
@pytest.mark.parametrize('d', [2, 3])
def test_procedural_faces_from_landmarks(faces, modes, d):
    L, C0, m0 = (np.stack([getattr(f, k) for f in faces]) for k in ('landmarks', 'C', 'valid'))
    f = fields_from_landmarks(L[..., :d], model=embedded_model(modes)); err, iou = compare(f.C, f.mask, C0, m0)
    assert err.mean() < (.001 if modes else .006) and iou.mean() > .89 and not f.fit.bad.any()
    assert ((f.C == 0).all(1) | f.mask).all() and 0 <= f.C.min() and f.C.max() <= 1 and (np.isfinite(f.depth) == f.mask).all()
    assert np.abs(f.fit.yaw-np.linspace(-60, 60, 13)).max() < 6

def test_a_batch_is_its_faces(faces):
    L = np.concatenate([np.stack([f.landmarks for f in faces])]*11); many = fit_landmarks(embedded_model(), L)           # more than one block
    assert len(many) == 143 and len(many.why) == 143
    one = fit_landmarks(embedded_model(), L[5:6]); np.testing.assert_allclose(many.vertices(embedded_model())[5], one.vertices(embedded_model())[0], atol=.02)

def test_size_and_place_do_not_matter(faces):
    L = np.stack([f.landmarks for f in faces[::3]]).astype(float); m = embedded_model(); a = fit_landmarks(m, L).vertices(m)
    for s, t in ((.25, -500), (7, 3000)): np.testing.assert_allclose((fit_landmarks(m, L*s+t).vertices(m)-t)/s, a, atol=.02)

def test_wrong_points_are_not_followed(faces):
    f, rng = faces[6], np.random.default_rng(0); L = f.landmarks.astype(float); size = np.sqrt(np.ptp(L[:, :2], axis=0).prod()); m = embedded_model()
    for _ in range(5):
        bad = L.copy(); hit = rng.choice(np.delete(np.arange(68), 44), 5, False); bad[hit, :2] += .2*size; fit = fit_landmarks(m, bad[None])
        assert fit.weight[0, hit].max() < .05 and np.abs(fit.vertices(m)[0, m.landmarks]-L)[:, :2].max() < .03*size

def test_missing_points(faces):
    L = faces[7].landmarks.astype(float); some = L.copy(); some[:17] = np.nan; some[50:, 2] = np.nan
    fit = fit_landmarks(embedded_model(), some[None]); assert not fit.bad.any() and (fit.weight[0, :17] == 0).all()
    assert np.abs(fit.vertices(embedded_model())[0, embedded_model().landmarks[17:]]-L[17:])[:, :2].max() < 1.5
    assert fit_landmarks(embedded_model(), L[None]*np.nan).bad.all()

@pytest.mark.parametrize('junk', ['noise', 'upside down', 'swapped', 'zeros', 'huge'])
def test_bad_fits_say_so(junk):
    L = procedural_face(3).landmarks.astype(float)
    L = dict(noise=np.random.default_rng(1).uniform(0, 128, (68, 3)), swapped=L[MIRROR], zeros=L*0, huge=L*1e200)[junk] if junk != 'upside down' else L[::-1]
    fit = fit_landmarks(embedded_model(), L[None]); assert fit.bad[0] and len(fit.why[0]) > 8

def test_vertices_are_the_formula(faces):
    m = embedded_model(); f = fit_landmarks(m, np.stack([q.landmarks for q in faces[:2]])); M = similarity(faces[0].landmarks*1.3, 'wide', 200)
    X = m.mean + (m.basis.astype(float) @ f.coef[1]).reshape(-1, 3); V = X @ f.A[1].T + f.t[1] + m.warp.astype(float) @ f.pull[1]
    np.testing.assert_allclose(f.vertices(m)[1], V, atol=1e-3)
    moved = f.vertices(m, np.stack([M, M]))[1]; np.testing.assert_allclose(moved[:, :2], V[:, :2] @ M[:, :2].T + M[:, 2], atol=1e-3)
    np.testing.assert_allclose(moved[:, 2], V[:, 2]*np.sqrt(np.linalg.det(M[:, :2])), atol=1e-3)

def test_noise_leans_on_the_prior(faces):
    "With noisy landmarks coefficients stay within their prior; and it matters where the prior's mean is"
    rng = np.random.default_rng(0); m = embedded_model(); L = np.stack([f.landmarks for f in faces]); L = L + rng.normal(size=L.shape)*5
    z = fit_landmarks(m, L, max_noise=1).coef/m.prior_std; assert .1 < np.sqrt((z**2).mean()) < 1
    other = FaceModel(m.mean, m.basis, m.tris, m.uv, m.landmarks, np.ones(20), m.prior_std*1e-3, m.warp)
    np.testing.assert_allclose(fit_landmarks(other, L).coef, 1, atol=.02)

def test_mirrored_landmarks_give_the_mirrored_field(faces):
    L = np.stack([f.landmarks for f in faces[3:10]]).astype(float); a, b = fields_from_landmarks(L), fields_from_landmarks(L[:, MIRROR]*[-1, 1, 1] + [127, 0, 0])
    want = mirror_field(torch.from_numpy(a.C), torch.from_numpy(a.mask)[:, None].float()).numpy(); err, iou = compare(b.C, b.mask, want, a.mask[..., ::-1])
    assert err.max() < 1e-3 and iou.min() > .98

def test_pulled_surface_meets_its_landmarks():
    "A face that no direction of the head reaches: the nose to the side"
    L = procedural_face(3, yaw=0).landmarks.astype(float); L[27:36, 0] += 6; m = embedded_model(0); V = fit_landmarks(m, L[None], reach=50).vertices(m)[0]
    off = np.abs(V[m.landmarks]-L)[:, :2]; assert np.delete(off, 44, 0).mean() < .6
    C, mask, _ = draw_fields(m, V[None], 128); x, y = np.rint(L[28, :2]).astype(int); assert np.abs(C[0, :, y, x]-LANDMARK_UV[28]).max() < .03

def test_pyramid_does_not_bleed():
    C, mask = torch.full((1, 2, 32, 32), .8), torch.zeros(1, 1, 32, 32); mask[..., 5:27, 5:27] = 1
    for c, m in field_pyramid(C*mask, mask, (32, 16, 8, 4)): assert ((c == 0) | ((c-.8).abs() < 1e-6)).all() and ((c[:, :1] > 0) == (m > 0)).all()

def test_unrolled_features_lie_where_every_face_has_them():
    "The dark of the pupils, of six faces in six poses, at one (u,v)"
    m = embedded_model()
    for s, yaw in enumerate((0, 10, -10, 20, -20, 5)):
        f = procedural_face(40+s, 256, yaw=yaw, expression={}); V = fit_landmarks(m, f.landmarks[None]).vertices(m)[0]; tex, seen = unroll(f.picture, m, V, 256)
        grey = tex.mean(-1) + 300*~seen; eye = grey[80:97, 76:108]; y, x = np.unravel_index(np.argmin(eye), eye.shape)       # around (.36, .655)
        assert abs((76+x)/255-.36) < .03 and abs(1-(80+y)/255-.655) < .025

# ---- the rasteriser, where it can break ----

def test_far_and_broken_corners_draw_nothing_wrong():
    V = np.array([[[2, 2, 0], [1e30, 2, 0], [2, 1e30, 0], [np.nan, 1, 0], [30, 30, np.inf], [2, 2, 0]]])
    for t in ([0, 1, 2], [0, 2, 1], [0, 3, 1], [0, 5, 1]): rasterize(V, [t], np.ones((6, 1)), (16, 16), cull='none')
    assert rasterize(V, [[0, 1, 2]], np.ones((6, 1)), (16, 16), cull='none')[1][0, 3:, 3:].all()

# ---- make_uv ----

def write_set(out, n=130, size=32, bad=()):
    "A prepared set of procedural faces; landmarks of the faces in `bad` are noise"
    (out/'pictures').mkdir(parents=True); L = []
    for i in range(n):
        f = procedural_face(i % 20, size, yaw=(i % 7-3)*8); L.append(f.landmarks if i not in bad else np.random.default_rng(i).uniform(0, size, (68, 3)).astype(np.float32))
        if i < 8: Image.fromarray(np.dstack([f.picture, np.full((size, size), 255, np.uint8)])).save(out/'pictures'/f'{i:03}.png')
    (out/'set.json').write_text(json.dumps(dict(format=FORMAT, set='folder', convention=dict(name='lightcnn', eye_row=40, eye_mouth=48), size=size)))
    with (out/'manifest.csv').open('w') as f: f.write('file,identity,split,valid_share\n' + ''.join(f'{i:03}.png,,{"train" if i % 2 == 0 else "test"},1\n' for i in range(n)))
    np.savez(out/'landmarks.npz', name=np.array([f'{i:03}.png' for i in range(n)]), landmarks68=np.stack(L), M=np.tile(np.eye(2, 3), (n, 1, 1)))
    return out

def stored(out): return {f: (out/f).read_bytes() for f in ('fields.npy', 'fields_ok.npy', 'uv_report.csv')} | {k: v.tobytes() for k, v in np.load(out/'fits.npz').items()}

def test_make_uv_leaves_bad_faces_out(tmp_path):
    out = write_set(tmp_path/'set', bad=(2, 3)); r = script('make_uv').make_uv(out, jobs=1, progress=False)
    assert r['faces'] == 130 and r['left_out'] == 2 and not (out/'fields.part').exists()
    rows = list(csv.reader((out/'uv_report.csv').open())); assert [x[0] for x in rows[1:]] == ['002.png', '003.png'] and all(len(x[1]) > 10 for x in rows[1:])
    train = PreparedFaces(out, 'train'); C, m = train.field(0); f = procedural_face(0, 32, yaw=-24); both = (m > 0) & f.valid
    assert np.abs(C-f.C).mean(0)[both].mean() < .003 and both.sum() > .85*f.valid.sum() and train.field(1)[1].sum() == 0
    data = TrainFaces(train); assert len(train) == 65 and len(data) == 64 and data[0, 1]['index'] == 2 and data[0, 1]['face'].sum() > 0
    assert len(TrainFaces(train, fields=False)) == 65
    again = script('make_uv').make_uv(out, jobs=1, progress=False); assert again['already'] and again['left_out'] == 2

def test_make_uv_killed_and_resumed(tmp_path):
    whole, broken = write_set(tmp_path/'a', 400), write_set(tmp_path/'b', 400)
    script('make_uv').make_uv(whole, jobs=1, progress=False)
    run = subprocess.Popen([sys.executable, SCRIPTS/'make_uv.py', broken, '--jobs', '2'], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    t = time.time()
    while run.poll() is None and not list(broken.glob('fields.part/[0-9]*.json')) and time.time()-t < 120: time.sleep(.01)
    run.send_signal(signal.SIGKILL); run.wait()
    if not (broken/'fields.npy').exists():
        np.lib.format.open_memmap(broken/'fields.part'/'codes.npy', 'r+')[384:] = 7                   # half-written chunk that was not logged
        (broken/'fields.part'/'384.json').unlink(missing_ok=True)
        assert PreparedFaces(broken).fields is None                                                  # a half-made store is none
    done = subprocess.run([sys.executable, SCRIPTS/'make_uv.py', broken, '--jobs', '2'], capture_output=True, text=True, check=True)
    assert '400 faces, 0 of them left out' in done.stdout and stored(whole) == stored(broken)

def test_make_uv_broken_off_at_the_end(tmp_path):
    "The fields are in place already, the rest is not: made again, not stuck"
    out = write_set(tmp_path/'set', 70); make = lambda: script('make_uv').make_uv(out, jobs=1, progress=False); make(); before = stored(out); part = out/'fields.part'
    part.mkdir(); (part/'head.json').write_text((out/'uv.json').read_text()); np.save(part/'fits.npy', np.zeros(1)); (out/'uv.json').unlink()
    make(); assert stored(out) == before and not part.exists()

def test_fields_of_fewer_faces(tmp_path):
    "A set that grew after its fields were made"
    out = write_set(tmp_path/'set', 8); np.save(out/'fields.npy', np.ones((5, 2, 32, 32), np.uint16)); faces = PreparedFaces(out)
    assert faces.has_field.tolist() == [True]*5+[False]*3 and faces.field(4)[1].all()
    with pytest.raises(FacecompError, match='first 5 of 8'): faces.field(5)

def test_make_uv_begins_anew_when_something_changed(tmp_path):
    out = write_set(tmp_path/'set', 70); script('make_uv').make_uv(out, jobs=1, progress=False); before = stored(out)
    with np.load(out/'landmarks.npz') as d: arrays = dict(d)
    arrays['landmarks68'] = arrays['landmarks68'] + np.float32([1, 0, 0]); np.savez(out/'landmarks.npz', **arrays)
    r = script('make_uv').make_uv(out, jobs=1, progress=False); assert not r['already'] and stored(out)['fields.npy'] != before['fields.npy']

@pytest.mark.parametrize('args,says', [(['--bfm', 'x.pkl'], 'belong together'), (['--given'], '--given'), (['--bfm', 'none.pkl', '--tri', 'none.pkl'], "Can't read none.pkl")])
def test_make_uv_explains(tmp_path, args, says, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as e: script('make_uv').main([str(write_set(tmp_path/'set', 3)), *args])
    assert says.replace('none.pkl', 'none.pkl') in str(e.value).replace(str(tmp_path)+os.sep, '')

def test_make_uv_wants_a_prepared_set(tmp_path):
    with pytest.raises(SystemExit) as e: script('make_uv').main([str(tmp_path)])
    assert 'no prepared set' in str(e.value)

@pytest.mark.parametrize('name', ['make_uv', 'bench_field', 'measure_field'])
def test_help(name): assert 'usage' in subprocess.run([sys.executable, SCRIPTS/f'{name}.py', '--help'], capture_output=True, text=True, check=True).stdout

# ---- real faces ----

@pytest.fixture(scope='module')
def real(data_root):
    w = data_root/'weights'; bfm = load_bfm(w/'bfm_noneck_v3.pkl', w/'tri.pkl', w/'param_mean_std_62d_120x120.pkl')
    with np.load(data_root/'data'/'utkface_3d.npz') as d: L, params, roi = (d[k][5::200].astype(np.float64) for k in ('landmarks68', 'params62', 'roi'))
    M = np.stack([similarity(l) for l in L]); return bfm, L, M, *bfm_fields(bfm, params, roi, M, 128)

@pytest.mark.parametrize('d', [2, 3])
@pytest.mark.parametrize('spoilt', [False, True])
def test_bfm_fit_on_real_faces(real, d, spoilt):
    bfm, L, M, C0, m0 = real; rng = np.random.default_rng(0); L = L.copy(); size = np.sqrt(np.ptp(L[..., :2], axis=1).prod(1))
    if spoilt:
        L += rng.normal(size=L.shape)*.015*size[:, None, None]
        for l, s in zip(L, size): a = rng.uniform(0, 7, 5); l[rng.choice(68, 5, False), :2] += .15*s*np.stack([np.cos(a), np.sin(a)], 1)
    f = fields_from_landmarks(L[..., :d], M, model=bfm); err, iou = compare(f.C, f.mask, C0, m0); assert not f.fit.bad.any()
    assert err.mean() < (.015 if spoilt else .002) and iou.mean() > (.95 if spoilt else .985)
    assert np.median(f.fit.noise) < .002 or (spoilt and .012 < np.median(f.fit.noise) < .018)

def test_embedded_model_is_near_bfm(real):
    _, L, M, C0, m0 = real
    for d in (2, 3): f = fields_from_landmarks(L[..., :d], M); err, iou = compare(f.C, f.mask, C0, m0); assert err.mean() < .01 and iou.mean() > .94

def test_built_in_prior_is_the_files(real, data_root):
    w = data_root/'weights'; a = load_bfm(w/'bfm_noneck_v3.pkl', w/'tri.pkl'); f = fields_from_landmarks(real[1][:20], real[2][:20], model=a)
    err, iou = compare(f.C, f.mask, real[3][:20], real[4][:20]); assert err.mean() < .002 and iou.mean() > .985 and isinstance(a, FaceModel)
