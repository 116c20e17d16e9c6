"Verification against scikit-learn and against the slow way; on real faces where there are some."
import csv, importlib.util, subprocess, sys, warnings
from pathlib import Path
from unittest.mock import patch
import numpy as np, pytest, torch
from facecomp.contest import export_method
from facecomp.core import ASSETS, FacecompError, isolated_rng, to_tensor, write_picture
from facecomp.faces import procedural_face
from facecomp.methods import build
from facecomp.jobs import FeatureTable
from facecomp.quality import main
from facecomp.prepared import PreparedFaces
from facecomp.photos import prepare, read_set
from facecomp.setups import method_config, override_method
from facecomp.roc import _bends, _stats, auc, bootstrap, roc, tpr_at, weighted_stats
from facecomp.roc import best_threshold, fold_accuracy
from facecomp.verification import dlib_embedder, lfw_pairs, read_pairs, open_embedder, verify
from facecomp.templates import pool_templates, template_scores

@pytest.fixture(params=[None, 2, 1])
def scored(request):
    "200 pairs; rounded, so that many scores are equal"
    rng = np.random.default_rng(0)
    same = rng.random(200) < .5
    s = rng.normal(same*.4, .25)
    return (s if request.param is None else s.round(request.param)), same

def test_roc_is_scikit_learns(scored):
    m = pytest.importorskip('sklearn.metrics')
    s, y = scored
    for a, b in zip(roc(s, y), m.roc_curve(y, s, drop_intermediate=False)): np.testing.assert_allclose(a, b, atol=1e-12)
    assert auc(s, y) == pytest.approx(m.roc_auc_score(y, s), abs=1e-12)

@pytest.mark.parametrize('at', [.01, .1, .5])
@pytest.mark.filterwarnings('ignore:FPR')
def test_tpr_is_scikit_learns(scored, at):
    m = pytest.importorskip('sklearn.metrics')
    s, y = scored
    f, t, _ = m.roc_curve(y, s, drop_intermediate=False)
    assert tpr_at(s, y, at) == pytest.approx(np.interp(at, f, t), abs=1e-12)
    below = max(np.mean(s[y] >= c) for c in [*s, np.inf] if np.mean(s[~y] >= c) <= at)      # no interpolation: the best threshold within the FPR
    assert below <= tpr_at(s, y, at)+1e-12
    above = min((np.mean(s[y] >= c) for c in s if np.mean(s[~y] >= c) > at), default=1)
    assert tpr_at(s, y, at) <= above+1e-12

def test_few_negatives_warn(scored):
    with pytest.warns(UserWarning, match='negative pairs'): tpr_at(*scored, .001)

@pytest.mark.filterwarnings('ignore:FPR')
def test_weights_are_repetitions(scored):
    s, y = scored
    w = np.random.default_rng(1).integers(0, 4, (10, 200))
    for got, k in zip(weighted_stats(s, y, w, (.01, .1)), w):
        np.testing.assert_allclose(got, [auc(s.repeat(k), y.repeat(k)), tpr_at(s.repeat(k), y.repeat(k), .01), tpr_at(s.repeat(k), y.repeat(k), .1)], atol=1e-9)

def test_bootstrap_draws_persons():
    "three persons: in every draw the weights are those of one of the 27 sequences"
    s, y = np.array([.9, .2, .8, .3, .5, .6]), np.array([1, 1, 1, 0, 0, 0], bool)
    who = np.array([[7, 7], [3, 3], [9, 9], [7, 3], [3, 9], [7, 9]])
    import itertools
    values = []
    for draw in itertools.product((3, 7, 9), repeat=3):
        n = {p: draw.count(p) for p in (3, 7, 9)}
        w = np.array([n[a] if k else n[a]*n[b] for (a, b), k in zip(who, y)])
        if w[y].sum() and w[~y].sum(): values.append(auc(s.repeat(w), y.repeat(w)))
    lo, hi = bootstrap(s, y, who, n=4000)[:, 0]
    assert (lo, hi) == pytest.approx(np.quantile(values, [.025, .975]), abs=.02)
    assert (bootstrap(s, y, who, n=50) == bootstrap(s, y, who, n=50)).all() and not bootstrap(s, y, who, n=50, minus=s).any()

