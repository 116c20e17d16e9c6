"What can't be done is said at once, in a sentence that helps, by the function that was asked."
import pickle, warnings
import numpy as np, pytest, torch
from PIL import Image
from facecomp.align import detect_landmarks, read_landmarks
from facecomp.core import FacecompError, read_picture, rng_for, write_picture
from facecomp.faces import procedural_face
from facecomp.field import embedded_model, load_bfm
from facecomp.fit import fit_landmarks
from facecomp.mesh import rasterize
from facecomp.quality import evaluate
from facecomp.networks import NetConfig
from facecomp.cloth import LOOK, mask_texture
from facecomp.occlude import check_mix, draw_grey
from facecomp.occluders import draw_object
from facecomp.photofile import read_photo
from facecomp.prepared import PreparedFaces, spread_over
from facecomp.photos import prepare, read_set
from facecomp.samples import TrainFaces

QUAD, TWO = np.array([[[0., 0, 0], [8, 0, 0], [0, 8, 0], [8, 8, 0]]]), np.array([[0, 1, 2], [1, 3, 2]])


@pytest.fixture(scope='module')
def face(): return procedural_face(0, size=64)


@pytest.mark.parametrize('make, why', [
    (dict(base=0), 'base must be at least 1'), (dict(scales=-1), 'scales must be at least 1'), (dict(norm='x'), "'group' or 'batch'"), (dict(size=100), '64, 128')])
def test_net(make, why):
    with pytest.raises(FacecompError, match=why): NetConfig(**make)


@pytest.mark.parametrize('call, why', [
    (lambda f: draw_grey(f.picture, f.landmarks, rng_for(0), 'blot'), 'stroke'), (lambda f: draw_object(f.picture, f.landmarks, rng_for(0), 'hat'), 'eyeglasses'),
    (lambda f: mask_texture(LOOK | dict(pattern='zebra'), 16), 'camo'), (lambda f: check_mix(dict(mask=float('inf'))), 'share'),
    (lambda f: fit_landmarks(embedded_model(), np.zeros((0, 68, 2))), 'At least one face'), (lambda f: fit_landmarks(embedded_model(), f.landmarks[None], steps=0), 'one step'),
    (lambda f: detect_landmarks(f.picture, device='cuda:99'), 'cuda:99')])
def test_kinds_and_counts(face, call, why):
    with pytest.raises(FacecompError, match=why): call(face)


def test_a_coarse_pattern_is_drawn():
    for pattern in ('camo', 'floral'): assert np.isfinite(mask_texture(LOOK | dict(pattern=pattern, period=3.), 16)).all()


@pytest.mark.parametrize('attrs', [np.ones(4), np.ones((1, 2)), np.ones((3, 2)), np.ones((2, 4, 1))])
def test_attributes_of_another_mesh(attrs):
    with pytest.raises(FacecompError, match='attrs must be'): rasterize(QUAD, TWO, attrs, (8, 8), 'none')


def test_a_corner_without_depth_draws_nothing():
    hole = QUAD.copy(); hole[0, 3, 2] = np.nan; _, mask, z = rasterize(hole, TWO, np.ones((4, 1)), (8, 8), 'none')
    assert np.isfinite(z[mask]).all() and 0 < mask.sum() < rasterize(QUAD, TWO, np.ones((4, 1)), (8, 8), 'none')[1].sum()


def test_how_deep_a_picture_is(tmp_path, monkeypatch):
    "8 and 16 bits from files another library wrote; 32-bit numbers by what they hold; what an older Pillow calls a 16-bit PNG"
    import cv2
    ramp = np.arange(256).reshape(16, 16); shown = lambda a: np.repeat(np.round(a).astype(np.uint8)[..., None], 3, 2); same = lambda p, a: np.array_equal(read_picture(p), shown(a))
    for k in (1, 7, 257): cv2.imwrite(str(tmp_path/f'{k}.png'), (ramp*k).astype(np.uint16)); assert Image.open(tmp_path/f'{k}.png').mode == 'I;16' and same(tmp_path/f'{k}.png', ramp*k/257), k
    cv2.imwrite(str(tmp_path/'8.png'), ramp.astype(np.uint8)); assert same(tmp_path/'8.png', ramp)
    for k, want in ((1, ramp), (2, ramp*2/257), (257, ramp)):
        Image.fromarray((ramp*k).astype(np.int32)).save(tmp_path/f'{k}.tif'); assert Image.open(tmp_path/f'{k}.tif').mode == 'I' and same(tmp_path/f'{k}.tif', want), k
    for bad in (ramp*258, ramp-1, ramp-2**31):
        Image.fromarray(bad.astype(np.int32)).save(tmp_path/'bad.tif')
        with pytest.raises(FacecompError, match='bad.tif holds numbers from .*8 or 16 bits'): read_picture(tmp_path/'bad.tif')
    with pytest.raises(FacecompError, match='white nobody knows'): read_photo(Image.fromarray((ramp*258).astype(np.int32)))
    def older(path): im = opened(path); kind = im.format; im = im.convert('I'); im.format = kind; return im
    opened = Image.open; monkeypatch.setattr(Image, 'open', older)                                     # as until Pillow 10
    for k in (1, 7, 257): assert same(tmp_path/f'{k}.png', ramp*k/257), k


