"""A prepared set from a pack: python data_scripts/unpack.py utkface.pack -o prepared/utkface. Run it again to go on where it was broken off."""
import argparse, sys
from facecomp.core import FacecompError
from facecomp.pack import unpack


def main(argv=None):
    p = argparse.ArgumentParser(description='Restore a prepared set from a pack; pictures that are there already stay.')
    p.add_argument('pack', help='the file'); p.add_argument('-o', '--out', required=True, help='folder of the prepared set')
    p.add_argument('--jobs', type=int, default=2, help='threads')
    a = p.parse_args(argv)
    try: r = unpack(a.pack, a.out, a.jobs)
    except FacecompError as e: sys.exit(f'unpack: {e}')
    print(f"{a.out}: {r['faces']} faces, {r['seconds']:.0f} s; " + ('with dense fields' if r['fields'] else 'without dense fields (data_scripts/make_uv.py makes them)'))


if __name__ == '__main__': main()