@pytest.mark.filterwarnings('ignore:FPR')
def test_bends_are_the_curve(scored):
    "a list alone, and three as one, from counts at the scores of same pairs"
    s, y = scored
    S = np.stack([s, s[::-1], np.sort(s)])
    T, F = _bends(S, y)
    n = int((~y).sum())
    want = lambda s, y: [auc(s, y), tpr_at(s, y, .01), tpr_at(s, y, .1), tpr_at(s, y, 1)]
    np.testing.assert_allclose(_stats(T, F, [n]*3, (.01, .1, 1)), [want(x, y) for x in S], atol=1e-12)
    np.testing.assert_allclose(_stats(T.sum(0)[None], F.sum(0)[None], [3*n], (.01, .1, 1)), [want(S.ravel(), np.tile(y, 3))], atol=1e-12)

def test_folds_by_brute_force(scored):
    s, y = scored
    fold = np.arange(200) % 4
    acc, th = fold_accuracy(s, y, fold)
    for k in range(4):
        on = fold != k
        cand = np.unique(s[on])
        cand = np.r_[-np.inf, (cand[1:]+cand[:-1])/2, np.inf]
        assert ((s[on] > th[k]) == y[on]).sum() == max(((s[on] > c) == y[on]).sum() for c in cand)
        assert acc[k] == ((s[~on] > th[k]) == y[~on]).mean()
    with pytest.raises(FacecompError, match='One fold'): fold_accuracy(s, y, fold*0)
    assert best_threshold([1, 2], [1, 0]) in (-np.inf, np.inf)

def test_template_pooling_by_hand():
    rng = np.random.default_rng(0)
    x, t, m = rng.normal(size=(90, 6)), rng.integers(0, 5, 90)*10, rng.integers(0, 9, 90)
    ids, v = pool_templates(x, t, m)
    for k, i in enumerate(ids):
        u = x/np.linalg.norm(x, axis=1, keepdims=True)
        want = np.mean([u[(t == i) & (m == j)].mean(0) for j in np.unique(m[t == i])], 0)
        np.testing.assert_allclose(v[k], want/np.linalg.norm(want), atol=1e-12)
    a, b = ids[[0, 1, 2, 4]], ids[[0, 3, 3, 1]]
    s = template_scores(ids, v, a, b, chunk=3)
    assert s[0] == pytest.approx(1) and s[2] == pytest.approx(v[2] @ v[3], abs=1e-6)
    with pytest.raises(FacecompError, match='no template'): template_scores(ids, v, [0], [5])
    with pytest.raises(FacecompError, match='cancel'): pool_templates(np.array([[1., 0], [-1, 0]]), [1, 1], [1, 2])

@pytest.mark.parametrize('text', ['', 'x', '2\t1\nA\t1\t2\n', '1\t1\nA\t1\t2\nA\t1\n', '10 300'])
def test_wrong_lists_are_explained(tmp_path, text):
    (tmp_path/'p.txt').write_text(text)
    with pytest.raises(FacecompError, match='no list of pairs'): read_pairs(tmp_path/'p.txt')
    with pytest.raises(FacecompError, match='does not exist'): read_pairs(tmp_path/'q.txt')

def test_development_list(tmp_path):
    "LFW's View 1 has one number in its first line"
    (tmp_path/'p.txt').write_text('1\nA\t1\t2\nA\t1\tB C\t3\n')
    assert read_pairs(tmp_path/'p.txt') == [('A/A_0001', 'A/A_0002', True, 0), ('A/A_0001', 'B C/B C_0003', False, 0)]

# ---- several methods ----

class Pixels(torch.nn.Module):
    def forward(self, x): return torch.nn.functional.adaptive_avg_pool2d(x, 12).flatten(1)

@pytest.fixture(scope='module')
def people(tmp_path_factory):
    "six drawn people in LFW's layout, a network that has learnt nothing, and an embedder of pixels"
    tmp = tmp_path_factory.mktemp('people')
    who = {f'P{k}/P{k}_{j+1:04}.png': procedural_face(100*k+j, 160, identity=k, aligned=False) for k in range(6) for j in range(2)}
    for n, f in who.items(): write_picture(tmp/'src'/n, f.picture)
    np.savez(tmp/'m.npz', name=list(who), landmarks68=np.stack([f.landmarks for f in who.values()]))
    pairs = [l for f in (0, 3) for l in (*(f'P{f+k}\t1\t2' for k in range(3)), *(f'P{f+k}\t1\tP{f+(k+1) % 3}\t2' for k in range(3)))]
    (tmp/'src'/'pairs.txt').write_text('\n'.join(['2\t3', *pairs, '']))
    prepare('lfw', tmp/'src', tmp/'set', landmarks=tmp/'m.npz', jobs=1, progress=False)
    cfg = override_method(method_config('dfnet-small', 128), ['net.base=8', 'net.widest=32'])
    with isolated_rng(0): export_method(tmp/'dfnet', build(cfg.method, cfg.size, **cfg.net), cfg, PreparedFaces(tmp/'set').convention)
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); torch.jit.script(Pixels()).save(str(tmp/'pixels_12.pt'))
    return tmp

