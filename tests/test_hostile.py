"Five hundred damaged and hostile files: no crash, no hang, no file outside of the output folder, and a message for each."
import time
import numpy as np, pytest
from facecomp.core import FacecompError
from facecomp.command import complete_main
from facecomp.inference import FaceCompleter
from facecomp.photofile import read_photo
from hostile import hostile_files

@pytest.fixture(autouse=True)
def no_detector(tmp_path_factory, monkeypatch): monkeypatch.setenv('TORCH_HOME', str(tmp_path_factory.mktemp('torch')))

def test_500_files_through_the_library(tmp_path, monkeypatch):
    files, said, whole = hostile_files(tmp_path/'in', 500), [], []
    completer = FaceCompleter.from_pretrained(device='cpu')
    assert len(files) == 500
    for f in files:
        t = time.perf_counter()
        try: whole.append(f); p = read_photo(f)
        except FacecompError as e: whole.pop(); said.append(str(e)); assert '\n' not in str(e) and len(str(e)) < 1000
        else: assert p.array().shape[2] in (3, 4) and p.flat().shape[2] == 3
        assert time.perf_counter()-t < 10, f
    assert len(said) > 200 and all(len(s) > 20 for s in said)
    assert len(whole) > 60
    done = completer.complete_batch(whole[::6], details=True, errors='return', align='crop')       # what could be read is completed, or said: no face is among it, so each is said to be one
    assert len(done) == len(whole[::6]) and sum(isinstance(d, FacecompError) for d in done) < len(done)/2
    assert all(isinstance(d, FacecompError) or d.picture.size for d in completer.complete_batch(whole[::12], details=True, errors='return'))      # and where nobody says what it is, too
    for d, f in zip(done, whole[::6]):
        if isinstance(d, FacecompError): continue
        x = read_photo(f).array()
        assert d.picture.shape == x.shape and (d.picture[d.hole == 0] == x[d.hole == 0]).all(), f

def test_100_files_through_the_command(tmp_path, capfd):
    import json
    files = hostile_files(tmp_path/'in', 140, seed=1)[:100]
    for f in (tmp_path/'in').rglob('*'):
        if not f.is_dir() and f not in files: f.unlink()
    before = sorted(p.as_posix() for p in tmp_path.rglob('*'))
    with pytest.raises(SystemExit) as e: complete_main([str(tmp_path/'in'), '-o', str(tmp_path/'out'), '--json', str(tmp_path/'report.json'), '--align', 'crop', '--device', 'cpu'])
    out, err = capfd.readouterr()
    assert 'could not be completed' in str(e.value) and 'Traceback' not in out+err
    rows = json.loads((tmp_path/'report.json').read_text())['pictures']
    assert len(rows) > 90 and all(r['status'] in ('completed', 'failed') and (r['status'] == 'completed' or r['messages'][0]) for r in rows)
    new = {p.as_posix() for p in tmp_path.rglob('*')}-set(before)
    assert all(p.startswith((str(tmp_path/'out'), str(tmp_path/'report.json'))) for p in new), new
    pics = [p for p in (tmp_path/'out').rglob('*') if p.is_file() and p.name != '.facecomp-results']
    assert len(pics) == sum(r['status'] == 'completed' for r in rows) and all(p.suffix == '.png' and not p.name.endswith('.part.png') for p in pics)
    for p in pics[:20]: read_photo(p)

def test_messages_can_be_printed(tmp_path):
    import os
    name = os.fsdecode(b'bad\xffname\n\x1b[31m.png')
    try: read_photo(tmp_path/name)
    except FacecompError as e: assert str(e).isprintable(); str(e).encode('utf-8')
    assert np.isfinite(1)
