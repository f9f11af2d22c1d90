"""Write our components, recipes and their tests into a clone of BasicSR, as a pull request would add them.

Examples:
    git clone https://github.com/XPixelGroup/BasicSR ../BasicSR
    python studies/upstream.py ../BasicSR --dry-run
    python studies/upstream.py ../BasicSR

Components go as they are, with the modules of ours that they import: only the names of our packages become BasicSR's.
Recipes lose what they inherit, what only our launcher reads, and comments that name our pages and scripts. Tests go
that use nothing else. A second run writes what has changed, or says that nothing has. A clone with changes that are not
committed is refused, and so is another version than 1.4.x; files that the export did not write are never overwritten,
but for the few edits of BasicSR's own files that the plan lists. CONTRIBUTING.md says how to make the pull request.
"""

import argparse
import ast
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.atomic import atomic_write_bytes
from ext_core.errors import UserError, exit_status
from ext_core.options import loading as options
from ext_core.options import yaml_safe

ROOT = Path(__file__).resolve().parents[1]
# our package: BasicSR's, and the suffix of the files that BasicSR imports by themselves
PACKAGES = {
    'ext_arch': ('archs', '_arch'),
    'ext_losses': ('losses', '_loss'),
    'ext_data': ('data', '_dataset'),
    'ext_metrics': ('metrics', '_metric'),
    'ext_models': ('models', '_model'),
}
NOTES = 'basicsr_ext_export.json'  # inside .git, where no commit takes it along: what was written, with its checksum
_OURS = re.compile(rf'\b(?:{"|".join(PACKAGES)})\b')
_DOTTED = re.compile(rf'\b((?:{"|".join(PACKAGES)})(?:\.\w+)+)')
_PAGE = re.compile(r'(?<![\w/.-])((?:docs|scripts)/\w[\w/.]*\w|constraints\.txt)')
# what a test cannot have there: our other packages, our fixtures, our markers
_ONLY_HERE = re.compile(
    r'\b(ext_core(?:\.\w+)*|studies|shared_data|fresh_logger|pytest\.mark\.(?:data|gpu|wide_vgg))\b'
)
_NOT_COMPONENTS = ('io_backend', 'scheduler', 'grad_clip')  # sections whose ``type`` is no component


# ---------------------------------------------------------------------- what goes
def modules_in(text: str) -> set[str]:
    """Our modules that a file of ours imports, names in a string or in a comment."""
    found = {name for dotted in _DOTTED.findall(text) for name in _prefixes(dotted)}
    for package, names in re.findall(rf'from ({"|".join(PACKAGES)}) import (.+)', text):
        found.update(f'{package}.{name.split(" as ")[0].strip()}' for name in names.split(','))
    return {name for name in found if (ROOT / f'{name.replace(".", "/")}.py').is_file()}


def _prefixes(dotted: str) -> Iterator[str]:
    parts = dotted.split('.')
    yield from ('.'.join(parts[:length]) for length in range(2, len(parts) + 1))


def components() -> dict[str, str]:
    """The text of every component, and of what these import of ours, by its path.

    Raises:
        UserError: If one of them names ``ext_core``, which BasicSR does not have.
    """
    waiting = [
        f'{package}.{path.stem}'
        for package, (_, suffix) in PACKAGES.items()
        for path in sorted((ROOT / package).glob(f'*{suffix}.py'))
    ]
    texts: dict[str, str] = {}
    while waiting:
        path = f'{waiting.pop().replace(".", "/")}.py'
        if path not in texts:
            texts[path] = (ROOT / path).read_text(encoding='utf-8')
            waiting.extend(modules_in(texts[path]))
    foreign = [f'{path} names {found[0]}' for path, text in texts.items() if (found := _ONLY_HERE.search(text))]
    if foreign:
        raise UserError(
            f'components use torch, basicsr and each other only, but {"; ".join(sorted(foreign))}. '
            'Free them of it before an export.'
        )
    return dict(sorted(texts.items()))


