"""The project as a whole: notebooks, library, README and package must not drift apart.

`nbdev_test` runs what the notebooks say and passes even when the modules in facecomp/ are old, so they are compared here."""
import ast, configparser, functools, importlib, importlib.util, inspect, json, os, re, shlex, shutil, subprocess, sys, time
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
LIB, NBS = ROOT/'facecomp', ROOT/'nbs'

# A module may import those to its left only.
ORDER = 'core mesh head faces align cloth mask occlude occluders overlays scenery fetch photos prepared sets samples pack siamese networks daf field fit losses adversarial identity objective config checkpoint graph loop stage1 stage2 trainer methods judges terms rivals setups contest jobs metrics quality roc verification templates inception distribution tables ablation comparison ranking timing photofile hole find blend place weights inference command demo squares handlers page'.split()
DIRECTIVES = {'default_exp', 'export', 'exporti', 'hide', 'eval:', 'cuda', 'slow'}
HEAVY = 'gradio face_alignment onnxruntime fastcore nbdev execnb IPython ipywidgets pytest'.split()
MAX_NOTEBOOK = 1_500_000 # bytes

BOOKS = sorted(NBS.glob('[!_.]*.ipynb'))
MODULES = sorted(p for p in LIB.glob('**/*.py') if p.name not in ('__init__.py', '_modidx.py'))
by_name = lambda p: p.stem
book = pytest.mark.parametrize('path', BOOKS, ids=by_name)
module = pytest.mark.parametrize('path', MODULES, ids=by_name)

def text(x): return x if isinstance(x, str) else ''.join(x)
def load(path): return json.loads(path.read_text(encoding='utf-8'))
def cells(nb, kind): return [text(c['source']) for c in nb['cells'] if c['cell_type'] == kind]
def settings():
    ini = configparser.ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']

def script(name):
    "A module from .ci/"
    spec = importlib.util.spec_from_file_location(f'ci_{name}', ROOT/'.ci'/f'{name}.py')
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod

def run(args, cwd, **env):
    "Run a command; the result's stdout has both streams"
    env = {**os.environ, 'PYTHONWARNINGS': 'ignore', **env}
    return subprocess.run([str(a) for a in args], cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)

def directive(line):
    "Name of the directive on a line, or None: 'export' for '#| export', 'eval:' for '#| eval: false'"
    m = re.match(r'\s*#\s*\|\s*(\S*)', line)
    return m and m[1]

def head_and_body(src):
    "Directive names at the head of a cell, and the lines below"
    lines, names = src.splitlines(), []
    while lines and (not lines[0].strip() or directive(lines[0]) is not None):
        if (d := directive(lines.pop(0))) is not None: names.append(d)
    return names, lines

def default_exp(path):
    "Module that a notebook is exported to, or None"
    found = [m[1] for s in cells(load(path), 'code') if (m := re.match(r'\s*#\s*\|\s*default_exp\s+(\S+)', s))]
    assert len(found) < 2, f'{path.name} names more than one module: {found}'
    return found[0] if found else None

# ---- notebooks ----

def test_notebooks_ran():
    "nbdev_test's verdict: `.ci/test` runs it beside these tests and names the file that it ends with; conftest.py puts this test last"
    if not os.environ.get('FACECOMP_NBDEV_TEST'): pytest.skip('the notebooks were not run: bash .ci/test runs them')
    verdict = Path(os.environ['FACECOMP_NBDEV_TEST']); log = verdict.with_name('log')
    while not verdict.exists():
        assert log.exists() and time.time()-log.stat().st_mtime < 1200, f'nbdev_test is gone, or hangs: {log} has not grown for twenty minutes'
        time.sleep(1)
    rc, _, said = verdict.read_text().partition('\n')
    said = '\n'.join(l for l in said.splitlines() if not l.startswith(('Starting ', '- Completed ')))
    assert rc == '0', f'a notebook failed:\n{said[-20_000:]}'

def test_there_are_notebooks_and_modules(): assert BOOKS and MODULES

