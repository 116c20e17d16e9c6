"""What a user meets: `FaceCompleter` and the command `facecomp-complete`, with good and with bad pictures."""
import os, subprocess, sys
import cv2, numpy as np, pytest, torch
from pathlib import Path
from PIL import Image
from facecomp.core import ASSETS, FacecompError, portrait, read_picture, rng_for, to_tensor, to_uint8, write_picture
from facecomp.align import LIGHTCNN, similarity, warp_picture, warp_points
from facecomp.occlude import occlude
from facecomp.daf import CompletionNet
from facecomp.config import config_from_dict
from facecomp.checkpoint import export_weights
from facecomp.photofile import read_photo
from facecomp.blend import feather, soft_hole
from facecomp.command import complete_main, plan_outputs
from facecomp.inference import FaceCompleter
from facecomp.place import NoFaceError

KINDS = 'surgical_blue', 'cloth_#333333', 'n95', 'surgical_green'

def masked(name='astronaut', kind='surgical_blue', size=256):
    photo, L = portrait(name)
    M = similarity(L, LIGHTCNN, size)
    return occlude(warp_picture(photo, M, size)[0], warp_points(L, M), kind, rng_for(0))

@pytest.fixture(scope='module')
def completer(): return FaceCompleter.from_pretrained(device='cpu')

@pytest.fixture(autouse=True)
def no_detector(tmp_path_factory, monkeypatch):
    "As on a machine without face-alignment's weight files"
    monkeypatch.setenv('TORCH_HOME', str(tmp_path_factory.mktemp('torch')))

@pytest.fixture
def cli(capsys):
    "Run the command in this process: exit code, what it said"
    def run(*args):
        try: complete_main([str(a) for a in args]); code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
            if isinstance(e.code, str): print(e.code)
        said = ''.join(capsys.readouterr())
        assert 'Traceback' not in said
        return code, said
    return run

def shell(*args, **env):
    "Run the command as a user does"
    code = 'import sys; from facecomp.command import complete_main as f; sys.argv[0] = "facecomp-complete"; sys.exit(f())'
    done = subprocess.run([sys.executable, '-c', code, *map(str, args)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, 'PYTHONWARNINGS': 'ignore', **env}, timeout=120)
    return done.returncode, done.stdout

# ---- the network in it ----

def test_mask_is_found_and_replaced(completer):
    "Blind: the mask is mostly replaced, and what is replaced gets nearer to the true face"
    for name in 'astronaut', 'grace_hopper':
        photo, L = portrait(name)
        truth = warp_picture(photo, similarity(L, LIGHTCNN, 256), 256)[0].astype(float)
        for kind in KINDS:
            x, alpha = masked(name, kind)
            res = completer.complete_full(x)
            assert res.hole[cv2.erode(alpha, np.ones((9, 9))) > .99].mean() > .7, (name, kind)
            err = lambda p: np.abs(p-truth)[alpha > .9].mean()
            assert err(res.picture) < .8*err(x), (name, kind)

def test_known_pixels_stay(completer):
    for shape in (128, 128), (256, 256), (300, 290), (1000, 960):
        x = cv2.resize(masked()[0], shape[::-1])
        res = completer.complete_full(x)
        assert res.picture.shape == x.shape and res.picture.dtype == np.uint8 and res.hole.shape == shape
        keep = res.hole == 0
        assert .2 < keep.mean() < 1 and (res.picture[keep] == x[keep]).all() and (res.picture[~keep] != x[~keep]).any()

def test_raw_is_the_network(completer):
    x = masked(size=completer.size)[0]
    with torch.inference_mode(): want = to_uint8(completer.net(to_tensor(x)[None]).pictures[0][0])
    assert (completer.complete(x, raw=True) == want).all()
    assert completer.complete(masked(size=300)[0], raw=True).shape == (300, 300, 3)

def test_same_again(completer):
    x = masked()[0]
    assert (completer.complete(x) == completer.complete(x.copy())).all()
    other = FaceCompleter.from_pretrained(ASSETS, 'cpu')
    assert (completer.complete(x) == other.complete(x)).all()

def test_batch_is_one_by_one(completer):
    pics = [masked(n, k, s)[0] for n, k, s in (('astronaut', 'n95', 128), ('grace_hopper', 'surgical', 200), ('astronaut', 'kn95', 64))]
    for p, many in zip(pics, completer.complete_batch(pics, batch=2)):
        assert np.abs(completer.complete(p).astype(int)-many).max() <= 1
    assert completer.complete_batch([]) == []

def test_result_has_what_the_paper_shows(completer):
    res = completer.complete_full(masked()[0])
    S = completer.size
    assert [p.shape[0] for p in res.scales] == [S >> k for k in range(6)] and res.alpha.shape == (S, S, 3) and res.face.shape == (S, S, 3)
    C, face = res.fields[0]
    assert C.shape == (2, S, S) and face.shape == (S, S) and 0 <= C.min() <= C.max() <= 1 and len(res.fields) == 6

# ---- inputs of every kind ----

def test_any_kind_of_input(completer, tmp_path):
    x = masked()[0]
    want = completer.complete(x)
    write_picture(tmp_path/'x.png', x)
    for same in (x/255, (x/255).astype(np.float32), Image.fromarray(x), tmp_path/'x.png', str(tmp_path/'x.png'), x[:, ::-1][:, ::-1]):
        assert (completer.complete(same) == want).all()

def test_grey_stays_grey(completer):
    x = masked()[0].mean(-1).astype(np.uint8)
    out = completer.complete(x)
    assert out.shape == (*x.shape, 3) and (out[..., 0] == out[..., 1]).all() and (out[..., 1] == out[..., 2]).all() and (out[..., 0] != x).any()
    assert (completer.complete(x[..., None]) == out).all()

