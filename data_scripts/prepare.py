"Prepare a photo set: python data_scripts/prepare.py utkface --root DATA --out prepared/utkface"
import argparse, sys
from facecomp.core import FacecompError
from facecomp.photos import LAYOUTS, prepare
from facecomp.sets import DOWNLOADS, download


def main(argv=None):
    p = argparse.ArgumentParser(description='Bring a photo set into the prepared form: aligned pictures, validity, landmarks, manifest. '
                                            'Run it again to resume; broken photos are listed in report.csv.',
                                formatter_class=argparse.RawDescriptionHelpFormatter,
                                epilog='Layouts:\n' + '\n'.join(f'{k}:\n  ' + v.replace('\n', '\n  ') for k, v in LAYOUTS.items()))
    p.add_argument('set', choices=LAYOUTS)
    p.add_argument('--root', required=True, help='folder of the source photos')
    p.add_argument('--out', required=True, help='folder of the prepared set')
    p.add_argument('--conv', default='lightcnn', help='alignment convention: lightcnn or wide')
    p.add_argument('--size', type=int, default=128, help='side of the aligned pictures')
    p.add_argument('--landmarks', help='landmarks file (.npz or .csv); without it the set\'s own, or the face-alignment package')
    p.add_argument('--detector', default='2D', choices=['2D', '3D'], help='face-alignment network for photos without landmarks; 3D for a set that will have fields (make_uv.py)')
    p.add_argument('--jobs', type=int, default=2, help='processes')
    p.add_argument('--limit', type=int, help='only the first so many photos')
    p.add_argument('--download', action='store_true', help=f"fetch the set into ROOT first ({', '.join(DOWNLOADS)}; of the others it says where they are given); run again to resume")
    p.add_argument('--agree', action='store_true', help='you have read the licence that --download shows, and agree')
    a = p.parse_args(argv)
    try:
        if a.download: download(a.set, a.root, a.agree)
        n = prepare(a.set, a.root, a.out, a.conv, a.size, a.landmarks, a.detector, a.jobs, a.limit)
    except FacecompError as e:
        sys.exit(f'prepare: {e}')
    except KeyboardInterrupt:
        sys.exit('prepare: interrupted; run again to go on')
    print(f"{n['done']} faces ready in {a.out}, {n['left_out']} left out (see report.csv); "
          f"{100*(1-n['valid_share']):.1f} % of the area lies outside the source photos")


if __name__ == '__main__':
    main()
