"""Words for messages, and what several checks need to look things up."""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeGuard

from ext_core.check import kinds, sources

_BASICSR_SUFFIX = '_basicsr'


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


def look_up(registry: Any, name: Any) -> Any:
    """What BasicSR's registry holds under a name, with or without its suffix, or None. Prints nothing."""
    entries = dict(iter(registry))
    return entries.get(name) or entries.get(f'{name}{_BASICSR_SUFFIX}') if isinstance(name, str) else None


def unknown_type(where: str, name: Any, kind: str, *registries: Any) -> str:
    """The message for a ``type`` that no registry holds."""
    if name is None:
        return f'{where}:type is missing. Name the {kind} there.'
    names = {key.removesuffix(_BASICSR_SUFFIX) for registry in registries for key, _ in registry}
    hint = did_you_mean(name, names) or f' Registered: {", ".join(sorted(names))}.'
    return f"{where}:type: there is no {kind} '{name}'.{hint}"


def call_problems(where: str, target: Callable, arguments: dict, given: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with calling a registered class or function with an option section.

    Args:
        where (str): Colon path of the section.
        target (Callable): Class or function.
        arguments (dict): The section; ``type`` is left out.
        given (Collection[str]): Parameters that the caller provides; the section must not name them.
    """
    parameters, takes_any = kinds.parameters_of(target)
    # what disappears in **kwargs counts as known only if the code reads it from there
    read = sources.strings_of(target) if takes_any else frozenset()
    open_names = [name for name in parameters if name not in given]
    name_of_target = getattr(target, '__name__', str(target))
    for key, value in arguments.items():
        if key == 'type':
            continue
        if key not in open_names and (key in given or (read is not None and key not in read)):
            hint = did_you_mean(key, open_names) or f' It takes: {", ".join(open_names) or "none"}.'
            yield f'{where}:{key}: {name_of_target} has no such argument.{hint}'
        elif key in parameters:
            wanted = kinds.described(target, key)
            if not kinds.fits(value, wanted):
                shown = f"the text '{value}'" if isinstance(value, str) else f"'{value}'"
                yield f'{where}:{key} must be {kinds.words(wanted)}, but is {shown}.'
    for name in open_names:
        if parameters[name].default is inspect.Parameter.empty and name not in arguments:
            yield f'{where}:{name} is missing: {name_of_target} needs it.'
