"The whole path on real photos, as far as it goes in a minute; needs FACECOMP_DATA."
import csv
import json
import subprocess
import sys
from unittest.mock import patch

import numpy as np
import pytest
import torch

from facecomp.core import FacecompError, to_tensor
from facecomp.field import bfm_fields, load_bfm
from facecomp.losses import VGGFeatures, find_vgg
from facecomp.quality import evaluate, markdown_table
from facecomp.metrics import lpips_net
from facecomp.prepared import PreparedFaces
from facecomp.photos import prepare, read_set
from facecomp.config import override, preset
from facecomp.trainer import train


@pytest.fixture(scope='module')
def utkface(tmp_path_factory, data_root):
    "every 350th photo of utkface, prepared"
    out = tmp_path_factory.mktemp('utkface')/'set'
    full = read_set('utkface', data_root/'data')
    assert len(full) == 17000 and {r['split'] for r in full} == {'train', 'val', 'test'}
    with patch('facecomp.photos.read_set', lambda *a, **k: full[::350]):
        prepare('utkface', data_root/'data', out, jobs=1, progress=False)
    return out


@pytest.fixture(scope='module')
def with_fields(utkface, root, data_root):
    subprocess.run([sys.executable, root/'data_scripts'/'make_uv.py', utkface, '--bfm', data_root/'weights'/'bfm_noneck_v3.pkl',
                    '--tri', data_root/'weights'/'tri.pkl', '--jobs', '1'], check=True, capture_output=True)
    return utkface


def test_prepared_faces_are_aligned(utkface):
    faces = PreparedFaces(utkface)
    eyes, mouth = faces.landmarks[:, 36:48, :2].mean(1), (faces.landmarks[:, 48, :2]+faces.landmarks[:, 54, :2])/2
    assert np.abs(eyes-[63.5, 40]).max() < .01 and np.abs(mouth-[63.5, 88]).max() < .01
    assert (utkface/'report.csv').read_text().count('\n') == 1


def test_yunet_agrees_with_the_alignment(utkface, data_root):
    "an independent detector sees the eyes where the alignment puts them"
    cv2 = pytest.importorskip('cv2')
    det = cv2.FaceDetectorYN.create(str(data_root/'weights'/'yunet_2023mar.onnx'), '', (128, 128), .5)
    off = []
    faces = PreparedFaces(utkface)
    for i in range(len(faces)):
        _, found = det.detect(np.ascontiguousarray(faces.picture(i)[0][..., ::-1]))
        if found is not None:
            off.append(np.abs(found[0][4:8].reshape(2, 2).mean(0)-[63.5, 40]))
    assert len(off) > 35 and np.median(off, axis=0).max() < 5


def test_fields_mean_the_same_on_everyone(with_fields):
    faces = PreparedFaces(with_fields)
    at = []
    for i in range(len(faces)):
        C, mask = faces.field(i)
        x, y = np.rint(faces.landmarks[i][30, :2]).astype(int)
        at.append(C[:, y, x])
        assert .2 < mask.mean() < .95
    assert np.std(at, axis=0).max() < .02 and abs(np.mean(at, axis=0)-[.5, .46]).max() < .02


def test_bfm_is_symmetric_enough_to_mirror_fields(data_root):
    "SPEC: the field of the mirrored photo is (1-u, v) mirrored, within 0.003 for BFM"
    from scipy.spatial import cKDTree
    bfm = load_bfm(data_root/'weights'/'bfm_noneck_v3.pkl', data_root/'weights'/'tri.pkl')
    _, near = cKDTree(bfm.mean).query(bfm.mean*np.float32([-1, 1, 1]))
    assert np.abs(bfm.uv[near]-np.stack([1-bfm.uv[:, 0], bfm.uv[:, 1]], 1)).mean() < .003


