"The paper's sets from outside: real layouts in small, splits, broken trees, pairs and templates, a download that is cut"
import csv, hashlib, http.server, io, json, struct, subprocess, sys, tarfile, threading, warnings, zipfile, zlib
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from facecomp import sets
from facecomp.config import override, preset
from facecomp.contest import train_method
from facecomp.core import FacecompError, rng_for, write_picture
from facecomp.faces import procedural_face
from facecomp.fetch import fetch, fetch_all
from facecomp.occlude import occlude
from facecomp.photos import LAYOUTS, prepare, read_set
from facecomp.prepared import PreparedFaces, TestFaces
from facecomp.sets import OccludedPairs, download, drawn, template_protocol
from facecomp.setups import method_config, override_method
from facecomp.trainer import train
from facecomp.templates import pool_templates, template_scores
from facecomp.verification import read_pairs

pytestmark = pytest.mark.filterwarnings('ignore:.*photos are there')
NEW = ('celeba', 'celebahq', 'ffhq', 'multipie', 'ijbc', 'rmfd', 'l2sfo')

@pytest.fixture(scope='module')
def faces(): return [procedural_face(i, 96) for i in range(4)]

def say(path, text): path.parent.mkdir(parents=True, exist_ok=True); path.write_text(text)

def lay(root, names, faces):
    for i, n in enumerate(names): write_picture(root/n, faces[i % 4].picture)
    return root

def celeba(root, faces):
    lay(root, [f'img_align_celeba/{i:06}.jpg' for i in range(1, 6)], faces)
    say(root/'list_eval_partition.txt', ''.join(f'{i:06}.jpg {k}\n' for i, k in enumerate((0, 0, 1, 2, 2), 1)))
    say(root/'identity_CelebA.txt', ''.join(f'{i:06}.jpg {100+i//2}\n' for i in range(1, 6))); return root

def ijbc(root, faces):
    lay(root, [f'loose_crop/{i}.jpg' for i in (1, 2, 3, 4)], faces); say(root/'meta/ijbc_face_tid_mid.txt', '1.jpg 10 7\n2.jpg 10 7\n3.jpg 10 8\n4.jpg 11 9\n')
    say(root/'meta/ijbc_name_5pts_score.txt', ''.join(f"{i}.jpg {' '.join(['40.5']*10)} 0.9\n" for i in (1, 2, 3, 4)))
    say(root/'meta/ijbc_template_pair_label.txt', '10 11 0\n10 10 1\n10 99 1\n'); return root

def l2sfo(root, faces, rows=None):
    lay(root, ['clean/a.png', 'clean/b.png'], faces)
    for n, (i, k) in dict(x=(0, 'cup'), y=(1, 'hand')).items(): write_picture(root/'occluded'/f'{n}.png', occlude(faces[i].picture, faces[i].landmarks, k, rng_for(i))[0])
    say(root/'manifest.csv', rows or 'file,split,identity,occluder,truth\noccluded/x.png,train,a,cup,clean/a.png\noccluded/y.png,test,b,hand,clean/b.png\n'); return root

def ready(kind, root, out, faces, names=None):
    "Prepared, with landmarks from a file"
    names = names or [r['path'].relative_to(root).as_posix() for r in read_set(kind, root)]
    np.savez(out.with_suffix('.npz'), name=names, landmarks68=np.stack([faces[i % 4].landmarks for i in range(len(names))]))
    return prepare(kind, root, out, size=64, landmarks=out.with_suffix('.npz'), jobs=1, progress=False)

def test_known_by_name(root):
    assert set(NEW) <= set(LAYOUTS)
    r = subprocess.run([sys.executable, 'data_scripts/prepare.py', '--help'], cwd=root, capture_output=True, text=True)
    assert r.returncode == 0 and all(k in r.stdout for k in NEW) and '--download' in r.stdout

def test_the_papers_numbers():
    "The splits at full size, without a photo: counts as the paper states them, and the same draw whatever is there"
    hq = drawn(range(30_000), 2_000); assert len(hq) == 2_000 and drawn(list(range(30_000))[::-1], 2_000) == hq
    names = [f'{i:06}.jpg' for i in range(182_638, 202_600)]; test = drawn(names, 10_000); assert len(test) == 10_000 and test == drawn(reversed(names), 10_000)
    assert drawn(range(5), 10) == set(range(5))

