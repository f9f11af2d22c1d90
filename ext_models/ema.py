"""Exponential moving average of a network's weights, a few fused operations for the whole network."""

import torch
from torch import nn


class WeightAverage:
    """Keeps ``average`` the exponential moving average of ``source``.

    average <- decay * average + (1 - decay) * source, for parameters and floating-point buffers; other buffers (such
    as BatchNorm's counters) are copied. BasicSR averages the parameters only, which leaves a BatchNorm generator's EMA
    with the running statistics it was built with.

    Args:
        source (nn.Module): The network that is trained, unwrapped.
        average (nn.Module): Same architecture and device.
    """

    def __init__(self, source: nn.Module, average: nn.Module):
        with torch.no_grad():
            pairs = list(zip(average.state_dict().values(), source.state_dict().values(), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """One step of the average; ``decay=0`` copies the source."""
        average, source = [pair[0] for pair in self._floats], [pair[1] for pair in self._floats]
        if average:
            torch._foreach_mul_(average, decay)
            torch._foreach_add_(average, source, alpha=1 - decay)
        for old, new in self._others:
            old.copy_(new)
