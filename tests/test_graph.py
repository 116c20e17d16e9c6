"The recorded step of stage 2 on a real card; what it does without one is in notebooks 47 and 49."
import numpy as np, pytest, torch
from facecomp.config import override, preset
from facecomp.core import write_picture
from facecomp.faces import procedural_face
from facecomp.loop import make_accelerator
from facecomp.photos import prepare
from facecomp.prepared import PreparedFaces
from facecomp.stage2 import CompletionTraining

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU on this machine: nothing to record on')
def test_recorded_is_step_by_step(tmp_path):
    "Eight steps with a judge: the same losses, and the same weights but for what float32 sums in another order"
    drawn = [procedural_face(s, size=96, aligned=False) for s in range(8)]; names = [f'{i}.png' for i in range(8)]
    for n, f in zip(names, drawn): write_picture(tmp_path/'src'/n, f.picture)
    np.savez(tmp_path/'marks.npz', name=names, landmarks68=np.stack([f.landmarks for f in drawn])); prepare('folder', tmp_path/'src', tmp_path/'set', size=64, landmarks=tmp_path/'marks.npz', jobs=1, progress=False)
    cfg = override(preset('tiny'), ['loss.uv_weight=0', 'loss.adversarial_weight=0.1', 'loss.texture_layers=[1]', 'disc.width=8', 'disc.layers=2']); faces = PreparedFaces(tmp_path/'set')
    plain, taped = (CompletionTraining(override(cfg, [f'graph={g}']), faces, acc := make_accelerator(cfg)) for g in ('false', 'true')); assert plain.recorded is None and taped.recorded.graph is None
    for n in range(8):
        b = {k: v.to(acc.device) for k, v in torch.utils.data.default_collate([plain.dataset[n, i] for i in range(4)]).items()}
        a, c = plain.step(b, n), taped.step(b, n); assert float(a[0]) == pytest.approx(float(c[0]), rel=1e-3) and a[3] and c[3]
    assert taped.recorded.graph is not None
    for p, q in zip(plain.raw.parameters(), taped.raw.parameters()): torch.testing.assert_close(p, q, rtol=0, atol=1e-2)
