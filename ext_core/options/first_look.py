"""What the schema sees of the mistakes in an option file: within a second, before torch is imported."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ext_core.options.loading import load
from ext_core.options.positions import Positions
from ext_core.options.problems import Problem, did_you_mean
from ext_core.options.signatures import fits, words
from ext_core.project import OPTIONS

NONE = {'type': 'null'}  # of keys that a section does not read


def first_look(path: Path, overridden: Sequence[str] = ()) -> list[str]:
    """Keys that no section of an option file takes there, and values of another kind. The check, which needs torch and
    the classes, finds them again, among others. It alone judges names of classes, since it knows a user's own, and
    ``~``, which may take out a key that is inherited.

    Args:
        path (Path): The option file.
        overridden (Sequence[str]): Colon paths of keys that the command line sets. Default: none.

    Returns:
        list[str]: A line for each, with file and line.

    Raises:
        UserError: If a file is missing or malformed, see :func:`ext_core.options.loading.load`.
    """
    positions = Positions()
    options = load(path, positions)
    if 'custom_imports' in options:
        return []
    schema = json.loads((OPTIONS / 'schema.json').read_text(encoding='utf-8'))
    found: dict[str, Problem] = {}
    for problem in _mistakes(options, schema, schema['$defs'], ()):
        if not any(f'{problem.path}:'.startswith(f'{key}:') for key in overridden):
            found.setdefault(problem.path, problem)
    return [positions.locate(problem) for problem in found.values()]


def _mistakes(value: Any, schema: dict, parts: dict, path: tuple[str, ...]) -> Iterator[Problem]:
    """What ``value`` has and ``schema``, of ``schema.py``, does not allow."""
    if '$ref' in schema:
        yield from _mistakes(value, parts[schema['$ref'].rpartition('/')[2]], parts, path)
    for part in schema.get('allOf', ()):
        yield from _mistakes(value, part, parts, path)
    if 'if' in schema and fits(value, schema['if']):
        yield from _mistakes(value, schema.get('then', {}), parts, path)
    own = {k: v for k, v in schema.items() if k in ('type', 'anyOf', 'enum') or not isinstance(value, dict)}
    if not fits(value, own):
        yield Problem(':'.join(path), f"must be {words(own)}, but is '{value}'.")
    if not isinstance(value, dict):
        return
    properties, further = schema.get('properties', {}), schema.get('additionalProperties', True)
    for key, element in value.items():
        if element is None or key in ('type', 'model_type'):
            continue
        inner = properties.get(key)
        patterns = [part for pattern, part in schema.get('patternProperties', {}).items() if re.search(pattern, key)]
        if inner is None and not patterns and further in (False, NONE):
            known = [name for name, part in properties.items() if part != NONE]
            yield Problem(':'.join((*path, key)), f'unknown key.{did_you_mean(key, known)}')
        elif inner == NONE:
            yield Problem(':'.join((*path, key)), 'is a key of other models, which this one does not read.')
        elif inner is not None or patterns or isinstance(further, dict):
            for part in [inner] if inner is not None else patterns or [further]:
                yield from _mistakes(element, part, parts, (*path, key))
