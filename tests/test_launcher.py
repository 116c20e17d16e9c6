"accelerate's notebook_launcher, as notebook 81 calls it: two processes (gloo) from one kernel do what one does, twice over."
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from facecomp.checkpoint import load_checkpoint
from test_processes import far

ROOT = Path(__file__).resolve().parent.parent
RUN = '''
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bench_step import drawn_set
from accelerate import notebook_launcher
from facecomp.config import preset, override
from facecomp.trainer import train
tmp = Path(sys.argv[2]); data = drawn_set(tmp, 64, 8)
cfg = override(preset('tiny'), ['steps=2', 'save_every=0', 'sheet_every=0', 'pretrain.steps=2', 'pretrain.save_every=0', 'pretrain.batch=4', 'threads=1', 'precision=float64'])
longer = override(cfg, ['steps=4'])
notebook_launcher(train, (cfg, data, tmp/'two', True), num_processes=2)
notebook_launcher(train, (longer, data, tmp/'two', True), num_processes=2)             # again in the same kernel: goes on
try: notebook_launcher(train, (override(cfg, ['batch=3']), data, tmp/'odd', True), num_processes=2)
except Exception as e: print('LAUNCHER SAYS', type(e).__name__)
train(cfg, data, tmp/'one', progress=False); train(longer, data, tmp/'one', resume=True, progress=False)
try: notebook_launcher(train, (cfg, data, tmp/'late', True), num_processes=2)
except ValueError as e: print('TOO LATE:', e)
'''


@pytest.fixture(scope='module')
def launched(tmp_path_factory):
    "A run folder for each way, and what was printed"
    d = tmp_path_factory.mktemp('launched')
    (d/'run.py').write_text(RUN)
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore', PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
    done = subprocess.run([sys.executable, str(d/'run.py'), str(ROOT/'data_scripts'), str(d)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:]
    return d, done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason='the launcher takes the GPUs where there are some')
def test_two_launched_processes_equal_one(launched):
    d, _ = launched
    for file in ('pretrain/step_2.pt', 'step_2.pt', 'step_4.pt'):
        two, one = (load_checkpoint(d/way/file) for way in ('two', 'one'))
        assert (two['made']['processes'], one['made']['processes']) == (2, 1)
        assert far(two['state'], one['state']) < 1e-9
    assert (d/'two'/'weights.safetensors').exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason='the launcher takes the GPUs where there are some')
def test_what_goes_wrong_is_said(launched):
    d, said = launched
    assert "A batch of 3 can't be dealt to 2 processes" in said and 'LAUNCHER SAYS ChildFailedError' in said
    assert not (d/'odd'/'pretrain'/'encoder.safetensors').exists()                          # said before stage 1
    assert 'TOO LATE:' in said and 'Restart your notebook' in said and not (d/'late').exists()
