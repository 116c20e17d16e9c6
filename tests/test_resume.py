"Long work survives kill -9 and comes to the same result."
import csv
import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from facecomp.config import override, preset
from facecomp.core import write_picture
from facecomp.faces import procedural_face
from facecomp.prepared import PreparedFaces
from facecomp.photos import prepare
from facecomp.checkpoint import last_checkpoint, load_checkpoint
from facecomp.trainer import train
from states import flat


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "120 photos (twelve drawn faces, each under ten names) with a landmarks file"
    d = tmp_path_factory.mktemp('photos')
    faces = [procedural_face(s, size=96, aligned=False) for s in range(12)]
    names = [f'{k:02}_{i:02}.png' for k in range(10) for i in range(12)]
    for n in names:
        write_picture(d/'src'/n, faces[int(n[3:5])].picture)
    np.savez(d/'marks.npz', name=names, landmarks68=np.stack([faces[int(n[3:5])].landmarks for n in names]))
    return d


def start(args, **kw):
    "Run a command in a process group of its own, so that its workers die with it"
    return subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **kw)


def kill(p):
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()


def content(folder):
    "Every file of a prepared set but its temporary ones, by hash"
    files = [f for f in sorted(folder.rglob('*')) if f.is_file() and '.part' not in f.name and f.suffix != '.npz']
    arrays = dict(np.load(folder/'landmarks.npz'))
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}, arrays


def test_prepare_killed_and_resumed(photos, tmp_path, root):
    def args(out):
        return [sys.executable, str(root/'data_scripts'/'prepare.py'), 'folder', '--root', str(photos/'src'), '--out', str(out),
                '--landmarks', str(photos/'marks.npz'), '--size', '256', '--jobs', '2']
    subprocess.run(args(tmp_path/'whole'), check=True, capture_output=True)
    p, there = start(args(tmp_path/'cut')), tmp_path/'cut'/'pictures'
    end = time.time()+60
    while time.time() < end and p.poll() is None and len(list(there.glob('*.png')) if there.exists() else []) < 5:
        time.sleep(.005)
    kill(p)
    done = {f: f.stat().st_mtime_ns for f in there.glob('[!.]*.png')}
    assert 0 < len(done) < 120 and not (tmp_path/'cut'/'manifest.csv').exists(), 'the kill came too late to test anything'
    subprocess.run(args(tmp_path/'cut'), check=True, capture_output=True)
    (a, x), (b, y) = content(tmp_path/'whole'), content(tmp_path/'cut')
    assert a == b and all(np.array_equal(x[k], y[k]) for k in x)
    assert all(f.stat().st_mtime_ns == t for f, t in done.items())                # what was there was not made again


def test_training_killed_and_resumed(photos, tmp_path, root):
    prepare('folder', photos/'src', tmp_path/'set', size=64, landmarks=photos/'marks.npz', jobs=1, progress=False)
    settings = ['loss.uv_weight=0', 'steps=60', 'save_every=2', 'threads=1', 'pretrain.steps=40', 'pretrain.save_every=2']

    def args(out, *more):
        return [sys.executable, '-c', 'from facecomp.trainer import main; main()', 'tiny', '--data', str(tmp_path/'set'), '--out', str(out), *more, '--set', *settings]
    env = dict(os.environ, OMP_NUM_THREADS='1')
    train(override(preset('tiny'), settings), tmp_path/'set', tmp_path/'whole', progress=False)
    out, seen = tmp_path/'cut', []
    for folder, want, workers in ((out/'pretrain', 6, 0), (out, 6, 2), (out, 30, 0)):       # in stage 1; in stage 2, with two loader processes; without
        p = start(args(out, '--resume')+[f'workers={workers}'], env=env)
        end = time.time()+120
        while time.time() < end and p.poll() is None and not ((last := last_checkpoint(folder)) and int(last.stem[5:]) >= want):
            time.sleep(.002)
        kill(p)
        seen.append(int(last_checkpoint(folder).stem[5:]))
    assert 6 <= seen[0] < 40 and 6 <= seen[1] < seen[2] < 60, seen
    train(override(preset('tiny'), settings), tmp_path/'set', out, resume=True, progress=False)
    for name in ('pretrain/step_40.pt', 'step_60.pt'):
        a, b = (dict(flat(load_checkpoint(d/name)['state'])) for d in (tmp_path/'whole', out))
        assert a.keys() == b.keys() and len(a) > 50 and all(torch.equal(a[k], b[k]) for k in a)