def test_transparency_is_kept(completer, tmp_path, cli):
    x = masked()[0]
    alpha = np.full(x.shape[:2], 255, np.uint8); alpha[:40] = 77; alpha[:10] = 0
    rgba = np.dstack([x, alpha])
    res = completer.complete_full(rgba)
    assert res.picture.shape == rgba.shape and (res.picture[..., 3] == alpha).all()
    assert (res.picture[res.hole == 0] == rgba[res.hole == 0]).all()                # colours under transparency too
    write_picture(tmp_path/'a.png', rgba)
    assert cli(tmp_path/'a.png', '-o', tmp_path/'b.png')[0] == 0 and cli(tmp_path/'a.png', '-o', tmp_path/'b.jpg')[0] == 0
    with Image.open(tmp_path/'b.png') as im: assert im.mode == 'RGBA' and (np.asarray(im) == res.picture).all()
    with Image.open(tmp_path/'b.jpg') as im: assert im.mode == 'RGB' and im.size == x.shape[1::-1]

@pytest.mark.parametrize('bad', [np.zeros((40, 40, 2), np.uint8), np.zeros((3, 40, 40), np.float32), np.full((40, 40), 200.), np.zeros((40, 40), np.int64),
                                 np.full((40, 40), np.nan), np.zeros((1, 1, 3), np.uint8), np.zeros((0, 5, 3), np.uint8), None, [1, 2]], ids=str)
def test_no_pictures(completer, bad):
    with pytest.raises(FacecompError): completer.complete(bad)

# ---- where the face is ----

def test_whole_photo_with_landmarks(completer):
    photo, L = portrait('grace_hopper')
    x, alpha = occlude(photo, L, 'surgical_blue', rng_for(0))
    res = completer.complete_full(x, landmarks=L)
    assert (res.picture[res.hole == 0] == x[res.hole == 0]).all() and res.hole[alpha > .9].mean() > .5 and (res.hole == 0).mean() > .4
    assert (res.picture == completer.complete(x, landmarks=L[:, :2])).all()
    nan = L.copy(); nan[:, 2] = np.nan
    assert (res.picture == completer.complete(x, landmarks=nan)).all()             # depth isn't needed
    for bad in L[:60], L*np.nan, L+5000, L*0:
        with pytest.raises(FacecompError): completer.complete(x, landmarks=bad)

def test_not_square(completer):
    x = masked()[0]
    flat = np.ascontiguousarray(x[40:200])
    with pytest.raises(NoFaceError, match="align='crop'"): completer.complete(np.full((100, 180, 3), 90, np.uint8))
    out = completer.complete_full(flat, align='crop')
    assert out.picture.shape == flat.shape and (out.face[0] == out.face[5]).all()   # filled up by repeating the border
    assert completer.complete(x[:240]).shape == (240, 256, 3)                       # nearly square
    with pytest.raises(FacecompError, match='align'): completer.complete(x, align='sideways')

def test_detector_is_used_when_its_files_are_there(completer, monkeypatch, tmp_path):
    photo, L = portrait('astronaut')
    x, _ = occlude(photo[:450], L, 'surgical_blue', rng_for(0))
    want = completer.complete(x, landmarks=L)
    monkeypatch.setattr('facecomp.place.fan_files', lambda *a: [tmp_path])
    monkeypatch.setattr('facecomp.place.detect_landmarks', lambda pic, **kw: [L, L+50])
    assert (completer.complete(x, faces='largest') == want).all() and (completer.complete(x, faces=0) == want).all()
    assert len(completer.complete_full(x).faces) == 2
    with pytest.raises(FacecompError, match='faces'): completer.complete(x, faces=[2])
    monkeypatch.setattr('facecomp.place.detect_landmarks', lambda pic, **kw: [])
    monkeypatch.setattr('facecomp.place.find_faces', lambda *a, **k: [])
    with pytest.raises(NoFaceError): completer.complete(x)

# ---- a stroke ----

def test_stroke(completer):
    y = warp_picture(portrait('astronaut')[0], similarity(portrait('astronaut')[1], LIGHTCNN, 512), 512)[0]
    stroke = np.zeros((512, 512), np.uint8)
    cv2.line(stroke, (120, 150), (230, 170), 1, 45)
    res = completer.complete_full(y, hole=stroke > 0)
    far = cv2.dilate(stroke, np.ones((33, 33))) == 0
    assert (res.picture[far] == y[far]).all() and (res.picture[stroke > 0] != y[stroke > 0]).any(-1).mean() > .9
    assert (res.hole[stroke > 0] == 1).all() and (res.picture[stroke > 0] != 128).any(-1).mean() > .9       # not the grey itself
    for same in stroke.astype(float), stroke*255, stroke: assert (completer.complete(y, hole=same) == res.picture).all()
    x = y.copy(); x[stroke > 0] = (255, 0, 0)                                       # what lies under the stroke plays no part
    assert (completer.complete(x, hole=stroke > 0)[stroke > 0] == res.picture[stroke > 0]).all()
    for bad in stroke[:100], stroke*2., -stroke.astype(float), np.where(stroke, np.nan, 0), stroke.astype(str):
        with pytest.raises(FacecompError): completer.complete(y, hole=bad)

def test_stroke_and_mask(completer):
    x, alpha = masked(size=256)
    stroke = np.zeros((256, 256), bool); stroke[60:90, 80:110] = True
    only, both = completer.complete(x, hole=stroke), completer.complete(x, hole=stroke, blind=True)
    under = (alpha > .9) & (np.arange(256) > 130)[:, None]
    assert (only[under] == x[under]).all() and (both[under] != x[under]).any(-1).mean() > .7

