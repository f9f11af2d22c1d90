"""Learning-rate schedules that BasicSR lacks."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class LinearDecayLR(LRScheduler):
    """Constant until ``start``, then linear to 0 at ``total_iter``.

    lr(t) = lr_0 * (1 - max(0, t - start) / (total_iter - start))

    Args:
        optimizer (Optimizer): Its groups' initial rates are lr_0.
        start (int): Iteration after which the rate falls.
        total_iter (int): Iteration at which it would reach 0.
        last_epoch (int): Iterations already done. Default: -1.

    Raises:
        ValueError: If not 0 <= start < total_iter.

    Reference: the schedule of two-stage domain adaptation's first stage: constant 150 epochs, then linear to 0 at 300.
    """

    def __init__(self, optimizer: Optimizer, start: int, total_iter: int, last_epoch: int = -1):
        if not 0 <= start < total_iter:
            raise ValueError(
                f'train:scheduler: LinearDecayLR needs 0 <= start < total_iter, got {start}, {total_iter}.'
            )
        self.start = start
        self.total_iter = total_iter
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list:
        done = max(0, self.last_epoch - self.start) / (self.total_iter - self.start)
        return [base * max(0.0, 1 - done) for base in self.base_lrs]
