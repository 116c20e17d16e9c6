"""Time and memory of completing one photo, end to end, in one run.

    python data_scripts/bench_complete.py [--weights FILE] [--threads 2] [--limit 3] [--no-8k]

A photo of one megapixel (the bundled portrait under a mask, enlarged): everything but the network's forwards beside Pillow's decoding and saving of the same photo (JPEG in, PNG out);
how many forwards; ONNX beside torch; peak memory at 8K, in a process of its own. Ends with status 1 if the share is above `limit`.
"""
import argparse, os, subprocess, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def photo(w, h):
    import cv2
    from facecomp.core import portrait, rng_for
    from facecomp.occlude import occlude
    p, L = portrait('astronaut')
    x, _ = occlude(p, L, 'surgical_blue', rng_for(1))
    k = h/x.shape[0]
    x = cv2.resize(x, (round(x.shape[1]*k), h), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(x, 0, 0, 0, max(0, w-x.shape[1]), cv2.BORDER_REFLECT_101)[:, :w].copy(), (L[:, :2]+.5)*k-.5


def peak(what):
    import resource
    from facecomp.inference import FaceCompleter
    from facecomp.photofile import read_photo, write_photo, Photo
    x, L = photo(7680, 4320)
    with tempfile.TemporaryDirectory() as d:
        write_photo(f'{d}/x.jpg', Photo(x)); del x
        if what == 'complete':
            r = FaceCompleter.from_pretrained(device='cpu').complete_full(f'{d}/x.jpg', landmarks=L)
            r.save(f'{d}/y.png', compress=1)
        elif what == 'read':
            FaceCompleter.from_pretrained(device='cpu'); write_photo(f'{d}/y.png', read_photo(f'{d}/x.jpg'), compress=1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)


def best(f, n=3):
    ts = []
    for _ in range(n): t = time.perf_counter(); f(); ts.append(time.perf_counter()-t)
    return min(ts)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--weights'); p.add_argument('--threads', type=int, default=2); p.add_argument('--limit', type=float, default=3.)
    p.add_argument('--no-8k', action='store_true'); p.add_argument('--peak', help=argparse.SUPPRESS)
    a = p.parse_args(argv)
    if a.peak: return peak(a.peak)
    import cv2, torch
    from PIL import Image
    from facecomp.inference import FaceCompleter
    from facecomp.weights import OnnxNet
    torch.set_num_threads(a.threads); cv2.setNumThreads(a.threads)
    c = FaceCompleter.from_pretrained(a.weights, 'cpu')
    x, L = photo(1152, 896)
    spent = [0., 0]

    def timed(f):
        def g(*args):
            t = time.perf_counter(); out = f(*args); spent[0] += time.perf_counter()-t; spent[1] += len(args[0]); return out
        return g
    whole = c.net.forward
    worst = 0
    with tempfile.TemporaryDirectory() as d:
        Image.fromarray(x).save(f'{d}/x.jpg', quality=92)
        def pillow():
            im = Image.open(f'{d}/x.jpg'); im.load(); im.save(f'{d}/p.png')
        def pillow_jpeg():
            im = Image.open(f'{d}/x.jpg'); im.load(); im.save(f'{d}/p.jpg', quality=95, subsampling=0)
        base, base_j = best(pillow), best(pillow_jpeg)
        print(f'{x.shape[1]}×{x.shape[0]} pixels, {a.threads} threads; Pillow decodes it and saves a PNG in {base*1000:.0f} ms (a JPEG: {base_j*1000:.0f} ms)')
        import facecomp.find as find, facecomp.place as place
        eye = find.field_eye
        for what, kw in (('with landmarks', dict(landmarks=L)), ('found by the field', dict(align='field'))):
            def run(kw=kw):
                spent[:] = [0., 0]; t = time.perf_counter()
                try: r = c.complete_full(f'{d}/x.jpg', **kw)
                except place.NoFaceError: return time.perf_counter()-t, spent[0], spent[1], False
                r.save(f'{d}/y.png'); return time.perf_counter()-t, spent[0], r.forwards, True
            def see_timed(net, k=3, device='cpu'):
                see = eye(net, k, device)
                def g(x): t = time.perf_counter(); out = see(x); spent[0] += time.perf_counter()-t; spent[1] += len(x); g.forwards = see.forwards; return out
                g.forwards = 0; return g
            place.field_eye = see_timed; c.net.forward = timed(whole)
            runs = [run() for _ in range(2)]; c.net.forward, place.field_eye = whole, eye
            t, f, n, found = min(runs, key=lambda r: r[0]-r[1])
            share = (t-f)/base; worst = max(worst, share)
            print(f'{what}: {t*1000:.0f} ms, of which {f*1000:.0f} ms in {n} forwards; everything else {(t-f)*1000:.0f} ms = {share:.2f} × Pillow'+('' if found else ' (no face found with these weights: nothing was saved)'))
        with torch.inference_mode(): t_torch = {b: best(lambda: c.net(torch.rand(b, 3, c.size, c.size)))/b for b in (1, 8)}
        try: off = c.export_onnx(f'{d}/f.onnx')
        except place.FacecompError as e: print(e); off = None
        if off is None: print('ONNX was not measured')
        else:
            net = OnnxNet(f'{d}/f.onnx', a.threads)
            print(f'ONNX: largest difference from torch {off:.1e}; '+'; '.join(f'batch {b}: torch {t_torch[b]*1000:.1f} ms a face, onnxruntime {best(lambda: net(torch.rand(b, 3, c.size, c.size)))/b*1000:.1f} ms' for b in (1, 8)))
    if not a.no_8k:
        env = dict(os.environ, OMP_NUM_THREADS=str(a.threads))
        ram = {k: float(subprocess.run([sys.executable, __file__, '--peak', k], capture_output=True, text=True, env=env, check=True).stdout) for k in ('base', 'read', 'complete')}
        print(f"7680×4320: peak memory {ram['complete']:.0f} MB; reading and writing alone {ram['read']:.0f} MB; making the photo and importing {ram['base']:.0f} MB")
    sys.exit(int(worst > a.limit))


if __name__ == '__main__': main()