def test_tensorboard_says_what_the_log_says(photos, tmp_path):
    "Each logged step once, also where a run goes on from before its last lines"
    pytest.importorskip('tensorboard', reason='the package tensorboard is not installed')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    prepare('folder', photos/'src', tmp_path/'set', size=64, landmarks=photos/'marks.npz', jobs=1, progress=False)
    cfg = override(preset('tiny'), ['loss.uv_weight=0', 'steps=40', 'save_every=20', 'pretrain.steps=0', 'tensorboard=true', 'sheet_every=0'])
    train(cfg, tmp_path/'set', tmp_path/'run', progress=False)
    (tmp_path/'run'/'step_40.pt').unlink()
    train(cfg, tmp_path/'set', tmp_path/'run', resume=True, progress=False)                # steps 30 and 40 once more
    assert len(list((tmp_path/'run').glob('events.*'))) == 2
    board = EventAccumulator(str(tmp_path/'run')).Reload()
    with open(tmp_path/'run'/'log.csv', newline='') as f:
        rows = list(csv.DictReader(f))
    assert [r['step'] for r in rows] == ['10', '20', '30', '40']
    for name in ('loss', 'grad', 'rec1'):
        got = board.Scalars(name)
        assert [e.step for e in got] == [10, 20, 30, 40] and np.allclose([e.value for e in got], [float(r[name]) for r in rows], rtol=1e-5)


def running(group):
    "Processes of a group that still run"
    found = []
    for p in os.listdir('/proc'):
        try:
            state, _, pgrp = open(f'/proc/{p}/stat').read().rpartition(')')[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(pgrp) == group and state != 'Z': found.append(int(p))
    return found


@pytest.mark.skipif(not os.path.exists('/proc/self/stat'), reason='needs /proc')
@pytest.mark.parametrize('whom', ['all', 'parent'])
def test_prepare_interrupted_and_resumed(whom, photos, tmp_path, root):
    "Ctrl-C, which reaches the workers too, or a signal to the command alone: it ends within a photo or two, in one sentence, with nothing half done and nobody left"
    (tmp_path/'src').mkdir()
    write_picture(tmp_path/'big.png', np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), np.uint8))
    with np.load(photos/'marks.npz') as d: marks = d['landmarks68'][:1]*15
    names = [f'{i:03}.png' for i in range(150)]
    for n in names: os.link(tmp_path/'big.png', tmp_path/'src'/n)
    np.savez(tmp_path/'marks.npz', name=names, landmarks68=np.repeat(marks, 150, 0))
    args = [sys.executable, str(root/'data_scripts'/'prepare.py'), 'folder', '--root', str(tmp_path/'src'), '--out', str(tmp_path/'set'), '--landmarks', str(tmp_path/'marks.npz'), '--size', '64', '--jobs', '2']
    there = tmp_path/'set'/'pictures'
    with open(tmp_path/'said', 'wb') as f: p = subprocess.Popen(args, stdout=f, stderr=f, start_new_session=True,
                                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))      # a shell's background job ignores Ctrl-C, and so would its children
    end = time.time()+300
    while time.time() < end and p.poll() is None and len(list(there.glob('[!.]*.png')) if there.exists() else []) < 4:
        time.sleep(.005)
    begun, since = len(list(there.glob('[!.]*.png'))), time.time()
    (os.killpg if whom == 'all' else os.kill)(p.pid, signal.SIGINT)
    try: p.wait(timeout=200)
    finally: left = running(p.pid); [os.kill(k, signal.SIGKILL) for k in left]
    done, took = {f: f.stat().st_mtime_ns for f in there.glob('[!.]*.png')}, time.time()-since
    said = (tmp_path/'said').read_text()
    assert p.returncode == 1 and said.splitlines()[-1] == 'prepare: interrupted; run again to go on' and 'Traceback' not in said, said
    assert not left and not list(there.glob('.*')) and not (tmp_path/'set'/'manifest.csv').exists()
    assert begun <= len(done) <= begun+30, (begun, len(done), took)                          # each of two processes has 32 photos to do, of which it finishes the one at hand; some were finished since they were counted
    subprocess.run([*args, '--limit', str(len(done)+2)], check=True, capture_output=True)
    assert all(f.stat().st_mtime_ns == t for f, t in done.items()) and len(PreparedFaces(tmp_path/'set')) == len(done)+2
