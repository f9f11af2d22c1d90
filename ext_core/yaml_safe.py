"""Read and write option files: safe YAML with the three things option files need."""

import re
from pathlib import Path
from typing import Any

import yaml

from ext_core.errors import UserError


class _OptionLoader(yaml.SafeLoader):
    """SafeLoader that reads ``2e-4`` as a number and refuses a key given twice."""


class _OptionDumper(yaml.SafeDumper):
    """SafeDumper that writes no aliases, so that every section can be read where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _mapping(loader: _OptionLoader, node: yaml.MappingNode) -> dict:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
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
        UserError: If the text is not valid YAML, gives a key twice, or tries to construct Python objects. The message
            names the file and the line.
    """
    try:
        loader = _OptionLoader(text)
        loader.name = name
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else '?'
        raise UserError(
            f'{name}, line {line}: {error.problem}. Option files hold plain values only; Python objects '
            'are refused, because a file from elsewhere could run code with them.'
        ) from None
    except (yaml.YAMLError, ValueError, TypeError) as error:  # '!!int x', an impossible date, a list as a key
        raise UserError(f'{name} is not valid YAML: {error}') from None


def read(path: Path) -> dict:
    """An option file as a dict.

    Raises:
        UserError: If the file is missing, or is not a mapping of keys to values; see also :func:`parse`.
    """
    if not path.is_file():
        raise UserError(f'Option file not found: {path}. Check the path after -opt.')
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read as a text file in UTF-8: {error}') from None
    data = parse(text, str(path))
    if not isinstance(data, dict):
        raise UserError(
            f'{path}: an option file is a mapping of keys to values, but this holds '
            f'{"nothing" if data is None else type(data).__name__}.'
        )
    return data


def dump(options: dict) -> str:
    """Options as YAML text, in their order."""
    return yaml.dump(options, Dumper=_OptionDumper, sort_keys=False, allow_unicode=True, width=120)
