"""One prepared set out of several of one size and alignment: python data_scripts/join.py prepared/celeba prepared/multipie -o prepared/celeba_multipie

Pictures are linked where the disk can. Fields are made afterwards, with make_uv.py. Run it again to go on where it was broken off."""
import argparse, sys
from facecomp.core import FacecompError
from facecomp.sets import join_sets


def main(argv=None):
    p = argparse.ArgumentParser(description='Join prepared sets; every face keeps its split.')
    p.add_argument('sets', nargs='+', help='prepared sets, in folders of different names'); p.add_argument('-o', '--out', required=True, help='folder of the joined set')
    a = p.parse_args(argv)
    try: n = join_sets(a.sets, a.out)
    except FacecompError as e: sys.exit(f'join: {e}')
    print(f"{a.out}: {sum(n.values())} faces ({', '.join(f'{v} of {k}' for k, v in n.items())}); fields: python data_scripts/make_uv.py {a.out}")


if __name__ == '__main__': main()
