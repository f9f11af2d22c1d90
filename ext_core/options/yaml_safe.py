"""Read and write option files: safe YAML with the things option files need, and the lines of its keys."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ext_core.errors import UserError

Lines = dict[tuple[str, ...], int]  # the keys from the top to a key: its line, from 1 on
MOST_NODES = 100_000  # of one file, aliases counted as often as they stand: option files have hundreds
_LARGEST_FILE = 1 << 20  # bytes; parsing takes minutes from some ten thousand lines on


class _OptionLoader(yaml.SafeLoader):
    """SafeLoader that reads ``2e-4`` as a number and refuses a key given twice."""


class _OptionDumper(yaml.SafeDumper):
    """SafeDumper that writes no aliases, so that every section can be read where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _mapping(loader: _OptionLoader, node: yaml.MappingNode) -> dict:
    if not isinstance(node, yaml.MappingNode):  # of '!!map x'
        raise yaml.constructor.ConstructorError(None, None, 'expected a mapping', node.start_mark)
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == 'tag:yaml.org,2002:merge':
            continue  # '<<' may be overruled: that is what it is for
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if key in seen:
            raise UserError(
                f"{node.start_mark.name}: key '{key}' is given twice, in lines {seen[key]} and {line}. "
                'YAML would silently keep the last one; delete one of them.'
            )
        seen[key] = line
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_OptionLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_OptionLoader.add_implicit_resolver(
    'tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'), list('-+0123456789.')
)


def parse(text: str, name: str = '<string>') -> Any:
    """YAML text to Python values.

    Raises:
        UserError: If the text is not valid YAML, gives a key twice, tries to construct Python objects, or holds
            aliases that contain themselves or multiply. The message names the file and the line.
    """
    return parse_with_lines(text, name)[0]


def parse_with_lines(text: str, name: str = '<string>') -> tuple[Any, Lines]:
    """:func:`parse`, and the lines of all keys."""
    try:
        loader = _OptionLoader(text)
        loader.name = name
        try:
            node = loader.get_single_node()
            if node is None:
                return None, {}
            _refuse_growth(node, name)
            data = loader.construct_document(node)
            return data, dict(_lines(node, loader))
        finally:
            loader.dispose()
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else '?'
        raise UserError(
            f'{name}, line {line}: {error.problem}. Option files hold plain values only; Python objects '
            'are refused, because a file from elsewhere could run code with them.'
        ) from None
    except RecursionError:
        raise UserError(f'{name} is nested too deeply for an option file.') from None
    except UserError:
        raise
    except Exception as error:  # '!!int x', an impossible date, a list as a key: PyYAML lets many kinds out
        hint = ' In double quotes \\ begins a special character: write paths with /.' if 'escape' in str(error) else ''
        raise UserError(f'{name} is not valid YAML: {error}{hint}') from None


def _refuse_growth(root: yaml.Node, name: str) -> None:
    """Aliases are nodes that stand in several places: in themselves, or doubling with each line, they never end."""
    left = MOST_NODES
    waiting: list[tuple[yaml.Node, tuple[int, ...]]] = [(root, ())]
    while waiting:
        node, around = waiting.pop()
        left -= 1
        if id(node) in around or left < 0:
            fault = 'contains itself' if left >= 0 else f'makes the file longer than {MOST_NODES} values'
            raise UserError(f'{name}, line {node.start_mark.line + 1}: an alias {fault}. Write the values out.')
        if isinstance(node, yaml.CollectionNode):
            parts = [part for pair in node.value for part in pair] if _is_mapping(node) else node.value
            waiting += [(part, (*around, id(node))) for part in parts]


def _is_mapping(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode)


def _lines(node: yaml.Node, loader: _OptionLoader, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple, int]]:
    if _is_mapping(node):
        for key_node, value_node in node.value:
            path = (*above, str(loader.construct_object(key_node, deep=True)))
            yield path, key_node.start_mark.line + 1
            yield from _lines(value_node, loader, path)


def read(path: Path) -> dict:
    """An option file as a dict.

    Raises:
        UserError: If the file is missing, or is not a mapping of keys to values; see also :func:`parse`.
    """
    return read_with_lines(path)[0]


def read_with_lines(path: Path) -> tuple[dict, Lines]:
    """:func:`read`, and the lines of all keys."""
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has characters that no path can have
        there = False
    if not there:
        raise UserError(
            f'Option file not found: {path}. Check the path after -opt, or _base_ of the file that names it.'
        )
    if path.stat().st_size > _LARGEST_FILE:
        raise UserError(f'{path} is no option file: it has more than {_LARGEST_FILE:,} bytes.')
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read as a text file in UTF-8: {error}. Save it as UTF-8.') from None
    data, lines = parse_with_lines(text, str(path))
    if not isinstance(data, dict):
        raise UserError(
            f'{path}: an option file is a mapping of keys to values in YAML (key: value), but this holds '
            f'{"nothing" if data is None else type(data).__name__}.'
        )
    return data, lines


def dump(options: dict) -> str:
    """Options as YAML text, in their order."""
    return yaml.dump(options, Dumper=_OptionDumper, sort_keys=False, allow_unicode=True, width=120)
