"""What a training run asks of a GPU, without one: one real step counted on a CPU, scaled by what an H200 was measured to do. Expected, not measured.

python data_scripts/estimate_cost.py PRESET|config.json [--set key=value …] [--batch N] [--stage 1|2] [--photos N] [--card 12]
python data_scripts/estimate_cost.py --check        # the rule against the steps that were measured (FACECOMP_DATA for the recogniser)
python data_scripts/estimate_cost.py --table        # the tables of notebooks 80 and 81

Counted, on drawn faces, with batches of one and two (pairs: two and three): multiply-adds, kernels (operations that write something new), what the forward pass saves for the backward pass,
and the bytes alive after every operation. These are straight lines in the batch, so the highest of them at any batch is known. bf16 is counted as CUDA's autocast
keeps it (group norm in float32), its products computed in float32. VGG has random weights, and so has a LightCNN whose file isn't there.

Memory = what is held all the time + the highest point of a step. Time of a step = LAUNCH · kernels + multiply-adds · batch / RATE, but not less than the data takes.
Both constants are from the bundled weights' training (notebook 81; one H200, bf16, not compiled): 66 ms a step of 64, 106 ms a step of 128, so 26 ms for 2,288 kernels
and 0.625 ms for the 20.9 G of each picture. RATE is a thirteenth of what large matrix products reach on that card (some 450 T/s: 81): such steps seem to wait for memory. It is the
same in float32, as far as one step of it tells (`--check`). A process draws 147 pictures or 87 pairs a second at 128² (81: 14 processes, 2,062 or 1,222);
at 256² it takes 2.3 times as long (timed on a CPU, drawn faces).

Error, by --check: memory +9 % (of a compiled network, counted without) and -4 %; time of the trainer's own step +7 % (compiled, too), of one written plainly in float32
+20 %; of a step of stage 1 alone, which waits for its data anyway, -28 %. Say 10 % for memory and 20 % for time.
GB are 2^30 bytes. A card needs some more than that: half a GB for CUDA itself, and what lies between the tensors; "fits" allows half a GB and 10 %.
"""
import argparse, json, sys, tempfile, warnings, weakref
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch
import numpy as np, torch, torch.nn.functional as F
from safetensors.torch import save_file
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from bench_step import Plain, drawn_set
from facecomp.config import PRESETS, config_from_dict, override, preset
from facecomp.core import FacecompError
from facecomp.identity import Embedder, LightCNN29
from facecomp.loop import StepBatches, make_accelerator
from facecomp.prepared import PreparedFaces
from facecomp.siamese import KeyQueue
from facecomp.stage2 import CompletionTraining
from facecomp.stage1 import Pretraining

LAUNCH, RATE = 26e-3/2288, 20.907e9/.625e-3                      # s a kernel; multiply-adds a second
DRAWN, SLOWER = {1: 1222/14, 2: 2062/14}, {64: .6, 128: 1, 256: 2.3, 512: 5.3}   # pairs or pictures a second and process at 128²; how much longer at other sizes (512: not timed)
WORKERS, GB, SPARE, CUDA = 15, 2**30, 1.1, .5                    # of that machine's 16 cores; margin of "fits"; CUDA's own GB
aten = torch.ops.aten
PRODUCTS = {aten.convolution, aten.convolution_backward, aten.mm, aten.addmm, aten.bmm}


def tensors(x): return [t for t in tree_leaves(x) if isinstance(t, torch.Tensor)]
def key(t): return t.untyped_storage()._cdata
def size(x): return sum({key(t): t.untyped_storage().nbytes() for t in tensors(x)}.values())


class Watch(TorchDispatchMode):
    "Kernels, bytes alive after each operation, bytes saved for backward; of tensors that are made while it watches"
    def __init__(self):
        super().__init__(); self.at, self.saved_now, self.live, self.saved, self.kernels, self.trace = {}, set(), 0, 0, 0, []
    def drop(self, k): self.live -= self.at.pop(k); self.saved_now.discard(k)
    def save(self, t):
        k = key(t)
        if k in self.at and k not in self.saved_now: self.saved += self.at[k]; self.saved_now.add(k)
        return t
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}; was = {key(t) for t in tensors((args, kwargs))}; half = torch.bfloat16
        if func.overloadpacket in PRODUCTS and any(t.dtype == half for t in tensors(args)):               # few CPUs multiply bf16: only its bytes count here
            cast = lambda x, a, b: tree_map(lambda t: t.to(b) if isinstance(t, torch.Tensor) and t.dtype == a else t, x)
            out = cast(func(*cast(args, half, torch.float32), **kwargs), torch.float32, half)
        else: out = func(*args, **kwargs)
        made = {key(t): t.untyped_storage() for t in tensors(out) if key(t) not in was}
        for k, s in made.items():
            if k not in self.at: self.at[k] = s.nbytes(); self.live += s.nbytes(); weakref.finalize(s, self.drop, k)
        self.kernels += bool(made) or func._schema.is_mutable; self.trace.append(self.live); return out


