"""Which of our tests run in a BasicSR tree: those that use nothing but what is exported there.

It is decided for each test function. One that uses the launcher, the option check, a script, or a fixture of the whole
suite stays here, and so do the companions that are left without a user.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ext_core.upstream import edits
from ext_core.upstream.closure import DROPPED, Part, Reference, module_file, references
from ext_core.upstream.rewrite import PACKAGES
from ext_core.upstream.source import Definition, Source, Unit

# folders of our tests, and BasicSR's
FOLDERS = {
    'ext_arch': 'test_archs',
    'ext_losses': 'test_losses',
    'ext_data': 'test_data',
    'ext_metrics': 'test_metrics',
    'ext_models': 'test_models',
}
# tests that cannot run there though their imports could: the reason, by file and function
EXCLUDED = {
    (
        'test_pi.py',
        'test_undefined_scores_are_nan_as_those_of_niqe',
    ): "NIQE of ext_core.compat.metrics, which is NaN where BasicSR's raises an error",
}
_NAMED = re.compile(rf'\b(?:{"|".join(PACKAGES)})(?:\.\w+)*')


class Chosen(NamedTuple):
    """What goes of one test file, or why nothing does; and the tests of it that stay here, with their reasons."""

    path: Path
    part: Part | None
    reason: str
    left: dict[str, str]


class TestFile:
    """A file of tests or of their companions.

    Args:
        root (Path): The project.
        path (Path): The file.
        exported (Mapping[str, Part]): Our modules that are exported.
        shared (frozenset[str]): Fixtures of ``tests/conftest.py``, which stays here.
    """

    __test__ = False  # for pytest: a class of the project, not of its tests

    def __init__(self, root: Path, path: Path, exported: Mapping[str, Part], shared: frozenset[str]):
        self.root, self.path, self.exported, self.shared = root, path, exported, shared
        self._bad: dict[Unit, str] | None = None
        self.source = Source(path, edits.read(root, path))

    def reasons(self, companions: Mapping[str, 'TestFile']) -> dict[Unit, str]:
        """The units that cannot run in a BasicSR tree, each with the first reason."""
        if self._bad is None:
            self._bad = self._find_reasons(companions)
        return self._bad

    def _find_reasons(self, companions: Mapping[str, 'TestFile']) -> dict[Unit, str]:
        bad: dict[Unit, str] = {}
        for unit in self.source.units:
            reason = next(self._reasons(unit, companions), None)
            if reason:
                bad[unit] = reason
        grown = True
        while grown:
            grown = False
            for unit in self.source.units:
                used = (self.source.binding(name) for name in sorted(unit.uses))
                cause = next((bad[other] for other in used if other in bad), None)
                if unit not in bad and cause:
                    bad[unit] = cause
                    grown = True
        return bad

    def _reasons(self, unit: Unit, companions: Mapping[str, 'TestFile']) -> Iterator[str]:
        if isinstance(unit.node, Definition) and (reason := EXCLUDED.get((self.path.name, unit.node.name))):
            yield reason
        yield from self._missing(references(self.root, self.source, [unit]))
        for reference in self._read_of(unit):
            yield from self._missing([reference])
        yield from self._of_companions(unit, companions)
        for node in unit.nodes:
            if isinstance(node, ast.arg) and node.arg in self.shared and self.source.binding(node.arg) is None:
                yield f'the fixture {node.arg} of tests/conftest.py'
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from self._named(node.value)
            elif isinstance(node, ast.Attribute) and node.attr in DROPPED:
                yield f'{node.attr}, which is for our option check'

    def _of_companions(self, unit: Unit, companions: Mapping[str, 'TestFile']) -> Iterator[str]:
        """Why what a unit imports, or reads, of modules beside the tests cannot go."""
        wanted: list[tuple[str, str | None]] = []
        if unit.alias:
            wanted = [(unit.node.module or '', unit.alias.name)] if isinstance(unit.node, ast.ImportFrom) else []
            wanted += [(unit.alias.name, None)] if isinstance(unit.node, ast.Import) else []
        wanted += [(module, name) for module in companions for name in read_of(unit, module)]
        for module, name in wanted:
            if module in companions:
                source, bad = companions[module].source, companions[module].reasons(companions)
                needed = [*source.nameless, source.binding(name) if name else None]
                yield from (bad[each] for each in needed if each in bad)

    def _read_of(self, unit: Unit) -> Iterator[Reference]:
        """What a unit reads of modules that the file imports at its top."""
        for called, module in self._modules.items():
            for name in read_of(unit, called):
                yield Reference(module, frozenset({name}))

    @cached_property
    def _modules(self) -> dict[str, str]:
        found = {}
        for unit in self.source.units:
            if unit.alias and isinstance(unit.node, ast.ImportFrom):
                name = f'{unit.node.module}.{unit.alias.name}'
                if module_file(self.root, name):
                    found[unit.alias.asname or unit.alias.name] = name
        return found

    def _missing(self, wanted: Iterable[Reference]) -> Iterator[str]:
        for module, names in wanted:
            part = self.exported.get(module)
            if part is None:
                yield module
            else:
                yield from (f'{module}.{name}' for name in sorted(names - part.names))

    def _named(self, text: str) -> Iterator[str]:
        """What a string names: a module of ours, or a script beside the tests."""
        for dotted in _NAMED.findall(text):
            parts = dotted.split('.')
            if not any('.'.join(parts[:length]) in self.exported for length in range(2, len(parts) + 1)):
                yield dotted
        if text.endswith('.py') and self.path.with_name(text).is_file():
            yield f'the program {text}'

    def roots(self, bad: Mapping[Unit, str]) -> list[Unit]:
        """Tests, fixtures, and what runs when the file is imported."""
        named = [unit for name, unit in self.source.definitions.items() if is_test(name) or is_fixture(unit.node)]
        return [unit for unit in (*named, *self.source.nameless) if unit not in bad]


def is_test(name: str) -> bool:
    """What pytest runs."""
    return name.startswith(('test_', 'Test'))


def is_fixture(node: ast.stmt) -> bool:
    """Decorated with ``pytest.fixture``."""
    return any('fixture' in ast.unparse(decorator) for decorator in getattr(node, 'decorator_list', []))


def fixtures(path: Path) -> frozenset[str]:
    """Names of the fixtures in a conftest.py."""
    found = Source(path, path.read_text(encoding='utf-8')).definitions
    return frozenset(name for name, unit in found.items() if is_fixture(unit.node))


def choose(root: Path, exported: Mapping[str, Part]) -> list[Chosen]:
    """Take what can be taken of our components' tests.

    Args:
        root (Path): The project.
        exported (Mapping[str, Part]): From :func:`ext_core.upstream.closure.closure`.
    """
    shared = fixtures(root / 'tests' / 'conftest.py')
    chosen = []
    for folder in FOLDERS:
        paths = sorted((root / 'tests' / folder).glob('*.py'))
        files = {path.stem: TestFile(root, path, exported, shared) for path in paths}
        tests = [name for name in files if is_test(name) or name == 'conftest']
        taken = {name: _choose_tests(files[name], files) for name in tests}
        chosen += [*taken.values(), *_choose_companions(files, list(taken.values()))]
    return chosen


def _choose_tests(file: TestFile, companions: Mapping[str, TestFile]) -> Chosen:
    bad = file.reasons(companions)
    left = {
        unit.node.name: reason
        for unit, reason in bad.items()
        if isinstance(unit.node, Definition) and is_test(unit.node.name)
    }
    broken = next((bad[unit] for unit in file.source.nameless if unit in bad), None)
    kept = file.source.reached(file.roots(bad))
    names = [unit.node.name for unit in kept if isinstance(unit.node, Definition)]
    if broken or (not any(is_test(name) for name in names) and file.path.stem != 'conftest'):
        return Chosen(file.path, None, broken or next(iter(left.values()), 'no test in it'), left)
    return Chosen(file.path, Part(file.source, kept), '', left)


def _choose_companions(files: Mapping[str, TestFile], tests: Iterable[Chosen]) -> Iterator[Chosen]:
    """Modules beside the tests, and what these import of them; companions may import others."""
    wanted: dict[str, set[str]] = {}
    parts: dict[str, Part] = {}
    waiting = [test.part for test in tests if test.part]
    while waiting:
        part = waiting.pop()
        for name, names in _imported(part, files):
            known = wanted.setdefault(name, set())
            if name in parts and names <= known:
                continue
            known |= names
            source = files[name].source
            roots = [unit for found in known if (unit := source.binding(found))]
            parts[name] = Part(source, source.reached([*roots, *source.nameless]))
            waiting.append(parts[name])
    return (Chosen(files[name].path, part, '', {}) for name, part in sorted(parts.items()))


def _imported(part: Part, files: Mapping[str, TestFile]) -> Iterator[tuple[str, set[str]]]:
    for unit in part.kept:
        if unit.alias is None:
            continue
        if isinstance(unit.node, ast.ImportFrom) and unit.node.module in files:
            yield str(unit.node.module), {unit.alias.name}
        elif isinstance(unit.node, ast.Import) and unit.alias.name in files:
            called = unit.alias.asname or unit.alias.name
            yield unit.alias.name, {name for user in part.kept for name in read_of(user, called)}


def read_of(unit: Unit, called: str) -> Iterator[str]:
    """Attributes of a module that a unit reads."""
    for node in unit.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == called:
            yield node.attr


def count(parts: Iterable[Chosen]) -> int:
    """Test functions that are exported."""
    definitions = (unit.node for chosen in parts if chosen.part for unit in chosen.part.kept)
    return sum(isinstance(node, Definition) and is_test(node.name) for node in definitions)
