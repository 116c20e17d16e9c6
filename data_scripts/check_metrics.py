"""PSNR, SSIM, LPIPS, FID, AUC and TPR as we compute them, against scikit-image, lpips, pytorch-fid and scikit-learn, and precision and recall by brute force, on the same pictures.

    pip install scikit-image lpips pytorch-fid scikit-learn
    python data_scripts/check_metrics.py --data prepared/utkface --file INCEPTION [--pictures 200] [--weights WEIGHTS] [--threads 1]

Test faces under the nine masks in turn, and what the weights make of them, as bytes. The largest difference of any picture, of FID the relative one,
beside what it may be; the exit code is 1 if something is farther off. AlexNet for LPIPS comes from where lpips_net finds it; nothing else is downloaded.
"""
import argparse, sys, tempfile, warnings
from pathlib import Path
from unittest.mock import patch
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np, torch
from tqdm.auto import tqdm
from facecomp.core import FacecompError, to_tensor, to_uint8, write_picture
from facecomp.distribution import fid, precision_recall
from facecomp.inception import inception_features, inception_weights
from facecomp.metrics import lpips_net, psnr, ssim
from facecomp.jobs import net_for
from facecomp.prepared import PreparedFaces, TestFaces, spread_over, turns
from facecomp.roc import auc, tpr_at

LIMITS = dict(PSNR=1e-4, SSIM=1e-4, LPIPS=1e-4, FID=1e-3) | dict.fromkeys(('precision', 'recall', 'precision of other photos', 'recall of other photos', 'AUC', 'TPR at FPR 1 %', 'TPR at FPR 0.1 %'), 1e-9) # dB, –, –, share, –


@torch.no_grad()
def pictures(data, weights, n):
    "uint8 (n,S,S,3) twice: the truth, and the completion of it under mask i mod 9"
    ds = TestFaces(faces := PreparedFaces(data, 'test')); net, _ = net_for(faces, weights); k = len(ds.masks); at = spread_over(len(faces), n); good, bad = [], []
    for i, t in zip(tqdm(at, desc='complete', leave=False), turns(at, k)):
        d = ds[i*k+t]; good.append(to_uint8(d['y'])); bad.append(to_uint8(torch.where(d['valid'] > 0, net(d['x'][None]).pictures[0][0].float().clamp(0, 1), d['y'])))
    return np.stack(good), np.stack(bad)


def tensors(pics): return torch.stack([to_tensor(p) for p in pics])


def pixels(a, b):
    "PSNR and SSIM. scikit-image leaves a rim of five pixels out of SSIM's mean"
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    how = dict(data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    inside = torch.zeros(1, 1, *a.shape[1:3]); inside[..., 5:-5, 5:-5] = 1; x, y = tensors(b), tensors(a)
    yield 'PSNR', psnr(x, y).numpy(), np.array([peak_signal_noise_ratio(p, q, data_range=255) for p, q in zip(a, b)])
    yield 'SSIM', ssim(x, y, inside).numpy(), np.array([structural_similarity(p, q, **how) for p, q in zip(a, b)])


@torch.no_grad()
def looks(a, b):
    "LPIPS: the package of its authors with the same AlexNet"
    import lpips
    ours = lpips_net()
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); theirs = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False).eval()
    convs = [[m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.weight.shape[1] in (3, 64, 192, 384, 256) and m.kernel_size != (1, 1)] for net in (ours, theirs)]
    for p, q in zip(*convs, strict=True): q.load_state_dict(p.state_dict())                     # AlexNet alone; the heads are each package's own
    x, y = tensors(b), tensors(a); yield 'LPIPS', *(np.concatenate([net(x[i:i+20], y[i:i+20], normalize=True).flatten() for i in range(0, len(x), 20)]) for net in (ours, theirs))


