"What a setting says must arrive where it counts: a value that is no default goes in, and is looked for at its place."
from dataclasses import replace
from unittest.mock import patch
import numpy as np, pytest, torch
from facecomp import hole, inference, loop, objective, stage1, stage2
from facecomp.align import LIGHTCNN, similarity
from facecomp.checkpoint import export_weights, last_checkpoint, load_checkpoint, load_weights
from facecomp.config import NetConfig, override, preset
from facecomp.core import FacecompError, portrait, write_picture
from facecomp.daf import CompletionNet
from facecomp.faces import procedural_face
from facecomp.find import field_eye
from facecomp.inference import FaceCompleter
from facecomp.loop import make_accelerator, optimise
from facecomp.objective import CompletionLoss, LossConfig
from facecomp.photos import prepare
from facecomp.prepared import PreparedFaces
from facecomp.trainer import train
from facecomp.weights import open_network, save_network


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    "Eight drawn faces, prepared without fields"
    d = tmp_path_factory.mktemp('wiring'); drawn = [procedural_face(s, size=96, aligned=False) for s in range(8)]
    for i, f in enumerate(drawn): write_picture(d/'src'/f'{i}.png', f.picture)
    np.savez(d/'marks.npz', name=[f'{i}.png' for i in range(8)], landmarks68=np.stack([f.landmarks for f in drawn]))
    prepare('folder', d/'src', d/'set', size=64, landmarks=d/'marks.npz', jobs=1, progress=False)
    return PreparedFaces(d/'set', 'train')


def config(*more): return override(preset('tiny'), ['loss.uv_weight=0', 'pretrain.steps=0', 'steps=4', 'save_every=2', 'sheet_every=0', 'precision=no', *more])


def stage(faces, *more):
    cfg = config(*more); return stage2.CompletionTraining(cfg, faces, make_accelerator(cfg)), cfg


def batch(s, n=4): return torch.utils.data.default_collate([s.dataset[0, i] for i in range(n)])


def test_the_average_is_what_is_exported(faces, tmp_path):
    "weights.safetensors holds the running average, not the network as it is at the last step"
    train(config('ema=0.9'), faces.root, tmp_path, stages=(2,), progress=False)
    state, sd = load_checkpoint(last_checkpoint(tmp_path))['state'], load_weights(tmp_path)[0].state_dict()
    assert all(torch.equal(sd[k], state['ema'][k].float()) for k in sd) and any(not torch.equal(sd[k], state['net'][k].float()) for k in sd)


JUDGED = 'loss.adversarial_weight=0.1', 'loss.adversarial_layers=[1]', 'disc.width=8', 'disc.layers=2'

def test_the_judge_has_its_own_rates_and_the_common_clip(faces):
    s, cfg = stage(faces, *JUDGED, 'betas_disc=[0.2,0.7]', 'betas=[0.3,0.8]', 'clip=0.25', 'lr=1e-3', 'lr_disc=2e-3', 'schedule=constant', 'warmup=0'); asked = []
    with patch.object(stage2, 'optimise', side_effect=lambda *a, **k: (asked.append(a[5]), optimise(*a, **k))[1]): s.step(batch(s), 0)
    assert asked == [.25, .25] and s.opt.param_groups[0]['betas'] == (.3, .8) and s.opt_disc.param_groups[0]['betas'] == (.2, .7)
    assert s.opt.param_groups[0]['lr'] == 1e-3 and s.opt_disc.param_groups[0]['lr'] == 2e-3


def test_flip_is_obeyed(faces):
    assert stage(faces, 'flip=false')[0].dataset.flip is False and stage(faces, 'flip=true')[0].dataset.flip is True
    s = stage(faces, 'recolour=0.5', 'jitter=0.25', 'empty=0.125')[0].dataset; assert (s.recolour, s.jitter, s.empty) == (.5, .25, .125)


def test_the_recogniser_is_told_how_the_set_is_aligned(faces):
    with patch.object(stage2.Embedder, 'load', return_value=torch.nn.Identity()) as load, patch.object(stage2, 'CompletionLoss'):
        stage2.objective_of(config('loss.identity_weight=0.1', 'loss.identity=FILE', 'loss.identity_layers=[1]'), faces)
    assert load.call_args.args == ('FILE', faces.convention)


