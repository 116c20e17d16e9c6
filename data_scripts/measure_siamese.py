"""What stage 1 has learnt: linear probes and retrieval on faces under masks, with frozen features.

python data_scripts/measure_siamese.py SET RUN... [--without RUN...] [--train 3000] [--seeds 3] [--out results.csv]

RUN: run folders of `facecomp-train … --stage 1` (or their pretrain/ folders), one for each seed. --without: runs of stage 2 that had no stage 1.
Rows: majority class, raw 16×16 pixels, random initialisation, stage 2 without stage 1, ours. Features: the maps of the encoder's levels, averaged over
places, all of them (stage 2 takes them all over) and the last alone (which the contrast is taught on). Probes: logistic regression on standardised features
of training faces under random masks, scored on every test face under each of the nine masks. Retrieval: the test photo under one mask looks for itself
under another, with crop, side and colours changed, among all test photos; with z where there is a head, and with the pooled last map.
"""
import argparse, csv, sys, warnings
from pathlib import Path
import numpy as np, torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from facecomp.core import FacecompError, atomic, isolated_rng, rng_for, to_tensor
from facecomp.mask import TEST_MASKS
from facecomp.occlude import occlude, occlude_for
from facecomp.prepared import PreparedFaces, TestFaces
from facecomp.samples import augment_view
from facecomp.networks import Encoder, NetConfig
from facecomp.siamese import ProjectionHead
from facecomp.checkpoint import last_checkpoint, load_checkpoint, load_weights

AGES = (13, 26, 46, 66)


class Views(Dataset):
    "Face i under a mask: 'train' a random one, 'query' mask i mod 9, 'key' the next one, with crop, side and colours changed"
    def __init__(self, faces, how, use=None): self.faces, self.how, self.use = faces, how, np.arange(len(faces)) if use is None else use
    def __len__(self): return len(self.use)
    def __getitem__(self, i):
        i = int(self.use[i]); pic, _ = self.faces.picture(i); L = self.faces.landmarks[i]; L = L[:, :2] if np.isnan(L).any() else L
        if self.how == 'train': return to_tensor(occlude_for(pic, L, 1, 1000, i)[0])
        k = (i+(self.how == 'key')) % len(TEST_MASKS); x = to_tensor(occlude(pic, L, TEST_MASKS[k], rng_for(2, i))[0])
        return augment_view(x, rng_for(3, i)) if self.how == 'key' else x


class UnderNine(Dataset):
    "Every face under each of the nine masks, face by face"
    def __init__(self, faces): self.tests = TestFaces(faces)
    def __len__(self): return len(self.tests)
    def __getitem__(self, i): return self.tests[i]['x']


def pictures(data, what):
    "All pictures of a dataset, float32 (N,3,S,S)"
    return torch.cat(list(tqdm(DataLoader(data, 64, num_workers=1), desc=f'{what} views', leave=False)))


@torch.no_grad()
def pooled(encoder, x, head=None):
    "Pooled maps of all levels side by side (N,ΣC), the last one's width, and z where there is a head"
    encoder.eval(); out, z = [], []
    for b in x.split(128):
        f = encoder(b)
        out.append(torch.cat([l.mean((2, 3)) for l in f], 1))
        if head: z.append(head(f[-1]))
    return torch.cat(out).numpy(), f[-1].shape[1], torch.cat(z).numpy() if head else None


def from_run(folder):
    "Encoder and projection head of a stage-1 run"
    folder = Path(folder); folder = folder/'pretrain' if (folder/'pretrain').is_dir() else folder
    path = last_checkpoint(folder)
    if path is None: raise FacecompError(f"There is no stage-1 run in {folder}.")
    ck = load_checkpoint(path); sd = ck['state']['net']; cfg = NetConfig(**ck['config']['net'])
    enc, head = Encoder(cfg), ProjectionHead(cfg.widths()[-1], ck['config']['pretrain']['dim'])
    enc.load_state_dict({k[10:]: v for k, v in sd.items() if k.startswith('encoder_q.')})
    head.load_state_dict({k[7:]: v for k, v in sd.items() if k.startswith('head_q.')})
    return enc.float(), head.float().eval(), cfg


