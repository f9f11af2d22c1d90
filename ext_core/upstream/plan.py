"""What an export writes: every file with its place and content, and what stays here, with the reason."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ext_core.errors import UserError
from ext_core.upstream import closure, edits, recipes, test_files
from ext_core.upstream.closure import SUPPORT, Part
from ext_core.upstream.rewrite import rewrite

_SUPPORT_TEXT = (
    '"""What several components share: messages, decoding, loading weights, validation by several processes."""\n'
)


class Item(NamedTuple):
    """A file of the export.

    Args:
        source (str): Path in our project; '' for a file that belongs to no other.
        destination (str): Path in BasicSR's tree.
        text (str): Its content.
        note (str): What is particular, for the plan.
    """

    source: str
    destination: str
    text: str
    note: str = ''


class Plan(NamedTuple):
    """An export.

    Args:
        items (list[Item]): Files that are ours.
        edits (list[edits.Edit]): Changes of BasicSR's.
        left (list[tuple[str, str]]): What stays here, and why.
    """

    items: list[Item]
    edits: list[edits.Edit]
    left: list[tuple[str, str]]


def make_plan(root: Path, tree: Path) -> Plan:
    """Everything that an export into a tree would write.

    Args:
        root (Path): Our project: a source tree, with its tests and option files.
        tree (Path): BasicSR's.

    Raises:
        UserError: If something cannot be exported as it is, or BasicSR's text is another than expected.
    """
    if not (root / 'options').is_dir() or not (root / 'tests' / 'conftest.py').is_file():
        raise UserError(f'{root} lacks options/ or tests/: run this from a clone of the project.')
    parts = closure.closure(root, closure.components(root))
    moved = closure.destinations(parts)
    left = list(closure.EXCLUDED.items())
    items = [*_modules(root, parts, moved), *_tests(root, parts, moved, left), *_options(root, tree, parts, left)]
    for item in items:
        edits.require_no_reference(item.text, item.source or item.destination, tree)
    return Plan(sorted(items, key=lambda item: item.destination), edits.of_basicsr(_metrics(parts, moved)), left)


def _modules(root: Path, parts: Mapping[str, Part], moved: Mapping[str, str]) -> Iterator[Item]:
    yield Item('', f'{SUPPORT.replace(".", "/")}/__init__.py', _SUPPORT_TEXT)
    for module, part in parts.items():
        source = part.source.path.relative_to(root).as_posix()
        deeper = moved[module].count('.') - module.count('.')
        text = rewrite(part.source.render(part.kept), moved, deeper, source)
        names = sorted(name for unit in part.kept if unit.alias is None for name in unit.binds if name[0] != '_')
        note = '' if part.is_whole else f'only {", ".join(names)}'
        yield Item(source, f'{moved[module].replace(".", "/")}.py', text, note)


def _tests(
    root: Path, parts: Mapping[str, Part], moved: Mapping[str, str], left: list[tuple[str, str]]
) -> Iterator[Item]:
    for chosen in test_files.choose(root, parts):
        source = chosen.path.relative_to(root).as_posix()
        if chosen.part is None:
            left.append((source, f'uses {chosen.reason}'))
            continue
        text = rewrite(chosen.part.source.render(chosen.part.kept), moved, 0, source)
        target = f'tests/{test_files.FOLDERS[chosen.path.parent.name]}/{chosen.path.name}'
        yield Item(source, target, text, f'without {len(chosen.left)} of its tests' if chosen.left else '')
        left.extend((f'{source}::{name}', f'uses {reason}') for name, reason in sorted(chosen.left.items()))


def _options(root: Path, tree: Path, parts: Mapping[str, Part], left: list[tuple[str, str]]) -> Iterator[Item]:
    known = recipes.known_in(tree).union(*(part.source.registered for part in parts.values()))
    for path in recipes.option_files(root):
        source = path.relative_to(root).as_posix()
        reason = recipes.why_not(path, known)
        if reason:
            left.append((source, reason))
        else:
            yield Item(source, source, edits.read(root, path))


def _metrics(parts: Mapping[str, Part], moved: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    suffix = closure.COMPONENTS['ext_metrics'][1]
    found = [(moved[module].rsplit('.', 1)[-1], part.source.registered) for module, part in parts.items()]
    return [(module, functions) for module, functions in found if module.endswith(suffix)]
