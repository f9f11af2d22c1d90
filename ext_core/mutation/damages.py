"""Random damages to the text of an option file, as slips of the hand, of an editor or of a copy make them."""

import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

_LINE = re.compile(r'^(?P<indent> *)(?P<key>[\w*?:]+):(?P<space> *)(?P<value>[^#\n]*?)(?P<rest>\s*(?:#.*)?)$')
_NUMBER = re.compile(r'^(?:!!float )?[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$')
_TYPES = [
    'seven',
    '[1, 2]',
    '{a: 1}',
    'true',
    '3',
    '~',
    "''",
    '0.5',
    '[[]]',
    '[abc]',
    '2024-01-01',
    '{type: ~}',
    '{}',
    '[]',
]
_NUMBERS = [
    '-1',
    '0',
    '-0.5',
    '1e30',
    '.nan',
    '.inf',
    '-.inf',
    '1000000',
    '0.5',
    '1.5',
    '1e-30',
    '99999999999999',
    '7',
    '3',
]
_TAGS = [
    '!!python/object/apply:os.getcwd []',
    '!!python/name:os.system',
    '!!python/tuple [1, 2]',
    '!!int abc',
    '!!binary x',
    '!!set {a, b}',
    '!!timestamp 1',
    '!!map 5',
    '!!seq 5',
    '!custom 3',
    '&a [*a]',
    '*nothing',
    '!!bool maybe',
    '!!omap [a: 1]',
    '!!str 5',
    '!!float',
]


class Damage(NamedTuple):
    """What was done: its kind, where and how, and the text that it leaves."""

    kind: str
    what: str
    text: str


class _Line(NamedTuple):
    number: int
    indent: int
    key: str
    value: str
    rest: str


