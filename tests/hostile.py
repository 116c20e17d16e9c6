"Damaged and hostile files, made anew from a seed: for the library, the command, the page."
import io, os, struct, zlib
from pathlib import Path
import numpy as np
from PIL import Image

def _base(rng, size=48):
    y, x = np.mgrid[:size, :size]/size
    return (np.stack([x, y, (x+y)/2], -1)*200+rng.integers(0, 55, (size, size, 3))).astype(np.uint8)

def _coded(a, kind, **kw):
    b = io.BytesIO(); im = Image.fromarray(a) if isinstance(a, np.ndarray) else a; im.save(b, kind, **kw); return b.getvalue()

def _chunk(kind, data): return struct.pack('>I', len(data))+kind+data+struct.pack('>I', zlib.crc32(kind+data))

def bomb(w, h, depth=8, colour=2): # a small PNG that claims to be huge, or lies about its depth
    return b'\x89PNG\r\n\x1a\n'+_chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, depth, colour, 0, 0, 0))+_chunk(b'IDAT', zlib.compress(bytes(1000)))+_chunk(b'IEND', b'')

def hostile_files(folder, n=500, seed=0):
    "Write n files below the folder; returns their paths. Most are no pictures; some are odd, but whole"
    rng, folder, out = np.random.default_rng(seed), Path(folder), []
    folder.mkdir(parents=True, exist_ok=True); a = _base(rng); im = Image.fromarray(a)
    good = {'png': _coded(a, 'PNG'), 'jpg': _coded(a, 'JPEG'), 'webp': _coded(a, 'WEBP'), 'tif': _coded(a, 'TIFF'), 'bmp': _coded(a, 'BMP'), 'gif': _coded(a, 'GIF'),
            'lzw.tif': _coded(a, 'TIFF', compression='tiff_lzw'), 'prog.jpg': _coded(a, 'JPEG', progressive=True)}
    def put(name, data):
        p = folder/name
        try: p.parent.mkdir(parents=True, exist_ok=True); p.write_bytes(data)
        except (OSError, ValueError, UnicodeError): p = folder/f'plain{len(out)}.png'; p.write_bytes(data)
        out.append(p)
    text = [b'', b'\0', b'\0'*5000, b'no picture', b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', b'%PDF-1.4\n', b'PK\x03\x04'+bytes(60), b'MZ'+bytes(200), b'<html><script>alert(1)</script>',
            b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n(/etc/passwd) (r) file\n', b'GIF89a', b'\xff\xd8\xff', b'RIFF\xff\xff\xff\xffWEBPVP8L', b'II*\0\x08\0\0\0', b'MM\0*\xff\xff\xff\xff', b'BM'+bytes(52), bytes(range(256))*20]
    bombs = [bomb(60000, 60000), bomb(2**31-1, 2**31-1), bomb(0, 0), bomb(40000, 20), bomb(64, 64, 16, 6), bomb(64, 64, 3), bomb(64, 64, 8, 9), bomb(9000, 9000), bomb(1, 1),
             good['png'][:33]+_chunk(b'zTXt', b'a\0\0'+zlib.compress(bytes(80_000_000)))+good['png'][33:], good['png'][:33]+_chunk(b'iCCP', b'x\0\0'+zlib.compress(bytes(5_000_000)))+good['png'][33:]]
    odd = [_coded(im.convert(m), k) for m, k in (('1', 'PNG'), ('L', 'PNG'), ('P', 'PNG'), ('LA', 'PNG'), ('RGBA', 'PNG'), ('CMYK', 'JPEG'), ('CMYK', 'TIFF'), ('LAB', 'TIFF'), ('F', 'TIFF'), ('I', 'TIFF'), ('I;16', 'PNG') if False else ('I', 'PNG'), ('YCbCr', 'JPEG'), ('RGBA', 'WEBP'), ('PA', 'TIFF') if False else ('P', 'GIF'))]
    odd += [_coded(im, 'GIF', save_all=True, append_images=[im.rotate(90)]*3), _coded(im, 'PNG', save_all=True, append_images=[im.rotate(90)]*3), _coded(im, 'WEBP', save_all=True, append_images=[im.rotate(90)]*3), _coded(im, 'TIFF', save_all=True, append_images=[im]*3),
            _coded(im.resize((3, 3)), 'PNG'), _coded(im.resize((5000, 17)), 'PNG'), _coded(Image.new('RGBA', (40, 40)), 'PNG'), _coded(Image.new('L', (20, 20), 255), 'PNG')]
    names = ['..png', '...png', 'a..b.png', 'ünï cödé 面.png', '\u202egnp.exe.png', 'new\nline.png', 'quote".png', "it's.png", '-o.png', '--json.png', '$(id).png', '%s%n.png', ' .png', 'x'*180+'.png', 'sub/../../up.png'.replace('sub/../../', 'sub..'), 'CON.png', 'emoji😀.jpg', 'tab\t.png', 'sub/sub/a.png', 'sub/sub2/a.png', '\x1b[31mred.png']
    for i, t in enumerate(text): put(f'text{i}.png', t); put(f'text{i}.tif', t)
    for i, t in enumerate(bombs): put(f'bomb{i}.png', t)
    for i, t in enumerate(odd): put(f'odd{i}.png', t)
    for i, s in enumerate(names): put(s, good['png'] if i % 2 else good['jpg'][:200])
    try: put(os.fsdecode(b'bad\xff\xfename.png'), good['png'])
    except UnicodeError: pass
    (folder/'to_nowhere.png').symlink_to(folder/'nowhere'); out.append(folder/'to_nowhere.png')
    (folder/'round.png').symlink_to(folder/'round.png'); out.append(folder/'round.png')
    if hasattr(os, 'mkfifo'): os.mkfifo(folder/'pipe.png'); out.append(folder/'pipe.png')
    if Path('/dev/zero').exists(): (folder/'zero.png').symlink_to('/dev/zero'); out.append(folder/'zero.png')
    kinds = sorted(good)
    while len(out) < n:
        k = kinds[len(out) % len(kinds)]; d = bytearray(good[k]); how = rng.integers(5); ext = k.split('.')[-1]
        if how == 0: d = d[:rng.integers(1, len(d))]                                             # cut short
        elif how == 1:
            for j in rng.integers(0, min(len(d), 200), 4): d[j] = rng.integers(256)                  # damaged head
        elif how == 2:
            for j in rng.integers(0, len(d), 12): d[j] = rng.integers(256)                           # damaged anywhere
        elif how == 3: ext = kinds[rng.integers(len(kinds))].split('.')[-1]; d = d[:len(d)//2]+bytes(len(d)//2)  # wrong type, zeros at the end
        else: i = rng.integers(len(d)); d = d[:i]+bytes(rng.integers(0, 256, 64, dtype=np.uint8))+d[i:]        # bytes put in
        put(f'{len(out):03d}.{ext}', bytes(d))
    return out[:n]
