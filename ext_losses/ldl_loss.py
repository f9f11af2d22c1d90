"""Locally discriminative learning: an L1 loss where the image shows artefacts, not details."""

import torch
from basicsr.losses.loss_util import get_refined_artifact_map
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


@LOSS_REGISTRY.register()
class LDLLoss(nn.Module):
    """L1 loss of a GAN's images, weighted by how likely a pixel is an artefact (LDL).

    L = loss_weight * mean M |sr - gt|,  with r = sum_c |gt - sr| and r_ema = sum_c |gt - sr_ema|:

    M = var(r)^(1/5) * localvar(r)  where r >= r_ema, else 0

    var is that of the whole crop, localvar that of the window around each pixel, mirrored at the border. Averaged
    weights (``train:ema_decay``) make steadier images: where the trained network is nearer to the ground truth than
    they are, it makes details, and is left alone. Values and gradients, which pass through M too, are those of
    BasicSR's RealESRGANModel with ``ldl_opt``. Computed in float32 also under autocast.

    Args:
        loss_weight (float): Factor on the result. Default: 1.0.
        window (int): Side of the window in pixels, odd, from 3. Default: 7.

    Shape:
        sr, gt, sr_ema: (n, c, h, w), range [0, 1], h and w more than half the window. Output: scalar.

    Raises:
        ValueError: If the window is even or smaller than 3.

    Reference: Liang et al., Details or Artifacts: A Locally Discriminative Learning Approach to Realistic Image
    Super-Resolution, CVPR 2022, eq. 3-6.
    """

    def __init__(self, loss_weight: float = 1.0, window: int = 7) -> None:
        super().__init__()
        if window < 3 or window % 2 == 0:
            raise ValueError(f'window must be odd and at least 3, but is {window}.')
        self.loss_weight, self.window = loss_weight, window

    def forward(self, sr: Tensor, gt: Tensor, sr_ema: Tensor) -> Tensor:
        """Loss of ``sr`` against ``gt``; ``sr_ema`` is what the averaged network makes of the same input."""
        with torch.autocast(sr.device.type, enabled=False):
            sr, gt, sr_ema = (x if x.dtype == torch.float64 else x.float() for x in (sr, gt, sr_ema))
            weights = get_refined_artifact_map(gt, sr, sr_ema, self.window)
            return self.loss_weight * F.l1_loss(weights * sr, weights * gt)
