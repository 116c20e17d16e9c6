"Glasses, cup, scarf, hand and MaskTheFace's templates from outside: what comes back, where it covers, that it repeats, what it refuses"
import csv, json, pickle
import cv2, numpy as np, pytest
from facecomp.align import similarity, warp_picture, warp_points
from facecomp.core import FacecompError, portrait, rng_for, write_picture
from facecomp.faces import procedural_face
from facecomp.occlude import KINDS, MORE, find_occluder, occlude, occlude_for, two_views
from facecomp.mask import TEST_MASKS
from facecomp.overlays import ANCHORS, MaskTemplates, each_occluder, six_points
from facecomp.occluders import L2SFO

NEW = L2SFO[1:]
PINS = [(5, 40), (150, 5), (295, 40), (30, 130), (150, 195), (270, 130)]

def face(name='astronaut', size=128, conv='wide'):
    pic, L = portrait(name); M = similarity(L, conv, size)
    return warp_picture(pic, M, size)[0], warp_points(L, M)

def at(alpha, L, which):
    p = np.rint(np.asarray(L)[which, :2]).astype(int)
    return alpha[p[:, 1], p[:, 0]]

def eyes(L): return np.stack([L[36:42, :2].mean(0), L[42:48, :2].mean(0)])

@pytest.fixture(scope='module')
def pic(): return face()

def test_the_six():
    assert L2SFO == ('mask', 'eyeglasses', 'sunglasses', 'cup', 'scarf', 'hand') and set(NEW) <= set(MORE) and not set(NEW) & set(KINDS)

