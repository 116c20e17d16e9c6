"""The step of stage 2 as it is trained, against the same step written plainly, one after the other in one process.

python data_scripts/bench_step.py [--preset small] [--data PREPARED] [--all] [--rounds 8] [--steps 30] [--threads 1] [--device cpu|cuda] [--trace N] [--set key=value …]

Ours: the trainer's own step with the preset's settings (bf16 where the machine has it, channels last, fused Adam; on a GPU compiled and recorded), VGG once a picture, the truth without gradient,
the embedder's batch norms folded into its convolutions.
Plain: fp32, contiguous, not compiled, every loss with its own resizing and its own VGG or embedder passes, the judge asked one layer at a time.
VGG and the embedder are frozen in both. Both losses are compared first, in fp32, and their gradients, in float64. Also: pictures/s, share of the time the step waits for
the loader, peak memory (each in a process of its own), and the floor: the step's multiply-adds over the rate that large matrix products reach here.
With --trace, at the end, the N operations in which our step spends most of its time, and how many it starts.
Without --data, procedural faces; without FACECOMP_DATA, a VGG with random weights (as slow as the real one).
"""
import argparse, copy, json, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np, torch, torch.nn.functional as F
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from facecomp.adversarial import PatchDiscriminator
from facecomp.config import PRESETS, override, preset
from facecomp.core import data_root, masked_resize, write_picture
from facecomp.daf import CompletionNet
from facecomp.faces import procedural_face
from facecomp.identity import Embedder
from facecomp.loop import StepBatches, make_accelerator, settle
from facecomp.objective import CompletionLoss
from facecomp.losses import gram, hinge_d, hinge_g, hole_crops, identity_loss, masked_l1
from facecomp.jobs import number_from
from facecomp.prepared import PreparedFaces, encode_field
from facecomp.samples import InBytes, from_bytes
from facecomp.photos import prepare
from facecomp.stage2 import CompletionTraining, uses_fields


