"""Run notebooks in place and store their outputs (all of nbs/ when none is named).

Cells that nbdev's tests skip (`#| eval: false`, and the `tst_flags` of settings.ini unless --flags names them) keep
the outputs they have. A notebook that fails stays as it was, its traceback is printed, and the exit code is 1."""
import argparse, os, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

def skipper(flags, forced):
    "A function that says whether execnb leaves a cell out; others lose their old outputs before they run"
    from nbdev.process import extract_directives
    off = set(flags) - set(forced)
    def skip(cell):
        if cell.cell_type != 'code': return True
        found = extract_directives(cell, remove=False)
        if found.get('eval:', [''])[0].lower() == 'false' or off & found.keys() or 'nbdev_export'+'(' in cell.source: return True
        cell.outputs = []
        return False
    return skip

def run_one(path, forced=()):
    "Run one notebook in this process; raises what its failing cell raised"
    from execnb.nbio import read_nb, write_nb
    from execnb.shell import CaptureShell
    from nbdev.clean import clean_nb
    from nbdev.config import get_config
    path = Path(path).resolve()
    cfg, nb = get_config(path=path.parent), read_nb(path)
    sys.path.insert(0, str(cfg.config_path))
    os.chdir(path.parent)
    shell = CaptureShell(path)
    try: shell.run_all(nb, exc_stop=True, preproc=skipper(cfg.tst_flags.split(), forced))
    except Exception:
        print(shell.prettytb(fname=path), file=sys.stderr)
        raise
    clean_nb(nb, clean_ids=cfg.clean_ids)
    draft = path.with_name(f'.{path.name}.part')
    try:
        write_nb(nb, draft)
        os.replace(draft, path)     # the old file or the whole new one, never half of one
    finally: draft.unlink(missing_ok=True)

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('notebooks', nargs='*', type=Path)
    p.add_argument('--flags', default='', help='tst_flags to run anyway, apart by spaces: "slow cuda"')
    args = p.parse_args()
    books = args.notebooks or sorted((ROOT/'nbs').glob('[!_.]*.ipynb'))
    if len(books) == 1:
        try: run_one(books[0], args.flags.split())
        except Exception as e: sys.exit(f'{books[0].name}: {type(e).__name__}: left as it was')
        return
    failed = []
    for b in books:                 # a fresh process for each: no state is carried from one to the next
        start = time.time()
        rc = subprocess.run([sys.executable, __file__, str(b), '--flags', args.flags]).returncode
        print(f'{b.name}: {"ok" if rc == 0 else "FAILED"}, {time.time()-start:.0f} s', flush=True)
        if rc: failed.append(b.name)
    sys.exit(f'failed: {", ".join(failed)}' if failed else 0)

if __name__ == '__main__': main()