@torch.no_grad()
def clouds(a, b, file):
    "FID: pytorch-fid from files to the number, with the same weights; and what TensorFlow 1's resize, our default, makes of it. On its features, the rest"
    import pytorch_fid.fid_score as score, pytorch_fid.inception as inception
    with patch.object(inception, 'load_state_dict_from_url', lambda *a, **k: inception_weights(file)), warnings.catch_warnings(): warnings.simplefilter('ignore'); net = inception.InceptionV3()
    with tempfile.TemporaryDirectory() as d, patch.object(score, 'tqdm', lambda x: tqdm(x, desc='pytorch-fid', leave=False)):
        for name, pics in (('a', a), ('b', b)):
            for i, p in enumerate(pics): write_picture(Path(d)/name/f'{i:04}.png', p)
        (m, s), (n, t) = (score.calculate_activation_statistics(sorted(Path(d, name).glob('*.png')), net, 20, num_workers=0) for name in 'ab'); want = score.calculate_frechet_distance(m, s, n, t)
    for name, centres in (('FID', True), ('FID, resized as in TensorFlow 1', False)):
        look = inception_features(file, centres=centres); got = [torch.cat([look(x) for x in tqdm(tensors(p).split(20), desc=name, leave=False)]) for p in (a, b)]
        with warnings.catch_warnings(): warnings.simplefilter('ignore'); yield name, np.array([fid(*got)]), np.array([want])
    r, f = (x.double().numpy() for x in got); yield from balls(r, f); yield from ((n+' of other photos', *v) for n, *v in balls(r[::2], f[1::2])); yield from pairs(r, f)


def balls(r, f, k=3):
    "Precision and recall by every distance there is: one subtraction, one square, one sum each"
    apart = lambda a, b: np.array([np.sqrt(((b-x)**2).sum(1)) for x in a])
    inside = lambda a, b: (apart(a, b) <= np.array([np.sort(np.delete(row, i))[k-1] for i, row in enumerate(apart(b, b))])).any(1).mean()     # of a in a ball about one of b; the k-th nearest other one
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); got = precision_recall(torch.tensor(r), torch.tensor(f), k)
    for name, want in dict(precision=inside(f, r), recall=inside(r, f)).items(): yield name, np.array([got[name]]), np.array([want])


def pairs(a, b):
    "AUC and TPR: does completion j show truth i? Every i with every j, by the cosine of their features"
    from sklearn.metrics import roc_auc_score, roc_curve
    unit = lambda v: v/np.linalg.norm(v, axis=1, keepdims=True); score, same = (unit(a) @ unit(b).T).ravel(), np.eye(len(a), dtype=bool).ravel()
    yield 'AUC', np.array([auc(score, same)]), np.array([roc_auc_score(same, score)]); f, t, _ = roc_curve(same, score, drop_intermediate=False)
    for x in (.01, .001):
        with warnings.catch_warnings(): warnings.simplefilter('ignore'); yield f'TPR at FPR {100*x:g} %', np.array([tpr_at(score, same, x)]), np.array([t[f <= x].max()])       # the step of the curve there


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='prepared set with a test split'); p.add_argument('--file', default='auto', help="Inception's weights; auto downloads them")
    p.add_argument('--weights', help='weights file or folder; the bundled ones by default'); p.add_argument('--pictures', type=int, default=200); p.add_argument('--threads', type=int, default=1)
    a = p.parse_args(argv); torch.set_num_threads(a.threads); far = []
    try:
        good, bad = pictures(a.data, a.weights, a.pictures)
        print(f'{len(good)} pictures of {good.shape[1]}²\n\n| metric | ours, mean | theirs, mean | largest difference | at most |\n|---|---|---|---|---|')
        for name, ours, theirs in (r for part in (pixels(good, bad), looks(good, bad), clouds(good, bad, a.file)) for r in part):
            off = np.abs(ours/theirs-1 if name.startswith('FID') else ours-theirs).max(); most = LIMITS.get(name); far += [name] if most and not off < most else []
            print(f"| {name} | {ours.mean():.5f} | {theirs.mean():.5f} | {off:.1e}{' of it' if name.startswith('FID') else ''} | {'–' if most is None else f'{most:.0e}'} |", flush=True)
    except ImportError as e: sys.exit(f'check_metrics: {e.name} is not installed: pip install scikit-image lpips pytorch-fid scikit-learn')
    except FacecompError as e: sys.exit(f'check_metrics: {e}')
    if far: sys.exit(f"check_metrics: too far off: {', '.join(far)}")


if __name__ == '__main__': main()
