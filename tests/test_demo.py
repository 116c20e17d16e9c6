"""The demo page: its handlers, its API, and the page itself in a real browser."""
import os, re, signal, socket, subprocess, sys, time
import numpy as np, pytest
from pathlib import Path
from PIL import Image
from facecomp.core import FacecompError, portrait
from facecomp.align import LIGHTCNN, similarity, warp_picture
from facecomp.demo import complete_value, main, make_examples, panels, strokes
from facecomp.inference import FaceCompleter

CHROMIUM = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()

@pytest.fixture(scope='module')
def completer(): return FaceCompleter.from_pretrained(device='cpu')

@pytest.fixture(scope='module')
def examples(tmp_path_factory): return make_examples(tmp_path_factory.mktemp('examples'))

@pytest.fixture(scope='module')
def face(tmp_path_factory):
    "An aligned face without a mask, larger than the editor's canvas"
    photo, L = portrait('grace_hopper')
    p = tmp_path_factory.mktemp('face')/'face.png'
    Image.fromarray(warp_picture(photo, similarity(L, LIGHTCNN, 1000), 1000)[0]).save(p)
    return p

@pytest.fixture(autouse=True)
def no_detector(tmp_path_factory, monkeypatch): monkeypatch.setenv('TORCH_HOME', str(tmp_path_factory.mktemp('torch')))

# ---- without a page ----

def paint(size, box, color=(255, 255, 255, 255)):
    layer = Image.new('RGBA', size); layer.paste(color, box); return layer

def test_strokes():
    a, b = paint((40, 30), (5, 5, 15, 10)), paint((40, 30), (20, 20, 22, 22), (0, 0, 0, 130))
    assert strokes([a], (40, 30)).sum() == 50 and strokes([a, None, b], (40, 30)).sum() == 54 and strokes([a], (40, 30))[7, 10]
    assert strokes([a], (80, 60)).sum() == 200
    for none in (None, [], [None], [Image.new('RGBA', (40, 30))], [paint((40, 30), (0, 0, 9, 9), (9, 9, 9, 90))]): assert strokes(none, (40, 30)) is None

def test_what_the_editor_may_send(completer, face):
    pic = Image.open(face).resize((256, 256)).convert('RGBA'); layer = paint((256, 256), (100, 60, 150, 90))
    before, res = complete_value(completer, dict(background=pic, layers=[layer], composite=None))
    inside = strokes([layer], (256, 256)); x = np.asarray(pic)[..., :3]
    assert before.mode == 'RGB' and res.picture.shape == x.shape and (res.picture[inside] != x[inside]).any(-1).mean() > .5
    assert (res.picture[200:] == x[200:]).all()
    _, plain = complete_value(completer, dict(background=pic, layers=[], composite=pic))
    for v in (dict(background=pic, layers=[Image.new('RGBA', (256, 256))]), dict(background=pic, layers=None), dict(background=None, layers=[], composite=pic), dict(composite=pic)):
        assert (complete_value(completer, v)[1].picture == plain.picture).all()
    glass = pic.copy(); glass.putalpha(100)
    assert complete_value(completer, dict(background=glass))[1].picture.shape == (256, 256, 4)
    for bad in (None, {}, dict(background=None, layers=[layer], composite=layer), dict(background=pic.resize((5000, 5001))), dict(background=pic.resize((100, 200))), dict(background=pic.resize((3, 3)))):
        with pytest.raises(FacecompError): complete_value(completer, bad)

def test_panels(completer, examples):
    _, res = complete_value(completer, dict(background=Image.open(examples[0])))
    seen = panels(res)
    assert len(seen) == 4+6 and all(p.dtype == np.uint8 and p.shape == (256, 256, 3) for p, _ in seen)
    res.fields = []
    assert len(panels(res)) == 2+6

def test_examples_are_made_anew(examples, tmp_path):
    again = make_examples(tmp_path)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in examples] and Image.open(again[0]).size == (512, 512)

