"Tables 2 and 3 on tiny drawn sets, against direct computation."
import csv, importlib.util, shutil, warnings
from pathlib import Path
import numpy as np, pytest, torch
from facecomp.contest import export_method
from facecomp.core import ASSETS, FacecompError, isolated_rng, read_picture, rng_for, to_tensor, to_uint8, write_picture
from facecomp.distribution import precision_recall, realism
from facecomp.faces import procedural_face
from facecomp.methods import build
from facecomp.quality import TABLES, main
from facecomp.jobs import net_for
from facecomp.metrics import psnr, ssim
from facecomp.occlude import occlude
from facecomp.occluders import L2SFO
from facecomp.prepared import PreparedFaces, TestFaces, spread_over, turns
from facecomp.photos import prepare
from facecomp.setups import method_config, override_method
from facecomp.tables import ENOUGH, evaluate_occluders, evaluate_real, occluder_table, real_sheet, real_table

def crude(x): return torch.nn.functional.adaptive_avg_pool2d(x, 8).mean(1).flatten(1)
class Pairs(torch.nn.Module): # stands in for LPIPS
    def forward(self, a, b, normalize): assert normalize; return (a-b).abs().mean((1, 2, 3), keepdim=True)

@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    "16 bare faces, four of them to train on; five masked ones"
    tmp = tmp_path_factory.mktemp('tables')
    drawn = [procedural_face(s, size=160, aligned=False) for s in range(16)]
    names = [f'{i:02}.png' for i in range(16)]
    np.savez(tmp/'marks.npz', name=names, landmarks68=np.stack([f.landmarks for f in drawn]))
    for i, (n, f) in enumerate(zip(names, drawn)):
        write_picture(tmp/'bare'/'utkface'/n, f.picture[:, :106])             # cut at the right: bare photos have an outline, too
        if i < 5: write_picture(tmp/'masked'/n, occlude(f.picture, f.landmarks, 'mask', rng_for(1, i))[0][20:, 10:-10])
    (tmp/'bare'/'utkface.csv').write_text('file,split\n'+''.join(f"{n},{'train' if n < '04' else 'test'}\n" for n in names))
    np.savez(tmp/'cut.npz', name=names[:5], landmarks68=np.stack([f.landmarks[:, :2]-[10, 20] for f in drawn[:5]]))
    prepare('utkface', tmp/'bare', tmp/'bare_set', landmarks=tmp/'marks.npz', jobs=1, progress=False)
    prepare('folder', tmp/'masked', tmp/'masked_set', landmarks=tmp/'cut.npz', jobs=1, progress=False)
    return tmp

@pytest.fixture(scope='module')
def six(sets): return evaluate_occluders(sets/'bare_set', out=sets/'six', limit=2, with_lpips=False, progress=False)

@torch.no_grad()
def test_occluders_by_hand(sets, six):
    "PSNR and SSIM of ours and of the input, face by face: the first and the last of twelve"
    faces = PreparedFaces(sets/'bare_set', 'test'); ds = TestFaces(faces, L2SFO); net, _ = net_for(faces)
    assert len(faces) == 12 and list(six) == [*L2SFO, 'mean']
    for k in (1, 5):
        d = [ds[i*6+k] for i in (0, 11)]
        x, y, v = (torch.stack([e[n] for e in d]) for n in ('x', 'y', 'valid'))
        for m, p in dict(occluded=x, ours=torch.cat([net(e[None]).pictures[0].clamp(0, 1) for e in x])).items():
            assert psnr(p, y, v).mean().item() == pytest.approx(six[L2SFO[k]][m]['psnr'], abs=2e-3)
            assert ssim(torch.where(v > 0, p, y), y, v).mean().item() == pytest.approx(six[L2SFO[k]][m]['ssim'], abs=2e-4)
    assert six['mean']['ours']['pictures'] == 12 and six['hand']['telea']['pictures'] == 2

def test_occluder_files(sets, six):
    rows = list(csv.DictReader((sets/'six'/'occluders.csv').open()))
    assert len(rows) == 7*5 and {r['occluder'] for r in rows} == {*L2SFO, 'mean'}
    assert float(rows[0]['psnr']) == pytest.approx(six['mask']['ours']['psnr'])
    tex = (sets/'six'/'occluders.tex').read_text()
    assert tex.count(r'\\') == 36 and all(l.count('&') == 6 for l in tex.splitlines() if '&' in l) and 'nan' not in tex
    assert len(occluder_table(six, ('ours',)).splitlines()) == 2+7

