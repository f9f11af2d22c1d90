"""Which of our modules a BasicSR tree needs: the components whole, and of the others what these use."""

import ast
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ext_core.errors import UserError
from ext_core.upstream import edits
from ext_core.upstream.rewrite import PACKAGES
from ext_core.upstream.source import Source, Unit

# our package: BasicSR's, and the suffix of the files that BasicSR imports by themselves
COMPONENTS = {
    'ext_arch': ('basicsr.archs', '_arch'),
    'ext_losses': ('basicsr.losses', '_loss'),
    'ext_data': ('basicsr.data', '_dataset'),
    'ext_metrics': ('basicsr.metrics', '_metric'),
    'ext_models': ('basicsr.models', '_model'),
}
SUPPORT = 'basicsr.utils.ext'
# what only our check of options and our dry run read
DROPPED = frozenset({'NEEDS', 'OPTIONAL', 'EXTRA_TRAIN_KEYS', 'check_ready', 'phase_ends', 'step_period'})
# components that stay here: the reason, by module
EXCLUDED: dict[str, str] = {}


class Reference(NamedTuple):
    """A use of one of our modules: what is imported from it, or read as an attribute."""

    module: str
    names: frozenset[str]


class Part(NamedTuple):
    """A module and what is kept of it."""

    source: Source
    kept: set[Unit]

    @property
    def names(self) -> set[str]:
        """What can be imported from it."""
        return {name for unit in self.kept for name in unit.binds}

    @property
    def is_whole(self) -> bool:
        """Nothing but imports was left out."""
        return all(unit in self.kept for unit in self.source.units if unit.alias is None)


def module_file(root: Path, module: str) -> Path | None:
    """The file of one of our modules or packages."""
    if module.split('.')[0] not in PACKAGES:
        return None
    path = root.joinpath(*module.split('.'))
    return next((file for file in (path.with_suffix('.py'), path / '__init__.py') if file.is_file()), None)


def references(root: Path, source: Source, units: Iterable[Unit]) -> Iterator[Reference]:
    """What some units of a module use of our packages."""
    units = list(units)
    nodes = [node for unit in units for node in unit.nodes]
    statements: list[tuple[ast.AST, ast.alias]] = [(unit.node, unit.alias) for unit in units if unit.alias]
    statements += [
        (node, alias) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names
    ]
    modules: dict[str, str] = {}  # as it is called here: the module
    for node, alias in statements:
        name = f'{node.module}.{alias.name}' if isinstance(node, ast.ImportFrom) else alias.name
        if name.split('.')[0] not in PACKAGES:
            continue
        if isinstance(node, ast.ImportFrom) and module_file(root, name) is None:
            yield Reference(node.module or '', frozenset({alias.name}))
        else:
            modules[alias.asname or (alias.name if isinstance(node, ast.ImportFrom) else name)] = name
    for called, module in modules.items():
        read = {_under(node, called) for node in nodes if isinstance(node, ast.Attribute)}
        yield Reference(module, frozenset(name for name in read if name))


def _under(node: ast.Attribute, called: str) -> str | None:
    return node.attr if isinstance(node.value, ast.Name | ast.Attribute) and ast.unparse(node.value) == called else None


def components(root: Path) -> list[str]:
    """All modules that BasicSR would import by their suffix, but for ``EXCLUDED``."""
    found = [
        f'{package}.{path.stem}'
        for package, (_, suffix) in COMPONENTS.items()
        for path in sorted((root / package).glob(f'*{suffix}.py'))
    ]
    return [module for module in found if module not in EXCLUDED]


def closure(root: Path, roots: Collection[str]) -> dict[str, Part]:
    """The modules that some components need, with what is kept of each.

    Args:
        root (Path): The folder that holds our packages.
        roots (Collection[str]): Modules.

    Raises:
        UserError: If a module uses what another does not have.
    """
    parts: dict[str, Part] = {}
    wanted: dict[str, set[str]] = {module: set() for module in roots}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        parts[module] = part = _part(root, module, wanted[module], parts.get(module))
        for reference in references(root, part.source, part.kept):
            before = wanted.get(reference.module)
            if before is None or not reference.names <= before:
                wanted[reference.module] = (before or set()) | reference.names
                waiting.append(reference.module)
    return dict(sorted(parts.items()))


def _part(root: Path, module: str, names: Collection[str], before: Part | None) -> Part:
    source = before.source if before else _read(root, module)
    units = []
    for name in names:
        unit = source.binding(name)
        if unit is None:
            raise UserError(f'{source.path.relative_to(root)} does not define {name}, which another module imports.')
        units.append(unit)
    if module.split('.')[0] in COMPONENTS:
        units += [unit for name, unit in source.definitions.items() if not name.startswith('_')]
    return Part(source, source.reached([*units, *source.nameless]))


def _read(root: Path, module: str) -> Source:
    path = module_file(root, module)
    if path is None:
        raise UserError(f'There is no module {module} in {root}, though another imports it.')
    text = edits.read(root, path)
    # a model that checks its options itself, when it is built, needs the method
    unused = set() if '.option_problems(' in text else {'option_problems'}
    return Source(path, text, DROPPED | unused)


def destinations(modules: Iterable[str]) -> dict[str, str]:
    """Where modules go: components and what stands beside them into BasicSR's folders, the rest into one of its own.

    Raises:
        UserError: If two would go to the same place.
    """
    moved = {ours: theirs for ours, (theirs, _) in COMPONENTS.items()}
    for module in modules:
        package, _, rest = module.partition('.')
        home = COMPONENTS.get(package, (SUPPORT, ''))[0]
        target = f'{home}.{rest if package in COMPONENTS else rest.rsplit(".", 1)[-1]}'
        if target in moved.values():
            raise UserError(f'{module}: another module goes to {target} too. Rename one of them.')
        moved[module] = target
    return moved
