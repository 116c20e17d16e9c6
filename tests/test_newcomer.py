"A newcomer with a folder of faces and a landmarks file: prepare, train, complete, with the commands that README names."
import os, subprocess, sys
import numpy as np
from facecomp.core import read_picture, write_picture
from facecomp.faces import procedural_face

def test_from_own_photos_to_a_completed_one(root, tmp_path):
    env = {**os.environ, 'PYTHONWARNINGS': 'ignore', 'PYTHONPATH': str(root), 'TORCH_HOME': str(tmp_path/'torch')}
    def command(mod, fn, *args):
        start = [root/mod] if mod.endswith('.py') else ['-c', f'import sys; from {mod} import {fn} as f; sys.exit(f())']
        done = subprocess.run([sys.executable, *map(str, start), *map(str, args)], cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        assert done.returncode == 0 and 'Traceback' not in done.stdout, done.stdout
        return done.stdout

    faces = [procedural_face(s, size=120, aligned=False) for s in range(20)]
    for i, f in enumerate(faces): write_picture(tmp_path/'photos'/f'{i:02}.jpg', f.picture)
    np.savez(tmp_path/'marks.npz', name=np.array([f'{i:02}.jpg' for i in range(20)]), landmarks68=np.stack([f.landmarks for f in faces]))

    said = command('data_scripts/prepare.py', '', 'folder', '--root', 'photos', '--out', 'prepared', '--landmarks', 'marks.npz', '--size', 64, '--jobs', 1)
    assert '20 faces ready' in said, said
    said = command('facecomp.trainer', 'main', 'tiny', '--data', 'prepared', '--out', 'run', '--set', 'loss.uv_weight=0', 'steps=30')
    assert 'step 30' in said and (tmp_path/'run'/'weights.safetensors').exists(), said
    command('facecomp.command', 'complete_main', 'photos/03.jpg', '-o', 'completed.png', '--weights', 'run', '--landmarks', 'marks.npz', '--device', 'cpu')
    assert read_picture(tmp_path/'completed.png').shape == (120, 120, 3)
    said = command('facecomp.command', 'complete_main', 'prepared/pictures', '-o', 'all', '--weights', 'run', '--raw')
    assert '20 of 20 completed' in said and (read_picture(tmp_path/'all'/'03.png') != read_picture(tmp_path/'prepared'/'pictures'/'03.png')).any(), said