def test_a_limit_is_one_or_more(tmp_path):
    drawn(tmp_path)(); assert spread_over(9, 1) == [0] and spread_over(0) == [] and len(PreparedFaces(tmp_path/'set', limit=1)) == 1
    for k in (0, -1):
        with pytest.raises(FacecompError, match='1 or more'): spread_over(9, k)
        for spread in (False, True):
            with pytest.raises(FacecompError, match='1 or more'): PreparedFaces(tmp_path/'set', limit=k, spread=spread)
        with pytest.raises(FacecompError, match='1 or more'): evaluate(tmp_path/'set', out=tmp_path/'out', limit=k, with_lpips=False, progress=False)
    assert not (tmp_path/'out').exists()


def test_pictures(tmp_path):
    Image.fromarray(np.full((8, 8), .5, np.float32)).save(tmp_path/'float.tif')
    with pytest.raises(FacecompError, match='8 or 16 bits'): read_picture(tmp_path/'float.tif')
    for name, pic, why in (('a.jpg', np.zeros((8, 8, 4), np.uint8), 'transparency'), ('a.png', np.zeros((8, 8, 3)), 'uint8')):
        with pytest.raises(FacecompError, match=why): write_picture(tmp_path/name, pic)
    assert not (tmp_path/'a.jpg').exists() and not (tmp_path/'a.png').exists()


def test_landmarks_without_their_names(tmp_path):
    np.savez(tmp_path/'m.npz', name=['a', 'b'], landmarks68=np.zeros((1, 68, 2)))
    with pytest.raises(FacecompError, match='2 names'): read_landmarks(tmp_path/'m.npz')


@pytest.mark.parametrize('what', ['model', 'tri', 'prior'])
def test_face_model_of_other_files(tmp_path, what):
    good = dict(model=dict(u=np.zeros(9), w_shp=np.zeros((9, 40)), w_exp=np.zeros((9, 10)), keypoints=np.zeros(204, int)), tri=np.array([[0], [1], [2]]), prior=dict(mean=np.zeros(62), std=np.ones(62)))
    bad = dict(model=dict(u=np.zeros(10)), tri=np.zeros(7), prior=dict(std=np.ones(62)))
    for k in good: (tmp_path/k).write_bytes(pickle.dumps(bad[k] if k == what else good[k]))
    with pytest.raises(FacecompError, match=f'{what} is not 3DDFA_V2'): load_bfm(tmp_path/'model', tmp_path/'tri', tmp_path/'prior')


def drawn(folder, n=3):
    for i in range(n): write_picture(folder/'src'/f'{i}.png', procedural_face(i, size=96, aligned=False).picture)
    np.savez(folder/'m.npz', name=[f'{i}.png' for i in range(n)], landmarks68=np.stack([procedural_face(i, size=96, aligned=False).landmarks for i in range(n)]))
    return lambda **kw: prepare('folder', folder/'src', folder/'set', size=64, landmarks=folder/'m.npz', jobs=1, progress=False, **kw)


def test_an_unfinished_set_is_none(tmp_path, monkeypatch):
    "The manifest says that all the rest is there, so it comes last, also when a set is prepared anew"
    go = drawn(tmp_path); go(); assert len(PreparedFaces(tmp_path/'set', 'train')) >= 1
    def full(*a, **kw): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(np, 'savez', full)
    with pytest.raises(FacecompError, match='No space'): go()
    with pytest.raises(FacecompError, match='manifest.csv is missing'): PreparedFaces(tmp_path/'set', 'train')
    monkeypatch.undo(); go(); assert len(PreparedFaces(tmp_path/'set', 'train')) >= 1


def test_nothing_to_prepare(tmp_path):
    with pytest.raises(FacecompError, match='no photo to prepare'): drawn(tmp_path)(limit=0)


def test_a_table_without_files(tmp_path):
    write_picture(tmp_path/'utkface'/'1.png', np.zeros((8, 8, 3), np.uint8))
    (tmp_path/'utkface.csv').write_text('name,split\n1.png,train\n')
    with pytest.raises(FacecompError, match='no column "file"'): read_set('utkface', tmp_path)
    (tmp_path/'utkface.csv').write_text('\ufefffile,split\n1.png,train\n', encoding='utf-8'); assert len(read_set('utkface', tmp_path)) == 1      # as Excel writes it


def test_shares_of_samples(tmp_path):
    drawn(tmp_path)(); faces = PreparedFaces(tmp_path/'set', 'train')
    for bad in (dict(jitter=7.), dict(empty=-.1)):
        with pytest.raises(FacecompError, match='shares in'): TrainFaces(faces, fields=False, **bad)


def test_one_face_has_a_spread():
    from facecomp.siamese import SiameseNet
    net = SiameseNet(torch.nn.Conv2d(3, 4, 3), 4, size=4, dim=4); x = torch.rand(1, 3, 8, 8)
    with warnings.catch_warnings(): warnings.simplefilter('error'); _, said = net(x, x, torch.tensor([0]))
    assert said['std'] == 0
