"Glasses, cup, scarf, hand and MaskTheFace's templates from outside: what comes back, where it covers, that it repeats, what it refuses"
import pickle
import cv2, numpy as np, pytest
from facecomp.align import similarity, warp_picture, warp_points
from facecomp.core import FacecompError, portrait, rng_for, write_picture
from facecomp.faces import procedural_face
from facecomp.occlude import KINDS, MORE, TEST_MASKS, occlude, occlude_for
from facecomp.occluders import ANCHORS, L2SFO, MaskTemplates, draw_object, six_points

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

def test_the_real_templates(data_root):
    "MaskTheFace's own: the nine masks of the paper by their names, over nose and mouth, eyes free"
    folder = data_root/'data'/'mask_templates'; assert len(MaskTemplates(folder).kinds) == 6
    for name in ('astronaut', 'grace_hopper'):
        x, L = face(name, 160)
        for k in TEST_MASKS:
            y, a = occlude(x, L, MaskTemplates(folder, k), rng_for(0))
            assert (at(a, L, [33, 51, 57]) > .9).all() and (at(a, L, [37, 38, 43, 44]) < .1).all() and np.array_equal(y[a == 0], x[a == 0]), (name, k)