def test_command_says_what_is_wrong(tmp_path, capsys):
    for args, why in ((['--weights', str(tmp_path/'none')], 'no weights'), (['--device', 'abacus'], 'device')):
        with pytest.raises(SystemExit) as e: main(args)
        assert str(e.value).startswith('facecomp-demo: ') and why in str(e.value)
    with pytest.raises(SystemExit): main(['--help'])
    assert '--share' in capsys.readouterr().out

# ---- the page ----

def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]

def start(tmp, port):
    code = 'import sys; from facecomp.demo import main as f; sys.argv[0] = "facecomp-demo"; sys.exit(f())'
    env = {**os.environ, 'PYTHONWARNINGS': 'ignore', 'TMPDIR': str(tmp), 'TORCH_HOME': str(tmp/'torch')}
    env.pop('GRADIO_TEMP_DIR', None)
    return subprocess.Popen([sys.executable, '-c', code, '--port', str(port), '--device', 'cpu'], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)

@pytest.fixture(scope='module')
def server(tmp_path_factory):
    "The page, served as a user serves it: its address and its folder for temporary files. Afterwards: silence, and no file left"
    tmp, port = tmp_path_factory.mktemp('server'), free_port()
    p = start(tmp, port)
    said = ''
    for line in p.stdout:
        said += line
        if 'The page is at' in line: break
    assert f'http://127.0.0.1:{port}' in said, said
    yield f'http://127.0.0.1:{port}', tmp
    p.send_signal(signal.SIGTERM)
    rest, _ = p.communicate(timeout=30)
    assert 'Traceback' not in rest, rest
    left = [f for f in tmp.rglob('*') if f.is_file() and 'torch' not in f.parts]
    assert not left, left

def test_port_in_use(server, tmp_path):
    p = start(tmp_path, server[0].rsplit(':', 1)[1])
    said, _ = p.communicate(timeout=60)
    assert p.returncode == 1 and '--port' in said and 'Traceback' not in said, said

def test_api(server, face, examples, tmp_path):
    "Called by a program: no composite, lying photos, damaged files"
    from gradio_client import Client, handle_file
    client = Client(server[0], verbose=False, download_files=str(tmp_path))
    ask = lambda path, layers=(), blind=False: client.predict(dict(background=handle_file(path) if path else None, layers=[handle_file(l) for l in layers], composite=None), blind, api_name='/complete')
    (before, after), file, gallery, said = ask(examples[0])
    x, y = np.asarray(Image.open(examples[0])), np.asarray(Image.open(file))
    assert y.shape == x.shape and (x != y).any() and len(gallery) == 10 and 'replaced' in said and Image.open(before).size == Image.open(after).size == (512, 512)
    layer = tmp_path/'layer.png'; paint((1000, 1000), (300, 300, 500, 380)).save(layer)
    x, y = np.asarray(Image.open(face)), np.asarray(Image.open(ask(face, [layer])[1]))
    assert (x[310:370, 310:490] != y[310:370, 310:490]).any(-1).mean() > .5 and (x[600:] == y[600:]).all()
    lying = Image.open(examples[0]).rotate(90).crop((0, 0, 512, 480)); exif = lying.getexif(); exif[0x0112] = 6
    lying.save(tmp_path/'lying.png', exif=exif)
    assert Image.open(ask(tmp_path/'lying.png')[1]).size == (480, 512)
    (tmp_path/'text.png').write_text('no picture'); (tmp_path/'cut.jpg').write_bytes(b'')
    Image.open(face).convert('RGB').save(tmp_path/'whole.jpg'); (tmp_path/'cut.jpg').write_bytes((tmp_path/'whole.jpg').read_bytes()[:20000])
    Image.new('1', (20000, 20000)).save(tmp_path/'bomb.png'); Image.new('L', (100, 300)).save(tmp_path/'tall.png')
    for bad, why in ((None, 'no picture yet'), ('text.png', 'no picture that can be read'), ('cut.jpg', 'damaged'), ('bomb.png', 'far too large'), ('tall.png', 'No face was found')):
        with pytest.raises(Exception) as e: ask(bad and tmp_path/bad)
        assert why in str(e.value) and 'Traceback' not in str(e.value), (bad, e.value)
    assert (np.asarray(Image.open(ask(examples[0])[1])) == np.asarray(Image.open(file))).all()      # and it still works