@book
def test_notebook_file(path):
    nb = load(path)
    assert (nb['nbformat'], nb['nbformat_minor']) == (4, 5)
    ids = [c.get('id') for c in nb['cells']]
    assert all(ids), 'a cell has no id'
    assert len(set(ids)) == len(ids), f'ids that occur twice: {sorted({i for i in ids if ids.count(i) > 1})}'
    size = path.stat().st_size
    assert size < MAX_NOTEBOOK, f'{size} bytes: make the figures smaller'
    errors = [c['id'] for c in nb['cells'] for o in c.get('outputs', []) if o['output_type'] == 'error']
    assert not errors, f'errors are stored in cells {errors}'

@book
def test_notebook_begins_with_title_and_summary(path):
    first = load(path)['cells'][0]
    lines = [l for l in text(first['source']).splitlines() if l.strip()]
    assert first['cell_type'] == 'markdown' and lines[0].startswith('# '), 'the first cell has no title'
    assert lines[1].startswith('> '), 'the title is not followed by one line that begins with >'

@book
def test_directives(path):
    "A directive that is misspelt or stands below code is a comment: its cell would silently not be exported or not be skipped"
    for src in cells(load(path), 'code'):
        names, body = head_and_body(src)
        bad = [n for n in names if n not in DIRECTIVES]
        assert not bad, f'unknown directive {bad} in\n{src}'
        late = [l for l in body if directive(l) is not None]
        assert not late, f'directive below the first line of code: {late} in\n{src}'
        old = [l for l in src.splitlines() if re.match(r'#\s*(default_exp\s|exporti?\s*$|hide\s*$|eval\s*:)', l)]
        assert not old, f'directive without its bar: {old} in\n{src}'
        shell = [l for l in body if l.lstrip().startswith('!')]
        assert not shell, f'shell command: {shell}'

@book
def test_exported_cells_have_a_module(path):
    "Without `default_exp` nbdev drops the exported cells with no more than a warning"
    code = cells(load(path), 'code')
    exports = [s for s in code if {'export', 'exporti'} & set(head_and_body(s)[0])]
    name = default_exp(path)
    if exports: assert name, 'exported cells, but no default_exp'
    if name:
        assert head_and_body(code[0])[0] == ['default_exp'], 'default_exp belongs alone in the first code cell'
        assert exports, f'default_exp {name}, but nothing is exported'
        assert path.stem.split('_', 1)[1] == name, f'{path.name} exports to {name}'

@book
def test_links_in_notebooks(path):
    for src in cells(load(path), 'markdown'):
        for to in links(src): assert (NBS/to).exists(), f'{path.name} links to {to}, which is not there'

def links(md):
    "Targets in the repository that markdown links to, code left aside"
    parts = script('mk_readme').FENCE.split(md)
    found = [m[2] for p in parts[::2] for m in script('mk_readme').LINK.finditer(p)]
    return [f.split('#')[0] for f in found if not re.match(r'[a-z][a-z+.-]*:|#', f, re.I)]

# ---- the library is what the notebooks export ----

@pytest.fixture(scope='session')
def copy(tmp_path_factory):
    "A copy of the project, exported from its notebooks alone, then cleaned"
    to = tmp_path_factory.mktemp('export')/'project'
    to.mkdir()
    shutil.copy(ROOT/'settings.ini', to)
    shutil.copytree(NBS, to/'nbs', ignore=shutil.ignore_patterns('.*', 'images'))
    (to/'facecomp').mkdir()
    code = 'from nbdev.doclinks import nbdev_export; from nbdev.clean import nbdev_clean; nbdev_export(); nbdev_clean()'
    done = run([sys.executable, '-c', code], to)
    assert done.returncode == 0, done.stdout
    return to

def test_library_is_exported_notebooks(copy):
    names = lambda d: {p.relative_to(d).as_posix() for p in d.glob('**/*.py')}
    fresh, ours = names(copy/'facecomp'), names(LIB)
    assert not ours-fresh, f'no notebook writes {sorted(ours-fresh)}: delete them'
    assert not fresh-ours, f'not exported yet: {sorted(fresh-ours)}: run nbdev_export'
    old = [n for n in sorted(ours) if (copy/'facecomp'/n).read_bytes() != (LIB/n).read_bytes()]
    assert not old, f'differs from the notebook: {old}: run nbdev_export'

@book
def test_notebook_is_clean(path, copy):
    same = (copy/'nbs'/path.name).read_bytes() == path.read_bytes()
    assert same, f'nbdev_clean changes {path.name}: run it'

