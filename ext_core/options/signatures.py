"""What a class or function takes: its parameters, as JSON Schemas, with their defaults and descriptions.

One description serves the check, the schema for editors and the reference pages. The sections of option files are
declared in the same form, as dataclasses (:mod:`ext_core.options.declared`). The kind comes from the type hint, the
range and the meaning from ``Annotated[int, {'minimum': 1}, 'What it means.']``, whose dict is a part of a JSON Schema;
or the meaning from the docstring. Where a class gives no hint, as most of BasicSR's, its default says the kind, or else
its docstring. ``CHOICES: dict[str, tuple]`` of a class names the values that an argument can have.
"""

import collections.abc
import dataclasses
import inspect
import itertools
import re
import types
import typing
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

NEEDED = inspect.Parameter.empty  # the default of a parameter without one
_BASIC: dict[Any, str] = {bool: 'boolean', int: 'integer', float: 'number', str: 'string', type(None): 'null'}
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_SECTIONS = (dict, collections.abc.Mapping)
_TYPES: dict[str, Any] = {name: kind for kind, name in _BASIC.items()}
_TYPES |= {'number': (int, float), 'array': (list, tuple), 'object': collections.abc.Mapping}
_DOCSTRING_KINDS = {'int': 'number', 'float': 'number', 'str': 'string', 'bool': 'boolean'}  # of BasicSR, no finer
_WORDS = {
    'boolean': 'true or false',
    'integer': 'a whole number',
    'number': 'a number',
    'string': 'text',
    'null': '~',
    'array': 'a list',
    'object': 'a section',
}
# '    num_feat (int): Channels.', '* gt_size (int): ...', '        amp (str): ...', 'gan_opt: the objective'
_ENTRY = re.compile(
    r'^(?P<indent>\s*)(?:\* )?(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*)(?: ?\((?P<type>[^)]*)\))?: (?P<text>\S.*)$'
)


class Parameter(NamedTuple):
    """What an argument or a key takes ({} is anything), its default, and what it means."""

    schema: dict
    default: Any
    text: str

    @property
    def needed(self) -> bool:
        return self.default is NEEDED


ANYTHING = Parameter({}, None, '')


@cache
def parameters_of(target: Callable) -> dict[str, Parameter]:
    """The parameters of a class or function; where a class takes ``**kwargs``, those of its bases too."""
    found: dict[str, Parameter] = {}
    entries = docstring_entries(target)
    for owner in target.__mro__[:-1] if inspect.isclass(target) else (target,):
        try:
            signature = inspect.signature(owner).parameters
            # of a dataclass itself: of its __init__ Python 3.10 makes Optional[...] where a default is None, and fails
            hinted = owner.__init__ if inspect.isclass(owner) and not dataclasses.is_dataclass(owner) else owner
            hints = typing.get_type_hints(hinted, include_extras=True)
        except (NameError, TypeError, ValueError):  # a name that only the type checker imports; no signature
            hints = {}
        for name, parameter in signature.items():
            if name not in found and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                kind, text = entries.get(name, ('', ''))
                hint = hints.get(name, NEEDED)
                text = next((part for part in getattr(hint, '__metadata__', ()) if isinstance(part, str)), text)
                default = parameter.default
                if owner is not target and default is NEEDED:
                    default = None  # the class that passes **kwargs on gives it
                choices = getattr(target, 'CHOICES', {}).get(name)
                schema = {'enum': list(choices)} if choices else _schema(name, hint, default, kind)
                found[name] = Parameter(schema, default, text)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values()):
            break
    return found


def _schema(name: str, hint: Any, default: Any, said: str) -> dict:
    if hint is not NEEDED:
        known = of_hint(hint)
        return {'anyOf': [known, {'type': 'null'}]} if known and default is None and not fits(None, known) else known
    if isinstance(default, bool | str):
        return {'type': [_BASIC[type(default)], 'null']}
    if isinstance(default, int | float):
        return {'type': ['number', 'array'] if name.endswith('_size') else 'number'}  # SwinIR's img_size may be a pair
    if isinstance(default, list | tuple | dict):
        return {'type': ['object' if isinstance(default, dict) else 'array', 'null']}
    return {'type': _DOCSTRING_KINDS[said]} if default is NEEDED and said in _DOCSTRING_KINDS else {}


