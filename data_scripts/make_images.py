"README's pictures from the two public-domain portraits and the bundled weights, small and base: python data_scripts/make_images.py"
from pathlib import Path
import numpy as np
from facecomp.align import similarity, warp_picture, warp_points
from facecomp.core import BUNDLED, portrait, write_picture
from facecomp.inference import FaceCompleter
from facecomp.occlude import occlude

OUT = Path(__file__).resolve().parent.parent/'nbs'/'images'


def rows(completers, size=256):
    for name, kind in (('astronaut', 'surgical_blue'), ('grace_hopper', 'cloth_#515151')):
        photo, marks = portrait(name)
        M = similarity(marks, completers[0].convention, size)
        truth = warp_picture(photo, M, size)[0]
        given, _ = occlude(truth, warp_points(marks, M), kind)
        yield given, *(c.complete(given) for c in completers), truth


def main():
    pictures = list(rows([FaceCompleter.from_pretrained(n) for n in BUNDLED]))
    gap = np.full((256, 8, 3), 255, np.uint8)
    lines = [np.concatenate([part for p in row for part in (p, gap)][:-1], 1) for row in pictures]
    write_picture(OUT/'teaser.png', np.concatenate([lines[0], np.full((8, lines[0].shape[1], 3), 255, np.uint8), lines[1]]))
    write_picture(OUT/'masked_astronaut.png', pictures[0][0])
    print('made', *sorted(p.name for p in OUT.glob('*.png')))


if __name__ == '__main__':
    main()