def test_batched_fields_equal_single_ones(with_fields, data_root):
    bfm = load_bfm(data_root/'weights'/'bfm_noneck_v3.pkl', data_root/'weights'/'tri.pkl')
    with np.load(with_fields/'landmarks.npz') as d:
        args = [d[k][:4] for k in ('params62', 'roi', 'M')]
    C, mask = bfm_fields(bfm, *args, 64)
    for i in range(4):
        c, m = bfm_fields(bfm, *(a[i:i+1] for a in args), 64)
        assert (m[0] == mask[i]).mean() > .999 and np.abs(c[0]-C[i])[:, m[0] & mask[i]].max() < .01


def test_a_few_real_steps_with_all_losses(with_fields, tmp_path):
    cfg = override(preset('small'), ['steps=3', 'batch=4', 'workers=0', 'save_every=3', 'precision=no', 'net.base=16', 'net.widest=64', 'pretrain.steps=2',
                                     'pretrain.batch=4', 'loss.identity_weight=0.1', 'loss.identity=auto', 'loss.adversarial_weight=0.1', 'disc.width=8',
                                     'disc.layers=2', 'jitter=0.5'])
    res = train(cfg, with_fields, tmp_path/'run', progress=False, limit=8)
    assert res['step'] == 3 and res['bad'] == 0 and all(res[k] > 0 for k in ('perc1', 'style1', 'uv1', 'id1')) and abs(res['adv1']) < 5 and 0 <= res['dacc'] <= 1
    assert (tmp_path/'run'/'pretrain'/'encoder.safetensors').exists()


def test_vgg_of_the_data_folder_is_the_real_one(data_root):
    "trained filters, not noise: the first layer answers to edges, and features differ from those of random weights"
    net = VGGFeatures(str(data_root/'weights'/'vgg16_features_fp16.safetensors'))
    w = net.features[0].weight
    assert .1 < w.abs().mean() < .5
    with pytest.raises(FacecompError):
        VGGFeatures(str(data_root/'weights'/'alexnet_features.safetensors'))
    assert set(find_vgg()) >= {'features.0.weight', 'features.14.bias'}


def test_lpips_equals_the_lpips_package(data_root):
    lpips = pytest.importorskip('lpips', reason='the lpips package is not installed')
    from safetensors.torch import load_file
    ref = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False)
    sd = load_file(str(data_root/'weights'/'alexnet_features.safetensors'))
    for name, p in ref.net.named_parameters():
        p.data = sd['features.'+name.split('.', 1)[1]].float()
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 64, 64, generator=g), torch.rand(2, 3, 64, 64, generator=g)
    with torch.no_grad():
        torch.testing.assert_close(lpips_net()(a, b, normalize=True), ref(a*2-1, b*2-1), atol=1e-4, rtol=0)


def test_bundled_weights_beat_the_simple_fills(utkface, data_root, tmp_path):
    "a small slice of README's table: training photos would flatter us, so these are test photos"
    recs = [r for r in read_set('utkface', data_root/'data') if r['split'] != 'val']
    test, tr = [r for r in recs if r['split'] == 'test'][:12], [r for r in recs if r['split'] == 'train'][:60]
    with patch('facecomp.photos.read_set', lambda *a, **k: test+tr):
        prepare('utkface', data_root/'data', tmp_path/'set', jobs=1, progress=False)
    res = evaluate(tmp_path/'set', out=tmp_path/'eval', progress=False)
    best = max(v['psnr_hole'] for k, v in res.items() if k != 'ours')
    assert res['ours']['psnr_hole'] > best+3, markdown_table(res)
    assert res['ours']['lpips'] < .5*min(v['lpips'] for k, v in res.items() if k != 'ours'), markdown_table(res)
    rows = list(csv.DictReader((tmp_path/'eval'/'pictures.csv').open()))
    assert len(rows) == 12*9*5


def test_weights_say_where_they_come_from():
    from facecomp.core import ASSETS
    from facecomp.checkpoint import load_weights
    net, info = load_weights(ASSETS/'weights.safetensors')
    assert info['convention']['name'] == 'lightcnn' and info['train']['preset'] == 'small' and (ASSETS/'MODEL_CARD.md').exists()
    with torch.no_grad():
        assert torch.isfinite(net(to_tensor(np.zeros((128, 128, 3), np.uint8))[None]).pictures[0]).all()
    json.dumps(info)