def test_fid_needs_a_whole_large_set(sets, six, monkeypatch):
    "Under 1,000 faces, or with a limit, no FID; the mean of the lines otherwise"
    run = lambda **kw: evaluate_occluders(sets/'bare_set', crude, out=sets/'fids', masks=L2SFO[:2], with_lpips=False, name='8²', progress=False, **kw)
    assert ENOUGH == 1000 and np.isnan(six['mean']['ours']['fid'])
    monkeypatch.setattr('facecomp.tables.ENOUGH', 12)
    assert np.isnan(run(limit=3)['mask']['ours']['fid'])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        res = run()
    assert res['mean']['ours']['fid'] == pytest.approx(np.mean([res[k]['ours']['fid'] for k in L2SFO[:2]]), abs=1e-3)
    assert res['mask']['occluded']['fid'] > res['mask']['ours']['fid'] > 0
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); few = evaluate_occluders(sets/'bare_set', crude, out=sets/'fid_of', masks=L2SFO[:2], with_lpips=False, name='8²', progress=False, fid_of=('ours',))
    assert few['mean']['ours']['fid'] == pytest.approx(res['mean']['ours']['fid']) and np.isnan(few['mask']['occluded']['fid'])

def test_what_is_missing_is_said_first(sets, tmp_path, monkeypatch):
    "Inception, LPIPS and nonsense before the first face is scored"
    monkeypatch.setattr('facecomp.tables.ENOUGH', 12); scored = []; monkeypatch.setattr('facecomp.tables.evaluate', lambda *a, **k: scored.append(a))
    for bad, text in (((('inception', dict(file=tmp_path/'none.pth'))), 'none.pth does not exist'), ((crude, dict(fid_of=('magic',))), 'magic'), ((crude, dict(masks='cup')), 'list of occluders')):
        with pytest.raises(FacecompError, match=text): evaluate_occluders(sets/'bare_set', bad[0], out=tmp_path/'six', progress=False, **bad[1])
    def lost(where): raise FacecompError('no AlexNet')
    monkeypatch.setattr('facecomp.tables.lpips_net', lost)
    with pytest.raises(FacecompError, match='no AlexNet'): evaluate_real(sets/'masked_set', sets/'bare_set', crude, out=tmp_path/'real', name='8²', progress=False)
    with pytest.raises(FacecompError, match='dino'): evaluate_real(sets/'masked_set', sets/'bare_set', 'dino', out=tmp_path/'real', progress=False)
    assert not scored and not list(tmp_path.iterdir())

@pytest.fixture(scope='module')
def real(sets):
    with pytest.MonkeyPatch.context() as m, warnings.catch_warnings():
        warnings.simplefilter('ignore'); m.setattr('facecomp.tables.lpips_net', lambda where: Pairs())
        return evaluate_real(sets/'masked_set', sets/'bare_set', crude, out=sets/'real', name='8²', progress=False)

