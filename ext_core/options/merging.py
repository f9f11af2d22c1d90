"""How options are put over others: by inheritance, and by overlays that fit any recipe."""

import copy
import fnmatch
import functools
from collections.abc import Iterator
from typing import Any


def merge(base: dict, own: dict) -> dict:
    """``base`` with ``own`` over it: sections are merged key by key, everything else is replaced. ``_delete_: true`` in
    a section drops what it would inherit."""
    merged = copy.deepcopy(base)
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            below = {} if value.get('_delete_') else merged[key]
            merged[key] = merge(below, {name: element for name, element in value.items() if name != '_delete_'})
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def walk(options: dict, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All keys, from the top to each, with their values; sections before what is in them."""
    for key, value in options.items():
        path = (*above, str(key))
        yield path, value
        if isinstance(value, dict):
            yield from walk(value, path)


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
    paths = [path for path, _ in walk(options) if fnmatch.fnmatchcase(':'.join(path), pattern)]
    return [(functools.reduce(dict.__getitem__, above, options), last) for *above, last in paths]


def _format(value: Any, words: dict) -> Any:
    if isinstance(value, dict):
        return {key: _format(element, words) for key, element in value.items()}
    if isinstance(value, list):
        return [_format(element, words) for element in value]
    return value.format(**words) if isinstance(value, str) else copy.deepcopy(value)