class Damager:
    """Damages one text.

    Args:
        text (str): The option file.
        types (Sequence[str]): Names that a ``type`` can have, to take another one's.
    """

    def __init__(self, text: str, types: Sequence[str] = ()):
        self.text = text
        self.types = list(types)
        self.rows = text.splitlines()
        self.lines = [
            _Line(number, len(match['indent']), match['key'], match['value'].strip(), match['rest'])
            for number, row in enumerate(self.rows)
            if (match := _LINE.match(row))
        ]
        self.kinds: dict[str, Callable[[random.Random], tuple[str, list[str] | str]]] = {
            'key misspelt': self._misspell,
            'type changed': self._other_type,
            'number out of range': self._number,
            'path broken': self._path,
            'another type named': self._named,
            'key removed': self._remove,
            'section replaced': self._section,
            'line cut': self._cut,
            'indentation broken': self._indent,
            'key duplicated': self._duplicate,
            'YAML tag injected': self._tag,
            'file cut short': self._short,
            'character changed': self._character,
        }

    def damage(self, generator: random.Random) -> Damage:
        """One random damage; the text is another than before."""
        while True:
            kind = generator.choice(list(self.kinds))
            try:
                what, rows = self.kinds[kind](generator)
            except IndexError:  # the file has nothing of that kind
                continue
            text = rows if isinstance(rows, str) else '\n'.join(rows) + '\n'
            if text != self.text:
                return Damage(kind, what, text)

    # ------------------------------------------------------------------ one line
    def _replaced(self, line: _Line, key: str, value: str) -> tuple[str, list[str]]:
        row = f'{" " * line.indent}{key}: {value}{line.rest}'
        return f'line {line.number + 1}: {row.strip()}', [
            *self.rows[: line.number],
            row,
            *self.rows[line.number + 1 :],
        ]

    def _misspell(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self.lines)
        place = generator.randrange(len(line.key))
        letter = generator.choice('abcdefghijklmnopqrstuvwxyz_-. 1A')
        changed = generator.choice(
            [
                line.key[:place] + line.key[place + 1 :],
                line.key[:place] + letter + line.key[place:],
                line.key[:place] + line.key[place : place + 2][::-1] + line.key[place + 2 :],
                line.key.upper(),
            ]
        )
        return self._replaced(line, changed or 'x', line.value)

    def _values(self, fits: Callable[[_Line], object]) -> list[_Line]:
        return [line for line in self.lines if line.value and fits(line)]

    def _other_type(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self._values(lambda line: True))
        return self._replaced(line, line.key, generator.choice(_TYPES))

    def _number(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self._values(lambda line: _NUMBER.match(line.value) or line.value.startswith('[')))
        value = generator.choice(_NUMBERS)
        if line.value.startswith('['):
            parts = line.value.strip('[]').split(',')
            parts[generator.randrange(len(parts))] = f' {value}'
            value = f'[{",".join(parts).strip()}]'
        return self._replaced(line, line.key, value)

    def _path(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self._values(lambda line: '/' in line.value or 'pretrain' in line.key))
        places = [at for at, letter in enumerate(line.value) if letter == '/'] or [0]
        changed = generator.choice(
            [
                line.value + 'x',
                line.value[1:],
                line.value[: generator.choice(places)],
                f'/{line.value}',
                f'~nobody/{line.value}',
                line.value.replace('/', '\\'),
                f'"{line.value}\\0"',
                f'{line.value}/',
                '.',
                "''",
                f'[{line.value}, {line.value}]',
                'a' * 300,
            ]
        )
        return self._replaced(line, line.key, changed)

    def _named(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self._values(lambda line: line.key in ('type', 'model_type')))
        return self._replaced(line, line.key, generator.choice(self.types))

    def _tag(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self.lines)
        return self._replaced(line, line.key, f'{generator.choice(_TAGS)}')

    # ------------------------------------------------------------------ several lines
    def _end(self, line: _Line) -> int:
        """Row after the last that is within a key."""
        within = line.number + 1
        for number in range(line.number + 1, len(self.rows)):
            row = self.rows[number]
            if row.strip() and not row.lstrip().startswith('#'):
                if len(row) - len(row.lstrip()) <= line.indent:
                    break
                within = number + 1
        return within

    def _remove(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self.lines)
        what = f'line {line.number + 1}: {line.key} removed'
        return what, self.rows[: line.number] + self.rows[self._end(line) :]

    def _section(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice([line for line in self.lines if not line.value])
        row = f'{" " * line.indent}{line.key}: {generator.choice(_TYPES)}'
        what = f'line {line.number + 1}: section replaced by {row.strip()}'
        return what, [*self.rows[: line.number], row, *self.rows[self._end(line) :]]

    def _cut(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self.lines)
        row = self.rows[line.number][: generator.randrange(len(self.rows[line.number]))]
        what = f'line {line.number + 1} cut to: {row.strip()}'
        return what, [*self.rows[: line.number], row, *self.rows[line.number + 1 :]]

    def _indent(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self.lines)
        indent = generator.choice([indent for indent in (0, 1, 2, 3, 4, 5, 6, 8) if indent != line.indent])
        row = generator.choice([' ' * indent, '\t']) + self.rows[line.number].lstrip()
        what = f'line {line.number + 1} indented: {row!r}'
        return what, [*self.rows[: line.number], row, *self.rows[line.number + 1 :]]

    def _duplicate(self, generator: random.Random) -> tuple[str, list[str]]:
        line = generator.choice(self.lines)
        block = self.rows[line.number : self._end(line)]
        return f'line {line.number + 1}: {line.key} twice', self.rows[: line.number] + block + self.rows[line.number :]

    # ------------------------------------------------------------------ the text
    def _short(self, generator: random.Random) -> tuple[str, str]:
        length = generator.randrange(len(self.text))
        return f'cut after {length} characters', self.text[:length]

    def _character(self, generator: random.Random) -> tuple[str, str]:
        place = generator.randrange(len(self.text))
        letter = generator.choice('x :-#[{"\'\n\t&*!%@0\x00é')
        line = self.text.count('\n', 0, place) + 1
        return f'line {line}: a character becomes {letter!r}', self.text[:place] + letter + self.text[place + 1 :]