def test_stroke_outside_of_the_face(completer):
    photo, L = portrait('astronaut')
    corner = np.zeros(photo.shape[:2], bool); corner[-20:, -20:] = True
    with pytest.raises(FacecompError, match='outside'): completer.complete(photo, landmarks=L, hole=corner)

def test_feather_and_soft_hole():
    dot = np.zeros((21, 21), bool); dot[10, 10] = True
    f = feather(dot, 3)
    assert f[10, 10] == 1 and (np.diff(f[10, 10:15]) < 0).all() and f[10, 14:].max() == 0
    x, a = torch.zeros(3, 64, 64), torch.full((3, 64, 64), .1)
    a[:, 20:40, 20:40] = .9
    h = soft_hole(x, x+.3*(a > .5), a)
    assert h[22:38, 22:38].min() > .99 and h[:14].max() == 0 and h[:, 46:].max() == 0 and ((h > .1) & (h < .9)).any()
    assert soft_hole(x, x+.01, a).max() == 0                                        # a choice that changes nothing

# ---- weights ----

def test_weights(completer, tmp_path):
    x = masked()[0]
    completer.save_pretrained(tmp_path/'mine')
    for p in tmp_path/'mine', tmp_path/'mine'/'weights.safetensors':
        assert (FaceCompleter.from_pretrained(p, 'cpu').complete(x) == completer.complete(x)).all()
    assert completer.convention == LIGHTCNN
    with pytest.raises(FacecompError, match='device'): FaceCompleter.from_pretrained(device='abacus')

def hole_error(c, name, kind):
    "Mean squared difference to the truth behind the mask, at 256²"
    x, hole = masked(name, kind); photo, L = portrait(name); truth = warp_picture(photo, similarity(L, LIGHTCNN, 256), 256)[0]
    return ((c.complete(x).astype(float)-truth)[hole > .5]**2).mean()

def test_base_weights(completer, tmp_path, cli):
    "The bundled 256² network, by its name: closer to the truth than the 128² one"
    base = FaceCompleter.from_pretrained('base', 'cpu'); assert base.size == 256 and base.convention == completer.convention
    cases = [(n, k) for n in ('astronaut', 'grace_hopper') for k in KINDS]
    small_, base_ = (np.mean([hole_error(c, *x) for x in cases]) for c in (completer, base)); print(small_, base_); assert base_ < small_
    write_picture(tmp_path/'x.png', masked()[0]); code, said = cli(tmp_path/'x.png', '-o', tmp_path/'y.png', '--weights', 'base')
    assert code == 0 and (read_picture(tmp_path/'y.png') == base.complete(read_picture(tmp_path/'x.png'))).all(), said
    code, said = cli(tmp_path/'x.png', '-o', tmp_path/'z.png', '--weights', 'bass'); assert code == 1 and "no weights 'bass': small and base are bundled" in said

def test_finder(tmp_path, completer):
    blind = tmp_path/'blind'; cfg = config_from_dict(dict(net=dict(size=64, base=8, widest=16, outer=4, fuse_width=4, scales=3, fields=False)))
    export_weights(blind, CompletionNet(cfg.net), cfg, completer.info['convention'])
    with pytest.raises(FacecompError, match='predict no field.*finder=None'): FaceCompleter.from_pretrained(finder=blind)
    own = FaceCompleter.from_pretrained(device='cpu', finder=None); assert own.finder is None and completer.finder is not None

def test_hub(monkeypatch, tmp_path, completer):
    import huggingface_hub, huggingface_hub.constants
    completer.save_pretrained(tmp_path)
    asked = []
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    def fetch(repo, name, **kw): asked.append((repo, name)); return str(tmp_path/name)
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', fetch)
    assert FaceCompleter.from_pretrained('some/one', 'cpu').size == completer.size and asked == [('some/one', 'weights.safetensors'), ('some/one', 'config.json')]
    def refuse(*a, **k): raise ConnectionError('no network')
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', refuse)
    with pytest.raises(FacecompError, match='some/one.*no connection'): FaceCompleter.from_pretrained('some/one', 'cpu')
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr('facecomp.weights.getproxies', lambda: {'https': 'a proxy'})      # whether it's there can't be seen
    with pytest.raises(FacecompError, match='some/one.*no network'): FaceCompleter.from_pretrained('some/one', 'cpu')
    monkeypatch.setattr('facecomp.weights.getproxies', dict)
    monkeypatch.setattr('socket.create_connection', refuse)
    with pytest.raises(FacecompError, match='some/one.*no connection'): FaceCompleter.from_pretrained('some/one', 'cpu')
    for local in tmp_path/'none', './some/one', 'a/b/c':                            # never looked for elsewhere
        with pytest.raises(FacecompError, match='no weights'): FaceCompleter.from_pretrained(local, 'cpu')

def test_bundled_weights_missing(monkeypatch, tmp_path, cli):
    write_picture(tmp_path/'x.png', masked()[0])
    monkeypatch.setattr('facecomp.core.ASSETS', tmp_path)
    code, said = cli(tmp_path/'x.png', '-o', tmp_path/'y.png')
    assert code == 1 and 'bundled weights are missing' in said and not (tmp_path/'y.png').exists()

# ---- the command ----

def test_command_as_a_user_runs_it(tmp_path):
    "A picture; a missing one; no argument; nothing heavy is loaded"
    write_picture(tmp_path/'x.png', masked(size=200)[0])
    code, said = shell(tmp_path/'x.png', '-o', tmp_path/'y.png')
    assert code == 0 and 's per picture' in said, said
    assert read_picture(tmp_path/'y.png').shape == (200, 200, 3)
    code, said = shell(tmp_path/'none.png', '-o', tmp_path/'z.png')
    assert code == 1 and said.startswith('facecomp-complete: ') and 'does not exist' in said and said.count('\n') == 1, said
    code, said = shell()
    assert code == 2 and 'usage: facecomp-complete' in said and 'Traceback' not in said

