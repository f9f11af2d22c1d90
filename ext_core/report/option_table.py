"""Options of several experiments side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from ext_core.options import yaml_safe

ABSENT = '–'
_OWN = ('name',)  # differs always
Line = tuple[str, list[str]]


def flat(options: Mapping[str, Any], prefix: str = '') -> dict[str, str]:
    """Values by their colon paths, as YAML writes them. An empty section is a value."""
    found: dict[str, str] = {}
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f'{prefix}{key}:')
        else:
            found[f'{prefix}{key}'] = _shown(value)
    return found


def _shown(value: Any) -> str:
    if value is None:
        return '~'
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, list | tuple):
        return f'[{", ".join(map(_shown, value))}]'
    if isinstance(value, Mapping):
        return f'{{{", ".join(f"{key}: {_shown(entry)}" for key, entry in value.items())}}}'
    return yaml_safe.dump({'value': value}).removeprefix('value: ').strip()


def table(experiments: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Each option of any experiment and its value in all of them; names of experiments are left out.

    An option that an experiment does not have is :data:`ABSENT`, which is not the same as ``~`` (null).
    """
    columns = [flat(options) for options in experiments]
    keys = dict.fromkeys(key for column in columns for key in column if key not in _OWN)
    ranks: dict[tuple[str, ...], int] = {}  # of sections and options, by where they come first

    def place(key: str) -> list[int]:
        parts = tuple(key.split(':'))
        return [ranks.setdefault(parts[:depth], len(ranks)) for depth in range(1, len(parts) + 1)]

    in_sections = sorted(keys, key=place)  # a section stays together, whoever has what of it
    return [(key, [column.get(key, ABSENT) for column in columns]) for key in in_sections]


def differing(lines: Sequence[Line]) -> list[Line]:
    """Those lines whose values are not all the same."""
    return [(key, values) for key, values in lines if len(set(values)) > 1]
