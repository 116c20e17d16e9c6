"Two real processes (gloo) do what one does with the whole batch, in both stages."
import os
import runpy
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from facecomp.checkpoint import load_checkpoint
from facecomp.core import write_picture
from facecomp.faces import procedural_face
from facecomp.losses import VGGFeatures
from facecomp.prepared import encode_field
from facecomp.photos import prepare
from facecomp.stage2 import CompletionTraining
from facecomp.stage1 import Pretraining

STEPS = 5
SAME = {} # stage 1 of the first run
RUN = '''
import sys, torch
from facecomp import trainer
from facecomp.config import preset, override
data, out, *settings = sys.argv[1:]
losses = []
for stage in (trainer.Pretraining, trainer.CompletionTraining):
    def step(self, batch, n, plain=stage.step):
        res = plain(self, batch, n); losses.append(res[0].item()); return res
    stage.step = step
trainer.train(override(preset('tiny'), settings), data, out, progress=False)
import torch.distributed as dist
if not dist.is_initialized() or dist.get_rank() == 0: torch.save(losses, out+'/losses.pt')
if dist.is_initialized(): dist.destroy_process_group()
'''


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    "24 drawn faces with their exact fields; random networks for the losses that need one"
    d = tmp_path_factory.mktemp('two')
    faces = [procedural_face(s, size=96, aligned=False) for s in range(24)]
    for i, f in enumerate(faces):
        write_picture(d/'src'/f'{i:02}.png', f.picture)
    np.savez(d/'marks.npz', name=[f'{i:02}.png' for i in range(24)], landmarks68=np.stack([f.landmarks for f in faces]))
    prepare('folder', d/'src', d/'set', size=64, landmarks=d/'marks.npz', jobs=1, progress=False)
    aligned = [procedural_face(s, size=64) for s in range(24)]
    np.save(d/'set'/'fields.npy', np.stack([encode_field(f.C, f.valid) for f in aligned]))
    torch.manual_seed(0)
    save_file(VGGFeatures('').state_dict(), d/'vgg.safetensors')                             # random weights: a loss like any other
    look = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8, 8), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(4*14*14, 8)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.trace(look, torch.rand(1, 3, 112, 112)).save(str(d/'look.torchscript'))
    (d/'run.py').write_text(RUN)
    return d


def alone(args):
    "The script in this process, which has torch already"
    plain = [(s, s.step) for s in (Pretraining, CompletionTraining)]
    try:
        with pytest.MonkeyPatch.context() as m: m.setattr(sys, 'argv', args); m.setenv('ACCELERATE_USE_CPU', '1'); runpy.run_path(args[0])
    finally:
        for stage, step in plain: stage.step = step


def run(d, name, processes, *settings, steps=STEPS):
    "Losses of every step; checkpoints of both stages"
    out = d/name
    args = [str(d/'run.py'), str(d/'set'), str(out), f'steps={steps}', f'pretrain.steps={steps}', 'pretrain.batch=8', 'pretrain.queue=6',
            'batch=4', 'save_every=0', 'sheet_every=0', 'threads=1', *settings]
    if processes == 1: alone(args)
    else:
        many = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(processes)]
        env = dict(os.environ, OMP_NUM_THREADS='1', ACCELERATE_USE_CPU='1', PYTHONWARNINGS='ignore')
        p = subprocess.run([sys.executable, *many, *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        assert p.returncode == 0, p.stdout[-3000:]
    first, second = (load_checkpoint(out/f/f'step_{steps}.pt')['state'] for f in ('pretrain', '.'))
    return torch.load(out/'losses.pt'), first, second


def numbers(state):
    "Every number in a nested state, flat, with its name"
    if isinstance(state, dict):
        for k, v in state.items():
            yield from ((f'{k}.{n}', x) for n, x in numbers(v))
    elif isinstance(state, (list, tuple)):
        yield from numbers(dict(enumerate(state)))
    elif torch.is_tensor(state):
        yield '', state.double()


def far(a, b):
    "Largest difference of two states, NaN where either has one in another place"
    a, b = dict(numbers(a)), dict(numbers(b))
    assert a.keys() == b.keys() and len(a) > 50
    return max((torch.nan_to_num(a[k])-torch.nan_to_num(b[k])).abs().max().item() for k in a if a[k].numel())


@pytest.mark.parametrize('extra', [('accumulate=2', 'loss.adversarial_weight=0.1', 'loss.texture_layers=[1]', 'disc.width=8', 'disc.layers=2',
                                    'loss.style_weight=10', 'loss.perceptual_weight=0.1', 'loss.vgg={d}/vgg.safetensors', 'loss.texture_crop=16',
                                    'loss.identity_weight=0.1', 'loss.identity=facexzoo:{d}/look.torchscript'),
                                   ('pretrain.shuffle=True', 'loss.adversarial_weight=0.1', 'loss.adversarial_layers=[1]', 'disc.width=8', 'disc.layers=2')], ids=['all', 'shuffled'])
def test_two_processes_equal_one(prepared, extra):
    extra = [e.format(d=prepared) for e in extra]
    one, two = (run(prepared, f'{n}{len(extra)}', n, 'precision=float64', *extra) for n in (1, 2))     # shuffled keys: who computes them changes, they don't
    assert len(one[0]) == 2*STEPS and np.abs(np.subtract(one[0], two[0])).max() < 1e-9        # losses of both stages, step by step
    assert far(one[1], two[1]) < 1e-9 and far(one[2], two[2]) < 1e-9                          # weights, optimisers, averages, queue
    assert far(SAME.setdefault('first', one[1]), one[1]) < 1e-9                               # group norm: in whatever order, the keys are the same
    assert torch.equal(one[1]['net']['queue.index'], two[1]['net']['queue.index']) and (one[1]['net']['queue.index'] >= 0).all()


def test_first_gradients_in_float32(prepared):
    one, two = (run(prepared, f'single{n}', n, steps=1) for n in (1, 2))
    np.testing.assert_allclose(one[0], two[0], rtol=1e-5)
    for a, b, name in ((one[1], two[1], 'momentum_buffer'), (one[2], two[2], 'exp_avg')):     # after one step: the gradient, times a number
        g, h = ([v for k, v in numbers(s['opt']) if name in k] for s in (a, b))
        g, h = torch.cat([v.flatten() for v in g]), torch.cat([v.flatten() for v in h])
        assert len(g) > 10_000 and (g-h).norm()/g.norm() < 1e-5
