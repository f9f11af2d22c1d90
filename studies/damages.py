"""Damages of option files, drawn by Hypothesis: what people do to them, and what nobody should."""

# ruff: noqa: E402  # BasicSR can be imported only after register_all()
import math
import re
from typing import Any

import hypothesis
import yaml
from hypothesis import strategies as st

from ext_core.registration import register_all

register_all()  # what follows imports BasicSR

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ext_core.options import yaml_safe

LINE = re.compile(r'^(?P<indent> *)(?P<key>[\w*?:]+):(?P<space> *)(?P<value>[^#\n]*?)(?P<rest>\s*(?:#.*)?)$')
NUMBER = re.compile(r'^(?:!!float )?[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$')
LETTERS = st.sampled_from('abcdefghijklmnopqrstuvwxyz_-. 1A')
WORDS = st.text(LETTERS, max_size=6)
NUMBERS = (
    st.sampled_from([-1, 0, 0.5, 1.5, 1e30, 1e-30, math.nan, math.inf]) | st.integers(-(10**15), 10**15) | st.floats()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | WORDS | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.just('type'), inner, max_size=2),
    max_leaves=3,
)
# fmt: off
TAGS = [
    '!!python/object/apply:os.getcwd []', '!!python/name:os.system', '!!python/tuple [1, 2]', '!!int abc', '!!binary x',
    '!!set {a, b}', '!!timestamp 1', '!!map 5', '!!seq 5', '!custom 3', '&a [*a]', '*nothing', '!!bool maybe',
    '!!omap [a: 1]', '!!float',
]
# fmt: on
SCHEDULES = ['MultiStepLR', 'CosineAnnealingRestartLR', 'LinearDecayLR', 'StepLR', 'ReduceLROnPlateau']
OPTIMIZERS = ['Adam', 'AdamW', 'SGD', 'RMSprop', 'LBFGS']
REGISTRIES = (ARCH_REGISTRY, LOSS_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY)


def flow(value: Any) -> str:
    """A value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).splitlines()[0]


@st.composite
def damages(draw: Any, text: str) -> tuple[str, str]:
    """The kind of a damage, and the text that it leaves of an option file."""
    rows = text.splitlines()
    every = {number: match for number, row in enumerate(rows) if (match := LINE.match(row))}
    values = [number for number, line in every.items() if line['value']]
    sections = [number for number in every if number not in values]
    anywhere = ('misspelt', 'removed', 'doubled', 'tag', 'cut line', 'indentation', 'cut file', 'character')
    kinds = {kind: list(every) for kind in anywhere}
    kinds |= {
        'moved': list(every) if sections else [],
        'other type': values,
        'out of range': [n for n in values if NUMBER.match(every[n]['value']) or every[n]['value'][0] == '['],
        'path': [n for n in values if '/' in every[n]['value'] or 'pretrain' in every[n]['key']],
        'component': [n for n in values if every[n]['key'] in ('type', 'model_type')],
        'valid': [n for n in values if re.match(r'[\d\[]|!!float|true|false|~', every[n]['value'])],
        'section': sections,
    }
    kind = draw(st.sampled_from([kind for kind, lines in kinds.items() if lines]))
    number = draw(st.sampled_from(kinds[kind]))
    row, line = rows[number], every[number]
    indent, key, value = len(line['indent']), line['key'], line['value']
    end = number + 1  # after the last row of the key
    for later in range(number + 1, len(rows)):
        if rows[later].strip() and not rows[later].lstrip().startswith('#'):
            if len(rows[later]) - len(rows[later].lstrip()) <= indent:
                break
            end = later + 1
    new = value
    if kind == 'misspelt':
        at, letter = draw(st.integers(0, len(key) - 1)), draw(LETTERS)
        swapped = key[:at] + key[at : at + 2][::-1] + key[at + 2 :]
        key = draw(st.sampled_from([key[:at] + key[at + 1 :], key[:at] + letter + key[at:], swapped, key.upper()]))
    elif kind == 'other type':
        new = flow(draw(VALUES))
    elif kind == 'out of range':
        parts = value.strip('[]').split(',')
        parts[draw(st.integers(0, len(parts) - 1))] = f' {flow(draw(NUMBERS))}'
        new = f'[{",".join(parts).strip()}]' if value[0] == '[' else parts[0].strip()
    elif kind == 'path':
        cut = value[: draw(st.sampled_from([at for at, letter in enumerate(value) if letter == '/'] or [0]))]
        broken = [value + 'x', value[1:], cut, f'/{value}', f'~nobody/{value}', value.replace('/', '\\'), f'{value}/']
        new = draw(st.sampled_from([*broken, f'"{value}\\0"', '.', "''", f'[{value}, {value}]', 'a' * 300]))
    elif kind == 'component':
        names = {name.removesuffix('_basicsr') for registry in REGISTRIES for name, _ in registry}
        new = draw(st.sampled_from([*SCHEDULES, *OPTIMIZERS, *sorted(names)]))
    elif kind == 'valid':
        old = yaml_safe.parse(value)
        item = draw(st.sampled_from(old or [1])) if isinstance(old, list) else old
        if isinstance(item, bool) or item is None:
            other = not item
        elif isinstance(item, int | float):
            other = draw(st.sampled_from([item + 1, item * 2, type(item)(item / 2), max(item - 1, 0)]))
        else:
            other = item
        new = flow([other if part == item else part for part in old] if isinstance(old, list) else other)
    elif kind == 'tag':
        new = draw(st.sampled_from(TAGS))
    if kind == 'removed':
        rows[number:end] = []
    elif kind == 'doubled':
        rows[number:number] = rows[number:end]
    elif kind == 'moved':
        target = draw(st.sampled_from(sections))
        hypothesis.assume(not number <= target < end)
        deeper = len(every[target]['indent']) + 2 - indent
        block = [' ' * deeper + moved if deeper > 0 else moved[min(-deeper, indent) :] for moved in rows[number:end]]
        rest = {at: [kept] for at, kept in enumerate(rows) if not number <= at < end}
        rest[target] += block
        rows = [kept for group in rest.values() for kept in group]
    elif kind == 'section':
        rows[number:end] = [f'{line["indent"]}{key}: {flow(draw(VALUES))}']
    elif kind == 'cut line':
        rows[number] = row[: draw(st.integers(0, len(row) - 1))]
    elif kind == 'indentation':
        rows[number] = draw(st.sampled_from(['', ' ', '  ', '   ', '    ', ' ' * 6, '\t'])) + row.lstrip()
    elif kind in ('cut file', 'character'):
        at = draw(st.integers(0, len(text) - 1))
        letter = draw(st.sampled_from('x :-#[{"\'\n\t&*!%@0\x00é'))
        rows = [text[:at] + (letter + text[at + 1 :] if kind == 'character' else '')]
    else:
        rows[number] = f'{line["indent"]}{key}: {new}{line["rest"]}'
    damaged = '\n'.join(rows) + '\n' * (kind not in ('cut file', 'character'))
    hypothesis.assume(damaged != text)
    return kind, damaged


def described(kind: str, before: str, after: str) -> str:
    """Where two texts part."""
    old, new = [*before.splitlines(), ''], [*after.splitlines(), '']
    at = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)) - 1)
    return f'{kind}: line {at + 1}: {old[at].strip()!r} becomes {new[at].strip()!r}'
