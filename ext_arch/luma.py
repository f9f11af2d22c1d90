"""Networks that restore luminance alone, and the way of a colour image through them.

The eye sees detail in luminance, so the first super-resolution networks restore Y of YCbCr and leave Cb and Cr to
bicubic interpolation. Y, Cb and Cr are those of ITU-R BT.601 in studio range, Y in [16, 235] / 255, as MATLAB's
``rgb2ycbcr`` and BasicSR's ``bgr2ycbcr`` give them: PSNR on Y of the colour image is then that of the network's Y.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from ext_arch.resize import bicubic_upscale
from ext_arch.unseen_arguments import NotesArguments

_SCALES = (2, 3, 4)
# rows: Y, Cb, Cr; columns: R, G, B in [0, 1]; results in grey levels
_TO_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
_OFFSET = (16.0, 128.0, 128.0)
# the exact inverse, where ``ycbcr2rgb`` has one of six digits: Y of the result is the Y that went in
_TO_RGB = tuple(map(tuple, torch.linalg.inv(torch.tensor(_TO_YCBCR, dtype=torch.float64)).tolist()))


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """Studio-range YCbCr of RGB images, as ``basicsr.utils.rgb2ycbcr`` without rounding.

    Shape:
        rgb: (n, 3, h, w), range [0, 1]. Output: (n, 3, h, w); of [0, 1] come Y in [16, 235] / 255 and Cb, Cr in
        [16, 240] / 255.
    """
    bands = rgb.unbind(1)
    return torch.stack(
        [(_mixture(bands, row) + offset) / 255 for row, offset in zip(_TO_YCBCR, _OFFSET, strict=True)], 1
    )


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """The inverse of :func:`rgb_to_ycbcr`, as ``basicsr.utils.ycbcr2rgb`` up to 1e-5. Neither rounded nor clipped.

    Shape:
        ycbcr: (n, 3, h, w). Output: (n, 3, h, w).
    """
    bands = [255 * band - offset for band, offset in zip(ycbcr.unbind(1), _OFFSET, strict=True)]
    return torch.stack([_mixture(bands, row) for row in _TO_RGB], 1)


def _mixture(bands, weights) -> Tensor:
    """Weighted sum of three bands. Not a matrix product: autocast and TF32 would round that to three digits."""
    (a, b, c), (x, y, z) = weights, bands
    return a * x + b * y + c * z


def through_luma(restore: Callable[[Tensor], Tensor], rgb: Tensor, factor: int) -> Tensor:
    """Enlarge a colour image by a network for luminance: Y by the network, Cb and Cr by MATLAB's bicubic.

    Args:
        restore (Callable): Maps Y, (n, 1, h, w), to Y, (n, 1, factor * h, factor * w).
        rgb (Tensor): Images.
        factor (int): By which ``restore`` enlarges; with 1 Cb and Cr stay as they are.

    Shape:
        rgb: (n, 3, h, w), range [0, 1]. Output: (n, 3, factor * h, factor * w), in the type of ``rgb``, neither rounded
        nor clipped.
    """
    ycbcr = rgb_to_ycbcr(rgb if rgb.dtype == torch.float64 else rgb.float())  # halves have three digits only
    y = restore(ycbcr[:, :1].to(rgb.dtype)).to(ycbcr.dtype)
    chroma = ycbcr[:, 1:]
    if factor > 1:
        chroma = bicubic_upscale(chroma, factor)
    return ycbcr_to_rgb(torch.cat([y, chroma], 1)).to(rgb.dtype)


class LumaNetwork(NotesArguments):
    """Base of networks for luminance or any other number of channels. Subclasses define :meth:`restore`.

    With one channel it takes colour images too, in training and evaluation mode alike, see :func:`through_luma`:
    validation, testing and export need nothing else. Training wants luminance (``color: y`` of BasicSR's datasets):
    ``ExtSRModel`` refuses colour there.

    Args:
        num_in_ch (int): Channels of the LR image: 1 for luminance, 3 for RGB.
        num_out_ch (int): Channels of the HR image; the same number.
        upscale (int): 2, 3 or 4.

    Shape:
        Input: (n, num_in_ch, h, w), range [0, 1]. Output: (n, num_out_ch, upscale * h, upscale * w).
        Where num_in_ch is 1, also (n, 3, h, w) to (n, 3, upscale * h, upscale * w), RGB.

    Raises:
        ValueError: If an argument is not one of these, or (in ``forward``) the image has another number of channels.
    """

    UNSEEN: ClassVar[tuple[str, ...]] = ('upscale',)

    def __init__(self, num_in_ch: int, num_out_ch: int, upscale: int):
        super().__init__()
        if upscale not in _SCALES:
            raise ValueError(f'upscale must be 2, 3 or 4, but is {upscale}.')
        if num_in_ch < 1 or num_out_ch != num_in_ch:
            raise ValueError(
                f'num_out_ch must equal num_in_ch, but they are {num_out_ch} and {num_in_ch}: both 1 (luminance) or '
                'both 3 (RGB).'
            )
        self.num_in_ch = num_in_ch
        self.upscale = upscale

    @property
    def factor(self) -> int:
        """Factor by which the output is larger than the input."""
        return self.upscale

    def training_problem(self, channels: int) -> str | None:
        """Why images of so many channels train nothing, or None: colour would train the network through luminance."""
        if channels == self.num_in_ch:
            return None
        return (
            f'{type(self).__name__} with num_in_ch: {self.num_in_ch} trains on luminance, but got colour images. Set '
            'datasets:train:color: y, or set num_in_ch: 3 and num_out_ch: 3 of the network.'
        )

    def restore(self, x: Tensor) -> Tensor:
        """HR image, (n, num_out_ch, factor * h, factor * w), of an image of ``num_in_ch`` channels."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """HR image of an LR image, see the class."""
        if x.shape[1] == self.num_in_ch:
            return self.restore(x)
        if (x.shape[1], self.num_in_ch) != (3, 1):
            raise ValueError(
                f'{type(self).__name__} takes images of {self.num_in_ch} channels (num_in_ch), but got {x.shape[1]}.'
            )
        return through_luma(self.restore, x, self.factor)


class EnlargedInputNetwork(LumaNetwork):
    """Base of networks that work at HR size, on a bicubic enlargement that they make themselves or are given.

    Args:
        num_in_ch (int), num_out_ch (int), upscale (int): See :class:`LumaNetwork`.
        pre_upsampled (bool | str): Whether inputs already have HR size, and the output the size of the input: 'never'
            (or false), 'always' (or true), or 'training': in training mode, where a batch may hold several scales
            (``MultiScaleImageDataset``), but not in evaluation mode. The one thing here that depends on the mode.

    Shape, Raises: As :class:`LumaNetwork`; with inputs of HR size, the output has the size of the input.
    """

    UNSEEN = ('upscale', 'pre_upsampled')

    def __init__(self, num_in_ch: int, num_out_ch: int, upscale: int, pre_upsampled: bool | str):
        super().__init__(num_in_ch, num_out_ch, upscale)
        when = pre_upsampled if isinstance(pre_upsampled, str) else ('never', 'always')[bool(pre_upsampled)]
        if when not in ('never', 'training', 'always'):
            raise ValueError(f"pre_upsampled must be 'never', 'training' or 'always', but is '{pre_upsampled}'.")
        self.pre_upsampled = when

    @property
    def factor(self) -> int:
        given = self.pre_upsampled == 'always' or (self.pre_upsampled == 'training' and self.training)
        return 1 if given else self.upscale

    def enlarged(self, x: Tensor) -> Tensor:
        """The image at HR size, in its own floating-point type."""
        return x if self.factor == 1 else bicubic_upscale(x, self.factor).to(x.dtype)