@pytest.mark.parametrize('name', ['o.jpg', 'o.jpeg', 'o.webp', 'o.bmp', 'o.tif', 'O.PNG'])
def test_formats(name, tmp_path, cli, completer):
    x = masked(size=150)[0]
    Image.fromarray(x).save(tmp_path/f'in{Path(name).suffix}', **({'lossless': True} if 'webp' in name else {}))
    assert cli(tmp_path/f'in{Path(name).suffix}', '-o', tmp_path/'new'/name)[0] == 0
    got, want = read_picture(tmp_path/'new'/name), completer.complete(tmp_path/f'in{Path(name).suffix}')
    assert got.shape == x.shape and np.abs(got.astype(int)-want).mean() < 4

@pytest.mark.parametrize('turn', range(1, 9))
def test_exif(turn, tmp_path, cli, completer):
    "However the phone was held, the result stands upright, and like that of the upright picture"
    x = masked(size=128)[0]
    undo = {1: x, 2: x[:, ::-1], 3: x[::-1, ::-1], 4: x[::-1], 5: x.transpose(1, 0, 2), 6: np.rot90(x), 7: np.rot90(x, 2).transpose(1, 0, 2), 8: np.rot90(x, -1)}[turn]
    im = Image.fromarray(np.ascontiguousarray(undo)); exif = im.getexif(); exif[0x0112] = turn
    im.save(tmp_path/'x.png', exif=exif)
    assert cli(tmp_path/'x.png', '-o', tmp_path/'y.png')[0] == 0
    assert (read_picture(tmp_path/'y.png') == completer.complete(x)).all()
    with Image.open(tmp_path/'y.png') as im: assert im.getexif().get(0x0112, 1) == 1

def test_grey_palette_and_16_bit(tmp_path, cli):
    g = Image.fromarray(masked(size=100)[0]).convert('L')
    g.save(tmp_path/'grey.png'); g.convert('P').save(tmp_path/'palette.png'); g.convert('1').save(tmp_path/'bits.png'); g.convert('LA').save(tmp_path/'la.png')
    Image.fromarray(np.asarray(g).astype(np.uint16)*257).save(tmp_path/'deep.png'); g.convert('CMYK').save(tmp_path/'cmyk.jpg')
    code, said = cli(tmp_path, '-o', tmp_path/'out')
    assert code == 0 and '6 of 6' in said, said
    assert all(Image.open(p).size == (100, 100) for p in (tmp_path/'out').glob('[!.]*'))