def test_celeba(tmp_path, faces):
    for root in (celeba(tmp_path/'a', faces), celeba(tmp_path/'b'/'celeba', faces).parent):          # torchvision puts it one folder down
        out = read_set('celeba', root); assert [r['split'] for r in out] == ['train']*3+['test']*2 and [r['identity'] for r in out] == [0, 1, 1, 2, 2]
    with pytest.warns(UserWarning, match='5 of 202,599'): read_set('celeba', tmp_path/'a')
    with pytest.warns(UserWarning, match='l2sfo: 4 of at least 73,000 photos are there, 2 of 991 people'): read_set('l2sfo', l2sfo(tmp_path/'l', faces))
    lfw = lay(tmp_path/'f', ['lfw/Ada_L/Ada_L_0001.jpg', 'lfw/Ada_L/Ada_L_0003.jpg', 'lfw/Bo_M/Bo_M_0001.jpg'], faces)
    with pytest.warns(UserWarning, match='lfw: 3 of 13,233 photos are there, 2 of 5,749 people'): assert len(read_set('lfw', lfw)) == 3
    (tmp_path/'a'/'img_align_celeba'/'000005.jpg').unlink(); assert [r['split'] for r in read_set('celeba', tmp_path/'a')] == ['train']*3+['test']

def test_celebahq_and_ffhq(tmp_path, faces):
    test = sorted(drawn(range(30_000), 2_000)); lay(tmp_path/'hq', [f'CelebA-HQ-img/{i}.jpg' for i in (0, test[0], test[-1])], faces)
    assert {r['name']: r['split'] for r in read_set('celebahq', tmp_path/'hq')} == {'0': 'test' if 0 in test else 'train', str(test[0]): 'test', str(test[-1]): 'test'}
    say(tmp_path/'hq'/'CelebA-HQ-to-CelebA-mapping.txt', 'idx orig_idx orig_file\n'+''.join(f'{i} 1 00000{1+k}.jpg\n' for k, i in enumerate((0, test[0], test[-1]))))
    say(tmp_path/'hq'/'identity_CelebA.txt', '000001.jpg 5\n000002.jpg 5\n000003.jpg 6\n'); assert [r['labels']['person'] for r in read_set('celebahq', tmp_path/'hq')] == ['5', '5', '6']
    for sub in ('images1024x1024/63000', 'thumbnails128x128'):
        root = lay(tmp_path/sub.split('/')[0], [f'{sub}/{i}.png' for i in (63999, 64000)], faces); assert [r['split'] for r in read_set('ffhq', root)] == ['train', 'test']

def test_multipie(tmp_path, faces):
    stem = lambda who, ses, rec, cam: f'session{ses}/multiview/{who}/{rec}/{cam[:2]}_{cam[2]}/{who}_{ses}_{rec}_{cam}_06.png'
    keep, drop = [('001', '01', '01', '051'), ('200', '04', '03', '240')], [('201', '01', '01', '051'), ('001', '01', '02', '051'), ('001', '01', '01', '191')]
    for root in (tmp_path/'a', tmp_path/'b'/'data'): lay(root, [stem(*k) for k in keep+drop], faces)
    for root in (tmp_path/'a', tmp_path/'b'):
        out = read_set('multipie', root); assert [r['labels']['person'] for r in out] == ['001', '200'] and [r['labels']['turned'] for r in out] == [0, 90] and {r['split'] for r in out} == {'train'}

def test_rmfd(tmp_path, faces):
    root = lay(tmp_path, ['AFDB_masked_face_dataset/ann/1.jpg', 'AFDB_masked_face_dataset/ben/1.jpg', 'AFDB_face_dataset/ann/1.jpg'], faces); out = read_set('rmfd', root)
    assert [r['labels']['masked'] for r in out] == [1, 1, 0] and out[0]['identity'] == out[2]['identity'] != out[1]['identity'] and {r['split'] for r in out} == {'test'}

def test_ijbc_to_scores(tmp_path, faces):
    "From the tree to template scores; a comparison whose template has no picture is dropped and counted"
    n = ready('ijbc', ijbc(tmp_path/'s', faces), tmp_path/'p', faces); assert n['done'] == 4
    p = template_protocol(tmp_path/'p'); assert p['dropped'] == 1 and p['same'].tolist() == [False, True] and p['template'].tolist() == [10, 10, 10, 11] and p['medium'].tolist() == [7, 7, 8, 9]
    ids, v = pool_templates(np.float32([[1, 0], [1, 0], [1, 0], [0, 1]]), p['template'], p['medium']); assert np.allclose(template_scores(ids, v, p['a'], p['b']), [0, 1])
    with pytest.raises(FacecompError, match='no prepared IJB-C'): ready('ffhq', lay(tmp_path/'f', ['images1024x1024/1.png'], faces), tmp_path/'q', faces); template_protocol(tmp_path/'q')

