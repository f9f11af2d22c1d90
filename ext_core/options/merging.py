"""How options are put over others: by inheritance, and by overlays that fit any recipe."""

import copy
import fnmatch
from collections.abc import Iterator
from typing import Any

from ext_core.errors import UserError


def merge(base: dict, own: dict) -> dict:
    """``base`` with ``own`` merged over it by mmengine's rules; a section may also replace a ``~``."""
    from mmengine.config import Config

    base = copy.deepcopy(base)
    _make_room(base, own)
    try:
        merged = Config(base)
        merged.merge_from_dict(own)
        return merged.to_dict()
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # keys that mmengine keeps for itself
        raise UserError(f'the options cannot be merged: {type(error).__name__}: {error}.') from error


def _make_room(base: dict, own: dict) -> None:
    for key, value in own.items():
        if isinstance(value, dict):
            if isinstance(base.get(key), dict):
                _make_room(base[key], value)
            else:
                base.pop(key, None)


def leaves(options: dict, prefix: str = '') -> Iterator[str]:
    """Colon paths of all keys, sections included."""
    for key, value in options.items():
        yield f'{prefix}{key}'
        if isinstance(value, dict):
            yield from leaves(value, f'{prefix}{key}:')


def apply_overlay(options: dict, overlay: dict) -> None:
    """Merge an overlay in place. It knows four kinds of change, so that one file fits any recipe.

    ``at_most``: colon-path patterns with a number; keys that exist are lowered to it (lists: each element).
    ``whole_lr``: patterns of HR sizes, lowered to a multiple of the scale.
    ``replace``: colon-path patterns with a value, put where the key exists.
    ``merge``: a tree merged as ``_base_`` would.
    Text values may hold ``{scale}`` and ``{name}``.
    """
    words = {'scale': options.get('scale', 1), 'name': options.get('name', 'demo')}
    for pattern, limit in overlay.get('at_most', {}).items():
        for section, key in _matches(options, pattern):
            section[key] = _at_most(section[key], limit)
    for pattern in overlay.get('whole_lr', []):
        for section, key in _matches(options, pattern):
            if isinstance(section[key], int):  # what is no number is the check's business
                section[key] -= section[key] % words['scale']
    for pattern, value in overlay.get('replace', {}).items():
        for section, key in _matches(options, pattern):
            section[key] = _format(value, words)
    merged = merge(options, _format(overlay.get('merge', {}), words))
    options.clear()
    options.update(merged)


def _at_most(value: Any, limit: Any) -> Any:
    if isinstance(value, list):
        return [_at_most(element, limit) for element in value]
    return min(value, limit) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _matches(options: dict, pattern: str) -> list[tuple[dict, str]]:
    found = []
    for path in list(leaves(options)):
        if fnmatch.fnmatchcase(path, pattern):
            *sections, last = path.split(':')
            place = options
            for key in sections:
                place = place[key]
            found.append((place, last))
    return found


def _format(value: Any, words: dict) -> Any:
    if isinstance(value, dict):
        return {key: _format(element, words) for key, element in value.items()}
    if isinstance(value, list):
        return [_format(element, words) for element in value]
    return value.format(**words) if isinstance(value, str) else copy.deepcopy(value)
