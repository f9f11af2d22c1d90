"""Are two checkpoints the same, to the last bit, and if not, where do they differ?"""

import math
from typing import Any

import torch


def difference(one: Any, other: Any, where: str = '') -> str | None:
    """The first place where two nested values differ.

    Args:
        one (Any): Tensors, plain values, and dicts, lists and tuples of them.
        other (Any): Likewise. NaN counts as the same as NaN; -0.0 as the same as 0.0.
        where (str): Put before the place.

    Returns:
        str | None: Keys and indices that lead there, such as ``/4.state/optimizers/0/state``; None where all is equal.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        return _first([(key, one.get(key, _ABSENT), other.get(key, _ABSENT)) for key in keys], where)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return _first([(index, *pair) for index, pair in enumerate(zip(one, other, strict=True))], where)
    if torch.is_tensor(one) and torch.is_tensor(other):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return None if alike and torch.equal(_comparable(one), _comparable(other)) else where or '/'
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return None
    return None if type(one) is type(other) and one == other else where or '/'


_ABSENT = object()


def _first(pairs: list[tuple[Any, Any, Any]], where: str) -> str | None:
    return next((found for key, a, b in pairs if (found := difference(a, b, f'{where}/{key}'))), None)


def _comparable(values: torch.Tensor) -> torch.Tensor:
    """NaN is equal to nothing; here two integers stand for each number."""
    if not values.is_floating_point():
        return values
    return torch.stack([values.nan_to_num().double(), values.isnan().double(), values.isinf().double()])