def git(*args):
    if not shutil.which('git') or not (ROOT/'.git').exists(): pytest.skip('not a git checkout')
    return run(['git', *args], ROOT)

def test_no_file_is_lost_to_git():
    "What .gitignore swallows never reaches another machine; in CI nothing may be missing from the commit either"
    files = BOOKS + MODULES + [p for d in (LIB/'assets', NBS/'images', ROOT/'tests', ROOT/'data_scripts', ROOT/'.ci')
                               for p in d.glob('**/*') if p.is_file() and '__pycache__' not in p.parts]
    ignored = git('check-ignore', *files).stdout.split()
    assert not ignored, f'.gitignore hides {ignored}'
    if os.environ.get('CI'):
        lost = git('ls-files', '--others', '--exclude-standard', 'facecomp', 'nbs', 'tests', 'data_scripts', '.ci').stdout.split()
        assert not lost, f'not in git: {lost}'

# ---- the library's build ----

def imports(path):
    "Modules of facecomp that a module's source imports, inside functions too"
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): found |= {a.name for a in node.names if a.name.split('.')[0] == 'facecomp'}
        if isinstance(node, ast.ImportFrom):
            base = '.'.join(filter(None, ['facecomp'*bool(node.level), node.module]))
            if base.split('.')[0] != 'facecomp': continue
            found |= {f'facecomp.{a.name}' for a in node.names} if base == 'facecomp' else {base}
    return {f.split('.')[1] for f in found if '.' in f}

@module
def test_module_imports_downward(path):
    assert path.stem in ORDER, f'{path.name} has no place in the order of modules'
    up = imports(path) - set(ORDER[:ORDER.index(path.stem)])
    assert not up, f'{path.name} imports {sorted(up)}, which is not below it'

def test_library_imports_nothing_heavy():
    "What only the demo, the aligner or the notebooks need is imported where it is used"
    names = [m for m in ORDER if (LIB/f'{m}.py').exists()]
    code = f'''
import importlib, sys
seen = set()
for m in {names}:
    importlib.import_module('facecomp.' + m)
    new = {{h for h in {HEAVY} if h in sys.modules}} - seen
    seen |= new
    if new: print('HEAVY', m, 'imports', *sorted(new))
print('DONE')'''
    done = run([sys.executable, '-c', code], ROOT)
    assert done.returncode == 0 and 'DONE' in done.stdout, done.stdout
    assert 'HEAVY' not in done.stdout, done.stdout

def test_package_has_its_files(tmp_path):
    "Every module and every asset is in what pip installs"
    keep = 'setup.py settings.ini README.md LICENSE'.split()
    for name in keep: shutil.copy(ROOT/name, tmp_path)
    shutil.copytree(LIB, tmp_path/'facecomp', ignore=shutil.ignore_patterns('__pycache__'))
    done = run([sys.executable, 'setup.py', '-q', 'build', '--build-lib', 'built'], tmp_path)
    assert done.returncode == 0, done.stdout
    names = lambda d: {p.relative_to(d).as_posix() for p in d.glob('**/*') if p.is_file() and '__pycache__' not in p.parts}
    assert names(LIB) == names(tmp_path/'built'/'facecomp')
    assert any(n.startswith('assets/') for n in names(LIB))

def test_versions_agree():
    version = settings()['version']
    assert re.search(r'__version__ = "(.*)"', (LIB/'__init__.py').read_text())[1] == version
    assert re.search(r'^version: (.*)$', (ROOT/'CITATION.cff').read_text(), re.M)[1].strip('\'"') == version

def test_citation_and_licence():
    import yaml
    cff = yaml.safe_load((ROOT/'CITATION.cff').read_text(encoding='utf-8'))
    assert {'cff-version', 'message', 'title', 'authors', 'version'} <= cff.keys()
    assert any('Dense Field Estimation' in r['title'] for r in cff['references'])
    assert cff['license'] == 'Apache-2.0' and 'Apache License' in (ROOT/'LICENSE').read_text(encoding='utf-8')

def console_scripts(): return dict(s.split('=') for s in settings()['console_scripts'].split())

@pytest.mark.parametrize('name', console_scripts())
def test_console_script_exists(name):
    mod, _, fn = console_scripts()[name].partition(':')
    assert callable(getattr(importlib.import_module(mod), fn))

# ---- README ----

