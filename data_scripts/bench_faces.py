"""How long a procedural face of 64² takes, measured against decoding a 200×200 JPEG with Pillow, in turns in one process.

    python data_scripts/bench_faces.py [rounds]
"""
import io, os, sys, time
for k in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS'): os.environ[k] = '1'
import numpy as np
from PIL import Image
from facecomp.core import portrait
from facecomp.faces import procedural_face

def main(rounds=300):
    pic, marks = portrait('astronaut')
    (x0, y0), (x1, y1) = marks[:, :2].min(0), marks[:, :2].max(0)
    c, h = np.array([x0+x1, y0+y1])/2, .75*max(x1-x0, y1-y0)                    # cropped around the face, as face sets are
    jpeg = io.BytesIO()
    Image.fromarray(pic).crop((*map(int, c-h), *map(int, c+h))).resize((200, 200), Image.LANCZOS).save(jpeg, 'JPEG')
    jpeg = jpeg.getvalue()
    jobs = {'decode': lambda i: np.asarray(Image.open(io.BytesIO(jpeg)).convert('RGB')), 'face': lambda i: procedural_face(i, 64)}
    times = {k: [] for k in jobs}
    for i in range(rounds+20):
        for k, job in jobs.items():
            t = time.perf_counter(); job(i); times[k].append(time.perf_counter()-t)
    for what, stat in (('median', np.median), ('best', np.min)):                # the first 20 rounds compile and warm up
        d, f = (stat(times[k][20:])*1e3 for k in jobs)
        print(f"{what}: JPEG 200×200 ({len(jpeg)/1e3:.1f} kB) {d:.3f} ms, face 64² {f:.2f} ms, ratio {f/d:.1f}")

if __name__ == '__main__': main(*map(int, sys.argv[1:]))