def tests(exported: set[str]) -> Iterator[tuple[str, str, str | None]]:
    """(path, text, None) of every test file that can run there and of what it needs beside it; else the reason."""
    of_all = {path.stem for path in (ROOT / 'tests').glob('*.py')} - {'conftest'}
    for package in PACKAGES:
        beside = {path.stem: path.read_text(encoding='utf-8') for path in (ROOT / 'tests' / package).glob('*.py')}
        needed: set[str] = set()
        for name in sorted(name for name in beside if name.startswith('test_') or name == 'conftest'):
            group, reason = [name], None
            for member in group:  # grows on the way
                text = beside[member]
                used = set(re.findall(r'^\s*(?:from|import) (\w+)', text, re.MULTILINE))
                used |= set(re.findall(r'\b(\w+)\.py\b', text))
                group += sorted(each for each in used & beside.keys() if each not in group)
                missing = sorted(modules_in(text) - exported)
                if found := _ONLY_HERE.search(text):
                    reason = reason or f'uses {found[0]}'
                elif missing:
                    reason = reason or f'uses {missing[0]}'
                elif helpers := sorted(used & of_all - beside.keys()):
                    reason = reason or f'uses tests/{helpers[0]}.py'
            if reason:
                yield f'tests/{package}/{name}.py', '', reason
            else:
                needed.update(group)
        yield from ((f'tests/{package}/{name}.py', beside[name], None) for name in sorted(needed))


def recipes(known: set[str]) -> Iterator[tuple[str, str, str | None]]:
    """(path, text, None) of every option file that BasicSR's train.py and test.py can run; else the reason."""
    for path in sorted((ROOT / 'options').glob('t*_*.yml')):
        name, opt = path.relative_to(ROOT).as_posix(), options.load(path)
        if 'model_type' not in opt:
            yield name, '', "is no option file of BasicSR's train.py"
            continue
        text = path.read_text(encoding='utf-8')
        if '_base_' in yaml_safe.parse(text, name):
            head = re.match(r'(?:#.*\n)*', text)
            first = {key: opt[key] for key in ('name', 'model_type')}  # as in BasicSR's files
            text = f'{head[0] if head else ""}\n{yaml_safe.dump(first | opt)}'
        text = without_ours(text)
        loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # what BasicSR makes of numbers
        wanted = yaml_safe.parse(text, name)
        unknown = sorted(set(types(wanted)) - known)
        if yaml.load(text, Loader=loader) != wanted:
            yield name, '', 'writes numbers that BasicSR reads as texts'
        else:
            yield name, text, f'needs {", ".join(unknown)}' if unknown else None


def without_ours(text: str) -> str:
    """An option file without what only our launcher reads, and without comments from where they speak of us."""
    lines: list[str] = []
    dropping = False
    for line in text.splitlines():
        if re.match(r' +(?:optional: true|save_best: \w+)\b', line):
            continue
        comment = line.lstrip().startswith('#')
        speaks = bool(_PAGE.search(line)) or '--force_yml' in line
        dropping = comment and (dropping or speaks)
        if not comment:
            lines.append(line.split('  #')[0] if speaks else line)
        elif not dropping or re.match(r'#   python basicsr/\S+ -opt \S+$', line):
            lines.append(line)
    return '\n'.join(lines) + '\n'


def types(section: dict) -> Iterator[str]:
    """Names of the components of an option file."""
    for key, value in section.items():
        if isinstance(value, dict) and key not in _NOT_COMPONENTS and not key.startswith('optim_'):
            yield from types(value)
        elif key in ('model_type', 'type') and isinstance(value, str):
            yield value


def registered(text: str) -> list[str]:
    """What a file puts into BasicSR's registries."""
    return re.findall(r'^@\w+_REGISTRY\.register\(.*\)\n(?:@.*\n)*(?:class|def) (\w+)', text, re.MULTILINE)


# ---------------------------------------------------------------------- as BasicSR's
def place_of(path: str) -> str:
    """Where a file of ours goes."""
    top, _, rest = path.partition('/')
    if top in PACKAGES:
        return f'basicsr/{PACKAGES[top][0]}/{rest}'
    package, _, name = rest.partition('/')
    return f'tests/test_{PACKAGES[package][0]}/{name}' if package in PACKAGES else path