def probe(train, test, labels):
    "Accuracy in % of a linear probe, for each label"
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    sc = StandardScaler().fit(train); a, b, out = sc.transform(train), sc.transform(test), {}
    for name, (y, t) in labels.items():
        ok, ok2 = y >= 0, t >= 0
        with warnings.catch_warnings():
            warnings.simplefilter('ignore'); m = LogisticRegression(C=.01, max_iter=300).fit(a[ok], y[ok])
        out[name] = 100*float((m.predict(b[ok2]) == t[ok2]).mean())
    return out


def found(q, k, mean=0., std=1.):
    "Share in % of queries whose nearest key (cosine) is their own"
    q, k = (F.normalize(torch.from_numpy((v-mean)/std).float(), dim=1) for v in (q, k))
    return 100*float((q @ k.T).argmax(1).eq(torch.arange(len(q))).float().mean())


def labels_of(faces, use=None):
    "gender, age group, race as numbers, -1 where unknown"
    rows = [faces.rows[i] for i in (range(len(faces)) if use is None else use)]; number = lambda r, k: int(float(r[k])) if r.get(k) not in (None, '') else -1
    age = np.array([number(r, 'age') for r in rows])
    return dict(gender=np.array([number(r, 'gender') for r in rows]), age=np.where(age >= 0, np.digitize(age, AGES), -1),
                race=np.array([number(r, 'race') for r in rows]))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('set'); p.add_argument('runs', nargs='+'); p.add_argument('--without', nargs='*', default=[])
    p.add_argument('--train', type=int, help='so many training faces for the probes, evenly spread; all by default'); p.add_argument('--seeds', type=int, default=3, help='random initialisations')
    p.add_argument('--out', help='CSV to write'); a = p.parse_args()
    train, test = PreparedFaces(a.set, 'train'), PreparedFaces(a.set, 'test'); n = min(a.train or len(train), len(train))
    use = np.linspace(0, len(train)-1, n).round().astype(int)                                # sets may lie in some order: utkface's is by age
    y, t = labels_of(train, use), labels_of(test); labels = {k: (y[k], t[k]) for k in y}
    labels = {k: (of_train, np.repeat(of_test, len(TEST_MASKS))) for k, (of_train, of_test) in labels.items()}
    X, T, Q, K = pictures(Views(train, 'train', use), 'train'), pictures(UnderNine(test), 'test'), *(pictures(Views(test, k), k) for k in ('query', 'key')); rows = []

    def row(name, seed, **kw):
        rows.append(dict(row=name, seed=seed, **{k: round(v, 2) for k, v in kw.items()})); print(rows[-1], flush=True)

    def features(name, seed, enc, head=None):
        (fx, w, _), (ft, *_), (fq, _, zq), (fk, _, zk) = (pooled(enc, v, head) for v in (X, T, Q, K)); m, s = fx[:, -w:].mean(0), fx[:, -w:].std(0)+1e-6
        near = found(fq[:, -w:], fk[:, -w:], m, s); last = {f'{k}_last': v for k, v in probe(fx[:, -w:], ft[:, -w:], labels).items()}
        row(name, seed, **probe(fx, ft, labels), **last, retrieval=found(zq, zk) if head else near, retrieval_last=near)

    row('majority', '', **{k: 100*float((t[t >= 0] == np.bincount(y[y >= 0]).argmax()).mean()) for k, (y, t) in labels.items()}, retrieval=100/len(test))
    raw = [F.adaptive_avg_pool2d(v, 16).flatten(1).numpy() for v in (X, T, Q, K)]
    row('raw 16×16', '', **probe(raw[0], raw[1], labels), retrieval=found(raw[2], raw[3], raw[0].mean(0), raw[0].std(0)+1e-6))
    nets = [from_run(r) for r in a.runs]
    for s in range(a.seeds):
        with isolated_rng(s): enc = Encoder(nets[0][2])
        features('random', s, enc)
    for s, r in enumerate(a.without): features('stage 2 without stage 1', s, load_weights(r)[0].encoder)
    for s, (enc, head, _) in enumerate(nets): features('stage 1', s, enc, head)
    if a.out:
        with atomic(Path(a.out)) as q, q.open('w', newline='') as f:
            w = csv.DictWriter(f, ['row', 'seed', 'gender', 'age', 'race', 'gender_last', 'age_last', 'race_last', 'retrieval', 'retrieval_last'], restval=''); w.writeheader(); w.writerows(rows)


if __name__ == '__main__':
    try: main()
    except FacecompError as e: sys.exit(f'measure_siamese: {e}')
