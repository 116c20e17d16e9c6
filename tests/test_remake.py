"""data_scripts/remake.py: the printed commands are found, run as they stand, and what comes out is held against what is stored."""
import csv, json, sys
from pathlib import Path
import pytest
from facecomp.core import FacecompError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'data_scripts'))
import remake


@pytest.mark.parametrize('table', remake.TABLES)
def test_commands_are_printed(table):
    "Of each table: it is stored, its one command is in the notebook, and so is how its sets are made"
    assert (ROOT/'nbs'/'results'/f'{table}.csv').exists()
    line = remake.command(table); made = remake.before(line); out = remake.TABLES[table][2]
    assert line in remake.printed(remake.TABLES[table][0]) and 'runs/' not in line.partition('--out')[0]
    assert '--out' not in line or line.rsplit('--out ')[-1].split()[0] in (out, *map(str, Path(out).parents[:-1]))
    assert made and made[0][1].startswith('python data_scripts/prepare.py ') and len({what for what, _ in made}) == len(made)


def test_every_table_of_the_bundled_weights_is_there():
    "What is left out is of networks that are trained first, or times"
    left = {p.stem for p in (ROOT/'nbs'/'results').glob('*.csv')}-{*remake.TABLES, 'remade'}
    assert left == {'ablation', 'ablation_stage1', 'balance', 'identity', 'methods', 'methods_six', 'methods_six_tuned', 'methods_templates', 'occluders_methods', 'occluders_tuned', 'probes', 'real_before',
                    'real_methods', 'stage1', 'sweep', 'again', 'timing', 'verification_methods', 'verification_templates_methods', *(f'{n}_seed{s}' for n in ('methods', 'real_methods', 'verification_templates', 'why', 'verification_why', 'theirs_templates', 'theirs_drawn', 'theirs_real', 'methods_six') for s in (1, 2))}


def table(*rows): return [dict(zip(('method', 'mask', 'psnr', 'fid'), r)) for r in rows]

STORED = table(('ours', 'all', '25.10', 'nan'), ('ours', 'n95', '24.00', '14.7'), ('telea', 'all', '17.00', ''))

def test_differences():
    same = remake.differences('t', STORED, STORED)
    assert [(r['column'], r['numbers'], r['alike'], float(r['largest_difference'])) for r in same] == [('psnr', 3, 3, 0), ('fid', 2, 2, 0)]
    psnr, fid = remake.differences('t', STORED, table(('ours', 'all', '25.1', 'nan'), ('ours', 'n95', '24.25', '14.7'), ('telea', 'all', '17.00', '')))
    assert (psnr['alike'], psnr['largest_difference'], psnr['where'], psnr['stored'], psnr['remade']) == (2, '0.25', 'ours n95', 24., 24.25) and fid['alike'] == 2
    nan, = [r for r in remake.differences('t', STORED, table(('ours', 'all', '25.1', '3'), *[tuple(r.values()) for r in STORED[1:]])) if r['column'] == 'fid']
    assert nan['largest_difference'] == 'inf'
    for other in (STORED[:2], STORED[::-1], [dict(r, more='1') for r in STORED], table(*[tuple(r.values()) for r in STORED[:2]], ('telea', 'all', '', ''))):
        with pytest.raises(FacecompError): remake.differences('t', STORED, other)


def test_paths():
    line = remake.with_paths('python data_scripts/x.py DATA/lfw --bfm bfm_noneck_v3.pkl --tri tri.pkl --file INCEPTION --out MYDATA', Path('/a b'), Path('/i.pt'))
    assert line == 'python data_scripts/x.py /a b/data/lfw --bfm /a b/weights/bfm_noneck_v3.pkl --tri /a b/weights/tri.pkl --file /i.pt --out MYDATA'


def book(root, number):
    "A project with one notebook that prints two commands, and one stored table"
    (root/'nbs'/'results').mkdir(parents=True, exist_ok=True); (root/'data_scripts').mkdir(exist_ok=True); (root/'facecomp').mkdir(exist_ok=True)
    text = f'```\nmkdir -p prepared/x && echo {number} --out prepared/x > prepared/x/n\npython -c "print(\'method,psnr\', \'ours,\'+open(\'prepared/x/n\').read().split()[0], sep=chr(10))" > runs_t.csv\n```'
    (root/'nbs'/'90_t.ipynb').write_text(json.dumps(dict(cells=[dict(cell_type='markdown', source=[text])])))
    (root/'nbs'/'results'/'t.csv').write_text('method,psnr\nours,25.0\n')


def test_whole(tmp_path, monkeypatch, capfd):
    "What comes back is said to come back, what doesn't is named; the CSV keeps other tables' lines; a command that fails ends it"
    monkeypatch.setattr(remake, 'ROOT', tmp_path); monkeypatch.setattr(remake, 'TABLES', dict(t=('90_t', 'python -c', 'runs_t.csv'), u=('90_t', 'false', 'x'))); monkeypatch.setenv('FACECOMP_DATA', str(tmp_path))
    def run(*more): monkeypatch.setattr(sys, 'argv', ['remake.py', 't', '--work', str(tmp_path/'work'), '--out', str(tmp_path/'out.csv'), *more]); remake.main(); return capfd.readouterr().out
    monkeypatch.setattr(remake, 'before', lambda line: [('prepared/x', next(l for l in remake.printed('90_t') if l.startswith('mkdir')))])
    (tmp_path/'out.csv').write_text(','.join(remake.COLUMNS)+'\nu,psnr,1,1,0,ours,1,1\n')
    book(tmp_path, 25); assert 't: 1 of 1 numbers come back' in run()
    book(tmp_path, 26); assert '1 of 1 numbers' in run()                                   # the set is there: not made again
    (tmp_path/'work'/'prepared'/'x'/'n').unlink(); (tmp_path/'work'/'prepared'/'x').rmdir()
    said = run(); assert 't: 0 of 1 numbers come back' in said and 'psnr: 1 of 1 differ, by 1 at most (ours: 25.0 stored, 26.0 remade)' in said
    with (tmp_path/'out.csv').open() as f: assert [(r['table'], r['largest_difference']) for r in csv.DictReader(f)] == [('t', '1'), ('u', '0')]
    (tmp_path/'work'/'prepared'/'x'/'n').unlink()
    with pytest.raises(SystemExit, match='It failed: python -c'): run()
    capfd.readouterr(); assert run('--list').splitlines()[0] == 't:'
    monkeypatch.delenv('FACECOMP_DATA')
    with pytest.raises(SystemExit, match='FACECOMP_DATA'): run()