def readme(): return (ROOT/'README.md').read_text(encoding='utf-8')
def fences(lang): return re.findall(rf'^```{lang}\n(.*?)^```', readme(), re.M|re.S)

def test_readme_is_rendered_index():
    old = [f.relative_to(ROOT).as_posix() for f in script('mk_readme').stale()]
    assert not old, f'{old} differs from nbs/index.ipynb: run python .ci/mk_readme.py'

def test_readme_renderer():
    "Links move, code doesn't, hidden cells and directives go, pictures are stored"
    code = lambda src, **kw: dict(cell_type='code', source=src, id=kw.pop('id', 'c'), outputs=kw.pop('outputs', []))
    png = dict(output_type='display_data', data={'image/png': 'iVBORw==', 'text/plain': 'x'})
    nb = dict(cells=[
        dict(cell_type='markdown', source=['# T\n', '[a](b.ipynb) ![](images/c.png) [l](../LICENSE) [u](https://x.y/z) [h](#t) `[a](b)`']),
        code('#| hide\nsecret = 1'), code('#| default_exp nowhere'),
        code('#| slow\nprint(1)', outputs=[dict(output_type='stream', name='stdout', text=['1\n']), png], id='pic'),
        code('2', outputs=[dict(output_type='execute_result', data={'text/plain': '2'})])])
    md, pictures = script('mk_readme').render(nb)
    assert '[a](nbs/b.ipynb) ![](nbs/images/c.png) [l](LICENSE) [u](https://x.y/z) [h](#t) `[a](b)`' in md
    assert 'secret' not in md and 'nowhere' not in md and 'slow' not in md
    assert '```python\nprint(1)\n```\n\n```\n1\n```\n\n![](nbs/images/index_pic_1.png)' in md
    assert pictures == {'index_pic_1.png': b'\x89PNG'} and '```python\n2\n```\n\n```\n2\n```' in md

def test_readme_links():
    missing = [to for to in links(readme()) if not (ROOT/to).exists()]
    assert not missing, f'README.md links to {missing}'
    heads = {re.sub(r'[^\w\- ]', '', h.lower()).replace(' ', '-') for h in re.findall(r'^#+ (.*)$', readme(), re.M)}
    anchors = set(re.findall(r'\]\(#([^)]+)\)', readme()))
    assert anchors <= heads, f'no heading for {anchors-heads}'

def test_readme_lists_every_notebook():
    listed = re.findall(r'^\| \[(\w+)\]\(nbs/\1\.ipynb\) \|.*\|.*\|.*\|$', readme(), re.M)
    table = [n for i,n in enumerate(listed) if n not in listed[:i]]
    assert table == [b.stem for b in BOOKS if b.stem != 'index'], 'the reading order and nbs/ differ'

def test_readme_lists_every_script():
    told = (ROOT/'README.md').read_text(encoding='utf-8').partition('## The scripts')[2]
    assert not [p.name for p in (ROOT/'data_scripts').glob('*.py') if f'`{p.name}`' not in told]

def test_readme_has_no_gaps(): assert '…' not in readme(), 'a place that was left to be filled in'

def paper_table(): return re.findall(r'^\| .* \| \[(\w+)\]\(nbs/\w+\.ipynb\) \| `facecomp\.(\w+)\.(\w+)` \|$', readme(), re.M)

def test_paper_table_is_there(): assert len(paper_table()) >= 15

@pytest.mark.parametrize('nb,mod,name', paper_table(), ids=lambda x: x)
def test_paper_table(nb, mod, name):
    "The notebook that the table names is there and writes the function that the table names"
    path = NBS/f'{nb}.ipynb'
    assert path.exists(), f'no notebook {nb}'
    assert default_exp(path) == mod, f'{nb} writes {default_exp(path)}, not {mod}'
    found = getattr(importlib.import_module(f'facecomp.{mod}'), name)
    assert inspect.getmodule(inspect.unwrap(found)).__name__ == f'facecomp.{mod}', f'{name} only passes through {mod}'

def test_names_in_readme_exist():
    found = set(re.findall(r'\bfacecomp\.([a-z]+)\.([A-Za-z]\w*)', readme()))
    for mod, name in sorted(found): assert hasattr(importlib.import_module(f'facecomp.{mod}'), name), f'facecomp.{mod}.{name}'