def test_two_methods_from_the_shell(people, tmp_path, capsys, monkeypatch):
    "Broken off at every stage and started again, it says what one run says, and makes nothing twice"
    ask = lambda out, *more, weights=(f"ours={ASSETS/'weights.safetensors'}", f"df_net%={people/'dfnet'}"): main(
        ['verify', '--data', str(people/'set'), '--embedder', f"facexzoo:{people/'pixels_12.pt'}", '--weights', *weights, '--masks', 'n95', 'cloth_#515151', '--out', str(out), '--device', 'cpu', *more])
    ask(tmp_path/'whole')
    said, files = capsys.readouterr().out, {p.name for p in (tmp_path/'whole').iterdir()}
    assert [l.split('|')[1].strip() for l in said.splitlines() if l.startswith('|')] == ['probe', '---', 'masked', 'ours', 'df_net%', 'untouched']
    assert files == {'job.json', 'features.npy', 'features_done.npy', 'verification.csv', 'verification.tex', 'verification.md', 'roc.png', 'ours', 'df_net%'}
    put, made = FeatureTable.put, []
    def tired(self, i, versions, v):
        if len(made) >= stop: raise KeyboardInterrupt
        made.append((self.files[0].parent.name, i, *versions)); put(self, i, versions, v)
    monkeypatch.setattr(FeatureTable, 'put', tired)
    for stop in (3, 14, 25, 1000):
        try: ask(tmp_path/'parts'); break
        except KeyboardInterrupt: assert not (tmp_path/'parts'/'verification.csv').exists()
    assert stop == 1000 and len(set(made)) == len(made) == 12+6+2*6       # untouched; six probes masked; completed by each
    assert capsys.readouterr().out.replace('parts', 'whole') == said
    for f in ('verification.csv', 'verification.tex', 'verification.md', 'roc.png', 'ours/scores.npz', 'df_net%/verification.csv'):
        assert (tmp_path/'parts'/f).read_bytes() == (tmp_path/'whole'/f).read_bytes(), f
    tex = (tmp_path/'whole'/'verification.tex').read_text()
    assert r'pixels\_12 & df\_net\% & ' in tex and 'nan' not in tex and tex.count(' to ') >= 4*3+2*3
    rows = {r['probe']: r for r in csv.DictReader((tmp_path/'whole'/'verification.csv').open())}
    for m in ('ours', 'df_net%'):                                             # each line by hand, from the scores
        with np.load(tmp_path/'whole'/m/'scores.npz') as d: d = dict(d)
        assert float(rows[m]['auc']) == pytest.approx(np.mean([auc(s, d['same']) for s in d['completed']]), abs=1e-6)
        assert float(rows[m]['auc-masked']) == pytest.approx(float(rows[m]['auc'])-float(rows['masked']['auc']), abs=2e-6)
        lo, hi = bootstrap(d['completed'], d['same'], d['persons'], minus=d['masked'])[:, 0]
        assert (float(rows[m]['auc-masked_low']), float(rows[m]['auc-masked_high'])) == pytest.approx((lo, hi), abs=1e-6)

