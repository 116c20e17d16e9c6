"Landmarks by the real face-alignment package, from pre-placed weight files of the right names (random weights: its own can't be shipped)."
import numpy as np
import pytest
import torch

from facecomp import align
from facecomp.core import FacecompError, portrait


@pytest.fixture(scope='module')
def placed(tmp_path_factory):
    "A TORCH_HOME in which every file that face-alignment wants is in its place"
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN, ResNetDepth
    home = tmp_path_factory.mktemp('torch')
    old, mp = dict(align._fans), pytest.MonkeyPatch()
    mp.setenv('TORCH_HOME', str(home))
    align._fans.clear()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = {p.name: p for kind in ('2D', '3D') for p in align.fan_files(kind)}
        next(iter(nets.values())).parent.mkdir(parents=True)
        for name, path in nets.items():
            if name.startswith('s3fd'):
                state = s3fd().state_dict()                     # sees one face: at the one place of its coarsest map
                for k, v in state.items():
                    if 'mbox_conf' in k: v.zero_(); v[-1] = 0 if v.ndim > 1 else 9. if k.startswith('conv7_2') else -9.
                torch.save(state, path)
            elif name.startswith('depth'):
                torch.save(dict(state_dict=ResNetDepth().state_dict()), path)
            else:
                torch.save(FAN(4).state_dict(), path)
    yield home
    mp.undo()
    align._fans.clear()
    align._fans.update(old)


@pytest.mark.parametrize('kind,dims', [('2D', 2), ('3D', 3)])
def test_given_boxes(placed, kind, dims):
    photo, marks = portrait('astronaut')
    lo, hi = marks[:, :2].min(0), marks[:, :2].max(0)
    small = [40., 40., 90., 100.]
    found = align.detect_landmarks(photo, kind, boxes=[small, [*lo, *hi]])
    assert [f.shape for f in found] == [(68, dims)]*2 and all(np.isfinite(f).all() for f in found)
    span = [np.ptp(f[:, 0])*np.ptp(f[:, 1]) for f in found]
    assert span[0] >= span[1]                                   # largest first
    xy = min(found, key=lambda f: np.abs(f[:, :2].mean(0)-(lo+hi)/2).sum())[:, :2]
    assert (xy > lo-200).all() and (xy < hi+200).all()          # where the box was, not anywhere


def test_detector_file_is_used_when_no_box_is_given(placed):
    assert [f.shape for f in align.detect_landmarks(np.zeros((64, 64, 3), np.uint8))] == [(68, 2)]


def test_a_damaged_file_is_not_taken_for_a_network_failure(placed, monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(align, '_fans', {})
    for p in align.fan_files('2D'):
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_bytes(b'half a download')
    with pytest.raises(FacecompError, match='damaged'):
        align.detect_landmarks(np.zeros((64, 64, 3), np.uint8))


def test_unknown_kind():
    with pytest.raises(FacecompError, match='2D'):
        align.detect_landmarks(np.zeros((64, 64, 3), np.uint8), '4D')
