"""What stage 1 costs beside its two encoders, by torch's profiler.

python data_scripts/bench_siamese.py [--net small] [--queue 65536] [--batch 128] [--steps 3] [--device cpu|cuda] [--precision no|bf16]

A step in sections: both encoders (forward, and backward of the query's), and everything else: logits against a random queue, their gradient, enqueueing,
the momentum update. Peak memory beside that of the plain encoder's training step, each in a process of its own.
"""
import argparse, json, resource, subprocess, sys
import torch, torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile, record_function
from facecomp.daf import NETS
from facecomp.networks import Encoder, NetConfig
from facecomp.siamese import ProjectionHead, SiameseNet, info_nce


def step(net, x, k, index, cast):
    "One training step of stage 1 in named sections (the optimiser is the same for any encoder and left out)"
    with record_function('encoders'):
        with cast(): z_q, z_k = net.query(x), net.key(k)
    with record_function('contrastive'):
        z = z_q.detach().requires_grad_(); loss, logits = info_nce(z, z_k, net.queue.keys.clone(), net.tau, net.queue.absent(index))
        loss.backward(); net.queue.enqueue(z_k, index); (logits.argmax(1) == 0).float().mean()
    with record_function('encoders'): z_q.backward(z.grad)
    with record_function('contrastive'): net.update_keys()
    net.zero_grad(set_to_none=True)


def plain(enc, head, x, cast):
    "The same pictures through an encoder without queue or second encoder"
    with cast(): z = head(enc(x))
    z.sum().backward()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--net', default='small', choices=[*NETS]); p.add_argument('--queue', type=int, default=65536); p.add_argument('--batch', type=int, default=128)
    p.add_argument('--steps', type=int, default=3); p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--precision', default='no', choices=('no', 'bf16')); p.add_argument('--part', choices=('siamese', 'plain'), help=argparse.SUPPRESS)
    a = p.parse_args(); cfg, dev = NetConfig(**NETS[a.net]), torch.device(a.device); C = cfg.widths()[-1]; torch.manual_seed(0)
    if a.part is None:
        out = {part: json.loads(subprocess.run([sys.executable, __file__, *sys.argv[1:], '--part', part], check=True, capture_output=True, text=True).stdout)
               for part in ('siamese', 'plain')}
        s = out['siamese']; share = s['contrastive']/(s['contrastive']+s['encoders'])
        print(f"{a.net} {cfg.size}², K {a.queue}, batch {a.batch}, {s['device']}, precision {a.precision}: {100*share:.1f} % of a step outside the encoders "
              f"({s['contrastive']:.0f} of {s['contrastive']+s['encoders']:.0f} ms); peak memory {s['peak']:.0f} MB, plain encoder {out['plain']['peak']:.0f} MB "
              f"({s['peak']/out['plain']['peak']:.2f} ×)")
        return
    cast = lambda: torch.autocast(dev.type, torch.bfloat16, enabled=a.precision == 'bf16')
    x, k = (torch.rand(a.batch, 3, cfg.size, cfg.size, device=dev).contiguous(memory_format=torch.channels_last) for _ in range(2))
    if a.part == 'plain':
        enc, head = Encoder(cfg).to(dev, memory_format=torch.channels_last), ProjectionHead(C).to(dev); go = lambda: plain(enc, head, x, cast)
    else:
        net = SiameseNet(Encoder(cfg), C, size=a.queue).to(dev, memory_format=torch.channels_last)
        net.queue.keys.copy_(F.normalize(torch.randn(a.queue, 128), dim=1)); net.queue.index.copy_(torch.arange(a.queue)+a.batch)
        go = lambda: step(net, x, k, torch.arange(a.batch, device=dev), cast)
    go(); times = {}
    if a.part == 'siamese':
        with profile(activities=[ProfilerActivity.CPU]+[ProfilerActivity.CUDA]*(dev.type == 'cuda')) as prof:
            for _ in range(a.steps): go()
            if dev.type == 'cuda': torch.cuda.synchronize()
        for e in prof.key_averages():
            if e.key in ('encoders', 'contrastive'): times[e.key] = max(e.device_time_total if dev.type == 'cuda' else 0, e.cpu_time_total)/1e3/a.steps
    peak = torch.cuda.max_memory_allocated()/2**20 if dev.type == 'cuda' else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    print(json.dumps(dict(times, peak=peak, device=torch.cuda.get_device_name() if dev.type == 'cuda' else f'CPU, {torch.get_num_threads()} threads')))


if __name__ == '__main__': main()
