"""Table 7: time of one picture, parameters and multiply-adds of ours and the six compared methods, in one run.

    python data_scripts/bench_methods.py [--sizes 128 256] [--threads 1 2] [--rounds 5] [--methods ours-small cut …] [--device cpu|cuda] [--precision no|bf16] [--out table7.csv]

Batch 1, networks as in inference, random weights. All networks are timed in turn, round after round, so that a neighbour's load falls on all of them; the figure is the median over rounds.
"""
import argparse, csv, statistics, sys, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from torch.utils.flop_counter import FlopCounterMode
from facecomp.core import FacecompError, atomic, isolated_rng
from facecomp.daf import NETS, CompletionNet
from facecomp.methods import build
from facecomp.networks import NetConfig, count_parameters

OURS = dict(zip(('ours-small', 'ours-paper'), ('small', 'paper')))
NAMES = (*OURS, 'dfnet', 'canet', 'gmcnn', 'spade', 'cyclegan', 'cut')


def network(name, size):
    "One of NAMES, or a -small method"
    if name in OURS: return CompletionNet(NetConfig(**{**NETS[OURS[name]], 'size': size}))
    return build(name, size)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--sizes', type=int, nargs='+', default=[256, 128]); p.add_argument('--threads', type=int, nargs='+', default=[1, 2]); p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--methods', nargs='+', default=list(NAMES)); p.add_argument('--device', default='cpu'); p.add_argument('--precision', default='no', choices=('no', 'bf16'))
    p.add_argument('--out', help='CSV file')
    a = p.parse_args(argv); dev, rows = torch.device(a.device), []
    if dev.type == 'cuda':
        if not torch.cuda.is_available(): sys.exit('bench_methods: there is no GPU here: leave --device out.')
        a.threads = [torch.get_num_threads()]
    wait = torch.cuda.synchronize if dev.type == 'cuda' else lambda: None
    for size in a.sizes:
        try:
            with isolated_rng(0): nets = {n: network(n, size).eval().to(dev) for n in a.methods}
        except FacecompError as e: sys.exit(f'bench_methods: {e}')
        with isolated_rng(1): x = torch.rand(1, 3, size, size).to(dev)
        macs, times = {}, {(n, t): [] for n in nets for t in a.threads}
        for n, net in nets.items():
            with torch.no_grad(), FlopCounterMode(display=False) as c: net(x)               # warm-up as well
            macs[n] = c.get_total_flops()/2
        with torch.inference_mode(), torch.autocast(dev.type, torch.bfloat16, enabled=a.precision == 'bf16'):
            for r in range(a.rounds):
                for t in a.threads:
                    torch.set_num_threads(t)
                    for n, net in nets.items(): wait(); s = time.perf_counter(); net(x); wait(); times[n, t].append((time.perf_counter()-s)*1e3)
        for n, net in nets.items():
            rows.append(dict(method=n, size=size, parameters=count_parameters(net), multiply_adds=int(macs[n]), **{f'ms_{t}_threads' if dev.type == 'cpu' else 'ms_gpu': round(statistics.median(times[n, t]), 2) for t in a.threads},
                             **{f'fastest_{t}_threads' if dev.type == 'cpu' else 'fastest_gpu': round(min(times[n, t]), 2) for t in a.threads}))
        del nets
    what = [k for k in rows[0] if k.startswith(('ms', 'fastest'))]
    print(f"{'method':16}{'size':>5}{'params':>9}{'mult-adds':>11}" + ''.join(f'{k:>20}' for k in what))
    for r in rows: print(f"{r['method']:16}{r['size']:5}{r['parameters']/1e6:7.1f} M{r['multiply_adds']/1e9:9.2f} G" + ''.join(f'{r[k]:20.1f}' for k in what))
    if a.out:
        with atomic(a.out) as f, f.open('w', newline='') as g: w = csv.DictWriter(g, rows[0]); w.writeheader(); w.writerows(rows)
        print(a.out)


if __name__ == '__main__': main()
