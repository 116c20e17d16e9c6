"""What the identity loss costs: the recogniser as its file has it, with its batch norms folded in (as training uses it), and in bf16.

    python data_scripts/bench_identity.py EMBEDDER [--data prepared] [--pictures 8] [--size 64] [--rounds 8] [--threads 1] [--device cpu|cuda]

EMBEDDER is a TorchScript file, or NAME:FILE. A round of each way, one after the other: the truths without a gradient, the completions with it, and the way back
to their pixels. Milliseconds of processor time (on a GPU: of the clock) are medians; beside them the ratio to the file's own way, and how far the gradient turns from its.
--data takes the faces of a prepared set; without it the pictures are soft noise, which a recogniser is slow at as well.
"""
import argparse, statistics, sys, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch, torch.nn.functional as F
from facecomp.core import FacecompError, to_tensor
from facecomp.identity import Embedder, align_for
from facecomp.losses import identity_loss
from facecomp.prepared import PreparedFaces


class Half(Embedder):
    "The same in bf16, layers channels last"
    def several(self, pics):
        w = self.show; x = torch.cat([align_for(x.float(), w, self.conv) for x in pics])
        if w.color == 'grey': x = (x*x.new_tensor([.299, .587, .114])[:, None, None]).sum(1, keepdim=True)
        elif w.color == 'bgr': x = x.flip(1)
        x = ((x*255-w.mean)/w.scale).to(torch.bfloat16, memory_format=torch.channels_last)
        return list(F.normalize(self.net(x).float().flatten(1), dim=1).chunk(len(pics)))


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('embedder'); p.add_argument('--data'); p.add_argument('--pictures', type=int, default=8); p.add_argument('--size', type=int, default=64)
    p.add_argument('--rounds', type=int, default=8); p.add_argument('--threads', type=int, default=1); p.add_argument('--device', default='cpu')
    a = p.parse_args(argv); torch.set_num_threads(a.threads); torch.manual_seed(0)
    try:
        if a.data: faces = PreparedFaces(a.data, 'train', a.pictures, spread=True); true = torch.stack([to_tensor(faces.picture(i)[0]) for i in range(len(faces))])
        else: true = F.interpolate(torch.rand(a.pictures, 3, 8, 8), a.size, mode='bicubic').clamp(0, 1)
        half = Half.load(a.embedder); half.net = half.net.to(a.device, torch.bfloat16).to(memory_format=torch.channels_last)
        ways = {'as its file has it': Embedder.load(a.embedder).to(a.device), 'folded': Embedder.load(a.embedder).to(a.device).fuse(), 'folded, bf16': half.fuse()}
    except FacecompError as e: sys.exit(f'bench_identity: {e}')
    true = true.to(a.device); guess = (true+.1*torch.randn_like(true)).clamp(0, 1)
    clock = time.perf_counter if a.device != 'cpu' else time.process_time

    def once(net):
        x = guess.clone().requires_grad_()
        if a.device != 'cpu': torch.cuda.synchronize()
        t = clock()
        with torch.no_grad(): v = net(true)
        identity_loss(net(x), v).backward()
        if a.device != 'cpu': torch.cuda.synchronize()
        return 1000*(clock()-t), x.grad

    runs = [{n: once(net) for n, net in ways.items()} for _ in range(a.rounds+2)][2:]
    base, g = statistics.median(r['as its file has it'][0] for r in runs), runs[0]['as its file has it'][1].flatten()
    for n in ways:
        ms = statistics.median(r[n][0] for r in runs); cos = F.cosine_similarity(runs[0][n][1].flatten(), g, 0).clamp(-1, 1)
        print(f'{n:20} {ms:6.0f} ms for {len(true)} pictures of {true.shape[-1]}², {base/ms:.2f} times as fast; gradient turned by {torch.rad2deg(torch.acos(cos)):.1f}°')


if __name__ == '__main__': main()