def test_l2sfo_pairs(tmp_path, faces):
    "The landmarks of the truth place the occluded one: both lie on the same pixels"
    root = l2sfo(tmp_path/'s', faces); ready('l2sfo', root, tmp_path/'p', faces, ['clean/a.png', 'clean/b.png'])
    two = OccludedPairs(tmp_path/'p', 'test'); d = two[0]; assert len(two) == 1 and d['x'].shape == (3, 64, 64)
    far = (d['x']-d['y']).abs().amax(0)[d['hole'][0] == 0].max(); assert far <= 8.5/255 and .02 < d['hole'].mean() < .8
    for kw in (dict(split='test', occluder='cup'), dict(split='val')):
        with pytest.raises(FacecompError): OccludedPairs(tmp_path/'p', **kw)

def test_train_on_own_pairs(root, tmp_path, faces):
    "Both commands learn from the set's own occluded pictures; sets are joined by the script"
    src = l2sfo(tmp_path/'s', faces, 'file,split,identity,occluder,truth\n'+''.join(f'occluded/{n}.png,train,{t},cup,clean/{t}.png\n' for n, t in (('x', 'a'), ('y', 'b'))))
    ready('l2sfo', src, tmp_path/'p', faces, ['clean/a.png', 'clean/b.png'])
    cfg = override(preset('tiny'), ['occluder=own', 'steps=2', 'batch=2', 'save_every=0', 'sheet_every=0', 'loss.uv_weight=0', 'pretrain.steps=1', 'pretrain.batch=2'])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore'); assert train(cfg, tmp_path/'p', tmp_path/'run', progress=False)['step'] == 2
        own = override_method(method_config('dfnet-small'), ['occluder=own', 'steps=1', 'batch=2', 'workers=0', 'sheet_every=0', 'save_every=0', 'vgg=random', 'net.base=8', 'net.widest=8'])
        assert train_method(own, tmp_path/'p', tmp_path/'rival', progress=False)['step'] == 1
    with pytest.raises(FacecompError, match='jitter'): train(override(cfg, ['jitter=0.5']), tmp_path/'p', tmp_path/'other', progress=False)
    assert not (tmp_path/'other').exists()                                               # said before stage 1
    celeba_ = celeba(tmp_path/'c', faces); ready('celeba', celeba_, tmp_path/'q', faces)
    r = subprocess.run([sys.executable, 'data_scripts/join.py', tmp_path/'p', tmp_path/'q', '-o', tmp_path/'both'], cwd=root, capture_output=True, text=True)
    assert r.returncode == 0 and '9 faces (4 of p, 5 of q)' in r.stdout and len(PreparedFaces(tmp_path/'both')) == 7, r.stdout+r.stderr
    r = subprocess.run([sys.executable, 'data_scripts/join.py', tmp_path/'p', '-o', tmp_path/'one'], cwd=root, capture_output=True, text=True)
    assert r.returncode == 1 and 'at least two' in r.stderr

def test_six_occluders_at_test(tmp_path, faces):
    ready('ffhq', lay(tmp_path/'s', ['thumbnails128x128/64000.png'], faces), tmp_path/'p', faces); t = TestFaces(PreparedFaces(tmp_path/'p'), 'l2sfo')
    assert len(t) == 6 and all(t[i]['hole'].max() > .2 for i in range(6)) and t.masks[5] == 'hand'

@pytest.mark.parametrize('kind', NEW)
def test_empty_folder_shows_the_layout(tmp_path, kind):
    with pytest.raises(FacecompError) as e: read_set(kind, tmp_path)
    assert 'missing' in str(e.value) and 'Expected' in str(e.value) and LAYOUTS[kind] in str(e.value)

