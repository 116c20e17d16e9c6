"""How many samples the loading processes hand over a second: in bytes, as training takes them, and as float32, in turn.

    python data_scripts/bench_load.py PREPARED [--preset base] [--workers N] [--batch 64] [--batches N] [--rounds 3] [--set key=value …]

PREPARED with fields, or --set loss.uv_weight=0. Printed: samples a second and MB a batch of both, their ratio of each round, and the same for the pairs of stage 1. Nothing else is computed: this is
the most that a training can be fed with.
"""
import argparse, statistics, sys, time
import cv2, torch
from torch.utils.data import DataLoader
from facecomp.config import PRESETS, override, preset
from facecomp.jobs import number_from
from facecomp.loop import StepBatches, settle
from facecomp.prepared import PreparedFaces
from facecomp.samples import InBytes, PairFaces, training_samples
from facecomp.stage2 import uses_fields


def pace(data, workers, batch, batches, start):
    "Samples a second while all workers run, and bytes a batch"
    n = 3*workers; loader = iter(DataLoader(data, batch_sampler=StepBatches(len(data), batch, 0, start, start+n+batches+n), num_workers=workers, pin_memory=torch.cuda.is_available()))
    for _ in range(n): b = next(loader)                               # each has made some, and what was made while starting is used up
    size = sum(v.numel()*v.element_size() for v in b.values()); t = time.perf_counter()
    for _ in range(batches): next(loader)
    return batch*batches/(time.perf_counter()-t), size                # and none has come to its end


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter); p.add_argument('data', help='prepared set')
    p.add_argument('--preset', default='base', choices=[*PRESETS]); p.add_argument('--workers', type=number_from(1), help='loading processes; cores less one by default'); p.add_argument('--batch', type=number_from(1), default=64)
    p.add_argument('--batches', type=number_from(1), help='timed; 4 for each process by default, at least 20'); p.add_argument('--rounds', type=number_from(1), default=3); p.add_argument('--set', nargs='+', action='extend', default=[], metavar='key=value'); a = p.parse_args(argv)
    cfg = settle(override(preset(a.preset), ['workers=-1', *a.set])); n = a.workers or cfg.workers; a.batches = a.batches or max(20, 4*n); faces = PreparedFaces(a.data, 'train'); torch.set_num_threads(1); cv2.setNumThreads(1)
    if cfg.occluder == 'own': sys.exit("bench_load: a set's own pictures travel as they are: leave occluder=own out.")
    both = {'samples of stage 2': training_samples(faces, cfg.seed, cfg.occluder, uses_fields(cfg), cfg.flip, cfg.jitter, cfg.empty, cfg.mix), 'pairs of stage 1': PairFaces(faces, cfg.seed, cfg.pretrain.augment, 0, cfg.occluder, cfg.mix)}
    print(f'{faces.size}², {n} process(es), batches of {a.batch}', flush=True)
    for what, data in both.items():
        found = dict(bytes=[], floats=[])
        for r in range(a.rounds+1):                                   # always the same samples; the first round brings their files into memory
            for how, d in (('bytes', InBytes(data)), ('floats', data)): found[how] += [pace(d, n, a.batch, a.batches, 0)][:r]
        rate, size = ({k: statistics.median(f[j] for f in v) for k, v in found.items()} for j in (0, 1)); ratios = sorted(b[0]/f[0] for b, f in zip(*found.values()))
        print(f"{what}: in bytes {rate['bytes']:.0f}/s ({size['bytes']/2**20:.0f} MB a batch), as float32 {rate['floats']:.0f}/s ({size['floats']/2**20:.0f} MB); ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


if __name__ == '__main__': main()