def watched(run, bf16=False):
    "Watch, and multiply-adds, of a call"
    plain, watch = F.group_norm, Watch()
    def norm(x, *a, **k):
        with torch.autocast('cpu', enabled=False): return plain(x.float(), *a, **k)
    with patch.object(F, 'group_norm', norm if bf16 else plain), saved_tensors_hooks(watch.save, lambda t: t), FlopCounterMode(display=False) as flops, watch: run()
    return watch, flops.get_total_flops()/2


def take(stage, n): return next(iter(DataLoader(stage.dataset, batch_sampler=StepBatches(len(stage.dataset), n, 0, 0, 1))))


@dataclass
class Cost:
    "What was counted of one stage at one precision"
    macs:float; kernels:int; saved:float      # multiply-adds a picture, kernels a step, bytes a picture saved for backward
    n:int                                     # the lines are of batches of n and n+1
    lines:list                                # [bytes alive after each operation, of the one and of the other batch], of a step, and of a validation if there is one
    held:dict                                 # bytes by what they are
    grads:int; inputs:int; shown:int          # bytes: the network's gradients; a picture's (pair's) tensors; its completions at all scales
    params:int
    def peak(self, batch, line=0): one, two = self.lines[line]; return float((one+(two-one)*(batch-self.n)).max())
    def memory(self, batch, parts=1, val=0):
        "Bytes of a step in so many parts (the gradients, and what the judge will be shown, wait meanwhile), or of a validation"
        one = batch//parts; waiting = self.grads+(self.inputs+self.shown)*(batch-one) if parts > 1 else 0
        return sum(self.held.values())+max(self.peak(one)+waiting+self.inputs*batch, self.peak(val, 1)+self.inputs*(batch+val) if val else 0)
    def seconds(self, batch, parts=1): return LAUNCH*self.kernels*parts+self.macs*batch/RATE
    def fits(self, card, batch, parts=1, val=0): return self.memory(batch, parts, val)*SPARE/GB+CUDA <= card


