"""FID's Inception as we feed it (layers channels last) against the same layers contiguous, one after the other in one run.

    python data_scripts/bench_fid.py [--file INCEPTION] [--size 128] [--pictures 16] [--rounds 3] [--threads 1] [--device cpu|cuda]

Seconds a picture, the ratio, and how far the features differ, of the largest. Without --file the layers are random: as slow as the real ones.
"""
import argparse, copy, statistics, sys, tempfile, time
from pathlib import Path
from unittest.mock import patch
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from facecomp.inception import inception_features


def random_layers():
    import torch_fidelity.feature_extractor_inceptionv3 as module
    from torchmetrics.image.fid import NoTrainInceptionV3
    with patch.object(module, 'load_state_dict_from_url', lambda *a, **k: None), patch.object(module.FeatureExtractorInceptionV3, 'load_state_dict', lambda *a: None):
        return NoTrainInceptionV3('x', ['2048'], None, False).state_dict()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--file'); p.add_argument('--size', type=int, default=128); p.add_argument('--pictures', type=int, default=16)
    p.add_argument('--rounds', type=int, default=3); p.add_argument('--threads', type=int, default=1); p.add_argument('--device', default='cpu')
    a = p.parse_args(); torch.set_num_threads(a.threads); torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as d:
        if not a.file: torch.save(random_layers(), f'{d}/w.pth')
        ours = inception_features(a.file or f'{d}/w.pth').to(a.device)
    plain = copy.deepcopy(ours); plain.net.to(memory_format=torch.contiguous_format)
    x = torch.nn.functional.interpolate(torch.rand(a.pictures, 3, 16, 16), a.size, mode='bicubic').clamp(0, 1).to(a.device)

    def seconds(net):
        if a.device == 'cuda': torch.cuda.synchronize()
        t = time.perf_counter(); f = net(x).cpu(); return (time.perf_counter()-t)/a.pictures, f

    runs = [(seconds(ours), seconds(plain)) for _ in range(a.rounds+1)][1:]
    fast, slow = (statistics.median(r[i][0] for r in runs) for i in (0, 1)); f, g = (r[1] for r in runs[0])
    print(f'channels last {1000*fast:.0f} ms a picture, contiguous {1000*slow:.0f}: {slow/fast:.2f} times as fast; features differ by {float((f-g).abs().max()/g.abs().max()):.0e}')


if __name__ == '__main__': main()