@torch.no_grad()
def test_real_by_hand(sets, real):
    "Ten of twelve bare faces, alternately reference and held back, each in the outline of a masked photo"
    masked, bare = PreparedFaces(sets/'masked_set'), PreparedFaces(sets/'bare_set', 'test')
    grey = lambda p, v: torch.where(torch.from_numpy(v)[None] > 0, to_tensor(p), torch.tensor(.5))
    outline = [masked.picture(j)[1] for j in range(5)]
    assert min(v.mean() for v in outline) < .99                       # the crops leave something outside
    picks = np.linspace(0, 11, 10).round().astype(int)
    faces = [[grey(bare.picture(i)[0], bare.picture(i)[1]*outline[k]) for k, i in enumerate(p)] for p in (picks[::2], picks[1::2])]
    net, _ = net_for(masked); ours = [to_uint8(net(to_tensor(masked.picture(j)[0])[None]).pictures[0][0].clamp(0, 1)) for j in range(5)]
    assert np.array_equal(ours[3], read_picture(sets/'real'/'completed'/masked.rows[3]['file']))
    both = [o*bare.picture(i)[1] for o, i in zip(outline, picks[1::2])]        # and in that of the bare face that is held back
    assert max(o.mean()-b.mean() for o, b in zip(outline, both)) > .02
    pics = dict(masked=[grey(masked.picture(j)[0], both[j]) for j in range(5)], ours=[grey(ours[j], both[j]) for j in range(5)])
    ref, ring = crude(torch.stack(faces[0])), rng_for(0).permutation(5)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for m, p in {**pics, 'bare faces': faces[1]}.items():
            want = precision_recall(ref, crude(torch.stack(p)))
            assert all(real[m][k] == pytest.approx(v) for k, v in want.items()), m
            assert real[m]['realism'] == pytest.approx(float(np.median(realism(ref, crude(torch.stack(p))))), rel=1e-4)
            pairs = np.mean([(p[ring[k]]-p[ring[k-1]]).abs().mean().item() for k in range(5)])
            assert real[m]['lpips_pairs'] == pytest.approx(pairs, rel=1e-4)
    change = np.mean([(a-b).abs().mean().item() for a, b in zip(pics['masked'], pics['ours'])])
    assert real['ours']['lpips_change'] == pytest.approx(change, rel=1e-4) and np.isnan(real['masked']['lpips_change'])
    assert all(np.isnan(v['fid']) and v['pictures'] == v['reference'] == 5 for v in real.values())

def test_real_files(sets, real):
    rows = list(csv.DictReader((sets/'real'/'real.csv').open()))
    assert [r['method'] for r in rows] == ['masked', 'ours', 'bare faces'] and float(rows[1]['f1']) == pytest.approx(real['ours']['f1'])
    tex = (sets/'real'/'real.tex').read_text()
    assert all(l.count('&') == 7 for l in tex.splitlines() if '&' in l) and 'nan' not in tex and len(real_table(real).splitlines()) == 5
    assert real_sheet(sets/'masked_set', sets/'real', 3).shape == (128, 3*256, 3)

def test_real_leaves_the_sets_own_bare_faces_out(sets, tmp_path):
    "RMFD's bare photos lie in the same set as its masked ones, with masked=0"
    shutil.copytree(sets/'masked_set', tmp_path/'set'); table = tmp_path/'set'/'manifest.csv'; head, *rows = table.read_text().splitlines()
    run = lambda: evaluate_real(tmp_path/'set', sets/'bare_set', crude, out=tmp_path/'out', with_lpips=False, name='8²', progress=False)
    table.write_text('\n'.join([head+',masked', *(f'{r},{int(i != 1)}' for i, r in enumerate(rows)), '']))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore'); assert run()['ours']['pictures'] == 4
    assert sorted(p.name for p in (tmp_path/'out'/'completed').iterdir()) == [r.split(',')[0] for i, r in enumerate(rows) if i != 1]
    table.write_text('\n'.join([head+',masked', *(f'{r},0' for r in rows), '']))
    with pytest.raises(FacecompError, match='no masked photos'): run()

def test_real_refuses_another_job(sets, real):
    with pytest.raises(FacecompError, match='another evaluation'):
        evaluate_real(sets/'masked_set', sets/'bare_set', crude, out=sets/'real', limit=4, name='8²', progress=False)
    with pytest.raises(FacecompError, match='no completions'): real_sheet(sets/'masked_set', sets/'none')

def test_commands(sets, six, capsys):
    assert {'occluders', 'real'} <= TABLES.keys()
    main(['occluders', '--data', str(sets/'bare_set'), '--out', str(sets/'six'), '--limit', '2', '--no-lpips', '--no-fid', '--device', 'cpu', '--sheet', '2'])
    assert occluder_table(six) in capsys.readouterr().out and (sets/'six'/'sheet.png').exists()
    with pytest.raises(SystemExit, match='facecomp-eval real: .*no prepared set'): main(['real', '--data', str(sets/'none'), '--reference', str(sets/'bare_set')])