def count(stage, frozen=0, bf16=False):
    "Cost of a stage that was built on the CPU; takes real steps of few pictures"
    n = 2 if isinstance(stage, Pretraining) else 1                                                        # one pair alone takes other operations
    stage.step(take(stage, n), 0)                                                                         # the optimiser's moments are there from now on
    one, two = take(stage, n), take(stage, n+1); (a, _), (b, macs) = (watched(lambda: stage.step(x, 1), bf16) for x in (one, two))
    if len(a.trace) != len(b.trace): raise FacecompError(f"A step of {n} takes {len(a.trace)} operations, one of {n+1} {len(b.trace)}: their memory can't be compared.")
    lines = [[np.array(w.trace, float) for w in (a, b)]]; state = stage.state(); ema = getattr(stage, 'ema', None)
    if ema is not None:
        with torch.no_grad(): lines.append([np.array(watched(lambda: ema(x['x']), bf16)[0].trace, float) for x in (one, two)])
    held = {n: size(state[k]) for n, k in (('weights', 'net'), ('moments', 'opt'), ('averaged weights', 'ema'), ('judge', 'disc'), ("its moments", 'opt_disc')) if k in state}
    own = [p for p in stage.raw.parameters() if p.requires_grad]
    return Cost(macs/(n+1), b.kernels, b.saved-a.saved, n, lines, held | ({'frozen networks': frozen} if frozen else {}), size(own), size(one)//n, 16*stage.cfg.net.size**2 if ema is not None else 0, sum(p.numel() for p in own))


def recogniser(cfg, folder):
    "Configuration with a recogniser that is there, or with none; its bytes; what to say of it"
    if not cfg.loss.where_identity: return cfg, 0, ''
    said = ''; name = str(cfg.loss.identity).partition(':')[0]
    if name == 'lightcnn' and not Path(cfg.loss.identity.partition(':')[2]).is_file():
        save_file(LightCNN29().state_dict(), folder/'lightcnn.safetensors'); said = 'LightCNN-29 with random weights (its file is not there)'
        cfg = replace(cfg, loss=replace(cfg.loss, identity=f"lightcnn:{folder/'lightcnn.safetensors'}"))
    try: return cfg, size([*Embedder.load(cfg.loss.identity).net.parameters()]), said
    except FacecompError as e: return replace(cfg, loss=replace(cfg.loss, identity_weight=0., identity='')), 0, f'WITHOUT the identity loss: {e}'


def build(cfg, which, root, photos=None):
    "Stage 1 or 2 on the CPU, on the prepared set in root"
    cfg = replace(cfg, compile=False, workers=0, val_every=0, init='', accumulate=1, occluder='random' if cfg.occluder == 'own' else cfg.occluder, loss=replace(cfg.loss, vgg='random'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore'); faces, acc = PreparedFaces(root, 'train'), make_accelerator(cfg)
        if which == 2: return CompletionTraining(cfg, faces, acc)
        stage = Pretraining(cfg, faces, acc)
    K = min(cfg.pretrain.queue, photos//4 if photos else cfg.pretrain.queue); stage.raw.queue = KeyQueue(max(1, K), cfg.pretrain.dim); return stage


def costs(cfg, which, photos=None):
    "Cost in float32 and in bf16; what is to be said of the recogniser"
    with tempfile.TemporaryDirectory() as tmp, warnings.catch_warnings():
        warnings.simplefilter('ignore'); tmp = Path(tmp); root = drawn_set(tmp, cfg.net.size, 4)
        cfg, frozen, said = recogniser(cfg, tmp) if which == 2 else (cfg, 0, '')
        if which == 2 and cfg.loss.needs_vgg: frozen += 4*1_735_488                                       # VGG-16 up to pool3
        return {p: count(build(replace(cfg, precision=p), which, root, photos), frozen, p == 'bf16') for p in ('no', 'bf16')}, said


def plan(cfg, which, batch=None): # batch, steps, parts, pictures of a validation, processes that load
    part = cfg.pretrain if which == 1 else cfg
    return batch or part.batch, part.steps, cfg.accumulate if which == 2 else 1, min(32, cfg.val_faces) if which == 2 and cfg.val_every else 0, cfg.workers if cfg.workers >= 0 else WORKERS


def duration(cfg, cost, which, batch=None): # seconds of a step's arithmetic, of its data, hours of the run
    batch, steps, parts, _, workers = plan(cfg, which, batch); step = cost.seconds(batch, parts); data = batch/DRAWN[which]*SLOWER[cfg.net.size]/max(1, workers)
    return step, data, steps*(max(step, data) if workers else step+data)/3600


def report(name, cfg, which, photos, batch, card):
    "The estimate of one stage, in words"
    both, said = costs(cfg, which, photos); mode = {'no': 'no', 'bf16': 'bf16', 'fp16': 'bf16', 'auto': 'bf16'}[cfg.precision]; c = both[mode]; (step, data, hours), (batch, steps, parts, val, workers) = duration(cfg, c, which, batch), plan(cfg, which, batch)
    what = 'pair' if which == 1 else 'picture'; print(f"{name}, {cfg.net.size}², stage {which}, {steps:,} steps of {batch}{f' in {parts} parts' if parts > 1 else ''}; {dict(no='float32', bf16='bf16')[mode]}. Expected, not measured.")
    if said: print(said)
    print(f"parameters      {c.params/1e6:.3g} M that are trained\nmultiply-adds   {c.macs/1e9:.3g} G a {what}; {c.kernels:,} kernels a step")
    print(f"activations     {both['no'].saved/1e6:.3g} MB a {what} saved for backward in float32, {both['bf16'].saved/1e6:.3g} MB in bf16")
    print(f"held            {sum(c.held.values())/1e6:.3g} MB: "+', '.join(f'{k} {v/1e6:.3g}' for k, v in c.held.items())+f"; gradients come and go, {c.grads/1e6:.3g}")
    for p, n in (('no', 'float32'), ('bf16', 'bf16')):
        k = both[p]; most = largest(k, card, val)
        print(f"memory          {k.memory(batch, parts, val)/GB:.2g} GB in {n}; {'fits' if k.fits(card, batch, parts, val) else 'does not fit'} a card of {card:g} GB, which takes {many(most)} at once")
        if which == 2 and not k.fits(card, batch, parts, val):
            enough = next((n for n in range(2, batch+1) if batch % n == 0 and k.fits(card, batch, n, val)), None)
            print(f"                accumulate={enough} would make it fit" if enough else "                no accumulate makes it fit")
    print(f"time            {1e3*step:.0f} ms a step ({1e3*LAUNCH*c.kernels*parts:.0f} of it starting kernels; its data {1e3*data:.0f} ms {f'beside it, from {workers} process'+'es'*(workers > 1) if workers else 'before it'}): {span(hours)} on one H200")


def largest(cost, card, val=0): # pictures that fit at once
    return next((n for n in range(1024, 0, -1) if cost.fits(card, n, 1, val)), 0)


def many(n): return f'{n:,}' if n < 1024 else 'over 1,000'
def span(hours): return f'{hours:.1f} h' if hours >= 1 else f'{60*hours:.1g} min' if hours < 1/6 else f'{60*hours:.0f} min'


def bundled(): return config_from_dict(json.loads((Path(__file__).parent.parent/'nbs'/'logs'/'small.json').read_text()))


def check():
    "The rule beside what was measured: what it was fitted to, and what it was not"
    full = override(preset('small'), ['precision=bf16', 'threads=0', 'loss.identity_weight=.1', 'loss.identity=auto', 'loss.adversarial_weight=.1', 'loss.texture_layers=[1,2,3]', 'loss.texture_crop=0'])
    Embedder.load('auto')                                                                                 # the measured steps had it
    run, all_, (first, wide) = costs(bundled(), 2)[0]['bf16'], costs(full, 2)[0]['bf16'], (costs(override(bundled(), [f'pretrain.queue={k}']), 1)[0]['bf16'] for k in (3900, 65536))
    with tempfile.TemporaryDirectory() as tmp:
        stage = build(replace(full, precision='no'), 2, drawn_set(Path(tmp), 128, 4)); plain = Plain(stage); plain.dataset, plain.raw = stage.dataset, plain.net
        plain.opt, plain.opt_disc = (torch.optim.Adam(o.param_groups[0]['params'], o.defaults['lr'], foreach=True) for o in (plain.opt, plain.opt_disc))    # as on a GPU
        plain.state = lambda: dict(net=plain.net.state_dict(), opt=plain.opt.state_dict(), ema=plain.ema.state_dict(), disc=plain.disc.state_dict(), opt_disc=plain.opt_disc.state_dict())
        slow = count(plain, all_.held['frozen networks'])
    draws = WORKERS*DRAWN[1]; row = lambda what, was, is_, unit, note='': print(f'| {what} | {was:,} {unit} | {is_:,.{1 if unit == "GB" else 0}f} {unit} | {100*(is_/was-1):+.0f} % | {note} |')
    print('| measured on an H200 | was | rule | error | |\n|---|---|---|---|---|')
    row('bundled run, stage 2, batch 64: a step', 66, 1e3*run.seconds(64), 'ms', 'the constants are from here'); row('the same, batch 128', 106, 1e3*run.seconds(128), 'ms', 'and from here')
    row('all losses at 3 scales, batch 64: a step', 86, 1e3*all_.seconds(64), 'ms', 'compiled; counted without'); row('the same, written plainly in float32', 125, 1e3*slow.seconds(64), 'ms')
    row('all losses at 3 scales, batch 64: memory', 7.4, all_.memory(64)/GB, 'GB', 'compiled; counted without'); row('the same, written plainly in float32', 13.6, slow.memory(64)/GB, 'GB')
    row('bundled run, stage 2, batch 128: memory', 9.3, run.memory(128)/GB, 'GB')
    big = costs(config_from_dict(json.loads((Path(__file__).parent.parent/'nbs'/'logs'/'base.json').read_text())), 2)[0]['bf16']
    row('the `base` weights, 256², batch 64: a step, recorded', 166, 1e3*big.seconds(64), 'ms', 'compiled 107'); row('the same: memory', 18.1, big.memory(64)/GB, 'GB', 'compiled 12.4')
    row('stage 1, batch 128, K 65,536: a step without data', 7, 1e3*wide.seconds(128), 'ms', 'before logits were written once'); row('bundled run, stage 1, 15 processes: pairs a second', 1282, min(draws, 128/first.seconds(128)), '', 'waits for its data')


LIGHTCNN = ['loss.identity=lightcnn:weights/LightCNN_29Layers_V2_checkpoint.pth.tar', 'precision=bf16']
RUNS = {1: [('CelebA, 256² (`paper`)', lambda: preset('paper'), 192_599), ('CelebA + Multi-PIE, 128² (verification)', lambda: override(preset('paper'), ['net.size=128']), None),
            ('`base`, 256²', lambda: preset('base'), None), ('`small`, 128²', lambda: preset('small'), None), ('bundled weights, 128²', bundled, None)],
        2: [('CelebA, CelebA-HQ, FFHQ, L2SFO, 256² (`paper`)', lambda: override(preset('paper'), LIGHTCNN), None), ('CelebA + Multi-PIE, 128² (verification)', lambda: override(preset('paper'), [*LIGHTCNN, 'net.size=128']), None),
            ('`base`, 256²', lambda: preset('base'), None), ('`small`, 128²', lambda: preset('small'), None), ('`finder`, 64²', lambda: preset('finder'), None),
            ('bundled weights, 128²', bundled, None), ('the same, going on', lambda: override(bundled(), ['steps=1950']), None)]}


def table(which, card):
    "Markdown: a line for each run of a stage"
    print(f"| run | steps × batch | multiply-adds a {'pair' if which == 1 else 'picture'} | memory in bf16, float32 | a card of {card:g} GB takes, bf16, float32 | a step; its data | one H200 |\n|---|---|---|---|---|---|---|")
    for name, make, photos in RUNS[which]:
        cfg = make(); (both, said), (batch, steps, parts, val, _) = costs(cfg, which, photos), plan(cfg, which); a, b = both['bf16'], both['no']; step, data, hours = duration(cfg, a, which)
        most = lambda c: many(largest(c, card, val))
        print(f"| {name} | {steps:,} × {batch} | {a.macs/1e9:.3g} G | {a.memory(batch, parts, val)/GB:.1f}, {b.memory(batch, parts, val)/GB:.1f} GB | {most(a)}, {most(b)} a step | {1e3*step:.0f}; {1e3*data:.0f} ms | {span(hours)} |", flush=True)
        if said: print(f'{name}: {said}', file=sys.stderr)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('config', nargs='?', help=f"a preset ({', '.join(PRESETS)}) or a config.json"); p.add_argument('--set', nargs='+', action='extend', default=[], metavar='key=value')
    p.add_argument('--batch', type=int, help="pictures (pairs) a step; the configuration's by default"); p.add_argument('--stage', type=int, choices=(1, 2), help='only this stage')
    p.add_argument('--photos', type=int, help='photos in the set, a quarter of which is the longest queue'); p.add_argument('--card', type=float, default=12, help="GB of the card that it shall fit")
    p.add_argument('--check', action='store_true', help='the rule against what was measured'); p.add_argument('--table', action='store_true', help='the tables of notebooks 80 and 81')
    a = p.parse_args()
    try:
        if a.check: return check()
        if a.table: return [table(s, a.card) for s in ((a.stage,) if a.stage else (1, 2))]
        if not a.config: p.error('give a preset, a config.json, --check or --table')
        if a.config in PRESETS: cfg = preset(a.config)
        elif Path(a.config).exists(): cfg = config_from_dict(json.loads(Path(a.config).read_text()))
        else: raise FacecompError(f"{a.config!r} is neither a preset ({', '.join(PRESETS)}) nor a file.")
        cfg = override(cfg, a.set)
        if cfg.precision == 'float64': raise FacecompError("precision='float64' is for tests: take 'no' or 'bf16'.")
        if a.batch is not None and a.batch < 1: raise FacecompError(f"--batch must be at least 1, not {a.batch}.")
        for s in ((a.stage,) if a.stage else (1, 2) if cfg.pretrain.steps and not cfg.init else (2,)): report(Path(a.config).stem, cfg, s, a.photos, a.batch, a.card)
    except (FacecompError, json.JSONDecodeError) as e: sys.exit(f'estimate_cost: {e}')


if __name__ == '__main__': main()