def test_readme_names_every_tool():
    named = set(re.findall(r'\b(facecomp-[a-z-]+)\b', readme()))
    assert named == set(console_scripts())

def commands():
    "README's calls of our own tools, as lists of words"
    parts = [shlex.split(p, comments=True) for line in '\n'.join(fences('sh')).splitlines() for p in line.split('&&')]
    return [p for p in parts if p and (p[0].startswith('facecomp-') or p[0] == 'python')]

@functools.cache
def usage(tool, *sub):
    "What a tool answers to --help"
    if tool.endswith('.py'): prog = [ROOT/tool]
    else:
        mod, _, fn = console_scripts()[tool].partition(':')
        prog = ['-c', f'import sys; from {mod} import {fn} as f; sys.argv[0] = {tool!r}; sys.exit(f())']
    done = run([sys.executable, *prog, *sub, '--help'], ROOT)
    assert done.returncode == 0, done.stdout
    return done.stdout

@pytest.mark.parametrize('argv', commands(), ids=' '.join)
def test_readme_options(argv):
    "Every script in README's commands is there and knows the options that it is given"
    if argv[0] == 'python': argv = argv[1:]
    if argv[0].endswith('.py'): assert (ROOT/argv[0]).exists(), argv[0]
    said = usage(*argv[:2 if argv[0] == 'facecomp-eval' else 1])
    unknown = [o for o in argv if o.startswith('-') and not re.search(rf'(?<![\w-]){re.escape(o)}(?![\w-])', said)]
    assert not unknown, f'{unknown} not in\n{said}'

# ---- printed commands and numbers ----

def said_aloud():
    "(where, markdown) of README, model card, and every notebook's text"
    yield 'README.md', readme()
    yield 'MODEL_CARD.md', card()
    for b in BOOKS:
        if b.stem != 'index': yield b.name, '\n\n'.join(cells(load(b), 'markdown'))

def card(): return (LIB/'assets'/'MODEL_CARD.md').read_text(encoding='utf-8')

FOLDERS = dict(quality='runs/eval', comparison='runs/comparison') # of the others it is the table's name
NO_MATTER = {'--sheet', '--file', '--fid-of', '--device'} # options that may differ from one call into a folder to the next

def evaluations(md):
    "(table, out folder, what else is asked for) of every printed facecomp-eval with options; not of ablation, whose runs gather in one folder"
    for table, rest in re.findall(r'facecomp-eval (\w+)( [^\n`;]+)', md):
        words = shlex.split(rest, comments=True)
        if '--data' not in words or table == 'ablation': continue
        asked, key = {}, None
        for w in words:
            if w.startswith('--'): key = w; asked[key] = []
            else: asked[key].append(w)
        out = asked.pop('--out', [FOLDERS.get(table, f'runs/{table}')])[0]
        yield table, out, tuple(sorted((k, tuple(v)) for k, v in asked.items() if k not in NO_MATTER))

def clashes(texts):
    "Folders into which two different evaluations of one table are told to write"
    seen = {}
    for where, md in texts:
        for table, out, asked in evaluations(md): seen.setdefault((table, out), {}).setdefault(asked, where)
    return {k: v for k, v in seen.items() if len(v) > 1}

def test_clashes_are_found():
    a, b = '`facecomp-eval quality --data d --sheet 3`', '```\nfacecomp-eval quality --data d --masks cup\n```'
    assert not clashes([('a', a), ('b', a.replace('3', '4')), ('c', b.replace('cup', 'cup --out runs/cup'))])
    assert list(clashes([('a', a), ('b', b)])) == [('quality', 'runs/eval')]
    assert clashes([('a', a), ('b', a.replace(' --sheet', ' --out runs/eval --limit'))])

def test_default_folders():
    for table in 'quality fid verify occluders real comparison templates timing'.split():
        said = {'quality': LIB/'quality.py', 'fid': LIB/'distribution.py', 'verify': LIB/'verification.py', 'occluders': LIB/'tables.py', 'real': LIB/'tables.py'}.get(table, LIB/f'{table}.py').read_text()
        assert FOLDERS.get(table, f'runs/{table}') in said or "default=f'runs/{table}'" in said, table

def test_printed_evaluations_have_their_own_folders():
    "Typed one after the other, none is refused because its folder holds another one"
    texts = list(said_aloud()); assert sum(len(list(evaluations(md))) for _, md in texts) > 15
    assert not (found := clashes(texts)), found

