"""Ctrl-C, SIGTERM and SIGHUP end a run at the next whole iteration, on all ranks at the same one."""

import signal
import threading
import time
from types import FrameType

import torch
import torch.distributed as dist

from ext_core.compat.distribution import TIMEOUT

PATIENCE = 2.0  # seconds in which a repeated Ctrl-C counts as the same one: launchers pass signals on a second time


class StopSignal:
    """Remembers that a signal asked the run to stop. Ctrl-C once more, ``PATIENCE`` later, ends the process at once.

    A repeated SIGTERM is ignored: Slurm and torchrun send it to every process and pass it on as well. SIGHUP comes when
    the terminal or its connection closes, and stays ignored under nohup. Python handles signals in the main thread
    alone; in another one a run goes on to its end. Use as a context manager around training and its last checkpoint;
    the previous handlers come back at its end.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, 'SIGHUP') else []))

    def __init__(self) -> None:
        self.received: int | None = None
        self._received_at = 0.0
        self._group = None
        self._asked: tuple | None = None  # what the ranks have, and the exchange of it, since the last iteration

    def __enter__(self) -> 'StopSignal':
        main = threading.current_thread() is threading.main_thread()
        heard = [number for number in self.SIGNALS if main and signal.getsignal(number) is not signal.SIG_IGN]
        self._previous = {number: signal.signal(number, self._handle) for number in heard}
        if dist.is_initialized():
            # on the CPU: no wait for the device; as patient as the default group while rank 0 validates
            self._group = dist.new_group(backend='gloo', timeout=TIMEOUT)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._asked is not None and exception[0] is None:
            self._asked[1].wait()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._received_at = number, now
        elif number == signal.SIGINT and now - self._received_at > PATIENCE:
            raise KeyboardInterrupt

    def agreed(self) -> int | None:
        """The signal that any rank received, the same on all; every rank must ask once an iteration.

        With several ranks it is the answer to the question of the iteration before, so that none waits for another.
        """
        if self._group is None:
            return self.received
        answer = self._asked
        flag = torch.tensor(self.received or 0)
        self._asked = flag, dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        if answer is None:
            return None
        answer[1].wait()
        return int(answer[0]) or None
