"Flags and settings do what they say: given twice they add up, values that can't be are refused, folders of others are left alone."
import csv, json
import numpy as np, pytest, torch
from facecomp import ablation, comparison, distribution, jobs, metrics, quality, tables, templates, timing, trainer, verification
from facecomp.contest import MethodTraining, export_method, main as train_main, train_method
from facecomp.core import FacecompError, write_picture
from facecomp.faces import procedural_face
from facecomp.loop import make_accelerator
from facecomp.losses import VGGFeatures, find_vgg
from facecomp.methods import build
from facecomp.prepared import PreparedFaces
from facecomp.photos import prepare
from facecomp.setups import method_config, override_method

LEAN = ['batch=2', 'steps=2', 'save_every=1', 'sheet_every=0', 'precision=no', 'workers=0', 'threads=0', 'vgg=random', 'warmup=0', 'judge_width=8']
CUT = [*LEAN, 'net.width=4', 'net.blocks=2', 'net.downs=2']


def drawn(folder, n=6, only=None):
    "A prepared set of drawn faces, 64²; all of them in one split, if it is named"
    faces = [procedural_face(s, size=80, aligned=False) for s in range(n)]
    for i, f in enumerate(faces): write_picture(folder/'src'/f'{i}.png', f.picture)
    np.savez(folder/'marks.npz', name=[f'{i}.png' for i in range(n)], landmarks68=np.stack([f.landmarks for f in faces]))
    prepare('folder', folder/'src', folder/'set', size=64, landmarks=folder/'marks.npz', jobs=1, progress=False)
    if only:
        with (folder/'set'/'manifest.csv').open(newline='') as f: rows = list(csv.DictReader(f))
        with (folder/'set'/'manifest.csv').open('w', newline='') as f: w = csv.DictWriter(f, rows[0]); w.writeheader(); w.writerows(r | dict(split=only) for r in rows)
    return folder/'set'


@pytest.fixture(scope='module')
def faces(tmp_path_factory): return drawn(tmp_path_factory.mktemp('faces'))


def caught(monkeypatch, module, name, main, line):
    "The arguments that a command's function is called with"
    got = {}
    def stop(*a, **kw): got.update(a=a, kw=kw); raise FacecompError('enough')
    monkeypatch.setattr(module, name, stop)
    with pytest.raises(SystemExit, match='enough'): main(line.split())
    return got['a'], got['kw']


def test_flags_given_twice_add_up(monkeypatch):
    a, kw = caught(monkeypatch, timing, 'time_networks', timing.main, '--methods ours-small --methods cut --sizes 64 --sizes 128 --threads 1 --threads 4')
    assert a[:3] == (('ours-small', 'cut'), (64, 128), (1, 4))
    assert caught(monkeypatch, timing, 'time_networks', timing.main, '--sizes 64')[0][:3] == (timing.TIMED, (64,), (1, 2))            # the default's place is taken, or left
    a, _ = caught(monkeypatch, quality, 'evaluate', quality.main, 'quality --data x --masks n95 --masks cup hand'); assert list(a[3]) == ['n95', 'cup', 'hand']
    a, _ = caught(monkeypatch, distribution, 'evaluate_fid', distribution.main, '--data x --weights f --methods ours --methods telea'); assert a[2] == 'f' and a[5] == ('ours', 'telea')
    _, kw = caught(monkeypatch, tables, 'evaluate_occluders', tables.occluders_main, '--data x --fid-of ours --fid-of telea'); assert kw['fid_of'] == ('ours', 'telea')
    two = '--data x --weights a=1 --weights b=2'
    a, _ = caught(monkeypatch, comparison, 'compare', comparison.main, two); assert a[1] == dict(a='1', b='2')
    monkeypatch.setattr(ablation, 'Judge', lambda *a: None)
    a, _ = caught(monkeypatch, ablation, 'ablate', ablation.main, '--data x --preset tiny --set lr=1 --set batch=3 --rows full --rows no-uv --seeds 1 --seeds 2')
    assert (a[2].lr, a[2].batch, a[3], a[4]) == (1, 3, ['full', 'no-uv'], [1, 2])


def test_several_networks_by_two_flags(monkeypatch):
    from facecomp import ranking
    for name, main, line in (('rank_verification', verification.main, '--embedder dlib'), ('rank_verification', templates.main, '--embedder dlib'), ('rank_real', tables.real_main, '--reference y'), ('rank_fid', distribution.main, '--methods ours')):
        a, kw = caught(monkeypatch, ranking, name, main, f'--data x {line} --weights a=1 --weights b=2'); assert dict(a='1', b='2') in a


@pytest.mark.parametrize('main, line, why', [
    (quality.main, 'quality --data x --limit 0', '1 or more'), (verification.main, '--data x --embedder dlib --limit -3', '1 or more'), (templates.main, '--data x --embedder dlib --limit 0', '1 or more'),
    (templates.main, '--data x --embedder dlib --draws -1', '0 or more'), (verification.main, '--data x --embedder dlib --draws -1', '0 or more'), (tables.occluders_main, '--data x --limit 0', '1 or more'),
    (distribution.main, '--data x --limit 0', '1 or more'), (comparison.main, '--data x --weights a=b --limit 0', '1 or more'), (comparison.main, '--data x --weights a=b --sheet -2', '0 or more'),
    (trainer.main, 'tiny --data x --out y --limit 0', '1 or more'), (train_main, 'cut-small --data x --out y --limit -1', '1 or more'),
    (quality.main, 'field --data x --sheet 3', 'belong to quality'), (quality.main, 'field --data x --no-lpips', 'belong to quality'), (quality.main, 'field --data x --alexnet f', 'belong to quality'),
    (distribution.main, '--data x --features vgg --antialias', 'leave it out'), (distribution.main, '--data x --features pytorch-fid --antialias', 'leave it out')])
