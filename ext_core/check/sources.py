"""Which option keys a piece of code reads, from its source text.

A key that no code reads is a typo, and costs days when it passes silently. So that no list of keys has to be kept, the
strings that stand in the source of a class's modules are collected: an option can only be read by its name.
"""

import ast
import importlib
import inspect
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

# modules that read options beside the registered classes
_HOST_MODULES = ('basicsr.utils.logger', 'basicsr.data', 'basicsr.train', 'basicsr.test', 'basicsr.utils.options')
_READERS = ('config', 'saving', 'training')  # packages of ours that do


@cache
def _strings(file: str) -> tuple[frozenset[str], frozenset[str]]:
    """All strings in a file that can be keys; and those that stand where keys do: ``x['k']``, ``x.get('k')``."""
    everything, keys = set(), set()
    for node in ast.walk(ast.parse(Path(file).read_text(encoding='utf-8'))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            everything.add(node.value)
        place: Any = None
        if isinstance(node, ast.Subscript):
            place = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            place = node.args[0] if node.func.attr in ('get', 'pop', 'setdefault') else None
        if isinstance(place, ast.Constant) and isinstance(place.value, str):
            keys.add(place.value)
    return frozenset(everything), frozenset(keys)


def _file_of(module: ModuleType | None) -> str | None:
    file = getattr(module, '__file__', None)
    return file if file and file.endswith('.py') else None


def _related(module: ModuleType) -> set[str]:
    """The module and those of the same package whose contents it uses, recursively."""
    package = module.__name__.rpartition('.')[0]
    seen: set[str] = set()
    waiting = [module.__name__]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in sys.modules:
            continue
        seen.add(name)
        for value in vars(sys.modules[name]).values():
            origin = value.__name__ if isinstance(value, ModuleType) else getattr(value, '__module__', None)
            if package and isinstance(origin, str) and origin.startswith(f'{package}.'):
                waiting.append(origin)
    return seen


@cache
def _strings_of(target: Any) -> tuple[frozenset[str], frozenset[str]] | None:
    classes = target.__mro__ if inspect.isclass(target) else (target,)
    roots = {c.__module__ for c in classes if c.__module__.partition('.')[0] not in ('builtins', 'torch')}
    names = set().union(*(_related(sys.modules[root]) for root in roots if root in sys.modules))
    files = [_file_of(sys.modules[name]) for name in names]
    if not files or None in files:
        return None  # defined interactively or compiled: nothing can be said
    found = [_strings(file) for file in files if file]
    return frozenset().union(*(f[0] for f in found)), frozenset().union(*(f[1] for f in found))


def strings_of(target: Any) -> frozenset[str] | None:
    """All strings in the sources of a class and its bases, or of a function; None where there is no source."""
    found = _strings_of(target)
    return found[0] if found else None


def keys_of(target: Any) -> frozenset[str]:
    """The strings that these sources use as keys: candidates for 'did you mean'."""
    found = _strings_of(target)
    return found[1] if found else frozenset()


@cache
def host_strings() -> frozenset[str]:
    """Strings in the code that reads options around the registered classes: BasicSR's loops, and ``ext_core``."""
    files = [_file_of(importlib.import_module(name)) for name in _HOST_MODULES]
    core = Path(__file__).parents[1]
    files += [str(path) for path in (core / 'launch.py', *(p for name in _READERS for p in (core / name).glob('*.py')))]
    return frozenset().union(*(_strings(file)[0] for file in files if file))


@cache
def option_keys(target: Any, *roots: str) -> frozenset[str]:
    """The keys that the sources of a class read from a place such as ``train_opt`` or ``self.opt['train']``.

    Args:
        target (Any): A class.
        roots (str): How the code writes the place.
    """
    return frozenset(key for file in files_of(target) for place, key in _accesses(file) if place in roots)


@cache
def _accesses(file: str) -> frozenset[tuple[str, str]]:
    """From where the code of a file reads which keys."""
    nodes = ast.walk(ast.parse(Path(file).read_text(encoding='utf-8')))
    found = [access for access in map(_access, nodes) if access[0] is not None and isinstance(access[1], str)]
    return frozenset((ast.unparse(place), key) for place, key in found)  # type: ignore[arg-type]


def _access(node: ast.AST) -> tuple[ast.expr | None, Any]:
    """Of ``x['k']``, ``x.get('k')`` and ``'k' in x``: x and k."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.value, node.slice.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        first = node.args[0]
        if node.func.attr in ('get', 'pop', 'setdefault') and isinstance(first, ast.Constant):
            return node.func.value, first.value
    if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant) and isinstance(node.ops[0], ast.In):
        return node.comparators[0], node.left.value
    return None, None


def files_of(target: Any) -> list[str]:
    """The source files of a class and its bases."""
    modules = [sys.modules.get(c.__module__) for c in target.__mro__]
    return list(dict.fromkeys(file for file in map(_file_of, modules) if file and '/torch/' not in file))
