"""Make the stored numbers of the bundled weights again, by the very commands that the notebooks print, and hold them against nbs/results.

    python data_scripts/remake.py --list
    python data_scripts/remake.py [TABLE …] [--file INCEPTION] [--work runs/remake] [--out nbs/results/remade.csv]

Photos and models are those of FACECOMP_DATA. Without TABLE all of them, about eight hours of one core; sets are prepared where they are missing, and a call that was
broken off is repeated and goes on. What counts is the difference, column by column: 0 where every digit comes back. Tables of networks that have to be trained first aren't
among them (their commands are printed, too: hours of training), nor are times, which belong to their machine.
"""
import argparse, csv, json, math, os, re, shlex, subprocess, sys, time
from pathlib import Path
from facecomp.core import FacecompError, atomic, data_root

ROOT = Path(__file__).resolve().parent.parent
# a stored table: the notebook that prints its command, how the line begins, what the command leaves behind
TABLES = dict(
    real=('92_real_masks', 'facecomp-eval real --data prepared/masked_real --reference prepared/utkface', 'runs/real/real.csv'),
    quality=('90_methods', 'facecomp-eval quality --data prepared/utkface', 'runs/eval/quality.csv'),
    quality_templates=('90_methods', 'facecomp-eval quality --data prepared/utkface --masks templates:MaskTheFace/masks/nine', 'runs/templates128/quality.csv'),
    verification=('95_verification', 'facecomp-eval verify --data prepared/lfw --embedder dlib', 'runs/verify/verification.csv'),
    verification_templates=('95_verification', 'facecomp-eval templates --data prepared/lfw_templates', 'runs/lfw_templates/verification.csv'),
    verification_single=('95_verification', 'facecomp-eval templates --data prepared/lfw_single', 'runs/lfw_single/verification.csv'),
    fills=('95_verification', 'python data_scripts/measure_fills.py prepared/lfw', 'nbs/results/fills.csv'),
    fid=('90_methods', 'facecomp-eval fid --data prepared/utkface --methods ours', 'runs/fid/fid.csv'),
    occluders=('91_occluders', 'facecomp-eval occluders --data prepared/utkface', 'runs/occluders/occluders.csv'),
    before=('90_methods', 'facecomp-eval comparison --data prepared/utkface --weights ours=facecomp/assets/weights.safetensors oldest=', 'runs/before/comparison.csv'),
    fid_before=('90_methods', 'facecomp-eval fid --data prepared/utkface --weights ours=', 'runs/fid_before/fid.csv'),
    field=('90_methods', 'facecomp-eval field --data prepared/utkface', 'runs/field/field.csv'),
    field_before=('90_methods', 'facecomp-eval field --data prepared/utkface --weights before.safetensors', 'runs/field_before/field.csv'),
    base=('96_base', 'facecomp-eval comparison --data prepared/256/utkface --weights base=base', 'runs/base_utk/comparison.csv'),
    base_quality=('96_base', 'facecomp-eval comparison --data prepared/256/utkface --weights base=base', 'runs/base_utk/base/quality.csv'),
    sizes=('96_base', 'python data_scripts/compare_sizes.py prepared/256/utkface', 'nbs/results/sizes.csv'),
    base_ffhq=('96_base', 'facecomp-eval comparison --data prepared/256/ffhq256 --weights base=base', 'runs/base_ffhq/base/quality.csv'),
    base_real=('96_base', 'facecomp-eval real --data prepared/256/masked_real --reference prepared/256/utkface --weights base', 'runs/base_real/real.csv'),
    base_verification=('96_base', 'facecomp-eval verify --data prepared/256/lfw --weights base', 'runs/base_verify/verification.csv'),
    lfw_sizes=('96_base', 'facecomp-eval verify --data prepared/lfw --embedder dlib --masks', 'nbs/results/lfw_sizes.csv'))          # after base_verification, whose folder it reads
COLUMNS = 'table', 'column', 'numbers', 'alike', 'largest_difference', 'where', 'stored', 'remade'


def printed(book):
    "Lines of the fenced blocks of a notebook's text"
    cells = json.loads((ROOT/'nbs'/f'{book}.ipynb').read_text(encoding='utf-8'))['cells']
    text = '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    return [l.strip() for block in re.findall(r'```\w*\n(.*?)```', text, re.S) for l in block.splitlines() if l.strip()]


def command(table):
    "The one line printed for a table: the shortest that begins so, which is the one without further options"
    book, start, _ = TABLES[table]; found = sorted({l for l in printed(book) if (l+' ').startswith(start+' ') or start.endswith('=') and l.startswith(start)}, key=len)
    if not found: raise FacecompError(f"{book} prints no command that begins with {start!r}.")
    return found[0]


def before(line):
    "What the notebooks print to get the sets and files that a command asks for, in order: file or folder, command"
    books = [p.stem for p in sorted((ROOT/'nbs').glob('9*.ipynb'))]; every = [l for b in books for l in printed(b)]; need = []
    for what in dict.fromkeys(re.findall(r'prepared/[\w/]+|\b\w+\.safetensors', line.replace('facecomp/assets/weights.safetensors', ''))):
        made = next((l for l in every if re.search(rf'(--out|-o|>) {re.escape(what)}( |$)', l)), None)
        if made is None: raise FacecompError(f"No notebook prints how {what} is made.")
        need += [n for n in before(made.rpartition(' -o ' if ' -o ' in made else ' --out ')[0]) if n not in need]+[(what, made)]
    if 'eval field' in line: need.append(('prepared/utkface/fields.npy', next(l for l in every if l.startswith('python data_scripts/make_uv.py prepared/utkface '))))
    return need