def test_fid_of_two_methods_from_the_shell(people, tmp_path, capsys, monkeypatch):
    "The same for FID, precision, recall and realism, stopped also between the distances"
    from facecomp import distribution
    monkeypatch.setattr(distribution, 'open_features', lambda *a: Pixels())
    ask = lambda out: main(['fid', '--data', str(people/'set'), '--weights', f"ours={ASSETS/'weights.safetensors'}", f"df_net%={people/'dfnet'}", '--methods', 'occluded', 'ours', '--masks', 'n95', 'cloth_#515151', '--out', str(out), '--device', 'cpu'])
    ask(tmp_path/'whole')
    said = capsys.readouterr().out
    assert [l.split('|')[1].strip() for l in said.splitlines() if l.startswith('|')] == ['method', '---', 'occluded', 'ours', 'df_net%'] and said.count('compare only') == 3
    put, score, made = FeatureTable.put, distribution.fid, []
    def tired(*what):
        if len(made) >= stop: raise KeyboardInterrupt
        made.append(what)
    def slow(self, i, versions, v): tired(self.files[0].parent.name, i, *versions); put(self, i, versions, v)
    def root(real, fake): tired('fid', float(fake[:].sum())); return score(real, fake)
    monkeypatch.setattr(FeatureTable, 'put', slow); monkeypatch.setattr(distribution, 'fid', root)
    for stop in (5, 20, 26, 40, 41, 1000):
        try: ask(tmp_path/'parts'); break
        except KeyboardInterrupt: assert not (tmp_path/'parts'/'fid.csv').exists()
    vectors = [w for w in made if w[0] != 'fid']
    assert stop == 1000 and len(set(vectors)) == len(vectors) == 12+2*12         # truth and masked; completed by each
    assert len({w for w in made if w[0] == 'fid'}) == 3*2 and len(made)-len(vectors) < 3*2+2          # what was scored in full isn't scored again
    assert capsys.readouterr().out.replace('parts', 'whole') == said
    for f in ('fid.csv', 'fid.tex', 'fid.md', 'scores.json', 'ours/scores.json', 'df_net%/scores.json'): assert (tmp_path/'parts'/f).read_bytes() == (tmp_path/'whole'/f).read_bytes(), f
    rows = list(csv.DictReader((tmp_path/'whole'/'fid.csv').open()))
    assert [(r['method'], r['mask']) for r in rows] == [(m, 'average') for m in ('occluded', 'ours', 'df_net%')]+[(m, k) for m in ('occluded', 'ours', 'df_net%') for k in ('n95', 'cloth_#515151')]
    with pytest.raises(SystemExit, match='another evaluation'): main(['fid', '--data', str(people/'set'), '--out', str(tmp_path/'whole'), '--methods', 'occluded', 'ours', '--device', 'cpu'])

def test_one_network_is_what_it_was(people, tmp_path, capsys):
    "--weights FILE, also of a file whose name holds =; a folder is for one or for several"
    ask = lambda out, *weights: main(['verify', '--data', str(people/'set'), '--embedder', f"facexzoo:{people/'pixels_12.pt'}", '--weights', *weights, '--masks', 'n95', '--out', str(out), '--device', 'cpu', '--limit', '6'])
    (tmp_path/'uv=0.1').symlink_to(people/'dfnet')
    ask(tmp_path/'one', str(tmp_path/'uv=0.1'))
    said = capsys.readouterr().out
    assert '| completed − masked |' in said and np.load(tmp_path/'one'/'features.npy').shape == (12, 3, 432)
    ask(tmp_path/'one', str(people/'dfnet'))
    assert capsys.readouterr().out == said                                    # the same weights by another path
    with pytest.raises(SystemExit, match='another evaluation'): ask(tmp_path/'one', f"a={people/'dfnet'}")
    ask(tmp_path/'many', f"a={people/'dfnet'}")
    with pytest.raises(SystemExit, match='another evaluation'): ask(tmp_path/'many', str(people/'dfnet'))
    with pytest.raises(SystemExit, match='NAME=RUN'): ask(tmp_path/'x', str(people/'dfnet'), str(people/'dfnet'))
    assert not (tmp_path/'x').exists()

def test_templates_of_a_set_from_the_shell(people, tmp_path, capsys):
    "Two photos a person, a template each: the same scores as photo against photo"
    root = Path(__file__).resolve().parents[1]; run = lambda *a: subprocess.run([sys.executable, 'data_scripts/make_templates.py', people/'set', '-o', tmp_path/'t', *a], cwd=root, capture_output=True, text=True)
    r = run(); assert r.returncode == 1 and '0 have 4 or more photos' in r.stderr and not (tmp_path/'t').exists()
    r = run('--least', '2'); assert r.returncode == 0 and '6 people with 12 photos, 36 comparisons' in r.stdout, r.stdout+r.stderr
    r = run('--least', '3'); assert r.returncode == 1 and 'two are needed' in r.stderr
    r = run('--least', '2', '--most', '1'); assert r.returncode == 1 and 'already holds another set' in r.stderr
    main(['templates', '--data', str(tmp_path/'t'), '--embedder', f"facexzoo:{people/'pixels_12.pt'}", '--weights', str(people/'dfnet'), '--masks', 'n95', '--out', str(tmp_path/'o'), '--device', 'cpu'])
    main(['verify', '--data', str(people/'set'), '--embedder', f"facexzoo:{people/'pixels_12.pt'}", '--weights', str(people/'dfnet'), '--masks', 'n95', '--out', str(tmp_path/'v'), '--device', 'cpu'])
    with np.load(tmp_path/'o'/'scores.npz') as t, np.load(tmp_path/'v'/'scores.npz') as v:
        one = t['same']; assert one.sum() == 6 and (t['templates'][one] == np.stack([2*np.arange(6), 2*np.arange(6)+1], 1)).all()
        for k in ('untouched', 'masked', 'completed'): np.testing.assert_allclose(t[k][:, one], v[k][:, v['same']], atol=1e-5)

