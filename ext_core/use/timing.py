"""Timing variants against one another on a machine whose speed changes: they alternate, and neighbours are compared."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch


def alternate(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant in each round, in an order that rotates. A first round, which allocates, is not counted.

    Args:
        variants (Mapping[str, Callable[[], object]]): What to time, by name. The device is waited for.
        rounds (int): 2 or more, for quartiles.
    """
    names = list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + 1):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            variants[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken = time.perf_counter() - started
            if round_ > 0:
                seconds[name].append(taken)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> dict:
    """Median and quartiles of the ratio within a round."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(above, below, strict=True)], n=4)
    return {'median': middle, 'quartiles': [low, high]}
