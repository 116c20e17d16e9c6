"A packed set travels: what comes out is what went in, trains, and survives kills and damage."
import csv
import importlib.util
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from facecomp.config import override, preset
from facecomp.core import FacecompError, write_picture
from facecomp.faces import procedural_face
from facecomp.field import draw_fields, embedded_model, load_bfm
from facecomp.fit import fit_landmarks
from facecomp.pack import decode_points, encode_points, pack, read_pack, unpack
from facecomp.prepared import PreparedFaces, encode_field
from facecomp.photos import prepare
from facecomp.trainer import train

N = 80


def script(root, name):
    spec = importlib.util.spec_from_file_location(f'script_{name}', root/'data_scripts'/f'{name}.py')
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    "80 photos at 64² (eight drawn faces, each under ten names): 4 test, 4 val, 72 train; fields of the embedded model, one fit marked bad"
    d = tmp_path_factory.mktemp('pack')
    faces = [procedural_face(s, size=96, aligned=False) for s in range(8)]
    names = [f'{k}_{i}.png' for k in range(10) for i in range(8)]
    for n in names:
        write_picture(d/'src'/n, faces[int(n[2])].picture)
    np.savez(d/'marks.npz', name=names, landmarks68=np.stack([faces[int(n[2])].landmarks for n in names]))
    prepare('folder', d/'src', d/'set', size=64, landmarks=d/'marks.npz', jobs=1, progress=False)
    with (d/'set'/'manifest.csv').open(newline='') as f:
        rows = list(csv.reader(f))
    for i, r in enumerate(rows[1:]):
        r[2] = 'test' if i < 4 else 'val' if i < 8 else 'train'
    with (d/'set'/'manifest.csv').open('w', newline='') as f:
        csv.writer(f).writerows(rows)
    model, marks = embedded_model(), np.load(d/'set'/'landmarks.npz')['landmarks68']
    fit = fit_landmarks(model, marks)
    C, on, _ = draw_fields(model, fit.vertices(model), 64)
    ok = np.arange(N) != 20
    np.save(d/'set'/'fields.npy', encode_field(C, on & ok[:, None, None]))
    np.save(d/'set'/'fields_ok.npy', ok)
    np.savez(d/'set'/'fits.npz', **{k: getattr(fit, k).astype(np.float32) for k in ('A', 't', 'coef', 'pull', 'noise')})
    return d/'set'


@pytest.fixture(scope='module')
def packed(prepared):
    pack(prepared, prepared.parent/'set.pack', embedded_model(), progress=False)
    return prepared.parent/'set.pack'


def test_round_trip_and_training(prepared, packed, tmp_path):
    unpack(packed, tmp_path/'set', progress=False)
    for split, n in (('train', 72), ('val', 4)):
        a, b = PreparedFaces(prepared, split), PreparedFaces(tmp_path/'set', split)
        assert len(a) == len(b) == n and a.rows == b.rows and a.convention == b.convention and (a.has_field == b.has_field).all()
        assert np.abs(a.landmarks-b.landmarks).max() <= 1/64+1e-6
        for i in range(0, n, 3):
            (p, v), (q, w) = a.picture(i), b.picture(i)
            assert (v == w).all() and np.square(p.astype(float)-q).mean() < 30
            (C, m), (D, k) = a.field(i), b.field(i)
            assert (m != k).mean() < .01 and (not m.any() or np.abs(C-D)[:, (m*k) > 0].mean() < 2e-3)
    with np.load(prepared/'fits.npz') as a, np.load(tmp_path/'set'/'fits.npz') as b:
        assert (a['A'][4:] == b['A']).all() and (a['coef'][4:] == b['coef']).all()
    with pytest.raises(FacecompError, match='no faces in split'):
        PreparedFaces(tmp_path/'set', 'test')
    res = train(override(preset('tiny'), ['steps=2', 'pretrain.steps=1', 'sheet_every=0', 'threads=1']), tmp_path/'set', tmp_path/'run', progress=False)
    assert res['step'] == 2 and res['bad'] == 0 and res['uv1'] > 0


def test_no_test_face_is_in_the_file(prepared, packed):
    head, members = read_pack(packed)
    assert head['faces'] == dict(val=4, train=72) and b'test' not in members['manifest.csv'] and b'0_0.png' not in members['manifest.csv']
    with pytest.raises(FacecompError, match='Test faces never'):
        pack(prepared, prepared.parent/'no.pack', splits=('test',))


