"""A step of stage 2 on a GPU: kernel by kernel, recorded as one CUDA graph (contiguous, or with cuDNN's own search for the fastest algorithm), and compiled as well.

    python data_scripts/bench_graph.py [--presets small base] [--batch 128 64] [--ways eager graph contiguous search compiled] [--steps 10] [--data PREPARED]

All losses, in bf16, on drawn faces unless --data names a set of the preset's size. Printed: milliseconds a step, of the graph alone, pictures/s, seconds until the seventh step
(compiling included), peak memory, and the first six losses, which should be alike. Needs a GPU; FACECOMP_DATA for the embedder and VGG.
"""
import argparse, gc, sys, tempfile, time
from pathlib import Path
import torch
from bench_step import drawn_set
from facecomp.config import PRESETS, override, preset
from facecomp.core import data_root
from facecomp.loop import make_accelerator, settle
from facecomp.prepared import PreparedFaces
from facecomp.stage2 import CompletionTraining

WAYS = dict(eager=['compile=false', 'graph=false'], graph=['compile=false', 'graph=true'], contiguous=['compile=false', 'graph=true', 'channels_last=false'], search=['compile=false', 'graph=true'], compiled=['compile=true', 'graph=true'])
LOSSES = ['loss.texture_layers=[1,2]', 'loss.texture_crop=0', 'loss.perceptual_weight=0.25', 'loss.style_weight=50', 'loss.uv_weight=0.1', 'loss.identity_weight=0.1', 'loss.identity=auto', 'loss.identity_layers=[1]',
          'loss.adversarial_weight=0.02', 'loss.adversarial_layers=[1]', 'precision=bf16', 'val_every=0']


def timed(f, n):
    "Milliseconds of each of n calls, all waited for at the end"
    torch.cuda.synchronize(); t = time.perf_counter()
    for _ in range(n): f()
    torch.cuda.synchronize(); return 1e3*(time.perf_counter()-t)/n


def one(name, way, batch, data, steps):
    "A line of the table, and the first losses"
    torch.backends.cudnn.benchmark = way == 'search'; start = time.time(); torch.cuda.reset_peak_memory_stats(); cfg = settle(override(preset(name), [f'batch={batch}', *LOSSES, *WAYS[way]]))
    stage = CompletionTraining(cfg, PreparedFaces(data, 'train'), acc := make_accelerator(cfg)); k = len(stage.dataset)
    b = {n: v.to(acc.device) for n, v in torch.utils.data.default_collate([stage.dataset[0, i % k] for i in range(batch)]).items()}
    losses = [float(stage.step(b, n)[0]) for n in range(6)]; stage.step(b, 6); torch.cuda.synchronize(); warm = time.time()-start
    ms = timed(lambda: stage.step(b, 6), steps); graph = stage.recorded and stage.recorded.graph; alone = f'{timed(graph.replay, steps):.1f}' if graph else ''
    return f'| {name} {cfg.net.size}², batch {batch} | {way} | {ms:.1f} | {alone} | {1e3*batch/ms:.0f} | {warm:.0f} | {torch.cuda.max_memory_allocated()/2**30:.1f} |', losses


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--presets', nargs='+', default=['small', 'base'], choices=[*PRESETS]); p.add_argument('--batch', nargs='+', type=int, default=[128, 64], help='of each preset')
    p.add_argument('--ways', nargs='+', default=['eager', 'graph', 'compiled'], choices=[*WAYS]); p.add_argument('--steps', type=int, default=10); p.add_argument('--data', help='prepared set with fields'); a = p.parse_args(argv)
    if not torch.cuda.is_available(): sys.exit('bench_graph: there is no GPU here, and this measures one.')
    if data_root() is None: sys.exit('bench_graph: the embedder comes from FACECOMP_DATA, which is not set.')
    if len(a.batch) != len(a.presets): sys.exit(f'bench_graph: --batch wants {len(a.presets)} number(s), one for each preset.')
    print(f'{torch.cuda.get_device_name()}, torch {torch.__version__}\n\n| | way | ms a step | graph alone | pictures/s | s to start | GB |\n|---|---|---|---|---|---|---|', flush=True)
    with tempfile.TemporaryDirectory() as tmp:
        for name, batch in zip(a.presets, a.batch):
            folder = Path(tmp)/name; data = a.data or drawn_set(folder, preset(name).net.size, 32); first = {}
            for way in a.ways: line, first[way] = one(name, way, batch, data, a.steps); print(line, flush=True); gc.collect(); torch.cuda.empty_cache()
            print('\n'.join(f'  {w}: '+', '.join(f'{l:.4f}' for l in ls) for w, ls in first.items()), flush=True)


if __name__ == '__main__': main()
