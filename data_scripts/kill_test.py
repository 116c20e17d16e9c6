"""Kill a training run at random moments, resume it, and compare its end with that of a run that nobody touched.

python data_scripts/kill_test.py [--kills 20] [--runs 4] [--seed 0]

Tiny runs of both stages on procedural faces, with a checkpoint at every other step, each a process of its own. `kill -9` hits the whole process group after a
random time, or, half of the times, the moment a checkpoint's temporary file is on the disk. A killed run goes on with --resume, with another number of loader
processes than before. At the end the checkpoints of both stages must equal those of the untouched run bit for bit: weights, optimiser, average and queue.
"""
import argparse, os, signal, subprocess, sys, tempfile, time
from pathlib import Path
os.environ.setdefault('OMP_NUM_THREADS', '1')
import numpy as np, torch
from facecomp.checkpoint import last_checkpoint, load_checkpoint
from facecomp.core import rng_for, write_picture
from facecomp.faces import procedural_face
from facecomp.prepared import encode_field
from facecomp.photos import prepare

STEPS, PRE = 60, 40     # of stage 2 and of stage 1


def drawn_set(folder, n=24, size=64):
    "A prepared set of procedural faces with their fields"
    drawn = [procedural_face(s, size=96, aligned=False) for s in range(n)]
    for i, f in enumerate(drawn): write_picture(folder/'src'/f'{i:02}.png', f.picture)
    np.savez(folder/'marks.npz', name=[f'{i:02}.png' for i in range(n)], landmarks68=np.stack([f.landmarks for f in drawn]))
    prepare('folder', folder/'src', folder/'set', size=size, landmarks=folder/'marks.npz', jobs=1, progress=False)
    np.save(folder/'set'/'fields.npy', np.stack([encode_field(f.C, f.valid) for f in (procedural_face(s, size=size) for s in range(n))]))
    return folder/'set'


def start(data, out, workers):
    "The run as a process group of its own, so that loader processes die with it"
    more = [f'steps={STEPS}', 'save_every=2', 'threads=1', f'pretrain.steps={PRE}', 'pretrain.save_every=2', f'workers={workers}']
    args = [sys.executable, '-c', 'from facecomp.trainer import main; main()', 'tiny', '--data', str(data), '--out', str(out), '--resume', '--set', *more]
    return subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)


def where(out):
    "Steps done, over both stages"
    return sum(int(p.stem[5:]) for p in (last_checkpoint(out/'pretrain'), last_checkpoint(out)) if p)


def unfinished(out): return {*out.glob('.step_*.part.pt'), *(out/'pretrain').glob('.step_*.part.pt')}


def kill_at(p, out, rng, target):
    "Kill a run once it has come to `target` steps, after a random time or in a checkpoint; whether it was still alive, and whether it was writing"
    busy, end, old = rng.random() < .5, time.time()+300, unfinished(out)
    while p.poll() is None and time.time() < end and where(out) < target: time.sleep(.001)
    if busy:
        while p.poll() is None and time.time() < end and unfinished(out) == old: pass
    else: time.sleep(rng.uniform(0, .3))
    alive = p.poll() is None
    if alive: os.killpg(p.pid, signal.SIGKILL)
    p.communicate(); return alive, bool(unfinished(out)-old)


def finish(p, what):
    _, err = p.communicate()
    if p.returncode: sys.exit(f'kill_test: {what} failed:\n{err[-2000:]}')


def tensors(state, name=''):
    "Every tensor of a nested state with its name"
    if torch.is_tensor(state): yield name, state
    elif isinstance(state, (dict, list, tuple)):
        for k, v in state.items() if isinstance(state, dict) else enumerate(state): yield from tensors(v, f'{name}.{k}')


def differences(a, b):
    "Names of the tensors in which two finished runs differ, and how many there are"
    out, n = [], 0
    for file in (f'pretrain/step_{PRE}.pt', f'step_{STEPS}.pt'):
        x, y = (dict(tensors(load_checkpoint(d/file)['state'])) for d in (a, b)); n += len(x)
        out += [f'{file}: {k}' for k in sorted({*x, *y}) if k not in x or k not in y or not torch.equal(x[k], y[k])]
    return out, n


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--kills', type=int, default=20); p.add_argument('--runs', type=int, default=4, help='runs that the kills are dealt to')
    p.add_argument('--seed', type=int, default=0); p.add_argument('--out', help='keep the runs here; a temporary folder by default')
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(a.out or tmp); out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()): sys.exit(f'kill_test: {out} is not empty.')
        data = drawn_set(out); print('an untouched run …', flush=True); t = time.time(); finish(start(data, out/'whole', 0), 'the untouched run'); print(f'{time.time()-t:.0f} s')
        total, halves, bad = 0, 0, 0
        for r in range(a.runs):
            rng, run, want = rng_for(a.seed, r, 1), out/f'run{r}', a.kills*(r+1)//a.runs-a.kills*r//a.runs
            for k, target in enumerate(sorted(rng.integers(0, STEPS+PRE-8, want))):
                alive, half = kill_at(start(data, run, (0, 2, 0, 1)[k % 4]), run, rng, int(target)); total += alive; halves += alive and half
                print(f"run {r}: kill {k+1} at step {where(run)} of {STEPS+PRE}{', in a checkpoint' if half else ''}{'' if alive else ': it had already ended'}", flush=True)
            finish(start(data, run, 0), f'run {r}, resumed after its last kill,'); left = unfinished(run)
            diff, n = differences(out/'whole', run); bad += bool(diff)
            print(f"run {r}: {n} tensors, {len(diff)} differ{': '+', '.join(diff[:5]) if diff else ''}; {len(left)} unfinished files left behind", flush=True)
    print(f'{total} kills, {halves} of them in a checkpoint; {a.runs-bad} of {a.runs} runs ended bit for bit like the untouched one')
    sys.exit(bool(bad) or total < a.kills)


if __name__ == '__main__': main()
