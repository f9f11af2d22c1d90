"""Parts of the option reference: what an argument takes, its default and its meaning, as rows of Markdown tables."""

import ast
import inspect
import re
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import basicsr

from ext_core.check import docs, kinds, sections
from ext_core.schema import words

# where the code that reads a section's keys is, and how it writes the section
_ROOT = Path(__file__).resolve().parents[2]
_READERS = (
    *(_ROOT / name for name in ('ext_core/launch.py', 'ext_core/config', 'ext_core/training', 'ext_core/saving')),
    _ROOT / 'ext_models',
    *(Path(basicsr.__file__).parent / name for name in ('data/__init__.py', 'models/base_model.py')),
)
_PLACES = {
    '': ('opt', 'self.opt'),
    'datasets': ('opt', 'self.opt', 'data_opt', 'dataset_opt'),
    'path': ('path_opt', "opt['path']", "self.opt['path']"),
    'train': ('train_opt', "opt['train']", "self.opt['train']"),
    'val': ("opt['val']", "self.opt['val']"),
    'logger': ('logger_opt', "opt['logger']", "self.opt['logger']"),
}
_SAID_DEFAULT = re.compile(r"\s*Default: ((?:'[^']*'|[^.]|\.(?=\d))*)\.(?=\s|$)")
_SHORTER = re.compile(r' whose values are each (?:a )?(.+)$')
# keys of which neither the check's tables nor a docstring say the kind
_KINDS = {
    'a section': re.compile(r'.*_opt|optim_.|network_.*|scheduler|io_backend|dist_params'),
    'a list': re.compile('mean|std|ignore_resume_networks'),
    'text': re.compile('name|type|color|param_key_.'),
}
_TYPES = {'int': 'a whole number', 'float': 'a number', 'str': 'text', 'bool': 'true or false', 'dict': 'a section',
          'list': 'a list', 'tuple': 'a list'}  # fmt: skip


class Row(NamedTuple):
    """A key or argument."""

    key: str
    kind: str
    default: str
    text: str


def table(head: str, rows: Iterable[Row]) -> str:
    """A Markdown table, with an empty line after it."""
    lines = [f'| {head} | takes | default | meaning |', '|---|---|---|---|']
    lines += [f'| `{row.key}` | {row.kind} | {row.default} | {row.text} |' for row in rows]
    return '\n'.join(lines) + '\n'


def argument_rows(target: Callable, given: Collection[str]) -> list[Row]:
    """The arguments of a class or function, but for those that are given to it."""
    parameters = {name: p for name, p in kinds.parameters_of(target)[0].items() if name not in given}
    return [_argument(target, name, parameter.default) for name, parameter in parameters.items()]


def _argument(target: Callable, name: str, default: Any) -> Row:
    entry = docs.entries_of(target).get(name, docs.Entry('', ''))
    text, _ = _split(entry.text)
    shown = 'needed' if default is inspect.Parameter.empty else f'`{_yaml(default)}`'
    return Row(name, kind_of(kinds.described(target, name)) or _type(entry.kind), shown, text)


def section_row(section: str, key: str, schema: dict, owner: Any = None) -> Row:
    """A key of a section, as the schema and the docstring of its class have it."""
    known = {**words.described(section, key, {}), **schema}
    entry = docs.entries_of(owner).get(key) if owner else None
    text, said = _split(known.get('description', '') if not entry or _is_named(section, key) else entry.text)
    number = sections.NUMBERS.get(f'{section}:{key}' if section else key) or (
        sections.DATASET_NUMBERS.get(key) if section == 'datasets' else None
    )
    guess = next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(key)), '')
    kind = number.wanted if number else kind_of(known) or _type(entry.kind if entry else '') or guess
    return Row(key, kind, said or default_of(section, key), text)


def _is_named(section: str, key: str) -> bool:
    """Whether a key of the training means the same for all models, so that no docstring explains it."""
    return section == 'train' and 'description' in words.described(section, key, {})


@cache
def _defaults(section: str) -> dict[str, str]:
    """What the code takes for absent keys: ``train_opt.get('accumulate', 1)``."""
    found: dict[str, str] = {}
    files = (file for place in _READERS for file in ([place] if place.is_file() else sorted(place.glob('*.py'))))
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 2:
                key, value = node.args
                is_read = node.func.attr == 'get' and ast.unparse(node.func.value) in _PLACES[section]
                if is_read and isinstance(key, ast.Constant) and isinstance(value, ast.Constant | ast.UnaryOp):
                    found.setdefault(str(key.value), f'`{_yaml(ast.literal_eval(value))}`')
    return found


def default_of(section: str, key: str) -> str:
    """The default of a key in a section; '' where the code has none."""
    return _defaults(section).get(key, '')


def signature_of(name: str, target: Callable, given: Collection[str]) -> str:
    """A call with its defaults, as Python writes it."""
    parameters = kinds.parameters_of(target)[0]
    shown = (n if p.default is p.empty else f'{n}={p.default!r}' for n, p in parameters.items() if n not in given)
    return f'{name}({", ".join(shown)})'


def file_of(target: Any) -> str:
    """A link to the file of a class or function of ours."""
    path = f'{target.__module__.replace(".", "/")}.py'
    return f'[{path}](../{path})'


# ---------------------------------------------------------------------- words
def kind_of(schema: dict) -> str:
    """What a value may be."""
    if 'enum' in schema:
        return _cell(', '.join(f'`{choice}`' for choice in schema['enum'] if choice is not None))
    if 'anyOf' in schema:
        return ' or '.join(filter(None, dict.fromkeys(map(kind_of, schema['anyOf']))))
    names = schema.get('type', [])
    named = [name for name in ([names] if isinstance(names, str) else names) if name != 'null']
    return _SHORTER.sub(r' of \1s', kinds.words({**schema, 'type': named})) if named else ''


def prose(text: str) -> str:
    """A docstring's words in Markdown: reST's double backticks and roles as code, and no HTML."""
    text = re.sub(r':\w+:`~?(?:[\w.]*\.)?(\w+)`', r'`\1`', text).replace('``', '`')
    parts = re.split(r'(`[^`]*`)', text)
    return ''.join(part if part.startswith('`') else re.sub(r'([<*|])', r'\\\1', part) for part in parts)


def _cell(text: str) -> str:
    text = prose(re.sub(r'\bNone\b', '`~`', ' '.join(text.split()).replace(' | ', ' or ')))
    return text[:1].upper() + text[1:] if re.match('[a-z]+,? ', text) else text


def _type(kind: str) -> str:
    """The word in brackets of a docstring."""
    names = (re.sub(r'\[.*', '', part.strip()) for part in re.split(r'\||,| or ', kind))
    return ' or '.join(dict.fromkeys(_TYPES[name] for name in names if name in _TYPES))


def _split(text: str) -> tuple[str, str]:
    """A description without its last sentence, 'Default: ...', and what that says."""
    match = _SAID_DEFAULT.search(text)
    if not match:
        return _cell(text), ''
    said = match[1].strip("'")
    return _cell(text[: match.start()] + text[match.end() :]), f'`{said.lower()}`' if ' ' not in said else prose(said)


def _yaml(value: Any) -> str:
    """A default as an option file has it."""
    names: dict[Any, str] = {None: '~', True: 'true', False: 'false'}
    if value is None or isinstance(value, bool):
        return names[value]
    if isinstance(value, list | tuple):
        return f'[{", ".join(map(_yaml, value))}]'
    if isinstance(value, dict):
        return f'{{{", ".join(f"{key}: {_yaml(one)}" for key, one in value.items())}}}'
    return str(value) if value != '' else "''"