def test_wrong_trees(tmp_path, faces):
    def refused(kind, root, text):
        with pytest.raises(FacecompError, match=text): read_set(kind, root)
    a = celeba(tmp_path/'a', faces); say(a/'list_eval_partition.txt', '000001.jpg 0\n'); refused('celeba', a, '000002.jpg is not in'); say(a/'list_eval_partition.txt', '000001.jpg\n'); refused('celeba', a, 'line 1')
    (a/'identity_CelebA.txt').unlink(); say(a/'list_eval_partition.txt', '000001.jpg 0\n'); refused('celeba', a, 'identity_CelebA.txt is missing')
    refused('ffhq', lay(tmp_path/'f', ['images1024x1024/cat.png'], faces), 'cat.png is not named'); (tmp_path/'g'/'images1024x1024').mkdir(parents=True); refused('ffhq', tmp_path/'g', 'no photos')
    refused('ffhq', lay(tmp_path/'t', ['images1024x1024/0/7.png', 'images1024x1024/1/7.png'], faces), 'Two photos')
    refused('multipie', lay(tmp_path/'m', ['session01/multiview/x.png'], faces), 'SUBJECT_SESSION'); refused('rmfd', lay(tmp_path/'r', ['AFDB_masked_face_dataset/a.jpg'], faces), 'a folder with a name')
    i = ijbc(tmp_path/'i', faces); say(i/'meta/ijbc_face_tid_mid.txt', '1.jpg 10\n'); refused('ijbc', i, '3 columns')
    head = 'file,split,identity,occluder,truth\n'
    for n, (rows, text) in enumerate((('file,split\nx,train\n', 'no column identity, occluder, truth'), (head+'no.png,train,a,cup,clean/a.png\n', "line 2 .* 'no.png'"), (head+'occluded/x.png,dev,a,cup,clean/a.png\n', "'dev'"),
            (head+'occluded/x.png,train,a,cup,clean/a.png\noccluded/y.png,test,a,cup,clean/a.png\n', 'two splits'))): refused('l2sfo', l2sfo(tmp_path/f'l{n}', faces, rows), text)

