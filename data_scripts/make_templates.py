"""Templates of a prepared set's people, for `facecomp-eval templates` where IJB-C isn't at hand: python data_scripts/make_templates.py prepared/lfw -o prepared/lfw_templates

Everybody with enough photos: half of them are the gallery's template, half the probe's; all galleries are compared with all probes. Pictures are linked where the disk can. Run it again to go on where it was broken off."""
import argparse, sys
from facecomp.core import FacecompError
from facecomp.jobs import number_from
from facecomp.templates import person_templates


def main(argv=None):
    p = argparse.ArgumentParser(description="Templates of a prepared set's people, half of each one's photos against the other half.")
    p.add_argument('data', help='prepared set with several photos of a person'); p.add_argument('-o', '--out', required=True, help='folder of the set of templates')
    p.add_argument('--least', type=number_from(2), default=4, help='photos that a person must have'); p.add_argument('--most', type=number_from(1), help='photos of a template, the first of its half; all by default')
    a = p.parse_args(argv)
    try: n = person_templates(a.data, a.out, a.least, a.most)
    except FacecompError as e: sys.exit(f'make_templates: {e}')
    print(f"{a.out}: {n['people']:,} people with {n['pictures']:,} photos, {n['comparisons']:,} comparisons; next: facecomp-eval templates --data {a.out} --embedder dlib")


if __name__ == '__main__': main()
