"""Render nbs/index.ipynb to README.md; with --check only say whether README.md is up to date (exit code 1 if not).

Markdown cells are taken as they are, code cells become fences followed by their stored outputs. Cells with
`#| hide` or `#| default_exp` are left out, other directive lines are dropped. Stored pictures go to nbs/images/.
Relative links are rewritten: they are written for nbs/, and README.md lies one folder higher."""
import argparse, base64, json, posixpath, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, INDEX, IMAGES = 'nbs', 'index.ipynb', 'images'
HEADER = f'<!-- Generated from {NBS}/{INDEX} by .ci/mk_readme.py: edit that notebook, not this file. -->'
DIRECTIVE = re.compile(r'^\s*#\s*\|\s*(\S*)')
FENCE = re.compile(r'(^[ \t]*(?:```|~~~).*?^[ \t]*(?:```|~~~)[ \t]*$|`[^`\n]+`)', re.M|re.S)
LINK = re.compile(r'(\]\(|\b(?:src|href)=")([^)\s"]+)')

def text(x): return x if isinstance(x, str) else ''.join(x)

def fence(s, lang=''): return f'```{lang}\n{s.strip(chr(10)).rstrip()}\n```'

def split_directives(src):
    "Names of the directives at the head of a cell, and the code below them"
    lines, names = src.splitlines(), []
    while lines and (not lines[0].strip() or DIRECTIVE.match(lines[0])):
        if m := DIRECTIVE.match(lines.pop(0)): names.append(m[1].rstrip(':'))
    return names, '\n'.join(lines)

def move_links(md):
    "Links relative to nbs/ become relative to the repository's root; code is left alone"
    def one(m):
        to = m[2]
        if re.match(r'[a-z][a-z+.-]*:|[#/]', to, re.I): return m[0]
        return m[1] + posixpath.normpath(posixpath.join(NBS, to))
    parts = FENCE.split(md)
    return ''.join(p if i%2 else LINK.sub(one, p) for i,p in enumerate(parts))

def outputs(cell, pictures):
    "Markdown of a cell's stored outputs; png data is put in `pictures`, under its file name"
    for n,o in enumerate(cell.get('outputs', [])):
        if o['output_type'] == 'stream':
            if o['name'] == 'stdout': yield fence(text(o['text']))
            continue
        if o['output_type'] == 'error': raise SystemExit(f'{INDEX}: cell {cell["id"]} holds an error')
        d = o['data']
        if 'image/png' in d:
            name = f'index_{cell["id"]}_{n}.png'
            pictures[name] = base64.b64decode(text(d['image/png']))
            yield f'![]({NBS}/{IMAGES}/{name})'
        elif 'text/markdown' in d: yield move_links(text(d['text/markdown']))
        elif 'text/plain' in d: yield fence(text(d['text/plain']))

def render(nb):
    "README text and the pictures it shows, from a notebook's dict"
    parts, pictures = [HEADER], {}
    for c in nb['cells']:
        src = text(c['source'])
        if c['cell_type'] == 'markdown': parts.append(move_links(src).strip())
        if c['cell_type'] != 'code': continue
        names, code = split_directives(src)
        if {'hide', 'default_exp'} & set(names): continue
        if code.strip(): parts.append(fence(code, 'python'))
        parts += outputs(c, pictures)
    return '\n\n'.join(p for p in parts if p) + '\n', pictures

def stale(root=ROOT):
    "Files under `root` that differ from what the index gives, with their proper content"
    readme, pictures = render(json.loads((root/NBS/INDEX).read_text(encoding='utf-8')))
    want = {root/'README.md': readme.encode()} | {root/NBS/IMAGES/k: v for k,v in pictures.items()}
    return {f: v for f,v in want.items() if not f.exists() or f.read_bytes() != v}

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--check', action='store_true', help='write nothing, exit 1 when a file is out of date')
    args, todo = p.parse_args(), stale()
    for f,v in todo.items():
        if args.check: print(f'{f.relative_to(ROOT)} differs from {NBS}/{INDEX}: run python .ci/mk_readme.py')
        else:
            f.parent.mkdir(exist_ok=True)
            f.write_bytes(v)
            print('wrote', f.relative_to(ROOT))
    sys.exit(bool(args.check and todo))

if __name__ == '__main__': main()