def test_what_a_flag_cannot_be(main, line, why, capsys):
    with pytest.raises(SystemExit) as e: main(line.split())
    assert e.value.code == 2 and why in capsys.readouterr().err


def test_a_run_folder_is_a_configuration(tmp_path):
    (tmp_path/'none').mkdir(); (tmp_path/'bad.json').write_bytes(b'\xff\xfe\x00'); (tmp_path/'run').mkdir(); (tmp_path/'run'/'config.json').write_text('{"lr": "fast"}')
    for config, why in ((tmp_path/'none', 'nor a folder with a config.json'), (tmp_path/'bad.json', 'is not JSON'), (tmp_path/'run', 'lr must be like')):
        with pytest.raises(SystemExit, match=why): trainer.main([str(config), '--data', str(tmp_path), '--out', str(tmp_path/'out')])


def test_results_without_a_job_are_not_ours(tmp_path):
    for name in ('pictures.csv', 'fields.csv', 'features.npy'):
        (tmp_path/name).mkdir(parents=True); (tmp_path/name/name).write_text('whose?')
        with pytest.raises(FacecompError, match=f'{name} without job.json'): jobs.same_job(tmp_path/name, masks=['n95'])
        assert (tmp_path/name/name).read_text() == 'whose?' and not (tmp_path/name/'job.json').exists()
    for _ in (1, 2): jobs.same_job(tmp_path/'own', masks=['n95'], limit=3)
    with pytest.raises(FacecompError, match=r'another evaluation \(other masks, draws\)'): jobs.same_job(tmp_path/'own', masks=['cup'], limit=3, draws=1)


def small_net(data, folder):
    "Weights of an untrained network for a set of 64²"
    cfg = override_method(method_config('cut-small'), CUT); return export_method(folder, build('cut-small', 64, **cfg.net), cfg, PreparedFaces(data).convention)


def test_a_set_without_training_faces_has_no_mean_face(tmp_path):
    data = drawn(tmp_path, 3, 'test')
    with pytest.warns(UserWarning, match="'mean face' is left out"): res = quality.evaluate(data, small_net(data, tmp_path/'net'), tmp_path/'out', ('n95',), 1, with_lpips=False, progress=False)
    assert list(res) == ['ours', 'occluded', 'telea', 'navier-stokes'] and all(np.isfinite(v['psnr']) for v in res.values())
    assert json.loads((tmp_path/'out'/'job.json').read_text())['methods'] == list(res)


def test_downloads_are_checked(monkeypatch):
    "By their hash, and nothing but tensors is unpickled"
    asked, sd = {}, VGGFeatures('').state_dict()
    def load(url, *a, **kw): asked.update(kw); return sd
    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', load)
    assert find_vgg('torchvision') is sd and asked['check_hash'] and asked['weights_only']
    def spoilt(*a, **kw): raise RuntimeError('invalid hash value')
    monkeypatch.setattr('torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity', spoilt)
    with pytest.raises(FacecompError, match='invalid hash value.*--no-lpips'): metrics.lpips_net('torchvision')


def test_a_judge_has_a_schedule_of_its_own(faces):
    for schedule, rate in (('', .02), ('constant', 1.)):
        cfg = override_method(method_config('cut-small'), CUT+['schedule=cosine', f'schedule_disc={schedule}', 'lr=0.001', 'lr_disc=0.001'])
        stage = MethodTraining(cfg, PreparedFaces(faces), make_accelerator(cfg.run)); b = torch.utils.data.default_collate([stage.dataset[0, i] for i in range(2)]); stage.step(b, cfg.run.steps)
        assert np.isclose(stage.opt_disc.param_groups[0]['lr'], .001*rate) and np.isclose(stage.opt.param_groups[0]['lr'], .001*.02)


def test_a_method_goes_on_with_the_vgg_it_began_with(faces, tmp_path):
    from safetensors.torch import save_file
    for k in (0, 1): torch.manual_seed(k); save_file(VGGFeatures('').state_dict(), tmp_path/f'{k}.safetensors')
    cfg = lambda *more: override_method(method_config('dfnet-small'), [*LEAN, 'net.base=8', 'net.widest=16', 'schedule=cosine', *more])
    first = f'vgg={tmp_path/"0.safetensors"}'; train_method(cfg(first, 'steps=1'), faces, tmp_path/'run', progress=False)
    with pytest.raises(FacecompError, match='other settings: vgg: '), pytest.warns(UserWarning, match='stretched'): train_method(cfg(f'vgg={tmp_path/"1.safetensors"}'), faces, tmp_path/'run', resume=True, progress=False)
    (tmp_path/'0.safetensors').rename(tmp_path/'elsewhere.safetensors')
    with pytest.warns(UserWarning, match='stretched'): assert train_method(cfg(f'vgg={tmp_path/"elsewhere.safetensors"}'), faces, tmp_path/'run', resume=True, progress=False)['step'] == 2      # by its weights, wherever they lie