def test_how_pictures_enter_vgg_is_a_setting():
    for norm in 'imagenet', 'none':
        with patch.object(objective, 'VGGFeatures', wraps=objective.VGGFeatures) as made: CompletionLoss(LossConfig(vgg='random', vgg_norm=norm, style_weight=1., texture_layers=(1,)))
        assert made.call_args.args == ('random', norm)


def test_a_random_vgg_is_the_seeds(faces):
    "Two runs of one seed compare against the same features, whatever was drawn before"
    made = []
    for burn in 0, 5: torch.rand(burn); made.append(stage(faces, 'loss.vgg=random', 'loss.style_weight=1', 'loss.texture_layers=[1]')[0].loss_fn.vgg.state_dict())
    assert all(torch.equal(v, made[1][k]) for k, v in made[0].items())


def test_stage_1_warms_up(faces):
    cfg = override(config('pretrain.warmup=4', 'pretrain.lr=0.1', 'pretrain.schedule=constant', 'pretrain.queue=4'), ['pretrain.steps=8'])
    s = stage1.Pretraining(cfg, faces, make_accelerator(cfg))
    assert [round(s.lr(n), 6) for n in (0, 1, 3, 4, 7)] == [.025, .05, .1, .1, .1]


def test_a_gradient_that_is_no_number_is_not_followed():
    "The loss is finite and its gradient isn't: the square root at 0"
    cfg = config(); acc, net = make_accelerator(cfg), torch.nn.Linear(2, 1, bias=False); torch.nn.init.ones_(net.weight); opt = torch.optim.Adam(net.parameters(), .1); net, opt = acc.prepare(net, opt)
    loss, norm, _, good = optimise(acc, net, opt, [torch.zeros(1, 2)], lambda x: ((net(x)**2).sum().sqrt(), {}), 1.)
    assert torch.isfinite(loss) and not torch.isfinite(norm) and not good and (net.weight == 1).all()


def test_layers_that_vgg_cannot_see_are_refused_before_anything_runs():
    with pytest.raises(FacecompError, match='layer 5.*64²'): config('loss.texture_layers=[1,5]', 'loss.style_weight=1')
    config('loss.texture_layers=[1,4]', 'loss.style_weight=1'); config('loss.texture_layers=[1,5]', 'loss.style_weight=0', 'loss.perceptual_weight=0')


def test_a_mask_of_any_whole_numbers_is_the_same_mask():
    m = np.zeros((60, 60), int); m[30:] = 1
    for kind in bool, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32: assert (hole.read_hole(m.astype(kind), (60, 60)).mask == m).all(), kind


def test_untaught_heads_are_not_asked_where_faces_are(tmp_path):
    cfg = config('loss.structure_layers=[2]', 'loss.uv_weight=0.1'); net = CompletionNet(cfg.net).eval(); export_weights(tmp_path, net, cfg, vars(LIGHTCNN))
    back, x = load_weights(tmp_path)[0], torch.rand(1, 3, 64, 64)
    with torch.no_grad(): assert torch.equal(field_eye(back, 3)(x)[0], back(x).fields[1]) and torch.equal(field_eye(net, 3)(x)[0], net(x).fields[2])


def test_a_runs_settings_are_not_written_over(faces, tmp_path):
    train(config('steps=2'), faces.root, tmp_path/'run', stages=(2,), progress=False); was = (tmp_path/'run'/'config.json').read_text(); net, info = open_network(tmp_path/'run')
    with pytest.raises(FacecompError, match='folder of a training'): save_network(tmp_path/'run', net, info)
    save_network(tmp_path/'out', net, info); (tmp_path/'out'/'other.safetensors').write_bytes((tmp_path/'run'/'weights.safetensors').read_bytes())
    assert (tmp_path/'run'/'config.json').read_text() == was and open_network(tmp_path/'out') and open_network(tmp_path/'out'/'other.safetensors')


