"""What kind of value an argument takes, from its type hint or its default, in the words of JSON Schema.

The check and the schema for editors (:mod:`ext_core.schema`) use the same descriptions, so they agree. Where a class
gives no hint, as most of BasicSR's, the description is the default's kind, or of an argument without one what the
docstring says.
``CHOICES: dict[str, tuple]`` of a class names the values that an argument can have.
"""

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ext_core.check import docs

_BASIC = {bool: 'boolean', int: 'integer', float: 'number', str: 'string', type(None): 'null'}
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_SECTIONS = (dict, collections.abc.Mapping)
_DOCSTRING_WORDS = {'int': 'number', 'float': 'number', 'str': 'string', 'bool': 'boolean'}  # of BasicSR, no finer
_WORDS = {
    'boolean': 'true or false',
    'integer': 'a whole number',
    'number': 'a number',
    'string': 'text',
    'null': '~',
    'array': 'a list',
    'object': 'a section',
}


@cache
def parameters_of(target: Callable) -> tuple[dict[str, inspect.Parameter], bool]:
    """Named parameters of a callable, of its bases' constructors too where it passes ``**kwargs`` on; and whether it
    takes ``**kwargs``. Annotations are resolved; a base's parameter without a default gets None."""
    own = _resolved(target)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values())
    found = {name: p for name, p in own.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    if takes_any and inspect.isclass(target):
        for base in target.__mro__[1:-1]:
            for name, p in _resolved(base).items():
                if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                    found.setdefault(name, p.replace(default=None) if p.default is p.empty else p)
    return found, takes_any


def _resolved(target: Callable) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(target).parameters
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)  # type: ignore[misc]
    except Exception:  # a name that only the type checker imports
        hints = {}
    return {name: p.replace(annotation=hints.get(name, p.empty)) for name, p in parameters.items()}


def described(target: Callable, name: str) -> dict:
    """What a callable's argument takes, as a JSON Schema; {} is anything."""
    choices = getattr(target, 'CHOICES', {}).get(name)
    if choices:
        return {'enum': list(choices)}
    parameter = parameters_of(target)[0][name]
    default = None if parameter.default is parameter.empty else parameter.default
    if parameter.annotation is not parameter.empty:
        known = of_hint(parameter.annotation)
        missing = known and parameter.default is None and 'null' not in _names(known)
        return {'anyOf': [known, {'type': 'null'}]} if missing else known
    if isinstance(default, bool | str):
        return {'type': [_BASIC[type(default)], 'null']}
    if isinstance(default, int | float):
        return {'type': ['number', 'array'] if name.endswith('_size') else 'number'}  # SwinIR's img_size may be a pair
    if isinstance(default, list | tuple):
        return {'type': ['array', 'null']}
    if parameter.default is not parameter.empty:
        return {'type': ['object', 'null']} if isinstance(default, dict) else {}
    said = _DOCSTRING_WORDS.get(docs.entries_of(target)[name].kind) if name in docs.entries_of(target) else None
    return {'type': said} if said else {}


def of_hint(hint: Any) -> dict:
    """A type hint as a JSON Schema; {} where a hint allows what YAML cannot name, or anything."""
    if hint in _BASIC:
        return {'type': _BASIC[hint]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {'enum': list(arguments)}
    if origin in (typing.Union, types.UnionType):
        # a part that YAML cannot name, such as a Tensor, leaves the others
        parts = [of_hint(argument) for argument in arguments if _can_be_written(argument)]
        return {'anyOf': parts} if parts and all(parts) else {}
    if (origin or hint) in _SECTIONS:
        values = of_hint(arguments[1]) if len(arguments) == 2 else {}
        return {'type': 'object', **({'additionalProperties': values} if values else {})}
    if (origin or hint) in _LISTS:
        return {'type': 'array', **_elements(origin, arguments)}
    return {'type': 'string'} if hint is Path else {}


def _can_be_written(hint: Any) -> bool:
    return bool(of_hint(hint)) or hint is Any or not inspect.isclass(hint)


def _elements(origin: Any, arguments: tuple) -> dict:
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        size = len(arguments)
        return {'prefixItems': [of_hint(argument) for argument in arguments], 'minItems': size, 'maxItems': size}
    values = of_hint(arguments[0]) if arguments else {}
    return {'items': values} if values else {}


def _names(schema: dict) -> set[str]:
    if 'anyOf' in schema:
        return set().union(*(_names(part) for part in schema['anyOf']))
    names = schema.get('type', [])
    return {names} if isinstance(names, str) else set(names)


# ---------------------------------------------------------------------- values
def fits(value: Any, schema: dict) -> bool:
    """Whether a value is what a schema of this module describes."""
    if 'enum' in schema:
        return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in schema['enum'])
    if 'anyOf' in schema:
        return any(fits(value, part) for part in schema['anyOf'])
    if schema.get('type') is not None and not (_kinds_of(value) & _names(schema)):
        return False
    if isinstance(value, list | tuple):
        parts = schema.get('prefixItems') or [schema.get('items', {})] * len(value)
        return len(value) == len(parts) and all(fits(one, part) for one, part in zip(value, parts, strict=True))
    if isinstance(value, dict):
        return all(fits(one, schema.get('additionalProperties', {})) for one in value.values())
    return True


def _kinds_of(value: Any) -> set[str]:
    if isinstance(value, bool):
        return {'boolean'}
    if isinstance(value, int):
        return {'integer', 'number'}
    kinds: dict[Any, str] = {
        float: 'number',
        str: 'string',
        list: 'array',
        tuple: 'array',
        collections.abc.Mapping: 'object',
    }
    return {'null'} if value is None else {kind for known, kind in kinds.items() if isinstance(value, known)}


def words(schema: dict) -> str:
    """A schema in words: 'a whole number or ~'."""
    return ' or '.join(dict.fromkeys(_words(schema)))


def _words(schema: dict) -> Iterator[str]:
    if 'enum' in schema:
        yield from (f"'{choice}'" for choice in schema['enum'])
    for part in schema.get('anyOf', ()):
        yield from _words(part)
    for name in sorted(_names(schema) if 'anyOf' not in schema else (), key=list(_WORDS).index):
        inner = schema.get('items') or schema.get('additionalProperties')
        count = f' of {schema["maxItems"]}' if 'maxItems' in schema else ''
        suffix = f' whose values are each {words(inner)}' if inner and name in ('array', 'object') else count
        yield f'{_WORDS[name]}{suffix if name in ("array", "object") else ""}'
