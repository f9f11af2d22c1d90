"""The section ``train:nonfinite``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ext_core.check.hints import call_problems, is_number


@dataclass(frozen=True)
class Policy:
    """``train:nonfinite``, what happens when a loss or a gradient is NaN or infinite; all keys may be left out.

    Args:
        action (str): ``stop``: training ends with an error. ``skip``: the batch counts as if it had never been drawn.
            ``rollback``: training goes on from the newest whole checkpoint, with the batches that come next in the
            stream. Default: 'stop'.
        max (int): So many bad batches are passed over in the whole run, resumed parts included; one more ends it.
            Default: 10.
        every (int): So many iterations go by before their results are looked at, and that many batches are kept in
            memory. Default: 10.
    """

    action: Literal['stop', 'skip', 'rollback'] = 'stop'
    max: int = 10
    every: int = 10


def problems(given: Any, model: type) -> Iterator[str]:
    """What is wrong with the section, for this model."""
    where = 'train:nonfinite'
    if given is None:
        return
    if not any('nonfinite' in vars(base).get('EXTRA_TRAIN_KEYS', ()) for base in model.__mro__):
        yield f'{where}: {model.__name__} is not watched, it stops at a bad loss. Remove it, or choose ExtSRModel.'
    if not isinstance(given, dict):
        yield f"{where} must be a section like {{action: skip, max: 10}}, but is '{given}'."
        return
    yield from call_problems(where, Policy, given)
    for key in ('max', 'every'):
        if is_number(given.get(key)) and given[key] < 1:
            yield f"{where}:{key} must be at least 1, but is '{given[key]}'."
