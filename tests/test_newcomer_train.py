"A newcomer's own faces, end to end: 200 photos, prepare, make_uv, 50 steps with the field's loss, and the page answers with these weights."
import os, re, signal, subprocess, sys
import numpy as np, pytest
from PIL import Image
from facecomp.core import read_picture, write_picture
from facecomp.faces import procedural_face
from test_demo import free_port, start

def test_from_own_faces_to_a_page_that_answers(root, tmp_path):
    client = pytest.importorskip('gradio_client')
    env = {**os.environ, 'PYTHONWARNINGS': 'ignore', 'PYTHONPATH': str(root), 'TORCH_HOME': str(tmp_path/'torch')}
    def command(*args):
        done = subprocess.run([sys.executable, *map(str, args)], cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        assert done.returncode == 0 and 'Traceback' not in done.stdout, done.stdout[-3000:]
        return done.stdout

    faces = [procedural_face(s, size=80, aligned=False) for s in range(200)]
    for i, f in enumerate(faces): write_picture(tmp_path/'photos'/f'{i:03}.jpg', f.picture)
    np.savez(tmp_path/'marks.npz', name=np.array([f'{i:03}.jpg' for i in range(200)]), landmarks68=np.stack([f.landmarks for f in faces]))

    said = command(root/'data_scripts'/'prepare.py', 'folder', '--root', 'photos', '--out', 'prepared', '--landmarks', 'marks.npz', '--size', 64, '--jobs', 1)
    assert '200 faces ready' in said, said
    command(root/'data_scripts'/'make_uv.py', 'prepared', '--jobs', 1)
    ok = np.load(tmp_path/'prepared'/'fields_ok.npy'); assert len(ok) == 200 and ok.mean() > .9, 'most faces have no field'
    said = command('-c', 'import sys; from facecomp.trainer import main as f; sys.exit(f())', 'tiny', '--data', 'prepared', '--out', 'run', '--set', 'steps=50', 'loss.uv_weight=1')
    assert 'step 50' in said and (tmp_path/'run'/'weights.safetensors').exists(), said

    picture = next(iter(sorted((tmp_path/'prepared'/'pictures').glob('*.png')))); port = free_port()
    p = start(tmp_path, port, '--weights', tmp_path/'run')
    try:
        assert any('The page is at' in line for line in p.stdout), 'the page did not start'
        c = client.Client(f'http://127.0.0.1:{port}', verbose=False, download_files=str(tmp_path/'got')); x = read_picture(picture)
        out = c.predict(dict(background=client.handle_file(picture), layers=[], composite=None), mask=None, mode='outline', api_name='/complete')
        y = np.asarray(Image.open(out[1])); new = (y != x).any(-1)
        assert y.shape == x.shape and .05 < new.mean() < .8 and re.search(r'\d+% of the picture was replaced', out[6]), out[6]
        assert (y[:12] == x[:12]).all() and [len(g) for g in out[2:4]] == [5, 5]
    finally: p.send_signal(signal.SIGTERM); p.wait(30)
