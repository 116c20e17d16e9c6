"One place for what all tests share: the environment they run in, and the things they skip without."
import os, shutil
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports torch or numba: one thread, as in `.ci/test`.
for key in 'OMP_NUM_THREADS', 'NUMBA_NUM_THREADS': os.environ.setdefault(key, '1')
os.environ.setdefault('MPLBACKEND', 'Agg')               # no windows
os.environ.setdefault('HF_HUB_OFFLINE', '1')             # the tests need no network
os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
os.environ.pop('IN_TEST', None)                          # nbdev_export does nothing while this is set
if os.environ.get('FACECOMP_DATA'):                      # a relative path is meant from the repository's root
    os.environ['FACECOMP_DATA'] = str((ROOT/os.environ['FACECOMP_DATA']).resolve())

def pytest_collection_modifyitems(items):
    "Browser tests come late, when the notebooks have left a core to Chromium; the test that waits for the notebooks comes last"
    items.sort(key=lambda i: (i.name == 'test_notebooks_ran', i.path.name == 'test_demo.py'))

def pytest_terminal_summary(terminalreporter):
    "How long each notebook took, when `.ci/test` ran them"
    verdict = Path(os.environ.get('FACECOMP_NBDEV_TEST') or 'none')
    if not verdict.is_file(): return
    terminalreporter.section('notebooks')
    for line in verdict.read_text().splitlines():
        if line.endswith(' secs'): terminalreporter.write_line(line)

@pytest.fixture(scope='session')
def root():
    "The repository's root"
    return ROOT

@pytest.fixture(scope='session')
def data_root():
    "Folder with the real photos, fits and weights; the test is skipped without it"
    name = os.environ.get('FACECOMP_DATA')
    if not name: pytest.skip('FACECOMP_DATA is not set: no real photos to test with')
    if not Path(name).is_dir(): pytest.skip('FACECOMP_DATA names a folder that does not exist')
    return Path(name)

@pytest.fixture(scope='session')
def browser():
    "Path of a chromium for playwright's `executable_path`; the test is skipped without one"
    names = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
    found = next((p for n in names if (p := shutil.which(n))), None)
    if found is None: pytest.skip('no chromium on this machine: nothing to open the demo with')
    return found
