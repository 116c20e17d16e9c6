"The recorded step of stage 2 on a real card; what it does without one is in notebooks 47 and 49."
import numpy as np, pytest, torch
from facecomp.config import override, preset
from facecomp.core import FacecompError, write_picture
from facecomp.faces import procedural_face
from facecomp.loop import make_accelerator
from facecomp.photos import prepare
from facecomp.prepared import PreparedFaces
from facecomp.stage2 import CompletionTraining

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU on this machine: nothing to record on')
def test_recorded_is_step_by_step(tmp_path):
    "Losses and gradients of a replay, painter's and judge's, are those of a step computed kernel by kernel; a step that isn't finite leaves nothing behind"
    drawn = [procedural_face(s, size=96, aligned=False) for s in range(8)]; names = [f'{i}.png' for i in range(8)]
    for n, f in zip(names, drawn): write_picture(tmp_path/'src'/n, f.picture)
    np.savez(tmp_path/'marks.npz', name=names, landmarks68=np.stack([f.landmarks for f in drawn])); prepare('folder', tmp_path/'src', tmp_path/'set', size=64, landmarks=tmp_path/'marks.npz', jobs=1, progress=False)
    cfg = override(preset('tiny'), ['loss.uv_weight=0', 'loss.style_weight=1', 'loss.vgg=random', 'loss.texture_crop=32', 'loss.adversarial_weight=0.1', 'loss.texture_layers=[1]', 'disc.width=8', 'disc.layers=2', 'disc.norm=none'])
    faces = PreparedFaces(tmp_path/'set'); stage = CompletionTraining(cfg, faces, acc := make_accelerator(cfg)); params = stage.recorded.params
    batches = [{k: v.to(acc.device) for k, v in torch.utils.data.default_collate([stage.dataset[n, i] for i in range(4)]).items()} for n in range(5)]
    for b in batches: found = stage.recorded(b); (loss, _), (judged, _) = found; taped = loss.item(), judged.item(), torch.cat([p.grad.flatten() for p in params if p.grad is not None])
    assert stage.recorded.graph is not None
    for p in params: p.grad = None
    (loss, _), (judged, _) = stage.gradients(batches[-1]); plain = torch.cat([p.grad.flatten() for p in params if p.grad is not None])
    assert taped[:2] == pytest.approx((loss.item(), judged.item()), rel=1e-3) and float((taped[2]-plain).norm()/plain.norm()) < 1e-2
    bad = {k: v.clone() for k, v in batches[0].items()}; bad['y'][0] = torch.inf; assert not stage.step(bad, 0)[3] and all(p.grad is None for p in stage.disc.parameters()) and stage.step(batches[0], 0)[3]
    with pytest.raises(FacecompError, match='one shape'): stage.recorded({k: v[:2] for k, v in batches[0].items()})
