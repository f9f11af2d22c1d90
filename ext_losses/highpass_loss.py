"""The high-pass view: the discriminator judges texture and leaves colour to the content losses."""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from ext_losses.frequency import HighPass


@LOSS_REGISTRY.register()
class HighPassView(nn.Module):
    """Show the discriminator the high frequencies of both images only, HP(x) = x - LP(x).

    The generator's adversarial gradient then has no low frequencies either, away from the borders: colour and large
    structures are left to the pixel and perceptual losses. It is a *view* (see ``GANSRModel``): called with both
    images, it returns what the discriminator gets. Views compose in the order of the option file: with ``mask_opt``
    before ``highpass_opt`` the masked images are filtered, edges of the mask included; the other way round the error is
    measured on, and the mask multiplies, the high frequencies.

    Args:
        filter (str): Low-pass filter: 'gaussian', 'average' or 'haar'. Default: 'gaussian'.
        kernel_size (int): Side of the kernel in pixels, odd; not used by 'haar'. Default: 13.
        sigma (float): Standard deviation of the Gaussian in pixels; used by 'gaussian' only. Default: 2.0.
        pad (str): 'reflect', or 'zero', which shows the discriminator a strong frame. Default: 'reflect'.
        shift (bool): Give 0.5 + 0.5 HP(x). The discriminator's first layer can undo it. Default: False.

    Shape:
        sr, gt: (n, c, h, w), range [0, 1]. Output: two tensors of that shape in float32, range [-1, 1], or [0, 1] with
        shift.

    Raises:
        ValueError: If filter or pad is unknown, kernel_size is not odd and positive, sigma is not positive, or images
            are too small for the reflected border.

    Reference: two-stage domain adaptation for real-world super-resolution, eq. 7. Kernel and border are our readings of
    it; 'average' with zero borders and shift is Fritsche et al., ICCVW 2019.
    """

    def __init__(
        self,
        filter: str = 'gaussian',
        kernel_size: int = 13,
        sigma: float = 2.0,
        pad: str = 'reflect',
        shift: bool = False,
    ):
        super().__init__()
        self.high_pass = HighPass(filter, kernel_size, sigma, pad, shift)
        self.last_views: dict[str, Tensor] = {}

    def forward(self, sr: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        high_sr, high_gt = self.high_pass(sr), self.high_pass(gt)
        self.last_views = {'highpass_sr': high_sr.detach(), 'highpass_gt': high_gt.detach()}
        return high_sr, high_gt

    def statistics(self) -> dict[str, Tensor]:
        """Scalars of the last batch for the log: standard deviations of both outputs. Equal ones are the aim."""
        return {f'{name}_std': torch.std(view) for name, view in self.last_views.items()}

    def panels(self) -> dict[str, Tensor]:
        """Outputs of the last batch for TensorBoard, (n, c, h, w) in [0, 1], where 0.5 is no detail."""
        if self.high_pass.shift:
            return {name: view.clamp(0, 1) for name, view in self.last_views.items()}
        return {name: (0.5 + 0.5 * view).clamp(0, 1) for name, view in self.last_views.items()}
