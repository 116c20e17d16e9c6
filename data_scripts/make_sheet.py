"""The two public-domain portraits, masked, and what each of several weights makes of them, for notebooks 90, 91 and 93:

    python data_scripts/make_sheet.py ours=runs/ours dfnet=runs/dfnet -o nbs/images/methods.jpg
    python data_scripts/make_sheet.py ours=facecomp/assets/weights.safetensors --under six -o nbs/images/six.jpg
"""
import argparse, sys
import numpy as np, torch
from facecomp.align import convention, similarity, warp_picture, warp_points
from facecomp.comparison import UNDER, plot_sheet
from facecomp.contest import load_method
from facecomp.core import FacecompError, atomic, portrait, rng_for, to_tensor, to_uint8
from facecomp.mask import TEST_MASKS
from facecomp.occlude import occlude
from facecomp.occluders import L2SFO


@torch.no_grad()
def sheet(nets, infos, masks):
    "uint8 (rows·S, (2+networks)·S, 3): input, a column a network, truth; a row a portrait and mask"
    sizes = {(i['net']['size'], i['convention']['name']) for i in infos}
    if len(sizes) > 1: raise FacecompError(f'The weights differ in size or alignment ({sizes}): they need sheets of their own.')
    (size, name), = sizes; rows = []
    for i, who in enumerate(('astronaut', 'grace_hopper')):
        photo, marks = portrait(who); M = similarity(marks, convention(name), size); truth, L = warp_picture(photo, M, size)[0], warp_points(marks, M)
        for k, kind in enumerate(masks):
            x = occlude(truth, L, kind, rng_for(i, k))[0]; t = to_tensor(x)[None]
            rows.append(np.concatenate([x, *(to_uint8(n(t).pictures[0][0].float().clamp(0, 1)) for n in nets), truth], 1))
    return np.concatenate(rows)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('weights', nargs='+', metavar='NAME=WEIGHTS', help="weights files or run folders, ours or a compared method's, of one size")
    p.add_argument('-o', '--out', required=True, help='the picture'); which = p.add_mutually_exclusive_group()
    which.add_argument('--masks', nargs='+', default=['surgical_blue', 'cloth_#333333'], choices=[*TEST_MASKS, *L2SFO], metavar='MASK', help=f"of {', '.join([*TEST_MASKS, *L2SFO])}")
    which.add_argument('--under', choices=UNDER, help="the nine masks of Table 1, or Table 3's six occluders")
    a = p.parse_args(argv)
    try:
        if lost := [w for w in a.weights if '=' not in w]: raise FacecompError(f'Weights are named NAME=WEIGHTS, not {lost[0]!r}.')
        names, paths = zip(*(w.split('=', 1) for w in a.weights)); made = [load_method(w) for w in paths]
        fig = plot_sheet(sheet([n for n, _ in made], [i for _, i in made], UNDER.get(a.under, a.masks)), list(names))
        with atomic(a.out) as f: fig.savefig(f, format='jpg' if a.out.endswith(('.jpg', '.jpeg')) else 'png', dpi=150)
    except FacecompError as e: sys.exit(f'make_sheet: {e}')
    print(a.out)


if __name__ == '__main__': main()