def of_hint(hint: Any) -> dict:
    """A type hint as a JSON Schema; {} where a hint allows what YAML cannot name, or anything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        schema = of_hint(arguments[0])
        for part in arguments[1:]:
            if isinstance(part, dict):  # in a union, of its numbers or its text
                kinds = ('string',) if 'pattern' in part else ('integer', 'number')
                choices = [c | part if c.get('type') in kinds else c for c in schema.get('anyOf', ())]
                schema = {'anyOf': choices} if choices else schema | part
        return schema
    if origin is None and hint in _BASIC:
        return {'type': _BASIC[hint]}
    if origin is typing.Literal:
        return {'enum': list(arguments)}
    if origin in (typing.Union, types.UnionType):
        # a part that YAML cannot name, such as a Tensor, leaves the others
        parts = [
            of_hint(part)
            for part in arguments  # Python 3.10 takes list[int] for a class
            if of_hint(part) or part is Any or typing.get_origin(part) or not inspect.isclass(part)
        ]
        return {'anyOf': parts} if parts and all(parts) else {}
    if (origin or hint) in _SECTIONS:
        values = of_hint(arguments[1]) if len(arguments) == 2 else {}
        return {'type': 'object', **({'additionalProperties': values} if values else {})}
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        size = len(arguments)
        items = [of_hint(argument) for argument in arguments]
        return {'type': 'array', 'prefixItems': items, 'minItems': size, 'maxItems': size}
    if (origin or hint) in _LISTS:
        values = of_hint(arguments[0]) if arguments else {}
        return {'type': 'array', **({'items': values} if values else {})}
    return {'type': 'string'} if hint is Path else {}


# ---------------------------------------------------------------------- values
def fits(value: Any, schema: dict) -> bool:
    """Whether a value is what a schema of this module describes, or a condition of ``schema.py``."""
    if 'not' in schema:
        return not fits(value, schema['not'])
    choices = [schema['const']] if 'const' in schema else schema.get('enum')
    if choices is not None:
        return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)
    if 'anyOf' in schema:
        return any(fits(value, part) for part in schema['anyOf'])
    if schema.get('type') is not None and not any(_is(value, name) for name in _names(schema)):
        return False
    if isinstance(value, list | tuple):
        parts = schema.get('prefixItems') or [schema.get('items', {})] * len(value)
        return len(value) == len(parts) and all(fits(one, part) for one, part in zip(value, parts, strict=True))
    if isinstance(value, dict):
        own, others = schema.get('properties', {}), schema.get('additionalProperties', {})
        complete = value.keys() >= set(schema.get('required', ()))
        return complete and all(fits(one, own.get(key, others)) for key, one in value.items())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            value >= schema.get('minimum', value)
            and value <= schema.get('maximum', value)
            and ('exclusiveMinimum' not in schema or value > schema['exclusiveMinimum'])
            and ('exclusiveMaximum' not in schema or value < schema['exclusiveMaximum'])
            and ('multipleOf' not in schema or value % schema['multipleOf'] == 0)
        )
    return 'pattern' not in schema or not isinstance(value, str) or re.search(schema['pattern'], value) is not None


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == 'boolean' or not isinstance(value, bool))


def _names(schema: dict) -> set[str]:
    names = schema.get('type', [])
    return {names} if isinstance(names, str) else set(names)


def words(schema: dict) -> str:
    """A schema in words: 'a whole number of at least 1, or ~'."""
    return ' or '.join(dict.fromkeys(_words(schema)))


def _words(schema: dict) -> Iterator[str]:
    if 'title' in schema:
        yield schema['title']
        return
    if 'enum' in schema:
        yield from ('~' if choice is None else f"'{choice}'" for choice in schema['enum'])
    for part in schema.get('anyOf', ()):
        yield from _words(part)
    for name in sorted(_names(schema) if 'anyOf' not in schema else (), key=list(_WORDS).index):
        word = 'a whole number' if 'multipleOf' in schema and name == 'number' else _WORDS[name]
        inner = schema.get('items') or schema.get('additionalProperties')
        if name in ('array', 'object') and isinstance(inner, dict) and words(inner):
            word += f' whose values are each {words(inner)}'
        elif name == 'array' and 'maxItems' in schema:
            word += f' of {schema["maxItems"]}'
        elif name in ('integer', 'number'):
            word += _range(schema)
        yield word


def _range(schema: dict) -> str:
    low, high = schema.get('minimum'), schema.get('maximum')
    if 'exclusiveMaximum' in schema:
        return f' in [{low}, {schema["exclusiveMaximum"]})'
    if 'exclusiveMinimum' in schema:
        return f' above {schema["exclusiveMinimum"]}'
    if low is None:
        return ''
    return f' from {low} to {high}' if high is not None else f' of at least {low}'


# ---------------------------------------------------------------------- docstrings
@cache
def docstring_entries(target: Callable) -> dict[str, tuple[str, str]]:
    """Type in brackets and description of each argument in the docstring of a class or its bases."""
    found: dict[str, tuple[str, str]] = {}
    for owner in target.__mro__ if inspect.isclass(target) else (target,):
        text = vars(owner).get('__doc__') if inspect.isclass(owner) else owner.__doc__
        lines = inspect.cleandoc(text or '').splitlines()
        for number, line in enumerate(lines, 1):
            match = _ENTRY.match(line)
            if not match or not match['indent']:
                continue
            deeper = partial(re.match, match['indent'] + r'\s+\S')
            further = itertools.takewhile(deeper, lines[number:])
            said = [match['text'], *map(str.strip, further)]
            for name in match['names'].split(', '):
                found.setdefault(name, (match['type'] or '', ' '.join(said)))
    return found


def summary_of(target: Callable) -> str:
    """The first paragraph of a docstring of the target's own."""
    text = inspect.cleandoc(target.__doc__ or '')
    return ' '.join(text.split('\n\n')[0].split())
