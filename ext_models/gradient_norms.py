"""How the losses share the generator: the norms of their gradients where all of them begin, at its images."""

import math

import torch
from torch import Tensor

from ext_models.precision import Precision

FAINT = 1000  # times below the sum of the others: such a loss hardly counts


def gradient_at(loss: Tensor, images: Tensor) -> Tensor | None:
    """The gradient of a loss at images, or None where the loss does not depend on them. Its graph is kept."""
    if not loss.requires_grad:
        return None
    return torch.autograd.grad(loss, images, retain_graph=True, allow_unused=True)[0]


class GradientNorms:
    """Euclidean norms of the losses' gradients at a batch of generated images.

    The values of losses cannot be compared: what counts is how strongly each pulls at the images. They are measured now
    and then, for the log, and where a step has these losses for the first time, for :meth:`report`. Measuring costs a
    backward pass for each loss, and changes nothing in the training.

    Args:
        every (int): Measure every so many iterations; 0 is never.
        precision (Precision): The training's, whose scale of the losses is taken out again.
        prefix (str): What the losses' names begin with, which the norms' names leave out.
    """

    def __init__(self, every: int, precision: Precision, prefix: str):
        self.every = every
        self.precision = precision
        self.prefix = prefix
        self.due = False
        self.values: dict[str, Tensor] = {}  # of the last iteration that was measured, on the device
        self._iteration = 0
        self._met: dict[tuple[str, ...], int] = {}  # the losses of a step, and the iteration of the first one
        self._first: dict[str, Tensor] = {}  # norms of losses met since the last report

    def start(self, iteration: int) -> None:
        """Say which iteration begins; :attr:`due` says whether it is measured for the log."""
        self._iteration = iteration
        self.due = self.every > 0 and iteration % self.every == 0
        if self.due:
            self.values = {}

    def wants(self, losses: dict[str, Tensor]) -> bool:
        """Whether to measure these losses now."""
        return self.due or self._are_new(losses)

    def _are_new(self, losses: dict[str, Tensor]) -> bool:
        return self._met.setdefault(tuple(losses), self._iteration) == self._iteration

    def measure(self, losses: dict[str, Tensor], images: Tensor) -> None:
        """Take the gradients of a chunk's losses, as ``backward`` would get them. Their graphs are kept."""
        new = self._are_new(losses)
        for name, loss in losses.items():
            gradient = gradient_at(loss, images)
            norm = torch.linalg.vector_norm(images.new_zeros(1) if gradient is None else gradient, dtype=torch.float32)
            norm = norm / self.precision.scale(torch.ones_like(norm))
            logged = [(self.values, f'grad_{name.removeprefix(self.prefix)}')] if self.due else []
            for norms, key in [*logged, *([(self._first, name)] if new else [])]:
                # the gradient at the whole batch is that at its chunks, side by side
                norms[key] = torch.hypot(norms[key], norm) if key in norms else norm

    def report(self) -> list[str]:
        """Once for losses that were met since the last report: a line with their norms; then doubts, in words.

        This waits for the device. With fp16, gradients that overflow are measured again in the next iteration, as long
        as the scaler can lower its scale.
        """
        if not self._first:
            return []
        names, measured = list(self._first), torch.stack(list(self._first.values()))
        norms = dict(zip(names, measured.tolist(), strict=True))
        self._first = {}
        if not all(map(math.isfinite, norms.values())) and self.precision.scaler.get_scale() > 1:
            self._met = {}
            return []
        self._met = dict.fromkeys(self._met, 0)
        lines = [f'Gradients at the generated images: {", ".join(f"{name} {n:.3g}" for name, n in norms.items())}.']
        for name, norm in norms.items():
            others = sum(other for key, other in norms.items() if key != name and math.isfinite(other))
            if not math.isfinite(norm):
                lines.append(f'{name}: its gradient at the generated images is not finite ({norm}). Lower its weight.')
            elif norm == 0:
                lines.append(
                    f'{name}: its gradient at the generated images is zero, so the generator learns nothing of it. '
                    'Give it a weight, look for a detach() in it, or leave it out.'
                )
            elif norm * FAINT < others:
                lines.append(
                    f'{name}: its gradient at the generated images is {others / norm:,.0f} times below that of the '
                    'others, so the generator learns little of it. Raise its weight, or leave it out; train:'
                    'log_gradient_norms shows whether it grows, as that of an untrained discriminator does.'
                )
        return lines