def stored(name, **want):
    "The one line of nbs/results/NAME.csv that has these values"
    import csv
    with (NBS/'results'/f'{name}.csv').open(newline='', encoding='utf-8') as f: rows = [r for r in csv.DictReader(f) if all(r[k] == v for k, v in want.items())]
    assert len(rows) == 1, f'{name}.csv has {len(rows)} lines {want}'
    return rows[0]

def agrees(printed, value):
    "Is a printed number that value, rounded? In a CSV it may be rounded before"
    d = len(printed.partition('.')[2])
    return abs(float(printed.replace('−', '-'))-float(value)) <= .5*10**-d+1e-9

@pytest.mark.parametrize('printed,value,yes', [('0.207', '0.2075', True), ('0.208', '0.2075', True), ('25.39', '25.3917', True), ('25.38', '25.3917', False), ('−0.3', '-0.3266', True), ('15', '15.6', False)])
def test_agrees(printed, value, yes): assert agrees(printed, value) == yes

def printed_table(md, *titles):
    "Lines of the one markdown table with these titles, as label → numbers"
    head = ('| '+' | '.join(titles)+' |\n').replace('|  |', '| |')
    assert md.count(head) == 1, f'{md.count(head)} tables {titles}'
    lines = md.partition(head)[2].split('\n\n')[0].splitlines()[1:]
    return {c[0]: c[1:] for c in ([x.strip() for x in l.strip('|').split('|')] for l in lines)}

LINES = {'ours (blind)': 'ours', 'the occluded input': 'occluded', 'mean training face, colour-matched': 'mean face', 'OpenCV, Telea': 'telea', 'OpenCV, Navier-Stokes': 'navier-stokes'}

@pytest.mark.parametrize('md,more', [(readme, {}), (card, {'the weights before those, 136,000 pictures, masks, strokes and patches alone': 'oldest'})], ids=['README', 'card'])
def test_printed_quality(md, more):
    table = printed_table(md(), 'method', 'PSNR ↑', 'SSIM ↑', 'LPIPS ↓', 'PSNR in the hole ↑')
    assert {*LINES, *more} <= {*table} and all(k.startswith('the weights before') for k in {*table}-{*LINES})
    for k, cells_ in table.items():
        if k not in {*LINES, *more}: continue                      # no stored table has them
        r = stored('before', method=more[k]) if k in more else stored('quality', method=LINES[k], mask='all')
        assert all(agrees(c, r[m]) for c, m in zip(cells_, ('psnr', 'ssim', 'lpips', 'psnr_hole'), strict=True)), (k, cells_, r)

def test_printed_occluders():
    from facecomp.occluders import L2SFO
    for k, numbers in printed_table(card(), '', *L2SFO, 'mean', 'LPIPS').items():
        rows = [stored('occluders', occluder=o, method=LINES[k]) for o in (*L2SFO, 'mean')]
        assert all(agrees(c, v) for c, v in zip(numbers, [*(r['psnr_hole'] for r in rows), rows[-1]['lpips']], strict=True)), (k, numbers)

def numbers_in(md, pattern):
    "The numbers between the two ends of a sentence that stands there once"
    found = re.findall(pattern, md, re.S); assert len(found) == 1, f'{len(found)} × {pattern}'
    return found[0] if isinstance(found[0], tuple) else (found[0],)

