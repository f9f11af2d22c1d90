"""A progress line with the time left, where a person is watching."""

import logging
import sys

from basicsr.utils import get_root_logger
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm


class ProgressLine:
    """tqdm's line on a terminal, on rank 0; nothing in a pipe or a file, where BasicSR's plain log lines stand.

    Args:
        opt (dict): Options of the run.
        start (int): Iterations already done.
    """

    def __init__(self, opt: dict, start: int):
        shown = sys.stderr.isatty() and opt['rank'] == 0
        self._bar = tqdm(
            total=int(opt['train']['total_iter']),
            initial=start,
            unit='it',
            dynamic_ncols=True,
            smoothing=0.05,
            desc=str(opt['name'])[:24],
            disable=not shown,
        )
        loggers: list[logging.Logger] = [get_root_logger()] if shown else []
        self._redirect = logging_redirect_tqdm(loggers=loggers)

    def __enter__(self) -> 'ProgressLine':
        self._redirect.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._redirect.__exit__(None, None, None)
        self._bar.close()

    def show(self, iteration: int) -> None:
        """So many iterations are done; fewer than before where a run has gone back."""
        self._bar.update(iteration - self._bar.n)