def rewritten(path: str, text: str, tree: Path) -> str:
    """A module with BasicSR's names for our packages.

    Our pages and scripts are named as files of this project, and lines that became too long are wrapped.

    Raises:
        UserError: If what results is no Python.
    """
    text = _OURS.sub(lambda found: f'basicsr.{PACKAGES[found[0]][0]}', text)
    text = _PAGE.sub(lambda found: found[0] if (tree / found[0]).exists() else f'BasicSR-Ext/{found[0]}', text)
    if path.split('/')[0] in PACKAGES:  # one folder deeper
        text = re.sub(r'(__file__\)\.resolve\(\)\.parents)\[(\d)\]', lambda m: f'{m[1]}[{int(m[2]) + 1}]', text)
    lines = []
    for line in text.splitlines():
        while len(line) > 120:
            cut = line.rfind(' ', 0, 121)
            lines.append(line[:cut])
            line = ' ' * (len(line) - len(line.lstrip())) + line[cut + 1 :]
        lines.append(line)
    text = '\n'.join(lines) + '\n'
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"{path} is no Python with BasicSR's names: {error}. Shorten that line.") from error
    return text


def edited(tree: Path, metrics: dict[str, list[str]]) -> dict[str, str]:
    """BasicSR's own files with the edits that the components need.

    Raises:
        UserError: If a text is another than expected.
    """
    cure = 'from torchvision.transforms.functional import rgb_to_grayscale'  # torchvision 0.17 removed the module
    edits = [('basicsr/data/degradations.py', cure.replace('functional', 'functional_tensor'), cure, cure)]
    for module, functions in metrics.items():  # BasicSR imports metrics by name
        file, anchor = 'basicsr/metrics/__init__.py', 'from .psnr_ssim import '  # behind niqe, which one may need
        line, names = f'from .{module} import {", ".join(functions)}\n', f'{", ".join(map(repr, functions))}, '
        edits += [(file, anchor, line + anchor, line), (file, '__all__ = [', f'__all__ = [{names}', names)]
    texts: dict[str, str] = {}
    for file, old, new, done in edits:
        text = texts.get(file) or (tree / file).read_text(encoding='utf-8')
        if done not in text:
            if text.count(old) != 1:
                raise UserError(f'{file}: expected exactly once, but is there {text.count(old)} times: {old}')
            text = text.replace(old, new)
        texts[file] = text
    return texts