N = r'([+−-]?[0-9.]*[0-9])'
def test_printed_sentences():
    "Numbers in running text: FID, verification, templates, fields"
    probe = lambda p, k, by=100: by*float(stored('verification', embedder='dlib', probe=p, mask='average')[k])
    probes = ('untouched', 'masked', 'completed', 'both')
    fid = lambda k: stored('fid', method='ours', mask=k)['fid']; from facecomp.mask import TEST_MASKS; from facecomp.occluders import L2SFO
    low, high = (f([float(fid(k)) for k in TEST_MASKS]) for f in (min, max)); t = stored('quality_templates', method='ours', mask='all'); f = stored('field', mask='all'); b = stored('field_before', mask='all')
    gain = [100*float(stored('verification_templates', probe='completed − masked', mask='average')['tpr_at_fpr_0.01'+e]) for e in ('', '_low', '_high')]
    templates, both = [t[k] for k in ('psnr', 'ssim', 'lpips', 'psnr_hole')], [probe('both − masked', k) for k in ('auc', 'auc_low', 'auc_high')]
    checks = [
        (card(), r'\*\*'+N+r'\*\* \('+N+' to '+N+r' by mask\)', [fid('average'), low, high]),
        (card(), rf'the weights before {N}, and {N} under .n95., whose yellow straps they left standing; the oldest {N}, and {N} under it', [stored('fid_before', method=m, mask=k)['fid'] for m in ('before', 'oldest') for k in ('average', 'n95')]),
        (card(), 'FID of ours '+', '.join([N]*6), [stored('occluders', occluder=o, method='ours')['fid'] for o in L2SFO]),
        (card(), f'AUC {N} untouched, {N} masked, {N} completed, {N} with', [probe(p, 'auc') for p in probes]),
        (card(), f'TPR at FPR 1 % {N}, {N}, {N}, {N}\\.', [probe(p, 'tpr_at_fpr_0.01') for p in probes]),
        (card(), rf'\({N}, {N} to {N}\)\. A completion is no evidence', both),
        (card(), rf'the hole is 27 %\): {N} dB, SSIM {N}, LPIPS {N}, {N} dB in the hole', templates),
        (readme(), f'`small` has {N} dB, SSIM {N}, LPIPS {N}, and {N} dB in a hole', templates),
        (readme(), rf'\(AUC {N} and {N}; the interval of the difference, {N} to {N},', [probe('completed', 'auc'), probe('masked', 'auc'), probe('completed − masked', 'auc_low'), probe('completed − masked', 'auc_high')]),
        (readme(), rf'shown both, it does better \({N}\)', [probe('both', 'auc')]),
        (readme(), rf'completion gains {N} points of TPR at FPR 1 % \({N} to {N}\)', gain), (card(), rf'completion alone is {N} points \({N} to {N}\)', gain),
        (card(), rf'TPR at FPR 1 % {N} masked, {N} completed, {N} both', [100*float(stored('verification_templates', probe=p, mask='average')['tpr_at_fpr_0.01']) for p in probes[1:]]),
        *((md, rf'{N} on visible face pixels, {N} inside the hole', [f['outside'], f['inside']]) for md in (readme(), card())),
        (readme(), rf'the true one by {N} \(IoU\); on the background the prediction is {N} ', [f['iou'], f['background']]),
        (card(), rf'\(the weights before: {N}, {N}\)', [b['outside'], b['inside']]),
        (card(), rf'the true one by {N} \({N}, IoU\); on the background the prediction is {N} \({N}\)', [f['iou'], b['iou'], f['background'], b['background']]),
        (card(), rf'LPIPS is {N} \({N} to {N}\) lower', [stored('before', method='oldest')[k] for k in ('lpips-ours', 'lpips-ours_low', 'lpips-ours_high')]),
        (card(), rf'hole {N} dB \({N} to {N}\) are gained', [-float(stored('before', method='oldest')[k]) for k in ('psnr_hole-ours', 'psnr_hole-ours_high', 'psnr_hole-ours_low')])]
    for md, pattern, values in checks:
        found = numbers_in(md, pattern)
        assert len(found) == len(values) and all(agrees(a, v) for a, v in zip(found, values)), (pattern, found, values)

# ---- README's examples ----

@pytest.fixture
def desk(tmp_path):
    "A place to run README's examples in, from which nbs/ is seen"
    (tmp_path/'nbs').symlink_to(NBS)
    return tmp_path

