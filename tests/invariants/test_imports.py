"""Imports point one way, without a circle; components import nothing of ext_core."""

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
COMPONENTS = ('ext_models', 'ext_data', 'ext_losses', 'ext_metrics', 'ext_arch')
# from above to below; what stands in one line may import one another, but not in a circle
ORDER = (
    ('scripts', 'studies', 'basicsr', '__main__'),  # basicsr: our launch scripts
    ('launch', 'doctor'),
    ('use', 'train'),
    ('networks', 'options'),
    ('registration', 'compat'),
    ('ext_models',),
    ('ext_data', 'ext_losses', 'ext_metrics'),
    ('ext_arch',),
    ('arguments', 'errors', 'atomic', 'box', 'project', 'install_basicsr', 'basicsr_build', 'ext_core'),
)
LEVEL = {package: level for level, packages in enumerate(ORDER) for package in packages}


def package(module: str) -> str | None:
    """The package of ``ORDER`` that a module belongs to; None for what is not ours."""
    top, _, rest = module.partition('.')
    if top == 'ext_core':
        name = rest.partition('.')[0] or 'ext_core'
        return name
    return top if top in (*COMPONENTS, 'scripts', 'studies') else None


def imports(source: str, module: str) -> Iterator[str]:
    """Modules that a module imports, in functions and by name too; ``module`` is its own name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(module.split('.')[: -node.level] if node.level else [])
            base = '.'.join(filter(None, [base, node.module]))
            yield from (f'{base}.{alias.name}' for alias in node.names)  # ``from ext_core import launch``
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(('import_module', '__import__')):
            yield from (str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))


def arrows(modules: dict[str, str]) -> dict[tuple[str, str], str]:
    """Pairs of packages of which the first imports the second, each with a module that does so.

    Args:
        modules (dict[str, str]): Source text by module name.
    """
    found = {}
    for module, source in modules.items():
        own = package(module) or module.partition('.')[0]
        for imported in imports(source, module):
            other = package(imported)
            if other is not None and other != own:
                # ``from ext_core import UserError`` would name no package, and stands for ext_core itself
                found.setdefault((own, other if other in LEVEL else 'ext_core'), module)
    return found


def wrong(found: dict[tuple[str, str], str]) -> dict[str, str]:
    """The arrows that must not be: those that run back, into ext_core from a component, or in a circle."""
    reach = {(a, b) for a, b in found if LEVEL[a] == LEVEL[b]}
    for via, a, b in product(LEVEL, LEVEL, LEVEL):  # Warshall
        if (a, via) in reach and (via, b) in reach:
            reach.add((a, b))
    return {
        f'{a} -> {b}': module
        for (a, b), module in found.items()
        if LEVEL[a] > LEVEL[b] or (b, a) in reach or (a in COMPONENTS and b not in COMPONENTS)
    }


def modules() -> dict[str, str]:
    """Source text of the product's modules by their names."""
    files = (file for folder in (*COMPONENTS, 'ext_core', 'scripts', 'studies', 'basicsr')
             for file in (PROJECT / folder).rglob('*.py'))  # fmt: skip
    return {'.'.join(file.relative_to(PROJECT).with_suffix('').parts): file.read_text('utf-8') for file in files}


def test_every_package_has_a_place():
    packages = {package(name.removesuffix('.__init__')) for name in modules()} - {None}
    assert packages <= set(LEVEL), f'a package without a place in ORDER: {packages - set(LEVEL)}'


def test_imports_point_one_way():
    found = wrong(arrows(modules()))
    assert not found, f'wrong arrows, with a module of each: {found}'


def test_the_reader_sees_every_form_of_import_and_every_wrong_arrow():
    right = {
        'scripts.a': 'import ext_core.launch',
        'ext_core.launch': 'from ext_core.train import a',
        'ext_core.train.a': 'from ext_core import options\nimport ext_core.errors',
        'ext_core.options': 'import ext_models.gan',
        'ext_models.gan': 'import ext_losses.mask',
    }
    assert wrong(arrows(right)) == {}
    late = 'def f():\n    from ext_core import launch'
    named = "importlib.import_module('ext_core.use')"
    relative = 'from ..train import loop'
    assert wrong(arrows({'ext_core.options.a': late})) == {'options -> launch': 'ext_core.options.a'}
    assert wrong(arrows({'ext_core.options.a': named})) == {'options -> use': 'ext_core.options.a'}
    assert wrong(arrows({'ext_core.options.a': relative})) == {'options -> train': 'ext_core.options.a'}
    assert wrong(arrows({'ext_losses.a': 'from ext_core.errors import UserError'})) == {
        'ext_losses -> errors': 'ext_losses.a'
    }
    assert wrong(arrows({'ext_data.a': 'from ext_core import UserError'})) == {'ext_data -> ext_core': 'ext_data.a'}
    circle = {
        'ext_data.a': 'import ext_losses',
        'ext_losses.a': 'import ext_metrics',
        'ext_metrics.a': 'import ext_data',
    }
    assert len(wrong(arrows(circle))) == 3
    del circle['ext_metrics.a']
    assert wrong(arrows(circle)) == {}
