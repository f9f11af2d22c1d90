"""A problem with an option, and what messages share."""

import difflib
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, TypeGuard

from ext_models.registries import SUFFIX

# put in by the launcher: not for option files
LAUNCHER = frozenset({'is_train', 'dist', 'rank', 'world_size', 'auto_resume', 'reset_optim', 'root_path'})
LAUNCHER_PATHS = frozenset({'experiments_root', 'results_root', 'models', 'training_states', 'log', 'visualization'})
LAUNCHER_DATASETS = frozenset({'phase', 'scale'})


_GOES_ON = ('must ', 'is ', 'needs ', 'lists ', 'has no effect')


class Problem(NamedTuple):
    """What is wrong with an option.

    Args:
        path (str): Colon path of the key, such as ``train:mask_opt:k``; '' where no key is at fault.
        text (str): What is wrong, and the remedy. 'must be ...' and 'is ...' go on from the path as one sentence.
    """

    path: str
    text: str

    def __str__(self) -> str:
        if not self.path:
            return self.text
        separator = ' ' if self.text.startswith(_GOES_ON) else ': '
        return f'{self.path}{separator}{self.text}'


def did_you_mean(word: Any, candidates: Iterable[str]) -> str:
    """' Did you mean ...?', with a leading space, or '' where nothing resembles the word."""
    close = difflib.get_close_matches(str(word), sorted(set(candidates)), n=1)
    return f" Did you mean '{close[0]}'?" if close else ''


def examples(items: Collection[str], limit: int = 3) -> str:
    """The first few of many names."""
    shown = ', '.join(list(items)[:limit])
    return shown if len(items) <= limit else f'{shown} and {len(items) - limit} more'


def section(opt: dict, *keys: str) -> dict:
    """A section of the options, or {} where it is absent or not a section."""
    place: Any = opt
    for key in keys:
        place = place.get(key) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else {}


def is_number(value: Any) -> TypeGuard[float]:
    """True for int and float, but not for bool, which Python counts among them."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def unknown_type(where: str, name: Any, kind: str, names: Iterable[str], of: str = '', more: str = '') -> Problem:
    """A ``type`` that is not among ``names``."""
    if name is None:
        return Problem(f'{where}:type', f'is missing. Name the {kind} there.')
    from ext_losses.pyiqa_networks import PREFIX, how_to_get  # which needs torch; others need problems without it

    if remedy := how_to_get(name):
        return Problem(f'{where}:type', remedy)
    names = {known.removesuffix(SUFFIX) for known in names}
    shown = sorted(known for known in names if not known.startswith(PREFIX))
    hint = did_you_mean(name, names) or f' Registered: {", ".join(shown)}.'
    return Problem(f'{where}:type', f"there is no {kind} '{name}'{of}.{hint}{more}")