# ---------------------------------------------------------------------- the clone
def git(tree: Path, *arguments: str, wrong: str = 'cannot be read by git') -> str:
    done = subprocess.run(['git', '-C', str(tree), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f'{tree} {wrong}. git said: {done.stderr.strip()}')
    return done.stdout.rstrip('\n')


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def require_clone(tree: Path) -> tuple[Path, dict[str, str]]:
    """Refuse what is no clean clone of BasicSR 1.4.x; return the file of notes and what it says.

    Raises:
        UserError: If it is something else, or has changes that are not committed and not of an export.
    """
    setup, version = tree / 'setup.py', tree / 'VERSION'
    if not setup.is_file() or not re.search(r"""name=['"]basicsr['"]""", setup.read_text(encoding='utf-8')):
        raise UserError(
            f"{tree} is no source tree of BasicSR: its setup.py does not name 'basicsr'. "
            'Get one: git clone https://github.com/XPixelGroup/BasicSR'
        )
    found = version.read_text(encoding='utf-8').strip() if version.is_file() else 'unknown'
    if not re.fullmatch(r'1\.4\.\d+', found):
        raise UserError(f'{tree} holds BasicSR {found} (its file VERSION), but the export is made for 1.4.x.')
    top = git(tree, 'rev-parse', '--show-toplevel', wrong='is no git repository: clone BasicSR, and name the clone')
    if Path(top).resolve() != tree:
        raise UserError(f'{tree} is inside the git repository {top}. Name the top of a clone of BasicSR.')
    notes = tree / git(tree, 'rev-parse', '--git-path', NOTES)
    try:
        written = json.loads(notes.read_text(encoding='utf-8')) if notes.is_file() else {}
    except ValueError as error:
        raise UserError(f'{notes} cannot be read: {error}. Remove it, and commit or undo all changes.') from error
    listed = git(tree, 'status', '--porcelain', '-z', '--untracked-files=all', '--no-renames').split('\0')
    changed = [entry[3:] for entry in listed if entry]
    foreign = [name for name in changed if not _as_written(tree, name, written)]
    if foreign:
        raise UserError(f'{tree} has changes that are not committed: {_some(foreign)}. Commit or undo them first.')
    return notes, written


def _as_written(tree: Path, name: str, written: dict[str, str]) -> bool:
    return (tree / name).is_file() and written.get(name) == checksum((tree / name).read_bytes())


def _some(names: list[str]) -> str:
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')


def export(folder: Path, dry_run: bool = False, overwrite: bool = False, say: Callable[[str], object] = print) -> None:
    """Write our components, option files and tests into a clone of BasicSR.

    Args:
        folder (Path): A clone of BasicSR 1.4.x, without changes of others that are not committed.
        dry_run (bool): Only say what would be written. Default: False.
        overwrite (bool): Replace exported files that were changed since. Default: False.
        say (Callable[[str], object]): Gets the lines of the plan. Default: print.

    Raises:
        UserError: If the clone is dirty or of something else, or would lose a file. Then nothing is written.
    """
    tree = folder.resolve()
    notes, written = require_clone(tree)
    sources = components()
    theirs = [path.read_text(encoding='utf-8') for path in tree.glob('basicsr/*/*.py')]
    known = {name for text in [*sources.values(), *theirs] for name in registered(text)}
    exported = {path.removesuffix('.py').replace('/', '.') for path in sources}
    files, left = {path: rewritten(path, text, tree) for path, text in sources.items()}, []
    for path, text, reason in [*tests(exported), *recipes(known)]:
        if reason:
            left.append(f'stays here  {path}: {reason}')
        else:
            files[path] = rewritten(path, text, tree) if path.endswith('.py') else text
    metrics = {Path(path).stem: registered(text) for path, text in sources.items() if path.endswith('_metric.py')}
    metrics = {module: functions for module, functions in metrics.items() if functions}  # pyiqa_metric registers itself
    own = {place_of(path): text.encode() for path, text in files.items()}
    edits = {name: text.encode() for name, text in edited(tree, metrics).items()}

    before: dict[str, bytes | None] = {}
    for name in (*own, *edits):
        target = tree / name
        if target.is_symlink() or target.is_dir() or not target.resolve().is_relative_to(tree):
            raise UserError(f'{target} is a link or a folder, where the export would write a file. Remove it.')
        before[name] = target.read_bytes() if target.is_file() else None
    others = [n for n, new in own.items() if before[n] not in (None, new) and not _as_written(tree, n, written)]
    foreign = [name for name in others if name not in written]
    if foreign:
        raise UserError(
            f'{tree} has files of these names that are not of an export: {_some(foreign)}. They are never '
            'overwritten: rename ours, or remove them in a commit of their own.'
        )
    if others and not overwrite:
        raise UserError(
            f'{tree}: changed since the last export: {_some(others)}. Take the changes over into this project, or '
            'replace the files with --overwrite.'
        )

    changes = {name: new for name, new in (own | edits).items() if before[name] != new}
    state = {
        name: 'unchanged' if name not in changes else 'new' if before[name] is None else 'changed' for name in before
    }
    for path in sorted(files):
        say(f'{state[place_of(path)]:<9}  {path} -> {place_of(path)}')
    for name in edits:
        say(f"{state[name]:<9}  edit of BasicSR's {name}")
    for line in left:
        say(line)
    for name in sorted(set(written) - set(state)):
        if (tree / name).is_file():
            say(f'no longer exported  {name}: remove it with git rm if nothing else needs it')
    if not changes:
        say('Nothing to do: the export is up to date.')
    if dry_run:
        say('Nothing was written (--dry-run).')
        return
    try:
        for name, new in changes.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            atomic_write_bytes(new, tree / name)
        done = written | {name: checksum(new) for name, new in (own | edits).items()}
        atomic_write_bytes((json.dumps(done, indent=1, sort_keys=True) + '\n').encode(), notes)
    except BaseException:  # all or nothing
        for name in changes:
            old = before[name]
            if old is None:
                (tree / name).unlink(missing_ok=True)
            else:
                atomic_write_bytes(old, tree / name)
        raise
    say(f'{len(changes)} files were written.')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkout', type=Path, metavar='CHECKOUT', help='the top of a clone of BasicSR 1.4.x')
    parser.add_argument('--dry-run', action='store_true', help='print the plan, write nothing')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace exported files that were changed (and committed) since'
    )
    args = parser.parse_args(argv)
    return exit_status(lambda: export(args.checkout, args.dry_run, args.overwrite))


if __name__ == '__main__':
    sys.exit(main())