@pytest.mark.parametrize('dtype', [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize('kind', NEW)
def test_sound(pic, kind, dtype):
    x, L = pic; x = x if dtype == np.uint8 else (x/255).astype(dtype); keep, marks = x.copy(), L.copy()
    for i in range(6):
        out, a = occlude(x, L, kind, rng_for(i, 2))
        assert out.shape == x.shape and out.dtype == x.dtype and a.shape == x.shape[:2] and a.dtype == np.float32
        assert np.isfinite(out).all() and 0 <= a.min() and a.max() <= 1 and out.min() >= 0 and out.max() <= (255 if dtype == np.uint8 else 1)
        assert np.array_equal(out[a == 0], x[a == 0]), 'a pixel changed that is not covered'
        assert .01 < (a > .5).mean() < .6 if kind != 'eyeglasses' else (a > .5).mean() > .005
    assert np.array_equal(x, keep) and np.array_equal(L, marks), 'the inputs were written to'

@pytest.mark.parametrize('kind', NEW)
def test_repeats_and_differs(pic, kind):
    a, b, c = (occlude_for(*pic, 0, 0, i, kind=kind)[0] for i in (3, 3, 4))
    assert np.array_equal(a, b) and not np.array_equal(a, c)

def test_where_they_lie():
    "Sunglasses on both eyes and not on the mouth, a scarf on mouth and chin and not on the eyes; from the front and turned, with depth and without"
    for i, yaw in enumerate((-40, -20, 0, 20, 40)):
        f = procedural_face(i, 160, yaw=yaw); L = f.landmarks
        for dims in (2, 3):
            for n in range(3):
                sun, scarf = (occlude(f.picture, L[:, :dims], k, rng_for(n, 7))[1] for k in ('sunglasses', 'scarf'))
                e = np.rint(eyes(L)).astype(int); near = [sun[y, x] for x, y in e]
                assert min(near) > .6 if abs(yaw) < 30 else max(near) > .6, (yaw, dims, n)
                assert (at(sun, L, [57]) < .2).all() and (at(scarf, L, [57]) > .9).all() and max(scarf[y, x] for x, y in e) < .1

def test_glass_is_clear(pic):
    "One sees the eyes through spectacles, hardly through sunglasses"
    x, L = pic; e = np.rint(eyes(L)).astype(int)
    clear, dark = (np.mean([[occlude(x, L, k, rng_for(i))[1][y, c] for c, y in e] for i in range(12)]) for k in ('eyeglasses', 'sunglasses'))
    assert clear < .45 < .7 < dark

@pytest.mark.parametrize('kind', NEW)
def test_turns_with_the_face(pic, kind):
    x, L = face(size=200); R = cv2.getRotationMatrix2D((99.5, 99.5), 25, 1); blank = np.full_like(x, 120); inside = np.hypot(*(np.mgrid[:200, :200]-99.5)) < 95
    a, b = (occlude(blank, l, kind, rng_for(5))[1] for l in (L, warp_points(L, R)))
    a, b = (cv2.warpAffine(a, R, (200, 200)) > .6) & inside, (b > .6) & inside
    assert (a & b).sum()/(a | b).sum() > (.7 if 'glasses' in kind else .93)

@pytest.mark.parametrize('kind', NEW)
def test_grows_with_the_picture(kind):
    small, big = (occlude(*face(size=s), kind, rng_for(2))[1] for s in (128, 256))
    assert abs((small > .5).mean()-(big > .5).mean()) < .02

def test_hand_takes_the_tone_of_the_face():
    "The mean colour of hands follows the cheek's in most draws"
    x, L = face(); dark = (x*.45).astype(np.uint8)
    light, low = (np.mean([(lambda o: o[0][o[1] == 1].mean())(occlude(p, L, 'hand', rng_for(i, 1))) for i in range(12)]) for p in (x, dark))
    assert light > low+20

def test_outside_and_huge(pic):
    x, L = pic
    for kind in NEW:
        y, a = occlude(x, L+[900, 0, 0], kind, rng_for(0)); assert np.array_equal(x, y) and a.max() == 0
    big, Lb = face(size=900); y, a = occlude(big, Lb, 'scarf', rng_for(0)); assert y.shape == big.shape and (a > .5).mean() > .1

def test_in_the_mix(pic):
    "The new kinds may be drawn in training, and any function may be a kind"
    greens = [occlude_for(*pic, 0, 0, i, mix=dict(mask=.5, hand=.5))[1].mean() for i in range(4)]; assert min(greens) > .02
    out, a = occlude(*pic, lambda p, L, rng: (p//2, np.ones(p.shape[:2], np.float32)), rng_for(0)); assert np.array_equal(out, pic[0]//2)
    for bad in (dict(mix=dict(hat=1.)), dict(kind='hat')):
        with pytest.raises(FacecompError, match='hand'): occlude_for(*pic, 0, 0, 0, **bad)
    with pytest.raises(FacecompError, match='by chance'): occlude(*pic, 'hand')

# MaskTheFace's templates

def template(path, color=(90, 160, 200), alpha=True):
    T = np.zeros((200, 300, 4), np.uint8); cv2.fillPoly(T, [np.int32([PINS[i] for i in (0, 1, 2, 5, 4, 3)])], (*color, 255), cv2.LINE_AA)
    write_picture(path, T if alpha else T[..., :3])

@pytest.fixture
def folder(tmp_path):
    "A template folder as MaskTheFace's: one kind with three sides, one whose pictures are missing, one without a template"
    text = ''
    for n in ('plain', 'plain_left', 'plain_right', 'gone'):
        text += f'[{n}]\ntemplate: masks/templates/{n}.png\n' + ''.join(f'{k}:  {x}, {y}\n' for k, (x, y) in zip(ANCHORS, PINS)) + '\n'
    (tmp_path/'masks.cfg').write_text(text+'[empty]\n')
    for n, c in (('plain', (90, 160, 200)), ('plain_left', (200, 60, 60)), ('plain_right', (60, 200, 60))): template(tmp_path/f'{n}.png', c)
    return tmp_path

def test_six_points_move_with_the_face(pic):
    x, L = pic; P, lean = six_points(L); M = np.c_[1.6*np.array([[.8, -.6], [.6, .8]]), [5., 9.]]
    Q, lean2 = six_points(warp_points(L, M)); assert np.allclose(Q, warp_points(P, M), atol=1e-3) and abs(lean-lean2) < 1e-3
    a, b, c, d, e, f = P; assert a[0] < b[0] < c[0] and d[0] < e[0] < f[0] and b[1] < a[1] < d[1] < e[1] and abs(lean) < 5
    mirrored = np.array([*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *range(45, 41, -1), 47, 46, *range(39, 35, -1), 41, 40,
                         *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]); L2 = L[mirrored]*[-1, 1, 1]+[127, 0, 0]
    assert np.allclose(six_points(L2)[0][[2, 1, 0, 5, 4, 3]]*[-1, 1]+[127, 0], P, atol=1e-3) and np.isclose(six_points(L2)[1], -lean)

def test_pins_arrive(folder, pic):
    "A face that has its six points where a template, scaled and shifted, has them gets exactly that picture"
    x, L = pic; y, a = occlude(x, L, MaskTemplates(folder, 'plain'), rng_for(0)); P, _ = six_points(L); H, _ = cv2.findHomography(np.float32(PINS), P)
    T = np.zeros((200, 300), np.float32); cv2.fillPoly(T, [np.int32([PINS[i] for i in (0, 1, 2, 5, 4, 3)])], 1.); want = cv2.warpPerspective(T, H, (128, 128))
    assert ((a > .5) & (want > .5)).sum()/((a > .5) | (want > .5)).sum() > .97 and np.array_equal(y[a == 0], x[a == 0]) and a.max() == 1
    assert (at(a, L, [33, 51, 57]) > .9).all() and (at(a, L, [37, 44]) == 0).all() and ((a > 0) & (a < 1)).any()

def test_sides_and_colours(folder):
    mean = lambda yaw, kind='plain': (lambda f: (lambda o: o[0][o[1] > .9].mean(0))(occlude(f.picture, f.landmarks, MaskTemplates(folder, kind), rng_for(0))))(procedural_face(3, 160, yaw=yaw))
    l, m, r = mean(-45), mean(0), mean(45); assert l.argmax() == 0 and m.argmax() == 2 and r.argmax() == 1
    dark = mean(0, 'PLAIN_#000000'); assert dark.mean() < m.mean()-15

def test_templates_travel_and_draw(folder, pic):
    t = pickle.loads(pickle.dumps(MaskTemplates(folder))); assert t.kinds == ['plain']
    assert np.array_equal(occlude(*pic, t, rng_for(0))[0], occlude(*pic, MaskTemplates(folder, 'plain'), rng_for(1))[0])

def test_what_is_wrong_with_templates(folder, tmp_path, pic):
    def refused(text, f):
        with pytest.raises(FacecompError, match=text): f()
    refused('does not exist', lambda: MaskTemplates(tmp_path/'nowhere')); (tmp_path/'e').mkdir(); refused('no masks.cfg', lambda: MaskTemplates(tmp_path/'e'))
    refused('hat', lambda: MaskTemplates(folder, 'hat')); refused('gone.png .* missing', lambda: MaskTemplates(folder, 'gone')); refused('#rrggbb', lambda: MaskTemplates(folder, 'plain_#12'))
    refused('generator', lambda: MaskTemplates(folder)(*pic))
    for text, cfg in (('mask_a', '[p]\ntemplate: p.png\nmask_a: 1\n'), ("can't be read", 'template: p.png\n'), ('None of the templates', (folder/'masks.cfg').read_text())):
        (tmp_path/'e'/'masks.cfg').write_text(cfg); refused(text, lambda: MaskTemplates(tmp_path/'e'))
    template(folder/'plain.png', alpha=False); refused('alpha', lambda: occlude(*pic, MaskTemplates(folder, 'plain'), rng_for(0)))

# ---- templates by name ----

@pytest.fixture(scope='module')
def two(tmp_path_factory):
    "A folder with two kinds, red and blue"
    at = tmp_path_factory.mktemp('masks'); text = ''
    for n, c in (('red', (200, 40, 40)), ('blue', (40, 40, 200))):
        template(at/f'{n}.png', c); text += f'[{n}]\ntemplate: {n}.png\n' + ''.join(f'{k}: {x}, {y}\n' for k, (x, y) in zip(ANCHORS, PINS))
    (at/'masks.cfg').write_text(text); return at

def test_a_word_is_the_object(two, pic):
    word = f'templates:{two}'
    for i in range(4): assert np.array_equal(occlude(*pic, word, rng_for(i))[0], MaskTemplates(two)(*pic, rng_for(i))[0])
    assert np.array_equal(occlude(*pic, f'{word}/RED')[0], MaskTemplates(two, 'red')(*pic)[0])                   # a fixed one needs no chance
    with pytest.raises(FacecompError, match='by chance'): occlude(*pic, word)
    assert [m.kind for m in each_occluder([f'{word}/*'])] == ['red', 'blue'] and each_occluder(['n95', f'{word}/red'])[0] == 'n95'
    assert all(not np.array_equal(q[0], k[0]) for q, k in (two_views(*pic, 0, 0, i, word) for i in range(40)))
    kinds = [occlude_for(*pic, 0, 0, i, mix={word: 2, 'kn95': 1})[0] for i in range(40)]; white = np.mean([np.array_equal(k, occlude(*pic, 'kn95')[0]) for k in kinds]); assert .1 < white < .6

def test_read_once(two, pic, monkeypatch):
    "The pictures, and the table, once in a process; a fresh look only when asked for"
    read, seen = cv2.imread, []; monkeypatch.setattr(cv2, 'imread', lambda p, *a: (seen.append(p), read(p, *a))[1]); word = f'templates:{two}'; find_occluder(word)
    for i in range(20): occlude(*pic, word, rng_for(i)); occlude_for(*pic, 0, 0, i, mix={word: 1})
    assert sorted(seen) == [str(two/'blue.png'), str(two/'red.png')]

def test_a_word_that_leads_nowhere(two, pic, tmp_path):
    (tmp_path/'e').mkdir(); word = f'templates:{two}'
    for bad, says in ((f'templates:{tmp_path}/no/where', 'does not exist'), (f'templates:{tmp_path}/e', 'no masks.cfg'), (f'{word}/hat', 'there are red, blue'), (f'{word}/*', 'list of occluders'), ('templates:', 'masks.cfg'), ('temples:x', 'templates:')):
        with pytest.raises(FacecompError, match=says): occlude(*pic, bad, rng_for(0))
    with pytest.raises(FacecompError, match='surgical|no mask'): each_occluder([f'{word}/nine'])

@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    "Six drawn faces at 64², prepared with fields; two of them test"
    from facecomp.prepared import encode_field
    from facecomp.photos import prepare
    tmp = tmp_path_factory.mktemp('drawn'); f = [procedural_face(s, 96, aligned=False) for s in range(6)]; names = [f'{i}.png' for i in range(6)]
    for n, x in zip(names, f): write_picture(tmp/'src'/'utkface'/n, x.picture)
    (tmp/'src'/'utkface.csv').write_text('file,split\n'+''.join(f"{n},{'train' if n < '4' else 'test'}\n" for n in names)); np.savez(tmp/'m.npz', name=names, landmarks68=np.stack([x.landmarks for x in f]))
    for size in (64, 128): prepare('utkface', tmp/'src', tmp/f'set{size}', size=size, landmarks=tmp/'m.npz', jobs=1, progress=False)
    np.save(tmp/'set64'/'fields.npy', np.stack([encode_field(x.C, x.valid) for x in (procedural_face(s, 64) for s in range(6))])); return tmp

def test_quality_command(two, drawn, tmp_path, capsys):
    "facecomp-eval quality --masks: a column for each template, known by what it holds; what isn't there is said before anything is made"
    from facecomp.quality import main
    ask = lambda *masks: main(['quality', '--data', str(drawn/'set128'), '--out', str(tmp_path/'q'), '--no-lpips', '--limit', '1', '--device', 'cpu', '--masks', *masks])
    with pytest.raises(SystemExit) as e: ask(f'templates:{two}/hat')
    assert 'there are red, blue' in str(e.value) and not (tmp_path/'q').exists()
    ask(f'templates:{two}/*', 'n95'); said = capsys.readouterr().out; rows = [r['mask'] for r in csv.DictReader((tmp_path/'q'/'quality.csv').open()) if r['method'] == 'ours']
    assert rows[0] == 'all' and rows[1].startswith('template-red-') and rows[2].startswith('template-blue-') and rows[3] == 'n95' and '1 face is few' in said
    assert json.loads((tmp_path/'q'/'job.json').read_text())['masks'] == rows[1:]
    ask(f'templates:{two}/red', f'templates:{two}/blue', 'n95')                                  # the same job: it goes on
    with pytest.raises(SystemExit) as e: ask(f'templates:{two}')
    assert 'another evaluation' in str(e.value)

def tiny(at, drawn, *settings, **kw):
    from facecomp.trainer import main
    main(['tiny', '--data', str(drawn/'set64'), '--out', str(at), '--set', 'net.size=64', 'steps=2', 'batch=2', 'save_every=1', 'sheet_every=0', 'pretrain.steps=2', 'pretrain.batch=2', 'pretrain.save_every=1', *settings, *kw.get('more', [])])

def test_train_command(two, drawn, tmp_path):
    "Both stages under templates, in a mix, in workers; a folder that isn't there stops the run before it begins; other templates are no resume"
    tiny(tmp_path/'a', drawn, f'occluder=templates:{two}'); assert (tmp_path/'a'/'weights.safetensors').exists() and (tmp_path/'a'/'pretrain'/'encoder.safetensors').exists()
    tiny(tmp_path/'b', drawn, 'workers=2', f'mix={{"mask":1,"templates:{two}":1}}'); assert json.loads((tmp_path/'b'/'config.json').read_text())['mix'] == {'mask': 1, f'templates:{two}': 1}
    for bad, says in ((f'occluder=templates:{tmp_path}/no/where', 'does not exist'), (f'mix={{"mask":1,"templates:{two}/hat":1}}', 'there are red, blue'), (f'occluder=templates:{two}/red', 'two different masks')):
        with pytest.raises(SystemExit) as e: tiny(tmp_path/'c', drawn, bad)
        assert says in str(e.value) and not list((tmp_path/'c').glob('*'))
    mine = tmp_path/'mine'; mine.mkdir(); [(mine/f.name).write_bytes(f.read_bytes()) for f in two.iterdir()]; more = [f'occluder=templates:{mine}', 'pretrain.steps=0']
    tiny(tmp_path/'d', drawn, *more); tiny(tmp_path/'d', drawn, *more, 'steps=3', more=['--resume'])
    template(mine/'red.png', (1, 2, 3))
    with pytest.raises(SystemExit) as e: tiny(tmp_path/'d', drawn, *more, 'steps=4', more=['--resume'])
    assert 'mask templates differ' in str(e.value)

def test_real_templates_by_name(data_root):
    folder = data_root/'data'/'mask_templates'; nine = each_occluder([f'templates:{folder}/nine']); assert len(nine) == 9 and len({m.name for m in nine}) == 9
    x, L = face('grace_hopper', 128)
    for k in ('surgical_green', 'KN95'):
        y, a = occlude(x, L, f'templates:{folder}/{k}'); assert (at(a, L, [33, 51, 57]) > .9).all() and np.array_equal(y, MaskTemplates(folder, k)(x, L)[0])
    assert len({occlude(x, L, f'templates:{folder}', rng_for(i))[0].tobytes() for i in range(40)}) == 6

def test_the_real_templates(data_root):
    "MaskTheFace's own: the nine masks of the paper by their names, over nose and mouth, eyes free"
    folder = data_root/'data'/'mask_templates'; assert len(MaskTemplates(folder).kinds) == 6
    for name in ('astronaut', 'grace_hopper'):
        x, L = face(name, 160)
        for k in TEST_MASKS:
            y, a = occlude(x, L, MaskTemplates(folder, k), rng_for(0))
            assert (at(a, L, [33, 51, 57]) > .9).all() and (at(a, L, [37, 38, 43, 44]) < .1).all() and np.array_equal(y[a == 0], x[a == 0]), (name, k)