@pytest.fixture
def page(server, browser):
    "The page in Chromium; at the end no error in the console, and no request to anywhere else"
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    with api.sync_playwright() as pw:
        chrome = pw.chromium.launch(executable_path=browser, headless=True, args=CHROMIUM)
        page = chrome.new_page(viewport=dict(width=1280, height=900), accept_downloads=True)
        wrong, asked = [], []
        page.on('console', lambda m: wrong.append(m.text) if m.type == 'error' else None)
        page.on('pageerror', lambda e: wrong.append(str(e)))
        page.on('request', lambda r: asked.append(r.url))
        page.set_default_timeout(30_000)
        page.goto(server[0])
        page.wait_for_selector('#editor canvas')
        page.locator('#editor input[type=file]').wait_for(state='attached')
        yield page
        chrome.close()
    assert not wrong, wrong
    assert asked and not [u for u in asked if not u.startswith((server[0], 'data:', 'blob:'))]

def result(page, tmp):
    "Press the button; the downloaded result"
    page.click('#run')
    page.wait_for_selector('#file a[download]')
    with page.expect_download() as d: page.click('#file a[download]')
    d.value.save_as(tmp/'result.png')
    return np.asarray(Image.open(tmp/'result.png').convert('RGB'))

def test_upload_stroke_result(page, face, tmp_path):
    "Upload a face, paint over its middle, complete: something else stands there, and the rest is as it was, at full resolution"
    assert page.title() == 'facecomp' and 'not evidence' in page.inner_text('body')
    page.set_input_files('#editor input[type=file]', face)
    page.wait_for_timeout(1500)
    page.click('#editor button[aria-label="Brush"]')
    box = page.locator('#editor canvas').first.bounding_box()
    x, y = box['x']+box['width']/2, box['y']+box['height']/2                        # the picture lies in the middle of the canvas
    page.mouse.move(x-40, y); page.mouse.down(); page.mouse.move(x+40, y, steps=10); page.mouse.up()
    page.wait_for_timeout(500)
    page.screenshot(path=tmp_path/'1_painted.png', full_page=True)
    out, was = result(page, tmp_path), np.asarray(Image.open(face).convert('RGB'))
    page.click('#inside button'); page.wait_for_selector('#panels img'); page.wait_for_timeout(500)
    page.screenshot(path=tmp_path/'2_completed.png', full_page=True)
    assert out.shape == was.shape
    new = (out != was).any(-1)
    assert new[490:510, 440:560].mean() > .9, 'inside of the stroke nothing changed'
    rows, cols = np.flatnonzero(new.any(1)), np.flatnonzero(new.any(0))
    assert 380 < rows[0] < 500 < rows[-1] < 620 and 300 < cols[0] < 440 and 560 < cols[-1] < 700, 'outside of the stroke something changed'
    assert re.search(r'\d+% of the picture was replaced', page.inner_text('#said'))
    assert page.locator('#result img').count() >= 2 and page.locator('#panels img').count() >= 10

def test_examples_and_messages(page, examples, tmp_path):
    "An example is completed without a stroke; nothing to complete is said, and no more than said"
    page.click('#run')
    page.wait_for_selector('text=There is no picture yet')
    page.screenshot(path=tmp_path/'3_message.png')
    assert 'Traceback' not in page.inner_text('body')
    page.locator('#examples img, #examples button').first.click()
    page.wait_for_timeout(2000)
    out, was = result(page, tmp_path), np.asarray(Image.open(examples[0]))
    page.screenshot(path=tmp_path/'4_example.png', full_page=True)
    assert out.shape == was.shape and (out[300:450, 150:350] != was[300:450, 150:350]).any(-1).mean() > .9 and (out[:100] == was[:100]).all(-1).mean() > .6
    page.locator('.toast-close').first.click()
    page.wait_for_selector('text=There is no picture yet', state='hidden')
    page.click('#editor button[aria-label="Clear canvas"]')
    page.wait_for_timeout(500)
    page.click('#run')
    page.wait_for_selector('text=There is no picture yet')
