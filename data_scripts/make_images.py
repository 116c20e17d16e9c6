"README's pictures from the two public-domain portraits and the bundled weights: python data_scripts/make_images.py"
from pathlib import Path
import numpy as np
from facecomp.align import similarity, warp_picture, warp_points
from facecomp.core import portrait, write_picture
from facecomp.inference import FaceCompleter
from facecomp.occlude import occlude

OUT = Path(__file__).resolve().parent.parent/'nbs'/'images'


def rows(completer, size=256):
    for name, kind in (('astronaut', 'surgical_blue'), ('grace_hopper', 'cloth_#515151')):
        photo, marks = portrait(name)
        M = similarity(marks, completer.convention, size)
        truth = warp_picture(photo, M, size)[0]
        given, _ = occlude(truth, warp_points(marks, M), kind)
        yield given, completer.complete(given), truth


def main():
    pictures = list(rows(FaceCompleter.from_pretrained()))
    gap = np.full((256, 8, 3), 255, np.uint8)
    lines = [np.concatenate([g, gap, c, gap, t], 1) for g, c, t in pictures]
    write_picture(OUT/'teaser.png', np.concatenate([lines[0], np.full((8, lines[0].shape[1], 3), 255, np.uint8), lines[1]]))
    write_picture(OUT/'masked_astronaut.png', pictures[0][0])
    print('made', *sorted(p.name for p in OUT.glob('*.png')))


if __name__ == '__main__':
    main()