def spoilt(folder, pic):
    "Names of files that each break a decoder in another way, some of them late"
    def png(w, h, depth=8, kind=2, data=b'', crc=0):
        chunk = lambda k, d: struct.pack('>I', len(d))+k+d+struct.pack('>I', zlib.crc32(k+d)+crc)
        return b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, depth, kind, 0, 0, 0))+chunk(b'IDAT', data or zlib.compress(bytes(99)))+chunk(b'IEND', b'')
    def coded(kind, **kw): f = io.BytesIO(); Image.fromarray(pic).save(f, kind, **kw); return f.getvalue()
    jpg = coded('JPEG', quality=95); exif = lambda b: jpg[:2]+b'\xff\xe1'+struct.pack('>H', len(b)+8)+b'Exif\0\0'+b+jpg[2:]
    files = {'empty.png': b'', 'text.jpg': b'hello', 'bomb.png': png(60_000, 60_000), 'large.png': png(12_000, 9_000), 'endless.png': png(2**31-1, 2**31-1), 'nothing.png': png(0, 0), 'flat.png': png(64, 0), 'lies.png': png(96, 96), 'odd.png': png(96, 96, 3), 'crc.png': png(96, 96, crc=1),
             'zlib.png': png(96, 96, data=b'no zlib at all'), 'text_bomb.png': (p := coded('PNG'))[:33]+struct.pack('>I', len(z := b'a\0\0'+zlib.compress(bytes(80_000_000))))+b'zTXt'+z+struct.pack('>I', zlib.crc32(b'zTXt'+z))+p[33:],
             'no_size.bmp': b'BM'+bytes(52), 'no_size.tif': b'II*\0\x08\0\0\0\0\0', 'no_end.tif': b'MM\0*\xff\xff\xff\xff', 'loop.tif': b'II*\0\x08\0\0\0\0\0\x08\0\0\0', 'zeros.jpg': jpg[:len(jpg)//2]+bytes(200),
             **{f'cut.{k}': (b := coded(f, **kw))[:int(.6*len(b))] for k, f, kw in (('png', 'PNG', {}), ('jpg', 'JPEG', {}), ('webp', 'WEBP', {}), ('bmp', 'BMP', {}), ('tif', 'TIFF', dict(compression='tiff_lzw')))}}
    files |= {f'exif{i}.jpg': exif(b) for i, b in enumerate((b'no TIFF', b'II*\0\xff\xff\xff\x7f', b'MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\xff\xff\xff\xff\0\0\0\x40', b'II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\xff\xff\0\0', b'II*\0\x08\0\0\0\xff\xff'))}
    for n, b in files.items(): (folder/n).write_bytes(b)
    Image.fromarray(np.full((96, 96), .5, np.float32)).save(folder/'floats.tif'); (folder/'gone.png').symlink_to(folder/'nowhere.png')
    return [*files, 'floats.tif', 'gone.png']

@pytest.mark.parametrize('jobs', [1, 2])
def test_broken_photos_among_good_ones(jobs, tmp_path, faces):
    "Each of them is told in the report or read after all; the good ones are ready, and the run comes to its end, twice with the same result"
    good = [f'good{i}.png' for i in range(4)]; lay(tmp_path/'src', good, faces); bad = spoilt(tmp_path/'src', faces[0].picture); names = good+bad
    np.savez(tmp_path/'m.npz', name=names, landmarks68=np.stack([faces[i % 4].landmarks if i < 4 else faces[0].landmarks for i in range(len(names))]))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')                                                                    # Pillow's, of bombs and of camera data
        first = prepare('folder', tmp_path/'src', tmp_path/'set', size=64, landmarks=tmp_path/'m.npz', jobs=jobs, progress=False); report = (tmp_path/'set'/'report.csv').read_text()
        again = prepare('folder', tmp_path/'src', tmp_path/'set', size=64, landmarks=tmp_path/'m.npz', jobs=jobs, progress=False)
    rows = {Path(r['photo']).name: r['left out because'] for r in csv.DictReader(report.splitlines())}; ready_ = {p.name for p in (tmp_path/'set'/'pictures').iterdir()}
    assert first == again and report == (tmp_path/'set'/'report.csv').read_text() and set(good) <= ready_ and first['done'] == len(ready_) and first['done']+len(rows) >= len(names)-1
    must = {n for n in bad if not n.startswith(('exif', 'crc', 'text_bomb'))}; assert must <= set(rows), must-set(rows)                # the others may be read or not
    assert not any('Error:' in why for why in rows.values()) and all(n in why for n, why in rows.items()), rows             # a sentence of ours, with the photo's name

# downloads

class Server(http.server.BaseHTTPRequestHandler):
    files, cut, ranges, kind, asked, spoil, say = {}, None, True, 'application/octet-stream', [], {}, {}
    def do_GET(self):
        "spoil: path -> how often it comes with a wrong byte; say: path -> codes that come first"
        body = self.files.get(self.path); k = self.headers.get('Range') if self.ranges else None; at = int(k[6:-1]) if k else 0; self.asked.append(at if self.path == '/f' else (self.path, at))
        if body is None: self.send_error(404); return
        if self.say.get(self.path): self.send_error(self.say[self.path].pop(0)); return
        if self.spoil.get(self.path): self.spoil[self.path] -= 1; body = body[:-1]+bytes([body[-1]^1])
        if at >= len(body): self.send_error(416); return
        self.send_response(206 if k else 200); self.send_header('Content-Type', self.kind); self.send_header('Content-Length', str(len(body)-at)); self.end_headers()
        self.wfile.write(body[at:][:self.cut]); self.wfile.flush()
    def log_message(self, *a): pass

@pytest.fixture
def server():
    "A local server: address, and its class to set it up"
    handler = type('Handler', (Server,), dict(files={'/f': rng_for(3).bytes(120_000)}, asked=[], spoil={}, say={}))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as s:
        threading.Thread(target=s.serve_forever, daemon=True).start(); yield f'http://127.0.0.1:{s.server_port}', handler; s.shutdown()

def test_resumed_after_a_cut(tmp_path, server):
    url, h = server; body, get = h.files['/f'], lambda **kw: fetch(url+'/f', tmp_path/'f', 120_000, hashlib.md5(h.files['/f']).hexdigest(), progress=False, **kw); h.cut = 50_000
    with pytest.raises(FacecompError, match='run again'): get(tries=1)
    assert not (tmp_path/'f').exists() and (tmp_path/'f.part').stat().st_size == 50_000
    assert get().read_bytes() == body and h.asked == [0, 50_000, 100_000] and not (tmp_path/'f.part').exists()
    h.asked.clear(); get(); assert h.asked == [], 'a file that is there is not fetched again'

def test_the_servers_word_for_the_length(tmp_path, server):
    "Without size and hash a cut file gets no name either: not after the last try, not while the server is down, nor one that is too long"
    url, h = server; get = lambda **kw: fetch(url+'/f', tmp_path/'f', progress=False, **kw); h.cut = 50_000; serve = h.do_GET
    with pytest.raises(FacecompError, match='run again'): get(tries=2)
    assert not (tmp_path/'f').exists() and (tmp_path/'f.part').stat().st_size == 100_000
    h.do_GET = lambda self: self.send_error(503)
    with pytest.raises(FacecompError, match='run again'): get(tries=1)
    assert not (tmp_path/'f').exists(); h.do_GET = serve
    assert get().read_bytes() == h.files['/f']; (tmp_path/'f').rename(tmp_path/'f.part'); assert get().read_bytes() == h.files['/f']       # whole already: 416
    (tmp_path/'f').rename(tmp_path/'f.part'); (tmp_path/'f.part').open('ab').write(b'more')
    def over(self): self.send_response(416); self.send_header('Content-Range', 'bytes */120000'); self.send_header('Content-Length', '0'); self.end_headers()
    h.do_GET = over
    with pytest.raises(FacecompError, match='120,004 bytes instead of 120,000'): get()
    assert list(tmp_path.iterdir()) == []

def test_a_server_without_ranges(tmp_path, server):
    url, h = server; h.ranges = False; (tmp_path/'f.part').write_bytes(b'old'*9); assert fetch(url+'/f', tmp_path/'f', progress=False).read_bytes() == h.files['/f']

def test_wrong_files_are_refused(tmp_path, server):
    url, h = server
    for kw in (dict(digest='0'*32), dict(size=119_999), dict(size=120_000, digest='1'*32), dict(digest='0'*64)):
        with pytest.raises(FacecompError, match='removed'): fetch(url+'/f', tmp_path/'f', progress=False, **kw)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(FacecompError, match='404'): fetch(url+'/none', tmp_path/'n', progress=False)
    h.kind = 'text/html; charset=utf-8'
    with pytest.raises(FacecompError, match='web page'): fetch(url+'/f', tmp_path/'f', progress=False)
    (tmp_path/'have').write_bytes(b'mine')
    with pytest.raises(FacecompError, match='remove it'): fetch(url+'/f', tmp_path/'have', 120_000, progress=False)
    assert (tmp_path/'have').read_bytes() == b'mine', 'a file of the user is not overwritten'

def test_quota_and_refusals(tmp_path, server):
    "A page of Google Drive's with the status 200 is explained; a host that is asked too fast is asked again; one that refuses is believed"
    url, h = server; h.kind, h.ranges = 'text/html; charset=utf-8', False; whole = h.files['/f']
    h.files['/f'] = b'<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>Sorry, you can&#39;t view or download this file at this time.</body></html>'
    (tmp_path/'f.part').write_bytes(whole[:5_000])
    with pytest.raises(FacecompError, match='quota exceeded.*tomorrow'): fetch(url+'/f', tmp_path/'f', 120_000, progress=False)
    assert (tmp_path/'f.part').read_bytes() == whole[:5_000] and len(h.asked) == 1
    h.files['/f'], h.kind, h.ranges, h.say = whole, 'image/png', True, {'/f': [429, 503]}; assert fetch(url+'/f', tmp_path/'f', 120_000, hashlib.sha256(whole).hexdigest(), progress=False).read_bytes() == whole
    h.say = {'/f': [403]}
    with pytest.raises(FacecompError, match='403.*too many'): fetch(url+'/f', tmp_path/'g', progress=False)
    with pytest.raises(FacecompError, match='another folder'): fetch(url+'/f', tmp_path/'f'/'g', progress=False)

def test_many_files(tmp_path, server):
    "What is whole is not asked for; what is damaged once comes whole, what always is is named, and nothing is lost"
    url, h = server; h.files = {f'/{i}': rng_for(i).bytes(9_000) for i in range(60)}; h.spoil = {'/5': 1, '/7': 2}
    job = [(url+k, tmp_path/'d'/k[1:], len(v), hashlib.md5(v).hexdigest()) for k, v in h.files.items()]
    with pytest.raises(FacecompError, match=r'1 of 60 files could not be fetched \(7\)'): fetch_all(job, progress=False)
    assert {p.name for p in (tmp_path/'d').iterdir()} == {k[1:] for k in h.files}-{'7'}
    h.asked.clear(); (tmp_path/'d'/'9').rename(tmp_path/'d'/'9.part'); (tmp_path/'d'/'9.part').open('r+b').truncate(4_000)
    assert fetch_all(job, progress=False) == 60 and sorted(h.asked) == [('/7', 0), ('/9', 4_000)] and all((tmp_path/'d'/k[1:]).read_bytes() == v for k, v in h.files.items())
    h.spoil = {k: 99 for k in h.files}; other = [(u, tmp_path/'e'/p.name, *known) for u, p, *known in job]
    with pytest.raises(FacecompError, match='3 of 60 .*3 of them one after the other, so that 57 more were not tried'): fetch_all(other, threads=1, patience=3, progress=False)
    with pytest.raises(FacecompError, match='60 of 60 .*and 40 more') as e: fetch_all(other, patience=99, progress=False)
    assert 'not tried' not in str(e.value) and fetch_all([], progress=False) == 0

def test_nobody_there(tmp_path):
    with pytest.raises(FacecompError, match="can't be fetched"): fetch('http://127.0.0.1:9/f', tmp_path/'f', tries=1, progress=False)

def test_download_a_set(tmp_path, server, faces, monkeypatch, capsys):
    "The whole way: licence, agreement, fetch, unpack, read"
    url, h = server; src, buf = celeba(tmp_path/'src', faces), io.BytesIO()
    with zipfile.ZipFile(buf, 'w') as z: [z.write(p, p.relative_to(src)) for p in sorted((src/'img_align_celeba').iterdir())]
    h.files = {'/p.txt': (src/'list_eval_partition.txt').read_bytes(), '/i.txt': (src/'identity_CelebA.txt').read_bytes(), '/z': buf.getvalue()}
    files = [(url+k, n, len(h.files[k]), hashlib.md5(h.files[k]).hexdigest()) for k, n in (('/p.txt', 'list_eval_partition.txt'), ('/i.txt', 'identity_CelebA.txt'), ('/z', 'img_align_celeba.zip'))]
    monkeypatch.setitem(sets.DOWNLOADS, 'celeba', ('for research only', files))
    with pytest.raises(FacecompError, match='agree'): download('celeba', tmp_path/'new', progress=False)
    assert 'research only' in capsys.readouterr().out and not (tmp_path/'new').exists() and not h.asked
    download('celeba', tmp_path/'new', True, False); assert len(read_set('celeba', tmp_path/'new')) == 5
    h.asked.clear(); download('celeba', tmp_path/'new', True, False); assert not h.asked

def test_download_ffhq(tmp_path, server, faces, monkeypatch, capsys):
    "The list, then the aligned pictures one by one: broken off, damaged, quota used up, resumed, read"
    url, h = server; src = lay(tmp_path/'src', [f'images1024x1024/{i//1000*1000:05}/{i:05}.png' for i in (0, 1, 2, 64_000)], faces); pics = sorted(src.rglob('*.png')); md5 = lambda b: hashlib.md5(b).hexdigest()
    def item(p, **kw): b = p.read_bytes(); h.files['/'+p.name] = b; return dict(file_url=url+'/'+p.name, file_path=p.relative_to(src).as_posix(), file_size=len(b), file_md5=md5(b), pixel_size=[96, 96], face_landmarks=[[1, 2]]*68) | kw
    else_ = dict(file_url=url+'/else', file_path='thumbnails128x128/00000/00000.png', file_size=1, file_md5='0'*32)
    h.files['/list'] = json.dumps({str(int(p.stem)): dict(category='training', metadata=dict(author='us', license='ours'), image=item(p), thumbnail=else_, in_the_wild=else_) for p in pics}).encode()
    monkeypatch.setitem(sets.DOWNLOADS, 'ffhq', (sets.DOWNLOADS['ffhq'][0], [(url+'/list', 'ffhq-dataset-v2.json', len(h.files['/list']), md5(h.files['/list']))])); new = tmp_path/'new'
    with pytest.raises(FacecompError, match='agree'): download('ffhq', new, progress=False)
    assert 'CC BY-NC-SA' in capsys.readouterr().out and not new.exists() and not h.asked
    h.say = {'/00001.png': [404]*2}; h.spoil = {'/00002.png': 1, '/64000.png': 2}
    with pytest.raises(FacecompError, match=r'2 of 4 files could not be fetched \(00001.png, 64000.png\)'): download('ffhq', new, True, False)
    assert [p.name for p in sorted(new.rglob('*.png'))] == ['00000.png', '00002.png'] and ('/else', 0) not in h.asked
    h.asked.clear(); half = new/'images1024x1024'/'64000'; half.mkdir(exist_ok=True); (half/'64000.png.part').write_bytes(h.files['/64000.png'][:500]); download('ffhq', new, True, False)
    assert sorted(h.asked) == [('/00001.png', 0), ('/64000.png', 500)] and [r['split'] for r in read_set('ffhq', new)] == ['train']*3+['test'] and all((new/p.relative_to(src)).read_bytes() == p.read_bytes() for p in pics)
    h.asked.clear(); download('ffhq', new, True, False); assert not h.asked
    h.kind = 'text/html'; h.files |= {'/'+p.name: b'<title>Google Drive - Quota exceeded</title>' for p in pics}; more = tmp_path/'more'; more.mkdir(); (more/'ffhq-dataset-v2.json').write_bytes(h.files['/list'])
    with pytest.raises(FacecompError, match='4 of 4 files .*quota exceeded'): download('ffhq', more, True, False)

def test_ffhqs_list(tmp_path):
    "Google Drive's links become those that ask nothing; sizes and hashes stand as the owners give them"
    links = [f'https://drive.google.com/{k}id=1a-B_9' for k in ('uc?', 'uc?export=download&', 'open?')]
    (tmp_path/'l.json').write_text(json.dumps({str(i): dict(image=dict(file_url=u, file_path=f'images1024x1024/00000/{i:05}.png', file_size=7+i, file_md5='ab')) for i, u in enumerate(links)}))
    assert sets._listed(tmp_path/'l.json', tmp_path) == [('https://drive.usercontent.google.com/download?confirm=t&id=1a-B_9', tmp_path/f'images1024x1024/00000/{i:05}.png', 7+i, 'ab') for i in range(3)]
    for kind, (licence, files) in sets.DOWNLOADS.items():
        assert 'https://' in licence and all(u.startswith('https://') and len(d) in (32, 64) and (n or len(d) == 64) for u, _, n, d in files), kind

def test_download_lfw(tmp_path, server, faces, monkeypatch):
    "The archive lies as the reader wants it, with the pairs that verification wants"
    url, h = server; src = lay(tmp_path/'src', ['lfw/Ada_L/Ada_L_0001.jpg', 'lfw/Ada_L/Ada_L_0002.jpg', 'lfw/Bo_M/Bo_M_0001.jpg'], faces); buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode='w:gz') as t: t.add(src/'lfw', 'lfw')
    h.files = {'/t': buf.getvalue(), '/p': b'1\t1\nAda_L\t1\t2\nAda_L\t1\tBo_M\t1\n'}; h.cut = len(h.files['/t'])//2+1
    known = lambda k, name, size: (url+k, name, size, hashlib.sha256(h.files[k]).hexdigest())
    monkeypatch.setitem(sets.DOWNLOADS, 'lfw', (sets.DOWNLOADS['lfw'][0], [known('/p', 'pairs.txt', None), known('/t', 'lfw.tgz', len(h.files['/t']))]))
    new = download('lfw', tmp_path/'new', True, False); names = [r['name'] for r in read_set('lfw', new)]; assert names == ['Ada_L__Ada_L_0001', 'Ada_L__Ada_L_0002', 'Bo_M__Bo_M_0001']
    ready('lfw', new, tmp_path/'p', faces, [n.split('__')[1]+'.jpg' for n in names]); assert [k.replace('/', '__') for p in read_pairs(tmp_path/'p'/'pairs.txt') for k in p[:2]] == [names[0], names[1], names[0], names[2]]
    h.asked.clear(); download('lfw', new, True, False); assert not [a for a in h.asked if a[0] == '/t']
    first = new/'lfw'/'Ada_L'/'Ada_L_0001.jpg'; whole = first.read_bytes(); (new/'.lfw.tgz.unpacked').unlink(); first.write_bytes(b'deep-funneled')           # a photo of one's own
    with pytest.raises(FacecompError, match='Ada_L_0001.jpg is there, and another'): download('lfw', new, True, False)
    assert first.read_bytes() == b'deep-funneled'; (new/'.lfw.tgz.begun').touch(); download('lfw', new, True, False); assert first.read_bytes() == whole      # ours, broken off in the middle
    assert sorted(p.name for p in new.iterdir()) == ['.lfw.tgz.unpacked', 'lfw', 'lfw.tgz', 'pairs.txt']

def test_sets_that_may_not_be_fetched(tmp_path):
    "One sentence each: who gives it, and why it is not fetched; then the layout"
    for kind, text in (('ijbc', 'NIST.* apply'), ('multipie', 'Carnegie.* sign'), ('l2sfo', 'no address'), ('celebahq', 'CelebAMask-HQ.* no hash'), ('rmfd', 'Real-World-Masked-Face.* no hash'), ('utkface', 'no hash'), ('ffhq256', 'no address')):
        with pytest.raises(FacecompError, match=f'is not fetched: .*{text}') as e: download(kind, tmp_path/'x', True)
        assert str(e.value).endswith(LAYOUTS[kind]), kind
    assert not (tmp_path/'x').exists()