def bad_files(folder):
    "name -> what the message must say"
    folder.mkdir(exist_ok=True)
    (folder/'text.jpg').write_text('I am no picture')
    (folder/'empty.png').write_bytes(b'')
    x = masked(size=200)[0]
    Image.fromarray(x).save(folder/'whole.jpg'); data = (folder/'whole.jpg').read_bytes(); (folder/'whole.jpg').unlink()
    (folder/'cut.jpg').write_bytes(data[:len(data)//2])
    Image.new('RGB', (1, 1)).save(folder/'dot.png')
    Image.new('1', (20000, 20000)).save(folder/'bomb.png')
    Image.new('L', (60, 200)).save(folder/'tall.png')
    return {'text.jpg': 'not a picture', 'empty.png': 'not a picture', 'cut.jpg': 'damaged or cut short', 'dot.png': 'too few', 'bomb.png': 'too many pixels',
            'tall.png': 'No face was found in this picture of', 'none.jpg': 'does not exist'}

def test_bad_pictures(tmp_path, cli):
    for name, why in bad_files(tmp_path/'in').items():
        code, said = cli(tmp_path/'in'/name, '-o', tmp_path/'out'/'y.png')
        assert code == 1 and why in said and name in said and said.startswith('facecomp-complete: ') and said.count('\n') == 1, said
    assert not (tmp_path/'out').exists()

def test_folder_with_three_bad_among_ten(tmp_path, cli):
    src = tmp_path/'in'
    bad_files(src)
    for f in 'empty.png', 'dot.png', 'tall.png': (src/f).unlink()
    for i in range(7): write_picture(src/('deeper/'*(i % 2)+f'{i}.jpg'), masked(size=80)[0])
    (src/'notes.txt').write_text('not looked at'); (src/'.hidden.png').write_text('nor this')
    code, said = cli(src, '-o', tmp_path/'out')
    assert code != 0 and '7 of 10 completed' in said and '3 of 10' in said, said
    assert all(f in said for f in ('text.jpg', 'cut.jpg', 'bomb.png')) and 'notes.txt' not in said and '1 other file left aside (.txt)' in said      # a photo as .heic must not be missed unseen
    assert sorted(p.relative_to(tmp_path/'out').as_posix() for p in (tmp_path/'out').rglob('[!.]*') if p.is_file()) == \
        sorted(['deeper/'*(i % 2)+f'{i}.png' for i in range(7)])

def test_outputs_never_collide(tmp_path):
    "Neither with each other nor with an input"
    x = masked(size=40)[0]
    for f in 'one/a.png', 'one/a.jpg', 'two/a.png', 'two/A.webp', 'three.png': write_picture(tmp_path/f, x)
    jobs, _ = plan_outputs([tmp_path/'one', tmp_path/'two', tmp_path/'three.png', tmp_path/'one'/'a.png'], tmp_path/'out')
    targets = [str(t).lower() for _, t, _ in jobs]
    assert len(jobs) == 5 and len(set(targets)) == 5 and all(t.endswith('.png') for t in targets)
    (tmp_path/'link').symlink_to(tmp_path/'one')
    for inputs, out in (([tmp_path/'one'/'a.png'], tmp_path/'one'/'a.png'), ([tmp_path/'one'], tmp_path/'one'), ([tmp_path/'one'/'a.png'], tmp_path/'link'/'a.png'),
                        ([tmp_path/'one'/'a.png'], tmp_path/'one'), ([tmp_path/'one', tmp_path/'two'], tmp_path/'two')):
        with pytest.raises(FacecompError, match='is an input'): plan_outputs(inputs, out)
    first, _ = plan_outputs([tmp_path], tmp_path/'out')
    write_picture(tmp_path/'out'/'a.png', x)                                        # results of an earlier run, inside of the input folder
    assert plan_outputs([tmp_path], tmp_path/'out')[0] == first

def test_bad_outputs(tmp_path, cli):
    x = masked(size=60)[0]
    write_picture(tmp_path/'a.png', x); write_picture(tmp_path/'b.png', x); (tmp_path/'file').write_text('in the way'); (tmp_path/'empty').mkdir()
    a, b = tmp_path/'a.png', tmp_path/'b.png'
    for args, why in (((a, '-o', tmp_path/'file'/'y.png'), "Can't create the folder"), ((a, '-o', tmp_path/'y.xyz'), 'unknown picture format'), ((a, b, '-o', tmp_path/'y.png'), 'name a folder'),
                      ((a, b, '-o', tmp_path/'file'), 'is a file'), ((tmp_path/'empty', '-o', tmp_path/'out'), 'no pictures'), ((a, '-o', a), 'written over')):
        code, said = cli(*args)
        assert code == 1 and why in said and said.count('\n') == 1, said
    assert (read_picture(a) == x).all() and sorted(p.name for p in tmp_path.iterdir()) == ['a.png', 'b.png', 'empty', 'file']
    assert cli(a, '-o', tmp_path/'empty')[0] == 0 and (tmp_path/'empty'/'a.png').exists()       # a folder for one picture

def test_bad_weights(tmp_path, cli):
    write_picture(tmp_path/'a.png', masked(size=60)[0])
    (tmp_path/'cut.safetensors').write_bytes((ASSETS/'weights.safetensors').read_bytes()[:9999])
    (tmp_path/'text').mkdir(); (tmp_path/'text'/'weights.safetensors').write_text('weights')
    for w, why in ((tmp_path/'none', 'no weights'), (tmp_path/'cut.safetensors', 'damaged'), (tmp_path/'text', 'damaged')):
        code, said = cli(tmp_path/'a.png', '-o', tmp_path/'y.png', '--weights', w)
        assert code == 1 and why in said and said.count('\n') == 1 and not (tmp_path/'y.png').exists(), said

def test_landmarks_file(tmp_path, cli, completer):
    photo, L = portrait('grace_hopper')
    x, _ = occlude(photo, L, 'kn95', rng_for(0))
    write_picture(tmp_path/'in'/'deep'/'g.png', x); write_picture(tmp_path/'in'/'other.png', x)
    np.savez(tmp_path/'marks.npz', name=np.array(['g.png']), landmarks68=L[None])
    code, said = cli(tmp_path/'in', '-o', tmp_path/'out', '--landmarks', tmp_path/'marks.npz')
    assert code == 1 and 'no landmarks for it' in said and 'other.png' in said, said
    assert (read_picture(tmp_path/'out'/'deep'/'g.png') == completer.complete(x, landmarks=L)).all()
    code, said = cli(tmp_path/'in', '-o', tmp_path/'out', '--landmarks', tmp_path/'none.npz')
    assert code == 1 and 'does not exist' in said

def test_interrupted(tmp_path, cli, monkeypatch):
    write_picture(tmp_path/'a.png', masked(size=60)[0])
    def stop(*a, **k): raise KeyboardInterrupt
    monkeypatch.setattr(FaceCompleter, 'complete', stop)
    code, said = cli(tmp_path/'a.png', '-o', tmp_path/'out'/'y.png')
    assert code == 1 and 'interrupted' in said and not (tmp_path/'out').exists()

def test_starts_without_heavy_imports():
    code = 'import sys, facecomp.command; print([m for m in ("gradio", "face_alignment", "accelerate", "torchvision", "huggingface_hub", "onnxruntime") if m in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True, env={**os.environ, 'PYTHONWARNINGS': 'ignore'})
    assert done.stdout.strip() == '[]', done.stdout+done.stderr

# ---- known pixels, in every mode and depth ----

def deep(x): return x.astype(np.uint16)*257+rng_for(8).integers(0, 120, x.shape).astype(np.uint16)*(x < 255)

@pytest.mark.parametrize('how', ['blind', 'brush', 'both', 'mask file', 'outline'])
def test_known_pixels_in_every_mode(how, completer):
    x = masked(size=200)[0]
    brush = np.zeros((200, 200), np.uint8); cv2.line(brush, (70, 60), (130, 75), 255, 20)
    kw = {'blind': {}, 'brush': dict(hole=brush > 0), 'both': dict(hole=brush, blind=True), 'mask file': dict(hole=Image.fromarray(255-brush)), 'outline': dict(outline=True)}[how]
    for pic in (x, deep(x), x[..., :1], deep(x)[..., :1], np.dstack([x, x[..., 0]]), np.dstack([deep(x), deep(x)[..., 0]])):
        r = completer.complete_full(pic, **kw)
        want = np.repeat(pic, 3, 2) if pic.shape[2] == 1 else pic
        assert r.picture.dtype == pic.dtype and r.picture.shape == want.shape and (r.picture[r.hole == 0] == want[r.hole == 0]).all()
        assert (r.picture[r.hole == 1] != want[r.hole == 1]).mean() > .3 and .02 < (r.hole > .5).mean() < .8
        if pic.shape[2] == 4: assert (r.picture[..., 3] == pic[..., 3]).all()
        if pic.shape[2] == 1: assert r.photo.pixels.shape[2] == 1 and (r.picture[..., 0] == r.picture[..., 2]).all()

@pytest.mark.parametrize('name', ['deep.png', 'deep.tif', 'grey.png', 'grey16.png', 'cmyk.jpg', 'rgba16.png', 'palette.png'])
def test_files_keep_what_they_are(name, tmp_path, cli, completer):
    x = masked(size=160)[0]
    bgr = deep(x)[..., ::-1]
    {'deep': lambda p: cv2.imwrite(p, bgr), 'grey16': lambda p: cv2.imwrite(p, bgr[..., 0]), 'rgba16': lambda p: cv2.imwrite(p, np.dstack([bgr, bgr[..., 0]])), 'grey': lambda p: Image.fromarray(x[..., 0]).save(p),
     'cmyk': lambda p: Image.fromarray(x).convert('CMYK').save(p, quality=95), 'palette': lambda p: Image.fromarray(x).quantize(200).save(p)}[name.split('.')[0]](str(tmp_path/name))
    out = tmp_path/('out.tif' if name.endswith('tif') else 'out.png')
    assert cli(tmp_path/name, '-o', out)[0] == 0
    r, was = completer.complete_full(tmp_path/name), read_photo(tmp_path/name)
    got = read_photo(out)
    assert got.pixels.dtype == was.pixels.dtype and got.pixels.shape == was.pixels.shape and (got.alpha is None) == (was.alpha is None)
    assert (got.pixels[r.hole == 0] == was.pixels[r.hole == 0]).all() and (got.pixels[r.hole == 1] != was.pixels[r.hole == 1]).any()
    assert ('16' in name or 'deep' in name) == (got.pixels.dtype == np.uint16)

def test_report_resume_and_masks(tmp_path, cli):
    import json
    x = masked(size=128)[0]
    for n in 'a', 'b', 'sub/c': write_picture(tmp_path/'in'/f'{n}.png', x)
    m = np.zeros((128, 128), np.uint8); m[40:60, 40:70] = 255
    for n in 'a', 'sub/c': write_picture(tmp_path/'masks'/f'{n}.jpg', 255-m)
    code, said = cli(tmp_path/'in', '-o', tmp_path/'out', '--mask', tmp_path/'masks', '--json', tmp_path/'r.json', '--jobs', 3)
    rows = {Path(r['source']).name: r for r in json.loads((tmp_path/'r.json').read_text())['pictures']}
    assert code == 1 and rows['b.png']['status'] == 'failed' and 'no mask' in rows['b.png']['messages'][0] and 'black part' in rows['a.png']['messages'][0]
    y = read_picture(tmp_path/'out'/'sub'/'c.png'); far = cv2.dilate(m, np.ones((15, 15))) == 0
    assert (y[far] == x[far]).all() and (y[m > 0] != x[m > 0]).any()
    code, said = cli(tmp_path/'in', '-o', tmp_path/'out', '--resume', '--json', tmp_path/'r.json')
    assert code == 0 and '1 of 1 completed' in said and '2 were done before' in said

def test_threads(completer):
    from concurrent.futures import ThreadPoolExecutor
    pics = [np.roll(masked(size=140)[0], 5*i, 1) for i in range(4)]
    with ThreadPoolExecutor(4) as pool: many = list(pool.map(lambda p: completer.complete(p), pics))
    assert all((a == completer.complete(p)).all() for a, p in zip(many, pics))

def test_hash_is_checked(completer, tmp_path):
    file = completer.save_pretrained(tmp_path)
    b = bytearray(file.read_bytes()); b[-3] ^= 4; file.write_bytes(b)
    with pytest.raises(FacecompError, match='SHA-256'): FaceCompleter.from_pretrained(tmp_path, 'cpu')

def test_onnx(completer, tmp_path):
    pytest.importorskip('onnx'); pytest.importorskip('onnxruntime')
    assert completer.export_onnx(tmp_path/'f.onnx') <= 1e-3
    x = masked()[0]
    other = FaceCompleter.from_pretrained(tmp_path/'f.onnx')
    assert np.abs(other.complete(x).astype(int)-completer.complete(x)).max() <= 1 and len(other.complete_batch([x]*3)) == 3

def test_onnx_without_its_package(completer, tmp_path, monkeypatch):
    import importlib.util
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda n, *a: None if n == 'onnx' else real(n, *a))
    with pytest.raises(FacecompError, match='pip install onnx'): completer.export_onnx(tmp_path/'f.onnx')

# ---- finding faces ----

def test_faces_are_found_by_a_field_that_is_right(completer):
    "An eye that reads the field off the colours: two heads, one of them turned; nothing on an empty photo"
    from facecomp.align import invert
    from facecomp.faces import procedural_face
    from facecomp.find import find_faces
    pic, where = np.zeros((360, 640, 3), np.float32), []
    for i, (cx, cy, s) in enumerate(((160, 180, 1.), (470, 170, .6))):
        f = procedural_face(40+i, yaw=20*i)
        C, v, L = np.asarray(f.C), np.asarray(f.valid, np.float32), np.asarray(f.landmarks)[:, :2]
        A = np.array([[s, 0, cx-s*64], [0, s, cy-s*64]])
        pic += cv2.warpAffine(np.dstack([C[0]*v, C[1]*v, v]).astype(np.float32), A, (640, 360)); where.append(warp_points(L, A))
    pic = (pic.clip(0, 1)*255).round().astype(np.uint8)
    def see(x): x = torch.nn.functional.avg_pool2d(x, 4); return x[:, :2], x[:, 2:]
    found = find_faces(see, pic, 128, LIGHTCNN)
    assert len(found) == 2 and found[0].score > .6
    for f, L in zip(found, where):
        off = warp_points(LIGHTCNN.points(128), invert(f.M))-np.stack([L[36:48].mean(0), (L[48]+L[54])/2])
        assert np.linalg.norm(off, axis=1).mean() < .05*np.sqrt(np.prod(np.ptp(L, axis=0)))
    assert find_faces(see, pic*0, 128, LIGHTCNN) == []


def test_masks_and_landmarks_are_never_written_over(tmp_path, cli, monkeypatch):
    "Results, and the report, keep away from everything that the user gave"
    x, _ = masked(size=128); m = np.zeros((128, 128), np.uint8); m[70:110, 40:90] = 255
    (tmp_path/'photos').mkdir(); (tmp_path/'masks').mkdir(); (tmp_path/'photos'/'masks').mkdir()
    Image.fromarray(x).save(tmp_path/'photos'/'a.jpg'); [Image.fromarray(m).save(tmp_path/d/'a.png') for d in ('masks', 'photos/masks')]
    monkeypatch.chdir(tmp_path); was = (tmp_path/'masks'/'a.png').read_bytes()
    for args in (('photos/a.jpg', '--mask', 'masks/a.png', '-o', 'masks'), ('photos', '--mask', 'masks', '-o', 'masks')):
        code, said = cli(*args); assert code and 'would be written over' in said
    for at in ('photos/a.jpg', 'masks/a.png'):
        code, said = cli('photos/a.jpg', '--mask', 'masks/a.png', '-o', 'out', '--json', at); assert code and 'choose another --json' in said
    assert (tmp_path/'masks'/'a.png').read_bytes() == was and Image.open('photos/a.jpg').size == (128, 128) and not Path('out').exists()
    code, said = cli('photos', '--mask', 'photos/masks', '-o', 'out'); assert not code and '1 of 1 completed' in said          # the masks are no photos

def test_the_users_own_pictures_stay(tmp_path, cli):
    "A file where a result would go is replaced only if it is a result, or on demand"
    x, _ = masked(size=96); own = tmp_path/'photos'/'sub'/'a.png'; write_picture(own, x); write_picture(tmp_path/'photos'/'a.jpg', x); was = own.read_bytes()
    code, said = cli(tmp_path/'photos', '-o', own.parent, '--weights', tmp_path/'none')
    assert code == 1 and str(own) in said and '--overwrite' in said and own.read_bytes() == was and said.count('\n') == 1         # before anything is loaded
    for _ in range(2): assert cli(tmp_path/'photos', '-o', tmp_path/'out')[0] == 0
    write_picture(tmp_path/'out'/'b.png', x); write_picture(tmp_path/'photos'/'b.png', x); assert cli(tmp_path/'photos', '-o', tmp_path/'out')[0] == 1
    assert cli(tmp_path/'photos', '-o', tmp_path/'out', '--overwrite')[0] == 0 and cli(tmp_path/'photos', '-o', tmp_path/'out')[0] == 0

def test_one_name_in_two_folders(tmp_path, cli, completer):
    "Landmarks and masks of one are not the other's; the order of the folders changes no result's name"
    photo, L = portrait('grace_hopper'); x, _ = occlude(photo, L, 'kn95', rng_for(0)); A, B = tmp_path/'A', tmp_path/'B'
    for d in (A, B): write_picture(d/'x.png', x)
    np.savez(tmp_path/'m.npz', name=np.array(['x.png']), landmarks68=L[None])
    code, said = cli(A, B, '-o', tmp_path/'out', '--landmarks', tmp_path/'m.npz'); assert code == 1 and 'this one is A/x.png' in said and '0 of 2' in said
    np.savez(tmp_path/'m.npz', name=np.array(['A/x.png', 'B/x.png', 'B/x.png']), landmarks68=np.stack([L, L, L+[3, 0, 0]]))
    assert cli(A, B, '-o', tmp_path/'out', '--landmarks', tmp_path/'m.npz')[0] == 0
    assert (read_picture(tmp_path/'out'/'A'/'x.png') == completer.complete(x, L)).all() and (read_picture(tmp_path/'out'/'B'/'x.png') == completer.complete(x, np.stack([L, L+[3, 0, 0]]))).all()
    code, said = cli(B, A, '-o', tmp_path/'out', '--resume'); assert code == 0 and '2 were done before' in said
    write_picture(tmp_path/'masks'/'x.png', np.zeros(x.shape, np.uint8)); code, said = cli(A, B, '-o', tmp_path/'other', '--mask', tmp_path/'masks'); assert code == 1 and '0 of 2' in said and 'A/x' in said
    write_picture(tmp_path/'one'/'y.png', masked(size=96)[0]); (tmp_path/'masks'/'y.Png').write_bytes((tmp_path/'one'/'y.png').read_bytes())
    assert 'has no mask' not in cli(tmp_path/'one', '-o', tmp_path/'other', '--mask', tmp_path/'masks')[1]

def test_a_terminal_of_few_letters(tmp_path, monkeypatch):
    import io, sys
    write_picture(tmp_path/'\u0142.png', masked(size=60)[0]); out = io.TextIOWrapper(io.BytesIO(), 'cp1252'); monkeypatch.setattr(sys, 'stdout', out)
    complete_main([str(tmp_path/'\u0142.png'), '-o', str(tmp_path/'y\u0142.png'), '--device', 'cpu']); out.flush(); assert b'y\\u0142.png' in out.buffer.getvalue()

def test_folder_runs_say_their_notes(tmp_path, cli):
    x, _ = masked(size=128); m = np.zeros((128, 128), np.uint8); m[70:110, 40:90] = 255
    (tmp_path/'in').mkdir(); (tmp_path/'masks').mkdir()
    for n in 'ab': Image.fromarray(x).save(tmp_path/'in'/f'{n}.png'); Image.fromarray(m).save(tmp_path/'masks'/f'{n}.PNG')
    code, said = cli(tmp_path/'in', '--mask', tmp_path/'masks', '-o', tmp_path/'out'); assert not code and 'note: the white part of the mask is taken as the hole (2 of 2 pictures: a.png, b.png)' in said
    for n in 'cd': Image.new('L', (60, 200), 90).save(tmp_path/'in'/f'{n}.png')
    code, said = cli(tmp_path/'in', '-o', tmp_path/'some'); assert code and said.count('No face was found') == 2 and said.count('cut out a square') == 1 and 'checkpoints' not in said    # the advice comes once
    code, said = cli(tmp_path/'in', '-o', tmp_path/'in'/'..', '--resume'); assert 'no pictures' not in said                       # a folder above is no place inside

def test_what_is_left_of_a_mask_is_said(completer):
    x, _ = masked(size=128); m = np.zeros((128, 128, 1), bool); m[70:110, 40:90] = True
    a, b = (completer.complete_full(x, hole=h) for h in (m, m[..., 0])); assert np.array_equal(a.picture, b.picture)              # a last axis of one changes nothing
    photo, L = portrait('astronaut'); far = np.zeros(photo.shape[:2], bool); y, z = L[:, 1].astype(int), L[:, 0].astype(int); far[y.min():y.max(), z.min():z.max()] = True; far[-60:, :60] = True
    res = completer.complete_full(photo, landmarks=L, hole=far); assert any('lies outside of the faces' in s for s in res.messages)
    for kw in (dict(faces=[]), dict(crops=np.zeros((1, 2, 3))), dict(crops=np.zeros((0, 2, 3))), dict(landmarks=np.zeros((0, 68, 2)))):
        with pytest.raises(FacecompError): completer.complete_full(photo, **kw)
    with pytest.raises(FacecompError, match='Unknown option'): completer.predict(x, strenght=.2)

def test_a_batch_keeps_each_pictures_own(completer):
    photo, L = portrait('grace_hopper'); x, _ = occlude(photo, L, 'kn95', rng_for(0)); other = np.ascontiguousarray(x[20:, 10:]); pair = completer.complete_batch(iter([x, other]), landmarks=[L, L-[10, 20, 0]])
    for p, l, q in zip((x, other), (L, L-[10, 20, 0]), pair): assert np.abs(completer.complete(p, l).astype(int)-q).max() <= 1
    for kw, why in ((dict(landmarks=np.stack([L, L])), 'landmarks must be a list of 2'), (dict(batch=0), 'batch')):
        with pytest.raises(FacecompError, match=why): completer.complete_batch([x, other], **kw)
    assert (completer.complete(masked(size=128)[0], faces=np.int64(0), align='field') == completer.complete(masked(size=128)[0], faces=0, align='field')).all()
    for kw in (dict(landmarks=L.ravel()), dict(landmarks=[None]), dict(crops=np.eye(3)), dict(strength=None)):
        with pytest.raises(FacecompError, match=next(iter(kw))): completer.complete(x, **kw)

def test_square_without_a_face(completer, monkeypatch, tmp_path):
    "Large or small, nothing is painted into it, unless a crop is asked for; what the finder thinks of without finding it is a guess, and said"
    monkeypatch.setattr('facecomp.place.fan_files', lambda *a: [tmp_path/'none'])
    for n in (600, 256):
        grey = np.full((n, n, 3), 128, np.uint8)
        with pytest.raises(NoFaceError): completer.complete_full(grey)
        assert completer.complete(grey, align='crop').shape == grey.shape
    monkeypatch.setattr('facecomp.place.Placer.glance', lambda *a: (.31, .9)); monkeypatch.setattr('facecomp.place.Placer.search', lambda *a, **k: [])
    res = completer.complete_full(grey); assert any('taken as an aligned crop' in m for m in res.messages) and res.faces[0].score == 0
    monkeypatch.setattr('facecomp.place.Placer.glance', lambda *a: (.29, 0.))
    with pytest.raises(NoFaceError): completer.complete_full(grey)

def test_16_bit_tiff(tmp_path):
    "Turned once; kinds that would be read wrongly are refused"
    a = (np.random.default_rng(0).random((40, 60, 3))*65535).astype(np.uint16); ok, data = cv2.imencode('.tif', a); (tmp_path/'a.tif').write_bytes(data.tobytes())
    p = read_photo(tmp_path/'a.tif'); assert p.pixels.dtype == np.uint16 and np.array_equal(p.pixels, a[..., ::-1])
    g = a[..., 0]; turned = {1: g, 2: g[:, ::-1], 3: g[::-1, ::-1], 4: g[::-1], 5: g.T, 6: np.rot90(g, -1), 7: g[::-1, ::-1].T, 8: np.rot90(g)}
    for turn, want in turned.items():
        Image.fromarray(g).save(tmp_path/'t.tif', tiffinfo={274: turn}); assert np.array_equal(read_photo(tmp_path/'t.tif').pixels[..., 0], want), turn
    Image.fromarray(g).save(tmp_path/'inverted.tif', tiffinfo={262: 0})
    with pytest.raises(FacecompError, match='not read rightly'): read_photo(tmp_path/'inverted.tif')
