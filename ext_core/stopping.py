"""Ctrl-C and SIGTERM end a run at the next whole iteration, on all ranks at the same one."""

import signal
from types import FrameType

import torch
import torch.distributed as dist


class StopSignal:
    """Remembers that a signal asked the run to stop. A second one ends the process at once.

    Use as a context manager around the training loop; the previous handlers come back at its end.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None
        self._group = None

    def __enter__(self) -> 'StopSignal':
        self._previous = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        if dist.is_initialized():
            self._group = dist.new_group(backend='gloo')  # on the CPU: no wait for the device
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def agreed(self) -> int | None:
        """The signal that any rank received, the same answer on all; every rank must ask once an iteration."""
        if self._group is None:
            return self.received
        flag = torch.tensor(self.received or 0)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
        return int(flag) or None
