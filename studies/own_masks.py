"""Masks that go beyond the paper, for a comparison in docs/RESULTS.md; option files name them by ``custom_imports``."""

# ruff: noqa: E402  # BasicSR can be imported only after register_all()

from ext_core.registration import register_all

register_all()  # what follows imports BasicSR

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor

from ext_arch.resize import bicubic_downscale
from ext_core.box import from_box
from ext_core.networks.files import open_generator
from ext_losses.mask_loss import ErrorMask


@LOSS_REGISTRY.register()
class StartMask(ErrorMask):
    """clip(k * E / (E_start + 1) + b, 0, 1): the error beside that of the generator that the training starts from.

    Both errors are means of squared grey levels over 7 px. It is k + b where the image is as right as the start's.
    """

    def __init__(self, start: str, scale: int = 4, k: float = 0.2, b: float = 0.5):
        super().__init__(k=k, b=b, error_norm='none')
        self.scale = scale
        self.start = open_generator(from_box(start)).net

    @torch.no_grad()
    def error_map(self, sr: Tensor, gt: Tensor) -> Tensor:
        with torch.autocast(sr.device.type, enabled=False):
            lq = bicubic_downscale(gt.float(), self.scale).clamp(0, 1).mul(255).round() / 255
            return super().error_map(sr, gt) / (super().error_map(self.start(lq), gt) + 1)


@LOSS_REGISTRY.register()
class AnnealedMask(ErrorMask):
    """ErrorMask whose b goes from ``b`` to ``b_end`` over the iterations, in a straight line; at 1 there is no mask.

    It counts calls, and a resumed training counts anew: save a checkpoint at the end only.
    """

    def __init__(self, iterations: int, k: float = 0.2, b: float = 1.0, b_end: float = 0.5):
        super().__init__(k=k, b=b)
        self.iterations, self.step = iterations, (b_end - b) / iterations

    def forward(self, sr: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        self.b += self.step
        return super().forward(sr, gt)