def test_readme_first_command(desk):
    first = fences('sh')[0].strip()
    install, _, job = first.partition(' && ')
    assert install == 'pip install -e .'
    tool = Path(sys.executable).with_name(shlex.split(job)[0])
    if not tool.exists(): pytest.skip('the package is not installed here')
    done = run([tool, *shlex.split(job)[1:]], desk, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stdout
    assert (desk/'completed.png').stat().st_size > 10_000

def test_readme_second_command_is_what_ci_runs():
    second = fences('sh')[1].strip()
    assert second == "pip install -e '.[dev]' && bash .ci/test"
    assert [l for l in readme().splitlines() if re.match(r'pip install .*&& bash \.ci/test$', l)] == [second] # as .ci/run finds it
    assert 'bash .ci/run' in (ROOT/'.github/workflows/ci.yml').read_text()
    for name in 'run', 'test':
        assert os.access(ROOT/'.ci'/name, os.X_OK), f'.ci/{name} is not executable'
        assert run(['bash', '-n', ROOT/'.ci'/name], ROOT).returncode == 0

@pytest.mark.parametrize('code', fences('python'), ids=lambda s: s.split('\n')[0][:40])
def test_readme_python_runs(code, desk):
    done = run([sys.executable, '-c', code], desk, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stdout

# ---- the notebook runner ----

def test_run_nb(tmp_path):
    "Outputs are stored, skipped cells keep theirs, flags run them anyway, a failing notebook is left alone"
    old = [dict(output_type='stream', name='stdout', text=['old\n'])]
    def write(name, *sources):
        cs = [dict(cell_type='code', id=f'c{i}', metadata={}, execution_count=None, outputs=old, source=s) for i,s in enumerate(sources)]
        meta = dict(kernelspec=dict(display_name='python3', language='python', name='python3'))
        (tmp_path/'nbs'/name).write_text(json.dumps(dict(nbformat=4, nbformat_minor=5, metadata=meta, cells=cs)))
    def said(name): return [''.join(text(o['text']) for o in c['outputs']).strip() for c in load(tmp_path/'nbs'/name)['cells']]
    shutil.copytree(ROOT/'.ci', tmp_path/'.ci')
    shutil.copy(ROOT/'settings.ini', tmp_path)
    (tmp_path/'nbs').mkdir()
    write('good.ipynb', 'x = 1', '#| slow\nprint("ran")', '#| eval: false\n1/0', 'print(x)')
    write('bad.ipynb', 'x = 2', '1/0')
    before = (tmp_path/'nbs/bad.ipynb').read_bytes()
    done = run([sys.executable, '.ci/run_nb.py'], tmp_path)
    assert done.returncode == 1 and 'ZeroDivisionError' in done.stdout and 'failed: bad.ipynb' in done.stdout, done.stdout
    assert (tmp_path/'nbs/bad.ipynb').read_bytes() == before
    assert said('good.ipynb') == ['', 'old', 'old', '1']
    assert run([sys.executable, '.ci/run_nb.py', 'nbs/good.ipynb', '--flags', 'slow'], tmp_path).returncode == 0
    assert said('good.ipynb') == ['', 'ran', 'old', '1']
    assert sorted(p.name for p in (tmp_path/'nbs').iterdir()) == ['bad.ipynb', 'good.ipynb']

# ---- nothing of the machine that wrote it ----

def our_files():
    "Text files of the project, committed or not"
    skip = {'.git', '.venv', 'venv', '__pycache__', 'build', 'dist', '.pytest_cache', '.ipynb_checkpoints', 'runs', 'prepared'}
    for folder, inner, files in os.walk(ROOT):
        inner[:] = [d for d in inner if d not in skip and not d.endswith('.egg-info')]
        for f in files:
            p = Path(folder)/f
            if p.suffix in ('.py', '.ipynb', '.md', '.ini', '.cff', '.yml', '.json', '.cfg', '.txt', '.sh', '') and p != Path(__file__).resolve():
                yield p

def spoken(path):
    "Text of a file, for notebooks without the pictures"
    if path.suffix != '.ipynb': return path.read_text(encoding='utf-8', errors='replace')
    nb = load(path)
    out = [text(c['source']) for c in nb['cells']]
    for c in nb['cells']:
        for o in c.get('outputs', []):
            out.append(text(o.get('text', '')))
            out += [text(v) for k,v in o.get('data', {}).items() if k.startswith('text/')]
    return '\n'.join(out)

MACHINE = re.compile(r'(?<![\w.~-])/(?:work|tmp|home|root|Users)/[^\s\'"]*')

@pytest.mark.parametrize('s,bad', [('see /'+'work/x', True), ('"/'+'home/me/y"', True), ('file:///'+'tmp/z', True), ('net/'+'work/x', False),
                                   ('https://x.org/tmp.html', False)])
def test_machine_pattern(s, bad): assert bool(MACHINE.search(s)) == bad

def test_no_paths_of_one_machine():
    found = {p.relative_to(ROOT).as_posix(): m for p in our_files() if (m := MACHINE.findall(spoken(p)))}
    assert not found, found
