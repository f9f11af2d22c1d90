"""L1 loss of low frequencies: colours and shapes stay, texture is free."""

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from ext_losses.frequency import LowPass


@LOSS_REGISTRY.register()
class LowPassL1Loss(nn.Module):
    """Mean absolute difference of two images after smoothing.

    L = loss_weight * mean |LP(pred) - LP(target)|

    Only pixels whose kernel lies within the image count (a *valid* convolution). Computed in float32 also under
    autocast.

    Args:
        loss_weight (float): Factor on the result. Default: 1.0.
        filter (str): ``average`` or ``gaussian``. Default: ``average``.
        kernel_size (int): Side of the kernel in pixels, odd. Default: 5.
        sigma (float): Standard deviation of the Gaussian in pixels. Default: 2.0.

    Shape:
        pred, target: (n, c, h, w), any range, h and w at least kernel_size. Output: scalar.

    Raises:
        ValueError: If an option has a value that is not listed, or images are smaller than the kernel.

    Reference: Fritsche et al., Frequency Separation for Real-World Super-Resolution, ICCVW 2019: average of 5 x 5 to
    learn the degradation, 9 x 9 for super-resolution.
    """

    def __init__(
        self, loss_weight: float = 1.0, filter: str = 'average', kernel_size: int = 5, sigma: float = 2.0
    ) -> None:
        super().__init__()
        if filter not in ('average', 'gaussian'):
            raise ValueError(f"filter must be average or gaussian, but is '{filter}'.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd and positive, but is {kernel_size}.')
        if not sigma > 0:
            raise ValueError(f'sigma must be positive, but is {sigma}.')
        self.loss_weight = loss_weight
        self.low_pass = LowPass(filter, kernel_size, sigma, pad='zero')

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of ``pred`` against ``target``, see the class."""
        return self.loss_weight * F.l1_loss(self._valid(pred), self._valid(target))

    def _valid(self, images: Tensor) -> Tensor:
        border = self.low_pass.kernel_size // 2
        height, width = images.shape[-2:]
        if min(height, width) < self.low_pass.kernel_size:
            raise ValueError(
                f'LowPassL1Loss: images of {height} x {width} px are smaller than kernel_size '
                f'{self.low_pass.kernel_size}. Lower it, or enlarge gt_size.'
            )
        return self.low_pass(images)[..., border : height - border, border : width - border]
