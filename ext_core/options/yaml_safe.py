"""Read and write option files: safe YAML with the things option files need, and the lines of its keys."""

import re
from pathlib import Path
from typing import Any

import yaml

from ext_core.errors import UserError

Lines = dict[tuple[str, ...], int]  # the keys from the top to a key: its line, from 1 on
MOST_NODES = 100_000  # of one file, aliases counted as often as they stand: option files have hundreds
_MERGE = 'tag:yaml.org,2002:merge'  # of '<<'
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
        if key_node.tag == _MERGE:
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


def parse(text: str, name: str = '<string>', lines: Lines | None = None) -> Any:
    """YAML text to Python values.

    Args:
        text (str): The text.
        name (str): Its file, for messages. Default: '<string>'.
        lines (Lines | None): Gets the lines of all keys.

    Raises:
        UserError: If the text is not valid YAML, gives a key twice, tries to construct Python objects, or holds
            aliases that contain themselves or multiply. The message names the file and the line.
    """
    try:
        loader = _OptionLoader(text)
        loader.name = name
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _lines(loader, node)  # before aliases are followed
            data = loader.construct_document(node)
            if lines is not None:
                lines.update(_lines(loader, node))  # with the keys that '<<' has brought
            return data
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


def _lines(loader: _OptionLoader, root: yaml.Node) -> Lines:
    """The lines of all keys. Aliases are nodes that stand in several places: in themselves, or doubling with each line,
    they would never end, so they are refused."""
    found: Lines = {}
    left = MOST_NODES
    waiting: list[tuple[yaml.Node, tuple[int, ...], tuple[str, ...]]] = [(root, (), ())]
    while waiting:
        node, around, path = waiting.pop()
        left -= 1
        if id(node) in around or left < 0:
            fault = 'contains itself' if left >= 0 else f'makes the file longer than {MOST_NODES} values'
            raise UserError(f'{loader.name}, line {node.start_mark.line + 1}: an alias {fault}. Write the values out.')
        inside = (*around, id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                plain = isinstance(key, yaml.ScalarNode) and key.tag != _MERGE
                name = loader.construct_object(key) if plain else '?'
                found[(*path, str(name))] = key.start_mark.line + 1
                waiting += [(key, inside, path), (value, inside, (*path, str(name)))]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(part, inside, (*path, str(number))) for number, part in enumerate(node.value)]
    return found


def read(path: Path, lines: Lines | None = None) -> dict:
    """An option file as a dict.

    Args:
        path (Path): The file.
        lines (Lines | None): Gets the lines of all keys.

    Raises:
        UserError: If the file is missing, or is not a mapping of keys to values; see also :func:`parse`.
    """
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
    data = parse(text, str(path), lines)
    if not isinstance(data, dict):
        raise UserError(
            f'{path}: an option file is a mapping of keys to values in YAML (key: value), but this holds '
            f'{"nothing" if data is None else type(data).__name__}.'
        )
    return data


def dump(options: dict) -> str:
    """Options as YAML text, in their order."""
    return yaml.dump(options, Dumper=_OptionDumper, sort_keys=False, allow_unicode=True, width=120)
