"The compared methods: each trains, stops, goes on bit for bit, is exported, loaded, and completes."
import json
import shutil

import numpy as np
import pytest
import torch

from facecomp.checkpoint import load_checkpoint, load_weights
from facecomp.contest import MethodTraining, load_method, main, train_method
from facecomp.config import override
from facecomp.core import FacecompError, write_picture
from facecomp.faces import procedural_face
from facecomp.loop import make_accelerator
from facecomp.methods import METHODS, build
from facecomp.networks import count_parameters
from facecomp.prepared import PreparedFaces
from facecomp.photos import prepare
from facecomp.setups import canet_config, method_config, method_config_from_dict, override_method
from facecomp.rivals import LOSSES
from facecomp.stage2 import CompletionTraining, hole_psnr
from states import flat

QUICK = ['batch=2', 'steps=2', 'save_every=1', 'sheet_every=0', 'precision=no', 'workers=0', 'threads=0', 'vgg=random', 'warmup=0', 'judge_width=8']


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    "A prepared set of six drawn faces, 64²"
    d = tmp_path_factory.mktemp('faces')
    drawn = [procedural_face(s, size=80, aligned=False) for s in range(6)]
    for i, f in enumerate(drawn):
        write_picture(d/'src'/f'{i}.png', f.picture)
    np.savez(d/'marks.npz', name=[f'{i}.png' for i in range(6)], landmarks68=np.stack([f.landmarks for f in drawn]))
    prepare('folder', d/'src', d/'set', size=64, landmarks=d/'marks.npz', jobs=1, progress=False)
    return d/'set'


@pytest.mark.parametrize('name', LOSSES)
def test_small_trains_resumes_and_completes(faces, tmp_path, name):
    cfg = override_method(method_config(f'{name}-small'), QUICK)
    train_method(cfg, faces, tmp_path/'whole', progress=False)
    shutil.copytree(tmp_path/'whole', tmp_path/'cut')
    (tmp_path/'cut'/'step_2.pt').unlink()
    (tmp_path/'cut'/'weights.safetensors').unlink()
    train_method(cfg, faces, tmp_path/'cut', resume=True, progress=False)
    a, b = (dict(flat(load_checkpoint(tmp_path/d/'step_2.pt')['state'])) for d in ('whole', 'cut'))
    assert a.keys() == b.keys() and len(a) > 50 and all(torch.equal(a[k], b[k]) for k in a)
    first = dict(flat(load_checkpoint(tmp_path/'whole'/'step_1.pt')['state']))
    assert any(not torch.equal(first[k], a[k]) for k in a if k.startswith('.ema'))               # the second step moved something
    net, info = load_method(tmp_path/'cut')
    assert info['method'] == f'{name}-small' and info['net']['size'] == 64 and info['convention'] == PreparedFaces(faces).convention
    assert all(torch.equal(v, a[f'.ema.{k}']) for k, v in net.state_dict().items())
    assert 5 < hole_psnr(net, PreparedFaces(faces, 'train', 2)) < 40
    with pytest.raises(FacecompError, match='holds the compared method'):
        load_weights(tmp_path/'cut')


def test_another_method_is_refused(faces, tmp_path):
    small = ['net.width=4', 'net.blocks=2', 'net.downs=2']
    train_method(override_method(method_config('cut-small'), QUICK+small), faces, tmp_path/'run', progress=False)
    (tmp_path/'run'/'step_2.pt').unlink()
    for name, more, why in (('cyclegan', [], 'preset: cut-small → cyclegan-small'), ('cut', ['loss.nce=3'], 'loss.nce: 1.0 → 3'), ('cut', ['seed=4'], 'seed: 0 → 4')):
        with pytest.raises(FacecompError, match=why):
            train_method(override_method(method_config(f'{name}-small'), QUICK+small+more), faces, tmp_path/'run', resume=True, progress=False)


def test_unknown_settings_are_refused():
    with pytest.raises(FacecompError, match="did you mean 'loss.nce'"):
        override_method(method_config('cut'), ['loss.nec=1'])
    with pytest.raises(FacecompError, match='Unknown setting'):
        method_config_from_dict(dict(method='cut', depth=3))
    cfg = method_config('spade-small', 128)
    assert method_config_from_dict(json.loads(json.dumps(cfg.plain()))).plain() == cfg.plain()


def test_command(faces, tmp_path, capsys):
    main(['gmcnn-small', '--data', str(faces), '--out', str(tmp_path/'g'), '--limit', '4', '--set', *QUICK, 'net.width=4', 'steps=1'])
    assert 'step 1' in capsys.readouterr().out and load_method(tmp_path/'g')[1]['train']['net'] == dict(width=4)
    with pytest.raises(SystemExit, match='give --resume'):
        main(['gmcnn-small', '--data', str(faces), '--out', str(tmp_path/'g'), '--set', *QUICK])


def test_published_sizes():
    with torch.device('meta'):
        millions = {n: count_parameters(build(n))/1e6 for n in METHODS}
        small = [count_parameters(build(n, s))/1e6 for n in METHODS if n.endswith('-small') for s in (64, 128)]
    assert {n: round(millions[n], 1) for n in ('dfnet', 'gmcnn', 'spade', 'cyclegan', 'cut')} == dict(dfnet=32.9, gmcnn=12.6, spade=92.1, cyclegan=11.4, cut=11.4)
    assert all(3 <= round(m, 1) <= 6 for m in small)


@pytest.mark.parametrize('name', [*LOSSES, 'canet'])
def test_published_size_takes_a_step(faces, name):
    "all losses, judges of full width; on pictures of 64², and without the checkpoints, which are up to 1.5 GB"
    photos, quick = PreparedFaces(faces), ['batch=2', 'precision=no', 'workers=0']
    if name == 'canet': cfg = override(canet_config('canet', 64), [*quick, 'loss.vgg=random']); acc = make_accelerator(cfg); stage = CompletionTraining(cfg, photos, acc)
    else: cfg = override_method(method_config(name, 64), [*quick, 'vgg=random']); acc = make_accelerator(cfg.run); stage = MethodTraining(cfg, photos, acc)
    net, judge = (stage.raw, stage.disc) if name == 'canet' else (stage.rival.net, stage.rival.judge)
    assert count_parameters(net) == count_parameters(build(name, 64))
    before = {k: [p.detach().clone() for p in m.parameters()] for k, m in dict(net=net, judge=judge).items() if m is not None}
    batch = torch.utils.data.default_collate([stage.dataset[0, i] for i in range(2)])
    loss, norm, terms, good = stage.step(batch, 0)
    assert good and torch.isfinite(loss) and 0 < norm < 1e6 and len(terms) > 1 and all(torch.isfinite(v) for v in terms.values())
    assert {'rec1', 'rec5', 'perc1', 'style3'} <= terms.keys() if name in ('dfnet', 'canet') else {*LOSSES[name]} <= terms.keys()
    for k, m in dict(net=net, judge=judge).items():
        if m is None: continue
        moved = [not torch.equal(p, q) for p, q in zip(before[k], m.parameters())]
        assert sum(moved) > .8*len(moved), k                               # a judge's last bias doesn't, while real and fake pull it equally