def test_any_flipped_byte_of_the_content_is_found(packed, tmp_path):
    data, bad = packed.read_bytes(), tmp_path/'bad.pack'
    with zipfile.ZipFile(packed) as z:
        spots = [i.header_offset+30+len(i.filename)+i.compress_size//2 for i in z.infolist()]
    for at in spots+[len(data)-10]:
        bad.write_bytes(data[:at]+bytes([data[at] ^ 1])+data[at+1:])
        with pytest.raises(FacecompError, match='bad.pack'):
            unpack(bad, tmp_path/'never', progress=False)
    for n in (0, 10, len(data)//3, len(data)-1):
        bad.write_bytes(data[:n])
        with pytest.raises(FacecompError, match='bad.pack'):
            unpack(bad, tmp_path/'never', progress=False)
    assert not (tmp_path/'never').exists()


def test_a_failed_write_leaves_the_old_file(prepared, packed, monkeypatch, tmp_path):
    out = tmp_path/'set.pack'
    out.write_bytes(b'old')

    def full(*a, **kw):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(zipfile.ZipFile, 'writestr', full)
    with pytest.raises(FacecompError, match='No space left'):
        pack(prepared, out, progress=False)
    assert out.read_bytes() == b'old' and len(list(tmp_path.iterdir())) == 1


def test_unpacking_killed_and_resumed(packed, tmp_path, root):
    args = [sys.executable, str(root/'data_scripts'/'unpack.py'), str(packed), '-o']
    unpack(packed, tmp_path/'whole', progress=False)
    out = tmp_path/'cut'
    p, end = subprocess.Popen(args+[str(out), '--jobs', '1'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True), time.time()+60
    while time.time() < end and p.poll() is None and len(list((out/'pictures').glob('*.png')) if (out/'pictures').exists() else []) < 3:
        time.sleep(.001)
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    done = {f: f.stat().st_mtime_ns for f in (out/'pictures').glob('[!.]*.png')}
    assert 0 < len(done) < N-4 and not (out/'manifest.csv').exists(), 'the kill came too late to test anything'
    subprocess.run(args+[str(out)], check=True, capture_output=True)
    for f in sorted(p.relative_to(tmp_path/'whole') for p in (tmp_path/'whole').rglob('*') if p.is_file() and p.suffix != '.npz'):
        assert (out/f).read_bytes() == (tmp_path/'whole'/f).read_bytes(), f
    assert all(f.stat().st_mtime_ns == t for f, t in done.items())


def test_scripts(prepared, packed, root, tmp_path, capsys):
    script(root, 'pack').main([str(prepared), '-o', str(tmp_path/'a.pack')])
    assert (tmp_path/'a.pack').read_bytes() == packed.read_bytes() and '76 faces' in capsys.readouterr().out
    script(root, 'unpack').main([str(tmp_path/'a.pack'), '-o', str(tmp_path/'b')])
    assert len(PreparedFaces(tmp_path/'b')) == 76 and 'with dense fields' in capsys.readouterr().out
    for name, args in (('pack', [str(tmp_path/'none'), '-o', str(tmp_path/'c')]), ('pack', [str(prepared), '-o', str(tmp_path/'c'), '--quality', '500']), ('unpack', [str(prepared/'set.json'), '-o', str(tmp_path/'c')])):
        with pytest.raises(SystemExit, match=f'^{name}: '):
            script(root, name).main(args)


def test_points_keep_their_places():
    x = np.random.default_rng(0).uniform(-900, 900, (5, 68, 3))
    x[2, 7, 2] = np.nan
    y = decode_points(encode_points(x), (68, 3))
    assert y.shape == x.shape and np.isnan(y[2, 7, 2]) and np.isnan(y).sum() == 1 and np.nanmax(np.abs(x-y)) <= 1/64+1e-4


def test_fields_of_the_basel_model(data_root, tmp_path, root):
    "Twelve real photos: the coarse copy draws the same fields"
    w = data_root/'weights'
    prepare('utkface', next(p.parent for p in data_root.rglob('utkface_3d.npz')), tmp_path/'set', limit=12, jobs=1, progress=False)
    with (tmp_path/'set'/'manifest.csv').open(newline='') as f:
        rows = list(csv.reader(f))
    with (tmp_path/'set'/'manifest.csv').open('w', newline='') as f:
        csv.writer(f).writerows(rows[:1]+[r[:2]+['train']+r[3:] for r in rows[1:]])
    script(root, 'make_uv').make_uv(tmp_path/'set', w/'bfm_noneck_v3.pkl', w/'tri.pkl', jobs=1, progress=False)
    r = pack(tmp_path/'set', tmp_path/'set.pack', load_bfm(w/'bfm_noneck_v3.pkl', w/'tri.pkl'), progress=False)
    assert r['field_error'] < 5e-4 and r['face_iou'] > .995 and r['psnr'] > 35, r
