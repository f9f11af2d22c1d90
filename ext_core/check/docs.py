"""What docstrings say about arguments: their type in brackets, and the sentences after it."""

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

# '    num_feat (int): Channels.', '* gt_size (int): ...', '        amp (str): ...', 'gan_opt: the objective'
_ENTRY = re.compile(
    r'^(?P<indent>\s*)(?:\* )?(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*)(?: ?\((?P<type>[^)]*)\))?: (?P<text>\S.*)$'
)


class Entry(NamedTuple):
    """One argument: the word in brackets, '' where there is none, and its description."""

    kind: str
    text: str


@cache
def entries_of(target: Callable) -> dict[str, Entry]:
    """The arguments that the docstring of a class, or of a base of it, describes."""
    found: dict[str, Entry] = {}
    for base in target.__mro__ if inspect.isclass(target) else (target,):
        for name, entry in _entries(vars(base).get('__doc__') or '' if inspect.isclass(base) else base.__doc__ or ''):
            found.setdefault(name, entry)
    return found


def summary_of(target: Callable) -> str:
    """The first paragraph of a docstring of the target's own."""
    text = inspect.cleandoc(target.__doc__ or '') if target.__doc__ else ''
    return ' '.join(text.split('\n\n')[0].split())


def _entries(text: str) -> list[tuple[str, Entry]]:
    lines = inspect.cleandoc(text).splitlines()
    found: list[tuple[str, Entry]] = []
    number = 0
    while number < len(lines):
        match = _ENTRY.match(lines[number])
        number += 1
        if not match or not match['indent']:
            continue
        words = [match['text']]
        indent = len(lines[number - 1]) - len(lines[number - 1].lstrip())
        while number < len(lines) and lines[number].strip():
            if len(lines[number]) - len(lines[number].lstrip()) <= indent:
                break
            words.append(lines[number].strip())
            number += 1
        for name in match['names'].split(', '):
            found.append((name, Entry(match['type'] or '', ' '.join(words))))
    return found
