"Two verifications beside each other: data_scripts/compare_scores.py."
import csv, importlib.util
import numpy as np, pytest
from facecomp.roc import auc, bootstrap


@pytest.fixture
def runs(tmp_path):
    "Four folders as verify leaves them: two couples on the same pairs, under two masks"
    rng = np.random.default_rng(0); who = np.c_[rng.integers(0, 30, 200), rng.integers(30, 60, 200)]; same = np.arange(200) < 100; who[same, 1] = who[same, 0]
    for i in range(4):
        (tmp_path/str(i)).mkdir(); S = (rng.normal(size=(2, 200))+same*(1.5+.5*(i % 2 == 0))).astype('f4')
        np.savez(tmp_path/str(i)/'scores.npz', same=same, persons=who, masks=['a', 'b'], completed=S, both=S+1, masked=S)
    return [tmp_path/str(i) for i in range(4)]

@pytest.fixture
def command(root, monkeypatch, capsys):
    "The script, called with arguments: its exit's message"
    spec = importlib.util.spec_from_file_location('compare_scores', root/'data_scripts'/'compare_scores.py'); script = importlib.util.module_from_spec(spec); spec.loader.exec_module(script)
    def run(*args):
        monkeypatch.setattr('sys.argv', ['compare_scores.py', *map(str, args)])
        try: script.main()
        except SystemExit as e: return str(e.code)
    return run

def test_differences(command, runs, tmp_path):
    assert command(*runs, '--draws', 50, '--out', tmp_path/'t.csv') is None
    rows = {(r['probe'], r['couple']): r for r in csv.DictReader(open(tmp_path/'t.csv'))}; z = [dict(np.load(r/'scores.npz')) for r in runs]
    assert [*rows] == [(p, k) for p in ('completed', 'both') for k in ('0', '1', 'mean')]
    mean = [np.mean([100*auc(s, a['same']) for s in a['completed']]) for a in z]
    for k in (0, 1):
        r = rows['completed', str(k)]; low, high = 100*bootstrap(z[2*k]['completed'], z[0]['same'], z[0]['persons'], n=50, minus=z[2*k+1]['completed'])[:, 0]
        assert np.allclose([float(r[c]) for c in ('with_auc', 'without_auc', 'with-without_auc', 'with-without_auc_low', 'with-without_auc_high')], [mean[2*k], mean[2*k+1], mean[2*k]-mean[2*k+1], low, high], atol=1e-5)
    r = rows['completed', 'mean']; assert np.isclose(float(r['with-without_auc']), (mean[0]-mean[1]+mean[2]-mean[3])/2, atol=1e-5) and float(r['with-without_auc_low']) < float(r['with-without_auc']) < float(r['with-without_auc_high'])

def test_what_cannot_be_compared(command, runs, tmp_path):
    z = dict(np.load(runs[1]/'scores.npz')); np.savez(runs[1]/'scores.npz', **{**z, 'masks': ['a', 'c']})
    for args, why in ((runs[:1], 'couples'), (runs[:2], 'other pairs or under other masks'), ([runs[0], tmp_path], 'no scores.npz'), ([*runs[2:], '--draws', '0'], '--draws')):
        assert why in (said := command(*args)) and said.startswith('compare_scores: '), said
