"""Focal frequency loss: the distance of spectra, weighted by where it is large."""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn


@LOSS_REGISTRY.register()
class FocalFrequencyLoss(nn.Module):
    """Squared distance of two images' spectra, with most weight on the frequencies that differ most.

    L = loss_weight * mean_uv w(u, v) |F_sr(u, v) - F_gt(u, v)|^2,  w = |F_sr - F_gt|^alpha / max_uv |F_sr - F_gt|^alpha

    F is the orthonormal discrete Fourier transform of each channel, of each patch where the image is cut into some; w
    is a constant for the gradient. Computed in float32 also under autocast.

    Args:
        loss_weight (float): Factor on the result. Default: 1.0.
        alpha (float): How much more large differences count; 0 is the mean squared error. Default: 1.0.
        patch_factor (int): Both sides are cut into this many patches. Default: 1.

    Shape:
        x, gt: (n, c, h, w), range [0, 1], h and w multiples of patch_factor. Output: scalar.

    Raises:
        ValueError: If alpha is negative, patch_factor below 1, or (in ``forward``) images are no multiple of it.

    Reference: Jiang et al., Focal Frequency Loss for Image Reconstruction and Synthesis, ICCV 2021, eq. 5-8.
    """

    def __init__(self, loss_weight: float = 1.0, alpha: float = 1.0, patch_factor: int = 1) -> None:
        super().__init__()
        if alpha < 0 or patch_factor < 1:
            raise ValueError(
                f'alpha must not be negative and patch_factor at least 1, but they are {alpha} and {patch_factor}.'
            )
        self.loss_weight, self.alpha, self.patch_factor = loss_weight, alpha, patch_factor

    def forward(self, x: Tensor, gt: Tensor) -> Tensor:
        """Loss of ``x`` against ``gt``, see the class."""
        parts, (height, width) = self.patch_factor, x.shape[-2:]
        if height % parts or width % parts:
            raise ValueError(
                f'FocalFrequencyLoss: images of {height} x {width} px cannot be cut into {parts} x {parts} patches. '
                'Change patch_factor or gt_size.'
            )
        with torch.autocast(x.device.type, enabled=False):
            residual = x - gt if x.dtype == torch.float64 else x.float() - gt.float()
            patches = residual.unfold(2, height // parts, height // parts).unfold(3, width // parts, width // parts)
            spectrum = torch.fft.fft2(patches, norm='ortho')  # linear: the difference of both spectra
            squared = spectrum.real.square() + spectrum.imag.square()
            weights = squared.detach() ** (self.alpha / 2)
            weights = weights / weights.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
            return self.loss_weight * (weights * squared).mean()
