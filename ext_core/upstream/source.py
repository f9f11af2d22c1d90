"""A Python module as a graph of its top-level statements, of which some can be kept and the others cut."""

import ast
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

LINE = 120
_EFFECTS = (ast.For, ast.While, ast.With, ast.AugAssign)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, eq=False)
class Unit:
    """A top-level statement, or one name of an import.

    Args:
        node (ast.stmt): The statement.
        alias (ast.alias | None): The name, of an import.
        binds (frozenset[str]): Names that it defines.
        parts (tuple[ast.AST, ...]): What of it uses others.

    Attributes:
        nodes (tuple[ast.AST, ...]): All nodes of the parts.
        uses (frozenset[str]): Names that it uses.
    """

    node: ast.stmt
    alias: ast.alias | None
    binds: frozenset[str]
    parts: tuple[ast.AST, ...]
    nodes: tuple[ast.AST, ...] = field(init=False)
    uses: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        nodes = tuple(node for part in self.parts for node in ast.walk(part))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        names |= {node.arg for node in nodes if isinstance(node, ast.arg)}  # pytest's fixtures
        object.__setattr__(self, 'nodes', nodes)
        object.__setattr__(self, 'uses', frozenset(names) - self.binds)


class Source:
    """A module that can be cut down to what is needed of it.

    Args:
        path (Path): The file.
        text (str): Its content.
        dropped (Collection[str]): Attributes of classes and functions that are left out wherever they are set.

    Raises:
        SyntaxError: If it is no Python.
    """

    def __init__(self, path: Path, text: str, dropped: Collection[str] = ()):
        self.path = path
        self.text = text
        self.lines = text.splitlines()
        self.cut: list[ast.stmt] = []  # statements that go whatever is kept
        self.units: list[Unit] = []
        for node in ast.parse(text).body:
            self.units.extend(self._units_of(node, dropped))
        self._binding = {name: unit for unit in self.units for name in unit.binds}

    def _units_of(self, node: ast.stmt, dropped: Collection[str]) -> Iterator[Unit]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield Unit(node, alias, frozenset({alias.asname or alias.name.split('.')[0]}), ())
        elif isinstance(node, ast.Assign) and any(_attribute(target) in dropped for target in node.targets):
            self.cut.append(node)
        elif isinstance(node, ast.ClassDef):
            gone = [member for member in node.body if dropped and not dropped_names(member).isdisjoint(dropped)]
            self.cut.extend(gone)
            others = [member for member in node.body if member not in gone]
            yield Unit(node, None, frozenset({node.name}), (*node.decorator_list, *node.bases, *others))
        else:
            yield Unit(node, None, frozenset(_bound(node)), (node,))

    @cached_property
    def nameless(self) -> list[Unit]:
        """What runs for its effect: bare statements, what enters a registry, and imports of which nothing is used."""
        used = frozenset().union(*(unit.uses for unit in self.units))
        used |= {node.id for cut in self.cut for node in ast.walk(cut) if isinstance(node, ast.Name)}
        registered = set(self.registered)

        def has_effect(unit: Unit) -> bool:
            if unit.alias:
                return unit.binds.isdisjoint(used)
            return not unit.binds or isinstance(unit.node, _EFFECTS) or not unit.binds.isdisjoint(registered)

        return [unit for unit in self.units if has_effect(unit)]

    @cached_property
    def registered(self) -> list[str]:
        """Names that the module puts into BasicSR's registries."""
        return sorted(name for name, unit in self.definitions.items() if _is_registered(unit.node))

    @property
    def definitions(self) -> dict[str, Unit]:
        """Functions and classes by their name."""
        return {unit.node.name: unit for unit in self.units if isinstance(unit.node, Definition)}

    def binding(self, name: str) -> Unit | None:
        """What defines a name."""
        return self._binding.get(name)

    def reached(self, roots: Iterable[Unit]) -> set[Unit]:
        """The roots and all that they use."""
        kept: set[Unit] = set()
        waiting = list(roots)
        while waiting:
            unit = waiting.pop()
            if unit not in kept:
                kept.add(unit)
                waiting.extend(self._binding[name] for name in unit.uses if name in self._binding)
        return kept

    # ------------------------------------------------------------------ text
    def render(self, kept: Collection[Unit]) -> str:
        """The text of some units, in their order, with the comments that belong to them."""
        replaced: dict[int, list[str]] = {}
        gone: set[int] = set()
        for node in {unit.node for unit in self.units}:
            own = [unit for unit in self.units if unit.node is node]
            left = [unit for unit in own if unit in kept]
            if not left:
                gone.update(self._span(node))
            elif len(left) < len(own):
                gone.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
                replaced[node.lineno] = import_lines(node, [unit.alias for unit in left if unit.alias])
        for node in self.cut:
            gone.update(self._span(node))
        lines: list[str] = []
        for number, line in enumerate(self.lines, 1):
            lines.extend(replaced.get(number, [] if number in gone else [line]))
        return tidy('\n'.join(lines))

    def _span(self, node: ast.stmt) -> range:
        """Lines of a statement, with its decorators and the comments right above it."""
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, 'decorator_list', []))])
        while first > 1 and self.lines[first - 2].lstrip().startswith('#'):
            first -= 1
        return range(first, (node.end_lineno or node.lineno) + 1)


def _is_registered(node: ast.stmt) -> bool:
    return any(re.match(r'\w+_REGISTRY\.register\(', ast.unparse(each)) for each in getattr(node, 'decorator_list', []))


def dropped_names(node: ast.stmt) -> set[str]:
    """What a member of a class is called."""
    return {node.name} if isinstance(node, Definition) else set(_bound(node))


def _attribute(target: ast.expr) -> str | None:
    return target.attr if isinstance(target, ast.Attribute) else None


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, Definition):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.If | ast.Try | ast.With | ast.For):
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                yield part.id
            elif isinstance(part, Definition):
                yield part.name
            elif isinstance(part, ast.alias):
                yield part.asname or part.name.split('.')[0]


def import_lines(node: ast.stmt, names: list[ast.alias]) -> list[str]:
    """An import statement with some of its names, wrapped where it is too long."""
    if isinstance(node, ast.ImportFrom):
        made = ast.ImportFrom(module=node.module, names=names, level=node.level)
    else:
        made = ast.Import(names=names)  # type: ignore[assignment]
    indent = ' ' * node.col_offset
    line = indent + ast.unparse(made)
    if len(line) <= LINE or not isinstance(node, ast.ImportFrom):
        return [line]
    head = line.split(' import ')[0]
    return [f'{head} import (', *(f'{indent}    {ast.unparse(alias)},' for alias in names), f'{indent})']


def tidy(text: str) -> str:
    """Empty lines as the style has them, where statements were cut."""
    text = re.sub(r'\n{4,}', '\n\n\n', text.strip('\n'))
    text = re.sub(r'\n{3,}(?=(?:import|from) )', '\n\n', text)
    # between the statements of a class there is one empty line, and none before the first
    text = re.sub(r'\n{3,}(?=[ \t]+\S)', '\n\n', text)
    return re.sub(r'(\n(?:@|class |def )[^\n]*:\n)\n+(?=[ \t])', r'\1', text) + '\n'