# ---- real faces ----

def test_lfw_has_its_pairs(data_root):
    pairs = read_pairs(data_root/'data'/'lfw_pairs_sets1to4.txt')
    assert len(pairs) == 2400 and sum(p[2] for p in pairs) == 1200
    assert [sum(p[3] == k for p in pairs) for k in range(4)] == [600]*4
    who = [{p[k].split('/')[0] for p in pairs if p[3] == f for k in (0, 1)} for f in range(4)]
    assert not any(who[i] & who[j] for i in range(4) for j in range(i))                       # no person in two folds

@pytest.fixture(scope='module')
def few_lfw(tmp_path_factory, data_root):
    "the photos of every 60th pair, prepared"
    out = tmp_path_factory.mktemp('lfw')
    pairs = read_pairs(data_root/'data'/'lfw_pairs_sets1to4.txt')[::60]
    want = {n for p in pairs for n in p[:2]}
    full = [r for r in read_set('lfw', data_root/'data') if f"{r['path'].parent.name}/{r['path'].stem}" in want]
    with patch('facecomp.photos.read_set', lambda *a, **k: full): prepare('lfw', data_root/'data', out/'set', jobs=1, progress=False)
    return out/'set', len(pairs)

def test_verify_on_real_faces(few_lfw, data_root, tmp_path, capsys):
    "mobilefacenet tells people apart; a run may be stopped; the command says the same"
    data, n = few_lfw
    file, masks = data_root/'weights'/'mobilefacenet_facexzoo.torchscript', ('surgical_blue',)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        # the list still names all 2,400 pairs: those whose photos weren't prepared are left out, with a warning
        res = verify(data, file, out=tmp_path/'a', masks=masks, progress=False, draws=50)
    assert res['untouched']['auc'][0] > .95 and res['untouched']['auc'][0] >= res['masked']['auc'][0]-.02
    assert (tmp_path/'a'/'roc.png').stat().st_size > 5000 and (tmp_path/'a'/'verification.tex').read_text().count('\\\\') == 5
    rows = (tmp_path/'a'/'verification.csv').read_text().splitlines()
    assert len(rows) == 1+4*3+2*2 and rows[1].split(',')[1:3] == ['untouched', 'average']
    done = np.load(tmp_path/'a'/'features_done.npy', mmap_mode='r+')
    done[::2] = False
    done.flush()
    main(['verify', '--data', str(data), '--embedder', str(file), '--out', str(tmp_path/'a'), '--masks', *masks, '--device', 'cpu'])
    said = capsys.readouterr().out
    assert f"| untouched | {100*res['untouched']['auc'][0]:.1f} (" in said and 'left out' in said
    with pytest.raises(SystemExit, match='another evaluation'):
        main(['verify', '--data', str(data), '--embedder', str(file), '--out', str(tmp_path/'a'), '--device', 'cpu'])

def test_dlib_is_a_judge(few_lfw):
    if not all(importlib.util.find_spec(m) for m in ('dlib', 'face_recognition_models')): pytest.skip('needs dlib-bin and face_recognition_models')
    data, n = few_lfw
    faces = PreparedFaces(data, 'test')
    a, b, same, *_ = lfw_pairs(data, faces)
    emb = dlib_embedder()
    keep = np.r_[np.flatnonzero(same)[:8], np.flatnonzero(~same)[:8]]
    v = {i: emb(to_tensor(faces.picture(i)[0])[None])[0] for i in {*a[keep].tolist(), *b[keep].tolist()}}
    d = np.array([(v[a[k]]-v[b[k]]).norm().item() for k in keep])
    assert v[a[keep[0]]].shape == (128,) and np.mean((d < .6) == same[keep]) > .85          # 0.6 is dlib's own threshold for one person: the crop is right

def test_missing_judge_is_explained():
    with patch('importlib.util.find_spec', lambda name: None):
        with pytest.raises(FacecompError, match='pip install'): dlib_embedder()

def test_wrong_embedder_is_explained(tmp_path):
    (tmp_path/'x.torchscript').write_bytes(b'no')
    with pytest.raises(FacecompError, match='damaged'): open_embedder(tmp_path/'x.torchscript')