def with_paths(line, data, file):
    "A printed line with DATA, INCEPTION and the models' names replaced by where they are"
    names = {'DATA': data/'data', 'INCEPTION': file, 'bfm_noneck_v3.pkl': data/'weights'/'bfm_noneck_v3.pkl', 'tri.pkl': data/'weights'/'tri.pkl', 'MaskTheFace/masks': data/'data'/'mask_templates', 'git show': f"git -C {shlex.quote(str(ROOT))} show"}
    for name, where in names.items(): line = re.sub(rf'(?<![\w/.]){re.escape(name)}(?![\w.])', lambda m: str(where), line)
    return line


def run(line, work, file):
    "One printed line, in the work folder"
    line = with_paths(line, data_root(), file); print(f'== {line}', flush=True)
    env = {**os.environ, 'PATH': str(Path(sys.executable).parent)+os.pathsep+os.environ.get('PATH', '')}                # python and facecomp-eval are those that run this
    if subprocess.run(['bash', '-ec', line], cwd=work, env=env).returncode: raise FacecompError(f"It failed: {line}")


def rows_of(file):
    with Path(file).open(newline='', encoding='utf-8') as f: return list(csv.DictReader(f))


def number(s):
    try: return float(s)
    except (TypeError, ValueError): return None


def differences(table, stored, remade):
    "Column by column: how many numbers, how many alike, and where the largest difference is. Raises FacecompError for tables of other lines or columns"
    titles = list(stored[0]); text = [t for t in titles if any(r[t] and number(r[t]) is None for r in stored)]
    name = lambda r: ' '.join(r[t] for t in text)
    if [*remade[0]] != titles or [name(r) for r in stored] != [name(r) for r in remade]: raise FacecompError(f"{table}: other lines or columns than stored, {len(remade)} × {len(remade[0])} and {len(stored)} × {len(titles)}.")
    out = []
    for t in (t for t in titles if t not in text):
        both = [(a, b, name(r)) for r, s in zip(stored, remade) for a, b in [(number(r[t]), number(s[t]))] if a is not None or b is not None]
        if not both: continue
        if any((a is None) != (b is None) for a, b, _ in both): raise FacecompError(f"{table}: a number is missing in {t}.")
        gap = lambda x: 0. if x[0] == x[1] or math.isnan(x[0]) and math.isnan(x[1]) else abs(x[0]-x[1]) if math.isfinite(x[0]-x[1]) else math.inf
        worst = max(both, key=gap); out.append(dict(zip(COLUMNS, (table, t, len(both), sum(gap(x) == 0 for x in both), f'{gap(worst):.3g}', worst[2], worst[0], worst[1]))))
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('tables', nargs='*', metavar='TABLE', help=f"some of {', '.join(TABLES)}; all by default"); p.add_argument('--list', action='store_true', help='say what would be run, and run nothing')
    p.add_argument('--file', default='auto', help="the file of FID's network; by default it is downloaded"); p.add_argument('--work', default='runs/remake', help='folder for sets and runs, kept')
    p.add_argument('--out', help='the comparison as CSV, too: lines of the tables asked for are replaced'); a = p.parse_args()
    try:
        if odd := [t for t in a.tables if t not in TABLES]: raise FacecompError(f"No table {', '.join(odd)}: there are {', '.join(TABLES)}.")
        todo = [t for t in TABLES if t in a.tables or not a.tables]
        if a.list:
            for t in todo: print(f'{t}:', *(l for _, l in before(command(t))), command(t), sep='\n  ')
            return
        if data_root() is None: raise FacecompError("FACECOMP_DATA is not set: it names the folder of the photos (data/) and models (weights/).")
        work = Path(a.work).resolve(); (work/'nbs'/'results').mkdir(parents=True, exist_ok=True); file = a.file if a.file == 'auto' else Path(a.file).resolve()
        for n in 'data_scripts', 'facecomp':
            if not (work/n).exists(): (work/n).symlink_to(ROOT/n)
        for t in todo:
            since, line = time.time(), command(t)
            for what, how in before(line):
                if not (work/what).exists() or how.startswith('python data_scripts/prepare.py '): run(how, work, file)      # a set may be half made: that command goes on
            run(line, work, file); found = differences(t, rows_of(ROOT/'nbs'/'results'/f'{t}.csv'), rows_of(work/TABLES[t][2]))
            n, same = sum(r['numbers'] for r in found), sum(r['alike'] for r in found); print(f'{t}: {same} of {n} numbers come back to the last digit; {time.time()-since:.0f} s')
            for r in found:
                if r['alike'] < r['numbers']: print(f"  {r['column']}: {r['numbers']-r['alike']} of {r['numbers']} differ, by {r['largest_difference']} at most ({r['where']}: {r['stored']} stored, {r['remade']} remade)")
            if a.out:
                every = [r for r in (rows_of(a.out) if Path(a.out).exists() else []) if r['table'] != t]+found
                with atomic(Path(a.out)) as f, f.open('w', newline='') as g: w = csv.DictWriter(g, COLUMNS); w.writeheader(); w.writerows(sorted(every, key=lambda r: list(TABLES).index(r['table'])))
    except FacecompError as e: sys.exit(f'remake: {e}')
    except KeyboardInterrupt: sys.exit('remake: interrupted; the same again goes on')


if __name__ == '__main__': main()