def test_sheet_of_portraits(tmp_path, capsys):
    "data_scripts/make_sheet.py makes Figs. 4, 6 and 10 of the two portraits"
    file = Path(__file__).resolve().parent.parent/'data_scripts'/'make_sheet.py'; spec = importlib.util.spec_from_file_location('make_sheet', file); script = importlib.util.module_from_spec(spec); spec.loader.exec_module(script)
    class Same(torch.nn.Module):
        def forward(self, x): from facecomp.daf import Completion; return Completion([x], [], [], [])
    info = dict(net=dict(size=64), convention=dict(name='lightcnn')); six = script.sheet([Same(), Same()], [info]*2, L2SFO); assert six.shape == (12*64, 4*64, 3)
    given, a, b, truth = np.split(six, 4, 1); assert (given == a).all() and (a == b).all()
    covered = (given != truth).any(2).reshape(12, -1).mean(1); assert (covered > .02).all() and (covered < .8).all() and len(set(covered)) == 12     # each its own occluder, before each portrait
    assert (truth[:64] == truth[5*64:6*64]).all() and (truth[:64] != truth[6*64:7*64]).any() and (script.sheet([Same()]*2, [info]*2, L2SFO) == six).all()
    weights = Path(script.__file__).parent.parent/'facecomp'/'assets'/'weights.safetensors'
    script.main([f'ours={weights}', '--masks', 'n95', 'hand', '-o', str(tmp_path/'sheet.png')]); pic = read_picture(tmp_path/'sheet.png'); assert 4*128/(3*128) < pic.shape[0]/pic.shape[1] < 4.5*128/(3*128)
    for bad in (['--masks', 'nose'], ['--under', 'ten'], ['--under', 'six', '--masks', 'n95']):
        with pytest.raises(SystemExit): script.main([f'ours={weights}', *bad, '-o', str(tmp_path/'no.png')])
    with pytest.raises(SystemExit, match='NAME=WEIGHTS'): script.main([str(weights), '-o', str(tmp_path/'no.png')])
    assert not (tmp_path/'no.png').exists()

def script(name):
    file = Path(__file__).resolve().parent.parent/'data_scripts'/f'{name}.py'; spec = importlib.util.spec_from_file_location(name, file); module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); return module

class Same(torch.nn.Module): # gives back what it is given
    def __init__(self, size): super().__init__(); self.cfg = type('Cfg', (), dict(size=size))
    def forward(self, x): from facecomp.daf import Completion; assert x.shape[-1] == self.cfg.size; return Completion([x], [], [], [])

def test_sizes_beside_each_other(sets, tmp_path, monkeypatch, capsys):
    "Each network gets the photo at its own size and is judged at the one asked for, by hand"
    sizes = script('compare_sizes'); res = sizes.compare(sets/'bare_set', dict(whole=Same(128), half=Same(64)), 128, 3, with_lpips=False)
    ds = TestFaces(PreparedFaces(sets/'bare_set', 'test')); at = spread_over(12, 3); items = [ds[i*9+m] for i, m in zip(at, turns(at, 9))]; x, y, v = (torch.stack([d[k] for d in items]) for k in ('x', 'y', 'valid'))
    assert np.allclose(res['whole']['psnr'], psnr(x, y, v), atol=1e-4)
    small = torch.nn.functional.interpolate(torch.nn.functional.interpolate(x, (64, 64), mode='area'), (128, 128), mode='bicubic', align_corners=False).clamp(0, 1)
    assert np.allclose(res['half']['psnr'], psnr(small, y, v), atol=1e-4) and (res['half']['psnr'] != res['whole']['psnr']).all()
    equal = sizes.compare(sets/'bare_set', dict(whole=Same(128), half=Same(64)), 64, 3, with_lpips=False)      # shrunk before or after: area averages are the same
    assert np.allclose(equal['whole']['psnr'], equal['half']['psnr'], atol=1e-4) and {'psnr', 'ssim', 'psnr_hole'} == {*equal['half']}
    monkeypatch.setattr(sizes, 'open_network', lambda f: (Same(int(f)), dict(convention=dict(name='lightcnn'))))
    sizes.main([str(sets/'bare_set'), 'whole=128', 'half=64', '--no-lpips', '--limit', '3', '--out', str(tmp_path/'s.csv')]); said = capsys.readouterr().out
    first, second = csv.DictReader((tmp_path/'s.csv').open()); assert first['psnr-whole'] == '' and float(second['psnr-whole']) == pytest.approx((res['half']['psnr']-res['whole']['psnr']).mean(), abs=1e-5) and '| half (64²) |' in said
    for bad in (['whole=128'], ['whole=128', '64'], ['a=128', 'a=64'], ['a=64', 'b=128', '--at', '256'], ['a=64', 'b=256', '--at', '64']):
        with pytest.raises(SystemExit, match='compare_sizes: '): sizes.main([str(sets/'bare_set'), *bad, '--no-lpips', '--limit', '2'])

