"""A prepared set's train and val splits as one file that travels.

    python data_scripts/pack.py prepared/utkface -o utkface.pack                                          # fields of the embedded face model
    python data_scripts/pack.py prepared/utkface -o utkface.pack --bfm bfm_noneck_v3.pkl --tri tri.pkl    # fields of the Basel Face Model
    python data_scripts/pack.py prepared/utkface -o utkface.pack --no-fields

A pack with the Basel Face Model's fields holds a coarse cut of that model, which its licence forbids to pass on. Test faces are left out. unpack.py reads it.
"""
import argparse, json, sys
from pathlib import Path
from facecomp.core import FacecompError, data_root
from facecomp.field import embedded_model, load_bfm
from facecomp.pack import pack


def model_of(root, bfm=None, tri=None):
    "The face model that a set's fields were drawn from, None if it has none"
    if bool(bfm) != bool(tri): raise FacecompError('--bfm and --tri belong together.')
    if bfm: return load_bfm(bfm, tri)
    if not (Path(root)/'fields.npy').exists(): return None
    name = json.loads((Path(root)/'uv.json').read_text())['model'] if (Path(root)/'uv.json').exists() else ''
    if name != 'bfm': return embedded_model()
    files = [data_root()/'weights'/f for f in ('bfm_noneck_v3.pkl', 'tri.pkl')] if data_root() else []
    if files and all(f.exists() for f in files): return load_bfm(*files)
    raise FacecompError(f'The fields of {root} were drawn from the Basel Face Model: give --bfm and --tri, or --no-fields.')


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('set', help='a prepared set'); p.add_argument('-o', '--out', required=True, help='the file')
    p.add_argument('--quality', type=int, default=90, help='of WebP, 0 to 100'); p.add_argument('--jobs', type=int, default=2, help='threads')
    p.add_argument('--bfm', help="3DDFA_V2's bfm_noneck_v3.pkl, if the fields were drawn from it; FACECOMP_DATA's by default"); p.add_argument('--tri', help='its tri.pkl')
    p.add_argument('--no-fields', action='store_true', help='leave the fields, and the face model, out')
    a = p.parse_args(argv)
    if not 0 <= a.quality <= 100: sys.exit(f'pack: --quality must lie between 0 and 100, not {a.quality}.')
    try: r = pack(a.set, a.out, None if a.no_fields else model_of(a.set, a.bfm, a.tri), a.quality, jobs=a.jobs)
    except FacecompError as e: sys.exit(f'pack: {e}')
    print(f"{a.out}: {r['faces']} faces, {r['bytes']/1e6:.1f} MB ({r['bytes']/r['faces']:.0f} bytes a face), {r['seconds']:.0f} s; pictures {r['psnr']:.1f} dB; "
          + (f"fields off by {r['field_error']:.5f}, their masks agree to {r['face_iou']:.2%}" if 'field_error' in r else 'no fields'))


if __name__ == '__main__': main()
