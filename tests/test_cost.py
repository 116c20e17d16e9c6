"What a run will cost is counted, not guessed: data_scripts/estimate_cost.py against closed forms and against larger batches."
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'data_scripts'))
import estimate_cost as ec  # noqa: E402
from bench_step import drawn_set  # noqa: E402
from facecomp.config import override, preset  # noqa: E402
from facecomp.core import FacecompError  # noqa: E402


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    return drawn_set(tmp_path_factory.mktemp('cost'), 64, 4)


@pytest.fixture(scope='module')
def tiny(drawn):
    "Stage 2 of `tiny` with a judge, in float32, and its Cost"
    cfg = override(preset('tiny'), ['loss.adversarial_weight=0.1', 'loss.adversarial_layers=[1]', 'disc.width=8', 'disc.layers=2'])
    stage = ec.build(cfg, 2, drawn)
    return stage, ec.count(stage)


def test_watch_counts_what_is_alive():
    x = torch.ones(1000, requires_grad=True)                                                # 4 kB, made before: not counted
    def run():
        a = x*2; b = a.view(10, 100).exp(); del a                                           # 4 kB, a view, 4 kB: one goes
        c = b+1; c.add_(1); (c.sum()+b.sum()).backward()                                    # exp saves its result, b
    run(); x.grad = None                                                                    # whatever is made once is there
    watch, _ = ec.watched(run)
    assert max(watch.trace[:2]) == 4000 and watch.trace[2] == 8000                          # a; its view; a and b
    assert watch.saved == 4000 and watch.live == 4000                                       # b was saved; the gradient stays
    assert 8000 <= max(watch.trace) < 22_000
    before = watch.kernels
    with watch: x.detach().view(-1)[:5].t(); x.detach().view(10, 100)                       # nothing new is written
    assert watch.kernels == before


def test_products_of_a_convolution():
    conv, x = torch.nn.Conv2d(3, 8, 5, padding=2, bias=False), torch.rand(2, 3, 16, 16)
    one = 2*5*5*3*8*16*16
    assert ec.watched(lambda: conv(x))[1] == one
    assert ec.watched(lambda: conv(x).sum().backward())[1] == 2*one                         # no gradient to the picture
    conv.zero_grad(set_to_none=True); y = x.clone().requires_grad_()
    assert ec.watched(lambda: conv(y).sum().backward())[1] == 3*one


def test_bf16_is_counted_as_bf16():
    a, b = (torch.rand(64, 64).bfloat16() for _ in range(2)); res = []
    watch, _ = ec.watched(lambda: res.append(a @ b))
    assert res[0].dtype == torch.bfloat16 and watch.live == 64*64*2
    assert (res[0].float()-a.float() @ b.float()).abs().max() < .1


def test_stage_1_in_closed_form(drawn):
    "Query forward and backward, key forward, projection, logits: every product of a step of `tiny`"
    cfg = override(preset('tiny'), ['pretrain.queue=300'])
    stage, p = ec.build(cfg, 1, drawn), cfg.pretrain
    c = ec.count(stage)
    widths, kernels = [3, *cfg.net.widths()], [7, 5, 5]+[3]*9
    layers = [k*k*a*b*(cfg.net.size >> i+1)**2 for i, (k, a, b) in enumerate(zip(kernels, widths, widths[1:]))]
    head = widths[-1]*(widths[-1]+p.dim)
    assert c.macs == 4*sum(layers)-layers[0]+4*head+p.dim*(2*300+3)                         # counted with batches of 3
    assert c.held['weights'] > 2*4*c.params+300*128*4 and set(c.held) == {'weights', 'moments'}
    six = ec.watched(lambda: stage.step(ec.take(stage, 6), 1))[0]
    assert c.memory(6) == pytest.approx(max(six.trace)+sum(c.held.values()), rel=.02)
    assert ec.count(ec.build(cfg, 1, drawn, photos=80)).macs == c.macs-p.dim*2*280          # a quarter of 80: the queue has 20