def test_growth_and_rim_are_of_the_network_and_of_the_photo():
    "grow counts pixels of a 128² crop; a stroke's rim is 1.5 pixels of the network wide, and of the photo at least"
    net = CompletionNet(NetConfig(**vars(preset('tiny').net))).eval(); info = dict(net=dict(size=64), convention=vars(LIGHTCNN)); f = FaceCompleter(net, info); pic, L = portrait('astronaut'); big = np.repeat(np.repeat(pic, 3, 0), 3, 1)
    grown, rims = [], []
    with patch.object(inference, 'grow_hole', side_effect=lambda h, px: (grown.append(px), h)[1]), patch.object(inference, 'feather', side_effect=lambda m, px: (rims.append(px), m.astype(np.float32))[1]):
        mask = np.zeros(big.shape[:2], bool); at = (L[27:36, :2].mean(0)*3).astype(int); mask[at[1]-60:at[1]+60, at[0]-60:at[0]+60] = True
        f.complete(big, landmarks=L*3, hole=mask, grow=8.); f.complete(pic, landmarks=L, hole=mask[::3, ::3])
    scale = np.sqrt(np.linalg.det(similarity(L[:, :2]*3, LIGHTCNN, 64)[:, :2])); assert grown[0] == 4. and rims[0] == pytest.approx(1.5/scale) and rims[1] == pytest.approx(max(1.5, .5/scale))


def test_a_coarse_pixel_is_face_or_truth_by_its_greater_part():
    "At layer 2 a pixel of whose four one is face counts as background; one of whose four one lies inside the photo shows the truth"
    loss = CompletionLoss(LossConfig(structure_layers=(2,), rec_weight=0., uv_weight=1., style_weight=0., perceptual_weight=0.))
    y = torch.rand(1, 3, 4, 4); face = torch.zeros(1, 1, 4, 4); face[..., ::2, ::2] = 1; valid = face.clone(); C = torch.ones(1, 2, 4, 4)*face
    out = type('Out', (), dict(pictures=[y, torch.zeros(1, 3, 2, 2)], fields=[torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2)], validity=[torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)]))
    b = dict(y=y, valid=torch.ones(1, 1, 4, 4), C=C, face=face); pairs = loss.pyramid(out, b); _, uv, _ = loss.structure(pairs, out, b); assert uv[0] == 0
    pairs = loss.pyramid(out, dict(b, valid=valid)); (_, shown, truth), = loss.inside(pairs, (2,)); assert torch.equal(shown, truth) and not torch.equal(shown, pairs[2][0])


def test_slopes():
    assert {m.negative_slope for m in CompletionNet(preset('tiny').net).modules() if isinstance(m, torch.nn.LeakyReLU)} == {.2}


class _Session: # of onnxruntime, exported for one picture at a time
    def get_inputs(self): return [type('In', (), dict(name='x', shape=[1, 3, 8, 8]))]
    def run(self, _, feed): x, = feed.values(); assert len(x) == 1; return [x.reshape(1, -1)[:, :5]*2]

def test_an_onnx_recogniser_of_one_picture_takes_nine():
    from facecomp.identity import _Runtime
    x = torch.rand(9, 3, 8, 8); assert torch.equal(_Runtime(_Session())(x), x.flatten(1)[:, :5]*2)


def test_fid_of_an_ablation_sees_the_truth_outside_the_photo(tmp_path):
    "What lies outside the source photo is the same in both sets: a network can't be better or worse there"
    from facecomp.ablation import Judge
    for i in range(6): write_picture(tmp_path/'src'/'utkface'/f'{i}.png', procedural_face(i, size=96, aligned=False).picture[20:76, 20:76])
    (tmp_path/'src'/'utkface.csv').write_text('file,split\n'+''.join(f"{i}.png,{'train' if i < 2 else 'test'}\n" for i in range(6)))
    np.savez(tmp_path/'m.npz', name=[f'{i}.png' for i in range(6)], landmarks68=np.stack([procedural_face(i, size=96, aligned=False).landmarks-[20, 20, 0] for i in range(6)]))
    prepare('utkface', tmp_path/'src', tmp_path/'set', size=64, landmarks=tmp_path/'m.npz', jobs=1, progress=False)
    judge, seen = Judge(tmp_path/'set', with_lpips=False), []; judge.look = lambda x: (seen.append(x), x.flatten(1)[:, :4].double())[1]
    class White(torch.nn.Module):
        def forward(self, x): return type('Out', (), dict(pictures=[torch.ones_like(x)]))
    judge(White(), progress=False); (fake, real), out = seen, torch.stack([judge.tests[i*len(judge.tests.masks)]['valid'] for i in judge.picked]) > 0
    assert (~out).float().mean() > .05 and torch.equal(fake*~out, real*~out) and (fake[out.expand_as(fake)] == 1).all()