def test_a_bench_without_a_gpu(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False); monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent/'data_scripts'))
    with pytest.raises(SystemExit, match='bench_graph: there is no GPU'): script('bench_graph').main([])

def test_two_methods_on_real_masks(sets, tmp_path, monkeypatch, capsys):
    "One table and one sheet; broken off within the second method it goes on there"
    class Crude(torch.nn.Module): # stands in for Inception
        def forward(self, x):
            seen.append(len(x))
            if len(seen) > stop: raise KeyboardInterrupt
            return crude(x)
    seen, stop, scored = [], 1000, []
    class Counted(Pairs):
        def forward(self, a, b, normalize): scored.append(1); return super().forward(a, b, normalize)
    monkeypatch.setattr('facecomp.tables.open_features', lambda *a: Crude()); monkeypatch.setattr('facecomp.tables.lpips_net', lambda where: Counted())
    cfg = override_method(method_config('dfnet-small', 128), ['net.base=8', 'net.widest=32'])
    with isolated_rng(0): export_method(tmp_path/'dfnet', build(cfg.method, cfg.size, **cfg.net), cfg, PreparedFaces(sets/'masked_set').convention)
    ask = lambda out, *weights: main(['real', '--data', str(sets/'masked_set'), '--reference', str(sets/'bare_set'), '--out', str(tmp_path/out), '--device', 'cpu', '--sheet', '4', '--weights', *weights])
    ours, theirs = str(ASSETS/'weights.safetensors'), str(tmp_path/'dfnet')
    ask('both', f'ours={ours}', f'df_net={theirs}')
    said, both = capsys.readouterr().out, list(csv.DictReader((tmp_path/'both'/'real.csv').open()))
    assert [r['method'] for r in both] == ['masked', 'ours', 'df_net', 'bare faces'] and sum(seen) == 2+5+2*5+10 and len(scored) == 5*(2+2*2)        # pairs of two lines, pairs and change of two methods
    assert abs(read_picture(tmp_path/'both'/'sheet.png').shape[1]-3*128) <= 1 and r'df\_net & -- & ' in (tmp_path/'both'/'real.tex').read_text() and (tmp_path/'both'/'real.md').read_text() in said
    for m, w in (('ours', ours), ('df_net', theirs)):                         # the lines of each network alone
        ask(f'one_{m}', w)
        alone = {r['method']: r for r in csv.DictReader((tmp_path/f'one_{m}'/'real.csv').open())}
        for r in both:
            if r['method'] != {'ours': 'df_net', 'df_net': 'ours'}[m]:
                assert {k: v for k, v in r.items() if k != 'method'} == {k: v for k, v in alone['ours' if r['method'] == m else r['method']].items() if k != 'method'}
    seen.clear(); stop = 1+5+10+1+2; capsys.readouterr()                       # a call a photo; a first one a method, for the length of a vector
    with pytest.raises(KeyboardInterrupt): ask('parts', f'ours={ours}', f'df_net={theirs}')
    assert (tmp_path/'parts'/'ours'/'real.csv').exists() and not (tmp_path/'parts'/'real.csv').exists() and len(list((tmp_path/'parts'/'df_net'/'completed').iterdir())) == 3
    stop = 1000; seen.clear(); ask('parts', f'ours={ours}', f'df_net={theirs}')
    assert sum(seen) == 2+3 and capsys.readouterr().out.replace('parts', 'both') == said
    for f in ('real.csv', 'real.tex', 'real.md', 'sheet.png'): assert (tmp_path/'parts'/f).read_bytes() == (tmp_path/'both'/f).read_bytes()
    with pytest.raises(SystemExit, match='another evaluation'): ask('both', f'df_net={ours}')
    with pytest.raises(SystemExit, match="can't be a method's name"): ask('both', f'bare={ours}')