def drawn_set(folder, size, n=64):
    "A prepared set of procedural faces with their fields"
    drawn = [procedural_face(s, size=size+size//2, aligned=False) for s in range(n)]
    for i, f in enumerate(drawn): write_picture(folder/'src'/f'{i:03}.png', f.picture)
    np.savez(folder/'marks.npz', name=[f'{i:03}.png' for i in range(n)], landmarks68=np.stack([f.landmarks for f in drawn]))
    prepare('folder', folder/'src', folder/'set', size=size, landmarks=folder/'marks.npz', jobs=1, progress=False)
    np.save(folder/'set'/'fields.npy', np.stack([encode_field(f.C, f.valid) for f in (procedural_face(s, size=size) for s in range(n))]))
    return folder/'set'


def plain_loss(c, vgg, embedder, disc, out, b):
    "The objective of LossConfig c, written down loss by loss"
    def at(k, what='y', known='valid'): return masked_resize(b[what], b[known], out.pictures[k-1].shape[-2:])
    def shown(k): y, v = at(k); return torch.where(v > .5, out.pictures[k-1], y), y
    def cut(k): return hole_crops(c.texture_crop >> (k-1), b['hole'], *shown(k), chance=b['chance']) if c.texture_crop else shown(k)
    def share(k): return min(1, (c.texture_crop >> (k-1))**2/out.pictures[k-1][0, 0].numel()) if c.texture_crop else 1
    def full(p): return p if p.shape == out.pictures[0].shape else F.interpolate(p, out.pictures[0].shape[-2:], mode='bilinear', align_corners=False)
    def rec(k): y, v = at(k); return masked_l1(out.pictures[k-1], y, v)
    def uv(k):
        (C, face), (_, v) = at(k, 'C', 'face'), at(k); face = face > .5
        return masked_l1(out.fields[k-1], C*face, v*face if c.uv_face_only else v)
    def perceptual(k): p, y = cut(k); return share(k)*sum((a-t).abs().mean() for a, t in zip(vgg(p), vgg(y)))
    def style(k):
        p, y = cut(k)
        return share(k)*sum((gram(a)-gram(t)).abs().sum((1, 2)).mean()/a.shape[1]**2 for a, t in zip(vgg(p), vgg(y)))
    def identity(k): p, y = shown(k); return identity_loss(embedder(p), embedder(y))
    def adversarial(k): disc.eval(); s = disc(full(shown(k)[0])); disc.train(); return hinge_g(s)
    parts = ((c.rec_weight, rec, c.structure_layers), (c.uv_weight if out.fields else 0, uv, c.structure_layers), (c.perceptual_weight, perceptual, c.texture_layers),
             (c.style_weight, style, c.texture_layers), (c.identity_weight, identity, c.where_identity), (c.adversarial_weight, adversarial, c.where_adversarial))
    loss = 0
    for weight, f, layers in parts:
        ks = [k for k in layers if k <= len(out.pictures)]
        if weight and ks: loss = loss+weight*sum(f(k) for k in ks)/(len(ks) if c.layer_reduction == 'mean' else 1)
    return loss


class Plain:
    "The step without any of the trainer's care"
    def __init__(self, stage):
        flat = dict(memory_format=torch.contiguous_format)
        self.cfg, device = stage.cfg, next(stage.raw.parameters()).device
        self.net, self.ema = (CompletionNet(stage.cfg.net).to(device) for _ in range(2))      # no copy: a prepared network's forward runs under autocast
        for net, like in ((self.net, stage.raw), (self.ema, stage.ema)): net.load_state_dict(like.state_dict())
        self.opt = torch.optim.Adam(self.net.parameters(), self.cfg.lr, betas=self.cfg.betas)
        self.vgg = copy.deepcopy(stage.loss_fn.vgg).to(**flat) if stage.loss_fn.vgg is not None else None
        self.embedder = Embedder.load(self.cfg.loss.identity, stage.convention).to(device) if stage.loss_fn.identity is not None else None      # its batch norms not folded
        self.disc = PatchDiscriminator(stage.cfg.disc).to(device) if stage.disc is not None else None
        if self.disc is not None: self.disc.load_state_dict(stage.disc.state_dict()); self.opt_disc = torch.optim.Adam(self.disc.parameters(), self.cfg.lr_disc, betas=self.cfg.betas_disc)

    def loss(self, b):
        out = self.net(b['x']); return plain_loss(self.cfg.loss, self.vgg, self.embedder, self.disc, out, b), out

    def step(self, b, n):
        loss, out = self.loss(b); self.opt.zero_grad(); loss.backward()
        if self.cfg.clip: torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.cfg.clip)
        self.opt.step()
        with torch.no_grad():
            for a, p in zip(self.ema.parameters(), self.net.parameters()): a.mul_(self.cfg.ema).add_(p, alpha=1-self.cfg.ema)
        if self.disc is None: return
        size = out.pictures[0].shape[-2:]; judge = 0
        for k in self.cfg.loss.where_adversarial:
            y, v = masked_resize(b['y'], b['valid'], out.pictures[k-1].shape[-2:]); p = torch.where(v > .5, out.pictures[k-1].detach(), y)
            y, p = (F.interpolate(t, size, mode='bilinear', align_corners=False) for t in (y, p)); judge = judge+hinge_d(self.disc(y), self.disc(p))
        self.opt_disc.zero_grad(); (judge/len(self.cfg.loss.where_adversarial)).backward(); self.opt_disc.step()


def compare(plain, stage, b):
    "Relative difference between the two ways of writing: of the loss in fp32, of its gradient in float64 on two pictures; the loss"
    def both(b, parts):
        net, vgg, embedder, disc = parts; out = net(b['x']); c = stage.cfg.loss
        return plain_loss(c, vgg, embedder, disc, out, b), CompletionLoss(c, vgg, embedder)(out, b, disc)[0]
    parts = plain.net, plain.vgg, plain.embedder, plain.disc
    with torch.no_grad(): a, c = both(b, parts)
    fine = [copy.deepcopy(m).double() if m is not None else None for m in parts]; few = {k: v[:2].double() if v.is_floating_point() else v[:2] for k, v in b.items()}
    g, h = (torch.cat([x.flatten() for x in torch.autograd.grad(v, fine[0].parameters(), retain_graph=True, materialize_grads=True)]) for v in both(few, fine))
    loss, grad = float((a-c).abs()/a.abs()), float((g-h).norm()/g.norm())
    assert loss < 1e-5 and grad < 1e-9, f'not the same objective: loss differs by {loss:.1e}, gradient by {grad:.1e}'
    return loss, grad, a.item()


def wait(dev):
    if dev.type == 'cuda': torch.cuda.synchronize()


def clock(f, dev):
    "Seconds, and seconds of processor time, that f takes"
    wait(dev); t = time.perf_counter(), time.process_time(); f(); wait(dev); return time.perf_counter()-t[0], time.process_time()-t[1]


def rate(dev, dtype, n):
    "Multiply-adds per second (on a CPU: of processor time) of n×n matrix products, the best of nine"
    a, b = (torch.rand(n, n, device=dev, dtype=dtype) for _ in range(2)); a @ b
    return n**3/min(clock(lambda: a @ b, dev)[dev.type != 'cuda'] for _ in range(9))


def build(a, root):
    "Configuration, set, accelerator, trained stage"
    cfg = preset(a.preset); more = ['val_every=0']+(['threads='+str(a.threads)] if a.threads else [])
    if data_root() is None: more.append('loss.vgg=random')
    if a.all: more += ['loss.identity_weight=.1', 'loss.identity=auto', 'loss.adversarial_weight=.1']
    if a.device == 'cuda': more.append('compile=true')
    cfg = settle(override(cfg, more+a.set)); faces = PreparedFaces(a.data or root, 'train'); acc = make_accelerator(cfg)
    if cfg.threads: torch.set_num_threads(cfg.threads)
    return cfg, CompletionTraining(cfg, faces, acc), acc


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--preset', default='small', choices=[*PRESETS]); p.add_argument('--data', help='prepared set with fields; procedural faces by default')
    p.add_argument('--all', action='store_true', help='identity and adversarial loss too (FACECOMP_DATA for the embedder)')
    p.add_argument('--rounds', type=int, default=8, help='steps of each, alternating'); p.add_argument('--steps', type=int, default=30, help='steps with the real loader')
    p.add_argument('--threads', type=int, default=0, help="torch's CPU threads; the preset's by default"); p.add_argument('--set', nargs='+', action='extend', default=[], metavar='key=value')
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', choices=('cpu', 'cuda'))
    p.add_argument('--trace', type=number_from(1), metavar='N', help='also list the N operations that take most of our step')
    p.add_argument('--part', choices=('ours', 'plain'), help=argparse.SUPPRESS); p.add_argument('--root', help=argparse.SUPPRESS)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp: run(a, a.data or a.root or drawn_set(Path(tmp), preset(a.preset).net.size))


def run(a, root):
    again = [sys.executable, __file__, *sys.argv[1:], '--root', str(root), '--part']      # first, while this process is small: a child's peak starts at its parent's size
    peak = {} if a.part else {k: json.loads(subprocess.run([*again, k], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]) for k in ('ours', 'plain')}
    cfg, stage, acc = build(a, root); dev = acc.device; gpu = dev.type == 'cuda'
    if gpu != (a.device == 'cuda'): sys.exit(f'bench_step: asked for {a.device}, but training runs on {dev.type} here.')
    load = lambda start, stop, workers: DataLoader(InBytes(stage.dataset), batch_sampler=StepBatches(len(stage.dataset), cfg.batch, 0, start, stop), num_workers=workers, pin_memory=gpu)
    move = lambda b: from_bytes({k: v.to(dev, non_blocking=True) for k, v in b.items()})
    b = move(next(iter(load(0, 1, 0))))
    plain = None if a.part == 'ours' else Plain(stage)
    if a.part:
        if a.part == 'plain': del stage
        for n in range(6 if gpu else 2): (stage if a.part == 'ours' else plain).step(b, n)
        print(json.dumps(torch.cuda.max_memory_allocated()/2**20 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)); return
    name = torch.cuda.get_device_name() if gpu else f'CPU, {torch.get_num_threads()} thread(s)'
    print(f"{a.preset} {cfg.net.size}², batch {cfg.batch}, {'all losses' if a.all else 'losses of the preset'}, {name}; ours: {cfg.precision}, "
          f"{'channels last' if cfg.channels_last else 'contiguous'}, {'compiled' if cfg.compile else 'not compiled'}; fields {'on' if uses_fields(cfg) else 'off'}")
    loss, grad, value = compare(plain, stage, b); print(f'the same objective: {value:.4f}, they differ by {loss:.0e} (fp32), their gradients by {grad:.0e} (float64)')
    times = dict(ours=[], plain=[])
    for _ in range(6 if gpu else 1): stage.step(b, 0); plain.step(b, 0)
    for n in range(a.rounds):
        for who, how in (('ours', stage), ('plain', plain)): times[who].append(clock(lambda: how.step(b, n), dev))
    (ours, cpu), (slow, cpu_slow) = ([statistics.median(t[i] for t in times[k]) for i in (0, 1)] for k in ('ours', 'plain'))
    ratios = sorted(q[0]/p[0] for p, q in zip(times['ours'], times['plain']))
    print(f'a step: ours {1e3*ours:.0f} ms ({cfg.batch/ours:.1f} pictures/s), plain {1e3*slow:.0f} ms ({cfg.batch/slow:.1f}); '
          f'ratio {slow/ours:.2f} (of pairs: {ratios[0]:.2f} to {ratios[-1]:.2f}, median {statistics.median(ratios):.2f})')
    if not gpu: print(f'of processor time: ours {1e3*cpu:.0f} ms, plain {1e3*cpu_slow:.0f} ms; ratio {cpu_slow/cpu:.2f} (a shared machine stretches the seconds, not these)')
    whole, waited = 0., 0.; batches = iter(load(0, a.steps+3, max(1, cfg.workers)))
    for n in range(a.steps+3):
        t = time.perf_counter(); batch = next(batches); got = time.perf_counter(); batch = move(batch); stage.step(batch, n); wait(dev); end = time.perf_counter()
        if n >= 3: whole += end-t; waited += got-t                      # the first steps start the workers
    print(f'with the loader ({max(1, cfg.workers)} worker(s)), {a.steps} steps: {cfg.batch*a.steps/whole:.1f} pictures/s, {100*waited/whole:.1f} % of the time spent waiting for data')
    dtype = {'bf16': torch.bfloat16, 'fp16': torch.float16}.get(cfg.precision, torch.float32); kept = stage.net, stage.recorded; stage.net, stage.recorded = acc.unwrap_model(stage.raw), None
    with FlopCounterMode(display=False) as count: stage.step(b, 0)
    stage.net, stage.recorded = kept; macs, best = count.get_total_flops()/2, rate(dev, dtype, n_by(gpu))
    print(f'floor: {macs/1e9:.1f} G multiply-adds a step over {best/1e9:.0f} G/s ({n_by(gpu)}² matrix products, {str(dtype)[6:]}) = {1e3*macs/best:.0f} ms; ours takes {(ours if gpu else cpu)*best/macs:.1f} times that')
    print(f"peak memory: ours {peak['ours']:.0f} MB, plain {peak['plain']:.0f} MB"+('' if gpu else ' (whole process)'))
    if a.trace: print(trace(lambda: stage.step(b, 0), dev, a.trace))


def trace(f, dev, n):
    "The n operations in which one call of f spends most of its time, as markdown; on a GPU, its time and not the processor's"
    from torch.profiler import ProfilerActivity, profile
    gpu = dev.type == 'cuda'; took = lambda e: e.self_device_time_total if gpu else e.self_cpu_time_total
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as p: f(); wait(dev)
    ops = sorted((e for e in p.key_averages() if took(e) > 0), key=took, reverse=True); whole = sum(map(took, ops))
    return '\n'.join([f"{whole/1e3:.0f} ms in {sum(e.count for e in ops):,} operations", '| operation | times | ms | share |', '|---|---|---|---|',
                      *(f'| {e.key[:60]} | {e.count} | {took(e)/1e3:.1f} | {took(e)/whole:.0%} |' for e in ops[:n])])


def n_by(gpu): return 8192 if gpu else 1024


if __name__ == '__main__': main()
