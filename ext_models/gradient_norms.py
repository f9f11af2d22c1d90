"""How the losses share the generator: the norms of their gradients where all of them begin, at its images."""

import torch
from torch import Tensor

from ext_models.precision import Precision


class GradientNorms:
    """Euclidean norms of the losses' gradients at a batch of generated images, measured now and then.

    The values of losses cannot be compared: what counts is how strongly each pulls at the images. Measuring costs a
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

    def start(self, iteration: int) -> None:
        """Say which iteration begins; :attr:`due` says whether it is measured."""
        self.due = self.every > 0 and iteration % self.every == 0
        if self.due:
            self.values = {}

    def measure(self, losses: dict[str, Tensor], images: Tensor) -> None:
        """Take the gradients of a chunk's losses, as ``backward`` would get them. Their graphs are kept."""
        for name, loss in losses.items():
            (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
            norm = torch.linalg.vector_norm(gradient, dtype=torch.float32)
            norm = norm / self.precision.scale(torch.ones_like(norm))
            key = f'grad_{name.removeprefix(self.prefix)}'
            # the gradient at the whole batch is that at its chunks, side by side
            self.values[key] = torch.hypot(self.values[key], norm) if key in self.values else norm