def test_twice_the_batch_twice_the_activations(tiny):
    stage, c = tiny
    saved = [ec.watched(lambda: stage.step(b, 1))[0].saved for b in (ec.take(stage, 2), ec.take(stage, 4))]
    assert 1.95 < saved[1]/saved[0] < 2.01
    assert abs(saved[1]-4*c.saved) < .05*saved[1]


@pytest.mark.parametrize('parts', [1, 2])
def test_memory_of_a_larger_batch(tiny, parts):
    "From batches of one and two: a step of six, whole and in parts, is what a step of six is"
    stage, c = tiny
    stage.cfg.accumulate = parts
    try: watch, macs = ec.watched(lambda: stage.step(ec.take(stage, 6), 1))
    finally: stage.cfg.accumulate = 1
    real, said = max(watch.trace)+sum(c.held.values()), c.memory(6, parts)                  # the batch is made while it watches
    assert macs == pytest.approx(6*c.macs) if parts == 1 else 1 < macs/(6*c.macs) < 1.05   # in parts the judge looks at the completions once more
    assert said == pytest.approx(real, rel=.02) if parts == 1 else real*.98 < said < real*1.2
    assert c.memory(6, 2) < c.memory(6)


def test_held(tiny):
    stage, c = tiny
    n, judge = (sum(p.numel() for p in m.parameters()) for m in (stage.raw, stage.disc))
    assert c.params == n and c.held['weights'] == c.held['averaged weights'] == c.grads == 4*n
    assert 8*n <= c.held['moments'] < 8*n+1000 and c.held['judge'] >= 4*judge
    assert c.inputs == sum(v[0].numel()*v.element_size() for v in ec.take(stage, 2).values())


def test_rule(tiny):
    _, c = tiny
    assert c.seconds(8) == pytest.approx(ec.LAUNCH*c.kernels+8*c.macs/ec.RATE) and c.seconds(8, 2) > c.seconds(8)
    cfg = override(preset('tiny'), ['batch=8', 'steps=3600', 'workers=2'])
    step, data, hours = ec.duration(cfg, c, 2)
    assert data == pytest.approx(8/(2*2062/14)*.6) and hours == pytest.approx(max(step, data))
    most = ec.largest(c, 2)
    assert c.fits(2, most) and not c.fits(2, most+1) and not c.fits(.5, 1)


def test_command():
    "Both stages, in seconds; what isn't there is said"
    args = ['tiny', '--batch', '6', '--set', 'loss.identity_weight=0.1', 'loss.identity=lightcnn:nowhere.pth', 'loss.identity_layers=[1]']
    done = subprocess.run([sys.executable, 'data_scripts/estimate_cost.py', *args], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert 'stage 1, 10 steps of 6' in done.stdout and 'stage 2, 30 steps of 6' in done.stdout and done.stdout.count('Expected, not measured') == 2
    assert 'LightCNN-29 with random weights' in done.stdout and 'on one H200' in done.stdout


@pytest.mark.parametrize('args, why', [(('huge',), 'neither a preset'), (('tiny', '--set', 'precision=float64'), 'float64'), (('tiny', '--batch', '0'), 'at least 1'), (('tiny', '--set', 'stpes=3'), 'steps')])
def test_command_refuses(monkeypatch, args, why):
    monkeypatch.setattr(sys, 'argv', ['estimate_cost.py', *args])
    with pytest.raises(SystemExit, match=why): ec.main()


def test_no_recogniser(tmp_path):
    cfg = override(preset('tiny'), ['loss.identity_weight=0.1', 'loss.identity=nowhere.torchscript'])
    found, size, said = ec.recogniser(cfg, tmp_path)
    assert not found.loss.where_identity and size == 0 and said.startswith('WITHOUT') and 'nowhere' in said
    found, size, said = ec.recogniser(override(cfg, ['loss.identity=lightcnn:nowhere.pth']), tmp_path)
    assert found.loss.where_identity and size > 10e6 and 'random' in said
    with pytest.raises(FacecompError): ec.Embedder.load('nowhere.torchscript')
