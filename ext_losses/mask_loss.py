"""The mask of the mask-aided GAN: the discriminator looks where the super-resolved image is wrong."""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


@LOSS_REGISTRY.register()
class ErrorMask(nn.Module):
    """Multiply what the discriminator sees by a mask that grows with the super-resolution error.

    mask = clip(k * E[l] + b, 0, 1),   l = (error_scale * (sr - gt))^2

    E[l] is the mean over channels and over a window around the pixel. Where the image is already right the mask is b,
    where it is wrong the mask is 1; with both images multiplied, the gradient that reaches ``sr`` through the
    discriminator is ``mask`` times the gradient at its input, so the mask is a weight of the adversarial loss per
    region. It is a *view* (see ``GANSRModel``): called with both images, it returns what the discriminator gets.

    Args:
        k (float): Slope. 0 makes the mask b everywhere. Default: 0.2.
        b (float): Value of the mask where the error is 0. Default: 0.5.
        error_scale (float): Factor on the images before the error is taken, of use with error_norm 'none': 255, the
            default, measures in grey levels; with 1 or 2 the mask of any usable network is nearly the constant b.
        error_measure (str): 'mse', or 'rmse', its root, in units of ``error_scale``. Default: 'mse'.
        error_norm (str): 'none'; 'image_mean' or 'mean' divide the error by its detached mean over each image, or over
            the batch that this process holds, so that the mask varies at any quality. Default: 'image_mean'.
        window (int): Side of the square over which the error is averaged, odd, with reflected borders; 1 is the
            literal reading, per pixel. Default: 7.
        per_channel (bool): One mask per colour channel instead of one for all. Default: False.
        apply_to (str): 'both' multiplies sr and gt, 'fake' only sr, the literal text. Default: 'both'.
        detach (bool): Keep the mask out of the generator's gradient. Without, the generator is also paid for changing
            its own mask. Default: True.

    Shape:
        sr, gt: (n, c, h, w), range [0, 1]. Output: two tensors of that shape, the masked sr and gt.

    Raises:
        ValueError: If window is not odd and positive, a value of ``CHOICES`` is unknown, or an image is too small for
            the window's reflected border.

    Reference: mask-aided GAN super-resolution, eq. 8 (k = 0.2, b = 0.5). Scale, window, and masking of both images are
    our readings of it; docs/mask.md says what each changes.
    """

    CHOICES = {
        'error_measure': ('mse', 'rmse'),
        'error_norm': ('none', 'mean', 'image_mean'),
        'apply_to': ('both', 'fake'),
    }

    def __init__(
        self,
        k: float = 0.2,
        b: float = 0.5,
        error_scale: float = 255.0,
        error_measure: str = 'mse',
        error_norm: str = 'image_mean',
        window: int = 7,
        per_channel: bool = False,
        apply_to: str = 'both',
        detach: bool = True,
    ):
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise ValueError(f'window must be odd and positive, but is {window}.')
        chosen = {'error_measure': error_measure, 'error_norm': error_norm, 'apply_to': apply_to}
        for option, value in chosen.items():
            if value not in self.CHOICES[option]:
                known = ' or '.join(f"'{choice}'" for choice in self.CHOICES[option])
                raise ValueError(f"{option} must be {known}, but is '{value}'.")
        self.k = k
        self.b = b
        self.error_scale = error_scale
        self.error_measure = error_measure
        self.error_norm = error_norm
        self.window = window
        self.per_channel = per_channel
        self.apply_to = apply_to
        self.detach = detach
        self.last_error: Tensor | None = None
        self.last_mask: Tensor | None = None

    def error_map(self, sr: Tensor, gt: Tensor) -> Tensor:
        """E[l] as the options measure it: (n, 1, h, w), or (n, c, h, w) with ``per_channel``; >= 0."""
        precision = torch.promote_types(sr.dtype, torch.float32)  # fp16 would overflow at 255^2
        error = ((sr.to(precision) - gt.to(precision)) * self.error_scale).square()
        if not self.per_channel:
            error = error.mean(dim=1, keepdim=True)
        if self.window > 1:
            error = self._window_mean(error)
        tiny = torch.finfo(precision).tiny
        if self.error_measure == 'rmse':
            error = error.clamp_min(tiny).sqrt() * (error > 0)  # the root's slope at 0 is infinite
        if self.error_norm != 'none':
            dims = (0, 1, 2, 3) if self.error_norm == 'mean' else (1, 2, 3)
            error = error / error.detach().mean(dims, keepdim=True).clamp_min(tiny)
        return error

    def _window_mean(self, error: Tensor) -> Tensor:
        border = self.window // 2
        if min(error.shape[-2:]) <= border:
            raise ValueError(
                f'window {self.window} of ErrorMask needs images larger than {border} px, '
                f'but got {tuple(error.shape[-2:])}.'
            )
        return F.avg_pool2d(F.pad(error, (border,) * 4, mode='reflect'), self.window, stride=1)

    def mask(self, sr: Tensor, gt: Tensor) -> Tensor:
        """clip(k * E[l] + b, 0, 1), shaped as :meth:`error_map`, range [0, 1]."""
        if self.detach:
            sr, gt = sr.detach(), gt.detach()
        error = self.error_map(sr, gt)
        mask = (self.k * error + self.b).clamp(0, 1)
        self.last_error, self.last_mask = error.detach(), mask.detach()
        return mask

    def forward(self, sr: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        mask = self.mask(sr, gt)
        return sr * mask, gt * mask if self.apply_to == 'both' else gt

    def statistics(self) -> dict[str, Tensor]:
        """Scalars of the last mask for the log: its mean, and the shares of it at 0 and at 1."""
        if self.last_mask is None:
            return {}
        mask = self.last_mask
        return {
            'mask_mean': mask.mean(),
            'mask_at_0': (mask <= 0).float().mean(),
            'mask_at_1': (mask >= 1).float().mean(),
        }

    def panels(self) -> dict[str, Tensor]:
        """Images of the last batch for TensorBoard, (n, 1 or c, h, w) in [0, 1]: mask, and RMS error, black 0 and
        white 32 grey levels, or with ``error_norm`` twice the root of the mean (rmse: twice the mean)."""
        if self.last_mask is None or self.last_error is None:
            return {}
        white = 32 / 255 * self.error_scale if self.error_norm == 'none' else 2.0
        root = self.last_error if self.error_measure == 'rmse' else self.last_error.sqrt()
        return {'error': (root / white).clamp(0, 1), 'mask': self.last_mask}
